//! Whose certificates a node shows and believes, and the handshake with its clients.

use std::sync::Arc;

use outport_tls::reread::Look;
use outport_tls::{Acceptor, ClientFiles, ClientTls, ServerFiles, TlsError};

/// The files that a node needs for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// What it listens with. `None`: plain HTTP.
    pub listen: Option<ServerFiles>,
    /// How it connects to the origin, where that has an `https` address.
    pub origin: ClientFiles,
}

/// The same, read.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) listen: Option<Acceptor>,
    pub(crate) origin: ClientTls,
    /// For everybody else: the servers behind routes, and issuers. They are told from impostors by
    /// what the system trusts, and see no certificate of ours.
    pub(crate) others: ClientTls,
}

/// Which section's files are of no use, and why.
#[derive(Debug, thiserror::Error)]
#[error("[{section}]: {source}")]
pub struct TlsStartError {
    section: &'static str,
    source: TlsError,
}

impl Tls {
    pub(crate) fn open(config: TlsConfig) -> Result<Self, TlsStartError> {
        let within = |section| move |source| TlsStartError { section, source };
        let listen = config.listen.map(Acceptor::open).transpose().map_err(within("edge.tls"))?;
        let others = ClientTls::open(ClientFiles::default()).map_err(within("edge.origin_tls"))?;
        let origin = if config.origin == ClientFiles::default() {
            others.clone()
        } else {
            ClientTls::open(config.origin).map_err(within("edge.origin_tls"))?
        };
        Ok(Self { listen, origin, others })
    }

    /// What is read again when it changes.
    pub(crate) fn files(&self) -> Vec<Arc<dyn Look>> {
        let listen = self.listen.iter().map(Acceptor::files);
        listen.chain([self.origin.files()]).collect()
    }
}

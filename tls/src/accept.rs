//! The side that listens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::reread::{Look, Reread};
use crate::{Identity, TlsError, pem, provider};

/// How long a handshake may take, the wait for its turn included.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The most handshakes at once; more wait for their turn.
pub const HANDSHAKES_MAX: usize = 4096;

/// What a client may ask for after the handshake (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is needed to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Who one is.
    pub identity: Identity,
    /// The authorities of which each client must have a certificate, in PEM. `None`: clients need
    /// none.
    pub client_ca_file: Option<PathBuf>,
}

/// Takes connections.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    config: Arc<Reread<ServerConfig>>,
    room: Semaphore,
}

impl Acceptor {
    /// Reads the files.
    pub fn open(files: ServerFiles) -> Result<Self, TlsError> {
        let Identity { certificate_file, key_file } = files.identity.clone();
        let paths = [certificate_file, key_file].into_iter().chain(files.client_ca_file.clone());
        let config = Reread::open(paths.collect(), move || config(&files))?;
        Ok(Self(Arc::new(Inner { config: Arc::new(config), room: Semaphore::new(HANDSHAKES_MAX) })))
    }

    /// What [`crate::reread::watch`] looks at.
    pub fn files(&self) -> Arc<dyn Look> {
        self.0.config.clone()
    }

    /// The handshake. It ends within [`HANDSHAKE_MAX`]; run it beside whatever accepts.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let _place = self.0.room.acquire().await.map_err(io::Error::other)?;
            TlsAcceptor::from(self.0.config.current()).accept(stream).await
        };
        tokio::time::timeout(HANDSHAKE_MAX, handshake).await?
    }
}

fn config(files: &ServerFiles) -> Result<ServerConfig, TlsError> {
    let (chain, key) = pem::proof(&files.identity)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::new)?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = pem::authorities("client_ca_file", path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(TlsError::new)?)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| files.identity.unfit(&error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

impl Identity {
    /// Why the two files are of no use together.
    pub(crate) fn unfit(&self, error: &rustls::Error) -> TlsError {
        let (key, certificate) = (self.key_file.display(), self.certificate_file.display());
        TlsError(format!("key_file {key} and certificate_file {certificate}: {error}"))
    }
}

//! The side that connects.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::reread::{Look, Reread};
use crate::{Identity, TlsError, pem, provider};

/// Whom to believe, and who one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authorities that are believed, in PEM. `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// What servers are shown that ask for a certificate.
    pub identity: Option<Identity>,
}

/// How servers are told from impostors.
#[derive(Clone)]
pub struct ClientTls(Arc<Reread<ClientConfig>>);

impl ClientTls {
    /// Reads the files. Where the system's authorities are meant and it has none, no server is
    /// believed.
    pub fn open(files: ClientFiles) -> Result<Self, TlsError> {
        let of_identity = files
            .identity
            .iter()
            .flat_map(|identity| [identity.certificate_file.clone(), identity.key_file.clone()]);
        let paths = files.ca_file.iter().cloned().chain(of_identity).collect();
        Reread::open(paths, move || config(&files)).map(|config| Self(Arc::new(config)))
    }

    /// Believes these authorities, and shows no certificate.
    pub fn believing(roots: RootCertStore) -> Result<Self, TlsError> {
        let config = client(Arc::new(roots), None)?;
        let never = Reread::open(Vec::new(), move || Ok::<_, TlsError>(config.clone()))?;
        Ok(Self(Arc::new(never)))
    }

    /// What connects with what was read last.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.0.current()
    }

    /// What [`crate::reread::watch`] looks at.
    pub fn files(&self) -> Arc<dyn Look> {
        self.0.clone()
    }
}

/// The authorities that the system trusts.
pub fn system_authorities() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken > 0 {
        return Ok(roots);
    }
    let error = found.errors.into_iter().next().map(io::Error::other);
    Err(error.unwrap_or_else(|| io::Error::other("this machine trusts no certificates")))
}

/// For a client of HTTP that brings its own connections: it believes what the system trusts, and
/// nobody where that is nothing.
pub fn system_config() -> Result<ClientConfig, TlsError> {
    config(&ClientFiles::default())
}

fn config(files: &ClientFiles) -> Result<ClientConfig, TlsError> {
    let roots = match &files.ca_file {
        Some(path) => pem::authorities("ca_file", path)?,
        None => Arc::new(system_authorities().unwrap_or_else(|error| {
            tracing::warn!("no server is believed: {error}");
            RootCertStore::empty()
        })),
    };
    client(roots, files.identity.as_ref())
}

fn client(
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::new)?
        .with_root_certificates(roots);
    // No protocol is negotiated: interim responses (1xx) come on HTTP/1.1 alone.
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = pem::proof(identity)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| identity.unfit(&error))?
        }
    };
    Ok(config)
}

/// Connects by `http` and `https`, for hyper's client.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    tls: ClientTls,
    patience: Duration,
}

impl Connector {
    /// `patience` is how long a connection may take to be made, its handshake included.
    pub fn new(tls: ClientTls, patience: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience));
        Self { tcp, tls, patience }
    }
}

type Connecting<T> =
    Pin<Box<dyn Future<Output = Result<T, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let config = self.tls.config();
        let connecting = HttpsConnector::from((self.tcp.clone(), config)).call(to);
        let patience = self.patience;
        Box::pin(async move { tokio::time::timeout(patience, connecting).await? })
    }
}

//! Certificate authorities, and the two ends of TLS, with what was negotiated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority that issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Issued {
    /// The certificate in PEM.
    pub certificate: String,
    /// Its private key in PEM.
    pub key: String,
}

impl Authority {
    /// One that nobody trusts yet.
    #[allow(clippy::new_without_default)] // It makes a key; that is no default.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Outport's tests");
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it is an authority"))
    }

    /// Its own certificate in PEM.
    pub fn certificate(&self) -> String {
        let certificate: &rcgen::Certificate = self.0.as_ref();
        certificate.pem()
    }

    /// A certificate for `127.0.0.1` and `localhost`, and for whom it says it is.
    pub fn issue(&self) -> Issued {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let params = CertificateParams::new(names).expect("the names are good");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &*self.0).expect("it can be issued");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Who believes it alone.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let der = certificate(&self.certificate());
        roots.add(der).expect("it is an authority");
        roots
    }

    /// What a client needs that believes it alone, and shows this if it is asked.
    pub fn client(&self, shown: Option<&Issued>) -> ClientConfig {
        client(self.roots(), shown)
    }

    /// What a server needs that takes clients with its certificates alone.
    pub fn server(&self, shown: &Issued) -> ServerConfig {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots().into(), provider()).build();
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_client_cert_verifier(verifier.expect("there is an authority"))
            .with_single_cert(vec![certificate(&shown.certificate)], key(&shown.key))
            .expect("they belong together")
    }
}

impl Issued {
    /// Puts both into a folder, `NAME.crt` and `NAME.key`, over what is there.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let files = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&files.0, &self.certificate).expect("the folder can be written to");
        std::fs::write(&files.1, &self.key).expect("the folder can be written to");
        files
    }

    /// The certificate as it is sent.
    pub fn der(&self) -> CertificateDer<'static> {
        certificate(&self.certificate)
    }
}

/// What a client needs that believes these.
pub fn client(roots: RootCertStore, shown: Option<&Issued>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots);
    match shown {
        None => config.with_no_client_auth(),
        Some(shown) => config
            .with_client_auth_cert(vec![certificate(&shown.certificate)], key(&shown.key))
            .expect("they belong together"),
    }
}

/// A connection to a server on this machine. With TLS 1.3, a server that wants another certificate
/// says so at the first read.
pub async fn connect(
    config: ClientConfig,
    authority: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(authority).await?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// How both ends keep what they say secret, and by which version: such as `TLSv1_3` and
/// `X25519MLKEM768`.
pub fn negotiated(connection: &rustls::CommonState) -> (String, String) {
    let version = connection.protocol_version().map(|version| format!("{version:?}"));
    let group =
        connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    (version.unwrap_or_default(), group.unwrap_or_default())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("it is a certificate")
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("it is a key")
}

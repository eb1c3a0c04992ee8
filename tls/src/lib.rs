//! TLS for what listens and what connects, with keys and certificates from files.
//!
//! There is one provider of cryptography, [`provider`], and so one list of what is negotiated: TLS
//! 1.2 and 1.3, their AEAD suites with forward secrecy, and X25519MLKEM768 first among the key
//! exchanges, which is a classical and a post-quantum one in a single group
//! (draft-ietf-tls-ecdhe-mlkem). Who connects offers it first, who listens takes it first, so
//! between two parts of Outport it is what is used.
//!
//! Files are read when a process starts, where any fault ends it, and again when they change
//! ([`reread`]), where a fault is logged and what was read before stays.

mod accept;
mod connect;
mod pem;
pub mod reread;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use accept::{Acceptor, HANDSHAKE_MAX, HANDSHAKES_MAX, ServerFiles};
pub use connect::{ClientFiles, ClientTls, Connector, system_authorities, system_config};

/// What proves who one is: two files in PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those between it and an authority.
    pub certificate_file: PathBuf,
    /// The certificate's private key: PKCS #8, PKCS #1 or SEC1.
    pub key_file: PathBuf,
}

/// What is wrong with files, as a sentence that names them and what belongs there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Where all cryptography of TLS comes from.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

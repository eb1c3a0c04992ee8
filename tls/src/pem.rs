//! Certificates and keys out of files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Identity, TlsError};

/// The largest file that is read. A machine's whole list of authorities has a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate's chain, and its key.
pub(crate) type Proof = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads both files. Whether they belong together is for whoever uses them to see.
pub(crate) fn proof(identity: &Identity) -> Result<Proof, TlsError> {
    let chain = certificates("certificate_file", &identity.certificate_file)?;
    let (name, bytes) = read("key_file", &identity.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        TlsError(format!("{name} has no private key in PEM, as in -----BEGIN PRIVATE KEY-----"))
    })?;
    Ok((chain, key))
}

/// The authorities of a file.
pub(crate) fn authorities(key: &str, path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| {
            TlsError(format!("{key} {}: no authority: {error}", path.display()))
        })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (name, bytes) = read(key, path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let read = read.map_err(|error| TlsError(format!("{name} is no PEM: {error}")))?;
    if read.is_empty() {
        let right = "as in -----BEGIN CERTIFICATE-----";
        return Err(TlsError(format!("{name} has no certificate in PEM, {right}")));
    }
    Ok(read)
}

/// A file's bytes, and what it is called in what is said of it.
fn read(key: &str, path: &Path) -> Result<(String, Vec<u8>), TlsError> {
    let name = format!("{key} {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| TlsError(format!("{name} can't be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError(format!("{name} is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok((name, bytes))
}

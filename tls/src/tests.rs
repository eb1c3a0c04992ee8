use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::reread::{Look as _, Reread};

/// Writes an authority's certificate, and one of its own for `localhost` with the key.
fn issue(folder: &Path) -> ServerFiles {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let certificate: &rcgen::Certificate = ca.as_ref();
    fs::write(folder.join("ca"), certificate.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("crt"), params.signed_by(&key, &*ca).unwrap().pem()).unwrap();
    fs::write(folder.join("key"), key.serialize_pem()).unwrap();
    let (certificate_file, key_file) = (folder.join("crt"), folder.join("key"));
    ServerFiles { identity: Identity { certificate_file, key_file }, client_ca_file: None }
}

#[tokio::test]
async fn both_ends_prefer_the_hybrid_group() {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = Acceptor::open(issue(folder.path())).unwrap();
    let ca_file = Some(folder.path().join("ca"));
    let client = ClientTls::open(ClientFiles { ca_file, identity: None }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let connector = TlsConnector::from(client.config());
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(acceptor.accept(accepted), connector.connect(name, stream));
    assert!(server.is_ok());
    let client = client.unwrap();
    let group = client.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

/// The clock stands still but where nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_stands_still_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = Acceptor::open(issue(folder.path())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let begun = tokio::time::Instant::now();
    assert!(acceptor.accept(accepted).await.is_err());
    assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_MAX.as_secs());
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = issue(folder.path());
    let said = |files: &ServerFiles| Acceptor::open(files.clone()).err().unwrap().to_string();
    let key_file = &files.identity.key_file;
    let right = fs::read(key_file).unwrap();
    fs::write(key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(said(&files).contains("key_file") && said(&files).contains("certificate_file"));
    fs::write(key_file, "").unwrap();
    assert!(said(&files).contains("has no private key in PEM"), "{}", said(&files));
    fs::write(key_file, right).unwrap();
    let absent =
        ServerFiles { client_ca_file: Some(folder.path().join("absent")), ..files.clone() };
    assert!(said(&absent).contains("client_ca_file"), "{}", said(&absent));
    fs::write(&files.identity.certificate_file, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(said(&files).contains("longer than"), "{}", said(&files));
}

#[test]
fn what_changes_is_read_again_and_a_fault_leaves_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "1").unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let number = {
        let (path, reads) = (path.clone(), reads.clone());
        move || {
            reads.fetch_add(1, Ordering::Relaxed);
            fs::read_to_string(&path).unwrap_or_default().parse::<u32>()
        }
    };
    let file = Reread::open(vec![path.clone()], number).unwrap();
    assert!(!file.look(false));
    assert_eq!((*file.current(), reads.load(Ordering::Relaxed)), (1, 1), "nothing has changed");
    fs::write(&path, "22").unwrap();
    assert!(file.look(false));
    assert_eq!(*file.current(), 22);
    fs::write(&path, "none").unwrap();
    assert!(!file.look(false));
    fs::remove_file(&path).unwrap();
    assert!(!file.look(false));
    assert_eq!((*file.current(), reads.load(Ordering::Relaxed)), (22, 4));
    // A fault is not read again until something changes, or somebody asks.
    assert!(!file.look(false));
    assert_eq!(reads.load(Ordering::Relaxed), 4);
    fs::write(&path, "3").unwrap();
    assert!(file.look(true));
    assert!(file.look(true), "whoever asks has it read, changed or not");
    assert_eq!((*file.current(), reads.load(Ordering::Relaxed)), (3, 6));
}

//! The deployment's own keys, `keys.json` in the data folder.
//!
//! Whichever process comes first makes them; the others find them. The file is for its owner's
//! eyes only, and appears under its name complete or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::Ed25519KeyPair;
use outport_wire::secret::{Key, Secret};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const FILE: &str = "keys.json";
const OWNER_ONLY: u32 = 0o600;
const SECRET_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 6;

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    issuer: Issuer,
    /// Signs links to files.
    pub(crate) links: Key,
    /// Signs what the edge sends to the origin.
    pub(crate) edge: Key,
}

/// The issuer of development tokens: an Ed25519 secret key (seed and public key, RFC 8032
/// section 5.1.5) and its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    id: String,
    secret: Secret,
}

/// The issuer's public half.
pub(crate) struct IssuerKey {
    /// The `kid` of its tokens.
    pub(crate) id: String,
    /// The Ed25519 public key.
    pub(crate) public: Vec<u8>,
}

impl Keys {
    /// The keys of the data folder. Makes them, and the folder, where there are none.
    pub(crate) fn open(data: &Path) -> Result<Self, Failure> {
        let path = data.join(FILE);
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(data, &path),
            read => read,
        }
        .map_err(|source| Failure::io("open", &path, source))
    }

    /// The issuer's key pair. Its tokens name it in their header.
    pub(crate) fn issuer(&self) -> Result<Ed25519KeyPair, Failure> {
        let secret = URL_SAFE_NO_PAD.decode(String::from(self.issuer.secret.clone()));
        let pair = secret.ok().and_then(|secret| Ed25519KeyPair::from_bytes(&secret).ok());
        let pair =
            pair.ok_or(Failure::Process("the issuer in keys.json is no Ed25519 key".into()))?;
        Ok(pair.with_key_id(&self.issuer.id))
    }

    /// The public key that tokens are checked with.
    pub(crate) fn issuer_public(&self) -> Result<IssuerKey, Failure> {
        let public = self.issuer()?.public_key().to_bytes();
        Ok(IssuerKey { id: self.issuer.id.clone(), public })
    }

    /// What sessions of browsers are signed with: made of the edge's key, and for nothing else.
    pub(crate) fn sessions(&self) -> Result<Secret, Failure> {
        Secret::new(self.edge.secret.mac(b"outport sessions 1").to_vec())
            .map_err(|error| Failure::Process(format!("no key for sessions: {error}")))
    }

    /// Keys that are in no folder, for whoever needs some.
    pub(crate) fn fresh() -> io::Result<Self> {
        let issuer = Issuer {
            id: format!("outport-{}", URL_SAFE_NO_PAD.encode(random::<KEY_ID_BYTES>())),
            secret: secret(Ed25519KeyPair::generate().to_bytes())?,
        };
        let key = |id: &str| -> io::Result<Key> {
            Ok(Key { id: id.to_owned(), secret: secret(random::<SECRET_BYTES>().to_vec())? })
        };
        Ok(Self { issuer, links: key("links-1")?, edge: key("edge-1")? })
    }
}

fn secret(bytes: Vec<u8>) -> io::Result<Secret> {
    Secret::new(bytes).map_err(io::Error::other)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn read(path: &Path) -> io::Result<Keys> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

/// Writes fresh keys beside the file and links them to its name. A link is refused where the name
/// is taken, so of two processes one wins and both read the winner's keys.
fn make(data: &Path, path: &Path) -> io::Result<Keys> {
    fs::create_dir_all(data)?;
    let suffix = URL_SAFE_NO_PAD.encode(random::<KEY_ID_BYTES>());
    let draft = data.join(format!(".{FILE}.{suffix}"));
    write_durably(&draft, &serde_json::to_vec_pretty(&Keys::fresh()?)?)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::File::open(data)?.sync_all()?,
    }
    read(path)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn everybody_gets_the_same_keys() {
        let data = tempfile::tempdir().unwrap();
        let open = || Keys::open(&data.path().join("new")).unwrap().issuer.id;
        let ids: Vec<String> = std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == open()), "{ids:?}");
        assert_eq!(fs::read_dir(data.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let data = tempfile::tempdir().unwrap();
        Keys::open(data.path()).unwrap();
        let mode = fs::metadata(data.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "{").unwrap();
        assert!(Keys::open(data.path()).is_err());
        assert_eq!(fs::read(data.path().join(FILE)).unwrap(), b"{");
    }
}

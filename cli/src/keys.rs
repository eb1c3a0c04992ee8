//! The deployment's own keys, `keys.json` in the data folder.
//!
//! Whichever process comes first makes them; the others find them. The file is for its owner's
//! eyes only, and appears under its name complete or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::Ed25519KeyPair;
use outport_wire::UnixSeconds;
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
    /// What the origin takes besides: keys that edges are to sign with, or signed with until now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) edge_others: Vec<OtherKey>,
}

/// A key of edges that this folder's edge does not sign with.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherKey {
    pub(crate) id: String,
    secret: Secret,
    /// When it was added, or the edge ceased to sign with it.
    pub(crate) since_s: UnixSeconds,
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
        let path = path(data);
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(data, &path),
            read => read,
        }
        .map_err(|source| Failure::io("open", &path, source))
    }

    /// Changes what is in the file, which others find complete at every moment.
    pub(crate) fn change<T>(
        data: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let path = path(data);
        let failed = |source| Failure::io("change", &path, source);
        // One after the other; the lock is on the folder, and ends with this.
        let folder = fs::File::open(data).map_err(failed)?;
        folder.lock().map_err(failed)?;
        let mut keys = Self::open(data)?;
        let changed = change(&mut keys)?;
        let replace = || {
            let draft = draft(data, &keys)?;
            fs::rename(&draft, &path)?;
            folder.sync_all()
        };
        replace().map_err(failed)?;
        Ok(changed)
    }

    /// Every key of edges that the origin takes.
    pub(crate) fn accepted(&self) -> Vec<Key> {
        let others = self.edge_others.iter();
        let others = others.map(|key| Key { id: key.id.clone(), secret: key.secret.clone() });
        std::iter::once(self.edge.clone()).chain(others).collect()
    }

    /// Adds a key for edges to sign with later. Returns its id.
    pub(crate) fn add(&mut self, now: UnixSeconds) -> io::Result<String> {
        let id = format!("edge-{}", hexadecimal(&random::<KEY_ID_BYTES>()));
        let secret = secret(random::<SECRET_BYTES>().to_vec())?;
        self.edge_others.push(OtherKey { id: id.clone(), secret, since_s: now });
        Ok(id)
    }

    /// Has the edge sign with another key, and keeps the one before among the others.
    pub(crate) fn sign_with(&mut self, place: usize, now: UnixSeconds) {
        let OtherKey { id, secret, .. } = self.edge_others.remove(place);
        let before = std::mem::replace(&mut self.edge, Key { id, secret });
        self.edge_others.push(OtherKey { id: before.id, secret: before.secret, since_s: now });
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

    /// What sessions of browsers are signed with, the newest first: made of the edges' keys, and for
    /// nothing else.
    pub(crate) fn sessions(&self) -> Result<Vec<Secret>, Failure> {
        let others = self.edge_others.iter().map(|other| &other.secret);
        let keys = std::iter::once(&self.edge.secret).chain(others);
        let made = keys.map(|key| Secret::new(key.mac(b"outport sessions 1").to_vec()));
        let made: Result<_, _> = made.collect();
        made.map_err(|error| Failure::Process(format!("no key for sessions: {error}")))
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
        let (links, edge) = (key("links-1")?, key("edge-1")?);
        Ok(Self { issuer, links, edge, edge_others: Vec::new() })
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the keys of a data folder are.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// The keys of a file that is there.
pub(crate) fn read(path: &Path) -> io::Result<Keys> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

/// Keys in a file beside the one that is found.
fn draft(data: &Path, keys: &Keys) -> io::Result<PathBuf> {
    let suffix = URL_SAFE_NO_PAD.encode(random::<KEY_ID_BYTES>());
    let draft = data.join(format!(".{FILE}.{suffix}"));
    write_durably(&draft, &serde_json::to_vec_pretty(keys)?)?;
    Ok(draft)
}

/// Writes fresh keys beside the file and links them to its name. A link is refused where the name
/// is taken, so of two processes one wins and both read the winner's keys.
fn make(data: &Path, path: &Path) -> io::Result<Keys> {
    fs::create_dir_all(data)?;
    let draft = draft(data, &Keys::fresh()?)?;
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

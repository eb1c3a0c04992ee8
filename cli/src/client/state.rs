//! Remembers where uploads were begun, so that a later run goes on with them.
//!
//! One small file per upload, under a name made from everything that must be the same for the
//! bytes on the server to be the beginning of this file: server, path, size, time of change, and
//! what the file is to be called there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What was not taken up again by then never will be.
const KEEP: Duration = Duration::from_secs(30 * 86_400);

/// The folder of remembered uploads.
#[derive(Clone)]
pub(super) struct State {
    folder: PathBuf,
}

/// One remembered upload.
#[derive(Serialize, Deserialize)]
struct Remembered {
    upload: String,
}

/// Names one upload within the folder.
pub(super) struct Key(String);

impl Key {
    /// The key of everything in `parts`, in that order.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let hex = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self(hex)
    }
}

impl State {
    /// The named folder, else the user's own (XDG Base Directory Specification).
    pub(super) fn in_folder(named: Option<PathBuf>) -> Self {
        let folder = named.or_else(user_folder);
        let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("outport-uploads"));
        Self { folder }
    }

    /// Where the upload was begun, if it was.
    pub(super) fn recall(&self, key: &Key) -> Option<Url> {
        let text = fs::read(self.file(key)).ok()?;
        let remembered: Remembered = serde_json::from_slice(&text).ok()?;
        Url::parse(&remembered.upload).ok()
    }

    /// Remembers where the upload was begun, and forgets what is old.
    pub(super) fn remember(&self, key: &Key, upload: &Url) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.forget_old();
        let draft = self.folder.join(format!("{}.new", key.0));
        fs::write(&draft, serde_json::to_vec(&Remembered { upload: upload.to_string() })?)?;
        fs::rename(draft, self.file(key))
    }

    /// The upload is complete or lost.
    pub(super) fn forget(&self, key: &Key) {
        let _ = fs::remove_file(self.file(key)); // At worst the server is asked about it once more.
    }

    fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if is_old(&entry.path()) {
                let _ = fs::remove_file(entry.path()); // The next run tries again.
            }
        }
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.json", key.0))
    }
}

fn user_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let states = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(states.join("outport/uploads"))
}

fn is_old(path: &Path) -> bool {
    let ours = path.extension().is_some_and(|extension| extension == "json" || extension == "new");
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    ours && age.is_some_and(|age| age > KEEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_comes_back_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::in_folder(Some(folder.path().join("new")));
        let (key, other) = (Key::of(&[b"a", b"bc"]), Key::of(&[b"ab", b"c"]));
        let upload = Url::parse("http://127.0.0.1:8080/uploads/x").unwrap();
        assert_eq!(state.recall(&key), None);
        state.remember(&key, &upload).unwrap();
        assert_eq!(state.recall(&key), Some(upload));
        assert_eq!(state.recall(&other), None);
        state.forget(&key);
        assert_eq!(state.recall(&key), None);
    }

    #[test]
    fn only_our_own_old_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * KEEP;
        for (name, aged) in [("a.json", true), ("b.json", false), ("c.txt", true)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            if aged {
                file.set_modified(old).unwrap();
            }
        }
        State::in_folder(Some(folder.path().to_owned())).forget_old();
        let left = |name: &str| folder.path().join(name).exists();
        assert!(!left("a.json") && left("b.json") && left("c.txt"));
    }
}

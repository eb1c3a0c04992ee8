//! The folder of the cache's disk tier, and whether what is in it may be believed.
//!
//! Nothing in it is synced to the disk while the node runs. What is written outlives the process all
//! the same, however it ends, since the system has it; a machine that stops loses what the system
//! had not yet written, in any order. So a file says in which run of the machine the folder was
//! written to, and what is from another run is believed only where the node has closed it: then all
//! of it was synced.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The layout of everything in the folder.
const LAYOUT: &str = "outport cache 1";
const STATE: &str = "state";

/// What the folder is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// A node writes to it, or was killed while it did.
    Open,
    /// A node has closed it.
    Closed,
}

/// Why what is in a folder is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unbelieved {
    /// There is no such folder yet.
    #[error("there is none yet")]
    Missing,
    /// Nobody says what is in it, or something else wrote it.
    #[error("it is of another version, or no cache at all")]
    Foreign,
    /// The machine stopped while a node wrote to it.
    #[error("the machine stopped while it was in use")]
    Stopped,
    /// It can't be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
}

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Who can read what is stored: the version of all that is opaque here, in hexadecimal.
    edition: String,
    /// The run of the machine. `None` where the system does not tell.
    run: Option<String>,
}

impl Folder {
    pub(super) fn new(path: &Path, edition: &[u8]) -> Self {
        let mut hex = String::new();
        for byte in edition {
            // Writing to a String never fails.
            let _ = write!(hex, "{byte:02x}");
        }
        Self { path: path.to_owned(), edition: hex, run: run() }
    }

    #[cfg(test)]
    pub(super) fn of_run(path: &Path, edition: &[u8], run: Option<&str>) -> Self {
        Self { run: run.map(str::to_owned), ..Self::new(path, edition) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is in it may be believed.
    pub(super) fn look(&self) -> Result<(), Unbelieved> {
        if fs::symlink_metadata(&self.path).is_err_and(|error| is_missing(&error)) {
            return Err(Unbelieved::Missing);
        }
        let text = match fs::read(self.path.join(STATE)) {
            Ok(text) => text,
            Err(error) if is_missing(&error) => return Err(Unbelieved::Foreign),
            Err(error) => return Err(error.into()),
        };
        let text = std::str::from_utf8(&text).map_err(|_| Unbelieved::Foreign)?;
        let rest = text.strip_prefix(&self.beginning()).ok_or(Unbelieved::Foreign)?;
        match rest.split_once('\n') {
            Some((_, "closed\n")) => Ok(()),
            Some((run, "open\n")) if self.run.as_deref() == Some(run) => Ok(()),
            Some((_, "open\n")) => Err(Unbelieved::Stopped),
            _ => Err(Unbelieved::Foreign),
        }
    }

    /// Says, durably, what the folder is in. What is in it is believed by that.
    pub(super) fn set(&self, condition: Condition) -> io::Result<()> {
        let condition = match condition {
            Condition::Open => "open",
            Condition::Closed => "closed",
        };
        let run = self.run.as_deref().unwrap_or("unknown");
        let new = self.path.join("state.new");
        let mut file = File::create(&new)?;
        file.write_all(format!("{}{run}\n{condition}\n", self.beginning()).as_bytes())?;
        file.sync_all()?;
        fs::rename(new, self.path.join(STATE))?;
        File::open(&self.path)?.sync_all()
    }

    /// Makes it, with nothing in it.
    pub(super) fn make(&self) -> io::Result<()> {
        self.remove()?;
        // What is stored may be for some people alone.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)
    }

    /// Removes it and all that is in it. What is left where that fails is not believed any more.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }

    fn beginning(&self) -> String {
        format!("{LAYOUT}\n{}\n", self.edition)
    }
}

/// Removes what a node without this tier must not leave there: it would not hear of what is purged.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            // First, so that nobody believes what may be left.
            let _ = fs::remove_file(path.join(STATE));
            fs::remove_dir_all(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn run() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDITION: &[u8] = &[1, 2];

    #[test]
    fn only_what_this_version_wrote_in_this_run_or_closed_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let at = |edition: &[u8], run| Folder::of_run(&path, edition, run);
        let here = at(EDITION, Some("run 1"));
        assert!(matches!(here.look(), Err(Unbelieved::Missing)));
        here.make().unwrap();
        assert!(matches!(here.look(), Err(Unbelieved::Foreign)));
        here.set(Condition::Open).unwrap();
        here.look().unwrap();
        assert!(matches!(at(&[1], Some("run 1")).look(), Err(Unbelieved::Foreign)));
        assert!(matches!(at(EDITION, Some("run 2")).look(), Err(Unbelieved::Stopped)));
        assert!(matches!(at(EDITION, None).look(), Err(Unbelieved::Stopped)));
        here.set(Condition::Closed).unwrap();
        at(EDITION, Some("run 2")).look().unwrap();
        at(EDITION, None).look().unwrap();
        assert!(matches!(at(&[1], None).look(), Err(Unbelieved::Foreign)));

        // Where no run is known, one is not taken for another.
        at(EDITION, None).set(Condition::Open).unwrap();
        assert!(matches!(at(EDITION, None).look(), Err(Unbelieved::Stopped)));
    }

    #[test]
    fn garbage_is_removed_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let here = Folder::new(&path, EDITION);
        for garbage in
            ["", "\0\0\0", "outport cache 2\n0102\nx\nclosed\n", "outport cache 1\n0102\n"]
        {
            here.make().unwrap();
            fs::write(path.join(STATE), garbage).unwrap();
            fs::create_dir(path.join("folder")).unwrap();
            assert!(matches!(here.look(), Err(Unbelieved::Foreign)), "{garbage:?}");
        }
        here.remove().unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(here.look().is_err());
        here.make().unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        here.remove().unwrap();
        here.remove().unwrap();
    }
}

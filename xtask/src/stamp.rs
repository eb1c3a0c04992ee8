//! Remembering what is done: a stamp holds the key of what a step's result was made from.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

/// What a step depends on, reduced to a number. It need not resist an attacker, nor be the same
/// for another compiler: a key that changes costs one repetition of the step.
#[derive(Default)]
pub(crate) struct Key(DefaultHasher);

impl Key {
    /// Depends on a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        text.hash(&mut self.0);
        self
    }

    /// Depends on a file's content, or on its absence.
    pub(crate) fn file(mut self, path: &Path) -> Result<Self> {
        read_if_there(path)?.hash(&mut self.0);
        Ok(self)
    }

    /// Depends on a file's size and time of change; for what is too large to be read each time.
    pub(crate) fn file_time(mut self, path: &Path) -> Result<Self> {
        let about = fs::metadata(path).with_context(|| format!("cannot see {}", path.display()))?;
        about.len().hash(&mut self.0);
        about.modified()?.duration_since(UNIX_EPOCH)?.hash(&mut self.0);
        Ok(self)
    }

    /// Depends on the names and contents of all files below a folder, except below `except`.
    pub(crate) fn tree(mut self, folder: &Path, except: &[&str]) -> Result<Self> {
        for path in sorted_entries(folder)? {
            let name = path.file_name().unwrap_or_default();
            if except.iter().any(|skipped| name == *skipped) {
                continue;
            }
            name.hash(&mut self.0);
            self = if path.is_dir() { self.tree(&path, except)? } else { self.file(&path)? };
        }
        "end".hash(&mut self.0);
        Ok(self)
    }

    fn finish(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// A file that says from what a step's result was made.
pub(crate) struct Stamp {
    path: PathBuf,
    key: String,
}

impl Stamp {
    /// The stamp of a step, and the key that it must hold.
    pub(crate) fn new(path: PathBuf, key: &Key) -> Self {
        Self { path, key: key.finish() }
    }

    /// Whether the step was done with this key.
    pub(crate) fn holds(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|key| key == self.key)
    }

    /// Remembers that the step is done.
    pub(crate) fn set(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.path, &self.key)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Puts `new` in the place of `old`, unless they are the same: what depends on `old` by its time
/// of change then has nothing to do.
pub(crate) fn replace_if_changed(new: &Path, old: &Path) -> Result<()> {
    if read_if_there(old)?.as_ref() != Some(&fs::read(new)?) {
        let part = old.with_extension("part");
        fs::copy(new, &part).with_context(|| format!("cannot copy to {}", part.display()))?;
        fs::rename(&part, old)?;
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of one test's own, removed when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("sub")).unwrap();
            fs::create_dir_all(path.join("dist")).unwrap();
            fs::write(path.join("a"), "a").unwrap();
            fs::write(path.join("sub/b"), "b").unwrap();
            Self(path)
        }

        fn key(&self) -> String {
            Key::default().tree(&self.0, &["dist"]).unwrap().finish()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_tree_s_key_follows_contents_and_names() {
        let scratch = Scratch::new("tree");
        let first = scratch.key();
        assert_eq!(first, scratch.key());

        fs::write(scratch.0.join("sub/b"), "B").unwrap();
        let changed = scratch.key();
        assert_ne!(first, changed);

        fs::rename(scratch.0.join("sub/b"), scratch.0.join("b")).unwrap();
        assert_ne!(changed, scratch.key());
    }

    #[test]
    fn what_is_excepted_does_not_count() {
        let scratch = Scratch::new("except");
        let first = scratch.key();
        fs::write(scratch.0.join("dist/out"), "x").unwrap();
        assert_eq!(first, scratch.key());
    }

    #[test]
    fn a_stamp_holds_for_its_key_alone() {
        let scratch = Scratch::new("stamp");
        let path = scratch.0.join("stamps/page");
        let one = Stamp::new(path.clone(), &Key::default().text("one"));
        assert!(!one.holds());
        one.set().unwrap();
        assert!(one.holds());
        assert!(!Stamp::new(path, &Key::default().text("two")).holds());
    }

    #[test]
    fn an_absent_file_is_not_an_empty_one() {
        let scratch = Scratch::new("absent");
        let path = scratch.0.join("c");
        let absent = Key::default().file(&path).unwrap().finish();
        fs::write(&path, "").unwrap();
        assert_ne!(absent, Key::default().file(&path).unwrap().finish());
    }

    #[test]
    fn the_same_content_keeps_the_file_it_has() {
        let scratch = Scratch::new("replace");
        let (new, old) = (scratch.0.join("a"), scratch.0.join("sub/b"));
        replace_if_changed(&new, &old).unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"a");
        let before = fs::metadata(&old).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        replace_if_changed(&new, &old).unwrap();
        assert_eq!(before, fs::metadata(&old).unwrap().modified().unwrap());
    }
}

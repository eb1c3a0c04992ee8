//! A download on its way: `NAME.partial`, and beside it `NAME.partial.etag`, which says of what it
//! is the beginning.

use std::path::{Path, PathBuf};

use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use crate::failure::Failure;

/// The beginning of a file.
pub(super) struct Partial {
    path: PathBuf,
    tag_path: PathBuf,
    /// The strong entity tag of what it is the beginning of.
    pub(super) tag: Option<String>,
    /// How many bytes are there.
    pub(super) bytes: u64,
    file: Option<File>,
}

impl Partial {
    /// What an earlier run left of the download to `target`; empty if nothing of use.
    pub(super) async fn of(target: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let (path, tag_path) = (beside(".partial"), beside(".partial.etag"));
        let tag = fs::read_to_string(&tag_path).await.ok();
        let bytes = match &tag {
            Some(_) => fs::metadata(&path).await.map_or(0, |metadata| metadata.len()),
            None => 0,
        };
        Self { path, tag_path, tag, bytes, file: None }
    }

    /// Begins anew, with what `tag` names. Without a tag a later run can't go on with it.
    pub(super) async fn restart(&mut self, tag: Option<String>) -> Result<(), Failure> {
        let file = File::create(&self.path).await.map_err(|error| self.failure(error))?;
        let noted = match &tag {
            Some(tag) => fs::write(&self.tag_path, tag).await,
            None => remove_if_there(&self.tag_path).await,
        };
        noted.map_err(|error| Failure::io("write", &self.tag_path, error))?;
        (self.file, self.tag, self.bytes) = (Some(file), tag, 0);
        Ok(())
    }

    /// Adds what comes next.
    pub(super) async fn append(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        if self.file.is_none() {
            let open = OpenOptions::new().append(true).open(&self.path).await;
            self.file = Some(open.map_err(|error| self.failure(error))?);
        }
        if let Some(file) = &mut self.file {
            let written = file.write_all(chunk).await;
            written.map_err(|error| self.failure(error))?;
        }
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Hands what was written to the system, so that the file's length tells how far it got.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            let flushed = file.flush().await;
            flushed.map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    /// The download is complete: gives it its name.
    pub(super) async fn complete(self, target: &Path) -> Result<(), Failure> {
        let renamed = fs::rename(&self.path, target).await;
        renamed.map_err(|error| Failure::io("write", target, error))?;
        let removed = remove_if_there(&self.tag_path).await;
        removed.map_err(|error| Failure::io("remove", &self.tag_path, error))
    }

    fn failure(&self, error: std::io::Error) -> Failure {
        Failure::io("write", &self.path, error)
    }
}

async fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

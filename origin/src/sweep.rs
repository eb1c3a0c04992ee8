//! Removes what a process that was killed left behind: parts that no record names, and parts that
//! were never finished.
//!
//! The data folder belongs to one process. So whatever was written before this one began is named
//! by a record by now, or never will be. Nothing waits for the sweep; it goes over the folder once
//! after the start, one part at a time.

use std::path::{Path as FsPath, PathBuf};
use std::time::SystemTime;

use futures::TryStreamExt as _;

use crate::store::{Store, StoreError};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Parts that were looked at.
    pub(crate) seen: usize,
    /// Parts that were removed.
    pub(crate) removed: usize,
    /// Unfinished files that were removed.
    pub(crate) unfinished: usize,
}

/// Sweeps what was written before `begun`. `folder` is where the blob store keeps its files.
pub(crate) async fn sweep(
    store: &Store,
    folder: PathBuf,
    begun: SystemTime,
) -> Result<Swept, StoreError> {
    let removing = tokio::task::spawn_blocking(move || remove_unfinished(&folder, begun));
    let unfinished = removing.await.map_err(|error| StoreError::Fault(error.to_string()))?;
    let mut swept = Swept { unfinished, ..Swept::default() };
    let mut parts = store.stored_parts();
    while let Some(stored) = parts.try_next().await? {
        swept.seen += 1;
        if stored.modified < begun && !store.names(stored.name).await? {
            store.remove_part(stored.name).await;
            swept.removed += 1;
        }
    }
    Ok(swept)
}

/// While a part is being written, `object_store` keeps it under its name, a `#` and a number, and
/// passes over such files when it lists.
fn remove_unfinished(folder: &FsPath, begun: SystemTime) -> usize {
    let entries = |folder: &FsPath| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.flatten().map(|entry| entry.path())
    };
    let files = entries(folder).flat_map(|folder| entries(&folder));
    files
        .filter(|file| file.to_string_lossy().contains('#') && is_older(file, begun))
        .filter(|file| std::fs::remove_file(file).is_ok())
        .count()
}

fn is_older(file: &FsPath, begun: SystemTime) -> bool {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified < begun)
}

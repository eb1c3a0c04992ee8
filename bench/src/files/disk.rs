//! The bare file system: each file written, synced and renamed into one of 1,024 folders, which is
//! synced then.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::runtime::Runtime;

use super::{CALLERS, Created, Measured, content, disk_bytes, samples};

const FOLDERS: usize = 1024;

/// Creates the files, with a thread for each caller.
pub(super) fn measure(_: &Runtime, folder: &Path, files: usize) -> Result<Measured> {
    for place in 0..FOLDERS {
        fs::create_dir(folder.join(format!("{place:04}")))?;
    }
    let empty = disk_bytes(folder, &|_| true)?;
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let latencies = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| create_some(folder, files, &next))).collect();
        let joined = callers.into_iter().map(|caller| match caller.join() {
            Ok(latencies) => latencies,
            Err(_) => bail!("a thread panicked"),
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    let created = Created::new(begun, latencies.concat());
    for place in samples(files) {
        if fs::read(path(folder, place))? != content(place) {
            bail!("file {place} is another");
        }
    }
    let begun = Instant::now();
    let mut found = 0;
    for place in 0..FOLDERS {
        for entry in fs::read_dir(folder.join(format!("{place:04}")))? {
            found += usize::from(entry?.metadata()?.is_file());
        }
    }
    if found != files {
        bail!("{found} of {files} files are listed");
    }
    Ok(Measured {
        name: "file system".to_owned(),
        synced: true,
        created,
        disk_bytes: disk_bytes(folder, &|_| true)? - empty,
        metadata_bytes: 0,
        listed: Some(begun.elapsed()),
    })
}

fn create_some(
    folder: &Path,
    files: usize,
    next: &AtomicUsize,
) -> Result<Vec<std::time::Duration>> {
    let mut latencies = Vec::new();
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        if place >= files {
            return Ok(latencies);
        }
        let (begun, path) = (Instant::now(), path(folder, place));
        let unfinished = path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&content(place))?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        latencies.push(begun.elapsed());
    }
}

fn path(folder: &Path, place: usize) -> PathBuf {
    folder.join(format!("{:04}/{place}", place % FOLDERS))
}

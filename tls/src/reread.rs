//! What comes from files, and is read again when they change.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// How often it is looked whether files have changed.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is looked at once in a while.
pub trait Look: Send + Sync + 'static {
    /// Reads again what has changed; all of it where that was `asked` for. Whether there is
    /// something new.
    fn look(&self, asked: bool) -> bool;
}

/// A value out of files.
pub struct Reread<T> {
    paths: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    current: RwLock<Arc<T>>,
    /// How the files were when they were last read.
    seen: Mutex<Vec<Stamp>>,
}

/// What differs once a file was written or replaced: its time of change in nanoseconds, its
/// length in bytes, and which file it is. `None`: it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

impl<T> Reread<T> {
    /// Reads for the first time.
    pub fn open<E: Display>(
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before the files: what is written meanwhile is read once more.
        let seen = stamps(&paths);
        let current = RwLock::new(Arc::new(read()?));
        let read = Box::new(move || read().map_err(|error| error.to_string()));
        Ok(Self { paths, read, current, seen: Mutex::new(seen) })
    }

    /// What was read last without a fault.
    pub fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Send + Sync + 'static> Look for Reread<T> {
    fn look(&self, asked: bool) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.paths);
        if self.paths.is_empty() || (*seen == now && !asked) {
            return false;
        }
        *seen = now;
        match (self.read)() {
            Ok(value) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                true
            }
            Err(error) => {
                tracing::error!("what was read before stays in use: {error}");
                false
            }
        }
    }
}

/// Looks for as long as it is held.
#[derive(Debug)]
pub struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks every [`LOOK_EVERY`], and at all whenever the process gets SIGHUP. Within a tokio runtime.
pub fn watch(looked_at: Vec<Arc<dyn Look>>) -> std::io::Result<Watching> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    Ok(Watching(tokio::spawn(async move {
        ticks.tick().await; // The first comes at once.
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                _ = hangup.recv() => true,
            };
            for looked_at in &looked_at {
                // Files may be on a disk that is slow.
                let looked_at = looked_at.clone();
                let _ = tokio::task::spawn_blocking(move || looked_at.look(asked)).await;
            }
        }
    })))
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some((of.mtime(), of.mtime_nsec(), of.len(), of.ino()))
}

//! The cache's second tier: what was stored and is whole, in a folder, bounded by bytes, and there
//! again after a restart or a kill.
//!
//! Records are appended to segments ([`segment`]) by one thread ([`writer`]), from a bounded queue:
//! nobody waits for it, and what finds no room in it is not stored here. In memory there is a hash of
//! each key, and where its record is.
//!
//! What is forgotten or purged stays so through a kill: whoever forgets waits until the record's line
//! in the index is written over, and whoever purges until that is written down ([`purge_log`]). "Is
//! written" means that the system has it, not the disk: a process that is killed takes nothing back,
//! and after a stop of the machine the folder is believed only where a node had closed it
//! ([`folder`]). So neither waits for the disk.
//!
//! Lines are written under one lock, the *marks*, together with the look whether the record is still
//! wanted. So of one who forgets and one who stores the same, the one who forgets is right.

mod folder;
mod purge_log;
mod record;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::purges::Purges;
use folder::{Condition, Folder, Unbelieved};
use purge_log::PurgeLog;
use record::Now;
pub(crate) use record::Stored;
use segment::{Read, Segment};
use writer::{Logs, Writer};

/// What may wait to be written: bytes of bodies, unless it is one body, and how many.
const QUEUE_BYTES_MAX: u64 = 32 << 20;
const QUEUE_MAX: usize = 4_096;
/// How many records are read at once.
const READS_MAX: usize = 64;
/// How long a node that ends has the disk hold what was written, unless it is one segment.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The tier. The thread ends with the last of its clones.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Handle>);

struct Handle {
    inner: Arc<Inner>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

type Used = dyn Fn(&str) -> bool + Send + Sync;

struct Inner {
    folder: Folder,
    bounds: Bounds,
    state: Mutex<State>,
    /// There is something for the thread to do.
    news: Condvar,
    marks: Mutex<()>,
    purges: Arc<Purges>,
    purge_log: Mutex<PurgeLog>,
    /// Whether a key is in use in memory, so that it stays here, too.
    used: OnceLock<Box<Used>>,
    reads: Semaphore,
    /// It failed, and is no more, or soon.
    broken: AtomicBool,
    given_up: Mutex<bool>,
    counts: Counts,
}

/// Bounds that follow from the bytes that all may take.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes_max: u64,
    segment_bytes: u64,
    record_bytes_max: u64,
    records_max: usize,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// What the tier counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// What is there.
    pub(crate) bytes: u64,
    pub(crate) responses: u64,
    /// What was found.
    pub(crate) hits: u64,
    /// What was written, and what found no room in the queue.
    pub(crate) written: u64,
    pub(crate) dropped: u64,
    /// What could not be read or written, or was not what it should have been.
    pub(crate) failures: u64,
}

#[derive(Default)]
struct State {
    slots: HashMap<u64, Slot>,
    segments: HashMap<u32, Arc<Segment>>,
    /// What the files take.
    bytes: u64,
    jobs: VecDeque<Job>,
    jobs_bytes: u64,
    /// What is to be written over, and nobody waits for. Each was in a slot.
    graves: Vec<Grave>,
    /// The last number that was given.
    number: u64,
    ending: Option<Ending>,
}

/// How the thread is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Now,
    /// When nothing is left to do.
    Done,
}

/// Where the record of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// It waits to be written, under this number.
    Queued(u64),
    Written {
        at: Place,
        /// It was read since it was written.
        used: bool,
    },
}

/// A line of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    segment: u32,
    line: u32,
}

/// What the thread is to do.
struct Job {
    hash: u64,
    key: String,
    stored: Stored,
    what: What,
}

enum What {
    /// Write a record, under this number.
    Write(u64),
    /// Write a new head to the record that is there. What was there when this was asked for is there
    /// still, maybe elsewhere, or nothing is: what is asked for later is done later.
    Renew,
}

/// A record that is to be gone. Nobody finds it any more; its line must be written over, too, unless
/// it waited to be written.
pub(crate) struct Grave(Option<(Arc<Segment>, u32)>);

impl Bounds {
    /// A thirty-second of all for each segment, so that not too much goes at once, nor too many files
    /// are open.
    const SEGMENT_SHARE: u64 = 32;
    const RECORD_SHARE: u64 = 32;
    /// What a record takes at least, when they are counted: each takes memory, too.
    const RECORD_BYTES_COUNTED: u64 = 4 << 10;

    fn new(bytes_max: u64) -> Self {
        let records_max = bytes_max / Self::RECORD_BYTES_COUNTED;
        Self {
            bytes_max,
            segment_bytes: bytes_max / Self::SEGMENT_SHARE,
            record_bytes_max: bytes_max / Self::RECORD_SHARE,
            records_max: usize::try_from(records_max).unwrap_or(usize::MAX).max(1),
        }
    }
}

impl Disk {
    /// Opens the tier in this folder, for so many bytes: with what is in it, if this edition of the
    /// program wrote it and nothing can have been lost since, or empty. `None` where it can't be had
    /// at all. Either is said in the log. `purges` is told what was purged before.
    pub(crate) fn open(
        folder: &Path,
        bytes_max: u64,
        edition: &[u8],
        purges: Arc<Purges>,
    ) -> Option<Self> {
        Self::open_folder(Folder::new(folder, edition), bytes_max, purges)
    }

    fn open_folder(folder: Folder, bytes_max: u64, purges: Arc<Purges>) -> Option<Self> {
        let path = folder.path().display().to_string();
        let found = match folder.look() {
            Ok(()) => Logs::read(folder.path(), &purges).map_err(Unbelieved::Unreadable),
            Err(why) => Err(why),
        };
        let found = found.or_else(|why| {
            if !matches!(why, Unbelieved::Missing) {
                tracing::warn!("the cache in {path} is not used and begins empty: {why}");
            }
            folder.make()?;
            Ok(Logs::default())
        });
        let opened = found.and_then(|logs| Self::start(folder.clone(), bytes_max, logs, purges));
        opened
            .inspect_err(|error: &io::Error| {
                tracing::error!(
                    "the cache goes on without a disk, for {path} can't be used: {error}"
                );
            })
            .inspect_err(|_| Self::remove(folder.path()))
            .ok()
    }

    fn start(
        folder: Folder,
        bytes_max: u64,
        mut logs: Logs,
        purges: Arc<Purges>,
    ) -> io::Result<Self> {
        folder.set(Condition::Open)?;
        let purge_log = PurgeLog::begin(folder.path(), &purges)?;
        let inner = Arc::new(Inner {
            folder,
            bounds: Bounds::new(bytes_max),
            state: Mutex::new(logs.state()),
            news: Condvar::new(),
            marks: Mutex::new(()),
            purges,
            purge_log: Mutex::new(purge_log),
            used: OnceLock::new(),
            reads: Semaphore::new(READS_MAX),
            broken: AtomicBool::new(false),
            given_up: Mutex::new(false),
            counts: Counts::default(),
        });
        let writer = Writer::new(inner.clone(), logs);
        let writer =
            std::thread::Builder::new().name("cache disk".into()).spawn(move || writer.run())?;
        Ok(Self(Arc::new(Handle { inner, writer: Mutex::new(Some(writer)) })))
    }

    /// Makes a folder that an earlier node may have left go: this node has no disk, and what is
    /// forgotten from here on would come back with the next that has.
    pub(crate) fn remove(folder: &Path) {
        if let Err(error) = folder::remove(folder) {
            tracing::error!("{} can't be removed: {error}", folder.display());
        }
    }

    /// Says how to find out whether a key is in use in memory.
    pub(crate) fn keeps(&self, used: impl Fn(&str) -> bool + Send + Sync + 'static) {
        let _ = self.inner().used.set(Box::new(used));
    }

    /// Whether something is here, or is about to be.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.inner().state().slots.contains_key(&hash(key))
    }

    /// Reads what is here.
    pub(crate) async fn read(&self, key: &str) -> Option<Stored> {
        let _turn = self.inner().reads.acquire().await.ok()?;
        let (inner, key) = (self.0.inner.clone(), key.to_owned());
        tokio::task::spawn_blocking(move || inner.read(&key)).await.ok()?
    }

    /// Stores this, behind the caller's back, in place of what is here. Not done where too much waits
    /// already.
    pub(crate) fn write(&self, key: String, stored: Stored) {
        let hash = hash(&key);
        self.inner().change(|state| state.write(hash, key, stored, &self.0.inner));
    }

    /// What is stored has a new head, and the same body and forms as here, if it is here.
    pub(crate) fn renew(&self, key: String, stored: Stored) {
        let hash = hash(&key);
        self.inner().change(|state| state.renew(hash, key, stored, &self.0.inner));
    }

    /// What is here is not what is stored any more.
    pub(crate) fn supersede(&self, key: &str) {
        let hash = hash(key);
        self.inner().change(|state| state.supersede(hash));
    }

    /// Nobody finds what is here from now on. It is forgotten once the grave is filled
    /// ([`Disk::fill`]).
    pub(crate) fn forget(&self, key: &str) -> Option<Grave> {
        self.inner().state().take(hash(key))
    }

    /// Has what was forgotten written over, and tags purged. Both are so, and will be after a kill,
    /// when this returns, and even if it is not waited for.
    pub(crate) async fn fill(&self, graves: Vec<Grave>, purges: Vec<(String, bool)>) {
        let inner = self.0.inner.clone();
        let filling = move || {
            if let Err(error) = inner.fill(&graves).and_then(|()| inner.hold(&graves)) {
                inner.give_up(&error);
            }
            for (tag, soft) in purges {
                inner.purge(tag, soft);
            }
        };
        // It fails where the process ends.
        let _ = tokio::task::spawn_blocking(filling).await;
    }

    /// Writes what waits, and has the disk hold all of it: it is there even if the machine stops.
    pub(crate) async fn close(&self) {
        let disk = self.clone();
        let closing = move || {
            disk.0.end(Ending::Done);
            if let Err(error) = disk.inner().close() {
                disk.inner().give_up(&error);
            }
        };
        let _ = tokio::task::spawn_blocking(closing).await;
    }

    /// Waits until nothing waits to be written.
    #[cfg(test)]
    pub(crate) async fn settled(&self) {
        let is_busy = |state: &State| state.jobs_bytes > 0 || !state.graves.is_empty();
        while is_busy(&self.inner().state()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Has nothing read until this is dropped.
    #[cfg(test)]
    pub(crate) async fn hold_reads(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.inner().reads.acquire_many(READS_MAX as u32).await.unwrap()
    }

    /// Ends as a process that is killed does: nothing more is written.
    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.0.end(Ending::Now);
    }

    /// What was counted.
    pub(crate) fn counted(&self) -> Counted {
        let counts = &self.inner().counts;
        let state = self.inner().state();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            bytes: state.bytes,
            responses: state.slots.len() as u64,
            hits: count(&counts.hits),
            written: count(&counts.written),
            dropped: count(&counts.dropped),
            failures: count(&counts.failures),
        }
    }

    fn inner(&self) -> &Inner {
        &self.0.inner
    }
}

impl Handle {
    /// Ends the thread and waits for it.
    fn end(&self, ending: Ending) {
        self.inner.state().ending = Some(ending);
        self.inner.news.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the cache to the disk has failed");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.state().ending.get_or_insert(Ending::Now);
        self.inner.news.notify_all();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a line is written. Whoever holds the state does not take it.
    fn marks(&self) -> MutexGuard<'_, ()> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Changes what is to be done.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if !self.is_broken() {
            change(&mut state);
            drop(state);
            self.news.notify_one();
        }
    }

    fn read(&self, key: &str) -> Option<Stored> {
        let hash = hash(key);
        let (segment, at) = self.state().use_record(hash)?;
        let read = segment.read(at.line).and_then(|read| match read {
            // It may have been read while its head was renewed.
            Read::Wrong => {
                let _marks = self.marks();
                segment.read(at.line)
            }
            read => Ok(read),
        });
        match read {
            Ok(Read::Record(record)) if record.line.hash == hash => {
                let stored = Stored::read(key, record.meta(), record.rest(), Now::new())?;
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                Some(stored)
            }
            Ok(Read::Record(_) | Read::Nothing) => None,
            Ok(Read::Wrong) => {
                tracing::warn!(key, "what the cache has on the disk is not what was written there");
                self.discard(hash, &segment, at);
                None
            }
            Err(error) => {
                tracing::warn!(key, "what the cache has on the disk can't be read: {error}");
                self.discard(hash, &segment, at);
                None
            }
        }
    }

    /// Lets go of a record that can't be read.
    fn discard(&self, hash: u64, segment: &Segment, at: Place) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        let marks = self.marks();
        // First there, then here: what is not found needs no grave.
        let buried = segment.bury(at.line);
        drop(marks);
        self.state().remove_at(hash, at);
        if let Err(error) = buried {
            self.give_up(&error);
        }
    }

    fn fill(&self, graves: &[Grave]) -> io::Result<()> {
        if graves.is_empty() {
            return Ok(());
        }
        // Whoever was writing one of them sees, before this is to be had, that it is not wanted.
        let _marks = self.marks();
        for grave in graves {
            if let Grave(Some((segment, line))) = grave {
                segment.bury(*line)?;
            }
        }
        Ok(())
    }

    /// Has the disk hold what was filled after the folder was closed.
    fn hold(&self, graves: &[Grave]) -> io::Result<()> {
        if self.state().ending.is_none() {
            return Ok(());
        }
        for grave in graves {
            if let Grave(Some((segment, _))) = grave {
                segment.sync()?;
            }
        }
        Ok(())
    }

    fn purge(&self, tag: String, soft: bool) {
        let mut log = self.purge_log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_broken() {
            // What would not know of it after a kill is removed then.
            drop(self.given_up());
            return self.purges.purge(tag, soft);
        }
        if let Err(error) = log.purge(tag.clone(), soft, &self.purges) {
            self.give_up(&error);
            return self.purges.purge(tag, soft);
        }
        let ending = self.state().ending.is_some();
        if let Err(error) = if ending { log.sync() } else { Ok(()) } {
            self.give_up(&error);
        }
    }

    fn close(&self) -> io::Result<()> {
        if self.is_broken() {
            return Ok(());
        }
        let begun = Instant::now();
        let segments: Vec<_> = self.state().segments.values().cloned().collect();
        for segment in segments {
            if begun.elapsed() > CLOSE_MAX {
                tracing::warn!(
                    "the disk is slow; the cache there ends with this run of the machine"
                );
                return Ok(());
            }
            segment.sync()?;
        }
        self.purge_log.lock().unwrap_or_else(PoisonError::into_inner).sync()?;
        self.folder.set(Condition::Closed)
    }

    /// Goes on without the tier, and removes it: what is forgotten from now on must not come back.
    /// When this returns it is removed, whoever began to do so.
    fn give_up(&self, error: &io::Error) {
        let mut given_up = self.given_up();
        if std::mem::replace(&mut *given_up, true) {
            return;
        }
        self.broken.store(true, Ordering::Release);
        let path = self.folder.path().display();
        tracing::error!("the cache goes on without its disk, {path}: {error}");
        if let Err(error) = self.folder.remove() {
            tracing::error!(
                "remove {path}, or what is purged may be back after a restart: {error}"
            );
        }
        // First there, then here: what is not found needs no grave.
        let mut state = self.state();
        let ending = state.ending;
        *state = State { ending: ending.or(Some(Ending::Now)), ..State::default() };
        drop(state);
        self.news.notify_all();
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn given_up(&self) -> MutexGuard<'_, bool> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Where a record is, and that it is used.
    fn use_record(&mut self, hash: u64) -> Option<(Arc<Segment>, Place)> {
        let Some(Slot::Written { at, used }) = self.slots.get_mut(&hash) else { return None };
        *used = true;
        Some((self.segments.get(&at.segment)?.clone(), *at))
    }

    fn take(&mut self, hash: u64) -> Option<Grave> {
        match self.slots.remove(&hash)? {
            Slot::Queued(_) => Some(Grave(None)),
            Slot::Written { at, .. } => {
                Some(Grave(Some((self.segments.get(&at.segment)?.clone(), at.line))))
            }
        }
    }

    fn write(&mut self, hash: u64, key: String, stored: Stored, inner: &Inner) {
        // Rather nothing than what was.
        self.supersede(hash);
        let number = self.next_number();
        let job = Job { hash, key, stored, what: What::Write(number) };
        if job.bytes() <= inner.bounds.record_bytes_max && self.push(job, inner) {
            self.slots.insert(hash, Slot::Queued(number));
        }
    }

    fn renew(&mut self, hash: u64, key: String, stored: Stored, inner: &Inner) {
        if !matches!(self.slots.get(&hash), Some(Slot::Written { .. })) {
            return self.write(hash, key, stored, inner);
        }
        if !self.push(Job { hash, key, stored, what: What::Renew }, inner) {
            self.supersede(hash);
        }
    }

    fn supersede(&mut self, hash: u64) {
        let grave = self.take(hash);
        // What is being written finds out by itself.
        self.graves.extend(grave.filter(|Grave(written)| written.is_some()));
    }

    /// Puts something into the queue, if there is room.
    fn push(&mut self, job: Job, inner: &Inner) -> bool {
        let fits = self.jobs.is_empty() || self.jobs_bytes + job.bytes() <= QUEUE_BYTES_MAX;
        if !fits || self.jobs.len() >= QUEUE_MAX {
            inner.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.jobs_bytes += job.bytes();
        self.jobs.push_back(job);
        true
    }

    fn remove_at(&mut self, hash: u64, place: Place) {
        let there = Slot::Written { at: place, used: false };
        if self.slots.get(&hash).is_some_and(|slot| slot.is(there)) {
            self.slots.remove(&hash);
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Job {
    fn bytes(&self) -> u64 {
        self.stored.body_bytes() + (self.stored.head.len() + self.key.len()) as u64
    }
}

impl Slot {
    /// Whether it is this, used or not.
    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Queued(number), Self::Queued(other)) => number == other,
            (Self::Written { at, .. }, Self::Written { at: other, .. }) => at == other,
            _ => false,
        }
    }
}

/// What a key's record is found by.
fn hash(key: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

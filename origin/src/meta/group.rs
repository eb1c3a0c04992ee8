//! Group commit: makes a [`Meta`] of an embedded [`Engine`].
//!
//! A durable commit costs a wait for the disk, a millisecond or more, however much it holds. So
//! one thread owns all writing: it takes whatever has queued up while the last commit was under
//! way, decides each operation in order, commits what they change as one, and only then answers
//! them. Nothing is delayed to fill a group; a lone writer pays one commit, and many share it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Entry, Key, Meta, MetaError, SCAN_ENTRIES_MAX, Version, check_sizes};

/// How many operations may wait for the writer; whoever comes later waits for a place.
const QUEUE_JOBS_MAX: usize = 1024;
/// The most operations in one commit.
const GROUP_JOBS_MAX: usize = 512;
/// No operation joins a commit that holds as many bytes of values as this.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// How long a caller waits for a place in the queue, and as long again for its commit. A disk that
/// takes longer is as good as none.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(15);

/// What an engine keeps under a key: the version and, behind it, the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored(Bytes);

impl Stored {
    /// Takes what was read from a store.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// What is to be written to a store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn new(version: Version, value: &[u8]) -> Self {
        Self([version.to_bytes().as_slice(), value].concat().into())
    }

    pub(super) fn entry(&self) -> Result<Entry, MetaError> {
        let (version, _) = self.0.split_first_chunk().ok_or_else(|| unavailable(Damaged))?;
        Ok(Entry { version: Version::from_bytes(*version), value: self.0.slice(version.len()..) })
    }
}

/// What a commit does to one key: a new value, or none.
pub type Change = (Bytes, Option<Stored>);

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    #[error("the storage engine failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An ordered, crash-safe store of bytes on this machine. All of it blocks.
pub trait Engine: Send + Sync + 'static {
    /// What is kept under `key`. Sees every commit that has returned.
    fn get(&self, key: &[u8]) -> Result<Option<Stored>, EngineError>;

    /// The first `limit` keys from `from` on and before `to`, in order, with what they keep.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Stored)>, EngineError>;

    /// Makes all changes or none, durable against loss of power when it returns. Called by one
    /// thread at a time, and never twice for one key in one call. After an error either may be
    /// the case, and the next call of any method must work if the disk lets it.
    fn commit(&self, changes: &[Change]) -> Result<(), EngineError>;
}

/// An [`Engine`] as a [`Meta`].
#[derive(Debug)]
pub struct GroupCommit<E> {
    engine: Arc<E>,
    stats: Arc<GroupStats>,
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub struct GroupStats {
    /// Commits that were made durable.
    pub commits: AtomicU64,
    /// Changes in them. Divided by the commits, the size of a group.
    pub changes: AtomicU64,
    /// Commits that failed.
    pub failures: AtomicU64,
}

impl<E: Engine> GroupCommit<E> {
    /// Starts the writer. It ends when the value is dropped.
    pub fn new(engine: E) -> std::io::Result<Self> {
        let engine = Arc::new(engine);
        let stats = Arc::new(GroupStats::default());
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = Writer { engine: engine.clone(), stats: stats.clone() };
        let writer = std::thread::Builder::new()
            .name("outport-meta".to_owned())
            .spawn(move || writer.run(jobs))?;
        Ok(Self { engine, stats, queue: Some(queue), writer: Some(writer) })
    }

    /// What the writer has done so far.
    pub fn stats(&self) -> Arc<GroupStats> {
        self.stats.clone()
    }

    async fn write(&self, key: Key, task: Task) -> Result<Version, MetaError> {
        let value = task.value.as_deref().unwrap_or_default();
        check_sizes(&key, value)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { key: storage_key(&key.partition, &key.key), task, answer };
        let queue = self.queue.as_ref().ok_or_else(|| unavailable(Ended))?;
        match timeout(WRITE_WAIT_MAX, queue.send(job)).await {
            Ok(sent) => sent.map_err(|_| unavailable(Ended))?,
            Err(elapsed) => return Err(unavailable(elapsed)),
        }
        match timeout(WRITE_WAIT_MAX, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(MetaError::Uncertain(Arc::new(Ended))),
            Err(elapsed) => Err(MetaError::Uncertain(Arc::new(elapsed))),
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&E) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || read(&engine))
            .await
            .map_err(unavailable)?
            .map_err(unavailable)
    }
}

impl<E> Drop for GroupCommit<E> {
    /// Waits for what is queued, so that the files are closed when this returns.
    fn drop(&mut self) {
        self.queue.take();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // A writer that panicked has already failed its callers.
        }
    }
}

impl<E: Engine> Meta for GroupCommit<E> {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        async move {
            check_sizes(&key, &[])?;
            let key = storage_key(&key.partition, &key.key);
            let stored = self.read(move |engine| engine.get(&key)).await?;
            stored.map(|stored| stored.entry()).transpose()
        }
        .boxed()
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        self.write(key, Task { value: Some(value), expected }).boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        async move {
            self.write(key, Task { value: None, expected: Some(expected) }).await?;
            Ok(())
        }
        .boxed()
    }

    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>> {
        async move {
            check_sizes(&Key::new(partition.clone(), Bytes::new()), &[])?;
            let prefix = storage_key(&partition, &[]);
            let from = match &after {
                Some(after) => [&prefix, after.as_ref(), &[0]].concat(),
                None => prefix.to_vec(),
            };
            let (to, begin) = (after_prefix(&prefix), prefix.len());
            let limit = limit.min(SCAN_ENTRIES_MAX);
            let found = self.read(move |engine| engine.scan(&from, &to, limit)).await?;
            found
                .into_iter()
                .map(|(key, stored)| Ok((key.slice(begin.min(key.len())..), stored.entry()?)))
                .collect()
        }
        .boxed()
    }
}

/// What is to be done to a key: store a value or none, if the key is in the expected state.
#[derive(Debug)]
struct Task {
    value: Option<Bytes>,
    expected: Option<Version>,
}

#[derive(Debug)]
struct Job {
    key: Bytes,
    task: Task,
    answer: oneshot::Sender<Result<Version, MetaError>>,
}

/// A job that is answered when its group is committed.
struct Pending {
    version: Version,
    answer: oneshot::Sender<Result<Version, MetaError>>,
}

struct Writer<E> {
    engine: Arc<E>,
    stats: Arc<GroupStats>,
}

impl<E: Engine> Writer<E> {
    fn run(&self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            self.commit(take_group(first, &mut jobs));
        }
    }

    fn commit(&self, group: Vec<Job>) {
        let mut changes = HashMap::with_capacity(group.len());
        let mut pending = Vec::with_capacity(group.len());
        for job in group {
            match self.decide(&job, &changes) {
                Ok((version, stored)) => {
                    changes.insert(job.key, stored);
                    pending.push(Pending { version, answer: job.answer });
                }
                // Whoever has given up waiting needs no answer.
                Err(error) => drop(job.answer.send(Err(error))),
            }
        }
        if pending.is_empty() {
            return;
        }
        let changes: Vec<Change> = changes.into_iter().collect();
        let outcome = self.engine.commit(&changes);
        self.count(pending.len(), outcome.is_ok());
        let outcome = outcome.or_else(|error| match self.was_committed(&changes) {
            Some(true) => Ok(()),
            Some(false) => Err(not_made(error)),
            None => Err(MetaError::Uncertain(Arc::new(error))),
        });
        for job in pending {
            let _ = job.answer.send(outcome.clone().map(|()| job.version));
        }
    }

    /// Whether a job may be done, after those before it in its group.
    fn decide(
        &self,
        job: &Job,
        changes: &HashMap<Bytes, Option<Stored>>,
    ) -> Result<(Version, Option<Stored>), MetaError> {
        let current = match changes.get(&job.key) {
            Some(changed) => changed.clone(),
            None => self.engine.get(&job.key).map_err(unavailable)?,
        };
        let current = current.map(|stored| stored.entry()).transpose()?;
        if current.map(|entry| entry.version) != job.task.expected {
            return Err(MetaError::Conflict);
        }
        let version = Version::fresh();
        Ok((version, job.task.value.as_ref().map(|value| Stored::new(version, value))))
    }

    fn count(&self, changes: usize, committed: bool) {
        if committed {
            self.stats.commits.fetch_add(1, Ordering::Relaxed);
            self.stats.changes.fetch_add(changes as u64, Ordering::Relaxed);
        } else {
            self.stats.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A commit that failed has happened or not. It is one, and no version is ever used twice, so
    /// looking at one of its changes tells which.
    fn was_committed(&self, changes: &[Change]) -> Option<bool> {
        let stored = changes.iter().find(|(_, stored)| stored.is_some());
        let (key, stored) = stored.or(changes.first())?;
        self.engine.get(key).ok().map(|current| current == *stored)
    }
}

fn take_group(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.value_bytes();
    let mut group = vec![first];
    while group.len() < GROUP_JOBS_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.value_bytes();
        group.push(job);
    }
    group
}

impl Job {
    fn value_bytes(&self) -> usize {
        self.task.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Partition and key as one string of bytes, such that partitions neither mix nor nest: the
/// partition's length comes first.
pub(super) fn storage_key(partition: &[u8], key: &[u8]) -> Bytes {
    let length = (partition.len() as u16).to_be_bytes(); // PARTITION_BYTES_MAX fits.
    [&length, partition, key].concat().into()
}

/// The first string of bytes behind all that begin with `prefix`.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

fn not_made(error: EngineError) -> MetaError {
    match error {
        EngineError::Full(_) => MetaError::Full(Arc::new(error)),
        EngineError::Failed(_) => MetaError::Unavailable(Arc::new(error)),
    }
}

pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> MetaError {
    MetaError::Unavailable(Arc::new(error))
}

#[derive(Debug, thiserror::Error)]
#[error("the writer of the metadata store has ended")]
struct Ended;

#[derive(Debug, thiserror::Error)]
#[error("a stored value is too short to hold its version")]
pub(super) struct Damaged;

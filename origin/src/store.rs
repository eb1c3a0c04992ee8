//! Uploads and files as a whole: a record in [`Meta`] for each, its parts in the blob store, and an
//! entry in its owner's list.
//!
//! The order of writes is what keeps this right without locks or transactions:
//!
//! - Parts are durable before a record names them, and the record is durable before anybody is
//!   told. So no offset ever exceeds what is stored.
//! - A record changes by compare-and-swap. Who loses removes the parts it wrote, and nothing else
//!   has changed.
//! - The list entry comes before the record and goes after it. So every record is in its owner's
//!   list; an entry without a record is passed over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use outport_wire::id::{FileId, Home};
use outport_wire::identity::Identity;

use crate::blobs::{Blobs, PartLimits, StoredPart};
use crate::clock;
use crate::full::is_full;
use crate::intake::{End, Intake};
use crate::meta::{Entry, Key, Meta, MetaError, Version};
use crate::record::{Description, Part, Record, Stretch};

/// How often a change is tried on a record that others change at the same time.
const CHANGE_ATTEMPTS_MAX: usize = 16;
/// How many records are fetched at once for a list.
const LIST_FETCHES_MAX: usize = 16;
/// How many entries one request for a list looks at, whether they match or not.
const LIST_ENTRIES_MAX: usize = 1000;
/// A part grows to this fraction of what the upload has by then, so that the number of parts is
/// logarithmic: about 600 for a TiB.
const PART_FRACTION: u64 = 64;

/// The most parts of one upload: what a record can hold (see [`crate::meta::VALUE_BYTES_MAX`]) at 34
/// bytes each. Only a client that sends very many small requests gets there.
const PARTS_MAX: usize = 8192;
/// A slow upload has its parts cut by their age. With every so many parts they may grow as old
/// again, so that it takes more than a week to reach [`PARTS_MAX`] in this way.
const PARTS_PER_AGE: u32 = 512;

/// The oldest that any part grows. A file that is stored whole or not at all gains nothing from
/// parts that are cut earlier.
const PART_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How parts are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartPolicy {
    pub(crate) bytes_min: u64,
    pub(crate) bytes_max: u64,
    pub(crate) age_max: Duration,
}

/// All uploads and files.
#[derive(Clone)]
pub(crate) struct Store {
    meta: Arc<dyn Meta>,
    blobs: Blobs,
    region: u8,
    parts: PartPolicy,
}

/// A record in the state it was read or written in.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: FileId,
    pub(crate) record: Record,
    version: Version,
}

/// Why storing failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The disk is full. What was acknowledged is safe; go on once there is space.
    #[error("there is no space left")]
    Full,
    /// A store failed; retry with backoff.
    #[error("the storage is unavailable: {0}")]
    Unavailable(String),
    /// A store failed while it wrote, and the change may still be made. Look before a retry.
    #[error("the storage can't tell whether it stored: {0}")]
    Uncertain(String),
    /// Too many others change the same record. Retry.
    #[error("the record is changed by others all the time")]
    Contended,
    /// What is stored can't be understood, or a limit of ours was passed: a fault of ours.
    #[error("{0}")]
    Fault(String),
}

/// Why an append, or a whole upload, did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The upload is not there, or not any more.
    #[error("the upload is gone")]
    Gone,
    /// Somebody else appended meanwhile. Ask for the offset and go on from there.
    #[error("the upload is at byte {expected}")]
    OffsetMismatch { expected: u64 },
    /// The body was longer than announced. Its last part was thrown away.
    #[error("the body is longer than announced; the upload is at byte {offset}")]
    TooLong { offset: u64 },
    /// The upload has come in too many pieces; it can't be ended.
    #[error("an upload can have {PARTS_MAX} pieces; begin anew and send larger ones")]
    TooManyParts,
    /// The body broke off. What arrived is durable up to `offset`.
    #[error("the body broke off; the upload is at byte {offset}")]
    Cut { offset: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a record was not changed.
#[derive(Debug)]
pub(crate) enum ChangeError<E> {
    /// It is not there, or not any more.
    Gone,
    /// The change refused to be made.
    Refused(E),
    Store(StoreError),
}

/// A page of an owner's files.
#[derive(Debug)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) files: Vec<(FileId, Record)>,
    /// Where the next page begins, if there may be one.
    pub(crate) next: Option<Bytes>,
}

impl Store {
    pub(crate) fn new(
        meta: Arc<dyn Meta>,
        blobs: Arc<dyn ObjectStore>,
        chunk_bytes: u64,
        region: u8,
        parts: PartPolicy,
    ) -> Self {
        Self { meta, blobs: Blobs::new(blobs, chunk_bytes), region, parts }
    }

    /// Whether metadata can be read. For a readiness check.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.meta.get(Key::new("ready", "")).await?;
        Ok(())
    }

    /// Begins an upload of `length` bytes. It is durable when this returns.
    pub(crate) async fn begin(
        &self,
        owner: &Identity,
        description: Description,
        length: u64,
    ) -> Result<Held, StoreError> {
        let id = self.new_id(owner);
        self.list_entry(owner, id).await?;
        let record = Record::begin(owner, description, length, clock::unix_s());
        self.create(id, record).await
    }

    /// Stores a whole file from one body. All of it is durable when this returns, or none of it
    /// is there.
    pub(crate) async fn store_whole(
        &self,
        owner: &Identity,
        description: Description,
        intake: &mut Intake,
    ) -> Result<Held, AppendError> {
        let id = self.new_id(owner);
        let mut parts = Vec::new();
        let (listed, written) =
            futures::join!(self.list_entry(owner, id), self.write_parts(id, &mut parts, intake));
        let created = match (listed, written) {
            (Ok(()), Ok(())) => {
                let length = parts.iter().map(|part| part.bytes).sum();
                let mut record = Record::begin(owner, description, length, clock::unix_s());
                record.parts.clone_from(&parts);
                self.create(id, record).await.map_err(AppendError::Store)
            }
            (Err(error), _) => Err(error.into()),
            (_, Err(error)) => Err(error),
        };
        // While it is not certain that there is no record, the parts stay: a sweep will tell.
        if !matches!(created, Ok(_) | Err(AppendError::Store(StoreError::Uncertain(_)))) {
            self.blobs.remove(id, &parts).await;
            self.unlist(owner, id).await;
        }
        created
    }

    /// Appends a body to an upload that is in the `held` state. Each part is acknowledged by the
    /// state of the record, so that even an error leaves behind what was committed before it.
    pub(crate) async fn append(
        &self,
        mut held: Held,
        intake: &mut Intake,
    ) -> Result<Held, AppendError> {
        loop {
            if held.record.parts.len() >= PARTS_MAX {
                return Err(AppendError::TooManyParts);
            }
            let limits = self.part_limits(held.record.offset(), held.record.parts.len());
            let written =
                self.blobs.write(held.id, intake, limits).await.map_err(StoreError::from)?;
            if let Some(part) = written.part {
                held = self.commit_part(held, part).await?;
            }
            let offset = held.record.offset();
            match written.end {
                None => {}
                Some(End::Complete) => return Ok(held),
                Some(End::Cut) => return Err(AppendError::Cut { offset }),
                Some(End::TooLong) => return Err(AppendError::TooLong { offset }),
            }
        }
    }

    /// The upload or file with this id. What has expired is not there.
    pub(crate) async fn load(&self, id: FileId) -> Result<Option<Held>, StoreError> {
        let Some(Entry { version, value }) = self.meta.get(record_key(id)).await? else {
            return Ok(None);
        };
        let record = read_record(&value)?;
        let held = Held { id, record, version };
        Ok((!held.record.file_record().is_expired(clock::unix_s())).then_some(held))
    }

    /// Changes a record. `change` may be called several times, each time on the latest state.
    pub(crate) async fn change<E>(
        &self,
        id: FileId,
        change: impl Fn(&mut Record) -> Result<(), E>,
    ) -> Result<Held, ChangeError<E>> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let mut held = self.load(id).await?.ok_or(ChangeError::Gone)?;
            change(&mut held.record).map_err(ChangeError::Refused)?;
            match self.replace(&held).await {
                Ok(version) => return Ok(Held { version, ..held }),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        Err(StoreError::Contended.into())
    }

    /// Removes an upload or file. `check` may refuse, on the state that would be removed.
    pub(crate) async fn remove<E>(
        &self,
        id: FileId,
        check: impl Fn(&Record) -> Result<(), E>,
    ) -> Result<(), ChangeError<E>> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let held = self.load(id).await?.ok_or(ChangeError::Gone)?;
            check(&held.record).map_err(ChangeError::Refused)?;
            match self.meta.delete(record_key(id), held.version).await {
                Ok(()) => {
                    self.remove_remains(&held).await;
                    return Ok(());
                }
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        Err(StoreError::Contended.into())
    }

    /// The files of an owner, newest first, whose names begin with `prefix`. Uploads that are not
    /// complete are none. A page may be short, or empty, and yet have a next one.
    pub(crate) async fn list(
        &self,
        owner: &Identity,
        prefix: &str,
        limit: usize,
        after: Option<Bytes>,
    ) -> Result<Page, StoreError> {
        let partition = list_partition(&owner.tenant, &owner.subject);
        let entries = self.meta.scan(partition, after, LIST_ENTRIES_MAX).await?;
        let mut more = entries.len() == LIST_ENTRIES_MAX;
        let mut fetched = stream::iter(entries.into_iter().map(|(key, _)| key))
            .map(|key| async move { Ok::<_, StoreError>((self.load_listed(&key).await?, key)) })
            .buffered(LIST_FETCHES_MAX);
        let (mut files, mut last) = (Vec::new(), None);
        while let Some((held, key)) = fetched.try_next().await? {
            if files.len() == limit {
                more = true;
                break;
            }
            last = Some(key);
            if let Some(Held { id, record, .. }) = held
                && record.is_complete()
                && record.name.starts_with(prefix)
            {
                files.push((id, record));
            }
        }
        Ok(Page { files, next: last.filter(|_| more) })
    }

    /// Reads stretches of a file's bytes.
    pub(crate) fn read(
        &self,
        id: FileId,
        stretches: Vec<Stretch>,
    ) -> BoxStream<'static, object_store::Result<Bytes>> {
        self.blobs.read(id, stretches)
    }

    /// Every part that is there, for a sweep.
    pub(crate) fn stored_parts(&self) -> BoxStream<'static, Result<StoredPart, StoreError>> {
        self.blobs.stored().map_err(StoreError::from).boxed()
    }

    /// Whether the record of a file names a part.
    pub(crate) async fn names(&self, id: FileId, nonce: u64) -> Result<bool, StoreError> {
        let Some(entry) = self.meta.get(record_key(id)).await? else { return Ok(false) };
        let record = read_record(&entry.value)?;
        Ok(record.parts.iter().any(|part| part.nonce == nonce))
    }

    /// Removes a part that no record names.
    pub(crate) async fn remove_part(&self, id: FileId, nonce: u64) {
        self.blobs.remove(id, &[Part { bytes: 0, nonce }]).await;
    }

    fn new_id(&self, owner: &Identity) -> FileId {
        let home = Home::of(self.region, &owner.tenant, &owner.subject);
        FileId::new(home, clock::unix_ms(), rand::random())
    }

    fn part_limits(&self, offset: u64, parts: usize) -> PartLimits {
        let policy = self.parts;
        let bytes_max = (offset / PART_FRACTION).max(policy.bytes_min).min(policy.bytes_max);
        let ages = 1 + u32::try_from(parts).unwrap_or(u32::MAX) / PARTS_PER_AGE;
        PartLimits { bytes_max, age_max: policy.age_max.saturating_mul(ages).min(PART_AGE_MAX) }
    }

    async fn write_parts(
        &self,
        id: FileId,
        parts: &mut Vec<Part>,
        intake: &mut Intake,
    ) -> Result<(), AppendError> {
        let mut offset = 0;
        loop {
            let limits = PartLimits { age_max: PART_AGE_MAX, ..self.part_limits(offset, 0) };
            let written = self.blobs.write(id, intake, limits).await.map_err(StoreError::from)?;
            if let Some(part) = written.part {
                offset += part.bytes;
                parts.push(part);
            }
            match written.end {
                None => {}
                Some(End::Complete) => return Ok(()),
                Some(End::Cut) => return Err(AppendError::Cut { offset: 0 }),
                Some(End::TooLong) => return Err(AppendError::TooLong { offset: 0 }),
            }
        }
    }

    async fn create(&self, id: FileId, record: Record) -> Result<Held, StoreError> {
        let version = self.meta.put(record_key(id), record.to_bytes().into(), None).await?;
        Ok(Held { id, record, version })
    }

    async fn replace(&self, held: &Held) -> Result<Version, MetaError> {
        let value = held.record.to_bytes().into();
        self.meta.put(record_key(held.id), value, Some(held.version)).await
    }

    /// Adds a durable part to the record, if the record is still where the part begins. If not,
    /// the part goes.
    async fn commit_part(&self, held: Held, part: Part) -> Result<Held, AppendError> {
        let id = held.id;
        let outcome = self.try_commit(held, part).await;
        if let Err((error, Unreferenced(true))) = &outcome {
            tracing::debug!(%id, %error, "a part was not taken");
            self.blobs.remove(id, &[part]).await;
        }
        outcome.map_err(|(error, _)| error)
    }

    async fn try_commit(
        &self,
        mut held: Held,
        part: Part,
    ) -> Result<Held, (AppendError, Unreferenced)> {
        let expected = held.record.offset();
        let mut certain = true;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            held.record.parts.push(part);
            match self.replace(&held).await {
                Ok(version) => return Ok(Held { version, ..held }),
                Err(MetaError::Conflict) => {}
                Err(MetaError::Uncertain(_)) => certain = false,
                Err(error) => return Err((StoreError::from(error).into(), Unreferenced(certain))),
            }
            let now = match self.load(held.id).await {
                Ok(Some(now)) => now,
                Ok(None) => return Err((AppendError::Gone, Unreferenced(true))),
                Err(error) => return Err((error.into(), Unreferenced(false))),
            };
            // What expected a state that is past will never be made.
            certain |= now.version != held.version;
            held = now;
            // After an uncertain write, it may be there already.
            if held.record.parts.contains(&part) {
                return Ok(held);
            }
            if held.record.offset() != expected {
                let expected = held.record.offset();
                return Err((AppendError::OffsetMismatch { expected }, Unreferenced(true)));
            }
        }
        Err((StoreError::Contended.into(), Unreferenced(certain)))
    }

    async fn list_entry(&self, owner: &Identity, id: FileId) -> Result<(), StoreError> {
        let key = Key::new(list_partition(&owner.tenant, &owner.subject), list_key(id));
        self.meta.put(key, Bytes::new(), None).await?;
        Ok(())
    }

    /// Takes an entry off its owner's list. One that stays does no harm.
    async fn unlist(&self, owner: &Identity, id: FileId) {
        let key = Key::new(list_partition(&owner.tenant, &owner.subject), list_key(id));
        let removed = match self.meta.get(key.clone()).await {
            Ok(Some(entry)) => self.meta.delete(key, entry.version).await,
            other => other.map(drop),
        };
        if let Err(error) = removed {
            tracing::warn!(%id, %error, "an entry stays in its owner's list");
        }
    }

    async fn load_listed(&self, key: &[u8]) -> Result<Option<Held>, StoreError> {
        match listed_id(key) {
            Some(id) => self.load(id).await,
            None => Ok(None),
        }
    }

    async fn remove_remains(&self, held: &Held) {
        let Record { tenant, owner, parts, .. } = &held.record;
        if let Ok(owner) = Identity::new(tenant, owner, Default::default()) {
            self.unlist(&owner, held.id).await;
        }
        self.blobs.remove(held.id, parts).await;
    }
}

/// Whether it is certain that no record names a part.
struct Unreferenced(bool);

fn read_record(value: &[u8]) -> Result<Record, StoreError> {
    Record::from_bytes(value).map_err(|error| StoreError::Fault(error.to_string()))
}

fn record_key(id: FileId) -> Key {
    Key::new(format!("file/{id}"), "record")
}

/// Tenants and subjects hold no control characters, so NUL parts them.
fn list_partition(tenant: &str, subject: &str) -> Bytes {
    format!("list/{tenant}\0{subject}").into()
}

/// Newest first: scans go upwards, so time counts down.
fn list_key(id: FileId) -> Bytes {
    let age = u64::MAX - id.unix_ms();
    [age.to_be_bytes().as_slice(), id.to_string().as_bytes()].concat().into()
}

fn listed_id(key: &[u8]) -> Option<FileId> {
    let (_, id) = key.split_first_chunk::<8>()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Unavailable(error.to_string()) }
    }
}

impl From<MetaError> for StoreError {
    fn from(error: MetaError) -> Self {
        match &error {
            MetaError::Full(_) => Self::Full,
            MetaError::Conflict => Self::Contended,
            MetaError::TooLarge(_) => Self::Fault(error.to_string()),
            MetaError::Unavailable(source) => Self::Unavailable(format!("{error}: {source}")),
            MetaError::Uncertain(source) => Self::Uncertain(format!("{error}: {source}")),
        }
    }
}

impl<E> From<StoreError> for ChangeError<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[cfg(test)]
mod tests;

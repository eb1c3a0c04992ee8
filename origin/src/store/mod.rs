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
//! - Whatever is to expire has an entry in the index of what is due, from before its record says
//!   so. It stays there until the collector has looked.

mod append;
mod bury;
mod concat;
mod due;
mod given;
mod list;
mod look;
mod merge;
mod news;
mod upkeep;
mod whole;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::ObjectStore;
use outport_wire::UnixSeconds;
use outport_wire::id::{FileId, Home};
use outport_wire::identity::Identity;
use outport_wire::rules::Rules;

pub(crate) use self::append::{AppendError, Completes};
pub(crate) use self::bury::{Slot, Trace, read as read_slot, shut_out};
pub(crate) use self::concat::{ConcatError, Pieces, Progress};
pub(crate) use self::due::{Due, day_of, due_entry};
pub(crate) use self::given::Given;
pub(crate) use self::list::{list_owner, listed_id};
use self::merge::MERGE_AT_PARTS;
use self::upkeep::Noticed;
use crate::admission::{Admission, Ended, Refusal};
use crate::blobs::{Blobs, PartLimits};
use crate::environment::Environment;
use crate::full::is_full;
use crate::hooks::{Hooks, Kind};
use crate::ledger::Amount;
use crate::meta::{Entry, Key, Meta, MetaError, Version};
use crate::record::{Concat, Description, Opening, PartName, Record};
use crate::turns::{Remains, Superseded, Turn, Turns};

/// How often a change is tried on a record that others change at the same time.
const CHANGE_ATTEMPTS_MAX: usize = 16;
/// A part grows to this fraction of what the upload has by then, so that the number of parts is
/// logarithmic: about 600 for a TiB.
const PART_FRACTION: u64 = 64;

/// The most parts of one upload: what a record can hold (see [`crate::meta::VALUE_BYTES_MAX`]) at 38
/// bytes each. An upload has its small parts merged long before.
const PARTS_MAX: usize = 8192;
/// A slow upload has its parts cut by their age. With every so many parts they may grow as old
/// again, so that it takes more than a week to reach [`PARTS_MAX`] in this way.
const PARTS_PER_AGE: u32 = 512;

/// The oldest that any part grows. A file that is stored whole or not at all gains nothing from
/// parts that are cut earlier, and must be there after the same time.
pub(crate) const PART_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How parts are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartPolicy {
    pub(crate) bytes_min: u64,
    pub(crate) bytes_max: u64,
    pub(crate) age_max: Duration,
    /// A file of up to so many bytes has no part; it is kept in its record.
    pub(crate) content_bytes_max: u64,
}

/// All uploads and files.
#[derive(Clone)]
pub(crate) struct Store {
    meta: Arc<dyn Meta>,
    blobs: Blobs,
    region: u8,
    parts: PartPolicy,
    /// How long an upload lives without progress.
    expire_after: Option<Duration>,
    /// With so many parts, an upload has some merged.
    merge_at_parts: usize,
    environment: Arc<dyn Environment>,
    turns: Turns,
    hooks: Hooks,
    noticed: Noticed,
    admission: Admission,
}

/// What there is under an id.
#[derive(Debug)]
pub(crate) enum Found {
    /// An upload or file.
    Here(Held),
    /// One that has expired, and is not yet removed.
    Expired(Held),
    Nothing,
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
    /// It took so long that it was taken for left behind: a tombstone stands where its record was
    /// to come. Nothing of it is there; begin anew, under another id.
    #[error("it took so long to come that it was taken for left behind")]
    LeftBehind,
    /// What is stored can't be understood, or a limit of ours was passed: a fault of ours.
    #[error("{0}")]
    Fault(String),
    /// A rule of the tenant's stands against it. Nothing changed.
    #[error("a rule stands against it: {0:?}")]
    Refused(Refusal),
}

/// Why a record was not changed.
#[derive(Debug)]
pub(crate) enum ChangeError<E> {
    /// It is not there, or not any more.
    Gone,
    /// The change refused to be made.
    Refused(E),
    /// It belongs to the final upload with this id, and goes with it.
    Claimed(FileId),
    Store(StoreError),
}

impl Store {
    pub(crate) fn new(
        meta: Arc<dyn Meta>,
        blobs: Arc<dyn ObjectStore>,
        chunk_bytes: u64,
        region: u8,
        parts: PartPolicy,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let blobs = Blobs::new(blobs, chunk_bytes);
        let admission = Admission::new(&meta, &environment);
        Self {
            meta,
            blobs,
            region,
            parts,
            expire_after: None,
            merge_at_parts: MERGE_AT_PARTS,
            environment,
            turns: Turns::default(),
            hooks: Hooks::default(),
            noticed: Noticed::default(),
            admission,
        }
    }

    /// Holds tenants to these rules.
    #[must_use]
    pub(crate) fn with_rules(self, rules: Arc<Rules>) -> Self {
        Self { admission: self.admission.with_rules(rules), ..self }
    }

    /// Lets uploads expire when they have made no progress for so long.
    #[must_use]
    pub(crate) fn with_expiry(self, expire_after: Option<Duration>) -> Self {
        Self { expire_after, ..self }
    }

    /// Announces what is done to files.
    #[must_use]
    pub(crate) fn announcing(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// Whether metadata can be read. For a readiness check.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.meta.get(Key::new("ready", "")).await?;
        Ok(())
    }

    /// The time of day.
    pub(crate) fn now_s(&self) -> UnixSeconds {
        self.environment.unix_s()
    }

    /// Ends whoever is at work on this upload in this process, and takes over.
    pub(crate) async fn turn(&self, id: FileId, remains: Remains) -> Result<Turn, Superseded> {
        self.turns.take(id, remains).await
    }

    /// The same in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.environment.unix_ms()
    }

    /// When an upload expires that makes progress now.
    fn upload_expiry_s(&self) -> Option<UnixSeconds> {
        self.expire_after.map(|after| self.now_s().saturating_add(after.as_secs()))
    }

    /// Begins an upload. It is durable when this returns, and expires unless it makes progress.
    pub(crate) async fn begin(
        &self,
        owner: &Identity,
        description: Description,
        mut opening: Opening,
    ) -> Result<Held, StoreError> {
        let id = self.new_id(owner);
        opening.upload_expires_s = opening.upload_expires_s.or_else(|| self.upload_expiry_s());
        let mut record = Record::begin(owner, description, opening, self.now_s());
        let place = self.admission.begin(owner, id, &mut record).await?;
        let begun = self.begin_at(owner, id, record).await;
        self.admission.ended(place, created_at(&begun));
        begun
    }

    async fn begin_at(
        &self,
        owner: &Identity,
        id: FileId,
        record: Record,
    ) -> Result<Held, StoreError> {
        let due = async {
            match record.upload_expires_s {
                Some(due_s) => Ok(self.note_due(id, Some(owner), due_s).await?),
                None => Ok(()),
            }
        };
        futures::try_join!(self.list_entry(owner, id), due)?;
        self.create(id, record).await
    }

    /// The upload or file with this id. What has expired is not there.
    pub(crate) async fn load(&self, id: FileId) -> Result<Option<Held>, StoreError> {
        match self.find(id).await? {
            Found::Here(held) => Ok(Some(held)),
            Found::Expired(_) | Found::Nothing => Ok(None),
        }
    }

    /// What there is under this id.
    pub(crate) async fn find(&self, id: FileId) -> Result<Found, StoreError> {
        Ok(match self.load_any(id).await? {
            Some(held) if held.record.is_expired(self.now_s()) => Found::Expired(held),
            Some(held) => Found::Here(held),
            None => Found::Nothing,
        })
    }

    /// The upload in a state that no older request changes any more, at this origin or any other:
    /// whoever appends here is ended, and whoever does elsewhere is shut out by a new epoch.
    pub(crate) async fn interrupt(&self, id: FileId) -> Result<Option<Held>, StoreError> {
        // Where somebody newer waits already, this one still answers.
        let _turn = self.turn(id, Remains::Kept).await;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let Some(mut held) = self.load(id).await? else { return Ok(None) };
            if held.record.complete {
                return Ok(Some(held));
            }
            let shown = held.clone();
            held.record.epoch = held.record.epoch.wrapping_add(1);
            match self.replace(&held).await {
                Ok(version) => return Ok(Some(Held { version, ..held })),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                // No room for an epoch is no reason to keep the offset from a client: it is what
                // was durable when it was asked for.
                Err(error @ MetaError::Full(_)) => {
                    tracing::warn!(%id, %error, "older requests were not shut out");
                    return Ok(Some(shown));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended)
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
            let place = self.admission.grow(id, &mut held.record).await?;
            match self.replace(&held).await {
                Ok(version) => {
                    self.admission.ended(place, Ended::At(Amount::of(&held.record)));
                    return Ok(Held { version, ..held });
                }
                Err(error) => {
                    self.admission.ended(place, Ended::failed(&error));
                    if !matches!(error, MetaError::Conflict | MetaError::Uncertain(_)) {
                        return Err(StoreError::from(error).into());
                    }
                }
            }
        }
        Err(StoreError::Contended.into())
    }

    /// Removes an upload or file, and whoever appends to it is ended. `check` may refuse, on the
    /// state that would be removed. A final upload takes its partial ones along.
    pub(crate) async fn remove<E>(
        &self,
        id: FileId,
        check: impl Fn(&Record) -> Result<(), E>,
    ) -> Result<(), ChangeError<E>> {
        let _turn = self.turn(id, Remains::Dropped).await;
        let held = self.remove_record(id, Some(Kind::Removed), check).await?;
        if let Some(Concat::Final { of }) = &held.record.concat {
            for partial in of {
                let claimed = |record: &Record| {
                    if record.claimed_by() == Some(id) { Ok(()) } else { Err(()) }
                };
                let removed = self.remove_record(*partial, None, claimed).await;
                if let Err(ChangeError::Store(error)) = removed {
                    tracing::warn!(id = %partial, %error, "a partial upload was not removed");
                }
            }
        }
        Ok(())
    }

    /// Removes a record and what it names. `news` is what is told of it, if anybody is to know.
    async fn remove_record<E>(
        &self,
        id: FileId,
        news: Option<Kind>,
        check: impl Fn(&Record) -> Result<(), E>,
    ) -> Result<Held, ChangeError<E>> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let held = self.load(id).await?.ok_or(ChangeError::Gone)?;
            check(&held.record).map_err(ChangeError::Refused)?;
            if let Some(claimer) = self.claimer(&held.record).await? {
                return Err(ChangeError::Claimed(claimer));
            }
            let announced = self.announce_removal(&held, news).await.map_err(StoreError::from)?;
            match self.vacate(&held).await {
                Ok(()) => {
                    self.hooks.made(announced);
                    self.remove_remains(&held).await;
                    return Ok(held);
                }
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        Err(StoreError::Contended.into())
    }

    /// Settles what crashes left behind in the ledgers of some tenants, beginning after `after`.
    /// Returns where to go on, if there may be more.
    pub(crate) async fn reconcile_ledgers(
        &self,
        after: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        Ok(self.admission.ledger().reconcile(after).await?)
    }

    /// Reads a range of a file's bytes, which lies within it.
    pub(crate) fn read(
        &self,
        held: &Held,
        range: Range<u64>,
    ) -> BoxStream<'static, object_store::Result<Bytes>> {
        let Held { id, record, .. } = held;
        if record.content.is_empty() {
            return self.blobs.read(record.stretches(*id, range));
        }
        // Both are within the content, and so within memory.
        let content = record.content.slice(range.start as usize..range.end as usize);
        stream::iter((!content.is_empty()).then_some(Ok(content))).boxed()
    }

    /// The record with this id, expired or not.
    async fn load_any(&self, id: FileId) -> Result<Option<Held>, StoreError> {
        match self.slot(id).await? {
            Slot::Held(held) => Ok(Some(held)),
            Slot::Buried(_) | Slot::Empty => Ok(None),
        }
    }

    fn new_id(&self, owner: &Identity) -> FileId {
        let home = Home::of(self.region, &owner.tenant, &owner.subject);
        FileId::new(home, self.environment.unix_ms(), self.environment.random())
    }

    fn new_part(&self, writer: FileId) -> PartName {
        PartName { writer, nonce: self.environment.random() }
    }

    fn part_limits(&self, offset: u64, parts: usize) -> PartLimits {
        let policy = self.parts;
        let bytes_max = (offset / PART_FRACTION).max(policy.bytes_min).min(policy.bytes_max);
        let ages = 1 + u32::try_from(parts).unwrap_or(u32::MAX) / PARTS_PER_AGE;
        PartLimits { bytes_max, age_max: policy.age_max.saturating_mul(ages).min(PART_AGE_MAX) }
    }

    /// Creates a record under an id that was made for it. Nobody else has that, so what is there
    /// already is the collector's.
    async fn create(&self, id: FileId, record: Record) -> Result<Held, StoreError> {
        self.create_at(None, id, record).await.map_err(|error| match error {
            StoreError::Contended => StoreError::LeftBehind,
            error => error,
        })
    }

    /// Creates a record where there is none, and its place is in this state.
    async fn create_at(
        &self,
        place: Option<Version>,
        id: FileId,
        record: Record,
    ) -> Result<Held, StoreError> {
        let announced = self.announce_completion(id, &record).await?;
        let version = self.meta.put(record_key(id), record.to_bytes().into(), place).await?;
        self.hooks.made(announced);
        Ok(Held { id, record, version })
    }

    async fn replace(&self, held: &Held) -> Result<Version, MetaError> {
        let value = held.record.to_bytes().into();
        self.meta.put(record_key(held.id), value, Some(held.version)).await
    }

    async fn remove_remains(&self, held: &Held) {
        if let Some(owner) = held.owner() {
            self.unlist(&owner, held.id).await;
        }
        // The parts of others go with their own records, which still name them.
        self.blobs.remove(&held.record.own_part_names(held.id)).await;
    }
}

/// What became of a record that was to be made.
fn created_at(created: &Result<Held, StoreError>) -> Ended {
    match created {
        Ok(held) => Ended::At(Amount::of(&held.record)),
        Err(StoreError::Uncertain(_)) => Ended::Unknown,
        Err(_) => Ended::Not,
    }
}

impl Held {
    /// Whether it is the same state of the same record.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.id, self.version) == (other.id, other.version)
    }

    /// Whom it belongs to.
    pub(crate) fn owner(&self) -> Option<Identity> {
        Identity::new(&self.record.tenant, &self.record.owner, Default::default()).ok()
    }
}

/// Where the record of an upload or file is kept.
pub(crate) fn record_key(id: FileId) -> Key {
    Key::new(format!("file/{id}"), "record")
}

/// What is stored at a key, if that is a record's: the record, a tombstone, or why it can't be
/// understood.
pub(crate) fn stored_slot(key: &Key, entry: &Entry) -> Option<(FileId, Result<Slot, String>)> {
    let id = std::str::from_utf8(&key.partition).ok()?.strip_prefix("file/")?.parse().ok()?;
    (key.key == "record").then(|| (id, bury::read(id, entry)))
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

//! Relations in [`Meta`].
//!
//! What is decided by is kept in pages: one for each file, folder and tenant with what is related to it,
//! and one for each subject with what it is a member of. So that several of them change at one revision,
//! though the store changes one key at a time, each tenant has a log: whoever changes something writes it
//! there first, under the next revision, and only then into the pages, and whoever finds something in the
//! log does that for them. A page says at which revision it last changed, so that nothing is done twice,
//! however late somebody wakes up.
//!
//! An answer is what the pages say once the log is empty, if none of them has changed since: then all of
//! it was true at the revision that the log had.
//!
//! Beside the pages there are two indexes, by subject and by group, which may name tuples that have
//! gone. Nothing is decided by them.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outport_wire::relation::{Holds, Object, RELATED_MAX, Relation, Revision, Subject, Tuple};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::{ATTEMPTS_MAX, Change, Closure, Direct, Page, Relations, RelationsError};
use crate::meta::{Key, Meta, MetaError, Version};

/// How often a key is written that others write at the same time.
const WRITES_MAX: usize = 64;
/// Tenants whose changes are made by this process one after the other share one of so many turns.
const TURNS: usize = 64;
/// How many tuples an index tells at once.
const INDEXED_MAX: usize = 500;

/// The store.
pub(crate) struct KeptRelations {
    meta: Arc<dyn Meta>,
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
}

/// How far a tenant's relations have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Log {
    revision: Revision,
    /// What is to be done for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<Change>,
}

/// What is related to an object, or what a subject is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tuples {
    changed: Revision,
    tuples: BTreeSet<Tuple>,
}

/// A page in the state it was read in.
struct Read<P> {
    page: P,
    version: Option<Version>,
}

impl KeptRelations {
    pub(crate) fn new(meta: Arc<dyn Meta>) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::default()).collect();
        Self { meta, turns, hasher: RandomState::new() }
    }

    async fn turn(&self, tenant: &str) -> Option<MutexGuard<'_, ()>> {
        let place = self.hasher.hash_one(tenant) as usize % TURNS;
        Some(self.turns.get(place)?.lock().await)
    }

    async fn read<P: Default + DeserializeOwned>(&self, key: &Key) -> Result<Read<P>, MetaError> {
        let Some(entry) = self.meta.get(key.clone()).await? else {
            return Ok(Read { page: P::default(), version: None });
        };
        let page = serde_json::from_slice(&entry.value)
            .map_err(|error| MetaError::Unavailable(Arc::new(error)))?;
        Ok(Read { page, version: Some(entry.version) })
    }

    async fn write<P: Serialize>(
        &self,
        key: &Key,
        page: &P,
        version: Option<Version>,
    ) -> Result<(), MetaError> {
        let value = serde_json::to_vec(page).unwrap_or_default(); // It has text keys only.
        self.meta.put(key.clone(), value.into(), version).await.map(drop)
    }

    /// Does what is in the log, and gives the revision up to which all is done.
    async fn settled(&self, tenant: &str) -> Result<(Revision, Option<Version>), RelationsError> {
        for _ in 0..WRITES_MAX {
            let Read { page: Log { revision, pending }, version } =
                self.read(&log_key(tenant)).await?;
            if pending.is_empty() {
                return Ok((revision, version));
            }
            self.carry_out(tenant, revision, &pending).await?;
            let done = Log { revision, pending: Vec::new() };
            match self.write(&log_key(tenant), &done, version).await {
                Ok(()) | Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RelationsError::Busy)
    }

    async fn carry_out(
        &self,
        tenant: &str,
        revision: Revision,
        changes: &[Change],
    ) -> Result<(), RelationsError> {
        // The index first where something comes, and last where it goes: it names too much, never too
        // little.
        for Change { tuple, .. } in changes.iter().filter(|change| change.is_there) {
            self.index(tenant, tuple).await?;
        }
        let pages: HashSet<_> =
            changes.iter().map(|change| page_key(tenant, &change.tuple)).collect();
        for key in pages {
            let of = |change: &&Change| page_key(tenant, &change.tuple) == key;
            let changes: Vec<_> = changes.iter().filter(of).collect();
            self.change_page(tenant, &key, revision, &changes).await?;
        }
        for Change { tuple, .. } in changes.iter().filter(|change| !change.is_there) {
            self.take_from_index(tenant, tuple).await?;
        }
        Ok(())
    }

    /// Makes the changes of one page that a revision has, unless that was done before.
    async fn change_page(
        &self,
        tenant: &str,
        key: &Key,
        revision: Revision,
        changes: &[&Change],
    ) -> Result<(), RelationsError> {
        for _ in 0..WRITES_MAX {
            let Read { page: Tuples { changed, mut tuples }, version } = self.read(key).await?;
            if changed >= revision {
                return Ok(());
            }
            let before = tuples.clone();
            changes.iter().for_each(|change| apply(&mut tuples, change));
            let page = Tuples { changed: revision, tuples };
            match self.write(key, &page, version).await {
                Ok(()) => {
                    // From where it was.
                    let moved = before.difference(&page.tuples);
                    for tuple in moved.filter(|tuple| tuple.relation == Relation::Parent) {
                        self.take_from_index(tenant, tuple).await?;
                    }
                    return Ok(());
                }
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RelationsError::Busy)
    }

    async fn index(&self, tenant: &str, tuple: &Tuple) -> Result<(), RelationsError> {
        for key in index_keys(tenant, tuple) {
            // Written anew where it is there, so that who is about to take it away does not.
            let found = self.meta.get(key.clone()).await?;
            let version = found.map(|entry| entry.version);
            match self.meta.put(key, Bytes::new(), version).await {
                // Whoever else writes there does the same.
                Ok(_) | Err(MetaError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a tuple is in its page.
    pub(super) async fn has(&self, tenant: &str, tuple: &Tuple) -> Result<bool, MetaError> {
        let read: Read<Tuples> = self.read(&page_key(tenant, tuple)).await?;
        Ok(read.page.tuples.contains(tuple))
    }

    async fn take_from_index(&self, tenant: &str, tuple: &Tuple) -> Result<(), RelationsError> {
        for key in index_keys(tenant, tuple) {
            let Some(entry) = self.meta.get(key.clone()).await? else { continue };
            if self.has(tenant, tuple).await? {
                continue; // It has come again since.
            }
            match self.meta.delete(key, entry.version).await {
                Ok(()) | Err(MetaError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Refuses what edges could not be told.
    async fn check(&self, tenant: &str, changes: &[Change]) -> Result<(), RelationsError> {
        for change in changes.iter().filter(|change| change.is_there) {
            let key = page_key(tenant, &change.tuple);
            let mut tuples = self.read::<Tuples>(&key).await?.page.tuples;
            let beside = changes.iter().filter(|other| page_key(tenant, &other.tuple) == key);
            beside.for_each(|other| apply(&mut tuples, other));
            // Beside those that count there may be one that says where it is.
            let count = tuples.iter().filter(|tuple| tuple.relation != Relation::Parent).count();
            if count > RELATED_MAX {
                let Tuple { object, subject, relation } = &change.tuple;
                let is_member = *relation == Relation::Member;
                let of = if is_member { subject.to_string() } else { object.to_string() };
                return Err(RelationsError::Full(of));
            }
        }
        Ok(())
    }

    async fn write_ahead(
        &self,
        tenant: &str,
        changes: &[Change],
    ) -> Result<Revision, RelationsError> {
        let _turn = self.turn(tenant).await;
        for _ in 0..WRITES_MAX {
            let (revision, version) = self.settled(tenant).await?;
            self.check(tenant, changes).await?;
            let revision = revision + 1;
            let log = Log { revision, pending: changes.to_vec() };
            match self.write(&log_key(tenant), &log, version).await {
                Ok(()) => {
                    // From here on it is done, by whoever comes.
                    self.settled(tenant).await?;
                    return Ok(revision);
                }
                // Where it can't be told, it is made again: that does no harm.
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RelationsError::Busy)
    }

    async fn look(&self, tenant: &str, object: &Object) -> Result<Direct, RelationsError> {
        for _ in 0..ATTEMPTS_MAX {
            let (read, _) = self.settled(tenant).await?;
            let page: Tuples = self.read(&object_key(tenant, object)).await?.page;
            if page.changed <= read {
                let holds = Holds { changed: page.changed, read };
                return Ok(Direct { holds, tuples: page.tuples.into_iter().collect() });
            }
        }
        Err(RelationsError::Busy)
    }

    /// The groups of a subject and theirs, the nearest first, unless one has changed since.
    async fn walk(
        &self,
        tenant: &str,
        subject: &Subject,
    ) -> Result<Option<Closure>, RelationsError> {
        let (read, _) = self.settled(tenant).await?;
        let (mut changed, mut place, mut of) = (0, 0, Vec::new());
        let mut next = Some(subject.clone());
        while let Some(subject) = next {
            let page: Tuples = self.read(&subject_key(tenant, &subject)).await?.page;
            changed = page.changed.max(changed);
            for tuple in page.tuples {
                let group = match tuple.object {
                    Object::Group(name) => Subject::Group(name),
                    Object::Role(name) => Subject::Role(name),
                    _ => continue,
                };
                if of.len() < RELATED_MAX && !of.contains(&group) {
                    of.push(group);
                }
            }
            next = of.get(place).cloned();
            place += 1;
        }
        of.retain(|group| group != subject);
        Ok((changed <= read).then_some(Closure { holds: Holds { changed, read }, of }))
    }

    async fn indexed(
        &self,
        partition: String,
        after: Option<Bytes>,
    ) -> Result<Page, RelationsError> {
        let found = self.meta.scan(partition.into(), after, INDEXED_MAX).await?;
        let next = found.last().map(|(key, _)| key.clone());
        let next = next.filter(|_| found.len() == INDEXED_MAX);
        let tuple = |key: &Bytes| std::str::from_utf8(key).ok()?.parse().ok();
        Ok(Page { tuples: found.iter().filter_map(|(key, _)| tuple(key)).collect(), next })
    }
}

impl Relations for KeptRelations {
    fn change<'a>(
        &'a self,
        tenant: &'a str,
        changes: Vec<Change>,
    ) -> BoxFuture<'a, Result<Revision, RelationsError>> {
        async move { self.write_ahead(tenant, &changes).await }.boxed()
    }

    fn direct<'a>(
        &'a self,
        tenant: &'a str,
        object: &'a Object,
    ) -> BoxFuture<'a, Result<Direct, RelationsError>> {
        self.look(tenant, object).boxed()
    }

    fn closure<'a>(
        &'a self,
        tenant: &'a str,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Closure, RelationsError>> {
        async move {
            for _ in 0..ATTEMPTS_MAX {
                if let Some(closure) = self.walk(tenant, subject).await? {
                    return Ok(closure);
                }
            }
            Err(RelationsError::Busy)
        }
        .boxed()
    }

    fn members<'a>(
        &'a self,
        tenant: &'a str,
        of: &'a Object,
        after: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Page, RelationsError>> {
        self.indexed(members_partition(tenant, of), after).boxed()
    }

    fn of_subject<'a>(
        &'a self,
        tenant: &'a str,
        subject: &'a Subject,
        after: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Page, RelationsError>> {
        self.indexed(subject_partition(tenant, subject), after).boxed()
    }
}

/// Makes a change to the tuples of a page.
fn apply(tuples: &mut BTreeSet<Tuple>, Change { tuple, is_there }: &Change) {
    if !is_there {
        tuples.remove(tuple);
        return;
    }
    if tuple.relation == Relation::Parent {
        tuples.retain(|old| old.relation != Relation::Parent);
    }
    tuples.insert(tuple.clone());
}

fn log_key(tenant: &str) -> Key {
    Key::new(format!("relations/{tenant}"), "log")
}

fn object_key(tenant: &str, object: &Object) -> Key {
    Key::new(format!("related/{tenant}"), object.to_string())
}

fn subject_key(tenant: &str, subject: &Subject) -> Key {
    Key::new(format!("member-of/{tenant}"), subject.to_string())
}

/// The page that a tuple is in.
fn page_key(tenant: &str, tuple: &Tuple) -> Key {
    match tuple.relation {
        Relation::Member => subject_key(tenant, &tuple.subject),
        _ => object_key(tenant, &tuple.object),
    }
}

/// Tenants hold no control characters, so NUL parts them.
fn subject_partition(tenant: &str, subject: &Subject) -> String {
    format!("relates/{tenant}\0{subject}")
}

fn members_partition(tenant: &str, of: &Object) -> String {
    format!("members/{tenant}\0{of}")
}

fn index_keys(tenant: &str, tuple: &Tuple) -> Vec<Key> {
    let by_subject = Key::new(subject_partition(tenant, &tuple.subject), tuple.to_string());
    let is_member = tuple.relation == Relation::Member;
    let by_group =
        is_member.then(|| Key::new(members_partition(tenant, &tuple.object), tuple.to_string()));
    std::iter::once(by_subject).chain(by_group).collect()
}

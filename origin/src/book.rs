//! Books: values in [`Meta`] that many change at the same time, such as what a tenant has used.
//!
//! Changes to one book are gathered while a write is under way, and all of them are made by the
//! next compare-and-swap. So however many come at once, each of them waits for two writes at most,
//! and none for a lock that somebody holds.
//!
//! A book names uploads and files that it is not sure of. Before a change is refused, their records
//! are looked at, and the book is cleared up by what was found: what a crash left behind heals
//! when it is in the way.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::environment::Environment;
use crate::meta::{Entry, Key, Meta, MetaError, Version};
use crate::store::{Trace, read_slot, record_key, shut_out};

/// The most changes made by one write.
const CHANGES_MAX: usize = 256;
/// The most changes that wait for one book; more are turned away.
const WAITING_MAX: usize = 4096;
/// How often a write is tried while other processes write the same book.
const ATTEMPTS_MAX: usize = 32;
/// The most records looked at to clear a book up.
const DOUBTS_MAX: usize = 1024;
/// How many records are looked at at once.
const LOOKS_MAX: usize = 16;
/// The most books that are kept in memory; beyond, those that nobody is at are forgotten.
const BOOKS_MAX: usize = 1024;

/// What is written in a book.
pub(crate) trait Page:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Something to be changed.
    type Change: Clone + Debug + Send + Sync + 'static;
    /// Why a change is not made.
    type Refusal: Clone + Debug + Send + 'static;

    /// Makes a change, or refuses and changes nothing. Idempotent: made twice in a row, it is made
    /// once.
    fn apply(&mut self, change: &Self::Change, now: UnixSeconds) -> Result<(), Self::Refusal>;

    /// Whether who is about to change a record in doubt, and may be asleep, is shut out before what
    /// the record says is believed. Where a book may not be wrong, however late others wake up.
    const SHUTS_OUT: bool;

    /// Whose records would tell whether what is written of them still holds. A book that is about
    /// no uploads and files doubts nothing.
    fn doubts(&self, _now: UnixSeconds) -> Vec<FileId> {
        Vec::new()
    }

    /// Sets right what is written of `id`, given what there is of its record.
    fn clear_up(&mut self, _id: FileId, _trace: &Trace, _now: UnixSeconds) {}
}

/// Why a change was not made.
#[derive(Clone, Debug)]
pub(crate) enum BookError<R> {
    /// It was refused.
    Refused(R),
    /// Too many wait for the same book. Retry with backoff.
    Busy,
    /// The store failed.
    Meta(MetaError),
}

/// What [`BookError::Busy`] is of a store.
pub(crate) fn busy() -> MetaError {
    MetaError::Unavailable(Arc::new(io::Error::other("too many changes at once")))
}

/// All books of one kind.
pub(crate) struct Books<P: Page> {
    meta: Arc<dyn Meta>,
    environment: Arc<dyn Environment>,
    open: Arc<Mutex<HashMap<Key, Arc<Book<P>>>>>,
    at_work: Arc<Mutex<HashMap<FileId, usize>>>,
}

impl<P: Page> Clone for Books<P> {
    fn clone(&self) -> Self {
        Self {
            meta: self.meta.clone(),
            environment: self.environment.clone(),
            open: self.open.clone(),
            at_work: self.at_work.clone(),
        }
    }
}

/// While this is there, nobody in this process doubts what a book says of one upload.
#[derive(Debug)]
pub(crate) struct AtWork {
    id: FileId,
    all: Arc<Mutex<HashMap<FileId, usize>>>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(count) = all.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.id);
            }
        }
    }
}

struct Book<P: Page> {
    key: Key,
    desk: Mutex<Desk<P>>,
}

/// What lies before a book's writer.
struct Desk<P: Page> {
    waiting: Vec<Waiting<P>>,
    /// Whether somebody writes.
    writing: bool,
    /// The book as it was last seen here.
    seen: Option<Seen<P>>,
}

struct Waiting<P: Page> {
    change: P::Change,
    answer: Option<oneshot::Sender<Answer<P>>>,
}

type Batch<P> = Vec<Waiting<P>>;

type Answer<P> = Result<(), BookError<<P as Page>::Refusal>>;

/// A book in the state it was read or written in.
#[derive(Clone)]
struct Seen<P> {
    page: P,
    version: Option<Version>,
}

impl<P: Page> Books<P> {
    pub(crate) fn new(meta: Arc<dyn Meta>, environment: Arc<dyn Environment>) -> Self {
        Self { meta, environment, open: Arc::default(), at_work: Arc::default() }
    }

    /// Says that the record of this upload is about to be changed by the caller.
    pub(crate) fn work_on(&self, id: FileId) -> AtWork {
        *lock(&self.at_work).entry(id).or_default() += 1;
        AtWork { id, all: self.at_work.clone() }
    }

    /// Makes a change. It is durable when this returns. A caller that goes away before may find it
    /// made, or not.
    pub(crate) async fn change(&self, key: &Key, change: P::Change) -> Answer<P> {
        let (answer, answered) = oneshot::channel();
        let book = self.book(key);
        book.put(Waiting { change, answer: Some(answer) }).map_err(|Full| BookError::Busy)?;
        self.write(book);
        answered.await.unwrap_or(Err(BookError::Busy))
    }

    /// The page as it is now.
    pub(crate) async fn look(&self, key: &Key) -> Result<P, MetaError> {
        self.read(key).await.map(|seen| seen.page)
    }

    /// Notes a change that nobody waits for: it is made with the next one that somebody does, and
    /// is lost if the process ends before.
    pub(crate) fn note(&self, key: &Key, change: P::Change) {
        // A book that so many wait for can do without: it can be cleared up.
        let _ = self.book(key).put(Waiting { change, answer: None });
    }

    /// Makes what was noted. It may be under way when this returns.
    pub(crate) fn flush(&self, key: &Key) {
        self.write(self.book(key));
    }

    /// Looks at the records of all that a book is not sure of, and sets it right.
    pub(crate) async fn clear_up(&self, key: &Key) -> Result<(), MetaError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut seen = self.read(key).await?;
            let before = seen.page.clone();
            self.settle_doubts(&mut seen.page).await?;
            if seen.page == before {
                return Ok(());
            }
            match self.meta.put(key.clone(), bytes(&seen.page), seen.version).await {
                Ok(_) => return Ok(()),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetaError::Conflict)
    }

    fn book(&self, key: &Key) -> Arc<Book<P>> {
        let mut open = lock(&self.open);
        if open.len() >= BOOKS_MAX && !open.contains_key(key) {
            open.retain(|_, book| lock(&book.desk).writing);
        }
        let new = || {
            let desk = Desk { waiting: Vec::new(), writing: false, seen: None };
            Arc::new(Book { key: key.clone(), desk: Mutex::new(desk) })
        };
        open.entry(key.clone()).or_insert_with(new).clone()
    }

    /// Has a book written, by whoever is at it or by a task of its own.
    fn write(&self, book: Arc<Book<P>>) {
        if std::mem::replace(&mut lock(&book.desk).writing, true) {
            return;
        }
        let this = self.clone();
        let writing = async move {
            while let Some((batch, seen)) = book.take() {
                let seen = this.write_batch(&book.key, batch, seen).await;
                lock(&book.desk).seen = seen;
            }
        };
        self.environment.spawn(writing.boxed());
    }

    /// Makes a batch of changes and answers each. Returns the book as it is then, if that is known.
    async fn write_batch(
        &self,
        key: &Key,
        batch: Batch<P>,
        mut seen: Option<Seen<P>>,
    ) -> Option<Seen<P>> {
        for _ in 0..ATTEMPTS_MAX {
            let made = match self.make(key, &batch, seen.take()).await {
                Ok(made) => made,
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => continue,
                Err(error) => {
                    answer_all(batch, &BookError::Meta(error));
                    return None;
                }
            };
            for (waiting, outcome) in batch.into_iter().zip(made.outcomes) {
                answer(waiting, outcome.map_err(BookError::Refused));
            }
            return Some(made.seen);
        }
        answer_all(batch, &BookError::Meta(MetaError::Conflict));
        None
    }

    /// Tries to make a batch of changes on the book as it was `seen`, or as it is. Nothing is
    /// refused by what was seen: others may have written since.
    async fn make(
        &self,
        key: &Key,
        batch: &[Waiting<P>],
        seen: Option<Seen<P>>,
    ) -> Result<Made<P>, MetaError> {
        let now = self.environment.unix_s();
        if let Some(seen) = seen {
            let (page, outcomes) = apply(&seen.page, batch, now);
            if outcomes.iter().all(Result::is_ok) {
                return self.replace(key, &seen, page, outcomes).await;
            }
        }
        let seen = self.read(key).await?;
        let (mut page, mut outcomes) = apply(&seen.page, batch, now);
        if outcomes.iter().any(Result::is_err) {
            let mut cleared = seen.page.clone();
            self.settle_doubts(&mut cleared).await?;
            (page, outcomes) = apply(&cleared, batch, now);
        }
        self.replace(key, &seen, page, outcomes).await
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &Seen<P>,
        page: P,
        outcomes: Vec<Result<(), P::Refusal>>,
    ) -> Result<Made<P>, MetaError> {
        if page == seen.page {
            return Ok(Made { seen: seen.clone(), outcomes });
        }
        let version = self.meta.put(key.clone(), bytes(&page), seen.version).await?;
        Ok(Made { seen: Seen { page, version: Some(version) }, outcomes })
    }

    async fn read(&self, key: &Key) -> Result<Seen<P>, MetaError> {
        let Some(Entry { version, value }) = self.meta.get(key.clone()).await? else {
            return Ok(Seen { page: P::default(), version: None });
        };
        let page = serde_json::from_slice(&value)
            .map_err(|error| MetaError::Unavailable(Arc::new(error)))?;
        Ok(Seen { page, version: Some(version) })
    }

    async fn settle_doubts(&self, page: &mut P) -> Result<(), MetaError> {
        let now = self.environment.unix_s();
        let mut doubts = page.doubts(now);
        let at_work = lock(&self.at_work).clone();
        doubts.retain(|id| !at_work.contains_key(id));
        let looks = stream::iter(doubts.into_iter().take(DOUBTS_MAX));
        let mut looked = looks
            .map(|id| async move { Ok::<_, MetaError>((id, self.trace(id).await?)) })
            .buffer_unordered(LOOKS_MAX);
        while let Some((id, trace)) = looked.try_next().await? {
            page.clear_up(id, &trace, now);
        }
        Ok(())
    }

    async fn trace(&self, id: FileId) -> Result<Trace, MetaError> {
        if P::SHUTS_OUT {
            return shut_out(&*self.meta, self.environment.unix_s(), id).await;
        }
        let Some(entry) = self.meta.get(record_key(id)).await? else { return Ok(Trace::Nothing) };
        let slot = read_slot(id, &entry);
        let unavailable = |reason| MetaError::Unavailable(Arc::new(io::Error::other(reason)));
        Ok(slot.map_err(unavailable)?.trace())
    }
}

/// A batch that was made, and the book after it.
struct Made<P: Page> {
    seen: Seen<P>,
    outcomes: Vec<Result<(), P::Refusal>>,
}

/// There is no place for another change.
struct Full;

impl<P: Page> Book<P> {
    fn put(&self, waiting: Waiting<P>) -> Result<(), Full> {
        let mut desk = lock(&self.desk);
        if desk.waiting.len() >= WAITING_MAX {
            return Err(Full);
        }
        desk.waiting.push(waiting);
        Ok(())
    }

    /// The next batch, and the book as it was last seen; `None`, and nobody writes any more, if
    /// there is no batch.
    fn take(&self) -> Option<(Batch<P>, Option<Seen<P>>)> {
        let mut desk = lock(&self.desk);
        if desk.waiting.is_empty() {
            desk.writing = false;
            return None;
        }
        let count = desk.waiting.len().min(CHANGES_MAX);
        let batch = desk.waiting.drain(..count).collect();
        Some((batch, desk.seen.take()))
    }
}

/// The page after all changes that are not refused, and what came of each.
fn apply<P: Page>(
    page: &P,
    batch: &[Waiting<P>],
    now: UnixSeconds,
) -> (P, Vec<Result<(), P::Refusal>>) {
    let mut page = page.clone();
    let outcomes = batch.iter().map(|waiting| page.apply(&waiting.change, now)).collect();
    (page, outcomes)
}

fn answer<P: Page>(waiting: Waiting<P>, outcome: Answer<P>) {
    if let Some(answer) = waiting.answer {
        let _ = answer.send(outcome); // Whoever asked may be gone.
    }
}

fn answer_all<P: Page>(batch: Batch<P>, error: &BookError<P::Refusal>) {
    for waiting in batch {
        answer(waiting, Err(error.clone()));
    }
}

fn bytes<P: Page>(page: &P) -> bytes::Bytes {
    serde_json::to_vec(page).unwrap_or_default().into() // Maps have text keys, so JSON takes it.
}

/// No change is made in steps, so what a panicking thread leaves behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;

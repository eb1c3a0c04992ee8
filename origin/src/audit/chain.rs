//! Appends to chains: one entry after the other, each at the place behind the last.
//!
//! An entry's key is its place in the chain. Of two origins that append at once, one finds the place
//! taken, looks where the end is now, and makes its entry anew for the place behind it. Places are
//! dense, so the end is found by looking at few of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::oneshot;

use super::entry::{self, Hash, Said};
use super::event::{Detail, Event};
use super::keys::{Place, SubjectKey};
use super::{Audit, NoteError, WHO, Whose};
use crate::meta::{Key, MetaError};

/// The most events that wait for one chain; more are turned away.
const WAITING_MAX: usize = 1024;
/// How often an entry is appended anew because somebody else took its place.
const ATTEMPTS_MAX: usize = 64;
/// The most denials of one tenant that are noted in a second, by each origin.
pub(super) const DENIALS_PER_S: u32 = 10;
const SECOND_MS: u64 = 1000;

/// The chain of a tenant or of the deployment, as this process knows it.
pub(super) struct Chain {
    pub(super) whose: Whose,
    desk: Mutex<Desk>,
}

/// What lies before a chain's writer.
#[derive(Default)]
struct Desk {
    waiting: VecDeque<Waiting>,
    /// Whether somebody writes.
    writing: bool,
    /// The last entry, as it was last seen here.
    end: Option<End>,
    denials: Denials,
}

struct Waiting {
    event: Event,
    answer: oneshot::Sender<Result<(), NoteError>>,
}

/// How many denials were noted lately, and how many were not.
#[derive(Default)]
struct Denials {
    /// The second that is counted.
    second: u64,
    noted: u32,
    /// Since the last one that was noted.
    left_out: u64,
}

/// An entry behind which the next one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// 0 before the first.
    pub(super) seq: u64,
    hash: Hash,
}

/// There is no place for another event.
struct Full;

impl Chain {
    pub(super) fn new(whose: Whose) -> Self {
        Self { whose, desk: Mutex::default() }
    }

    /// Whether nothing is lost if it is forgotten.
    pub(super) fn is_idle(&self) -> bool {
        let desk = self.desk();
        !desk.writing && desk.denials.left_out == 0
    }

    /// Whether one more denial is noted now: how many were not since the last one that was. Those that
    /// are not noted are counted.
    pub(super) fn take_denial(&self, now_ms: u64) -> Option<u64> {
        let mut desk = self.desk();
        let denials = &mut desk.denials;
        let second = now_ms / SECOND_MS;
        if denials.second != second {
            (denials.second, denials.noted) = (second, 0);
        }
        if denials.noted >= DENIALS_PER_S {
            denials.left_out = denials.left_out.saturating_add(1);
            return None;
        }
        denials.noted += 1;
        Some(std::mem::take(&mut denials.left_out))
    }

    /// So many denials could not be noted.
    pub(super) fn left_out(&self, denials: u64) {
        let mut desk = self.desk();
        desk.denials.left_out = desk.denials.left_out.saturating_add(denials);
    }

    fn put(&self, waiting: Waiting) -> Result<(), Full> {
        let mut desk = self.desk();
        if desk.waiting.len() >= WAITING_MAX {
            return Err(Full);
        }
        desk.waiting.push_back(waiting);
        Ok(())
    }

    /// The next event, and the end as it was last seen; `None`, and nobody writes any more, if there is
    /// none.
    fn take(&self) -> Option<(Waiting, Option<End>)> {
        let mut desk = self.desk();
        let Some(next) = desk.waiting.pop_front() else {
            desk.writing = false;
            return None;
        };
        Some((next, desk.end.take()))
    }

    /// No change is made in steps, so what a panicking thread leaves behind is whole.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Appends an event. It is durable when this returns. A caller that goes away before may find it
    /// noted, or not.
    pub(super) async fn append(&self, chain: Arc<Chain>, event: Event) -> Result<(), NoteError> {
        let (answer, answered) = oneshot::channel();
        chain.put(Waiting { event, answer }).map_err(|Full| NoteError::Busy)?;
        self.write(chain);
        answered.await.unwrap_or(Err(NoteError::Busy))
    }

    /// Has a chain written, by whoever is at it or by a task of its own.
    fn write(&self, chain: Arc<Chain>) {
        if std::mem::replace(&mut chain.desk().writing, true) {
            return;
        }
        let this = self.clone();
        let writing = async move {
            while let Some((Waiting { event, answer }, end)) = chain.take() {
                let written = this.write_one(&chain.whose, &event, end).await;
                chain.desk().end = written.as_ref().ok().copied();
                let _ = answer.send(written.map(drop).map_err(NoteError::Meta)); // Whoever asked may be gone.
            }
        };
        self.environment.spawn(writing.boxed());
    }

    /// Writes an event behind the end, wherever that is by then. Returns the new end.
    async fn write_one(
        &self,
        whose: &Whose,
        event: &Event,
        seen: Option<End>,
    ) -> Result<End, MetaError> {
        let keys = self.keys_for(whose, event).await?;
        let mut end = match seen {
            Some(end) => end,
            None => self.end(whose, 0).await?,
        };
        for _ in 0..ATTEMPTS_MAX {
            let seq = end.seq.saturating_add(1);
            let said = self.say(whose, event, &keys, seq)?;
            let (bytes, hash) = entry::encode(&said, &end.hash);
            let key = key(whose, seq);
            match self.meta.put(key.clone(), bytes.clone().into(), None).await {
                Ok(_) => return Ok(End { seq, hash }),
                // It may be our own that stands there.
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {
                    let there = self.meta.get(key).await?;
                    if there.is_some_and(|there| there.value == bytes) {
                        return Ok(End { seq, hash });
                    }
                    end = self.end(whose, end.seq).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(MetaError::Conflict)
    }

    /// The last entry of a chain, which is `seen` or behind it: by steps that double until there is
    /// none, and by halves then.
    pub(super) async fn end(&self, whose: &Whose, seen: u64) -> Result<End, MetaError> {
        let (mut last, mut step) = (seen, 1_u64);
        let mut none = loop {
            let probe = last.saturating_add(step);
            if probe == last || !self.is_there(whose, probe).await? {
                break probe;
            }
            (last, step) = (probe, step.saturating_mul(2));
        };
        while none - last > 1 {
            let middle = last + (none - last) / 2;
            match self.is_there(whose, middle).await? {
                true => last = middle,
                false => none = middle,
            }
        }
        if last == 0 {
            return Ok(End::default());
        }
        let found = self.meta.get(key(whose, last)).await?;
        let hash = found.and_then(|entry| entry::hash_of(&entry.value)).ok_or_else(|| {
            let reason = format!("the entry {last} of an audit log is damaged");
            MetaError::Unavailable(Arc::new(std::io::Error::other(reason)))
        })?;
        Ok(End { seq: last, hash })
    }

    async fn is_there(&self, whose: &Whose, seq: u64) -> Result<bool, MetaError> {
        Ok(self.meta.get(key(whose, seq)).await?.is_some())
    }

    /// The keys under which an event's personal texts are sealed, in their order.
    async fn keys_for(&self, whose: &Whose, event: &Event) -> Result<Vec<SubjectKey>, MetaError> {
        let about = event.what.iter().filter_map(|(_, detail)| match detail {
            Detail::Personal { subject, .. } => Some(subject),
            Detail::Plain(_) => None,
        });
        let mut keys = Vec::new();
        for subject in event.who.iter().chain(about) {
            keys.push(self.keys.of(whose, subject).await?);
        }
        Ok(keys)
    }

    /// What an entry at this place says of an event.
    fn say(
        &self,
        whose: &Whose,
        event: &Event,
        keys: &[SubjectKey],
        seq: u64,
    ) -> Result<Said, MetaError> {
        let mut keys = keys.iter();
        let mut seal = |name: &str, text: &str| {
            let place = Place { whose, seq, name };
            let sealed = keys.next().and_then(|key| key.seal(&*self.environment, place, text));
            let failed = || std::io::Error::other("what is personal can't be sealed");
            sealed.ok_or_else(|| MetaError::Unavailable(Arc::new(failed())))
        };
        let who = event.who.as_deref().map(|who| seal(WHO, who)).transpose()?;
        let what = event.what.iter().map(|(name, detail)| {
            let fact = match detail {
                Detail::Plain(value) => entry::Fact::Plain(value.clone()),
                Detail::Personal { text, .. } => entry::Fact::Sealed(seal(name, text)?),
            };
            Ok(((*name).to_owned(), fact))
        });
        Ok(Said {
            seq,
            time_ms: self.environment.unix_ms(),
            kind: event.kind,
            denied: event.denied.map(|problem| problem.slug().to_owned()),
            who,
            what: what.collect::<Result<_, MetaError>>()?,
        })
    }
}

/// Where an entry is kept.
pub(super) fn key(whose: &Whose, seq: u64) -> Key {
    Key::new(whose.partition(), Bytes::copy_from_slice(&seq.to_be_bytes()))
}

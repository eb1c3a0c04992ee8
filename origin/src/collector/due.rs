//! Goes over what is due, in the order of time.

use outport_wire::UnixSeconds;
use outport_wire::id::FileId;

use super::{Collector, Round};
use crate::hooks::Kind;
use crate::record::{Concat, Record};
use crate::store::{ConcatError, Due, Held, Slot, StoreError, day_of};

/// How many entries are fetched at once.
const ENTRIES: usize = 200;
/// A partial upload that has been claimed is looked at again after this time: does its final one
/// still exist?
const CLAIMED_AGAIN_S: u64 = 7 * 24 * 3600;

/// What is to be done about a record that is due.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It does not expire, or not any more.
    Settle,
    /// It expires at that time.
    Wait(UnixSeconds),
    /// It has expired, and stayed for long enough.
    Remove,
    /// It goes when this final upload goes.
    WithFinal(FileId),
    /// It goes when one of these can't be completed any more.
    WithPartials(Vec<FileId>),
}

/// What becomes of an entry that was looked at.
enum Outcome {
    /// It goes.
    Settled,
    /// It is due at another time.
    Moved(UnixSeconds),
    /// It stays, to be looked at in the next step.
    Stays,
}

fn plan(record: &Record, now_s: UnixSeconds, stays_s: u64) -> Plan {
    let expires_s = match &record.concat {
        Some(Concat::Partial { claimed_by: Some(id) }) => return Plan::WithFinal(*id),
        Some(Concat::Final { of }) if !record.complete => return Plan::WithPartials(of.clone()),
        _ if record.is_file() => record.expires_s,
        _ => record.upload_expires_s,
    };
    match expires_s {
        None => Plan::Settle,
        Some(expires_s) if expires_s.saturating_add(stays_s) <= now_s => Plan::Remove,
        Some(expires_s) => Plan::Wait(expires_s),
    }
}

impl Collector {
    /// When a record is to be looked at because it expires. `None` where it does not, or goes with
    /// others.
    pub(crate) fn expects(&self, record: &Record) -> Option<UnixSeconds> {
        match plan(record, self.store.now_s(), self.policy.expired_for.as_secs()) {
            Plan::Wait(expires_s) => Some(expires_s),
            Plan::Remove => Some(self.store.now_s()),
            Plan::Settle | Plan::WithFinal(_) | Plan::WithPartials(_) => None,
        }
    }

    /// Looks at all that is due by now.
    pub(super) async fn look_at_due(&self, round: &mut Round) -> Result<(), StoreError> {
        let (first, today) = (self.first_day().await?, day_of(self.store.now_s()));
        let mut settled = first;
        for day in first..=today {
            let left = self.look_at_day(day, round).await?;
            if settled == day && left == 0 {
                settled = day + 1;
            }
        }
        if round.removes() { self.settled_before(settled).await } else { Ok(()) }
    }

    /// Returns how many entries the day still has, as far as it was looked at.
    async fn look_at_day(&self, day: u64, round: &mut Round) -> Result<usize, StoreError> {
        let (mut after, mut left) = (None, 0);
        loop {
            let entries = self.store.due(day, after, ENTRIES).await?;
            let last = entries.len() < ENTRIES;
            for due in &entries {
                if round.entries_left == 0 || !self.has_passed(due.due_s, self.policy.expired_for) {
                    return Ok(left + 1);
                }
                round.entries_left -= 1;
                if !self.settle(due, round).await {
                    left += 1;
                }
            }
            if last {
                return Ok(left);
            }
            after = entries.last().map(Due::cursor);
        }
    }

    /// Looks at one entry, and says whether it is gone.
    async fn settle(&self, due: &Due, round: &mut Round) -> bool {
        let settled = match self.look(due, round).await {
            Ok(_) if !round.removes() => return false,
            Ok(Outcome::Stays) => return false,
            Ok(Outcome::Moved(due_s)) if due_s == due.due_s => return false,
            Ok(Outcome::Moved(due_s)) => {
                let noted = self.store.note_due(due.id, due.owner.as_ref(), due_s).await;
                noted.map_err(StoreError::from)
            }
            Ok(Outcome::Settled) => Ok(()),
            Err(error) => Err(error),
        };
        let settled = match settled {
            Ok(()) => self.store.settle_due(due).await,
            Err(error) => Err(error),
        };
        settled.map_err(|error| round.done.failed(due.id, &error)).is_ok()
    }

    async fn look(&self, due: &Due, round: &mut Round) -> Result<Outcome, StoreError> {
        let now_s = self.store.now_s();
        match self.store.slot(due.id).await? {
            Slot::Held(held) => self.look_at_held(held, round).await,
            Slot::Buried(buried) if buried.until_s > now_s => Ok(Outcome::Moved(buried.until_s)),
            Slot::Buried(buried) => {
                if round.removes() {
                    self.store.unbury(due.id, buried).await?;
                }
                Ok(Outcome::Settled)
            }
            // Removed, or never made, or yet to be made by somebody who is slow. Nobody would look
            // at that one any more, so it never is.
            Slot::Empty => {
                if round.removes() && due.owner.is_some() && !self.store.bury(due.id).await? {
                    return Ok(Outcome::Stays); // The record has come.
                }
                if let Some(owner) = &due.owner
                    && self.unlist(owner, due.id, round.mode).await?
                {
                    round.done.list_entries += 1;
                }
                Ok(Outcome::Settled)
            }
        }
    }

    async fn look_at_held(&self, held: Held, round: &mut Round) -> Result<Outcome, StoreError> {
        match plan(&held.record, self.store.now_s(), self.policy.expired_for.as_secs()) {
            Plan::Settle => Ok(Outcome::Settled),
            Plan::Wait(due_s) => Ok(Outcome::Moved(due_s)),
            Plan::Remove => self.remove(&held, round).await,
            Plan::WithFinal(id) => self.look_at_claimed(&held, id, round).await,
            Plan::WithPartials(of) => self.look_at_final(&held, &of, round).await,
        }
    }

    /// A partial upload of the final one `id`.
    async fn look_at_claimed(
        &self,
        held: &Held,
        id: FileId,
        round: &mut Round,
    ) -> Result<Outcome, StoreError> {
        match self.store.slot(id).await? {
            Slot::Held(last) if self.is_dead(held) && !last.record.complete => {
                // The final upload can't be completed any more, and this one goes with it, even where
                // that one does not name it any more.
                match self.remove(&last, round).await? {
                    Outcome::Settled => self.settle_orphan(held, round).await,
                    other => Ok(other),
                }
            }
            Slot::Held(_) => {
                let again_s = self.store.now_s() + CLAIMED_AGAIN_S;
                let expires_s = held.record.upload_expires_s.filter(|_| !held.record.complete);
                Ok(Outcome::Moved(expires_s.map_or(again_s, |expires_s| expires_s.min(again_s))))
            }
            Slot::Buried(_) | Slot::Empty => self.settle_orphan(held, round).await,
        }
    }

    /// A final upload that is not complete lives as long as its partial ones.
    async fn look_at_final(
        &self,
        held: &Held,
        of: &[FileId],
        round: &mut Round,
    ) -> Result<Outcome, StoreError> {
        let mut waits_until_s = None;
        for id in of {
            match self.store.slot(*id).await? {
                Slot::Held(partial)
                    if partial.record.claimed_by() == Some(held.id) && !self.is_dead(&partial) =>
                {
                    let expires_s = partial.record.upload_expires_s;
                    waits_until_s =
                        waits_until_s.max(expires_s.filter(|_| !partial.record.complete));
                }
                _ => return self.remove(held, round).await,
            }
        }
        match waits_until_s {
            Some(until_s) => Ok(Outcome::Moved(until_s)),
            // Nothing is missing, and yet nobody has asked for it.
            None if !round.removes() => Ok(Outcome::Settled),
            None => match self.store.join(held.id).await {
                Ok(_) => Ok(Outcome::Settled),
                Err(ConcatError::Store(error)) => Err(error),
                // They can't be one file, and never will.
                Err(_) => self.remove(held, round).await,
            },
        }
    }

    /// Whether an upload that is not complete has expired, and stayed for long enough.
    fn is_dead(&self, held: &Held) -> bool {
        let expires_s = held.record.upload_expires_s.filter(|_| !held.record.complete);
        expires_s.is_some_and(|expires_s| self.has_passed(expires_s, self.policy.expired_for))
    }

    /// Removes what has expired, and the partial uploads that go with it.
    async fn remove(&self, held: &Held, round: &mut Round) -> Result<Outcome, StoreError> {
        // Whoever is at work will commit and renew it, or give up.
        if self.store.is_at_work(held.id) {
            return Ok(Outcome::Stays);
        }
        // A piece of a file is nothing that anybody was told of.
        let is_piece = matches!(held.record.concat, Some(Concat::Partial { .. }));
        let news = (!is_piece).then_some(Kind::Expired);
        if !round.counts(held.id)
            || (round.removes() && !self.store.remove_held(held, news).await?)
        {
            return Ok(Outcome::Stays);
        }
        let kind =
            if held.record.is_file() { &mut round.done.files } else { &mut round.done.uploads };
        kind.add(own_bytes(&held.record));
        if let Some(Concat::Final { of }) = &held.record.concat {
            for id in of {
                self.remove_partial(held.id, *id, round).await?;
            }
        }
        Ok(Outcome::Settled)
    }

    /// Removes a partial upload of the final one, which is gone by now.
    async fn remove_partial(
        &self,
        last: FileId,
        id: FileId,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        if let Slot::Held(partial) = self.store.slot(id).await?
            && partial.record.claimed_by() == Some(last)
            && round.counts(id)
            && (!round.removes() || self.store.remove_held(&partial, None).await?)
        {
            round.done.uploads.add(own_bytes(&partial.record));
        }
        Ok(())
    }

    /// Removes a partial upload whose final one is gone. While it is there, so is the reason to look.
    async fn settle_orphan(&self, held: &Held, round: &mut Round) -> Result<Outcome, StoreError> {
        self.remove_orphan(held, round).await?;
        Ok(match self.store.slot(held.id).await? {
            Slot::Held(_) => Outcome::Stays,
            Slot::Buried(_) | Slot::Empty => Outcome::Settled,
        })
    }

    /// Removes a partial upload whose final one is gone. One that changes meanwhile is found again.
    pub(super) async fn remove_orphan(
        &self,
        held: &Held,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        if round.counts(held.id) && (!round.removes() || self.store.remove_held(held, None).await?)
        {
            round.done.orphans.add(own_bytes(&held.record));
        }
        Ok(())
    }
}

/// The bytes of its own. Those of a concatenation count where they were written.
fn own_bytes(record: &Record) -> u64 {
    let parts = record.parts.iter().filter(|part| part.source == 0);
    parts.map(|part| part.bytes).sum::<u64>() + record.content.len() as u64
}

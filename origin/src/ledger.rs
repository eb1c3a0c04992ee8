//! What a tenant has used of its quota: bytes and files.
//!
//! The ledger of a tenant is one book, the records of its files are others, and nothing spans the
//! two. So whoever is about to change what a record takes up says so in the ledger first, where the
//! difference counts from then on as *unsettled*; changes the record, which is told the change's tag
//! ([`Record::counted_by`]); and settles it, with whatever is written next. After a crash in
//! between, the record tells whether an unsettled change was made.
//!
//! Several may be about to change one record, and each may have read another state of it. Each has
//! an entry of its own, which says after which change it comes. So whoever comes after a change
//! that is not settled yet settles it, and no two entries are made that come after the same one.
//!
//! What is unsettled for longer than [`HOLD_S`] is taken for left behind, unless its holder renews
//! it. A holder renews what it does not settle at once. One that has slept, or whose clock is
//! another, is shut out from the record before that is believed, and begins anew.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::rules::Quota;
use serde::{Deserialize, Serialize};

use crate::book::{AtWork, BookError, Books, Page};
use crate::environment::Environment;
use crate::meta::{Key, Meta, MetaError};
use crate::record::{Concat, Record, is_zero};
use crate::store::Trace;

/// How long something may stay unsettled before its record is asked.
pub(crate) const HOLD_S: u64 = 600;
/// How often a hold is renewed by who keeps it.
const RENEW: Duration = Duration::from_secs(HOLD_S / 3);
/// The most that is unsettled in one ledger at once, at up to 160 bytes each.
const UNSETTLED_MAX: usize = 1536;
/// How many ledgers are looked through at once.
const LEDGERS: usize = 100;
/// Where ledgers are kept, each under its tenant's name.
pub(crate) const PARTITION: &str = "ledger";

/// What something takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub(crate) struct Amount {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl From<(u64, u64)> for Amount {
    fn from((bytes, files): (u64, u64)) -> Self {
        Self { bytes, files }
    }
}

impl From<Amount> for (u64, u64) {
    fn from(amount: Amount) -> Self {
        (amount.bytes, amount.files)
    }
}

impl Amount {
    pub(crate) const NOTHING: Self = Self { bytes: 0, files: 0 };

    /// What the ledger has of this record.
    pub(crate) fn of(record: &Record) -> Self {
        match record.counted {
            Some(bytes) => Self { bytes, files: files(record) },
            None => Self::NOTHING,
        }
    }

    /// What the ledger must have of this record.
    pub(crate) fn due(record: &Record) -> Self {
        let bytes = match record.concat {
            // Its bytes are those of its partial uploads.
            Some(Concat::Final { .. }) => 0,
            _ => record.length.unwrap_or_else(|| record.offset()),
        };
        Self { bytes, files: files(record) }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }

    fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), files: self.files.max(other.files) }
    }
}

/// What a ledger has of a record, or will have once all is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) amount: Amount,
    /// The tag of the change that made it so; 0 is none.
    pub(crate) by: u64,
}

impl Counted {
    /// Of a record that is not there yet.
    pub(crate) const NOTHING: Self = Self { amount: Amount::NOTHING, by: 0 };

    pub(crate) fn of(record: &Record) -> Self {
        Self { amount: Amount::of(record), by: record.counted_by }
    }
}

fn files(record: &Record) -> u64 {
    u64::from(!matches!(record.concat, Some(Concat::Partial { .. })))
}

/// Why something is not taken into a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverQuota {
    /// It would be more bytes than the tenant may have.
    Bytes { limit: u64, used: u64, wanted: u64 },
    /// It would be one file too many.
    Files { limit: u64, used: u64 },
    /// Too much is unsettled at once. Retry with backoff.
    Crowded,
}

impl OverQuota {
    /// What the client is told.
    pub(crate) fn problem(self) -> Problem {
        let problem = |detail| Problem::new(ProblemType::QuotaExceeded, detail);
        match self {
            Self::Bytes { limit, used, wanted } => problem(format!(
                "The tenant may have {limit} bytes and has {used}; {wanted} more don't fit. \
                 Remove files first."
            ))
            .with("limit_bytes", limit)
            .with("used_bytes", used),
            Self::Files { limit, used } => problem(format!(
                "The tenant may have {limit} files and has {used}. Remove files first."
            ))
            .with("limit_files", limit)
            .with("used_files", used),
            Self::Crowded => {
                let detail = "Too many uploads of the tenant begin at once; try again.";
                Problem::new(ProblemType::Overloaded, detail)
            }
        }
    }
}

/// Why there is no hold.
pub(crate) type LedgerError = BookError<OverQuota>;

/// A change that is unsettled. Its holder changes the record and settles it; dropped, it is told by
/// the record later.
#[derive(Debug)]
pub(crate) struct Hold {
    tenant: String,
    id: FileId,
    /// What the record is told of it. Never 0.
    pub(crate) tag: u64,
    before: Counted,
    to: Option<Amount>,
    until_s: UnixSeconds,
    /// Nobody in this process takes it for left behind, whatever the clock says.
    _at_work: AtWork,
}

/// The ledgers of all tenants that have one.
#[derive(Clone)]
pub(crate) struct Ledger {
    books: Books<Account>,
    meta: Arc<dyn Meta>,
    environment: Arc<dyn Environment>,
}

impl Ledger {
    pub(crate) fn new(meta: Arc<dyn Meta>, environment: Arc<dyn Environment>) -> Self {
        Self { books: Books::new(meta.clone(), environment.clone()), meta, environment }
    }

    /// Counts `to` for the record `id`, which was read with what it has `before`; `None` if it is to
    /// be removed, until when it counts as it is. It is durable when this returns, and the record
    /// may then be changed from that state. What is no more than before is never over a quota.
    pub(crate) async fn hold(
        &self,
        tenant: &str,
        id: FileId,
        quota: Quota,
        before: Counted,
        to: Option<Amount>,
    ) -> Result<Hold, LedgerError> {
        let tag = self.environment.random().max(1);
        let _at_work = self.books.work_on(id);
        let tenant = tenant.to_owned();
        let mut hold = Hold { tenant, id, tag, before, to, until_s: 0, _at_work };
        self.renew(&mut hold, quota).await?;
        Ok(hold)
    }

    /// Makes sure that a hold counts `amount` at least, and will for a while. Whoever changes a
    /// record long after it was held calls this right before.
    pub(crate) async fn confirm(
        &self,
        hold: &mut Hold,
        quota: Quota,
        amount: Amount,
    ) -> Result<(), LedgerError> {
        let fresh = self.environment.unix_s() + HOLD_S / 2 < hold.until_s;
        let to = Some(hold.to.map_or(amount, |held| held.max(amount)));
        if fresh && hold.to == to {
            return Ok(());
        }
        hold.to = to;
        self.renew(hold, quota).await
    }

    async fn renew(&self, hold: &mut Hold, quota: Quota) -> Result<(), LedgerError> {
        let until_s = self.environment.unix_s() + HOLD_S;
        let Hold { id, tag, before: Counted { amount: from, by: after }, to, .. } = *hold;
        let unsettled = Unsettled { after, from, to, until_s };
        self.books.change(&key(&hold.tenant), Change::Hold { id, tag, unsettled, quota }).await?;
        hold.until_s = until_s;
        Ok(())
    }

    /// Renews a hold while `work` is done that takes long.
    pub(crate) async fn keep<T>(&self, hold: &mut Hold, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(RENEW, &mut work).await {
                return done;
            }
            // What was held before is never over a quota.
            if let Err(error) = self.renew(hold, Quota::default()).await {
                tracing::warn!(id = %hold.id, ?error, "a reservation was not renewed");
            }
        }
    }

    /// The record was changed, and takes up `amount`. Written with whatever is written next.
    pub(crate) fn settle(&self, hold: Hold, amount: Amount) {
        self.note(&hold, Some(amount));
    }

    /// The record was removed: gives back what it took up, soon.
    pub(crate) fn give_back(&self, hold: Hold) {
        self.note(&hold, Some(Amount::NOTHING));
        self.books.flush(&key(&hold.tenant));
    }

    /// The record was not changed, for certain: gives back what was held, soon.
    pub(crate) fn release(&self, hold: Hold) {
        self.note(&hold, None);
        self.books.flush(&key(&hold.tenant));
    }

    fn note(&self, hold: &Hold, made: Option<Amount>) {
        let Hold { tenant, id, tag, .. } = hold;
        self.books.note(&key(tenant), Change::Settle { id: *id, tag: *tag, made });
    }

    /// Refuses what would be over the quota if it came now.
    pub(crate) async fn check(
        &self,
        tenant: &str,
        quota: Quota,
        more: Amount,
    ) -> Result<(), LedgerError> {
        self.books.change(&key(tenant), Change::Check { quota, more }).await
    }

    /// Settles what crashes left behind, in up to [`LEDGERS`] ledgers, beginning after the tenant
    /// `after`. Returns where to go on, if there may be more.
    pub(crate) async fn reconcile(&self, after: Option<Bytes>) -> Result<Option<Bytes>, MetaError> {
        let ledgers = self.meta.scan(PARTITION.into(), after, LEDGERS).await?;
        for (tenant, _) in &ledgers {
            self.books.clear_up(&Key::new(PARTITION, tenant.clone())).await?;
        }
        let full = ledgers.len() == LEDGERS;
        Ok(ledgers.last().filter(|_| full).map(|(tenant, _)| tenant.clone()))
    }
}

fn key(tenant: &str) -> Key {
    Key::new(PARTITION, tenant.to_owned())
}

/// One tenant's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    settled: Amount,
    /// By record, and by tag.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unsettled: BTreeMap<FileId, BTreeMap<u64, Unsettled>>,
}

/// A change of what a record takes up, which was made or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unsettled {
    /// The tag of the change that the record was told of before; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    after: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    from: Amount,
    /// `None` if the record is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Amount>,
    until_s: UnixSeconds,
}

/// Something to be written in a ledger.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Hold {
        id: FileId,
        tag: u64,
        unsettled: Unsettled,
        quota: Quota,
    },
    Settle {
        id: FileId,
        tag: u64,
        /// What the record takes up now. `None` where it was not changed.
        made: Option<Amount>,
    },
    /// Changes nothing.
    Check {
        quota: Quota,
        more: Amount,
    },
}

impl Page for Account {
    type Change = Change;
    type Refusal = OverQuota;

    const SHUTS_OUT: bool = true;

    fn apply(&mut self, change: &Change, _now: UnixSeconds) -> Result<(), OverQuota> {
        match change {
            Change::Hold { id, tag, unsettled, quota } => {
                self.hold(*id, *tag, unsettled.clone(), *quota)
            }
            Change::Settle { id, tag, made: Some(amount) } => {
                self.settle(*id, *tag, *amount);
                Ok(())
            }
            Change::Settle { id, tag, made: None } => {
                self.take(*id, *tag);
                Ok(())
            }
            Change::Check { quota, more } => within(*quota, self.used(), self.used().plus(*more)),
        }
    }

    fn doubts(&self, now: UnixSeconds) -> Vec<FileId> {
        let is_left = |unsettled: &Unsettled| unsettled.until_s < now;
        let left = self.unsettled.iter().filter(|(_, all)| all.values().any(is_left));
        left.map(|(id, _)| *id).collect()
    }

    /// Whoever was about to change the record is shut out.
    fn clear_up(&mut self, id: FileId, trace: &Trace, _now: UnixSeconds) {
        match trace {
            Trace::Here(record) => self.settle(id, record.counted_by, Amount::of(record)),
            Trace::Removed { by } => self.settle(id, *by, Amount::NOTHING),
            Trace::Nothing => {}
        }
        self.unsettled.remove(&id);
    }
}

impl Account {
    /// What counts. Of those who are about to change one record, one will.
    pub(crate) fn used(&self) -> Amount {
        let more = |unsettled: &Unsettled| unsettled.to.unwrap_or_default().minus(unsettled.from);
        let most = |all: &BTreeMap<_, _>| all.values().map(more).fold(Amount::NOTHING, Amount::max);
        self.unsettled.values().map(most).fold(self.settled, Amount::plus)
    }

    fn hold(
        &mut self,
        id: FileId,
        tag: u64,
        new: Unsettled,
        quota: Quota,
    ) -> Result<(), OverQuota> {
        // The record says that this one was made.
        self.settle(id, new.after, new.from);
        let used = self.used();
        let old = self.take(id, tag);
        if old.is_none()
            && self.unsettled.values().map(BTreeMap::len).sum::<usize>() >= UNSETTLED_MAX
        {
            return Err(OverQuota::Crowded);
        }
        let held = match &old {
            Some(old) => {
                let to = old.to.zip(new.to).map(|(old, new)| old.max(new));
                let until_s = old.until_s.max(new.until_s);
                Unsettled { to, until_s, ..new }
            }
            None => new,
        };
        self.unsettled.entry(id).or_default().insert(tag, held);
        let fits = within(quota, used, self.used());
        if fits.is_err() {
            self.take(id, tag);
            if let Some(old) = old {
                self.unsettled.entry(id).or_default().insert(tag, old);
            }
        }
        fits
    }

    /// A change was made, and the record takes up `amount`. The others that come after the same one
    /// will not be made; where there is no record any more, none will.
    fn settle(&mut self, id: FileId, tag: u64, amount: Amount) {
        let Some(made) = self.take(id, tag) else { return };
        self.settled = self.settled.plus(amount).minus(made.from);
        if made.to.is_none() {
            self.unsettled.remove(&id);
        } else if let Some(others) = self.unsettled.get_mut(&id) {
            others.retain(|_, other| other.after != made.after);
            self.forget_if_empty(id);
        }
    }

    fn take(&mut self, id: FileId, tag: u64) -> Option<Unsettled> {
        let taken = self.unsettled.get_mut(&id)?.remove(&tag);
        self.forget_if_empty(id);
        taken
    }

    fn forget_if_empty(&mut self, id: FileId) {
        if self.unsettled.get(&id).is_some_and(BTreeMap::is_empty) {
            self.unsettled.remove(&id);
        }
    }
}

/// Refuses to go further over a quota than before.
fn within(quota: Quota, before: Amount, after: Amount) -> Result<(), OverQuota> {
    if let Some(limit) = quota.bytes.filter(|limit| after.bytes > *limit.max(&before.bytes)) {
        let (used, wanted) = (before.bytes, after.bytes - before.bytes);
        return Err(OverQuota::Bytes { limit, used, wanted });
    }
    if let Some(limit) = quota.files.filter(|limit| after.files > *limit.max(&before.files)) {
        return Err(OverQuota::Files { limit, used: before.files });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

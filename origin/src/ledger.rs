//! What a tenant has used of its quota: bytes and files.
//!
//! The ledger of a tenant is one book, the records of its files are others, and nothing spans the
//! two. So whoever is about to change what a record takes up says so in the ledger first, where it
//! counts from then on as *unsettled*; changes the record; and settles it, with whatever is written
//! next. After a crash in between, what is unsettled is told by looking at the record. A record
//! says itself how much of it is in the ledger ([`Record::counted`]).
//!
//! What is unsettled for longer than [`HOLD_S`] is taken for left behind, unless its holder renews
//! it. A holder renews what it does not settle at once.

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
use crate::record::{Concat, Record};

/// How long something may stay unsettled before its record is asked.
pub(crate) const HOLD_S: u64 = 600;
/// How often a hold is renewed by who keeps it.
const RENEW: Duration = Duration::from_secs(HOLD_S / 3);
/// The most that is unsettled in one ledger at once, at about 100 bytes each.
const UNSETTLED_MAX: usize = 2048;
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

/// Something that is unsettled. Its holder changes the record and settles it; dropped, it is told
/// by its record later.
#[derive(Debug)]
pub(crate) struct Hold {
    tenant: String,
    id: FileId,
    tag: u64,
    pub(crate) amount: Amount,
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

    /// Counts `to` for the record `id` instead of `from`, which is what the ledger has of it. It is
    /// durable when this returns, and the record may then be changed. What is no more than before
    /// is never over a quota.
    pub(crate) async fn hold(
        &self,
        tenant: &str,
        id: FileId,
        quota: Quota,
        from: Amount,
        to: Amount,
    ) -> Result<Hold, LedgerError> {
        let tag = self.environment.random();
        let _at_work = self.books.work_on(id);
        let tenant = tenant.to_owned();
        let mut hold = Hold { tenant, id, tag, amount: to, until_s: 0, _at_work };
        self.renew(&mut hold, quota, from).await?;
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
        if fresh && hold.amount.max(amount) == hold.amount {
            return Ok(());
        }
        hold.amount = hold.amount.max(amount);
        self.renew(hold, quota, Amount::NOTHING).await
    }

    async fn renew(&self, hold: &mut Hold, quota: Quota, from: Amount) -> Result<(), LedgerError> {
        let until_s = self.environment.unix_s() + HOLD_S;
        let Hold { id, tag, amount: to, .. } = *hold;
        let change = Change::Hold { id, tag, from, to, until_s, quota };
        self.books.change(&key(&hold.tenant), change).await?;
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
            if let Err(error) = self.renew(hold, Quota::default(), Amount::NOTHING).await {
                tracing::warn!(id = %hold.id, ?error, "a reservation was not renewed");
            }
        }
    }

    /// The record was changed, and takes up `amount`. Written with whatever is written next.
    pub(crate) fn settle(&self, hold: Hold, amount: Amount) {
        let Hold { tenant, id, tag, .. } = hold;
        self.books.note(&key(&tenant), Change::Settle { id, tag, amount });
    }

    /// There is no such record, for certain: gives back what was held, soon.
    pub(crate) fn give_back(&self, hold: Hold) {
        let tenant = hold.tenant.clone();
        self.settle(hold, Amount::NOTHING);
        self.books.flush(&key(&tenant));
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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unsettled: BTreeMap<FileId, Unsettled>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unsettled {
    amount: Amount,
    until_s: UnixSeconds,
    /// Whoever held it last; nobody else settles it.
    tag: u64,
}

/// Something to be written in a ledger.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Hold {
        id: FileId,
        tag: u64,
        from: Amount,
        to: Amount,
        until_s: UnixSeconds,
        quota: Quota,
    },
    Settle {
        id: FileId,
        tag: u64,
        amount: Amount,
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

    fn apply(&mut self, change: &Change, _now: UnixSeconds) -> Result<(), OverQuota> {
        match change {
            Change::Hold { id, tag, from, to, until_s, quota } => {
                let (used, settled) = (self.used(), self.settled);
                let old = self.unsettled.get(id).cloned();
                if old.is_none() && self.unsettled.len() >= UNSETTLED_MAX {
                    return Err(OverQuota::Crowded);
                }
                let until_s = *until_s;
                self.hold(*id, *from, Unsettled { amount: *to, until_s, tag: *tag });
                let fits = within(*quota, used, self.used());
                if fits.is_err() {
                    self.settled = settled;
                    match old {
                        Some(old) => self.unsettled.insert(*id, old),
                        None => self.unsettled.remove(id),
                    };
                }
                fits
            }
            Change::Settle { id, tag, amount } => {
                if self.unsettled.get(id).is_some_and(|unsettled| unsettled.tag == *tag) {
                    self.unsettled.remove(id);
                    self.settled = self.settled.plus(*amount);
                }
                Ok(())
            }
            Change::Check { quota, more } => within(*quota, self.used(), self.used().plus(*more)),
        }
    }

    fn doubts(&self, now: UnixSeconds) -> Vec<FileId> {
        let left = self.unsettled.iter().filter(|(_, unsettled)| unsettled.until_s < now);
        left.map(|(id, _)| *id).collect()
    }

    fn clear_up(&mut self, id: FileId, record: Option<&Record>, _now: UnixSeconds) {
        if self.unsettled.remove(&id).is_some() {
            let amount = record.map_or(Amount::NOTHING, Amount::of);
            self.settled = self.settled.plus(amount);
        }
    }
}

impl Account {
    /// What counts.
    pub(crate) fn used(&self) -> Amount {
        let unsettled = self.unsettled.values().map(|unsettled| unsettled.amount);
        unsettled.fold(self.settled, Amount::plus)
    }

    /// What is unsettled already is not settled: `from` is taken out of what is settled just once.
    /// Of two holders, the larger amount counts, and the later one settles it.
    fn hold(&mut self, id: FileId, from: Amount, new: Unsettled) {
        match self.unsettled.get_mut(&id) {
            Some(old) => {
                let amount = old.amount.max(new.amount);
                let until_s = old.until_s.max(new.until_s);
                *old = Unsettled { amount, until_s, tag: new.tag };
            }
            None => {
                self.settled = self.settled.minus(from);
                self.unsettled.insert(id, new);
            }
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

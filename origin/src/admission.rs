//! Whether an upload may come in, by what its tenant and its owner have already: quotas and open
//! uploads. Where a tenant has neither, nothing is read or written here.
//!
//! What is admitted holds a [`Place`] until its record is there; the store says how that ended.

use std::sync::Arc;

use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::Problem;
use outport_wire::rules::{MediaTypes, Quota, Rules, TenantRules};

use crate::book::{AtWork, BookError, busy};
use crate::environment::Environment;
use crate::ledger::{Amount, Counted, Hold, Ledger, OverQuota};
use crate::meta::{Meta, MetaError};
use crate::open_uploads::{OpenUploads, TooManyOpen};
use crate::record::Record;
use crate::store::StoreError;

/// Which rule stands against an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Quota(OverQuota),
    Open(TooManyOpen),
}

impl Refusal {
    /// What the client is told.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::Quota(over) => over.problem(),
            Self::Open(too_many) => too_many.problem(),
        }
    }
}

/// What is kept for an upload until it is known what became of it.
#[derive(Debug, Default)]
pub(crate) struct Place {
    hold: Option<Hold>,
    _open: Option<AtWork>,
}

impl Place {
    /// The tag of the change in the tenant's ledger, if it is one.
    pub(crate) fn tag(&self) -> Option<u64> {
        self.hold.as_ref().map(|hold| hold.tag)
    }
}

/// How a change ended for which a place was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The record takes up so much.
    At(Amount),
    /// The record is removed.
    Removed,
    /// The record was not made, or not changed, for certain.
    Not,
    /// That is not known, or others may still change it. The record will tell.
    Unknown,
}

/// The rules of all tenants, and what is counted for them.
#[derive(Clone)]
pub(crate) struct Admission {
    rules: Arc<Rules>,
    ledger: Ledger,
    open: OpenUploads,
}

impl Admission {
    /// By rules that bound nothing.
    pub(crate) fn new(meta: &Arc<dyn Meta>, environment: &Arc<dyn Environment>) -> Self {
        Self {
            rules: Arc::new(Rules::same(TenantRules::sized(u64::MAX))),
            ledger: Ledger::new(meta.clone(), environment.clone()),
            open: OpenUploads::new(meta.clone(), environment.clone()),
        }
    }

    #[must_use]
    pub(crate) fn with_rules(self, rules: Arc<Rules>) -> Self {
        Self { rules, ..self }
    }

    /// The ledgers, for who looks after them.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The media types that a tenant's files may have.
    pub(crate) fn types(&self, tenant: &str) -> &MediaTypes {
        &self.rules.for_tenant(tenant).declared.types
    }

    /// Admits an upload that is about to begin with this record, which is told what is counted of
    /// it.
    pub(crate) async fn begin(
        &self,
        owner: &Identity,
        id: FileId,
        record: &mut Record,
    ) -> Result<Place, StoreError> {
        let open = match self.rules.for_tenant(&owner.tenant).open_max {
            Some(limit) => Some(self.open.begin(owner, id, limit).await?),
            None => None,
        };
        let due = Amount::due(record);
        let hold = self.hold_new(&owner.tenant, id, due).await?;
        if let Some(hold) = &hold {
            (record.counted, record.counted_by) = (Some(due.bytes), hold.tag);
        }
        Ok(Place { hold, _open: open })
    }

    /// Admits a file that will come whole, of `bytes` bytes where that is known.
    pub(crate) async fn whole(
        &self,
        owner: &Identity,
        id: FileId,
        bytes: Option<u64>,
    ) -> Result<Place, StoreError> {
        let due = Amount { bytes: bytes.unwrap_or_default(), files: 1 };
        let hold = self.hold_new(&owner.tenant, id, due).await?;
        Ok(Place { hold, _open: None })
    }

    /// Keeps the place of a file while it comes.
    pub(crate) async fn keep<T>(&self, place: &mut Place, work: impl Future<Output = T>) -> T {
        match &mut place.hold {
            Some(hold) => self.ledger.keep(hold, work).await,
            None => work.await,
        }
    }

    /// Makes sure of the place of a file that has come, right before its record is stored, which is
    /// told what is counted of it.
    pub(crate) async fn confirm(
        &self,
        place: &mut Place,
        record: &mut Record,
    ) -> Result<(), StoreError> {
        let Some(hold) = &mut place.hold else { return Ok(()) };
        let due = Amount::due(record);
        self.ledger.confirm(hold, self.quota(&record.tenant), due).await?;
        (record.counted, record.counted_by) = (Some(due.bytes), hold.tag);
        Ok(())
    }

    /// Admits what a record is about to grow by, if it is counted, and tells it.
    pub(crate) async fn grow(&self, id: FileId, record: &mut Record) -> Result<Place, StoreError> {
        let Some(counted) = record.counted else { return Ok(Place::default()) };
        let (before, due) = (Counted::of(record), Amount::due(record));
        if due.bytes <= counted {
            return Ok(Place::default());
        }
        let quota = self.quota(&record.tenant);
        let hold = self.ledger.hold(&record.tenant, id, quota, before, Some(due)).await?;
        (record.counted, record.counted_by) = (Some(due.bytes), hold.tag);
        Ok(Place { hold: Some(hold), _open: None })
    }

    /// Refuses what would make a record outgrow the quota, before any of it has come.
    pub(crate) async fn check_room(&self, record: &Record, bytes: u64) -> Result<(), StoreError> {
        let Some(counted) = record.counted else { return Ok(()) };
        let more = record.offset().saturating_add(bytes).saturating_sub(counted);
        if more == 0 {
            return Ok(());
        }
        let quota = self.quota(&record.tenant);
        Ok(self.ledger.check(&record.tenant, quota, Amount { bytes: more, files: 0 }).await?)
    }

    /// To be called before a record is removed. What it takes up still counts.
    pub(crate) async fn leave(&self, id: FileId, record: &Record) -> Result<Place, MetaError> {
        if record.counted.is_none() {
            return Ok(Place::default());
        }
        let (before, quota) = (Counted::of(record), Quota::default());
        match self.ledger.hold(&record.tenant, id, quota, before, None).await {
            Ok(hold) => Ok(Place { hold: Some(hold), _open: None }),
            Err(BookError::Meta(error)) => Err(error),
            Err(BookError::Busy | BookError::Refused(_)) => Err(busy()),
        }
    }

    /// To be called when it is known how that ended for which a place was kept.
    pub(crate) fn ended(&self, place: Place, ended: Ended) {
        match (place.hold, ended) {
            (Some(hold), Ended::At(amount)) => self.ledger.settle(hold, amount),
            (Some(hold), Ended::Removed) => self.ledger.give_back(hold),
            (Some(hold), Ended::Not) => self.ledger.release(hold),
            (Some(_), Ended::Unknown) | (None, _) => {}
        }
    }

    fn quota(&self, tenant: &str) -> Quota {
        self.rules.for_tenant(tenant).quota
    }

    /// Holds what a record takes up that is yet to be made.
    async fn hold_new(
        &self,
        tenant: &str,
        id: FileId,
        due: Amount,
    ) -> Result<Option<Hold>, StoreError> {
        let quota = self.quota(tenant);
        if !quota.is_set() {
            return Ok(None);
        }
        Ok(Some(self.ledger.hold(tenant, id, quota, Counted::NOTHING, Some(due)).await?))
    }
}

impl Ended {
    /// A compare-and-swap that failed: for certain, or perhaps not.
    pub(crate) const fn failed(error: &MetaError) -> Self {
        match error {
            MetaError::Uncertain(_) => Self::Unknown,
            _ => Self::Not,
        }
    }
}

impl From<BookError<OverQuota>> for StoreError {
    fn from(error: BookError<OverQuota>) -> Self {
        match error {
            BookError::Refused(over) => Self::Refused(Refusal::Quota(over)),
            BookError::Busy => busy().into(),
            BookError::Meta(error) => error.into(),
        }
    }
}

impl From<BookError<TooManyOpen>> for StoreError {
    fn from(error: BookError<TooManyOpen>) -> Self {
        match error {
            BookError::Refused(too_many) => Self::Refused(Refusal::Open(too_many)),
            BookError::Busy => busy().into(),
            BookError::Meta(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;

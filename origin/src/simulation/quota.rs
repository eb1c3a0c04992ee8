//! What a tenant's quota must come to: the ledger against what is really stored.

use std::cmp::max;

use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::rules::Quota;

use super::invariants::{Checks, Invariant};
use crate::book::Page as _;
use crate::ledger::{Account, Amount};
use crate::record::Record;

/// All that is known of the one tenant there is.
#[derive(Debug)]
pub(super) struct QuotaModel {
    quota: Quota,
    account: Account,
    /// What the records take up that are counted.
    stored: Amount,
}

impl QuotaModel {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, account: Account::default(), stored: Amount::NOTHING }
    }

    /// A record was made, replaced or removed.
    pub(super) fn record_changed(
        &mut self,
        id: FileId,
        old: Option<&Record>,
        new: Option<&Record>,
        checks: &mut Checks,
    ) {
        if !self.quota.is_set() {
            return;
        }
        let counted = new.is_none_or(|new| new.counted.is_some() || id.is_from_edge());
        checks.hold(Invariant::Ledger, counted, || format!("{id} is not counted"));
        let (old, new) =
            (old.map_or(Amount::NOTHING, taken_up), new.map_or(Amount::NOTHING, taken_up));
        self.stored.bytes = (self.stored.bytes + new.bytes).saturating_sub(old.bytes);
        self.stored.files = (self.stored.files + new.files).saturating_sub(old.files);
        self.check(checks);
    }

    /// The ledger was written.
    pub(super) fn ledger_changed(&mut self, value: Option<&[u8]>, checks: &mut Checks) {
        let account = value.and_then(|value| serde_json::from_slice(value).ok());
        self.account = account.unwrap_or_default();
        self.check(checks);
    }

    /// Everybody is gone who could change anything, and what they left behind was settled.
    pub(super) fn check_settled(&self, checks: &mut Checks) {
        let Self { account, stored, .. } = self;
        let is_settled = account.used() == *stored && account.doubts(UnixSeconds::MAX).is_empty();
        checks.hold(Invariant::Ledger, is_settled, || {
            format!("{stored:?} is stored, and the ledger says {account:?}")
        });
    }

    fn check(&self, checks: &mut Checks) {
        let (used, stored) = (self.account.used(), self.stored);
        let most =
            Amount { bytes: max(used.bytes, stored.bytes), files: max(used.files, stored.files) };
        let within = self.quota.bytes.is_none_or(|limit| most.bytes <= limit)
            && self.quota.files.is_none_or(|limit| most.files <= limit);
        checks.hold(Invariant::Quota, within, || {
            format!("{most:?} is stored or reserved, of {:?}", self.quota)
        });
        let covered = stored.bytes <= used.bytes && stored.files <= used.files;
        checks.hold(Invariant::Ledger, covered, || {
            format!("{stored:?} is stored, and the ledger says {:?}", self.account)
        });
    }
}

/// What a record takes up, if it is one that counts.
fn taken_up(record: &Record) -> Amount {
    if record.counted.is_some() { Amount::due(record) } else { Amount::NOTHING }
}

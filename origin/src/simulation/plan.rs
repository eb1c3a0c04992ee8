//! What a seed decides before its history begins: how many take part, what they do, and how often
//! what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use outport_wire::rules::{Quota, Rules, TenantRules};

use super::dice::Dice;
use super::faults::Rates;
use crate::config::Collection;
use crate::store::PartPolicy;

/// The shape of one history.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) origins: usize,
    pub(super) clients: usize,
    /// What each client does, one after the other.
    pub(super) operations: u64,
    /// How many uploads they share.
    pub(super) uploads_max: usize,
    /// The longest upload.
    pub(super) bytes_max: u64,
    pub(super) chunk_bytes: u64,
    pub(super) parts: PartPolicy,
    pub(super) collection: Collection,
    /// An upload without progress expires after this time.
    pub(super) expire_after: Option<Duration>,
    /// A body that stands still for this long is cut.
    pub(super) idle: Duration,
    /// What all files may have together.
    pub(super) quota: Quota,
    /// How many uploads may be open at once.
    pub(super) open_max: Option<u32>,
    /// Whether somebody is told of files.
    pub(super) is_told: bool,
    pub(super) rates: Rates,
}

impl Plan {
    pub(super) fn drawn(dice: &Dice) -> Self {
        let chunk_bytes = dice.between(1, 48);
        let parts = PartPolicy {
            bytes_min: chunk_bytes * dice.between(1, 4),
            bytes_max: chunk_bytes * dice.between(4, 16),
            age_max: Duration::from_millis(dice.between(5, 5_000)),
            content_bytes_max: dice.pick(&[0, 0, 30, 1000]).unwrap_or_default(),
        };
        let courtesy =
            |choices: &[u64]| Duration::from_secs(dice.pick(choices).unwrap_or_default());
        // Nothing that was acknowledged depends on any of these.
        let collection = Collection {
            round: Duration::from_secs(1),
            grace: courtesy(&[0, 0, 5, 24 * 3600]),
            expired_for: courtesy(&[0, 0, 5, 24 * 3600]),
        };
        let expire_after = dice.one_in(2).then(|| Duration::from_secs(dice.between(1, 600)));
        let bytes_max = dice.pick(&[16, 100, 400]).unwrap_or(100);
        let quota = Quota {
            bytes: dice.one_in(3).then(|| dice.between(bytes_max / 2, bytes_max * 4)),
            files: dice.one_in(3).then(|| dice.between(1, 6)),
        };
        Self {
            quota,
            is_told: dice.one_in(2),
            open_max: dice.one_in(4).then(|| dice.between(1, 4) as u32),
            collection,
            expire_after,
            origins: dice.pick(&[1, 1, 2, 2, 3]).unwrap_or(1),
            clients: dice.between(1, 5) as usize,
            operations: dice.between(4, 16),
            uploads_max: dice.between(1, 6) as usize,
            bytes_max,
            chunk_bytes,
            parts,
            idle: Duration::from_secs(dice.between(5, 60)),
            rates: Rates::drawn(dice),
        }
    }

    /// What the tenant is held to.
    pub(super) fn rules(&self) -> Arc<Rules> {
        let Self { quota, open_max, .. } = *self;
        Arc::new(Rules::same(TenantRules { quota, open_max, ..TenantRules::sized(u64::MAX) }))
    }
}

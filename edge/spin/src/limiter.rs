//! The limiter: GCRA on the key-value store.
//!
//! A taker's name hashes to one of [`SLOTS`] values, so that the store is bounded however many
//! takers there are. A slot keeps one taker: where two share one, each finds a full allowance
//! after the other has taken. With n takers at work that happens to a taker with a probability of
//! about n / 65,536.
//!
//! Counting is exact, for all instances that share the store, where it can compare and swap, as
//! Spin's own SQLite store can. Its Redis store can only seem to: takers at the same moment may get
//! the same unit there. Clocks of machines that share a store must agree.

use outport_edge_core::limit;
use outport_edge_core::step::{Allowance, Left, Taken};
use spin_sdk::wasip3::random::random::get_random_u64;

use crate::cache::hash;
use crate::node::unix_us;
use crate::store::{Change, Store, Unchanged};

/// How many takers are kept apart at most. A value has 32 bytes.
const SLOTS: u128 = 1 << 16;

/// Takes one unit. A store that fails limits nobody, and the log says so.
pub(crate) fn take(store: &Store, taker: &str, allowance: Allowance) -> Taken {
    let taker = hash(taker);
    let taken = store.change(&format!("outport/limit/{}", taker % SLOTS), |value| {
        let arrival_us = value.and_then(|value| arrival_of(taker, &value)).unwrap_or(0);
        let (kept_us, taken) = limit::take(arrival_us, unix_us(), allowance);
        if kept_us == arrival_us {
            return Change::Leave(taken);
        }
        let (taker, kept_us) = (taker.to_be_bytes(), kept_us.to_be_bytes());
        // Which of two that took in the same microsecond was it?
        let number = get_random_u64().to_be_bytes();
        Change::Put([&taker[..], &kept_us, &number].concat(), taken)
    });
    taken.unwrap_or_else(|unchanged| match unchanged {
        // So many take at once that this one could not: none of them got a unit twice.
        Unchanged::Contended => {
            let retry_us = allowance.interval_us;
            let left = Left { remaining: 0, retry_us, full_us: retry_us };
            Taken { allowed: false, left: Some(left) }
        }
        Unchanged::Failed => Taken { allowed: true, left: None },
    })
}

/// The arrival that a slot keeps for this taker.
fn arrival_of(taker: u128, value: &[u8]) -> Option<u64> {
    let (kept_for, rest) = value.split_first_chunk()?;
    let arrival_us = u64::from_be_bytes(*rest.first_chunk()?);
    (u128::from_be_bytes(*kept_for) == taker).then_some(arrival_us)
}

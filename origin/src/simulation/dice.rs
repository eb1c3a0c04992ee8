//! Chance, all of it drawn from one seed. Nothing in a history is random that does not come from
//! here, in the order in which the history asks for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a seed decides, number by number.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(STEP) ^ STEP))
    }

    /// The next 64 bits: SplitMix64, which is the same on every machine and in every version.
    pub(super) fn next(&self) -> u64 {
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mix(state)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or_default()
    }

    /// A number from `first` to `last`.
    pub(super) fn between(&self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// True so many times in a thousand.
    pub(super) fn per_mille(&self, rate: u32) -> bool {
        rate > 0 && self.below(1000) < u64::from(rate)
    }

    /// True once in so many times.
    pub(super) fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of the choices, of which there is at least one.
    pub(super) fn pick<T: Clone>(&self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len() as u64) as usize).cloned()
    }
}

/// Spreads a number over all 64 bits.
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

//! Allowances of this node: one number for each taker.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use outport_edge_core::limit;
use outport_edge_core::step::{Allowance, Taken};

const SHARDS: usize = 64;
/// The most takers of a shard. Beyond it, those whose allowance is full again are dropped, which
/// loses nothing; if that does not help, all are, and each gets a fresh burst.
const TAKERS_MAX: usize = 16_384;

/// Takes from allowances, atomically for each key.
pub(crate) struct Limiter {
    started: Instant,
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<String, u64>>]>,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes one unit.
    pub(crate) fn take(&self, key: String, allowance: Allowance) -> Taken {
        // A clock that never steps back, so that nobody waits for it to catch up.
        let now_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let place = self.hasher.hash_one(&key) as usize % SHARDS;
        let Some(shard) = self.shards.get(place) else {
            return limit::take(0, now_us, allowance).1;
        };
        let mut arrivals = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arrival) = arrivals.get_mut(&key) {
            let (kept, taken) = limit::take(*arrival, now_us, allowance);
            *arrival = kept;
            return taken;
        }
        make_room(&mut arrivals, now_us);
        let (kept, taken) = limit::take(0, now_us, allowance);
        arrivals.insert(key, kept);
        taken
    }
}

fn make_room(arrivals: &mut HashMap<String, u64>, now_us: u64) {
    if arrivals.len() < TAKERS_MAX {
        return;
    }
    arrivals.retain(|_, arrival| *arrival > now_us);
    if arrivals.len() >= TAKERS_MAX {
        arrivals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takers_are_bounded() {
        let limiter = Limiter::new();
        let allowance = Allowance { interval_us: 60_000_000, burst: 1 };
        for taker in 0..2 * SHARDS * TAKERS_MAX {
            limiter.take(taker.to_string(), allowance);
        }
        assert!(limiter.shards.iter().all(|shard| shard.lock().unwrap().len() <= TAKERS_MAX));
    }

    #[test]
    fn no_unit_is_taken_twice() {
        let limiter = Limiter::new();
        let allowance = Allowance { interval_us: 60_000_000, burst: 1000 };
        let count = || (0..1000).filter(|_| limiter.take("a".into(), allowance).allowed).count();
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}

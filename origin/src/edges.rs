//! Whose requests are taken: the keys of edges, and what was signed with them already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use outport_wire::edge_signature::VALID_S;
use outport_wire::secret::Key;

/// The most nonces of one generation. There are two, so that all take up to some 40 MiB.
const NONCES_MAX: usize = 1 << 20;
/// How long nonces are gathered before what was gathered before is forgotten: each is remembered for
/// so long at least. A second longer than its signature can be good for, since clocks are slewed.
const GENERATION: Duration = Duration::from_secs(VALID_S + 1);

/// The keys of the edges whose requests are taken. Clones are the same keys, so that whoever has
/// one can replace them while the origin answers.
#[derive(Clone, Debug)]
pub struct EdgeKeys(Arc<RwLock<Arc<[Key]>>>);

impl From<Vec<Key>> for EdgeKeys {
    fn from(keys: Vec<Key>) -> Self {
        Self(Arc::new(RwLock::new(keys.into())))
    }
}

impl EdgeKeys {
    /// Takes these from now on, and no others.
    pub fn replace(&self, keys: Vec<Key>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// Those that are taken now.
    pub(crate) fn current(&self) -> Arc<[Key]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What there is to say of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// It was never seen while its signature was good.
    Fresh,
    /// It was taken before.
    Used,
    /// There is no room to remember it, so it can't be taken.
    NoRoom,
}

/// The nonces of requests that were taken, as long as their signatures are good.
///
/// The time is the machine's uptime, which never goes back. Each origin remembers its own, and
/// none across a restart.
#[derive(Debug)]
pub(crate) struct Nonces {
    begun: Instant,
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    /// When the current one began.
    since: Duration,
    current: HashSet<u64>,
    before: HashSet<u64>,
    nonces_max: usize,
}

impl Nonces {
    /// None was taken so far.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), generations: Mutex::new(Generations::new(NONCES_MAX)) }
    }

    /// Takes a nonce, the first time that it comes.
    pub(crate) fn take(&self, nonce: u64) -> Nonce {
        let now = self.begun.elapsed();
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).take(nonce, now)
    }
}

impl Generations {
    fn new(nonces_max: usize) -> Self {
        let (current, before) = (HashSet::new(), HashSet::new());
        Self { since: Duration::ZERO, current, before, nonces_max }
    }

    fn take(&mut self, nonce: u64, now: Duration) -> Nonce {
        if now.saturating_sub(self.since) >= GENERATION {
            self.before = std::mem::take(&mut self.current);
            self.since = now;
        }
        if self.before.contains(&nonce) || self.current.contains(&nonce) {
            return Nonce::Used;
        }
        if self.current.len() >= self.nonces_max {
            return Nonce::NoRoom;
        }
        self.current.insert(nonce);
        Nonce::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const VALID: Duration = Duration::from_secs(VALID_S);

    /// Whenever a nonce is taken, it is refused for as long as its signature is good.
    #[test]
    fn a_nonce_is_taken_once_while_its_signature_is_good() {
        for taken_s in 0..3 * VALID_S {
            let mut nonces = Generations::new(1000);
            let taken = SECOND * u32::try_from(taken_s).unwrap();
            // Others come before, between and behind, so that generations change when they can.
            for second in 0..taken_s + VALID_S {
                let now = SECOND * u32::try_from(second).unwrap();
                assert_eq!(nonces.take(1_000_000 + second, now), Nonce::Fresh);
                if now == taken {
                    assert_eq!(nonces.take(7, now), Nonce::Fresh);
                }
            }
            assert_eq!(nonces.take(7, taken + VALID), Nonce::Used, "{taken_s}");
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut nonces = Generations::new(10);
        for second in 0..10 * VALID_S {
            nonces.take(second, SECOND * u32::try_from(second).unwrap());
            assert!(nonces.current.len() <= 10 && nonces.before.len() <= 10);
        }
        assert_eq!(nonces.take(0, SECOND * 2000), Nonce::Fresh);
    }

    #[test]
    fn what_can_t_be_remembered_is_not_taken() {
        let mut nonces = Generations::new(2);
        let taken: Vec<_> = (1..=3).map(|nonce| nonces.take(nonce, SECOND)).collect();
        assert_eq!(taken, [Nonce::Fresh, Nonce::Fresh, Nonce::NoRoom]);
        assert_eq!(nonces.take(1, SECOND), Nonce::Used);
        assert_eq!(nonces.take(3, GENERATION), Nonce::Fresh, "there is room again");
        assert_eq!(nonces.take(1, GENERATION), Nonce::Used);
    }
}

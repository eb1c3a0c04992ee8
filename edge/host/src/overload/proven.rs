//! Which credentials were good when they were last seen.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

const SHARDS: usize = 16;
/// The most credentials of a generation of a shard; there are two.
const CREDENTIALS_MAX: usize = 4_096;

/// What stands for a credential: a hash by a key that nobody knows, so that none can be made up that
/// has another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// Credentials that were good, as far as there is room: those that were not seen for long go.
#[derive(Default)]
pub(crate) struct Proven {
    hasher: RandomState,
    shards: [Mutex<Generations>; SHARDS],
}

#[derive(Default)]
struct Generations {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Generations {
    fn add(&mut self, credential: u64) {
        if self.young.len() >= CREDENTIALS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(credential);
    }
}

impl Proven {
    pub(crate) fn fingerprint(&self, credential: &[u8]) -> Fingerprint {
        Fingerprint(self.hasher.hash_one(credential))
    }

    /// Whether it was good.
    pub(crate) fn has(&self, credential: Fingerprint) -> bool {
        self.with(credential, |generations| {
            let Fingerprint(credential) = credential;
            generations.young.contains(&credential) || generations.old.contains(&credential)
        })
    }

    /// It is good.
    pub(crate) fn add(&self, credential: Fingerprint) {
        self.with(credential, |generations| generations.add(credential.0));
    }

    /// It is not, or no longer.
    pub(crate) fn remove(&self, credential: Fingerprint) {
        self.with(credential, |generations| {
            generations.young.remove(&credential.0);
            generations.old.remove(&credential.0);
        });
    }

    fn with<T>(&self, credential: Fingerprint, act: impl FnOnce(&mut Generations) -> T) -> T {
        let [first, ..] = &self.shards;
        let shard = self.shards.get(credential.0 as usize % SHARDS).unwrap_or(first);
        act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_good_and_is_refused_is_good_no_longer() {
        let proven = Proven::default();
        let (a, b) = (proven.fingerprint(b"a"), proven.fingerprint(b"b"));
        assert!(!proven.has(a));
        proven.add(a);
        assert!(proven.has(a) && !proven.has(b));
        proven.remove(a);
        assert!(!proven.has(a));
    }

    #[test]
    fn they_are_bounded_and_who_is_seen_stays() {
        let proven = Proven::default();
        let regular = proven.fingerprint(b"regular");
        for number in 0..4 * SHARDS * CREDENTIALS_MAX {
            proven.add(proven.fingerprint(&number.to_le_bytes()));
            proven.add(regular);
        }
        assert!(proven.has(regular));
        let held = proven.shards.iter().map(|shard| {
            let generations = shard.lock().unwrap();
            generations.young.len() + generations.old.len()
        });
        assert!(held.max().unwrap() <= 2 * CREDENTIALS_MAX);
    }
}

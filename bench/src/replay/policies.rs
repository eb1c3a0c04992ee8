//! What the node's cache is put beside: small and plain, without threads or locks.
//!
//! All of them count what they store as the node's cache does, and take any file that is no larger
//! than the whole cache.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::workload::{NEVER, Request};

/// A cache that is asked for files in turn.
pub(super) trait Policy {
    /// Whether a file was there when it was asked for. `weight` is what it takes in the cache.
    fn request(&mut self, request: &Request, weight: u64) -> bool;
}

/// Least recently used, or first in, first out.
pub(super) struct Queue {
    bytes_max: u64,
    bytes: u64,
    /// Whether a use puts a file at the end again.
    renews: bool,
    turns: u64,
    /// Files and weights by their turn to go.
    order: BTreeMap<u64, (u32, u64)>,
    /// The turn of each file.
    stored: HashMap<u32, u64>,
}

impl Queue {
    pub(super) fn lru(bytes_max: u64) -> Self {
        let (order, stored) = (BTreeMap::new(), HashMap::new());
        Self { bytes_max, bytes: 0, renews: true, turns: 0, order, stored }
    }

    pub(super) fn fifo(bytes_max: u64) -> Self {
        Self { renews: false, ..Self::lru(bytes_max) }
    }

    fn enter(&mut self, file: u32, weight: u64) {
        self.turns += 1;
        self.order.insert(self.turns, (file, weight));
        self.stored.insert(file, self.turns);
    }
}

impl Policy for Queue {
    fn request(&mut self, request: &Request, weight: u64) -> bool {
        if let Some(turn) = self.stored.get(&request.file).copied() {
            if self.renews {
                self.order.remove(&turn);
                self.enter(request.file, weight);
            }
            return true;
        }
        if weight > self.bytes_max {
            return false;
        }
        self.bytes += weight;
        while self.bytes > self.bytes_max
            && let Some((_, (file, weight))) = self.order.pop_first()
        {
            self.stored.remove(&file);
            self.bytes -= weight;
        }
        self.enter(request.file, weight);
        false
    }
}

/// Belady's optimum, carried over to files of different sizes: what is used again last goes first,
/// and what is not used again is never stored.
///
/// For files of one size nothing is better. For different sizes the optimum is hard to compute; by
/// objects, though not by bytes, a cache that prefers small files can do better than this.
pub(super) struct Belady {
    bytes_max: u64,
    bytes: u64,
    /// Files and weights by their next use.
    order: BTreeSet<(u64, u32, u64)>,
    /// The next use of each file.
    stored: HashMap<u32, u64>,
}

impl Belady {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, order: BTreeSet::new(), stored: HashMap::new() }
    }

    fn remove(&mut self, (next, file, weight): (u64, u32, u64)) {
        self.order.remove(&(next, file, weight));
        self.stored.remove(&file);
        self.bytes -= weight;
    }
}

impl Policy for Belady {
    fn request(&mut self, request: &Request, weight: u64) -> bool {
        let Request { file, next, .. } = *request;
        let stored = self.stored.get(&file).copied();
        if let Some(now) = stored {
            self.remove((now, file, weight));
        }
        if next != NEVER && weight <= self.bytes_max {
            self.order.insert((next, file, weight));
            self.stored.insert(file, next);
            self.bytes += weight;
        }
        while self.bytes > self.bytes_max
            && let Some(last) = self.order.last().copied()
        {
            self.remove(last);
        }
        stored.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::Workload;
    use super::*;

    /// Which of these files, each of its number's size, are there when they are asked for.
    fn hits(policy: &mut dyn Policy, files: &[u32]) -> Vec<bool> {
        let requests = files.iter().map(|file| Request::new(*file, u64::from(*file))).collect();
        let workload = Workload::new("", requests, |bytes| bytes);
        workload.requests.iter().map(|request| policy.request(request, request.bytes)).collect()
    }

    const HIT: bool = true;
    const MISS: bool = false;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        // 1 was used after 2, so 3 takes the place of 2 alone.
        let found = hits(&mut Queue::lru(4), &[1, 2, 1, 3, 1, 2]);
        assert_eq!(found, [MISS, MISS, HIT, MISS, HIT, MISS]);
    }

    #[test]
    fn what_came_first_goes_first() {
        // 1 came before 2, and its use does not count.
        let found = hits(&mut Queue::fifo(5), &[1, 2, 1, 3, 2, 1]);
        assert_eq!(found, [MISS, MISS, HIT, MISS, HIT, MISS]);
    }

    #[test]
    fn what_is_used_last_goes_first() {
        // 3 is used after 1 and 2, and 4 never again.
        let found = hits(&mut Belady::new(5), &[3, 2, 4, 1, 2, 1, 3]);
        assert_eq!(found, [MISS, MISS, MISS, MISS, HIT, HIT, MISS]);
        let found = hits(&mut Belady::new(6), &[3, 2, 4, 1, 2, 1, 3]);
        assert_eq!(found, [MISS, MISS, MISS, MISS, HIT, HIT, HIT]);
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_stored() {
        for policy in [&mut Queue::lru(4) as &mut dyn Policy, &mut Belady::new(4)] {
            assert_eq!(hits(policy, &[1, 5, 5, 1]), [MISS, MISS, MISS, HIT]);
        }
    }
}

//! What was purged, by tag: looked at where something is found, so that a purge costs the same
//! however much is stored, and counts for what is being fetched meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use outport_edge_core::marks::Marks;
pub(crate) use outport_edge_core::marks::Purged;

/// How many tags are known one by one. When there are more, all that was stored before is gone.
const TAGS_MAX: usize = 100_000;

/// The purges of a node, each of which has a number.
#[derive(Default)]
pub(crate) struct Purges {
    /// The number of the last one.
    last: AtomicU64,
    tags: RwLock<Tags>,
}

#[derive(Default)]
struct Tags {
    /// The last purge of each tag.
    last: HashMap<String, Marks>,
    /// What was stored at this number or before is gone.
    floor: u64,
}

/// What has to be known to go on after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// What was stored at this number or before is gone.
    Floor(u64),
    /// A tag was purged.
    Purge { tag: String, soft: bool, number: u64 },
}

impl Purges {
    /// The number of the last purge: what is looked up now and stored later goes by it.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Purges what has this tag.
    pub(crate) fn purge(&self, tag: String, soft: bool) {
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.last.load(Ordering::Acquire) + 1;
        tags.purge(tag, soft, number);
        self.last.store(number, Ordering::Release);
    }

    /// All that is known.
    pub(crate) fn past(&self) -> Vec<Past> {
        let tags = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        let mut past = vec![Past::Floor(tags.floor)];
        for (tag, last) in &tags.last {
            for (soft, number) in [(false, last.hard), (true, last.soft)] {
                if number > 0 {
                    past.push(Past::Purge { tag: tag.clone(), soft, number });
                }
            }
        }
        past
    }

    /// Begins with what was known before, in the order in which it came to be.
    pub(crate) fn restore(&self, past: Vec<Past>) {
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        for past in past {
            let number = match past {
                Past::Floor(number) => {
                    tags.floor = tags.floor.max(number);
                    number
                }
                Past::Purge { tag, soft, number } => {
                    tags.purge(tag, soft, number);
                    number
                }
            };
            self.last.fetch_max(number, Ordering::Release);
        }
    }

    /// Whether what was looked up at this number and has these tags was purged since.
    pub(crate) fn since(&self, number: u64, tags: &[String]) -> Purged {
        if number >= self.last() {
            return Purged::No;
        }
        let known = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        if number < known.floor {
            return Purged::Gone;
        }
        let purged =
            tags.iter().filter_map(|tag| known.last.get(tag)).map(|last| last.since(number));
        purged.max().unwrap_or(Purged::No)
    }
}

impl Tags {
    fn purge(&mut self, tag: String, soft: bool, number: u64) {
        if self.last.len() >= TAGS_MAX && !self.last.contains_key(&tag) {
            self.last.clear();
            self.floor = number.saturating_sub(1);
        }
        self.last.entry(tag).or_default().note(soft, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[&str]) -> Vec<String> {
        tags.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_harder_purge_counts_and_only_what_came_before() {
        let purges = Purges::default();
        let before = purges.last();
        purges.purge("a".into(), true);
        let between = purges.last();
        purges.purge("b".into(), false);
        assert_eq!(purges.since(before, &tags(&["a"])), Purged::Softly);
        assert_eq!(purges.since(before, &tags(&["a", "b"])), Purged::Gone);
        assert_eq!(purges.since(between, &tags(&["a"])), Purged::No);
        assert_eq!(purges.since(before, &tags(&["c"])), Purged::No);
        assert_eq!(purges.since(purges.last(), &tags(&["a", "b"])), Purged::No);
    }

    #[test]
    fn what_is_not_known_any_more_is_gone() {
        let purges = Purges::default();
        let before = purges.last();
        for tag in 0..TAGS_MAX {
            purges.purge(tag.to_string(), true);
        }
        assert_eq!(purges.since(before, &tags(&["x"])), Purged::No);
        let late = purges.last();
        purges.purge("more".into(), true);
        assert_eq!(purges.since(before, &tags(&["x"])), Purged::Gone);
        assert_eq!(purges.since(late, &tags(&["more"])), Purged::Softly);
        assert_eq!(purges.since(late, &tags(&["0"])), Purged::No);
    }
}

//! What was purged, for drivers that keep that in a key-value store which many share.
//!
//! Each purge has a *generation*, a number above those of all purges before it. It leaves a mark
//! with its generation at the place of each tag that it names, a hard or a soft one, and becomes the
//! latest of all. What is stored remembers the places of its tags, and which purge was the latest
//! when its key was looked up: before it was fetched, and not when it was stored, so that a purge
//! counts for what is being fetched meanwhile. Who finds something compares. Marks need only be read
//! where there was a purge since.
//!
//! A generation is the time, or one more than the latest that is known where the clock is behind
//! that. So purges of machines that don't see each other's yet are in the right order as far as
//! their clocks agree. A mark that is seen late makes go what was stored in between, once more than
//! it had to; none is missed.
//!
//! Tags may share a place, by chance or because the driver has few: then what has either is purged.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purged {
    /// Nothing.
    No,
    /// It is stale.
    Softly,
    /// It is gone.
    Gone,
}

/// The generations of the last purges of a tag, or of several; 0 where there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Of the last that was hard.
    pub hard: u64,
    /// Of the last that was soft.
    pub soft: u64,
}

impl Marks {
    /// Notes a purge.
    pub fn note(&mut self, soft: bool, generation: u64) {
        let last = if soft { &mut self.soft } else { &mut self.hard };
        *last = generation.max(*last);
    }

    /// What was purged of what was looked up when this was the latest generation.
    pub fn since(self, generation: u64) -> Purged {
        if self.hard > generation {
            Purged::Gone
        } else if self.soft > generation {
            Purged::Softly
        } else {
            Purged::No
        }
    }
}

/// What something that is stored remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged {
    latest: u64,
    places: Vec<u64>,
}

impl Tagged {
    /// Of something with these tags that was looked up when this was the latest generation.
    pub fn new(latest: u64, tags: &[String]) -> Self {
        Self { latest, places: tags.iter().map(|tag| place(tag)).collect() }
    }

    /// The places of its tags, if there was a purge since that may have left a mark there.
    pub fn suspects(&self, latest: u64) -> &[u64] {
        if latest > self.latest { &self.places } else { &[] }
    }

    /// What was purged of it, by the marks at the places of its tags.
    pub fn purged(&self, marks: Marks) -> Purged {
        marks.since(self.latest)
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|number| u64::from_str_radix(number, 16).ok());
        Some(Self { latest: numbers.next()??, places: numbers.collect::<Option<_>>()? })
    }
}

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.latest)?;
        self.places.iter().try_for_each(|place| write!(f, " {place:x}"))
    }
}

/// The generation of the next purge.
pub fn next(latest: u64, now_ms: u64) -> u64 {
    now_ms.max(latest.saturating_add(1))
}

/// Where a tag's marks are.
pub fn place(tag: &str) -> u64 {
    Sha256::digest(tag).first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[&str]) -> Vec<String> {
        tags.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_harder_purge_counts_and_only_what_came_before() {
        let mut marks = Marks::default();
        marks.note(false, 5);
        marks.note(true, 7);
        marks.note(true, 6);
        assert_eq!(marks, Marks { hard: 5, soft: 7 });
        let purged = [4, 5, 6, 7].map(|latest| Tagged::new(latest, &[]).purged(marks));
        assert_eq!(purged, [Purged::Gone, Purged::Softly, Purged::Softly, Purged::No]);
    }

    #[test]
    fn marks_are_looked_at_where_there_was_a_purge_since() {
        let stored = Tagged::new(5, &tags(&["a", "b"]));
        assert!(stored.suspects(5).is_empty());
        assert!(stored.suspects(4).is_empty(), "whoever sees less looks at nothing");
        assert_eq!(stored.suspects(6), [place("a"), place("b")]);
        assert_ne!(place("a"), place("b"));
    }

    #[test]
    fn generations_only_rise() {
        assert_eq!(next(0, 1_000), 1_000);
        assert_eq!(next(1_000, 1_000), 1_001);
        assert_eq!(next(2_000, 1_000), 2_001, "the clock is behind");
        assert_eq!(next(u64::MAX, 1_000), u64::MAX);
    }

    #[test]
    fn what_is_remembered_is_read_as_it_was_written() {
        for stored in [Tagged::new(0, &[]), Tagged::new(u64::MAX, &tags(&["a", "b"]))] {
            assert_eq!(Tagged::parse(&stored.to_string()), Some(stored));
        }
        for text in ["", "x", "1 ", "1  2", "-1", "1 2\n", "10000000000000000"] {
            assert_eq!(Tagged::parse(text), None, "{text}");
        }
    }
}

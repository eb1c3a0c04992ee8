//! Whose turn it is to hand over what is kept of a group, and how far a run of that goes: for
//! drivers that begin it anew from time to time.
//!
//! It is for one thread, which decides between two waits.

use std::cell::Cell;
use std::collections::HashMap;

/// For how long what was refused is left alone, in milliseconds.
const REFUSED_PAUSE_MS: u64 = 60_000;
/// How much longer than it should somebody may have its turn, in milliseconds: who is cancelled may
/// leave nothing behind, not even a drop.
const SPARE_MS: u64 = 15_000;

/// How far a handover may go.
#[derive(Debug)]
pub struct Run {
    /// When it ends, in milliseconds since 1970.
    pub until_ms: u64,
    files_left: Cell<u32>,
    /// What was refused a moment ago is tried again.
    refused_too: bool,
}

impl Run {
    /// One that ends then, or after so many files.
    pub const fn new(until_ms: u64, files_max: u32, refused_too: bool) -> Self {
        Self { until_ms, files_left: Cell::new(files_max), refused_too }
    }

    /// Whether there is more to be done in it.
    pub const fn goes_on(&self, now_ms: u64) -> bool {
        self.files_left.get() > 0 && now_ms < self.until_ms
    }

    /// Whether the next file is to be handed over now, which may have been refused then.
    pub fn takes(&self, refused_ms: Option<u64>, now_ms: u64) -> bool {
        let is_rested = |at_ms: u64| now_ms.saturating_sub(at_ms) >= REFUSED_PAUSE_MS;
        let takes = self.goes_on(now_ms) && (self.refused_too || refused_ms.is_none_or(is_rested));
        if takes {
            self.files_left.set(self.files_left.get() - 1);
        }
        takes
    }
}

/// Whose turn it is with each group.
#[derive(Debug, Default)]
pub struct Turns(HashMap<String, Group>);

#[derive(Debug, Default)]
struct Group {
    /// A number of whose turn it is, and until when at most.
    held: Option<(u64, u64)>,
    /// Somebody waits, until then at most.
    awaited_until_ms: u64,
}

impl Turns {
    /// Takes a turn under a number that nobody else has, and means to end it by then. False while
    /// it is another's.
    pub fn take(&mut self, group: &str, number: u64, until_ms: u64, now_ms: u64) -> bool {
        let group = self.0.entry(group.to_owned()).or_default();
        if group.held.is_some_and(|(_, until_ms)| now_ms < until_ms) {
            return false;
        }
        *group = Group { held: Some((number, until_ms + SPARE_MS)), awaited_until_ms: 0 };
        true
    }

    /// Ends a turn, if it still is that one's.
    pub fn end(&mut self, group: &str, number: u64, now_ms: u64) {
        let Some(turns) = self.0.get_mut(group) else { return };
        let is_held = turns.held.is_some_and(|(held, _)| held == number);
        if is_held && turns.awaited_until_ms <= now_ms {
            self.0.remove(group);
        } else if is_held {
            turns.held = None;
        }
    }

    /// Begins to wait for a turn, until then at most. False where somebody does already, who will
    /// see what the caller sees.
    pub fn await_alone(&mut self, group: &str, until_ms: u64, now_ms: u64) -> bool {
        let group = self.0.entry(group.to_owned()).or_default();
        let alone = group.awaited_until_ms <= now_ms;
        if alone {
            group.awaited_until_ms = until_ms;
        }
        alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_its_turn_and_one_waits() {
        let mut turns = Turns::default();
        assert!(turns.take("a", 1, 100, 0));
        assert!(!turns.take("a", 2, 100, 0) && turns.take("b", 2, 100, 0));
        assert!(turns.await_alone("a", 50, 0) && !turns.await_alone("a", 50, 0));
        turns.end("a", 2, 0);
        assert!(!turns.take("a", 2, 100, 0), "it is not the second's to end");
        turns.end("a", 1, 0);
        assert!(!turns.await_alone("a", 50, 0), "it is still waited for");
        assert!(turns.take("a", 2, 100, 0));
        assert!(turns.await_alone("a", 50, 0), "who waited has its turn");
        turns.end("a", 2, 60);
        turns.end("b", 2, 60);
        assert!(turns.0.is_empty());
    }

    #[test]
    fn who_vanishes_loses_its_turn() {
        let mut turns = Turns::default();
        assert!(turns.take("a", 1, 100, 0));
        assert!(!turns.take("a", 2, 200, 100 + SPARE_MS - 1));
        assert!(turns.take("a", 2, 200, 100 + SPARE_MS));
        turns.end("a", 1, 100 + SPARE_MS);
        assert!(!turns.take("a", 3, 200, 100 + SPARE_MS));
        assert!(turns.await_alone("a", 150, 100) && turns.await_alone("a", 250, 150));
    }

    #[test]
    fn a_run_has_an_end() {
        let run = Run::new(100_000, 2, false);
        assert!(!run.takes(Some(1), REFUSED_PAUSE_MS), "it was refused a moment ago");
        assert!(run.takes(Some(0), REFUSED_PAUSE_MS) && run.goes_on(99_999));
        assert!(!run.goes_on(100_000) && !run.takes(None, 100_000));
        assert!(run.takes(None, 0) && !run.goes_on(0) && !run.takes(None, 0));
        assert!(Run::new(100_000, 1, true).takes(Some(0), 0));
    }
}

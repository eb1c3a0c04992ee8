//! What happened in a history, step by step: the last steps as text, and all of them as a hash, by
//! which two runs of one seed are compared.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

/// How many steps are kept of a history that is not replayed by itself.
const STEPS_KEPT: usize = 40;

/// The steps of one history.
#[derive(Debug)]
pub(super) struct Trace {
    steps: u64,
    hash: DefaultHasher,
    kept: VecDeque<String>,
    kept_max: usize,
}

impl Trace {
    /// Keeps the last steps, or all of them.
    pub(super) fn new(keep_all: bool) -> Self {
        let kept_max = if keep_all { usize::MAX } else { STEPS_KEPT };
        Self { steps: 0, hash: DefaultHasher::new(), kept: VecDeque::new(), kept_max }
    }

    /// Takes down a step.
    pub(super) fn note(&mut self, elapsed: Duration, step: fmt::Arguments<'_>) {
        let mut line = if self.kept.len() >= self.kept_max {
            self.kept.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        let _ = write!(line, "{:>9.3} s  {step}", elapsed.as_secs_f64());
        self.hash.write(line.as_bytes());
        self.steps += 1;
        self.kept.push_back(line);
    }

    /// How many steps there were.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// What all steps come to. Equal histories have equal hashes.
    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The steps that were kept, oldest first.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.kept.into()
    }
}

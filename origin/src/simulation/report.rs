//! What many histories came to, for people.

use std::fmt;

use super::Without;
use super::faults::{Fault, Injected};
use super::history::Outcome;
use super::invariants::{Checks, Invariant};

/// The sum of many histories.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) histories: u64,
    pub(super) operations: u64,
    pub(super) calls: u64,
    pub(super) steps: u64,
    pub(super) injected: Injected,
    pub(super) checks: Checks,
}

impl Report {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.histories += 1;
        self.operations += outcome.operations;
        self.calls += outcome.calls;
        self.steps += outcome.steps;
        self.injected.add(&outcome.injected);
        self.checks.add(&outcome.checks);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, operations, calls, steps, .. } = self;
        writeln!(f, "{histories:>11} histories")?;
        writeln!(f, "{operations:>11} requests of clients")?;
        writeln!(f, "{calls:>11} calls of the stores")?;
        writeln!(f, "{steps:>11} steps\n\nfaults")?;
        for fault in Fault::ALL {
            writeln!(f, "{:>11} {}", self.injected.of(fault), fault.name())?;
        }
        writeln!(f, "\ninvariants, and how often each was looked at")?;
        for invariant in Invariant::ALL {
            writeln!(f, "{:>11} {}", self.checks.of(invariant), invariant.name())?;
        }
        Ok(())
    }
}

/// What failed, how it is replayed, and what happened last.
pub(super) fn failure(outcome: &Outcome, without: Without) -> String {
    let Outcome { seed, lines, broken, steps, hash, .. } = outcome;
    let without = match without {
        Without::Nothing => String::new(),
        without => format!(" --without {}", without.name()),
    };
    let broken = broken.as_ref().map(|broken| (broken.invariant.name(), broken.detail.as_str()));
    let (name, detail) = broken.unwrap_or_default();
    let lines = lines.join("\n");
    format!(
        "\nthe last of {steps} steps of seed {seed}, which come to {hash:016x}\n{lines}\n\nBROKEN: {name}\n        {detail}\n\
         replay: cargo xtask simulate --seed {seed}{without}\n"
    )
}

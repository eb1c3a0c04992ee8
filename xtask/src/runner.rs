//! Running what counts: test runners by their calls, and what came of them.

use std::collections::VecDeque;

use anyhow::{Result, bail};

use crate::build::{Product, cargo_release};
use crate::counts::Counts;
use crate::process::Run;
use crate::setup;
use crate::workspace::Workspace;

/// What a check says of itself.
pub(crate) enum Outcome {
    Counted(Counts),
    /// Some of it failed. What was said last tells which, mostly.
    Failed(Counts, Vec<String>),
    LeftOut(String),
}

/// How many lines are kept of what a runner with failures said last.
const SAID_LINES: usize = 12;

impl Outcome {
    /// Whether something failed.
    pub(crate) fn has_failed(&self) -> bool {
        match self {
            Self::Counted(counts) => counts.failed > 0,
            Self::Failed(..) => true,
            Self::LeftOut(_) => false,
        }
    }

    /// What both say.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::LeftOut(_), other) => other,
            (counted, Self::LeftOut(_)) => counted,
            (Self::Counted(mut counts), Self::Counted(more)) => {
                counts.add(more);
                Self::Counted(counts)
            }
            (Self::Failed(mut counts, said), Self::Counted(more))
            | (Self::Counted(more), Self::Failed(mut counts, said)) => {
                counts.add(more);
                Self::Failed(counts, said)
            }
            (Self::Failed(mut counts, mut said), Self::Failed(more, more_said)) => {
                counts.add(more);
                said.extend(more_said);
                Self::Failed(counts, said)
            }
        }
    }
}

/// The last lines of a runner.
#[derive(Default)]
struct Said(VecDeque<String>);

impl Said {
    fn push(&mut self, line: &str) {
        if self.0.len() == SAID_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.trim_end().to_owned());
    }
}

/// Runs tests and counts them.
pub(crate) fn counted(run: Run) -> Result<Outcome> {
    let shown = run.to_string();
    let mut counts = Counts::default();
    let mut said = Said::default();
    let status = run.watched(|line| {
        counts.read(line);
        said.push(line);
    })?;
    if counts == Counts::default() {
        bail!("no test ran: {shown} ended with {status}");
    }
    let counts = judged(counts, status.success());
    Ok(if counts.failed > 0 {
        Outcome::Failed(counts, said.0.into())
    } else {
        Outcome::Counted(counts)
    })
}

// A runner that crashed, or did not compile, has failed whatever it counted before.
fn judged(mut counts: Counts, has_succeeded: bool) -> Counts {
    if !has_succeeded && counts.failed == 0 {
        counts.add(Counts::FAILED);
    }
    counts
}

/// A call of cargo that runs these test targets.
pub(crate) fn test_run(workspace: &Workspace, targets: impl IntoIterator<Item = String>) -> Run {
    let test = cargo_release(workspace, &Product::of(workspace), "test");
    test.arg("--no-fail-fast").args(targets)
}

/// A call of the page's test in a browser.
pub(crate) fn browser_test(workspace: &Workspace) -> Run {
    let product = Product::of(workspace);
    let test = workspace.npm().args(["run", "test:browser"]).envs(product.env());
    match setup::chromium() {
        Some(chromium) => test.env("CHROMIUM", chromium),
        None => test,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_ends_badly_fails_whatever_it_counted() {
        let two = Counts { passed: 2, failed: 0, skipped: 0 };
        assert_eq!(judged(two, true), two);
        assert_eq!(judged(two, false), Counts { passed: 2, failed: 1, skipped: 0 });
        let known = Counts { passed: 2, failed: 3, skipped: 0 };
        assert_eq!(judged(known, false), known);
    }

    #[test]
    fn what_was_said_last_is_kept() {
        let mut said = Said::default();
        (1..=20).for_each(|line| said.push(&format!("{line} \n")));
        assert_eq!((said.0.len(), said.0.front().map(String::as_str)), (SAID_LINES, Some("9")));
    }

    #[test]
    fn a_runner_without_tests_is_an_error() {
        assert!(counted(Run::new("true")).is_err());
    }
}

//! Running what counts: test runners by their calls, and what came of them.

use anyhow::{Result, bail};

use crate::build::{Product, cargo_release};
use crate::counts::Counts;
use crate::process::Run;
use crate::setup;
use crate::workspace::Workspace;

/// What a check says of itself.
pub(crate) enum Outcome {
    Counted(Counts),
    LeftOut(String),
}

impl Outcome {
    /// Whether something failed.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Counted(counts) if counts.failed > 0)
    }

    /// What both say.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Counted(mut counts), Self::Counted(more)) => {
                counts.add(more);
                Self::Counted(counts)
            }
            (counted @ Self::Counted(_), Self::LeftOut(_)) => counted,
            (Self::LeftOut(_), other) => other,
        }
    }
}

/// Runs tests and counts them.
pub(crate) fn counted(run: Run) -> Result<Outcome> {
    let shown = run.to_string();
    let mut counts = Counts::default();
    let status = run.watched(|line| counts.read(line))?;
    if counts == Counts::default() {
        bail!("no test ran: {shown} ended with {status}");
    }
    Ok(Outcome::Counted(judged(counts, status.success())))
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
    fn a_runner_without_tests_is_an_error() {
        assert!(counted(Run::new("true")).is_err());
    }
}

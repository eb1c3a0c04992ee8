//! Whether what came of the tests is what is expected.

use std::fmt;

use crate::cache_tests::exceptions;
use crate::cache_tests::report::Tested;
use crate::counts::Counts;
use crate::platform::Platform;
use crate::runner::Outcome;

/// What the tests come to.
#[derive(Debug)]
pub(crate) struct Judged {
    /// Who does not pass and is in the list is left out.
    counts: Counts,
    /// What is not as expected.
    failures: Vec<String>,
}

impl Judged {
    /// Holds the list against what came of the tests; where all were run, also what it says of
    /// tests that there are not.
    pub(crate) fn of(platform: Platform, tests: &[Tested], are_all: bool) -> Self {
        let mut judged = Self { counts: Counts::default(), failures: Vec::new() };
        for test in tests.iter().filter(|test| test.is_expected()) {
            judged.add(test, exceptions::why(platform, &test.id));
        }
        let is_there = |id: &str| tests.iter().any(|test| test.is_expected() && test.id == id);
        for id in exceptions::of(platform).filter(|id| are_all && !is_there(id)) {
            judged.fail(format!("{id} is an exception, but no test"));
        }
        judged
    }

    fn add(&mut self, test: &Tested, why: Option<&str>) {
        let Tested { id, question, reason, .. } = test;
        match (test.has_passed, why) {
            (true, None) => self.counts.add(Counts::PASSED),
            (false, Some(_)) => self.counts.add(Counts::SKIPPED),
            (false, None) => self.fail(format!("{id}: {question}\n      {reason}")),
            (true, Some(why)) => {
                self.fail(format!("{id} passes, but is an exception:\n      {why}"));
            }
        }
    }

    fn fail(&mut self, failure: String) {
        self.counts.add(Counts::FAILED);
        self.failures.push(failure);
    }

    /// Whether something is not as expected.
    pub(crate) fn fails(&self) -> bool {
        self.counts.failed > 0
    }

    /// The same, for the report of all checks.
    pub(crate) fn outcome(self) -> Outcome {
        match self.fails() {
            true => Outcome::Failed(self.counts, self.failures),
            false => Outcome::Counted(self.counts),
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { passed, failed, skipped } = self.counts;
        write!(f, "{passed} passed, {failed} failed, {skipped} are exceptions")?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LISTED: &str = "headers-omit-headers-listed-in-Connection";

    fn judged(platform: Platform, tests: &[(&str, &str)]) -> Judged {
        let tests = tests.iter().map(|(id, verdict)| {
            json!({"suite": "s", "ours": false, "id": id, "kind": "required", "name": "Is it?",
                   "verdict": verdict, "message": "no"})
        });
        let tests = json!(tests.collect::<Vec<_>>()).to_string();
        Judged::of(platform, &Tested::read(&tests).unwrap(), false)
    }

    #[test]
    fn what_is_as_expected_does_not_fail() {
        let judged = judged(Platform::Spin, &[("a", "passed"), (LISTED, "failed")]);
        assert_eq!(judged.counts, Counts { passed: 1, failed: 0, skipped: 1 });
        assert!(!judged.fails());
        assert_eq!(judged.to_string(), "1 passed, 0 failed, 1 are exceptions");
        assert!(matches!(judged.outcome(), Outcome::Counted(_)));
    }

    #[test]
    fn what_is_not_listed_must_pass() {
        for (platform, id) in [(Platform::Spin, "a"), (Platform::Wasmtime, LISTED)] {
            let judged = judged(platform, &[(id, "dependency")]);
            assert_eq!(judged.counts, Counts::FAILED);
            assert!(judged.to_string().ends_with(": Is it?\n      dependency: no"), "{judged}");
            assert!(matches!(judged.outcome(), Outcome::Failed(..)));
        }
    }

    #[test]
    fn what_is_listed_must_not_pass() {
        let judged = judged(Platform::Spin, &[(LISTED, "passed")]);
        assert_eq!(judged.counts, Counts::FAILED);
        assert!(judged.to_string().contains("passes, but is an exception"), "{judged}");
    }

    #[test]
    fn what_is_listed_must_be_there_where_all_were_run() {
        let all = Judged::of(Platform::Spin, &[], true);
        assert_eq!(all.counts.failed, exceptions::of(Platform::Spin).count() as u64);
        assert!(!Judged::of(Platform::Spin, &[], false).fails());
    }
}

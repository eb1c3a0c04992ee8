//! Counting tests by what their runners print.

/// How a line of `node --test`'s summary begins: on a terminal, and for other programs.
const NODE_MARKS: &[&str] = &["\u{2139} ", "# "];

/// How many tests passed, failed, or were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that failed.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that was left out.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Adds what a line of libtest's, `node --test`'s or our own programs' output says.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(result) = line.strip_prefix("test result: ") {
            self.read_libtest(result);
        } else if let Some(counts) = read_plain(line) {
            self.add(counts);
        } else if let Some(result) = NODE_MARKS.iter().find_map(|mark| line.strip_prefix(mark)) {
            self.read_node(result);
        }
    }

    /// Adds other counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    // "ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s"
    fn read_libtest(&mut self, result: &str) {
        for part in result.split([';', '.']) {
            match number_and_word(part.trim()) {
                Some((number, "passed")) => self.passed += number,
                Some((number, "failed")) => self.failed += number,
                Some((number, "ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }

    // "pass 3", "fail 0". A cancelled test was begun, or never was, because another one failed.
    fn read_node(&mut self, result: &str) {
        let Some((word, number)) = result.split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match word {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            "skipped" | "todo" => self.skipped += number,
            _ => {}
        }
    }
}

// "3 passed, 0 failed, 1 left out", and nothing else on the line.
fn read_plain(line: &str) -> Option<Counts> {
    let mut parts = line.split(", ").map(number_and_word);
    let (Some((passed, "passed")), Some((failed, "failed")), Some((skipped, "left out")), None) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    Some(Counts { passed, failed, skipped })
}

fn number_and_word(text: &str) -> Option<(u64, &str)> {
    let (number, word) = text.split_once(' ')?;
    Some((number.parse().ok()?, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(output: &str) -> Counts {
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.read(line));
        counts
    }

    #[test]
    fn libtest_binaries_add_up() {
        let output = "
running 3 tests
test a::b ... ok
test 9 passed ... FAILED

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s

test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s
";
        assert_eq!(counted(output), Counts { passed: 41, failed: 1, skipped: 1 });
    }

    #[test]
    fn node_is_counted_by_its_summary() {
        let output = "
# Subtest: resumes
not ok 2 - resumes
\u{2139} tests 9
\u{2139} suites 1
\u{2139} pass 3
\u{2139} fail 1
\u{2139} cancelled 2
\u{2139} skipped 1
\u{2139} todo 1
\u{2139} duration_ms 77.5
";
        assert_eq!(counted(output), Counts { passed: 3, failed: 3, skipped: 2 });
        assert_eq!(counted("# pass 4\n# fail 0\n"), Counts { passed: 4, failed: 0, skipped: 0 });
    }

    #[test]
    fn our_own_programs_end_with_their_counts() {
        let output = "a difference\n12 passed, 1 failed, 3 left out\n";
        assert_eq!(counted(output), Counts { passed: 12, failed: 1, skipped: 3 });
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(
            counted("passed\n1 passed, 2 failed\n12 monkeys\npass 3\n# pass\n# pass -1"),
            Counts::default()
        );
    }
}

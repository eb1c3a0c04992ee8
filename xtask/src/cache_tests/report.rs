//! What came of the tests, as tables.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cache_tests::judged::Judged;

/// How wide the names of the suites, and a cell.
const NAME_WIDTH: usize = 18;
const CELL_WIDTH: usize = 9;

/// What the suite makes of a test that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A cache must.
    Required,
    /// A cache that does is better.
    Optimal,
    /// Neither is right or wrong.
    Check,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Required, Self::Optimal, Self::Check];

    const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optimal => "optimal",
            Self::Check => "check",
        }
    }
}

/// What came of a test.
#[derive(Debug)]
pub(crate) struct Tested {
    suite: String,
    /// Whether it is one of our own, beside the published ones.
    is_ours: bool,
    pub(crate) id: String,
    kind: Kind,
    pub(crate) question: String,
    pub(crate) has_passed: bool,
    /// Why it has not passed.
    pub(crate) reason: String,
}

impl Tested {
    /// Reads what `run.mjs` writes.
    pub(crate) fn read(text: &str) -> Result<Vec<Self>> {
        let results: Value = serde_json::from_str(text)?;
        let results = results.as_array().context("the results are no list")?;
        results.iter().map(Self::of).collect()
    }

    /// Whether it is one to be passed: where the RFCs leave something open, ours ask for what
    /// Outport says that it does.
    pub(crate) fn is_expected(&self) -> bool {
        self.kind != Kind::Check || self.is_ours
    }

    fn of(result: &Value) -> Result<Self> {
        let member = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = member("kind");
        let Some(kind) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
            bail!("a test of the kind {kind:?}");
        };
        let verdict = member("verdict");
        Ok(Self {
            suite: member("suite").to_owned(),
            is_ours: result.get("ours").and_then(Value::as_bool).unwrap_or_default(),
            id: member("id").to_owned(),
            kind,
            question: member("name").to_owned(),
            has_passed: matches!(verdict, "passed" | "yes"),
            reason: format!("{verdict}: {}", member("message")),
        })
    }
}

/// What came of the tests with one contender.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) label: String,
    pub(crate) tests: Vec<Tested>,
    /// What they come to, with Outport.
    pub(crate) judged: Option<Judged>,
}

impl Column {
    // "12/14", or nothing where there are none.
    fn cell(&self, kind: Kind, is_in_row: impl Fn(&Tested) -> bool) -> String {
        let tests = || self.tests.iter().filter(|test| test.kind == kind && is_in_row(test));
        match (tests().filter(|test| test.has_passed).count(), tests().count()) {
            (_, 0) => String::new(),
            (passed, all) => format!("{passed}/{all}"),
        }
    }
}

/// The table of all contenders, and what is not as it should be.
pub(crate) fn text(columns: &[Column]) -> String {
    let mut text = heading(columns);
    let Some(first) = columns.first() else { return text };
    for is_ours in [false, true] {
        let mut suites: Vec<&str> = Vec::new();
        for test in first.tests.iter().filter(|test| test.is_ours == is_ours) {
            if suites.last() != Some(&test.suite.as_str()) {
                suites.push(&test.suite);
            }
        }
        for suite in &suites {
            text.push_str(&row(columns, suite, |test| test.suite == *suite));
        }
        if suites.len() > 1 {
            let all = if is_ours { "ours" } else { "http-cache-tests" };
            text.push_str(&row(columns, all, |test| test.is_ours == is_ours));
        }
        if !suites.is_empty() {
            text.push('\n');
        }
    }
    for Column { label, judged, .. } in columns {
        if let Some(judged) = judged {
            let _ = writeln!(text, "{label}: {judged}");
        }
    }
    text
}

fn heading(columns: &[Column]) -> String {
    let mut labels = format!("\n{:NAME_WIDTH$}", "");
    let mut kinds = format!("{:NAME_WIDTH$}", "suite");
    for column in columns {
        let width = CELL_WIDTH * Kind::ALL.len();
        let _ = write!(labels, "  {:>width$}", column.label);
        kinds.push_str("  ");
        for kind in Kind::ALL {
            let _ = write!(kinds, "{:>CELL_WIDTH$}", kind.name());
        }
    }
    format!("{labels}\n{kinds}\n")
}

fn row(columns: &[Column], name: &str, is_in_row: impl Fn(&Tested) -> bool) -> String {
    let mut text = format!("{name:NAME_WIDTH$}");
    for column in columns {
        text.push_str("  ");
        for kind in Kind::ALL {
            let _ = write!(text, "{:>CELL_WIDTH$}", column.cell(kind, &is_in_row));
        }
    }
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = r#"[
        {"suite": "vary", "ours": false, "id": "a", "kind": "required", "name": "A?",
         "verdict": "passed", "message": ""},
        {"suite": "vary", "ours": false, "id": "b", "kind": "required", "name": "B?",
         "verdict": "failed", "message": "Assertion: no"},
        {"suite": "stale", "ours": true, "id": "c", "kind": "check", "name": "C?",
         "verdict": "yes", "message": ""}
    ]"#;

    #[test]
    fn what_passes_is_counted() {
        let tests = Tested::read(RESULTS).unwrap();
        let text = text(&[Column { label: "it 1.0".to_owned(), tests, judged: None }]);
        let has_row =
            |row: &str| text.lines().any(|line| line.split_whitespace().eq(row.split(' ')));
        assert!(has_row("vary 1/2"), "{text}");
        assert!(has_row("stale 1/1"), "{text}");
        assert!(has_row("it 1.0"), "{text}");
    }

    #[test]
    fn a_check_is_to_be_passed_where_it_is_ours() {
        let expected = |results: &str| {
            let tests = Tested::read(results).unwrap();
            tests.iter().map(Tested::is_expected).collect::<Vec<_>>()
        };
        assert_eq!(expected(RESULTS), [true, true, true]);
        assert_eq!(expected(&RESULTS.replace("required", "check")), [false, false, true]);
    }

    #[test]
    fn a_kind_that_is_not_known_is_an_error() {
        assert!(Tested::read(&RESULTS.replace("check", "wish")).is_err());
    }
}

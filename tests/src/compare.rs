//! Compares the transcripts of two platforms, and makes the table of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::differences::{Difference, What};
use crate::platform::Platform;
use crate::transcript::{Exchange, Outcome, Recorded, Transcript};

/// What a comparison has come to.
#[derive(Debug, Default)]
pub struct Report {
    /// Every difference that nothing explains.
    pub unexplained: Vec<Found>,
    /// How many differences each entry of the list explains, where it applies.
    pub explained: Vec<(&'static str, usize)>,
    /// Scenarios with no difference but explained ones.
    pub passed: usize,
    /// Scenarios with others, and entries that explain nothing.
    pub failed: usize,
    /// Scenarios that one of the two leaves out.
    pub left_out: usize,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    scenario: String,
    /// Number and request; empty where the scenario as a whole differs.
    exchange: String,
    what: Seen,
    base: String,
    other: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// The scenario's end, or what it asked: never to be explained.
    Scenario(&'static str),
    Status,
    Field(String),
    Body,
}

/// What stands for a field or an answer that is missing.
const NONE: &str = "(none)";

/// Compares `other` with `base`, by a list of differences that are to be expected on `platform`.
pub fn compare(
    base: &Transcript,
    other: &Transcript,
    platform: Platform,
    list: &'static [Difference],
) -> Report {
    let list = list.iter().filter(|entry| entry.platforms.contains(&platform));
    let mut entries: Vec<_> = list.map(|entry| (entry, 0)).collect();
    let mut report = Report::default();
    let names: BTreeSet<_> = base.scenarios.keys().chain(other.scenarios.keys()).collect();
    for name in names {
        let (Some(a), Some(b)) = (base.scenarios.get(name), other.scenarios.get(name)) else {
            report.failed += 1;
            report.unexplained.push(missing(name, base.scenarios.contains_key(name)));
            continue;
        };
        if [a, b].iter().any(|recorded| matches!(recorded.outcome, Outcome::LeftOut(_))) {
            report.left_out += 1;
            continue;
        }
        let mut found = differences(name, a, b);
        found.retain(|found| !is_explained(found, &mut entries));
        *if found.is_empty() { &mut report.passed } else { &mut report.failed } += 1;
        report.unexplained.extend(found);
    }
    let is_idle = |(entry, count): &&(&Difference, usize)| {
        *count == 0 && !matches!(entry.what, What::Sometimes(..))
    };
    report.failed += entries.iter().filter(is_idle).count();
    report.explained = entries.iter().map(|(entry, count)| (entry.why, *count)).collect();
    report
}

fn missing(scenario: &str, is_in_base: bool) -> Found {
    let (base, other) = if is_in_base { ("run", NONE) } else { (NONE, "run") };
    found(scenario, "", Seen::Scenario("the scenario"), base, other)
}

fn differences(name: &str, base: &Recorded, other: &Recorded) -> Vec<Found> {
    let whole = |what, base: &dyn fmt::Debug, other: &dyn fmt::Debug| {
        found(name, "", Seen::Scenario(what), &format!("{base:?}"), &format!("{other:?}"))
    };
    let mut all = Vec::new();
    if base.outcome != other.outcome || base.outcome == Outcome::Failed {
        all.push(whole("the outcome", &base.outcome, &other.outcome));
    }
    let (asked, asked_other) = (base.exchanges.len(), other.exchanges.len());
    if asked != asked_other {
        all.push(whole("the number of requests", &asked, &asked_other));
    }
    let pairs = base.exchanges.iter().zip(&other.exchanges);
    all.extend((1..).zip(pairs).flat_map(|(number, (a, b))| of_exchange(name, number, a, b)));
    all
}

fn of_exchange(name: &str, number: usize, base: &Exchange, other: &Exchange) -> Vec<Found> {
    let request = |exchange: &Exchange| format!("{} {}", exchange.method, exchange.path);
    let status = |exchange: &Exchange| exchange.status.map_or(NONE.to_owned(), |s| s.to_string());
    let (fields, fields_other) = (by_name(base), by_name(other));
    let names: BTreeSet<_> = fields.keys().chain(fields_other.keys()).collect();
    let value = |fields: &BTreeMap<_, String>, name| fields.get(name).cloned();
    let sides = [
        (Seen::Scenario("the request"), request(base), request(other)),
        (Seen::Status, status(base), status(other)),
        (Seen::Body, base.body.clone(), other.body.clone()),
    ];
    let of_fields = names.into_iter().map(|name| {
        let side = |fields| value(fields, name).unwrap_or_else(|| NONE.to_owned());
        (Seen::Field((*name).to_owned()), side(&fields), side(&fields_other))
    });
    let exchange = format!("{number}: {}", request(base));
    let all = sides.into_iter().chain(of_fields).filter(|(_, base, other)| base != other);
    all.map(|(what, base, other)| found(name, &exchange, what, &base, &other)).collect()
}

/// Fields that come several times have their values one below the other.
fn by_name(exchange: &Exchange) -> BTreeMap<&str, String> {
    let mut fields = BTreeMap::<_, String>::new();
    for (name, value) in &exchange.fields {
        let values = fields.entry(name.as_str()).or_default();
        *values = if values.is_empty() { value.clone() } else { format!("{values}\n{value}") };
    }
    fields
}

fn found(scenario: &str, exchange: &str, what: Seen, base: &str, other: &str) -> Found {
    let (scenario, exchange) = (scenario.to_owned(), exchange.to_owned());
    Found { scenario, exchange, what, base: base.to_owned(), other: other.to_owned() }
}

/// Counts the difference with every entry that explains it.
fn is_explained(found: &Found, entries: &mut [(&Difference, usize)]) -> bool {
    let mut is_explained = false;
    for (entry, count) in entries {
        if entry.explains(found) {
            *count += 1;
            is_explained = true;
        }
    }
    is_explained
}

impl Difference {
    fn explains(&self, found: &Found) -> bool {
        self.scenario.is_none_or(|scenario| scenario == found.scenario)
            && match (&self.what, &found.what) {
                (_, Seen::Scenario(_)) => false,
                (What::Anything, _) => true,
                (What::Added(name), Seen::Field(field)) => name == field && found.base == NONE,
                (What::Removed(name), Seen::Field(field)) => name == field && found.other == NONE,
                (What::Changed(name), Seen::Field(field)) => {
                    name == field && found.base != NONE && found.other != NONE
                }
                (What::Sometimes(name, base, other), Seen::Field(field)) => {
                    name == field && found.base == *base && found.other == *other
                }
                (What::Status(status), Seen::Status) => found.other == status.to_string(),
                (What::Body, Seen::Body) => true,
                _ => false,
            }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, exchange, what, base, other } = self;
        writeln!(f, "{scenario} {exchange}\n  {what} differs")?;
        write!(f, "    base:  {base:?}\n    other: {other:?}")
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scenario(what) => f.write_str(what),
            Self::Status => f.write_str("the status"),
            Self::Field(name) => write!(f, "the field {name}"),
            Self::Body => f.write_str("the body"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.unexplained {
            writeln!(f, "{found}")?;
        }
        for (why, count) in &self.explained {
            match count {
                0 => writeln!(f, "in the list of differences, and there is none: {why}")?,
                count => writeln!(f, "explained {count} times: {why}")?,
            }
        }
        let Self { passed, failed, left_out, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {left_out} left out")
    }
}

/// Scenarios by platforms, how many ended how, and why what is left out is left out.
pub fn table(transcripts: &[Transcript]) -> String {
    let names: BTreeSet<_> = transcripts.iter().flat_map(|one| one.scenarios.keys()).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or_default();
    let row = |first: &str, cell: &dyn Fn(&Transcript) -> String| {
        let cells: String = transcripts.iter().map(|one| format!("  {:10}", cell(one))).collect();
        format!("{first:width$}{cells}")
    };
    let mut rows = vec![row("", &|one| one.platform.to_string())];
    rows.extend(names.iter().map(|name| row(name, &|one| outcome(one, name).to_owned())));
    rows.extend(TOTALS.map(|total| row(total, &|one| count(one, total).to_string())));
    rows.extend(transcripts.iter().flat_map(reasons));
    rows.iter().map(|row| format!("{}\n", row.trim_end())).collect()
}

/// How scenarios end, in the table.
const TOTALS: [&str; 3] = ["passed", "FAILED", "left out"];

fn outcome(transcript: &Transcript, scenario: &str) -> &'static str {
    transcript.scenarios.get(scenario).map_or("not run", |recorded| word(&recorded.outcome))
}

fn count(transcript: &Transcript, total: &str) -> usize {
    transcript.scenarios.values().filter(|recorded| word(&recorded.outcome) == total).count()
}

fn reasons(transcript: &Transcript) -> Vec<String> {
    let reason = |(name, recorded): (&String, &Recorded)| match &recorded.outcome {
        Outcome::LeftOut(why) => Some(format!("{}, {name}: {why}", transcript.platform)),
        _ => None,
    };
    transcript.scenarios.iter().filter_map(reason).collect()
}

const fn word(outcome: &Outcome) -> &'static str {
    let [passed, failed, left_out] = TOTALS;
    match outcome {
        Outcome::Passed => passed,
        Outcome::Failed => failed,
        Outcome::LeftOut(_) => left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &[Platform] = &[Platform::Spin];
    const EVERYWHERE: Option<&str> = None;

    /// A transcript of one scenario with one exchange.
    fn transcript(status: u16, fields: &[(&str, &str)], body: &str) -> Transcript {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let (method, path) = ("GET".to_owned(), "/".to_owned());
        let exchange = Exchange { method, path, status: Some(status), fields, body: body.into() };
        of(Outcome::Passed, vec![exchange])
    }

    fn of(outcome: Outcome, exchanges: Vec<Exchange>) -> Transcript {
        let scenarios = BTreeMap::from([("a::b".to_owned(), Recorded { outcome, exchanges })]);
        Transcript { platform: Platform::Spin, scenarios }
    }

    fn counts(base: &Transcript, other: &Transcript, list: &'static [Difference]) -> [usize; 4] {
        let report = compare(base, other, Platform::Spin, list);
        [report.passed, report.failed, report.left_out, report.unexplained.len()]
    }

    #[test]
    fn every_part_of_an_answer_counts() {
        let base = transcript(200, &[("a", "1"), ("b", "2")], "c");
        assert_eq!(counts(&base, &base, &[]), [1, 0, 0, 0]);
        for other in [
            transcript(201, &[("a", "1"), ("b", "2")], "c"),
            transcript(200, &[("a", "2"), ("b", "2")], "c"),
            transcript(200, &[("a", "1")], "c"),
            transcript(200, &[("a", "1"), ("b", "2"), ("b", "2")], "c"),
            transcript(200, &[("a", "1"), ("b", "2")], "d"),
            of(Outcome::Failed, base.scenarios["a::b"].exchanges.clone()),
            of(Outcome::Passed, Vec::new()),
            Transcript::new(Platform::Spin),
        ] {
            assert_eq!(counts(&base, &other, &[]), [0, 1, 0, 1], "{other:?}");
            assert_eq!(counts(&other, &base, &[])[1], 1, "{other:?}");
        }
        let left_out = of(Outcome::LeftOut("it has none".to_owned()), Vec::new());
        assert_eq!(counts(&base, &left_out, &[]), [0, 0, 1, 0]);
    }

    #[test]
    fn an_entry_explains_what_it_says_and_nothing_else() {
        const ADDED: &[Difference] = &[Difference {
            platforms: HERE,
            scenario: EVERYWHERE,
            what: What::Added("server"),
            why: "it names itself",
        }];
        let base = transcript(200, &[], "");
        assert_eq!(counts(&base, &transcript(200, &[("server", "x")], ""), ADDED), [1, 0, 0, 0]);
        // Another field; and the entry explains nothing.
        assert_eq!(counts(&base, &transcript(200, &[("via", "x")], ""), ADDED), [0, 2, 0, 1]);
        // The field is missing, not added.
        assert_eq!(counts(&transcript(200, &[("server", "x")], ""), &base, ADDED), [0, 2, 0, 1]);
        assert_eq!(counts(&base, &base, ADDED), [1, 1, 0, 0]);
        let elsewhere = compare(&base, &base, Platform::Fastly, ADDED);
        assert_eq!(elsewhere.failed, 0);
    }

    #[test]
    fn what_is_so_only_sometimes_need_not_be() {
        const RACE: &[Difference] = &[Difference {
            platforms: HERE,
            scenario: EVERYWHERE,
            what: What::Sometimes("cache-status", "hit", "collapsed"),
            why: "it depends on who comes first",
        }];
        let answer = |status| transcript(200, &[("cache-status", status)], "");
        assert_eq!(counts(&answer("hit"), &answer("collapsed"), RACE), [1, 0, 0, 0]);
        assert_eq!(counts(&answer("hit"), &answer("hit"), RACE), [1, 0, 0, 0]);
        assert_eq!(counts(&answer("hit"), &answer("miss"), RACE), [0, 1, 0, 1]);
        assert_eq!(counts(&answer("collapsed"), &answer("hit"), RACE), [0, 1, 0, 1]);
    }

    #[test]
    fn an_entry_for_a_scenario_is_for_no_other() {
        const ONE: &[Difference] = &[Difference {
            platforms: HERE,
            scenario: Some("a::b"),
            what: What::Anything,
            why: "the platform answers",
        }];
        const OTHER: &[Difference] = &[Difference {
            platforms: HERE,
            scenario: Some("a::c"),
            what: What::Status(404),
            why: "another scenario",
        }];
        let (base, other) = (transcript(200, &[], ""), transcript(404, &[("a", "b")], "c"));
        assert_eq!(counts(&base, &other, ONE), [1, 0, 0, 0]);
        assert_eq!(counts(&base, &other, OTHER), [0, 2, 0, 3]);
        // What the scenario came to is never explained.
        let failed = of(Outcome::Failed, other.scenarios["a::b"].exchanges.clone());
        assert_eq!(counts(&base, &failed, ONE), [0, 1, 0, 1]);
    }

    #[test]
    fn the_table_says_what_is_left_out_and_why() {
        let mut base = transcript(200, &[], "");
        base.platform = Platform::Wasmtime;
        let left_out = of(Outcome::LeftOut("it has no cache".to_owned()), Vec::new());
        let table = table(&[base, left_out]);
        let expected = ["wasmtime spin", "a::b passed left out", "passed 1 0", "FAILED 0 0"];
        let rows: Vec<_> =
            table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows[..4], expected);
        assert_eq!(rows[4..], ["left out 0 1", "spin, a::b: it has no cache"]);
    }
}

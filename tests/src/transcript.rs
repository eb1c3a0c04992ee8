//! The transcript of a run: what every scenario asked and got, to compare servers by.
//!
//! One JSON line for each scenario's outcome and for each exchange, ordered by scenario, so that
//! the order in which scenarios ran does not show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::platform::Platform;

/// Header fields by name, which is in small letters.
pub type Fields = Vec<(String, String)>;

/// What was asked and what came, with everything renamed that differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The request's method.
    pub method: String,
    /// The request's target.
    pub path: String,
    /// The answer's status; none where there was no answer.
    pub status: Option<u16>,
    /// The answer's fields, in the order of their names.
    pub fields: Fields,
    /// The answer's content, or its length and digest.
    pub body: String,
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "why", rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It was not run, for this reason.
    LeftOut(String),
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// How it ended.
    pub outcome: Outcome,
    /// What was asked, in order.
    pub exchanges: Vec<Exchange>,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Where the edge ran.
    pub platform: Platform,
    /// What was recorded, by scenario.
    pub scenarios: BTreeMap<String, Recorded>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Exchange {
        scenario: String,
        number: usize,
        #[serde(flatten)]
        exchange: Exchange,
    },
    Outcome {
        scenario: String,
        platform: Platform,
        #[serde(flatten)]
        outcome: Outcome,
    },
}

impl Transcript {
    /// An empty one.
    pub fn new(platform: Platform) -> Self {
        Self { platform, scenarios: BTreeMap::new() }
    }

    /// As it is in the file.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for line in self.scenarios.iter().flat_map(|(name, recorded)| self.lines(name, recorded)) {
            text.push_str(&serde_json::to_string(&line).expect("a line is plain data"));
            text.push('\n');
        }
        text
    }

    fn lines<'a>(&self, name: &'a str, recorded: &'a Recorded) -> impl Iterator<Item = Line> + 'a {
        let Recorded { outcome, exchanges } = recorded;
        let (scenario, outcome) = (name.to_owned(), outcome.clone());
        let outcome = Line::Outcome { scenario, platform: self.platform, outcome };
        let exchanges = (1..).zip(exchanges).map(move |(number, exchange)| Line::Exchange {
            scenario: name.to_owned(),
            number,
            exchange: exchange.clone(),
        });
        std::iter::once(outcome).chain(exchanges)
    }

    /// Reads what [`Self::to_text`] wrote.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut platforms, mut scenarios) = (Vec::new(), BTreeMap::<String, Recorded>::new());
        for (number, line) in (1..).zip(text.lines()) {
            match serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))? {
                Line::Outcome { scenario, platform, outcome } => {
                    platforms.push(platform);
                    scenarios.insert(scenario, Recorded { outcome, exchanges: Vec::new() });
                }
                Line::Exchange { scenario, exchange, .. } => scenarios
                    .get_mut(&scenario)
                    .ok_or_else(|| format!("line {number}: {scenario} has no outcome yet"))?
                    .exchanges
                    .push(exchange),
            }
        }
        platforms.dedup();
        match platforms[..] {
            [platform] => Ok(Self { platform, scenarios }),
            _ => Err(format!("it is of {} platforms", platforms.len())),
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Takes down a run, for the file that `OUTPORT_TRANSCRIPT` names; without it, for nobody.
pub struct Writer {
    file: Option<PathBuf>,
    transcript: Mutex<Transcript>,
}

impl Writer {
    /// Begins.
    pub fn new(platform: Platform) -> Self {
        let file = std::env::var_os("OUTPORT_TRANSCRIPT").map(PathBuf::from);
        Self { file, transcript: Mutex::new(Transcript::new(platform)) }
    }

    /// Keeps what a scenario did.
    pub fn keep(&self, scenario: String, outcome: Outcome, exchanges: Vec<Exchange>) {
        let mut transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        transcript.scenarios.insert(scenario, Recorded { outcome, exchanges });
    }

    /// Writes the file.
    pub fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        fs::write(file, transcript.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let exchange = Exchange {
            method: "GET".to_owned(),
            path: "/files/{id 1}".to_owned(),
            status: Some(200),
            fields: vec![("etag".to_owned(), "\"{id 1}\"".to_owned())],
            body: "content\n".to_owned(),
        };
        let unanswered = Exchange { status: None, ..exchange.clone() };
        let passed = Recorded { outcome: Outcome::Passed, exchanges: vec![exchange, unanswered] };
        let left_out = Outcome::LeftOut("it has no cache".to_owned());
        let left_out = Recorded { outcome: left_out, exchanges: Vec::new() };
        let mut transcript = Transcript::new(Platform::Spin);
        transcript.scenarios.insert("a::b".to_owned(), passed);
        transcript.scenarios.insert("a::c".to_owned(), left_out);
        assert_eq!(Transcript::parse(&transcript.to_text()), Ok(transcript));
    }

    #[test]
    fn what_is_no_transcript_is_refused() {
        let exchange =
            r#"{"scenario":"a","number":1,"method":"","path":"","status":1,"fields":[],"body":""}"#;
        let of_two = "{\"scenario\":\"a\",\"platform\":\"spin\",\"outcome\":\"passed\"}\n\
                      {\"scenario\":\"b\",\"platform\":\"fastly\",\"outcome\":\"passed\"}";
        for text in ["", "{}", exchange, of_two] {
            assert!(Transcript::parse(text).is_err(), "{text}");
        }
    }
}

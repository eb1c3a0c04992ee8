//! The one line on standard output that says a process serves, and where.

use std::io::{self, Write as _};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const PREFIX: &str = "ready ";

/// What `outport origin` says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OriginReady {
    pub(super) origin: String,
    pub(super) origin_metrics: String,
}

/// What `outport edge` says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EdgeReady {
    pub(super) edge: String,
    pub(super) edge_metrics: String,
}

/// What `outport serve` says. Scripts read it; the order of its members stays.
#[derive(Serialize)]
pub(super) struct ServeReady {
    pub(super) edge: String,
    pub(super) origin: String,
    pub(super) token: String,
    pub(super) edge_metrics: String,
    pub(super) origin_metrics: String,
}

/// The line for `ready`.
pub(super) fn line(ready: &impl Serialize) -> io::Result<String> {
    Ok(format!("{PREFIX}{}", serde_json::to_string(ready)?))
}

/// Prints the line, so that whoever reads it sees it at once.
pub(super) fn print(ready: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", line(ready)?)?;
    output.flush()
}

/// Reads such a line.
pub(super) fn parse<T: DeserializeOwned>(line: &str) -> Option<T> {
    serde_json::from_str(line.strip_prefix(PREFIX)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let said = EdgeReady { edge: "http://127.0.0.1:1".into(), edge_metrics: "http://m".into() };
        assert_eq!(parse::<EdgeReady>(&line(&said).unwrap()), Some(said));
        assert_eq!(parse::<EdgeReady>("ready {}"), None);
        assert_eq!(parse::<EdgeReady>("hello"), None);
    }

    #[test]
    fn the_members_keep_their_order() {
        let text = |text: &str| text.to_owned();
        let ready = ServeReady {
            edge: text("a"),
            origin: text("b"),
            token: text("c"),
            edge_metrics: text("d"),
            origin_metrics: text("e"),
        };
        assert_eq!(
            line(&ready).unwrap(),
            r#"ready {"edge":"a","origin":"b","token":"c","edge_metrics":"d","origin_metrics":"e"}"#
        );
    }
}

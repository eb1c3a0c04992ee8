//! `cargo xtask protocols`: what the upload protocols ask of a server, what Outport does, which test
//! shows it, and what other servers do.
//!
//! Each requirement is data here, in our own words; `docs/protocols.md` is printed from it, and a
//! test holds that file to it. Another test fails where a test that is named does not exist.

mod draft_requests;
mod draft_state;
#[cfg(test)]
mod tests_named;
mod tus_concatenation;
mod tus_core;
mod tus_extensions;

use std::fmt::Write as _;

/// How strongly something is asked for (RFC 2119).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// MUST, MUST NOT, SHALL NOT.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED.
    Should,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
        }
    }
}

/// Whether a server does what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Yes,
    Partly,
    No,
    /// It is asked only of servers that offer something which this one does not.
    NotOffered,
}

impl Met {
    fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
            Self::NotOffered => "not offered",
        }
    }
}

/// What a server does, and how we know.
#[derive(Clone, Copy, Debug)]
struct Answer {
    met: Met,
    /// Seen by running it; read in its source otherwise.
    ran: bool,
    note: &'static str,
}

impl Answer {
    const fn new(met: Met, note: &'static str) -> Self {
        Self { met, ran: false, note }
    }

    /// The same, seen by running the server.
    const fn ran(self) -> Self {
        Self { ran: true, ..self }
    }

    fn text(self) -> String {
        let name = self.met.name();
        if self.note.is_empty() { name.to_owned() } else { format!("{name}: {}", self.note) }
    }

    /// The text for a server that is not ours.
    fn peer(self) -> String {
        format!("{} · {}", self.text(), if self.ran { "ran" } else { "read" })
    }
}

const fn yes(note: &'static str) -> Answer {
    Answer::new(Met::Yes, note)
}

const fn partly(note: &'static str) -> Answer {
    Answer::new(Met::Partly, note)
}

const fn no(note: &'static str) -> Answer {
    Answer::new(Met::No, note)
}

/// Where a server does not offer that to which the requirement belongs.
const NOT_OFFERED: Answer = Answer::new(Met::NotOffered, "");

/// What a protocol asks of a server, once.
struct Requirement {
    /// A name that stays, for tests and talk.
    id: &'static str,
    level: Level,
    /// What is asked, in our own words.
    says: &'static str,
    outport: Answer,
    /// The tests that fail when Outport stops doing it; `tests_named.rs` says how they are named.
    tests: &'static [&'static str],
    tusd: Answer,
    rustus: Answer,
    tus_node: Answer,
}

/// The requirements of one section of a protocol.
struct Section {
    name: &'static str,
    requirements: &'static [Requirement],
}

/// A protocol.
struct Protocol {
    name: &'static str,
    sections: &'static [&'static [Section]],
    /// What is asked of clients alone: the section, and what it says.
    clients: &'static [(&'static str, &'static str)],
}

impl Protocol {
    fn sections(&self) -> impl Iterator<Item = &'static Section> {
        self.sections.iter().copied().flatten()
    }

    fn requirements(&self) -> impl Iterator<Item = &'static Requirement> {
        self.sections().flat_map(|section| section.requirements)
    }
}

const PROTOCOLS: [Protocol; 2] = [
    Protocol {
        name: "tus 1.0",
        sections: &[tus_core::SECTIONS, tus_extensions::SECTIONS, tus_concatenation::SECTIONS],
        clients: tus_concatenation::CLIENTS,
    },
    Protocol {
        name: "Resumable Uploads for HTTP",
        sections: &[draft_state::SECTIONS, draft_requests::SECTIONS],
        clients: draft_requests::CLIENTS,
    },
];

/// The whole of what is printed.
pub(crate) fn document() -> String {
    let mut document = String::from("## In numbers\n\n");
    numbers(&mut document);
    for protocol in &PROTOCOLS {
        for section in protocol.sections() {
            let _ = write!(document, "\n## {}: {}\n\n", protocol.name, section.name);
            table(&mut document, section.requirements);
        }
        let _ = write!(document, "\n## {}: what is asked of clients alone\n\n", protocol.name);
        for (section, says) in protocol.clients {
            let _ = writeln!(document, "- client · {section}: {says}");
        }
    }
    document
}

/// A server's name, and its answer to a requirement.
type Server = (&'static str, fn(&Requirement) -> Answer);

const SERVERS: [Server; 4] = [
    ("Outport", |requirement| requirement.outport),
    ("tusd", |requirement| requirement.tusd),
    ("rustus", |requirement| requirement.rustus),
    ("@tus/server", |requirement| requirement.tus_node),
];

/// How much of what is asked each server does.
fn numbers(document: &mut String) {
    document.push_str("| | level | asked | server | yes | partly | no | not offered |\n");
    document.push_str("|---|---|---|---|---|---|---|---|\n");
    for protocol in &PROTOCOLS {
        for level in [Level::Must, Level::Should] {
            let of_level = || protocol.requirements().filter(move |asked| asked.level == level);
            for (name, answer) in SERVERS {
                let count = |met| of_level().filter(|asked| answer(asked).met == met).count();
                let _ = writeln!(
                    document,
                    "| {} | {} | {} | {name} | {} | {} | {} | {} |",
                    protocol.name,
                    level.name(),
                    of_level().count(),
                    count(Met::Yes),
                    count(Met::Partly),
                    count(Met::No),
                    count(Met::NotOffered),
                );
            }
        }
    }
    let untested = PROTOCOLS
        .iter()
        .flat_map(Protocol::requirements)
        .filter(|asked| asked.outport.met == Met::Yes && asked.tests.is_empty());
    let untested: Vec<_> = untested.map(|asked| format!("`{}`", asked.id)).collect();
    let _ = match untested.as_slice() {
        [] => writeln!(document, "\nEvery \"yes\" of Outport's has a test."),
        untested => writeln!(document, "\nWithout a test of its own: {}.", untested.join(", ")),
    };
}

fn table(document: &mut String, requirements: &[Requirement]) {
    document.push_str("| | asked | Outport | tests | tusd | rustus | @tus/server |\n");
    document.push_str("|---|---|---|---|---|---|---|\n");
    for asked in requirements {
        let Requirement { id, level, says, outport, tests, tusd, rustus, tus_node } = asked;
        let tests: Vec<_> = tests.iter().map(|name| format!("`{name}`")).collect();
        let cells = [
            format!("`{id}`"),
            format!("{}: {says}", level.name()),
            outport.text(),
            tests.join(", "),
            tusd.peer(),
            rustus.peer(),
            tus_node.peer(),
        ];
        let _ =
            writeln!(document, "| {} |", cells.map(|cell| cell.replace('|', r"\|")).join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::documentation::{self, root};

    /// Where what is printed begins, in the file that holds it.
    const MARK: &str = "<!-- From here on, as `cargo xtask protocols` prints it. -->\n\n";

    #[test]
    fn the_documentation_holds_what_is_printed() {
        documentation::holds("docs/protocols.md", MARK, &document(), "requirements");
    }

    #[test]
    fn every_test_that_is_named_is_there() {
        let all = PROTOCOLS.iter().flat_map(Protocol::requirements);
        let missing: Vec<_> = all
            .flat_map(|asked| asked.tests.iter().map(|name| (asked.id, *name)))
            .filter(|(_, name)| !tests_named::exists(&root(), name))
            .collect();
        assert!(missing.is_empty(), "no such tests: {missing:#?}");
    }

    #[test]
    fn every_test_that_the_introduction_names_is_there() {
        let held = std::fs::read_to_string(root().join("docs/protocols.md")).unwrap();
        let (introduction, _) = held.split_once(MARK).expect("the mark is there");
        let named: Vec<_> =
            introduction.split('`').filter(|quoted| quoted.contains("::")).collect();
        assert!(named.len() > 20, "{named:?}");
        let missing = named.iter().filter(|name| !tests_named::exists(&root(), name));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    #[test]
    fn what_is_not_done_has_no_test_and_ids_are_unique() {
        let mut ids = BTreeSet::new();
        for asked in PROTOCOLS.iter().flat_map(Protocol::requirements) {
            assert!(ids.insert(asked.id), "{} comes twice", asked.id);
            let done = matches!(asked.outport.met, Met::Yes | Met::Partly);
            assert!(done || asked.tests.is_empty(), "{}: tests of what is not done", asked.id);
            let explained = asked.outport.met == Met::Yes || !asked.outport.note.is_empty();
            assert!(explained, "{}: say what is missing", asked.id);
        }
    }

    #[test]
    fn every_row_speaks_of_every_server() {
        for line in document().lines().filter(|line| line.starts_with('|')) {
            let cells = line.replace(r"\|", "").matches('|').count() - 1;
            assert!(cells == 7 || cells == 8, "{line}");
        }
    }
}

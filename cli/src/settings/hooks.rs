//! `[hooks.…]` and `[before_create]`: who is told of files, and who is asked before there is one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use outport_origin::hooks::{Format, HookSecret, Kind, OnFailure, SECRETS_MAX};

use super::read::web_address;
use super::section::{Located, Section};

/// How long an answer may take at most.
const TIMEOUT_MS_MAX: u64 = 60_000;
/// How long whoever is told may take to answer, by default.
const TOLD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long whoever is asked may take to answer, by default: a client waits for it.
const ASKED_TIMEOUT: Duration = Duration::from_secs(5);
const EXAMPLE_URL: &str = "it takes an address such as \"https://example.com/outport\"";

/// Everybody who is told, and asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// Those who are told, in the order of their names.
    pub(crate) told: Vec<Told>,
    /// Who is asked.
    pub(crate) asked: Option<Asked>,
}

/// Somebody who is told what has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The name of its queue.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) peer: Peer,
    /// What it is told of.
    pub(crate) events: BTreeSet<Kind>,
    /// In which form.
    pub(crate) format: Format,
}

/// Somebody who is asked before a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Where it is.
    pub(crate) peer: Peer,
    /// What is done without an answer.
    pub(crate) on_failure: OnFailure,
}

/// An address, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// `http` or `https`.
    pub(crate) url: Uri,
    /// What it is known by.
    pub(crate) secrets: Secrets,
    /// Only these tenants; `None` is all.
    pub(crate) tenants: Option<BTreeSet<String>>,
    /// How long it may take.
    pub(crate) timeout: Duration,
}

/// Where the secrets of a peer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// In the configuration.
    Here(Vec<HookSecret>),
    /// In a file, one a line, read when the origin starts: the edge needs none of them.
    File(PathBuf),
}

/// Reads the sections of all who are told.
pub(super) fn told(section: Section<'_>) -> Vec<Told> {
    section.named_sections().into_iter().filter_map(|(name, section)| one(name, section)).collect()
}

fn one(name: Located<String>, mut section: Section<'_>) -> Option<Told> {
    check_name(&section, &name);
    let events = events(&mut section);
    let forms = [
        ("standard", Format::Standard),
        ("cloudevents", Format::CloudEvents),
        ("cloudevents-binary", Format::CloudEventsBinary),
    ];
    let format = section.one_of("format", &forms).unwrap_or(Format::Standard);
    let peer = peer(&mut section, TOLD_TIMEOUT);
    section.finish();
    Some(Told { name: name.value, peer: peer?, events, format })
}

/// Reads the section of whoever is asked.
pub(super) fn asked(mut section: Section<'_>) -> Option<Asked> {
    let choices = [("refuse", OnFailure::Refuse), ("allow", OnFailure::Allow)];
    let on_failure = section.one_of("on_failure", &choices).unwrap_or(OnFailure::Refuse);
    let peer = peer(&mut section, ASKED_TIMEOUT);
    section.finish();
    Some(Asked { peer: peer?, on_failure })
}

fn check_name(section: &Section<'_>, name: &Located<String>) {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.value.bytes().all(word) || name.value.is_empty() || name.value.len() > 64 {
        let wrong = format!("a hook can't be called \"{}\"", name.value);
        section.note(name.at, wrong, "a name has 1 to 64 of a-z, 0-9 and hyphens");
    }
}

fn events(section: &mut Section<'_>) -> BTreeSet<Kind> {
    let Some(listed) = section.texts("events") else { return Kind::ALL.into() };
    let right = format!("it takes some of {}", quoted(Kind::ALL.map(Kind::name)));
    if listed.is_empty() {
        section.note(section.at, "events lists nothing", &right);
    }
    let known = |name: Located<String>| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.value);
        if kind.is_none() {
            section.note(name.at, format!("there is no event \"{}\"", name.value), &right);
        }
        kind
    };
    listed.into_iter().filter_map(known).collect()
}

fn peer(section: &mut Section<'_>, timeout: Duration) -> Option<Peer> {
    let url = url(section);
    let secrets = secrets(section);
    let tenants = section.texts("tenants");
    if tenants.as_ref().is_some_and(Vec::is_empty) {
        section.note(section.at, "tenants lists nobody", "leave it out to mean all of them");
    }
    let tenants = tenants.map(|names| names.into_iter().map(|name| name.value).collect());
    let within = section.whole("timeout_ms", 100..=TIMEOUT_MS_MAX, "milliseconds");
    let timeout = within.map_or(timeout, |within| Duration::from_millis(within.value));
    Some(Peer { url: url?, secrets: secrets?, tenants, timeout })
}

fn url(section: &mut Section<'_>) -> Option<Uri> {
    let Some(text) = section.text("url") else {
        section.note_missing("url", "\"https://example.com/outport\"");
        return None;
    };
    let address = web_address(section, &text, EXAMPLE_URL)?;
    let url = address.as_str().parse();
    if url.is_err() {
        section.note(text.at, format!("\"{}\" is no web address", text.value), EXAMPLE_URL);
    }
    url.ok()
}

/// A mistake in a secret is told without the secret.
fn secrets(section: &mut Section<'_>) -> Option<Secrets> {
    let file = section.text("secret_file");
    let here = section.texts("secrets");
    match (file, here) {
        (Some(file), None) => Some(Secrets::File(file.value.into())),
        (None, Some(listed)) => secrets_here(section, listed),
        (Some(file), Some(_)) => {
            section.note(file.at, "there are secrets and a secret_file", "give one of the two");
            None
        }
        (None, None) => {
            section.note_missing("secret_file", "\"/etc/outport/hook.secret\"");
            None
        }
    }
}

fn secrets_here(section: &Section<'_>, listed: Vec<Located<String>>) -> Option<Secrets> {
    if !(1..=SECRETS_MAX).contains(&listed.len()) {
        let right = format!("it takes from 1 to {SECRETS_MAX}, the newest first");
        section.note(section.at, format!("secrets lists {}", listed.len()), right);
        return None;
    }
    let read = |secret: &Located<String>| match secret.value.parse() {
        Ok(read) => Some(read),
        Err(error) => {
            section.note(secret.at, "this is no secret of a webhook", format!("{error}"));
            None
        }
    };
    listed.iter().map(read).collect::<Option<_>>().map(Secrets::Here)
}

fn quoted<const N: usize>(names: [&str; N]) -> String {
    names.map(|name| format!("\"{name}\"")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{Mistake, Settings, parse};
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The mistakes of a hook with these lines, one a line.
    fn mistakes(lines: &str) -> Vec<String> {
        let line =
            |Mistake { line, column, wrong, right }| format!("{line}:{column} {wrong} | {right}");
        parse(&format!("[hooks.a]\n{lines}"))
            .expect_err("it is wrong")
            .into_iter()
            .map(line)
            .collect()
    }

    #[test]
    fn a_hook_and_a_question() {
        let text = format!(
            r#"
            [hooks.billing]
            url = "https://example.com/x"
            secrets = ["{SECRET}"]
            events = ["completed", "expired"]
            tenants = ["acme"]
            format = "cloudevents"
            timeout_ms = 1000
            [hooks.audit]
            url = "http://127.0.0.1:9000"
            secret_file = "audit.secret"
            [before_create]
            url = "http://127.0.0.1:9000/may-i"
            secret_file = "audit.secret"
            on_failure = "allow"
            "#
        );
        let Settings { hooks, .. } = parse(&text).unwrap();
        let peer = |url: &str, timeout| Peer {
            url: url.parse().unwrap(),
            secrets: Secrets::File("audit.secret".into()),
            tenants: None,
            timeout,
        };
        let audit = Told {
            name: "audit".into(),
            peer: peer("http://127.0.0.1:9000/", TOLD_TIMEOUT),
            events: Kind::ALL.into(),
            format: Format::Standard,
        };
        let billing = Told {
            name: "billing".into(),
            peer: Peer {
                url: "https://example.com/x".parse().unwrap(),
                secrets: Secrets::Here(vec![SECRET.parse().unwrap()]),
                tenants: Some(BTreeSet::from(["acme".into()])),
                timeout: Duration::from_secs(1),
            },
            events: BTreeSet::from([Kind::Completed, Kind::Expired]),
            format: Format::CloudEvents,
        };
        let asked = peer("http://127.0.0.1:9000/may-i", ASKED_TIMEOUT);
        let asked = Asked { peer: asked, on_failure: OnFailure::Allow };
        assert_eq!(hooks, Hooks { told: vec![audit, billing], asked: Some(asked) });
    }

    #[test]
    fn every_mistake_has_its_place() {
        for (line, expected) in [
            ("url = \"ftp://a\"", "2:7 \"ftp://a\" begins with neither http:// nor https://"),
            ("url = \"http://a:b@c\"", "2:7 \"http://a:b@c\" has a user name in it"),
            ("events = [\"made\"]", "2:11 there is no event \"made\" | it takes some of"),
            ("events = []", "1:1 events lists nothing | it takes some of \"completed\""),
            ("format = \"xml\"", "2:10 format in [hooks.a] can't be \"xml\""),
            ("tenants = []", "1:1 tenants lists nobody"),
            ("timeout_ms = 1", "2:14 timeout_ms in [hooks.a] is out of range"),
            ("secret = \"x\"", "2:1 [hooks.a] has no key \"secret\" | did you mean \"secrets\"?"),
            ("secrets = [\"x\"]", "2:12 this is no secret of a webhook | a secret is whsec_"),
        ] {
            let found = mistakes(line);
            assert!(found.iter().any(|found| found.starts_with(expected)), "{line}: {found:?}");
        }
        assert_eq!(
            mistakes(""),
            [
                "1:1 [hooks.a] has no url | add a line such as: url = \"https://example.com/outport\"",
                "1:1 [hooks.a] has no secret_file | add a line such as: secret_file = \
                 \"/etc/outport/hook.secret\"",
            ]
        );
        let both = mistakes("url = \"http://a\"\nsecret_file = \"a\"\nsecrets = []");
        assert_eq!(both, ["3:15 there are secrets and a secret_file | give one of the two"]);
        let named = parse("[hooks.A]\nurl = \"http://a\"\nsecret_file = \"a\"").unwrap_err();
        assert_eq!((named[0].line, named[0].column), (1, 8));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let wrong = SECRET.replace("LaSw", "");
        let found = mistakes(&format!("url = \"http://a\"\nsecrets = [\"{wrong}\"]"));
        assert!(found.iter().all(|found| !found.contains("MfKQ")), "{found:?}");
        let text = format!("[hooks.a]\nurl = \"http://a\"\nsecrets = [\"{SECRET}\"]");
        assert!(!format!("{:?}", parse(&text).unwrap()).contains("MfKQ"));
    }
}

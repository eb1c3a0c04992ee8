//! `[session]`: sessions of browsers, and the demonstration's sign-in.

use outport_edge_core::config::Sessions;

use super::TrustedIssuer;
use super::section::{Located, Section};
use crate::token::ISSUER;

/// The shortest life of what a browser shows with each request, in seconds; the longest is for as
/// long as edges are told of a session that has ended.
const SHORT_S: std::ops::RangeInclusive<u64> = 60..=3600;
/// A session lasts a year at most.
const LIFE_S_MAX: u64 = 366 * 86_400;

/// What `[session]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// Whether pages on this machine get a token of the demo tenant; `None` leaves it to the
    /// command.
    pub(crate) demo: Option<bool>,
    /// The issuers whose tokens begin sessions, by their `iss`.
    pub(crate) issuers: Vec<String>,
    /// How long they last.
    pub(crate) life: Sessions,
}

/// Reads the section, given the issuers that there are.
pub(super) fn session(mut section: Section<'_>, trusted: &[TrustedIssuer]) -> Session {
    let demo = section.flag("demo");
    let issuers = section.texts("issuers").unwrap_or_default();
    let issuers = issuers.into_iter().map(|name| known(&section, name, trusted)).collect();
    let usual = Sessions::default();
    let short = section.whole("short_s", SHORT_S, "seconds");
    let idle = section.whole("idle_s", 60..=LIFE_S_MAX, "seconds");
    let life = section.whole("lifetime_s", 60..=LIFE_S_MAX, "seconds");
    let value = |said: &Option<Located<u64>>, usual| said.as_ref().map_or(usual, |said| said.value);
    let life = Sessions {
        short_s: value(&short, usual.short_s),
        idle_s: value(&idle, usual.idle_s),
        lifetime_s: value(&life, usual.lifetime_s),
    };
    if let Some(idle) = idle.filter(|idle| idle.value < life.short_s) {
        let wrong = format!("idle_s in [session] is {}, less than short_s", idle.value);
        section.note(idle.at, wrong, format!("at least {}", life.short_s));
    }
    section.finish();
    Session { demo, issuers, life }
}

/// The issuer of this name, if there is one.
fn known(section: &Section<'_>, name: Located<String>, trusted: &[TrustedIssuer]) -> String {
    let is_known =
        name.value == ISSUER || trusted.iter().any(|trusted| trusted.issuer.name == name.value);
    if !is_known {
        let wrong = format!("\"{}\" is no issuer that is trusted", name.value);
        let right = format!("it takes what tokens say in `iss`; \"{ISSUER}\" is our own");
        section.note(name.at, wrong, right);
    }
    name.value
}

//! What a deployment refuses, limits or logs by rules of its own, and by a set that all have.
//!
//! Rules are asked in their order, the core set last. `allow` and `deny` are final: no rule behind
//! them is asked. A request is decided as soon as it can be: before anybody looks at its token, if no
//! rule that may be final asks for what only that tells.

mod compiled;
mod core_set;
mod rule;

use std::fmt::Write as _;
use std::net::IpAddr;

use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};

use self::compiled::{Compiled, Held};
pub use self::compiled::{PatternError, check_network, check_path};
pub use self::core_set::{NAMES as CORE_NAMES, PREFIX as CORE_PREFIX};
pub use self::rule::{
    Action, Conditions, CoreSet, Firewall, Header, HeaderTest, RULES_MAX, Rule, VALUE_BYTES_MAX,
    VALUES_MAX,
};
use crate::config::Config;
use crate::country::Country;
use crate::guard::Guarded;
use crate::route::Routes;
use crate::step::Matched;

/// How much of a path is told in a note, in bytes.
const NOTED_PATH_BYTES_MAX: usize = 256;

/// What a client is told where a rule gives no reason.
const NO_REASON: &str = "Whoever runs this service does not let this request pass.";

/// A request, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'r, 'h> {
    pub(crate) request: &'r Guarded<'h>,
    /// The client's address, as far as it is known.
    pub(crate) client: IpAddr,
    /// Where the client is, as far as it is known.
    pub(crate) country: Country,
    /// The place of the route that it is for, if it is for one.
    pub(crate) route: Option<u16>,
    /// No challenge is needed: one was met, or nobody could meet it.
    pub(crate) is_proven: bool,
}

/// Who asks, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    /// The token was not looked at so far.
    Unknown,
    Nobody,
    Known(&'a Identity),
}

/// What the rules come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// The rules that match, and what is to be logged.
    pub(crate) matched: Matched,
    /// The request is refused.
    pub(crate) refusal: Option<Refused>,
    /// The names of the limits that are spent besides.
    pub(crate) limits: Vec<String>,
}

/// How a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// Whatever is done.
    Denied(Problem),
    /// Until some work was done.
    Challenged,
}

/// What is counted of a rule, under which labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// The rule.
    pub rule: &'a str,
    /// What becomes of requests that it matches.
    pub action: &'static str,
    /// Whether it does.
    pub enforced: bool,
}

impl Firewall {
    /// All rules in the order of their places, the core set last.
    pub fn counted(&self) -> impl Iterator<Item = Counted<'_>> {
        let own = self.rules.iter().map(|rule| Counted {
            rule: &rule.name,
            action: rule.action.name(),
            enforced: !rule.dry_run,
        });
        let enforced = self.core == CoreSet::Deny;
        let core = CORE_NAMES.into_iter();
        let is_asked = self.core != CoreSet::Off;
        own.chain(core.filter(move |_| is_asked).map(move |rule| Counted {
            rule,
            action: "deny",
            enforced,
        }))
    }
}

/// The rules of a deployment, ready to be asked.
pub(crate) struct Rules {
    core: CoreSet,
    own: Vec<Compiled>,
    challenges: bool,
    asks_country: bool,
}

impl Rules {
    /// Compiles the rules, or says which is wrong and why.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let Firewall { core, rules, challenge: _ } = &config.firewall;
        if rules.len() > RULES_MAX || rules.iter().map(Rule::values).sum::<usize>() > VALUES_MAX {
            return Err(format!("there may be {RULES_MAX} rules with {VALUES_MAX} values in all"));
        }
        for rule in rules {
            if let Action::Limit(limit) = &rule.action
                && !config.limits.contains_key(limit)
            {
                return Err(format!("rule {}: there is no limit named {limit}", rule.name));
            }
        }
        let own = rules.iter().map(Compiled::new).collect::<Result<_, _>>()?;
        let challenges = rules.iter().any(|rule| rule.action == Action::Challenge);
        let asks_country = rules.iter().any(Rule::asks_country);
        Ok(Self { core: *core, own, challenges, asks_country })
    }

    /// Whether there is a rule that challenges.
    pub(crate) const fn challenges(&self) -> bool {
        self.challenges
    }

    /// Whether there is a rule about where clients are.
    pub(crate) const fn asks_country(&self) -> bool {
        self.asks_country
    }

    /// What the rules come to. `None`: that depends on who asks, which is unknown so far.
    pub(crate) fn judge(
        &self,
        asking: &Asking<'_, '_>,
        who: Who<'_>,
        routes: &Routes,
    ) -> Option<Verdict> {
        let mut judging = Judging { asking, verdict: Verdict::default() };
        let mut depends = false;
        for (place, rule) in self.own.iter().enumerate() {
            match rule.held(asking, who) {
                Held::No => {}
                Held::Yes | Held::Unknown
                    if rule.action == Action::Challenge && asking.is_proven => {}
                Held::Unknown if rule.is_final() => return None,
                Held::Unknown => depends = true,
                Held::Yes => {
                    judging.count(place, &rule.name, &rule.action, !rule.dry_run);
                    if rule.is_final() {
                        return Some(judging.verdict);
                    }
                }
            }
        }
        if self.core != CoreSet::Off
            && let Some(found) = core_set::first_match(asking, routes)
        {
            let name = CORE_NAMES.get(found).copied().unwrap_or_default();
            let place = self.own.len() + found;
            judging.count(place, name, &Action::Deny(None), self.core == CoreSet::Deny);
        }
        (!depends || judging.verdict.refusal.is_some()).then_some(judging.verdict)
    }
}

/// A verdict in the making.
struct Judging<'a, 'r, 'h> {
    asking: &'a Asking<'r, 'h>,
    verdict: Verdict,
}

impl Judging<'_, '_, '_> {
    /// A rule matches.
    fn count(&mut self, place: usize, name: &str, action: &Action, enforced: bool) {
        let Verdict { matched, refusal, limits } = &mut self.verdict;
        matched.rules.extend(u16::try_from(place));
        if !enforced || *action == Action::Log {
            let note = match &mut matched.note {
                Some(note) => {
                    note.push_str(", ");
                    note
                }
                None => matched.note.insert(noted(self.asking)),
            };
            let dry = if enforced { "" } else { ", dry run" };
            let _ = write!(note, "{name} ({}{dry})", action.name()); // Writing to a String never fails.
        }
        match action {
            Action::Deny(reason) if enforced => {
                let detail = reason.clone().unwrap_or_else(|| NO_REASON.to_owned());
                *refusal =
                    Some(Refused::Denied(Problem::new(ProblemType::ForbiddenByRule, detail)));
            }
            Action::Challenge if enforced => *refusal = Some(Refused::Challenged),
            Action::Limit(limit) if enforced && !limits.contains(limit) => {
                limits.push(limit.clone())
            }
            _ => {}
        }
    }
}

/// What a note begins with. The query may hold what is secret.
fn noted(asking: &Asking<'_, '_>) -> String {
    let Asking { request, client, .. } = asking;
    let (path, more) = match request.path.get(..NOTED_PATH_BYTES_MAX) {
        Some(path) => (path, "…"),
        None => (request.path, ""),
    };
    format!("{client} {} {path}{more}: ", request.method)
}

#[cfg(test)]
mod tests;

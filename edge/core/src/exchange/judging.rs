//! What the rules of the firewall come to: a request is refused, challenged, or takes from limits of its
//! own first.

use std::net::IpAddr;

use outport_wire::problem::{Problem, ProblemType};

use super::{Edge, Exchange, Stage};
use crate::answer::Visit;
use crate::challenge;
use crate::cors;
use crate::firewall::{Asking, Refused, Verdict, Who};
use crate::guard::Guarded;
use crate::limit;
use crate::step::{Moment, Outcome, Request, Step};
use crate::token::SignedIn;

impl Edge {
    /// Whether no challenge is needed: who asks has met one; or it is a browser that asks for leave to
    /// ask (a preflight shows nothing), or the edge itself on behalf of a reader.
    pub(super) fn is_proven(
        &self,
        request: &Guarded<'_>,
        client: IpAddr,
        visit: &Visit,
        moment: Moment,
    ) -> bool {
        if !self.firewall.challenges() || !visit.is_asked_for() || cors::is_preflight(request) {
            return true;
        }
        let (network, keys) = (limit::own_network(client), &self.config.link_keys);
        self.config.firewall.challenge.is_met(request, &network, keys, moment.unix_s())
    }

    /// The answer to what a rule refuses.
    pub(super) fn refused_by_rule(
        &self,
        refused: Refused,
        asking: &Asking<'_, '_>,
        visit: &Visit,
        moment: Moment,
    ) -> Result<Step, Problem> {
        if let Refused::Denied(problem) = refused {
            return Err(problem);
        }
        let asked = self.config.firewall.challenge;
        let network = limit::own_network(asking.client);
        let Some(challenge) = asked.issue(&network, &self.config.link_keys, moment) else {
            let detail = "There is no key to sign challenges with.";
            return Err(Problem::new(ProblemType::Internal, detail));
        };
        if challenge::wants_page(asking.request) {
            let status = ProblemType::ProofNeeded.status();
            return Ok(Step::Reply(challenge::page(
                &challenge,
                asked,
                status,
                visit,
                &self.limits,
            )));
        }
        Err(challenge::problem(&challenge, asked.bits))
    }

    /// Takes from the limits of these names, as rules of the firewall want.
    pub(super) fn take_by_rules(
        &self,
        names: &[String],
        request: &Request<'_>,
        caller: Option<SignedIn>,
        client: IpAddr,
        visit: &Visit,
    ) -> Step {
        let place = |name: &String| self.limits.iter().position(|limit| limit.name == *name);
        let limits: Vec<_> =
            names.iter().filter_map(place).filter_map(|place| u16::try_from(place).ok()).collect();
        let escalates = self.abilities.escalates;
        let named = limits.iter().filter_map(|place| self.limits.get(usize::from(*place)));
        let identity = caller.as_ref().and_then(SignedIn::counted);
        let needs = named.map(|limit| limit.need(identity, client, escalates)).collect();
        let (head, connection) = (request.head.to_vec(), request.connection);
        let stage = Stage::Limiting { head, connection, caller, limits };
        Step::Needs(Exchange { visit: visit.clone(), stage }, needs)
    }

    /// What was taken as rules of the firewall want is there, or is not.
    pub(super) fn limited(
        &mut self,
        request: &Request<'_>,
        caller: Option<SignedIn>,
        mut visit: Visit,
        limits: Vec<u16>,
        mut outcomes: impl Iterator<Item = Outcome>,
        moment: Moment,
    ) -> Step {
        for limit in limits {
            let Some(Outcome::Taken(taken)) = outcomes.next() else { return self.confused(&visit) };
            if !taken.allowed {
                (visit.limit, visit.taken) = (Some(limit), Some(taken));
                return Step::Reply(self.too_many(&visit, taken));
            }
        }
        let visit = Visit { is_limited: true, ..visit.again() };
        self.begin_as(request, moment, caller, visit)
    }
}

/// Who a caller is for rules.
pub(super) fn judged_as(caller: &SignedIn) -> Who<'_> {
    caller.counted().map_or(Who::Nobody, Who::Known)
}

/// Keeps what the rules of the firewall come to: the names of the limits that they want spent, or
/// the refusal.
pub(super) fn judged_by(verdict: Verdict, visit: &mut Visit) -> Result<Vec<String>, Refused> {
    let Verdict { matched, refusal, limits } = verdict;
    visit.matched = matched;
    refusal.map_or(Ok(limits), Err)
}

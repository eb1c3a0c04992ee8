//! `/session`, and what is revoked.

use outport_wire::problem::{Problem, ProblemType};

use super::authenticating::{Caller, Unknown, Waiting};
use super::forwarding::{Forwarded, forward, refuses_caller};
use super::{Edge, Step};
use crate::answer::{Visit, json, reply};
use crate::cached::upstream_problem;
use crate::forward::{self, AsCaller};
use crate::forwarded::Client;
use crate::guard::Guarded;
use crate::revocations::{Next, RevocationExchange};
use crate::session::{self, Change, ToOrigin, cookie, guest};
use crate::step::{Body, Ended, FetchError, Moment, Need, Outcome, Reply, UpstreamHead};
use crate::token::{Grant, Refusal, SignedIn};

impl Edge {
    /// Whose token this is, unless it is revoked.
    pub(super) fn unless_revoked(&self, grant: Grant, moment: Moment) -> Result<Caller, Problem> {
        if self.config.revoked_within_s == 0 {
            return Ok(Caller::Known(grant.signed_in()));
        }
        let tenant = &grant.identity.tenant;
        match self.revocations.get(tenant, moment.unix_ms) {
            Some(revocations) if grant.is_revoked(revocations) => Err(Refusal::Revoked.problem()),
            Some(_) => Ok(Caller::Known(grant.signed_in())),
            None => {
                let (exchange, need) = RevocationExchange::begin(tenant, &self.config);
                Ok(Caller::unknown(Unknown::Recalling(grant, exchange, need)))
            }
        }
    }

    /// It has been looked at what is revoked, or nearly so.
    pub(super) fn recalled(
        &mut self,
        waiting: Waiting,
        visit: Visit,
        grant: Grant,
        exchange: RevocationExchange,
        outcome: Outcome,
        moment: Moment,
    ) -> Step {
        let tenant = exchange.tenant().to_owned();
        let caller = match exchange.resume(outcome, &self.config, moment) {
            None => return self.confused(&visit),
            Some(Next::Need(exchange, need)) => {
                Ok(Caller::unknown(Unknown::Recalling(grant, exchange, need)))
            }
            Some(Next::Known(revocations)) => {
                self.revocations.insert(&tenant, revocations, moment.unix_ms);
                self.unless_revoked(grant, moment)
            }
        };
        self.found_out(waiting, visit, caller, moment)
    }

    /// `/session`.
    pub(super) fn session(
        &self,
        request: &Guarded<'_>,
        client: Client<'_>,
        caller: Option<&SignedIn>,
        take: Vec<Need>,
        visit: Visit,
        moment: Moment,
    ) -> Result<Step, Problem> {
        let config = &self.config;
        let host = client.host_of(request);
        let told = |document| Ok(Step::Reply(json(200, visit.fields(&self.limits), &document)));
        let change = match (request.method, caller) {
            ("GET" | "HEAD", Some(caller)) => {
                return told(session::describe(&caller.identity, caller.until_s));
            }
            ("POST", caller) => match Change::post(request, caller, host, config, moment)? {
                Some(change) => change,
                None => return told(guest::start(request, config)?),
            },
            _ => match Change::delete(request, caller, host, config, moment.unix_s())? {
                Some(change) => change,
                None => return Ok(Step::Reply(self.session_over(&visit, None))),
            },
        };
        let ToOrigin { method, path, query, identity } = change.to_origin();
        let (key, timeout_ms) = (&config.edge_key, config.upstream_timeout_ms);
        let identity = identity.encode();
        // Where a session begins, the origin finds out by itself for whom.
        let token = request.fields.get("authorization");
        let (path, query, identity) = (&*path, &*query, &*identity);
        let asked = AsCaller { method, path, query, identity, session: None, token };
        let fetch = forward::as_caller(&asked, None, key, moment, timeout_ms);
        let forwarded = Forwarded::Session(Box::new(change));
        Ok(forward(fetch, forwarded, take, visit))
    }

    /// The origin has changed a session, or has not.
    pub(super) fn session_changed(
        &self,
        visit: &Visit,
        change: Change,
        answer: Result<UpstreamHead, FetchError>,
        moment: Moment,
    ) -> Reply {
        let forget: Vec<_> = change.forget().into_iter().collect();
        let mut sent = match answer {
            Ok(answer) if answer.status == 204 => {
                let mut fields = visit.fields(&self.limits);
                match change.made(&self.config, moment.unix_s(), &mut fields) {
                    Some((status, document)) => json(status, fields, &document),
                    None => self.session_over(visit, None),
                }
            }
            Ok(answer) if answer.status == 404 => self.session_over(visit, Some(&session::ended())),
            Ok(answer) if refuses_caller(&answer) => {
                self.forwarded(visit, Forwarded::Session(Box::new(change)), Ok(answer))
            }
            Ok(answer) => {
                let problem = upstream_problem(FetchError::Unreachable, Some(answer.status));
                visit.problem(&self.limits, &problem)
            }
            Err(failure) => visit.problem(&self.limits, &upstream_problem(failure, None)),
        };
        sent.ended = Ended::Origin;
        sent.forget = forget;
        sent
    }

    /// The cookies of a session go, with a problem if it was to go on.
    fn session_over(&self, visit: &Visit, problem: Option<&Problem>) -> Reply {
        let mut cleared = crate::head::Fields::new();
        cookie::clear(&mut cleared);
        let mut sent = match problem {
            Some(problem) => visit.problem(&self.limits, problem),
            None => {
                let mut fields = visit.fields(&self.limits);
                fields.push("cache-control", "no-store");
                reply(204, fields, Body::Empty)
            }
        };
        sent.fields.extend_from_slice(&cleared.into_bytes());
        sent
    }

    /// Refuses what takes a fresher sign-in (RFC 9470).
    pub(super) fn check_sign_in(&self, caller: &SignedIn, moment: Moment) -> Result<(), Problem> {
        let within_s = self.config.step_up_s;
        if within_s == 0 || caller.at_s.saturating_add(within_s) >= moment.unix_s() {
            return Ok(());
        }
        let detail = format!("Sign in again: this takes a sign-in of the last {within_s} s.");
        Err(Problem::new(ProblemType::SignInTooOld, detail).with("max_age_s", within_s))
    }
}

//! What somebody's token does not allow is noted in the log of their tenant, behind their back.

use std::net::IpAddr;

use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use super::operating::NOTE_TIMEOUT_MS;
use super::{Edge, Exchange, Stage};
use crate::answer::Visit;
use crate::config::Config;
use crate::forward::{self, AsCaller};
use crate::guard::Guarded;
use crate::route::Target;
use crate::step::{Fetch, Moment, Need, Step};
use crate::token::SignedIn;

/// Where the origin notes what edges deny.
const DENIALS_PATH: &str = "/audit/denials";

/// What is denied to somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Denial {
    /// What they are told.
    detail: String,
    /// The request that has it noted.
    note: Fetch,
}

impl Denial {
    /// The error is a problem that is noted nowhere: only what a token does not allow is, whose bearer
    /// is known by it.
    pub(super) fn of(
        problem: Problem,
        request: &Guarded<'_>,
        caller: Option<&SignedIn>,
        config: &Config,
        moment: Moment,
    ) -> Result<Self, Problem> {
        let counted = caller.filter(|caller| caller.counted().is_some());
        let (ProblemType::ScopeMissing, Some(caller)) = (problem.kind, counted) else {
            return Err(problem);
        };
        let resource = request.path.split('/').nth(1).unwrap_or_default();
        let query = format!("method={}&resource={}", word(request.method), word(resource));
        let asked = AsCaller {
            method: "POST",
            path: DENIALS_PATH,
            query: &query,
            identity: &caller.identity.encode(),
            session: caller.session,
            token: request.fields.get("authorization"),
        };
        let timeout_ms = NOTE_TIMEOUT_MS.min(config.upstream_timeout_ms);
        let note = forward::as_caller(&asked, None, &config.edge_key, moment, timeout_ms);
        Ok(Self { detail: problem.detail().to_owned(), note })
    }
}

/// What can be in a query as it is; what else there may be says nothing to anybody.
fn word(text: &str) -> &str {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_word { text } else { "other" }
}

impl Edge {
    /// Takes from the allowance first, so that nobody has the origin note more than they may ask.
    pub(super) fn denied(
        &self,
        denial: Denial,
        request: &Guarded<'_>,
        target: &Target,
        identity: Option<&Identity>,
        client: IpAddr,
        visit: &mut Visit,
    ) -> Step {
        let take = self.limit(request, target, identity, client, visit);
        if take.is_empty() {
            return self.deny(visit.clone(), denial);
        }
        let stage = Stage::Denying(Box::new(denial));
        Step::Needs(Exchange { visit: visit.clone(), stage }, take)
    }

    pub(super) fn deny(&self, visit: Visit, denial: Denial) -> Step {
        let Denial { detail, note } = denial;
        let told = visit.problem(&self.limits, &Problem::new(ProblemType::ScopeMissing, detail));
        let noting = Exchange { visit, stage: Stage::Denied };
        Step::ReplyFirst(Box::new(told), noting, vec![Need::Fetch(note)])
    }
}

//! The last stage: what every reply has, whatever decided it.

use outport_wire::problem::{PROBLEM_TYPE, Problem, ProblemType};
use outport_wire::tus;
use serde::{Deserialize, Serialize};

use crate::budget::Budgeted;
use crate::composing::Within;
use crate::cors;
use crate::explain::Beside;
use crate::head::Fields;
use crate::limit::Limit;
use crate::rules::UploadLimit;
use crate::step::{Body, Ended, Matched, Reply, Taken};

/// What the end of an exchange must still know of its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Visit {
    /// Whether the client's connection is encrypted.
    pub(crate) secure: bool,
    /// Whether the client speaks tus, all of whose answers say so.
    pub(crate) is_tus: bool,
    /// The `Access-Control-Allow-Origin` of the answer.
    pub(crate) allowed_origin: Option<String>,
    /// The limit spent, by its place among the configuration's.
    pub(crate) limit: Option<u16>,
    /// What came of it.
    pub(crate) taken: Option<Taken>,
    /// What the caller's tenant has left of the budget of the limit that is spent, if it has one.
    pub(crate) budget: Option<Budgeted>,
    /// What an upload may have, where the answer is about one.
    pub(crate) upload_limit: Option<UploadLimit>,
    /// Of what takes a place in a page: what that leaves it.
    pub(crate) within: Option<Within>,
    /// Nobody waits for the answer.
    pub(crate) ahead: bool,
    /// What an admin is told beside the answer, who asked for it.
    pub(crate) beside: Option<Beside>,
    /// The rules of the firewall that match.
    pub(crate) matched: Matched,
    /// The limits of these rules are spent already.
    pub(crate) is_limited: bool,
    /// Who asks is known by a token that was found good.
    pub(crate) caller_known: bool,
}

impl Visit {
    /// That of an exchange which begins again, now that more is known.
    pub(crate) fn again(self) -> Self {
        let Self { secure, within, ahead, beside, is_limited, budget, .. } = self;
        Self { secure, within, ahead, beside, is_limited, budget, ..Self::default() }
    }

    /// Whether a client asks for it: it takes no place in a page, and is not fetched ahead.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.within.is_none() && !self.ahead
    }

    /// The fields that every reply begins with.
    pub(crate) fn fields(&self, limits: &[Limit]) -> Fields {
        let mut fields = Fields::new();
        fields.push("x-content-type-options", "nosniff");
        if self.secure {
            fields.push("strict-transport-security", "max-age=31536000");
        }
        cors::describe(self.allowed_origin.as_deref(), &mut fields);
        let limit = self.limit.and_then(|place| limits.get(usize::from(place)));
        if let (Some(limit), Some(taken)) = (limit, self.taken) {
            limit.describe(taken, &mut fields);
        }
        if let Some(budget) = self.budget {
            budget.describe(limits, &mut fields);
        }
        if let Some(limit) = self.upload_limit {
            limit.describe(&mut fields);
        }
        fields
    }

    /// A problem document.
    pub(crate) fn problem(&self, limits: &[Limit], problem: &Problem) -> Reply {
        let mut fields = self.fields(limits);
        fields.push("content-type", PROBLEM_TYPE);
        fields.push("cache-control", "no-store");
        if self.is_tus {
            fields.push("tus-resumable", tus::VERSION);
        }
        if problem.kind.status() == 401 {
            fields.push("www-authenticate", challenge(problem.kind));
        }
        bytes(problem.kind.status(), fields, problem.to_json())
    }
}

/// The challenge of a 401 (RFC 6750, section 3).
fn challenge(kind: ProblemType) -> &'static str {
    match kind {
        ProblemType::TokenMissing => "Bearer realm=\"outport\"",
        ProblemType::TokenExpired => {
            "Bearer realm=\"outport\", error=\"invalid_token\", error_description=\"not valid at this time\""
        }
        // RFC 7617: a browser asks for it.
        ProblemType::LinkPassword => "Basic realm=\"link\", charset=\"UTF-8\"",
        // RFC 9470, section 3. How fresh it must be, the document says.
        ProblemType::SignInTooOld => {
            "Bearer realm=\"outport\", error=\"insufficient_user_authentication\""
        }
        _ => "Bearer realm=\"outport\", error=\"invalid_token\"",
    }
}

/// A reply that the edge decided by itself.
pub(crate) fn reply(status: u16, fields: Fields, body: Body) -> Reply {
    Reply {
        status,
        fields: fields.into_bytes(),
        body,
        forget: Vec::new(),
        purge: Vec::new(),
        store: None,
        prefetch: Vec::new(),
        ended: Ended::Edge,
        matched: Matched::default(),
        caller_known: false,
    }
}

/// A JSON document that the edge made by itself.
pub(crate) fn json(status: u16, mut fields: Fields, document: &serde_json::Value) -> Reply {
    fields.push("content-type", "application/json");
    fields.push("cache-control", "no-store");
    bytes(status, fields, document.to_string().into_bytes())
}

/// A reply whose length is said, so that it is said to HEAD as well (RFC 9110, section 8.6).
fn bytes(status: u16, mut fields: Fields, content: Vec<u8>) -> Reply {
    fields.push_number("content-length", content.len() as u64);
    reply(status, fields, Body::Bytes(content))
}

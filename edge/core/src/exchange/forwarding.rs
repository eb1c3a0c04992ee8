//! What an upstream is asked for the client, and what is made of its answer.

use outport_wire::identity::{CALLER_REFUSED_HEADER, Identity};
use serde::{Deserialize, Serialize};

use super::{Edge, Exchange, Stage};
use crate::answer::{Visit, reply};
use crate::cache_status::CacheStatus;
use crate::cached::upstream_problem;
use crate::caching::ask::Place;
use crate::config::Config;
use crate::forward;
use crate::guard::Guarded;
use crate::head::{FieldLines, Fields};
use crate::revocations;
use crate::route::Target;
use crate::session::Change;
use crate::step::{Body, Ended, Fetch, FetchError, Moment, Need, Purge, Reply, Step, UpstreamHead};
use crate::stored::file_key;
use crate::token::SignedIn;
use crate::uploads;

/// What to do with an upstream's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Forwarded {
    /// It is Outport's own origin's. A change may have made what is stored at `forget` wrong.
    /// If it is one to HEAD, asked for by POST, the client would wait for the body.
    Origin { safe: bool, forget: Option<String>, head_by_post: bool },
    /// It is a proxied route's. A change may have made what is stored of it wrong.
    Route { safe: bool, changes: Option<Changed> },
    /// It is the origin's about a session.
    Session(Box<Change>),
}

/// What a request that is not safe may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub(super) place: Place,
    pub(super) target: String,
    /// What is to be purged, where others have answers of their own.
    pub(super) purge: Option<String>,
}

impl Edge {
    pub(super) fn to_origin(
        &self,
        guarded: &Guarded<'_>,
        caller: Option<&SignedIn>,
        wants_interim: bool,
        moment: Moment,
    ) -> Fetch {
        let Config { edge_key, upstream_timeout_ms, .. } = &self.config;
        let timeout_ms = *upstream_timeout_ms;
        forward::to_origin(guarded, caller, wants_interim, edge_key, moment, timeout_ms)
    }

    /// The key of what is stored that a change of this resource makes wrong.
    pub(super) fn wrong_then(&self, target: &Target, caller: Option<&Identity>) -> Option<String> {
        match target {
            Target::Upload(id) | Target::File(id) | Target::Links(id) => Some(file_key(*id)),
            Target::Revocations => caller.map(|caller| revocations::key(&caller.tenant)),
            _ => None,
        }
    }

    /// An upstream has answered, or has not.
    pub(super) fn forwarded(
        &self,
        visit: &Visit,
        forwarded: Forwarded,
        answer: Result<UpstreamHead, FetchError>,
    ) -> Reply {
        let own = matches!(forwarded, Forwarded::Origin { .. });
        let answer = match answer {
            Ok(answer) if own && answer.status == 401 && !refuses_caller(&answer) => {
                Err((FetchError::Unreachable, Some(401)))
            }
            Ok(answer) => Ok(answer),
            Err(failure) => Err((failure, None)),
        };
        let mut sent = match &answer {
            Ok(answer) => self.passed_on(visit, &forwarded, answer),
            Err((failure, status)) => {
                visit.problem(&self.limits, &upstream_problem(*failure, *status))
            }
        };
        sent.ended = Ended::Origin;
        match forwarded {
            Forwarded::Origin { safe: false, forget: Some(key), .. } => {
                // Where there was no answer, the change may have happened all the same.
                let refused = answer.is_ok_and(|answer| (400..500).contains(&answer.status));
                sent.forget = if refused { Vec::new() } else { vec![key] };
            }
            Forwarded::Route { changes: Some(changed), .. } => {
                sent.forget = changed.keys(answer.ok().as_ref());
                let purged = changed.purge.filter(|_| !sent.forget.is_empty());
                sent.purge = purged.map(|tag| Purge { tag, soft: false }).into_iter().collect();
            }
            Forwarded::Origin { .. } | Forwarded::Route { .. } | Forwarded::Session(_) => {}
        }
        sent
    }

    fn passed_on(&self, visit: &Visit, forwarded: &Forwarded, answer: &UpstreamHead) -> Reply {
        let lines = FieldLines::new(&answer.fields);
        let status = answer.status;
        let (safe, mut fields) = match forwarded {
            Forwarded::Origin { safe, head_by_post, .. } => {
                let bodiless;
                let lines = if *head_by_post {
                    bodiless = uploads::without_length(lines);
                    FieldLines::new(&bodiless)
                } else {
                    lines
                };
                let mut fields = visit.fields(&self.limits);
                let base = self.config.public_base_url.as_deref();
                forward::from_origin(status, lines, base, &mut fields);
                (*safe, fields)
            }
            Forwarded::Route { safe, .. } => {
                let mut fields = Fields::new();
                forward::from_route(lines, &mut fields);
                (*safe, fields)
            }
            Forwarded::Session(_) => (false, visit.fields(&self.limits)),
        };
        let cache =
            if safe { CacheStatus::Bypass { status } } else { CacheStatus::Method { status } };
        fields.push("cache-status", cache.value());
        reply(status, fields, Body::Upstream)
    }
}

/// Whether it is not the edge that the origin refuses.
pub(super) fn refuses_caller(answer: &UpstreamHead) -> bool {
    FieldLines::new(&answer.fields).get(CALLER_REFUSED_HEADER).is_some()
}

impl Changed {
    /// The keys of what is wrong now (RFC 9111, section 4.4): of the target, and of what the answer
    /// names of the same authority. Nothing is, if the answer is an error; where there was none,
    /// the change may have happened all the same.
    fn keys(&self, answer: Option<&UpstreamHead>) -> Vec<String> {
        let mut keys = vec![self.place.key(&self.target)];
        let Some(answer) = answer else { return keys };
        if answer.status >= 400 {
            return Vec::new();
        }
        let fields = FieldLines::new(&answer.fields);
        let named =
            ["location", "content-location"].into_iter().filter_map(|name| fields.get(name));
        keys.extend(
            named.filter_map(|reference| self.place.key_of_reference(reference, &self.target)),
        );
        keys
    }
}

/// Meets what must be met first, where there is something, and asks the upstream then.
pub(super) fn forward(fetch: Fetch, forwarded: Forwarded, before: Vec<Need>, visit: Visit) -> Step {
    if before.is_empty() {
        return ask_upstream(visit, fetch, forwarded);
    }
    Step::Needs(Exchange { visit, stage: Stage::Preparing(fetch, forwarded) }, before)
}

pub(super) fn ask_upstream(visit: Visit, fetch: Fetch, forwarded: Forwarded) -> Step {
    let exchange = Exchange { visit, stage: Stage::Forwarding(forwarded) };
    Step::Needs(exchange, vec![Need::Fetch(fetch)])
}

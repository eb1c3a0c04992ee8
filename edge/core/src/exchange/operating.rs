//! What operators ask of the edge itself: why something is stored or not, and that it is purged or
//! fetched ahead.

use outport_wire::describe::Query;
use outport_wire::identity::Identity;
use outport_wire::problem::Problem;
use outport_wire::session::SessionId;
use serde::{Deserialize, Serialize};

use super::forwarding::{Forwarded, refuses_caller};
use super::{Edge, Exchange, Stage};
use crate::answer::{Visit, json};
use crate::composing::Continued;
use crate::config::Config;
use crate::explain::{self, Explaining};
use crate::forward::{self, AsCaller, Proxied};
use crate::forwarded::Client;
use crate::guard::{Guarded, guard};
use crate::prefetch::Warming;
use crate::purge;
use crate::route::Target;
use crate::step::{Fetch, FetchError, Moment, Need, Purge, Reply, Step, UpstreamHead};
use crate::token::SignedIn;

/// Where the origin notes purges.
const PURGES_PATH: &str = "/audit/purges";
/// For how long it is tried to have something noted, in milliseconds.
pub(super) const NOTE_TIMEOUT_MS: u64 = 2_000;

/// A purge, and by what the origin finds out who asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purging {
    host: String,
    identity: String,
    session: Option<SessionId>,
    token: Option<String>,
}

impl Purging {
    pub(super) fn of(request: &Guarded<'_>, host: &str, caller: Option<&SignedIn>) -> Self {
        Self {
            host: host.to_owned(),
            identity: caller.map(|caller| caller.identity.encode()).unwrap_or_default(),
            session: caller.and_then(|caller| caller.session),
            token: request.fields.get("authorization").map(str::to_owned),
        }
    }

    /// The request that has it noted.
    fn note(&self, query: &str, config: &Config, moment: Moment) -> Fetch {
        let Self { identity, session, token, .. } = self;
        let (session, token) = (*session, token.as_deref());
        let asked = AsCaller { method: "POST", path: PURGES_PATH, query, identity, session, token };
        let timeout_ms = NOTE_TIMEOUT_MS.min(config.upstream_timeout_ms);
        forward::as_caller(&asked, None, &config.edge_key, moment, timeout_ms)
    }
}

impl Edge {
    /// Begins to explain, or says at once that there is nothing to be looked up.
    pub(super) fn explain(
        &self,
        asked: &Guarded<'_>,
        client: Client<'_>,
        identity: Option<Identity>,
        visit: &Visit,
        moment: Moment,
    ) -> Result<Result<(Explaining, Need), Box<Reply>>, Problem> {
        let query = Query::parse(asked.query.unwrap_or_default());
        let url = query.get("url").unwrap_or_default();
        let named = explain::Named::read(url)?;
        let own = asked.fields.get("host").unwrap_or_default();
        let (secure, authority) =
            named.origin.unwrap_or((client.secure, client.host.unwrap_or(own)));
        // Behind a proxy that says what host was asked for, the request itself names another.
        let (host, forwarded) = match client.host {
            Some(_) => (own, Some(authority)),
            None => (authority, None),
        };
        let mut head = format!("GET {} HTTP/1.1\r\nhost: {host}\r\n", named.target).into_bytes();
        for (name, value) in asked.lines.iter() {
            if !matches!(name, "authorization" | "host" | explain::FIELD) {
                head.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
        }
        let explained = guard(&head)?;
        let context = self.context(visit, moment);
        let uncached = |because| Ok(Err(Box::new(explain::uncached(url, because, &context))));
        let place = match self.routes.find(&explained, &self.config) {
            Target::File(id) => {
                let tenant = identity.map(|identity| identity.tenant).unwrap_or_default();
                return Ok(Ok(Explaining::file(url, id, &tenant)));
            }
            Target::Route(place) => place,
            _ => return uncached("It is none of the resources whose answers are stored."),
        };
        let Some(route) = self.config.proxied(place).filter(|route| route.cache) else {
            return uncached("The route does not say `cache = true`.");
        };
        let timeout_ms = self.config.upstream_timeout_ms;
        let client = Client { secure, host: forwarded, ..client };
        let proxied = Proxied { place, client, claims: &route.claims, identity: None, timeout_ms };
        match self.cached(&explained, route, &proxied) {
            Some(ask) => Ok(Ok(Explaining::route(url, &route.path, ask))),
            None => uncached("A request like this one goes to the route's server itself."),
        }
    }

    /// Has a purge noted, which is done in any case.
    pub(super) fn purge(
        &self,
        visit: Visit,
        purging: &Purging,
        body: Option<&[u8]>,
        moment: Moment,
    ) -> Step {
        let purge = match purge::read(body, &purging.host) {
            Ok(purge) => purge,
            Err(problem) => return Step::Reply(visit.problem(&self.limits, &problem)),
        };
        let note = purging.note(&purge::describe(&purge), &self.config, moment);
        Step::Needs(Exchange { visit, stage: Stage::Noting(purge) }, vec![Need::Fetch(note)])
    }

    /// A purge was noted, or could not be: the origin may be away when something must go.
    pub(super) fn purged(
        &self,
        visit: &Visit,
        purge: Vec<Purge>,
        answer: Result<UpstreamHead, FetchError>,
    ) -> Reply {
        let noted = match answer {
            Ok(answer) if refuses_caller(&answer) => {
                let asked = Forwarded::Origin { safe: false, head_by_post: false, forget: None };
                return self.forwarded(visit, asked, Ok(answer));
            }
            answer => answer.is_ok_and(|answer| answer.status == 204),
        };
        let document = serde_json::json!({ "purged": purge.len(), "noted": noted });
        Reply { purge, ..json(200, visit.fields(&self.limits), &document) }
    }

    pub(super) fn warm(&self, visit: &Visit, warming: &Warming, body: Option<&[u8]>) -> Reply {
        match warming.read(body) {
            Ok(aheads) => {
                let document = serde_json::json!({ "queued": aheads.len() });
                let token = |ahead| Continued::Ahead(Box::new(ahead)).to_bytes();
                let prefetch = aheads.into_iter().map(token).collect();
                Reply { prefetch, ..json(202, visit.fields(&self.limits), &document) }
            }
            Err(problem) => visit.problem(&self.limits, &problem),
        }
    }
}

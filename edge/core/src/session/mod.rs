//! Sessions of browsers: `/session` begins, refreshes and ends one.
//!
//! What a browser holds are two cookies, each signed by the edge: a short one that says who it is, and
//! one that begins the next generation of both. The origin keeps the generations, so that none is
//! used twice; all else is decided here.

pub(crate) mod cookie;
pub(crate) mod guest;
pub(crate) mod site;

use outport_wire::UnixSeconds;
use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::session::SessionId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::cookie::{Refreshing, Session, Short};
use crate::config::{Config, Sessions};
use crate::guard::Guarded;
use crate::head::Fields;
use crate::revocations;
use crate::step::Moment;
use crate::token::SignedIn;

/// What is to become of a session. The origin is asked, and has the last word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// One begins.
    Begin(Session),
    /// One goes on, from this generation to the next.
    Refresh(Session, u32),
    /// One ends.
    End(Session),
    /// All of them end, and all that was issued to this caller is revoked.
    EndAll(Identity),
}

/// What the origin is asked.
pub(crate) struct ToOrigin {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) identity: Identity,
}

impl Change {
    /// What `POST /session` comes to: with a token a session begins, with the cookie of one it goes
    /// on. `None` where there is neither.
    pub(crate) fn post(
        request: &Guarded<'_>,
        caller: Option<&SignedIn>,
        host: &str,
        config: &Config,
        moment: Moment,
    ) -> Result<Option<Self>, Problem> {
        let now_s = moment.unix_s();
        if let Some(caller) = caller {
            return begin(caller, &config.sessions, moment)
                .map(|session| Some(Self::Begin(session)));
        }
        let Some(refreshing) = refreshing(request, config) else { return Ok(None) };
        site::check(request, host)?;
        let Refreshing { session, generation, expires_s } = refreshing;
        if expires_s.min(session.until_s) <= now_s {
            return Err(ended());
        }
        Ok(Some(Self::Refresh(session, generation)))
    }

    /// What `DELETE /session` comes to, with `?everywhere` for all sessions. `None` where there is
    /// none.
    pub(crate) fn delete(
        request: &Guarded<'_>,
        caller: Option<&SignedIn>,
        host: &str,
        config: &Config,
        now_s: UnixSeconds,
    ) -> Result<Option<Self>, Problem> {
        let everywhere = request.has_query("everywhere");
        if let Some(caller) = caller {
            if !everywhere {
                let detail = "A token alone has no session that could end. Say `?everywhere` to \
                              revoke all that was issued to its subject.";
                return Err(Problem::new(ProblemType::InvalidField, detail));
            }
            return Ok(Some(Self::EndAll(caller.identity.clone())));
        }
        let short = cookie::read(request, cookie::SESSION)
            .and_then(|value| Short::open(value, &config.session_keys))
            .filter(|short| short.expires_s > now_s);
        let by_refresh = refreshing(request, config).filter(|of| of.expires_s > now_s);
        let session = by_refresh.map(|of| of.session).or(short.map(|short| short.session));
        let Some(session) = session else {
            return if everywhere { Err(ended()) } else { Ok(None) };
        };
        site::check(request, host)?;
        Ok(Some(if everywhere { Self::EndAll(session.identity) } else { Self::End(session) }))
    }

    /// What the origin is asked.
    pub(crate) fn to_origin(&self) -> ToOrigin {
        let one = |id: SessionId| format!("/sessions/{id}");
        let (method, path, query, identity) = match self {
            Self::Begin(session) => {
                ("PUT", one(session.id), format!("until={}", session.until_s), &session.identity)
            }
            Self::Refresh(session, from) => {
                ("POST", one(session.id), format!("generation={from}"), &session.identity)
            }
            Self::End(session) => ("DELETE", one(session.id), String::new(), &session.identity),
            Self::EndAll(identity) => ("DELETE", "/sessions".to_owned(), String::new(), identity),
        };
        ToOrigin { method, path, query, identity: identity.clone() }
    }

    /// What the edge remembers of the tenant that is wrong now.
    pub(crate) fn forget(&self) -> Option<String> {
        let identity = match self {
            Self::Begin(_) => return None,
            // One that was used twice is revoked.
            Self::Refresh(session, _) | Self::End(session) => &session.identity,
            Self::EndAll(identity) => identity,
        };
        Some(revocations::key(&identity.tenant))
    }

    /// The cookies of a session that begins or goes on, and what its page is told.
    pub(crate) fn made(
        self,
        config: &Config,
        now_s: UnixSeconds,
        fields: &mut Fields,
    ) -> Option<(u16, Value)> {
        let (status, session, generation) = match self {
            Self::Begin(session) => (201, session, 0),
            Self::Refresh(session, from) => (200, session, from.saturating_add(1)),
            Self::End(_) | Self::EndAll(_) => return None,
        };
        let Sessions { short_s, idle_s, .. } = config.sessions;
        let until = |life_s: u64| session.until_s.min(now_s.saturating_add(life_s));
        let (expires_s, idle_until_s) = (until(short_s), until(idle_s));
        let told = describe(&session.identity, expires_s);
        let refreshing =
            Refreshing { session: session.clone(), generation, expires_s: idle_until_s };
        let short = Short { session, issued_s: now_s, expires_s };
        cookie::set(&short.seal(&config.session_keys)?, expires_s - now_s, fields);
        let refresh = refreshing.seal(&config.session_keys)?;
        cookie::set_refresh(&refresh, idle_until_s - now_s, fields);
        Some((status, told))
    }
}

/// Who a session or token says that somebody is.
pub(crate) fn describe(identity: &Identity, expires_s: UnixSeconds) -> Value {
    let Identity { tenant, subject, scopes } = identity;
    let scopes = scopes.to_string();
    json!({ "tenant": tenant, "subject": subject, "scope": scopes, "expires": expires_s })
}

/// The session that a request shows a refresh token of.
fn refreshing(request: &Guarded<'_>, config: &Config) -> Option<Refreshing> {
    let value = cookie::read(request, cookie::REFRESH)?;
    Refreshing::open(value, &config.session_keys)
}

fn begin(caller: &SignedIn, sessions: &Sessions, moment: Moment) -> Result<Session, Problem> {
    if !caller.begins_sessions {
        let detail = "The tokens of this issuer begin no sessions here: `issuers` in [session] \
                      names those that do.";
        return Err(Problem::new(ProblemType::ScopeMissing, detail));
    }
    Ok(Session {
        id: SessionId::new(moment.random),
        identity: caller.identity.clone(),
        signed_in_s: caller.at_s,
        until_s: moment.unix_s().saturating_add(sessions.lifetime_s),
    })
}

/// The session has ended, or there is none.
pub(crate) fn ended() -> Problem {
    Problem::new(ProblemType::SessionEnded, "Sign in again.")
}

//! `/sessions`, where edges begin, go on with and end the sessions of browsers, and `/revocations`,
//! where they learn what is revoked and a tenant's admins say so.

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use outport_wire::identity::{Identity, Scope};
use outport_wire::problem::ProblemType;
use outport_wire::revocation::REVOCATIONS_HEADER;
use outport_wire::session::SessionId;
use outport_wire::time::rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::caller::Caller;
use super::failure::Failure;
use super::field::Query;
use super::files::{json_body, uncacheable};
use crate::audit::{Event, Kind};
use crate::book::BookError;
use crate::sessions::{Over, Tenant};
use crate::store::StoreError;

/// The `{id}` of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session(SessionId);

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let id = params.ok().and_then(|params| {
            params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse().ok())
        });
        id.map(Self).ok_or_else(Failure::not_found)
    }
}

/// `PUT /sessions/{id}?until=SECONDS`: an edge has signed somebody in.
pub(super) async fn begin(
    State(app): State<App>,
    Session(id): Session,
    caller: Caller,
    query: Query,
) -> Result<StatusCode, Failure> {
    let until_s = number(&query, "until")?;
    let by = caller.known()?;
    let begun = Event::new(Kind::SessionBegun, by).with("session", id.to_string());
    app.audit.note(by, begun.with("until", rfc3339(until_s))).await?;
    app.sessions.begin(by, id, until_s).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /sessions/{id}?generation=NUMBER`: from this generation to the next.
pub(super) async fn refresh(
    State(app): State<App>,
    Session(id): Session,
    caller: Caller,
    query: Query,
) -> Result<StatusCode, Failure> {
    let generation = number(&query, "generation")?;
    app.sessions.refresh(caller.known()?, id, generation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sessions/{id}`
pub(super) async fn end(
    State(app): State<App>,
    Session(id): Session,
    caller: Caller,
) -> Result<StatusCode, Failure> {
    let by = caller.known()?;
    let ended = Event::new(Kind::SessionEnded, by).with("session", id.to_string());
    app.audit.note(by, ended).await?;
    app.sessions.end(by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sessions`: all of the caller's.
pub(super) async fn end_all(State(app): State<App>, caller: Caller) -> Result<StatusCode, Failure> {
    let by = caller.known()?;
    app.audit.note(by, Event::new(Kind::SessionsEnded, by)).await?;
    app.sessions.end_all(by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /revocations`: an admin is told of the tenant's, an edge of those of `?tenant=`.
pub(super) async fn revocations(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Response, Failure> {
    if caller.is_edge() {
        let tenant = query.get("tenant").ok_or_else(|| Failure::field("tenant", "said"))?;
        let revoked = app.sessions.revoked(tenant).await.map_err(StoreError::from)?;
        let told = HeaderValue::try_from(revoked.told().encode()).map_err(Failure::internal)?;
        return Ok((StatusCode::NO_CONTENT, [(REVOCATIONS_HEADER, told)]).into_response());
    }
    let tenant = &caller.allowed(Scope::Admin)?.tenant;
    let revoked = app.sessions.revoked(tenant).await.map_err(StoreError::from)?;
    Ok((uncacheable(), Json(document(&revoked))).into_response())
}

/// What is to be revoked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    subject: Option<String>,
    session: Option<SessionId>,
    everything: bool,
}

/// `POST /revocations`, by a tenant's admin.
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let by = caller.allowed(Scope::Admin)?;
    let tenant = &by.tenant;
    let wanted: Wanted = json_body(&app, request.into_body()).await?;
    match wanted {
        Wanted { subject: Some(subject), session, everything: false } => {
            let whose = Identity::new(tenant, &subject, Default::default())
                .map_err(|_| Failure::field("subject", "a name of 1 to 128 bytes"))?;
            let revoked = |kind| Event::new(kind, by).about("subject", &subject, &subject);
            match session {
                Some(id) => {
                    let revoked = revoked(Kind::SessionRevoked).with("session", id.to_string());
                    app.audit.note(by, revoked).await?;
                    app.sessions.end(&whose, id).await?;
                }
                None => {
                    app.audit.note(by, revoked(Kind::SubjectRevoked)).await?;
                    app.sessions.end_all(&whose).await?;
                }
            }
        }
        Wanted { subject: None, session: None, everything: true } => {
            app.audit.note(by, Event::new(Kind::EverythingRevoked, by)).await?;
            app.sessions.end_everything(tenant).await?;
        }
        _ => {
            let must = "{\"subject\": NAME}, the same with \"session\": ID, or \
                        {\"everything\": true}";
            return Err(Failure::field("the body", must));
        }
    }
    let revoked = app.sessions.revoked(tenant).await.map_err(StoreError::from)?;
    Ok((uncacheable(), Json(document(&revoked))).into_response())
}

fn document(revoked: &Tenant) -> Value {
    let named = |name: &str, of: String, at_s: u64| json!({ name: of, "revoked": rfc3339(at_s) });
    let subjects = revoked.subjects.iter();
    let sessions = revoked.sessions.iter();
    json!({
        "before": (revoked.before_s > 0).then(|| rfc3339(revoked.before_s)),
        "subjects": subjects.map(|(name, at_s)| named("subject", name.clone(), *at_s)).collect::<Vec<_>>(),
        "sessions": sessions.map(|(id, at_s)| named("session", id.to_string(), *at_s)).collect::<Vec<_>>(),
    })
}

fn number<T: std::str::FromStr>(query: &Query, name: &str) -> Result<T, Failure> {
    let number = query.get(name).and_then(|text| text.parse().ok());
    number.ok_or_else(|| Failure::field(name, "a whole number"))
}

impl From<BookError<Over>> for Failure {
    fn from(error: BookError<Over>) -> Self {
        match error {
            BookError::Refused(_) => Self::new(ProblemType::NotFound, "the session has ended"),
            BookError::Busy => Self::new(ProblemType::Overloaded, "too many at once; try again"),
            BookError::Meta(error) => StoreError::from(error).into(),
        }
    }
}

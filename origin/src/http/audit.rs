//! `/audit`, where a tenant's admin reads its log and has people forgotten, and the one place where
//! denials are noted.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode, Uri};
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scope};
use outport_wire::problem::ProblemType;
use serde::Deserialize;

use super::App;
use super::caller::Caller;
use super::failure::Failure;
use super::field::Query;
use super::files::{json_body, uncacheable};
use crate::audit::{Event, Kind, NoteError, Whose};
use crate::book::BookError;
use crate::meta::SCAN_ENTRIES_MAX;
use crate::store::StoreError;

/// The media type of an export: a JSON document in each line.
const LINES_TYPE: &str = "application/x-ndjson";
/// The first segments of paths that a denial names: ours, and those of edges.
const RESOURCES: &[&str] = &[
    "audit",
    "explain",
    "files",
    "passes",
    "popular",
    "purge",
    "relations",
    "revocations",
    "sessions",
    "uploads",
    "warm",
];

/// `GET /audit?after=SEQ&limit=N`: the log of the caller's tenant.
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Response, Failure> {
    let tenant = caller.allowed(Scope::Admin)?.tenant.clone();
    export(&app, &Whose::Tenant(tenant), &query).await
}

/// `GET /admin/audit`, with the same parameters: the log of the deployment, for who operates it.
pub(crate) async fn read_deployments(
    State(app): State<App>,
    query: Query,
) -> Result<Response, Failure> {
    export(&app, &Whose::Deployment, &query).await
}

async fn export(app: &App, whose: &Whose, query: &Query) -> Result<Response, Failure> {
    let after = number(query, "after")?.unwrap_or_default();
    let limit = match number(query, "limit")? {
        None => SCAN_ENTRIES_MAX,
        Some(limit) if limit >= 1 => {
            usize::try_from(limit).unwrap_or(usize::MAX).min(SCAN_ENTRIES_MAX)
        }
        Some(_) => {
            return Err(Failure::field("limit", &format!("a number from 1 to {SCAN_ENTRIES_MAX}")));
        }
    };
    let lines = app.audit.read(whose, after, limit).await.map_err(StoreError::from)?;
    let body: String = lines.into_iter().map(|line| line + "\n").collect();
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(LINES_TYPE))];
    Ok((kind, uncacheable(), body).into_response())
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, Failure> {
    let number = query.get(name).map(str::parse).transpose();
    number.map_err(|_| Failure::field(name, "a whole number"))
}

/// Who is to be forgotten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgotten {
    subject: String,
}

/// `POST /audit/forgotten`: a person of the caller's tenant.
pub(super) async fn forget(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Failure> {
    let by = caller.allowed(Scope::Admin)?;
    let Forgotten { subject } = json_body(&app, request.into_body()).await?;
    if app.audit.forget(by, &subject).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Failure::new(ProblemType::NotFound, "the log names no such subject"))
}

/// `POST /audit/purges?urls=N&files=N&tags=N&soft=`: an edge is about to purge, for the caller.
pub(super) async fn note_purge(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<StatusCode, Failure> {
    let by = caller.allowed(Scope::Admin)?;
    let mut event = Event::new(Kind::Purged, by);
    for name in ["urls", "files", "tags"] {
        event = event.with(name, number(&query, name)?.unwrap_or_default());
    }
    let event = event.with("soft", query.get("soft") == Some("true"));
    app.audit.note(by, event).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /audit/denials?method=&resource=`: an edge has told the caller that their token does not allow
/// it.
pub(super) async fn note_denial(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<StatusCode, Failure> {
    let by = caller.known()?;
    let method = query.get("method").and_then(|method| method.parse::<Method>().ok());
    let method = method.ok_or_else(|| Failure::field("method", "a method"))?;
    let resource = known_resource(query.get("resource").unwrap_or_default());
    if let Some(resource) = resource {
        let event = Event::denied(by, ProblemType::ScopeMissing).with("method", method.as_str());
        app.audit.note_denied(by, event.with("resource", resource)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A path's first segment, if denials name it. Others may be anything.
fn known_resource(segment: &str) -> Option<&'static str> {
    RESOURCES.iter().copied().find(|resource| *resource == segment)
}

/// Notes what is denied to callers: what their scopes don't allow, and files and uploads that are not
/// theirs. Whether those are somebody else's or nobody's is not told apart: no tenant's log is to say
/// of another tenant's files that they exist. It is done before the answer, which stays the same.
pub(super) async fn note_denials(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let problem = response.extensions().get::<ProblemType>().copied();
    if let (Some(problem), Ok(by)) = (problem, caller.known())
        && let Some(event) = denied(by, problem, &method, &uri)
    {
        app.audit.note_denied(by, event).await;
    }
    response
}

/// What is noted of an answer, if it is a denial. Of the path, nothing but what names no person.
fn denied(by: &Identity, problem: ProblemType, method: &Method, uri: &Uri) -> Option<Event> {
    let mut segments = uri.path().split('/').skip(1);
    let first = segments.next().unwrap_or_default();
    let resource = known_resource(first)?;
    let file = segments.next().and_then(|id| id.parse::<FileId>().ok());
    let event = Event::denied(by, problem).with("method", method.as_str());
    let event = event.with("resource", resource);
    match (problem, file) {
        (ProblemType::ScopeMissing, None) => Some(event),
        (ProblemType::ScopeMissing | ProblemType::NotFound, Some(id)) => {
            Some(event.with("file", id.to_string()))
        }
        _ => None,
    }
}

impl From<NoteError> for Failure {
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::Busy => Self::new(ProblemType::Overloaded, "too many at once; try again"),
            NoteError::Meta(error) => StoreError::from(error).into(),
        }
    }
}

impl<R> From<NoteError> for BookError<R> {
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::Busy => Self::Busy,
            NoteError::Meta(error) => Self::Meta(error),
        }
    }
}

#[cfg(test)]
mod tests;

//! `/uploads`: what the protocols that are spoken there have in common. Each has a file of its own.

pub(crate) mod concat;
pub(crate) mod draft;
pub(crate) mod tus;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scope};
use outport_wire::problem::ProblemType;
use serde_json::json;

use super::App;
use super::caller::{Caller, own};
use super::failure::Failure;
use super::field::{Id, Query};
use crate::intake::Intake;
use crate::store::{AppendError, Completes, Found, Held};
use crate::turns::{Remains, Superseded, Turn};

/// The protocols that are told apart on the same resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tus,
    Draft,
}

impl Protocol {
    /// By the fields of the request. HEAD and DELETE need none of the draft's.
    fn of(method: &Method, headers: &HeaderMap) -> Self {
        let needs_none = matches!(*method, Method::HEAD | Method::DELETE);
        let tus = headers.contains_key("tus-resumable");
        if !tus && (needs_none || draft::is_spoken(headers)) { Self::Draft } else { Self::Tus }
    }
}

/// A layer around everything here: the rules of tus are for who speaks tus.
pub(crate) async fn check_protocol(request: Request, next: Next) -> Response {
    match Protocol::of(request.method(), request.headers()) {
        Protocol::Tus if draft::is_other_version(request.headers()) => {
            draft::wrong_version().into_response()
        }
        Protocol::Tus => tus::check_version(request, next).await,
        Protocol::Draft => next.run(request).await,
    }
}

/// `POST /uploads`: begins an upload.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Response, Failure> {
    let owner = caller.allowed(Scope::Write)?;
    match Protocol::of(request.method(), request.headers()) {
        Protocol::Tus => tus::create(&app, owner, request).await,
        Protocol::Draft => {
            let description = super::files::description(&app, request.headers(), &query)?;
            draft::create(&app, owner, description, request).await
        }
    }
}

/// `HEAD /uploads/{id}`: where the upload is.
pub(crate) async fn head(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let identity = caller.allowed(Scope::Write)?;
    match Protocol::of(request.method(), request.headers()) {
        Protocol::Tus => tus::head(&app, id, identity).await,
        Protocol::Draft => draft::head(&app, id, identity).await,
    }
}

/// `PATCH /uploads/{id}`: appends.
pub(crate) async fn patch(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let identity = caller.allowed(Scope::Write)?;
    match Protocol::of(request.method(), request.headers()) {
        Protocol::Tus => tus::patch(&app, id, identity, request).await,
        Protocol::Draft => draft::patch(&app, id, identity, request).await,
    }
}

/// `GET /uploads/{id}`: how far it is; once it is complete, where the file is.
pub(crate) async fn progress(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
) -> Result<Response, Failure> {
    let identity = caller.allowed(Scope::Read).or_else(|_| caller.allowed(Scope::Write))?;
    let held = owned(&app, id, identity).await?;
    let uncacheable = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if held.record.is_file() {
        let location = [(LOCATION, format!("/files/{id}"))];
        return Ok((StatusCode::SEE_OTHER, [uncacheable], location).into_response());
    }
    let (offset, length) = match concat::partials(&held.record) {
        Some(of) => {
            let progress = concat::progress(&app, of).await?;
            (progress.offset, progress.length)
        }
        None => (held.record.offset(), held.record.length),
    };
    let document = json!({
        "id": id,
        "offset": offset,
        "length": length,
        "complete": held.record.complete,
    });
    Ok(([uncacheable], Json(document)).into_response())
}

/// The upload, if it is the caller's. A final one is completed first, if nothing is missing.
async fn owned(app: &App, id: FileId, identity: &Identity) -> Result<Held, Failure> {
    let held = match app.store.find(id).await? {
        Found::Here(held) => held,
        Found::Expired(held) => {
            own(identity, &held.record)?;
            return Err(Failure::gone("the upload has expired; begin anew"));
        }
        Found::Nothing => return Err(Failure::not_found()),
    };
    own(identity, &held.record)?;
    match concat::partials(&held.record) {
        Some(_) if !held.record.complete => concat::join(app, id).await,
        _ => Ok(held),
    }
}

/// Appends in a task of its own: a client that goes away takes its request with it, and what it
/// sent until then is still to be kept.
async fn append(
    app: &App,
    held: Held,
    mut intake: Intake,
    completes: Completes,
    turn: Turn,
) -> Result<Result<Held, AppendError>, Failure> {
    let store = app.store.clone();
    let appending = async move {
        let appended = store.append(held, &mut intake, completes).await;
        drop((intake, turn));
        appended
    };
    app.tasks.finish(appending).await
}

/// How many bytes an upload may still get.
fn room(app: &App, held: &Held) -> u64 {
    let rules = &app.rules.for_tenant(&held.record.tenant).declared;
    let length = held.record.length.unwrap_or(rules.size_max_bytes);
    length.saturating_sub(held.record.offset())
}

/// Takes an upload over from whoever is at work on it.
async fn turn(app: &App, id: FileId) -> Result<Turn, Failure> {
    app.store.turn(id, Remains::Dropped).await.map_err(|Superseded| {
        Failure::new(ProblemType::Superseded, "a newer request for this upload came")
    })
}

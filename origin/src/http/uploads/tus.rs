//! Uploads by tus 1.0: the core protocol with the extensions creation, creation-with-upload and
//! termination (<https://tus.io/protocols/resumable-upload>).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::ProblemType;
use outport_wire::rules::Declared;
use outport_wire::tus;

use super::super::App;
use super::super::ask::ask;
use super::super::failure::{Failure, UPLOAD_OFFSET};
use super::super::field;
use super::{append, check_fits, expires_s, owned, room, turn};
use crate::hooks::Protocol;
use crate::record::Opening;
use crate::store::{AppendError, Completes, Held};

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");

/// A layer around everything of tus: speaks one version, and says so on every answer. OPTIONS and
/// our own GET need none.
pub(super) async fn check_version(request: Request, next: Next) -> Response {
    let exempt = matches!(*request.method(), Method::OPTIONS | Method::GET);
    let spoken = request.headers().get(TUS_RESUMABLE).is_some_and(|sent| sent == tus::VERSION);
    let mut response = if exempt || spoken { next.run(request).await } else { wrong_version() };
    response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(tus::VERSION));
    response
}

fn wrong_version() -> Response {
    let detail = "send Tus-Resumable: 1.0.0";
    let mut response = Failure::new(ProblemType::TusVersion, detail).into_response();
    response.headers_mut().insert(TUS_VERSION, HeaderValue::from_static(tus::VERSION));
    response
}

/// `OPTIONS /uploads`: what is spoken here.
pub(crate) async fn options(State(app): State<App>) -> Response {
    let headers = [
        (TUS_VERSION, HeaderValue::from_static(tus::VERSION)),
        (TUS_EXTENSION, HeaderValue::from_static(tus::EXTENSIONS)),
        (TUS_MAX_SIZE, app.rules.default.declared.size_max_bytes.into()),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Begins an upload, and takes its first bytes if they come along.
pub(super) async fn create(
    app: &App,
    owner: &Identity,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let rules = &app.rules.for_tenant(&owner.tenant).declared;
    let length = announced_length(rules, &parts.headers)?;
    let with_bytes = !body.is_end_stream();
    if with_bytes {
        check_type(&parts.headers)?;
        check_fits(&parts.headers, length)?;
    }
    let description = field::tus_metadata(&parts.headers, &app.limits)?;
    rules.check_type(&description.media_type)?;
    let description = ask(app, owner, description, Some(length), Protocol::Tus).await?;
    let upload_expires_s = expires_s(app);
    let opening = Opening { upload_expires_s, ..Opening::of_length(length) };
    let mut held = app.store.begin(owner, description, opening).await?;
    if with_bytes || length == 0 {
        held = append_first(app, held, body).await?;
    }
    let headers = [
        (LOCATION, format!("/uploads/{}", held.id)),
        (UPLOAD_OFFSET, held.record.offset().to_string()),
    ];
    Ok((StatusCode::CREATED, headers).into_response())
}

/// Appends what came with a creation. A body that broke off leaves an upload to go on with; after
/// any other failure the client does not learn the address, so the upload goes.
async fn append_first(app: &App, held: Held, body: Body) -> Result<Held, Failure> {
    let id = held.id;
    let turn = turn(app, id).await?;
    let intake = app.intake(super::super::body_stream(body), room(app, &held), Some(&turn));
    match append(app, held, intake, Completes::AtLength, turn).await? {
        Ok(held) => Ok(held),
        Err(AppendError::Cut { .. }) => {
            let held = app.store.load(id).await?;
            held.ok_or_else(Failure::not_found)
        }
        Err(error) => {
            app.store.give_up(id).await;
            Err(error.into())
        }
    }
}

/// Where the upload is.
pub(super) async fn head(app: &App, id: FileId, identity: &Identity) -> Result<Response, Failure> {
    owned(app, id, identity).await?;
    let held = app.store.interrupt(id).await?.ok_or_else(Failure::not_found)?;
    let mut headers = HeaderMap::new();
    headers.insert(UPLOAD_OFFSET, held.record.offset().into());
    if let Some(length) = held.record.length {
        headers.insert(UPLOAD_LENGTH, length.into());
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let sent = held.record.tus_metadata.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(sent)) = sent {
        headers.insert(UPLOAD_METADATA, sent);
    }
    Ok((StatusCode::OK, headers).into_response())
}

/// Appends.
pub(super) async fn patch(
    app: &App,
    id: FileId,
    identity: &Identity,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    let offset = field::bytes(&parts.headers, "upload-offset")?
        .ok_or_else(|| Failure::field("upload-offset", "sent, as a whole number of bytes"))?;
    owned(app, id, identity).await?;
    let turn = turn(app, id).await?;
    let held = owned(app, id, identity).await?;
    let expected = held.record.offset();
    if offset != expected {
        return Err(AppendError::OffsetMismatch { expected }.into());
    }
    check_fits(&parts.headers, room(app, &held))?;
    let intake = app.intake(super::super::body_stream(body), room(app, &held), Some(&turn));
    let held = append(app, held, intake, Completes::AtLength, turn).await??;
    let offset = held.record.offset().to_string();
    Ok((StatusCode::NO_CONTENT, [(UPLOAD_OFFSET, offset)]).into_response())
}

fn announced_length(rules: &Declared, headers: &HeaderMap) -> Result<u64, Failure> {
    let length = field::bytes(headers, "upload-length")?.ok_or_else(|| {
        Failure::field("upload-length", "sent; an upload can't be begun without its length")
    })?;
    rules.check_size(length)?;
    Ok(length)
}

fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    if field::text(headers, CONTENT_TYPE.as_str())? == Some(tus::PATCH_TYPE) {
        return Ok(());
    }
    let detail = format!("send Content-Type: {}", tus::PATCH_TYPE);
    Err(Failure::new(ProblemType::UnsupportedType, detail))
}

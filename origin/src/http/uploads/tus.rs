//! Uploads by tus 1.0: the core protocol with all its extensions
//! (<https://tus.io/protocols/resumable-upload>). Concatenation has a file of its own; termination
//! is that of any file.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::ProblemType;
use outport_wire::rules::Declared;
use outport_wire::time::http_date;
use outport_wire::tus;

use super::super::App;
use super::super::ask::ask;
use super::super::failure::{Failure, UPLOAD_OFFSET};
use super::super::field;
use super::concat::{self, Asked};
use super::{append, owned, room, turn};
use crate::digest::{Digests, Expected, Trailer};
use crate::hooks::Protocol;
use crate::intake::Intake;
use crate::record::{Concat, Opening, Record};
use crate::store::{AppendError, Completes, Held};
use crate::turns::Turn;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
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
        (TUS_EXTENSION, HeaderValue::from_static(tus::extensions(true))),
        (TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(tus::CHECKSUM_ALGORITHMS)),
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
    let concat = match Asked::read(&parts.headers)? {
        Asked::Whole => None,
        Asked::Partial => Some(Concat::Partial { claimed_by: None }),
        Asked::Final(_) if !body.is_end_stream() => {
            return Err(Failure::field("the body", "left out: a final upload is made of others"));
        }
        Asked::Final(pieces) => return concat::create(app, owner, &parts.headers, pieces).await,
    };
    let rules = &app.rules.for_tenant(&owner.tenant).declared;
    let length = announced_length(&parts.headers)?;
    let with_bytes = !body.is_end_stream();
    if let Some(length) = length {
        rules.check_size(length)?;
    }
    if with_bytes {
        check_type(&parts.headers)?;
        check_fits(&parts.headers, rules, length, 0)?;
    }
    let content = Content::read(&parts.headers)?;
    let mut description = field::tus_metadata(&parts.headers, &app.limits)?;
    // A piece is never a file by itself: what there is to decide is decided of the whole.
    if concat.is_none() {
        rules.check_type(&description.media_type)?;
        description = ask(app, owner, description, length, Protocol::Tus).await?;
    }
    let opening = Opening { length, concat, ..Opening::default() };
    let mut held = app.store.begin(owner, description, opening).await?;
    if with_bytes || length == Some(0) || content.is_checked() {
        held = append_first(app, held, body, content).await?;
    }
    let mut headers = after_append(&held.record);
    if let Ok(location) = HeaderValue::try_from(format!("/uploads/{}", held.id)) {
        headers.insert(LOCATION, location);
    }
    Ok((StatusCode::CREATED, headers).into_response())
}

/// Appends what came with a creation. A body that broke off leaves an upload to go on with; after
/// any other failure the client does not learn the address, so the upload goes.
async fn append_first(
    app: &App,
    held: Held,
    body: Body,
    content: Content,
) -> Result<Held, Failure> {
    let (id, bytes_max) = (held.id, bound(app, &held));
    let turn = turn(app, id).await?;
    let intake = content.intake(app, &held, body, &turn);
    match append(app, held, intake, Completes::AtLength, turn).await? {
        Ok(held) => Ok(held),
        Err(AppendError::Cut { .. }) => {
            let held = app.store.load(id).await?;
            held.ok_or_else(Failure::not_found)
        }
        Err(error) => {
            app.store.give_up(id).await;
            Err(failure(error, bytes_max))
        }
    }
}

/// Where the upload is.
pub(super) async fn head(app: &App, id: FileId, identity: &Identity) -> Result<Response, Failure> {
    let mut held = owned(app, id, identity).await?;
    let mut headers = HeaderMap::new();
    if let Some(of) = concat::partials(&held.record) {
        // Its offset is not defined before it is complete.
        let length = concat::progress(app, of).await?.length;
        headers.extend(length.map(|length| (UPLOAD_LENGTH, length.into())));
    } else {
        held = app.store.interrupt(id).await?.ok_or_else(Failure::not_found)?;
        headers = after_append(&held.record);
        headers.insert(UPLOAD_OFFSET, held.record.offset().into());
        match held.record.length {
            Some(length) => headers.insert(UPLOAD_LENGTH, length.into()),
            None => headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
        };
    }
    concat::describe(&held.record, &mut headers);
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
    let headers = &parts.headers;
    let held = owned(app, id, identity).await?;
    if matches!(held.record.concat, Some(Concat::Final { .. })) {
        let detail = "it has what its pieces have; append to those";
        return Err(Failure::new(ProblemType::FinalUpload, detail));
    }
    check_type(headers)?;
    let offset = field::bytes(headers, "upload-offset")?
        .ok_or_else(|| Failure::field("upload-offset", "sent, as a whole number of bytes"))?;
    let length = field::bytes(headers, "upload-length")?;
    let content = Content::read(headers)?;
    let turn = turn(app, id).await?;
    let held = owned(app, id, identity).await?;
    let expected = held.record.offset();
    if offset != expected {
        return Err(AppendError::OffsetMismatch { expected }.into());
    }
    let rules = &app.rules.for_tenant(&held.record.tenant).declared;
    let held = match length {
        Some(length) => {
            rules.check_size(length)?;
            app.store.declare_length(held, length).await?
        }
        None => held,
    };
    check_fits(headers, rules, held.record.length, offset)?;
    let bytes_max = bound(app, &held);
    let intake = content.intake(app, &held, body, &turn);
    let appended = append(app, held, intake, Completes::AtLength, turn).await?;
    let held = appended.map_err(|error| failure(error, bytes_max))?;
    Ok((StatusCode::NO_CONTENT, after_append(&held.record)).into_response())
}

/// Where the upload is after its body was taken, and for how long it stays if it goes no further.
fn after_append(record: &Record) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(UPLOAD_OFFSET, record.offset().into());
    let expires_s = record.expiry_s().filter(|_| !record.is_file());
    if let Some(Ok(expires)) = expires_s.map(|at| HeaderValue::try_from(http_date(at))) {
        headers.insert(UPLOAD_EXPIRES, expires);
    }
    headers
}

/// The length of a new upload; `None` where it is to be said later.
fn announced_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let length = field::bytes(headers, "upload-length")?;
    match (length, field::text(headers, "upload-defer-length")?) {
        (Some(length), None) => Ok(Some(length)),
        (None, Some("1")) => Ok(None),
        (Some(_), Some(_)) => {
            Err(Failure::field("upload-defer-length", "left out where Upload-Length is sent"))
        }
        (None, Some(_)) => Err(Failure::field("upload-defer-length", "1")),
        (None, None) => {
            Err(Failure::field("upload-length", "sent, or Upload-Defer-Length: 1 in its place"))
        }
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    if field::text(headers, CONTENT_TYPE.as_str())? == Some(tus::PATCH_TYPE) {
        return Ok(());
    }
    let detail = format!("send Content-Type: {}", tus::PATCH_TYPE);
    Err(Failure::new(ProblemType::UnsupportedType, detail))
}

/// Refuses a body that says itself that it is too long, before any of it is taken.
fn check_fits(
    headers: &HeaderMap,
    rules: &Declared,
    length: Option<u64>,
    offset: u64,
) -> Result<(), Failure> {
    let Some(bytes) = field::bytes(headers, CONTENT_LENGTH.as_str())? else { return Ok(()) };
    let end = offset.saturating_add(bytes);
    match length {
        Some(length) if end > length => {
            let detail = format!("the upload has room for {} bytes more", length - offset);
            Err(Failure::new(ProblemType::BodyTooLong, detail))
        }
        Some(_) => Ok(()),
        None => Ok(rules.check_size(end)?),
    }
}

/// What a request says of its body, to be held against it.
struct Content {
    length: Option<u64>,
    checksum: Option<Expected>,
    trailer: Option<Trailer>,
}

impl Content {
    fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let announced = field::announces_trailer(headers, field::CHECKSUM);
        let trailer = announced.then(Trailer::default);
        let length = field::bytes(headers, CONTENT_LENGTH.as_str())?;
        Ok(Self { length, checksum: field::checksum(headers)?, trailer })
    }

    const fn is_checked(&self) -> bool {
        self.checksum.is_some() || self.trailer.is_some()
    }

    fn intake(self, app: &App, held: &Held, body: Body, turn: &Turn) -> Intake {
        let Self { length, checksum, trailer } = self;
        let mut digests = checksum.into_iter().fold(Digests::default(), Digests::content);
        let body = match trailer {
            Some(trailer) => {
                digests = digests.trailer(trailer.clone());
                super::super::body_stream_with(body, trailer)
            }
            None => super::super::body_stream(body),
        };
        let intake = app.intake(body, room(app, held), Some(turn));
        intake.with_digests(digests).with_length(length)
    }
}

/// What bounds an upload that has no length yet.
fn bound(app: &App, held: &Held) -> Option<u64> {
    let rules = &app.rules.for_tenant(&held.record.tenant).declared;
    held.record.length.is_none().then_some(rules.size_max_bytes)
}

/// A checksum has a status of its own in tus, and an upload without a length is never longer than
/// announced, but may be too large.
fn failure(error: AppendError, bytes_max: Option<u64>) -> Failure {
    match (error, bytes_max) {
        (error @ (AppendError::Digest(_) | AppendError::WholeDigest), _) => {
            Failure::new(ProblemType::DigestMismatch, error.to_string())
        }
        (AppendError::TooLong { .. }, Some(bytes_max)) => Failure::too_large(bytes_max),
        (error, _) => error.into(),
    }
}

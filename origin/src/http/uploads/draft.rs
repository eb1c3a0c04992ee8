//! Uploads by Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload): an upload resource
//! is what `/uploads/{id}` is, made by a POST to `/uploads` or `/files` that says `Upload-Complete`.
//!
//! Section numbers are the draft's. Fields of the wrong form count as absent, as it has it.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use outport_interim::{Interim, Sent};
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::resumable::{
    self, COMPLETE_HEADER, INTEROP_HEADER, INTEROP_VERSION, LENGTH_HEADER, LIMIT_HEADER,
    OFFSET_HEADER, PARTIAL_TYPE, STATUS_RESUMPTION_SUPPORTED,
};

use super::super::App;
use super::super::ask::ask;
use super::super::document;
use super::super::failure::Failure;
use super::super::field;
use super::{append, owned, room, turn};
use crate::digest::{Digests, Running};
use crate::hooks::Protocol;
use crate::intake::Intake;
use crate::record::{Description, Opening};
use crate::store::{AppendError, Completes, Held};
use crate::turns::Turn;

/// `Accept-Patch` (RFC 5789, section 3.1).
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const COMPLETE: HeaderName = HeaderName::from_static(COMPLETE_HEADER);
const OFFSET: HeaderName = HeaderName::from_static(OFFSET_HEADER);
const LENGTH: HeaderName = HeaderName::from_static(LENGTH_HEADER);
const LIMIT: HeaderName = HeaderName::from_static(LIMIT_HEADER);
const INTEROP: HeaderName = HeaderName::from_static(INTEROP_HEADER);

/// Whether a request is one of the draft's, by its fields. One that speaks another version of it
/// is not.
pub(crate) fn is_spoken(headers: &HeaderMap) -> bool {
    !is_other_version(headers) && complete(headers).is_some()
}

/// Whether a request speaks a version of the draft that is not spoken here.
pub(super) fn is_other_version(headers: &HeaderMap) -> bool {
    let version = headers.get(INTEROP_HEADER);
    version.is_some_and(|version| version.as_bytes() != INTEROP_VERSION.as_bytes())
}

pub(super) fn wrong_version() -> Failure {
    Failure::field(INTEROP_HEADER, INTEROP_VERSION)
        .with(INTEROP, HeaderValue::from_static(INTEROP_VERSION))
}

fn complete(headers: &HeaderMap) -> Option<bool> {
    let text = headers.get(COMPLETE_HEADER)?.to_str().ok()?;
    resumable::boolean(text)
}

/// What a request says of its upload.
#[derive(Clone, Copy, Debug)]
struct Said {
    complete: bool,
    /// `Upload-Length`.
    length: Option<u64>,
    content_length: Option<u64>,
}

impl Said {
    fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let complete = complete(headers).ok_or_else(|| {
            Failure::field(COMPLETE_HEADER, "?1 if the upload ends with it, or ?0")
        })?;
        Ok(Self {
            complete,
            length: integer(headers, LENGTH_HEADER),
            content_length: field::bytes(headers, CONTENT_LENGTH.as_str())?,
        })
    }

    /// The length of the whole, as far as this request tells, if it appends at `offset` (section
    /// 4.1.3).
    fn length_at(self, offset: u64) -> Result<Option<u64>, Failure> {
        let rest = self.content_length.filter(|_| self.complete);
        let by_content = rest.map(|rest| offset.saturating_add(rest));
        match (self.length, by_content) {
            (Some(said), Some(counted)) if said != counted => Err(inconsistent(format!(
                "Upload-Length says {said} bytes, and this request ends at byte {counted}"
            ))),
            (said, counted) => Ok(said.or(counted)),
        }
    }

    const fn completes(self) -> Completes {
        if self.complete { Completes::WithBody } else { Completes::Not }
    }
}

fn integer(headers: &HeaderMap, name: &str) -> Option<u64> {
    resumable::integer(headers.get(name)?.to_str().ok()?)
}

fn inconsistent(detail: String) -> Failure {
    Failure::new(ProblemType::InconsistentLength, detail)
}

/// Creates an upload and takes what comes with it (section 4.2).
pub(crate) async fn create(
    app: &App,
    owner: &Identity,
    description: Description,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let said = Said::read(&parts.headers)?;
    let length = said.length_at(0)?;
    let rules = &app.rules.for_tenant(&owner.tenant).declared;
    if let Some(bytes) = length.max(said.content_length) {
        rules.check_size(bytes).map_err(|problem| {
            Failure::from(problem).with(LIMIT, limits(app, &owner.tenant, None))
        })?;
    }
    rules.check_type(&description.media_type)?;
    if let (Some(length), Some(content)) = (length, said.content_length)
        && content > length
    {
        return Err(inconsistent(format!("{content} bytes come, of an upload of {length}")));
    }
    let digests = digests(&parts.headers)?;
    let digest = whole_digest(&parts.headers)?;
    let description = ask(app, owner, description, length, Protocol::Draft).await?;
    let opening = Opening { length, digest, ..Opening::default() };
    let held = app.store.begin(owner, description, opening).await?;
    let id = held.id;
    let turn = turn(app, id).await?;
    let interim = parts.extensions.get::<Interim>().cloned().unwrap_or_else(Interim::none);
    let told = announce(app, &held, &interim);
    let intake = intake(app, &held, body, &turn, interim)
        .with_digests(digests)
        .with_length(said.content_length);
    match append(app, held, intake, said.completes(), turn).await? {
        Ok(held) if held.record.complete => Ok(created_file(app, &held)),
        Ok(held) => Ok(created_upload(app, &held)),
        Err(error) => {
            let lost = matches!(error, AppendError::TooLong { .. });
            // Without its address, an upload that nothing was kept of is of no use.
            if lost || (matches!(error, AppendError::Digest(_)) && told != Sent::Sent) {
                app.store.give_up(id).await;
            }
            Err(failure(error, None))
        }
    }
}

/// Says where the upload is, before any of it is taken, so that it can be resumed whatever happens.
fn announce(app: &App, held: &Held, interim: &Interim) -> Sent {
    let mut fields = HeaderMap::new();
    fields.insert(INTEROP, HeaderValue::from_static(INTEROP_VERSION));
    fields.insert(LIMIT, limits(app, &held.record.tenant, Some(held)));
    send(interim, &located(fields, &upload_path(held.id)))
}

fn send(interim: &Interim, fields: &HeaderMap) -> Sent {
    let Ok(status) = StatusCode::from_u16(STATUS_RESUMPTION_SUPPORTED) else {
        return Sent::Impossible;
    };
    interim.send(status, fields)
}

/// Where the upload is, whether it is complete, and what is allowed (section 4.3).
pub(crate) async fn head(app: &App, id: FileId, identity: &Identity) -> Result<Response, Failure> {
    owned(app, id, identity).await?;
    let held = app.store.interrupt(id).await?.ok_or_else(Failure::not_found)?;
    let mut fields = described(app, &held);
    if let Some(length) = held.record.length {
        fields.insert(LENGTH, length.into());
    }
    Ok((StatusCode::NO_CONTENT, fields).into_response())
}

/// Appends (section 4.4).
pub(crate) async fn patch(
    app: &App,
    id: FileId,
    identity: &Identity,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    check_type(headers)?;
    let said = Said::read(headers)?;
    let offset = integer(headers, OFFSET_HEADER)
        .ok_or_else(|| Failure::field(OFFSET_HEADER, "the offset that the content begins at"))?;
    let digests = digests(headers)?;
    owned(app, id, identity).await?;
    let turn = turn(app, id).await?;
    let held = owned(app, id, identity).await?;
    let held = check_state(app, held, said, offset, body.is_end_stream()).await?;
    let interim = parts.extensions.get::<Interim>().cloned().unwrap_or_else(Interim::none);
    let intake = intake(app, &held, body, &turn, interim)
        .with_digests(digests)
        .with_length(said.content_length);
    match append(app, held, intake, said.completes(), turn).await? {
        Ok(held) if held.record.complete => Ok(created_file(app, &held)),
        Ok(held) => Ok((StatusCode::NO_CONTENT, described(app, &held)).into_response()),
        Err(error) => {
            // The draft wants an upload that was overrun to be of no use any more.
            if matches!(error, AppendError::TooLong { .. }) {
                app.store.give_up(id).await;
            }
            Err(failure(error, Some(offset)))
        }
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    if field::text(headers, CONTENT_TYPE.as_str())? == Some(PARTIAL_TYPE) {
        return Ok(());
    }
    let detail = format!("send Content-Type: {PARTIAL_TYPE}");
    let accepted = HeaderValue::from_static(PARTIAL_TYPE);
    Err(Failure::new(ProblemType::UnsupportedType, detail).with(ACCEPT_PATCH, accepted))
}

/// Refuses what doesn't fit the upload as it is, before any of the content is taken, and records a
/// length that was not known before.
async fn check_state(
    app: &App,
    held: Held,
    said: Said,
    offset: u64,
    is_empty: bool,
) -> Result<Held, Failure> {
    let record = &held.record;
    let expected = record.offset();
    if record.concat.is_some() {
        let detail = "the upload is part of a concatenation of tus, and goes on as such";
        return Err(Failure::new(ProblemType::Conflict, detail));
    }
    if record.complete {
        return Err(completed(is_empty));
    }
    if offset != expected {
        return Err(failure(AppendError::OffsetMismatch { expected }, Some(offset)));
    }
    let length = said.length_at(offset)?;
    if let (Some(known), Some(said)) = (record.length, length)
        && known != said
    {
        return Err(inconsistent(format!("the upload was to have {known} bytes, and now {said}")));
    }
    let rules = &app.rules.for_tenant(&record.tenant).declared;
    let end = said.content_length.map(|bytes| offset.saturating_add(bytes));
    if let Some(end) = length.max(end) {
        rules.check_size(end).map_err(|problem| {
            Failure::from(problem).with(LIMIT, limits(app, &record.tenant, Some(&held)))
        })?;
    }
    if let (Some(end), Some(length)) = (end, record.length.or(length))
        && end > length
    {
        return Err(inconsistent(format!("the upload has {length} bytes, and this ends at {end}")));
    }
    match length {
        Some(length) => {
            let declared = app.store.declare_length(held, length).await;
            declared.map_err(|error| failure(error, Some(offset)))
        }
        None => Ok(held),
    }
}

/// A body, whose sender is told what is durable while it comes.
fn intake(app: &App, held: &Held, body: Body, turn: &Turn, interim: Interim) -> Intake {
    let progress = move |offset: u64| {
        let mut fields = HeaderMap::new();
        fields.insert(OFFSET, offset.into());
        send(&interim, &fields);
    };
    let body = super::super::body_stream(body);
    app.intake(body, room(app, held), Some(turn)).with_progress(Box::new(progress))
}

/// The answer to who created an upload and goes on with it.
fn created_upload(app: &App, held: &Held) -> Response {
    (StatusCode::CREATED, located(described(app, held), &upload_path(held.id))).into_response()
}

/// The answer to who has sent the last of it, whichever request that was: that of the resource
/// which makes files.
fn created_file(app: &App, held: &Held) -> Response {
    let fields = located(described(app, held), &format!("/files/{}", held.id));
    (StatusCode::CREATED, fields, axum::Json(document::held(held))).into_response()
}

fn located(mut fields: HeaderMap, path: &str) -> HeaderMap {
    if let Ok(location) = HeaderValue::try_from(path) {
        fields.insert(LOCATION, location);
    }
    fields
}

/// The state of an upload, and the digest of what is there, where its client wants it or sent one
/// (RFC 9530, section 3).
fn described(app: &App, held: &Held) -> HeaderMap {
    let mut fields = state(app, held);
    let digest = held.record.digest.as_ref().and_then(Running::field);
    if let Some(Ok(digest)) = digest.map(HeaderValue::try_from) {
        fields.insert(REPR_DIGEST, digest);
    }
    fields
}

/// What every answer about an upload says.
fn state(app: &App, held: &Held) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let complete = resumable::boolean_text(held.record.complete);
    fields.insert(INTEROP, HeaderValue::from_static(INTEROP_VERSION));
    fields.insert(COMPLETE, HeaderValue::from_static(complete));
    fields.insert(OFFSET, held.record.offset().into());
    fields.insert(LIMIT, limits(app, &held.record.tenant, Some(held)));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields
}

/// `Upload-Limit` (section 4.1.4): for this upload, or for any of the tenant's.
fn limits(app: &App, tenant: &str, held: Option<&Held>) -> HeaderValue {
    let size_max_bytes = app.rules.for_tenant(tenant).declared.size_max_bytes;
    let mut text = format!("max-size={size_max_bytes}");
    let open = held.filter(|held| !held.record.complete);
    if let Some(expires_s) = open.and_then(|held| held.record.upload_expires_s) {
        text += &format!(", max-age={}", expires_s.saturating_sub(app.store.now_s()));
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The digest of the content of this request.
fn digests(headers: &HeaderMap) -> Result<Digests, Failure> {
    let content = field::digest(headers, "content-digest")?;
    Ok(content.into_iter().fold(Digests::default(), Digests::content))
}

/// The digest of the whole: one to be proved, or one to be told.
fn whole_digest(headers: &HeaderMap) -> Result<Option<Running>, Failure> {
    if let Some(expected) = field::digest(headers, "repr-digest")? {
        return Ok(Some(Running::expecting(expected)));
    }
    Ok(field::text(headers, "want-repr-digest")?.and_then(Running::wanted))
}

fn upload_path(id: FileId) -> String {
    format!("/uploads/{id}")
}

/// Of a request for an upload that is complete (section 4.4.2).
fn completed(is_empty: bool) -> Failure {
    if is_empty {
        return Failure::new(ProblemType::CompletedUpload, "nothing can be appended any more");
    }
    inconsistent("the upload is complete, and this would make it longer".to_owned())
}

fn failure(error: AppendError, provided: Option<u64>) -> Failure {
    let detail = error.to_string();
    let incomplete = HeaderValue::from_static(resumable::boolean_text(false));
    match error {
        AppendError::OffsetMismatch { expected } => {
            let problem = Problem::new(ProblemType::MismatchingOffset, detail)
                .with("expected-offset", expected)
                .with("provided-offset", provided);
            Failure::from(problem).with(OFFSET, expected.into()).with(COMPLETE, incomplete)
        }
        AppendError::Complete => completed(false),
        AppendError::TooLong { .. } => inconsistent(detail),
        // It was transferred whole; to resume it would not help.
        AppendError::WholeDigest => Failure::from(error)
            .with(COMPLETE, HeaderValue::from_static(resumable::boolean_text(true))),
        error => Failure::from(error).with(COMPLETE, incomplete),
    }
}

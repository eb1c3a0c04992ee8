//! Files as a whole: stored in one request, listed, changed, removed.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use outport_wire::UnixSeconds;
use outport_wire::file::Visibility;
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scope};
use outport_wire::problem::ProblemType;
use outport_wire::relation::Level;
use outport_wire::rules::Declared;
use outport_wire::time::parse_rfc3339;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::ask::ask;
use super::caller::Caller;
use super::failure::Failure;
use super::field::{self, Id, Query};
use super::relations::permitted;
use super::uploads::draft;
use super::{App, document, form};
use crate::audit::{Event, Kind};
use crate::digest::Digests;
use crate::hooks::Protocol;
use crate::intake::BodyStream;
use crate::record::{Description, Record};
use crate::relations::forget_file;
use crate::store::{AppendError, Held};

/// How many files a page of a list has if nothing is said.
const LIST_FILES: usize = 50;

/// `POST /files`: a raw body is one file, a form has as many as it has.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Response, Failure> {
    let owner = caller.allowed(Scope::Write)?.clone();
    let content_type = field::text(request.headers(), CONTENT_TYPE.as_str())?;
    let boundary = content_type.map(multer::parse_boundary);
    let is_form = matches!(boundary, Some(Ok(_) | Err(multer::Error::NoBoundary)));
    if !is_form && draft::is_spoken(request.headers()) {
        let description = description(&app, request.headers(), &query)?;
        return draft::create(&app, &owner, description, request).await;
    }
    let (parts, body) = request.into_parts();
    let body = super::body_stream(body);
    let stored = match boundary {
        Some(Ok(boundary)) => store_form(&app, owner, boundary, body).await?,
        Some(Err(multer::Error::NoBoundary)) => {
            return Err(Failure::field("content-type", "with the form's boundary"));
        }
        _ => {
            let rules = &app.rules.for_tenant(&owner.tenant).declared;
            let length = check_length(rules, &parts.headers)?;
            let description = description(&app, &parts.headers, &query)?;
            rules.check_type(&description.media_type)?;
            let description = ask(&app, &owner, description, length, Protocol::Raw).await?;
            let digests = digests(&parts.headers)?;
            vec![store_raw(&app, owner, description, Content { body, length, digests }).await?]
        }
    };
    created(&stored)
}

/// Stores one body in a task of its own, so that a client that goes away leaves nothing half done.
async fn store_raw(
    app: &App,
    owner: Identity,
    description: Description,
    content: Content,
) -> Result<Held, Failure> {
    let this = app.clone();
    let storing = async move { store_whole(&this, &owner, description, content).await };
    app.tasks.finish(storing).await?
}

async fn store_form(
    app: &App,
    owner: Identity,
    boundary: String,
    body: BodyStream,
) -> Result<Vec<Held>, Failure> {
    let this = app.clone();
    app.tasks.finish(async move { form::store_all(&this, &owner, boundary, body).await }).await?
}

/// What one file is stored from.
pub(super) struct Content {
    pub(super) body: BodyStream,
    /// Where the sender says it.
    pub(super) length: Option<u64>,
    pub(super) digests: Digests,
}

/// Stores one file from one body.
pub(super) async fn store_whole(
    app: &App,
    owner: &Identity,
    description: Description,
    content: Content,
) -> Result<Held, Failure> {
    let bytes_max = app.rules.for_tenant(&owner.tenant).declared.size_max_bytes;
    let Content { body, length, digests } = content;
    let mut intake = app.intake(body, bytes_max, None).with_digests(digests).with_length(length);
    app.store.store_whole(owner, description, &mut intake).await.map_err(|error| match error {
        AppendError::TooLong { .. } => Failure::too_large(bytes_max),
        AppendError::Cut { .. } => {
            Failure::new(ProblemType::BodyTooShort, "the body broke off; nothing was stored")
        }
        error => error.into(),
    })
}

/// The length that the body says it has, if it may have that.
fn check_length(rules: &Declared, headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let length = field::bytes(headers, CONTENT_LENGTH.as_str())?;
    if let Some(bytes) = length {
        rules.check_size(bytes)?;
    }
    Ok(length)
}

/// What digest fields say of a body that is the whole file: of both, the same (RFC 9530).
fn digests(headers: &HeaderMap) -> Result<Digests, Failure> {
    let content = field::digest(headers, "content-digest")?;
    let whole = field::digest(headers, "repr-digest")?;
    Ok(content.into_iter().chain(whole).fold(Digests::default(), Digests::content))
}

/// What the fields and the query of a request say of the file that it sends.
pub(super) fn description(
    app: &App,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Description, Failure> {
    let content_type = field::text(headers, CONTENT_TYPE.as_str())?;
    let disposed = field::disposition_name(headers)?;
    let name = disposed.as_deref().or(query.get("name"));
    Ok(Description {
        name: field::file_name(name, &app.limits)?,
        media_type: field::media_type(content_type, &app.limits)?,
        visibility: query.get("visibility").map(field::visibility).transpose()?.unwrap_or_default(),
        metadata: BTreeMap::new(),
        tus_metadata: None,
    })
}

fn created(stored: &[Held]) -> Result<Response, Failure> {
    let first = stored.first().ok_or_else(|| Failure::internal("nothing was stored"))?;
    let body = match stored {
        [one] => document::held(one),
        many => json!({ "files": many.iter().map(document::held).collect::<Vec<_>>() }),
    };
    let location = [(LOCATION, format!("/files/{}", first.id))];
    Ok((StatusCode::CREATED, location, uncacheable(), Json(body)).into_response())
}

/// `GET /files`: the caller's files, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Response, Failure> {
    let owner = caller.allowed(Scope::Read)?;
    let limit = page_size(&app, query.get("limit"))?;
    let after = query.get("cursor").map(cursor).transpose()?;
    let prefix = query.get("prefix").unwrap_or_default();
    let page = app.store.list(owner, prefix, limit, after).await?;
    let files: Vec<_> = page.files.iter().map(|(id, record)| document::file(*id, record)).collect();
    let next = page.next.map(|next| URL_SAFE_NO_PAD.encode(next));
    Ok((uncacheable(), Json(json!({ "files": files, "cursor": next }))).into_response())
}

fn page_size(app: &App, limit: Option<&str>) -> Result<usize, Failure> {
    let most = app.limits.list_files_max;
    match limit.map(str::parse) {
        None => Ok(LIST_FILES.min(most)),
        Some(Ok(limit)) if limit >= 1 => Ok(most.min(limit)),
        Some(_) => Err(Failure::field("limit", &format!("a number from 1 to {most}"))),
    }
}

/// Where a page of a list begins, as the one before said.
pub(super) fn cursor(text: &str) -> Result<Bytes, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| Failure::field("cursor", "one that a list answered with"))?;
    Ok(bytes.into())
}

/// What `PATCH /files/{id}` may change. What is absent stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    name: Option<String>,
    visibility: Option<Visibility>,
    /// `Some(None)` takes the expiry away.
    #[serde(default, deserialize_with = "present")]
    expires: Option<Option<String>>,
    metadata: Option<BTreeMap<String, String>>,
}

/// Tells a null from what is absent.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl Changes {
    fn checked(self, app: &App) -> Result<Self, Failure> {
        let named = |name: String| Some(name).filter(|name| !name.is_empty());
        if let Some(Some(expires)) = &self.expires
            && parse_rfc3339(expires).is_none_or(|expires| expires <= app.store.now_s())
        {
            return Err(Failure::field(
                "expires",
                "a time to come in the form of RFC 3339, or null",
            ));
        }
        Ok(Self {
            name: match self.name.map(named) {
                None => None,
                Some(None) => return Err(Failure::field("name", "given, or left out")),
                Some(name) => Some(field::file_name(name.as_deref(), &app.limits)?),
            },
            metadata: self.metadata.map(|own| field::metadata(own, &app.limits)).transpose()?,
            ..self
        })
    }

    /// The expiry that is set, if one is.
    fn expires_s(&self) -> Option<UnixSeconds> {
        self.expires.as_ref()?.as_deref().and_then(parse_rfc3339)
    }

    fn apply(&self, record: &mut Record) {
        if let Some(name) = &self.name {
            record.name.clone_from(name);
        }
        if let Some(visibility) = self.visibility {
            record.visibility = visibility;
        }
        if self.expires.is_some() {
            record.expires_s = self.expires_s();
        }
        if let Some(metadata) = &self.metadata {
            record.metadata.clone_from(metadata);
        }
    }
}

/// `PATCH /files/{id}`: name, visibility, expiry and metadata.
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let identity = caller.allowed(Scope::Write)?;
    let changes: Changes = json_body(&app, request.into_body()).await?;
    let changes = changes.checked(&app)?;
    // Who makes it public says who else may have it.
    let wanted = if changes.visibility.is_some() { Level::Owner } else { Level::Editor };
    let held = permitted(&app, identity, id, wanted).await?;
    let change = |record: &mut Record| {
        changes.apply(record);
        if record.is_file() { Ok(()) } else { Err(Failure::not_found()) }
    };
    if let Some(expires_s) = changes.expires_s() {
        app.store.expect_expiry(&held, expires_s).await?;
    }
    if let Some(visibility) = changes.visibility {
        let before = held.record.visibility;
        if before != visibility && held.record.is_file() {
            app.audit.note(identity, visibility_changed(identity, id, before, visibility)).await?;
        }
    }
    let held = app.store.change(id, change).await?;
    Ok((uncacheable(), Json(document::held(&held))).into_response())
}

/// `DELETE /files/{id}` and `DELETE /uploads/{id}`: frees what is held, complete or not.
pub(crate) async fn remove(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
) -> Result<Response, Failure> {
    let identity = caller.allowed(Scope::Write)?;
    let held = permitted(&app, identity, id, Level::Editor).await?;
    let removed =
        about_file(Kind::FileRemoved, identity, id).with("complete", held.record.complete);
    let removed = removed.about("name", &held.record.owner, &held.record.name);
    app.audit.note(identity, removed).await?;
    app.store.remove(id, |_| Ok::<_, Failure>(())).await?;
    if let Err(error) = forget_file(&*app.relations, &held.record.tenant, id).await {
        // They are of nothing, and give nothing.
        tracing::warn!(%id, %error, "relations of a file that was removed stay");
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) fn about_file(kind: Kind, by: &Identity, id: FileId) -> Event {
    Event::new(kind, by).with("file", id.to_string())
}

fn visibility_changed(by: &Identity, id: FileId, before: Visibility, after: Visibility) -> Event {
    let changed = about_file(Kind::VisibilityChanged, by, id);
    changed.with("before", before.name()).with("after", after.name())
}

/// A bounded JSON body. An empty one is an empty object.
pub(super) async fn json_body<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Failure> {
    let bytes_max = app.limits.json_bytes_max;
    let reading = Limited::new(body, bytes_max).collect();
    let read = tokio::time::timeout(app.limits.body_idle_max, reading)
        .await
        .map_err(|_| Failure::new(ProblemType::RequestTimeout, "the body stood still"))?;
    let bytes = read.map_err(|error| match error.downcast_ref() {
        Some(http_body_util::LengthLimitError { .. }) => Failure::too_large(bytes_max as u64),
        None => Failure::new(ProblemType::BodyTooShort, "the body broke off"),
    })?;
    let bytes = bytes.to_bytes();
    let json = if bytes.is_empty() { b"{}" } else { &bytes[..] };
    serde_json::from_slice(json)
        .map_err(|error| Failure::field("the body", &format!("JSON of the right form: {error}")))
}

pub(super) fn uncacheable() -> [(http::HeaderName, HeaderValue); 1] {
    [(CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

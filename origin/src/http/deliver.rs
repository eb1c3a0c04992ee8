//! `GET` and `HEAD` of a file, for edges: to any signed request, whoever is asking, because the
//! edge decides who may have the answer, by the record that comes with it.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, response};
use outport_wire::conditions::{ByteRange, Conditions, Delivery, Representation};
use outport_wire::document::etag;
use outport_wire::file::FILE_HEADER;
use outport_wire::problem::ProblemType;
use outport_wire::time::http_date;

use super::App;
use super::failure::Failure;
use super::field::Id;
use crate::record::Record;
use crate::store::{Held, StoreError};

/// How long edges may answer from what they have. Contents never change; it is the record that
/// is asked for again.
const CACHEABLE: &str = "max-age=60, stale-while-revalidate=30, stale-if-error=86400";

/// Answers with the file, a part of it, or that the edge has it already.
pub(crate) async fn deliver(
    State(app): State<App>,
    Id(id): Id,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let held = app.store.load(id).await?.filter(|held| held.record.is_file());
    let held = held.ok_or_else(Failure::not_found)?;
    let (etag, last_modified) = (etag(id), http_date(held.record.created_s));
    let length = held.record.offset();
    let file = Representation { etag: &etag, last_modified: &last_modified, length };
    let common = common_fields(&held.record, file);
    let is_get = method == Method::GET;
    let (head, range) = match Delivery::decide(&conditions(&headers, is_get), file) {
        Delivery::Whole | Delivery::Parts(_) => (common.status(StatusCode::OK), 0..length),
        Delivery::Part(ByteRange { first, last }) => {
            let content_range = format!("bytes {first}-{last}/{length}");
            let head = common.status(StatusCode::PARTIAL_CONTENT);
            (head.header(CONTENT_RANGE, content_range), first..last + 1)
        }
        Delivery::NotModified => {
            return finish(common.status(StatusCode::NOT_MODIFIED), Body::empty());
        }
        Delivery::PreconditionFailed => {
            return Err(Failure::new(ProblemType::PreconditionFailed, "the file is another"));
        }
        Delivery::RangeNotSatisfiable => return not_satisfiable(length),
    };
    let head = head
        .header(CONTENT_TYPE, &held.record.media_type)
        .header(CONTENT_LENGTH, range.end - range.start)
        .header(ACCEPT_RANGES, "bytes");
    let body = if is_get { content(&app, &held, range).await? } else { Body::empty() };
    finish(head, body)
}

/// The request's conditions. Ranges are for a GET alone.
fn conditions(headers: &HeaderMap, is_get: bool) -> Conditions<'_> {
    let field = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Conditions {
        if_match: field(IF_MATCH),
        if_unmodified_since: field(IF_UNMODIFIED_SINCE),
        if_none_match: field(IF_NONE_MATCH),
        if_modified_since: field(IF_MODIFIED_SINCE),
        if_range: field(IF_RANGE),
        range: field(RANGE).filter(|_| is_get),
        // That is the edge's, which asks for one at a time.
        several: false,
    }
}

/// What every answer about the file carries, a 304 included.
fn common_fields(record: &Record, file: Representation<'_>) -> response::Builder {
    Response::builder()
        .header(ETAG, file.etag)
        .header(LAST_MODIFIED, file.last_modified)
        .header(CACHE_CONTROL, CACHEABLE)
        .header(HeaderName::from_static(FILE_HEADER), record.file_record().encode())
}

/// The bytes of `range`. The first of them are read before the answer begins, so that a store
/// that fails is a problem document and not an answer that breaks off.
async fn content(app: &App, held: &Held, range: std::ops::Range<u64>) -> Result<Body, Failure> {
    let mut chunks = app.store.read(held, range);
    let first = match chunks.next().await {
        None => return Ok(Body::empty()),
        Some(first) => first.map_err(StoreError::from)?,
    };
    let metrics = app.metrics.clone();
    let whole = futures::stream::iter([Ok(first)]).chain(chunks);
    Ok(Body::from_stream(whole.inspect_ok(move |chunk| metrics.sent(chunk.len()))))
}

fn not_satisfiable(length: u64) -> Result<Response, Failure> {
    use axum::response::IntoResponse as _;
    let detail = format!("the file has {length} bytes");
    let mut response = Failure::new(ProblemType::RangeNotSatisfiable, detail).into_response();
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    Ok(response)
}

fn finish(head: response::Builder, body: Body) -> Result<Response, Failure> {
    head.body(body).map_err(Failure::internal)
}

//! `GET` and `HEAD` of a file, for edges: to any signed request, whoever is asking, because the
//! edge decides who may have the answer, by the record that comes with it.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, response};
use outport_wire::file::FILE_HEADER;
use outport_wire::problem::ProblemType;

use super::App;
use super::conditional::{Answer, Representation, answer};
use super::failure::Failure;
use super::field::Id;
use crate::clock;
use crate::record::{Record, etag};
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
    let held = app.store.load(id).await?.filter(|held| held.record.is_complete());
    let held = held.ok_or_else(Failure::not_found)?;
    let etag = etag(id);
    let Record { created_s: modified, length, .. } = held.record;
    let file = Representation { etag: &etag, modified, length };
    let common = common_fields(&held.record, &etag);
    let is_get = method == Method::GET;
    let (status, range) = match answer(&headers, file, is_get) {
        Answer::Whole => (StatusCode::OK, 0..length),
        Answer::Partial(range) => (StatusCode::PARTIAL_CONTENT, range),
        Answer::NotModified => {
            return finish(common.status(StatusCode::NOT_MODIFIED), Body::empty());
        }
        Answer::PreconditionFailed => {
            return Err(Failure::new(ProblemType::PreconditionFailed, "the file is another"));
        }
        Answer::NotSatisfiable => return not_satisfiable(length),
    };
    let mut head = common
        .status(status)
        .header(CONTENT_TYPE, &held.record.media_type)
        .header(CONTENT_LENGTH, range.end - range.start)
        .header(ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        head = head.header(CONTENT_RANGE, content_range);
    }
    let body = if is_get { content(&app, &held, range).await? } else { Body::empty() };
    finish(head, body)
}

/// What every answer about the file carries, a 304 included.
fn common_fields(record: &Record, etag: &str) -> response::Builder {
    Response::builder()
        .header(ETAG, etag)
        .header(LAST_MODIFIED, clock::http_date(record.created_s))
        .header(CACHE_CONTROL, CACHEABLE)
        .header(HeaderName::from_static(FILE_HEADER), record.file_record().encode())
}

/// The bytes of `range`. The first of them are read before the answer begins, so that a store
/// that fails is a problem document and not an answer that breaks off.
async fn content(app: &App, held: &Held, range: std::ops::Range<u64>) -> Result<Body, Failure> {
    let mut chunks = app.store.read(held.id, held.record.stretches(range));
    let first = match chunks.next().await {
        None => return Ok(Body::empty()),
        Some(first) => first.map_err(|error| StoreError::Unavailable(error.to_string()))?,
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

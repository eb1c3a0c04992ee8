//! Requests to the origin and to proxied upstreams, by `wasi:http`.
//!
//! Bodies are handed on by their handles, in both directions, and never come into this module's
//! memory. So it can't see when a request's body has been sent, or that the client broke it off:
//! the first is made up for by [`SLOWEST_BYTES_S`], the second is told as `Unreachable`. The
//! exception are requests whose body has no length, which nobody could bound: they are copied
//! through, a piece at a time. The field `host` is the upstream's: `wasi:http` lets nobody set
//! another.

use std::pin::pin;

use futures::channel::oneshot;
use futures::future::{Either, select};
use outport_edge_core::driver;
use outport_edge_core::head::RequestHead;
use outport_edge_core::step::{Fetch, FetchError, UpstreamHead};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, RequestOptions, Response, Scheme};
use spin_sdk::wasip3::wit_bindgen::StreamReader;
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};

use crate::body::{Body, Cut, End, Incoming, Sink as _};
use crate::head;

/// How long a connection may take to be made, in nanoseconds.
const CONNECT_NS_MAX: u64 = 5_000_000_000;
/// The time for an answer counts from when the request was sent. Nobody tells when that is where
/// a body was handed on: it is given the time that it needs at this pace.
const SLOWEST_BYTES_S: u64 = 64 << 10;

/// When a request has been sent.
enum Sent {
    /// After this time, in milliseconds, at the latest.
    After(u64),
    /// When this is told, or dropped.
    Told(oneshot::Receiver<()>),
}

/// Sends a request with the client's body, if it goes along, and waits for the head.
pub(crate) async fn fetch(
    url: Option<&str>,
    fetch: &Fetch,
    body: Option<Incoming>,
) -> Result<(UpstreamHead, Incoming), FetchError> {
    let head = RequestHead::parse(&fetch.head).ok_or(FetchError::Unreachable)?;
    let (contents, end, sent) = contents(&head, body).await?;
    let request = url.and_then(|url| request(url, head, contents, end));
    let request = request.ok_or(FetchError::Unreachable)?;
    let answer = pin!(client::send(request));
    let too_long = pin!(async {
        let sending_ms = match sent {
            Sent::After(ms) => ms,
            Sent::Told(told) => told.await.map_or(0, |()| 0),
        };
        let wait_ms = fetch.timeout_ms.saturating_add(sending_ms);
        monotonic_clock::wait_for(wait_ms.saturating_mul(1_000_000)).await;
    });
    match select(answer, too_long).await {
        Either::Left((Ok(response), _)) => Ok(split(response)),
        Either::Left((Err(error), _)) => Err(failure(&error, url)),
        Either::Right(_) => Err(FetchError::Timeout),
    }
}

/// The document there, if it comes whole, in time, and has no more bytes than this.
pub(crate) async fn document(url: &str, bytes_max: u64, timeout_ms: u64) -> Option<Vec<u8>> {
    let (base, request) = driver::document(url, timeout_ms)?;
    let fetched = pin!(async {
        let (head, body) = fetch(Some(&base), &request, None).await.ok()?;
        match driver::Document::of(&head) {
            Ok(document) => document.whole(body.whole(bytes_max).await?),
            Err(other) => {
                crate::log(&format!("{url}: {other}"));
                None
            }
        }
    });
    let too_long = pin!(monotonic_clock::wait_for(timeout_ms.saturating_mul(1_000_000)));
    match select(fetched, too_long).await {
        Either::Left((document, _)) => document,
        Either::Right(_) => None,
    }
}

fn request(
    url: &str,
    head: RequestHead<'_>,
    contents: Option<StreamReader<u8>>,
    end: End,
) -> Option<Request> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
    let target = match base.trim_end_matches('/') {
        "" => head.target.to_owned(),
        base => format!("/{base}{}", head.target),
    };
    let fields = if contents.is_some() {
        head::fields(head.fields, &["host"])
    } else {
        let fields = head::fields(head.fields, &["host", "content-length"]);
        // Left to itself the host frames nothing as chunks that are not there.
        let _ = fields.append("content-length", b"0");
        fields
    };
    let options = RequestOptions::new();
    // A host that knows no such option has a time of its own.
    let _ = options.set_connect_timeout(Some(CONNECT_NS_MAX));
    let (request, _) = Request::new(fields, contents, end, Some(options));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(&head::method(head.method)).ok()?;
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(&target)).ok()?;
    Some(request)
}

/// What goes with a request of this head.
async fn contents(
    head: &RequestHead<'_>,
    body: Option<Incoming>,
) -> Result<(Option<StreamReader<u8>>, End, Sent), FetchError> {
    let length = head.fields.get("content-length").and_then(|length| length.parse::<u64>().ok());
    let Some(mut body) = body else { return Ok((None, no_trailers(), Sent::After(0))) };
    if length.is_some() || matches!(head.method, "GET" | "HEAD") {
        let (stream, end) = body.into_handles();
        let sending_ms = length.unwrap_or(0).saturating_mul(1000) / SLOWEST_BYTES_S;
        return Ok((Some(stream), end, Sent::After(sending_ms)));
    }
    let first = body.piece().await;
    if first.is_empty() {
        body.end().await.map_err(|Cut| FetchError::RequestBroken)?;
        return Ok((None, no_trailers(), Sent::After(0)));
    }
    Ok(copied(first, body))
}

/// A body that passes through this module, so that its end is seen.
fn copied(first: Vec<u8>, rest: Incoming) -> (Option<StreamReader<u8>>, End, Sent) {
    let (mut writer, stream) = wit_stream::new();
    let (ending, end) = wit_future::new(|| Ok(None));
    let (tell, told) = oneshot::channel();
    spawn(async move {
        let wanted = writer.put(first).await;
        let whole = wanted && Body::Upstream(rest).write(&mut writer).await.is_ok();
        drop(writer);
        // Who has an answer already waits for neither of the two.
        let broken = ErrorCode::HttpRequestBodySize(None);
        let _ = ending.write(if whole { Ok(None) } else { Err(broken) }).await;
        let _ = tell.send(());
    });
    (Some(stream), end, Sent::Told(told))
}

fn no_trailers() -> End {
    wit_future::new(|| Ok(None)).1
}

fn failure(error: &ErrorCode, url: Option<&str>) -> FetchError {
    match error {
        // The client's body was cut, or shorter than it said.
        ErrorCode::HttpRequestBodySize(_) => FetchError::RequestBroken,
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::HttpResponseTimeout => FetchError::Timeout,
        _ => {
            crate::log(&format!("{} can't be reached: {error:?}", url.unwrap_or_default()));
            FetchError::Unreachable
        }
    }
}

fn split(response: Response) -> (UpstreamHead, Incoming) {
    let status = response.get_status_code();
    let mut fields = Vec::with_capacity(512);
    for (name, value) in response.get_headers().copy_all() {
        for part in [name.as_bytes(), b": ", &value, b"\r\n"] {
            fields.extend_from_slice(part);
        }
    }
    (UpstreamHead { status, fields }, Incoming::of_response(response))
}

//! Requests to the origin and to proxied upstreams, by `wasi:http`.
//!
//! Bodies are handed on by their handles, in both directions, and never come into this module's
//! memory. So it can't see when a request's body has been sent; see [`SLOWEST_BYTES_S`]. The field
//! `host` is the upstream's: `wasi:http` lets nobody set another.

use std::pin::pin;

use futures::future::{Either, select};
use outport_edge_core::head::RequestHead;
use outport_edge_core::step::{Fetch, FetchError, UpstreamHead};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, RequestOptions, Response, Scheme};
use spin_sdk::wasip3::wit_future;

use crate::body::{End, Incoming};
use crate::head;

/// How long a connection may take to be made, in nanoseconds.
const CONNECT_NS_MAX: u64 = 5_000_000_000;
/// The time for an answer counts from when the request was sent, which nobody tells where a body
/// goes along. The body is given the time that it needs at this pace; one of unknown length,
/// [`UNKNOWN_MS_MAX`].
const SLOWEST_BYTES_S: u64 = 64 << 10;
/// How long the sending of a body of unknown length may take, in milliseconds.
const UNKNOWN_MS_MAX: u64 = 3_600_000;

/// Sends a request with the client's body, if it goes along, and waits for the head.
pub(crate) async fn fetch(
    url: Option<&str>,
    fetch: &Fetch,
    body: Option<Incoming>,
) -> Result<(UpstreamHead, Incoming), FetchError> {
    let request = url.and_then(|url| request(url, &fetch.head, body));
    let (request, sending_ms) = request.ok_or(FetchError::Unreachable)?;
    let wait_ns = fetch.timeout_ms.saturating_add(sending_ms).saturating_mul(1_000_000);
    let answer = pin!(client::send(request));
    let too_long = pin!(monotonic_clock::wait_for(wait_ns));
    match select(answer, too_long).await {
        Either::Left((Ok(response), _)) => Ok(split(response)),
        Either::Left((Err(error), _)) => Err(failure(&error, url)),
        Either::Right(_) => Err(FetchError::Timeout),
    }
}

/// The request, and how long its body may take to be sent, in milliseconds.
fn request(url: &str, head: &[u8], body: Option<Incoming>) -> Option<(Request, u64)> {
    let head = RequestHead::parse(head)?;
    let (scheme, rest) = url.split_once("://")?;
    let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
    let target = match base.trim_end_matches('/') {
        "" => head.target.to_owned(),
        base => format!("/{base}{}", head.target),
    };
    let left_out: &[&str] = if body.is_some() { &["host"] } else { &["host", "content-length"] };
    let fields = head::fields(head.fields, left_out);
    let length = head.fields.get("content-length").and_then(|length| length.parse::<u64>().ok());
    let sending_ms = match (&body, length) {
        (None, _) => 0,
        (Some(_), Some(length)) => length.saturating_mul(1000) / SLOWEST_BYTES_S,
        (Some(_), None) if matches!(head.method, "GET" | "HEAD") => 0,
        (Some(_), None) => UNKNOWN_MS_MAX,
    };
    let options = RequestOptions::new();
    // A host that knows no such option has a time of its own.
    let _ = options.set_connect_timeout(Some(CONNECT_NS_MAX));
    let (contents, end) = match body {
        Some(body) => {
            let (stream, end) = body.into_handles();
            (Some(stream), end)
        }
        None => (None, no_trailers()),
    };
    let (request, _) = Request::new(fields, contents, end, Some(options));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(&head::method(head.method)).ok()?;
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(&target)).ok()?;
    Some((request, sending_ms))
}

fn no_trailers() -> End {
    wit_future::new(|| Ok(None)).1
}

fn failure(error: &ErrorCode, url: Option<&str>) -> FetchError {
    match error {
        // The client's body was shorter than it said.
        ErrorCode::HttpRequestBodySize(_) => FetchError::RequestBroken,
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::HttpResponseTimeout => FetchError::Timeout,
        _ => {
            eprintln!("outport: {} can't be reached: {error:?}", url.unwrap_or_default());
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

//! Requests to the origin and to proxied upstreams.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use outport_edge_core::driver;
use outport_edge_core::head::RequestHead;
use outport_edge_core::step::{Fetch, FetchError, UpstreamHead};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::web_sys::{
    AbortController, ReadableStream, ReadableStreamDefaultReader, Request, RequestCache,
    RequestInit, RequestRedirect, Response, TransformStream,
};
use worker::{Delay, console_warn};

use crate::{head, js};

/// Sends a request with the client's body, if it goes along, and waits for the head.
pub(crate) async fn fetch(
    fetch: &Fetch,
    base: &str,
    body: Option<ReadableStream>,
) -> Result<(UpstreamHead, Response), FetchError> {
    let unreachable = |error: JsValue| {
        console_warn!("the upstream at {base} can't be reached: {error:?}");
        FetchError::Unreachable
    };
    let abort = AbortController::new().map_err(unreachable)?;
    let head = RequestHead::parse(&fetch.head).ok_or(FetchError::Unreachable)?;
    let sending = match body {
        Some(body) if takes_body(head.method) => Some(Sending::new(body, &head)),
        Some(body) => {
            spawn_local(js::read_on(body));
            None
        }
        None => None,
    };
    let request = request(&head, base, sending.as_ref(), &abort).map_err(unreachable)?;
    let answer = JsFuture::from(js::send(&request));
    let failure = async {
        if let Some(sending) = sending
            && sending.breaks().await
        {
            return FetchError::RequestBroken;
        }
        Delay::from(Duration::from_millis(fetch.timeout_ms)).await;
        FetchError::Timeout
    };
    match select(answer, pin!(failure)).await {
        Either::Left((answer, _)) => Ok(split(answer.map_err(unreachable)?.unchecked_into())),
        Either::Right((failure, _)) => {
            abort.abort();
            Err(failure)
        }
    }
}

/// The document there, if it comes whole, in time, and has no more bytes than this.
pub(crate) async fn document(url: &str, bytes_max: u64, timeout_ms: u64) -> Option<Vec<u8>> {
    let (base, request) = driver::document(url, timeout_ms)?;
    let fetched = pin!(async {
        let (head, answer) = fetch(&request, &base, None).await.ok()?;
        let document = js::logged(url, driver::Document::of(&head));
        // What is no document is read, too, and given up at its bound.
        let read = js::read_whole(answer.body(), bytes_max).await?.to_vec();
        document?.whole(read)
    });
    match select(fetched, Delay::from(Duration::from_millis(timeout_ms))).await {
        Either::Left((document, _)) => document,
        Either::Right(_) => None,
    }
}

fn request(
    head: &RequestHead<'_>,
    base: &str,
    sending: Option<&Sending>,
    abort: &AbortController,
) -> Result<Request, JsValue> {
    let fields = head::fields_from_core(head.fields)?;
    // Framing is the platform's.
    fields.delete("content-length")?;
    let init = RequestInit::new();
    init.set_method(head.method);
    init.set_headers(&fields);
    init.set_redirect(RequestRedirect::Manual);
    init.set_cache(RequestCache::NoStore);
    init.set_signal(Some(&abort.signal()));
    init.set_body_opt_readable_stream(sending.map(|sending| sending.passing.readable()).as_ref());
    let url = format!("{}{}", base.trim_end_matches('/'), head.target);
    Request::new_with_str_and_init(&url, &init)
}

/// The platform refuses to send a body with these (Fetch, section 5.4).
fn takes_body(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD")
}

/// The client's request body, on its way. The platform pipes it, so that it is known when all of
/// it was sent.
struct Sending {
    body: ReadableStream,
    passing: TransformStream,
    sent: JsFuture,
}

impl Sending {
    fn new(body: ReadableStream, head: &RequestHead<'_>) -> Self {
        let length = head.fields.get("content-length").and_then(|length| length.parse().ok());
        let passing = js::passing(length);
        let sent = JsFuture::from(body.pipe_to(&passing.writable()));
        Self { body, passing, sent }
    }

    /// Waits until it was sent, or is known not to be: whether it was the client's end that broke.
    async fn breaks(self) -> bool {
        if self.sent.await.is_ok() {
            return false;
        }
        // A stream that was let go of is closed; one that broke stays in error.
        let reader = ReadableStreamDefaultReader::new(&self.body);
        let Ok(reader) = reader else { return false };
        JsFuture::from(reader.closed()).await.is_err()
    }
}

fn split(answer: Response) -> (UpstreamHead, Response) {
    let fields = head::fields_to_core(&answer.headers());
    (UpstreamHead { status: answer.status(), fields }, answer)
}

//! Requests to the origin and to proxied upstreams, over pooled connections.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use outport_edge_core::head::FieldLines;
use outport_edge_core::interim::Interims;
use outport_edge_core::step::{Fetch, FetchError, Upstream, UpstreamHead};
use outport_interim::Interim;
use outport_tls::{ClientTls, Connector};
use tokio::sync::Notify;

use crate::body::RequestBody;
use crate::head;
use crate::pace::BodyError;
use crate::tls::Tls;

/// How long a connection may take to be made, its handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept without use; shorter than servers commonly do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle connections kept for each upstream.
const IDLE_MAX: usize = 256;

/// The most that is read of an answer ahead of its client. A client that reads slowly holds so much
/// and as much again twice; hyper's own bound is twelve times this.
const READ_BYTES_MAX: usize = 32 << 10;

/// The upstreams of a node.
pub(crate) struct Upstreams {
    origin: String,
    /// Apart from the others: its connections may have shown a certificate of ours.
    to_origin: Client<Connector, Watched>,
    to_others: Client<Connector, Watched>,
    routes: Vec<Option<String>>,
    interims: Arc<Interims>,
}

impl Upstreams {
    /// `origin` and `routes` are base URLs; a route that is not proxied has none.
    pub(crate) fn new(
        origin: String,
        routes: Vec<Option<String>>,
        interims: Interims,
        tls: &Tls,
    ) -> Self {
        let client = |tls: &ClientTls| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_MAX)
                .http1_max_buf_size(READ_BYTES_MAX)
                .build(Connector::new(tls.clone(), CONNECT_TIMEOUT))
        };
        let (to_origin, to_others) = (client(&tls.origin), client(&tls.others));
        Self { origin, to_origin, to_others, routes, interims: Arc::new(interims) }
    }

    /// Sends a request with the client's body, if it goes along, and waits for the head. What the
    /// origin says before that is passed on by `interim`, as far as the core has it.
    pub(crate) async fn fetch(
        &self,
        fetch: &Fetch,
        body: Option<RequestBody>,
        interim: &Interim,
    ) -> Result<(UpstreamHead, Incoming), FetchError> {
        let (base, client) = match fetch.upstream {
            Upstream::Origin => (Some(&self.origin), &self.to_origin),
            Upstream::Route(place) => {
                let route = self.routes.get(usize::from(place));
                (route.and_then(Option::as_ref), &self.to_others)
            }
        };
        let mut parts = base
            .and_then(|base| head::request_from_core(&fetch.head, base))
            .ok_or(FetchError::Unreachable)?;
        let body = body.filter(|_| fetch.with_body);
        if body.is_none() {
            parts.headers.remove(http::header::CONTENT_LENGTH);
        } else if parts.headers.contains_key(http::header::TRAILER) {
            // HTTP/1.1 has a place behind a body that comes in chunks alone (RFC 9112, section 7.1).
            parts.headers.remove(http::header::CONTENT_LENGTH);
            let chunked = http::HeaderValue::from_static("chunked");
            parts.headers.insert(http::header::TRANSFER_ENCODING, chunked);
        }
        let is_head = parts.method == http::Method::HEAD;
        let progress = Arc::new(Progress::default());
        let body = Watched::new(body, progress.clone());
        let mut request = Request::from_parts(parts, body);
        if fetch.upstream == Upstream::Origin {
            self.pass_on(&mut request, interim);
        }
        let too_long = async {
            progress.sent.notified().await;
            tokio::time::sleep(Duration::from_millis(fetch.timeout_ms)).await;
        };
        tokio::select! {
            answer = client.request(request) => match answer {
                Ok(answer) => Ok(split(answer, is_head)),
                Err(_) if progress.broken.load(Ordering::Acquire) => Err(FetchError::RequestBroken),
                Err(error) => {
                    tracing::warn!(upstream = base, "an upstream can't be reached: {error:?}");
                    Err(FetchError::Unreachable)
                }
            },
            () = too_long => Err(FetchError::Timeout),
        }
    }

    /// hyper lets go of this with the final head, and the client's handle is over with the final
    /// answer, whichever comes first.
    fn pass_on(&self, request: &mut Request<Watched>, interim: &Interim) {
        let (interims, interim) = (self.interims.clone(), interim.clone());
        hyper::ext::on_informational(request, move |answer| {
            let mut lines = Vec::with_capacity(256);
            head::fields_to_core(answer.headers(), &mut lines);
            let passed = interims.passed_on(answer.status().as_u16(), FieldLines::new(&lines));
            if let Some(passed) = passed {
                let mut fields = HeaderMap::new();
                head::fields_from_core(&passed, &mut fields);
                // It is news: where it can't be told, the final answer says all the same.
                let _ = interim.send(answer.status(), &fields);
            }
        });
    }
}

/// A body that can't be there tells nothing of a length (RFC 9110, section 8.6).
fn split(answer: Response<Incoming>, is_head: bool) -> (UpstreamHead, Incoming) {
    let (parts, body) = answer.into_parts();
    let mut fields = Vec::with_capacity(512);
    head::fields_to_core(&parts.headers, &mut fields);
    let has_body = !is_head && !matches!(parts.status.as_u16(), 204 | 304);
    if has_body
        && !parts.headers.contains_key(http::header::CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        fields.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    (UpstreamHead { status: parts.status.as_u16(), fields }, body)
}

/// How far a request has gone.
#[derive(Default)]
struct Progress {
    /// All of it was handed to the connection.
    sent: Notify,
    /// The client's body failed.
    broken: AtomicBool,
}

/// A request's body, watched.
struct Watched {
    body: Option<RequestBody>,
    progress: Arc<Progress>,
}

impl Watched {
    fn new(body: Option<RequestBody>, progress: Arc<Progress>) -> Self {
        let body = body.filter(|body| !body.is_end_stream());
        if body.is_none() {
            progress.sent.notify_one();
        }
        Self { body, progress }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.progress.broken.store(true, Ordering::Release),
            None => self.progress.sent.notify_one(),
        }
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.progress.sent.notify_one();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

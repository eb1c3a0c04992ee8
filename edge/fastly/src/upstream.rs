//! Requests to the origin and to proxied upstreams, through the backends named for them.

use fastly::Body;
use fastly::handle::{BodyHandle, CacheOverride, PendingRequestHandle};
use fastly::http::request::SendErrorCause;
use fastly_shared::FastlyStatus;
use outport_edge_core::deployment::{Deployment, backend};
use outport_edge_core::head::FieldLines;
use outport_edge_core::step::{Fetch, FetchError, Upstream, UpstreamHead};

use crate::head;

/// How fast a client's body is sent at least, in bytes per millisecond. The platform takes the
/// body over and does not tell when all of it was sent; so this is how long that is waited for.
const SENT_BYTES_PER_MS: u64 = 16;
/// How long a body of unknown length may take to be sent, in milliseconds.
const SENT_WITHIN_MS: u64 = 3_600_000;

/// The base URLs of the upstreams.
pub(crate) struct Upstreams {
    origin: String,
    routes: Vec<Option<String>>,
}

impl Upstreams {
    pub(crate) fn new(deployment: &Deployment) -> Self {
        let routes = deployment.core.routes.iter().map(|route| route.proxy.clone()).collect();
        Self { origin: deployment.origin.clone(), routes }
    }

    /// The upstreams that there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = Upstream> {
        let routes = self.routes.iter().zip(0_u16..).filter(|(proxy, _)| proxy.is_some());
        std::iter::once(Upstream::Origin).chain(routes.map(|(_, place)| Upstream::Route(place)))
    }

    /// Sends a request with the client's body, if it goes along, and waits for the head.
    pub(crate) fn fetch(
        &self,
        fetch: &Fetch,
        body: Option<Body>,
    ) -> Result<(UpstreamHead, Body), FetchError> {
        let base = match fetch.upstream {
            Upstream::Origin => Some(&self.origin),
            Upstream::Route(place) => self.routes.get(usize::from(place)).and_then(Option::as_ref),
        };
        let mut body = body.filter(|_| fetch.with_body);
        let body_bytes = body.as_mut().map_or(Some(0), Body::known_length);
        let body = body.filter(|_| body_bytes != Some(0));
        let mut request = base
            .and_then(|base| head::request_from_core(&fetch.head, base, body.is_some()))
            .ok_or(FetchError::Unreachable)?;
        request.set_cache_override(&CacheOverride::pass());
        let sent_ms = body_bytes.map_or(SENT_WITHIN_MS, |bytes| bytes / SENT_BYTES_PER_MS);
        let body = body.map_or_else(BodyHandle::new, Body::into_handle);
        let pending = request.send_async(body, &backend(fetch.upstream)).map_err(failure)?;
        answer(pending, fetch.timeout_ms.saturating_add(sent_ms))
    }
}

fn answer(pending: PendingRequestHandle, wait_ms: u64) -> Result<(UpstreamHead, Body), FetchError> {
    if !crate::host::is_ready_within(&pending, wait_ms) {
        return Err(FetchError::Timeout);
    }
    let (response, body) = pending.wait().map_err(failure)?;
    let mut body = Body::from(body);
    let mut fields = head::fields_to_core(&response).ok_or(FetchError::Unreachable)?;
    if FieldLines::new(&fields).get("content-length").is_none()
        && let Some(length) = body.known_length()
    {
        head::push(&mut fields, "content-length", length.to_string().as_bytes());
    }
    Ok((UpstreamHead { status: response.get_status().as_u16(), fields }, body))
}

fn failure(cause: SendErrorCause) -> FetchError {
    match cause {
        SendErrorCause::HttpResponseTimeout => FetchError::Timeout,
        SendErrorCause::InternalError(Some(FastlyStatus::HTTPUSER)) => FetchError::RequestBroken,
        cause => {
            eprintln!("outport: an upstream can't be reached: {cause}");
            FetchError::Unreachable
        }
    }
}

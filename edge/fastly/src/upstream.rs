//! Requests to the origin and to proxied upstreams, through the backends named for them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use fastly::Body;
use fastly::backend::{Backend, BackendCreationError};
use fastly::handle::{BodyHandle, CacheOverride};
use fastly::http::request::SendErrorCause;
use outport_edge_core::deployment::{Deployment, backend};
use outport_edge_core::driver;
use outport_edge_core::step::{Fetch, FetchError, Upstream, UpstreamHead};

use crate::{head, host};

/// How long a client's body may take to be sent: as long as the platform lets a request run. It
/// takes the body over and does not tell when all of it was sent.
const BODY_SENT_WITHIN_MS: u64 = 120_000;
/// The platform's status where the request was at fault, and not the upstream.
const HTTP_USER_ERROR: i32 = 8;

/// The base URLs of the upstreams, by the names of their backends.
pub(crate) type Upstreams = BTreeMap<String, String>;

/// The upstreams that there are.
pub(crate) fn upstreams(deployment: &Deployment) -> Upstreams {
    let routes =
        (0..u16::MAX).zip(&deployment.core.routes).map(|(place, _)| Upstream::Route(place));
    let all = std::iter::once(Upstream::Origin).chain(routes);
    all.filter_map(|it| Some((backend(it), deployment.url(it)?.to_owned()))).collect()
}

/// Sends a request with the client's body, if it goes along, and waits for the head.
pub(crate) fn fetch(
    upstreams: &Upstreams,
    fetch: &Fetch,
    body: Option<Body>,
) -> Result<(UpstreamHead, Body), FetchError> {
    let name = backend(fetch.upstream);
    let base = upstreams.get(&name).ok_or(FetchError::Unreachable)?;
    send(&name, base, fetch, body)
}

/// The document there, if it comes whole, in time, and has no more bytes than this. Its server is a
/// backend that is made up as it is asked for.
pub(crate) fn document(url: &str, bytes_max: u64, timeout_ms: u64) -> Option<Vec<u8>> {
    let (base, fetch) = driver::document(url, timeout_ms)?;
    let name = dynamic_backend(&base, Duration::from_millis(timeout_ms))?;
    let (head, body) = send(&name, &base, &fetch, None).ok()?;
    let document = crate::logged(url, driver::Document::of(&head))?;
    let mut read = Vec::new();
    body.take(bytes_max.saturating_add(1)).read_to_end(&mut read).ok()?;
    document.whole(read).filter(|read| read.len() as u64 <= bytes_max)
}

/// The name of a backend for the server at this base URL.
fn dynamic_backend(base: &str, patience: Duration) -> Option<String> {
    let (scheme, authority) = base.split_once("://")?;
    let is_secure = scheme == "https";
    let (host, has_port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, true),
        _ => (authority, false),
    };
    let port = if is_secure { 443 } else { 80 };
    let target = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let made = Backend::builder(base, target)
        .override_host(authority)
        .connect_timeout(patience)
        .first_byte_timeout(patience)
        .between_bytes_timeout(patience);
    let made = if is_secure {
        made.enable_ssl().sni_hostname(host).check_certificate(host)
    } else {
        made.disable_ssl()
    };
    match made.finish() {
        // It was made for a need before.
        Ok(_) | Err(BackendCreationError::NameInUse) => Some(base.to_owned()),
        Err(error) => {
            eprintln!("outport: {base} can't be asked: {error}; dynamic backends may be off");
            None
        }
    }
}

/// The same, through the backend of this name.
fn send(
    name: &str,
    base: &str,
    fetch: &Fetch,
    mut body: Option<Body>,
) -> Result<(UpstreamHead, Body), FetchError> {
    let has_body = body.as_mut().is_some_and(|body| body.known_length() != Some(0));
    let sent_ms = if has_body { BODY_SENT_WITHIN_MS } else { 0 };
    let request = head::request_from_core(&fetch.head, base, has_body);
    let mut request = request.ok_or(FetchError::Unreachable)?;
    request.set_cache_override(&CacheOverride::pass());
    let body = body.filter(|_| has_body).map_or_else(BodyHandle::new, Body::into_handle);
    let pending = request.send_async(body, name).map_err(failure)?;
    if !host::is_ready_within(&pending, fetch.timeout_ms.saturating_add(sent_ms)) {
        return Err(FetchError::Timeout);
    }
    let (response, body) = pending.wait().map_err(failure)?;
    let mut body = Body::from(body);
    let status = response.get_status().as_u16();
    let mut fields = head::fields_to_core(&response).ok_or(FetchError::Unreachable)?;
    let said = head::says_length(&response);
    let to_head = fetch.head.starts_with(b"HEAD ");
    let unsaid = body.known_length().filter(|_| !said && !to_head && head::has_content(status));
    if let Some(length) = unsaid {
        fields.push_number("content-length", length);
    }
    Ok((UpstreamHead { status, fields: fields.into_bytes() }, body))
}

fn failure(cause: SendErrorCause) -> FetchError {
    match cause {
        SendErrorCause::HttpResponseTimeout => FetchError::Timeout,
        SendErrorCause::InternalError(Some(status)) if status.code == HTTP_USER_ERROR => {
            FetchError::RequestBroken
        }
        cause => {
            eprintln!("outport: an upstream can't be reached: {cause}");
            FetchError::Unreachable
        }
    }
}

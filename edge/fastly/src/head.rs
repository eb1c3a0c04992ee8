//! Between the platform's heads and the core's, which are bytes.

use fastly::handle::{RequestHandle, ResponseHandle};
use fastly::http::header::HOST;
use fastly::http::{FramingHeadersMode, HeaderName, HeaderValue, Method};
use outport_edge_core::head::{FieldLines, RequestHead};

use crate::host;

/// Room for a method, or for the names or values of fields, in bytes: more than the platform takes
/// of a whole head, so that nothing is cut.
const BYTES_MAX: usize = 1 << 20;

/// A request's head as the core wants it. `None` where the platform has no such head.
pub(crate) fn to_core(request: &RequestHandle) -> Option<Vec<u8>> {
    let url = host::url(request)?;
    let (authority, target) = split_url(&url)?;
    let method = request.get_method(BYTES_MAX).ok()?;
    let mut head = Vec::with_capacity(1024);
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    let names: Vec<HeaderName> =
        request.get_header_names(BYTES_MAX).collect::<Result<_, _>>().ok()?;
    if !names.contains(&HOST) {
        push(&mut head, "host", authority.as_bytes());
    }
    for name in &names {
        for value in request.get_header_values(name, BYTES_MAX) {
            push(&mut head, name.as_str(), value.ok()?.as_bytes());
        }
    }
    Some(head)
}

/// Authority and target of a URL: `http://a/b?c` is `a` and `/b?c`.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '*']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    Some((authority, if target.is_empty() { "/" } else { target }))
}

/// The field lines of a response. `None` where one is longer than can be.
pub(crate) fn fields_to_core(response: &ResponseHandle) -> Option<Vec<u8>> {
    let mut fields = Vec::with_capacity(512);
    for name in response.get_header_names(BYTES_MAX) {
        let name = name.ok()?;
        for value in response.get_header_values(&name, BYTES_MAX) {
            push(&mut fields, name.as_str(), value.ok()?.as_bytes());
        }
    }
    Some(fields)
}

pub(crate) fn push(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// The core's request to an upstream, whose address is put before its target. `None` where it is
/// no request.
pub(crate) fn request_from_core(head: &[u8], base: &str, has_body: bool) -> Option<RequestHandle> {
    let head = RequestHead::parse(head)?;
    let mut request = RequestHandle::new();
    request.set_method(&Method::from_bytes(head.method.as_bytes()).ok()?);
    if !host::set_url(&request, &format!("{}{}", base.trim_end_matches('/'), head.target)) {
        return None;
    }
    for (name, value) in fields(head.fields) {
        if has_body || name != "content-length" {
            request.append_header(&name, &value);
        }
    }
    if has_body && head.fields.get("content-length").is_some() {
        request.set_framing_headers_mode(FramingHeadersMode::ManuallyFromHeaders);
    }
    Some(request)
}

/// The core's response. A length that the fields don't say is added, if it is known.
pub(crate) fn response_from_core(status: u16, lines: &[u8], length: Option<u64>) -> ResponseHandle {
    let mut response = ResponseHandle::new();
    response
        .set_status(status.try_into().unwrap_or(fastly::http::StatusCode::INTERNAL_SERVER_ERROR));
    let lines = FieldLines::new(lines);
    for (name, value) in fields(lines) {
        response.append_header(&name, &value);
    }
    let said = lines.get("content-length").is_some();
    let may_be_said = status >= 200 && status != 204 && status != 304;
    if let Some(length) = length.filter(|_| !said && may_be_said) {
        response.append_header(&fastly::http::header::CONTENT_LENGTH, &length.into());
    }
    if said || may_be_said && length.is_some() {
        // Else the platform would make a length of its own, or chunks.
        response.set_framing_headers_mode(FramingHeadersMode::ManuallyFromHeaders);
    }
    response
}

/// The field lines that are such.
fn fields(lines: FieldLines<'_>) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    lines.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    })
}

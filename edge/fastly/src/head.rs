//! Between the platform's heads and the core's, which are bytes.

use fastly::handle::{RequestHandle, ResponseHandle};
use fastly::http::header::{CONTENT_LENGTH, HOST};
use fastly::http::{FramingHeadersMode, HeaderName, HeaderValue, Method, StatusCode};
use outport_edge_core::head::{FieldLines, Fields, RequestHead};

use crate::host;

/// Room for a method, or for the names or values of fields, in bytes: more than the platform takes
/// of a whole head, so that nothing is cut.
const BYTES_MAX: usize = 1 << 20;

/// Adds the field lines of a request or response. Two types of the platform, with the same methods
/// and no trait.
macro_rules! push_fields {
    ($head:expr, $message:expr) => {
        for name in $message.get_header_names(BYTES_MAX) {
            let name = name.ok()?;
            for value in $message.get_header_values(&name, BYTES_MAX) {
                $head.push(name.as_str(), value.ok()?);
            }
        }
    };
}

/// A request's head as the core wants it. `None` where the platform can't give it.
pub(crate) fn to_core(request: &RequestHandle) -> Option<Vec<u8>> {
    let url = host::url(request)?;
    let (_, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at_checked(rest.find('/')?)?;
    let method = request.get_method(BYTES_MAX).ok()?;
    let mut head = Fields::for_request(method.as_str(), target);
    push_fields!(head, request);
    // HTTP/2 has the authority in the target (RFC 9113, section 8.3.1).
    if request.get_header_values(&HOST, BYTES_MAX).next().is_none() {
        head.push("host", authority);
    }
    Some(head.into_bytes())
}

/// The field lines of a response. `None` where the platform can't give them.
pub(crate) fn fields_to_core(response: &ResponseHandle) -> Option<Fields> {
    let mut fields = Fields::new();
    push_fields!(fields, response);
    Some(fields)
}

/// Whether a response says how long it is.
pub(crate) fn says_length(response: &ResponseHandle) -> bool {
    response.get_header_values(&CONTENT_LENGTH, BYTES_MAX).next().is_some()
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
    for (name, value) in fields(head.fields).filter(|(name, _)| has_body || name != CONTENT_LENGTH)
    {
        request.append_header(&name, &value);
    }
    if has_body && head.fields.get("content-length").is_some() {
        request.set_framing_headers_mode(FramingHeadersMode::ManuallyFromHeaders);
    }
    Some(request)
}

/// The core's response. A length that the fields don't say is added, if it is known.
pub(crate) fn response_from_core(status: u16, lines: &[u8], length: Option<u64>) -> ResponseHandle {
    let mut response = ResponseHandle::new();
    response.set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    let lines = FieldLines::new(lines);
    for (name, value) in fields(lines) {
        response.append_header(&name, &value);
    }
    let said = lines.get("content-length").is_some();
    let unsaid = length.filter(|_| !said && has_content(status));
    if let Some(length) = unsaid {
        response.append_header(&CONTENT_LENGTH, &length.into());
    }
    if said || unsaid.is_some() {
        // Else the platform would make a length of its own, or chunks.
        response.set_framing_headers_mode(FramingHeadersMode::ManuallyFromHeaders);
    }
    response
}

/// Whether a response of this status has content, be it empty (RFC 9110, section 6.4.1).
pub(crate) const fn has_content(status: u16) -> bool {
    !matches!(status, 100..200 | 204 | 304)
}

/// The field lines that are such.
fn fields(lines: FieldLines<'_>) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    lines.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    })
}

//! Between hyper's heads and the core's, which are bytes.

use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use outport_edge_core::head::{FieldLines, RequestHead};

/// A request's head as the core wants it.
pub(crate) fn to_core<B>(request: &Request<B>) -> Vec<u8> {
    // A target in authority form (RFC 9112, section 3.2.3) goes in as it is: it is the core's to
    // refuse.
    let target = match request.uri().path_and_query() {
        Some(target) => Cow::Borrowed(target.as_str()),
        None => Cow::Owned(request.uri().to_string()),
    };
    let mut head = Vec::with_capacity(1024);
    for part in [request.method().as_str(), " ", target.as_ref(), " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    // HTTP/2 has the authority in the target (RFC 9113, section 8.3.1).
    if request.version() == http::Version::HTTP_2
        && let Some(authority) = request.uri().authority()
        && !request.headers().contains_key(http::header::HOST)
    {
        push(&mut head, "host", authority.as_str().as_bytes());
    }
    fields_to_core(request.headers(), &mut head);
    head
}

/// Adds field lines.
pub(crate) fn fields_to_core(fields: &HeaderMap, head: &mut Vec<u8>) {
    for (name, value) in fields {
        push(head, name.as_str(), value.as_bytes());
    }
}

fn push(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Adds the core's field lines to hyper's. What is no field is left out.
pub(crate) fn fields_from_core(lines: &[u8], fields: &mut HeaderMap) {
    for (name, value) in FieldLines::new(lines).iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
}

/// The core's request to an upstream, whose address is put before its target.
pub(crate) fn request_from_core(head: &[u8], base: &str) -> Option<http::request::Parts> {
    let head = RequestHead::parse(head)?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(head.method.as_bytes()).ok()?;
    parts.uri = Uri::try_from(format!("{}{}", base.trim_end_matches('/'), head.target)).ok()?;
    for (name, value) in head.fields.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_no_path_stays_none() {
        let request = Request::builder().uri("files").header("host", "x").body(()).unwrap();
        assert_eq!(to_core(&request), b"GET files HTTP/1.1\r\nhost: x\r\n");
    }

    #[test]
    fn a_head_comes_back() {
        let request = Request::builder()
            .method("POST")
            .uri("http://example:1/a?b=c")
            .version(http::Version::HTTP_2)
            .header("x-a", "1")
            .header("x-a", "2")
            .body(())
            .unwrap();
        let head = to_core(&request);
        assert_eq!(head, b"POST /a?b=c HTTP/1.1\r\nhost: example:1\r\nx-a: 1\r\nx-a: 2\r\n");
        let parts = request_from_core(&head, "http://127.0.0.1:9/base/").unwrap();
        assert_eq!(parts.method, "POST");
        assert_eq!(parts.uri, "http://127.0.0.1:9/base/a?b=c");
        assert_eq!(parts.headers.get_all("x-a").iter().count(), 2);
    }
}

//! Between the heads of `wasi:http` and the core's, which are bytes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use outport_edge_core::head::{FieldLines, Fields as Lines};
use outport_edge_core::step::{Connection, Request as CoreRequest};
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};

use crate::body::Body;

/// The field by which Spin says who is at the other end of the connection.
const CLIENT: &str = "spin-client-addr";
/// The other fields that Spin adds to a request. They are Spin's word to this component, and no
/// part of what the client sent.
const ADDED: [&str; 6] = [
    "spin-base-path",
    "spin-component-route",
    "spin-full-url",
    "spin-matched-route",
    "spin-path-info",
    "spin-raw-component-route",
];

/// A request's head, as the core wants it.
pub(crate) struct Received {
    head: Vec<u8>,
    connection: Connection,
    pub(crate) is_head: bool,
}

impl Received {
    pub(crate) fn read(request: &Request) -> Self {
        let method = request.get_method();
        let target = request.get_path_with_query();
        let mut lines = Lines::for_request(name_of(&method), target.as_deref().unwrap_or("/"));
        // `wasi:http` has the authority in place of the field.
        if let Some(authority) = request.get_authority() {
            lines.push("host", authority);
        }
        let mut peer = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        for (name, value) in request.get_headers().copy_all() {
            match name.as_str() {
                // Spin adds its own after whatever the client has sent under that name.
                CLIENT => peer = address(&value).unwrap_or(peer),
                name if ADDED.contains(&name) => {}
                name => lines.push(name, value),
            }
        }
        let secure = matches!(request.get_scheme(), Some(Scheme::Https));
        let is_head = matches!(method, Method::Head);
        let connection = Connection::new(peer, secure);
        Self { head: lines.into_bytes(), connection, is_head }
    }

    pub(crate) fn request(&self) -> CoreRequest<'_> {
        CoreRequest { head: &self.head, connection: self.connection }
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let address: SocketAddr = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(address.ip().to_canonical())
}

fn name_of(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}

/// The method of this name.
pub(crate) fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        name => Method::Other(name.to_owned()),
    }
}

/// The core's field lines as `wasi:http` has them. What it takes for no field, or for one of the
/// connection's, is left out.
pub(crate) fn fields(lines: FieldLines<'_>, leave_out: &[&str]) -> Fields {
    let kept = lines.iter().filter(|(name, _)| !leave_out.contains(name));
    let pairs: Vec<_> = kept.map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    Fields::from_list(&pairs).unwrap_or_else(|_| {
        let fields = Fields::new();
        for (name, value) in &pairs {
            let _ = fields.append(name, value);
        }
        fields
    })
}

/// A response with the core's status and field lines.
pub(crate) fn response(
    status: u16,
    lines: &[u8],
    body: Body,
    is_head: bool,
) -> Result<Response, ErrorCode> {
    let lines = FieldLines::new(lines);
    let fields = fields(lines, &[]);
    // What is of known length is framed by it (RFC 9112, section 6.3); left to itself the host
    // sends it in chunks.
    if let Some(length) = body.length(is_head)
        && !matches!(status, 204 | 304)
        && lines.get("content-length").is_none()
    {
        let _ = fields.append("content-length", length.to_string().as_bytes());
    }
    let (contents, trailers) = if is_head { body.left_out() } else { body }.into_contents();
    let (response, _) = Response::new(fields, contents, trailers);
    match response.set_status_code(status) {
        Ok(()) => Ok(response),
        Err(()) => Err(ErrorCode::InternalError(Some(format!("no status: {status}")))),
    }
}

//! Interim responses (1xx, RFC 9110, section 15.2) on connections that hyper serves.
//!
//! hyper's server has no way to send them, `100 Continue` aside. On HTTP/1.1 they are messages of
//! their own before the final response, so that a layer below hyper can put them on the wire. This
//! is that layer: [`over`] wraps a connection and the service that answers on it, and each request
//! then carries an [`Interim`] among its extensions.
//!
//! # Why nothing is ever put into the middle of something else
//!
//! A message may go out while a request's handler runs, if hyper has nothing of its own half
//! written. Both are known here, as hyper 1.12 works (`proto/h1`):
//!
//! - hyper polls the flush of its connection only once its own buffer is empty (`io.rs`,
//!   `Buffered::poll_flush`), and it tries to write and flush after each turn in which it may have
//!   buffered something (`dispatch.rs`, `Dispatcher::poll_loop`). So from a flush on until the next
//!   attempt to write, whether or not a byte of it was accepted, the wire stands between two
//!   messages or within a response's body.
//! - A request's handler starts only after the response before it was buffered whole, and an
//!   attempt was made to write it: reading begins again in `Conn::try_keep_alive`. Hence what may
//!   be left of an earlier response has been seen as unflushed by then. (Not so with hyper's
//!   `pipeline_flush`, which puts the attempt off. Don't set it.)
//! - hyper can't begin the response before the service's future is over, and that future is
//!   wrapped here: it ends the handle first. So a body that is being sent is never met.
//! - `100 Continue` is put into hyper's buffer when the request's body is first read. If a message
//!   passes it there, the client gets two whole interim responses in the other order, which means
//!   the same.
//!
//! What was accepted is written before anything that hyper writes afterwards, to its last byte: a
//! client that doesn't read delays the final response, as it does anyway. What can't be accepted is
//! not kept for later: an interim response is news, and the caller is told ([`Sent`]).
//!
//! HTTP/1.0 knows no interim responses (RFC 9110, section 15.2), and hyper gives no access to those
//! of HTTP/2, so on both none is sent.

mod line;

use std::error::Error;
use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::body::Body;
use hyper::service::{Service, service_fn};

pub use crate::line::Line;
use crate::line::Turns;

/// What became of an interim response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes out before the final response, unless the connection breaks.
    Sent,
    /// The wire is taken: by what is left of the response before, or by interim responses that the
    /// client has not read. A later one may go out.
    Busy,
    /// The final response has begun, or the connection is gone. None will go out any more.
    Late,
    /// None can be sent: not on HTTP/1.0 or HTTP/2, and only 1xx other than 101, which ends HTTP.
    Impossible,
}

/// Sends interim responses to one request. Its clones are for the same request.
#[derive(Clone, Debug)]
pub struct Interim {
    /// The request's turn on its connection, if the protocol has interim responses.
    turn: Option<(Arc<Turns>, u64)>,
}

impl Interim {
    /// A handle where there are no interim responses: everything is [`Sent::Impossible`].
    pub fn none() -> Self {
        Self { turn: None }
    }

    /// Sends an interim response, without waiting for anything. `Content-Length` and
    /// `Transfer-Encoding` are left out: it has no body (RFC 9110, section 8.6; RFC 9112,
    /// section 6.1).
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) -> Sent {
        let Some((turns, turn)) = &self.turn else { return Sent::Impossible };
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Sent::Impossible;
        }
        turns.send(*turn, &message(status, fields))
    }
}

/// Wraps a connection and the service that answers on it. Serve the one with the other: each
/// request has an [`Interim`] among its extensions.
pub fn over<I, S, B, R>(
    io: I,
    service: S,
) -> (
    Line<I>,
    impl Service<Request<B>, Response = Response<R>, Error = S::Error, Future: Send> + use<I, S, B, R>,
)
where
    S: Service<Request<B>, Response = Response<R>, Future: Send>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body,
    R: Body,
{
    let line = Line::new(io);
    let turns = line.turns();
    let service = service_fn(move |mut request: Request<B>| {
        let turn = (request.version() == Version::HTTP_11).then(|| Turn::begin(&turns));
        let handle = turn.as_ref().map(|turn| (turn.turns.clone(), turn.turn));
        request.extensions_mut().insert(Interim { turn: handle });
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            drop(turn);
            answer
        }
    });
    (line, service)
}

/// While it lives, its request may be sent interim responses.
struct Turn {
    turns: Arc<Turns>,
    turn: u64,
}

impl Turn {
    fn begin(turns: &Arc<Turns>) -> Self {
        Self { turns: turns.clone(), turn: turns.begin() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.end(self.turn);
    }
}

/// A message without a body (RFC 9112, section 2.1).
fn message(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let reason = match status.as_u16() {
        // draft-ietf-httpbis-resumable-upload, section 5.
        104 => "Upload Resumption Supported",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    let mut message = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in fields {
        if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING {
            continue;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            message.extend_from_slice(part);
        }
    }
    message.extend_from_slice(b"\r\n");
    message
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_message_has_no_body_and_says_so_by_nothing() {
        let mut fields = HeaderMap::new();
        fields.insert("location", HeaderValue::from_static("/uploads/x"));
        fields.insert("content-length", HeaderValue::from_static("5"));
        fields.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        let message = message(StatusCode::from_u16(104).unwrap(), &fields);
        let expected = "HTTP/1.1 104 Upload Resumption Supported\r\nlocation: /uploads/x\r\n\r\n";
        assert_eq!(String::from_utf8(message).unwrap(), expected);
    }
}

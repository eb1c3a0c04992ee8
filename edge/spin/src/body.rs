//! Bodies: handed on as they are, or written from here, in bounded pieces.

use futures::future::LocalBoxFuture;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response, Trailers};
use spin_sdk::wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};

use crate::stored::{Arriving, Reader};

/// How much is read from a stream at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A body's end.
pub(crate) type End = FutureReader<Result<Option<Trailers>, ErrorCode>>;

/// A body that the host has. Nothing of it is in this module's memory until it is read.
pub(crate) struct Incoming {
    stream: StreamReader<u8>,
    end: End,
}

/// A body ended before it was whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

impl Incoming {
    pub(crate) fn of_request(request: Request) -> Self {
        let (_, done) = wit_future::new(|| Ok(()));
        let (stream, end) = Request::consume_body(request, done);
        Self { stream, end }
    }

    pub(crate) fn of_response(response: Response) -> Self {
        let (_, done) = wit_future::new(|| Ok(()));
        let (stream, end) = Response::consume_body(response, done);
        Self { stream, end }
    }

    /// The handles, to be handed on.
    pub(crate) fn into_handles(self) -> (StreamReader<u8>, End) {
        (self.stream, self.end)
    }

    /// The next piece; an empty one at the end.
    pub(crate) async fn piece(&mut self) -> Vec<u8> {
        loop {
            let (result, piece) = self.stream.read(Vec::with_capacity(PIECE_BYTES)).await;
            if !piece.is_empty() || matches!(result, StreamResult::Dropped) {
                return piece;
            }
        }
    }

    /// All of it. `None` where it has more bytes, or breaks off.
    pub(crate) async fn whole(mut self, bytes_max: u64) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let piece = self.piece().await;
            if piece.is_empty() {
                break;
            }
            whole.extend(piece);
            if whole.len() as u64 > bytes_max {
                return None;
            }
        }
        self.end().await.ok().map(|()| whole)
    }

    /// Whether what was read to its end was all of it.
    pub(crate) async fn end(self) -> Result<(), Cut> {
        self.end.await.map(|_| ()).map_err(|_| Cut)
    }
}

/// Where pieces of a body go.
pub(crate) trait Sink {
    /// Takes a piece. False where nobody wants more.
    async fn put(&mut self, piece: Vec<u8>) -> bool;
}

impl Sink for StreamWriter<u8> {
    async fn put(&mut self, piece: Vec<u8>) -> bool {
        self.write_all(piece).await.is_empty()
    }
}

/// Where nobody wants anything.
pub(crate) struct Nobody;

impl Sink for Nobody {
    async fn put(&mut self, _piece: Vec<u8>) -> bool {
        false
    }
}

/// A response's body.
pub(crate) enum Body {
    Empty,
    Bytes(Vec<u8>),
    /// The upstream's own, handed on.
    Upstream(Incoming),
    Stored(Reader),
    /// The upstream's, stored while it passes.
    Arriving(Arriving),
    /// These, one behind the other.
    Composed(Vec<Body>),
    /// The same, of the upstream's, once that is stored.
    Gathered(Box<Arriving>, Vec<Body>),
    /// This one, and what is to be done once it was written.
    Followed(Box<Body>, After),
}

/// What is done behind the client's back.
pub(crate) type After = LocalBoxFuture<'static, ()>;

impl Body {
    /// The length, where it is known here and the core may not have said it.
    pub(crate) fn length(&self, is_head: bool) -> Option<usize> {
        match self {
            Self::Empty => (!is_head).then_some(0),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::Upstream(_)
            | Self::Stored(_)
            | Self::Arriving(_)
            | Self::Composed(_)
            | Self::Gathered(..) => None,
            Self::Followed(body, _) => body.length(is_head),
        }
    }

    /// The body of an answer to a HEAD request. What is still to be stored is stored all the same.
    pub(crate) fn left_out(self) -> Self {
        match self {
            Self::Arriving(arriving) => arriving.store_alone(),
            Self::Gathered(arriving, _) => arriving.store_alone(),
            Self::Followed(_, after) => spawn(after),
            Self::Empty
            | Self::Bytes(_)
            | Self::Upstream(_)
            | Self::Stored(_)
            | Self::Composed(_) => {}
        }
        Self::Empty
    }

    /// What `wasi:http` takes for a body. What is written from here is written by a task that
    /// goes on after the response was given.
    pub(crate) fn into_contents(self) -> (Option<StreamReader<u8>>, End) {
        match self {
            Self::Empty => (None, wit_future::new(|| Ok(None)).1),
            Self::Upstream(incoming) => {
                let (stream, end) = incoming.into_handles();
                (Some(stream), end)
            }
            body => {
                let (mut writer, stream) = wit_stream::new();
                let (ending, end) = wit_future::new(|| Ok(None));
                spawn(async move {
                    let (body, after) = body.and_after();
                    let written = body.write(&mut writer).await;
                    drop(writer);
                    let end = written.map(|()| None);
                    // Nobody reads it where the client has left.
                    let _ =
                        ending.write(end.map_err(|Cut| ErrorCode::HttpResponseIncomplete)).await;
                    if let Some(after) = after {
                        after.await;
                    }
                });
                (Some(stream), end)
            }
        }
    }

    fn and_after(self) -> (Self, Option<After>) {
        match self {
            Self::Followed(body, after) => (*body, Some(after)),
            body => (body, None),
        }
    }

    /// Writes all of it.
    pub(crate) async fn write(self, sink: &mut impl Sink) -> Result<(), Cut> {
        match self {
            Self::Empty => {}
            Self::Bytes(bytes) => {
                sink.put(bytes).await;
            }
            Self::Upstream(mut incoming) => {
                loop {
                    let piece = incoming.piece().await;
                    if piece.is_empty() || !sink.put(piece).await {
                        break;
                    }
                }
                return incoming.end().await;
            }
            Self::Stored(reader) => return reader.write(sink).await,
            Self::Arriving(arriving) => return arriving.write(sink).await,
            Self::Composed(parts) => return write_all(parts, sink).await,
            Self::Gathered(arriving, parts) => {
                arriving.write(&mut Nobody).await?;
                return write_all(parts, sink).await;
            }
            Self::Followed(body, after) => {
                let written = Box::pin(body.write(sink)).await;
                after.await;
                return written;
            }
        }
        Ok(())
    }
}

async fn write_all(parts: Vec<Body>, sink: &mut impl Sink) -> Result<(), Cut> {
    for part in parts {
        Box::pin(part.write(sink)).await?;
    }
    Ok(())
}

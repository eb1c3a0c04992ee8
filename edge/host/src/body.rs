//! Response bodies: what hyper sends, from wherever it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream as _, StreamExt as _};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use outport_edge_core::step::Coding;

use crate::encoder::{Dictionary, Encoding};
use crate::pace::{BodyError, Paced};
use crate::shares::{Share, Shared};

/// A body ended before its length, so the response is cut off rather than ended.
#[derive(Debug, thiserror::Error)]
#[error("the body ended early")]
pub(crate) struct Cut;

/// A request's body.
pub(crate) enum RequestBody {
    /// It comes from the client.
    Coming(Paced<Incoming>),
    /// The same, no faster than its taker may send.
    Shared(Box<Shared<Paced<Incoming>>>),
    /// All of it is here.
    Here(Option<Bytes>),
}

impl RequestBody {
    /// This body, as one of a taker's exchange.
    pub(crate) fn shared(self, share: Arc<Share>) -> Self {
        match self {
            Self::Coming(body) => Self::Shared(Box::new(Shared::new(body, share))),
            // It is here, or counts already.
            other => other,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Coming(body) => Pin::new(body).poll_frame(context),
            Self::Shared(body) => Pin::new(&mut **body).poll_frame(context),
            Self::Here(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Coming(body) => body.is_end_stream(),
            Self::Shared(body) => body.is_end_stream(),
            Self::Here(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Coming(body) => body.size_hint(),
            Self::Shared(body) => body.size_hint(),
            Self::Here(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}

/// A response's body.
pub(crate) enum EdgeBody {
    /// Bytes that are here.
    Full(Option<Bytes>),
    /// What an upstream sends. Dropped as soon as it fails.
    Upstream(Incoming),
    /// What is being stored, as it arrives; with the bytes still to come, where that is
    /// known.
    Stored(BoxStream<'static, Result<Bytes, Cut>>, Option<u64>),
    /// Another body, encoded while it is sent.
    Encoding(Box<Encoding>),
    /// Another body, no faster than its taker may have it.
    Shared(Box<Shared<EdgeBody>>),
}

impl EdgeBody {
    pub(crate) const fn empty() -> Self {
        Self::Full(None)
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }

    /// This body, as one of a taker's exchange.
    pub(crate) fn shared(self, share: Arc<Share>) -> Self {
        Self::Shared(Box::new(Shared::new(self, share)))
    }

    /// This body in a coding, which may need a dictionary.
    pub(crate) fn encoded(self, coding: Coding, dictionary: Option<&Dictionary>) -> Self {
        match Encoding::new(self, coding, dictionary) {
            Ok(encoding) => Self::Encoding(Box::new(encoding)),
            Err(error) => {
                tracing::error!("a body can't be encoded: {error}");
                Self::Stored(stream::once(async { Err(Cut) }).boxed(), None)
            }
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Cut)))
            }
            Self::Encoding(encoding) => {
                let chunk = ready!(Pin::new(&mut **encoding).poll_next(context));
                Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
            }
            Self::Shared(body) => Pin::new(&mut **body).poll_frame(context),
            Self::Stored(stream, left) => {
                let chunk = ready!(Pin::new(stream).poll_next(context));
                Poll::Ready(chunk.map(|chunk| {
                    let chunk = chunk?;
                    *left = left.map(|left| left.saturating_sub(chunk.len() as u64));
                    Ok(Frame::data(chunk))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Stored(_, left) => *left == Some(0),
            Self::Encoding(_) => false,
            Self::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Upstream(body) => body.size_hint(),
            Self::Stored(_, left) => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Encoding(_) => SizeHint::default(),
            Self::Shared(body) => body.size_hint(),
        }
    }
}

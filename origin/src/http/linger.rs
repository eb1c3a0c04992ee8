//! Lets a refusal reach its client. A connection that is closed while its client still sends is
//! reset, and the answer may be lost with it; a client that sends all before it reads would see a
//! broken pipe and no reason. So what is left of a body that nobody wants any more is read on for
//! a moment, and thrown away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::EXPECT;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For how long the rest of a body is read.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// How much of the rest of a body is read.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// A layer around everything. A client that waits to be told to send is not read on: it has sent
/// nothing.
pub(crate) async fn linger(request: Request, next: Next) -> Response {
    if request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Lingering { body, ended: false }))).await
}

struct Lingering {
    body: Body,
    ended: bool,
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended |= !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let rest = std::mem::take(&mut self.body);
            runtime.spawn(timeout(LINGER_MAX, read_on(rest)));
        }
    }
}

async fn read_on(mut rest: Body) {
    let mut bytes = 0;
    while bytes <= LINGER_BYTES_MAX {
        let Some(Ok(frame)) = rest.frame().await else { return };
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_is_read_on_than_is_bounded() {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        let pieces = (0..64).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(vec![0; 1 << 20])
        });
        read_on(Body::from_stream(futures::stream::iter(pieces))).await;
        assert_eq!(read.load(Ordering::Relaxed), (LINGER_BYTES_MAX >> 20) + 1);
    }
}

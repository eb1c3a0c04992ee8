//! Request bodies that have to come, and not too slowly.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// How long may be waited for a body in all, before anything of it is there; and how many bytes have to
/// come for each second beyond. Only the time counts in which somebody wants to read.
const GRACE: Duration = Duration::from_secs(30);
const BYTES_PER_S_MIN: u64 = 256;
/// How long it may stand still, however quickly it came before.
const STILL_MAX: Duration = Duration::from_secs(60);

/// Why there is no more of a request's body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It came too slowly.
    #[error("the body came too slowly")]
    TooSlow,
}

/// A body that has to come in time.
pub(crate) struct Paced<B> {
    body: B,
    bytes: u64,
    waited: Duration,
    /// Since when it is waited for, and until when at most.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, bytes: 0, waited: Duration::ZERO, waiting: None }
    }

    /// How much longer may be waited.
    fn patience(&self) -> Duration {
        let earned = GRACE + Duration::from_secs(self.bytes / BYTES_PER_S_MIN);
        earned.saturating_sub(self.waited).min(STILL_MAX)
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let Some((since, _)) = this.waiting.take() {
                this.waited += since.elapsed();
            }
            if let Some(Ok(frame)) = &frame {
                this.bytes += frame.data_ref().map_or(0, |chunk| chunk.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience();
        let (_, until) = this
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(patience))));
        match until.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::TooSlow))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::{Stream, StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// A body that comes in pieces of so many bytes, every so often.
    fn trickle(
        bytes: usize,
        every: Duration,
    ) -> Paced<StreamBody<impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Unpin>> {
        let pieces = stream::repeat(Bytes::from(vec![0; bytes])).then(move |piece| async move {
            tokio::time::sleep(every).await;
            Ok(Frame::data(piece))
        });
        Paced::new(StreamBody::new(Box::pin(pieces)))
    }

    /// After how long it is given up, if it is within an hour.
    async fn given_up(bytes: usize, every: Duration) -> Option<Duration> {
        let begun = Instant::now();
        let mut body = trickle(bytes, every);
        while begun.elapsed() < Duration::from_secs(3600) {
            match body.frame().await.unwrap() {
                Ok(_) => {}
                Err(BodyError::TooSlow) => return Some(begun.elapsed()),
                Err(other) => panic!("{other}"),
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_make_progress() {
        let s = Duration::from_secs;
        assert_eq!(given_up(0, s(1)).await, Some(GRACE));
        // Nothing comes for a day.
        assert_eq!(given_up(1, s(86_400)).await, Some(GRACE));
        let slow = given_up(128, s(1)).await.unwrap();
        assert!((GRACE..GRACE * 3).contains(&slow), "{slow:?}");
        assert_eq!(given_up(300, s(1)).await, None);
        // Slow lines send at long intervals, too.
        assert_eq!(given_up(16 << 10, s(25)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_quickly_may_not_stand_still_for_ever() {
        let piece: Result<_, BodyError> = Ok(Frame::data(Bytes::from(vec![0; 1 << 20])));
        let pieces = stream::iter([piece]);
        let mut body = Paced::new(StreamBody::new(pieces.chain(stream::pending())));
        body.frame().await.unwrap().unwrap();
        let begun = Instant::now();
        assert!(matches!(body.frame().await, Some(Err(BodyError::TooSlow))));
        assert_eq!(begun.elapsed(), STILL_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_nobody_reads_does_not_count() {
        let mut body = trickle(1, Duration::from_millis(10));
        for _ in 0..10 {
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(STILL_MAX * 2).await;
        }
    }
}

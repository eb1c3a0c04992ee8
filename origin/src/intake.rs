//! Takes a request's body in, a bounded amount at a time, and says how it ended.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::PutPayload;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A body as it arrives. An error is the end: the connection was cut, or the sender broke the
/// framing.
pub(crate) type BodyStream = BoxStream<'static, Result<Bytes, BodyCut>>;

/// The body broke off before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyCut;

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Complete,
    /// It broke off: the connection was cut, it stood still for too long, or we are shutting down.
    Cut,
    /// It went on beyond the limit. What is beyond was thrown away.
    TooLong,
}

/// Some bytes of a body.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The bytes, uncopied.
    pub(crate) payload: PutPayload,
    /// How many they are.
    pub(crate) bytes: u64,
    /// How the body ended, if it did behind these bytes.
    pub(crate) end: Option<End>,
}

/// A body being taken in.
pub(crate) struct Intake {
    stream: BodyStream,
    /// What arrived and was not asked for yet.
    rest: Bytes,
    /// How many bytes may still come.
    allowed: u64,
    idle: Duration,
    shutdown: watch::Receiver<bool>,
    end: Option<End>,
}

impl Intake {
    /// Takes in up to `allowed` bytes of `stream`. A body that stands still for `idle` is cut, and
    /// so is one that is still coming when `shutdown` says so.
    pub(crate) fn new(
        stream: BodyStream,
        allowed: u64,
        idle: Duration,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self { stream, rest: Bytes::new(), allowed, idle, shutdown, end: None }
    }

    /// The next `bytes_max` bytes, or fewer where the body ends, or where `deadline` passes and
    /// there are some. A body that fills what is allowed is waited for until it has ended, so
    /// that one that goes on is known before its last bytes count.
    pub(crate) async fn chunk(&mut self, bytes_max: u64, deadline: Instant) -> Chunk {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max || self.allowed == 0 {
            match self.piece(bytes_max - bytes, deadline, bytes > 0).await {
                Some(piece) => {
                    bytes += piece.len() as u64;
                    pieces.push(piece);
                }
                None => break,
            }
        }
        Chunk { payload: PutPayload::from_iter(pieces), bytes, end: self.end }
    }

    /// The next bytes; `None` at the end, and at the deadline if the caller `has` some already.
    async fn piece(&mut self, bytes_max: u64, deadline: Instant, has: bool) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = self.arrival(deadline, has).await?;
        }
        if self.allowed == 0 {
            self.end = Some(End::TooLong);
            return None;
        }
        let bytes = (self.rest.len() as u64).min(bytes_max).min(self.allowed);
        self.allowed -= bytes;
        Some(self.rest.split_to(bytes as usize)) // Not above the length of `rest`.
    }

    /// What arrives next and is not empty.
    async fn arrival(&mut self, deadline: Instant, has: bool) -> Option<Bytes> {
        while self.end.is_none() {
            let idle = Instant::now() + self.idle;
            let until = if has { deadline.min(idle) } else { idle };
            let arrived = tokio::select! {
                biased;
                arrived = timeout_at(until, self.stream.next()) => arrived,
                Ok(_) = self.shutdown.wait_for(|shutdown| *shutdown) => Ok(Some(Err(BodyCut))),
            };
            match arrived {
                Ok(Some(Ok(bytes))) if bytes.is_empty() => {}
                Ok(Some(Ok(bytes))) => return Some(bytes),
                Ok(None) => self.end = Some(End::Complete),
                Ok(Some(Err(BodyCut))) => self.end = Some(End::Cut),
                Err(_) if has && until == deadline => return None,
                Err(_) => self.end = Some(End::Cut),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn intake(pieces: &[&'static str], end: Result<(), BodyCut>, allowed: u64) -> Intake {
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let tail = end.err().map(Err);
        let stream = stream::iter(pieces.collect::<Vec<_>>()).chain(stream::iter(tail)).boxed();
        let (_keep, shutdown) = watch::channel(false);
        Intake::new(stream, allowed, IDLE, shutdown)
    }

    async fn chunk(intake: &mut Intake, bytes_max: u64) -> (String, Option<End>) {
        let chunk = intake.chunk(bytes_max, Instant::now() + IDLE).await;
        let bytes = Bytes::from(chunk.payload);
        assert_eq!(bytes.len() as u64, chunk.bytes);
        (String::from_utf8(bytes.to_vec()).unwrap(), chunk.end)
    }

    #[tokio::test]
    async fn is_cut_into_equal_chunks() {
        let mut intake = intake(&["abc", "", "defgh", "i"], Ok(()), 100);
        assert_eq!(chunk(&mut intake, 4).await, ("abcd".into(), None));
        assert_eq!(chunk(&mut intake, 4).await, ("efgh".into(), None));
        assert_eq!(chunk(&mut intake, 4).await, ("i".into(), Some(End::Complete)));
        assert_eq!(chunk(&mut intake, 4).await, (String::new(), Some(End::Complete)));
    }

    #[tokio::test]
    async fn a_cut_keeps_what_arrived() {
        let mut intake = intake(&["abc"], Err(BodyCut), 100);
        assert_eq!(chunk(&mut intake, 10).await, ("abc".into(), Some(End::Cut)));
    }

    #[tokio::test]
    async fn what_fills_its_limit_is_complete() {
        let mut intake = intake(&["abc", "def"], Ok(()), 6);
        assert_eq!(chunk(&mut intake, 3).await, ("abc".into(), None));
        assert_eq!(chunk(&mut intake, 3).await, ("def".into(), Some(End::Complete)));
    }

    #[tokio::test]
    async fn what_goes_on_is_noticed() {
        for pieces in [&["abcdef"][..], &["abcd", "ef"], &["abcde", "f"]] {
            let mut intake = intake(pieces, Ok(()), 5);
            assert_eq!(chunk(&mut intake, 5).await, ("abcde".into(), Some(End::TooLong)));
        }
        let mut intake = intake(&["a"], Ok(()), 0);
        assert_eq!(chunk(&mut intake, 5).await, (String::new(), Some(End::TooLong)));
    }

    #[tokio::test]
    async fn standing_still_ends_it() {
        let (_keep, shutdown) = watch::channel(false);
        let stream = stream::iter([Ok(Bytes::from_static(b"ab"))]).chain(stream::pending()).boxed();
        let idle = Duration::from_millis(200);
        let mut intake = Intake::new(stream, 100, idle, shutdown);
        let soon = Instant::now() + idle / 10;
        let first = intake.chunk(10, soon).await;
        assert_eq!((first.bytes, first.end), (2, None), "the deadline hands over what there is");
        let second = intake.chunk(10, soon).await;
        assert_eq!((second.bytes, second.end), (0, Some(End::Cut)));
    }

    #[tokio::test]
    async fn shutdown_ends_it() {
        let (trigger, shutdown) = watch::channel(false);
        let mut intake = Intake::new(stream::pending().boxed(), 100, IDLE, shutdown);
        trigger.send(true).unwrap();
        let chunk = intake.chunk(10, Instant::now() + IDLE).await;
        assert_eq!((chunk.bytes, chunk.end), (0, Some(End::Cut)));
    }
}

//! Takes a request's body in, a bounded amount at a time, and says how it ended.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::PutPayload;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::digest::{Digests, Running};
use crate::turns::Remains;

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
    /// A newer request for the same upload came, which asks how far this one got.
    Superseded,
    /// A newer request for the same upload came, which brings the same. What is not stored yet is
    /// thrown away.
    Displaced,
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
    /// The same, behind `rest`.
    ahead: VecDeque<Bytes>,
    /// How many bytes may still come.
    allowed: u64,
    /// How many bytes the sender says that there are.
    announced: Option<u64>,
    idle: Duration,
    cuts: Cuts,
    digests: Digests,
    progress: Option<Progress>,
    end: Option<End>,
}

/// Is told how many bytes of an upload are durable, each time that there are more.
pub(crate) type Progress = Box<dyn Fn(u64) + Send>;

/// What cuts a body that is still coming: a shutdown, or a newer request.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) superseded: Option<watch::Receiver<Option<Remains>>>,
}

impl Cuts {
    /// How the body ends, when it is to.
    async fn cut(&mut self) -> End {
        let superseded = async {
            match &mut self.superseded {
                Some(superseded) => by_newer(superseded).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            remains = superseded => match remains {
                Remains::Kept => End::Superseded,
                Remains::Dropped => End::Displaced,
            },
            () = is_true(&mut self.shutdown) => End::Cut,
        }
    }
}

/// Waits until a newer request comes; for ever, if none can any more.
async fn by_newer(receiver: &mut watch::Receiver<Option<Remains>>) -> Remains {
    let told = receiver.wait_for(Option::is_some).await.ok().and_then(|told| *told);
    match told {
        Some(remains) => remains,
        None => std::future::pending().await,
    }
}

/// Waits until it is true; for ever, if nobody can make it so any more.
async fn is_true(receiver: &mut watch::Receiver<bool>) {
    if receiver.wait_for(|told| *told).await.is_err() {
        std::future::pending().await
    }
}

impl Intake {
    /// Takes in up to `allowed` bytes of `stream`. A body that stands still for `idle` is cut, and
    /// so is one that is still coming when `cuts` says so.
    pub(crate) fn new(stream: BodyStream, allowed: u64, idle: Duration, cuts: Cuts) -> Self {
        let digests = Digests::default();
        let (rest, ahead, progress, end) = (Bytes::new(), VecDeque::new(), None, None);
        let announced = None;
        Self { stream, rest, ahead, allowed, announced, idle, cuts, digests, progress, end }
    }

    /// Notes how many bytes the sender says that there are.
    #[must_use]
    pub(crate) fn with_length(self, announced: Option<u64>) -> Self {
        Self { announced, ..self }
    }

    /// How many bytes the sender says that there are, if it does.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Computes these over what is taken.
    #[must_use]
    pub(crate) fn with_digests(self, digests: Digests) -> Self {
        Self { digests, ..self }
    }

    /// Tells `progress` what is durable.
    #[must_use]
    pub(crate) fn with_progress(self, progress: Progress) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// So many bytes of the upload are durable.
    pub(crate) fn durable(&self, offset: u64) {
        if let Some(progress) = &self.progress {
            progress(offset);
        }
    }

    /// Computes the digest of a whole file on, which this is a piece of.
    pub(crate) fn carry_on(&mut self, running: Option<&Running>) {
        self.digests = std::mem::take(&mut self.digests).file(running);
    }

    /// What was computed over all that was taken.
    pub(crate) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Whether what is still to come is `bytes_max` bytes or fewer, and all of it has arrived.
    /// Reads ahead as far as that takes.
    pub(crate) async fn is_small(&mut self, bytes_max: u64) -> bool {
        let mut bytes = self.rest.len() as u64;
        while bytes <= bytes_max
            && let Some(arrived) = self.arrival(Instant::now(), false).await
        {
            bytes += arrived.len() as u64;
            self.ahead.push_back(arrived);
        }
        self.end == Some(End::Complete) && bytes <= bytes_max
    }

    /// Whether the end of the body has been seen. What comes before it may still be to be taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// A copy of the next `bytes_max` bytes, which are still to be taken; fewer where the body ends,
    /// or where `deadline` passes and there are some.
    pub(crate) async fn peek(&mut self, bytes_max: usize, deadline: Instant) -> Vec<u8> {
        let mut seen = self.rest.len() + self.ahead.iter().map(Bytes::len).sum::<usize>();
        while seen < bytes_max
            && let Some(arrived) = self.arrival(deadline, seen > 0).await
        {
            seen += arrived.len();
            self.ahead.push_back(arrived);
        }
        let pieces = std::iter::once(&self.rest).chain(&self.ahead);
        pieces.flat_map(|piece| piece.iter().copied()).take(bytes_max).collect()
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
        Chunk { payload: PutPayload::from_iter(pieces), bytes, end: self.end_here() }
    }

    /// How the body ended, unless there is something still to be taken before.
    fn end_here(&self) -> Option<End> {
        let is_drained = self.rest.is_empty() && self.ahead.is_empty();
        self.end.filter(|end| is_drained || *end == End::TooLong)
    }

    /// The next bytes; `None` at the end, and at the deadline if the caller `has` some already.
    async fn piece(&mut self, bytes_max: u64, deadline: Instant, has: bool) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = match self.ahead.pop_front() {
                Some(ahead) => ahead,
                None => self.arrival(deadline, has).await?,
            };
        }
        if self.allowed == 0 {
            self.end = Some(End::TooLong);
            return None;
        }
        let bytes = (self.rest.len() as u64).min(bytes_max).min(self.allowed);
        self.allowed -= bytes;
        let piece = self.rest.split_to(bytes as usize); // Not above the length of `rest`.
        self.digests.update(&piece);
        Some(piece)
    }

    /// What arrives next and is not empty.
    async fn arrival(&mut self, deadline: Instant, has: bool) -> Option<Bytes> {
        while self.end.is_none() {
            let idle = Instant::now() + self.idle;
            let until = if has { deadline.min(idle) } else { idle };
            let arrived = tokio::select! {
                biased; // A body that never pauses is cut all the same.
                end = self.cuts.cut() => {
                    self.end = Some(end);
                    return None;
                }
                arrived = timeout_at(until, self.stream.next()) => arrived,
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
        Intake::new(stream, allowed, IDLE, never())
    }

    /// Nobody cuts it.
    fn never() -> Cuts {
        Cuts { shutdown: watch::channel(false).1, superseded: None }
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
    async fn a_look_ahead_takes_nothing() {
        let soon = Instant::now() + IDLE;
        let mut intake = intake(&["abc", "de", "fgh"], Err(BodyCut), 100);
        assert_eq!(intake.peek(4, soon).await, b"abcd");
        assert_eq!(chunk(&mut intake, 1).await, ("a".into(), None));
        assert_eq!(intake.peek(100, soon).await, b"bcdefgh");
        // The end is known by now, and is not said before what comes before it.
        assert_eq!(chunk(&mut intake, 3).await, ("bcd".into(), None));
        assert_eq!(chunk(&mut intake, 4).await, ("efgh".into(), Some(End::Cut)));
    }

    #[tokio::test]
    async fn a_look_ahead_does_not_wait_for_ever() {
        let stream = stream::iter([Ok(Bytes::from_static(b"ab"))]).chain(stream::pending()).boxed();
        let mut intake = Intake::new(stream, 100, IDLE, never());
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(intake.peek(10, soon).await, b"ab");
    }

    #[tokio::test]
    async fn a_small_body_is_known_before_it_is_taken() {
        let pieces = ["ab", "cd"];
        for (end, bytes_max, small) in
            [(Ok(()), 4, true), (Ok(()), 3, false), (Err(BodyCut), 4, false)]
        {
            let mut intake = intake(&pieces, end, 100);
            assert_eq!(intake.is_small(bytes_max).await, small, "{end:?} {bytes_max}");
            assert_eq!(chunk(&mut intake, 3).await.0, "abc", "nothing is taken by the look");
            assert_eq!(chunk(&mut intake, 3).await.0, "d");
        }
        let mut long = intake(&pieces, Ok(()), 3);
        assert!(long.is_small(10).await);
        assert_eq!(chunk(&mut long, 10).await, ("abc".into(), Some(End::TooLong)));
    }

    #[tokio::test]
    async fn standing_still_ends_it() {
        let stream = stream::iter([Ok(Bytes::from_static(b"ab"))]).chain(stream::pending()).boxed();
        let idle = Duration::from_millis(200);
        let mut intake = Intake::new(stream, 100, idle, never());
        let soon = Instant::now() + idle / 10;
        let first = intake.chunk(10, soon).await;
        assert_eq!((first.bytes, first.end), (2, None), "the deadline hands over what there is");
        let second = intake.chunk(10, soon).await;
        assert_eq!((second.bytes, second.end), (0, Some(End::Cut)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_or_a_newer_request_ends_it_at_once() {
        let begun = Instant::now();
        let (shut_down, shutdown) = watch::channel(false);
        let (supersede, superseded) = watch::channel(None);
        let cuts = Cuts { shutdown, superseded: Some(superseded) };
        let intake = || Intake::new(stream::pending().boxed(), 100, IDLE, cuts.clone());
        for (remains, end) in [(Remains::Kept, End::Superseded), (Remains::Dropped, End::Displaced)]
        {
            supersede.send(Some(remains)).unwrap();
            assert_eq!(chunk(&mut intake(), 10).await, (String::new(), Some(end)));
        }
        supersede.send(None).unwrap();
        shut_down.send(true).unwrap();
        assert_eq!(chunk(&mut intake(), 10).await, (String::new(), Some(End::Cut)));
        assert_eq!(begun.elapsed(), Duration::ZERO, "it did not stand still for so long");
    }
}

//! What one taker has of this node at the same time: so many requests under way, and so many bytes a
//! second.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use outport_edge_core::step::{self, Allowance, PAID_BYTES};
use tokio::time::{Instant, Sleep};

use crate::limiter::Limiter;

const SHARDS: usize = 64;
/// So much of a second may be sent at once, after a pause.
const AHEAD: Duration = Duration::from_millis(100);
/// What is sent in one piece: a fiftieth of a second of it, within these.
const PIECES_PER_S: u64 = 50;
const PIECE_BYTES: std::ops::RangeInclusive<u64> = 1_024..=256 << 10;

/// Counts what each taker has under way.
pub(crate) struct Shares {
    hasher: RandomState,
    shards: Box<[Mutex<Takers>]>,
}

impl Default for Shares {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

/// By their keys.
type Takers = HashMap<Arc<str>, Taker>;

/// Somebody with exchanges under way.
struct Taker {
    under_way: u32,
    pace: Arc<Pace>,
}

impl Shares {
    /// Counts one more of this taker, until what is returned is dropped. `None` where there are as many as
    /// there may be.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: &str,
        share: step::Share,
        paid: Option<Paid>,
    ) -> Option<Share> {
        let mut takers = self.shard(key);
        let (key, taker) = match takers.get_key_value(key) {
            Some((key, taker)) => (key.clone(), (taker.under_way, taker.pace.clone())),
            None => (key.into(), (0, Arc::new(Pace::new()))),
        };
        let (under_way, pace) = taker;
        if share.at_once.is_some_and(|most| under_way >= most) {
            return None;
        }
        let under_way = under_way.saturating_add(1);
        takers.insert(key.clone(), Taker { under_way, pace: pace.clone() });
        drop(takers);
        let shares = self.clone();
        Some(Share { shares, key, pace, bytes_per_s: share.bytes_per_s, paid })
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Takers> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        let shard = self.shards.get(place).or(self.shards.first());
        #[allow(clippy::expect_used)] // `default` makes them.
        shard.expect("there are shards").lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange of a taker.
pub(crate) struct Share {
    shares: Arc<Shares>,
    key: Arc<str>,
    pace: Arc<Pace>,
    bytes_per_s: Option<u64>,
    paid: Option<Paid>,
}

/// What the bodies of an exchange are paid from.
pub(crate) struct Paid {
    limiter: Arc<Limiter>,
    key: String,
    allowance: Allowance,
    /// What has passed, in bytes.
    passed: AtomicU64,
}

impl Paid {
    pub(crate) fn new(limiter: &Arc<Limiter>, key: &str, allowance: Allowance) -> Self {
        let (limiter, key) = (limiter.clone(), format!("bytes {key}"));
        Self { limiter, key, allowance, passed: AtomicU64::new(0) }
    }

    /// How long it takes until what was had before is paid for, in microseconds.
    pub(crate) fn owed_us(&self) -> Option<u64> {
        Some(self.limiter.owed_us(&self.key, self.allowance)).filter(|owed_us| *owed_us > 0)
    }

    fn pay(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.passed.fetch_add(bytes, Ordering::Relaxed);
        let units = (before + bytes) / PAID_BYTES - before / PAID_BYTES;
        if units > 0 {
            self.limiter.pay(&self.key, self.allowance, units);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut takers = self.shares.shard(&self.key);
        if let Some(taker) = takers.get_mut(&self.key) {
            taker.under_way -= 1;
            if taker.under_way == 0 {
                takers.remove(&self.key);
            }
        }
    }
}

impl Share {
    /// Pays for what of a body has come.
    fn pay<E>(&self, frame: Option<&Result<Frame<Bytes>, E>>) {
        let data = frame.and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        if let (Some(paid), Some(data)) = (&self.paid, data) {
            paid.pay(data.len());
        }
    }
}

/// When a taker's next byte may pass.
struct Pace(Mutex<Instant>);

impl Pace {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Books so many bytes, and says from when on they may pass.
    fn book(&self, bytes: u64, per_s: u64) -> Instant {
        let now = Instant::now();
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used some time ago is gone.
        let from = (*next).max(now.checked_sub(AHEAD).unwrap_or(now));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(per_s.max(1));
        *next = from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        from
    }
}

/// A body of an exchange, which counts for as long as there is this, and keeps to the pace.
pub(crate) struct Shared<B> {
    body: B,
    share: Arc<Share>,
    /// What came, and is not booked so far.
    rest: Bytes,
    /// What is booked, and until when it waits.
    booked: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl<B> Shared<B> {
    pub(crate) fn new(body: B, share: Arc<Share>) -> Self {
        Self { body, share, rest: Bytes::new(), booked: None }
    }

    /// How many bytes are here.
    fn held(&self) -> u64 {
        let booked = self.booked.as_ref().map_or(0, |(piece, _)| piece.len());
        (self.rest.len() + booked) as u64
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Shared<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(per_s) = this.share.bytes_per_s else {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
            this.share.pay(frame.as_ref());
            return Poll::Ready(frame);
        };
        if this.booked.is_none() {
            if this.rest.is_empty() {
                let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
                this.share.pay(frame.as_ref());
                match frame {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => this.rest = data,
                        Err(other) => return Poll::Ready(Some(Ok(other))),
                    },
                    end => return Poll::Ready(end),
                }
            }
            let most = (per_s / PIECES_PER_S).clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end());
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let piece = this.rest.split_to(most.min(this.rest.len()));
            let from = this.share.pace.book(piece.len() as u64, per_s);
            if from <= Instant::now() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            this.booked = Some((piece, Box::pin(tokio::time::sleep_until(from))));
        }
        if let Some((_, until)) = &mut this.booked {
            ready!(until.as_mut().poll(context));
        }
        let piece = this.booked.take().map(|(piece, _)| piece).unwrap_or_default();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.held() == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let exact = self.body.size_hint().exact();
        exact.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + self.held()))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn share(at_once: Option<u32>, bytes_per_s: Option<u64>) -> step::Share {
        step::Share { at_once, bytes_per_s, bytes: None }
    }

    #[test]
    fn each_taker_has_so_many_until_they_end() {
        let shares = Arc::new(Shares::default());
        let two = share(Some(2), None);
        let (first, second) = (shares.take("a", two, None), shares.take("a", two, None));
        assert!(first.is_some() && second.is_some());
        assert!(shares.take("a", two, None).is_none());
        assert!(shares.take("b", two, None).is_some());
        drop(first);
        let third = shares.take("a", two, None);
        assert!(third.is_some() && shares.take("a", two, None).is_none());
        drop((second, third));
        let left: usize = shares.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!(left, 0, "nobody is remembered who has nothing under way");
    }

    /// How long it takes to send these bodies together, by a clock that only waits move.
    async fn sending(bodies: usize, bytes: usize, bytes_per_s: Option<u64>) -> Duration {
        let shares = Arc::new(Shares::default());
        let begun = Instant::now();
        let send = |_| {
            let share = shares.take("a", share(None, bytes_per_s), None).unwrap();
            let body = Full::new(Bytes::from(vec![7; bytes]));
            let body = Shared::new(body, Arc::new(share));
            assert_eq!(body.size_hint().exact(), Some(bytes as u64));
            async move {
                let sent = body.collect().await.unwrap().to_bytes();
                assert!(sent.len() == bytes && sent.iter().all(|byte| *byte == 7));
            }
        };
        futures::future::join_all((0..bodies).map(send)).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_of_a_taker_keep_to_one_pace() {
        assert_eq!(sending(3, 1 << 20, None).await, Duration::ZERO);
        for bodies in [1, 4] {
            let took = sending(bodies, 100_000, Some(100_000)).await.as_secs_f64();
            let expected = bodies as f64;
            assert!((expected - 0.2..=expected).contains(&took), "{bodies}: {took}");
        }
    }

    #[tokio::test]
    async fn bodies_are_paid_for_as_they_pass() {
        let limiter = Arc::new(Limiter::new());
        // 10 KiB at once, and one a minute.
        let allowance = Allowance { interval_us: 60_000_000, burst: 10 };
        let shares = Arc::new(Shares::default());
        let paid = || Paid::new(&limiter, "a", allowance);
        for bytes_per_s in [None, Some(1 << 30)] {
            assert_eq!(paid().owed_us(), None);
            let share = shares.take("a", share(None, bytes_per_s), Some(paid())).unwrap();
            let share = Arc::new(share);
            let mut bodies = [700, 1_500, 2_500]
                .map(|bytes| Shared::new(Full::new(Bytes::from(vec![7; bytes])), share.clone()));
            for body in &mut bodies {
                body.collect().await.unwrap();
            }
        }
        // 4,700 bytes twice, which are four units each: two are left.
        assert_eq!(paid().owed_us(), None);
        limiter.pay("bytes a", allowance, 2);
        let owed_us = paid().owed_us().unwrap();
        assert!((59_000_000..=60_000_000).contains(&owed_us), "{owed_us}");
        assert_eq!(Paid::new(&limiter, "b", allowance).owed_us(), None);
    }
}

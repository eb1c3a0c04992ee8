//! Tells one receiver what is in its queue: some at once, each until it was taken or given up.
//!
//! Every receiver has a queue and a loop of its own, so that one that is away keeps nobody else
//! waiting.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use tokio::sync::Notify;

use super::config::{Pace, Webhook};
use super::queue::{Attempt, DEAD_MAX, Queue, Queued, Shelf};
use super::send::{Answer, Carrier, SendError};
use crate::environment::Environment;
use crate::meta::MetaError;

/// How many events one receiver is told at once.
const CALLS_MAX: usize = 8;
/// How long a claim outlasts the longest call. Who claimed an entry and has not said how it went
/// by then is gone.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// How much of an answer is read, to keep the connection. All of it is thrown away.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// The longest that the queue is not looked at: another origin may have added something, or the
/// clock may have been set.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// How long to wait after the metadata failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// The longest that a receiver can ask to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// A pause is longer by up to this part of it, by chance, so that what failed together does not
/// come again together.
const JITTER_DIVISOR: u64 = 10;

/// What is counted of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Events that it took, since the start.
    pub(crate) delivered: AtomicU64,
    /// Attempts that failed, since the start.
    pub(crate) failed: AtomicU64,
    /// What it has yet to be told.
    pub(crate) waiting: AtomicU64,
    /// What was given up, and is kept.
    pub(crate) dead: AtomicU64,
}

impl Tally {
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }
}

/// One receiver, its queue, and who wakes its loop.
pub(crate) struct Target {
    pub(crate) webhook: Webhook,
    pub(crate) queue: Queue,
    pub(crate) wake: Notify,
    pub(crate) tally: Tally,
}

/// What all loops share.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) sender: Arc<dyn Carrier>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) pace: Arc<Pace>,
    /// Names this origin in CloudEvents.
    pub(crate) source: Arc<str>,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Delivered,
    /// Again after so many milliseconds.
    Again(u64),
    GiveUp,
}

/// Decides after an attempt; `failed` of them failed before. What is `random` lengthens the pause.
fn next(
    outcome: &Result<Answer, SendError>,
    failed: u32,
    pauses: &[Duration],
    random: u64,
) -> Next {
    let retry_after = match outcome {
        Ok(answer) if answer.status.is_success() => return Next::Delivered,
        // It says that it will never want it.
        Ok(answer) if answer.status == StatusCode::GONE => return Next::GiveUp,
        Ok(answer) => answer.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX),
        Err(_) => Duration::ZERO,
    };
    match usize::try_from(failed).ok().and_then(|failed| pauses.get(failed)) {
        Some(pause) => Next::Again(with_jitter(*pause, random).max(milliseconds(retry_after))),
        None => Next::GiveUp,
    }
}

fn with_jitter(pause: Duration, random: u64) -> u64 {
    let pause_ms = milliseconds(pause);
    pause_ms.saturating_add(random % (pause_ms / JITTER_DIVISOR).max(1))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Courier {
    /// Tells `target` what is in its queue, for as long as this is polled.
    pub(crate) async fn serve(&self, target: &Target) {
        let mut ready = VecDeque::new();
        let mut under_way = HashSet::new();
        let mut calls = FuturesUnordered::new();
        loop {
            let mut pause = LOOK_MAX;
            if ready.is_empty() && calls.len() < CALLS_MAX {
                (ready, pause) = self.look(target, &under_way).await;
            }
            while calls.len() < CALLS_MAX
                && let Some(queued) = ready.pop_front()
            {
                under_way.insert(queued.key.clone());
                calls.push(self.attempt(target, queued));
            }
            tokio::select! {
                biased; // None of them keeps another waiting for long, and a history is replayed.
                Some(key) = calls.next() => { under_way.remove(&key); }
                () = target.wake.notified(), if calls.len() < CALLS_MAX => {}
                () = tokio::time::sleep(pause), if calls.len() < CALLS_MAX => {}
            }
        }
    }

    /// What is due and not under way, and how long there will be nothing else.
    async fn look(
        &self,
        target: &Target,
        under_way: &HashSet<Bytes>,
    ) -> (VecDeque<Queued>, Duration) {
        let now_ms = self.environment.unix_ms();
        match target.queue.due(now_ms).await {
            Ok(due) => {
                let fresh = |queued: &Queued| !under_way.contains(&queued.key);
                let wait_ms = due.next_ms.map(|next_ms| next_ms.saturating_sub(now_ms));
                let wait = wait_ms.map_or(LOOK_MAX, Duration::from_millis).min(LOOK_MAX);
                (due.entries.into_iter().filter(fresh).collect(), wait)
            }
            Err(error) => {
                tracing::warn!(hook = target.webhook.name, %error, "a queue can't be read");
                (VecDeque::new(), TROUBLE_PAUSE)
            }
        }
    }

    /// One attempt at one entry. Returns the place where the entry was.
    async fn attempt(&self, target: &Target, queued: Queued) -> Bytes {
        let (key, id) = (queued.key.clone(), queued.entry.event_id());
        if let Err(error) = self.try_attempt(target, queued).await {
            // The claim runs out, and then there is another attempt.
            tracing::warn!(hook = target.webhook.name, %id, %error, "a queue can't be changed");
            tokio::time::sleep(TROUBLE_PAUSE).await;
        }
        key
    }

    async fn try_attempt(&self, target: &Target, queued: Queued) -> Result<(), MetaError> {
        let Webhook { name, receiver, format, .. } = &target.webhook;
        let lease_ms = milliseconds(receiver.timeout.saturating_add(LEASE_MARGIN));
        let until_ms = self.environment.unix_ms().saturating_add(lease_ms);
        let Some(claimed) = target.queue.claim(queued, until_ms).await? else { return Ok(()) };
        let id = claimed.entry.event_id();
        let message = claimed.entry.event().message(*format, &self.source);
        let sending = self.environment.unix_s();
        let outcome =
            self.sender.post(receiver, &id.to_string(), sending, message, ANSWER_BYTES_MAX).await;
        let said = described(&outcome);
        let now_ms = self.environment.unix_ms();
        let attempt = Attempt { at_ms: now_ms, outcome: said.clone() };
        let failed = claimed.entry.attempts;
        match next(&outcome, failed, &self.pace.pauses, self.environment.random()) {
            Next::Delivered => {
                tracing::debug!(hook = name, %id, "delivered");
                count(&target.tally.delivered);
                if target.queue.delivered(&claimed).await? {
                    uncount(&target.tally.waiting);
                }
            }
            Next::Again(pause_ms) => {
                tracing::info!(hook = name, %id, said, pause_ms, "not delivered yet");
                count(&target.tally.failed);
                target.queue.again(claimed, now_ms.saturating_add(pause_ms), attempt).await?;
            }
            Next::GiveUp => {
                tracing::warn!(hook = name, %id, said, "given up; `outport hooks replay` sends it again");
                count(&target.tally.failed);
                self.bury(target, claimed, attempt).await?;
            }
        }
        Ok(())
    }

    async fn bury(
        &self,
        target: &Target,
        claimed: Queued,
        attempt: Attempt,
    ) -> Result<(), MetaError> {
        target.queue.bury(claimed, attempt).await?;
        uncount(&target.tally.waiting);
        if count(&target.tally.dead) >= DEAD_MAX && target.queue.forget_oldest_dead().await? {
            tracing::error!(hook = target.webhook.name, "the oldest of what was given up is gone");
            uncount(&target.tally.dead);
        }
        Ok(())
    }
}

impl Target {
    /// Counts what is in the queue.
    pub(crate) async fn count(&self) -> Result<(), MetaError> {
        let (waiting, dead) = (Shelf::Waiting, Shelf::Dead);
        self.tally.waiting.store(self.queue.count(waiting).await?, Ordering::Relaxed);
        self.tally.dead.store(self.queue.count(dead).await?, Ordering::Relaxed);
        Ok(())
    }
}

/// Adds one; returns what there was before.
pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}

/// Takes one away, of what may be counted a little wrong.
pub(crate) fn uncount(counter: &AtomicU64) {
    let less = |count: u64| Some(count.saturating_sub(1));
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less); // Never refused.
}

fn described(outcome: &Result<Answer, SendError>) -> String {
    match outcome {
        Ok(answer) => format!("status {}", answer.status.as_u16()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after_s: Option<u64>) -> Result<Answer, SendError> {
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: retry_after_s.map(Duration::from_secs),
            body: None,
        })
    }

    /// What follows from an attempt of the default pace, without jitter.
    fn after(outcome: &Result<Answer, SendError>, failed: u32) -> Next {
        next(outcome, failed, &Pace::default().pauses, 0)
    }

    #[test]
    fn the_schedule_is_that_of_standard_webhooks() {
        let failure = Err(SendError::Timeout);
        let pauses_ms: Vec<u64> = (0..9)
            .map(|failed| match after(&failure, failed) {
                Next::Again(pause_ms) => pause_ms / 1000,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses_ms, [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!(after(&failure, 9), Next::GiveUp);
        assert_eq!(after(&failure, u32::MAX), Next::GiveUp);
        // Three days and more.
        assert!(pauses_ms.iter().sum::<u64>() > 3 * 86_400);
    }

    #[test]
    fn what_an_answer_means() {
        for status in [200, 204, 299] {
            assert_eq!(after(&answer(status, None), 0), Next::Delivered);
        }
        for status in [302, 400, 404, 500] {
            assert_eq!(after(&answer(status, None), 0), Next::Again(5_000));
        }
        assert_eq!(after(&answer(410, None), 0), Next::GiveUp);
    }

    #[test]
    fn a_receiver_is_left_alone_when_it_asks_for_it() {
        assert_eq!(after(&answer(503, Some(60)), 0), Next::Again(60_000));
        assert_eq!(after(&answer(429, Some(60)), 1), Next::Again(300_000));
        assert_eq!(after(&answer(503, Some(u64::MAX)), 0), Next::Again(86_400_000));
    }

    #[test]
    fn jitter_lengthens_by_a_tenth_at_most() {
        let minute = Duration::from_secs(60);
        for random in [0, 1, 5_999, 6_000, u64::MAX] {
            assert!((60_000..66_000).contains(&with_jitter(minute, random)), "{random}");
        }
        assert_eq!(with_jitter(Duration::ZERO, u64::MAX), 0);
    }
}

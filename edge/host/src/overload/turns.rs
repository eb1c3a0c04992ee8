//! Turns of anonymous requests: while there is too much to do, each waits for its own.
//!
//! To wait costs a connection that is there already, and no time of a processor. So a burst that is
//! genuine is served a moment later instead of being refused, and who floods waits for himself: a
//! connection of HTTP/1.1 asks for nothing more until it has its answer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

/// Whoever would have to wait longer is refused instead, and at once where that can be known.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The most that go at once are those of so long.
const BURST: Duration = Duration::from_millis(20);

/// Who goes when.
#[derive(Debug)]
pub(super) struct Turns {
    is_bounded: AtomicBool,
    granted: Semaphore,
    waiting: AtomicUsize,
    /// As many may wait.
    waiting_max: AtomicUsize,
    /// How many did not go at once.
    waited: AtomicU64,
}

/// One that waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            is_bounded: AtomicBool::default(),
            granted: Semaphore::new(0),
            waiting: AtomicUsize::default(),
            waiting_max: AtomicUsize::default(),
            waited: AtomicU64::default(),
        }
    }
}

impl Turns {
    pub(super) fn is_bounded(&self) -> bool {
        self.is_bounded.load(Ordering::Relaxed)
    }

    /// How many did not go at once so far.
    pub(super) fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Waits for a turn; false if it would not come in time.
    pub(super) async fn next(&self) -> bool {
        if !self.is_bounded() {
            return true;
        }
        if let Ok(turn) = self.granted.try_acquire() {
            turn.forget();
            return true;
        }
        self.waited.fetch_add(1, Ordering::Relaxed);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max.load(Ordering::Relaxed) {
            return false;
        }
        match tokio::time::timeout(WAIT_MAX, self.granted.acquire()).await {
            Ok(Ok(turn)) => turn.forget(),
            Ok(Err(_)) | Err(_) => return false,
        }
        true
    }

    /// So many a second go from now on, and these now.
    pub(super) fn grant(&self, per_s: f64, turns: usize) {
        let burst = ((per_s * BURST.as_secs_f64()) as usize).max(1);
        self.waiting_max.store((per_s * WAIT_MAX.as_secs_f64()) as usize, Ordering::Relaxed);
        self.is_bounded.store(true, Ordering::Relaxed);
        let unused = self.granted.available_permits();
        self.granted.add_permits(burst.saturating_sub(unused).min(turns));
    }

    /// Whoever comes goes, and whoever waits.
    pub(super) fn release(&self) {
        self.is_bounded.store(false, Ordering::Relaxed);
        let unused = self.granted.available_permits();
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.granted.add_permits(waiting.saturating_sub(unused));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::{JoinSet, yield_now};
    use tokio::time::{Instant, advance};

    use super::*;

    /// So many come, and are where they wait.
    async fn come(turns: &Arc<Turns>, count: usize) -> JoinSet<bool> {
        let mut all = JoinSet::new();
        for _ in 0..count {
            let turns = turns.clone();
            all.spawn(async move { turns.next().await });
            yield_now().await;
        }
        all
    }

    async fn gone(all: JoinSet<bool>) -> usize {
        all.join_all().await.into_iter().filter(|gone| *gone).count()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_goes_where_there_is_no_bound() {
        let turns = Arc::new(Turns::default());
        assert_eq!(gone(come(&turns, 1_000).await).await, 1_000);
        assert_eq!(turns.waited(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_go_as_are_granted_and_the_rest_in_order() {
        let turns = Arc::new(Turns::default());
        turns.grant(1_000.0, 5);
        let mut all = come(&turns, 12).await;
        assert_eq!(turns.waited(), 7);
        assert_eq!(std::iter::from_fn(|| all.try_join_next()).count(), 5);
        turns.grant(1_000.0, 5);
        yield_now().await;
        assert_eq!(std::iter::from_fn(|| all.try_join_next()).count(), 5);
        turns.release();
        assert_eq!(gone(all).await, 2);
        assert_eq!(gone(come(&turns, 100).await).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_turns_are_not_saved_up() {
        let turns = Arc::new(Turns::default());
        for _ in 0..100 {
            turns.grant(1_000.0, 5);
        }
        let mut all = come(&turns, 100).await;
        assert_eq!(std::iter::from_fn(|| all.try_join_next()).count(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_go_in_time() {
        let turns = Arc::new(Turns::default());
        turns.grant(200.0, 0);
        let mut all = come(&turns, 250).await;
        let refused: Vec<_> = std::iter::from_fn(|| all.try_join_next()).collect();
        assert!(refused.len() == 50 && refused.iter().all(|gone| !gone.as_ref().unwrap()));
        let begun = Instant::now();
        advance(WAIT_MAX).await;
        assert_eq!(gone(all).await, 0);
        assert!(begun.elapsed() < WAIT_MAX * 2);
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_takes_no_turn() {
        let turns = Arc::new(Turns::default());
        turns.grant(1_000.0, 0);
        let gave_up = come(&turns, 5).await;
        let mut all = come(&turns, 1).await;
        drop(gave_up);
        yield_now().await;
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 1);
        turns.grant(1_000.0, 1);
        yield_now().await;
        assert!(all.try_join_next().unwrap().unwrap());
    }
}

//! How many anonymous requests are let through a second, while there is too much to do.
//!
//! As TCP finds out what a network carries (RFC 5681): where a delay stands, the rate falls by a part of
//! what came through; where none does, it rises slowly. Once nobody has been refused for a while, there
//! is no bound.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A delay stands if each measurement of so long is above the target: the interval of CoDel (RFC 8289,
/// section 4.2).
const STANDS: Duration = Duration::from_millis(100);
/// What is left of the rate where a delay stands.
const FALL: f64 = 0.7;
/// For how long it does not fall again: so long it takes until what had come in before is done.
const FALLS_EVERY: Duration = Duration::from_millis(200);
/// By which part of itself it rises in a second without a delay.
const RISE: f64 = 0.5;
/// Fewer a second are always let through: where no more come, it is not they who make the delay, and to
/// refuse some would not mend it.
const PER_S_MIN: f64 = 200.0;
/// How long nobody must have been refused, before there is no bound any more.
const EASE: Duration = Duration::from_secs(1);
/// The time over which it is measured how many come through.
const MEASURED: Duration = Duration::from_millis(200);
/// The most that are let through at once are those of so long.
const BURST: Duration = Duration::from_millis(20);

/// What is left to be let through now; [`UNBOUNDED`] is whatever comes.
#[derive(Debug)]
pub(super) struct Credits(AtomicU32);

const UNBOUNDED: u32 = u32::MAX;

impl Default for Credits {
    fn default() -> Self {
        Self(AtomicU32::new(UNBOUNDED))
    }
}

impl Credits {
    pub(super) fn is_bounded(&self) -> bool {
        self.0.load(Ordering::Relaxed) != UNBOUNDED
    }

    /// Whether one more is let through.
    pub(super) fn take(&self) -> bool {
        let less = |left: u32| match left {
            UNBOUNDED => Some(UNBOUNDED),
            left => left.checked_sub(1),
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    pub(super) fn set(&self, left: Option<u32>) {
        self.0.store(left.map_or(UNBOUNDED, |left| left.min(UNBOUNDED - 1)), Ordering::Relaxed);
    }
}

/// What was measured since the last time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) time: Duration,
    /// How long a task that was ready had to wait.
    pub(super) delay: Duration,
    /// Anonymous requests that were taken, and that were refused.
    pub(super) taken: u64,
    pub(super) refused: u64,
}

/// The rate, and what it was learnt from.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// None: no bound.
    per_s: Option<f64>,
    taken_per_s: f64,
    /// How long each measurement has been above the target.
    late: Duration,
    /// How long ago it fell.
    fallen: Duration,
    /// How long nobody has been refused.
    eased: Duration,
    /// What was granted and not used up, parts of a request among it.
    left: f64,
}

impl Rate {
    /// Learns from a measurement, and gives what is to be let through until the next, if that is bounded.
    /// `left` is what the last grant has left.
    pub(super) fn learn(&mut self, measured: Measured, target: Duration) -> Option<u32> {
        let Measured { time, delay, taken, refused } = measured;
        let weight = (time.as_secs_f64() / MEASURED.as_secs_f64()).min(1.0);
        let per_s = taken as f64 / time.as_secs_f64().max(f64::EPSILON);
        self.taken_per_s += (per_s - self.taken_per_s) * weight;
        self.eased = if refused > 0 { Duration::ZERO } else { self.eased + time };
        self.late = if delay > target { self.late + time } else { Duration::ZERO };
        self.fallen += time;
        if self.late >= STANDS && (self.per_s.is_none() || self.fallen >= FALLS_EVERY) {
            (self.late, self.fallen) = (Duration::ZERO, Duration::ZERO);
            self.fall();
        } else if delay <= target {
            self.rise(time);
        }
        let per_s = self.per_s?;
        let burst = (per_s * BURST.as_secs_f64()).max(1.0);
        self.left =
            (self.left.max(taken as f64) - taken as f64 + per_s * time.as_secs_f64()).min(burst);
        Some(self.left as u32)
    }

    fn fall(&mut self) {
        let came = self.per_s.map_or(self.taken_per_s, |per_s| per_s.min(self.taken_per_s));
        if came > PER_S_MIN {
            self.per_s = Some((came * FALL).max(PER_S_MIN));
        }
    }

    fn rise(&mut self, time: Duration) {
        let Some(per_s) = &mut self.per_s else { return };
        *per_s += (*per_s * RISE) * time.as_secs_f64();
        if self.eased >= EASE {
            self.per_s = None;
            self.left = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(5);
    const TIME: Duration = Duration::from_millis(5);

    fn measured(delay_ms: u64, taken: u64, refused: u64) -> Measured {
        Measured { time: TIME, delay: Duration::from_millis(delay_ms), taken, refused }
    }

    /// A rate that has seen so many a second come through.
    fn seen(per_s: u64) -> Rate {
        let mut rate = Rate::default();
        for _ in 0..1_000 {
            assert_eq!(rate.learn(measured(0, per_s / 200, 0), TARGET), None);
        }
        rate
    }

    fn learn(rate: &mut Rate, times: usize, measured: Measured) {
        for _ in 0..times {
            rate.learn(measured, TARGET);
        }
    }

    #[test]
    fn falls_where_a_delay_stands_and_not_before() {
        let mut rate = seen(10_000);
        learn(&mut rate, 19, measured(6, 50, 0));
        learn(&mut rate, 1, measured(5, 50, 0));
        learn(&mut rate, 19, measured(6, 50, 0));
        assert_eq!(rate.per_s, None);
        let granted = rate.learn(measured(6, 50, 0), TARGET);
        assert!(matches!(granted, Some(34 | 35)), "seven tenths of 50: {granted:?}");
        // Of what comes through, not of what might.
        for _ in 0..1_000 {
            rate.learn(measured(0, 10, 1), TARGET);
        }
        learn(&mut rate, 20, measured(6, 10, 1));
        assert!(rate.per_s.is_some_and(|per_s| per_s < 1_500.0), "{rate:?}");
        // And not again at once.
        let fallen = rate.per_s;
        learn(&mut rate, 39, measured(6, 5, 1));
        assert_eq!(rate.per_s, fallen);
        rate.learn(measured(6, 5, 1), TARGET);
        assert!(rate.per_s < fallen, "{rate:?}");
    }

    #[test]
    fn a_few_are_always_let_through() {
        let mut rate = seen(10_000);
        for _ in 0..10_000 {
            rate.learn(measured(1_000, 1, 9), TARGET);
        }
        assert_eq!(rate.per_s, Some(PER_S_MIN));
        // Something else is slow.
        let mut rate = seen(0);
        for _ in 0..10_000 {
            assert_eq!(rate.learn(measured(1_000, 0, 0), TARGET), None);
        }
    }

    #[test]
    fn rises_until_nobody_is_refused() {
        let mut rate = seen(10_000);
        learn(&mut rate, 20, measured(6, 50, 0));
        let fallen = rate.per_s.unwrap();
        for _ in 0..200 {
            rate.learn(measured(0, 35, 5), TARGET);
        }
        let risen = rate.per_s.unwrap() / fallen;
        assert!((1.4..1.8).contains(&risen), "{risen}");
        for _ in 0..199 {
            assert!(rate.learn(measured(0, 35, 0), TARGET).is_some());
        }
        assert_eq!(rate.learn(measured(0, 35, 0), TARGET), None);
    }

    #[test]
    fn grants_what_the_rate_is() {
        let mut rate = seen(10_000);
        learn(&mut rate, 20, measured(6, 50, 0));
        // Neither falling nor rising: late once at a time.
        let mut granted = 0;
        let mut taken = 0;
        for _ in 0..100 {
            rate.late = Duration::ZERO;
            taken = u64::from(rate.learn(measured(6, taken, 9), TARGET).unwrap()).min(20);
            granted += taken;
        }
        let per_s = granted as f64 * 2.0;
        assert!(per_s <= rate.per_s.unwrap() + 200.0, "{per_s}");
        let credits = Credits::default();
        assert!(!credits.is_bounded() && (0..1_000).all(|_| credits.take()));
        credits.set(Some(2));
        assert_eq!((0..9).filter(|_| credits.take()).count(), 2);
    }
}

//! How many anonymous requests are let through a second, while there is too much to do.
//!
//! As TCP finds out what a network carries (RFC 5681): where a delay stands, the rate falls by a part of
//! what came through; where none does, it rises slowly. Once nobody has had to wait for a while, there is
//! no bound.

use std::time::Duration;

/// A delay stands if each measurement of so long is above the target: the interval of CoDel (RFC 8289,
/// section 4.2). A burst alone leads to no bound.
const STANDS: Duration = Duration::from_millis(100);
/// Once there is a bound, so long is enough: what is too much by a little is seen before much has piled up.
const STANDS_BOUNDED: Duration = Duration::from_millis(10);
/// What is left of the rate where a delay stands.
const FALL: f64 = 0.7;
/// For how long it does not fall again: so long it takes until what had come in before is done.
const FALLS_EVERY: Duration = Duration::from_millis(50);
/// By which part of itself it rises in a second without a delay.
const RISE: f64 = 0.2;
/// Fewer a second are always let through: where no more come, it is not they who make the delay, and to
/// let some wait would not mend it.
const PER_S_MIN: f64 = 500.0;
/// How long nobody must have had to wait, before there is no bound any more.
const EASE: Duration = Duration::from_secs(1);
/// The time over which it is measured how many come through.
const MEASURED: Duration = Duration::from_millis(200);

/// What was measured since the last time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) time: Duration,
    /// How long a task that was ready had to wait.
    pub(super) delay: Duration,
    /// Anonymous requests that were taken, and that had to wait or were refused.
    pub(super) taken: u64,
    pub(super) waited: u64,
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
    /// How long nobody has had to wait.
    eased: Duration,
}

impl Rate {
    /// Learns from a measurement, and gives how many a second are to be let through, if that is bounded.
    pub(super) fn learn(&mut self, measured: Measured, target: Duration) -> Option<f64> {
        let Measured { time, delay, taken, waited } = measured;
        let weight = (time.as_secs_f64() / MEASURED.as_secs_f64()).min(1.0);
        let per_s = taken as f64 / time.as_secs_f64().max(f64::EPSILON);
        self.taken_per_s += (per_s - self.taken_per_s) * weight;
        self.eased = if waited > 0 { Duration::ZERO } else { self.eased + time };
        self.late = if delay > target { self.late + time } else { Duration::ZERO };
        self.fallen += time;
        let (stands, since) = match self.per_s {
            None => (STANDS, Duration::ZERO),
            Some(_) => (STANDS_BOUNDED, FALLS_EVERY),
        };
        if self.late >= stands && self.fallen >= since {
            (self.late, self.fallen) = (Duration::ZERO, Duration::ZERO);
            self.fall();
        } else if delay <= target {
            self.rise(time);
        }
        self.per_s
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(5);
    const TIME: Duration = Duration::from_millis(5);

    fn measured(delay_ms: u64, taken: u64, waited: u64) -> Measured {
        Measured { time: TIME, delay: Duration::from_millis(delay_ms), taken, waited }
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
        let per_s = rate.learn(measured(6, 50, 0), TARGET);
        assert!(per_s.is_some_and(|per_s| (6_900.0..7_100.0).contains(&per_s)), "{per_s:?}");
        // Of what comes through, not of what might.
        for _ in 0..1_000 {
            rate.learn(measured(0, 10, 1), TARGET);
        }
        // Once there is a bound, sooner; and not for one measurement.
        let risen = rate.per_s;
        learn(&mut rate, 1, measured(6, 10, 1));
        assert_eq!(rate.per_s, risen);
        learn(&mut rate, 1, measured(6, 10, 1));
        assert!(rate.per_s.is_some_and(|per_s| (1_300.0..1_500.0).contains(&per_s)), "{rate:?}");
        // And not again at once.
        let fallen = rate.per_s;
        learn(&mut rate, 9, measured(6, 5, 1));
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
    fn rises_until_nobody_waits() {
        let mut rate = seen(10_000);
        learn(&mut rate, 20, measured(6, 50, 0));
        let fallen = rate.per_s.unwrap();
        for _ in 0..200 {
            rate.learn(measured(0, 35, 5), TARGET);
        }
        let risen = rate.per_s.unwrap() / fallen;
        assert!((1.15..1.3).contains(&risen), "{risen}");
        for _ in 0..199 {
            assert!(rate.learn(measured(0, 35, 0), TARGET).is_some());
        }
        assert_eq!(rate.learn(measured(0, 35, 0), TARGET), None);
    }
}

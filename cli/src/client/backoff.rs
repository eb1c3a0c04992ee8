//! How long to wait before an interrupted transfer is taken up again, and when to give up.

use std::time::Duration;

use rand::Rng as _;

use crate::failure::Failure;

/// Attempts in a row that may bring nothing.
const FRUITLESS_MAX: u32 = 8;
const DELAY_FIRST: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(15);

/// Counts attempts that brought nothing.
#[derive(Default)]
pub(crate) struct Backoff {
    fruitless: u32,
}

impl Backoff {
    /// The transfer got further: the count starts anew.
    pub(crate) fn progressed(&mut self) {
        self.fruitless = 0;
    }

    /// How long to wait before the next attempt; the failure itself where another is no use.
    pub(crate) fn after(&mut self, failure: Failure) -> Result<Duration, Failure> {
        self.fruitless += 1;
        if !may_pass(&failure) || self.fruitless > FRUITLESS_MAX {
            return Err(failure);
        }
        let full = (DELAY_FIRST * 2u32.pow(self.fruitless - 1)).min(DELAY_MAX);
        // Clients that were cut off together shall not come back together.
        Ok(full.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}

/// Whether the same request may succeed later without anybody's doing.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable { .. } => true,
        Failure::Refused { status, .. } => {
            matches!(status, 408 | 409 | 423 | 425 | 429 | 500 | 502 | 503 | 504)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Problem;

    fn gone() -> Failure {
        Failure::Unreachable { server: String::new(), reason: String::new() }
    }

    #[test]
    fn waits_longer_each_time_and_gives_up() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = std::iter::from_fn(|| backoff.after(gone()).ok()).take(99).collect();
        assert_eq!(delays.len(), 8);
        assert!(delays[0] <= DELAY_FIRST && delays[7] > Duration::from_secs(5), "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX));
    }

    #[test]
    fn progress_begins_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..50 {
            backoff.after(gone()).unwrap();
            backoff.progressed();
        }
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        for (status, passes) in
            [(401, false), (404, false), (413, false), (503, true), (507, false)]
        {
            let refused = Failure::Refused { status, problem: Problem::default() };
            assert_eq!(Backoff::default().after(refused).is_ok(), passes, "{status}");
        }
    }
}

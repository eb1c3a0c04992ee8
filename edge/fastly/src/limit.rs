//! Allowances, as the platform's rate limiter keeps them.
//!
//! It counts over windows of 1, 10 or 60 seconds, in each point of presence for itself, and may
//! miss a tenth. Who goes over is refused for a minute at least. So an allowance is kept as what
//! it lets through at most in the shortest window in which it refills: nobody is refused who kept
//! to it.

use std::time::Duration;

use fastly::erl::{ERL, Penaltybox, RateCounter, RateWindow};
use outport_edge_core::step::{Allowance, Taken};

const SECOND_US: u64 = 1_000_000;
/// The least and the most that the platform refuses somebody for, in seconds.
const PENALTY_S: (u64, u64) = (60, 3600);

/// Takes one. `key` is the limit's name, a space, and who takes.
pub(crate) fn take(key: &str, allowance: Allowance) -> Taken {
    let (limit, taker) = key.split_once(' ').unwrap_or(("", key));
    let name = format!("outport_{limit}");
    let limiter = ERL::open(RateCounter::open(&name), Penaltybox::open(&name));
    let (window, per_second, penalty) = rule(allowance);
    let over = limiter.check_rate(taker, 1, window, per_second, penalty);
    // Where the platform fails, the client is not at fault.
    let over = crate::logged("a limit could not be checked", over).unwrap_or(false);
    Taken { allowed: !over, left: None }
}

/// Window, requests a second over it, and how long to refuse.
fn rule(allowance: Allowance) -> (RateWindow, u32, Duration) {
    let interval_us = allowance.interval_us.max(1);
    let refill_s = (interval_us * u64::from(allowance.burst)).div_ceil(SECOND_US);
    let (window, window_s) = match refill_s {
        0..=1 => (RateWindow::OneSec, 1),
        2..=10 => (RateWindow::TenSecs, 10),
        _ => (RateWindow::SixtySecs, 60),
    };
    let most = u64::from(allowance.burst) + window_s * SECOND_US / interval_us;
    let per_second = u32::try_from(most.div_ceil(window_s)).unwrap_or(u32::MAX);
    (window, per_second, Duration::from_secs(refill_s.clamp(PENALTY_S.0, PENALTY_S.1)))
}

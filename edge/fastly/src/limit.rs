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
/// How long the platform may refuse somebody, in seconds.
const PENALTY_S: (u64, u64) = (60, 3600);

/// Takes one. `key` is the limit's name, a space, and who takes.
pub(crate) fn take(key: &str, allowance: Allowance) -> Taken {
    let (limit, taker) = key.split_once(' ').unwrap_or(("", key));
    let (window, per_second, penalty) = rule(allowance);
    let limiter = ERL::open(
        RateCounter::open(&format!("outport_{limit}")),
        Penaltybox::open(&format!("outport_{limit}")),
    );
    let over = limiter.check_rate(taker, 1, window, per_second, penalty).unwrap_or_else(|error| {
        // Who is at fault is not the client.
        eprintln!("outport: the limit {limit} could not be checked: {error}");
        false
    });
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
    let (shortest_s, longest_s) = PENALTY_S;
    (window, per_second, Duration::from_secs(refill_s.clamp(shortest_s, longest_s)))
}

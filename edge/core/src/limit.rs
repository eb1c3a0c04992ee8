//! Allowances: GCRA (the generic cell rate algorithm of ITU-T I.371) and how clients are told.
//!
//! An allowance is one number per taker, the theoretical arrival time. Whoever keeps that number
//! (a driver) calls [`take`]; who takes from which allowance is decided here.

use std::net::IpAddr;

use outport_wire::identity::Identity;

use crate::head::Fields;
use crate::step::{Allowance, Left, Need, Taken};

/// Takes one unit. `arrival_us` is the number kept for this taker (0 at first), `now_us` the time
/// on the same clock. Returns the number to keep and what the taker is told.
pub fn take(arrival_us: u64, now_us: u64, allowance: Allowance) -> (u64, Taken) {
    let interval = allowance.interval_us.max(1);
    let window = interval.saturating_mul(u64::from(allowance.burst));
    let next = arrival_us.max(now_us).saturating_add(interval);
    let latest = now_us.saturating_add(window);
    let allowed = next <= latest;
    let kept = if allowed { next } else { arrival_us };
    let room = latest.saturating_sub(kept.max(now_us));
    let left = Left {
        remaining: u32::try_from(room / interval).unwrap_or(u32::MAX),
        retry_us: if allowed { 0 } else { next - latest },
        full_us: kept.saturating_sub(now_us),
    };
    (kept, Taken { allowed, left: Some(left) })
}

/// A named limit, as the configuration states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) allowance: Allowance,
}

impl Limit {
    /// The need to take one unit, for the identity where there is one, else for its network:
    /// an IPv4 address, or an IPv6 /64.
    pub(crate) fn need(&self, identity: Option<&Identity>, client: IpAddr) -> Need {
        let taker = match (identity, client) {
            (Some(identity), _) => format!("i {} {}", identity.tenant, identity.subject),
            (None, IpAddr::V4(address)) => format!("n {address}"),
            (None, IpAddr::V6(address)) => format!("n {:x}", u128::from(address) >> 64),
        };
        Need::Take { key: format!("{} {taker}", self.name), allowance: self.allowance }
    }

    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), and
    /// `Retry-After` where the taker was refused. What the platform can't tell is left out.
    pub(crate) fn describe(&self, taken: Taken, fields: &mut Fields) {
        let (name, burst, window_s) = (&self.name, self.allowance.burst, self.window_s());
        let policy = format_args!("\"{name}\";q={burst};w={window_s}");
        fields.push_args("ratelimit-policy", policy);
        if let Some(Left { remaining, full_us, .. }) = taken.left {
            let full_s = seconds(full_us);
            fields.push_args("ratelimit", format_args!("\"{name}\";r={remaining};t={full_s}"));
        }
        if !taken.allowed {
            fields.push_number("retry-after", self.retry_s(taken));
        }
    }

    /// How long a refused taker should wait: until there is one more unit or, where nobody knows
    /// when, for as long as a spent allowance takes to be full again. Seconds are rounded up, so
    /// that whoever waits that long is served.
    pub(crate) fn retry_s(&self, taken: Taken) -> u64 {
        taken.left.map_or(self.window_s(), |left| seconds(left.retry_us).max(1))
    }

    fn window_s(&self) -> u64 {
        let Allowance { interval_us, burst } = self.allowance;
        seconds(interval_us.saturating_mul(u64::from(burst))).max(1)
    }
}

const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_A_SECOND: Allowance = Allowance { interval_us: 100_000, burst: 3 };

    #[test]
    fn burst_then_pace() {
        let now = 1_000_000_000;
        let mut kept = 0;
        for remaining in [2, 1, 0] {
            let (next, taken) = take(kept, now, TEN_A_SECOND);
            assert!(taken.allowed);
            assert_eq!(taken.left.unwrap().remaining, remaining);
            kept = next;
        }
        let (unchanged, refused) = take(kept, now, TEN_A_SECOND);
        assert_eq!(unchanged, kept);
        let left = Left { remaining: 0, retry_us: 100_000, full_us: 300_000 };
        assert_eq!(refused, Taken { allowed: false, left: Some(left) });
        assert!(!take(kept, now + 99_999, TEN_A_SECOND).1.allowed);
        assert!(take(kept, now + 100_000, TEN_A_SECOND).1.allowed);
    }

    #[test]
    fn rest_refills_no_further_than_the_burst() {
        let (kept, _) = take(0, 1_000_000, TEN_A_SECOND);
        let (_, taken) = take(kept, 900_000_000_000, TEN_A_SECOND);
        assert_eq!(taken.left.unwrap().remaining, 2);
    }

    #[test]
    fn a_clock_that_steps_back_harms_nobody() {
        let (kept, _) = take(0, 5_000_000, TEN_A_SECOND);
        let (_, taken) = take(kept, 4_999_950, TEN_A_SECOND);
        assert!(taken.allowed);
    }

    #[test]
    fn who_takes() {
        let limit = Limit { name: "read".into(), allowance: TEN_A_SECOND };
        let key = |identity: Option<&Identity>, peer: &str| match limit
            .need(identity, peer.parse().unwrap())
        {
            Need::Take { key, .. } => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(key(None, "192.0.2.7"), "read n 192.0.2.7");
        assert_eq!(key(None, "2001:db8:1:2::3"), key(None, "2001:db8:1:2:ffff::"));
        assert_ne!(key(None, "2001:db8:1:2::3"), key(None, "2001:db8:1:3::3"));
        let alice = Identity::new("demo", "alice", Default::default()).unwrap();
        assert_eq!(key(Some(&alice), "192.0.2.7"), "read i demo alice");
    }

    #[test]
    fn what_clients_are_told() {
        let limit = Limit { name: "read".into(), allowance: TEN_A_SECOND };
        let told = |taken: Taken| {
            let mut fields = Fields::new();
            limit.describe(taken, &mut fields);
            String::from_utf8(fields.into_bytes()).unwrap()
        };
        let left = Left { remaining: 0, retry_us: 1_000_001, full_us: 5 };
        assert_eq!(
            told(Taken { allowed: false, left: Some(left) }),
            "ratelimit-policy: \"read\";q=3;w=1\r\nratelimit: \"read\";r=0;t=1\r\nretry-after: 2\r\n"
        );
        // A limiter that says no, and nothing else.
        assert_eq!(
            told(Taken { allowed: false, left: None }),
            "ratelimit-policy: \"read\";q=3;w=1\r\nretry-after: 1\r\n"
        );
    }
}

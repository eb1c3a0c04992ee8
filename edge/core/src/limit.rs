//! Allowances: GCRA (the generic cell rate algorithm of ITU-T I.371) and how clients are told.
//!
//! An allowance is one number per taker, the theoretical arrival time. Whoever keeps that number
//! (a driver) calls [`take`]; who takes from which allowance is decided here.
//!
//! Who is not signed in is counted by network, and whoever has one network often has its neighbours
//! too. So a unit is taken from wider networks as well, whose allowances are larger: after the own
//! one, so that who has spent that takes nothing from neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outport_wire::identity::Identity;

use crate::head::Fields;
use crate::step::{Allowance, Left, Need, Share, Taken, Wider};

/// The bits of the network that an anonymous client is counted by.
const BITS_V4: u8 = 32;
const BITS_V6: u8 = 64;
/// The bits of those around it, and how many times the allowance each has. Customers are given an IPv6
/// /64 at least and commonly a /56, sites a /48 (RFC 6177, section 2); an IPv4 /24 is the smallest
/// network that is routed by itself.
const WIDER_V4: [(u8, u32); 1] = [(24, 16)];
const WIDER_V6: [(u8, u32); 2] = [(56, 4), (48, 16)];

/// Takes one unit. `arrival_us` is the number kept for this taker (0 at first), `now_us` the time
/// on the same clock. Returns the number to keep, even of who is refused, and what the taker is told.
///
/// A clock that steps back spends at most the whole allowance, which refills from then on; one that
/// steps forward refills it. Neither gives more than the whole.
pub fn take(arrival_us: u64, now_us: u64, allowance: Allowance) -> (u64, Taken) {
    let interval = allowance.interval_us.max(1);
    let window = interval.saturating_mul(u64::from(allowance.burst));
    let latest = now_us.saturating_add(window);
    // Only a clock that has stepped back makes it later than that.
    let arrival_us = arrival_us.min(latest);
    let next = arrival_us.max(now_us).saturating_add(interval);
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

/// Pays for so many units that were had already. Returns the number to keep, as [`take`] does. The clock
/// is one that never steps back: what is owed is not bounded by the whole allowance.
pub fn pay(arrival_us: u64, now_us: u64, allowance: Allowance, units: u64) -> u64 {
    let cost = allowance.interval_us.max(1).saturating_mul(units);
    arrival_us.max(now_us).saturating_add(cost)
}

/// How long it takes until something is left again of what is [paid](pay) for, in microseconds.
pub fn owed_us(arrival_us: u64, now_us: u64, allowance: Allowance) -> u64 {
    let interval = allowance.interval_us.max(1);
    let window = interval.saturating_mul(u64::from(allowance.burst));
    let next = arrival_us.max(now_us).saturating_add(interval);
    next.saturating_sub(now_us.saturating_add(window))
}

/// Takes one unit from each of several allowances by `take`, in their order, until one has none. What
/// was taken before that one stays taken: whoever is refused for its neighbours has spent its own.
/// The outcome is the refusal, or else what came of the first.
pub fn take_each(
    key: &str,
    allowance: Allowance,
    wider: &[Wider],
    mut take: impl FnMut(&str, Allowance) -> Taken,
) -> Taken {
    let taken = take(key, allowance);
    if !taken.allowed {
        return taken;
    }
    let mut each = wider.iter().map(|wider| take(&wider.key, wider.allowance));
    each.find(|taken| !taken.allowed).unwrap_or(taken)
}

/// The widest network that an address is counted by, as a text for keys.
pub fn neighbourhood(address: IpAddr) -> String {
    let [.., (v4, _)] = WIDER_V4;
    let [.., (v6, _)] = WIDER_V6;
    network(address, if address.is_ipv4() { v4 } else { v6 })
}

/// The network that an anonymous client is counted by, as a text.
pub(crate) fn own_network(address: IpAddr) -> String {
    network(address, if address.is_ipv4() { BITS_V4 } else { BITS_V6 })
}

/// The network of so many bits that an address is in; those of a single address are not said.
fn network(address: IpAddr, bits: u8) -> String {
    match address {
        IpAddr::V4(address) if bits >= BITS_V4 => address.to_string(),
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
            format!("{}/{bits}", Ipv4Addr::from(u32::from(address) & !host))
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
            format!("{}/{bits}", Ipv6Addr::from(u128::from(address) & !host))
        }
    }
}

/// An allowance that is so many times this one.
fn times(allowance: Allowance, many: u32) -> Allowance {
    Allowance {
        interval_us: (allowance.interval_us / u64::from(many)).max(1),
        burst: allowance.burst.saturating_mul(many),
    }
}

/// A named limit, as the configuration states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) allowance: Allowance,
    pub(crate) share: Option<Share>,
}

impl Limit {
    /// The need to take one unit, for the identity where there is one, else for its network: an
    /// IPv4 address, or an IPv6 /64; and where it `escalates`, for wider networks too.
    pub(crate) fn need(
        &self,
        identity: Option<&Identity>,
        client: IpAddr,
        escalates: bool,
    ) -> Need {
        let Self { name, allowance, .. } = self;
        let own = self.taker(identity, client);
        let wider = match client {
            _ if identity.is_some() || !escalates => &[],
            IpAddr::V4(_) => &WIDER_V4[..],
            IpAddr::V6(_) => &WIDER_V6[..],
        };
        let key = |bits| format!("{name} n {}", network(client, bits));
        let wider = wider.iter();
        let wider = wider
            .map(|(bits, many)| Wider { key: key(*bits), allowance: times(*allowance, *many) });
        Need::Take { key: own, allowance: *allowance, wider: wider.collect() }
    }

    /// The need to be counted among what the same taker has under way, where that is bounded.
    pub(crate) fn share_need(&self, identity: Option<&Identity>, client: IpAddr) -> Option<Need> {
        let key = || self.taker(identity, client);
        self.share.map(|share| Need::Share { key: key(), share })
    }

    /// Who takes: the identity, or the network.
    fn taker(&self, identity: Option<&Identity>, client: IpAddr) -> String {
        let name = &self.name;
        match identity {
            Some(Identity { tenant, subject, .. }) => format!("{name} i {tenant} {subject}"),
            None => format!("{name} n {}", own_network(client)),
        }
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

pub(crate) const fn seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

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
    fn what_is_had_is_paid_for_however_much_it_was() {
        let now = 1_000_000_000;
        assert_eq!(owed_us(0, now, TEN_A_SECOND), 0);
        let kept = pay(0, now, TEN_A_SECOND, 2);
        assert_eq!(owed_us(kept, now, TEN_A_SECOND), 0, "one is left");
        // Three had been left, and ten are had: a tenth of a second for each.
        let kept = pay(0, now, TEN_A_SECOND, 10);
        assert_eq!(owed_us(kept, now, TEN_A_SECOND), 800_000);
        assert_eq!(owed_us(kept, now + 799_999, TEN_A_SECOND), 1);
        assert_eq!(owed_us(kept, now + 800_000, TEN_A_SECOND), 0);
        assert_eq!(owed_us(kept, now + 900_000_000, TEN_A_SECOND), 0);
    }

    #[test]
    fn rest_refills_no_further_than_the_burst() {
        let (kept, _) = take(0, 1_000_000, TEN_A_SECOND);
        let (_, taken) = take(kept, 900_000_000_000, TEN_A_SECOND);
        assert_eq!(taken.left.unwrap().remaining, 2);
    }

    #[test]
    fn a_clock_that_steps_back_costs_an_allowance_and_no_more() {
        let (mut kept, mut now) = (0, 5_000_000_000);
        let mut take_now = |now| {
            let (next, taken) = take(kept, now, TEN_A_SECOND);
            kept = next;
            taken
        };
        assert!(take_now(now).allowed);
        assert!(take_now(now - 50).allowed);
        now -= 3_600_000_000;
        let refused = take_now(now);
        assert_eq!(refused.left.unwrap().retry_us, 100_000);
        // It refills from then on, however far the clock has stepped.
        assert!(!take_now(now + 99_999).allowed);
        assert!(take_now(now + 100_000).allowed);
    }

    /// The same, another way: what was taken and has not come back, counted down microsecond by
    /// microsecond.
    struct Reference {
        spent_us: u64,
        seen_us: u64,
    }

    impl Reference {
        fn take(&mut self, now_us: u64, allowance: Allowance) -> bool {
            let most = allowance.interval_us * u64::from(allowance.burst);
            for _ in self.seen_us..now_us {
                self.spent_us -= u64::from(self.spent_us > 0);
            }
            self.seen_us = now_us;
            let allowed = self.spent_us + allowance.interval_us <= most;
            self.spent_us += if allowed { allowance.interval_us } else { 0 };
            allowed
        }
    }

    /// Forth, mostly.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        vec(prop_oneof![9 => 0..40_i64, 1 => -300..300_i64], 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn as_an_exact_model_has_it(
            interval_us in 1..50_u64,
            burst in 1..9_u32,
            steps in vec(0..80_u64, 1..200),
        ) {
            let allowance = Allowance { interval_us, burst };
            let (mut kept, mut now_us) = (0, 1_000_000);
            let mut reference = Reference { spent_us: 0, seen_us: now_us };
            for step in steps {
                now_us += step;
                let (next, taken) = take(kept, now_us, allowance);
                kept = next;
                prop_assert_eq!(taken.allowed, reference.take(now_us, allowance));
                let left = taken.left.unwrap();
                prop_assert_eq!(left.full_us, reference.spent_us);
                let most = interval_us * u64::from(burst);
                let remaining = (most - reference.spent_us) / interval_us;
                prop_assert_eq!(u64::from(left.remaining), remaining);
                if !taken.allowed {
                    // Right to the microsecond.
                    prop_assert!(!take(kept, now_us + left.retry_us - 1, allowance).1.allowed);
                    prop_assert!(take(kept, now_us + left.retry_us, allowance).1.allowed);
                }
            }
        }

        /// Whatever the clock does: no more is given than the burst and what time that has passed
        /// forth refills, and nobody waits longer than a whole allowance takes.
        #[test]
        fn however_the_clock_steps(
            interval_us in 1..50_u64,
            burst in 1..9_u32,
            steps in steps(),
        ) {
            let allowance = Allowance { interval_us, burst };
            let most = interval_us * u64::from(burst);
            let (mut kept, mut now_us, mut forth_us, mut given) = (0, 1_000_000_u64, 0, 0);
            for step in steps {
                now_us = now_us.saturating_add_signed(step);
                forth_us += u64::try_from(step).unwrap_or(0);
                let (next, taken) = take(kept, now_us, allowance);
                kept = next;
                given += u64::from(taken.allowed);
                prop_assert!(given <= u64::from(burst) + forth_us / interval_us);
                prop_assert!(take(kept, now_us + most, allowance).1.allowed);
            }
        }
    }

    fn limit() -> Limit {
        Limit { name: "read".into(), allowance: TEN_A_SECOND, share: None }
    }

    /// All keys, and by how many times the allowance is larger.
    fn keys(identity: Option<&Identity>, peer: &str, escalates: bool) -> Vec<(String, u32)> {
        let need = limit().need(identity, peer.parse().unwrap(), escalates);
        let Need::Take { key, allowance, wider } = need else { panic!("{need:?}") };
        assert_eq!(allowance, TEN_A_SECOND);
        let times = |wider: Wider| {
            let many = wider.allowance.burst / TEN_A_SECOND.burst;
            assert_eq!(wider.allowance.interval_us, TEN_A_SECOND.interval_us / u64::from(many));
            (wider.key, many)
        };
        std::iter::once((key, 1)).chain(wider.into_iter().map(times)).collect()
    }

    #[test]
    fn who_takes() {
        let key = |identity, peer: &str| keys(identity, peer, false);
        assert_eq!(key(None, "192.0.2.7"), [("read n 192.0.2.7".into(), 1)]);
        assert_eq!(key(None, "2001:db8:1:2::3"), key(None, "2001:db8:1:2:ffff::"));
        assert_ne!(key(None, "2001:db8:1:2::3"), key(None, "2001:db8:1:3::3"));
        let alice = Identity::new("demo", "alice", Default::default()).unwrap();
        for escalates in [false, true] {
            let taken = keys(Some(&alice), "192.0.2.7", escalates);
            assert_eq!(taken, [("read i demo alice".into(), 1)]);
        }
    }

    #[test]
    fn whoever_has_no_token_takes_from_wider_networks_too() {
        let taken = |peer: &str| -> Vec<_> { keys(None, peer, true) };
        let named = |key: &str, many| (format!("read n {key}"), many);
        assert_eq!(taken("192.0.2.7"), [named("192.0.2.7", 1), named("192.0.2.0/24", 16)]);
        assert_eq!(
            taken("2001:db8:1:23ff:5::6"),
            [
                named("2001:db8:1:23ff::/64", 1),
                named("2001:db8:1:2300::/56", 4),
                named("2001:db8:1::/48", 16)
            ]
        );
        assert_eq!(neighbourhood("2001:db8:1:23ff:5::6".parse().unwrap()), "2001:db8:1::/48");
        assert_eq!(neighbourhood("192.0.2.7".parse().unwrap()), "192.0.2.0/24");
    }

    #[test]
    fn who_has_spent_its_own_takes_nothing_from_its_neighbours() {
        let mut kept = std::collections::HashMap::<String, u64>::new();
        let mut from = |peer: &str| {
            let need = limit().need(None, peer.parse().unwrap(), true);
            let Need::Take { key, allowance, wider } = need else { panic!("{need:?}") };
            let mut asked = 0;
            let taken = take_each(&key, allowance, &wider, |key, allowance| {
                asked += 1;
                let arrival = kept.entry(key.to_owned()).or_default();
                let (next, taken) = take(*arrival, 1_000_000, allowance);
                *arrival = next;
                taken
            });
            (taken.allowed, asked)
        };
        for _ in 0..3 {
            assert_eq!(from("2001:db8:1:2300::1"), (true, 3));
        }
        assert_eq!(from("2001:db8:1:2300::1"), (false, 1));
        // Of the /56 there is four times as much, of which that was one part.
        for neighbour in ["2301", "2302", "2303"] {
            for _ in 0..3 {
                assert_eq!(from(&format!("2001:db8:1:{neighbour}::1")), (true, 3), "{neighbour}");
            }
        }
        assert_eq!(from("2001:db8:1:2304::1"), (false, 2));
        // And the next /56 has its own, as far as the /48 reaches.
        assert_eq!(from("2001:db8:1:2400::1"), (true, 3));
    }

    #[test]
    fn what_clients_are_told() {
        let limit = limit();
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

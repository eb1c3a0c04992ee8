//! Shedding load by priority, before the node collapses under it.
//!
//! Two things say that there is too much to do. The delay: how long a task that is ready waits until a
//! thread takes it up. It is measured all the time. Where it stands (in the manner of CoDel, RFC 8289),
//! fewer anonymous requests a second are let through ([`rate`]), each waits for its turn ([`turns`]),
//! and those for whom there would be none in time are refused. Where it becomes unbearable, so are some
//! of the others. And the number of requests that wait for their answers, of which each priority may
//! have its share.
//!
//! Which priority a request has is the core's to say ([`priority`]). Whether the token it bears is
//! good is known of those that were good before ([`proven`]); others are let through in small numbers,
//! for each network and in all, so that a forged one is no ticket. So is who shows that some work was
//! done, which each refusal asks for.

mod proven;
mod rate;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outport_edge_core::challenge::Challenger;
use outport_edge_core::driver::overloaded;
use outport_edge_core::forwarded::TrustedProxies;
use outport_edge_core::limit::neighbourhood;
use outport_edge_core::priority::{self, Claim, Priority};
use outport_edge_core::step::{Allowance, Moment, Reply};
use tokio::time::Instant;

use self::proven::{Fingerprint, Proven};
use self::rate::{Measured, Rate};
use self::turns::Turns;
use crate::limiter::Limiter;

/// How often the delay is measured.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Parts of a priority's requests that are let through, and of the level that one priority takes.
const PARTS: u32 = 1_000;
/// The level at which all lists, and all others who are known, are let through.
const LEVEL_MAX: u32 = 2 * PARTS;
/// Below it, nothing would ever be known to go well again.
const LEVEL_MIN: u32 = PARTS / 20;
/// By how much the level falls with each measurement of an unbearable delay.
const FALL: u32 = 100;
/// By how much it rises with each of a bearable one.
const RISE: u32 = 1;
/// A delay that is unbearable: before that, who is known would rather wait.
const UNBEARABLE: Duration = Duration::from_secs(2);
/// Unproven credentials that are let through while there is too much to do: of a network, and in all.
const UNPROVEN: Allowance = Allowance { interval_us: 100_000, burst: 20 };
const UNPROVEN_IN_ALL: Allowance = Allowance { interval_us: 4_000, burst: 250 };
/// Questions whether the node lives that are answered meanwhile, of a network.
const HEALTH: Allowance = Allowance { interval_us: 50_000, burst: 100 };
/// Whoever is refused is told to wait one of so many seconds, so that not all come back at once.
const RETRY_S_MAX: u32 = 4;

/// When load is shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shedding {
    /// The longest that a task which is ready may wait for a thread, in milliseconds, before the least
    /// important requests wait for their turns; 0: however long.
    pub delay_ms_max: u64,
    /// Requests that may wait for their answers at once: of anonymous ones three quarters of it, of
    /// lists seven eighths.
    pub requests_max: usize,
}

/// Whether a node takes a request.
pub(crate) struct Overload {
    shedding: Shedding,
    trusted_proxies: TrustedProxies,
    challenger: Challenger,
    level: AtomicU32,
    anonymous: Turns,
    delay_us: AtomicU64,
    waiting: AtomicUsize,
    /// Anonymous requests that were taken.
    taken: AtomicU64,
    /// For each priority: what is left of parts of requests, and how many were refused.
    left_over: [AtomicU32; 4],
    shed: [AtomicU64; 4],
    retries: AtomicU32,
    proven: Proven,
    unproven: Limiter,
}

/// A request that was taken, until it has its answer.
pub(crate) struct Taken {
    overload: Arc<Overload>,
    credential: Option<Fingerprint>,
    /// Others come first: it waits for its next turn.
    pub(crate) gives_way: bool,
}

/// A request that was not.
pub(crate) struct Refused {
    /// For how many seconds it should wait.
    retry_after_s: u64,
    is_anonymous: bool,
    client: IpAddr,
}

impl Overload {
    /// Of a node; [`watch`](Self::watch) has to run beside it.
    pub(crate) fn new(
        shedding: Shedding,
        trusted_proxies: TrustedProxies,
        challenger: Challenger,
    ) -> Arc<Self> {
        Arc::new(Self {
            shedding,
            trusted_proxies,
            challenger,
            level: AtomicU32::new(LEVEL_MAX),
            anonymous: Turns::default(),
            delay_us: AtomicU64::default(),
            waiting: AtomicUsize::default(),
            taken: AtomicU64::default(),
            left_over: Default::default(),
            shed: Default::default(),
            retries: AtomicU32::default(),
            proven: Proven::default(),
            unproven: Limiter::new(),
        })
    }

    /// Takes a request by its head, once it is its turn, or refuses it.
    pub(crate) async fn take(
        self: &Arc<Self>,
        head: &[u8],
        peer: IpAddr,
    ) -> Result<Taken, Refused> {
        let claim = priority::claim(head);
        let credential = claim.credential.map(|bytes| self.proven.fingerprint(bytes));
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        // From here on it is counted, and no more once this is dropped.
        let mut taken = Taken { overload: self.clone(), credential, gives_way: false };
        if self.is_at_ease(waiting) {
            let is_anonymous = match credential {
                None => claim.priority == Priority::Anonymous,
                Some(credential) => !self.proven.has(credential),
            };
            self.taken.fetch_add(u64::from(is_anonymous), Ordering::Relaxed);
            return Ok(taken);
        }
        let client = self.trusted_proxies.address(peer, head);
        let has_worked = || self.challenger.is_met(head, client, unix_s());
        let priority = self.standing(claim, credential, || neighbourhood(client), has_worked);
        taken.gives_way = priority == Priority::Anonymous;
        if self.has_room(priority, waiting) && self.is_let_through(priority).await {
            self.taken.fetch_add(u64::from(taken.gives_way), Ordering::Relaxed);
            return Ok(taken);
        }
        if let Some(shed) = self.shed.get(priority as usize) {
            shed.fetch_add(1, Ordering::Relaxed);
        }
        let retry = self.retries.fetch_add(1, Ordering::Relaxed) % RETRY_S_MAX;
        Err(Refused { retry_after_s: u64::from(retry + 1), is_anonymous: taken.gives_way, client })
    }

    /// The answer to a request that was refused: whoever is anonymous is told what work would help.
    pub(crate) fn refusal(&self, refused: &Refused, head: &[u8], moment: Moment) -> Reply {
        let Refused { retry_after_s, is_anonymous, client } = *refused;
        if !is_anonymous {
            return overloaded(retry_after_s);
        }
        self.challenger.overloaded(head, client, retry_after_s, moment)
    }

    /// How many requests were refused of each priority, how many wait for their answers, and how
    /// long a task that is ready has waited last, in microseconds.
    pub(crate) fn counted(&self) -> Counted {
        let shed = Priority::ALL.map(|priority| {
            let shed = self.shed.get(priority as usize);
            (priority.label(), shed.map_or(0, |shed| shed.load(Ordering::Relaxed)))
        });
        let waiting = self.waiting.load(Ordering::Relaxed) as u64;
        Counted { shed, waiting, delay_us: self.delay_us.load(Ordering::Relaxed) }
    }

    fn is_at_ease(&self, waiting: usize) -> bool {
        !self.anonymous.is_bounded()
            && self.level.load(Ordering::Relaxed) >= LEVEL_MAX
            && waiting < self.share(Priority::Anonymous)
    }

    /// The requests that may wait before one of this priority is refused.
    fn share(&self, priority: Priority) -> usize {
        let all = self.shedding.requests_max;
        match priority {
            Priority::Health => usize::MAX,
            Priority::Caller => all,
            Priority::List => all - all / 8,
            Priority::Anonymous => all - all / 4,
        }
    }

    fn has_room(&self, priority: Priority, waiting: usize) -> bool {
        waiting < self.share(priority)
    }

    /// The priority that is a request's due, whatever it claims.
    fn standing(
        &self,
        claim: Claim<'_>,
        credential: Option<Fingerprint>,
        network: impl FnOnce() -> String,
        has_worked: impl FnOnce() -> bool,
    ) -> Priority {
        let is_due = match (claim.priority, credential) {
            (Priority::Health, _) => {
                self.unproven.take(&format!("h {}", network()), HEALTH).allowed
            }
            (_, Some(credential)) => self.proven.has(credential) || self.may_prove(&network()),
            // Work is no ticket either: it lets a few of a network go before the others.
            (_, None) if has_worked() && self.may_prove(&network()) => return Priority::List,
            (_, None) => false,
        };
        if is_due { claim.priority } else { Priority::Anonymous }
    }

    /// Whether a credential that nobody knows is let through, to see whether it is good.
    fn may_prove(&self, network: &str) -> bool {
        self.unproven.take(&format!("n {network}"), UNPROVEN).allowed
            && self.unproven.take("all", UNPROVEN_IN_ALL).allowed
    }

    /// Whether it is among the parts of its priority that are let through now.
    async fn is_let_through(&self, priority: Priority) -> bool {
        // What is refused last is the lowest part of the level.
        let below = match priority {
            Priority::Health => return true,
            Priority::Caller => 0,
            Priority::List => PARTS,
            Priority::Anonymous => return self.anonymous.next().await,
        };
        let parts = self.level.load(Ordering::Relaxed).saturating_sub(below).min(PARTS);
        let Some(left_over) = self.left_over.get(priority as usize) else { return true };
        // Evenly: what is not enough for this one counts for the next.
        left_over.fetch_add(parts, Ordering::Relaxed) % PARTS + parts >= PARTS
    }

    /// Measures the delay, and what is let through by it, for as long as the node serves.
    pub(crate) async fn watch(self: Arc<Self>) {
        let target = Duration::from_millis(self.shedding.delay_ms_max);
        let (mut rate, mut before) = (Rate::default(), (Instant::now(), self.anonymous_so_far()));
        // The part of a turn that is left over.
        let mut part = 0.0;
        loop {
            let delay = probe().await;
            self.delay_us.store(micros(delay), Ordering::Relaxed);
            let now = (Instant::now(), self.anonymous_so_far());
            let ((since, [taken_then, waited_then]), (_, [taken, waited])) = (before, now);
            let measured = Measured {
                time: now.0 - since,
                delay,
                taken: taken - taken_then,
                waited: waited - waited_then,
            };
            before = now;
            if !target.is_zero() {
                match rate.learn(measured, target) {
                    Some(per_s) => {
                        let turns = per_s * measured.time.as_secs_f64() + part;
                        part = turns.fract();
                        self.anonymous.grant(per_s, turns as usize);
                    }
                    None => self.anonymous.release(),
                }
                let level = self.level.load(Ordering::Relaxed);
                self.level.store(moved(level, delay), Ordering::Relaxed);
            }
        }
    }

    /// How many anonymous requests were taken, and did not go at once.
    fn anonymous_so_far(&self) -> [u64; 2] {
        [self.taken.load(Ordering::Relaxed), self.anonymous.waited()]
    }
}

/// What a node counts of its load.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) shed: [(&'static str, u64); 4],
    pub(crate) waiting: u64,
    pub(crate) delay_us: u64,
}

impl Taken {
    /// What the answer says of the credential.
    pub(crate) fn answered(&self, reply: &Reply) {
        let Some(credential) = self.credential else { return };
        if reply.caller_known {
            self.overload.proven.add(credential);
        } else if reply.status == 401 {
            self.overload.proven.remove(credential);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.overload.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The level after a delay.
fn moved(level: u32, delay: Duration) -> u32 {
    if delay <= UNBEARABLE {
        return (level + RISE).min(LEVEL_MAX);
    }
    level.saturating_sub(FALL).max(LEVEL_MIN)
}

/// How late a task is taken up that should be by now: because the timer is looked at late, or because
/// other tasks are before it.
async fn probe() -> Duration {
    let due = Instant::now() + PROBE_EVERY;
    tokio::time::sleep_until(due).await;
    let measured = tokio::spawn(async move { due.elapsed() });
    // A thread takes up first what was spawned last, and the rest in order: so not the measuring task.
    drop(tokio::spawn(async {}));
    measured.await.unwrap_or_default()
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

//! Allowances of this node: one number for each taker. What is spent is kept on the disk, too, so that
//! a restart gives nobody a fresh burst.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outport_edge_core::limit;
use outport_edge_core::step::{Allowance, Taken};
use serde::{Deserialize, Serialize};

const SHARDS: usize = 64;
/// The most takers of a shard. Beyond it, those whose allowance is full again are dropped, which
/// loses nothing; if that does not help, the half that has spent least is.
const TAKERS_MAX: usize = 16_384;
/// The most takers that are kept on the disk: those that have spent most.
const SAVED_MAX: usize = 100_000;
/// How often that is done: so much of what was taken last may be given again after a kill.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The largest file that is read, in bytes: keys have 512 at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Takes from allowances, atomically for each key.
pub(crate) struct Limiter {
    started: Instant,
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<String, u64>>]>,
    /// Something was taken since it was last kept.
    changed: AtomicBool,
}

/// What is kept on the disk.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// When.
    unix_ms: u64,
    /// Takers, and how long each allowance takes from then on until it is full, in microseconds.
    full_us: Vec<(String, u64)>,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            changed: AtomicBool::default(),
        }
    }

    /// Goes on with what a file says, if there is one.
    pub(crate) fn open(path: &Path) -> Self {
        let limiter = Self::new();
        match read(path) {
            Ok(Some(saved)) => limiter.go_on(saved, unix_ms()),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                "what was spent of limits can't be read, so everybody has a full one: {}: {error}",
                path.display()
            ),
        }
        limiter
    }

    fn go_on(&self, saved: Saved, unix_ms: u64) {
        // A clock that was set back since has no say.
        let gone_us = unix_ms.saturating_sub(saved.unix_ms).saturating_mul(1_000);
        let now_us = self.now_us();
        for (key, full_us) in saved.full_us {
            let left_us = full_us.saturating_sub(gone_us);
            if left_us > 0 {
                let arrival_us = now_us.saturating_add(left_us);
                self.shard(&key).insert(key, arrival_us);
            }
        }
    }

    /// Takes one unit.
    pub(crate) fn take(&self, key: &str, allowance: Allowance) -> Taken {
        let now_us = self.now_us();
        let mut arrivals = self.shard(key);
        self.changed.store(true, Ordering::Relaxed);
        if let Some(arrival) = arrivals.get_mut(key) {
            let (kept, taken) = limit::take(*arrival, now_us, allowance);
            *arrival = kept;
            return taken;
        }
        make_room(&mut arrivals, now_us);
        let (kept, taken) = limit::take(0, now_us, allowance);
        arrivals.insert(key.to_owned(), kept);
        taken
    }

    /// Pays for so many units that were had, as [`limit::pay`] does.
    pub(crate) fn pay(&self, key: &str, allowance: Allowance, units: u64) {
        let now_us = self.now_us();
        let mut arrivals = self.shard(key);
        self.changed.store(true, Ordering::Relaxed);
        if let Some(arrival) = arrivals.get_mut(key) {
            *arrival = limit::pay(*arrival, now_us, allowance, units);
            return;
        }
        make_room(&mut arrivals, now_us);
        arrivals.insert(key.to_owned(), limit::pay(0, now_us, allowance, units));
    }

    /// How long something is owed, in microseconds.
    pub(crate) fn owed_us(&self, key: &str, allowance: Allowance) -> u64 {
        let arrival_us = self.shard(key).get(key).copied().unwrap_or_default();
        limit::owed_us(arrival_us, self.now_us(), allowance)
    }

    /// Keeps what is spent in a file, every now and then, for as long as it is there.
    pub(crate) async fn keep(self: Arc<Self>, path: PathBuf) {
        loop {
            tokio::time::sleep(SAVE_EVERY).await;
            self.save(&path).await;
        }
    }

    /// Keeps what is spent in a file, if anything was since.
    pub(crate) async fn save(self: &Arc<Self>, path: &Path) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let (limiter, path) = (self.clone(), path.to_owned());
        let written = tokio::task::spawn_blocking(move || write(&path, &limiter.saved(unix_ms())));
        if let Ok(Err(error)) = written.await {
            tracing::warn!("what is spent of limits can't be kept: {error}");
        }
    }

    fn saved(&self, unix_ms: u64) -> Saved {
        let now_us = self.now_us();
        let mut full_us = Vec::new();
        for shard in &self.shards {
            let arrivals = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let spent = arrivals.iter().filter(|(_, arrival)| **arrival > now_us);
            full_us.extend(spent.map(|(key, arrival)| (key.clone(), arrival - now_us)));
        }
        if full_us.len() > SAVED_MAX {
            full_us.select_nth_unstable_by_key(SAVED_MAX, |(_, full_us)| u64::MAX - full_us);
            full_us.truncate(SAVED_MAX);
        }
        Saved { unix_ms, full_us }
    }

    /// A clock that never steps back, so that nobody waits for it to catch up.
    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, HashMap<String, u64>> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        let shard = self.shards.get(place).or(self.shards.first());
        #[allow(clippy::expect_used)] // `new` makes them.
        shard.expect("there are shards").lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(arrivals: &mut HashMap<String, u64>, now_us: u64) {
    if arrivals.len() < TAKERS_MAX {
        return;
    }
    arrivals.retain(|_, arrival| *arrival > now_us);
    if arrivals.len() >= TAKERS_MAX {
        let mut spent: Vec<u64> = arrivals.values().copied().collect();
        let (_, median, _) = spent.select_nth_unstable(TAKERS_MAX / 2);
        arrivals.retain(|_, arrival| arrival > median);
    }
}

fn read(path: &Path) -> io::Result<Option<Saved>> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(file) if file.len() > FILE_BYTES_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => fs::read(path)?,
    };
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

/// Puts a whole file in the place of the one before. It is not synced: a kill loses nothing of it, and
/// a stop of the machine what the system had not written.
fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let bytes = postcard::to_stdvec(saved).map_err(io::Error::other)?;
    let new = path.with_extension("new");
    fs::File::create(&new)?.write_all(&bytes)?;
    fs::rename(new, path)
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_MINUTE_EACH: Allowance = Allowance { interval_us: 60_000_000, burst: 3 };

    #[test]
    fn takers_are_bounded() {
        let limiter = Limiter::new();
        for taker in 0..2 * SHARDS * TAKERS_MAX {
            limiter.take(&taker.to_string(), A_MINUTE_EACH);
        }
        assert!(limiter.shards.iter().all(|shard| shard.lock().unwrap().len() <= TAKERS_MAX));
    }

    #[test]
    fn very_many_others_give_nobody_a_fresh_burst() {
        let limiter = Limiter::new();
        let take = |taker: &str| limiter.take(taker, A_MINUTE_EACH).allowed;
        assert!(take("eager") && take("eager") && take("eager") && !take("eager"));
        for taker in 0..2 * SHARDS * TAKERS_MAX {
            take(&taker.to_string());
        }
        assert!(!take("eager"));
    }

    #[test]
    fn no_unit_is_taken_twice() {
        let limiter = Limiter::new();
        let allowance = Allowance { interval_us: 60_000_000, burst: 1000 };
        let count = || (0..1000).filter(|_| limiter.take("a", allowance).allowed).count();
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    #[tokio::test]
    async fn a_restart_gives_nobody_a_fresh_burst() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limits");
        let take = |limiter: &Limiter| limiter.take("eager", A_MINUTE_EACH).allowed;
        let before = Arc::new(Limiter::open(&path));
        assert!(take(&before) && take(&before));
        before.save(&path).await;
        let after = Limiter::open(&path);
        assert!(take(&after) && !take(&after));
    }

    #[test]
    fn what_refills_while_it_is_down_is_there() {
        let later = |saved: &Saved, unix_ms| {
            let limiter = Limiter::new();
            let full_us = saved.full_us.clone();
            limiter.go_on(Saved { unix_ms: saved.unix_ms, full_us }, unix_ms);
            (0..9).filter(|_| limiter.take("a", A_MINUTE_EACH).allowed).count()
        };
        let limiter = Limiter::new();
        for _ in 0..3 {
            limiter.take("a", A_MINUTE_EACH);
        }
        let saved = limiter.saved(1_000_000_000);
        assert_eq!(later(&saved, 1_000_000_000), 0);
        assert_eq!(later(&saved, 1_000_060_000), 1);
        assert_eq!(later(&saved, 1_000_125_000), 2);
        assert_eq!(later(&saved, 2_000_000_000), 3);
        // A clock that was set back neither gives nor takes.
        assert_eq!(later(&saved, 500_000_000), 0);
        assert_eq!(later(&saved, 0), 0);
    }

    #[test]
    fn what_can_t_be_read_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limits");
        fs::write(&path, [0xff; 40]).unwrap();
        assert!(Limiter::open(&path).take("a", A_MINUTE_EACH).allowed);
    }
}

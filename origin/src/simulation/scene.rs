//! What all processes of a history share: the dice, the clock that stands still while anything can
//! run, the two stores as they really are, and what is known of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use outport_wire::id::FileId;
use tokio::time::{Instant, sleep};

use super::Without;
use super::dice::Dice;
use super::faults::{Fault, Injected, Rates};
use super::model::Model;
use super::news::NewsModel;
use super::objects::Objects;
use super::plan::Plan;
use super::quota::QuotaModel;
use super::schedule::{Domain, Spawner, give_way};
use super::trace::Trace;
use crate::environment::Environment;
use crate::ledger;
use crate::meta::{Entry, Key, MetaError, Version};
use crate::record::Record;

/// Where it is written what is about to happen.
const INTENTS: &str = "hook-intent";
/// When every history begins, in milliseconds since 1970: soon after the first day that the
/// collector looks at, and later than any clock jumps back.
const BEGIN_UNIX_MS: u64 = 1_738_281_600_000;
/// The longest that a slow store takes for one call.
const SLOW_MS_MAX: u64 = 20_000;
/// How long after an uncertain answer a change may still be made.
const LATE_MS_MAX: u64 = 30_000;

/// One history's world.
pub(super) struct Scene {
    pub(super) dice: Dice,
    pub(super) rates: Rates,
    pub(super) without: Without,
    begun: Instant,
    /// Nothing goes wrong any more.
    healed: AtomicBool,
    state: Mutex<State>,
}

/// The stores as they really are, and what is known of them.
pub(super) struct State {
    pub(super) trace: Trace,
    pub(super) injected: Injected,
    /// Calls of the two stores.
    pub(super) calls: u64,
    pub(super) model: Model,
    pub(super) quota: QuotaModel,
    pub(super) news: NewsModel,
    pub(super) objects: Objects,
    /// Neither store takes anything more.
    pub(super) is_full: bool,
    entries: BTreeMap<Key, Entry>,
    versions: u64,
    late: Vec<Late>,
}

/// A change of the metadata.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: Key,
    /// `None` removes.
    pub(super) value: Option<Bytes>,
    pub(super) expected: Option<Version>,
}

/// A change whose maker was told that it is uncertain.
struct Late {
    due: Duration,
    by: Domain,
    change: Change,
}

impl Scene {
    pub(super) fn new(dice: Dice, plan: &Plan, without: Without, keep_trace: bool) -> Self {
        let state = State {
            trace: Trace::new(keep_trace),
            injected: Injected::default(),
            calls: 0,
            model: Model::default(),
            quota: QuotaModel::new(plan.quota),
            news: NewsModel::new(plan.is_told),
            objects: Objects::default(),
            is_full: false,
            entries: BTreeMap::new(),
            versions: 0,
            late: Vec::new(),
        };
        Self {
            dice,
            rates: plan.rates.clone(),
            without,
            begun: Instant::now(),
            healed: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// The stores, and what is known of them. Not to be held while anything is waited for.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the history began, which no clock's jump changes.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes down a step.
    pub(super) fn note(&self, step: fmt::Arguments<'_>) {
        self.state().trace.note(self.elapsed(), step);
    }

    /// Whether a fault happens now. One that does is counted, and a step of the history.
    pub(super) fn strikes(&self, fault: Fault, place: &(dyn fmt::Display + Sync)) -> bool {
        let rate = self.rates.of(fault);
        if self.is_healed() || !self.dice.per_mille(rate) {
            return false;
        }
        self.inject(fault, place);
        true
    }

    /// A fault that was decided on.
    pub(super) fn inject(&self, fault: Fault, place: &(dyn fmt::Display + Sync)) {
        let mut state = self.state();
        state.injected.count(fault);
        state.trace.note(self.elapsed(), format_args!("{place}: FAULT {}", fault.name()));
    }

    /// From now on nothing goes wrong.
    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        self.state().is_full = false;
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// A call takes as long as it takes; others go on meanwhile.
    pub(super) async fn take_time(&self, slow: Fault, place: &(dyn fmt::Display + Sync)) {
        if self.strikes(slow, place) {
            sleep(Duration::from_millis(self.dice.between(50, SLOW_MS_MAX))).await;
            return;
        }
        match self.dice.below(8) {
            0 => sleep(Duration::from_millis(self.dice.between(1, 20))).await,
            steps => {
                for _ in 0..steps / 3 {
                    give_way().await;
                }
            }
        }
    }

    /// A change that is made after its maker has given up.
    pub(super) fn make_later(&self, by: Domain, change: Change) {
        let wait = Duration::from_millis(self.dice.between(1, LATE_MS_MAX));
        let due = self.elapsed() + wait;
        self.state().late.push(Late { due, by, change });
    }

    /// Makes the changes that are due by now.
    pub(super) fn catch_up(&self) {
        let elapsed = self.elapsed();
        let mut state = self.state();
        while let Some(place) = state.late.iter().position(|late| late.due <= elapsed) {
            let Late { by, change, .. } = state.late.remove(place);
            let made = state.make(change.clone(), self.without).is_ok();
            let step = format_args!("origin {by}: an uncertain {change} is made late: {made}");
            state.trace.note(elapsed, step);
        }
    }

    /// When the last of the late changes is due.
    pub(super) fn last_due(&self) -> Option<Duration> {
        self.state().late.iter().map(|late| late.due).max()
    }

    /// Makes a change if the key is in the expected state.
    pub(super) fn make(&self, change: Change) -> Result<Version, MetaError> {
        self.state().make(change, self.without)
    }
}

impl State {
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    pub(super) fn scan(
        &self,
        partition: &Bytes,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Vec<(Bytes, Entry)> {
        let begin = Key::new(partition.clone(), after.cloned().unwrap_or_default());
        self.entries
            .range(begin.clone()..)
            .take_while(|(key, _)| key.partition == *partition)
            .filter(|(key, _)| after.is_none() || **key != begin)
            .take(limit)
            .map(|(key, entry)| (key.key.clone(), entry.clone()))
            .collect()
    }

    /// Entries of all partitions, in their order.
    pub(super) fn walk(&self, after: Option<&Key>, limit: usize) -> Vec<(Key, Entry)> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range::<Key, _>((begin, Bound::Unbounded)).take(limit);
        entries.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// A receiver has taken an event.
    pub(super) fn told(&mut self, event: &str) {
        let Self { news, model, .. } = self;
        news.told(event, model);
    }

    /// What is yet to be told, or was given up.
    pub(super) fn untold(&self) -> Option<&Key> {
        self.entries.keys().find(|key| key.partition.starts_with(b"hook-"))
    }

    /// Somebody else changes a key, to what it is already.
    pub(super) fn touch(&mut self, key: &Key) {
        self.versions += 1;
        let version = Version::from_bytes(self.versions.to_be_bytes());
        if let Some(entry) = self.entries.get_mut(key) {
            entry.version = version;
        }
    }

    fn make(&mut self, change: Change, without: Without) -> Result<Version, MetaError> {
        let Change { key, value, expected } = change;
        let current = self.entries.get(&key);
        let is_expected = current.map(|entry| entry.version) == expected;
        let blind = without == Without::CompareAndSwap && (value.is_some() || current.is_some());
        if !is_expected && !blind {
            return Err(MetaError::Conflict);
        }
        self.versions += 1;
        let version = Version::from_bytes(self.versions.to_be_bytes());
        if without == Without::Intents && key.partition == INTENTS && value.is_some() {
            return Ok(version);
        }
        let old = match value.clone() {
            Some(value) => self.entries.insert(key.clone(), Entry { version, value }),
            None => self.entries.remove(&key),
        };
        self.changed(&key, old.map(|entry| entry.value), value);
        Ok(version)
    }

    fn changed(&mut self, key: &Key, old: Option<Bytes>, new: Option<Bytes>) {
        if let Some(id) = key.partition.strip_prefix(b"file/").and_then(id_of) {
            let record = |value: Option<Bytes>| value.and_then(|v| Record::from_bytes(&v).ok());
            let (old, new) = (record(old), record(new));
            self.model.record_changed(id, old.as_ref(), new.as_ref(), &self.objects);
            self.news.record_changed(id, old.as_ref(), new.as_ref(), &self.model);
            self.quota.record_changed(id, old.as_ref(), new.as_ref(), &mut self.model.checks);
        } else if key.partition == ledger::PARTITION {
            self.quota.ledger_changed(new.as_deref(), &mut self.model.checks);
        } else if key.partition.starts_with(b"list/")
            && let Some(id) = key.key.get(8..).and_then(id_of)
        {
            self.model.list_changed(id, new.is_some());
        }
    }

    /// A process is gone, and with it what it had not sent yet.
    pub(super) fn forget_late(&mut self, by: Domain) {
        self.late.retain(|late| late.by != by);
    }
}

fn id_of(text: &[u8]) -> Option<FileId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.value.is_some() { "put" } else { "delete" };
        write!(f, "{verb} {}", Short(&self.key))
    }
}

/// A key as people read it.
pub(super) struct Short<'a>(pub(super) &'a Key);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = String::from_utf8_lossy(&self.0.partition);
        let listed = self.0.key.get(8..).filter(|_| partition.starts_with("list/"));
        match listed {
            Some(id) => write!(f, "list/{}", String::from_utf8_lossy(id)),
            None => f.write_str(&partition),
        }
    }
}

/// A process's clock and randomness, and its tasks.
pub(super) struct Local {
    scene: Arc<Scene>,
    /// How far the clock is ahead of the true time.
    ahead_ms: Arc<AtomicI64>,
    spawner: Spawner,
}

impl Local {
    pub(super) fn new(scene: Arc<Scene>, ahead_ms: Arc<AtomicI64>, spawner: Spawner) -> Self {
        Self { scene, ahead_ms, spawner }
    }
}

impl Environment for Local {
    fn unix_ms(&self) -> u64 {
        unix_ms(&self.scene, &self.ahead_ms)
    }

    fn random(&self) -> u64 {
        self.scene.dice.next()
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.spawner.spawn(work);
    }
}

/// What a clock shows.
pub(super) fn unix_ms(scene: &Scene, ahead_ms: &AtomicI64) -> u64 {
    let elapsed = u64::try_from(scene.elapsed().as_millis()).unwrap_or(u64::MAX);
    let shown = (BEGIN_UNIX_MS + elapsed).saturating_add_signed(ahead_ms.load(Ordering::Relaxed));
    scene.state().model.clock_showed(shown / 1000);
    shown
}

/// As the file system writes it.
pub(super) fn system_time(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

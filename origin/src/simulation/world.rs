//! The processes of a history: origins on one pair of stores, which are killed, lose their power,
//! pause, and have clocks that jump.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::blobs::FaultyBlobs;
use super::client::owner;
use super::faults::Fault;
use super::meta::FaultyMeta;
use super::plan::Plan;
use super::receiver;
use super::scene::{Local, Scene};
use super::schedule::{Domain, Scheduler, WORLD};
use crate::collector::{Collected, Collector, Mode};
use crate::config::Collection;
use crate::environment::Environment;
use crate::fsck::{Fsck, Fscked};
use crate::hooks::queue::Shelf;
use crate::meta::Meta;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

/// How far a clock jumps at most.
const JUMP_MS_MAX: u64 = 3 * 24 * 3600 * 1000;
/// How far it is ahead or behind at most, all jumps together.
const AHEAD_MS_MAX: i64 = 20 * 24 * 3600 * 1000;
/// How far ahead a clock is when all that was left behind is old.
const LATE_MS: i64 = 45 * 24 * 3600 * 1000;
/// How much later each further round is: a collector has looked at all that it put off by then.
const LATER_MS: i64 = 8 * 24 * 3600 * 1000;
/// How long a collector pauses between two rounds.
const COLLECT_MS_MAX: u64 = 60_000;
/// How long a process is away after a crash, or pauses.
const AWAY_MS_MAX: u64 = 20_000;
/// By then whatever was under way when things began to go well has ended.
const REST: Duration = Duration::from_secs(180);
/// How often it is looked whether all was told, and how often at most.
const TELL_LOOK: Duration = Duration::from_secs(20);
const TELL_LOOKS_MAX: usize = 30;
/// How often the world looks whether something is to happen.
const WEATHER_MS_MAX: u64 = 800;

/// Everything that a history consists of.
pub(super) struct World {
    pub(super) scene: Arc<Scene>,
    pub(super) plan: Plan,
    scheduler: Scheduler,
    origins: RefCell<Vec<Origin>>,
    domains: Cell<Domain>,
    ticks: Cell<u64>,
    operations: Cell<u64>,
}

/// A process, or the place where it will be again.
#[derive(Clone)]
struct Origin {
    /// `None` while it is down.
    running: Option<(Domain, Store)>,
    ahead_ms: Arc<AtomicI64>,
}

impl World {
    pub(super) fn new(scene: Arc<Scene>, plan: Plan, scheduler: Scheduler) -> Rc<Self> {
        let down = || Origin { running: None, ahead_ms: Arc::default() };
        let origins = (0..plan.origins).map(|_| down()).collect();
        let world = Rc::new(Self {
            scene,
            plan,
            scheduler,
            origins: RefCell::new(origins),
            domains: Cell::new(0),
            ticks: Cell::new(0),
            operations: Cell::new(0),
        });
        for origin in 0..world.plan.origins {
            world.start(origin);
        }
        world
    }

    /// A number above all that were given before: the order of what happens.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    /// How many requests there were.
    pub(super) fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// Adds a task that no crash ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.scheduler.spawn(WORLD, task);
    }

    /// One of the origins.
    pub(super) fn any_origin(&self) -> usize {
        self.scene.dice.below(self.plan.origins as u64) as usize
    }

    /// Has an origin do something. `None` if it is down, or goes down meanwhile.
    pub(super) async fn ask<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        origin: usize,
        handler: impl FnOnce(Store) -> F,
    ) -> Option<T> {
        self.operations.set(self.operations.get() + 1);
        let running = self.running(origin);
        let Some((domain, store)) = running else {
            sleep(Duration::from_millis(self.scene.dice.between(1, 100))).await;
            return None;
        };
        let (answer, answered) = oneshot::channel();
        let handling = handler(store);
        self.scheduler.spawn(domain, async move {
            let _ = answer.send(handling.await); // Whoever asked may have left.
        });
        answered.await.ok()
    }

    /// What happens to the processes, until `is_over`.
    pub(super) async fn weather(self: Rc<Self>, is_over: impl Fn() -> bool) {
        while !is_over() {
            sleep(Duration::from_millis(self.scene.dice.between(1, WEATHER_MS_MAX))).await;
            let origin = self.any_origin();
            let place = format!("place {origin}");
            let strikes = |fault| self.scene.strikes(fault, &place);
            if strikes(Fault::Killed) {
                self.crash(origin, false);
            } else if strikes(Fault::PowerCut) {
                self.crash(origin, true);
            } else if strikes(Fault::Paused) {
                self.pause(origin);
            } else if strikes(Fault::ClockForward) {
                self.jump(origin, 1);
            } else if strikes(Fault::ClockBack) {
                self.jump(origin, -1);
            } else if strikes(Fault::Full) {
                self.fill();
            }
        }
    }

    /// Everything works again, and what was under way has come to its end.
    pub(super) async fn clear_up(self: &Rc<Self>) {
        self.scene.heal();
        for origin in 0..self.plan.origins {
            match self.running(origin) {
                Some((domain, _)) => self.scheduler.go_on(domain),
                None => self.start(origin),
            }
        }
        let due = self.scene.last_due().unwrap_or_default();
        sleep(due.saturating_sub(self.scene.elapsed()) + REST).await;
        self.scene.catch_up();
    }

    /// A round of the collector at an origin that has just started, at a time by which all that was
    /// left behind is old. Each `round` is later than the one before.
    pub(super) async fn collect_all(self: &Rc<Self>, round: i64) -> Result<Collected, StoreError> {
        for origin in 0..self.plan.origins {
            self.crash(origin, false);
        }
        if let Some(place) = self.origins.borrow().first() {
            place.ahead_ms.store(LATE_MS + round * LATER_MS, Ordering::Relaxed);
        }
        self.start(0);
        let policy = self.plan.collection;
        let round = |store: Store| async move {
            // What a list passes over is what the collector looks at.
            store.list(&owner(), "", usize::MAX, None).await?;
            collector(store, policy).round(Mode::Remove).await
        };
        self.ask(0, round).await.unwrap_or(Err(StoreError::Contended))
    }

    /// Has the origin that runs hold everything against everything else.
    pub(super) async fn check(&self) -> Result<Fscked, StoreError> {
        let (scene, policy) = (self.scene.clone(), self.plan.collection);
        let check = |store: Store| async move {
            let all = Arc::new(FaultyMeta::new(scene, WORLD));
            Fsck::new(store.clone(), all, collector(store, policy)).run(false).await
        };
        self.ask(0, check).await.unwrap_or(Err(StoreError::Contended))
    }

    /// All that was to be told is told by the origin that runs, or was found not to be true.
    pub(super) async fn tell_all(&self) {
        let meta = FaultyMeta::new(self.scene.clone(), WORLD);
        let queue = receiver::queue(Arc::new(meta));
        for _ in 0..TELL_LOOKS_MAX {
            sleep(TELL_LOOK).await;
            if self.scene.state().untold().is_none() {
                return;
            }
            let Ok((dead, _)) = queue.page(Shelf::Dead, None, usize::MAX).await else { continue };
            for queued in dead {
                // As an operator does; one that somebody else was quicker with is found again.
                let _ = queue.replay(Shelf::Dead, &queued, 0).await;
            }
        }
    }

    /// Drops all that is under way, for good.
    pub(super) fn end(&self) {
        self.scheduler.clear();
        self.origins.borrow_mut().clear();
    }

    fn running(&self, origin: usize) -> Option<(Domain, Store)> {
        self.origins.borrow().get(origin)?.running.clone()
    }

    fn start(&self, origin: usize) {
        let domain = self.domains.get();
        self.domains.set(domain + 1);
        let mut origins = self.origins.borrow_mut();
        let Some(place) = origins.get_mut(origin) else { return };
        let scene = self.scene.clone();
        let environment: Arc<dyn Environment> = Arc::new(Local::new(
            scene.clone(),
            place.ahead_ms.clone(),
            self.scheduler.spawner(domain),
        ));
        let meta: Arc<dyn Meta> = Arc::new(FaultyMeta::new(scene.clone(), domain));
        let blobs = FaultyBlobs::new(scene.clone(), domain, place.ahead_ms.clone());
        let hooks = self.plan.is_told.then(|| receiver::hooks(scene, domain, &meta, &environment));
        let Plan { chunk_bytes, parts, expire_after, .. } = self.plan;
        let store = Store::new(meta, Arc::new(blobs), chunk_bytes, 0, parts, environment);
        let store = store.with_expiry(expire_after).with_rules(self.plan.rules());
        let store = match hooks {
            Some((hooks, runner)) => {
                let store = store.announcing(hooks);
                self.scheduler.spawn(domain, runner.run(Arc::new(store.clone())));
                store
            }
            None => store,
        };
        place.running = Some((domain, store.clone()));
        drop(origins);
        self.scene.note(format_args!("place {origin}: origin {domain} starts"));
        let (scene, policy) = (self.scene.clone(), self.plan.collection);
        self.scheduler.spawn(domain, async move {
            let collector = collector(store, policy);
            while !scene.is_healed() {
                sleep(Duration::from_millis(scene.dice.between(1, COLLECT_MS_MAX))).await;
                let collected = collector.round(Mode::Remove).await;
                scene.note(format_args!("origin {domain}: {collected:?}"));
            }
        });
    }

    fn crash(self: &Rc<Self>, origin: usize, power: bool) {
        let stopped = self.origins.borrow_mut().get_mut(origin).and_then(|o| o.running.take());
        let Some((domain, _)) = stopped else { return };
        self.scheduler.kill(domain);
        let elapsed = self.scene.elapsed();
        if power {
            let mut state = self.scene.state();
            let struck = state.objects.power_cut(domain, elapsed, &self.scene.dice);
            for (fault, path) in struck {
                state.injected.count(fault);
                let step = format_args!("origin {domain}: FAULT {}: {path}", fault.name());
                state.trace.note(elapsed, step);
            }
        }
        let mut state = self.scene.state();
        if self.plan.origins == 1 {
            // The metadata is inside this process.
            state.forget_late(domain);
        }
        let state = &mut *state;
        state.model.check_all(&state.objects);
        let world = self.clone();
        self.after_a_while(move || {
            if world.running(origin).is_none() {
                world.start(origin);
            }
        });
    }

    fn pause(self: &Rc<Self>, origin: usize) {
        let Some((domain, _)) = self.running(origin) else { return };
        self.scheduler.pause(domain);
        let world = self.clone();
        self.after_a_while(move || {
            world.scene.note(format_args!("origin {domain}: goes on"));
            world.scheduler.go_on(domain);
        });
    }

    fn after_a_while(&self, then: impl FnOnce() + 'static) {
        let wait = Duration::from_millis(self.scene.dice.between(1, AWAY_MS_MAX));
        self.spawn(async move {
            sleep(wait).await;
            then();
        });
    }

    fn jump(&self, origin: usize, direction: i64) {
        let jump = self.scene.dice.between(1, JUMP_MS_MAX) as i64 * direction;
        if let Some(place) = self.origins.borrow().get(origin) {
            let ahead = place.ahead_ms.load(Ordering::Relaxed) + jump;
            place.ahead_ms.store(ahead.clamp(-AHEAD_MS_MAX, AHEAD_MS_MAX), Ordering::Relaxed);
        }
        self.scene.note(format_args!("place {origin}: the clock jumps by {jump} ms"));
    }

    fn fill(self: &Rc<Self>) {
        self.scene.state().is_full = true;
        let world = self.clone();
        self.after_a_while(move || world.scene.state().is_full = false);
    }
}

fn collector(store: Store, policy: Collection) -> Collector {
    Collector::new(store, policy, None, Arc::new(Metrics::new(Arc::default())))
}

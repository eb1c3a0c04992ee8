//! Runs the tasks of a history, one step of one task at a time, in an order that the dice decide.
//!
//! Every task belongs to a domain: the world, or a process. The tasks of a process can be dropped
//! all at once, where each of them stands (a crash), or left alone for a while though they could
//! go on (a pause). Timers are tokio's, on a clock that stands still while anything can run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::dice::Dice;

/// A history that takes more steps than this does not end.
const STEPS_MAX: u64 = 2_000_000;

/// What a task belongs to: the world, or a process by its number.
pub(super) type Domain = usize;

/// The domain that neither crashes nor pauses.
pub(super) const WORLD: Domain = usize::MAX;

/// The tasks of one history.
#[derive(Clone)]
pub(super) struct Scheduler(Rc<Inner>);

struct Inner {
    tasks: RefCell<Vec<Option<Task>>>,
    /// Tasks that can go on.
    ready: RefCell<Vec<usize>>,
    paused: RefCell<BTreeSet<Domain>>,
    woken: Arc<Woken>,
    begun: Arc<Begun>,
}

/// Tasks that other tasks have begun, and that are not among them yet.
type Begun = Mutex<Vec<(Domain, BoxFuture<'static, ()>)>>;

/// Begins tasks of one domain, from anywhere.
#[derive(Clone)]
pub(super) struct Spawner {
    domain: Domain,
    begun: Arc<Begun>,
}

impl Spawner {
    pub(super) fn spawn(&self, task: BoxFuture<'static, ()>) {
        lock(&self.begun).push((self.domain, task));
    }
}

/// What is left of a task.
type Step = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    domain: Domain,
    /// `None` while it is polled.
    future: Option<Step>,
    waker: Waker,
    signal: Arc<Signal>,
}

/// Tasks that were woken, whoever woke them.
#[derive(Default)]
struct Woken {
    tasks: Mutex<Vec<usize>>,
    outer: AtomicWaker,
}

struct Signal {
    task: usize,
    is_ready: AtomicBool,
    woken: Arc<Woken>,
}

/// The history did not end in a great many steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endless;

impl Scheduler {
    pub(super) fn new() -> Self {
        Self(Rc::new(Inner {
            tasks: RefCell::default(),
            ready: RefCell::default(),
            paused: RefCell::default(),
            woken: Arc::default(),
            begun: Arc::default(),
        }))
    }

    /// Adds a task.
    pub(super) fn spawn(&self, domain: Domain, future: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.tasks.borrow_mut();
        let task = tasks.len();
        let signal = Arc::new(Signal {
            task,
            is_ready: AtomicBool::new(false),
            woken: self.0.woken.clone(),
        });
        let waker = Waker::from(signal.clone());
        tasks.push(Some(Task { domain, future: Some(Box::pin(future)), waker, signal }));
        drop(tasks);
        self.wake(task);
    }

    /// Who begins tasks from within the tasks of a domain.
    pub(super) fn spawner(&self, domain: Domain) -> Spawner {
        Spawner { domain, begun: self.0.begun.clone() }
    }

    /// Drops every task of a domain, where it stands.
    pub(super) fn kill(&self, domain: Domain) {
        self.admit_begun();
        let of_domain =
            |task: &&mut Option<Task>| task.as_ref().is_some_and(|task| task.domain == domain);
        let killed: Vec<_> =
            self.0.tasks.borrow_mut().iter_mut().filter(of_domain).map(Option::take).collect();
        // Whatever ends with them may wake others, so nothing is borrowed here.
        drop(killed);
        self.go_on(domain);
    }

    /// Drops every task.
    pub(super) fn clear(&self) {
        self.admit_begun();
        let all = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(all);
    }

    /// Leaves the tasks of a domain where they are.
    pub(super) fn pause(&self, domain: Domain) {
        self.0.paused.borrow_mut().insert(domain);
    }

    /// Ends a pause.
    pub(super) fn go_on(&self, domain: Domain) {
        self.0.paused.borrow_mut().remove(&domain);
        self.0.woken.outer.wake();
    }

    /// Runs tasks until `is_done`, which is looked at after every step.
    pub(super) async fn run(&self, dice: &Dice, is_done: impl Fn() -> bool) -> Result<(), Endless> {
        let mut steps = 0;
        let running = poll_fn(|context| {
            self.0.woken.outer.register(context.waker());
            loop {
                if is_done() {
                    return Poll::Ready(Ok(()));
                }
                let Some(task) = self.next(dice) else { return Poll::Pending };
                self.step(task);
                steps += 1;
                if steps > STEPS_MAX {
                    return Poll::Ready(Err(Endless));
                }
            }
        });
        // Tokio would have a task that takes many steps give way to others; there are none.
        tokio::task::unconstrained(running).await
    }

    fn wake(&self, task: usize) {
        if let Some(Some(task)) = self.0.tasks.borrow().get(task) {
            task.waker.wake_by_ref();
        }
    }

    /// One of the tasks that can go on, and may.
    fn next(&self, dice: &Dice) -> Option<usize> {
        self.admit_begun();
        let mut ready = self.0.ready.borrow_mut();
        ready.append(&mut self.0.woken.take());
        let (tasks, paused) = (self.0.tasks.borrow(), self.0.paused.borrow());
        ready.retain(|task| matches!(tasks.get(*task), Some(Some(_))));
        let may = |task: &usize| {
            let task = tasks.get(*task).and_then(Option::as_ref);
            task.is_some_and(|task| !paused.contains(&task.domain))
        };
        let count = ready.iter().filter(|task| may(task)).count();
        let chosen = dice.below(count as u64) as usize;
        let place = ready.iter().enumerate().filter(|(_, task)| may(task)).nth(chosen)?.0;
        Some(ready.swap_remove(place))
    }

    fn admit_begun(&self) {
        let begun = std::mem::take(&mut *lock(&self.0.begun));
        for (domain, task) in begun {
            self.spawn(domain, task);
        }
    }

    fn step(&self, number: usize) {
        let Some((mut future, waker)) = self.begin_step(number) else { return };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut tasks = self.0.tasks.borrow_mut();
        let Some(slot) = tasks.get_mut(number) else { return };
        match (polled, slot.as_mut()) {
            (Poll::Pending, Some(task)) => task.future = Some(future),
            // It ended, or was killed while it ran.
            _ => {
                let ended = slot.take();
                drop(tasks);
                drop((ended, future));
            }
        }
    }

    fn begin_step(&self, number: usize) -> Option<(Step, Waker)> {
        let mut tasks = self.0.tasks.borrow_mut();
        let task = tasks.get_mut(number)?.as_mut()?;
        task.signal.is_ready.store(false, Ordering::Relaxed);
        Some((task.future.take()?, task.waker.clone()))
    }
}

impl Woken {
    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *lock(&self.tasks))
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            lock(&self.woken.tasks).push(self.task);
            self.woken.outer.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets others go first, if the dice say so.
pub(super) async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if gave_way {
            return Poll::Ready(());
        }
        gave_way = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

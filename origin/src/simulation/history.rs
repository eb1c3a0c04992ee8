//! One history, from its seed to what it came to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Without;
use super::client::{Board, Client};
use super::dice::Dice;
use super::faults::Injected;
use super::invariants::{Broken, Checks, Invariant};
use super::model::Model;
use super::plan::Plan;
use super::scene::Scene;
use super::schedule::Scheduler;
use super::world::World;
use crate::fsck::{Disagreement, Fscked, Kind as Disagreeing};

/// A history that takes longer than this, on its own clock, stands still.
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often the collector goes over everything in the end. What was claimed by a final upload that
/// is gone is found by the second round.
const ROUNDS: i64 = 2;

/// What a history came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    /// What its steps come to: equal for equal histories.
    pub(super) hash: u64,
    pub(super) steps: u64,
    /// Requests of clients.
    pub(super) operations: u64,
    /// Calls of the two stores.
    pub(super) calls: u64,
    pub(super) injected: Injected,
    pub(super) checks: Checks,
    pub(super) broken: Option<Broken>,
    /// Its last steps.
    pub(super) lines: Vec<String>,
}

/// Runs the history of a seed. `keep_all` keeps every step of it.
pub(super) fn run(seed: u64, without: Without, keep_all: bool) -> std::io::Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(live(seed, without, keep_all)))
}

async fn live(seed: u64, without: Without, keep_all: bool) -> Outcome {
    let dice = Dice::new(seed);
    let plan = Plan::drawn(&dice);
    let scene = Arc::new(Scene::new(dice, &plan, without, keep_all));
    scene.note(format_args!("{} origins, {} clients", plan.origins, plan.clients));
    let scheduler = Scheduler::new();
    let world = World::new(scene.clone(), plan, scheduler.clone());
    let is_over = Rc::new(Cell::new(false));
    let (telling, over) = (world.clone(), is_over.clone());
    world.spawn(async move {
        tell(telling).await;
        over.set(true);
    });
    world.spawn(stand_still(scene.clone()));
    let is_done = || is_over.get() || scene.state().model.broken().is_some();
    let ended = scheduler.run(&scene.dice, is_done).await;
    if ended.is_err() {
        fail(&scene, "it takes steps without end");
    }
    world.end();
    outcome(seed, &scene, world.operations())
}

/// Clients do what they want while things go wrong; then nothing goes wrong any more, and all that
/// was begun comes to its end.
async fn tell(world: Rc<World>) {
    let board: Board = Rc::default();
    let ended = Rc::new(Cell::new(false));
    let is_over = ended.clone();
    world.spawn(world.clone().weather(move || is_over.get()));
    let mut clients = Vec::new();
    for number in 0..world.plan.clients {
        let client = Client { world: world.clone(), board: board.clone(), number };
        let (done, is_done) = oneshot::channel();
        world.spawn(async move {
            client.run().await;
            let _ = done.send(()); // The history may have ended before.
        });
        clients.push(is_done);
    }
    for client in clients {
        let _ = client.await;
    }
    ended.set(true);
    world.scene.note(format_args!("all is well from here on"));
    world.clear_up().await;
    finish(&world, &board).await;
    collect(&world).await;
}

/// Every upload can be completed, and every file read.
async fn finish(world: &Rc<World>, board: &Board) {
    let client = Client { world: world.clone(), board: Rc::new(RefCell::default()), number: 99 };
    let mut known = board.borrow().clone();
    known.sort_by_key(|known| known.is_final); // Those need that the others are complete.
    for known in known {
        let done = client.finish(known).await;
        let id = known.id;
        let checks = &mut world.scene.state().model.checks;
        checks.hold(Invariant::Ends, done, || format!("{id} can't be completed"));
    }
    let known = board.borrow().clone();
    for known in known {
        client.read(known).await;
    }
}

/// Rounds of the collector leave nothing behind that nobody names.
async fn collect(world: &Rc<World>) {
    for round in 1..=ROUNDS {
        let collected = world.collect_all(round).await;
        world.scene.note(format_args!("round {round}: {collected:?}"));
        let fine = collected.as_ref().is_ok_and(|done| done.failures == 0);
        let checks = &mut world.scene.state().model.checks;
        checks.hold(Invariant::Swept, fine, || format!("the collector failed: {collected:?}"));
    }
    world.tell_all().await;
    let checked = world.check().await;
    let mut state = world.scene.state();
    let state = &mut *state;
    let sound = checked.as_ref().is_ok_and(|found| is_sound(found, &state.model));
    let checks = &mut state.model.checks;
    checks.hold(Invariant::Sound, sound, || format!("{checked:?}"));
    let untold = state.untold().cloned();
    state.news.check_all_told(untold.as_ref(), &mut state.model.checks);
    state.model.check_all(&state.objects);
    state.model.check_swept(&state.objects);
    state.quota.check_settled(&mut state.model.checks);
}

/// Everything agrees, but for two kinds of partial uploads that nobody can use any more. Those that
/// a failed concatenation could not give back stay as they are, and so does what was to be made of
/// them (`store/concat.rs`). Those without a byte, where uploads don't expire, no collector comes to.
fn is_sound(found: &Fscked, model: &Model) -> bool {
    let may_stay = |one: &Disagreement| {
        let known = model.is_kept_by_abandoned(one.id) || model.is_out_of_sight(one.id);
        one.kind == Disagreeing::Orphan && known
    };
    found.disagreements.iter().all(may_stay) && found.unnamed_parts.count == 0
}

async fn stand_still(scene: Arc<Scene>) {
    sleep(LIFE_MAX).await;
    fail(&scene, "it stands still");
}

fn fail(scene: &Scene, why: &str) {
    scene.state().model.checks.hold(Invariant::Ends, false, || why.to_owned());
}

fn outcome(seed: u64, scene: &Scene, operations: u64) -> Outcome {
    let mut state = scene.state();
    let trace = std::mem::replace(&mut state.trace, super::trace::Trace::new(false));
    Outcome {
        seed,
        hash: trace.hash(),
        steps: trace.steps(),
        operations,
        calls: state.calls,
        injected: state.injected.clone(),
        checks: state.model.checks.clone(),
        broken: state.model.broken().cloned(),
        lines: trace.into_lines(),
    }
}

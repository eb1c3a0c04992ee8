//! Runs scenarios and checks as tests, with counts, filters and a clean end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::platform::{self, Platform};
use crate::scene::Scene;
use crate::transcript::{Outcome, Writer};
use crate::world::{Caller, World};

/// How many scenarios run at once unless `--test-threads` says otherwise.
const SCENARIOS_AT_ONCE: usize = 8;

type Play = Box<dyn FnOnce(World) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What not every server has that is named in the environment.
#[derive(Clone, Copy, Debug)]
pub enum Needed {
    /// A token for somebody besides the owner.
    TokenFor(Caller),
    /// A route to a scripted upstream.
    Route,
    /// That tokens of the issuers in `tests/issuers` are taken.
    Issuers,
}

/// One scenario.
pub struct Scenario {
    name: String,
    needs: Option<Needed>,
    play: Play,
}

impl Scenario {
    /// A scenario named after its function.
    pub fn new<F>(name: &str, needs: Option<Needed>, play: fn(World) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.split_once("::").map_or(name, |(_, name)| name).to_owned();
        Self { name, needs, play: Box::new(move |world| Box::pin(play(world))) }
    }
}

/// Makes `pub(crate) fn all() -> Vec<Scenario>` of the functions named, each with the caller it
/// needs besides the owner, or with `Route`.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident $(needs $caller:ident)?),* $(,)?) => {
        /// Every scenario of this file.
        pub(crate) fn all() -> Vec<$crate::suite::Scenario> {
            vec![$($crate::suite::Scenario::new(
                concat!(module_path!(), "::", stringify!($name)),
                $crate::scenarios!(@ $($caller)?),
                $name,
            )),*]
        }
    };
    (@) => { None };
    (@ Route) => { Some($crate::suite::Needed::Route) };
    (@ Issuers) => { Some($crate::suite::Needed::Issuers) };
    (@ $caller:ident) => {
        Some($crate::suite::Needed::TokenFor($crate::world::Caller::$caller))
    };
}

/// What every scenario of a run shares.
#[derive(Clone)]
struct Run {
    runtime: Arc<Runtime>,
    /// None where scenarios are only listed.
    world: Option<World>,
    platform: Platform,
    transcript: Arc<Writer>,
}

/// Runs the scenarios against one server. Those whose caller or route is missing, and those that the
/// platform decides by itself, are left out, and say so.
pub fn run(scenarios: Vec<Scenario>) -> ExitCode {
    let mut args = Arguments::from_args();
    // Scenarios mostly wait, so there may be more of them than cores.
    args.test_threads = args.test_threads.or(Some(SCENARIOS_AT_ONCE));
    let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    platform::expect_scenarios(&names);
    let platform = Platform::under_test();
    let run = Run {
        runtime: Arc::new(Runtime::new().expect("a runtime can be made")),
        world: if args.list { None } else { Some(World::open()) },
        platform,
        transcript: Arc::new(Writer::new(platform)),
    };
    let trials = scenarios.into_iter().map(|scenario| run.trial(scenario)).collect();
    let conclusion = libtest_mimic::run(&args, trials);
    run.transcript.write().expect("the transcript can be written");
    // The server ends with its last holder, which must be us.
    drop(run);
    conclusion.exit_code()
}

impl Run {
    fn trial(&self, scenario: Scenario) -> Trial {
        let left_out = self.left_out(&scenario);
        if let Some(why) = &left_out {
            eprintln!("{} is left out: {why}", scenario.name);
            let outcome = Outcome::LeftOut(why.clone());
            self.transcript.keep(scenario.name.clone(), outcome, Vec::new());
        }
        let (run, name) = (self.clone(), scenario.name.clone());
        Trial::test(name, move || run.play(scenario)).with_ignored_flag(left_out.is_some())
    }

    fn left_out(&self, scenario: &Scenario) -> Option<String> {
        let missing =
            scenario.needs.zip(self.world.as_ref()).and_then(|(needs, world)| match needs {
                Needed::TokenFor(caller) => {
                    (!world.has(caller)).then(|| format!("there is no token for {caller:?}"))
                }
                Needed::Route => {
                    world.route().is_none().then(|| "OUTPORT_ROUTE names no route".to_owned())
                }
                Needed::Issuers => {
                    (!world.has_issuers()).then(|| "OUTPORT_ISSUERS is not set".to_owned())
                }
            });
        missing.or_else(|| self.platform.leaves_out(&scenario.name).map(str::to_owned))
    }

    fn play(self, Scenario { name, play, .. }: Scenario) -> Result<(), Failed> {
        let world = self.world.ok_or("there is no server")?;
        let scene = Scene::new(&name);
        let played = || self.runtime.block_on(scene.run(play(world)));
        let played = catch_unwind(AssertUnwindSafe(played));
        let outcome = if played.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.transcript.keep(name, outcome, scene.exchanges());
        played.or_else(|panic| resume_unwind(panic))
    }
}

/// A test that starts and ends processes of its own.
pub struct Check {
    name: &'static str,
    left_out: Option<&'static str>,
    run: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

impl Check {
    /// A check named after its function.
    pub fn new<F>(name: &'static str, run: fn() -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        Self { name, left_out: None, run: Box::new(move || Box::pin(run())) }
    }

    /// Leaves the check out where `reason` says why it can't be run here.
    #[must_use]
    pub fn unless(self, reason: Option<&'static str>) -> Self {
        Self { left_out: reason, ..self }
    }
}

/// Makes a [`Check`] of a function.
#[macro_export]
macro_rules! check {
    ($name:ident) => {
        $crate::suite::Check::new(concat!(module_path!(), "::", stringify!($name)), $name)
    };
}

/// Runs the checks one after the other, since each takes the machine for itself.
pub fn run_checks(checks: Vec<Check>) -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(1));
    let trial = |Check { name, left_out, run }: Check| {
        if let Some(reason) = left_out {
            eprintln!("{name} is left out: {reason}");
        }
        let test = move || {
            Runtime::new().expect("a runtime can be made").block_on(run());
            Ok(())
        };
        Trial::test(name, test).with_ignored_flag(left_out.is_some())
    };
    let trials = checks.into_iter().map(trial).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

//! Runs scenarios and checks as tests, with counts, filters and a clean end.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::world::{Caller, World};

/// How many scenarios run at once unless `--test-threads` says otherwise.
const SCENARIOS_AT_ONCE: usize = 8;

type Run = Box<dyn FnOnce(World) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// One scenario.
pub struct Scenario {
    name: String,
    needs: Option<Caller>,
    run: Run,
}

impl Scenario {
    /// A scenario named after its function.
    pub fn new<F>(name: &str, needs: Option<Caller>, run: fn(World) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.split_once("::").map_or(name, |(_, name)| name).to_owned();
        Self { name, needs, run: Box::new(move |world| Box::pin(run(world))) }
    }
}

/// Makes `pub(crate) fn all() -> Vec<Scenario>` of the functions named, each with the caller it
/// needs besides the owner.
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
    (@ $caller:ident) => { Some($crate::world::Caller::$caller) };
}

/// Runs the scenarios against one server. Those whose caller is missing are left out, and say so.
pub fn run(scenarios: Vec<Scenario>) -> ExitCode {
    let mut args = Arguments::from_args();
    // Scenarios mostly wait, so there may be more of them than cores.
    args.test_threads = args.test_threads.or(Some(SCENARIOS_AT_ONCE));
    let runtime = Arc::new(Runtime::new().expect("a runtime can be made"));
    let world = if args.list { None } else { Some(World::open()) };
    let trials = scenarios.into_iter().map(|scenario| trial(scenario, &runtime, &world)).collect();
    let conclusion = libtest_mimic::run(&args, trials);
    // The server ends with its last holder, which must be us.
    drop(world);
    conclusion.exit_code()
}

fn trial(scenario: Scenario, runtime: &Arc<Runtime>, world: &Option<World>) -> Trial {
    let Scenario { name, needs, run } = scenario;
    let missing = needs.filter(|caller| world.as_ref().is_some_and(|world| !world.has(*caller)));
    if let Some(caller) = missing {
        eprintln!("{name} is left out: there is no token for {caller:?}");
    }
    let (runtime, world) = (Arc::clone(runtime), world.clone());
    let test = move || match world {
        Some(world) => {
            runtime.block_on(run(world));
            Ok(())
        }
        None => Err(Failed::from("there is no server")),
    };
    Trial::test(name, test).with_ignored_flag(missing.is_some())
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

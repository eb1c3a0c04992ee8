//! Runs many histories, and says what they came to.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::Without;
use super::history::{Outcome, run};
use super::report::{Report, failure};

/// How many histories there are unless somebody says otherwise.
const SEEDS: u64 = 1000;
/// The most threads. Each runs whole histories by itself.
const THREADS_MAX: usize = 16;

const USAGE: &str = "\
outport-simulate [--seeds N] [--from SEED] [--without compare-and-swap|sync|intents]
outport-simulate --seed SEED [--without …]     replay one, with every step";

/// Which histories are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: u64,
    pub(super) seeds: u64,
    pub(super) is_replay: bool,
    pub(super) without: Without,
}

/// Does what the command line says. Fails if an invariant was found broken.
pub fn main() -> ExitCode {
    let asked = match parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(mistake) => {
            say(&format!("{mistake}\n{USAGE}\n"));
            return ExitCode::from(2);
        }
    };
    let (report, failed) = simulate(asked);
    say(&report.to_string());
    let Some(failed) = failed else { return ExitCode::SUCCESS };
    say(&failure(&failed, asked.without));
    ExitCode::FAILURE
}

/// Runs the histories, and stops at the first that fails. What is first does not depend on how
/// many threads there are.
pub(super) fn simulate(asked: Asked) -> (Report, Option<Outcome>) {
    let next = AtomicU64::new(asked.from);
    let end = AtomicU64::new(asked.from.saturating_add(asked.seeds));
    let sum = Mutex::new((Report::default(), None));
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(asked, &next, &end, &sum));
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

type Sum = Mutex<(Report, Option<Outcome>)>;

fn work(asked: Asked, next: &AtomicU64, end: &AtomicU64, sum: &Sum) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end.load(Ordering::Relaxed) {
            return;
        }
        let Ok(outcome) = run(seed, asked.without, asked.is_replay) else { return };
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.0.add(&outcome);
        let is_first = sum.1.as_ref().is_none_or(|failed| failed.seed > seed);
        if outcome.broken.is_some() && is_first {
            end.store(seed, Ordering::Relaxed);
            sum.1 = Some(outcome);
        } else if asked.is_replay {
            say(&outcome.lines.join("\n"));
        }
    }
}

pub(super) fn parse(args: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked { from: 0, seeds: SEEDS, is_replay: false, without: Without::Nothing };
    let mut args = args.into_iter();
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{name} needs a number, not {value}"));
        match name.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--from" => asked.from = number()?,
            "--seed" => (asked.from, asked.seeds, asked.is_replay) = (number()?, 1, true),
            "--without" => asked.without = without(&value)?,
            _ => return Err(format!("there is no {name}")),
        }
    }
    Ok(asked)
}

fn without(name: &str) -> Result<Without, String> {
    let all = [Without::CompareAndSwap, Without::Sync, Without::Intents];
    let found = all.into_iter().find(|without| without.name() == name);
    found.ok_or_else(|| format!("--without takes compare-and-swap, sync or intents, not {name}"))
}

fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes()); // Nobody reads it any more.
}

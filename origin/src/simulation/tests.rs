//! The simulation itself: it says the same every time, and finds what it is there to find.

use super::Without;
use super::history::run;
use super::run::{Asked, parse, simulate};

/// How many histories a test runs. CI runs many more, by `cargo xtask simulate`.
const SEEDS: u64 = 60;

#[test]
fn a_seed_tells_the_same_history_every_time() {
    for seed in 0..SEEDS {
        let (first, again) = (run(seed, Without::Nothing, true), run(seed, Without::Nothing, true));
        let (first, again) = (first.unwrap(), again.unwrap());
        for (one, other) in first.lines.iter().zip(&again.lines) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!((first.hash, first.steps), (again.hash, again.steps), "seed {seed}");
    }
}

#[test]
fn invariants_hold() {
    let asked = Asked { from: 0, seeds: SEEDS, is_replay: false, without: Without::Nothing };
    let (_, failed) = simulate(asked);
    assert!(failed.is_none(), "{failed:#?}");
}

#[test]
fn what_is_missing_is_found() {
    for without in [Without::CompareAndSwap, Without::Sync, Without::Intents] {
        let asked = Asked { from: 0, seeds: 2000, is_replay: false, without };
        let (_, failed) = simulate(asked);
        let failed = failed.unwrap_or_else(|| panic!("nothing was found without {without:?}"));
        let again = run(failed.seed, without, false).unwrap();
        assert_eq!((again.hash, again.broken), (failed.hash, failed.broken));
    }
}

#[test]
fn the_command_line_is_read() {
    let parsed = |line: &str| parse(line.split_whitespace().map(str::to_owned));
    let asked = Asked { from: 7, seeds: 1, is_replay: true, without: Without::Sync };
    assert_eq!(parsed("--seed 7 --without sync"), Ok(asked));
    let asked = Asked { from: 5, seeds: 9, is_replay: false, without: Without::Nothing };
    assert_eq!(parsed("--from 5 --seeds 9"), Ok(asked));
    for mistake in ["--seed", "--seed x", "--without luck", "--sedes 5"] {
        assert!(parsed(mistake).is_err(), "{mistake}");
    }
}

//! Gives parsers what nobody sends on purpose: random bytes, and real examples with bytes changed,
//! cut out, doubled and mixed. The same ones in every run.
//!
//! `cargo fuzz` finds more, and needs a compiler of its own; this runs with the other tests. Both
//! give their bytes to the same functions, the [`Target`]s that crates list in their `fuzzing`
//! modules.

// Test code: what is not as it should be ends the test.
#![allow(clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A parser, and what it is given.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its fuzz target.
    pub name: &'static str,
    /// Parses, and asserts what holds of whatever it made of the bytes.
    pub parse: fn(&[u8]),
    /// What it is sent in earnest.
    pub examples: &'static [&'static [u8]],
}

/// How many inputs each parser is given, its examples aside.
const INPUTS: usize = 4_000;
/// The most changes that are made to one example.
const CHANGES_MAX: usize = 4;
/// The longest run of bytes that is cut out, doubled or invented.
const RUN_BYTES_MAX: usize = 64;
/// The longest input.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Where the examples are written as seeds for `cargo fuzz`, a folder for each target, if it is set.
const CORPUS: &str = "OUTPORT_FUZZ_CORPUS";

/// Gives each of `targets` its examples and [`INPUTS`] other inputs.
///
/// # Panics
/// Where a parser panics; the message has the input.
pub fn feed(targets: &[Target]) {
    for target in targets {
        if let Some(folder) = std::env::var_os(CORPUS) {
            write_seeds(target, std::path::Path::new(&folder));
        }
        let mut random = Random(0x6f75_7470_6f72_7421);
        for example in target.examples {
            try_one(target, example);
        }
        for _ in 0..INPUTS {
            try_one(target, &input(target.examples, &mut random));
        }
    }
}

fn try_one(target: &Target, input: &[u8]) {
    let tried = catch_unwind(AssertUnwindSafe(|| (target.parse)(input)));
    assert!(tried.is_ok(), "{} fails on b\"{}\"", target.name, input.escape_ascii());
}

fn write_seeds(target: &Target, folder: &std::path::Path) {
    let folder = folder.join(target.name);
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        let mut examples = target.examples.iter().enumerate();
        examples.try_for_each(|(n, example)| std::fs::write(folder.join(format!("{n}")), example))
    });
    assert!(written.is_ok(), "no seeds in {}: {written:?}", folder.display());
}

/// One input in eight is random; the others begin as an example.
fn input(examples: &[&[u8]], random: &mut Random) -> Vec<u8> {
    if examples.is_empty() || random.below(8) == 0 {
        return random.run();
    }
    let mut input = examples[random.below(examples.len())].to_vec();
    for _ in 0..=random.below(CHANGES_MAX) {
        let other = examples[random.below(examples.len())];
        change(&mut input, other, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// Bytes at which parsers turn.
const TURNS: &[u8] = b"\0\t\n\r \"%&'()*+,-./09:;<=>?AZ[\\]_az{|}~\x7f\x80\xff";
/// What is put for a number, or beside one.
const NUMBERS: [&str; 8] = [
    "0",
    "-1",
    "+1",
    "1.5",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999",
];

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(RUN_BYTES_MAX)).min(input.len());
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = TURNS[random.below(TURNS.len())],
        2 => input.insert(at, TURNS[random.below(TURNS.len())]),
        3 => drop(input.drain(at..end)),
        4 => {
            let run = input[at..end].to_vec();
            input.splice(end..end, run);
        }
        5 => input.truncate(at),
        6 => {
            let from = random.below(other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        _ => number(input, at, random),
    }
}

/// Puts a number where there are digits, at or behind a place; otherwise right there.
fn number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let start = input[at..].iter().position(is_digit).map_or(at, |behind| at + behind);
    let digits = input[start..].iter().take_while(|byte| is_digit(byte)).count();
    let number = NUMBERS[random.below(NUMBERS.len())];
    input.splice(start..start + digits, number.bytes());
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn run(&mut self) -> Vec<u8> {
        let length = self.below(RUN_BYTES_MAX);
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails on a number that does not fit, which only a mutation makes.
    fn overflows(input: &[u8]) {
        let text = str::from_utf8(input).unwrap_or_default();
        if let Some(digits) = text.strip_prefix("length=")
            && digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            digits.parse::<u64>().unwrap_or(0).checked_add(1).unwrap();
        }
    }

    #[test]
    #[should_panic(expected = "sum fails on b\"length=18446744073709551615\"")]
    fn a_parser_that_fails_is_found() {
        let panics = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let target = Target { name: "sum", parse: overflows, examples: &[b"length=5"] };
        let found = catch_unwind(|| feed(&[target]));
        std::panic::set_hook(panics);
        if let Err(found) = found {
            std::panic::resume_unwind(found);
        }
    }

    #[test]
    fn inputs_are_the_same_in_every_run_and_differ_from_each_other() {
        let examples: &[&[u8]] = &[b"bytes=0-9", b"bytes=-10"];
        let inputs = || -> Vec<_> {
            let mut random = Random(1);
            (0..200).map(|_| input(examples, &mut random)).collect()
        };
        assert_eq!(inputs(), inputs());
        let different: std::collections::BTreeSet<_> = inputs().into_iter().collect();
        assert!(different.len() > 150, "{}", different.len());
    }
}

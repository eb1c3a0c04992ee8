//! Compares the transcripts that the scenario suite writes on different platforms.
//!
//! ```sh
//! OUTPORT_TRANSCRIPT=wasmtime.jsonl cargo test --release -p outport-tests --test scenarios
//! compare wasmtime.jsonl fastly.jsonl            # fails where a difference is not on the list
//! compare --table wasmtime.jsonl fastly.jsonl    # scenarios by platforms
//! ```

#![allow(clippy::print_stdout)] // Its output is its purpose.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use outport_tests::compare::{compare, table};
use outport_tests::differences::DIFFERENCES;
use outport_tests::platform::Platform;
use outport_tests::transcript::Transcript;

/// Compares transcripts of the scenario suite.
#[derive(Parser)]
struct Args {
    /// Prints a table of scenarios by platforms instead
    #[arg(long, conflicts_with = "platform")]
    table: bool,
    /// The platform whose differences are expected; without it, the one that the second file names
    #[arg(long)]
    platform: Option<Platform>,
    /// The transcripts: what is compared with, and what is compared
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode, String> {
    let files = args.files.iter().map(|file| Transcript::read(file));
    let transcripts = files.collect::<Result<Vec<_>, _>>()?;
    if args.table {
        print!("{}", table(&transcripts));
        return Ok(ExitCode::SUCCESS);
    }
    let [base, other] = &transcripts[..] else {
        return Err("two transcripts can be compared".to_owned());
    };
    let report = compare(base, other, args.platform.unwrap_or(other.platform), DIFFERENCES);
    println!("{report}");
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `outport check`: everything that is wrong with a configuration.

use std::path::PathBuf;

use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::settings::{self, LoadError, Mistake};

/// Checks a configuration and says all that is wrong with it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to check
    #[arg(long, value_name = "FILE", default_value = settings::DEFAULT_FILE)]
    config: PathBuf,
    /// Print the outcome as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let file = args.config.display().to_string();
    match (settings::load(Some(&args.config)), args.json) {
        (Ok(_), false) => output::line(&format!("{file} is right")),
        (Ok(_), true) => report(&file, &[]),
        (Err(LoadError::Wrong(wrong)), true) => {
            report(&file, &wrong.mistakes)?;
            Err(Failure::Configuration(vec![wrong]))
        }
        (Err(error), _) => Err(error.into()),
    }
}

fn report(file: &str, mistakes: &[Mistake]) -> Result<(), Failure> {
    output::json(&json!({ "file": file, "right": mistakes.is_empty(), "mistakes": mistakes }))
}

//! The command line.

use std::ffi::OsString;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::setup::Part;

/// What `cargo xtask` alone prints.
pub(crate) const USAGE: &str = "\
cargo xtask setup [--only wasm|page|browser|deny|bench]
                                                     install what is missing
cargo xtask build                                    page, component and program
cargo xtask up [--on wasmtime] [--edge-port N] [--origin-port N] [--data DIR] [--config FILE]
                                                     build and serve
cargo xtask outport ARGS...                          build and run the program
cargo xtask test [--fast]                            every check; --fast: those that need no set-up
cargo xtask bench [NAME...]                          side by side with real peers";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// Install what these parts need.
    Setup { parts: Vec<Part> },
    /// Build page, component and program.
    Build,
    /// Build, then become `outport serve` with these arguments.
    Up { serve_args: Vec<OsString> },
    /// Build, then become the program with these arguments.
    Outport { args: Vec<OsString> },
    /// Run the checks.
    Test { fast: bool },
    /// Build, then become the benchmark program with these arguments.
    Bench { args: Vec<OsString> },
}

/// Reads a command line, the program's own name first.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Task> {
    let mut parser = lexopt::Parser::from_iter(args);
    let task = match parser.next()? {
        None | Some(Short('h') | Long("help")) => Task::Help,
        Some(Value(name)) => match name.to_str() {
            Some("help") => Task::Help,
            Some("setup") => Task::Setup { parts: setup_parts(&mut parser)? },
            Some("build") => Task::Build,
            Some("up") => Task::Up { serve_args: serve_args(&mut parser)? },
            Some("outport") => Task::Outport { args: rest(&mut parser)? },
            Some("test") => Task::Test { fast: fast(&mut parser)? },
            Some("bench") => Task::Bench { args: rest(&mut parser)? },
            _ => bail!("no task {}; the tasks are:\n{USAGE}", name.display()),
        },
        Some(other) => return Err(other.unexpected().into()),
    };
    if let Some(extra) = parser.next()? {
        return Err(extra.unexpected().into());
    }
    Ok(task)
}

fn rest(parser: &mut lexopt::Parser) -> Result<Vec<OsString>> {
    Ok(parser.raw_args()?.collect())
}

fn fast(parser: &mut lexopt::Parser) -> Result<bool> {
    match parser.next()? {
        None => Ok(false),
        Some(Long("fast")) => Ok(true),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn setup_parts(parser: &mut lexopt::Parser) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => parts.push(parser.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if parts.is_empty() {
        parts = Part::FOR_TEST.to_vec();
    }
    Ok(parts)
}

fn serve_args(parser: &mut lexopt::Parser) -> Result<Vec<OsString>> {
    let mut args = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("on") => runtime(&parser.value()?.string()?)?,
            Long(name @ ("edge-port" | "origin-port")) => {
                args.push(format!("--{name}").into());
                let port: u16 = parser.value()?.parse()?;
                args.push(port.to_string().into());
            }
            Long(name @ ("data" | "config")) => {
                args.push(format!("--{name}").into());
                args.push(parser.value()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(args)
}

fn runtime(name: &str) -> Result<()> {
    match name {
        "wasmtime" => Ok(()),
        "cloudflare" | "fastly" | "spin" => {
            bail!("the edge does not run on {name} yet; --on wasmtime is what there is")
        }
        _ => bail!("no runtime {name}; --on takes wasmtime"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task> {
        parse(std::iter::once("xtask").chain(line.split_whitespace()).map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        parsed(line).unwrap_err().to_string()
    }

    #[test]
    fn up_passes_its_flags_on_to_serve() {
        let task =
            parsed("up --on wasmtime --edge-port 0 --origin-port=9 --data d --config c.toml");
        let expected =
            ["--edge-port", "0", "--origin-port", "9", "--data", "d", "--config", "c.toml"];
        let serve_args = expected.map(OsString::from).to_vec();
        assert_eq!(task.unwrap(), Task::Up { serve_args });
    }

    #[test]
    fn up_refuses_what_it_does_not_know() {
        assert!(refusal("up --on fastly").contains("not run on fastly yet"));
        assert!(refusal("up --on lambda").contains("no runtime lambda"));
        assert!(refusal("up --edge-port 65536").contains("65536"));
        assert!(refusal("up --port 1").contains("--port"));
    }

    #[test]
    fn outport_takes_everything_after_it_as_it_is() {
        let args = ["put", "--json", "a", "--help"].map(OsString::from).to_vec();
        assert_eq!(parsed("outport put --json a --help").unwrap(), Task::Outport { args });
    }

    #[test]
    fn setup_without_only_prepares_the_tests() {
        let parts = Part::FOR_TEST.to_vec();
        assert_eq!(parsed("setup").unwrap(), Task::Setup { parts });
        let parts = vec![Part::Bench, Part::Wasm];
        assert_eq!(parsed("setup --only bench --only wasm").unwrap(), Task::Setup { parts });
        assert!(refusal("setup --only moon").contains("moon"));
    }

    #[test]
    fn unknown_tasks_and_leftovers_are_errors() {
        assert!(refusal("deploy").contains("no task deploy"));
        assert!(refusal("build now").contains("now"));
        assert!(refusal("test --fast --slow").contains("--slow"));
        assert_eq!(parsed("").unwrap(), Task::Help);
    }
}

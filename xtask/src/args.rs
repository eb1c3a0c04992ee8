//! The command line.

use std::ffi::OsString;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::platform::Platform;
use crate::setup::Part;
use crate::up::Asked;
use crate::{cache_tests, fuzz};

/// What `cargo xtask` alone prints.
pub(crate) const USAGE: &str = "\
cargo xtask setup [--only PART]...                   install what is missing
cargo xtask build [--on PLATFORM]                    page, component and program; the edge for it
cargo xtask up [--on wasmtime|cloudflare|fastly|spin] [--edge-port N] [--origin-port N]
               [--data DIR] [--config FILE]          build and serve
cargo xtask outport ARGS...                          build and run the program
cargo xtask test [--fast] [--on PLATFORM]            every check; --fast: those that need no set-up;
                                                     --on: what has to do with one platform
cargo xtask simulate [--seeds N] [--seed N] [--without compare-and-swap|sync]
                                                     histories of faults against the upload code
cargo xtask fuzz [--seconds N] [TARGET...]           parsers against a fuzzer, ten minutes each; those
                                                     of what comes from outside if none is named
cargo xtask budgets [--memory]                       sizes and imports of each edge; --memory: what
                                                     it takes while 1 GiB passes
cargo xtask protocols                                what the upload protocols ask, and who does it
cargo xtask tls                                      versions, suites and groups, by a scanner
cargo xtask bench [NAME...]                          side by side with real peers
cargo xtask cache-tests [--on PLATFORM]... [--peers] [--suite SUBSTRING]... [--id TEST]
                                                     the public tests of HTTP caches through the
                                                     edge, on every platform if none is named;
                                                     --peers: and through nginx, Varnish and
                                                     Traffic Server; --id: one, with what is sent";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// Install what these parts need.
    Setup { parts: Vec<Part> },
    /// Build page, component and program, and the edge for a platform if one is named.
    Build { on: Option<Platform> },
    /// Build and serve.
    Up(Asked),
    /// Build, then become the program with these arguments.
    Outport { args: Vec<OsString> },
    /// Run the checks.
    Test(Tests),
    /// Print what the upload protocols ask of a server, and what servers do.
    Protocols,
    /// Build, then scan what is served by TLS.
    Tls,
    /// Build, then become the simulation with these arguments.
    Simulate { args: Vec<OsString> },
    /// Give parsers what a fuzzer makes up.
    Fuzz(fuzz::Asked),
    /// Put the public tests of HTTP caches to the edge.
    CacheTests(cache_tests::Asked),
    /// Measure each platform's edge.
    Budgets { memory: bool },
    /// Build, then become the benchmark program with these arguments.
    Bench { args: Vec<OsString> },
}

/// Which checks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tests {
    /// All of them.
    All,
    /// Those that need no set-up.
    Fast,
    /// Those that have to do with this platform.
    On(Platform),
}

/// Reads a command line, the program's own name first.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Task> {
    let mut parser = lexopt::Parser::from_iter(args);
    let task = match parser.next()? {
        None | Some(Short('h') | Long("help")) => Task::Help,
        Some(Value(name)) => match name.to_str() {
            Some("help") => Task::Help,
            Some("setup") => Task::Setup { parts: setup_parts(&mut parser)? },
            Some("build") => Task::Build { on: on(&mut parser)? },
            Some("up") => Task::Up(asked(&mut parser)?),
            Some("outport") => Task::Outport { args: rest(&mut parser)? },
            Some("test") => Task::Test(tests(&mut parser)?),
            Some("protocols") => Task::Protocols,
            Some("tls") => Task::Tls,
            Some("simulate") => Task::Simulate { args: rest(&mut parser)? },
            Some("fuzz") => Task::Fuzz(fuzz(&mut parser)?),
            Some("budgets") => Task::Budgets { memory: flag(&mut parser, "memory")? },
            Some("cache-tests") => Task::CacheTests(cache_tests(&mut parser)?),
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

fn flag(parser: &mut lexopt::Parser, name: &str) -> Result<bool> {
    match parser.next()? {
        None => Ok(false),
        Some(Long(found)) if found == name => Ok(true),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn on(parser: &mut lexopt::Parser) -> Result<Option<Platform>> {
    match parser.next()? {
        None => Ok(None),
        Some(Long("on")) => Ok(Some(parser.value()?.parse()?)),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn tests(parser: &mut lexopt::Parser) -> Result<Tests> {
    match parser.next()? {
        None => Ok(Tests::All),
        Some(Long("fast")) => Ok(Tests::Fast),
        Some(Long("on")) => Ok(Tests::On(parser.value()?.parse()?)),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn cache_tests(parser: &mut lexopt::Parser) -> Result<cache_tests::Asked> {
    let mut asked = cache_tests::Asked::all(Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("on") => asked.platforms.push(parser.value()?.parse()?),
            Long("peers") => asked.has_peers = true,
            Long("id") => asked.id = Some(parser.value()?.string()?),
            Long("suite") => asked.suites.push(parser.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if asked.platforms.is_empty() {
        asked.platforms = Platform::ALL.to_vec();
    }
    Ok(asked)
}

fn fuzz(parser: &mut lexopt::Parser) -> Result<fuzz::Asked> {
    let mut asked = fuzz::Asked::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => asked.seconds = Some(parser.value()?.parse()?),
            Value(target) => asked.targets.push(target.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(asked)
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

fn asked(parser: &mut lexopt::Parser) -> Result<Asked> {
    let mut asked = Asked {
        platform: Platform::Wasmtime,
        edge_port: 8080,
        origin_port: 8081,
        data: "data".into(),
        config: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("on") => asked.platform = parser.value()?.parse()?,
            Long("edge-port") => asked.edge_port = parser.value()?.parse()?,
            Long("origin-port") => asked.origin_port = parser.value()?.parse()?,
            Long("data") => asked.data = parser.value()?.into(),
            Long("config") => asked.config = Some(parser.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(asked)
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
    fn up_reads_its_flags() {
        let task = parsed("up --on spin --edge-port 0 --origin-port=9 --data d --config c.toml");
        let asked = Asked {
            platform: Platform::Spin,
            edge_port: 0,
            origin_port: 9,
            data: "d".into(),
            config: Some("c.toml".into()),
        };
        assert_eq!(task.unwrap(), Task::Up(asked));
    }

    #[test]
    fn up_refuses_what_it_does_not_know() {
        assert!(refusal("up --on lambda").contains("no platform lambda"));
        assert!(refusal("up --edge-port 65536").contains("65536"));
        assert!(refusal("up --port 1").contains("--port"));
    }

    #[test]
    fn tests_are_all_or_some() {
        assert_eq!(parsed("test").unwrap(), Task::Test(Tests::All));
        assert_eq!(parsed("test --on fastly").unwrap(), Task::Test(Tests::On(Platform::Fastly)));
        assert!(refusal("test --on fastly --fast").contains("--fast"));
    }

    #[test]
    fn tests_of_caches_are_all_or_some() {
        let asked = cache_tests::Asked {
            platforms: vec![Platform::Fastly, Platform::Spin],
            has_peers: true,
            id: Some("vary-star".to_owned()),
            suites: vec!["vary".to_owned(), "stale".to_owned()],
        };
        let line = "cache-tests --on fastly --on spin --peers --suite vary --suite stale \
                    --id vary-star";
        assert_eq!(parsed(line).unwrap(), Task::CacheTests(asked));
        let asked = cache_tests::Asked::all(Platform::ALL.to_vec());
        assert_eq!(parsed("cache-tests").unwrap(), Task::CacheTests(asked));
        assert!(refusal("cache-tests vary").contains("vary"));
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
        assert_eq!(parsed("tls").unwrap(), Task::Tls);
        assert!(refusal("test --fast --slow").contains("--slow"));
        assert_eq!(parsed("").unwrap(), Task::Help);
    }
}

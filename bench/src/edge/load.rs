//! The load: wrk, and what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::CONTENT;
use super::contenders::Contender;
use crate::server::cpus;

const THREADS: &str = "-t2";
const CONNECTIONS: &str = "-c64";

/// Only its end is scripted: wrk then generates requests and reads answers as without a script.
const SCRIPT: &str = include_str!("load.lua");

/// What the script's line begins with.
const MARK: &str = "measured ";

/// The load generator.
pub(super) struct Load {
    script: PathBuf,
}

/// What was answered in one run.
#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) requests: u64,
    pub(super) elapsed: Duration,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Load {
    /// A load generator whose script is in this folder.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let script = folder.join("load.lua");
        fs::write(&script, SCRIPT)?;
        Ok(Self { script })
    }

    /// The command, as a person would type it.
    pub(super) fn describe(&self, time: Duration) -> String {
        format!("wrk {THREADS} {CONNECTIONS} -d{}s", time.as_secs())
    }

    /// Asks for the contender's file over and over; an error if any answer is not the file.
    pub(super) fn run(&self, contender: &Contender, time: Duration) -> Result<Answered> {
        let mut wrk = Command::new("taskset");
        wrk.args(["--cpu-list", &cpus()?, "wrk", THREADS, CONNECTIONS]);
        wrk.arg(format!("-d{}s", time.as_secs())).arg("-s").arg(&self.script);
        if let Some(token) = &contender.token {
            wrk.arg("-H").arg(format!("Authorization: Bearer {token}"));
        }
        let output = wrk.arg(&contender.url).output().context("cannot run taskset")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("wrk failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        answered(&text).with_context(|| format!("of {}", contender.name))
    }
}

fn answered(output: &str) -> Result<Answered> {
    let line = output.lines().find_map(|line| line.strip_prefix(MARK));
    let line = line.with_context(|| format!("wrk does not say what it measured:\n{output}"))?;
    let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [requests, elapsed_us, bytes, refused, broken, p50_us, p99_us] = numbers[..] else {
        bail!("wrk says something else than load.lua asks for: {line}");
    };
    if requests == 0 || refused > 0 || broken > 0 {
        bail!("{requests} requests, {refused} with an error as answer, {broken} without any");
    }
    // A redirect or an empty answer is no error to wrk, but is short.
    if bytes < requests * CONTENT.len() as u64 {
        bail!("{requests} answers have only {bytes} bytes together");
    }
    Ok(Answered {
        requests,
        elapsed: Duration::from_micros(elapsed_us),
        p50_us: p50_us as f64,
        p99_us: p99_us as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_measured_is_read() {
        let output = "Running 4s test\n  2 threads\nmeasured 1000 4000000 4500000 0 0 700 2100\n";
        let expected = Answered {
            requests: 1000,
            elapsed: Duration::from_secs(4),
            p50_us: 700.0,
            p99_us: 2100.0,
        };
        assert_eq!(answered(output).unwrap(), expected);
    }

    #[test]
    fn answers_that_are_not_the_file_are_an_error() {
        let error = |line: &str| answered(line).unwrap_err().to_string();
        assert!(error("measured 10 1 50000 1 0 1 1").contains("1 with an error"));
        assert!(error("measured 10 1 50000 0 2 1 1").contains("2 without"));
        assert!(error("measured 10 1 40959 0 0 1 1").contains("only 40959 bytes"));
        assert!(error("measured 0 1 0 0 0 0 0").contains("0 requests"));
        assert!(error("measured 1 2").contains("something else"));
        assert!(error("unable to connect").contains("does not say"));
    }
}

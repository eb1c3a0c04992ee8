//! Processes that serve for the time of the benchmark.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a process may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long a server may take until it answers; `wasmtime serve` compiles first.
const START_MAX: Duration = Duration::from_secs(60);
/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How many processors everything shares.
const CPUS: usize = 2;
/// The unit of processor time in proc(5); the same on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;

/// A running server. It is asked to end when this is dropped, and ends with this process however
/// that ends.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server, with its log in `folder`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        folder: &Path,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        Self::start_on(&cpus()?, folder, name, program, args)
    }

    /// The same, on these processors.
    pub(crate) fn start_on<A: AsRef<OsStr>>(
        cpus: &str,
        folder: &Path,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", cpus])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot run setpriv (of util-linux)")?;
        Ok(Self { child, log })
    }

    /// What the line of standard output says that begins with `ready`.
    pub(crate) fn ready(&mut self) -> Result<Value> {
        let output = self.child.stdout.take().context("the ready line was read before")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        match line.strip_prefix("ready ") {
            Some(json) => Ok(serde_json::from_str(json)?),
            None => bail!("a server did not start:\n{}", self.log()),
        }
    }

    /// An error, with what it said, if the server has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("a server has ended ({status}):\n{}", self.log()),
            None => Ok(()),
        }
    }

    /// Asks until there is no error; with the last one if there is one for too long.
    pub(crate) async fn answering(&mut self, ask: impl AsyncFn() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = ask().await {
            self.check()?;
            if begun.elapsed() > START_MAX {
                return Err(error);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What the process and those it has started have used of all processors, with those of them
    /// that have ended.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        // One that ends between the two calls is among the ended the second time.
        let taken = || cpu_time(&self.processes()?);
        taken().or_else(|_| taken())
    }

    /// The process and those it has started.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let children = children.split_whitespace().map(str::parse);
        Ok(std::iter::once(Ok(id)).chain(children).collect::<Result<_, _>>()?)
    }

    /// What it has said on standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already. Killed at once, nginx would leave its workers behind.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processors that servers and load share: the first of those that this process may use.
pub(crate) fn cpus() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    first_cpus(list.context("the system does not say which processors there are")?)
}

fn first_cpus(list: &str) -> Result<String> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>()?..=last.parse()?);
    }
    let chosen: Vec<_> = cpus.iter().take(CPUS).map(u32::to_string).collect();
    Ok(chosen.join(","))
}

/// A folder for what servers need, which goes when this is dropped.
pub(crate) fn folder() -> Result<TempDir> {
    // For the workers of nginx, who may run as another user.
    let readable = Permissions::from_mode(0o755);
    Ok(tempfile::Builder::new().prefix("outport-bench-").permissions(readable).tempdir()?)
}

/// An address that nobody listens on; for servers that can't say which free port they took.
pub(crate) fn free_address() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.to_string())
}

/// What a program calls its version: the word after `mark` in what it says to `flag`.
pub(crate) fn version(program: &Path, flag: &str, mark: &str) -> Result<String> {
    let Output { mut stdout, stderr, .. } = Command::new(program).arg(flag).output()?;
    // Some say it on standard error.
    stdout.extend(stderr);
    version_after(&stdout, mark)
}

fn version_after(said: &[u8], mark: &str) -> Result<String> {
    let text = String::from_utf8_lossy(said);
    let version = text.split_once(mark).and_then(|(_, rest)| rest.split_whitespace().next());
    Ok(version.with_context(|| format!("there is no version in: {text}"))?.to_owned())
}

/// What these processes, and those that they have started and that have ended, have used of all
/// processors.
pub(crate) fn cpu_time(processes: &[u32]) -> Result<Duration> {
    let ticks = processes.iter().map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"));
        cpu_ticks(&stat.with_context(|| format!("process {id} is gone"))?)
    });
    let ticks: u64 = ticks.sum::<Result<u64>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The fields utime, stime, cutime and cstime of proc(5).
fn cpu_ticks(stat: &str) -> Result<u64> {
    // The second field, a name in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')').context("not as in proc(5)")?;
    let times = fields.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
    Ok(times.sum::<Result<u64, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_processors_are_taken() {
        assert_eq!(first_cpus("\t0-7\n").unwrap(), "0,1");
        assert_eq!(first_cpus("3,5-6").unwrap(), "3,5");
        assert_eq!(first_cpus("4").unwrap(), "4");
        assert!(first_cpus("all").is_err());
    }

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 25 17 3 1 20 0 4 0 100 1 1";
        assert_eq!(cpu_ticks(stat).unwrap(), 46);
        assert!(cpu_ticks("7").is_err());
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let version = |text: &str, mark| version_after(text.as_bytes(), mark).ok();
        assert_eq!(version("nginx version: nginx/1.22.1\n", "nginx/").unwrap(), "1.22.1");
        assert_eq!(version("wasmtime 48.0.8 (abc)", "wasmtime ").unwrap(), "48.0.8");
        assert_eq!(version("other", "nginx/"), None);
    }
}

//! Programs that run until they are told to end, with all that they start.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::process::Run;

/// How long a program may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a program is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How much of a log is shown when a program ends that should not.
const LOG_LINES_SHOWN: usize = 60;

/// A running program and its children, which are one group of processes.
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts a program. What it says goes to the log; of its standard output, the first line that
    /// begins with `sign` is waited for and returned without it.
    pub(crate) fn start_until(
        name: &str,
        run: Run,
        log: &Path,
        sign: &str,
    ) -> Result<(Self, String)> {
        let mut command = run.into_command();
        command.stdout(Stdio::piped());
        let mut service = Self::spawn(name, command, log)?;
        let output = service.child.stdout.take().context("its output is not piped")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(Ok(line)) = lines.next() {
            if let Some(rest) = line.strip_prefix(sign) {
                let rest = rest.to_owned();
                // Whatever it says later must not block it.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok((service, rest));
            }
        }
        bail!("{name} ended before it was ready:\n{}", service.log_end())
    }

    /// Starts a program whose output goes to the log.
    pub(crate) fn start(name: &str, run: Run, log: &Path) -> Result<Self> {
        let mut command = run.into_command();
        command.stdout(log_file(log)?);
        Self::spawn(name, command, log)
    }

    fn spawn(name: &str, mut command: std::process::Command, log: &Path) -> Result<Self> {
        command.stdin(Stdio::null()).stderr(log_file(log)?).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.log_end()),
        }
    }

    /// The end of what it has said.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(POLL);
        }
        // What it started and left behind, too.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Waits until SIGINT or SIGTERM comes, or a service ends by itself, which is an error.
pub(crate) fn wait_for_signal(services: &mut [&mut Service]) -> Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, asked.clone())?;
    }
    while !asked.load(Ordering::Acquire) {
        for service in services.iter_mut() {
            service.check()?;
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn log_file(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-service-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_service_says_where_it_is_and_ends_with_its_children() {
        let log = log("ready");
        let script = "echo hello; sleep 600 & echo \"at $!\"; wait";
        let run = Run::new("sh").args(["-c", script]);
        let (service, child) = Service::start_until("sh", run, &log, "at ").unwrap();
        // Who has ended and is not yet collected is a zombie. (A command line says less: it is
        // empty for a moment while a program begins, too.)
        let lives = || {
            let status = fs::read_to_string(format!("/proc/{child}/status"));
            status.is_ok_and(|status| !status.contains("State:\tZ"))
        };
        assert!(lives());
        drop(service);
        assert!(!lives(), "a child is left");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_service_that_ends_too_early_is_quoted() {
        let log = log("early");
        let run = Run::new("sh").args(["-c", "echo no port >&2; exit 3"]);
        let error = Service::start_until("sh", run, &log, "at ").err().unwrap();
        assert!(error.to_string().contains("no port"), "{error}");
        fs::remove_file(log).unwrap();
    }
}

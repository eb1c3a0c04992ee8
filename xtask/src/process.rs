//! Calling other programs, and saying what happens.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How often a child with a deadline is looked at.
const DEADLINE_POLL: Duration = Duration::from_millis(50);

/// One line of progress on standard error.
pub(crate) fn say(line: &str) {
    // A closed standard error must not stop the work.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Announces a step, runs it, and says how long it took.
pub(crate) fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("==> {step}"));
    let start = Instant::now();
    let result = work().with_context(|| format!("{step} failed"));
    if result.is_ok() {
        say(&format!("<== {step}: {}", seconds(start.elapsed())));
    }
    result
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Finds a program in `PATH`.
pub(crate) fn in_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A program to be called.
pub(crate) struct Run {
    command: Command,
}

impl Run {
    /// A call of `program`, in the environment that `cargo xtask` was called in.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        // `cargo run` describes this package to its child by variables. Build scripts that watch
        // them would run again each time that cargo is called from here and not by hand.
        for (name, _) in std::env::vars_os() {
            if is_set_by_cargo_run(&name) {
                command.env_remove(name);
            }
        }
        Self { command }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub(crate) fn envs<V: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        self.command.envs(variables);
        self
    }

    /// Sets the folder it runs in.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// The call as JSON, for a program that makes it by itself.
    pub(crate) fn to_json(&self) -> Value {
        let text = |text: &OsStr| text.to_string_lossy().into_owned();
        let command = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        json!({
            "command": command.map(text).collect::<Vec<_>>(),
            "folder": self.command.get_current_dir(),
            "env": set.map(|(name, value)| (text(name), text(value))).collect::<BTreeMap<_, _>>(),
        })
    }

    /// Runs it with its output on standard error; an error if it fails.
    pub(crate) fn done(mut self) -> Result<()> {
        self.command.stdin(Stdio::null()).stdout(io::stderr());
        let status = self.command.status().with_context(|| format!("cannot run {self}"))?;
        self.check(status)
    }

    /// As [`Run::done`], and an error if it takes longer than `limit`, when it is ended.
    pub(crate) fn done_within(mut self, limit: Duration) -> Result<()> {
        self.command.stdin(Stdio::null()).stdout(io::stderr());
        let mut child = self.command.spawn().with_context(|| format!("cannot run {self}"))?;
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return self.check(status);
            }
            if start.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                bail!("{self} took longer than {}", seconds(limit));
            }
            std::thread::sleep(DEADLINE_POLL);
        }
    }

    /// As [`Run::done`], showing what it says on standard error only if it fails or takes longer
    /// than `patience`.
    pub(crate) fn done_unseen(mut self, patience: Duration) -> Result<()> {
        self.command.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::piped());
        let mut child = self.command.spawn().with_context(|| format!("cannot run {self}"))?;
        let (lines, said) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                let all = BufReader::new(stderr).split(b'\n').map_while(Result::ok);
                all.take_while(|line| lines.send(line.clone()).is_ok()).for_each(drop);
            });
        }
        let unseen = show_after(&said, Instant::now() + patience);
        let status = child.wait()?;
        if !status.success() {
            unseen.iter().for_each(|line| say(line));
        }
        self.check(status)
    }

    /// Runs it and gives what it prints on standard output; an error if it fails.
    pub(crate) fn text(mut self) -> Result<String> {
        self.command.stdin(Stdio::null()).stderr(Stdio::piped());
        let output = self.command.output().with_context(|| format!("cannot run {self}"))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("{self} failed: {}", reason.trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Runs it, hands each line of its standard output to `look` and passes it through.
    pub(crate) fn watched(mut self, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.command.spawn().with_context(|| format!("cannot run {self}"))?;
        if let Some(stdout) = child.stdout.take() {
            pass_lines(BufReader::new(stdout), &mut io::stdout().lock(), &mut look)?;
        }
        Ok(child.wait()?)
    }

    /// Becomes the program, so that signals reach it. Returns only if that fails.
    #[cfg(unix)]
    pub(crate) fn exec(mut self) -> anyhow::Error {
        use std::os::unix::process::CommandExt as _;
        let error = self.command.exec();
        anyhow::Error::new(error).context(format!("cannot run {self}"))
    }

    /// The call, for who wants more of it than this type offers.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("{self} ended with {status}");
        }
        Ok(())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}", self.command.get_program().display())?;
        for argument in self.command.get_args() {
            write!(f, " {}", argument.display())?;
        }
        f.write_str("`")
    }
}

// Shows lines once the moment has come; gives those that it never showed.
fn show_after(lines: &Receiver<Vec<u8>>, moment: Instant) -> Vec<String> {
    let mut kept = Vec::new();
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.max(DEADLINE_POLL)) {
            Ok(line) => kept.push(String::from_utf8_lossy(&line).into_owned()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return kept,
        }
        if Instant::now() >= moment {
            kept.drain(..).for_each(|line| say(&line));
        }
    }
}

fn is_set_by_cargo_run(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| {
        name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}

fn pass_lines(
    mut from: impl BufRead,
    to: &mut impl Write,
    look: &mut impl FnMut(&str),
) -> Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        look(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_passed_through_and_looked_at() {
        let mut passed = Vec::new();
        let mut seen = Vec::new();
        pass_lines(&b"one\n\xfftwo"[..], &mut passed, &mut |line| seen.push(line.to_owned()))
            .unwrap();
        assert_eq!(passed, b"one\n\xfftwo");
        assert_eq!(seen, ["one", "\u{fffd}two"]);
    }

    #[test]
    fn lines_are_kept_until_the_moment_comes() {
        let said = |lines: &[&str]| {
            let (send, said) = mpsc::channel();
            lines.iter().for_each(|line| send.send(line.as_bytes().to_vec()).unwrap());
            said
        };
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(show_after(&said(&["a", "b"]), later), ["a", "b"]);
        assert_eq!(show_after(&said(&["a line to be shown"]), Instant::now()), [""; 0]);
    }

    #[test]
    fn an_unseen_program_fails_as_any_other() {
        let patience = Duration::from_secs(60);
        assert!(Run::new("true").done_unseen(patience).is_ok());
        assert!(Run::new("false").done_unseen(patience).is_err());
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = Run::new("false").arg("x").done().unwrap_err();
        assert!(error.to_string().contains("`false x`"), "{error}");
        assert!(Run::new("no-such-program").text().unwrap_err().to_string().contains("cannot run"));
    }

    #[test]
    fn a_program_over_its_deadline_is_ended() {
        let start = Instant::now();
        let error = Run::new("sleep").arg("60").done_within(Duration::from_millis(1)).unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}

//! A child process of ours: the same program, running one node.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::ready;
use crate::failure::Failure;

/// How long a node may take to begin.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a node may take to finish what is under way.
const STOP_MAX: Duration = Duration::from_secs(20);
/// The longest line that a node says.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A running node.
pub(super) struct Node {
    name: &'static str,
    child: Child,
    /// Closed to ask the node to end; see [`super::stop`].
    lifeline: Option<ChildStdin>,
}

impl Node {
    /// Starts `outport NAME ARGS` and waits until it says that it is ready.
    pub(super) async fn start<T: DeserializeOwned>(
        name: &'static str,
        args: Vec<OsString>,
    ) -> Result<(Self, T), Failure> {
        let program = std::env::current_exe();
        let mut child = program
            .and_then(|program| command(program.into(), name, args).spawn())
            .map_err(|source| Failure::Io { what: format!("can't start the {name}"), source })?;
        let (lifeline, output) = (child.stdin.take(), child.stdout.take());
        let node = Self { name, child, lifeline };
        let ready = tokio::time::timeout(START_MAX, read_ready(output)).await;
        match ready {
            Ok(Some(ready)) => Ok((node, ready)),
            Ok(None) => Err(Failure::Process(format!("the {name} did not start"))),
            Err(_) => Err(Failure::Process(format!("the {name} was not ready in time"))),
        }
    }

    /// Completes when the node has ended.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => described(self.name, status),
            Err(error) => format!("the {} can't be watched: {error}", self.name),
        }
    }

    /// Asks the node to end, and sees to it that it does.
    pub(super) async fn stop(mut self) {
        self.lifeline = None;
        if tokio::time::timeout(STOP_MAX, self.child.wait()).await.is_err() {
            eprintln!("outport: the {} does not end; it is killed", self.name);
            let _ = self.child.kill().await; // It has ended by itself, then.
        }
    }
}

/// In a process group of its own, so that a terminal's interrupt reaches the supervisor alone,
/// which then ends its nodes in order.
fn command(program: OsString, name: &str, args: Vec<OsString>) -> Command {
    let mut command = Command::new(program);
    command
        .arg(name)
        .arg("--with-parent")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn read_ready<T: DeserializeOwned>(output: Option<ChildStdout>) -> Option<T> {
    let mut line = String::new();
    BufReader::new(output?.take(LINE_BYTES_MAX)).read_line(&mut line).await.ok()?;
    ready::parse(line.trim_end())
}

fn described(name: &str, status: ExitStatus) -> String {
    format!("the {name} has ended ({status})")
}

//! Deployments of our own: a supervisor with both nodes, or an origin and an edge apart.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a process may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(30);

/// The program under test: `OUTPORT_BIN`, else what the workspace built for release.
pub fn program() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/outport");
    std::env::var_os("OUTPORT_BIN").map_or_else(built, PathBuf::from)
}

/// Runs the program to its end and returns what it printed.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = Command::new(program()).args(args).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

/// A data folder.
pub struct Data {
    path: PathBuf,
    /// Goes away with it.
    _temporary: Option<TempDir>,
}

impl Data {
    /// An empty one, which goes away with it.
    #[allow(clippy::new_without_default)] // It makes a folder; that is no default.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("outport-").tempdir();
        let folder = folder.expect("a folder can be made");
        Self { path: folder.path().to_owned(), _temporary: Some(folder) }
    }

    /// One that is there, and stays.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), _temporary: None }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A token that a server with this folder accepts.
    pub fn token(&self, tenant: &str, subject: &str, scope: &str, ttl: &str) -> String {
        token(self.path(), tenant, subject, scope, ttl)
    }

    /// A configuration in the folder.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.path().join("outport.toml");
        std::fs::write(&path, text).expect("the folder can be written to");
        path
    }
}

/// A token that a server with the data folder accepts.
pub fn token(data: &Path, tenant: &str, subject: &str, scope: &str, ttl: &str) -> String {
    let data = data.to_str().expect("the folder's path is text");
    let mut args = vec!["token", "--data", data, "--tenant", tenant, "--subject", subject];
    args.extend(["--ttl", ttl, "--scope", scope]);
    run(args)
}

/// A process of the program that serves, and what its ready line said.
pub struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    /// Starts `outport ARGS…` and waits until it is ready. Its log goes to a file of its own in
    /// the data folder, which is printed if it does not become ready.
    pub fn start(data: &Data, args: &[&str]) -> Self {
        Self::start_within(data, args, &[])
    }

    /// The same, with more in its environment.
    pub fn start_within(data: &Data, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = data.path().join(format!("{}-{}.log", args[0], crate::random::word()));
        let mut child = Command::new(program())
            .args(args)
            .arg("--data")
            .arg(data.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("the folder can be written to"))
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program().display()));
        let mut line = String::new();
        let output = child.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("the output is text");
        let ready = line.strip_prefix("ready ").and_then(|json| serde_json::from_str(json).ok());
        let ready = ready.unwrap_or_else(|| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("outport {args:?} does not become ready: {line:?}\n{log}")
        });
        Self { child, ready }
    }

    /// `outport serve` on free ports, with more arguments.
    pub fn serve(data: &Data, more: &[&str]) -> Self {
        let ports = ["serve", "--edge-port", "0", "--origin-port", "0"];
        Self::start(data, &[&ports[..], more].concat())
    }

    /// `outport origin` on a port; 0 takes a free one.
    pub fn origin(data: &Data, port: u16) -> Self {
        Self::start(data, &["origin", "--origin-port", &port.to_string()])
    }

    /// `outport edge` on a free port, before an origin on the same machine.
    pub fn edge(data: &Data, origin: &str, more: &[&str]) -> Self {
        let args = ["edge", "--edge-port", "0", "--origin", origin, "--beside-origin"];
        Self::start(data, &[&args[..], more].concat())
    }

    /// `outport edge` on a port, before an origin that might be far away.
    pub fn edge_apart(data: &Data, port: u16, origin: &str) -> Self {
        let port = port.to_string();
        Self::start(data, &["edge", "--edge-port", &port, "--origin", origin])
    }

    /// A member of the ready line.
    pub fn ready(&self, member: &str) -> &str {
        let value = self.ready[member].as_str();
        value.unwrap_or_else(|| panic!("there is no {member} in {}", self.ready))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process as a power cut does.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
    }

    /// Asks the process to end and tells whether it did so by itself.
    pub fn stop(&mut self) -> bool {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM); // It may have ended already.
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

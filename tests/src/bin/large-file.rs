//! A large file of random bytes, up through the edge by two clients and down by curl.
//!
//! ```sh
//! cargo run --release -p outport-tests --bin large-file -- --size 1GiB
//! ```
//!
//! Uploads with `outport put` and with tus-js-client (broken off three times on the way and gone
//! on with), downloads both with curl, compares SHA-256 digests, and prints the most memory that
//! edge and origin ever had. Fails where a digest differs or a process had more than it may.
//!
//! With `--edge` and `--token` it goes through an edge that is there, on whatever platform.

#![allow(clippy::expect_used, clippy::print_stdout)] // A test: what is not as it should be ends it.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use outport_tests::deployment::{Data, Running, program};
use outport_tests::{process, random};

const MIB: u64 = 1024 * 1024;
/// What edge and origin may have in memory, each.
const RESIDENT_BYTES_MAX: u64 = 200 * MIB;

/// A large file up through the edge by two clients, and down by curl.
#[derive(Parser)]
struct Args {
    /// The file's size, such as 64MiB or 1GiB
    #[arg(long, default_value = "1GiB", value_parser = size)]
    size: u64,
    /// How often tus-js-client is broken off
    #[arg(long, default_value_t = 3)]
    interruptions: u32,
    /// The most that tus-js-client sends in one request, where the edge has a bound
    #[arg(long, value_parser = size)]
    chunk: Option<u64>,
    /// The address of an edge that serves already
    #[arg(long, value_name = "URL", requires = "token")]
    edge: Option<String>,
    /// A token that it takes
    #[arg(long)]
    token: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let stage = match (&args.edge, &args.token) {
        (Some(edge), Some(token)) => Stage::at(edge, token),
        _ => Stage::own(),
    };
    let original = stage.data.path().join("original.bin");
    let digest = random::file(&original, args.size).expect("there is space for the file");
    println!("{} MiB of random bytes  sha256 {digest}", args.size / MIB);

    let mut right = true;
    let uploads: [(&str, &dyn Fn() -> String); 2] = [
        ("outport put", &|| stage.put(&original)),
        ("tus-js-client", &|| stage.put_by_tus_js(&original, &args)),
    ];
    for (client, upload) in uploads {
        let (url, up) = timed(upload);
        let (copied, down) = timed(|| stage.digest_by_curl(&url));
        // So that the disk has room for the next.
        stage.remove(&url);
        let verdict = if copied == digest { "same" } else { "DIFFERENT" };
        println!(
            "{client:<14} up {}  curl down {}  sha256 {verdict}",
            rate(args.size, up),
            rate(args.size, down)
        );
        right &= copied == digest;
    }
    for (name, node) in &stage.nodes {
        let resident = process::resident_bytes_peak(node.id());
        println!("{name:<14} peak resident memory {} MiB", resident / MIB);
        right &= resident < RESIDENT_BYTES_MAX;
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An edge, and a token that it takes.
struct Stage {
    edge: String,
    token: String,
    /// The processes, where they are our own, by what they are.
    nodes: Vec<(&'static str, Running)>,
    data: Data,
}

impl Stage {
    fn own() -> Self {
        let data = Data::new();
        let origin = Running::origin(&data, 0);
        let edge = Running::edge(&data, origin.ready("origin"), &[]);
        Self {
            edge: edge.ready("edge").to_owned(),
            token: data.token("demo", "demo", "read write", "1h"),
            nodes: vec![("edge", edge), ("origin", origin)],
            data,
        }
    }

    fn at(edge: &str, token: &str) -> Self {
        let (edge, token) = (edge.trim_end_matches('/').to_owned(), token.to_owned());
        Self { edge, token, nodes: Vec::new(), data: Data::new() }
    }

    /// Uploads with `outport put`. Returns the file's address.
    fn put(&self, file: &Path) -> String {
        let mut command = Command::new(program());
        command
            .arg("put")
            .arg(file)
            .env("OUTPORT_SERVER", &self.edge)
            .env("OUTPORT_TOKEN", &self.token)
            .env("XDG_STATE_HOME", self.data.path());
        output(command)
    }

    /// Uploads with tus-js-client. Returns the file's address.
    fn put_by_tus_js(&self, file: &Path, args: &Args) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tus-js");
        if !folder.join("node_modules").exists() {
            let mut install = Command::new("npm");
            install.arg("ci").current_dir(&folder);
            output(install);
        }
        let mut command = Command::new("node");
        command
            .arg(folder.join("upload.mjs"))
            .arg(format!("{}/uploads", self.edge))
            .arg(&self.token)
            .arg(file)
            .arg(args.interruptions.to_string())
            .args(args.chunk.map(|bytes| bytes.to_string()));
        output(command).replace("/uploads/", "/files/")
    }

    /// Downloads with curl. Returns the digest of what came.
    fn digest_by_curl(&self, url: &str) -> String {
        let mut curl = self.curl();
        let mut curl = curl.arg(url).stdout(Stdio::piped()).spawn().expect("curl starts");
        let digest = random::digest_of(curl.stdout.take().expect("it is piped"));
        let status = curl.wait().expect("curl ends");
        assert!(status.success(), "curl: {status}");
        digest.expect("it can be read")
    }

    fn remove(&self, url: &str) {
        let mut curl = self.curl();
        curl.args(["--request", "DELETE"]).arg(url);
        output(curl);
    }

    fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--silent", "--show-error", "--header"]);
        curl.arg(format!("Authorization: Bearer {}", self.token));
        curl
    }
}

/// Runs a command to its end. Returns what it printed; what it says about itself passes through.
fn output(mut command: Command) -> String {
    let command = command.stderr(std::process::Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

fn rate(bytes: u64, took: Duration) -> String {
    format!(
        "{:>6.1} s ({:>5.0} MiB/s)",
        took.as_secs_f64(),
        (bytes / MIB) as f64 / took.as_secs_f64()
    )
}

fn size(text: &str) -> Result<u64, String> {
    let units = [("GiB", 1024 * MIB), ("MiB", MIB)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .ok_or("it takes a whole number of MiB or GiB, such as 64MiB or 1GiB")?;
    let number: u64 = number.trim().parse().map_err(|error| format!("{number}: {error}"))?;
    number.checked_mul(*unit).ok_or_else(|| format!("{text} is too large"))
}

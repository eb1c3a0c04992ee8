//! What of a workload the edge's cache answers, beside other policies and Belady's optimum.
//!
//! The cache is the node's own ([`Replay`]), the others are a few lines each. All are asked for
//! the same files in the same order, begin empty, have the same room, and count a file in it as the
//! node's cache does. Nothing is measured in time.

mod picture;
mod policies;
mod s3_fifo;
mod trace;
mod workload;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use outport_edge_host::Replay;

use self::policies::{Belady, Policy, Queue};
use self::s3_fifo::S3Fifo;
use self::workload::{Request, Workload};

/// How large the caches are, in thousandths of what all files of a workload would take.
const CACHES: [u64; 5] = [1, 10, 50, 100, 250];
/// The share of a cache that one body may take, as in the settings of a node: one in so many bytes.
const OBJECT_SHARE: u64 = 16;
/// About what the key and the stored head of a file take.
const HEAD_BYTES: usize = 256;
const KEY_BYTES: usize = 31;

/// A policy by its name, and how to make a cache of so many bytes that has it.
type Contender = (&'static str, fn(u64) -> Box<dyn Policy>);

const CONTENDERS: [Contender; 5] = [
    ("Outport", |bytes_max| Box::new(Node(Replay::new(bytes_max, bytes_max / OBJECT_SHARE)))),
    ("S3-FIFO", |bytes_max| Box::new(S3Fifo::new(bytes_max))),
    ("LRU", |bytes_max| Box::new(Queue::lru(bytes_max))),
    ("FIFO", |bytes_max| Box::new(Queue::fifo(bytes_max))),
    ("Belady", |bytes_max| Box::new(Belady::new(bytes_max))),
];

/// Runs the benchmark.
pub(crate) fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::read(args)?;
    let workloads = options.workloads()?;
    // The same caches for all of them, so that what a scan does is seen.
    let stored_bytes = workloads.first().map_or(0, |workload| workload.stored_bytes);
    let mut results = Vec::new();
    for workload in workloads {
        println!("{}", heading(&workload));
        let caches = CACHES.map(|share| Measured::of(&workload, share, stored_bytes));
        let caches = Vec::from(caches);
        println!("{}", table(&caches));
        results.push((workload.name, caches));
    }
    if let Some(path) = &options.picture {
        let written = std::fs::write(path, picture::draw(&results));
        written.with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

struct Options {
    requests: usize,
    seed: u64,
    trace: Option<PathBuf>,
    picture: Option<PathBuf>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { requests: 1_000_000, seed: 1, trace: None, picture: None };
        while let Some(name) = args.next() {
            let value = args.next().with_context(|| format!("{name} needs a value"))?;
            let number = || value.parse().with_context(|| format!("{name} takes a number"));
            match name.as_str() {
                "--requests" => options.requests = number()?,
                "--seed" => options.seed = number()? as u64,
                "--trace" => options.trace = Some(value.into()),
                "--picture" => options.picture = Some(value.into()),
                _ => bail!("replay has no option {name}"),
            }
        }
        Ok(options)
    }

    fn workloads(&self) -> Result<Vec<Workload>> {
        if let Some(path) = &self.trace {
            let requests = trace::open(path, self.requests)?;
            let name = path.file_stem().map_or("a trace".into(), |name| name.to_string_lossy());
            return Ok(vec![Workload::new(name, requests, weight)]);
        }
        let [plain, scanned] = workload::generate(self.seed, self.requests)?;
        Ok(vec![
            Workload::new("Zipf", plain, weight),
            Workload::new("Zipf, and a scan of large files", scanned, weight),
        ])
    }
}

/// What a body of this length takes in each of the caches, with what goes with it.
fn weight(body_bytes: u64) -> u64 {
    Replay::entry_bytes(KEY_BYTES, HEAD_BYTES, body_bytes)
}

/// The node's cache.
struct Node(Replay);

impl Policy for Node {
    fn request(&mut self, request: &Request, _: u64) -> bool {
        self.0.request(format!("file {:026}", request.file), HEAD_BYTES, request.bytes)
    }
}

/// What came of caches of one size, in the order of the contenders.
struct Measured {
    share: u64,
    bytes_max: u64,
    tallies: Vec<Tally>,
}

/// What was asked for and how much of it was there.
#[derive(Clone, Copy, Default)]
struct Tally {
    files: Ratio,
    bytes: Ratio,
    /// Files asked for while a scan goes on, but for those it asks for itself.
    beside_scan: Ratio,
}

#[derive(Clone, Copy, Default)]
struct Ratio {
    hits: u64,
    all: u64,
}

impl Measured {
    fn of(workload: &Workload, share: u64, stored_bytes: u64) -> Self {
        let bytes_max = stored_bytes / 1000 * share;
        let tallies = CONTENDERS.map(|(_, new)| Tally::of(workload, &mut *new(bytes_max)));
        Self { share, bytes_max, tallies: tallies.into() }
    }

    fn percent(&self) -> f64 {
        self.share as f64 / 10.0
    }
}

impl Tally {
    fn of(workload: &Workload, policy: &mut dyn Policy) -> Self {
        let mut tally = Self::default();
        for request in &workload.requests {
            let hit = policy.request(request, weight(request.bytes));
            tally.files.count(1, hit);
            tally.bytes.count(request.bytes, hit);
            tally.beside_scan.count(u64::from(request.beside_scan), hit);
        }
        tally
    }
}

impl Ratio {
    fn count(&mut self, asked: u64, hit: bool) {
        self.all += asked;
        self.hits += if hit { asked } else { 0 };
    }

    fn percent(self) -> Option<f64> {
        (self.all > 0).then(|| self.hits as f64 / self.all as f64 * 100.0)
    }
}

/// What is counted, and its name.
type Count = (&'static str, fn(&Tally) -> Ratio);

const COUNTS: [Count; 3] = [
    ("objects", |tally| tally.files),
    ("bytes", |tally| tally.bytes),
    ("objects, middle fifth", |tally| tally.beside_scan),
];

fn heading(workload: &Workload) -> String {
    let asked: u64 = workload.requests.iter().map(|request| request.bytes).sum();
    format!(
        "{}: {} requests for {} files; {:.1} GiB asked for, {:.1} GiB if all were stored\n",
        workload.name,
        workload.requests.len(),
        workload.files,
        gib(asked),
        gib(workload.stored_bytes)
    )
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Hit ratios in percent: a row for each count and size of a cache, a column for each policy.
fn table(caches: &[Measured]) -> String {
    let names = CONTENDERS.map(|(name, _)| name).join(" | ");
    let mut rows = format!("| hits, % of | cache | MiB | {names} |\n|---|---|---|");
    rows.push_str(&"---|".repeat(CONTENDERS.len()));
    rows.push('\n');
    for (name, count) in COUNTS {
        for cache in caches {
            let percents = cache.tallies.iter().filter_map(|tally| count(tally).percent());
            let percents: Vec<_> = percents.map(|percent| format!("{percent:.1}")).collect();
            if !percents.is_empty() {
                let mib = cache.bytes_max >> 20;
                rows.push_str(&format!("| {name} | {} % | {mib} | ", cache.percent()));
                rows.push_str(&format!("{} |\n", percents.join(" | ")));
            }
        }
    }
    rows
}

//! Very many files of a kilobyte: created, counted and listed, beside the bare file system and
//! @tus/server.
//!
//! Each contender gets the same number of files from as many callers at once, in turn and with the
//! machine for itself. Then its folder is measured as the disk counts it, in blocks, and everything
//! is listed. What ends the run is a file that is missing or another.

mod disk;
mod http;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;

/// The content of a file: its place, and then always the same.
const FILE_BYTES: usize = 1024;
/// How many callers there are at once.
const CALLERS: usize = 64;
/// How many of the files are read again.
const SAMPLES: usize = 200;

/// Creates so many files in an empty folder.
type Measure = fn(&Runtime, &Path, usize) -> Result<Measured>;

/// Runs the benchmark.
pub(crate) fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let Options { folder, files } = Options::read(args)?;
    let runtime = Runtime::new()?;
    println!(
        "{files} files of {FILE_BYTES} bytes, {CALLERS} callers at once\n\n\
         | | synced | creates/s | p50 ms | p99 ms | bytes on the disk a file | of them metadata | \
         all listed, s |\n|---|---|---|---|---|---|---|---|"
    );
    let contenders: [Measure; 3] = [disk::measure, http::outport, http::tus_server];
    for measure in contenders {
        let scratch = tempfile::tempdir_in(&folder)?;
        println!("{}", measure(&runtime, scratch.path(), files)?.row(files));
    }
    Ok(())
}

struct Options {
    folder: PathBuf,
    files: usize,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { folder: "target/outport/bench".into(), files: 100_000 };
        while let Some(name) = args.next() {
            let value = args.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--folder" => options.folder = value.into(),
                "--files" => options.files = value.parse()?,
                _ => bail!("files takes --files N and --folder DIR, and was given {name}"),
            }
        }
        fs::create_dir_all(&options.folder)?;
        // What serves is started elsewhere.
        options.folder = options.folder.canonicalize()?;
        Ok(options)
    }
}

/// What came of one contender.
struct Measured {
    name: String,
    /// Whether a file survives a power cut once it is acknowledged.
    synced: bool,
    created: Created,
    /// All that is on the disk, and of that what is no content, in bytes.
    disk_bytes: u64,
    metadata_bytes: u64,
    /// How long it takes to list all; `None` where that is not to be had.
    listed: Option<Duration>,
}

/// How the files were created.
struct Created {
    took: Duration,
    /// Of each file.
    latencies: Vec<Duration>,
}

impl Created {
    fn new(begun: Instant, mut latencies: Vec<Duration>) -> Self {
        let took = begun.elapsed();
        latencies.sort_unstable();
        Self { took, latencies }
    }

    fn at(&self, share: f64) -> f64 {
        let place = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

impl Measured {
    fn row(&self, files: usize) -> String {
        let per_file = |bytes: u64| bytes as f64 / files as f64;
        format!(
            "| {} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {} |",
            self.name,
            if self.synced { "yes" } else { "no" },
            files as f64 / self.created.took.as_secs_f64(),
            self.created.at(0.5),
            self.created.at(0.99),
            per_file(self.disk_bytes),
            per_file(self.metadata_bytes),
            self.listed.map_or("–".to_owned(), |listed| format!("{:.1}", listed.as_secs_f64())),
        )
    }
}

/// The content of the file at `place`.
fn content(place: usize) -> Vec<u8> {
    let mut content = vec![b'.'; FILE_BYTES];
    let place = place.to_string();
    for (to, from) in content.iter_mut().zip(place.bytes()) {
        *to = from;
    }
    content
}

/// The places that are read again, spread over all.
fn samples(files: usize) -> impl Iterator<Item = usize> {
    (0..files).step_by((files / SAMPLES).max(1))
}

/// What a folder takes on the disk, itself included; of the files that `counts` says.
fn disk_bytes(folder: &Path, counts: &dyn Fn(&Path) -> bool) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = fs::metadata(folder)?.blocks() * 512;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += disk_bytes(&path, counts)?;
        } else if counts(&path) {
            bytes += fs::metadata(&path)?.blocks() * 512;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_files_are_alike() {
        assert_eq!(content(7).len(), FILE_BYTES);
        assert!(content(12)[..3] == *b"12." && content(1) != content(11));
        assert_eq!(samples(1000).count(), SAMPLES);
        assert_eq!(samples(3).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_folder_is_measured_in_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let empty = disk_bytes(folder.path(), &|_| true).unwrap();
        fs::write(folder.path().join("a"), [1; 5000]).unwrap();
        let full = disk_bytes(folder.path(), &|_| true).unwrap();
        assert!(full >= empty + 5000, "{empty} {full}");
        assert_eq!(disk_bytes(folder.path(), &|_| false).unwrap(), empty);
    }
}

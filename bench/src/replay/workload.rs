//! What is asked for: made from a seed, and what each request knows of its own future.
//!
//! Popularity follows Zipf's law over a catalogue whose files are replaced as time passes; beside
//! it there are files that are asked for just once. Sizes are log-normal: many small ones, and a
//! few that hold most of the bytes.

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Files that may be asked for again, at any one time.
const CATALOGUE: usize = 200_000;
/// Zipf's exponent.
const ALPHA: f64 = 0.9;
/// The share of requests whose file nobody else asks for.
const ONCE: f64 = 0.15;
/// The share of requests before which some file of the catalogue is replaced by a new one.
const REPLACED: f64 = 0.05;
/// The median of sizes, and the standard deviation of their logarithm.
const MEDIAN_BYTES: f64 = 8192.0;
const SIGMA: f64 = 2.0;
const BYTES_MIN: f64 = 1024.0;
const BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;

/// What is scanned: so many files of such sizes, one after the other, and all of it once more.
const SCANNED: u32 = 1_500;
const SCANNED_BYTES: Range<u64> = 4 << 20..32 << 20;
const SCANS: usize = 2;

/// The next use of what is not used again.
pub(super) const NEVER: u64 = u64::MAX;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Which file.
    pub(super) file: u32,
    /// How long it is.
    pub(super) bytes: u64,
    /// When it is asked for next, counted in requests; or [`NEVER`].
    pub(super) next: u64,
    /// Whether it is one of those that a scan could harm.
    pub(super) beside_scan: bool,
}

impl Request {
    pub(super) const fn new(file: u32, bytes: u64) -> Self {
        Self { file, bytes, next: NEVER, beside_scan: false }
    }
}

/// Requests in their order.
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) requests: Vec<Request>,
    /// How many files are asked for, and what is stored if all of them are.
    pub(super) files: u64,
    pub(super) stored_bytes: u64,
}

impl Workload {
    /// Of these requests, each of which is told its next use; `weight` is what a file of this
    /// length takes in a cache.
    pub(super) fn new(
        name: impl Into<String>,
        mut requests: Vec<Request>,
        weight: impl Fn(u64) -> u64,
    ) -> Self {
        let mut next_uses = HashMap::new();
        let mut stored_bytes = 0;
        for (at, request) in requests.iter_mut().enumerate().rev() {
            request.next = next_uses.insert(request.file, at as u64).unwrap_or(NEVER);
            if request.next == NEVER {
                stored_bytes += weight(request.bytes);
            }
        }
        Self { name: name.into(), requests, files: next_uses.len() as u64, stored_bytes }
    }
}

/// The workload without a scan, and the same requests with one in the middle fifth.
pub(super) fn generate(seed: u64, requests: usize) -> Result<[Vec<Request>; 2]> {
    let plain = Generator::new(seed).requests(requests)?;
    let scanned = with_scan(seed, &plain)?;
    Ok([plain, scanned])
}

struct Generator {
    random: StdRng,
    /// The chance of a place of the catalogue or one before it.
    chances: Vec<f64>,
    /// The file in each place.
    catalogue: Vec<Request>,
    files: u32,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=CATALOGUE).map(|place| {
            sum += (place as f64).powf(-ALPHA);
            sum
        });
        let mut chances: Vec<f64> = weights.collect();
        chances.iter_mut().for_each(|chance| *chance /= sum);
        let random = StdRng::seed_from_u64(seed);
        let mut generator = Self { random, chances, catalogue: Vec::new(), files: 0 };
        generator.catalogue = (0..CATALOGUE).map(|_| generator.new_file()).collect();
        generator
    }

    fn requests(mut self, count: usize) -> Result<Vec<Request>> {
        let middle = middle(count);
        (0..count)
            .map(|at| Ok(Request { beside_scan: middle.contains(&at), ..self.request()? }))
            .collect()
    }

    fn request(&mut self) -> Result<Request> {
        if self.random.random_bool(REPLACED) {
            let place = self.random.random_range(0..CATALOGUE);
            let file = self.new_file();
            *self.catalogue.get_mut(place).context("a place of the catalogue")? = file;
        }
        if self.random.random_bool(ONCE) {
            return Ok(self.new_file());
        }
        let chance = self.random.random::<f64>();
        let place = self.chances.partition_point(|upto| *upto < chance).min(CATALOGUE - 1);
        self.catalogue.get(place).copied().context("a place of the catalogue")
    }

    fn new_file(&mut self) -> Request {
        self.files += 1;
        // Box and Muller's way from two even numbers to a normal one.
        let (radius, angle) = (1.0 - self.random.random::<f64>(), self.random.random::<f64>());
        let normal = (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos();
        let bytes = MEDIAN_BYTES * (SIGMA * normal).exp();
        Request::new(self.files, bytes.clamp(BYTES_MIN, BYTES_MAX) as u64)
    }
}

const fn middle(count: usize) -> Range<usize> {
    count / 5 * 2..count / 5 * 3
}

/// Puts a scan evenly among the requests of the middle fifth.
fn with_scan(seed: u64, plain: &[Request]) -> Result<Vec<Request>> {
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(1));
    // Numbers from the other end, so that they are no other files.
    let large: Vec<_> = (0..SCANNED)
        .map(|file| Request::new(u32::MAX - file, random.random_range(SCANNED_BYTES)))
        .collect();
    let middle = middle(plain.len());
    let every = middle.len() / (large.len() * SCANS);
    if every == 0 {
        bail!("a scan needs {} requests to go with, at least", large.len() * SCANS * 5);
    }
    let mut scan = large.iter().cycle().take(large.len() * SCANS);
    let mut requests = Vec::with_capacity(plain.len() + large.len() * SCANS);
    for (at, request) in plain.iter().enumerate() {
        requests.push(*request);
        if middle.contains(&at) && at % every == 0 {
            requests.extend(scan.next());
        }
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_knows_its_next_use() {
        let requests = [1, 2, 1].map(|file| Request::new(file, 10)).to_vec();
        let workload = Workload::new("", requests, |bytes| bytes + 1);
        let nexts: Vec<_> = workload.requests.iter().map(|request| request.next).collect();
        assert_eq!(nexts, [2, NEVER, NEVER]);
        assert_eq!((workload.files, workload.stored_bytes), (2, 22));
    }

    #[test]
    fn a_seed_makes_the_same_requests_and_a_scan_adds_to_them() {
        let [plain, scanned] = generate(7, 20_000).unwrap();
        assert_eq!(plain, generate(7, 20_000).unwrap()[0]);
        assert_ne!(plain, generate(8, 20_000).unwrap()[0]);
        assert_eq!(plain.iter().filter(|request| request.beside_scan).count(), 4_000);
        let (scan, rest): (Vec<_>, Vec<_>) =
            scanned.into_iter().partition(|request| request.file > u32::MAX - SCANNED);
        assert_eq!(rest, plain);
        assert_eq!(scan.len(), SCANNED as usize * SCANS);
    }
}

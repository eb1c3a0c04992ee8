//! A small file from the edge's cache, beside nginx and stock `wasmtime serve`.
//!
//! All servers run at once on the same two processors, which the load generator shares, and are
//! measured in turn for several rounds: what else the machine does then meets all of them alike,
//! and what a round's figures have in common cancels out in their ratios. Nothing here judges a
//! figure; what ends the run is an answer that is not the file.

mod contenders;
mod load;
mod peers;
mod product;
mod report;

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::runtime;

use contenders::Contender;
use load::Load;
use report::Sample;

use crate::server;

/// The file. peer-component has the same.
const CONTENT: [u8; 4096] = [b'o'; 4096];
/// Odd, so that the median is a round's own.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(4);
/// Long enough for connections, caches and instances to be there.
const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the benchmark.
pub(crate) fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    if let Some(arg) = args.next() {
        bail!("edge takes no arguments, and was given {arg}");
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = server::folder()?;
    let lineup = runtime.block_on(contenders::start(folder.path()))?;
    let load = Load::new(folder.path())?;
    let verify = |contender: &Contender| runtime.block_on(contender.verify());

    for contender in &lineup.contenders {
        measure(&load, contender, WARM_UP)?;
        verify(contender)?;
    }
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        let samples = lineup.contenders.iter().map(|contender| measure(&load, contender, ROUND));
        rounds.push(samples.collect::<Result<Vec<_>>>()?);
    }
    lineup.contenders.iter().try_for_each(verify)?;
    let names: Vec<_> = lineup.contenders.iter().map(|contender| &*contender.name).collect();
    print!("{}", report::text(&load.describe(ROUND), &names, &rounds));
    Ok(())
}

fn measure(load: &Load, contender: &Contender, time: Duration) -> Result<Sample> {
    let before = contender.cpu_time()?;
    let answered = load.run(contender, time)?;
    let cpu = contender.cpu_time()?.saturating_sub(before);
    Ok(Sample {
        per_second: answered.requests as f64 / answered.elapsed.as_secs_f64(),
        p50_us: answered.p50_us,
        p99_us: answered.p99_us,
        cpu_us: cpu.as_secs_f64() * 1e6 / answered.requests as f64,
    })
}

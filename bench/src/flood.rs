//! Who is signed in, while anonymous requests come at twice the capacity.
//!
//! The edge has one processor; its origin, all clients and the flood have the other. First the signed-in
//! do their work alone; then it is found out how many anonymous requests the edge answers a second; then
//! twice as many come, whatever becomes of them, beside thousands of clients that send their heads or
//! bodies very slowly, and the signed-in do the same work. Once with an edge as it is set up by default,
//! and once with one that sheds no load.

mod anonymous;
mod signed_in;
mod slow;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::runtime;

use self::anonymous::Flooded;
use self::signed_in::{Users, Worked};
use crate::product;
use crate::server::{self, Server};

/// How many times the capacity comes.
const TIMES: f64 = 2.0;
/// How long the flood lasts before anything is measured.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the capacity is measured.
const CAPACITY: Duration = Duration::from_secs(5);
/// As little as the product needs: nobody is refused for asking often, and one machine is one network.
const SETTINGS: &str = "[overload]\nnetwork_connections_max = 50000\n";
const WITHOUT_SHEDDING: &str = "delay_ms_max = 0\n";

/// Runs the benchmark.
pub(crate) fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::read(args)?;
    let cpus = server::cpus()?;
    let (edge_cpu, other_cpu) = cpus.split_once(',').context("this takes two processors")?;
    stay_on(other_cpu)?;
    println!(
        "| edge | signed-in requests | succeeded | p50 ms | p99 ms | anonymous sent/s | served/s | \
         shed/s |\n|---|---|---|---|---|---|---|---|"
    );
    for (name, settings) in [
        ("as it is by default", SETTINGS.to_owned()),
        ("without shedding", format!("{SETTINGS}{WITHOUT_SHEDDING}")),
    ] {
        let folder = server::folder()?;
        let program = product::program()?;
        let served = product::serve_on([edge_cpu, other_cpu], &program, folder.path(), &settings)?;
        measure(name, &options, served)?;
    }
    Ok(())
}

struct Options {
    time: Duration,
    slow: usize,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { time: Duration::from_secs(15), slow: 1_000 };
        while let Some(name) = args.next() {
            let value = args.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--seconds" => options.time = Duration::from_secs(value.parse()?),
                "--slow" => options.slow = value.parse()?,
                _ => bail!("flood takes --seconds N and --slow N, and was given {name}"),
            }
        }
        Ok(options)
    }
}

/// Lets this thread, and as Linux has it no other, give way to who is measured.
fn give_way() {
    const NICE: i32 = 19;
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Keeps this process, with what it starts, on a processor.
fn stay_on(cpu: &str) -> Result<()> {
    let own = std::process::id().to_string();
    let mut set = Command::new("taskset");
    let set = set.args(["--all-tasks", "--cpu-list", "--pid", cpu, &own]).output();
    let set = set.context("cannot run taskset (of util-linux)")?;
    ensure!(set.status.success(), "taskset: {}", String::from_utf8_lossy(&set.stderr));
    Ok(())
}

fn measure(
    name: &str,
    options: &Options,
    (edge, token, mut servers): (String, String, [Server; 2]),
) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let users = runtime.block_on(Users::new(&edge, &token))?;
    // Connections, caches and instances are there before anything is measured.
    runtime.block_on(users.work(SETTLE));
    let alone = runtime.block_on(users.work(options.time));
    println!("{}", row(&format!("{name}: alone"), &alone, None));

    let target = users.public_file();
    let capacity = anonymous::capacity(target, CAPACITY)?;
    let slow = slow::start(&edge, &token, options.slow)?;
    let flood = anonymous::Flood::start(target, capacity * TIMES)?;
    std::thread::sleep(SETTLE);
    flood.begin();
    let flooded = runtime.block_on(users.work(options.time));
    let sent = flood.end();
    let kept = slow.end();
    println!(
        "{}",
        row(&format!("{name}: flooded at {TIMES} × {capacity:.0}/s"), &flooded, Some(&sent))
    );
    eprintln!(
        "{name}: {} of {} slow clients were still there; p99 {:.1} times that without the flood",
        kept,
        2 * options.slow,
        flooded.at_ms(0.99) / alone.at_ms(0.99),
    );
    servers.iter_mut().try_for_each(Server::check)
}

fn row(name: &str, worked: &Worked, flooded: Option<&Flooded>) -> String {
    let per_s = |count: fn(&Flooded) -> f64| {
        flooded.map_or("–".to_owned(), |flooded| format!("{:.0}", count(flooded)))
    };
    format!(
        "| {name} | {} | {:.1} % | {:.1} | {:.1} | {} | {} | {} |",
        worked.requests(),
        worked.succeeded() * 100.0,
        worked.at_ms(0.5),
        worked.at_ms(0.99),
        per_s(Flooded::sent_per_s),
        per_s(Flooded::served_per_s),
        per_s(Flooded::shed_per_s),
    )
}

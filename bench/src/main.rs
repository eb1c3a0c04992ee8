//! Side-by-side benchmarks against real peers: `outport-bench NAME [ARGS…]`.

// What is measured goes to standard output.
#![allow(clippy::print_stdout)]

mod budget;
mod call;
mod compression;
mod edge;
mod files;
mod flood;
mod meta;
mod nginx;
mod product;
mod replay;
mod server;
mod start;
mod tokens;

use anyhow::{Result, bail};

const USAGE: &str = "usage: outport-bench [NAME [ARGS...]]

budget                              how exact a budget is that four edges share
call                                what one decision costs at the component's boundary
compression                         bytes saved and time taken by compression, beside nginx
edge                                a small file from the cache, beside nginx and wasmtime serve
files [--files N] [--folder DIR]    files of 1 KiB, beside the file system and @tus/server
flood [--seconds N] [--slow N]      who is signed in, while anonymous requests come at twice capacity
meta [--folder DIR] [--seconds N]   durable commits of metadata per second, by engine and writers
replay [--picture FILE]             what the cache answers, beside other policies and the optimum
       [--requests N] [--seed N] [--trace FILE]
start                               how quickly each platform's edge is compiled and instantiated
tokens                              what a token costs: each algorithm, seen first and again;
                                    over HTTP beside nginx
meta --full DIR                     what becomes of the metadata when that small disk is full";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("budget") => budget::run(),
        Some("call") => call::run(),
        Some("compression") => compression::run(args),
        None | Some("edge") => edge::run(args),
        Some("files") => files::run(args),
        Some("flood") => flood::run(args),
        Some("meta") => meta::run(args),
        Some("replay") => replay::run(args),
        Some("start") => start::run(),
        Some("tokens") => tokens::run(),
        Some("help" | "--help") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

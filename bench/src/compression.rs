//! What compression saves and takes, by class of content, beside nginx with gzip and with brotli.
//!
//! All are caches in front of one upstream, which encodes nothing, and run at once on the same two
//! processors; they are asked in turn, one request at a time. Each content has many addresses, so
//! that the first and the second answer on a file are measured on many files. Nothing here judges
//! a figure; what ends the run is an answer that, decoded, is not the content, or a second question
//! to the upstream.

mod contenders;
mod content;
mod decode;
mod report;
mod upstream;
mod visit;

use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::runtime;

use report::Row;
use upstream::Upstream;
use visit::visit;

/// Runs the benchmark.
pub(crate) fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    if let Some(arg) = args.next() {
        bail!("compression takes no arguments, and was given {arg}");
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<()> {
    let folder = crate::server::folder()?;
    let contents = Arc::new(content::all()?);
    let upstream = Upstream::start(contents.clone()).await?;
    let contenders = contenders::start(folder.path(), &upstream.url).await?;
    let mut rows = Vec::new();
    for (place, content) in contents.iter().enumerate() {
        let mut visited = Vec::new();
        for contender in &contenders {
            eprintln!("{} from {}", content.name, contender.name);
            visited.push(visit(contender, &upstream, content, place).await?);
        }
        rows.push(Row { name: content.name, bytes: content.body.len() as u64, visited });
    }
    let names: Vec<_> = contenders.iter().map(|contender| &*contender.name).collect();
    print!("{}", report::text(&names, &rows));
    Ok(())
}

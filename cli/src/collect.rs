//! `outport collect`: removes what nobody needs any more, now.

use std::path::PathBuf;

use outport_origin::{Collected, Upkeep};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::client::Server;
use crate::client::admin::AdminArgs;
use crate::failure::Failure;
use crate::keys::Keys;
use crate::node::origin::storage_config;
use crate::{output, settings};

/// Removes expired uploads and files, and parts that no record names. An origin does so by itself,
/// a little at a time; this is one round over everything.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: StorageArgs,
}

/// Which storage, whether an origin runs on it or not.
#[derive(clap::Args)]
pub(crate) struct StorageArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The configuration, where no origin runs [default: outport.toml here, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl StorageArgs {
    /// What the origin that runs on the folder answers to a POST, or `None` where none runs.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &str,
    ) -> Result<Option<T>, Failure> {
        let server = match Server::admin(&self.admin) {
            Err(Failure::Unreachable { .. }) => return Ok(None),
            server => server?,
        };
        let mut url = server.path(path);
        url.set_query(Some(query));
        // It takes as long as it takes.
        match server.request(Method::POST, url).send().await {
            // A kill leaves the door's file behind.
            Err(error) if error.is_connect() => Ok(None),
            answer => {
                let answer = server.accept(answer).await?;
                server.json(answer).await.map(Some)
            }
        }
    }

    /// Opens the storage, which no origin runs on.
    pub(crate) fn open(&self) -> Result<Upkeep, Failure> {
        let settings = settings::load(settings::locate(self.config.as_deref()).as_deref())?;
        let keys = Keys::open(&self.admin.data)?;
        let config = storage_config(&self.admin.data, &settings, keys)?;
        Upkeep::open(&config).map_err(|error| Failure::start("storage", &error))
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let query = format!("dry_run={}", args.dry_run);
    let collected = match args.storage.ask(&["admin", "collect"], &query).await? {
        Some(collected) => collected,
        None => {
            let upkeep = args.storage.open()?;
            let collected = upkeep.collect(args.dry_run).await;
            collected.map_err(|error| Failure::Process(format!("the storage: {error}")))?
        }
    };
    if args.json { output::json(&collected) } else { print(&collected, args.dry_run) }
}

fn print(collected: &Collected, dry_run: bool) -> Result<(), Failure> {
    let kinds = [
        ("expired uploads", collected.uploads),
        ("expired files", collected.files),
        ("pieces of files that are gone", collected.orphans),
        ("parts that nothing names", collected.parts),
        ("unfinished parts", collected.unfinished),
    ];
    output::line(if dry_run { "would remove:" } else { "removed:" })?;
    for (kind, tally) in kinds {
        output::line(&format!("{:>10}  {kind}, {}", tally.count, output::size(tally.bytes)))?;
    }
    output::line(&format!("{:>10}  entries of lists without a record", collected.list_entries))?;
    output::line(&format!("{:>10}  parts were looked at", collected.parts_seen))?;
    match collected.failures {
        0 => Ok(()),
        failures => {
            Err(Failure::Process(format!("{failures} could not be looked at; see the log")))
        }
    }
}

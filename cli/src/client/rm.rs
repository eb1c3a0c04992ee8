//! `outport rm`: removes files.

use reqwest::Method;

use super::{Server, ServerArgs};
use crate::failure::Failure;
use crate::output;

/// Removes files; goes on where one can't be removed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The files' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Print a line of JSON for each file that is gone
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let server = Server::new(&args.server)?;
    let mut failures = Vec::new();
    for id in &args.ids {
        match remove(&server, id).await {
            Ok(()) if args.json => output::json(&serde_json::json!({ "removed": id }))?,
            Ok(()) => output::line(&format!("removed {}", output::printable(id)))?,
            Err(failure) => failures.push((output::printable(id), failure)),
        }
    }
    Failure::unless_empty(failures)
}

async fn remove(server: &Server, id: &str) -> Result<(), Failure> {
    let request = server.request(Method::DELETE, server.path(&["files", id]));
    server.send(request).await.map(drop)
}

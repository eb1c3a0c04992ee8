//! `outport share`: a signed link to a file.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Server, ServerArgs};
use crate::duration;
use crate::failure::Failure;
use crate::output;

/// Prints a link that gives a file to whoever has it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file's id
    id: String,
    /// How long the link is good: 90s, 15m, 1h, 7d; at most 30d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration::parse)]
    ttl: Duration,
    /// How long it takes until the link is good
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    starts_in: Option<Duration>,
    /// The link is good for clients of this network or address alone: 192.0.2.0/24, 2001:db8::1
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// The link only saves the file, and never shows it in a browser
    #[arg(long)]
    download: bool,
    /// Print the link and its end as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Serialize)]
struct Wanted {
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    download: bool,
}

#[derive(Deserialize, Serialize)]
struct Link {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begins: Option<String>,
    expires: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let server = Server::new(&args.server)?;
    let starts_in = args.starts_in.map(|wait| wait.as_secs());
    let (network, download) = (args.network, args.download);
    let wanted = Wanted { expires_in: args.ttl.as_secs(), starts_in, network, download };
    let request = server.request(Method::POST, server.path(&["files", &args.id, "links"]));
    let response = server.send(request.json(&wanted)).await?;
    let mut link: Link = server.json(response).await?;
    link.url = server.url(&link.url)?.into();
    if args.json { output::json(&link) } else { output::line(&link.url) }
}

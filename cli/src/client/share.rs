//! `outport share`: a signed link to a file, or a pass for a prefix.

use std::io::BufRead as _;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Server, ServerArgs};
use crate::duration;
use crate::failure::Failure;
use crate::output;

/// Prints a link that gives a file, or all below a path, to whoever has it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file's id
    #[arg(required_unless_present = "prefix")]
    id: Option<String>,
    /// Instead of a file, everything that a route has below this path: /film/7/. The address that is
    /// printed gives a browser a pass, and sends it there
    #[arg(long, value_name = "PATH", conflicts_with_all = ["id", "password", "download", "uses", "end"])]
    prefix: Option<String>,
    /// How long the link is good: 90s, 15m, 1h, 7d; at most 30d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration::parse)]
    ttl: Duration,
    /// How long it takes until the link is good
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    starts_in: Option<Duration>,
    /// The link is good for clients of this network or address alone: 192.0.2.0/24, 2001:db8::1
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Whoever has the link is asked for a password, too: the first line of the standard input
    #[arg(long)]
    password: bool,
    /// How often the file may be fetched with the link; each part of it counts
    #[arg(long, value_name = "NUMBER")]
    uses: Option<u32>,
    /// End all links to the file that were made so far, and make none
    #[arg(long, conflicts_with_all = ["password", "network", "starts_in", "download", "uses"])]
    end: bool,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    download: bool,
}

#[derive(Deserialize, Serialize)]
struct Link {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begins: Option<String>,
    expires: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let server = Server::new(&args.server)?;
    let links = match &args.id {
        Some(id) => server.path(&["files", id, "links"]),
        None => server.path(&["passes"]),
    };
    if args.end {
        return server.send(server.request(Method::DELETE, links)).await.map(drop);
    }
    let starts_in = args.starts_in.map(|wait| wait.as_secs());
    let (prefix, network, download) = (args.prefix, args.network, args.download);
    let password = if args.password { Some(password()?) } else { None };
    let (expires_in, uses) = (args.ttl.as_secs(), args.uses);
    let wanted = Wanted { expires_in, starts_in, network, password, uses, prefix, download };
    let request = server.request(Method::POST, links);
    let response = server.send(request.json(&wanted)).await?;
    let mut link: Link = server.json(response).await?;
    link.url = server.url(&link.url)?.into();
    if args.json { output::json(&link) } else { output::line(&link.url) }
}

/// Reads the password from where other processes can't see it.
fn password() -> Result<String, Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::Process(format!("no password can be read: {error}")))?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Failure::Usage("the standard input has no password in its first line".into()));
    }
    Ok(password.to_owned())
}

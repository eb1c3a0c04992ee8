//! `outport cache`: what an edge has stored, why, and what it is to fetch ahead.

use std::path::{Path, PathBuf};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Server, ServerArgs};
use crate::failure::Failure;
use crate::output::{self, printable};

/// What is told first, in this order.
const FIRST: &[&str] = &["url", "resource", "key", "stored", "next", "because"];

/// Looks at what an edge has stored, and has it fetch more.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Says what is stored for a URL, why, for how long, and what the next request comes to
    Explain {
        /// The URL, or path and query on the server
        url: String,
        /// A field of the request that is explained, such as "accept-language: de"; any number
        #[arg(long = "header", short = 'H', value_name = "FIELD", value_parser = field)]
        fields: Vec<(HeaderName, HeaderValue)>,
        /// Print the answer as one line of JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Has URLs and files fetched ahead, those first that are named first
    Warm {
        /// URLs, or paths and queries on the server
        #[arg(required_unless_present = "from")]
        urls: Vec<String>,
        /// Take them from a file too, as `popular` prints it; "-" reads it from the standard input
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Prints what is stored and was asked for most, as JSON that `warm --from` takes
    Popular {
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What is popular, or is to be warmed.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Urls {
    urls: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Explain { url, fields, json, server } => explain(url, fields, json, &server).await,
        Command::Warm { urls, from, server } => warm(urls, from.as_deref(), &server).await,
        Command::Popular { server } => {
            let server = Server::new(&server)?;
            let asked = server.request(Method::GET, server.path(&["popular"]));
            let popular: Urls = server.json(server.send(asked).await?).await?;
            output::json(&popular)
        }
    }
}

async fn warm(urls: Vec<String>, from: Option<&Path>, server: &ServerArgs) -> Result<(), Failure> {
    let server = Server::new(server)?;
    let mut named = Urls { urls };
    if let Some(from) = from {
        let read = match from == Path::new("-") {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(from),
        };
        let text = read.map_err(|source| Failure::io("read", from, source))?;
        let listed: Urls = serde_json::from_str(&text).map_err(|error| {
            Failure::Usage(format!(
                "{} is no list of URLs: {error}; it takes {{\"urls\": [\"/a\"]}}",
                from.display()
            ))
        })?;
        named.urls.extend(listed.urls);
    }
    let asked = server.request(Method::POST, server.path(&["warm"])).json(&named);
    let told: Map<String, Value> = server.json(server.send(asked).await?).await?;
    let queued = told.get("queued").and_then(Value::as_u64).unwrap_or_default();
    output::line(&format!("{queued} queued"))
}

async fn explain(
    url: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    json: bool,
    server: &ServerArgs,
) -> Result<(), Failure> {
    let server = Server::new(server)?;
    let mut asked = server.path(&["explain"]);
    asked.query_pairs_mut().append_pair("url", &url);
    let fields: HeaderMap = fields.into_iter().collect();
    let response = server.send(server.request(Method::GET, asked).headers(fields)).await?;
    let told: Map<String, Value> = server.json(response).await?;
    if json {
        return output::json(&told);
    }
    let width = told.keys().map(String::len).max().unwrap_or_default();
    let first = FIRST.iter().filter_map(|name| told.get_key_value(*name));
    let others = told.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    let mut lines = first.chain(others).map(|(name, value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("{name:width$}  {}", printable(&value))
    });
    lines.try_for_each(|line| output::line(&line))
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let field = text
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    field.ok_or_else(|| "it takes NAME: VALUE".to_owned())
}

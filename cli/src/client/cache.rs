//! `outport cache`: what an edge has stored, and why.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{Server, ServerArgs};
use crate::failure::Failure;
use crate::output::{self, printable};

/// What is told first, in this order.
const FIRST: &[&str] = &["url", "resource", "key", "stored", "next", "because"];

/// Looks at what an edge has stored.
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
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Command::Explain { url, fields, json, server } = args.command;
    let server = Server::new(&server)?;
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

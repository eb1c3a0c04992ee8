//! `outport ls`: the caller's files, newest first, however many there are.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Server, ServerArgs};
use crate::failure::Failure;
use crate::output::{self, printable};

/// Files asked for at once.
const PAGE_FILES: &str = "100";

/// Lists the caller's files, newest first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only files whose name begins with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Print each file's document as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Page {
    files: Vec<Value>,
    cursor: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let server = Server::new(&args.server)?;
    let mut cursor = None;
    loop {
        let page = page(&server, &args.prefix, cursor.as_deref()).await?;
        for file in &page.files {
            if args.json { output::json(file)? } else { output::line(&row(file))? }
        }
        match page.cursor {
            // A server that gives the same cursor again would be asked for ever.
            next @ Some(_) if next != cursor => cursor = next,
            _ => return Ok(()),
        }
    }
}

async fn page(server: &Server, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
    let mut url = server.path(&["files"]);
    let mut query = url.query_pairs_mut();
    query.append_pair("limit", PAGE_FILES);
    if !prefix.is_empty() {
        query.append_pair("prefix", prefix);
    }
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    drop(query);
    let response = server.send(server.request(Method::GET, url)).await?;
    server.json(response).await
}

fn row(file: &Value) -> String {
    let text = |key: &str| printable(file.get(key).and_then(Value::as_str).unwrap_or("?"));
    let size = file.get("size").and_then(Value::as_u64).map_or("?".to_owned(), output::size);
    let (id, visibility, created) = (text("id"), text("visibility"), text("created"));
    format!("{id}  {size:>11}  {visibility:<7}  {created}  {}", text("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_a_person_looks_for() {
        let file = serde_json::json!({
            "id": "01000G0000000C000000000004", "size": 2048, "visibility": "link",
            "created": "2026-11-24T07:00:00Z", "name": "a\nb.txt",
        });
        assert_eq!(
            row(&file),
            "01000G0000000C000000000004     2.00 KiB  link     2026-11-24T07:00:00Z  a\\u{a}b.txt"
        );
    }
}

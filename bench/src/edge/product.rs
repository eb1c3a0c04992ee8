//! Our own edge before its origin, with the file uploaded twice: public, and for its owner alone.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode};

use super::CONTENT;
use super::contenders::Contender;
use crate::product;
use crate::server::Server;

/// Starts origin and edge and uploads the file.
pub(super) async fn start(program: &Path, folder: &Path) -> Result<([Contender; 2], Vec<Server>)> {
    let (edge_url, token, [edge, origin]) = product::serve(program, folder, "")?;
    let public = upload(&edge_url, &token, "public").await?;
    let private = upload(&edge_url, &token, "private").await?;
    let processes = edge.processes()?;
    let public = Contender {
        name: "Outport, public".to_owned(),
        url: public,
        token: None,
        processes: processes.clone(),
        has_cache: true,
    };
    let private = Contender {
        name: "Outport, token".to_owned(),
        url: private,
        token: Some(token),
        processes,
        has_cache: true,
    };
    Ok(([public, private], vec![edge, origin]))
}

/// Uploads the file through the edge; its address.
async fn upload(edge: &str, token: &str, visibility: &str) -> Result<String> {
    let answer = Client::new()
        .post(format!("{edge}/files?name=small.bin&visibility={visibility}"))
        .bearer_auth(token)
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(CONTENT.as_slice())
        .send()
        .await?;
    if answer.status() != StatusCode::CREATED {
        bail!("the upload is answered {}: {}", answer.status(), answer.text().await?);
    }
    let path = answer.headers().get(LOCATION).context("the new file has no address")?;
    Ok(format!("{edge}{}", path.to_str()?))
}

//! Our own edge before its origin, with the file uploaded twice: public, and for its owner alone.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::CONTENT;
use super::contenders::Contender;
use super::server::Server;

/// The highest limit that can be said: what is to be measured is the check, not the refusal.
const SETTINGS: &str = "[limits.read]\nper_second = 1_000_000\nburst = 100_000_000\n";

/// Starts origin and edge and uploads the file.
pub(super) async fn start(program: &Path, folder: &Path) -> Result<([Contender; 2], Vec<Server>)> {
    fs::write(folder.join("outport.toml"), SETTINGS)?;
    let args = args(folder, &["origin", "--origin-port", "0"]);
    let mut origin = Server::start(folder, "origin", program, args)?;
    let origin_url = member(&origin.ready()?, "origin")?;
    let args = self::args(folder, &["edge", "--edge-port", "0", "--origin", &origin_url]);
    let mut edge = Server::start(folder, "edge", program, args)?;
    let edge_url = member(&edge.ready()?, "edge")?;

    let token = token(program, folder)?;
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

fn args(folder: &Path, command: &[&str]) -> Vec<OsString> {
    let mut args: Vec<_> = command.iter().map(OsString::from).collect();
    args.extend(["--data".into(), folder.join("data").into()]);
    args.extend(["--config".into(), folder.join("outport.toml").into()]);
    args
}

fn member(ready: &Value, name: &str) -> Result<String> {
    let value = ready.get(name).and_then(Value::as_str);
    Ok(value.with_context(|| format!("the ready line has no {name}"))?.to_owned())
}

fn token(program: &Path, folder: &Path) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.arg("token").arg("--data").arg(folder.join("data")).output()?;
    if !output.status.success() {
        bail!("there is no token: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
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

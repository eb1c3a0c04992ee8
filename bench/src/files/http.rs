//! Servers that take each file in one request.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use reqwest::header::LOCATION;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{CALLERS, Created, FILE_BYTES, Measured, content, disk_bytes, samples};
use crate::product;
use crate::server::Server;

/// How many files a page of the list may have.
const PAGE: usize = 100;

/// Edge and origin, as `outport` runs them.
pub(super) fn outport(runtime: &Runtime, folder: &Path, files: usize) -> Result<Measured> {
    let program = product::program()?;
    let (edge, token, _servers) = product::serve(&program, folder, "")?;
    let data = folder.join("data");
    let empty = disk_bytes(&data, &|_| true)?;
    let target = Target { url: format!("{edge}/files"), token: Some(token), tus: false };
    let (created, paths) = runtime.block_on(target.create(files))?;
    runtime.block_on(target.verify(files, |place| {
        let path: &String = paths.get(place).context("a file has no address")?;
        Ok(format!("{edge}{path}"))
    }))?;
    let begun = Instant::now();
    let found = runtime.block_on(target.count())?;
    if found != files {
        bail!("{found} of {files} files are listed");
    }
    let listed = begun.elapsed();
    let all = disk_bytes(&data, &|_| true)?;
    let (parts, nothing) = (data.join("origin/blobs"), |_: &Path| false);
    let in_parts = disk_bytes(&parts, &|_| true)? - disk_bytes(&parts, &nothing)?;
    // A file that has no part stands in its record.
    let content_bytes = if in_parts == 0 { (files * FILE_BYTES) as u64 } else { in_parts };
    Ok(Measured {
        name: "Outport, edge and origin".to_owned(),
        synced: true,
        created,
        disk_bytes: all - empty,
        metadata_bytes: all - empty - content_bytes,
        listed: Some(listed),
    })
}

/// @tus/server with its own store on the disk, creation-with-upload.
pub(super) fn tus_server(runtime: &Runtime, folder: &Path, files: usize) -> Result<Measured> {
    let script = tus_server_script()?;
    let data = folder.join("data");
    std::fs::create_dir(&data)?;
    let args = [script.as_os_str(), data.as_os_str()];
    let mut server = Server::start(folder, "tus-server", Path::new("node"), args)?;
    let ready = server.ready()?;
    let url = ready.get("url").and_then(Value::as_str).context("it has no address")?;
    let version = ready.get("version").and_then(Value::as_str).unwrap_or_default();
    let target = Target { url: url.to_owned(), token: None, tus: true };
    let (created, paths) = runtime.block_on(target.create(files))?;
    runtime
        .block_on(target.verify(files, |place| {
            Ok(paths.get(place).context("a file has no address")?.clone())
        }))?;
    let is_metadata = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
    let (all, nothing) = (disk_bytes(&data, &|_| true)?, disk_bytes(&data, &|_| false)?);
    Ok(Measured {
        name: format!("@tus/server {version}"),
        synced: false,
        created,
        disk_bytes: all,
        metadata_bytes: disk_bytes(&data, &is_metadata)? - nothing,
        listed: None,
    })
}

/// Where `cargo xtask bench files` puts it, with its packages.
fn tus_server_script() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tus-server/server.mjs");
    if !script.with_file_name("node_modules").is_dir() {
        bail!("its packages are not installed; `cargo xtask bench files` does that");
    }
    Ok(script)
}

/// Who takes files.
#[derive(Clone)]
struct Target {
    /// Where they are posted to.
    url: String,
    token: Option<String>,
    /// Whether it wants to be spoken to by tus.
    tus: bool,
}

impl Target {
    /// Creates the files; their addresses, by place.
    async fn create(&self, files: usize) -> Result<(Created, Vec<String>)> {
        let (next, client) = (Arc::new(AtomicUsize::new(0)), Client::new());
        let begun = Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (target, client, next) = (self.clone(), client.clone(), next.clone());
            tokio::spawn(async move { target.create_some(&client, files, &next).await })
        });
        let mut created = Vec::with_capacity(files);
        for caller in try_join_all(callers).await? {
            created.extend(caller?);
        }
        let took = Created::new(begun, created.iter().map(|one| one.latency).collect());
        created.sort_unstable_by_key(|one| one.place);
        Ok((took, created.into_iter().map(|one| one.address).collect()))
    }

    async fn create_some(
        &self,
        client: &Client,
        files: usize,
        next: &AtomicUsize,
    ) -> Result<Vec<One>> {
        let mut created = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= files {
                return Ok(created);
            }
            let begun = Instant::now();
            let mut request = client.post(&self.url).body(content(place));
            if self.tus {
                request = request
                    .header("tus-resumable", "1.0.0")
                    .header("content-type", "application/offset+octet-stream")
                    .header("upload-length", FILE_BYTES);
            }
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await?;
            if answer.status() != StatusCode::CREATED {
                bail!("a file is answered {}: {}", answer.status(), answer.text().await?);
            }
            let address = answer.headers().get(LOCATION).context("a file has no address")?;
            let address = address.to_str()?.to_owned();
            answer.bytes().await?;
            created.push(One { place, latency: begun.elapsed(), address });
        }
    }

    /// Reads some of the files again.
    async fn verify(&self, files: usize, url: impl Fn(usize) -> Result<String>) -> Result<()> {
        let client = Client::new();
        for place in samples(files) {
            let mut request = client.get(url(place)?);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            if request.send().await?.error_for_status()?.bytes().await? != content(place) {
                bail!("file {place} is another");
            }
        }
        Ok(())
    }

    /// Goes through the whole list.
    async fn count(&self) -> Result<usize> {
        let (client, mut found, mut cursor) = (Client::new(), 0, None);
        loop {
            let mut url = format!("{}?limit={PAGE}", self.url);
            if let Some(cursor) = cursor {
                url = format!("{url}&cursor={cursor}");
            }
            let request = client.get(url).bearer_auth(self.token.as_deref().unwrap_or_default());
            let page: Value = request.send().await?.error_for_status()?.json().await?;
            found += page.get("files").and_then(Value::as_array).map_or(0, Vec::len);
            cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }
}

/// A file that was created.
struct One {
    place: usize,
    latency: Duration,
    address: String,
}

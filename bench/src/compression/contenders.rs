//! Who is measured: a cached route of our edge, and nginx with gzip alone and with brotli.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use reqwest::Client;

use crate::nginx::{self, Config};
use crate::product;
use crate::server::Server;

const NGINX_CONFIG: &str = include_str!("nginx.conf");
const BROTLI_CONFIG: &str = include_str!("brotli.conf");

/// Where Debian's package puts the module.
const BROTLI_MODULE: &str = "/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so";

/// Its default, which is the least, and the one that Debian's configuration proposes.
const GZIP_LEVELS: [&str; 2] = ["1", "6"];

/// What has used no processor for so long has nothing left to do.
const QUIET: Duration = Duration::from_millis(400);
/// How long something may have to do when it was asked for nothing more.
const BUSY_MAX: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);

/// A cache in front of the upstream.
pub(super) struct Contender {
    /// What the report calls it.
    pub(super) name: String,
    /// Its address.
    pub(super) url: String,
    server: Server,
    /// What it can't be without.
    _beside: Option<Server>,
}

impl Contender {
    /// What it has used of all processors.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        self.server.cpu_time()
    }

    /// Waits until it does nothing any more.
    pub(super) async fn quiet(&self) -> Result<()> {
        let begun = Instant::now();
        let (mut used, mut since) = (self.cpu_time()?, begun);
        while since.elapsed() < QUIET {
            if begun.elapsed() > BUSY_MAX {
                bail!("{} is still busy with what was asked", self.name);
            }
            tokio::time::sleep(POLL).await;
            let now = self.cpu_time()?;
            if now != used {
                (used, since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}

/// Starts all in front of this upstream, ours first, with what they need in `folder`.
pub(super) async fn start(folder: &Path, upstream: &str) -> Result<Vec<Contender>> {
    let mut contenders = vec![outport(folder, upstream)?];
    for level in GZIP_LEVELS {
        contenders.push(nginx(folder, upstream, level, false)?);
    }
    contenders.push(nginx(folder, upstream, "6", true)?);
    for Contender { url, server, .. } in &mut contenders {
        // For none of the contents, so that none is stored.
        let ask = async || {
            Client::new().get(&*url).send().await?;
            Ok(())
        };
        server.answering(ask).await?;
    }
    Ok(contenders)
}

fn outport(folder: &Path, upstream: &str) -> Result<Contender> {
    let route = format!(
        "[[routes]]\npath = \"/content/{{*rest}}\"\nproxy = \"{upstream}\"\nauth = \"none\"\n\
         limit = \"none\"\ncache = true\ncompress = true\n"
    );
    let (url, _, [edge, origin]) = product::serve(&product::program()?, folder, &route)?;
    Ok(Contender { name: "Outport".to_owned(), url, server: edge, _beside: Some(origin) })
}

fn nginx(folder: &Path, upstream: &str, gzip_level: &str, brotli: bool) -> Result<Contender> {
    let coding = if brotli { "brotli 6".to_owned() } else { format!("gzip {gzip_level}") };
    let root = folder.join(format!("nginx-{}", coding.replace(" ", "-")));
    fs::create_dir(&root)?;
    let main = if brotli { format!("load_module {BROTLI_MODULE};") } else { String::new() };
    let http = NGINX_CONFIG
        .replace("GZIP_LEVEL", gzip_level)
        .replace("BROTLI", if brotli { BROTLI_CONFIG } else { "" })
        .replace("UPSTREAM", upstream);
    let config = Config { main: &main, http: &http };
    let nginx = nginx::start(&nginx::program()?, &root, &config)?;
    let name = format!("{}, {coding}", nginx.name);
    Ok(Contender { name, url: nginx.url, server: nginx.server, _beside: None })
}

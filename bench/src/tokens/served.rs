//! The same over HTTP, beside nginx that checks tokens by njs and its WebCrypto.
//!
//! Both answer a small file to whoever shows a good token. nginx's own module for tokens is part of its
//! paid edition; njs, its scripting, is what others use. It checks every token anew.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Client;
use serde_json::json;

use super::{Signer, signers};
use crate::nginx::{self, Config};
use crate::product;
use crate::server::{Server, folder};

/// How many tokens are shown first, each by one request; and how many requests show one again.
const TOKENS: usize = 3_000;
const AGAIN: usize = 6_000;
/// Requests that are under way at once.
const AT_ONCE: usize = 16;
const CONTENT: &str = "for those who may have it";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_http_js_module.so";
const SCRIPT: &str = include_str!("nginx.js");
const NGINX: &str = "
    js_import tokens from tokens.js;
    server {
        listen ADDRESS;
        location = /private { js_content tokens.check; }
        location = /content { internal; root .; try_files /content.txt =404; }
        location = /open { try_files /content.txt =404; root .; }
    }
";

/// What a request costs.
struct Cost {
    /// Of the server's processes, in microseconds of processor time.
    cpu_us: f64,
    /// Requests a second.
    per_second: f64,
}

/// Prints a line for each server and algorithm.
pub(super) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("over HTTP, {AT_ONCE} requests at once: µs of the servers' processors a request, and requests/s");
        println!("{:28}{:>20}{:>20}{:>20}", "server, algorithm", "new token", "the same again", "no token needed");
        for signer in signers()? {
            let tokens = (0..TOKENS).map(|_| (signer.sign)()).collect::<Result<Vec<_>>>()?;
            outport(&signer, &tokens).await?;
            nginx(&signer, &tokens).await?;
        }
        Ok(())
    })
}

async fn outport(signer: &Signer, tokens: &[String]) -> Result<()> {
    let folder = folder()?;
    let keys = folder.path().join("keys.jwks");
    fs::write(&keys, json!({ "keys": [signer.jwk] }).to_string())?;
    let settings = format!(
        "[issuers.bench]\nissuer = \"outport-bench\"\naudiences = [\"outport\"]\nkeys_file = \"{}\"\n",
        keys.display()
    );
    let (edge, _, servers) = product::serve(&product::program()?, folder.path(), &settings)?;
    let client = Client::new();
    let by = (signer.sign)()?;
    let upload = async |visibility: &str| {
        let url = format!("{edge}/files?name=a.txt&visibility={visibility}");
        let stored = client.post(url).bearer_auth(&by).body(CONTENT).send().await?;
        let path = stored.error_for_status()?.headers().get("location").cloned();
        let path = path.context("a file has an address")?;
        let url = format!("{edge}{}", path.to_str()?);
        // From then on it is in the cache.
        client.get(&url).bearer_auth(&by).send().await?.error_for_status()?;
        anyhow::Ok(url)
    };
    let (private, open) = (upload("private").await?, upload("public").await?);
    // What is to be measured is the edge.
    let [edge, _origin] = servers;
    compare("Outport", signer.name, &edge, tokens, &private, &open).await
}

async fn nginx(signer: &Signer, tokens: &[String]) -> Result<()> {
    let Some(algorithm) = &signer.web_crypto else {
        println!("{:28}njs can't check it", format!("nginx, {}", signer.name));
        return Ok(());
    };
    ensure!(Path::new(MODULE).is_file(), "there is no njs; `cargo xtask bench tokens` installs it");
    let folder = folder()?;
    fs::write(folder.path().join("content.txt"), CONTENT)?;
    let key: String = signer.pem.lines().filter(|line| !line.starts_with('-')).collect();
    let script = SCRIPT
        .replace("KEY", &key)
        .replace("IMPORTED", &algorithm.imported.to_string())
        .replace("CHECKED", &algorithm.checked.to_string());
    fs::write(folder.path().join("tokens.js"), script)?;
    let main = format!("load_module {MODULE};");
    let config = Config { main: &main, http: NGINX };
    let mut nginx = nginx::start(&nginx::program()?, folder.path(), &config)?;
    let (private, open) = (format!("{}/private", nginx.url), format!("{}/open", nginx.url));
    let client = Client::new();
    let ask = async || {
        client.get(&open).send().await?.error_for_status()?;
        anyhow::Ok(())
    };
    nginx.server.answering(ask).await?;
    compare(&nginx.name, signer.name, &nginx.server, tokens, &private, &open).await
}

async fn compare(
    server: &str,
    algorithm: &str,
    process: &Server,
    tokens: &[String],
    private: &str,
    open: &str,
) -> Result<()> {
    // One that was tampered with is refused, or nothing is measured.
    let spare = tokens.first().context("there are tokens")?;
    let (claims, _) = spare.rsplit_once('.').context("a token has parts")?;
    let forged = format!("{claims}.{}", "A".repeat(86));
    let refused = Client::new().get(private).bearer_auth(forged).send().await?;
    ensure!(refused.status() == 401, "{server} takes a forged token: {}", refused.status());
    let new = ask(process, private, tokens.iter().map(|token| Some(token.as_str()))).await?;
    let again = std::iter::repeat_n(Some(spare.as_str()), AGAIN);
    let again = ask(process, private, again).await?;
    let none = ask(process, open, std::iter::repeat_n(None, AGAIN)).await?;
    let told = |cost: &Cost| format!("{:.0} µs {:>6.0}/s", cost.cpu_us, cost.per_second);
    let name = format!("{server}, {algorithm}");
    println!("{name:28}{:>20}{:>20}{:>20}", told(&new), told(&again), told(&none));
    Ok(())
}

/// Asks for a file with each of these tokens, or without any.
async fn ask<'t>(
    process: &Server,
    url: &str,
    tokens: impl Iterator<Item = Option<&'t str>>,
) -> Result<Cost> {
    let client = Client::new();
    let (begun, cpu) = (Instant::now(), process.cpu_time()?);
    let asked = stream::iter(tokens).map(|token| {
        let request = client.get(url);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        async move {
            let answer = request.send().await?.error_for_status()?.text().await?;
            ensure!(answer == CONTENT, "the answer is {answer}");
            Ok(1_u32)
        }
    });
    let count = asked.buffer_unordered(AT_ONCE).try_fold(0, async |sum, one| Ok(sum + one)).await?;
    let taken = process.cpu_time()?.saturating_sub(cpu);
    Ok(Cost {
        cpu_us: taken.as_secs_f64() * 1e6 / f64::from(count),
        per_second: f64::from(count) / begun.elapsed().as_secs_f64(),
    })
}

//! What an edge takes while a large file passes through it: 1 GiB up by two clients and down again,
//! in the platform's own local runtime.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};

use crate::drivers::{self, Flavour};
use crate::local::LINEAR_BYTES_MAX;
use crate::platform::Platform;
use crate::process::say;
use crate::scratch::Scratch;
use crate::up::{Asked, Deployment};
use crate::workspace::Workspace;

/// What passes.
const FILE: &str = "1GiB";
/// What one request carries of it at most: less than the smallest bound of a platform.
const CHUNK: &str = "64MiB";

/// Sends the file through each platform's edge, and fails if its memory grew beyond the bound.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut table = format!("{:<12}{:>20}  of {LINEAR_BYTES_MAX}\n", "edge for", "linear memory");
    let mut is_kept = true;
    for platform in Platform::DRIVEN {
        let bytes = measure(workspace, platform)?;
        is_kept &= bytes <= LINEAR_BYTES_MAX;
        table.push_str(&format!("{:<12}{bytes:>20}\n", platform.name()));
    }
    say(&table);
    if is_kept { Ok(()) } else { bail!("an edge took more than {LINEAR_BYTES_MAX} bytes") }
}

/// The most linear memory that the platform's edge had, in bytes.
fn measure(workspace: &Workspace, platform: Platform) -> Result<u64> {
    // A Worker keeps its memory from request to request and is asked for its size; only the build
    // with the suites in it answers. The other runtimes tell by themselves.
    let flavour = match platform {
        Platform::Cloudflare => Flavour::Conformance,
        _ => Flavour::Product,
    };
    drivers::build(workspace, platform, flavour)?;
    let data = Scratch::new(workspace, "memory", platform)?;
    let asked =
        Asked { platform, edge_port: 0, origin_port: 0, data: data.0.clone(), config: None };
    let deployment = Deployment::start(workspace, &asked, flavour)?;
    workspace
        .cargo()
        .args(["run", "--release", "--package", "outport-tests", "--bin", "large-file", "--"])
        .args(["--size", FILE, "--chunk", CHUNK, "--edge", &deployment.edge.url, "--token"])
        .arg(deployment.token())
        .envs(crate::build::Product::of(workspace).env())
        .done()?;
    let log = deployment.edge.log.clone();
    let asked = match platform {
        Platform::Cloudflare => Some(ask(&deployment.edge.url)?),
        _ => None,
    };
    drop(deployment);
    asked.map_or_else(|| told(platform, &fs::read_to_string(log)?), Ok)
}

fn ask(url: &str) -> Result<u64> {
    let authority = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(authority)?;
    write!(
        stream,
        "GET /conformance/memory HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let number = answer
        .split("\r\n\r\n")
        .nth(1)
        .and_then(|body| body.split_whitespace().filter_map(|word| word.parse().ok()).max());
    number.with_context(|| format!("the edge does not tell its memory: {answer}"))
}

/// What a runtime's log says.
fn told(platform: Platform, log: &str) -> Result<u64> {
    let told = match platform {
        // "request completed using 3.3 MiB of WebAssembly heap"
        Platform::Fastly => log.split(" of WebAssembly heap").filter_map(heap_bytes).max(),
        // "peak linear memory of an instance: 1310720 bytes"
        _ => log
            .rsplit("peak linear memory of an instance: ")
            .next()
            .and_then(|rest| rest.split(' ').next()?.parse().ok()),
    };
    told.with_context(|| format!("the log of {platform} tells nothing of memory"))
}

/// "… 3.3 MiB"
fn heap_bytes(before: &str) -> Option<u64> {
    let mut words = before.rsplit(' ');
    let unit = match words.next()? {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some((words.next()?.parse::<f64>().ok()? * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_tell_what_a_request_took() {
        let log = "INFO request completed using 1.5 MiB of WebAssembly heap\n\
                   INFO request completed using 900.0 KiB of WebAssembly heap\n";
        assert_eq!(told(Platform::Fastly, log).unwrap(), 3 << 19);
        let log = "listening\npeak linear memory of an instance: 1310720 bytes\n";
        assert_eq!(told(Platform::Spin, log).unwrap(), 1_310_720);
        assert!(told(Platform::Spin, "listening").is_err());
    }
}

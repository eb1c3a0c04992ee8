//! What is asked for: files of the repository and of packages that its lock files name, the page
//! that rustdoc makes of one, and what is made up from a seed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use serde_json::json;

use crate::product;

const SEED: u64 = 1;
/// How many files the list has that stands for small answers of an API.
const LISTED: u64 = 8;
const LOG_LINES: u64 = 2_000;
/// A photograph's length.
const PHOTO_BYTES: usize = 200 << 10;

/// A file of one class.
pub(super) struct Content {
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) body: Bytes,
}

/// Name, media type, and the path from the repository's root.
type Held = (&'static str, &'static str, &'static str);

const HELD: [Held; 7] = [
    ("JSON, a document", "application/json", "web/public/openapi.json"),
    ("CSS", "text/css", "web/node_modules/playwright-core/lib/vite/htmlReport/report.css"),
    (
        "JavaScript, a page's",
        "application/javascript",
        "web/node_modules/playwright-core/lib/vite/htmlReport/report.js",
    ),
    ("JavaScript, a library's", "application/javascript", "web/node_modules/axe-core/axe.min.js"),
    ("plain text, prose", "text/plain", "web/node_modules/picomatch/README.md"),
    ("SVG, a diagram", "image/svg+xml", "docs/benchmarks/replay.svg"),
    ("PNG", "image/png", "web/node_modules/playwright-core/lib/tools/dashboard/appIcon.png"),
];

/// The documentation of a trait, where `cargo xtask bench compression` has rustdoc put it.
const PAGE: &str = "doc/bytes/buf/trait.BufMut.html";

/// One of each class.
pub(super) fn all() -> Result<Vec<Content>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut contents = vec![
        read("HTML", "text/html; charset=utf-8", &product::made()?.join(PAGE))?,
        made("JSON, small", "application/json", list(&mut random)),
    ];
    for (name, media_type, path) in HELD {
        contents.push(read(name, media_type, &root.join(path))?);
    }
    contents.push(made("plain text, a log", "text/plain", log(&mut random)));
    let mut photo = vec![0; PHOTO_BYTES];
    random.fill_bytes(&mut photo);
    contents.push(made("random bytes, as JPEG", "image/jpeg", photo));
    Ok(contents)
}

fn read(name: &'static str, media_type: &'static str, path: &Path) -> Result<Content> {
    let missing =
        || format!("there is no {}; `cargo xtask bench compression` has it made", path.display());
    Ok(made(name, media_type, fs::read(path).with_context(missing)?))
}

fn made(name: &'static str, media_type: &'static str, body: impl Into<Vec<u8>>) -> Content {
    Content { name, media_type, body: Bytes::from(body.into()) }
}

/// A list of files, as APIs answer with.
fn list(random: &mut StdRng) -> String {
    let kinds = [("image/jpeg", "jpg"), ("application/pdf", "pdf"), ("video/mp4", "mp4")];
    let names = ["holiday", "invoice", "minutes", "draft", "scan", "interview"];
    let files: Vec<_> = (0..LISTED)
        .map(|place| {
            let (media_type, extension) = chosen(random, &kinds);
            let name = chosen(random, &names);
            json!({
                "id": format!("{:026X}", random.random::<u128>() >> 24),
                "name": format!("{name}-{}.{extension}", random.random_range(1..400)),
                "type": media_type,
                "bytes": random.random_range(10_000..90_000_000),
                "created_ms": 1_764_000_000_000 + place * random.random_range(1..9_000_000),
                "visibility": if random.random() { "public" } else { "private" },
            })
        })
        .collect();
    json!({ "files": files, "next": null }).to_string()
}

/// A server's log of requests.
fn log(random: &mut StdRng) -> String {
    let paths = ["/", "/cart", "/search?q=lamp", "/static/app.css", "/api/items", "/favicon.ico"];
    let statuses = [200, 200, 200, 200, 304, 304, 302, 404, 500];
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
         Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
         Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
        "curl/8.14.1",
    ];
    let mut text = String::new();
    let mut second = 0;
    for _ in 0..LOG_LINES {
        second += random.random_range(0..3);
        let (network, host) = (random.random_range(0..40), random.random_range(1..255));
        let (path, item) = (chosen(random, &paths), random.random_range(1..5_000));
        let (status, bytes) = (chosen(random, &statuses), random.random_range(180..64_000));
        let (agent, minute) = (chosen(random, &agents), second / 60);
        let (hour, minute, second) = (10 + minute / 60, minute % 60, second % 60);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "192.0.{network}.{host} - - [24/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \
             \"GET {path}/{item} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\""
        );
    }
    text
}

/// One of them; of none, the default.
fn chosen<T: Copy + Default>(random: &mut StdRng, choices: &[T]) -> T {
    choices.choose(random).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_up_is_always_the_same_and_as_large_as_meant() {
        let random = || StdRng::seed_from_u64(SEED);
        assert_eq!(list(&mut random()), list(&mut random()));
        assert_eq!(log(&mut random()), log(&mut random()));
        assert!((1024..2048).contains(&list(&mut random()).len()));
        assert_eq!(log(&mut random()).lines().count(), 2_000);
    }
}

//! The page's files: put into the key-value store, and told to the core.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_edge_core::config::Asset;
use sha2::{Digest as _, Sha256};

use crate::values::{ValueError, Values};

/// A file of the page, as it is embedded in the program.
#[derive(Clone, Copy, Debug)]
pub struct PageFile {
    /// Its path below the root, such as `assets/app.js`.
    pub name: &'static str,
    /// Its bytes.
    pub content: &'static [u8],
    /// The same under a content coding: the coding's name (`br`, `gzip`), and the bytes.
    pub codings: &'static [(&'static str, &'static [u8])],
}

impl PageFile {
    /// What the core must know of it.
    fn asset(&self) -> Asset {
        Asset {
            content_type: content_type(self.name).to_owned(),
            etag: format!("\"{}\"", self.tag()),
            immutable: self.name.starts_with("assets/"),
            key: self.key(None),
            codings: self
                .codings
                .iter()
                .map(|(coding, _)| ((*coding).to_owned(), self.key(Some(coding))))
                .collect(),
        }
    }

    /// The key of its value: by content, so that the pages of two versions never mix.
    fn key(&self, coding: Option<&str>) -> String {
        let coding = coding.unwrap_or("identity");
        format!("page {} {} {coding}", self.name, self.tag())
    }

    fn tag(&self) -> String {
        let hash: [u8; 32] = Sha256::digest(self.content).into();
        let (short, _) = hash.split_at(12);
        URL_SAFE_NO_PAD.encode(short)
    }
}

/// What the core must know of a page, and the values that it is made of, by key.
pub fn assets(
    page: &'static [PageFile],
) -> (BTreeMap<String, Asset>, BTreeMap<String, &'static [u8]>) {
    let mut values = BTreeMap::new();
    for file in page {
        values.insert(file.key(None), file.content);
        values.extend(
            file.codings.iter().map(|(coding, content)| (file.key(Some(coding)), *content)),
        );
    }
    let assets = page.iter().map(|file| (file.name.to_owned(), file.asset())).collect();
    (assets, values)
}

/// Puts the page into the store, and returns what the core must know of it.
pub(crate) fn deploy(
    page: &'static [PageFile],
    values: &Values,
) -> Result<BTreeMap<String, Asset>, ValueError> {
    let (assets, files) = assets(page);
    values.replace("page ", &files)?;
    Ok(assets)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

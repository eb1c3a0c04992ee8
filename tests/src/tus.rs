//! Uploads by tus 1.0, step by step.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Body, Method};

use crate::api::{Answer, Api};

/// The media type of a PATCH body.
pub const PATCH_TYPE: &str = "application/offset+octet-stream";
/// The version field that goes with everything.
pub const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");

/// An upload that was begun.
pub struct Upload {
    /// Its path.
    pub path: String,
    api: Api,
}

/// Asks for a new upload.
pub async fn ask(api: &Api, length: &str, metadata: &str) -> Answer {
    let fields = [VERSION, ("upload-length", length), ("upload-metadata", metadata)];
    api.send(Method::POST, "/uploads", &fields, "").await
}

/// Begins an upload of `length` bytes under a name.
pub async fn create(api: &Api, length: u64, name: &str, visibility: &str) -> Upload {
    let pairs = [("filename", name), ("filetype", "text/plain"), ("visibility", visibility)];
    let answer = ask(api, &length.to_string(), &metadata(&pairs)).await;
    answer.expect_status(201);
    Upload { path: answer.field("location").to_owned(), api: api.clone() }
}

/// The value of `Upload-Metadata`.
pub fn metadata(pairs: &[(&str, &str)]) -> String {
    let pair = |(key, value): &(&str, &str)| format!("{key} {}", STANDARD.encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

impl Upload {
    /// The path of the file that it becomes.
    pub fn file_path(&self) -> String {
        format!("/files/{}", self.id())
    }

    /// The id.
    pub fn id(&self) -> &str {
        self.path.rsplit('/').next().expect("a path has an end")
    }

    /// Appends at an offset.
    pub async fn patch(&self, offset: u64, body: impl Into<Body>) -> Answer {
        self.patch_with(&offset.to_string(), PATCH_TYPE, body).await
    }

    /// Appends with any offset and type.
    pub async fn patch_with(&self, offset: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let fields = [VERSION, ("upload-offset", offset), ("content-type", kind)];
        self.api.send(Method::PATCH, &self.path, &fields, body).await
    }

    /// Asks where it is.
    pub async fn head(&self) -> Answer {
        self.api.head(&self.path, &[VERSION]).await
    }

    /// Where it is.
    pub async fn offset(&self) -> u64 {
        let answer = self.head().await;
        answer.expect_status(200);
        answer.number("upload-offset")
    }

    /// The request head of an append, for a raw connection.
    pub fn raw_head(&self, offset: u64, content_length: u64) -> String {
        format!(
            "PATCH {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ntus-resumable: 1.0.0\r\n\
             upload-offset: {offset}\r\ncontent-type: {PATCH_TYPE}\r\n\
             content-length: {content_length}\r\n\r\n",
            self.path,
            self.api.authority(),
            self.api.token(),
        )
    }
}

//! Uploads by tus 1.0: creation, then the rest in one streaming PATCH, taken up again from the
//! offset that the server reports as often as it takes.
//!
//! Memory stays the same whatever the file's size: a file of at most [`INLINE_BYTES_MAX`] travels
//! with its creation, all others are streamed in chunks.

use std::io::SeekFrom;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, header};
use outport_wire::tus::{PATCH_TYPE, VERSION};
use reqwest::{Body, Method, RequestBuilder, Response, Url};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::Server;
use super::backoff::Backoff;
use super::state::{Key, State};
use crate::failure::Failure;

/// A file of at most this size is sent with its creation, in one request.
const INLINE_BYTES_MAX: u64 = 256 * 1024;
/// What is read from the file at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// A transfer during which this long nothing moves is broken off and taken up again.
const STALL: Duration = Duration::from_secs(60);

/// A file to upload, as it was when the command began.
pub(super) struct Source {
    /// The absolute path.
    pub(super) path: PathBuf,
    /// What it is to be called on the server.
    pub(super) name: String,
    /// Its media type.
    pub(super) media_type: String,
    /// Who may fetch it.
    pub(super) visibility: &'static str,
    /// Its length.
    pub(super) bytes: u64,
    /// When its contents were last changed.
    pub(super) modified: SystemTime,
}

/// Shows how far an upload is. Called often.
pub(super) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Uploads `source`, going on with what `state` remembers, and returns the upload's address.
pub(super) async fn upload(
    server: &Server,
    source: &Source,
    state: &State,
    progress: Progress,
) -> Result<Url, Failure> {
    let key = source.key(&server.address());
    let upload = Upload { server, source, progress, append_bytes_max: AtomicU64::new(u64::MAX) };
    let (url, offset) = match upload.recalled(state.recall(&key)).await? {
        Some(begun) => begun,
        None => upload.create_with_retry().await?,
    };
    if offset < source.bytes {
        if let Err(error) = state.remember(&key, &url) {
            eprintln!("A later run can't go on with this upload: {error}");
        }
        upload.send_rest(&url, offset).await?;
    }
    state.forget(&key);
    Ok(url)
}

struct Upload<'a> {
    server: &'a Server,
    source: &'a Source,
    progress: Progress,
    /// The most that the server takes in one PATCH, as far as it has said so.
    append_bytes_max: AtomicU64,
}

impl Upload<'_> {
    /// The address and offset of a remembered upload that the server still knows.
    async fn recalled(&self, remembered: Option<Url>) -> Result<Option<(Url, u64)>, Failure> {
        let Some(url) = remembered else { return Ok(None) };
        match self.offset_with_retry(&url).await {
            Ok(offset) if offset <= self.source.bytes => Ok(Some((url, offset))),
            Ok(_) | Err(Failure::Refused { status: 403 | 404 | 410, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn create_with_retry(&self) -> Result<(Url, u64), Failure> {
        let mut backoff = Backoff::default();
        loop {
            match self.create().await {
                Ok(created) => return Ok(created),
                Err(failure) => tokio::time::sleep(backoff.after(failure)?).await,
            }
        }
    }

    /// Begins an upload; a small file goes along.
    async fn create(&self) -> Result<(Url, u64), Failure> {
        let request = self
            .tus(Method::POST, self.server.path(&["uploads"]))
            .header("upload-length", self.source.bytes)
            .header("upload-metadata", self.source.metadata());
        let request = if (1..=INLINE_BYTES_MAX).contains(&self.source.bytes) {
            request.header(header::CONTENT_TYPE, PATCH_TYPE).body(self.source.read_whole().await?)
        } else {
            request
        };
        let response = self.server.send(request).await?;
        let location =
            response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.server.strange("its answer has no Location"))?;
        let url = self.server.url(location)?;
        self.heed_limit(&response);
        let offset = number(response.headers(), "upload-offset").unwrap_or(0);
        (self.progress)(offset);
        Ok((url, offset))
    }

    /// Sends everything from `offset` on, however often the connection breaks.
    async fn send_rest(&self, url: &Url, mut offset: u64) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        while offset < self.source.bytes {
            (self.progress)(offset);
            let reached = match self.append(url, offset).await {
                Ok(reached) => reached,
                Err(failure) => {
                    tokio::time::sleep(backoff.after(failure)?).await;
                    self.offset_with_retry(url).await?
                }
            };
            if reached > offset {
                backoff.progressed();
            }
            offset = reached;
        }
        (self.progress)(offset);
        Ok(())
    }

    /// One PATCH from `offset` to the end of the file, or as far as the server takes at once.
    /// Returns the offset that was reached.
    async fn append(&self, url: &Url, offset: u64) -> Result<u64, Failure> {
        let read = Arc::new(AtomicU64::new(offset));
        let bytes = (self.source.bytes - offset).min(self.append_bytes_max.load(Ordering::Relaxed));
        let piece = offset..offset + bytes;
        let body = self.source.stream(piece, Arc::clone(&read), Arc::clone(&self.progress));
        let request = self
            .tus(Method::PATCH, url.clone())
            .header("upload-offset", offset)
            .header(header::CONTENT_TYPE, PATCH_TYPE)
            .header(header::CONTENT_LENGTH, bytes)
            .body(Body::wrap_stream(body.await?));
        let response = tokio::select! {
            answer = request.send() => self.server.accept(answer).await?,
            () = stalled(&read) => return Err(self.server.strange("nothing moves any more")),
        };
        self.reported_offset(&response)
    }

    async fn offset_with_retry(&self, url: &Url) -> Result<u64, Failure> {
        let mut backoff = Backoff::default();
        loop {
            let answer = self.server.send(self.tus(Method::HEAD, url.clone())).await;
            match answer.and_then(|response| self.reported_offset(&response)) {
                Ok(offset) => return Ok(offset),
                Err(failure) => tokio::time::sleep(backoff.after(failure)?).await,
            }
        }
    }

    /// Remembers how much the server takes in one append, if it says so.
    fn heed_limit(&self, response: &Response) {
        if let Some(most) = append_bytes_max(response.headers()) {
            self.append_bytes_max.store(most, Ordering::Relaxed);
        }
    }

    fn reported_offset(&self, response: &Response) -> Result<u64, Failure> {
        self.heed_limit(response);
        number(response.headers(), "upload-offset")
            .ok_or_else(|| self.server.strange("its answer has no Upload-Offset"))
    }

    fn tus(&self, method: Method, url: Url) -> RequestBuilder {
        self.server.request(method, url).header("tus-resumable", VERSION)
    }
}

impl Source {
    /// Everything that must be the same for a later run to go on with this upload.
    fn key(&self, server: &str) -> Key {
        let modified = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Key::of(&[
            server.as_bytes(),
            self.path.as_os_str().as_encoded_bytes(),
            &self.bytes.to_le_bytes(),
            &modified.to_le_bytes(),
            self.metadata().as_bytes(),
        ])
    }

    /// The value of `Upload-Metadata`.
    fn metadata(&self) -> String {
        let pairs = [
            ("filename", self.name.as_str()),
            ("filetype", &self.media_type),
            ("visibility", self.visibility),
        ];
        pairs.map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).join(",")
    }

    async fn read_whole(&self) -> Result<Bytes, Failure> {
        let mut file = self.open_unchanged().await?;
        let mut content = Vec::new();
        let read = file.read_to_end(&mut content).await;
        read.map_err(|source| Failure::io("read", &self.path, source))?;
        Ok(content.into())
    }

    /// These bytes of the file. `read` follows how far it was read.
    async fn stream(
        &self,
        piece: Range<u64>,
        read: Arc<AtomicU64>,
        progress: Progress,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + use<>, Failure> {
        let mut file = self.open_unchanged().await?;
        let sought = file.seek(SeekFrom::Start(piece.start)).await;
        sought.map_err(|source| Failure::io("read", &self.path, source))?;
        let rest = file.take(piece.end - piece.start);
        Ok(futures::stream::try_unfold(rest, move |mut rest| {
            let (read, progress) = (Arc::clone(&read), Arc::clone(&progress));
            async move {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                let mut piece = (&mut rest).take(CHUNK_BYTES as u64);
                if piece.read_to_end(&mut chunk).await? == 0 {
                    return Ok(None);
                }
                let so_far =
                    chunk.len() as u64 + read.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                progress(so_far);
                Ok(Some((Bytes::from(chunk), rest)))
            }
        }))
    }

    /// Opens the file, if it is still the one that the upload was begun with.
    async fn open_unchanged(&self) -> Result<File, Failure> {
        let open = async {
            let file = File::open(&self.path).await?;
            let metadata = file.metadata().await?;
            Ok((file, metadata.len(), metadata.modified()?))
        };
        let (file, bytes, modified) =
            open.await.map_err(|source| Failure::io("read", &self.path, source))?;
        if bytes != self.bytes || modified != self.modified {
            let message = "it was changed while it was being uploaded; run the command again";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok(file)
    }
}

/// Ends when `read` has not moved for [`STALL`].
async fn stalled(read: &AtomicU64) {
    let mut last = read.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(STALL).await;
        let now = read.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}

/// `max-append-size` of `Upload-Limit` (draft-ietf-httpbis-resumable-upload, section 4.5). Nothing
/// could be sent under 0.
fn append_bytes_max(headers: &HeaderMap) -> Option<u64> {
    let mut limits = headers.get("upload-limit")?.to_str().ok()?.split(',');
    let most = limits.find_map(|limit| limit.trim().strip_prefix("max-append-size=")?.parse().ok());
    most.filter(|most| *most > 0)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_server_may_say_what_one_append_carries() {
        let said = |limits: &'static str| {
            let headers = [(http::HeaderName::from_static("upload-limit"), limits)];
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            append_bytes_max(&HeaderMap::from_iter(headers))
        };
        assert_eq!(said("max-append-size=100000000"), Some(100_000_000));
        assert_eq!(said("max-size=5, max-append-size=7"), Some(7));
        for nothing in ["max-size=5", "max-append-size=0", "max-append-size=x", ""] {
            assert_eq!(said(nothing), None, "{nothing}");
        }
        assert_eq!(append_bytes_max(&HeaderMap::new()), None);
    }
}

//! The parts as one process sees them: slow, failing, full, and not durable before they are synced.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};

use super::Without;
use super::faults::Fault;
use super::scene::{Scene, system_time, unix_ms};
use super::schedule::Domain;

/// How long an operating system keeps what nobody syncs.
const WRITE_BACK_MS: u64 = 60_000;

/// A process's way to the parts.
#[derive(Clone)]
pub(super) struct FaultyBlobs {
    scene: Arc<Scene>,
    by: Domain,
    /// The clock that times of change are taken from.
    ahead_ms: Arc<AtomicI64>,
}

impl FaultyBlobs {
    pub(super) fn new(scene: Arc<Scene>, by: Domain, ahead_ms: Arc<AtomicI64>) -> Self {
        Self { scene, by, ahead_ms }
    }

    async fn begin(&self, place: &Place<'_>, refused: Fault) -> Result<()> {
        self.scene.state().calls += 1;
        self.scene.take_time(Fault::BlobSlow, place).await;
        if self.scene.strikes(refused, place) {
            return Err(failed(io::ErrorKind::Other));
        }
        Ok(())
    }

    async fn take_bytes(&self, place: &Place<'_>) -> Result<()> {
        self.begin(place, Fault::BlobRefused).await?;
        if self.scene.state().is_full {
            return Err(failed(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    /// Makes bytes an object, and syncs it.
    async fn store(&self, path: &Path, bytes: Bytes, place: &Place<'_>) -> Result<PutResult> {
        let modified = system_time(unix_ms(&self.scene, &self.ahead_ms));
        if self.scene.strikes(Fault::BlobFailedTorn, place) {
            let torn = bytes.slice(..self.scene.dice.below(bytes.len() as u64) as usize);
            self.scene.state().objects.store(path.clone(), torn, modified, self.by);
            return Err(failed(io::ErrorKind::Other));
        }
        self.scene.note(format_args!("{place}: {} bytes", bytes.len()));
        self.scene.state().objects.store(path.clone(), bytes, modified, self.by);
        self.sync(path, place).await;
        if self.scene.strikes(Fault::BlobFailedDone, place) {
            return Err(failed(io::ErrorKind::Other));
        }
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn sync(&self, path: &Path, place: &Place<'_>) {
        if self.scene.without == Without::Sync {
            let wait = Duration::from_millis(self.scene.dice.between(1, WRITE_BACK_MS));
            let at = self.scene.elapsed() + wait;
            self.scene.state().objects.sync(path, Some(at));
            return;
        }
        self.scene.take_time(Fault::BlobSlow, place).await;
        self.scene.state().objects.sync(path, None);
    }

    async fn get(&self, path: &Path) -> Result<(ObjectMeta, Bytes)> {
        let place = Place { by: self.by, what: "read", path };
        self.begin(&place, Fault::BlobReadFailed).await?;
        let state = self.scene.state();
        let object = state.objects.get(path).ok_or_else(|| not_found(path))?;
        Ok((meta_of(path, object), object.bytes.clone()))
    }

    async fn remove(&self, path: Path) -> Result<Path> {
        let place = Place { by: self.by, what: "remove", path: &path };
        self.begin(&place, Fault::BlobNotRemoved).await?;
        let mut state = self.scene.state();
        state.model.removing(&path);
        let there = state.objects.remove(&path, self.by);
        state.trace.note(self.scene.elapsed(), format_args!("{place}: {there}"));
        if there { Ok(path) } else { Err(not_found(&path)) }
    }

    /// The next object of a list.
    async fn list_on(&self, prefix: &Path, after: Option<Path>) -> Option<Result<ObjectMeta>> {
        // A collector looks through very many folders, and most are empty.
        self.scene.state().objects.next(prefix, None)?;
        let path = after.clone().unwrap_or_default();
        let place = Place { by: self.by, what: "list behind", path: &path };
        if let Err(error) = self.begin(&place, Fault::BlobReadFailed).await {
            return Some(Err(error));
        }
        let state = self.scene.state();
        state.objects.next(prefix, after.as_ref()).map(|(path, object)| Ok(meta_of(path, object)))
    }
}

#[async_trait]
impl ObjectStore for FaultyBlobs {
    async fn put_opts(&self, path: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        let place = Place { by: self.by, what: "store", path };
        self.take_bytes(&place).await?;
        self.store(path, payload.into(), &place).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let place = Place { by: self.by, what: "begin", path };
        self.begin(&place, Fault::BlobRefused).await?;
        Ok(Box::new(Multipart { blobs: self.clone(), path: path.clone(), pieces: Vec::new() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (meta, bytes) = self.get(path).await?;
        options.check_preconditions(&meta)?;
        let range = options.range.unwrap_or(GetRange::Bounded(0..meta.size));
        let range = range.as_range(meta.size).map_err(|source| generic(Box::new(source)))?;
        let bytes = slice(&bytes, range.clone());
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed()),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (_, bytes) = self.get(path).await?;
        Ok(ranges.iter().map(|range| slice(&bytes, range.clone())).collect())
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let blobs = self.clone();
        paths
            .then(move |path| {
                let blobs = blobs.clone();
                async move { blobs.remove(path?).await }
            })
            .boxed()
    }

    /// No snapshot: what comes and goes meanwhile is in it, or not.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (blobs, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let objects = stream::unfold(Some(None), move |place: Option<Option<Path>>| {
            let (blobs, prefix) = (blobs.clone(), prefix.clone());
            async move {
                let found = blobs.list_on(&prefix, place?).await?;
                let next = found.as_ref().ok().map(|meta| Some(meta.location.clone()));
                Some((found, next))
            }
        });
        objects.boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented {
            operation: "list_with_delimiter".into(),
            implementer: self.to_string(),
        })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: self.to_string() })
    }
}

/// An object that is being written. Nobody sees it before it is whole.
#[derive(Debug)]
struct Multipart {
    blobs: FaultyBlobs,
    path: Path,
    pieces: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Multipart {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.pieces.push(data.into());
        let (blobs, path) = (self.blobs.clone(), self.path.clone());
        async move {
            let place = Place { by: blobs.by, what: "write on", path: &path };
            blobs.take_bytes(&place).await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let place = Place { by: self.blobs.by, what: "finish", path: &self.path };
        self.blobs.take_bytes(&place).await?;
        let bytes = std::mem::take(&mut self.pieces).concat();
        self.blobs.store(&self.path, bytes.into(), &place).await
    }

    async fn abort(&mut self) -> Result<()> {
        let place = Place { by: self.blobs.by, what: "abandon", path: &self.path };
        self.pieces.clear();
        self.blobs.begin(&place, Fault::BlobNotRemoved).await
    }
}

impl fmt::Display for FaultyBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the parts as origin {} sees them", self.by)
    }
}

impl fmt::Debug for FaultyBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who does what, for the trace.
struct Place<'a> {
    by: Domain,
    what: &'a str,
    path: &'a Path,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.filename().unwrap_or_default();
        write!(f, "origin {}: {} {name}", self.by, self.what)
    }
}

fn meta_of(path: &Path, object: &super::objects::Object) -> ObjectMeta {
    ObjectMeta {
        location: path.clone(),
        last_modified: object.modified.into(),
        size: object.bytes.len() as u64,
        e_tag: None,
        version: None,
    }
}

/// What there is of a range.
fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let end = (range.end as usize).min(bytes.len());
    bytes.slice((range.start as usize).min(end)..end)
}

fn failed(kind: io::ErrorKind) -> Error {
    generic(Box::new(io::Error::from(kind)))
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: "simulation", source }
}

fn not_found(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "it is not there".into() }
}

//! The bytes: immutable parts in an [`ObjectStore`].
//!
//! A part is written once, under a name that nobody else uses, and is durable before anything
//! refers to it. A part that nothing refers to is garbage, whoever left it behind.

use std::io;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use outport_wire::id::{FileId, Home};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::intake::{Chunk, End, Intake};
use crate::record::{Part, PartName, Stretch};

/// How many chunks of one file are read ahead of what its reader has taken.
const READ_AHEAD_CHUNKS: usize = 2;
/// The largest of these chunks, in bytes. Each client that reads slowly holds a few of them.
const READ_CHUNK_BYTES_MAX: u64 = 64 << 10;

/// Opens a folder on this machine, which is created if need be. What is written to it is synced,
/// and so are the folders that name it, before a write returns.
pub(crate) fn local(folder: &FsPath) -> io::Result<Arc<dyn ObjectStore>> {
    std::fs::create_dir_all(folder)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(io::Error::other)?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// The blob store, and how it is used.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// How much is written at once. Two of these are in memory for each request.
    chunk_bytes: u64,
}

/// When a part is to be ended, though its body goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartLimits {
    /// At this size.
    pub(crate) bytes_max: u64,
    /// At this age, so that a slow upload makes progress that lasts.
    pub(crate) age_max: Duration,
}

/// What became of the next stretch of a body.
#[derive(Debug)]
pub(crate) struct Written {
    /// The part that holds it, durable by now. `None` where there was nothing to keep.
    pub(crate) part: Option<Part>,
    /// How the body ended, if it did.
    pub(crate) end: Option<End>,
}

impl Blobs {
    /// Uses `store`, `chunk_bytes` at a time.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, chunk_bytes: u64) -> Self {
        Self { store, chunk_bytes }
    }

    /// Writes the next part of a body, under a name that nobody else has used. A part at whose end
    /// the body turns out to be too long, or is displaced, is not kept.
    pub(crate) async fn write(
        &self,
        name: PartName,
        intake: &mut Intake,
        limits: PartLimits,
    ) -> object_store::Result<Written> {
        let due = Instant::now() + limits.age_max;
        let first = intake.chunk(self.chunk_bytes.min(limits.bytes_max), due).await;
        let mut open = OpenPart { path: path(name), bytes: first.bytes, due, limits };
        let end = match first.end {
            Some(End::TooLong | End::Displaced) => {
                return Ok(Written { part: None, end: first.end });
            }
            end if open.bytes == 0 => return Ok(Written { part: None, end }),
            end if end.is_some() || open.is_due() => {
                self.store.put(&open.path, first.payload).await?;
                end
            }
            _ => self.write_on(&mut open, first, intake).await?,
        };
        let part = Part { bytes: open.bytes, nonce: name.nonce, source: 0 };
        let is_kept = !matches!(end, Some(End::TooLong | End::Displaced));
        Ok(Written { part: is_kept.then_some(part), end })
    }

    /// Writes what follows the first chunk, each chunk while the next one arrives.
    async fn write_on(
        &self,
        open: &mut OpenPart,
        first: Chunk,
        intake: &mut Intake,
    ) -> object_store::Result<Option<End>> {
        let mut upload = self.store.put_multipart(&open.path).await?;
        let outcome = self.write_chunks(&mut *upload, open, first, intake).await;
        if matches!(outcome, Ok(Some(End::TooLong | End::Displaced)) | Err(_)) {
            if let Err(error) = upload.abort().await {
                tracing::warn!(path = %open.path, %error, "an unfinished part was not removed");
            }
        } else {
            upload.complete().await?;
        }
        outcome
    }

    async fn write_chunks(
        &self,
        upload: &mut dyn MultipartUpload,
        open: &mut OpenPart,
        first: Chunk,
        intake: &mut Intake,
    ) -> object_store::Result<Option<End>> {
        let mut writing = upload.put_part(first.payload);
        while !open.is_due() {
            let bytes_max = self.chunk_bytes.min(open.room());
            let (written, next) = futures::join!(writing, intake.chunk(bytes_max, open.due));
            written?;
            open.bytes += next.bytes;
            if next.bytes == 0 {
                return Ok(next.end);
            }
            writing = upload.put_part(next.payload);
            if next.end.is_some() {
                writing.await?;
                return Ok(next.end);
            }
        }
        writing.await?;
        Ok(None)
    }

    /// Reads stretches one after the other. What is in memory is bounded, however long they are.
    pub(crate) fn read(
        &self,
        stretches: Vec<Stretch>,
    ) -> BoxStream<'static, object_store::Result<Bytes>> {
        let chunk_bytes = self.chunk_bytes.min(READ_CHUNK_BYTES_MAX);
        let store = self.store.clone();
        let chunks = stretches.into_iter().flat_map(move |stretch| {
            let path = path(stretch.part);
            chunks(stretch.range, chunk_bytes).map(move |range| (path.clone(), range))
        });
        stream::iter(chunks)
            .map(move |(path, range)| {
                let store = store.clone();
                async move { read_range(&*store, &path, range).await }
            })
            .buffered(READ_AHEAD_CHUNKS)
            .boxed()
    }

    /// The parts in one folder, finished ones alone.
    pub(crate) fn stored_in(
        &self,
        folder: Folder,
    ) -> BoxStream<'static, object_store::Result<StoredPart>> {
        let objects = self.store.list(Some(&Path::from(folder.name())));
        objects.try_filter_map(|object| ready(Ok(StoredPart::of(&object)))).boxed()
    }

    /// How long a part is. `None` where it is not there.
    pub(crate) async fn length(&self, name: PartName) -> object_store::Result<Option<u64>> {
        match self.store.head(&path(name)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes parts. What can't be removed is garbage that the collector finds.
    pub(crate) async fn remove(&self, parts: &[PartName]) {
        let paths: Vec<_> = parts.iter().map(|part| Ok(path(*part))).collect();
        let mut removed = self.store.delete_stream(stream::iter(paths).boxed());
        while let Some(removed) = removed.next().await {
            match removed {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%error, "a part could not be removed"),
            }
        }
    }
}

/// A part that is there, whoever names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredPart {
    pub(crate) name: PartName,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

impl StoredPart {
    /// `None` for what is not ours.
    fn of(object: &ObjectMeta) -> Option<Self> {
        let (writer, nonce) = object.location.filename()?.split_once('-')?;
        let nonce = u64::from_str_radix(nonce, 16).ok()?;
        let name = PartName { writer: writer.parse().ok()?, nonce };
        Some(Self { name, bytes: object.size, modified: object.last_modified.into() })
    }
}

/// A part that is being written.
struct OpenPart {
    path: Path,
    bytes: u64,
    due: Instant,
    limits: PartLimits,
}

impl OpenPart {
    fn room(&self) -> u64 {
        self.limits.bytes_max.saturating_sub(self.bytes)
    }

    fn is_due(&self) -> bool {
        self.room() == 0 || Instant::now() >= self.due
    }
}

/// Where a part is kept. Folders are shared by many files, because making one is as slow as
/// writing a small part; an id's last characters are random, so they fill evenly.
pub(crate) fn path(PartName { writer, nonce }: PartName) -> Path {
    let writer = writer.to_string();
    let folder = writer.get(writer.len() - FOLDER_CHARS..).unwrap_or_default();
    Path::from(format!("{folder}/{writer}-{nonce:016x}"))
}

/// 32² folders.
const FOLDER_CHARS: usize = 2;
const FOLDERS: u16 = 1024;

/// One of the folders that parts are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder(u16);

impl Folder {
    pub(crate) const COUNT: u32 = FOLDERS as u32;

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..FOLDERS).map(Self)
    }

    pub(crate) const fn first() -> Self {
        Self(0)
    }

    /// The next one; behind the last comes the first.
    pub(crate) const fn next(self) -> Self {
        Self((self.0 + 1) % FOLDERS)
    }

    /// What it is called: the last characters of the ids in it.
    pub(crate) fn name(self) -> String {
        let id = FileId::new(Home { region: 0, shard: 0 }, 0, u64::from(self.0 % FOLDERS));
        let id = id.to_string();
        id.get(id.len() - FOLDER_CHARS..).unwrap_or_default().to_owned()
    }
}

/// Reads one range. The plural form is one step on a local disk, where the singular is two.
async fn read_range(
    store: &dyn ObjectStore,
    path: &Path,
    range: Range<u64>,
) -> object_store::Result<Bytes> {
    let mut read = store.get_ranges(path, &[range]).await?;
    Ok(read.pop().unwrap_or_default())
}

/// Cuts a range into pieces of `bytes`, the last one aside.
fn chunks(range: Range<u64>, bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let mut begin = range.start;
    std::iter::from_fn(move || {
        let chunk = begin..range.end.min(begin.saturating_add(bytes));
        begin = chunk.end;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        // Nothing but a loss of power shows it otherwise.
        let store = format!("{:?}", local(folder.path()).unwrap());
        assert!(store.contains("fsync: true"), "{store}");
    }
}

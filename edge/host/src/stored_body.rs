//! A stored body: whole, or still arriving and read meanwhile.
//!
//! One whose length nobody knows may turn out to be too long to be stored. It is then taken out of
//! the cache, and passes through to who reads it already, as fast as the slowest of them takes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use outport_edge_core::step::{ByteRange, DICTIONARY_BYTES_MAX, Extent};
use tokio::sync::watch;

use crate::body::{Cut, EdgeBody};

/// How much of a body that only passes may have arrived and not been read, in bytes.
const PASSING_BYTES_MAX: u64 = 1 << 20;

/// The body.
pub(crate) struct StoredBody {
    extent: Extent,
    arriving: watch::Sender<Arriving>,
    sha256: OnceLock<[u8; 32]>,
}

#[derive(Default)]
struct Arriving {
    /// What has arrived; what stands before `first` is gone again.
    chunks: VecDeque<Bytes>,
    first: u64,
    bytes: u64,
    ended: bool,
    cut: bool,
    /// It only passes.
    passing: bool,
    /// Up to where each reader has read.
    readers: BTreeMap<u64, u64>,
    readers_ever: u64,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is stored.
    Stored,
    /// With it the body is too long: it is not stored any more, and passes.
    TooLong,
}

impl StoredBody {
    /// A body of this extent, of which nothing has arrived.
    pub(crate) fn new(extent: Extent) -> Arc<Self> {
        let (arriving, sha256) = (watch::Sender::new(Arriving::default()), OnceLock::new());
        Arc::new(Self { extent, arriving, sha256 })
    }

    /// What it takes, or will take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self.extent {
            Extent::Exactly(bytes) => bytes,
            Extent::AtMost(_) => self.arriving.borrow().bytes,
        }
    }

    /// How much of it has not arrived, in bytes, where that is known; else as much as there can be.
    pub(crate) fn room_left(&self) -> usize {
        match self.extent {
            Extent::Exactly(length) => {
                let left = length.saturating_sub(self.arriving.borrow().bytes);
                usize::try_from(left).unwrap_or(usize::MAX)
            }
            Extent::AtMost(_) => usize::MAX,
        }
    }

    /// Whether nobody said its length before it came.
    pub(crate) const fn is_unannounced(&self) -> bool {
        matches!(self.extent, Extent::AtMost(_))
    }

    /// Adds what has arrived. The error: it is more than was announced.
    pub(crate) fn push(&self, chunk: Bytes) -> Result<Pushed, Cut> {
        let mut pushed = Ok(Pushed::Stored);
        self.arriving.send_modify(|arriving| {
            let bytes = arriving.bytes + chunk.len() as u64;
            match self.extent {
                Extent::Exactly(length) if bytes > length => {
                    pushed = Err(Cut);
                    return;
                }
                Extent::AtMost(most) if bytes > most => {
                    arriving.passing = true;
                    pushed = Ok(Pushed::TooLong);
                }
                Extent::Exactly(_) | Extent::AtMost(_) => {}
            }
            if !chunk.is_empty() {
                arriving.bytes = bytes;
                arriving.chunks.push_back(chunk);
            }
            arriving.let_go();
        });
        pushed
    }

    /// Waits until a body that passes is read on. False where nobody reads it.
    pub(crate) async fn room(&self) -> bool {
        let mut updates = self.arriving.subscribe();
        let room = |arriving: &Arriving| {
            let unread = |read| arriving.bytes.saturating_sub(read);
            arriving.slowest().is_none_or(|read| unread(read) < PASSING_BYTES_MAX)
        };
        // The sender is here, so it is never gone.
        let arriving = updates.wait_for(room).await;
        arriving.is_ok_and(|arriving| !arriving.readers.is_empty())
    }

    /// Nothing more arrives. The error: it should have.
    pub(crate) fn end(&self) -> Result<(), Cut> {
        let mut ended = Ok(());
        self.arriving.send_modify(|arriving| match self.extent {
            Extent::Exactly(length) if arriving.bytes != length => ended = Err(Cut),
            Extent::Exactly(_) | Extent::AtMost(_) => arriving.ended = true,
        });
        ended
    }

    /// Nothing more arrives, and who reads it must know.
    pub(crate) fn cut(&self) {
        self.arriving.send_modify(|arriving| arriving.cut = true);
    }

    /// The body, or a range of it.
    pub(crate) fn read(self: &Arc<Self>, range: Option<ByteRange>) -> EdgeBody {
        let (from, until) = match (range, self.extent) {
            (Some(range), _) => (range.first, Some(range.last + 1)),
            (None, Extent::Exactly(length)) => (0, Some(length)),
            (None, Extent::AtMost(_)) => (0, self.ended_at()),
        };
        if let Some(bytes) = until.and_then(|until| self.whole_chunk(from, until)) {
            return EdgeBody::full(bytes);
        }
        let reader = Reader::new(self.clone(), from, until);
        let left = until.map(|until| until - from);
        EdgeBody::Stored(stream::unfold(reader, Reader::next).boxed(), left)
    }

    /// All of it, once it has arrived.
    pub(crate) fn whole(&self) -> Option<Vec<Bytes>> {
        let arriving = self.arriving.borrow();
        let whole = match self.extent {
            Extent::Exactly(length) => arriving.bytes == length,
            Extent::AtMost(_) => arriving.ended,
        };
        (whole && arriving.first == 0).then(|| arriving.chunks.iter().cloned().collect())
    }

    /// The SHA-256 of a body that can be a dictionary: once all of it has arrived, if it is not too
    /// large. Reckoned when it is asked for first, which takes milliseconds.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        let whole = self.whole().filter(|_| self.bytes() <= DICTIONARY_BYTES_MAX)?;
        let sha256 = self.sha256.get_or_init(|| {
            let mut context = Context::new(&SHA256);
            whole.iter().for_each(|chunk| context.update(chunk));
            // It has just so many bytes.
            context.finish().as_ref().try_into().unwrap_or_default()
        });
        Some(*sha256)
    }

    fn ended_at(&self) -> Option<u64> {
        let arriving = self.arriving.borrow();
        arriving.ended.then_some(arriving.bytes)
    }

    /// The range, where it lies within the first chunk and has arrived: the case of small files.
    fn whole_chunk(&self, from: u64, until: u64) -> Option<Bytes> {
        let arriving = self.arriving.borrow();
        let chunk = arriving.chunks.front().filter(|_| arriving.first == 0)?;
        let range = usize::try_from(from).ok()?..usize::try_from(until).ok()?;
        (range.end <= chunk.len()).then(|| chunk.slice(range))
    }
}

impl Arriving {
    fn slowest(&self) -> Option<u64> {
        self.readers.values().min().copied()
    }

    /// Lets go of what every reader has, where it only passes.
    fn let_go(&mut self) {
        if !self.passing {
            return;
        }
        let read = self.slowest().unwrap_or(self.bytes);
        while let Some(chunk) = self.chunks.front()
            && self.first + chunk.len() as u64 <= read
        {
            self.first += chunk.len() as u64;
            self.chunks.pop_front();
        }
    }

    /// What has arrived from `from` on, within one chunk and before `until`.
    fn chunk_at(&self, from: u64, until: Option<u64>) -> Option<Bytes> {
        let mut begins = self.first;
        for chunk in &self.chunks {
            let ends = begins + chunk.len() as u64;
            if from < begins {
                return None;
            }
            if from < ends {
                let first = usize::try_from(from - begins).ok()?;
                let last = until.map_or(ends, |until| until.min(ends));
                return Some(chunk.slice(first..usize::try_from(last - begins).ok()?));
            }
            begins = ends;
        }
        None
    }
}

/// Reads a body from one place to another, or to its end, waiting for what has not arrived.
struct Reader {
    body: Arc<StoredBody>,
    updates: watch::Receiver<Arriving>,
    number: u64,
    from: u64,
    until: Option<u64>,
}

impl Reader {
    fn new(body: Arc<StoredBody>, from: u64, until: Option<u64>) -> Self {
        let updates = body.arriving.subscribe();
        let mut number = 0;
        body.arriving.send_if_modified(|arriving| {
            number = arriving.readers_ever;
            arriving.readers_ever += 1;
            arriving.readers.insert(number, from);
            false
        });
        Self { body, updates, number, from, until }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Cut>, Self)> {
        if self.until.is_some_and(|until| self.from >= until) {
            return None;
        }
        let from = self.from;
        let read = {
            let news = |now: &Arriving| now.bytes > from || now.ended || now.cut;
            // The sender is kept, so it is never gone.
            let arriving = self.updates.wait_for(news).await.ok()?;
            if arriving.ended && arriving.bytes <= from {
                return None;
            }
            arriving.chunk_at(from, self.until)
        };
        let Some(chunk) = read else {
            self.until = Some(self.from);
            return Some((Err(Cut), self));
        };
        self.from += chunk.len() as u64;
        self.has_read();
        Some((Ok(chunk), self))
    }

    /// Tells who fills a body that passes how far this one is.
    fn has_read(&self) {
        let (number, from) = (self.number, self.from);
        self.body.arriving.send_if_modified(|arriving| {
            arriving.readers.insert(number, from);
            arriving.let_go();
            arriving.passing
        });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let number = self.number;
        self.body.arriving.send_if_modified(|arriving| {
            arriving.readers.remove(&number);
            arriving.let_go();
            arriving.passing
        });
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_body_is_read_while_it_arrives() {
        for (extent, range, read) in [
            (Extent::Exactly(10), Some(ByteRange { first: 2, last: 8 }), "2345678"),
            (Extent::Exactly(10), None, "0123456789"),
            (Extent::AtMost(10), None, "0123456789"),
        ] {
            let body = StoredBody::new(extent);
            let reader = body.read(range);
            let reading = tokio::spawn(async move { reader.collect().await.unwrap().to_bytes() });
            for chunk in ["0", "123", "", "4567", "89"] {
                tokio::task::yield_now().await;
                body.push(Bytes::from_static(chunk.as_bytes())).unwrap();
            }
            body.end().unwrap();
            assert_eq!(reading.await.unwrap(), read);
            assert_eq!(body.bytes(), 10);
            assert_eq!(body.read(range).collect().await.unwrap().to_bytes(), read);
        }
    }

    #[tokio::test]
    async fn a_cut_body_does_not_end() {
        for extent in [Extent::Exactly(10), Extent::AtMost(10)] {
            let body = StoredBody::new(extent);
            body.push(Bytes::from_static(b"0123")).unwrap();
            let reader = body.read(None);
            if extent == Extent::Exactly(10) {
                assert!(body.end().is_err());
            }
            body.cut();
            assert!(reader.collect().await.is_err());
        }
    }

    #[test]
    fn more_than_announced_is_cut_off() {
        let body = StoredBody::new(Extent::Exactly(3));
        assert!(body.push(Bytes::from_static(b"0123")).is_err());
        assert!(body.push(Bytes::from_static(b"012")).is_ok());
        assert!(body.end().is_ok());
    }

    #[tokio::test]
    async fn what_is_too_long_passes_at_the_pace_of_its_reader() {
        const CHUNK: usize = 64 * 1024;
        const CHUNKS: usize = 100;
        let body = StoredBody::new(Extent::AtMost(1));
        let mut reader = body.read(None);
        let filled = body.clone();
        let filling = tokio::spawn(async move {
            for chunk in 0..CHUNKS {
                let pushed = filled.push(Bytes::from(vec![chunk as u8; CHUNK])).unwrap();
                assert_eq!(pushed, Pushed::TooLong);
                let arriving = filled.arriving.borrow().chunks.len() * CHUNK;
                assert!(arriving as u64 <= PASSING_BYTES_MAX + CHUNK as u64);
                assert!(filled.room().await, "somebody reads it");
            }
            filled.end().unwrap();
        });
        for chunk in 0..CHUNKS {
            let frame = reader.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((frame.len(), frame[0]), (CHUNK, chunk as u8));
        }
        filling.await.unwrap();
        assert!(reader.frame().await.is_none());
        assert!(body.read(None).collect().await.is_err(), "its beginning is gone");
    }

    #[test]
    fn what_is_whole_and_not_too_large_has_a_digest() {
        let body = StoredBody::new(Extent::Exactly(3));
        body.push(Bytes::from_static(b"ab")).unwrap();
        assert_eq!(body.sha256(), None);
        body.push(Bytes::from_static(b"c")).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(body.sha256().unwrap()[..4], [0xba, 0x78, 0x16, 0xbf]);
        let most = DICTIONARY_BYTES_MAX as usize;
        for (bytes, has) in [(most, true), (most + 1, false)] {
            let body = StoredBody::new(Extent::AtMost(bytes as u64));
            body.push(Bytes::from(vec![0; bytes])).unwrap();
            body.end().unwrap();
            assert_eq!(body.sha256().is_some(), has, "{bytes}");
        }
    }

    #[tokio::test]
    async fn what_passes_and_nobody_reads_is_not_waited_for() {
        let body = StoredBody::new(Extent::AtMost(1));
        body.push(Bytes::from(vec![0; 2 << 20])).unwrap();
        assert!(!body.room().await);
        let reader = body.read(None);
        drop(reader);
        assert!(!body.room().await);
    }
}

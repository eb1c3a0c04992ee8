//! Bodies of the cache: read from it in chunks, and stored in chunks while they pass.

use outport_edge_core::step::{ByteRange, Store};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::random::random::get_random_u64;
use spin_sdk::wasip3::spawn;

use crate::body::{Cut, Incoming, Nobody, Sink};
use crate::cache::{BODY_BYTES_MAX, CHUNK_BYTES, Holding, RENEW_NS, Stored};

/// The part of a body that is wanted: the first byte, and the one after the last.
#[derive(Clone, Copy)]
struct Part {
    from: u64,
    until: u64,
}

impl Part {
    fn new(range: Option<ByteRange>, length: u64) -> Self {
        match range {
            None => Self { from: 0, until: length },
            Some(range) => Self { from: range.first, until: length.min(range.last + 1) },
        }
    }

    /// What is wanted of a piece that begins at `at`.
    fn of(self, piece: &[u8], at: u64) -> &[u8] {
        let place = |byte: u64| usize::try_from(byte.saturating_sub(at)).unwrap_or(usize::MAX);
        let (from, until) = (place(self.from), place(self.until).min(piece.len()));
        piece.get(from..until).unwrap_or_default()
    }
}

/// A stored body that is read.
pub(crate) struct Reader {
    holding: Holding,
    body: Stored,
    part: Part,
}

impl Reader {
    /// Reads the body of what was found; of it, this range.
    pub(crate) fn new(holding: Holding, range: Option<ByteRange>) -> Option<Self> {
        let body = holding.entry.as_ref()?.body?;
        Some(Self { holding, body, part: Part::new(range, body.length) })
    }

    /// Writes what is wanted, a chunk at a time. One that is no longer there, or is another's by
    /// now, cuts the body and takes the response out of the cache.
    pub(crate) async fn write(mut self, sink: &mut impl Sink) -> Result<(), Cut> {
        let chunk_bytes = CHUNK_BYTES as u64;
        while self.part.from < self.part.until {
            let place = self.part.from / chunk_bytes;
            let chunk = self.holding.chunk(self.body.number, place).await.unwrap_or_default();
            let wanted = self.part.of(&chunk, place * chunk_bytes);
            if wanted.is_empty() {
                crate::log("a stored body is no longer whole");
                self.holding.evict();
                return Err(Cut);
            }
            self.part.from += wanted.len() as u64;
            if !sink.put(wanted.to_vec()).await {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// An upstream's body that is stored while it passes.
pub(crate) struct Arriving {
    holding: Holding,
    upstream: Incoming,
    store: Store,
    body: Stored,
    part: Part,
    chunk: Vec<u8>,
    /// How many chunks are stored; nothing where the body is not to be stored, or no longer.
    chunks: Option<u64>,
    /// When the lead was last taken for longer, on the monotonic clock.
    renewed_ns: u64,
}

impl Arriving {
    pub(crate) fn new(
        mut holding: Holding,
        upstream: Incoming,
        store: Store,
        length: u64,
        range: Option<ByteRange>,
    ) -> Self {
        let body = Stored { number: get_random_u64(), length };
        let chunks = (length <= BODY_BYTES_MAX && holding.begin()).then_some(0);
        let part = Part::new(range, length);
        let (chunk, renewed_ns) = (Vec::new(), monotonic_clock::now());
        Self { holding, upstream, store, body, part, chunk, chunks, renewed_ns }
    }

    /// Reads a range of the body, or all of it, once it is stored.
    pub(crate) fn reader(&self, range: Option<ByteRange>) -> Reader {
        let (holding, body) = (self.holding.for_reading(), self.body);
        Reader { holding, body, part: Part::new(range, body.length) }
    }

    /// Stores the body, of which the client wants nothing, while the answer goes out.
    pub(crate) fn store_alone(self) {
        spawn(async move {
            // Nobody is there to be told that it was cut.
            let _ = self.write(&mut Nobody).await;
        });
    }

    /// Reads the body to its end, even if the client leaves, and stores it; what is wanted goes to
    /// the client as it comes. The head is stored last, so that nobody finds a body that is not
    /// whole, but before the client has the last piece: who has it all finds it stored.
    pub(crate) async fn write(mut self, sink: &mut impl Sink) -> Result<(), Cut> {
        let (mut at, mut last) = (0, Vec::new());
        loop {
            let piece = self.upstream.piece().await;
            if piece.is_empty() {
                break;
            }
            if !last.is_empty() && !sink.put(std::mem::take(&mut last)).await {
                self.part.until = 0;
            }
            self.keep(&piece).await;
            last = self.part.of(&piece, at).to_vec();
            at += piece.len() as u64;
            let nobody = self.part.until == 0 && self.chunks.is_none();
            if at > self.body.length || nobody {
                return Err(Cut);
            }
        }
        self.upstream.end().await?;
        if at != self.body.length {
            return Err(Cut);
        }
        if let Some(place) = self.chunks
            && (self.chunk.is_empty() || self.holding.put_chunk(place, &self.chunk).await)
        {
            self.holding.put(self.store, Some(self.body));
        }
        if !last.is_empty() {
            sink.put(last).await;
        }
        Ok(())
    }

    /// Adds to the chunks, for as long as this exchange leads.
    async fn keep(&mut self, mut piece: &[u8]) {
        const NUMBER_BYTES: usize = size_of::<u64>();
        let now_ns = monotonic_clock::now();
        if self.chunks.is_some() && now_ns - self.renewed_ns > RENEW_NS {
            self.renewed_ns = now_ns;
            self.chunks = self.chunks.filter(|_| self.holding.renew());
        }
        while let Some(place) = self.chunks.filter(|_| !piece.is_empty()) {
            if self.chunk.is_empty() {
                self.chunk.reserve_exact(NUMBER_BYTES + CHUNK_BYTES);
                self.chunk.extend_from_slice(&self.body.number.to_be_bytes());
            }
            let room = NUMBER_BYTES + CHUNK_BYTES - self.chunk.len();
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.chunk.extend_from_slice(now);
            piece = later;
            if self.chunk.len() == NUMBER_BYTES + CHUNK_BYTES {
                let kept = self.holding.put_chunk(place, &self.chunk).await;
                self.chunks = kept.then_some(place + 1);
                self.chunk.clear();
            }
        }
    }
}

//! The node's cache by itself, to replay what was asked for: how a benchmark reaches it.
//!
//! It is the cache that a node has, with its bounds, its eviction and what it counts an entry as.
//! Bodies are announced and never arrive, so that a cache of any size takes little memory. Nothing
//! becomes stale, and one request is over before the next begins.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use outport_edge_core::step::Extent;

use crate::cache::{self, Cache, NewBody};
use crate::stored_body::StoredBody;

/// Longer than any replay takes.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// A node's cache without a node.
pub struct Replay {
    cache: Arc<Cache>,
    object_bytes_max: u64,
}

impl Replay {
    /// The cache of a node with these bounds: of all that is stored, and of one body, in bytes.
    #[must_use]
    pub fn new(bytes_max: u64, object_bytes_max: u64) -> Self {
        Self { cache: Cache::new(bytes_max, object_bytes_max), object_bytes_max }
    }

    /// Asks for a file: whether its body was there. If not, the response is stored, as a node does
    /// it: without its body where that is longer than one may be.
    pub fn request(&self, key: String, head_bytes: usize, body_bytes: u64) -> bool {
        // Nobody else fetches anything, so there is nothing to wait for.
        let Some(holding) = self.cache.look(key).now_or_never() else { return false };
        if let Some(found) = holding.found() {
            return found.entry.body().is_some();
        }
        let body = if body_bytes > self.object_bytes_max {
            NewBody::None
        } else {
            NewBody::Arriving(StoredBody::new(Extent::Exactly(body_bytes)))
        };
        holding.store(vec![0; head_bytes], body, FRESH, Vec::new(), None);
        false
    }

    /// Bytes and entries stored.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.cache.size()
    }

    /// What the cache counts a response as, in bytes.
    #[must_use]
    pub const fn entry_bytes(key_bytes: usize, head_bytes: usize, body_bytes: u64) -> u64 {
        cache::entry_bytes(key_bytes, head_bytes, body_bytes)
    }
}

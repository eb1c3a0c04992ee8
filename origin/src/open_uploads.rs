//! How many uploads an identity has open: a book of their ids for each identity that is bounded.
//!
//! An id is written before its record, so that none is missed. Nobody strikes ids out when uploads
//! end; they are looked at when the book is full, and those that are gone or complete are struck
//! out then.

use std::collections::BTreeSet;
use std::sync::Arc;

use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::book::{AtWork, BookError, Books, Page};
use crate::environment::Environment;
use crate::meta::{Key, Meta};
use crate::store::Trace;

/// An upload that another process began so recently may not have its record yet.
const YOUNG_S: u64 = 10;

/// The identity has as many uploads open as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyOpen {
    limit: u32,
}

impl TooManyOpen {
    /// What the client is told.
    pub(crate) fn problem(self) -> Problem {
        let limit = self.limit;
        let detail = format!(
            "You may have {limit} uploads open at once, and have. Complete or cancel one first."
        );
        Problem::new(ProblemType::TooManyUploads, detail).with("limit", limit)
    }
}

/// The open uploads of all identities that are bounded.
#[derive(Clone)]
pub(crate) struct OpenUploads {
    books: Books<Open>,
}

impl OpenUploads {
    pub(crate) fn new(meta: Arc<dyn Meta>, environment: Arc<dyn Environment>) -> Self {
        Self { books: Books::new(meta, environment) }
    }

    /// Writes down that an identity is about to begin an upload, of `limit` that it may have open.
    /// What this returns is kept until its record is there.
    pub(crate) async fn begin(
        &self,
        owner: &Identity,
        id: FileId,
        limit: u32,
    ) -> Result<AtWork, BookError<TooManyOpen>> {
        let at_work = self.books.work_on(id);
        // Tenants and subjects hold no control characters, so NUL parts them.
        let key = Key::new(format!("open/{}\0{}", owner.tenant, owner.subject), "uploads");
        self.books.change(&key, Begin { id, limit }).await?;
        Ok(at_work)
    }
}

/// One identity's open uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    uploads: BTreeSet<FileId>,
}

#[derive(Clone, Copy, Debug)]
struct Begin {
    id: FileId,
    limit: u32,
}

impl Page for Open {
    type Change = Begin;
    type Refusal = TooManyOpen;

    /// One more than the limit does no harm, and a tombstone for each upload that was removed would.
    const SHUTS_OUT: bool = false;

    fn apply(&mut self, begin: &Begin, _now: UnixSeconds) -> Result<(), TooManyOpen> {
        let Begin { id, limit } = *begin;
        if self.uploads.len() >= limit as usize && !self.uploads.contains(&id) {
            return Err(TooManyOpen { limit });
        }
        self.uploads.insert(id);
        Ok(())
    }

    fn doubts(&self, _now: UnixSeconds) -> Vec<FileId> {
        self.uploads.iter().copied().collect()
    }

    fn clear_up(&mut self, id: FileId, trace: &Trace, now: UnixSeconds) {
        let open = match trace {
            Trace::Here(record) => !record.complete && !record.is_expired(now),
            Trace::Removed { .. } => false,
            Trace::Nothing => now <= id.unix_ms() / 1000 + YOUNG_S,
        };
        if !open {
            self.uploads.remove(&id);
        }
    }
}

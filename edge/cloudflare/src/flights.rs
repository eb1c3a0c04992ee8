//! Who fetches what, and what was forgotten: a table of this isolate.
//!
//! An isolate is one thread, so a decision made between two awaits is atomic. Requests may not
//! wait for each other's promises on this platform: they look again from time to time.

use std::cell::RefCell;

use outport_edge_core::flights::Flights;

use crate::js;

thread_local! {
    static TABLE: RefCell<Flights> = RefCell::default();
    static ISOLATE: String = format!("{:016x}", js::random());
}

/// An exchange leads, until this is dropped.
pub(crate) struct Leading {
    key: String,
    number: u64,
    stored: bool,
}

impl Leading {
    /// Under the number that the table gave.
    pub(crate) fn new(key: &str, number: u64) -> Self {
        Self { key: key.to_owned(), number, stored: false }
    }

    /// It ends with something stored.
    pub(crate) fn has_stored(&mut self) {
        self.stored = true;
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        with(|table| table.end(&self.key, self.number, self.stored, js::now_ms()));
    }
}

/// The name of this isolate.
pub(crate) fn isolate() -> String {
    ISOLATE.with(Clone::clone)
}

/// Does something with the table.
pub(crate) fn with<T>(what: impl FnOnce(&mut Flights) -> T) -> T {
    TABLE.with_borrow_mut(what)
}

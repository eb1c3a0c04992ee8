//! Who fetches what, and what was forgotten: a table of this isolate.
//!
//! An isolate is one thread, so a decision made between two awaits is atomic. Requests may not
//! wait for each other's promises on this platform: they look again from time to time.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::js;

/// How long an exchange may lead. It is longer than an upstream may take to begin an answer, and
/// there is an end because a request that the platform cancels leaves nothing behind, not even
/// a drop.
const LEASE_MS: u64 = 35_000;
/// For how long it is known that a flight ended with something stored.
const ENDED_MS: u64 = 5_000;
/// Flights that are kept track of. Beyond it, nobody waits.
const FLIGHTS_MAX: usize = 4096;
/// Forgotten keys that are kept track of. Beyond it, what began before the oldest is not stored.
const FORGOTTEN_MAX: usize = 4096;

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
    static ISOLATE: String = format!("{:016x}", js::random());
}

#[derive(Default)]
struct Table {
    /// Counts what happens, so that of two things it is known which came first.
    ticks: u64,
    flights: HashMap<String, Flight>,
    forgotten: HashMap<String, u64>,
    forgotten_before: u64,
}

struct Flight {
    number: u64,
    until_ms: u64,
    /// It has ended, and stored something then.
    stored: bool,
}

/// What an exchange does about a key with nothing stored.
pub(crate) enum Role {
    /// It leads.
    Lead(Leading),
    /// It waits until nobody leads.
    Wait,
    /// Something was stored since it looked: it looks again.
    Again,
    /// What others stored is not kept, or there are too many flights: it goes on alone.
    Alone,
}

/// An exchange leads, until this is dropped.
pub(crate) struct Leading {
    key: String,
    number: u64,
    stored: bool,
}

impl Leading {
    /// It ends with something stored.
    pub(crate) fn has_stored(&mut self) {
        self.stored = true;
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        with(|table| table.end(&self.key, self.number, self.stored));
    }
}

/// The name of this isolate.
pub(crate) fn isolate() -> String {
    ISOLATE.with(Clone::clone)
}

/// The tick of now.
pub(crate) fn tick() -> u64 {
    with(|table| {
        table.ticks += 1;
        table.ticks
    })
}

/// Decides who leads. `looked` is the tick before the caller looked.
pub(crate) fn join(key: &str, looked: u64) -> Role {
    with(|table| match table.flights.get(key) {
        Some(flight) if flight.until_ms <= js::now_ms() => table.lead(key),
        Some(Flight { stored: false, .. }) => Role::Wait,
        Some(flight) if flight.number > looked => Role::Again,
        Some(_) => Role::Alone,
        None => table.lead(key),
    })
}

/// Whether the caller is to renew what is stale.
pub(crate) fn renew(key: &str) -> Option<Leading> {
    with(|table| match table.flights.get(key) {
        Some(flight) if !flight.stored && flight.until_ms > js::now_ms() => None,
        _ => match table.lead(key) {
            Role::Lead(leading) => Some(leading),
            _ => None,
        },
    })
}

/// Whether somebody leads.
pub(crate) fn is_led(key: &str) -> bool {
    with(|table| {
        let flight = table.flights.get(key);
        flight.is_some_and(|flight| !flight.stored && flight.until_ms > js::now_ms())
    })
}

/// From now on, nothing that began before is stored at this key.
pub(crate) fn forget(key: &str) {
    with(|table| {
        table.ticks += 1;
        if table.forgotten.len() >= FORGOTTEN_MAX {
            table.forgotten_before = table.ticks;
            table.forgotten.clear();
        }
        table.forgotten.insert(key.to_owned(), table.ticks);
        if table.flights.get(key).is_some_and(|flight| flight.stored) {
            table.flights.remove(key);
        }
    });
}

/// Whether what began at this tick is known to have been forgotten since.
pub(crate) fn is_forgotten(key: &str, began: u64) -> bool {
    with(|table| table.forgotten.get(key).is_some_and(|at| *at > began))
}

/// Whether what began at this tick may be stored.
pub(crate) fn may_store(key: &str, began: u64) -> bool {
    !is_forgotten(key, began) && with(|table| began >= table.forgotten_before)
}

impl Table {
    fn lead(&mut self, key: &str) -> Role {
        if self.flights.len() >= FLIGHTS_MAX {
            let now_ms = js::now_ms();
            self.flights.retain(|_, flight| flight.until_ms > now_ms);
            if self.flights.len() >= FLIGHTS_MAX {
                return Role::Alone;
            }
        }
        self.ticks += 1;
        let number = self.ticks;
        let flight = Flight { number, until_ms: js::now_ms() + LEASE_MS, stored: false };
        self.flights.insert(key.to_owned(), flight);
        Role::Lead(Leading { key: key.to_owned(), number, stored: false })
    }

    /// Ends a flight, if it is still this one.
    fn end(&mut self, key: &str, number: u64, stored: bool) {
        let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.number == number)
        else {
            return;
        };
        if stored {
            self.ticks += 1;
            let until_ms = js::now_ms() + ENDED_MS;
            *flight = Flight { number: self.ticks, until_ms, stored };
        } else {
            self.flights.remove(key);
        }
    }
}

fn with<T>(what: impl FnOnce(&mut Table) -> T) -> T {
    TABLE.with_borrow_mut(what)
}

//! Who fetches what, and what was forgotten: a table for drivers whose platform keeps none.
//!
//! It is for one thread, which decides between two waits. Who may not be told when another has
//! ended looks again from time to time.

use std::collections::HashMap;

/// How long an exchange may lead, in milliseconds. It is longer than an upstream may take to begin
/// an answer, and there is an end because an exchange that is cancelled may leave nothing behind,
/// not even a drop.
const LEASE_MS: u64 = 35_000;
/// For how long it is known that a flight ended with something stored.
const ENDED_MS: u64 = 5_000;
/// Flights that are kept track of. Beyond it, nobody waits.
const FLIGHTS_MAX: usize = 4096;
/// Forgotten keys that are kept track of. Beyond it, what began before the oldest is not stored.
const FORGOTTEN_MAX: usize = 4096;

/// The table.
#[derive(Debug, Default)]
pub struct Flights {
    /// Counts what happens, so that of two things it is known which came first.
    ticks: u64,
    flights: HashMap<String, Flight>,
    forgotten: HashMap<String, u64>,
    forgotten_before: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    until_ms: u64,
    /// It has ended, and stored something then.
    stored: bool,
}

/// What an exchange does about a key with nothing stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads, under this number, until that is given to [`Flights::end`].
    Lead(u64),
    /// It waits until nobody leads.
    Wait,
    /// Something was stored since it looked: it looks again.
    Again,
    /// What others stored is not kept, or there are too many flights: it goes on alone.
    Alone,
}

impl Flights {
    /// The tick of now.
    pub fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// Decides who leads. `looked` is the tick before the caller looked; `purged` says that it
    /// found something which is gone.
    pub fn join(&mut self, key: &str, looked: u64, purged: bool, now_ms: u64) -> Role {
        match self.flights.get(key) {
            Some(flight) if flight.until_ms <= now_ms => self.lead(key, now_ms),
            Some(Flight { stored: false, .. }) => Role::Wait,
            Some(flight) if flight.number > looked => Role::Again,
            Some(_) if purged => self.lead(key, now_ms),
            Some(_) => Role::Alone,
            None => self.lead(key, now_ms),
        }
    }

    /// The number under which the caller is to renew what is stale, if it is the one.
    pub fn renew(&mut self, key: &str, now_ms: u64) -> Option<u64> {
        if self.is_led(key, now_ms) {
            return None;
        }
        match self.lead(key, now_ms) {
            Role::Lead(number) => Some(number),
            Role::Wait | Role::Again | Role::Alone => None,
        }
    }

    /// Whether somebody leads.
    pub fn is_led(&self, key: &str, now_ms: u64) -> bool {
        self.flights.get(key).is_some_and(|flight| !flight.stored && flight.until_ms > now_ms)
    }

    /// Ends a flight, if it is still this one; `stored` says whether something is stored now.
    pub fn end(&mut self, key: &str, number: u64, stored: bool, now_ms: u64) {
        if self.flights.get(key).is_none_or(|flight| flight.number != number) {
            return;
        }
        if stored {
            let number = self.tick();
            let flight = Flight { number, until_ms: now_ms + ENDED_MS, stored };
            self.flights.insert(key.to_owned(), flight);
        } else {
            self.flights.remove(key);
        }
    }

    /// From now on, nothing that began before is stored at this key.
    pub fn forget(&mut self, key: &str) {
        let tick = self.tick();
        if self.forgotten.len() >= FORGOTTEN_MAX {
            self.forgotten_before = tick;
            self.forgotten.clear();
        }
        self.forgotten.insert(key.to_owned(), tick);
        if self.flights.get(key).is_some_and(|flight| flight.stored) {
            self.flights.remove(key);
        }
    }

    /// Whether what began at this tick is known to have been forgotten since.
    pub fn is_forgotten(&self, key: &str, began: u64) -> bool {
        self.forgotten.get(key).is_some_and(|at| *at > began)
    }

    /// Whether what began at this tick may be stored.
    pub fn may_store(&self, key: &str, began: u64) -> bool {
        !self.is_forgotten(key, began) && began >= self.forgotten_before
    }

    fn lead(&mut self, key: &str, now_ms: u64) -> Role {
        if self.flights.len() >= FLIGHTS_MAX {
            self.flights.retain(|_, flight| flight.until_ms > now_ms);
            if self.flights.len() >= FLIGHTS_MAX {
                return Role::Alone;
            }
        }
        let number = self.tick();
        let flight = Flight { number, until_ms: now_ms + LEASE_MS, stored: false };
        self.flights.insert(key.to_owned(), flight);
        Role::Lead(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &mut Flights, key: &str, now_ms: u64) -> u64 {
        let looked = flights.tick();
        match flights.join(key, looked, false, now_ms) {
            Role::Lead(number) => number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_leads_and_the_others_wait_until_it_ends() {
        let mut flights = Flights::default();
        let number = lead(&mut flights, "a", 0);
        let looked = flights.tick();
        assert_eq!(flights.join("a", looked, false, 0), Role::Wait);
        assert!(flights.is_led("a", 0) && !flights.is_led("b", 0));
        assert_eq!(flights.renew("a", 0), None);
        flights.end("a", number + 1, false, 0);
        assert!(flights.is_led("a", 0), "another's end is none");
        flights.end("a", number, false, 0);
        assert!(!flights.is_led("a", 0));
        lead(&mut flights, "a", 0);
    }

    #[test]
    fn what_was_stored_since_is_looked_for_again() {
        let mut flights = Flights::default();
        let before = flights.tick();
        let number = lead(&mut flights, "a", 0);
        flights.end("a", number, true, 0);
        let after = flights.tick();
        assert_eq!(flights.join("a", before, true, 0), Role::Again);
        assert_eq!(flights.join("a", after, false, 0), Role::Alone, "it is not kept");
        assert!(matches!(flights.join("a", after, true, 0), Role::Lead(_)), "it was purged");
        assert_eq!(flights.join("a", after, true, 0), Role::Wait);
    }

    #[test]
    fn who_vanishes_is_followed_in_the_end() {
        let mut flights = Flights::default();
        let first = lead(&mut flights, "a", 0);
        assert!(flights.is_led("a", LEASE_MS - 1));
        let second = lead(&mut flights, "a", LEASE_MS);
        flights.end("a", first, true, LEASE_MS);
        assert!(flights.is_led("a", LEASE_MS), "the first is over");
        flights.end("a", second, true, LEASE_MS);
        assert!(flights.renew("a", LEASE_MS).is_some());
    }

    #[test]
    fn what_began_before_it_was_forgotten_is_not_stored() {
        let mut flights = Flights::default();
        let before = flights.tick();
        flights.forget("a");
        let after = flights.tick();
        assert!(flights.is_forgotten("a", before) && !flights.may_store("a", before));
        assert!(!flights.is_forgotten("a", after) && flights.may_store("a", after));
        assert!(flights.may_store("b", before));
        for key in 0..FORGOTTEN_MAX {
            flights.forget(&key.to_string());
        }
        assert!(!flights.may_store("b", before), "it is not known any more");
        let now = flights.tick();
        assert!(flights.may_store("a", now));
    }

    #[test]
    fn there_is_an_end_to_flights_that_are_kept_track_of() {
        let mut flights = Flights::default();
        for key in 0..FLIGHTS_MAX {
            lead(&mut flights, &key.to_string(), 0);
        }
        let looked = flights.tick();
        assert_eq!(flights.join("a", looked, false, 0), Role::Alone);
        assert_eq!(flights.renew("a", 0), None);
        lead(&mut flights, "a", LEASE_MS);
    }
}

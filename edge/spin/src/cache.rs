//! The cache: stored responses on the key-value store, bounded by construction.
//!
//! A key hashes to one of [`SETS`] sets of [`WAYS`] slots, and a slot holds one response: where none
//! of them is free, what is stale, or will be first, is evicted. A set's value is small (the heads,
//! and who leads); a body is in values of [`CHUNK_BYTES`], each of which begins with the body's
//! number, so that who reads while the slot is overwritten sees another number and the client sees a
//! cut, never wrong bytes. At most, this cache has `SETS × (1 + WAYS × BODY_BYTES_MAX /
//! CHUNK_BYTES)` values, 263,168, and 64 GiB.
//!
//! All instances that share the store share the cache. What it promises depends on the store's
//! compare-and-swap. With it (Spin's own SQLite store), of all who look up a vacant key one leads,
//! and who began before a key was forgotten never brings it back. Without it (Spin's Redis store
//! can only seem to) two may lead at once, which costs a request upstream, and what is stored in the
//! moment in which it is forgotten may stay until it is stale.
//!
//! Limits of this cache, beyond the contract's:
//! - Waiting for a leader is polling ([`POLL_NS`]), and ends after [`WAIT_NS_MAX`]; then who waits
//!   fetches too, and what it fetches is not stored.
//! - Who waits is answered when the body is stored whole, not while it arrives.
//! - A leader whose instance was killed is followed after [`LEASE_MS`]. One that ends is followed
//!   at the next poll.
//! - More keys of one set than it has slots evict each other, and while so many are being fetched,
//!   others are fetched without being collapsed or stored.
//! - Freshness and leases go by the machines' clocks, which must agree.

use std::rc::Rc;

use outport_edge_core::marks::{Purged, Tagged};
use outport_edge_core::step::Store as ToStore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::random::random::get_random_u64;

use crate::node::unix_us;
use crate::purges;
use crate::store::{Change, Store};

/// How many sets there are, and how many responses can be stored in one.
const SETS: u128 = 1024;
const WAYS: usize = 4;
/// How much of a body one value holds, without the number before it. Spin says that a value may
/// have 1 MB.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// The largest body that is stored.
pub(crate) const BODY_BYTES_MAX: u64 = 16 << 20;
/// How long somebody leads without giving a sign, in milliseconds.
const LEASE_MS: u64 = 10_000;
/// After how long it must give one, in nanoseconds.
pub(crate) const RENEW_NS: u64 = 4_000_000_000;
/// How often who waits looks again, in nanoseconds.
const POLL_NS: u64 = 25_000_000;
/// How long somebody waits for leaders, in nanoseconds.
const WAIT_NS_MAX: u64 = 20_000_000_000;

/// The value at a set: its slots.
#[derive(Default, Serialize, Deserialize)]
struct Set([Slot; WAYS]);

/// Where one response can be stored.
#[derive(Default, Serialize, Deserialize)]
struct Slot {
    /// Another number after each change but those of the lease.
    mark: u64,
    entry: Option<Entry>,
    lease: Option<Lease>,
}

/// A stored response.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    key: u128,
    fresh_until_ms: u64,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Option<Stored>,
    tagged: Tagged,
}

/// A stored body.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) length: u64,
}

/// Somebody fetches what is to be stored here.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Lease {
    key: u128,
    number: u64,
    until_ms: u64,
}

/// What a lookup came to. An exchange holds it to its end; dropping it gives up what it leads.
pub(crate) struct Holding {
    store: Rc<Store>,
    key: u128,
    /// The latest purge then.
    latest: u64,
    /// Nothing where its set has no slot for it.
    place: Option<Place>,
    /// What was found.
    pub(crate) entry: Option<Entry>,
    /// It was purged softly.
    pub(crate) purged: bool,
    lease: Option<u64>,
    /// It waited for another exchange.
    pub(crate) collapsed: bool,
}

/// A slot of a set, as it was at the lookup.
#[derive(Clone, Copy)]
struct Place {
    way: usize,
    mark: u64,
}

/// The first half of a digest: what a key is known by here.
pub(crate) fn hash(key: &str) -> u128 {
    let digest = Sha256::digest(key.as_bytes());
    digest.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

fn set_key(key: u128) -> String {
    format!("outport/cache/{}", key % SETS)
}

fn now_ms() -> u64 {
    unix_us() / 1000
}

impl Set {
    /// One of another version counts as empty.
    fn read(value: Option<Vec<u8>>) -> Self {
        value.and_then(|value| postcard::from_bytes(&value).ok()).unwrap_or_default()
    }

    fn put<T>(self, done: T) -> Change<T> {
        match postcard::to_stdvec(&self) {
            Ok(value) => Change::Put(value, done),
            Err(_) => Change::Leave(done),
        }
    }

    /// The slot of a key: its own, or one that it may have.
    fn slot(&mut self, key: u128, now_ms: u64) -> Option<(usize, &mut Slot)> {
        let stored = self.0.iter().position(|slot| slot.stores(key));
        let led = || self.0.iter().position(|slot| slot.is_led_for(key));
        let free = || {
            let free = self.0.iter().enumerate().filter(|(_, slot)| slot.lease(now_ms).is_none());
            free.min_by_key(|(_, slot)| slot.fresh_until_ms()).map(|(way, _)| way)
        };
        let way = stored.or_else(led).or_else(free)?;
        self.0.get_mut(way).map(|slot| (way, slot))
    }
}

impl Slot {
    fn stores(&self, key: u128) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.key == key)
    }

    /// Whether who leads here, or did last, leads for this key.
    fn is_led_for(&self, key: u128) -> bool {
        self.lease.is_some_and(|lease| lease.key == key)
    }

    fn fresh_until_ms(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.fresh_until_ms)
    }

    /// Somebody leads here.
    fn lease(&self, now_ms: u64) -> Option<Lease> {
        self.lease.filter(|lease| lease.until_ms > now_ms)
    }
}

/// What somebody sees who looks.
enum Seen {
    Entry(Entry, Place, Option<u64>),
    Vacant(Place, u64),
    /// The set has no slot for it.
    Full,
    /// Another leads.
    Busy,
    /// It is not what was judged.
    Changed,
}

/// What was purged of an entry, and the mark of its slot then.
#[derive(Clone, Copy)]
struct Judged {
    mark: Option<u64>,
    purged: Purged,
}

async fn judge(store: &Store, value: Option<Vec<u8>>, key: u128, latest: u64) -> Judged {
    let stored = Set::read(value).0.into_iter().find(|slot| slot.stores(key));
    let mark = stored.as_ref().map(|slot| slot.mark);
    let purged = match stored.and_then(|slot| slot.entry) {
        Some(entry) => purges::since(store, &entry.tagged, latest).await,
        None => Purged::No,
    };
    Judged { mark, purged }
}

/// Looks, and takes the lead where there is one to take.
fn claim(value: Option<Vec<u8>>, key: u128, lease: u64, judged: Judged) -> Change<Seen> {
    let now = now_ms();
    let mut set = Set::read(value);
    let Some((way, slot)) = set.slot(key, now) else { return Change::Leave(Seen::Full) };
    let place = Place { way, mark: slot.mark };
    let found = slot.entry.clone().filter(|entry| entry.key == key);
    if found.is_some() && judged.mark != Some(slot.mark) {
        return Change::Leave(Seen::Changed);
    }
    let found = found.filter(|_| judged.purged != Purged::Gone);
    let is_fresh = |entry: &Entry| judged.purged == Purged::No && entry.fresh_until_ms > now;
    match (found, slot.lease(now)) {
        (Some(entry), led) if is_fresh(&entry) || led.is_some() => {
            Change::Leave(Seen::Entry(entry, place, None))
        }
        (None, Some(_)) => Change::Leave(Seen::Busy),
        (found, _) => {
            slot.lease = Some(Lease { key, number: lease, until_ms: now + LEASE_MS });
            set.put(match found {
                Some(entry) => Seen::Entry(entry, place, Some(lease)),
                None => Seen::Vacant(place, lease),
            })
        }
    }
}

/// Looks a key up; waits while another exchange fetches it.
pub(crate) async fn look(store: Rc<Store>, key: &str) -> Holding {
    let key = hash(key);
    let set = set_key(key);
    let lease = get_random_u64();
    let began = monotonic_clock::now();
    let mut collapsed = false;
    loop {
        let latest = purges::latest(&store).await;
        let value = store.get(&set).await;
        let judged = judge(&store, value.clone(), key, latest).await;
        let seen = match claim(value, key, lease, judged) {
            Change::Leave(seen) => Ok(seen),
            Change::Put(..) => store.change(&set, |value| claim(value, key, lease, judged)),
        };
        let purged = judged.purged == Purged::Softly;
        let holding = |place, entry, lease| {
            let store = store.clone();
            Holding { store, key, latest, place, entry, purged, lease, collapsed }
        };
        let in_time = monotonic_clock::now() - began < WAIT_NS_MAX;
        match seen {
            Ok(Seen::Entry(entry, place, lease)) => {
                return holding(Some(place), Some(entry), lease);
            }
            Ok(Seen::Vacant(place, lease)) => return holding(Some(place), None, Some(lease)),
            Ok(Seen::Changed) if in_time => {}
            Ok(Seen::Busy) if in_time => {
                collapsed = true;
                monotonic_clock::wait_for(POLL_NS).await;
            }
            // It goes without the cache.
            Ok(Seen::Full | Seen::Busy | Seen::Changed) | Err(_) => {
                return holding(None, None, None);
            }
        }
    }
}

/// Forgets a key: neither what is stored nor what is now being fetched is found from here on.
pub(crate) fn forget(store: &Store, key: &str) {
    let key = hash(key);
    let set = set_key(key);
    let forgotten = store.change(&set, |value| {
        if value.is_none() {
            return Change::Leave(());
        }
        let mut set = Set::read(value);
        for slot in &mut set.0 {
            if slot.stores(key) || slot.is_led_for(key) {
                slot.mark = get_random_u64();
                slot.entry.take_if(|entry| entry.key == key);
                slot.lease.take_if(|lease| lease.key == key);
            }
        }
        set.put(())
    });
    if forgotten.is_err() {
        crate::log(&format!("{set} could not be forgotten; it is found until it is stale"));
    }
}

impl Holding {
    /// The same, for reading: without the lead.
    pub(crate) fn for_reading(&self) -> Self {
        Self { store: self.store.clone(), entry: self.entry.clone(), lease: None, ..*self }
    }

    /// Whether this exchange is the one to renew what it found.
    pub(crate) fn leads(&self) -> bool {
        self.lease.is_some()
    }

    /// Stores a head, unless the key was forgotten or stored anew since it was looked up.
    pub(crate) fn put(&mut self, store: ToStore, body: Option<Stored>) -> bool {
        let ToStore { head, fresh_ms, tags, .. } = store;
        let fresh_until_ms = now_ms().saturating_add(fresh_ms);
        let tagged = Tagged::new(self.latest, &tags);
        let entry = Entry { key: self.key, fresh_until_ms, head, body, tagged };
        let lease = self.lease;
        let stored = self.change(|slot, mark| {
            slot.mark = mark;
            slot.entry = Some(entry.clone());
            slot.lease.take_if(|led| Some(led.number) == lease);
        });
        self.lease.take_if(|_| stored);
        stored
    }

    /// Makes ready for a body: what is stored goes, for its chunks are now overwritten. False
    /// where this exchange does not lead, or no longer.
    pub(crate) fn begin(&mut self) -> bool {
        let led = self.lease.is_some();
        led && self.change(|slot, mark| {
            slot.mark = mark;
            slot.entry = None;
        }) && self.renew()
    }

    /// Leads for longer.
    pub(crate) fn renew(&mut self) -> bool {
        let (key, Some(number)) = (self.key, self.lease) else { return false };
        let until_ms = now_ms() + LEASE_MS;
        self.change(|slot, _| slot.lease = Some(Lease { key, number, until_ms }))
    }

    /// Changes the slot, unless it was changed since, or another leads in place of this exchange.
    fn change(&mut self, apply: impl Fn(&mut Slot, u64)) -> bool {
        let Some(Place { way, mark }) = self.place else { return false };
        let (lease, next) = (self.lease, get_random_u64());
        let changed = self.store.change(&set_key(self.key), |value| {
            let mut set = Set::read(value);
            let Some(slot) = set.0.get_mut(way) else { return Change::Leave(None) };
            let lost = lease.is_some() && slot.lease.map(|led| led.number) != lease;
            if slot.mark != mark || lost {
                return Change::Leave(None);
            }
            apply(slot, next);
            let mark = slot.mark;
            set.put(Some(mark))
        });
        let Ok(Some(mark)) = changed else { return false };
        self.place = Some(Place { way, mark });
        true
    }

    /// The body's chunk at a place: what is there, if it is the body's own.
    pub(crate) async fn chunk(&self, number: u64, place: u64) -> Option<Vec<u8>> {
        let mut chunk = self.store.get(&self.chunk_key(place)?).await?;
        let own = chunk.first_chunk() == Some(&number.to_be_bytes());
        own.then(|| chunk.split_off(size_of_val(&number)))
    }

    /// Stores a chunk of the body, which begins with its number. False where it was not stored.
    pub(crate) async fn put_chunk(&self, place: u64, chunk: &[u8]) -> bool {
        let Some(key) = self.chunk_key(place) else { return false };
        self.store.set(&key, chunk).await
    }

    fn chunk_key(&self, place: u64) -> Option<String> {
        Some(format!("{}/{}/{place}", set_key(self.key), self.place?.way))
    }

    /// Drops a response whose body turned out not to be there.
    pub(crate) fn evict(&mut self) {
        self.change(|slot, mark| {
            slot.mark = mark;
            slot.entry = None;
        });
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let Some(number) = self.lease else { return };
        // Where it fails, the lease ends by itself.
        let _ = self.store.change(&set_key(self.key), |value| {
            let mut set = Set::read(value);
            let ours = |led: &mut Lease| led.number == number;
            let released = set.0.iter_mut().find_map(|slot| slot.lease.take_if(ours));
            if released.is_some() { set.put(()) } else { Change::Leave(()) }
        });
    }
}

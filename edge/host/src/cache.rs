//! The cache of a node: stored responses in memory, shared by all threads, bounded by bytes.
//!
//! Eviction is quick_cache's variant of S3-FIFO: what was asked for once goes first. How it fares
//! beside others is in docs/benchmarks.md; `outport-bench replay` says it anew. Heads are the
//! core's and opaque. Requests for one vacant key are collapsed: the first leads, the others
//! wait for what it stores.
//!
//! Below it there may be a second tier ([`Disk`]): what is stored and whole goes there, too, and who
//! leads a vacant key looks there first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outport_edge_core::step::{Coding, Extent, Form, Popular, Purge};
use quick_cache::sync::Cache as Entries;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use tokio::sync::watch;

use crate::disk::{Counted, Disk, Grave, Stored};
use crate::encoder::{self, Dictionary, Encoders};
use crate::purges::{Purged, Purges};
use crate::stored_body::StoredBody;

const SHARDS: usize = 64;
/// What an entry takes beyond its head and body: keys, pointers, counters, and who waits for the
/// body. Measured as memory that a process grew by, for 200,000 of them.
const ENTRY_BYTES: usize = 960;
/// What an entry takes on average. By it the cache reckons how many keys it remembers of what it
/// has evicted: half as many as entries are expected, of less than 100 bytes each.
const ENTRY_BYTES_EXPECTED: u64 = 32 << 10;
/// The share of the cache for what was asked for again; the rest is for what was not yet.
const HOT_SHARE: f64 = 0.9;
/// What takes more than one in so many bytes of the cache is not remembered once it is evicted. It
/// stays if it is asked for again before that. Else whoever fetches many large files twice would
/// have them take the place of all that is small.
const REMEMBERED_SHARE: u64 = 1024;
/// How many of the largest bodies a part of the cache has room for, at least. The parts evict each
/// by itself. So many that one has room beside what was asked for again: a larger one drives that
/// out, and one that is larger than its part is never stored.
const LARGEST_PER_PART: u64 = 16;
/// Into how many parts the cache is divided for each thread that can run at once, at most.
const PARTS_PER_THREAD: u64 = 4;

/// What has no body goes to the disk only if it is fresh for longer than this: failures, and that
/// something can't be stored, are not worth it.
const BODILESS_FRESH_MIN: Duration = Duration::from_secs(10);

/// How many dictionaries are found by their digests at once. Of more, those are that were asked for.
const DICTIONARIES_MAX: usize = 4_096;

type Memory = Entries<String, Arc<Entry>, Weight, DefaultHashBuilder, ToDisk>;

/// The cache.
pub(crate) struct Cache {
    entries: Memory,
    disk: Option<Disk>,
    /// The most that an entry takes which is remembered when it is evicted, in bytes.
    remembered_bytes_max: u64,
    hasher: RandomState,
    encoders: Encoders,
    /// The keys of what is stored as a dictionary, by scope and digest. Whoever finds one looks
    /// whether it is that still.
    dictionaries: Entries<(Arc<str>, [u8; 32]), String>,
    purges: Arc<Purges>,
    /// Who is fetching what is not stored. Whatever changes an entry holds its key's shard.
    flights: Box<[Mutex<HashMap<String, Flight>>]>,
}

/// Somebody fetches this key. Dropped when that is over, which wakes all who wait.
struct Flight {
    number: u64,
    /// Says whether it was on the disk, so that there was nothing to fetch.
    over: watch::Sender<bool>,
}

/// A stored response.
pub(crate) struct Entry {
    head: Bytes,
    body: Option<Arc<StoredBody>>,
    /// Forms of the body; those that are not worth it have no bytes.
    forms: Vec<(Coding, Option<Bytes>)>,
    /// What body and forms were counted as. The same from the entry's beginning to its end.
    body_bytes: u64,
    fresh_until: Instant,
    /// By what it can be purged.
    tags: Arc<[String]>,
    /// The scope in which it is a dictionary.
    dictionary: Option<Arc<str>>,
    /// The last purge when it was looked up, to be stored.
    purges_then: u64,
    /// How often it was found, and what it renewed before it.
    hits: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

/// What a stored response keeps when it is counted anew: who holds it goes on with it.
#[derive(Default)]
struct Shared {
    led: AtomicBool,
    encoding: AtomicBool,
}

impl Entry {
    /// The head, as it was stored.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The body, if it is stored too.
    pub(crate) fn body(&self) -> Option<&Arc<StoredBody>> {
        self.body.as_ref()
    }

    /// The forms of the body, as lookups tell of them.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let form = |(coding, form): &(Coding, Option<Bytes>)| Form {
            coding: *coding,
            bytes: form.as_ref().map(|form| form.len() as u64),
        };
        self.forms.iter().map(form).collect()
    }

    /// The body in a coding, where there is that form.
    pub(crate) fn form(&self, coding: Coding) -> Option<Bytes> {
        let (_, form) = self.forms.iter().find(|(other, _)| *other == coding)?;
        form.clone()
    }

    /// What goes to the disk, if it may.
    fn stored(&self) -> Option<Stored> {
        let body = match &self.body {
            Some(body) => Some(body.whole()?),
            None if self.fresh_until <= Instant::now() + BODILESS_FRESH_MIN => return None,
            None => None,
        };
        Some(Stored {
            head: self.head.clone(),
            body,
            forms: self.forms.clone(),
            fresh_until: self.fresh_until,
            tags: self.tags.clone(),
            dictionary: self.dictionary.clone(),
            purges_then: self.purges_then,
        })
    }

    /// What comes from the disk.
    fn from_stored(stored: Stored) -> Arc<Self> {
        let Stored { head, body, forms, fresh_until, tags, dictionary, purges_then } = stored;
        let body = body.map(|chunks| {
            let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            let body = StoredBody::new(Extent::Exactly(bytes));
            for chunk in chunks {
                // It has just so many bytes.
                let _ = body.push(chunk);
            }
            body
        });
        let body_bytes = bytes_of(body.as_ref(), &forms);
        let (hits, shared) = (Arc::default(), Arc::default());
        Arc::new(Self {
            head,
            body,
            forms,
            body_bytes,
            fresh_until,
            tags,
            dictionary,
            purges_then,
            hits,
            shared,
        })
    }

    /// The scope and the digest by which it is found as a dictionary, if it is one.
    fn as_dictionary(&self) -> Option<(Arc<str>, [u8; 32])> {
        let scope = self.dictionary.clone()?;
        Some((scope, self.body.as_ref()?.sha256()?))
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The same, with what is counted anew.
    fn counted(&self, forms: Vec<(Coding, Option<Bytes>)>) -> Arc<Self> {
        Arc::new(Self {
            head: self.head.clone(),
            body: self.body.clone(),
            body_bytes: bytes_of(self.body.as_ref(), &forms),
            forms,
            fresh_until: self.fresh_until,
            tags: self.tags.clone(),
            dictionary: self.dictionary.clone(),
            purges_then: self.purges_then,
            hits: self.hits.clone(),
            shared: self.shared.clone(),
        })
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<String, Arc<Entry>> for Weight {
    fn weight(&self, key: &String, entry: &Arc<Entry>) -> u64 {
        let tags = entry.tags.iter().map(String::len).sum::<usize>();
        let scope = entry.dictionary.as_ref().map_or(0, |scope| scope.len());
        entry_bytes(key.len(), entry.head.len() + tags + scope, entry.body_bytes)
    }
}

/// Sends to the disk what memory has no room for, and what is not there already.
#[derive(Clone)]
struct ToDisk(Option<Disk>);

impl Lifecycle<String, Arc<Entry>> for ToDisk {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), key: String, entry: Arc<Entry>) {
        let Some(disk) = self.0.as_ref().filter(|disk| !disk.has(&key)) else { return };
        if let Some(stored) = entry.stored() {
            disk.write(key, stored);
        }
    }
}

/// What an entry is counted as.
pub(crate) const fn entry_bytes(key_bytes: usize, head_bytes: usize, body_bytes: u64) -> u64 {
    body_bytes + (key_bytes + head_bytes + ENTRY_BYTES) as u64
}

/// What a lookup came to. An exchange holds it to its end; dropping it gives up what it leads.
pub(crate) struct Holding {
    cache: Arc<Cache>,
    key: String,
    held: Held,
    /// The last purge when it was looked up.
    purges_then: u64,
    /// It waited for another exchange.
    pub(crate) collapsed: bool,
}

enum Held {
    /// It leads the fetching of a vacant key.
    Flight(u64),
    /// It was given this, and leads its renewal or does not.
    Entry { entry: Arc<Entry>, purged: bool, leads: bool },
}

/// What was found.
pub(crate) struct Found<'a> {
    pub(crate) entry: &'a Arc<Entry>,
    /// It was purged softly since it was stored.
    pub(crate) purged: bool,
    /// It is stale, and this exchange is the one to renew it.
    pub(crate) leads: bool,
}

/// The body that goes with a newly stored head.
pub(crate) enum NewBody {
    None,
    Keep,
    Arriving(Arc<StoredBody>),
}

impl Cache {
    /// A cache for this many bytes, none of whose bodies has more than `object_bytes_max`.
    pub(crate) fn new(bytes_max: u64, object_bytes_max: u64) -> Arc<Self> {
        Self::with_disk(bytes_max, object_bytes_max, None, Arc::default())
    }

    /// The same above a disk, which knows these purges.
    pub(crate) fn with_disk(
        bytes_max: u64,
        object_bytes_max: u64,
        disk: Option<Disk>,
        purges: Arc<Purges>,
    ) -> Arc<Self> {
        let cache = Arc::new(Self {
            entries: entries(bytes_max, object_bytes_max, ToDisk(disk.clone())),
            disk,
            remembered_bytes_max: bytes_max / REMEMBERED_SHARE,
            encoders: Encoders::new(),
            dictionaries: Entries::new(DICTIONARIES_MAX),
            purges,
            hasher: RandomState::new(),
            flights: (0..SHARDS).map(|_| Mutex::default()).collect(),
        });
        if let Some(disk) = &cache.disk {
            let memory = Arc::downgrade(&cache);
            disk.keeps(move |key| {
                memory.upgrade().is_some_and(|cache| cache.entries.peek(key).is_some())
            });
        }
        cache
    }

    /// What the disk counts, if there is one.
    pub(crate) fn disk(&self) -> Option<Counted> {
        self.disk.as_ref().map(Disk::counted)
    }

    /// Ends well: what goes to the disk is there, however the machine goes on.
    pub(crate) async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }

    /// Bytes and entries stored.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.entries.weight(), self.entries.len() as u64)
    }

    /// What was found most often, so many at most. It looks at every entry.
    pub(crate) fn popular(&self, most: usize) -> Vec<Popular> {
        let counted = self.entries.iter().filter_map(|(key, entry)| {
            let hits = entry.hits.load(Ordering::Relaxed);
            (hits > 0).then_some((Reverse(hits), key, entry))
        });
        let mut all: Vec<_> = counted.collect();
        all.sort_unstable_by(|(hits, key, _), (others, other, _)| {
            (hits, key).cmp(&(others, other))
        });
        let popular =
            |(_, key, entry): (_, String, Arc<Entry>)| Popular { key, head: entry.head.to_vec() };
        all.into_iter().take(most).map(popular).collect()
    }

    /// Looks a key up; waits while another exchange fetches it.
    pub(crate) async fn look(self: &Arc<Self>, key: String) -> Holding {
        let mut collapsed = false;
        loop {
            let purges_then = self.purges.last();
            if let Some((entry, purged)) = self.stored(&key) {
                return self.found(key, entry, purged, purges_then, collapsed);
            }
            let vacant = {
                let mut flights = self.flights(&key);
                // It may have been stored since.
                if let Some((entry, purged)) = self.stored(&key) {
                    drop(flights);
                    return self.found(key, entry, purged, purges_then, collapsed);
                }
                match flights.get(&key) {
                    Some(flight) => Err(flight.over.subscribe()),
                    None => Ok(start(&mut flights, &key)),
                }
            };
            let mut over = match vacant {
                Err(over) => over,
                Ok(number) => {
                    let (cache, held) = (self.clone(), Held::Flight(number));
                    let mut holding = Holding { cache, key, held, purges_then, collapsed };
                    self.look_on_disk(&mut holding, number).await;
                    return holding;
                }
            };
            // Fails when the flight is dropped, which is what is waited for.
            let _ = over.changed().await;
            collapsed |= !*over.borrow();
        }
    }

    /// Leads keys that are vacant: in their order, up to the first that is stored or led.
    pub(crate) fn claim(self: &Arc<Self>, keys: Vec<String>) -> Vec<Holding> {
        keys.into_iter().map_while(|key| self.claim_one(key)).collect()
    }

    fn claim_one(self: &Arc<Self>, key: String) -> Option<Holding> {
        let purges_then = self.purges.last();
        let mut flights = self.flights(&key);
        let on_disk = || self.disk.as_ref().is_some_and(|disk| disk.has(&key));
        if flights.contains_key(&key) || self.stored(&key).is_some() || on_disk() {
            return None;
        }
        let held = Held::Flight(start(&mut flights, &key));
        Some(Holding { cache: self.clone(), key, held, purges_then, collapsed: false })
    }

    /// Finds what is stored as a dictionary, and its head. What is on the disk alone is not found.
    pub(crate) fn dictionary(&self, scope: &str, sha256: [u8; 32]) -> Option<(Bytes, Dictionary)> {
        let named = (Arc::from(scope), sha256);
        let (entry, _) = self.stored(&self.dictionaries.get(&named)?)?;
        let body = entry.body.as_ref().filter(|_| entry.as_dictionary() == Some(named))?;
        Some((entry.head.clone(), Dictionary::new(sha256, &body.whole()?)?))
    }

    /// Has a response found by its digest, if it is a dictionary.
    fn name(&self, key: &str, entry: &Entry) {
        if let Some(named) = entry.as_dictionary() {
            self.dictionaries.insert(named, key.to_owned());
        }
    }

    /// What is stored at a key, and whether it was purged softly.
    fn stored(&self, key: &str) -> Option<(Arc<Entry>, bool)> {
        self.unless_gone(self.entries.get(key)?)
    }

    fn unless_gone(&self, entry: Arc<Entry>) -> Option<(Arc<Entry>, bool)> {
        match self.purges.since(entry.purges_then, &entry.tags) {
            Purged::No => Some((entry, false)),
            Purged::Softly => Some((entry, true)),
            Purged::Gone => None,
        }
    }

    /// Looks on the disk for what is vacant in memory, and has it in memory from then on. Who leads
    /// does so; the others wait.
    async fn look_on_disk(&self, holding: &mut Holding, number: u64) {
        let key = &holding.key;
        let Some(disk) = self.disk.as_ref().filter(|disk| disk.has(key)) else { return };
        let Some(stored) = disk.read(key).await else { return };
        let mut flights = self.flights(key);
        // It was forgotten meanwhile: nobody is to find it again.
        let Some(flight) = flights.get(key).filter(|flight| flight.number == number) else {
            return;
        };
        let Some((entry, purged)) = self.unless_gone(Entry::from_stored(stored)) else {
            return disk.supersede(key);
        };
        self.name(key, &entry);
        self.enter(key.clone(), entry.clone());
        flight.over.send_replace(true);
        flights.remove(key);
        drop(flights);
        holding.held = Held::of(entry, purged);
    }

    fn found(
        self: &Arc<Self>,
        key: String,
        entry: Arc<Entry>,
        purged: bool,
        purges_then: u64,
        collapsed: bool,
    ) -> Holding {
        entry.hits.fetch_add(1, Ordering::Relaxed);
        let held = Held::of(entry, purged);
        Holding { cache: self.clone(), key, held, purges_then, collapsed }
    }

    /// Forgets keys, and purges what is stored under tags and what is being fetched and will have
    /// them. It holds, through a kill too, when this returns; and if it is not waited for.
    pub(crate) async fn remove(&self, forget: &[String], purge: Vec<Purge>) {
        let graves: Vec<_> = forget.iter().filter_map(|key| self.forget(key)).collect();
        let purges: Vec<_> = purge.into_iter().map(|Purge { tag, soft }| (tag, soft)).collect();
        match &self.disk {
            None => {
                for (tag, soft) in purges {
                    self.purges.purge(tag, soft);
                }
            }
            Some(_) if graves.is_empty() && purges.is_empty() => {}
            Some(disk) => disk.fill(graves, purges).await,
        }
    }

    /// Forgets a key: neither what is stored nor what is now being fetched is found from here on.
    fn forget(&self, key: &str) -> Option<Grave> {
        let mut flights = self.flights(key);
        flights.remove(key);
        self.entries.remove(key);
        // After memory, which may have sent it there until now.
        self.disk.as_ref().and_then(|disk| disk.forget(key))
    }

    /// The body of a response is whole. Where nobody knew its length before, it is counted anew.
    pub(crate) fn filled(&self, key: &str, entry: &Arc<Entry>) {
        self.name(key, entry);
        let _flights = self.flights(key);
        let Some(mut current) = self.current(key, entry) else { return };
        if current.body.as_ref().is_some_and(|body| body.is_unannounced()) {
            current = current.counted(current.forms.clone());
            self.enter(key.to_owned(), current.clone());
        }
        self.write(key, &current);
    }

    /// Has a response on the disk as it is now. The key's shard is held.
    fn write(&self, key: &str, entry: &Entry) {
        let Some(disk) = &self.disk else { return };
        if let Some(stored) = entry.stored() {
            disk.write(key.to_owned(), stored);
        }
    }

    /// Adds a form of its body to a response, if it is still stored.
    fn add(&self, key: &str, entry: &Entry, coding: Coding, form: Option<Bytes>) -> bool {
        let _flights = self.flights(key);
        let Some(current) = self.current(key, entry) else { return false };
        let mut forms = current.forms.clone();
        forms.push((coding, form));
        let counted = current.counted(forms);
        self.entries.insert(key.to_owned(), counted.clone());
        self.write(key, &counted);
        true
    }

    /// What is stored at a key, if it is this. The key's shard is held.
    fn current(&self, key: &str, entry: &Entry) -> Option<Arc<Entry>> {
        self.entries.peek(key).filter(|current| current.is(entry))
    }

    /// Stores what is new, or of a size that was not known before. The key's shard is held.
    fn enter(&self, key: String, entry: Arc<Entry>) {
        if Weight.weight(&key, &entry) > self.remembered_bytes_max {
            // With the entry, the library forgets that it evicted one of this key.
            self.entries.remove(&key);
        }
        self.entries.insert(key, entry);
    }

    /// What the disk has of a key is not what is stored from now on. The key's shard is held.
    fn stored_anew(&self, key: &str, entry: &Entry, keeps: bool) {
        let Some(disk) = &self.disk else { return };
        match entry.stored() {
            Some(stored) if keeps => disk.renew(key.to_owned(), stored),
            Some(stored) if entry.body.is_none() => disk.write(key.to_owned(), stored),
            // It is written once it is whole.
            Some(_) | None => disk.supersede(key),
        }
    }

    /// Takes back a response whose body was cut, or is too long. Whether it was still there.
    pub(crate) fn take_back(&self, key: &str, entry: &Arc<Entry>) -> bool {
        let _flights = self.flights(key);
        let is_there = self.current(key, entry).is_some();
        if is_there {
            self.entries.remove(key);
        }
        is_there
    }

    fn flights(&self, key: &str) -> MutexGuard<'_, HashMap<String, Flight>> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        #[allow(clippy::expect_used)] // The place is a remainder, and there is always a shard.
        let shard = self.flights.get(place).expect("a remainder of the shards' number");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What was found, and whether it was purged softly.
    fn of(entry: Arc<Entry>, purged: bool) -> Self {
        let stale = purged || entry.fresh_until <= Instant::now();
        let leads = stale && !entry.shared.led.swap(true, Ordering::AcqRel);
        Self::Entry { entry, purged, leads }
    }
}

impl Holding {
    /// What was found; nothing where the key is vacant.
    pub(crate) fn found(&self) -> Option<Found<'_>> {
        match &self.held {
            Held::Flight(_) => None,
            Held::Entry { entry, purged, leads } => {
                Some(Found { entry, purged: *purged, leads: *leads })
            }
        }
    }

    /// Stores a head, unless the key was forgotten or stored anew since it was looked up.
    pub(crate) fn store(
        &self,
        head: Vec<u8>,
        body: NewBody,
        fresh: Duration,
        tags: Vec<String>,
        dictionary: Option<String>,
    ) -> Option<Arc<Entry>> {
        let mut flights = self.cache.flights(&self.key);
        let current = match &self.held {
            Held::Flight(number) => {
                flights.get(&self.key).filter(|flight| flight.number == *number)?;
                None
            }
            Held::Entry { entry, .. } => Some(self.cache.current(&self.key, entry)?),
        };
        let hits = current.as_ref().map(|current| current.hits.clone()).unwrap_or_default();
        let keeps = matches!(body, NewBody::Keep);
        let (body, forms) = match (body, current) {
            (NewBody::Arriving(body), _) => (Some(body), Vec::new()),
            (NewBody::Keep, Some(current)) => (current.body.clone(), current.forms.clone()),
            (NewBody::Keep, None) | (NewBody::None, _) => (None, Vec::new()),
        };
        let entry = Arc::new(Entry {
            head: Bytes::from(head),
            body_bytes: bytes_of(body.as_ref(), &forms),
            body,
            forms,
            fresh_until: Instant::now() + fresh,
            tags: tags.into(),
            dictionary: dictionary.map(Arc::from),
            purges_then: self.purges_then,
            hits,
            shared: Arc::default(),
        });
        match self.held {
            Held::Flight(_) => self.cache.enter(self.key.clone(), entry.clone()),
            // How often it was used is kept.
            Held::Entry { .. } => self.cache.entries.insert(self.key.clone(), entry.clone()),
        }
        self.cache.stored_anew(&self.key, &entry, keeps);
        flights.remove(&self.key);
        drop(flights);
        self.cache.name(&self.key, &entry);
        Some(entry)
    }

    /// Makes a form of the body and stores it beside it, once. Whether lookups tell of it now.
    pub(crate) async fn encode(&self, coding: Coding, dictionary: Option<Dictionary>) -> bool {
        let Held::Entry { entry, .. } = &self.held else { return false };
        let made = |entry: &Entry| entry.forms.iter().any(|(other, _)| *other == coding);
        match self.cache.entries.peek(&self.key).filter(|current| current.is(entry)) {
            None => return false,
            Some(current) if made(&current) => return true,
            Some(_) => {}
        }
        let Some(body) = entry.body.as_ref().and_then(|body| body.whole()) else { return false };
        if entry.shared.encoding.swap(true, Ordering::AcqRel) {
            return false;
        }
        let form = self
            .cache
            .encoders
            .run(move || encoder::best(coding, dictionary.as_ref(), &body))
            .await;
        entry.shared.encoding.store(false, Ordering::Release);
        form.is_some_and(|form| self.cache.add(&self.key, entry, coding, form))
    }

    /// The cache and the key, for who goes on after the exchange.
    pub(crate) fn place(&self) -> (Arc<Cache>, String) {
        (self.cache.clone(), self.key.clone())
    }
}

/// From here on somebody fetches this key.
fn start(flights: &mut HashMap<String, Flight>, key: &str) -> u64 {
    let number = rand::random();
    flights.insert(key.to_owned(), Flight { number, over: watch::Sender::new(false) });
    number
}

/// What is stored, laid out for these bounds.
fn entries(bytes_max: u64, object_bytes_max: u64, to_disk: ToDisk) -> Memory {
    let expected = usize::try_from(bytes_max / ENTRY_BYTES_EXPECTED).unwrap_or(usize::MAX);
    let options = OptionsBuilder::new()
        .weight_capacity(bytes_max)
        .estimated_items_capacity(expected.max(1))
        .hot_allocation(HOT_SHARE)
        .shards(parts(bytes_max, object_bytes_max))
        .build();
    #[allow(clippy::expect_used)] // It misses nothing but what is set here.
    let options = options.expect("both capacities are set");
    Entries::with_options(options, Weight, DefaultHashBuilder::default(), to_disk)
}

/// Into how many parts the cache is divided, so that threads rarely wait for each other.
fn parts(bytes_max: u64, object_bytes_max: u64) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let roomy = bytes_max / object_bytes_max.saturating_mul(LARGEST_PER_PART).max(1);
    let parts = roomy.min(threads as u64 * PARTS_PER_THREAD).max(1);
    // The library rounds up.
    1 << parts.ilog2()
}

fn bytes_of(body: Option<&Arc<StoredBody>>, forms: &[(Coding, Option<Bytes>)]) -> u64 {
    let forms = forms.iter().filter_map(|(_, form)| form.as_ref()).map(|form| form.len() as u64);
    body.map_or(0, |body| body.bytes()) + forms.sum::<u64>()
}

impl Drop for Holding {
    fn drop(&mut self) {
        match &self.held {
            Held::Flight(number) => {
                let mut flights = self.cache.flights(&self.key);
                if flights.get(&self.key).is_some_and(|flight| flight.number == *number) {
                    flights.remove(&self.key);
                }
            }
            Held::Entry { entry, leads: true, .. } => {
                entry.shared.led.store(false, Ordering::Release)
            }
            Held::Entry { leads: false, .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use outport_edge_core::step::Extent;

    use super::*;

    async fn put(cache: &Arc<Cache>, key: &str, length: usize) {
        let holding = cache.look(key.to_owned()).await;
        let body = StoredBody::new(Extent::Exactly(length as u64));
        body.push(Bytes::from(vec![0; length])).unwrap();
        holding.store(vec![], NewBody::Arriving(body), Duration::from_secs(60), vec![], None);
    }

    #[tokio::test]
    async fn bytes_are_bounded() {
        let cache = Cache::new(1 << 20, 1 << 16);
        for key in 0..1000 {
            put(&cache, &key.to_string(), 10_000).await;
            assert!(cache.size().0 <= 1 << 20);
        }
        assert!(cache.size().1 > 50);
    }

    #[tokio::test]
    async fn the_largest_body_is_stored_however_many_threads_there_are() {
        for share in [1, 2, 16, 100] {
            let bytes_max = 64 << 20;
            // What is kept has nine tenths.
            let largest = (bytes_max / share).min(57 << 20);
            let cache = Cache::new(bytes_max, largest);
            put(&cache, "a", largest as usize).await;
            assert_eq!(cache.size().1, 1, "{largest}");
        }
    }

    #[tokio::test]
    async fn large_bodies_leave_what_is_small_and_used() {
        let cache = Cache::new(16 << 20, 1 << 20);
        let was_there = async |key: &str, length| {
            let there = cache.look(key.to_owned()).await.found().is_some();
            if !there {
                put(&cache, key, length).await;
            }
            there
        };
        for _ in 0..2 {
            for key in 0..1000 {
                was_there(&key.to_string(), 10_000).await;
            }
        }
        for _ in 0..5 {
            for key in 0..50 {
                was_there(&format!("large {key}"), 1_000_000).await;
            }
        }
        for key in 0..1000 {
            assert!(was_there(&key.to_string(), 10_000).await, "{key} was driven out");
        }
        for _ in 0..3 {
            was_there("used", 1_000_000).await;
        }
        assert!(was_there("used", 1_000_000).await, "a large body that is used stays");
    }

    #[test]
    fn a_part_has_room_for_several_of_the_largest_bodies() {
        for object in [1 << 10, 1 << 16, 1 << 20, 3 << 20] {
            let parts = parts(64 << 20, object) as u64;
            assert!(parts.is_power_of_two());
            assert!(parts == 1 || (64 << 20) / parts >= LARGEST_PER_PART * object);
        }
        assert_eq!(parts(1 << 20, 1 << 20), 1);
        assert!(parts(1 << 40, 1 << 20) > 1, "threads share nothing");
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_counted_once_it_has_ended() {
        let cache = Cache::new(1 << 20, 1 << 16);
        let holding = cache.look("a".into()).await;
        let body = StoredBody::new(Extent::AtMost(5_000));
        let stored = NewBody::Arriving(body.clone());
        let entry = holding.store(vec![], stored, Duration::from_secs(60), vec![], None).unwrap();
        let before = cache.size().0;
        body.push(Bytes::from(vec![0; 5_000])).unwrap();
        body.end().unwrap();
        cache.filled("a", &entry);
        assert_eq!(cache.size(), (before + 5_000, 1));
        cache.remove(&["a".to_owned()], vec![]).await;
        assert_eq!(cache.size(), (0, 0));
    }

    #[tokio::test]
    async fn ten_thousand_wait_for_one() {
        let cache = Cache::new(1 << 20, 1 << 16);
        let leader = cache.look("a".into()).await;
        assert!(leader.found().is_none());
        let waiting: Vec<_> = (0..10_000)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.look("a".into()).await.found().is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        leader.store(vec![1], NewBody::None, Duration::from_secs(60), vec![], None);
        for waiter in waiting {
            assert!(waiter.await.unwrap());
        }
    }

    /// A cache above a disk in this folder, as a new process has it.
    fn on_disk(folder: &tempfile::TempDir) -> Arc<Cache> {
        let purges = Arc::default();
        let folder = folder.path().join("cache");
        let disk = Disk::open(&folder, 64 << 20, b"edition", Arc::clone(&purges));
        Cache::with_disk(1 << 20, 1 << 16, Some(disk.unwrap()), purges)
    }

    /// Stores a body that arrives and is whole.
    async fn fill(cache: &Arc<Cache>, key: &str, body: &'static str, tags: &[&str]) {
        let holding = cache.look(key.to_owned()).await;
        let tags = tags.iter().map(ToString::to_string).collect();
        let arriving = StoredBody::new(Extent::AtMost(100));
        let stored = NewBody::Arriving(arriving.clone());
        let entry = holding.store(vec![1], stored, Duration::from_secs(60), tags, None).unwrap();
        arriving.push(Bytes::from_static(body.as_bytes())).unwrap();
        arriving.end().unwrap();
        cache.filled(key, &entry);
    }

    async fn killed(cache: Arc<Cache>, folder: &tempfile::TempDir) -> Arc<Cache> {
        let disk = cache.disk.as_ref().unwrap();
        disk.settled().await;
        disk.kill();
        on_disk(folder)
    }

    /// Head and body of what is found, and whether it was purged softly.
    async fn found(cache: &Arc<Cache>, key: &str) -> Option<(Vec<u8>, Vec<u8>, bool)> {
        let holding = cache.look(key.to_owned()).await;
        let Found { entry, purged, .. } = holding.found()?;
        let body = entry.body().and_then(|body| body.whole()).unwrap_or_default();
        Some((entry.head().to_vec(), body.concat(), purged))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_whole_is_found_after_a_kill_and_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = on_disk(&folder);
        fill(&cache, "a", "body", &[]).await;
        let body = StoredBody::new(Extent::Exactly(10));
        body.push(Bytes::from_static(b"half")).unwrap();
        let holding = cache.look("half".into()).await;
        holding.store(vec![1], NewBody::Arriving(body), Duration::from_secs(60), vec![], None);
        let cache = killed(cache, &folder).await;
        let looking: Vec<_> = (0..100)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move {
                    let holding = cache.look("a".into()).await;
                    let found = holding.found().is_some_and(|found| !found.leads);
                    found && !holding.collapsed
                })
            })
            .collect();
        for found in looking {
            assert!(found.await.unwrap(), "a hit, not what another fetched");
        }
        assert_eq!(cache.disk().unwrap().hits, 1);
        cache.entries.clear();
        assert!(cache.claim(vec!["a".into(), "b".into()]).is_empty(), "it is there");
        assert_eq!(cache.claim(vec!["b".into(), "a".into()]).len(), 1);
        assert_eq!(found(&cache, "a").await.unwrap(), (vec![1], b"body".to_vec(), false));
        assert!(found(&cache, "half").await.is_none());
    }

    #[tokio::test]
    async fn what_memory_has_no_room_for_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let cache = on_disk(&folder);
        for key in 0..1000 {
            put(&cache, &key.to_string(), 10_000).await;
        }
        cache.disk.as_ref().unwrap().settled().await;
        for key in 0..1000 {
            let holding = cache.look(key.to_string()).await;
            let body = holding.found().unwrap().entry.body().unwrap().clone();
            assert_eq!(body.whole().unwrap().concat().len(), 10_000);
            assert!(cache.size().0 <= 1 << 20);
        }
    }

    #[tokio::test]
    async fn the_disk_has_what_is_stored_and_not_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let cache = on_disk(&folder);
        for key in ["renewed", "replaced", "without", "failed"] {
            fill(&cache, key, "body", &[]).await;
        }
        let minute = Duration::from_secs(60);
        let holding = cache.look("renewed".into()).await;
        holding.store(vec![2], NewBody::Keep, minute, vec![], None).unwrap();
        let holding = cache.look("replaced".into()).await;
        let arriving = NewBody::Arriving(StoredBody::new(Extent::Exactly(10)));
        holding.store(vec![2], arriving, minute, vec![], None).unwrap();
        let holding = cache.look("without".into()).await;
        holding.store(vec![2], NewBody::None, minute, vec![], None).unwrap();
        let holding = cache.look("failed".into()).await;
        holding.store(vec![2], NewBody::None, Duration::from_secs(1), vec![], None).unwrap();
        let cache = killed(cache, &folder).await;
        assert_eq!(found(&cache, "renewed").await.unwrap(), (vec![2], b"body".to_vec(), false));
        assert!(found(&cache, "replaced").await.is_none());
        assert_eq!(found(&cache, "without").await.unwrap(), (vec![2], vec![], false));
        assert!(found(&cache, "failed").await.is_none());
    }

    #[tokio::test]
    async fn what_is_forgotten_or_purged_is_so_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let cache = on_disk(&folder);
        for (key, tags) in [("forgotten", &["x"][..]), ("hard", &["hard"]), ("soft", &["soft"])] {
            fill(&cache, key, "body", tags).await;
        }
        let purge = |tag: &str, soft| Purge { tag: tag.into(), soft };
        let purges = vec![purge("hard", false), purge("soft", true)];
        cache.disk.as_ref().unwrap().settled().await;
        cache.remove(&["forgotten".into(), "unknown".into()], purges).await;
        let mut cache = cache;
        for _ in 0..2 {
            for key in ["forgotten", "hard"] {
                assert!(found(&cache, key).await.is_none(), "{key}");
            }
            assert!(found(&cache, "soft").await.unwrap().2);
            cache = killed(cache, &folder).await;
        }
        // What is stored from now on was not purged.
        fill(&cache, "hard", "new", &["hard"]).await;
        let cache = killed(cache, &folder).await;
        assert_eq!(found(&cache, "hard").await.unwrap().1, b"new");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_forgotten_while_it_is_read_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = on_disk(&folder);
        fill(&cache, "a", "body", &[]).await;
        let cache = killed(cache, &folder).await;
        let reads = cache.disk.as_ref().unwrap().hold_reads().await;
        let looking = cache.clone();
        let looking = tokio::spawn(async move { looking.look("a".into()).await.found().is_some() });
        let begun = || !cache.flights("a").is_empty();
        while !begun() {
            tokio::task::yield_now().await;
        }
        {
            // It reads, and can't say so yet.
            let mut flights = cache.flights("a");
            drop(reads);
            while cache.disk().unwrap().hits == 0 {
                std::thread::yield_now();
            }
            flights.remove("a");
            cache.disk.as_ref().unwrap().forget("a").unwrap();
        }
        assert!(!looking.await.unwrap());
        assert!(found(&cache, "a").await.is_none());
    }

    #[tokio::test]
    async fn a_form_is_on_the_disk_too() {
        let folder = tempfile::tempdir().unwrap();
        let cache = on_disk(&folder);
        let text = "a text that repeats itself, ".repeat(100).leak();
        let holding = cache.look("a".into()).await;
        let body = StoredBody::new(Extent::Exactly(text.len() as u64));
        body.push(Bytes::from_static(text.as_bytes())).unwrap();
        let stored = NewBody::Arriving(body);
        holding.store(vec![1], stored, Duration::from_secs(60), vec![], None).unwrap();
        assert!(cache.look("a".into()).await.encode(Coding::Gzip, None).await);
        let cache = killed(cache, &folder).await;
        let holding = cache.look("a".into()).await;
        let entry = holding.found().unwrap().entry;
        assert!(entry.form(Coding::Gzip).unwrap().len() < text.len() / 5);
        assert_eq!(entry.body().unwrap().whole().unwrap().concat(), text.as_bytes());
    }
}

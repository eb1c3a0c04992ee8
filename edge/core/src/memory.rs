//! A driver in memory, with a clock that tests move: a whole edge without a network or a runtime.
//!
//! It meets every need at once, in the order in which it is asked, so races are written down as
//! sequences. [`crate::conformance`] holds it to the same contracts as every other driver.

use std::collections::{BTreeMap, HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::Edge;
use crate::head::FieldLines;
use crate::kept::{Packed, handed_over};
use crate::key_set::{RSA_EXPONENT, uncompressed};
use crate::limit::take_each;
use crate::step::{
    Body, ByteRange, Coding, Content, DICTIONARY_BYTES_MAX, Extent, Fetch, FetchError, Form,
    Handed, Kept, KeptHead, Looked, Moment, Need, Outcome, Part, PartStep, Popular, PublicKey,
    Purge, Reply, Share, Shared, Step, Store, StoreBody, Taken, Upstream, UpstreamHead,
};

/// Names an exchange towards the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// What an upstream answers.
#[derive(Clone, Debug)]
pub struct UpstreamAnswer {
    /// The response head.
    pub head: UpstreamHead,
    /// The body that really arrives, whatever the head says of its length.
    pub body: Vec<u8>,
}

/// The upstreams, and what is elsewhere, whose target is a whole URL: a function from request and body to answer.
pub type Upstreams = Box<dyn FnMut(&Fetch, &[u8]) -> Result<UpstreamAnswer, FetchError>>;

/// The request that hands over what is kept, given head, digest and moment: the core's
/// [`Edge::hand_over`](crate::Edge::hand_over).
pub type Handing = Box<dyn FnMut(&[u8], &[u8; 32], Moment) -> Option<Fetch>>;

/// The driver.
pub struct MemoryDriver {
    now_ms: u64,
    calls: u64,
    upstreams: Upstreams,
    cache: HashMap<String, Entry>,
    purges: Vec<Purge>,
    values: HashMap<String, Vec<u8>>,
    kept: BTreeMap<String, Vec<u8>>,
    kept_bytes_max: usize,
    handing: Handing,
    edge: Option<Edge>,
    ahead: Vec<Vec<u8>>,
    arrivals: HashMap<String, u64>,
    exchanges: HashMap<Ticket, Pending>,
}

/// A key of the cache.
#[derive(Default)]
struct Entry {
    stored: Option<StoredResponse>,
    leader: Option<Ticket>,
    waiting: VecDeque<Ticket>,
    /// Counts what was forgotten, so that who began before is noticed.
    generation: u64,
}

struct StoredResponse {
    head: Vec<u8>,
    body: Option<Vec<u8>>,
    forms: BTreeMap<Coding, Option<Vec<u8>>>,
    fresh_until_ms: u64,
    tags: Vec<String>,
    /// Where it is found as a dictionary.
    dictionary: Option<String>,
    /// How often it was found.
    hits: u64,
    /// How much had been purged when it was looked up, to be stored.
    purges_then: usize,
}

impl StoredResponse {
    /// Whether it was purged since, softly or not.
    fn is_purged(&self, purges: &[Purge], soft: bool) -> bool {
        let since = purges.get(self.purges_then..).unwrap_or_default();
        since.iter().any(|purge| purge.soft == soft && self.tags.contains(&purge.tag))
    }

    /// Its body, if this names it as a dictionary.
    fn dictionary(&self, scope: &str, sha256: &[u8; 32]) -> Option<&[u8]> {
        let body = self.body.as_ref().filter(|_| self.dictionary.as_deref() == Some(scope))?;
        let fits = body.len() as u64 <= DICTIONARY_BYTES_MAX;
        (fits && Sha256::digest(body)[..] == sha256[..]).then_some(body)
    }
}

/// What the driver holds for an exchange that is under way.
#[derive(Default)]
struct Pending {
    outcome: Option<Outcome>,
    request_body: Vec<u8>,
    /// Among whose exchanges it counts.
    share: Option<String>,
    looked: Option<(String, u64)>,
    /// Led beside it.
    claimed: Vec<(String, u64)>,
    /// How much had been purged when it looked.
    purges_then: usize,
    kept: Vec<u8>,
    stored_body: Option<Vec<u8>>,
    forms: BTreeMap<Coding, Option<Vec<u8>>>,
    /// The digest of a dictionary, and all of it.
    dictionary: Option<([u8; 32], Vec<u8>)>,
    value: Vec<u8>,
    upstream_body: Vec<u8>,
}

impl MemoryDriver {
    /// A driver at this time, with these upstreams.
    pub fn new(now_ms: u64, upstreams: Upstreams) -> Self {
        Self {
            now_ms,
            calls: 0,
            upstreams,
            cache: HashMap::new(),
            purges: Vec::new(),
            values: HashMap::new(),
            kept: BTreeMap::new(),
            kept_bytes_max: usize::MAX,
            handing: Box::new(|_, _, _| None),
            edge: None,
            ahead: Vec::new(),
            arrivals: HashMap::new(),
            exchanges: HashMap::new(),
        }
    }

    /// The moment to hand to the core.
    pub fn moment(&mut self) -> Moment {
        self.calls += 1;
        Moment { unix_ms: self.now_ms, random: mixed(self.calls) }
    }

    /// Moves the clock.
    pub fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Says that bodies of this taker had so many units of what they are paid from.
    pub fn pay(&mut self, taker: &str, allowance: crate::step::Allowance, units: u64) {
        let arrival_us = self.arrivals.entry(paid_key(taker)).or_default();
        *arrival_us = crate::limit::pay(*arrival_us, self.now_ms * 1000, allowance, units);
    }

    /// Puts a value into the key-value store.
    pub fn put_value(&mut self, key: &str, value: &[u8]) {
        self.values.insert(key.to_owned(), value.to_vec());
    }

    /// How what is kept is handed over.
    pub fn hand_over_by(&mut self, handing: Handing) {
        self.handing = handing;
    }

    /// Who is asked for parts of bodies.
    pub fn continue_by(&mut self, edge: Edge) {
        self.edge = Some(edge);
    }

    /// Keeps no more than this.
    pub fn keep_at_most(&mut self, bytes: usize) {
        self.kept_bytes_max = bytes;
    }

    /// The keys of what is kept.
    pub fn kept_keys(&self) -> Vec<String> {
        self.kept.keys().cloned().collect()
    }

    /// Begins to keep track of an exchange.
    pub fn open(&mut self) -> Ticket {
        self.open_sending(Vec::new())
    }

    /// The same for a request with this body.
    pub fn open_sending(&mut self, request_body: Vec<u8>) -> Ticket {
        self.calls += 1;
        let ticket = Ticket(self.calls);
        self.exchanges.insert(ticket, Pending { request_body, ..Pending::default() });
        ticket
    }

    /// Begins to fulfil a need of an exchange.
    pub fn ask(&mut self, ticket: Ticket, need: Need) {
        let outcome = match need {
            Need::Lookup { key } => {
                let before = self.pending(ticket).looked.take();
                self.release(ticket, before);
                self.lookup(ticket, key)
            }
            Need::Claim { keys } => Some(Outcome::Claimed(self.claim(ticket, keys))),
            Need::Put { key, head, fresh_ms } => {
                let mut pending = self.exchanges.remove(&ticket).unwrap_or_default();
                self.store(ticket, Store::head(key, head, fresh_ms), &mut pending);
                self.exchanges.insert(ticket, pending);
                Some(Outcome::Put)
            }
            Need::Dictionary { scope, sha256 } => {
                Some(Outcome::Dictionary(self.dictionary(ticket, &scope, sha256)))
            }
            Need::Popular { most } => Some(Outcome::Popular(self.popular(most))),
            Need::Content { of, bytes_max } => {
                let pending = self.pending(ticket);
                let content = match of {
                    Content::Stored => pending.stored_body.clone(),
                    Content::Upstream => Some(pending.upstream_body.clone()),
                };
                let fits = |content: &Vec<u8>| content.len() as u64 <= bytes_max;
                Some(Outcome::Content(content.filter(fits)))
            }
            Need::Gather { parts, bytes_max } => {
                let mut whole = |part| match self.continued(part) {
                    (body, true) => Some(body),
                    (_, false) => None,
                };
                let gathered: Option<Vec<_>> = parts.into_iter().map(&mut whole).collect();
                let fits = |all: &Vec<Vec<u8>>| all.concat().len() as u64 <= bytes_max;
                Some(Outcome::Gathered(gathered.filter(fits)))
            }
            Need::Body { bytes_max } => {
                let body = std::mem::take(&mut self.pending(ticket).request_body);
                let fits = body.len() as u64 <= bytes_max;
                Some(Outcome::Body(fits.then_some(body)))
            }
            Need::Document { url, bytes_max, .. } => {
                Some(Outcome::Document(self.document(&url, bytes_max)))
            }
            Need::Encode { coding } => Some(Outcome::Encoded(self.encode(ticket, coding))),
            Need::Value { key } => {
                let value = self.values.get(&key).cloned();
                let length = value.as_ref().map(|value| value.len() as u64);
                self.pending(ticket).value = value.unwrap_or_default();
                Some(Outcome::Value(length))
            }
            Need::Share { key, share } => Some(Outcome::Shared(self.share(ticket, key, share))),
            Need::Take { key, allowance, wider } => {
                let take = |key: &str, allowance| self.take(key.to_owned(), allowance);
                Some(Outcome::Taken(take_each(&key, allowance, &wider, take)))
            }
            Need::Verify { key, message, signature } => {
                Some(Outcome::Verified(verify(&key, &message, &signature).is_some()))
            }
            Need::Fetch(fetch) => {
                let body = match fetch.with_body {
                    true => std::mem::take(&mut self.pending(ticket).request_body),
                    false => Vec::new(),
                };
                let answer = (self.upstreams)(&fetch, &body).map(|answer| {
                    self.pending(ticket).upstream_body = answer.body;
                    answer.head
                });
                Some(Outcome::Fetched(answer))
            }
            Need::Keep { key, head, bytes } => {
                Some(Outcome::Kept(self.keep(ticket, key, &head, bytes)))
            }
            Need::ReadKept { key } => Some(Outcome::ReadKept(self.read_kept(ticket, &key))),
            Need::HandOver { prefix, .. } => Some(Outcome::HandedOver(self.hand_over(&prefix))),
        };
        self.pending(ticket).outcome = outcome;
    }

    /// The outcome of the need that was asked last, once there is one.
    pub fn outcome(&mut self, ticket: Ticket) -> Option<Outcome> {
        self.pending(ticket).outcome.take()
    }

    /// Sends the client a reply, and keeps what the exchange holds: it goes on. Returns the body
    /// that the client gets.
    pub fn reply_first(&mut self, ticket: Ticket, reply: Reply) -> Vec<u8> {
        for key in &reply.forget {
            self.forget(key);
        }
        let mut pending = self.exchanges.remove(&ticket).unwrap_or_default();
        let (body, _) = self.body_of(reply.body, &mut pending);
        self.exchanges.insert(ticket, pending);
        body
    }

    /// Ends an exchange with its reply. Returns the body that the client gets, and whether it is
    /// whole.
    pub fn reply(&mut self, ticket: Ticket, reply: Reply) -> (Vec<u8>, bool) {
        for key in &reply.forget {
            self.forget(key);
        }
        self.purges.extend(reply.purge);
        self.ahead.extend(reply.prefetch);
        let mut pending = self.exchanges.remove(&ticket).unwrap_or_default();
        let mut whole = true;
        if let Some(store) = reply.store {
            whole = self.store(ticket, store, &mut pending);
        }
        let (body, all) = self.body_of(reply.body, &mut pending);
        self.release_all(ticket, pending);
        (body, whole && all)
    }

    /// Ends an exchange whose client has gone.
    pub fn abandon(&mut self, ticket: Ticket) {
        let pending = self.exchanges.remove(&ticket).unwrap_or_default();
        self.release_all(ticket, pending);
    }

    fn release_all(&mut self, ticket: Ticket, pending: Pending) {
        for led in pending.looked.into_iter().chain(pending.claimed) {
            self.release(ticket, Some(led));
        }
    }

    fn pending(&mut self, ticket: Ticket) -> &mut Pending {
        self.exchanges.entry(ticket).or_default()
    }

    fn share(&mut self, ticket: Ticket, key: String, share: Share) -> Shared {
        let of_taker = |pending: &&Pending| pending.share.as_ref() == Some(&key);
        let under_way = self.exchanges.values().filter(of_taker).count();
        let counts = share.at_once.is_none_or(|most| under_way < most as usize);
        if !counts {
            return Shared::TooMany;
        }
        // Bodies are paid for by who sends them; here it is what tests say is owed.
        if let Some(allowance) = share.bytes {
            let arrival_us = self.arrivals.get(&paid_key(&key)).copied().unwrap_or_default();
            let retry_us = crate::limit::owed_us(arrival_us, self.now_ms * 1000, allowance);
            if retry_us > 0 {
                return Shared::Owed { retry_us };
            }
        }
        self.pending(ticket).share = Some(key);
        Shared::Counts
    }

    fn take(&mut self, key: String, allowance: crate::step::Allowance) -> Taken {
        let arrival = self.arrivals.entry(key).or_default();
        let (kept, taken) = crate::limit::take(*arrival, self.now_ms * 1000, allowance);
        *arrival = kept;
        taken
    }

    fn encode(&mut self, ticket: Ticket, coding: Coding) -> bool {
        let pending = self.pending(ticket);
        let (Some((key, generation)), dictionary) =
            (pending.looked.clone(), pending.dictionary.clone())
        else {
            return false;
        };
        let Some(entry) = self.cache.get_mut(&key) else { return false };
        let Some(stored) = entry.stored.as_mut().filter(|_| entry.generation == generation) else {
            return false;
        };
        let Some(body) = &stored.body else { return false };
        let form = encoded(coding, body, dictionary.as_ref());
        let small = (form.len() as u64) < body.len() as u64 * 19 / 20;
        stored.forms.insert(coding, small.then_some(form));
        true
    }

    fn dictionary(&mut self, ticket: Ticket, scope: &str, sha256: [u8; 32]) -> Option<Vec<u8>> {
        let stored = self.cache.values().filter_map(|entry| entry.stored.as_ref());
        let mut there = stored.filter(|stored| !stored.is_purged(&self.purges, false));
        let (head, body) = there.find_map(|stored| {
            Some((stored.head.clone(), stored.dictionary(scope, &sha256)?.to_vec()))
        })?;
        self.pending(ticket).dictionary = Some((sha256, body));
        Some(head)
    }

    fn keep(&mut self, ticket: Ticket, key: String, head: &[u8], bytes: u64) -> Kept {
        let held: usize = self.kept.values().map(Vec::len).sum();
        let body = &mut self.exchanges.entry(ticket).or_default().request_body;
        if held + body.len() > self.kept_bytes_max {
            return Kept::Declined;
        }
        let body = std::mem::take(body);
        if body.len() as u64 != bytes {
            return Kept::Broken;
        }
        self.kept.insert(key, Packed::pack(head, &body));
        Kept::Durably
    }

    fn document(&mut self, url: &str, bytes_max: u64) -> Option<Vec<u8>> {
        let fetch = Fetch {
            upstream: Upstream::Origin,
            head: format!("GET {url} HTTP/1.1\r\n").into_bytes(),
            with_body: false,
            timeout_ms: 0,
        };
        let UpstreamAnswer { head, body } = (self.upstreams)(&fetch, &[]).ok()?;
        let length = body.len() as u64;
        let announced = FieldLines::new(&head.fields).get("content-length").map(str::parse);
        let is_whole = announced.is_none_or(|announced| announced == Ok(length));
        (head.status == 200 && is_whole && length <= bytes_max).then_some(body)
    }

    fn read_kept(&mut self, ticket: Ticket, key: &str) -> Option<KeptHead> {
        let Packed { head, body, .. } = Packed::unpack(self.kept.get(key)?)?;
        let found = KeptHead { head: head.to_vec(), bytes: body.len() as u64 };
        self.exchanges.entry(ticket).or_default().kept = body.to_vec();
        Some(found)
    }

    /// Hands over the group of this prefix. Whether nothing is left that begins with it. Nothing
    /// is handed over before somebody asks: when it is, tests say.
    pub fn hand_over(&mut self, prefix: &str) -> bool {
        let group = prefix.split_inclusive('/').next().unwrap_or_default();
        let keys: Vec<_> = self.kept.keys().filter(|key| key.starts_with(group)).cloned().collect();
        for key in keys {
            match self.hand_over_one(&key) {
                Handed::Done => drop(self.kept.remove(&key)),
                Handed::Refused => {}
                Handed::Later => break,
            }
        }
        !self.kept.keys().any(|key| key.starts_with(prefix))
    }

    fn hand_over_one(&mut self, key: &str) -> Handed {
        let moment = self.moment();
        let packed = self.kept.get(key).and_then(|value| Packed::unpack(value));
        let Some(Packed { head, sha256, body }) = packed else { return Handed::Refused };
        let Some(fetch) = (self.handing)(head, sha256, moment) else { return Handed::Refused };
        let answer = (self.upstreams)(&fetch, body).map(|answer| answer.head);
        handed_over(&answer)
    }

    fn lookup(&mut self, ticket: Ticket, key: String) -> Option<Outcome> {
        let (purges, purges_then) = (&self.purges, self.purges.len());
        let entry = self.cache.entry(key.clone()).or_default();
        entry.stored = entry.stored.take().filter(|stored| !stored.is_purged(purges, false));
        let generation = entry.generation;
        let vacant = entry.stored.is_none();
        let leads = vacant && entry.leader.is_none();
        if leads {
            entry.leader = Some(ticket);
        } else if vacant {
            entry.waiting.push_back(ticket);
        }
        let pending = self.pending(ticket);
        pending.looked = Some((key.clone(), generation));
        pending.purges_then = purges_then;
        if leads { Some(Outcome::Looked(Looked::Vacant)) } else { self.found(ticket, &key, false) }
    }

    fn claim(&mut self, ticket: Ticket, keys: Vec<String>) -> u64 {
        let mut claimed = 0;
        for key in keys {
            let entry = self.cache.entry(key.clone()).or_default();
            if entry.stored.is_some() || entry.leader.is_some() {
                break;
            }
            entry.leader = Some(ticket);
            let generation = entry.generation;
            self.pending(ticket).claimed.push((key, generation));
            claimed += 1;
        }
        claimed
    }

    /// What is stored at `key`, for this exchange.
    fn found(&mut self, ticket: Ticket, key: &str, collapsed: bool) -> Option<Outcome> {
        let now_ms = self.now_ms;
        let purges = &self.purges;
        let entry = self.cache.get_mut(key)?;
        let stored = entry.stored.as_mut()?;
        stored.hits += 1;
        let purged = stored.is_purged(purges, true);
        let lead = (purged || stored.fresh_until_ms <= now_ms) && entry.leader.is_none();
        if lead {
            entry.leader = Some(ticket);
        }
        let (head, body, forms) = (stored.head.clone(), stored.body.clone(), stored.forms.clone());
        let told = forms.iter().map(|(coding, form)| Form {
            coding: *coding,
            bytes: form.as_ref().map(|form| form.len() as u64),
        });
        let (told, has_body) = (told.collect(), body.is_some());
        let found = Looked::Found { head, body: has_body, forms: told, purged, lead, collapsed };
        let pending = self.pending(ticket);
        (pending.stored_body, pending.forms) = (body, forms);
        Some(Outcome::Looked(found))
    }

    /// Stores what a reply says. Returns whether the body was whole.
    fn store(&mut self, ticket: Ticket, store: Store, pending: &mut Pending) -> bool {
        let Store { key, head, body, fresh_ms, tags, dictionary } = store;
        let began = pending.looked.as_ref().map(|(_, began)| *began);
        let keeps = body == StoreBody::Keep;
        let mut fits = true;
        let (body, whole) = match body {
            StoreBody::None => (None, true),
            StoreBody::Keep => (pending.stored_body.clone(), true),
            StoreBody::Slices { slice_bytes, bytes } => {
                let body = std::mem::take(&mut pending.upstream_body);
                let mut left = bytes;
                let mut slices = body.chunks(slice_bytes as usize);
                pending.stored_body = slices.next().map(<[u8]>::to_vec);
                let first = (key, began.unwrap_or(u64::MAX));
                let keys: Vec<_> = [first].into_iter().chain(pending.claimed.clone()).collect();
                for ((key, began), slice) in keys.into_iter().zip(body.chunks(slice_bytes as usize))
                {
                    let expected = left.min(slice_bytes);
                    left -= expected;
                    let stored = self.stored(&head, Some(slice.to_vec()), fresh_ms, &tags, pending);
                    let whole = slice.len() as u64 == expected;
                    self.enter(ticket, &key, stored, whole.then_some(began));
                }
                return body.len() as u64 == bytes;
            }
            StoreBody::Upstream(extent) => {
                let body = std::mem::take(&mut pending.upstream_body);
                let whole = match extent {
                    Extent::Exactly(bytes) => body.len() as u64 == bytes,
                    Extent::AtMost(_) => true,
                };
                fits = extent.holds(body.len() as u64);
                pending.stored_body = Some(body.clone());
                (Some(body), whole)
            }
        };
        let mut stored = self.stored(&head, body, fresh_ms, &tags, pending);
        stored.dictionary = dictionary;
        if keeps && let Some(kept) = self.cache.get(&key).and_then(|entry| entry.stored.as_ref()) {
            stored.forms = kept.forms.clone();
        }
        self.enter(ticket, &key, stored, began.filter(|_| fits));
        whole
    }

    fn stored(
        &self,
        head: &[u8],
        body: Option<Vec<u8>>,
        fresh_ms: u64,
        tags: &[String],
        pending: &Pending,
    ) -> StoredResponse {
        StoredResponse {
            head: head.to_vec(),
            body,
            forms: BTreeMap::new(),
            fresh_until_ms: self.now_ms + fresh_ms,
            tags: tags.to_vec(),
            dictionary: None,
            hits: 0,
            purges_then: pending.purges_then,
        }
    }

    /// Enters what is stored by an exchange that began with this generation of the key.
    fn enter(&mut self, ticket: Ticket, key: &str, stored: StoredResponse, began: Option<u64>) {
        let entry = self.cache.entry(key.to_owned()).or_default();
        if began != Some(entry.generation) || stored.is_purged(&self.purges, false) {
            return;
        }
        entry.stored = Some(stored);
        if entry.leader == Some(ticket) {
            entry.leader = None;
        }
        let waiting: Vec<_> = entry.waiting.drain(..).collect();
        for waiter in waiting {
            let outcome = self.found(waiter, key, true);
            self.pending(waiter).outcome = outcome;
        }
    }

    /// The body that a client gets, and whether it is whole.
    fn body_of(&mut self, body: Body, pending: &mut Pending) -> (Vec<u8>, bool) {
        let (parts, coding) = match body {
            Body::Composed(parts) => (parts, None),
            Body::ComposedEncoding(coding, parts) => (parts, Some(coding)),
            body => return (simple_body(body, pending), true),
        };
        let (mut all, mut whole) = (Vec::new(), true);
        for part in parts {
            match part {
                Part::Bytes(bytes) => all.extend(bytes),
                Part::Stored(range) => all.extend(simple_body(Body::Stored(Some(range)), pending)),
                Part::Sliced(part) | Part::Included(part) => {
                    let (continued, is_whole) = self.continued(part);
                    whole &= is_whole;
                    all.extend(continued);
                }
            }
            if !whole {
                break;
            }
        }
        (coding.map_or_else(|| all.clone(), |coding| encoded(coding, &all, None)), whole)
    }

    /// What a body goes on with, and whether that is all of it.
    fn continued(&mut self, part: Vec<u8>) -> (Vec<u8>, bool) {
        let (mut all, mut next) = (Vec::new(), Some(part));
        while let Some(part) = next {
            let Some(mut edge) = self.edge.take() else { return (all, false) };
            let begun = edge.next_part(&part, self.moment());
            self.edge = Some(edge);
            let Some(PartStep { step, rest, instead }) = begun else { break };
            let ticket = self.open();
            let Some(reply) = self.decide(ticket, step) else { return (all, false) };
            let is_sent = reply.status == 200;
            let (body, is_whole) = self.reply(ticket, reply);
            next = if is_sent { rest } else { instead };
            if is_sent {
                all.extend(body);
            }
            if is_sent && !is_whole || !is_sent && next.is_none() {
                return (all, false);
            }
        }
        (all, true)
    }

    /// Takes an exchange to its reply. `None` where it waits for another.
    fn decide(&mut self, ticket: Ticket, mut step: Step) -> Option<Reply> {
        loop {
            let (exchange, needs) = match step {
                Step::Reply(reply) => return Some(reply),
                Step::ReplyFirst(reply, ..) => return Some(*reply),
                Step::Needs(exchange, needs) => (exchange, needs),
            };
            let mut outcomes = Vec::with_capacity(needs.len());
            for need in needs {
                self.ask(ticket, need);
                outcomes.push(self.outcome(ticket)?);
            }
            let moment = self.moment();
            step = self.edge.as_mut()?.resume(exchange, outcomes, moment);
        }
    }

    /// Fetches what replies have named to be fetched ahead.
    pub fn prefetch(&mut self) {
        for part in std::mem::take(&mut self.ahead) {
            self.continued(part);
        }
    }

    fn popular(&self, most: u64) -> Vec<Popular> {
        let stored =
            self.cache.iter().filter_map(|(key, entry)| Some((key, entry.stored.as_ref()?)));
        let mut stored: Vec<_> = stored.filter(|(_, stored)| stored.hits > 0).collect();
        stored.sort_by_key(|(key, stored)| (std::cmp::Reverse(stored.hits), *key));
        let popular = |(key, stored): (&String, &StoredResponse)| Popular {
            key: key.clone(),
            head: stored.head.clone(),
        };
        stored.into_iter().take(most as usize).map(popular).collect()
    }

    fn forget(&mut self, key: &str) {
        let entry = self.cache.entry(key.to_owned()).or_default();
        entry.stored = None;
        entry.generation += 1;
    }

    /// An exchange is over: whoever waits for it goes on without.
    fn release(&mut self, ticket: Ticket, looked: Option<(String, u64)>) {
        let Some((key, _)) = looked else { return };
        let Some(entry) = self.cache.get_mut(&key) else { return };
        entry.waiting.retain(|waiter| *waiter != ticket);
        if entry.leader != Some(ticket) {
            return;
        }
        entry.leader = None;
        let Some(next) = entry.waiting.pop_front() else { return };
        entry.leader = Some(next);
        let generation = entry.generation;
        let pending = self.pending(next);
        pending.looked = Some((key, generation));
        pending.outcome = Some(Outcome::Looked(Looked::Vacant));
    }
}

fn simple_body(body: Body, pending: &mut Pending) -> Vec<u8> {
    match body {
        Body::Empty | Body::Composed(_) | Body::ComposedEncoding(..) => Vec::new(),
        Body::Bytes(bytes) => bytes,
        Body::Stored(range) => cut(pending.stored_body.clone().unwrap_or_default(), range),
        Body::Coded(coding) => pending.forms.get(&coding).cloned().flatten().unwrap_or_default(),
        Body::Encoding(coding) => {
            let body = pending.stored_body.as_deref().unwrap_or_default();
            encoded(coding, body, pending.dictionary.as_ref())
        }
        Body::Value => std::mem::take(&mut pending.value),
        Body::Upstream => std::mem::take(&mut pending.upstream_body),
        Body::Kept(range) => cut(std::mem::take(&mut pending.kept), range),
    }
}

/// A coding of this driver's own: its name, how many bytes are as in the dictionary, and of the
/// others every byte of a run once with the run's length.
fn encoded(coding: Coding, body: &[u8], dictionary: Option<&([u8; 32], Vec<u8>)>) -> Vec<u8> {
    if let Some(sha256) = coding.dictionary() {
        let held = dictionary.filter(|(digest, _)| *digest == sha256);
        let dictionary = held.map(|(_, dictionary)| dictionary.as_slice()).unwrap_or_default();
        let alike = body.iter().zip(dictionary).take_while(|(one, other)| one == other).count();
        let rest = encoded(Coding::Gzip, body.get(alike..).unwrap_or_default(), None);
        return [format!("dcz {alike} ").into_bytes(), rest].concat();
    }
    let runs = body.chunk_by(|one, next| one == next).flat_map(|run| run.chunks(127));
    let runs = runs.flat_map(|run| [run.first().copied().unwrap_or_default(), run.len() as u8]);
    coding.name().bytes().chain(runs).collect()
}

fn cut(body: Vec<u8>, range: Option<ByteRange>) -> Vec<u8> {
    let Some(ByteRange { first, last }) = range else { return body };
    body.get(first as usize..=last as usize).unwrap_or_default().to_vec()
}

fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<()> {
    use p256::ecdsa::signature::Verifier as _;
    match key {
        PublicKey::Ed25519(key) => {
            let signature = ed25519_compact::Signature::from_slice(signature).ok()?;
            ed25519_compact::PublicKey::new(*key).verify(message, &signature).ok()
        }
        PublicKey::P256 { x, y } => {
            let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed(x, y)).ok()?;
            key.verify(message, &signature).ok()
        }
        PublicKey::Rsa(modulus) => {
            use rsa::signature::Verifier as _;
            let number = rsa::BigUint::from_bytes_be;
            let key = rsa::RsaPublicKey::new(number(modulus), number(&RSA_EXPONENT)).ok()?;
            let signature = rsa::pkcs1v15::Signature::try_from(signature).ok()?;
            let key = rsa::pkcs1v15::VerifyingKey::<rsa::sha2::Sha256>::new(key);
            key.verify(message, &signature).ok()
        }
    }
}

/// Where it is kept what a taker owes for bodies.
fn paid_key(taker: &str) -> String {
    format!("bytes {taker}")
}

/// Numbers that look drawn, and are the same each time (SplitMix64).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use outport_wire::rules::{Rules, TenantRules};
    use outport_wire::secret::{Key, Secret};

    use super::*;
    use crate::config::{Asset, Config, READ_LIMIT, Sessions, WRITE_LIMIT};
    use crate::conformance::{self, Subject};
    use crate::firewall::Firewall;
    use crate::platform::WASMTIME;
    use crate::step::{Abilities, Allowance};

    /// A configuration with a page and roomy limits.
    pub(crate) fn config() -> Config {
        let secret = Secret::new(vec![7; 32]).unwrap();
        let roomy = Allowance { interval_us: 1_000, burst: 1_000 };
        let asset = |name: &str, immutable| Asset {
            content_type: "text/html; charset=utf-8".into(),
            etag: "\"v1\"".into(),
            immutable,
            key: name.to_owned(),
            codings: vec![("br".into(), format!("{name}.br"))],
        };
        Config {
            issuers: Vec::new(),
            issuer_secrets: BTreeMap::new(),
            link_keys: vec![secret.clone()],
            session_keys: Vec::new(),
            sessions: Sessions::default(),
            revoked_within_s: 0,
            related_within_s: 15,
            step_up_s: 0,
            edge_key: Key { id: "k1".into(), secret },
            operators: Vec::new(),
            guest: None,
            routes: Vec::new(),
            limits: BTreeMap::from([(READ_LIMIT.into(), roomy), (WRITE_LIMIT.into(), roomy)]),
            shares: BTreeMap::new(),
            budgets: BTreeMap::new(),
            assets: BTreeMap::from([
                ("index.html".into(), asset("index.html", false)),
                ("assets/app.js".into(), asset("assets/app.js", true)),
            ]),
            cors_origins: vec!["*".into()],
            public_base_url: None,
            content_base_url: None,
            trusted_proxies: Vec::new(),
            country_field: None,
            firewall: Firewall::default(),
            uploads: Rules::same(TenantRules::sized(1 << 40).for_edge()),
            stored_bytes_max: 1 << 20,
            slice_bytes: 1 << 10,
            small_upload_bytes_max: 0,
            region: 0,
            request_bytes_max: None,
            upstream_timeout_ms: 1_000,
        }
    }

    struct InMemory {
        driver: MemoryDriver,
    }

    impl Subject for InMemory {
        type Ticket = Ticket;

        const ABILITIES: Abilities = WASMTIME.abilities;

        async fn new(answers: Vec<conformance::ScriptedAnswer>) -> Self {
            let mut answers = answers.into_iter();
            let upstreams: Upstreams = Box::new(move |_, _| match answers.next() {
                Some(conformance::ScriptedAnswer::Answer(answer)) => Ok(answer),
                Some(conformance::ScriptedAnswer::Silence) => Err(FetchError::Timeout),
                None => Err(FetchError::Unreachable),
            });
            let mut driver = MemoryDriver::new(1_800_000_000_000, upstreams);
            driver.hand_over_by(Box::new(|head, _, _| Some(conformance::handover(head))));
            Self { driver }
        }

        fn open(&mut self) -> Ticket {
            self.driver.open()
        }

        fn open_sending(&mut self, body: Vec<u8>) -> Ticket {
            self.driver.open_sending(body)
        }

        async fn ask(&mut self, ticket: Ticket, need: Need) {
            self.driver.ask(ticket, need);
        }

        async fn outcome(&mut self, ticket: Ticket) -> Option<Outcome> {
            self.driver.outcome(ticket)
        }

        async fn reply_first(&mut self, ticket: Ticket, reply: Reply) -> (Vec<u8>, bool) {
            (self.driver.reply_first(ticket, reply), true)
        }

        async fn reply(&mut self, ticket: Ticket, reply: Reply) -> (Vec<u8>, bool) {
            self.driver.reply(ticket, reply)
        }

        async fn abandon(&mut self, ticket: Ticket) {
            self.driver.abandon(ticket);
        }

        async fn put_value(&mut self, key: &str, value: &[u8]) {
            self.driver.put_value(key, value);
        }

        async fn wait(&mut self, ms: u64) {
            self.driver.advance(ms);
        }
    }

    crate::conformance_tests!(InMemory);
}

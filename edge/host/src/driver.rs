//! The way of a request through the node: its head into the component, its needs met, its reply
//! sent. No policy: what to do is always the component's to say.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use outport_edge_core::driver::{STEPS_MAX, broken};
use outport_edge_core::kept::Packed;
use outport_edge_core::limit::take_each;
use outport_edge_core::step::{
    self, Body, ByteRange, Content, Ended, Extent, Fetch, Kept as Keeping, KeptHead, Looked,
    Matched, Moment, Need, Outcome, Reply, Shared, Store, StoreBody,
};
use outport_interim::Interim;

use crate::body::{Cut, EdgeBody, RequestBody};
use crate::cache::{Cache, Entry, Found, Holding, NewBody};
use crate::composed::{self, Continuing};
use crate::convert::{NOWHERE, PartStep, Pending, Step};
use crate::documents::Documents;
use crate::encoder::Dictionary;
use crate::head;
use crate::instances::Instances;
use crate::instances::bindings::outport::edge::types as wit;
use crate::kept::{Kept, KeptError};
use crate::kept_handover::Handover;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::overload::{Overload, Refused};
use crate::pace::Paced;
use crate::prefetcher::Queue;
use crate::shares::{Paid, Share, Shares};
use crate::signature;
use crate::stored_body::{Pushed, StoredBody};
use crate::upstream::Upstreams;
use crate::values::Values;

/// How much of a body that nobody wants is read all the same, in bytes, and for how long. Closing
/// at once would reset the connection, and the client might never read the answer (RFC 9112,
/// section 9.6).
const DISCARDED_BYTES_MAX: u64 = 16 << 20;
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// How long who is refused for want of time waits for the answer. A connection brings one request
/// after the other, so whoever floods the node by it can't be refused faster than that.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

/// How long a body may stand still that is read whole before anything is done with it.
const BODY_IDLE_MAX: Duration = Duration::from_secs(60);

/// What a node meets needs with.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) instances: Arc<Instances>,
    pub(crate) needs: Arc<Needs>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ahead: Queue,
    pub(crate) overload: Arc<Overload>,
}

/// The parts that needs are met with.
pub(crate) struct Needs {
    pub(crate) cache: Arc<Cache>,
    pub(crate) values: Values,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) documents: Documents,
    pub(crate) kept: Kept,
    pub(crate) handover: Handover,
    pub(crate) fetches: Fetches,
}

/// Counts the answers of upstreams that are waited for.
#[derive(Default)]
pub(crate) struct Fetches(AtomicUsize);

impl Fetches {
    /// How many are waited for.
    pub(crate) fn under_way(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more is waited for, until this is dropped.
    fn begin(&self) -> Fetching<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Fetching(&self.0)
    }
}

struct Fetching<'a>(&'a AtomicUsize);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The connection is encrypted.
    pub(crate) secure: bool,
}

/// What an exchange has come to: its reply, and what goes on behind the client's back.
struct Decided {
    reply: Reply,
    after: Option<Pending>,
}

impl Driver {
    /// Answers a request.
    pub(crate) async fn serve(&self, request: Request<Incoming>, peer: Peer) -> Response<EdgeBody> {
        let head = head::to_core(&request);
        let taken = match self.overload.take(&head, peer.address).await {
            Ok(taken) => taken,
            Err(refused) => {
                // What its connection brings meanwhile waits where it costs nothing.
                tokio::time::sleep(REFUSED_AFTER).await;
                return self.refuse(request, &head, &refused);
            }
        };
        if taken.gives_way {
            tokio::task::yield_now().await;
        }
        // Who waits to be told to send (RFC 9110, section 10.1.1) has sent nothing to discard.
        let waits = request.headers().contains_key(header::EXPECT);
        let interim = request.extensions().get::<Interim>().cloned();
        let body = RequestBody::Coming(Paced::new(request.into_body()));
        let mut exchange = Exchange::new(self.needs.clone(), Some(body));
        exchange.interim = interim.unwrap_or_else(Interim::none);
        let decided = self.decide(head, peer, &mut exchange).await;
        let Decided { mut reply, after } = decided.unwrap_or_else(|fault| {
            tracing::error!("a request could not be decided: {fault}");
            Decided { reply: broken(), after: None }
        });
        taken.answered(&reply);
        self.metrics.request_ended(reply.ended);
        self.tell(&reply.matched);
        self.ahead.add(std::mem::take(&mut reply.prefetch), &self.metrics);
        if let Some(unread) = exchange.request_body.take().filter(|_| !waits) {
            discard_unread(unread);
        }
        let response = match self.continuing(&reply).await {
            Ok(continuing) => exchange.respond(reply, continuing).await,
            Err(reply) => exchange.respond(*reply, None).await,
        };
        if let Some(after) = after {
            tokio::spawn(self.clone().end(after, exchange));
        }
        response
    }

    /// Refuses a request for which there is no time; the component is not asked.
    fn refuse(
        &self,
        request: Request<Incoming>,
        head: &[u8],
        refused: &Refused,
    ) -> Response<EdgeBody> {
        let waits = request.headers().contains_key(header::EXPECT);
        if !waits {
            discard_unread(request.into_body());
        }
        let reply = self.overload.refusal(refused, head, moment());
        let body = if let Body::Bytes(bytes) = reply.body { bytes } else { Vec::new() };
        response(reply.status, &reply.fields, EdgeBody::full(body.into()))
    }

    /// Takes an exchange to its end whose client has its answer.
    async fn end(self, pending: Pending, mut exchange: Exchange) {
        match self.go_on(Step::Needs(pending), &mut exchange).await {
            Ok(decided) => drop(exchange.respond(decided.reply.unsent(), None).await),
            Err(fault) => tracing::error!("a request could not be brought to its end: {fault}"),
        }
    }

    /// Counts and logs the rules that a request matched.
    fn tell(&self, matched: &Matched) {
        self.metrics.rules_matched(matched);
        if let Some(note) = &matched.note {
            tracing::info!("firewall: {note}");
        }
    }

    /// What the body of a reply goes on with; where that begins with a slice, once it is there.
    async fn continuing(&self, reply: &Reply) -> Result<Option<Continuing>, Box<Reply>> {
        match &reply.body {
            Body::Composed(parts) | Body::ComposedEncoding(_, parts) => {
                Continuing::begin(self, parts).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The body of the next exchange of a part, and what comes behind it; nothing where nothing more
    /// comes. The error is what came in its place. `count` is told where the exchange ended.
    pub(crate) async fn next_part(
        &self,
        mut part: Vec<u8>,
        count: fn(&Metrics, Ended),
    ) -> Result<Option<(EdgeBody, Option<Vec<u8>>)>, Box<Reply>> {
        let broken = |fault: String| {
            tracing::error!("a part of a body could not be decided: {fault}");
            Box::new(broken())
        };
        loop {
            let next = self.instances.next_part(&part, moment());
            let next = next.map_err(|error| broken(error.to_string()))?;
            let Some(PartStep { step, rest, instead }) = next else { return Ok(None) };
            let mut exchange = Exchange::new(self.needs.clone(), None);
            let Decided { reply, after } = self.go_on(step, &mut exchange).await.map_err(broken)?;
            count(&self.metrics, reply.ended);
            self.tell(&reply.matched);
            if reply.status == 200 {
                let body = exchange.respond(reply, Some(Continuing::new(self))).await.into_body();
                if let Some(after) = after {
                    tokio::spawn(self.clone().end(after, exchange));
                }
                return Ok(Some((body, rest)));
            }
            // Those who wait for the same are told.
            drop(exchange.respond(reply.clone().unsent(), None).await);
            match instead {
                Some(instead) => part = instead,
                None => return Err(Box::new(Reply { store: None, ..reply })),
            }
        }
    }

    /// The bodies of these parts, if each can be had whole. Boxed, since what is gathered may gather.
    fn gather(&self, parts: Vec<Vec<u8>>, bytes_max: u64) -> BoxFuture<'_, Option<Vec<Vec<u8>>>> {
        let whole = move |part| async move {
            let (mut all, mut next) = (Vec::new(), Some(part));
            while let Some(part) = next {
                let part = self.next_part(part, Metrics::fragment_ended).await.ok()?;
                let Some((body, rest)) = part else { break };
                all.extend(read_at_most(body, bytes_max).await?);
                next = rest;
            }
            Some(all)
        };
        let all = join_all(parts.into_iter().map(whole));
        Box::pin(async move {
            let gathered: Vec<_> = all.await.into_iter().collect::<Option<_>>()?;
            let bytes: u64 = gathered.iter().map(|body| body.len() as u64).sum();
            (bytes <= bytes_max).then_some(gathered)
        })
    }

    async fn decide(
        &self,
        head: Vec<u8>,
        peer: Peer,
        exchange: &mut Exchange,
    ) -> Result<Decided, String> {
        let Peer { address, secure } = peer;
        let peer = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let connection = wit::Connection { peer, secure, country: NOWHERE };
        let request = wit::Request { head, connection };
        let step = self.instances.begin(&request, moment()).map_err(|error| error.to_string())?;
        drop(request);
        self.go_on(step, exchange).await
    }

    async fn go_on(&self, mut step: Step, exchange: &mut Exchange) -> Result<Decided, String> {
        for _ in 0..STEPS_MAX {
            let Pending { exchange: state, needs } = match step {
                Step::Reply(reply) => return Ok(Decided { reply, after: None }),
                Step::ReplyFirst(reply, after) => return Ok(Decided { reply, after: Some(after) }),
                Step::Needs(pending) => pending,
            };
            let mut outcomes = Vec::with_capacity(needs.len());
            for need in needs {
                outcomes.push(match need {
                    Need::Gather { parts, bytes_max } => {
                        Outcome::Gathered(self.gather(parts, bytes_max).await)
                    }
                    need => exchange.fulfil(need).await,
                });
            }
            step = self
                .instances
                .resume(&state, outcomes, moment())
                .map_err(|error| error.to_string())?;
        }
        Err(format!("it has more than {STEPS_MAX} steps"))
    }
}

/// What the driver holds for an exchange.
pub(crate) struct Exchange {
    needs: Arc<Needs>,
    request_body: Option<RequestBody>,
    /// As which it counts among its taker's.
    share: Option<Arc<Share>>,
    /// Sends the client what comes before the final answer.
    interim: Interim,
    looked: Option<Holding>,
    /// What it leads beside that.
    claimed: Vec<Holding>,
    dictionary: Option<Dictionary>,
    value: Option<Bytes>,
    kept: Option<Bytes>,
    upstream_body: Option<EdgeBody>,
}

impl Exchange {
    pub(crate) fn new(needs: Arc<Needs>, request_body: Option<RequestBody>) -> Self {
        let interim = Interim::none();
        Self {
            needs,
            request_body,
            share: None,
            interim,
            looked: None,
            claimed: Vec::new(),
            dictionary: None,
            value: None,
            kept: None,
            upstream_body: None,
        }
    }

    /// Meets a need that this exchange can meet by itself.
    pub(crate) async fn fulfil(&mut self, need: Need) -> Outcome {
        match need {
            Need::Lookup { key } => Outcome::Looked(self.look(key).await),
            Need::Claim { keys } => {
                self.claimed = self.needs.cache.claim(keys);
                Outcome::Claimed(self.claimed.len() as u64)
            }
            Need::Put { head, fresh_ms, .. } => {
                if let Some(holding) = &self.looked {
                    let fresh = Duration::from_millis(fresh_ms);
                    holding.store(head, NewBody::None, fresh, Vec::new(), None);
                }
                Outcome::Put
            }
            Need::Content { of, bytes_max } => {
                Outcome::Content(self.read_content(of, bytes_max).await)
            }
            Need::Popular { most } => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let cache = self.needs.cache.clone();
                let popular = tokio::task::spawn_blocking(move || cache.popular(most)).await;
                Outcome::Popular(popular.unwrap_or_default())
            }
            // The driver's, which can begin other exchanges.
            Need::Gather { .. } => Outcome::Gathered(None),
            Need::Document { url, bytes_max, timeout_ms } => {
                let patience = Duration::from_millis(timeout_ms);
                Outcome::Document(self.needs.documents.get(&url, bytes_max, patience).await)
            }
            Need::Body { bytes_max } => {
                let body = self.request_body.take().unwrap_or(RequestBody::Here(None));
                Outcome::Body(read_at_most(body, bytes_max).await)
            }
            Need::Encode { coding } => {
                let holding = self.looked.as_ref();
                Outcome::Encoded(match holding {
                    Some(holding) => holding.encode(coding, self.dictionary.clone()).await,
                    None => false,
                })
            }
            Need::Dictionary { scope, sha256 } => {
                let found = self.needs.cache.dictionary(&scope, sha256).unzip();
                self.dictionary = found.1;
                Outcome::Dictionary(found.0.map(|head| head.to_vec()))
            }
            Need::Value { key } => {
                let read = self.needs.values.get(key).await;
                self.value = read.unwrap_or_else(|error| {
                    tracing::error!("{error}");
                    None
                });
                Outcome::Value(self.value.as_ref().map(|value| value.len() as u64))
            }
            Need::Share { key, share } => Outcome::Shared(self.share(&key, share)),
            Need::Take { key, allowance, wider } => {
                let take = |key: &str, allowance| self.needs.limiter.take(key, allowance);
                Outcome::Taken(take_each(&key, allowance, &wider, take))
            }
            Need::Verify { key, message, signature } => {
                Outcome::Verified(signature::is_signed(&key, &message, &signature))
            }
            Need::Fetch(fetch) => self.fetch(fetch).await,
            Need::Keep { key, head, bytes } => Outcome::Kept(self.keep(key, &head, bytes).await),
            Need::ReadKept { key } => Outcome::ReadKept(self.read_kept(&key).await),
            Need::HandOver { prefix, timeout_ms } => {
                let patience = Duration::from_millis(timeout_ms);
                Outcome::HandedOver(self.needs.handover.now(&prefix, patience).await)
            }
        }
    }

    fn share(&mut self, key: &str, share: step::Share) -> Shared {
        let paid = share.bytes.map(|allowance| Paid::new(&self.needs.limiter, key, allowance));
        if let Some(retry_us) = paid.as_ref().and_then(Paid::owed_us) {
            return Shared::Owed { retry_us };
        }
        let Some(share) = self.needs.shares.take(key, share, paid) else { return Shared::TooMany };
        let share = Arc::new(share);
        let body = self.request_body.take();
        self.request_body = body.map(|body| body.shared(share.clone()));
        self.share = Some(share);
        Shared::Counts
    }

    async fn read_content(&mut self, of: Content, bytes_max: u64) -> Option<Vec<u8>> {
        match of {
            Content::Stored => {
                let body = self.looked.as_ref()?.found()?.entry.body()?.read(None);
                read_at_most(body, bytes_max).await
            }
            Content::Upstream => {
                let content = read_at_most(self.upstream_body.take()?, bytes_max).await?;
                self.upstream_body = Some(EdgeBody::full(content.clone().into()));
                Some(content)
            }
        }
    }

    async fn keep(&mut self, key: String, head: &[u8], bytes: u64) -> Keeping {
        let Some(room) = self.needs.kept.room(bytes) else { return Keeping::Declined };
        let Some(body) = read_whole(self.request_body.take(), bytes).await else {
            return Keeping::Broken;
        };
        let value = Packed::pack(head, &body);
        let needs = self.needs.clone();
        // In a task of its own: what is durable is handed over, whether or not the client is still
        // there.
        let keeping = tokio::spawn(async move {
            needs.kept.keep(room, key.clone(), value).await?;
            needs.handover.begin(&key);
            Ok::<_, KeptError>(())
        });
        if let Ok(Ok(())) = keeping.await {
            return Keeping::Durably;
        }
        self.request_body = Some(RequestBody::Here(Some(body)));
        Keeping::Declined
    }

    async fn read_kept(&mut self, key: &str) -> Option<KeptHead> {
        let read = self.needs.kept.read(key).await;
        let value = read.unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        })?;
        let Packed { head, body, .. } = Packed::unpack(&value)?;
        self.kept = Some(value.slice_ref(body));
        Some(KeptHead { head: head.to_vec(), bytes: body.len() as u64 })
    }

    async fn look(&mut self, key: String) -> Looked {
        // What was held before is given up first: who waits holds nothing that others wait for.
        self.looked = None;
        looked(self.looked.insert(self.needs.cache.look(key).await))
    }

    async fn fetch(&mut self, fetch: Fetch) -> Outcome {
        let body = if fetch.with_body { self.request_body.take() } else { None };
        let waiting = self.needs.fetches.begin();
        let answer = self.needs.upstreams.fetch(&fetch, body, &self.interim).await;
        drop(waiting);
        Outcome::Fetched(answer.map(|(head, body)| {
            self.upstream_body = Some(EdgeBody::Upstream(body));
            head
        }))
    }

    /// Carries a reply out. `continuing` is what its body goes on with.
    pub(crate) async fn respond(
        &mut self,
        reply: Reply,
        continuing: Option<Continuing>,
    ) -> Response<EdgeBody> {
        self.needs.cache.remove(&reply.forget, reply.purge).await;
        let held = self.looked.as_ref().and_then(Holding::found).map(|found| found.entry.clone());
        let mut stored = held.as_ref().and_then(|entry| entry.body().cloned());
        let filling = reply.store.and_then(|store| self.store(store));
        if let Some((body, _)) = &filling {
            stored = Some(body.clone());
        }
        let body = match reply.body {
            Body::Empty => EdgeBody::empty(),
            Body::Bytes(bytes) => EdgeBody::full(bytes.into()),
            Body::Stored(range) => stored.map_or(EdgeBody::empty(), |stored| stored.read(range)),
            Body::Coded(coding) => {
                let form = held.and_then(|entry| entry.form(coding));
                form.map_or(EdgeBody::empty(), EdgeBody::full)
            }
            Body::Encoding(coding) => {
                let body = stored.map_or(EdgeBody::empty(), |stored| stored.read(None));
                body.encoded(coding, self.dictionary.as_ref())
            }
            Body::Value => self.value.take().map_or(EdgeBody::empty(), EdgeBody::full),
            Body::Kept(range) => self.kept.take().map_or(EdgeBody::empty(), |kept| {
                EdgeBody::full(range.map_or(kept.clone(), |range| part(&kept, range)))
            }),
            Body::Composed(parts) => composed::body(parts, stored, continuing),
            Body::ComposedEncoding(coding, parts) => {
                composed::body(parts, stored, continuing).encoded(coding, None)
            }
            Body::Upstream => self.upstream_body.take().unwrap_or(EdgeBody::empty()),
        };
        let body = match self.share.take() {
            Some(share) => body.shared(share),
            None => body,
        };
        if let Some((_, filling)) = filling {
            // After the body: what only passes is for who reads it already.
            tokio::spawn(filling);
        }
        response(reply.status, &reply.fields, body)
    }

    /// Stores what the core says. Returns the body that arrives from now on, and what fills it.
    fn store(
        &mut self,
        store: Store,
    ) -> Option<(Arc<StoredBody>, impl Future<Output = ()> + Send + use<>)> {
        let holding = self.looked.as_ref()?;
        let fresh = Duration::from_millis(store.fresh_ms);
        let extents = match store.body {
            StoreBody::None => {
                holding.store(store.head, NewBody::None, fresh, store.tags, None);
                return None;
            }
            StoreBody::Keep => {
                let Store { head, tags, dictionary, .. } = store;
                holding.store(head, NewBody::Keep, fresh, tags, dictionary);
                return None;
            }
            StoreBody::Upstream(extent) => vec![extent],
            StoreBody::Slices { slice_bytes, bytes } => slices_of(slice_bytes, bytes),
        };
        let holdings = std::iter::once(holding).chain(&self.claimed);
        let fillings = extents.into_iter().zip(holdings).map(|(extent, holding)| {
            let body = StoredBody::new(extent);
            let new = NewBody::Arriving(body.clone());
            let Store { head, tags, dictionary, .. } = store.clone();
            let entry = holding.store(head, new, fresh, tags, dictionary);
            let (cache, key) = holding.place();
            Filling { body, cache, key, entry }
        });
        let fillings: VecDeque<_> = fillings.collect();
        let body = fillings.front()?.body.clone();
        let filling = fill(self.upstream_body.take()?, fillings);
        Some((body, filling))
    }
}

fn response(status: u16, fields: &[u8], body: EdgeBody) -> Response<EdgeBody> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    head::fields_from_core(fields, response.headers_mut());
    response
}

/// The slices of so many bytes.
fn slices_of(slice_bytes: u64, bytes: u64) -> Vec<Extent> {
    let slice_bytes = slice_bytes.max(1);
    let begins = (0..bytes.div_ceil(slice_bytes)).map(|place| place * slice_bytes);
    begins.map(|begin| Extent::Exactly(slice_bytes.min(bytes - begin))).collect()
}

/// A stored body that an upstream's is read into.
struct Filling {
    body: Arc<StoredBody>,
    cache: Arc<Cache>,
    key: String,
    entry: Option<Arc<Entry>>,
}

/// Reads an upstream's body to its end, whoever still wants it, into one stored body behind the
/// other; unless it is too long to be stored, and nobody does.
async fn fill(mut upstream: EdgeBody, mut fillings: VecDeque<Filling>) {
    while let Some(filling) = fillings.front() {
        let frame = match upstream.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return cut(fillings.iter()),
            None => match filling.end() {
                Ok(()) => return cut(fillings.iter().skip(1)),
                Err(Cut) => return cut(fillings.iter()),
            },
        };
        let Ok(mut chunk) = frame.into_data() else { continue };
        while !chunk.is_empty()
            && let Some(filling) = fillings.front()
        {
            let is_last = fillings.len() == 1;
            let room = if is_last { usize::MAX } else { filling.body.room_left() };
            let rest = chunk.split_off(room.min(chunk.len()));
            match filling.push(chunk).await {
                Ok(()) => {}
                Err(Cut) => return cut(fillings.iter()),
            }
            if !is_last && filling.body.room_left() == 0 {
                // All of it is there, or it would have more room.
                let _ = filling.end();
                fillings.pop_front();
            }
            chunk = rest;
        }
    }
}

/// What is missing of these will never come. Whoever sees that of one finds none of them.
fn cut<'a>(fillings: impl Iterator<Item = &'a Filling> + Clone) {
    fillings.clone().for_each(Filling::take_back);
    fillings.for_each(|filling| filling.body.cut());
}

impl Filling {
    async fn push(&self, chunk: Bytes) -> Result<(), Cut> {
        if self.body.push(chunk)? == Pushed::TooLong {
            if let Some(entry) = &self.entry {
                self.cache.take_back(&self.key, entry);
            }
            if !self.body.room().await {
                return Err(Cut);
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Cut> {
        self.body.end()?;
        if let Some(entry) = &self.entry {
            self.cache.filled(&self.key, entry);
        }
        Ok(())
    }

    /// Nobody finds it from now on.
    fn take_back(&self) {
        let Self { cache, key, entry, .. } = self;
        if entry.as_ref().is_some_and(|entry| cache.take_back(key, entry)) {
            tracing::warn!(key, "a body was cut while it was being stored");
        }
    }
}

/// Reads a body that has just so many bytes. `None` where it broke off, has others, or stands
/// still.
async fn read_whole(body: Option<RequestBody>, bytes: u64) -> Option<Bytes> {
    let read = read_at_most(body.unwrap_or(RequestBody::Here(None)), bytes).await?;
    (read.len() as u64 == bytes).then(|| read.into())
}

/// Reads a body that has no more bytes than these.
async fn read_at_most<B>(mut body: B, bytes_max: u64) -> Option<Vec<u8>>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let expected = body.size_hint().lower().min(bytes_max);
    let mut read = Vec::with_capacity(usize::try_from(expected).ok()?);
    while let Some(frame) = tokio::time::timeout(BODY_IDLE_MAX, body.frame()).await.ok()? {
        if let Ok(chunk) = frame.ok()?.into_data() {
            if (read.len() + chunk.len()) as u64 > bytes_max {
                return None;
            }
            read.extend_from_slice(&chunk);
        }
    }
    Some(read)
}

fn part(whole: &Bytes, range: ByteRange) -> Bytes {
    let ends = usize::try_from(range.first).ok().zip(usize::try_from(range.last).ok());
    let part = ends.and_then(|(first, last)| whole.get(first..=last));
    part.map_or(Bytes::new(), |part| whole.slice_ref(part))
}

/// Reads what nobody wants of a body, if there is any, while the answer is on its way.
fn discard_unread<B>(body: B)
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    if !body.is_end_stream() {
        tokio::spawn(tokio::time::timeout(DISCARD_MAX, discard(body)));
    }
}

/// Reads on while the answer is on its way.
pub(crate) async fn discard<B>(mut body: B)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut left = DISCARDED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, |chunk| chunk.len() as u64);
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// What the core is told of what was looked up.
pub(crate) fn looked(holding: &Holding) -> Looked {
    match holding.found() {
        None => Looked::Vacant,
        Some(Found { entry, purged, leads: lead }) => Looked::Found {
            head: entry.head().to_vec(),
            body: entry.body().is_some(),
            forms: entry.forms(),
            purged,
            lead,
            collapsed: holding.collapsed,
        },
    }
}

pub(crate) fn moment() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    Moment { unix_ms, random: rand::random() }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::future::Future;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use outport_edge_core::conformance::{self, ScriptedAnswer, Subject};
    use outport_edge_core::interim::Interims;
    use outport_edge_core::platform::WASMTIME;
    use outport_edge_core::step::Abilities;

    use super::*;
    use crate::disk::Disk;
    use crate::kept_handover::Scripted;
    use crate::tls::{Tls, TlsConfig};

    /// The native driver under the contracts of the needs, with or without a disk below its cache.
    struct Native<const ON_DISK: bool> {
        runtime: tokio::runtime::Runtime,
        needs: Arc<Needs>,
        exchanges: HashMap<u64, State>,
        opened: u64,
        upstream: String,
        _folder: tempfile::TempDir,
    }

    /// How often, and after which pauses, it is looked whether the disk has answered.
    const DISK_LOOKS: u32 = 250;
    const DISK_PAUSE: Duration = Duration::from_millis(4);

    #[allow(clippy::large_enum_variant)] // A test holds a handful of them.
    enum State {
        Idle(Exchange),
        Asked(Pin<Box<dyn Future<Output = (Exchange, Outcome)>>>),
    }

    impl<const ON_DISK: bool> Subject for Native<ON_DISK> {
        type Ticket = u64;

        const ABILITIES: Abilities = WASMTIME.abilities;

        async fn new(answers: Vec<ScriptedAnswer>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let upstream = upstream(answers);
            let tls = Tls::open(TlsConfig::default()).unwrap();
            let interims = Interims::default();
            let upstreams = Arc::new(Upstreams::new(upstream.clone(), Vec::new(), interims, &tls));
            let kept = Kept::open(&folder.path().join("kept")).unwrap();
            let _within = runtime.enter();
            let purges = Arc::default();
            let disk = ON_DISK.then(|| {
                let folder = folder.path().join("cache");
                Disk::open(&folder, 64 << 20, b"edition", Arc::clone(&purges)).unwrap()
            });
            let needs = Arc::new(Needs {
                cache: Cache::with_disk(8 << 20, 4 << 20, disk, purges),
                values: Values::open(&folder.path().join("values")).unwrap(),
                limiter: Arc::new(Limiter::new()),
                shares: Arc::default(),
                handover: Handover::start(kept.clone(), upstreams.clone(), Box::new(Scripted)),
                upstreams,
                documents: Documents::new(tls.others),
                kept,
                fetches: Fetches::default(),
            });
            drop(_within);
            let exchanges = HashMap::new();
            Self { runtime, needs, exchanges, opened: 0, upstream, _folder: folder }
        }

        fn upstream(&self) -> String {
            self.upstream.clone()
        }

        fn open(&mut self) -> u64 {
            self.open_sending(Vec::new())
        }

        fn open_sending(&mut self, body: Vec<u8>) -> u64 {
            self.opened += 1;
            let body = RequestBody::Here(Some(body.into()));
            let exchange = Exchange::new(self.needs.clone(), Some(body));
            self.exchanges.insert(self.opened, State::Idle(exchange));
            self.opened
        }

        async fn ask(&mut self, ticket: u64, need: Need) {
            let Some(State::Idle(mut exchange)) = self.exchanges.remove(&ticket) else {
                panic!("it is asked one thing at a time")
            };
            let looks = matches!(need, Need::Lookup { .. });
            let mut asked: Pin<Box<dyn Future<Output = _>>> = Box::pin(async move {
                let outcome = exchange.fulfil(need).await;
                (exchange, outcome)
            });
            let _within = self.runtime.enter();
            if !looks {
                let (exchange, outcome) = self.runtime.block_on(asked);
                asked = Box::pin(std::future::ready((exchange, outcome)));
            } else if let std::task::Poll::Ready(done) = poll(&mut asked) {
                asked = Box::pin(std::future::ready(done));
            }
            self.exchanges.insert(ticket, State::Asked(asked));
        }

        async fn outcome(&mut self, ticket: u64) -> Option<Outcome> {
            let Some(State::Asked(asked)) = self.exchanges.get_mut(&ticket) else {
                panic!("nothing was asked")
            };
            let _within = self.runtime.enter();
            let mut polled = poll(asked);
            // What is read from the disk is there in a moment.
            for _ in 0..if ON_DISK { DISK_LOOKS } else { 0 } {
                if polled.is_ready() {
                    break;
                }
                std::thread::sleep(DISK_PAUSE);
                polled = poll(asked);
            }
            let std::task::Poll::Ready((exchange, outcome)) = polled else { return None };
            self.exchanges.insert(ticket, State::Idle(exchange));
            Some(outcome)
        }

        async fn reply(&mut self, ticket: u64, reply: Reply) -> (Vec<u8>, bool) {
            let read = self.reply_first(ticket, reply).await;
            self.exchanges.remove(&ticket);
            read
        }

        async fn reply_first(&mut self, ticket: u64, reply: Reply) -> (Vec<u8>, bool) {
            let Some(State::Idle(exchange)) = self.exchanges.get_mut(&ticket) else {
                panic!("its outcome was not taken")
            };
            self.runtime.block_on(async {
                match exchange.respond(reply, None).await.into_body().collect().await {
                    Ok(body) => (body.to_bytes().to_vec(), true),
                    Err(_) => (Vec::new(), false),
                }
            })
        }

        async fn abandon(&mut self, ticket: u64) {
            self.exchanges.remove(&ticket);
        }

        async fn put_value(&mut self, key: &str, value: &[u8]) {
            self.needs.values.replace(key, &BTreeMap::from([(key.to_owned(), value)])).unwrap();
        }

        async fn wait(&mut self, ms: u64) {
            std::thread::sleep(Duration::from_millis(ms));
        }
    }

    /// Looks without a waker: the tests ask again after whatever may have changed the answer.
    fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> std::task::Poll<T> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// A server of HTTP/1.1 that gives these answers in turn and is then gone.
    fn upstream(answers: Vec<ScriptedAnswer>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        if answers.is_empty() {
            return address; // Nobody listens from here on.
        }
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap() == 0 {
                        break;
                    }
                    head.extend_from_slice(&byte);
                }
                match answer {
                    ScriptedAnswer::Silence => std::thread::sleep(Duration::from_secs(60)),
                    ScriptedAnswer::Answer(answer) => {
                        stream.write_all(&conformance::raw_answer(&answer)).unwrap();
                    }
                }
            }
        });
        address
    }

    outport_edge_core::conformance_tests!(Native<false>);

    mod on_a_disk {
        use super::Native;

        outport_edge_core::conformance_tests!(Native<true>);
    }
}

//! One exchange: its needs met, its reply carried out. No policy: what to do is the core's to say.

use std::io::Read as _;

use fastly::Body;
use fastly::kv_store::{KVStore, KVStoreError};
use outport_edge_core::driver::unmet;
use outport_edge_core::limit::take_each;
use outport_edge_core::step::{self, Looked, Need, Outcome, Reply, Store};

use crate::cache::{self, Asked, Place};
use crate::limit;
use crate::logged;
use crate::upstream::{self, Upstreams};

/// The parts of the platform that needs are met with.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) upstreams: Upstreams,
    pub(crate) values: Option<KVStore>,
}

/// What the driver holds for an exchange.
pub(crate) struct Exchange<'a> {
    parts: &'a Parts,
    request_body: Option<Body>,
    place: Option<Place>,
    value: Option<Body>,
    upstream_body: Option<Body>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(parts: &'a Parts, request_body: Option<Body>) -> Self {
        Self { parts, request_body, place: None, value: None, upstream_body: None }
    }

    /// Meets a need.
    pub(crate) fn fulfil(&mut self, need: Need) -> Outcome {
        match need {
            Need::Lookup { key } => {
                self.give_up();
                Outcome::Looked(self.look(Asked::new(key)))
            }
            Need::Put { key, head, fresh_ms } => {
                if let Some(place) = &mut self.place {
                    let store = Store::head(key, head, fresh_ms);
                    place.store(&store, &mut None);
                    place.settle();
                }
                Outcome::Put
            }
            Need::Body { bytes_max } => Outcome::Body(self.body_within(bytes_max)),
            Need::Document { url, bytes_max, timeout_ms } => {
                Outcome::Document(upstream::document(&url, bytes_max, timeout_ms))
            }
            Need::Value { key } => Outcome::Value(self.value(&key)),
            Need::Take { key, allowance, wider } => {
                Outcome::Taken(take_each(&key, allowance, &wider, limit::take))
            }
            Need::Fetch(fetch) => {
                let body = fetch.with_body.then(|| self.request_body.take()).flatten();
                let answer = upstream::fetch(&self.parts.upstreams, &fetch, body);
                Outcome::Fetched(answer.map(|(head, body)| {
                    self.upstream_body = Some(body);
                    head
                }))
            }
            // What the core never asks for, as the driver declares no ability for it.
            need => unmet(&need),
        }
    }

    /// Reads the request's body, if it has no more bytes than these.
    fn body_within(&mut self, bytes_max: u64) -> Option<Vec<u8>> {
        let mut read = Vec::new();
        let body = self.request_body.take()?;
        body.take(bytes_max + 1).read_to_end(&mut read).ok()?;
        (read.len() as u64 <= bytes_max).then_some(read)
    }

    /// Gives up what was looked up last, for who waits for it.
    pub(crate) fn give_up(&mut self) {
        if let Some(mut place) = self.place.take() {
            place.leave();
        }
    }

    /// Waits for a lookup's end.
    pub(crate) fn look(&mut self, asked: Asked) -> Looked {
        self.place.insert(asked.place()).looked()
    }

    /// Reads a value. Its bytes stay outside, unless the platform does not know how many.
    fn value(&mut self, key: &str) -> Option<u64> {
        let found = match self.parts.values.as_ref()?.lookup(key) {
            Err(KVStoreError::ItemNotFound) => return None,
            found => logged("a value could not be read", found),
        };
        let mut body = found?.take_body();
        if body.known_length().is_none() {
            body = body.into_bytes().into();
        }
        self.value.insert(body).known_length()
    }

    /// Carries a reply out. Returns the body for the client. One that can't be had is empty, which
    /// is less than the head announces: the client sees the connection end.
    pub(crate) fn respond(&mut self, reply: &mut Reply) -> Body {
        for key in &reply.forget {
            cache::forget(key);
        }
        reply.purge.iter().for_each(cache::purge);
        if let Some(place) = &mut self.place {
            match &reply.store {
                Some(store) => place.store(store, &mut self.upstream_body),
                None => place.leave(),
            }
        }
        self.body(reply)
    }

    /// The same for a reply with which the exchange does not end.
    pub(crate) fn respond_first(&mut self, reply: &mut Reply) -> Body {
        for key in &reply.forget {
            cache::forget(key);
        }
        self.body(reply)
    }

    fn body(&mut self, reply: &mut Reply) -> Body {
        let body = match std::mem::replace(&mut reply.body, step::Body::Empty) {
            step::Body::Empty
            | step::Body::Kept(_)
            | step::Body::Coded(_)
            | step::Body::Encoding(_)
            | step::Body::ComposedEncoding(..) => None,
            step::Body::Composed(parts) => self.composed(parts),
            step::Body::Bytes(bytes) => Some(bytes.into()),
            step::Body::Stored(range) => {
                let stored = self.place.as_ref().and_then(|place| place.read(range));
                // What could not be stored goes to the client all the same, if it wants all of it.
                stored.or_else(|| self.upstream_body.take().filter(|_| range.is_none()))
            }
            step::Body::Value => self.value.take(),
            step::Body::Upstream => self.upstream_body.take(),
        };
        body.unwrap_or_else(Body::new)
    }

    /// Parts, one behind the other.
    fn composed(&self, parts: Vec<step::Part>) -> Option<Body> {
        let mut body = Body::new();
        for part in parts {
            match part {
                step::Part::Bytes(bytes) => body.append(bytes.into()),
                step::Part::Stored(range) => {
                    body.append(self.place.as_ref()?.read(Some(range))?);
                }
                // Never asked: the driver declares no ability for either.
                step::Part::Sliced(_) | step::Part::Included(_) => return None,
            }
        }
        Some(body)
    }

    /// What is left to do when the response is on its way.
    pub(crate) fn settle(&mut self) {
        if let Some(place) = &mut self.place {
            place.settle();
        }
    }
}

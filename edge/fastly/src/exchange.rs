//! One exchange: its needs met, its reply carried out. No policy: what to do is the core's to say.

use fastly::Body;
use fastly::kv_store::{KVStore, KVStoreError};
use outport_edge_core::step::{self, Fetch, Looked, Need, Outcome, Reply};

use crate::cache::{self, Asked, Place};
use crate::limit;
use crate::upstream::Upstreams;

/// The parts of the platform that needs are met with.
pub(crate) struct Parts {
    pub(crate) upstreams: Upstreams,
    pub(crate) values: KVStore,
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
                let place = match Asked::new(key.clone()) {
                    Ok(asked) => asked.place(),
                    Err(error) => Place::alone(key, &error),
                };
                Outcome::Looked(self.look(place))
            }
            Need::Value { key } => Outcome::Value(self.value(&key)),
            Need::Take { key, allowance } => Outcome::Taken(limit::take(&key, allowance)),
            // The driver declares no signatures, so it is never asked. What it can't check is wrong.
            Need::Verify { .. } => Outcome::Verified(false),
            Need::Fetch(fetch) => self.fetch(&fetch),
        }
    }

    /// Takes a place that a lookup led to.
    pub(crate) fn look(&mut self, place: Place) -> Looked {
        self.place.insert(place).looked()
    }

    /// Reads a value. Its bytes stay outside, unless the platform does not know how many.
    fn value(&mut self, key: &str) -> Option<u64> {
        let mut body = match self.parts.values.lookup(key) {
            Ok(mut found) => found.take_body(),
            Err(KVStoreError::ItemNotFound) => return None,
            Err(error) => {
                eprintln!("outport: the value {key:?} could not be read: {error}");
                return None;
            }
        };
        let known = body.known_length();
        let length = known.unwrap_or_else(|| {
            let bytes = std::mem::replace(&mut body, Body::new()).into_bytes();
            let length = bytes.len() as u64;
            body = bytes.into();
            length
        });
        self.value = Some(body);
        Some(length)
    }

    fn fetch(&mut self, fetch: &Fetch) -> Outcome {
        let body = if fetch.with_body { self.request_body.take() } else { None };
        let answer = self.parts.upstreams.fetch(fetch, body);
        Outcome::Fetched(answer.map(|(head, body)| {
            self.upstream_body = Some(body);
            head
        }))
    }

    /// Carries a reply out. Returns the body for the client.
    pub(crate) fn respond(&mut self, reply: &mut Reply) -> Body {
        for key in &reply.forget {
            cache::forget(key, crate::random());
        }
        if let Some(place) = &mut self.place {
            match &reply.store {
                Some(store) => place.store(store, &mut self.upstream_body),
                None => place.leave(),
            }
        }
        match std::mem::replace(&mut reply.body, step::Body::Empty) {
            step::Body::Empty => Body::new(),
            step::Body::Bytes(bytes) => bytes.into(),
            step::Body::Stored(range) => self.stored(range),
            step::Body::Value => self.value.take().unwrap_or_else(Body::new),
            step::Body::Upstream => self.upstream_body.take().unwrap_or_else(Body::new),
        }
    }

    /// The stored body, or, where it could not be stored, the upstream's. Where there is neither,
    /// the body is shorter than its announced length, and the client sees it.
    fn stored(&mut self, range: Option<step::ByteRange>) -> Body {
        let stored = self.place.as_ref().and_then(|place| place.read(range));
        let upstream = self.upstream_body.take();
        match (stored, upstream, range) {
            (Some(stored), _, _) => stored,
            (None, None, _) => Body::new(),
            (None, Some(upstream), None) => upstream,
            (None, Some(upstream), Some(range)) => {
                cache::range_of(upstream, range, crate::random()).unwrap_or_else(|error| {
                    eprintln!("outport: a range could not be taken: {error}");
                    Body::new()
                })
            }
        }
    }

    /// What is left to do when the response is on its way.
    pub(crate) fn settle(&mut self) {
        if let Some(place) = &mut self.place {
            place.settle();
        }
    }
}

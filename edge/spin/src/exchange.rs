//! What the driver holds for an exchange, and how it meets its needs.

use std::rc::Rc;

use outport_edge_core::driver::{broken, unmet};
use outport_edge_core::limit::take_each;
use outport_edge_core::step::{
    Body as BodyPlan, ByteRange, Fetch, FetchError, Looked, Need, Outcome, Part, Reply,
    Store as ToStore, StoreBody,
};

use crate::body::{Body, Incoming};
use crate::cache::{self, Holding};
use crate::limiter;
use crate::node::Needs;
use crate::purges;
use crate::stored::{Arriving, Reader};
use crate::upstream;

/// An exchange. The default one has no needs.
#[derive(Default)]
pub(crate) struct Exchange {
    needs: Option<Rc<Needs>>,
    request_body: Option<Incoming>,
    looked: Option<Holding>,
    value: Option<Vec<u8>>,
    upstream_body: Option<Incoming>,
}

impl Exchange {
    pub(crate) fn new(needs: Rc<Needs>, request_body: Option<Incoming>) -> Self {
        Self { needs: Some(needs), request_body, ..Self::default() }
    }

    /// Meets a need.
    pub(crate) async fn fulfil(&mut self, need: Need) -> Outcome {
        let Some(needs) = self.needs.clone() else {
            return Outcome::Fetched(Err(FetchError::Unreachable));
        };
        match need {
            Need::Lookup { key } => Outcome::Looked(self.look(&needs, &key).await),
            Need::Put { key, head, fresh_ms } => {
                if let Some(holding) = &mut self.looked {
                    let (body, tags) = (StoreBody::None, Vec::new());
                    let store = ToStore { key, head, body, fresh_ms, tags, dictionary: None };
                    holding.put(store, None);
                }
                Outcome::Put
            }
            Need::Body { bytes_max } => Outcome::Body(match self.request_body.take() {
                Some(body) => body.whole(bytes_max).await,
                None => None,
            }),
            Need::Document { url, bytes_max, timeout_ms } => {
                Outcome::Document(upstream::document(&url, bytes_max, timeout_ms).await)
            }
            Need::Value { key } => {
                self.value = needs.store.get(&key).await;
                Outcome::Value(self.value.as_ref().map(|value| value.len() as u64))
            }
            Need::Take { key, allowance, wider } => {
                Outcome::Taken(take_each(&key, allowance, &wider, |key, allowance| {
                    limiter::take(&needs.store, key, allowance)
                }))
            }
            Need::Fetch(fetch) => self.fetch(&needs, fetch).await,
            // What the core never asks for, as the driver declares no ability for it.
            need => unmet(&need),
        }
    }

    async fn look(&mut self, needs: &Needs, key: &str) -> Looked {
        // What was held before is given up first, for who waits for it.
        self.looked = None;
        let holding = cache::look(needs.store.clone(), key).await;
        let looked = match &holding.entry {
            None => Looked::Vacant,
            Some(entry) => Looked::Found {
                head: entry.head.clone(),
                body: entry.body.is_some(),
                forms: Vec::new(),
                purged: holding.purged,
                lead: holding.leads(),
                collapsed: holding.collapsed,
            },
        };
        self.looked = Some(holding);
        looked
    }

    async fn fetch(&mut self, needs: &Needs, fetch: Fetch) -> Outcome {
        let body = if fetch.with_body { self.request_body.take() } else { None };
        let url = needs.deployment.url(fetch.upstream);
        let answer = upstream::fetch(url, &fetch, body).await;
        Outcome::Fetched(answer.map(|(head, body)| {
            self.upstream_body = Some(body);
            head
        }))
    }

    /// Carries a reply out, but for the sending: its status, its field lines and its body.
    pub(crate) fn respond(mut self, reply: Reply) -> (u16, Vec<u8>, Body) {
        let reply = self.forget_and_purge(reply);
        let body = match reply.store {
            Some(store) => self.store(store, reply.body),
            None => self.body(reply.body),
        };
        (reply.status, reply.fields, body)
    }

    /// The same for a reply with which the exchange does not end.
    pub(crate) fn respond_first(&mut self, reply: Reply) -> (u16, Vec<u8>, Body) {
        let reply = self.forget_and_purge(reply);
        (reply.status, reply.fields, self.body(reply.body))
    }

    /// Does what comes before all else. Another reply comes back where the purge may not hold.
    fn forget_and_purge(&self, reply: Reply) -> Reply {
        let Some(needs) = &self.needs else { return reply };
        for key in &reply.forget {
            cache::forget(&needs.store, key);
        }
        match purges::purge(&needs.store, &reply.purge) {
            Ok(()) => reply,
            Err(_) => {
                crate::log("marks of a purge can't be set");
                broken()
            }
        }
    }

    fn body(&mut self, plan: BodyPlan) -> Body {
        match plan {
            BodyPlan::Empty
            | BodyPlan::Kept(_)
            | BodyPlan::Coded(_)
            | BodyPlan::Encoding(_)
            | BodyPlan::ComposedEncoding(..) => Body::Empty,
            BodyPlan::Bytes(bytes) => Body::Bytes(bytes),
            BodyPlan::Stored(range) => self.stored(range),
            BodyPlan::Composed(parts) => Body::Composed(composed(parts, |part| self.stored(part))),
            BodyPlan::Value => self.value.take().map_or(Body::Empty, Body::Bytes),
            BodyPlan::Upstream => self.upstream_body.take().map_or(Body::Empty, Body::Upstream),
        }
    }

    fn stored(&self, range: Option<ByteRange>) -> Body {
        let holding = self.looked.as_ref().map(Holding::for_reading);
        let reader = holding.and_then(|holding| Reader::new(holding, range));
        reader.map_or(Body::Empty, Body::Stored)
    }

    /// Stores what the core says. Returns the body for the client, which may be still to come.
    fn store(&mut self, store: ToStore, plan: BodyPlan) -> Body {
        let Some(holding) = self.looked.as_mut() else { return self.body(plan) };
        match store.body {
            StoreBody::None | StoreBody::Slices { .. } => {
                holding.put(store, None);
            }
            StoreBody::Keep => {
                let body = holding.entry.as_ref().and_then(|entry| entry.body);
                holding.put(store, body);
            }
            StoreBody::Upstream(extent) => {
                // One of no known length is never asked for: the driver can't store it.
                let length = extent.exact().unwrap_or_default();
                if let Some(upstream) = self.upstream_body.take()
                    && let Some(holding) = self.looked.take()
                {
                    let arriving = |range| Arriving::new(holding, upstream, store, length, range);
                    match plan {
                        BodyPlan::Stored(range) => return Body::Arriving(arriving(range)),
                        BodyPlan::Composed(parts) => return gathered(arriving(None), parts),
                        _ => arriving(None).store_alone(),
                    }
                }
            }
        }
        self.body(plan)
    }
}

/// Parts of a body that is stored whole before they are sent: they may be in any order.
fn gathered(arriving: Arriving, parts: Vec<Part>) -> Body {
    let parts = composed(parts, |range| Body::Stored(arriving.reader(range)));
    Body::Gathered(Box::new(arriving), parts)
}

fn composed(parts: Vec<Part>, stored: impl Fn(Option<ByteRange>) -> Body) -> Vec<Body> {
    let parts = parts.into_iter().map(|part| match part {
        Part::Bytes(bytes) => Body::Bytes(bytes),
        Part::Stored(range) => stored(Some(range)),
        // Never asked: the driver declares no ability to slice.
        Part::Sliced(_) | Part::Included(_) => Body::Empty,
    });
    parts.collect()
}

//! What a request needs and is answered with, by the platform's own parts.

use std::rc::Rc;

use futures::future::{LocalBoxFuture, ready};
use outport_edge_core::deployment::limit_binding;
use outport_edge_core::driver::unmet;
use outport_edge_core::head::FieldLines;
use outport_edge_core::step::{
    self, Body, ByteRange, Extent, Fetch, FetchError, Need, Outcome, Reply, Store, StoreBody,
    Taken, UpstreamHead,
};
use worker::js_sys::{ArrayBuffer, Uint8Array};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{ReadableStream, Request, Response};
use worker::{Context, Env};

use crate::cache::{Cache, Holding, NewBody};
use crate::kept::Kept;
use crate::setup::{self, Setup};
use crate::{cache, composed, head, js, kept, upstream};

/// What needs are met with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) env: Env,
    pub(crate) setup: Rc<Setup>,
    pub(crate) cache: Cache,
    /// What keeps things, where a bucket is bound.
    pub(crate) kept: Option<Kept>,
    /// What is begun for a request, and goes on when it is answered.
    pub(crate) context: Rc<Context>,
}

/// What the driver holds for an exchange.
#[derive(Default)]
pub(crate) struct Exchange {
    pub(crate) request_body: Option<ReadableStream>,
    looked: Option<Holding>,
    value: Option<ArrayBuffer>,
    kept: Option<Uint8Array>,
    answer: Option<Response>,
}

/// What comes with an outcome, for the reply.
pub(crate) enum Held {
    Nothing,
    Looked(Holding),
    Value(ArrayBuffer),
    Kept(Uint8Array),
    Answer(Response),
}

/// A response, and what is left to be done while it is on its way.
pub(crate) struct Answered {
    pub(crate) response: Response,
    pub(crate) after: LocalBoxFuture<'static, ()>,
}

/// A body that is to be stored.
pub(crate) enum Arriving {
    /// It is stored at this URL.
    Stored(String),
    /// It is to be read to its end.
    Stream(NewBody),
}

impl Parts {
    /// Meets a need.
    pub(crate) async fn fulfil(
        &self,
        need: Need,
        body: Option<ReadableStream>,
        looked: Option<Holding>,
    ) -> (Outcome, Held) {
        let outcome = match need {
            Need::Lookup { key } => {
                let holding = self.cache.look(key).await;
                return (Outcome::Looked(holding.looked()), Held::Looked(holding));
            }
            Need::Put { key, head, fresh_ms } => {
                if let Some(holding) = looked {
                    let store = Store::head(key, head, fresh_ms);
                    self.cache.store(holding, &store, None).await;
                }
                Outcome::Put
            }
            Need::Body { bytes_max } => {
                let body = js::read_whole(body, bytes_max).await;
                Outcome::Body(body.map(|body| body.to_vec()))
            }
            Need::Document { url, bytes_max, timeout_ms } => {
                Outcome::Document(upstream::document(&url, bytes_max, timeout_ms).await)
            }
            Need::Value { key } => {
                let value = self.value(&key).await;
                let length = value.as_ref().map(|value| value.byte_length().into());
                return (Outcome::Value(length), value.map_or(Held::Nothing, Held::Value));
            }
            Need::Take { key, .. } => {
                Outcome::Taken(Taken { allowed: self.take(key).await, left: None })
            }
            Need::Verify { key, message, signature } => {
                let signed = js::is_signed(&key, &message, &signature).await;
                Outcome::Verified(signed.unwrap_or(false))
            }
            Need::Keep { key, head, bytes } => {
                Outcome::Kept(self.keep(key, &head, bytes, body).await)
            }
            Need::ReadKept { key } => {
                let kept = self.read_kept(&key).await;
                let head = kept.as_ref().map(kept::Value::head);
                let held = kept.map_or(Held::Nothing, |kept| Held::Kept(kept.body));
                return (Outcome::ReadKept(head), held);
            }
            Need::HandOver { prefix, timeout_ms } => Outcome::HandedOver(match &self.kept {
                Some(kept) => kept.hand_over_now(&prefix, timeout_ms).await,
                None => true,
            }),
            Need::Fetch(fetch) => match self.fetch(&fetch, body).await {
                Ok((head, answer)) => return (Outcome::Fetched(Ok(head)), Held::Answer(answer)),
                Err(failure) => Outcome::Fetched(Err(failure)),
            },
            // What the core never asks for, as the driver declares no ability for it.
            need => unmet(&need),
        };
        (outcome, Held::Nothing)
    }

    async fn keep(
        &self,
        key: String,
        head: &[u8],
        bytes: u64,
        body: Option<ReadableStream>,
    ) -> step::Kept {
        // Without a bucket the driver does not declare that it keeps anything, and is not asked.
        let Some(kept) = self.kept.clone() else { return step::Kept::Declined };
        let body = js::read_whole(body, bytes).await;
        let Some(body) = body.filter(|body| u64::from(body.length()) == bytes) else {
            return step::Kept::Broken;
        };
        let (kept, after) = kept.keep(key, head, &body).await;
        if let Some(after) = after {
            self.context.wait_until(after);
        }
        kept
    }

    async fn read_kept(&self, key: &str) -> Option<kept::Value> {
        let read = self.kept.as_ref()?.read(key).await;
        js::logged(format_args!("{key}, which may be kept, can't be read"), read)?
    }

    async fn value(&self, key: &str) -> Option<ArrayBuffer> {
        let values: js::KvNamespace = js::binding(&self.env, setup::VALUES)?.unchecked_into();
        let value = JsFuture::from(values.get(key, "arrayBuffer")).await;
        js::logged(format_args!("the value {key} can't be read"), value)?.dyn_into().ok()
    }

    /// Takes from the allowance of this key, which begins with its limit's name. Where the
    /// limiter fails, the request goes on: it is a guard and no lock.
    async fn take(&self, key: String) -> bool {
        let limit = key.split(' ').next().unwrap_or_default();
        let limiter = self.env.rate_limiter(&limit_binding(limit));
        let taken = match limiter {
            Ok(limiter) => limiter.limit(key).await,
            Err(error) => Err(error),
        };
        js::logged("a limit can't be held", taken).is_none_or(|taken| taken.success)
    }

    async fn fetch(
        &self,
        fetch: &Fetch,
        body: Option<ReadableStream>,
    ) -> Result<(UpstreamHead, Response), FetchError> {
        let base = self.setup.deployment.url(fetch.upstream).ok_or(FetchError::Unreachable)?;
        upstream::fetch(fetch, base, body).await
    }
}

impl Exchange {
    /// An exchange for this request.
    pub(crate) fn of(request: &Request) -> Self {
        let mut exchange = Self::default();
        exchange.request_body = request.body();
        exchange
    }

    /// The request's body, where nobody has taken it.
    pub(crate) fn unread(&mut self) -> Option<ReadableStream> {
        self.request_body.take()
    }

    /// What was looked up last, for a need that is about it. With the next lookup it is given up.
    pub(crate) fn looked_for(&mut self, need: &Need) -> Option<Holding> {
        match need {
            Need::Put { .. } => self.looked.take(),
            Need::Lookup { .. } => {
                self.looked = None;
                None
            }
            _ => None,
        }
    }

    /// Keeps what came with an outcome.
    pub(crate) fn hold(&mut self, held: Held) {
        match held {
            Held::Nothing => {}
            Held::Looked(holding) => self.looked = Some(holding),
            Held::Value(value) => self.value = Some(value),
            Held::Kept(body) => self.kept = Some(body),
            Held::Answer(answer) => self.answer = Some(answer),
        }
    }

    /// Carries a reply out. Fails where the body is gone that it was decided with: less than all
    /// of it is never sent as whole.
    pub(crate) async fn respond(
        mut self,
        mut reply: Reply,
        cache: &Cache,
    ) -> Result<Answered, JsValue> {
        let (response, arriving) = self.respond_first(&mut reply, cache).await?;
        let cache = cache.clone();
        let renews = matches!(&reply.store, Some(store) if store.body == StoreBody::Keep);
        let after = async move {
            if let Some(store) = reply.store {
                self.store(store, arriving, &cache).await;
            }
        };
        // Nobody waits for who renews: whoever has the answer must find it renewed.
        if renews {
            after.await;
            return Ok(Answered { response, after: Box::pin(ready(())) });
        }
        Ok(Answered { response, after: Box::pin(after) })
    }

    /// The same, but for what it stores: the exchange may go on. Returns what arrives meanwhile, to
    /// be stored.
    pub(crate) async fn respond_first(
        &mut self,
        reply: &mut Reply,
        cache: &Cache,
    ) -> Result<(Response, Option<Arriving>), JsValue> {
        for key in &reply.forget {
            cache.forget(key).await;
        }
        cache.purges.purge(&reply.purge).await?;
        let mut arriving = None;
        let body = match std::mem::replace(&mut reply.body, Body::Empty) {
            Body::Empty | Body::Coded(_) | Body::Encoding(_) | Body::ComposedEncoding(..) => None,
            Body::Composed(parts) => {
                let url = match reply.store.as_ref().map(|store| store.body) {
                    Some(StoreBody::Upstream(extent)) => self.store_first(extent, cache).await,
                    _ => self.looked.as_ref().and_then(Holding::body_url),
                };
                let url = url.ok_or("the stored body is gone")?;
                arriving = Some(Arriving::Stored(url.clone()));
                let length = FieldLines::new(&reply.fields).get("content-length");
                Some(composed::body(parts, length.and_then(|length| length.parse().ok()), url))
            }
            Body::Bytes(bytes) => Some(Uint8Array::from(&bytes[..]).into()),
            Body::Value => Some(self.value.take().ok_or("the value is gone")?.into()),
            Body::Kept(range) => {
                let body = self.kept.take().ok_or("what was kept is gone")?;
                Some(kept::part(&body, range).into())
            }
            Body::Upstream => self.answer.take().as_ref().and_then(js::body),
            Body::Stored(range) => {
                let body = match (reply.store.as_ref().map(|store| store.body), &mut self.looked) {
                    (Some(StoreBody::Upstream(extent)), _) => {
                        let (body, rest) = self.share(range, extent, cache).await;
                        arriving = rest;
                        body
                    }
                    (_, Some(holding)) => holding.open(range).await,
                    _ => None,
                };
                Some(body.ok_or("the stored body is gone")?)
            }
        };
        let fields = head::fields_from_core(FieldLines::new(&reply.fields))?;
        Ok((js::response(reply.status, &fields, body.as_ref())?, arriving))
    }

    /// What is arriving, for the reply and for the cache at once. A range of it must wait until
    /// it is stored.
    async fn share(
        &mut self,
        range: Option<ByteRange>,
        extent: Extent,
        cache: &Cache,
    ) -> (Option<JsValue>, Option<Arriving>) {
        if let Some(range) = range {
            let Some(url) = self.store_first(extent, cache).await else { return (None, None) };
            return (cache::open_range(&url, range).await, Some(Arriving::Stored(url)));
        }
        let Some(answer) = self.answer.take() else { return (None, None) };
        let mut new = NewBody::of(&answer, exact(extent));
        let body = answer.body().map(|body| js::tee(&body));
        let (client, rest) = body.unzip();
        new.body = rest;
        (client, Some(Arriving::Stream(new)))
    }

    /// Stores what is arriving, all of it. Returns where it is.
    async fn store_first(&mut self, extent: Extent, cache: &Cache) -> Option<String> {
        let answer = self.answer.take()?;
        cache.store_body(NewBody::of(&answer, exact(extent))).await
    }

    /// Stores what the core says.
    async fn store(mut self, store: Store, arriving: Option<Arriving>, cache: &Cache) {
        let Some(holding) = self.looked.take() else { return };
        let body = match store.body {
            StoreBody::None | StoreBody::Slices { .. } => None,
            StoreBody::Keep => holding.body_url(),
            StoreBody::Upstream(extent) => {
                let length = exact(extent);
                let mut unread = || self.answer.take().map(|answer| NewBody::of(&answer, length));
                let stored = match arriving.or_else(|| unread().map(Arriving::Stream)) {
                    Some(Arriving::Stored(url)) => Some(url),
                    Some(Arriving::Stream(body)) => cache.store_body(body).await,
                    None => None,
                };
                if stored.is_none() {
                    return;
                }
                stored
            }
        };
        cache.store(holding, &store, body).await;
    }
}

/// The length of a body that is stored. One of no known length is never asked for: the driver
/// declares no ability to store it.
fn exact(extent: Extent) -> u64 {
    extent.exact().unwrap_or_default()
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // What nobody reads would keep its connection.
        if let Some(answer) = &self.answer {
            js::discard(answer);
        }
    }
}

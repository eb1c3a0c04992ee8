//! The cache of a data centre, by the Cache API.
//!
//! A key has an entry for its head, which is small and is written anew when it is renewed, and
//! one for its body, under a name that is never used again. How long an entry is fresh is
//! written in it: for the platform all of them are fresh for a year.

use std::time::Duration;

use futures::future::join;
use outport_edge_core::config::Config;
use outport_edge_core::flights::{Flights, Role};
use outport_edge_core::marks::{Purged, Tagged};
use outport_edge_core::step::{ByteRange, Looked, Store};
use worker::js_sys::{self, Uint8Array};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{Headers, ReadableStream, Request, Response};
use worker::{Delay, Env};

use crate::flights::{self, Leading};
use crate::js;
use crate::purges::Purges;

pub(crate) const CACHE_CONTROL: &str = "max-age=31536000";
/// When the entry ceases to be fresh, in milliseconds since 1970.
const FRESH_UNTIL: &str = "outport-fresh-until";
/// The URL of the entry of the body.
const BODY: &str = "outport-body";
/// Which isolate stored the entry, and at which of its ticks the exchange began.
const BEGAN: &str = "outport-began";
/// What purges of it go by.
const TAGGED: &str = "outport-tagged";
/// Between two looks at whether another exchange still leads, in milliseconds.
const PAUSE_MS: u64 = 10;
const PAUSE_MAX_MS: u64 = 50;
/// How long a lookup waits before it goes on alone, in milliseconds.
const WAIT_MAX_MS: u64 = 35_000;

/// The cache of a deployment.
#[derive(Clone, Default)]
pub(crate) struct Cache {
    /// Where its entries are: a URL that ends with a slash.
    at: String,
    pub(crate) purges: Purges,
}

/// What a lookup came to. An exchange holds it to its end.
pub(crate) struct Holding {
    key: String,
    /// The tick before the cache was read.
    began: u64,
    /// The latest purge then.
    latest: u64,
    entry: Option<Entry>,
    /// The entry was purged softly.
    purged: bool,
    leading: Option<Leading>,
    collapsed: bool,
}

struct Entry {
    head: Vec<u8>,
    fresh_until_ms: u64,
    tagged: Tagged,
    body: Option<StoredBody>,
}

struct StoredBody {
    url: String,
    /// All of it, until somebody takes it.
    whole: Option<Response>,
}

/// A body that is to be stored.
pub(crate) struct NewBody {
    pub(crate) body: Option<ReadableStream>,
    length: u64,
}

impl NewBody {
    /// The body of an upstream's answer.
    pub(crate) fn of(answer: &Response, length: u64) -> Self {
        Self { body: answer.body(), length }
    }
}

impl Drop for StoredBody {
    fn drop(&mut self) {
        if let Some(whole) = &self.whole {
            js::discard(whole);
        }
    }
}

impl Holding {
    /// What the core is told.
    pub(crate) fn looked(&self) -> Looked {
        self.entry.as_ref().map_or(Looked::Vacant, |entry| Looked::Found {
            head: entry.head.clone(),
            body: entry.body.is_some(),
            forms: Vec::new(),
            purged: self.purged,
            lead: self.leading.is_some(),
            collapsed: self.collapsed,
        })
    }

    /// Where the body is stored.
    pub(crate) fn body_url(&self) -> Option<String> {
        Some(self.entry.as_ref()?.body.as_ref()?.url.clone())
    }

    /// The body that the lookup found, or this range of it.
    pub(crate) async fn open(&mut self, range: Option<ByteRange>) -> Option<JsValue> {
        let body = self.entry.as_mut()?.body.as_mut()?;
        match range {
            None => js::body(&body.whole.take()?),
            Some(range) => open_range(&body.url, range).await,
        }
    }
}

impl Cache {
    /// The cache for a request to this URL. The platform wants entries to be at the Worker's own
    /// host: the public one where it is known, so that all hosts of a deployment share them.
    pub(crate) fn of(url: &str, config: &Config, env: &Env) -> Self {
        let url = config.public_base_url.as_deref().unwrap_or(url);
        let host = url.split('/').nth(2).unwrap_or_default();
        let at = format!("https://{host}/.outport-cache/");
        Self { purges: Purges::of(&at, env), at }
    }

    /// Looks a key up; waits while another exchange of this isolate fetches it.
    pub(crate) async fn look(&self, key: String) -> Holding {
        let mut collapsed = false;
        let until_ms = js::now_ms() + WAIT_MAX_MS;
        loop {
            let began = flights::with(Flights::tick);
            let (entry, latest) = join(self.read(&key), self.purges.latest()).await;
            let entry = js::logged("the cache can't be read", entry).flatten();
            let purged = match &entry {
                Some(entry) => self.purges.since(&entry.tagged, latest).await,
                None => Purged::No,
            };
            let now_ms = js::now_ms();
            let holding = |entry, leading: Option<u64>| {
                let leading = leading.map(|number| Leading::new(&key, number));
                let (key, purged) = (key.clone(), purged == Purged::Softly);
                Holding { key, began, latest, entry, purged, leading, collapsed }
            };
            if let Some(entry) = entry.filter(|_| purged != Purged::Gone) {
                let stale = purged == Purged::Softly || entry.fresh_until_ms <= now_ms;
                let renew = |table: &mut Flights| table.renew(&key, now_ms);
                let leading = if stale { flights::with(renew) } else { None };
                return holding(Some(entry), leading);
            }
            let gone = purged == Purged::Gone;
            match flights::with(|table| table.join(&key, began, gone, now_ms)) {
                Role::Lead(number) => return holding(None, Some(number)),
                Role::Again | Role::Wait if now_ms < until_ms => {
                    wait(&key, until_ms).await;
                    collapsed = true;
                }
                Role::Again | Role::Wait | Role::Alone => return holding(None, None),
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Entry>, JsValue> {
        let Some(stored) = find(&self.head_url(key), None).await? else { return Ok(None) };
        let fields = stored.headers();
        let began = fields.get(BEGAN)?.unwrap_or_default();
        if let Some((isolate, tick)) = began.split_once(' ')
            && isolate == flights::isolate()
            && is_forgotten(key, tick.parse().unwrap_or_default())
        {
            return Ok(None);
        }
        // What was stored before there were purges has none, and could not be purged.
        let tagged = fields.get(TAGGED)?.unwrap_or_default();
        let Some(tagged) = Tagged::parse(&tagged) else { return Ok(None) };
        let fresh_until = fields.get(FRESH_UNTIL)?.unwrap_or_default();
        let body = match fields.get(BODY)? {
            Some(url) => {
                let whole = find(&url, None).await?;
                whole.map(|whole| StoredBody { url, whole: Some(whole) })
            }
            None => None,
        };
        let head = Uint8Array::new(&JsFuture::from(stored.array_buffer()?).await?).to_vec();
        Ok(Some(Entry {
            head,
            fresh_until_ms: fresh_until.parse().unwrap_or_default(),
            tagged,
            body,
        }))
    }

    /// Stores a head, with the body at this URL. Drops the holding when that is done, so that
    /// whoever waits for it goes on.
    pub(crate) async fn store(&self, mut holding: Holding, store: &Store, body: Option<String>) {
        if !flights::with(|table| table.may_store(&holding.key, holding.began)) {
            return;
        }
        let url = self.head_url(&holding.key);
        let put = put_head(&url, &holding, store, body).await;
        if js::logged("a head can't be stored", put).is_none() {
            return;
        }
        if is_forgotten(&holding.key, holding.began) {
            delete(&url).await;
        } else if let Some(leading) = &mut holding.leading {
            leading.has_stored();
        }
    }

    /// Stores a body under a new name. `None` where it can't be stored, or ends early.
    pub(crate) async fn store_body(&self, body: NewBody) -> Option<String> {
        let url = format!("{}body/{:016x}{:016x}", self.at, js::random(), js::random());
        js::logged("a body can't be stored", put_body(&url, body).await).map(|()| url)
    }

    /// Forgets what is stored at a key.
    pub(crate) async fn forget(&self, key: &str) {
        flights::with(|table| table.forget(key));
        let url = self.head_url(key);
        let stored = find(&url, None).await.ok().flatten();
        delete(&url).await;
        if let Some(body) = stored.and_then(|stored| stored.headers().get(BODY).ok().flatten()) {
            delete(&body).await;
        }
    }

    fn head_url(&self, key: &str) -> String {
        format!("{}head/{}", self.at, String::from(js_sys::encode_uri_component(key)))
    }
}

/// A range of the body at this URL.
pub(crate) async fn open_range(url: &str, range: ByteRange) -> Option<JsValue> {
    let found = find(url, Some(range)).await.ok().flatten()?;
    if found.status() == 206 { js::body(&found) } else { None }
}

/// Waits while somebody leads.
async fn wait(key: &str, until_ms: u64) {
    let mut pause_ms = PAUSE_MS;
    let is_led = || flights::with(|table| table.is_led(key, js::now_ms()));
    while is_led() && js::now_ms() < until_ms {
        Delay::from(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms + PAUSE_MS).min(PAUSE_MAX_MS);
    }
}

fn is_forgotten(key: &str, began: u64) -> bool {
    flights::with(|table| table.is_forgotten(key, began))
}

/// The entry at this URL, or a range of it.
pub(crate) async fn find(url: &str, range: Option<ByteRange>) -> Result<Option<Response>, JsValue> {
    let request = Request::new_with_str(url)?;
    if let Some(ByteRange { first, last }) = range {
        request.headers().set("range", &format!("bytes={first}-{last}"))?;
    }
    let found = JsFuture::from(js::cache().match_with_request(&request)).await?;
    Ok(found.dyn_into().ok())
}

async fn put_head(
    url: &str,
    holding: &Holding,
    store: &Store,
    body: Option<String>,
) -> Result<JsValue, JsValue> {
    let fields = Headers::new()?;
    fields.set("cache-control", CACHE_CONTROL)?;
    fields.set(FRESH_UNTIL, &(js::now_ms() + store.fresh_ms).to_string())?;
    fields.set(BEGAN, &format!("{} {}", flights::isolate(), holding.began))?;
    fields.set(TAGGED, &Tagged::new(holding.latest, &store.tags).to_string())?;
    if let Some(body) = body {
        fields.set(BODY, &body)?;
    }
    let entry = js::response(200, &fields, Some(&Uint8Array::from(&store.head[..])))?;
    JsFuture::from(js::cache().put_with_str(url, &entry)).await
}

/// Stores a body, and takes it back if it is not as long as was announced.
async fn put_body(url: &str, new: NewBody) -> Result<(), JsValue> {
    let fields = Headers::new()?;
    fields.set("cache-control", CACHE_CONTROL)?;
    let counted = js::FixedLengthStream::new(new.length as f64);
    let entry = js::response(200, &fields, Some(&counted.readable()))?;
    let put = JsFuture::from(js::cache().put_with_str(url, &entry));
    let filled = async {
        match new.body {
            Some(body) => JsFuture::from(body.pipe_to(&counted.writable())).await,
            None => JsFuture::from(counted.writable().close()).await,
        }
    };
    let (put, filled) = join(put, filled).await;
    if filled.is_err() {
        delete(url).await;
    }
    filled.and(put).map(drop)
}

async fn delete(url: &str) {
    let deleted = JsFuture::from(js::cache().delete_with_str(url)).await;
    js::logged("a stored response can't be deleted", deleted);
}

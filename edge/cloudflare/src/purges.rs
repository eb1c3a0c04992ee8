//! What was purged. A mark is in two places: in the cache of this data centre, where it is seen at
//! once, and in Workers KV, where other data centres see it once they have forgotten what they read
//! there before, after a minute at most.
//!
//! Neither can compare and swap, so each mark is a value of its own, which holds its generation and
//! nothing else: the later purge writes over the earlier.

use std::cell::Cell;
use std::time::Duration;

use futures::future::{join, join_all, try_join, try_join_all};
use outport_edge_core::marks::{self, Marks, Purged, Tagged};
use outport_edge_core::step::Purge;
use worker::js_sys::{Array, Map};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::Headers;
use worker::{Delay, Env};

use crate::cache::{CACHE_CONTROL, find};
use crate::{js, setup};

/// The name of the mark of the latest purge of all.
const LATEST: &str = "latest";
/// The generation, in the cache's entry of a mark.
const GENERATION: &str = "outport-generation";
/// How long a mark is in KV, in seconds: longer than anything is in the cache, by a day for what
/// was under way.
const KEPT_S: u32 = 366 * 24 * 3600;
/// How often KV is asked for the latest, in milliseconds.
const ASKED_EVERY_MS: u64 = 10_000;
/// How often a mark is tried to be set. KV takes one value a second under one name.
const TRIES_MAX: usize = 5;
const TRY_PAUSE: Duration = Duration::from_millis(1_100);

thread_local! {
    /// The latest purge that KV told of, and when it was asked.
    static EVERYWHERE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Where the marks of a deployment are.
#[derive(Clone, Default)]
pub(crate) struct Purges {
    /// In the cache: a URL that ends with a slash.
    here: String,
    /// In KV, where a namespace is bound. Nothing can be purged without.
    everywhere: Option<js::KvNamespace>,
}

impl Purges {
    /// Beside the entries of the cache at this URL.
    pub(crate) fn of(cache: &str, env: &Env) -> Self {
        let values = js::binding(env, setup::VALUES);
        Self { here: format!("{cache}purged/"), everywhere: values.map(JsValue::unchecked_into) }
    }

    /// Purges. Fails where a mark could not be set: then it may not hold. The latest comes last:
    /// who has looked before and saw none of the marks remembers less than their generation.
    pub(crate) async fn purge(&self, purges: &[Purge]) -> Result<(), JsValue> {
        let tags = purges.iter().map(|purge| name(purge.soft, marks::place(&purge.tag)));
        let tags: Vec<_> = tags.collect();
        if tags.is_empty() {
            return Ok(());
        }
        self.mark_all(tags).await?;
        self.mark_all(vec![LATEST.to_owned()]).await
    }

    async fn mark_all(&self, mut names: Vec<String>) -> Result<(), JsValue> {
        for _ in 0..TRIES_MAX {
            // A later try is a later purge: it may write over a mark that was set meanwhile.
            let generation = marks::next(self.latest().await, js::now_ms()).to_string();
            let set = join_all(names.iter().map(|name| self.mark(name, &generation))).await;
            let failed = names.into_iter().zip(set).filter_map(|(name, set)| {
                let set = js::logged(format_args!("the mark {name} can't be set"), set);
                set.is_none().then_some(name)
            });
            names = failed.collect();
            if names.is_empty() {
                return Ok(());
            }
            Delay::from(TRY_PAUSE).await;
        }
        Err("marks of a purge can't be set".into())
    }

    async fn mark(&self, name: &str, generation: &str) -> Result<(), JsValue> {
        let values = self.everywhere.as_ref().ok_or("no KV namespace is bound")?;
        let options = js::object([("expirationTtl", KEPT_S.into())])?;
        let everywhere = JsFuture::from(values.put(&key(name), &generation.into(), &options));
        let fields = Headers::new()?;
        fields.set("cache-control", CACHE_CONTROL)?;
        fields.set(GENERATION, generation)?;
        let entry = js::response(200, &fields, None)?;
        let here = JsFuture::from(js::cache().put_with_str(&self.url(name), &entry));
        try_join(here, everywhere).await.map(drop)
    }

    /// The latest purge that is known here.
    pub(crate) async fn latest(&self) -> u64 {
        let (here, everywhere) = join(self.here(LATEST), self.latest_everywhere()).await;
        let found = [here, everywhere]
            .into_iter()
            .filter_map(|latest| js::logged("the latest purge can't be read", latest));
        found.fold(EVERYWHERE.get().0, u64::max)
    }

    async fn latest_everywhere(&self) -> Result<u64, JsValue> {
        let (latest, asked_ms) = EVERYWHERE.get();
        let now_ms = js::now_ms();
        if now_ms < asked_ms + ASKED_EVERY_MS {
            return Ok(latest);
        }
        let found = self.everywhere(&[LATEST.to_owned()]).await?;
        EVERYWHERE.set((found.max(EVERYWHERE.get().0), now_ms));
        Ok(found)
    }

    /// What was purged of something that is stored, where this is the latest purge. What can't be
    /// read counts as purged.
    pub(crate) async fn since(&self, stored: &Tagged, latest: u64) -> Purged {
        let places = stored.suspects(latest);
        if places.is_empty() {
            return Purged::No;
        }
        let marks = try_join(self.last(false, places), self.last(true, places)).await;
        let marks = js::logged("marks of purges can't be read", marks);
        marks.map_or(Purged::Gone, |(hard, soft)| stored.purged(Marks { hard, soft }))
    }

    /// The last purge of any of these places.
    async fn last(&self, soft: bool, places: &[u64]) -> Result<u64, JsValue> {
        let names: Vec<_> = places.iter().map(|place| name(soft, *place)).collect();
        let here = try_join_all(names.iter().map(|name| self.here(name)));
        let (here, everywhere) = try_join(here, self.everywhere(&names)).await?;
        Ok(here.into_iter().fold(everywhere, u64::max))
    }

    async fn here(&self, name: &str) -> Result<u64, JsValue> {
        let Some(entry) = find(&self.url(name), None).await? else { return Ok(0) };
        let generation = entry.headers().get(GENERATION)?.unwrap_or_default();
        Ok(generation.parse().unwrap_or_default())
    }

    /// The highest generation under any of these names, of which the platform takes 100.
    async fn everywhere(&self, names: &[String]) -> Result<u64, JsValue> {
        let Some(values) = &self.everywhere else { return Ok(0) };
        let keys: Array = names.iter().map(|name| JsValue::from(key(name))).collect();
        let found: Map = JsFuture::from(values.get_all(&keys, "text")).await?.unchecked_into();
        let found = found.values().into_iter().flatten();
        let generations = found.filter_map(|generation| generation.as_string()?.parse().ok());
        Ok(generations.max().unwrap_or_default())
    }

    fn url(&self, name: &str) -> String {
        format!("{}{name}", self.here)
    }
}

fn name(soft: bool, place: u64) -> String {
    format!("{}/{place:016x}", if soft { "soft" } else { "hard" })
}

/// The key of a mark in KV, beside the values of the page.
fn key(name: &str) -> String {
    format!("outport/purged/{name}")
}

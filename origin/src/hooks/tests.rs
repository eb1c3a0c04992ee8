//! What is told, and what is not, when a process dies between an intent and its change, when a store
//! fails, and when several origins share one queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use bytes::Bytes;
use futures::FutureExt as _;
use object_store::memory::InMemory;

use super::queue::{Queued, Shelf};
use super::*;
use crate::fixtures::{alice, description, intake};
use crate::meta::{Entry, Key, MemoryMeta, Version};
use crate::record::Opening;
use crate::store::{AppendError, Completes, Held, PartPolicy, Store};

const HOUR_MS: u64 = 3_600_000;

/// A clock that tests move.
#[derive(Debug)]
struct Clock(AtomicU64);

impl Environment for Clock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

/// Metadata that takes no records while it is told not to, and everything else.
#[derive(Default)]
struct NoRecords {
    inner: MemoryMeta,
    refusing: AtomicBool,
}

impl NoRecords {
    fn check(&self, key: &Key) -> Result<(), MetaError> {
        if self.refusing.load(Ordering::Relaxed) && key.partition.starts_with(b"file/") {
            return Err(MetaError::Unavailable(Arc::new(io::Error::other("told to"))));
        }
        Ok(())
    }
}

impl Meta for NoRecords {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        self.inner.get(key)
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        let checked = self.check(&key);
        async move {
            checked?;
            self.inner.put(key, value, expected).await
        }
        .boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        let checked = self.check(&key);
        async move {
            checked?;
            self.inner.delete(key, expected).await
        }
        .boxed()
    }

    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>> {
        self.inner.scan(partition, after, limit)
    }
}

/// A store whose hooks nobody runs: as if the process died right after each change.
struct Scene {
    store: Store,
    hooks: Hooks,
    meta: Arc<NoRecords>,
    clock: Arc<Clock>,
}

fn webhook(name: &str, url: &str, events: &[Kind]) -> Webhook {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
    Webhook {
        name: name.into(),
        receiver: Receiver {
            url: url.parse().unwrap(),
            secrets: vec![secret],
            tenants: None,
            timeout: Duration::from_secs(10),
        },
        events: events.iter().copied().collect(),
        format: Format::Standard,
    }
}

fn hooks(
    meta: &Arc<NoRecords>,
    clock: &Arc<Clock>,
    webhooks: Vec<Webhook>,
) -> (Hooks, Option<Runner>) {
    let config = HooksConfig { webhooks, ..HooksConfig::default() };
    let meta: Arc<dyn Meta> = meta.clone();
    Hooks::new(config, &meta, clock.clone(), "urn:x").unwrap()
}

impl Scene {
    fn new(events: &[Kind]) -> Self {
        let meta = Arc::new(NoRecords::default());
        let clock = Arc::new(Clock(AtomicU64::new(1_800_000_000_000)));
        let nowhere = webhook("a", "http://127.0.0.1:9/", events);
        let (hooks, _) = hooks(&meta, &clock, vec![nowhere]);
        let parts = PartPolicy {
            bytes_min: 4096,
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(60),
            content_bytes_max: 0,
        };
        let blobs = Arc::new(InMemory::new());
        let store = Store::new(meta.clone(), blobs, 1024, 0, parts, clock.clone());
        Self { store: store.announcing(hooks.clone()), hooks, meta, clock }
    }

    async fn begin(&self) -> Held {
        self.store.begin(&alice(), description(), Opening::of_length(4)).await.unwrap()
    }

    async fn append(&self, held: Held) -> Result<Held, AppendError> {
        self.store.append(held, &mut intake(b"abcd"), Completes::AtLength).await
    }

    async fn complete(&self) -> Held {
        let held = self.begin().await;
        self.append(held).await.unwrap()
    }

    async fn remove(&self, id: FileId) {
        self.store.remove(id, |_| Ok::<_, ()>(())).await.unwrap();
    }

    fn refuse_records(&self, refusing: bool) {
        self.meta.refusing.store(refusing, Ordering::Relaxed);
    }

    /// Another process looks through what was left, `after_ms` later.
    async fn look(&self, after_ms: u64) {
        self.clock.0.fetch_add(after_ms, Ordering::Relaxed);
        self.shared().settle_all_forgotten(&self.store).await.unwrap();
    }

    fn shared(&self) -> &Shared {
        self.hooks.0.as_deref().unwrap()
    }

    async fn queued(&self) -> Vec<Queued> {
        let queue = &self.shared().targets[0].queue;
        queue.page(Shelf::Waiting, None, 100).await.unwrap().0
    }

    /// What is on its way, as ids.
    async fn told(&self) -> BTreeSet<String> {
        self.queued().await.iter().map(|queued| queued.entry.event_id().to_string()).collect()
    }

    async fn intents(&self) -> usize {
        self.shared().intents.page(None).await.unwrap().0.len()
    }
}

fn ids<const N: usize>(events: [(&str, FileId); N]) -> BTreeSet<String> {
    events.iter().map(|(kind, id)| format!("{kind}-{id}")).collect()
}

#[tokio::test]
async fn a_completion_is_told_though_the_process_died_after_it() {
    let scene = Scene::new(&Kind::ALL);
    let held = scene.complete().await;
    assert_eq!(scene.told().await.len(), 0, "nobody was there to tell");
    scene.look(HOUR_MS).await;
    assert_eq!(scene.told().await, ids([("completed", held.id)]));
    let file = scene.queued().await[0].entry.event().file;
    let seen = [&file["name"], &file["tenant"], &file["owner"], &file["complete"], &file["size"]];
    assert_eq!(serde_json::json!(seen), serde_json::json!(["a", "demo", "alice", true, 4]));
    assert_eq!(scene.intents().await, 0);
    scene.look(HOUR_MS).await;
    assert_eq!(scene.told().await.len(), 1, "once");
}

#[tokio::test]
async fn nothing_is_told_of_a_completion_that_was_not_made() {
    let scene = Scene::new(&Kind::ALL);
    let held = scene.begin().await;
    scene.refuse_records(true);
    assert!(scene.append(held.clone()).await.is_err());
    scene.refuse_records(false);
    assert_eq!(scene.intents().await, 1, "it was announced");
    scene.look(HOUR_MS).await;
    assert_eq!((scene.told().await.len(), scene.intents().await), (0, 1), "it may yet happen");
    scene.look(1).await;
    assert_eq!((scene.told().await.len(), scene.intents().await), (0, 0));
    // The client tries again, and now it happens.
    scene.append(held.clone()).await.unwrap();
    scene.look(HOUR_MS).await;
    assert_eq!(scene.told().await, ids([("completed", held.id)]));
}

/// It may have slept, or the clock may be another's. What it does anew, it announces anew.
#[tokio::test]
async fn who_wakes_up_after_its_intent_was_dropped_changes_nothing() {
    let scene = Scene::new(&Kind::ALL);
    let held = scene.begin().await;
    let key = crate::store::record_key(held.id);
    let read = scene.meta.get(key.clone()).await.unwrap().unwrap();
    scene.refuse_records(true);
    assert!(scene.append(held.clone()).await.is_err());
    scene.refuse_records(false);
    scene.look(HOUR_MS + 1).await;
    assert_eq!(scene.intents().await, 0);
    let late = scene.meta.put(key, read.value, Some(read.version)).await;
    assert!(matches!(late, Err(MetaError::Conflict)), "{late:?}");
    scene.append(held).await.unwrap();
    assert_eq!(scene.intents().await, 1);
}

#[tokio::test]
async fn who_tries_again_has_all_the_time_again() {
    let scene = Scene::new(&Kind::ALL);
    let held = scene.begin().await;
    scene.refuse_records(true);
    assert!(scene.append(held.clone()).await.is_err());
    scene.clock.0.fetch_add(HOUR_MS, Ordering::Relaxed);
    assert!(scene.append(held.clone()).await.is_err());
    scene.look(HOUR_MS).await;
    assert_eq!(scene.intents().await, 1, "the intent was renewed");
}

#[tokio::test]
async fn a_removal_is_told_with_what_was_removed() {
    let scene = Scene::new(&[Kind::Removed]);
    let (file, upload) = (scene.complete().await.id, scene.begin().await.id);
    scene.remove(file).await;
    scene.remove(upload).await;
    assert_eq!(scene.told().await.len(), 0);
    scene.look(HOUR_MS).await;
    assert_eq!(scene.told().await, ids([("removed", file), ("removed", upload)]));
    let queued = scene.queued().await;
    let complete: BTreeMap<_, _> = queued
        .iter()
        .map(|queued| {
            let event = queued.entry.event();
            (event.id.file, event.file["complete"].as_bool())
        })
        .collect();
    assert_eq!(complete, BTreeMap::from([(file, Some(true)), (upload, Some(false))]));
}

#[tokio::test]
async fn nothing_is_told_of_a_removal_that_was_not_made() {
    let scene = Scene::new(&Kind::ALL);
    let held = scene.complete().await;
    scene.refuse_records(true);
    let removed = scene.store.remove(held.id, |_| Ok::<_, ()>(())).await;
    assert!(removed.is_err());
    scene.refuse_records(false);
    scene.look(HOUR_MS + 1).await;
    assert_eq!(scene.told().await, ids([("completed", held.id)]));
    assert_eq!(scene.intents().await, 0);
}

#[tokio::test]
async fn a_completion_is_told_though_the_file_was_removed_at_once() {
    let scene = Scene::new(&Kind::ALL);
    let held = scene.complete().await;
    scene.remove(held.id).await;
    scene.look(2 * HOUR_MS).await;
    assert_eq!(scene.told().await, ids([("completed", held.id), ("removed", held.id)]));
}

#[tokio::test]
async fn where_nobody_wants_to_know_nothing_is_written() {
    for events in [&[][..], &[Kind::Expired][..]] {
        let scene = Scene::new(events);
        let held = scene.complete().await;
        scene.remove(held.id).await;
        assert_eq!(scene.intents().await, 0, "{events:?}");
    }
}

#[tokio::test]
async fn tenants_that_are_none_of_its_business_are_not_told() {
    let scene = Scene::new(&[]);
    let mut one = webhook("b", "http://127.0.0.1:9/", &Kind::ALL);
    one.receiver.tenants = Some(BTreeSet::from(["other".into()]));
    let (hooks, _) = hooks(&scene.meta, &scene.clock, vec![one]);
    let store = scene.store.clone().announcing(hooks);
    let held = store.begin(&alice(), description(), Opening::of_length(0)).await.unwrap();
    store.append(held, &mut intake(b""), Completes::AtLength).await.unwrap();
    assert_eq!(scene.intents().await, 0);
}

#[tokio::test]
async fn a_full_queue_stops_what_it_would_have_to_tell() {
    let scene = Scene::new(&[Kind::Completed]);
    let held = scene.begin().await;
    scene.shared().targets[0].tally.waiting.store(WAITING_MAX, Ordering::Relaxed);
    let refused = scene.append(held.clone()).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    scene.remove(held.id).await; // Nobody wants to know of it.
    // Counting finds out that there is room.
    scene.shared().targets[0].count().await.unwrap();
    scene.complete().await;
}

/// A receiver that notes whom it was told of, and takes a while.
async fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = told.clone();
    let note = move |headers: HeaderMap| async move {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        tokio::time::sleep(Duration::from_millis(2)).await;
        noted.lock().unwrap().push(id);
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(note));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_origins_one_tells() {
    const FILES: usize = 100;
    let scene = Scene::new(&[]);
    let (url, told) = receiver().await;
    let webhooks = || vec![webhook("shared", &url, &[Kind::Completed])];
    let mut stores = Vec::new();
    for _ in 0..3 {
        let (hooks, runner) = hooks(&scene.meta, &scene.clock, webhooks());
        let store = scene.store.clone().announcing(hooks);
        tokio::spawn(runner.unwrap().run(Arc::new(store.clone())));
        stores.push(store);
    }
    let mut expected = BTreeSet::new();
    for place in 0..FILES {
        let store = &stores[place % stores.len()];
        let held = store.begin(&alice(), description(), Opening::of_length(4)).await.unwrap();
        store.append(held.clone(), &mut intake(b"abcd"), Completes::AtLength).await.unwrap();
        expected.insert(format!("completed-{}", held.id));
    }
    for _ in 0..1000 {
        if told.lock().unwrap().len() >= FILES {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), FILES, "each once");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected);
}

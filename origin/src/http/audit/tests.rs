//! What is to be done is noted first, over the whole of the origin's HTTP interface, on a store that
//! takes no entries when it is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use object_store::memory::InMemory;
use outport_wire::edge_signature::{Signed, sign};
use outport_wire::identity::Scopes;
use outport_wire::rules::{Rules, TenantRules};
use outport_wire::secret::{Key as EdgeKey, Secret};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt as _;

use super::*;
use crate::audit::{Audit, Verifier};
use crate::budgets::Budgets;
use crate::config::Limits;
use crate::edges::Nonces;
use crate::environment::{Environment, System};
use crate::http::{Tasks, router};
use crate::meta::{Entry, Key, MemoryMeta, Meta, MetaError, Version};
use crate::metrics::Metrics;
use crate::relations::KeptRelations;
use crate::sessions::Sessions;
use crate::store::{PartPolicy, Store};

/// Takes no entries of logs while it is told so.
#[derive(Default)]
struct Refusing {
    inner: MemoryMeta,
    refuses: AtomicBool,
}

impl Meta for Refusing {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        self.inner.get(key)
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        if key.partition.starts_with(b"audit/") && self.refuses.load(Ordering::SeqCst) {
            let full = Arc::new(std::io::Error::other("no room"));
            return futures::future::ready(Err(MetaError::Full(full))).boxed();
        }
        self.inner.put(key, value, expected)
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        self.inner.delete(key, expected)
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

struct Origin {
    meta: Arc<Refusing>,
    router: Router,
    _alive: mpsc::Sender<std::convert::Infallible>,
}

fn edge_key() -> EdgeKey {
    EdgeKey { id: "test".into(), secret: Secret::new(vec![1; 32]).unwrap() }
}

impl Origin {
    fn new() -> Self {
        let refusing = Arc::new(Refusing::default());
        let meta: Arc<dyn Meta> = refusing.clone();
        let environment: Arc<dyn Environment> = Arc::new(System);
        let parts = PartPolicy {
            bytes_min: 4 << 10,
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(60),
            content_bytes_max: 100,
        };
        let blobs = Arc::new(InMemory::new());
        let audit = Audit::new(&meta, &environment);
        let (alive, cut) = (mpsc::channel(1).0, watch::channel(false).1);
        let app = App {
            store: Store::new(meta.clone(), blobs, 1 << 10, 0, parts, environment.clone()),
            sessions: Sessions::new(&meta, &environment, audit.clone()),
            budgets: Budgets::new(&meta, &environment),
            audit,
            relations: Arc::new(KeptRelations::new(meta.clone())),
            rules: Arc::new(Rules::same(TenantRules::sized(1 << 20))),
            hooks: Default::default(),
            limits: Arc::new(Limits::default()),
            edge_keys: vec![edge_key()].into(),
            tokens: None,
            takes_handovers: true,
            nonces: Arc::new(Nonces::new()),
            link_key: Secret::new(vec![2; 32]).unwrap(),
            content_base_url: None,
            metrics: Arc::new(Metrics::new(Arc::default())),
            tasks: Tasks::new(&alive, cut),
        };
        Self { meta: refusing, router: router(app), _alive: alive }
    }

    /// Takes entries from now on, or none.
    fn refuse(&self, refuses: bool) {
        self.meta.refuses.store(refuses, Ordering::SeqCst);
    }

    async fn ask(&self, by: &Identity, method: &str, target: &str, body: &str) -> (u16, String) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let identity = by.encode();
        let signed =
            Signed { method, path, query, identity: Some(&identity), content_digest: None };
        let signature = sign(&edge_key(), &signed, System.unix_s(), System.random());
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("signature-input", signature.input)
            .header("signature", signature.signature)
            .header("outport-identity", &identity)
            .header("content-type", "text/plain")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn upload(&self, by: &Identity) -> String {
        let (status, file) = self.ask(by, "POST", "/files?name=a.txt", "content").await;
        assert_eq!(status, 201, "{file}");
        serde_json::from_str::<Value>(&file).unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn log(&self, tenant: &str) -> Vec<Value> {
        let root = Identity::new(tenant, "root", Scopes::all()).unwrap();
        let (status, lines) = self.ask(&root, "GET", "/audit", "").await;
        assert_eq!(status, 200, "{lines}");
        let mut verifier = Verifier::default();
        lines.lines().for_each(|line| verifier.line(line).unwrap());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn kinds(&self) -> Vec<String> {
        let log = self.log("demo").await;
        log.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that is kept but logs and their keys, with versions.
    async fn kept(&self) -> Vec<(Key, Entry)> {
        use crate::meta::Walk as _;
        let all = self.meta.inner.walk(None, SCAN_ENTRIES_MAX).await.unwrap();
        all.into_iter().filter(|(key, _)| !key.partition.starts_with(b"audit")).collect()
    }
}

fn of(tenant: &str, subject: &str, scopes: &str) -> Identity {
    Identity::new(tenant, subject, Scopes::parse(scopes)).unwrap()
}

const SESSION: &str = "/sessions/0123456789abcdef";

#[tokio::test]
async fn what_cannot_be_noted_is_not_done() {
    let origin = Origin::new();
    let root = of("demo", "root", "admin");
    let id = origin.upload(&root).await;
    let begin = format!("{SESSION}?until=9999999999");
    let file = format!("/files/{id}");
    let links = format!("/files/{id}/links");
    let alice = "{\"subject\": \"alice\"}";
    let viewer = format!("[\"file:{id}#viewer@user:alice\"]");
    let (write, delete) = (format!("{{\"write\": {viewer}}}"), format!("{{\"delete\": {viewer}}}"));
    let asked: [(&str, &str, &str, &str); 13] = [
        ("session-begun", "PUT", &begin, ""),
        ("visibility-changed", "PATCH", &file, "{\"visibility\": \"public\"}"),
        ("relation-written", "POST", "/relations", &write),
        ("relation-removed", "POST", "/relations", &delete),
        ("link-made", "POST", &links, "{\"expires_in\": 60, \"password\": \"open sesame\"}"),
        ("links-ended", "DELETE", &links, ""),
        ("purged", "POST", "/audit/purges?urls=2&files=1&tags=0&soft=true", ""),
        (
            "session-revoked",
            "POST",
            "/revocations",
            "{\"subject\": \"alice\", \"session\": \"0000000000000001\"}",
        ),
        ("subject-revoked", "POST", "/revocations", alice),
        ("session-ended", "DELETE", SESSION, ""),
        ("sessions-ended", "DELETE", "/sessions", ""),
        ("everything-revoked", "POST", "/revocations", "{\"everything\": true}"),
        ("file-removed", "DELETE", &file, ""),
    ];
    for (place, (kind, method, target, body)) in asked.into_iter().enumerate() {
        let before = origin.kept().await;
        origin.refuse(true);
        let (status, said) = origin.ask(&root, method, target, body).await;
        assert_eq!(status, 507, "{kind}: {said}");
        assert_eq!(origin.kept().await, before, "{kind} was not noted, and is done");
        origin.refuse(false);
        assert_eq!(origin.kinds().await.len(), place, "{kind}");
        let (status, said) = origin.ask(&root, method, target, body).await;
        assert!((200..300).contains(&status), "{kind}: {status} {said}");
        assert_eq!(origin.kinds().await.last().map(String::as_str), Some(kind));
        // A link is kept nowhere, and it is an edge that purges.
        let elsewhere = matches!(kind, "link-made" | "purged");
        assert_eq!(origin.kept().await == before, elsewhere, "{kind} is done");
    }
    let kept = origin.meta.inner.scan("audit/demo".into(), None, SCAN_ENTRIES_MAX).await.unwrap();
    let stored: Vec<u8> = kept.iter().flat_map(|(_, entry)| entry.value.to_vec()).collect();
    let stored = String::from_utf8_lossy(&stored);
    for secret in ["alice", "root", "a.txt", "sesame", "signature"] {
        assert!(!stored.contains(secret), "{secret} is stored");
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_used_again_is_noted_first() {
    let origin = Origin::new();
    let alice = of("demo", "alice", "read");
    let begin = format!("{SESSION}?until=9999999999");
    assert_eq!(origin.ask(&alice, "PUT", &begin, "").await.0, 204);
    let refresh = |generation: u32| format!("{SESSION}?generation={generation}");
    for generation in 0..3 {
        assert_eq!(origin.ask(&alice, "POST", &refresh(generation), "").await.0, 204);
    }
    origin.refuse(true);
    let before = origin.kept().await;
    assert_eq!(origin.ask(&alice, "POST", &refresh(0), "").await.0, 507);
    assert_eq!(origin.kept().await, before);
    origin.refuse(false);
    assert_eq!(origin.ask(&alice, "POST", &refresh(0), "").await.0, 404);
    assert_eq!(origin.ask(&alice, "POST", &refresh(3), "").await.0, 404, "it has ended");
    assert_eq!(origin.kinds().await, ["session-begun", "refresh-token-reused"]);
    let log = origin.log("demo").await;
    assert_eq!(log[1]["what"], json!({ "session": "0123456789abcdef" }));
    assert_eq!(log[1]["who"]["text"], "alice");
}

#[tokio::test]
async fn denials_are_noted_and_tell_nothing_of_other_tenants() {
    let origin = Origin::new();
    let (alice, bob) = (of("demo", "alice", "write"), of("demo", "bob", "write"));
    let stranger = of("foreign", "alice", "read write share");
    let id = origin.upload(&alice).await;
    let path = format!("/files/{id}");
    let unknown = "01000G0000000C000000000004";
    for by in [&bob, &stranger] {
        let theirs = origin.ask(by, "DELETE", &path, "").await;
        let nobodys = origin.ask(by, "DELETE", &format!("/files/{unknown}"), "").await;
        assert_eq!((theirs.0, &theirs), (404, &nobodys));
    }
    assert_eq!(origin.ask(&bob, "POST", &format!("{path}/links"), "{}").await.0, 403);
    assert_eq!(origin.ask(&bob, "GET", "/audit", "").await.0, 403);

    let entries = |log: &[Value]| {
        let said = |entry: &Value| {
            let what = &entry["what"];
            let all = [&entry["problem"], &what["method"], &what["resource"], &what["file"]];
            assert_eq!(entry["outcome"], "denied");
            all.map(|value| value.as_str().unwrap_or("-").to_owned()).join(" ")
        };
        log.iter().map(said).collect::<Vec<_>>()
    };
    let foreign = origin.log("foreign").await;
    let both =
        [format!("not-found DELETE files {id}"), format!("not-found DELETE files {unknown}")];
    assert_eq!(entries(&foreign), both);
    let apart = |entry: &Value| {
        (
            entry["what"].as_object().unwrap().keys().cloned().collect::<Vec<_>>(),
            entry["who"]["id"].clone(),
        )
    };
    assert_eq!(apart(&foreign[0]), apart(&foreign[1]), "theirs and nobody's are one to the log");
    let more = [format!("scope-missing POST files {id}"), "scope-missing GET audit -".to_owned()];
    assert_eq!(entries(&origin.log("demo").await), [&both[..], &more[..]].concat());
    // What edges deny is noted by what they say of it, of which not everything is taken.
    for (query, status) in [
        ("method=POST&resource=purge", 204),
        ("method=GET&resource=diagnosis", 204),
        ("method=a%20b&resource=purge", 400),
        ("resource=purge", 400),
    ] {
        let told = origin.ask(&bob, "POST", &format!("/audit/denials?{query}"), "").await;
        assert_eq!(told.0, status, "{query}");
    }
    let log = entries(&origin.log("demo").await);
    assert_eq!(&log[4..], ["scope-missing POST purge -"]);
    // Without room for it, it is denied all the same.
    origin.refuse(true);
    assert_eq!(origin.ask(&bob, "DELETE", &path, "").await.0, 404);
    assert_eq!(
        origin.ask(&bob, "POST", "/audit/denials?method=GET&resource=audit", "").await.0,
        204
    );
}

#[tokio::test]
async fn a_person_is_forgotten_by_an_admin() {
    let origin = Origin::new();
    let (alice, root) = (of("demo", "alice", "write"), of("demo", "root", "admin"));
    let id = origin.upload(&alice).await;
    assert_eq!(origin.ask(&alice, "DELETE", &format!("/files/{id}"), "").await.0, 204);
    assert_eq!(origin.log("demo").await[0]["what"]["name"]["text"], "a.txt");
    let forget = "{\"subject\": \"alice\"}";
    assert_eq!(origin.ask(&alice, "POST", "/audit/forgotten", forget).await.0, 403);
    origin.refuse(true);
    assert_eq!(origin.ask(&root, "POST", "/audit/forgotten", forget).await.0, 507);
    assert_eq!(origin.log("demo").await[0]["who"]["text"], "alice");
    origin.refuse(false);
    let elsewhere = of("foreign", "root", "admin");
    assert_eq!(origin.ask(&elsewhere, "POST", "/audit/forgotten", forget).await.0, 404);
    assert_eq!(origin.ask(&root, "POST", "/audit/forgotten", forget).await.0, 204);
    assert_eq!(origin.ask(&root, "POST", "/audit/forgotten", "{}").await.0, 400);
    let log = origin.log("demo").await;
    assert_eq!(
        log[0]["who"],
        json!({ "id": log[0]["who"]["id"], "text": null, "forgotten": true })
    );
    assert_eq!(log[0]["what"]["name"]["text"], Value::Null);
    assert_eq!(log.last().unwrap()["kind"], "person-forgotten");
}

#[tokio::test]
async fn pages_are_as_long_as_they_are_asked_for() {
    let origin = Origin::new();
    let root = of("demo", "root", "admin");
    for _ in 0..3 {
        assert_eq!(origin.ask(&root, "DELETE", "/sessions", "").await.0, 204);
    }
    for (query, seqs) in [
        ("", "123"),
        ("?limit=2", "12"),
        ("?after=2", "3"),
        ("?after=3", ""),
        ("?after=1&limit=1", "2"),
    ] {
        let (status, lines) = origin.ask(&root, "GET", &format!("/audit{query}"), "").await;
        let seq = |line| serde_json::from_str::<Value>(line).unwrap()["seq"].to_string();
        assert_eq!((status, lines.lines().map(seq).collect::<String>()), (200, seqs.into()));
    }
    for query in ["limit=0", "limit=x", "after=-1", "after="] {
        let (status, said) = origin.ask(&root, "GET", &format!("/audit?{query}"), "").await;
        assert_eq!(status, 400, "{query}: {said}");
    }
}

/// What edges share is asked by themselves, and by nobody through them.
#[tokio::test]
async fn what_tenants_have_spent_is_told_to_edges_alone() {
    let origin = Origin::new();
    let spent = "/spent?tenant=demo&budget=read&period_s=60";
    for (method, target) in [("GET", spent.to_owned()), ("POST", format!("{spent}&units=1&most=9"))]
    {
        let root = of("demo", "root", "admin");
        assert_eq!(origin.ask(&root, method, &target, "").await.0, 404, "{method}");
    }
}

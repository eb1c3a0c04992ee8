//! Webhooks and the question before a creation, with real receivers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outport_origin::hooks::{BeforeCreate, Format, Kind, OnFailure, Receiver, Webhook};
use outport_origin::{AdminDoor, Config, Origin, StartError};
use outport_wire::secret::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::crash::copy;
use crate::support::{Answer, Caller, PATIENCE, Running, bytes, file_of, pair, until};

const SECRET_BYTES: [u8; 32] = [5; 32];

/// What a receiver was sent.
#[derive(Clone, Debug)]
struct Sent {
    headers: HeaderMap,
    body: Bytes,
}

impl Sent {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// As a receiver checks it, by the specification.
    fn check(&self) {
        let signed = [
            format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"))
                .as_bytes(),
            &self.body[..],
        ]
        .concat();
        let mac = Secret::new(SECRET_BYTES.to_vec()).unwrap().mac(&signed);
        let expected = format!("v1,{}", STANDARD.encode(mac));
        assert_eq!(self.header("webhook-signature"), expected);
    }
}

/// An answer to come, and everything that was sent.
#[derive(Default)]
struct Log {
    answers: VecDeque<(u16, String)>,
    sent: Vec<Sent>,
}

/// Somebody who is told, and asked. Says 204 unless it was told what to answer.
#[derive(Clone)]
struct Listener {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

async fn take(
    State(log): State<Arc<Mutex<Log>>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let mut log = log.lock().unwrap();
    log.sent.push(Sent { headers, body });
    let (status, body) = log.answers.pop_front().unwrap_or((204, String::new()));
    (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], body)
}

impl Listener {
    async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let router = Router::new()
            .route("/hook", post(take))
            .route("/elsewhere", post(take).get(take))
            .with_state(log.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, log }
    }

    /// An address where nobody listens, for now.
    async fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    fn answer(&self, status: u16, body: &str) {
        self.log.lock().unwrap().answers.push_back((status, body.to_owned()));
    }

    fn sent(&self) -> Vec<Sent> {
        self.log.lock().unwrap().sent.clone()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.sent().iter().map(|sent| sent.header("webhook-id").to_owned()).collect()
    }

    /// All that was sent, once there is so much.
    async fn wait_for(&self, count: usize) -> Vec<Sent> {
        until(async || self.sent().len() >= count).await;
        self.sent()
    }
}

fn receiver(address: SocketAddr) -> Receiver {
    Receiver {
        url: format!("http://{address}/hook").parse().unwrap(),
        secrets: vec![format!("whsec_{}", STANDARD.encode(SECRET_BYTES)).parse().unwrap()],
        tenants: None,
        timeout: Duration::from_secs(5),
    }
}

fn webhook(name: &str, address: SocketAddr) -> Webhook {
    Webhook {
        name: name.into(),
        receiver: receiver(address),
        events: Kind::ALL.into(),
        format: Format::Standard,
    }
}

/// Tells `address` everything, in a hurry.
fn tells(address: SocketAddr) -> impl FnOnce(&mut Config) {
    move |config| {
        config.hooks.webhooks = vec![webhook("a", address)];
        config.hooks.pace.pauses = vec![Duration::from_millis(50); 200];
        config.hooks.pace.look_every = Duration::from_millis(50);
    }
}

fn asks(address: SocketAddr, on_failure: OnFailure) -> impl FnOnce(&mut Config) {
    move |config| {
        config.hooks.before_create = Some(BeforeCreate { receiver: receiver(address), on_failure });
    }
}

fn id_of(target: &str) -> &str {
    target.rsplit('/').next().unwrap()
}

/// What the operator asks, and is answered.
async fn operate(origin: &Running, method: &str, target: &str) -> Answer {
    let door = AdminDoor::find(origin.folder.path()).unwrap().unwrap();
    let token = format!("Bearer {}", door.token());
    origin.operator().send_unsigned(method, target, &[("authorization", &token)], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_completing_is_told() {
    let listener = Listener::start().await;
    let origin = Running::start_with(tells(listener.address)).await;
    let alice = origin.alice();
    let content = bytes(9_000);

    let patched = alice.begin(content.len(), &pair("filename", "p.txt")).await;
    alice.patch(&patched, 0, content[..4_000].to_vec()).await.expect(204);
    alice.patch(&patched, 4_000, content[4_000..].to_vec()).await.expect(204);
    let with_creation = alice
        .tus(
            "POST",
            "/uploads",
            &[("upload-length", "9000"), ("content-type", "application/offset+octet-stream")],
            content.clone(),
        )
        .await
        .expect(201);
    let empty = alice.tus("POST", "/uploads", &[("upload-length", "0")], "").await.expect(201);
    let resumable =
        alice.send("POST", "/uploads", &[("upload-complete", "?1")], content.clone()).await;
    let joined = join_pieces(&alice).await;
    let raw = alice.store("name=r.txt", content.clone()).await;
    let form = alice
        .send(
            "POST",
            "/files",
            &[("content-type", "multipart/form-data; boundary=b")],
            "--b\r\ncontent-disposition: form-data; name=f; filename=1\r\n\r\n1\r\n\
             --b\r\ncontent-disposition: form-data; name=f; filename=2\r\n\r\n2\r\n--b--\r\n",
        )
        .await
        .expect(201)
        .json();

    let location = |answer: &Answer| answer.header("location").unwrap().to_owned();
    let forms =
        form["files"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap().to_owned());
    let targets = [
        patched.clone(),
        location(&with_creation),
        location(&empty),
        location(&resumable),
        joined,
        raw,
    ];
    let files = targets.iter().map(|target| id_of(target).to_owned()).chain(forms);
    let expected: BTreeSet<_> = files.map(|id| format!("completed-{id}")).collect();
    assert_eq!(expected.len(), 8);
    let sent = listener.wait_for(expected.len()).await;
    assert_eq!(listener.ids(), expected);
    assert_eq!(sent.len(), expected.len(), "each once");
    for one in &sent {
        one.check();
        assert_eq!(one.header("content-type"), "application/json");
        assert_eq!(one.json()["type"], "outport.file.completed");
    }
    let told = sent.iter().find(|one| one.header("webhook-id").ends_with(id_of(&patched)));
    let data = &told.unwrap().json()["data"];
    let document = alice.get("/files", &[]).await.json();
    let listed = document["files"].as_array().unwrap().iter().find(|f| f["name"] == "p.txt");
    for (name, value) in listed.unwrap().as_object().unwrap() {
        assert_eq!(&data[name], value, "{name}");
    }
    assert_eq!(
        json!([data["tenant"], data["owner"], data["complete"]]),
        json!(["demo", "alice", true])
    );
}

/// A final upload of two pieces, of which nobody is told.
async fn join_pieces(alice: &Caller) -> String {
    let mut pieces = Vec::new();
    for _ in 0..2 {
        let fields = [("upload-concat", "partial"), ("upload-length", "3")];
        let piece = alice.tus("POST", "/uploads", &fields, "").await.expect(201);
        let piece = piece.header("location").unwrap().to_owned();
        alice.patch(&piece, 0, "abc").await.expect(204);
        pieces.push(piece);
    }
    let of = format!("final;{}", pieces.join(" "));
    let joined = alice.tus("POST", "/uploads", &[("upload-concat", &of)], "").await.expect(201);
    joined.header("location").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_are_told() {
    let listener = Listener::start().await;
    let origin = Running::start_with(tells(listener.address)).await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let upload = alice.begin(10, "").await;
    alice.send("DELETE", &file, &[], "").await.expect(204);
    alice.tus("DELETE", &upload, &[], "").await.expect(204);
    let (file, upload) = (id_of(&file), id_of(&upload));
    listener.wait_for(3).await;
    let expected =
        [format!("completed-{file}"), format!("removed-{file}"), format!("removed-{upload}")];
    assert_eq!(listener.ids(), expected.into());
    let data: BTreeMap<_, _> = listener
        .sent()
        .iter()
        .filter(|sent| sent.header("webhook-id").starts_with("removed-"))
        .map(|sent| {
            (sent.json()["data"]["id"].clone().to_string(), sent.json()["data"]["complete"].clone())
        })
        .collect();
    assert_eq!(
        data,
        BTreeMap::from([(format!("{file:?}"), true.into()), (format!("{upload:?}"), false.into())])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_is_told() {
    let listener = Listener::start().await;
    let address = listener.address;
    let origin = Running::start_with(|config| {
        tells(address)(config);
        config.limits.upload_expire_after = Some(Duration::from_secs(1));
        config.collection.expired_for = Duration::ZERO;
        config.collection.round = Duration::from_secs(50);
    })
    .await;
    let upload = origin.alice().begin(10, &pair("filename", "a")).await;
    let sent = listener.wait_for(1).await;
    assert_eq!(listener.ids(), [format!("expired-{}", id_of(&upload))].into());
    let event = sent[0].json();
    assert_eq!(event["type"], "outport.file.expired");
    assert_eq!(json!([event["data"]["name"], event["data"]["complete"]]), json!(["a", false]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_is_told_when_it_is_back() {
    let address = Listener::nowhere().await;
    let origin = Running::start_with(tells(address)).await;
    let file = origin.alice().store("name=a", "x").await;
    let attempts = || async {
        let page = operate(&origin, "GET", "/admin/hooks/a/waiting").await.expect(200).json();
        page["events"][0]["attempts"].as_u64().unwrap_or_default()
    };
    until(async || attempts().await >= 2).await;
    let listener = Listener::start_at(address).await;
    listener.wait_for(1).await;
    assert_eq!(listener.ids(), [format!("completed-{}", id_of(&file))].into());
    until(async || {
        let metrics = origin.operator().send_unsigned("GET", "/metrics", &[], "").await;
        let text = String::from_utf8(metrics.body.to_vec()).unwrap();
        text.contains("outport_origin_hook_delivered_total{hook=\"a\"} 1")
            && text.contains("outport_origin_hook_waiting{hook=\"a\"} 0")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_event() {
    let address = Listener::nowhere().await;
    let runtime = Runtime::new().unwrap();
    let origin = runtime.spawn(Running::start_with(tells(address))).await.unwrap();
    let alice = origin.alice();
    let (kept, removed) = (alice.store("name=a", "x").await, alice.store("name=b", "x").await);
    let upload = alice.begin(3, "").await;
    alice.patch(&upload, 0, "abc").await.expect(204);
    alice.send("DELETE", &removed, &[], "").await.expect(204);
    // All that runs is dropped where it stands.
    let killed = move || runtime.shutdown_timeout(PATIENCE);
    tokio::task::spawn_blocking(killed).await.unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(origin.folder.path(), crashed.path());

    let listener = Listener::start_at(address).await;
    let _again = Running::start_in(crashed, tells(address)).await;
    let completed = [&kept, &removed, &file_of(&upload)];
    let mut expected: BTreeSet<_> =
        completed.iter().map(|target| format!("completed-{}", id_of(target))).collect();
    expected.insert(format!("removed-{}", id_of(&removed)));
    until(async || listener.ids().is_superset(&expected)).await;
    assert_eq!(listener.ids(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_keeps_nobody_waiting() {
    // Takes connections, and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = Listener::start().await;
    let (dead, alive) = (hanging.local_addr().unwrap(), listener.address);
    let origin = Running::start_with(|config| {
        config.hooks.webhooks = vec![webhook("dead", dead), webhook("alive", alive)];
        config.hooks.webhooks[0].receiver.timeout = Duration::from_secs(3600);
    })
    .await;
    for _ in 0..50 {
        origin.alice().store("name=a", "x").await;
    }
    listener.wait_for(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_can_be_replayed() {
    let listener = Listener::start().await;
    listener.answer(410, "");
    let origin = Running::start_with(tells(listener.address)).await;
    let file = origin.alice().store("name=a", "x").await;
    let id = format!("completed-{}", id_of(&file));
    let dead = || async {
        operate(&origin, "GET", "/admin/hooks/a/dead").await.expect(200).json()["events"].clone()
    };
    until(async || dead().await.as_array().unwrap().len() == 1).await;
    let event = &dead().await[0];
    assert_eq!(json!([event["id"], event["state"], event["attempts"]]), json!([id, "dead", 1]));
    assert_eq!(event["last"]["outcome"], "status 410");
    let shown = operate(&origin, "GET", &format!("/admin/hooks/a/events/{id}")).await.expect(200);
    assert_eq!(shown.json()["file"]["name"], "a");
    let hooks =
        async || operate(&origin, "GET", "/admin/hooks").await.expect(200).json()["hooks"].clone();
    until(async || hooks().await[0]["dead"] == 1).await; // It is counted behind.
    assert_eq!(hooks().await[0]["name"], "a");
    assert!(!hooks().await.to_string().contains("whsec"));

    for target in ["/admin/hooks/b/dead", "/admin/hooks/a/events/completed-x"] {
        operate(&origin, "GET", target).await.expect(404);
    }
    let target = format!("/admin/hooks/a/events/{id}/replay");
    let replayed = operate(&origin, "POST", &target).await.expect(200);
    assert_eq!(replayed.json(), json!({ "replayed": 1 }));
    let sent = listener.wait_for(2).await;
    assert_eq!(sent[0].header("webhook-id"), sent[1].header("webhook-id"));
    until(async || operate(&origin, "POST", &target).await.status == 404).await;

    listener.answer(410, "");
    origin.alice().store("name=b", "x").await;
    until(async || dead().await.as_array().unwrap().len() == 1).await;
    let replayed = operate(&origin, "POST", "/admin/hooks/a/dead/replay").await.expect(200);
    assert_eq!(replayed.json(), json!({ "replayed": 1, "more": false }));
    listener.wait_for(4).await;
}

#[tokio::test]
async fn two_hooks_can_t_have_one_queue() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::support::config(folder.path());
    let address = Listener::nowhere().await;
    config.hooks.webhooks = vec![webhook("a", address), webhook("a", address)];
    assert!(matches!(Origin::bind(config).await, Err(StartError::Config(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let listener = Listener::start().await;
    listener.answer(302, "");
    listener.answer(307, "");
    let origin = Running::start_with(tells(listener.address)).await;
    origin.alice().store("name=a", "x").await;
    // Each was answered, and the same address tried again.
    let sent = listener.wait_for(3).await;
    assert_eq!(sent.len(), 3);
    for one in sent {
        one.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_are_signed_too() {
    let listener = Listener::start().await;
    let address = listener.address;
    let origin = Running::start_with(|config| {
        config.hooks.webhooks = vec![webhook("structured", address), webhook("binary", address)];
        config.hooks.webhooks[0].format = Format::CloudEvents;
        config.hooks.webhooks[1].format = Format::CloudEventsBinary;
    })
    .await;
    origin.alice().store("name=a", "x").await;
    let sent = listener.wait_for(2).await;
    let of_type = |name: &str| sent.iter().find(|one| one.header("content-type") == name).unwrap();
    let (structured, binary) =
        (of_type("application/cloudevents+json"), of_type("application/json"));
    structured.check();
    binary.check();
    assert_eq!(structured.json()["data"], binary.json());
    assert_eq!(structured.json()["id"], binary.header("ce-id"));
    assert_eq!(binary.header("ce-source"), "urn:outport:origin:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_be_answered_by_another_name() {
    let listener = Listener::start().await;
    let origin = Running::start_with(asks(listener.address, OnFailure::Refuse)).await;
    let alice = origin.alice();
    let wish = r#"{"name":"b.txt","visibility":"public","metadata":{"k":"v"}}"#;
    for _ in 0..4 {
        listener.answer(200, wish);
    }
    let tus = alice.begin(1, &pair("filename", "a.txt")).await;
    alice.patch(&tus, 0, "x").await.expect(204);
    let resumable =
        [("upload-complete", "?1"), ("content-disposition", "attachment; filename=a.txt")];
    alice.send("POST", "/uploads", &resumable, "x").await;
    alice.store("name=a.txt", "x").await;
    let form = [("content-type", "multipart/form-data; boundary=b")];
    let body =
        "--b\r\ncontent-disposition: form-data; name=f; filename=a.txt\r\n\r\nx\r\n--b--\r\n";
    alice.send("POST", "/files", &form, body).await.expect(201);

    let files = alice.get("/files", &[]).await.json()["files"].as_array().unwrap().clone();
    assert_eq!(files.len(), 4);
    for file in files {
        let seen = json!([file["name"], file["visibility"], file["metadata"]]);
        assert_eq!(seen, json!(["b.txt", "public", { "k": "v" }]));
    }
    let sent = listener.sent();
    sent.iter().for_each(Sent::check);
    let asked: Vec<_> = sent.iter().map(|one| one.json()["data"].clone()).collect();
    let protocols: Vec<_> = asked.iter().map(|data| data["protocol"].clone()).collect();
    assert_eq!(protocols, ["tus", "resumable", "raw", "form"]);
    assert_eq!(
        asked[0],
        json!({
            "tenant": "demo", "owner": "alice", "name": "a.txt",
            "type": "application/octet-stream", "size": 1, "visibility": "private",
            "metadata": {}, "protocol": "tus",
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_be_answered_by_no() {
    let listener = Listener::start().await;
    let origin = Running::start_with(asks(listener.address, OnFailure::Allow)).await;
    let alice = origin.alice();
    let requests: [(&str, &[(&str, &str)]); 3] = [
        ("/uploads", &[("tus-resumable", "1.0.0"), ("upload-length", "1")]),
        ("/uploads", &[("upload-complete", "?0")]),
        ("/files?name=a", &[]),
    ];
    for (target, fields) in requests {
        listener.answer(403, r#"{"title":"Not on Sundays","detail":"try tomorrow"}"#);
        let answer = alice.send("POST", target, fields, "").await;
        assert_eq!(answer.problem(), (403, "refused-by-hook".into()));
        assert_eq!(answer.json()["detail"], "Not on Sundays: try tomorrow");
    }
    assert_eq!(alice.get("/files", &[]).await.json()["files"], json!([]));
    assert_eq!(listener.sent().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_it_is_as_configured() {
    let address = Listener::nowhere().await;
    let refusing = Running::start_with(asks(address, OnFailure::Refuse)).await;
    let answer = refusing.alice().send("POST", "/files?name=a", &[], "x").await;
    assert_eq!(answer.problem(), (503, "hook-unavailable".into()));
    assert_eq!(refusing.alice().get("/files", &[]).await.json()["files"], json!([]));
    let allowing = Running::start_with(asks(address, OnFailure::Allow)).await;
    allowing.alice().store("name=a", "x").await;

    // One that hangs is none.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hanging.local_addr().unwrap();
    let refusing = Running::start_with(|config| {
        asks(address, OnFailure::Refuse)(config);
        let before = config.hooks.before_create.as_mut().unwrap();
        before.receiver.timeout = Duration::from_millis(100);
    })
    .await;
    let answer = refusing.alice().send("POST", "/files?name=a", &[], "x").await;
    assert_eq!(answer.problem(), (503, "hook-unavailable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_can_t_be_granted_is_no_answer() {
    let listener = Listener::start().await;
    let origin = Running::start_with(asks(listener.address, OnFailure::Allow)).await;
    listener.answer(200, r#"{"name":"a\u0007b"}"#);
    let answer = origin.alice().send("POST", "/files?name=a", &[], "x").await;
    assert_eq!(answer.problem(), (503, "hook-unavailable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tenants_are_not_asked_about() {
    let address = Listener::nowhere().await;
    let origin = Running::start_with(|config| {
        asks(address, OnFailure::Refuse)(config);
        let before = config.hooks.before_create.as_mut().unwrap();
        before.receiver.tenants = Some(["other".to_owned()].into());
    })
    .await;
    origin.alice().store("name=a", "x").await;
    let other = origin.caller("other", "bob", "write");
    let answer = other.send("POST", "/files?name=a", &[], "x").await;
    assert_eq!(answer.problem(), (503, "hook-unavailable".into()));
}

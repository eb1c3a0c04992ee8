//! Limits: what is over them is refused, and told when to come back.

use std::time::{Duration, Instant};

use outport_tests::api::{Answer, Api};
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, random, tus};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BURST: usize = 10;
const CONFIG: &str = r#"
[limits.read]
per_second = 1
burst = 10
[limits.write]
per_second = 1
burst = 10
[uploads]
size_max_bytes = 1000
[tenants.pictures]
size_max_bytes = 2000
media_types = ["image/*"]
quota_files = 2
open_max = 1
"#;

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(whoever_asks_too_often_is_told_when_to_come_back),
        check!(one_identity_does_not_spend_what_is_anothers),
        check!(without_an_identity_the_network_is_limited),
        check!(no_more_are_under_way_than_may_be),
        check!(bodies_keep_to_the_pace),
        check!(what_bodies_had_is_paid_for_and_a_restart_forgives_nothing),
        check!(an_upload_larger_than_is_configured),
        check!(a_length_that_is_said_later_is_limited_by_what_comes),
        check!(a_tenant_has_rules_of_its_own),
    ]
}

struct Limited {
    data: Data,
    edge: Running,
}

fn start() -> Limited {
    let data = Data::new();
    let config = data.config(CONFIG);
    let config = config.to_str().expect("the path is text");
    let edge = Running::serve(&data, &["--config", config]);
    Limited { data, edge }
}

impl Limited {
    fn api(&self, subject: &str) -> Api {
        let token = self.data.token("demo", subject, "read write", "1h");
        Api::new(self.edge.ready("edge")).with_token(&token)
    }
}

async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let limited = start();
    let api = limited.api("eager");
    let refused = ask_until_refused(&api).await;
    refused.expect_problem(429, "rate-limited");
    let wait = refused.number("retry-after");
    assert!((1..=2).contains(&wait), "{refused:?}");
    assert!(refused.field("ratelimit-policy").contains("\"read\";q=10"), "{refused:?}");
    assert!(refused.field("ratelimit").contains("\"read\";r=0"), "{refused:?}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    api.get("/files").await.expect_status(200);
}

/// Three seconds of what is allowed.
const PACED_BYTES: usize = 300_000;
/// A minute of it, so that whoever fetches it is not done before all else is.
const LONG_BYTES: usize = 6_000_000;

fn start_shared(config: &str) -> Limited {
    let data = Data::new();
    let config = data.config(config);
    let edge = Running::serve(&data, &["--config", config.to_str().expect("the path is text")]);
    Limited { data, edge }
}

/// Begins to fetch a file, and gives the connection once the answer has begun.
async fn begin_to_fetch(api: &Api, path: &str) -> TcpStream {
    let (authority, token) = (api.authority(), api.token());
    let mut stream = TcpStream::connect(&authority).await.expect("the edge takes it");
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the edge takes it");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.expect("it is answered");
    assert_eq!(&begun, b"HTTP/1.1 200");
    stream
}

async fn no_more_are_under_way_than_may_be() {
    let limited = start_shared("[limits.read]\nat_once = 2\nbytes_per_second = 100000\n");
    let (eager, modest) = (limited.api("eager"), limited.api("modest"));
    let content = random::bytes(LONG_BYTES);
    let file = eager.upload("visibility=public", "text/plain", content).await;
    let first = begin_to_fetch(&eager, &file.path()).await;
    eager.get("/files").await.expect_status(200);
    let second = begin_to_fetch(&eager, &file.path()).await;
    let refused = eager.get("/files").await;
    refused.expect_problem(429, "too-many-at-once");
    assert_eq!(refused.json()["max"], 2);
    assert_eq!(eager.head(&file.path(), &[]).await.status, 429);
    modest.get("/files").await.expect_status(200);
    // Whoever goes away makes room, once the node has seen it.
    drop(first);
    let mut after = eager.get("/files").await;
    for _ in 0..1_000 {
        if after.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        after = eager.get("/files").await;
    }
    after.expect_status(200);
    drop(second);
}

async fn bodies_keep_to_the_pace() {
    let limited = start_shared(
        "[limits.read]\nbytes_per_second = 100000\n[limits.write]\nbytes_per_second = 100000\n",
    );
    let api = limited.api("eager");
    // Faster than this it may not be, however slow the machine is.
    let least = Duration::from_secs(2);
    let content = random::bytes(PACED_BYTES);
    let begun = Instant::now();
    let file = api.upload("", "text/plain", content.clone()).await;
    assert!(begun.elapsed() > least, "uploaded within {:?}", begun.elapsed());
    let begun = Instant::now();
    let fetched = api.get(&file.path()).await;
    assert!(begun.elapsed() > least, "fetched within {:?}", begun.elapsed());
    assert!(fetched.body == content, "other bytes");
}

async fn what_bodies_had_is_paid_for_and_a_restart_forgives_nothing() {
    let config = "[limits.read]\nbytes = 1_048_576\nbytes_period_s = 2_678_400\n";
    let mut limited = start_shared(config);
    let content = random::bytes(PACED_BYTES);
    let file = limited.api("eager").upload("visibility=public", "text/plain", content).await.path();
    let fetched = async |limited: &Limited, subject: &str| {
        let answer = limited.api(subject).get(&file).await;
        if answer.status == 200 {
            assert_eq!(answer.body.len(), PACED_BYTES);
        }
        answer
    };
    // What has begun goes on to its end: the fourth is beyond what there is.
    for _ in 0..4 {
        fetched(&limited, "eager").await.expect_status(200);
    }
    let refused = fetched(&limited, "eager").await;
    refused.expect_problem(429, "rate-limited");
    let wait_s = refused.number("retry-after");
    assert!(wait_s > 300_000, "more than a tenth of the whole is owed: {wait_s}");
    fetched(&limited, "modest").await.expect_status(200);
    // Uploads are of another limit.
    limited.api("eager").upload("", "text/plain", "content").await;
    assert!(limited.edge.stop(), "it does not end by itself");
    let config = limited.data.config(config);
    let config = config.to_str().expect("the path is text");
    limited.edge = Running::serve(&limited.data, &["--config", config]);
    fetched(&limited, "eager").await.expect_problem(429, "rate-limited");
    fetched(&limited, "modest").await.expect_status(200);
}

async fn one_identity_does_not_spend_what_is_anothers() {
    let limited = start();
    let (eager, modest) = (limited.api("eager"), limited.api("modest"));
    ask_until_refused(&eager).await;
    modest.get("/files").await.expect_status(200);
    let answer = eager.send(Method::POST, "/files", &[], "writing is another limit").await;
    answer.expect_status(201);
}

async fn without_an_identity_the_network_is_limited() {
    let limited = start();
    let nobody = limited.api("nobody").anonymous();
    let path = "/files/01000G0000000C000000000004";
    let mut statuses = Vec::new();
    for _ in 0..BURST + 5 {
        statuses.push(nobody.get(path).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    limited.api("somebody").get("/files").await.expect_status(200);
}

async fn an_upload_larger_than_is_configured() {
    let limited = start();
    let api = limited.api("demo");
    let answer = api.send(Method::POST, "/files", &[], vec![0; 1001]).await;
    answer.expect_problem(413, "too-large");
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![0; 100]));
    let unknown_length = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let answer = api.send(Method::POST, "/files", &[], unknown_length).await;
    answer.expect_problem(413, "too-large");
    tus::ask(&api, "1001", "").await.expect_problem(413, "too-large");
    api.send(Method::POST, "/files", &[], vec![0; 1000]).await.expect_status(201);
}

/// In two requests, and in one whose body says no length.
async fn a_length_that_is_said_later_is_limited_by_what_comes() {
    let limited = start();
    let api = limited.api("demo");
    let begun = async || {
        let fields = [tus::VERSION, ("upload-defer-length", "1")];
        let created = api.send(Method::POST, "/uploads", &fields, "").await;
        created.expect_status(201);
        created.field("location").to_owned()
    };
    let patch = async |upload: &str, offset: &str, body: reqwest::Body| {
        let kind = ("content-type", tus::PATCH_TYPE);
        let fields = [tus::VERSION, kind, ("upload-offset", offset)];
        api.send(Method::PATCH, upload, &fields, body).await
    };
    let upload = begun().await;
    patch(&upload, "0", vec![0; 600].into()).await.expect_status(204);
    patch(&upload, "600", vec![0; 600].into()).await.expect_problem(413, "too-large");
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![0; 100]));
    let streamed = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    patch(&begun().await, "0", streamed).await.expect_problem(413, "too-large");
}

async fn a_tenant_has_rules_of_its_own() {
    let limited = start();
    let token = limited.data.token("pictures", "alice", "read write", "1h");
    let api = Api::new(limited.edge.ready("edge")).with_token(&token);
    let typed = [("content-type", "image/png")];
    let store = async |length| api.send(Method::POST, "/files", &typed, vec![7; length]).await;
    let large = store(2001).await;
    large.expect_problem(413, "too-large");
    assert_eq!(large.field("upload-limit"), "max-size=2000");
    let page = api.send(Method::POST, "/files", &[("content-type", "text/html")], "<p>").await;
    page.expect_problem(415, "media-type-refused");
    let disguised = api.send(Method::POST, "/files", &typed, "<!DOCTYPE html><html>").await;
    disguised.expect_problem(415, "media-type-refused");
    let image = tus::metadata(&[("filetype", "image/png")]);
    tus::ask(&api, "5", &image).await.expect_status(201);
    tus::ask(&api, "5", &image).await.expect_problem(429, "too-many-uploads");
    store(2000).await.expect_status(201);
    store(1).await.expect_problem(403, "quota-exceeded");
}

/// Asks faster than is allowed, until that is refused.
async fn ask_until_refused(api: &Api) -> Answer {
    for _ in 0..BURST * 3 {
        let answer = api.get("/files").await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("nothing is refused");
}

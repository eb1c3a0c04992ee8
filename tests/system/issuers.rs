//! An issuer that is asked for its keys, as a server of its own: found, rotating, attacked and down.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use outport_tests::api::Api;
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::issued::{self, Issued, Signer};
use outport_tests::suite::Check;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How many come at once.
const CALLERS: usize = 300;
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/keys";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(an_issuer_is_found_and_asked_once),
        check!(a_new_key_is_taken_from_its_first_token_on),
        check!(keys_that_are_none_are_asked_for_once),
        check!(what_is_known_is_used_while_the_issuer_is_gone),
        check!(an_issuer_that_is_not_there_refuses_nobody_else),
    ]
}

/// What is where, and how often it was asked for.
#[derive(Default)]
struct Site {
    documents: HashMap<&'static str, String>,
    asked: Vec<String>,
}

/// An issuer, and an edge that trusts it.
struct Deployment {
    url: String,
    site: Arc<Mutex<Site>>,
    server: JoinHandle<()>,
    api: Api,
    _edge: Running,
    data: Data,
}

impl Deployment {
    async fn start(keys: &[&str]) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
        let listener = listener.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}{KEYS}")}).to_string();
        let documents = HashMap::from([(DISCOVERY, discovery), (KEYS, key_set(keys))]);
        let site = Arc::new(Mutex::new(Site { documents, asked: Vec::new() }));
        let shared = site.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shared.clone()));
            }
        });
        let data = Data::new();
        let config = data
            .config(&format!("[issuers.idp]\nissuer = \"{url}\"\naudiences = [\"scenarios\"]\n"));
        let config = config.to_str().expect("the path is text");
        let edge = Running::serve(&data, &["--config", config]);
        let api = Api::new(edge.ready("edge"));
        Self { url, site, server, api, _edge: edge, data }
    }

    fn site<T>(&self, with: impl FnOnce(&mut Site) -> T) -> T {
        with(&mut self.site.lock().expect("nobody panics with it"))
    }

    /// How often its keys were asked for.
    fn asked_for_keys(&self) -> usize {
        self.site(|site| site.asked.iter().filter(|path| *path == KEYS).count())
    }

    fn token(&self, signer: Signer, number: usize) -> Issued {
        Issued::by(signer).claim("iss", json!(self.url)).claim("jti", json!(number.to_string()))
    }

    async fn status(&self, issued: &Issued) -> u16 {
        self.api.with_token(&issued.token()).get("/files?limit=1").await.status
    }

    /// The statuses of many requests at once.
    async fn statuses(&self, tokens: impl Iterator<Item = Issued>) -> Vec<u16> {
        let mut asked = JoinSet::new();
        for issued in tokens {
            let api = self.api.with_token(&issued.token());
            asked.spawn(async move { api.get("/files?limit=1").await.status });
        }
        asked.join_all().await
    }
}

/// Of the keys in `tests/issuers`, those of these names.
fn key_set(names: &[&str]) -> String {
    let all: Value = serde_json::from_slice(&issued::read("keys.jwks")).expect("a key set");
    let keys = all["keys"].as_array().expect("a list of keys");
    let named = |key: &&Value| names.iter().any(|name| key["kid"] == json!(name));
    json!({"keys": keys.iter().filter(named).collect::<Vec<_>>()}).to_string()
}

async fn answer(mut stream: TcpStream, site: Arc<Mutex<Site>>) {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut read).await {
            Ok(1..) if read.len() < 10_000 => {}
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&read);
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let document = {
        let mut site = site.lock().expect("nobody panics with it");
        site.asked.push(path.clone());
        site.documents.get(&*path).cloned()
    };
    let (status, body) = document.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // Whoever has gone away needs no answer.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

async fn an_issuer_is_found_and_asked_once() {
    let running = Deployment::start(&["ed25519", "p256", "rsa"]).await;
    let tokens = (0..CALLERS).map(|number| running.token(Signer::KEYS[number % 3], number));
    let statuses = running.statuses(tokens).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(running.site(|site| site.asked.clone()), [DISCOVERY, KEYS]);
    // The origin finds out by itself who writes, and asks as seldom.
    let writes = running.token(Signer::P256, CALLERS).claim("scope", json!("read write"));
    let api = running.api.with_token(&writes.token());
    for _ in 0..3 {
        api.upload("name=a.txt", "text/plain", "content").await;
    }
    assert_eq!(running.site(|site| site.asked.clone()), [DISCOVERY, KEYS, DISCOVERY, KEYS]);
}

async fn a_new_key_is_taken_from_its_first_token_on() {
    let running = Deployment::start(&["ed25519"]).await;
    assert_eq!(running.status(&running.token(Signer::Ed25519, 0)).await, 200);
    // A set that has just come is not asked for again at once: the issuer may be slow, not ahead.
    assert_eq!(running.status(&running.token(Signer::P256, 1)).await, 401);
    running.site(|site| site.documents.insert(KEYS, key_set(&["ed25519", "p256"])));
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    let both = [Signer::P256, Signer::Ed25519];
    let tokens = (0..CALLERS).map(|number| running.token(both[number % 2], 100 + number));
    let statuses = running.statuses(tokens).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(running.asked_for_keys(), 2);
}

async fn keys_that_are_none_are_asked_for_once() {
    let running = Deployment::start(&["p256"]).await;
    assert_eq!(running.status(&running.token(Signer::P256, 0)).await, 200);
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    let forged = |number: usize| {
        running.token(Signer::P256, number).header("kid", json!(format!("forged-{number}")))
    };
    let statuses = running.statuses((0..CALLERS).map(forged)).await;
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(running.asked_for_keys(), 2);
    assert_eq!(running.status(&running.token(Signer::P256, 1)).await, 200);
}

async fn what_is_known_is_used_while_the_issuer_is_gone() {
    let running = Deployment::start(&["rsa"]).await;
    assert_eq!(running.status(&running.token(Signer::Rsa, 0)).await, 200);
    running.server.abort();
    let statuses = running.statuses((1..50).map(|number| running.token(Signer::Rsa, number))).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

async fn an_issuer_that_is_not_there_refuses_nobody_else() {
    let running = Deployment::start(&["rsa"]).await;
    running.server.abort();
    running.site(|site| site.documents.clear());
    let token = running.token(Signer::Rsa, 0).token();
    let answer = running.api.with_token(&token).get("/files").await;
    answer.expect_problem(503, "issuer-unreachable");
    let own = running.data.token("demo", "demo", "read", "1h");
    running.api.with_token(&own).get("/files").await.expect_status(200);
}

//! A whole node with its real component, before an origin of a few lines.
//!
//! Needs the component, ahead of time compiled: `cargo xtask build` makes it, and `OUTPORT_COMPONENT`
//! names another place.

// A test that can't set itself up has failed.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod interim;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outport_edge_core::config::{Auth, Config as CoreConfig, READ_LIMIT, Route, WRITE_LIMIT};
use outport_edge_core::step::Allowance;
use outport_edge_host::{Config, ConnectionBounds, EdgeNode, PageFile, Shedding, TlsConfig};
use outport_wire::file::{FILE_HEADER, FileRecord, Visibility};
use outport_wire::rules::{Rules, TenantRules};
use outport_wire::secret::{Key, Secret};

const ID: &str = "01000G0000000C000000000004";
const PAGE: &[PageFile] = &[
    PageFile { name: "index.html", content: b"<!doctype html>", codings: &[("br", b"coded")] },
    PageFile { name: "assets/app.js", content: b"1", codings: &[] },
];

struct Setup {
    edge: String,
    metrics: String,
    asked: Arc<AtomicU64>,
    client: Client<HttpConnector, Empty<Bytes>>,
    _folder: tempfile::TempDir,
}

impl Setup {
    /// Before an origin that has one public file.
    async fn new(instance_exchanges_max: u64) -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let core = core(origin(asked.clone()).await);
        Self { asked, ..Self::start(core, instance_exchanges_max).await }
    }

    /// Before an origin that is also behind the first route.
    async fn start(core: CoreConfig, instance_exchanges_max: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = EdgeNode::start(Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            origin: core.routes[0].proxy.clone().unwrap(),
            tls: TlsConfig::default(),
            core,
            component: component(),
            page: PAGE,
            data_dir: folder.path().to_owned(),
            cache_bytes_max: 1 << 20,
            cache_disk_bytes_max: 0,
            instance_exchanges_max,
            // However slow the machine is, nothing is refused for that.
            shedding: Shedding { delay_ms_max: 0, requests_max: 1_000 },
            connections: ConnectionBounds { most: 1_000, of_network: 1_000 },
        })
        .await
        .unwrap();
        let edge = format!("http://{}", node.address().unwrap());
        let metrics = format!("http://{}/metrics", node.metrics_address().unwrap());
        tokio::spawn(node.run_until(std::future::pending()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { edge, metrics, asked: Arc::default(), client, _folder: folder }
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
        let url = if path.starts_with('/') { format!("{}{path}", self.edge) } else { path.into() };
        let mut request = Request::builder().uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }
}

fn component() -> &'static [u8] {
    let path = std::env::var_os("OUTPORT_COMPONENT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/outport/edge.cwasm"),
        PathBuf::from,
    );
    let component = std::fs::read(&path);
    component
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask build`", path.display()))
        .leak()
}

fn core(origin: String) -> CoreConfig {
    let secret = Secret::new(vec![7; 32]).unwrap();
    let roomy = Allowance { interval_us: 1, burst: 1_000_000 };
    CoreConfig {
        issuers: Vec::new(),
        issuer_secrets: BTreeMap::new(),
        link_keys: vec![secret.clone()],
        session_keys: Vec::new(),
        sessions: Default::default(),
        revoked_within_s: 0,
        related_within_s: 0,
        step_up_s: 0,
        edge_key: Key { id: "k1".into(), secret },
        operators: Vec::new(),
        guest: None,
        routes: vec![Route {
            path: "/legacy/{*rest}".into(),
            proxy: Some(origin),
            auth: Auth::None,
            cache: false,
            ..Route::default()
        }],
        limits: BTreeMap::from([(READ_LIMIT.into(), roomy), (WRITE_LIMIT.into(), roomy)]),
        shares: BTreeMap::new(),
        budgets: BTreeMap::new(),
        assets: BTreeMap::new(),
        cors_origins: Vec::new(),
        public_base_url: None,
        content_base_url: None,
        trusted_proxies: Vec::new(),
        country_field: None,
        firewall: Default::default(),
        uploads: Rules::same(TenantRules::sized(1 << 40).for_edge()),
        stored_bytes_max: 1 << 16,
        slice_bytes: 1 << 20,
        small_upload_bytes_max: 0,
        region: 0,
        request_bytes_max: None,
        upstream_timeout_ms: 5_000,
    }
}

/// An origin that has one public file, and counts what reaches it.
async fn origin(asked: Arc<AtomicU64>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let asked = asked.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                asked.fetch_add(1, Ordering::Relaxed);
                async move { Ok::<_, std::convert::Infallible>(answer(&request)) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path().starts_with("/legacy/") {
        let seen = format!("{} {}", request.method(), request.uri());
        return Response::builder().header("x-seen", seen).body(Full::from("legacy")).unwrap();
    }
    if request.uri().path() != format!("/files/{ID}") {
        return Response::builder().status(404).body(Full::default()).unwrap();
    }
    let record = FileRecord {
        tenant: "demo".into(),
        owner: "alice".into(),
        visibility: Visibility::Public,
        name: "a.txt".into(),
        expires_s: None,
        links_after_ms: None,
    };
    Response::builder()
        .header("etag", "\"v1\"")
        .header("content-type", "text/plain")
        .header("cache-control", "max-age=60")
        .header(FILE_HEADER, record.encode())
        .body(Full::from("0123456789"))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_get_does_not_reach_the_origin() {
    let setup = Setup::new(u64::MAX).await;
    let path = format!("/files/{ID}");
    let first = setup.get(&path, &[]).await;
    assert_eq!((first.status(), &first.body()[..]), (StatusCode::OK, &b"0123456789"[..]));
    let status = &first.headers()["cache-status"];
    assert_eq!(status, "outport; fwd=uri-miss; fwd-status=200; stored");
    let second = setup.get(&path, &[("range", "bytes=2-4")]).await;
    assert_eq!((second.status(), &second.body()[..]), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
    assert!(second.headers()["cache-status"].to_str().unwrap().starts_with("outport; hit; ttl="));
    assert_eq!(setup.asked.load(Ordering::Relaxed), 1);
    let metrics = setup.get(&setup.metrics, &[]).await;
    let metrics = String::from_utf8(metrics.body().to_vec()).unwrap();
    assert!(metrics.contains("outport_edge_requests_total{outcome=\"cache\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_and_go_and_the_cache_stays() {
    let setup = Setup::new(1).await;
    let path = format!("/files/{ID}");
    for _ in 0..20 {
        assert_eq!(setup.get(&path, &[]).await.status(), StatusCode::OK);
    }
    assert_eq!(setup.asked.load(Ordering::Relaxed), 1);
    let metrics = setup.get(&setup.metrics, &[]).await;
    let metrics = String::from_utf8(metrics.body().to_vec()).unwrap();
    let made = metrics.lines().find_map(|line| line.strip_prefix("outport_edge_instances_total "));
    assert!(made.unwrap().parse::<u64>().unwrap() >= 20, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_ask_once() {
    let setup = Arc::new(Setup::new(u64::MAX).await);
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let setup = setup.clone();
            tokio::spawn(async move { setup.get(&format!("/files/{ID}"), &[]).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().body(), "0123456789");
    }
    assert_eq!(setup.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served() {
    let setup = Setup::new(u64::MAX).await;
    let page = setup.get("/", &[]).await;
    assert_eq!(page.body(), "<!doctype html>");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let coded = setup.get("/", &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(
        (&coded.headers()["content-encoding"], coded.body()),
        (&"br".parse().unwrap(), &"coded".into())
    );
    let etag = coded.headers()["etag"].to_str().unwrap();
    let again = setup.get("/", &[("accept-encoding", "br"), ("if-none-match", etag)]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let script = setup.get("/assets/app.js", &[]).await;
    assert!(script.headers()["cache-control"].to_str().unwrap().contains("immutable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_proxied_and_the_rest_is_nothing() {
    let setup = Setup::new(u64::MAX).await;
    let proxied = setup.get("/legacy/a?b=c", &[]).await;
    assert_eq!(proxied.headers()["x-seen"], "GET /legacy/a?b=c");
    let nothing = setup.get("/elsewhere", &[]).await;
    assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    assert_eq!(nothing.headers()["content-type"], "application/problem+json");
    let unknown = setup.get(&format!("/files/{}", ID.replace('4', "5")), &[]).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_a_head_leaves_out_no_length_is_made_up() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", upstream.local_addr().unwrap());
    // A thread that nobody waits for: where the node answers by itself, it is never asked.
    std::thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").unwrap();
    });
    let setup = Setup::start(core(address), u64::MAX).await;
    let url = format!("{}/legacy/a", setup.edge);
    let request = Request::head(url).body(Empty::new()).unwrap();
    let answer = setup.client.request(request).await.unwrap();
    assert_eq!((answer.status(), answer.headers().get("content-length")), (StatusCode::OK, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_is_told_why() {
    let setup = Setup::new(u64::MAX).await;
    let refused = tokio::task::spawn_blocking(move || {
        let address = setup.edge.strip_prefix("http://").unwrap().to_owned();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let body = vec![7; 4 << 20];
        let head = format!(
            "POST /files HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(refused.await.unwrap().starts_with("HTTP/1.1 401 "));
}

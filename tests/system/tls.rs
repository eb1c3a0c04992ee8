//! TLS between clients, edge and origin: what is negotiated, who is refused, and what is read again
//! without a restart. And what comes twice.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use outport_tests::api::{Answer, Api};
use outport_tests::deployment::{Data, Running, program, run};
use outport_tests::secured::Secured;
use outport_tests::suite::Check;
use outport_tests::tls::{Authority, Issued, connect, negotiated};
use outport_tests::{check, random};
use reqwest::Method;
use ring::hmac;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The newest version, and a group that is a classical and a post-quantum one at once.
const BEST: (&str, &str) = ("TLSv1_3", "X25519MLKEM768");
/// How long something new may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(the_best_is_negotiated_and_the_whole_way_is_encrypted),
        check!(old_versions_are_refused),
        check!(silent_clients_keep_nobody_waiting),
        check!(what_an_edge_offers_an_origin),
        check!(an_origin_of_another_authority_is_not_believed),
        check!(clients_without_a_certificate_are_refused),
        check!(certificates_are_read_again),
        check!(files_that_are_of_no_use),
        check!(the_system_says_who_is_believed),
        check!(the_key_of_an_edge_is_nobodys_token),
        check!(a_request_is_taken_once),
        check!(keys_of_edges_are_replaced_without_a_restart),
    ]
}

async fn the_best_is_negotiated_and_the_whole_way_is_encrypted() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", true, Some("edge"));
    let origin = stage.start("origin", &config, &[]);
    let edge = stage.edge(&config, origin.ready("origin"));
    for (address, shown) in
        [(edge.ready("edge"), None), (origin.ready("origin"), Some(&stage.edge_shows))]
    {
        let authority = address.strip_prefix("https://").expect("it says that it speaks TLS");
        let stream = connect(stage.authority.client(shown), authority).await;
        let stream = stream.expect("it is believed");
        let best = negotiated(stream.get_ref().1);
        assert_eq!((best.0.as_str(), best.1.as_str()), BEST, "{address}");
    }
    // By HTTP/2, which the handshake agreed on, and from the edge to the origin.
    let file = stage.api(&edge).upload("name=a.txt", "text/plain", "content").await;
    let answer = stage.api(&edge).get(&file.path()).await;
    answer.expect_status(200);
    assert_eq!(answer.body, "content");
    assert!(answer.headers.contains_key("strict-transport-security"), "{:?}", answer.headers);
    for (offered, agreed) in [("h2", "h2"), ("http/1.1", "http/1.1")] {
        let mut client = stage.authority.client(None);
        client.alpn_protocols = vec![offered.into()];
        let stream = connect(client, stage.api(&edge).authority().as_str()).await;
        let stream = stream.expect("it is believed");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed.as_bytes()));
    }
}

/// TLS 1.1 and 1.0 are too old to be said with a library: by hand (RFC 4346, section 7.4.1.2).
async fn old_versions_are_refused() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", false, None);
    let origin = stage.start("origin", &config, &[]);
    let edge = stage.edge(&config, origin.ready("origin"));
    for address in [edge.ready("edge"), origin.ready("origin")] {
        for (version, taken) in [(0x0301, false), (0x0302, false), (0x0303, true)] {
            let authority = address.strip_prefix("https://").expect("it says so");
            let mut stream = TcpStream::connect(authority).await.expect("it listens");
            stream.write_all(&client_hello(version)).await.expect("it reads");
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await.expect("it answers");
            // A handshake, or the fatal alert protocol_version (RFC 8446, section 6.2).
            match taken {
                true => assert_eq!(answer[0], 22, "{address} {version:#06x}"),
                false => {
                    assert_eq!(
                        (answer[0], &answer[5..]),
                        (21, &[2, 70][..]),
                        "{address} {version:#06x}"
                    )
                }
            }
        }
    }
}

/// A hello of one version, with one suite for each.
fn client_hello(version: u16) -> Vec<u8> {
    let extension = |kind: u16, content: &[u8]| {
        let length = u16::try_from(content.len()).expect("it is short");
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), content].concat()
    };
    let extensions = [
        // The groups x25519 and P-256, points, and ECDSA with P-256, RSA with SHA-256.
        extension(10, &[0, 4, 0, 29, 0, 23]),
        extension(11, &[1, 0]),
        extension(13, &[0, 4, 4, 3, 4, 1]),
        extension(23, &[]),
    ]
    .concat();
    let mut hello = version.to_be_bytes().to_vec();
    hello.extend([7; 32]); // The random.
    // No session; ECDHE with AES-128 in GCM (TLS 1.2), in CBC (before), and no compression.
    hello.extend([0, 0, 6, 0xc0, 0x2b, 0xc0, 0x09, 0x00, 0x2f, 1, 0]);
    hello.extend(u16::try_from(extensions.len()).expect("it is short").to_be_bytes());
    hello.extend(extensions);
    let length = u32::try_from(hello.len()).expect("it is short").to_be_bytes();
    let message = [&[1][..], &length[1..], &hello].concat();
    let length = u16::try_from(message.len()).expect("it is short").to_be_bytes();
    [&[22, 3, 1][..], &length, &message].concat()
}

async fn silent_clients_keep_nobody_waiting() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", false, None);
    let origin = stage.start("origin", &config, &[]);
    let edge = stage.edge(&config, origin.ready("origin"));
    let authority = stage.api(&edge).authority();
    let mut silent = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(&authority).await.expect("it listens");
        stream.write_all(&client_hello(0x0303)[..20]).await.expect("it reads");
        silent.push(stream);
    }
    stage.api(&edge).get("/healthz").await.expect_status(200);
    // And each is let go of by itself.
    for mut stream in silent {
        let end = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    }
}

/// What an origin of the tests has seen of the edge.
#[derive(Default)]
struct Seen {
    negotiated: (String, String),
    certificate: Option<CertificateDer<'static>>,
}

/// An origin that takes one connection after the other, and answers 503 on each.
async fn origin_of_tests(stage: &Secured, shown: &Issued) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("https://{}", listener.local_addr().expect("it has an address"));
    let tls = TlsAcceptor::from(Arc::new(stage.authority.server(shown)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = tls.accept(stream).await else { continue };
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n")
                && !matches!(stream.read_buf(&mut read).await, Ok(0) | Err(_))
            {}
            let connection = stream.get_ref().1;
            let certificates = connection.peer_certificates().unwrap_or_default();
            noted.lock().expect("nobody panics with it").push(Seen {
                negotiated: negotiated(connection),
                certificate: certificates.first().map(|der| der.clone().into_owned()),
            });
            let answer = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, seen)
}

async fn what_an_edge_offers_an_origin() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", true, Some("edge"));
    let (url, seen) = origin_of_tests(&stage, &stage.origin_shows).await;
    let edge = stage.edge(&config, &url);
    let asked = async || {
        stage.api(&edge).get("/files").await;
        let seen = seen.lock().expect("nobody panics with it").pop();
        seen.expect("the origin was reached")
    };
    let first = asked().await;
    assert_eq!((first.negotiated.0.as_str(), first.negotiated.1.as_str()), BEST);
    assert_eq!(first.certificate, Some(stage.edge_shows.der()));
    // Its certificate is replaced, and shown without a restart.
    let next = stage.authority.issue();
    next.write(stage.data.path(), "edge");
    hang_up(&edge);
    until(async || asked().await.certificate == Some(next.der())).await;
}

async fn an_origin_of_another_authority_is_not_believed() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", false, None);
    Authority::new().issue().write(stage.data.path(), "origin");
    let origin = stage.start("origin", &config, &[]);
    let edge = stage.edge(&config, origin.ready("origin"));
    stage.api(&edge).get("/files").await.expect_problem(502, "origin-unreachable");
    // The edge speaks to nobody who is not believed, and to whom it does once that is one.
    stage.origin_shows.write(stage.data.path(), "origin");
    hang_up(&origin);
    until(async || stage.api(&edge).get("/files").await.status == 200).await;
}

async fn clients_without_a_certificate_are_refused() {
    let stage = Secured::new();
    let strict = stage.config("outport.toml", true, Some("edge"));
    let origin = stage.start("origin", &strict, &[]);
    let authority = origin.ready("origin").strip_prefix("https://").expect("it says so").to_owned();
    let theirs = Authority::new().issue();
    for shown in [None, Some(&theirs)] {
        let refused = async {
            let mut stream = connect(stage.authority.client(shown), &authority).await?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
            stream.read(&mut [0; 1]).await
        };
        let refused = refused.await;
        assert!(matches!(&refused, Err(_) | Ok(0)), "{refused:?}");
    }
    // An edge that shows none reaches nothing; health is asked at the origin's own door.
    let shows_none = stage.config("none.toml", true, None);
    let edge = stage.edge(&shows_none, origin.ready("origin"));
    stage.api(&edge).get("/files").await.expect_problem(502, "origin-unreachable");
    let door = origin.ready("origin_metrics").strip_suffix("/metrics").expect("it ends so");
    for path in ["/healthz", "/readyz"] {
        Api::new(door).get(path).await.expect_status(200);
    }
    Api::new(door).get("/files").await.expect_problem(401, "token-missing");
}

async fn certificates_are_read_again() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", false, None);
    let origin = stage.start("origin", &config, &[]);
    let edge = stage.edge(&config, origin.ready("origin"));
    for (node, address, name, first) in [
        (&edge, edge.ready("edge"), "edge", &stage.edge_shows),
        (&origin, origin.ready("origin"), "origin", &stage.origin_shows),
    ] {
        let authority = address.strip_prefix("https://").expect("it says so");
        let shown = async || {
            let stream = connect(stage.authority.client(None), authority).await;
            let stream = stream.expect("it is believed");
            let certificates = stream.get_ref().1.peer_certificates().expect("it shows one");
            certificates[0].clone().into_owned()
        };
        assert_eq!(shown().await, first.der());
        // One that can't be used changes nothing: a certificate without its key.
        let next = stage.authority.issue();
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        write(&stage.data.path().join(&certificate), &next.certificate);
        hang_up(node);
        until(async || log_has(&stage.data, name, "stays in use: key_file")).await;
        assert_eq!(shown().await, first.der());
        write(&stage.data.path().join(&key), &next.key);
        hang_up(node);
        until(async || shown().await == next.der()).await;
    }
}

async fn files_that_are_of_no_use() {
    let stage = Secured::new();
    let config = stage.config("outport.toml", true, Some("edge"));
    let origin = "https://127.0.0.1:1";
    for (name, content, command, said) in [
        ("edge.key", "", "edge", "[edge.tls]: key_file"),
        ("edge.crt", "-----BEGIN", "edge", "has no certificate in PEM"),
        ("origin.key", stage.edge_shows.key.as_str(), "origin", "[origin.tls]: key_file"),
        ("ca.crt", "no PEM", "origin", "client_ca_file"),
        ("ca.crt", "no PEM", "edge", "[edge.origin_tls]: ca_file"),
    ] {
        let path = stage.data.path().join(name);
        let right = std::fs::read_to_string(&path).expect("it is there");
        write(&path, content);
        let data = stage.path("");
        let mut failing = std::process::Command::new(program());
        failing.args([command, &format!("--{command}-port"), "0", "--data", &data]);
        failing.arg("--config").arg(&config);
        if command == "edge" {
            failing.args(["--origin", origin]);
        }
        let output = failing.output().expect("the program starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(said) && text.contains(name), "{text}");
        write(&path, &right);
    }
    // What was to be encrypted is not sent in the open.
    let config = config.to_str().expect("the path is text");
    let args = ["edge", "--config", config, "--origin", "http://127.0.0.1:1"];
    let output = std::process::Command::new(program()).args(args).output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// The system's list of authorities is where `SSL_CERT_FILE` says.
async fn the_system_says_who_is_believed() {
    let stage = Secured::new();
    let origin = stage.start("origin", &stage.config("outport.toml", false, None), &[]);
    let config = stage.data.path().join("route.toml");
    let url = origin.ready("origin");
    let text =
        format!("[[routes]]\npath = \"/it/{{*rest}}\"\nproxy = \"{url}\"\nauth = \"none\"\n");
    write(&config, &text);
    let config = config.to_str().expect("the path is text");
    let args = ["edge", "--edge-port", "0", "--config", config, "--origin", url];
    let ca = stage.path("ca.crt");
    let others = stage.path("others.crt");
    write(Path::new(&others), &Authority::new().certificate());
    for (file, status, kind) in [(&others, 502, "origin-unreachable"), (&ca, 401, "edge-signature")]
    {
        let edge = Running::start_within(&stage.data, &args, &[("SSL_CERT_FILE", file)]);
        // Who speaks to the origin through a route has no edge's signature.
        Api::new(edge.ready("edge")).get("/it/a").await.expect_problem(status, kind);
    }
    // So it is for the program's own clients.
    let edge = stage.edge(&stage.config("outport.toml", false, None), url);
    let ls = |authorities: &str| {
        let mut ls = std::process::Command::new(program());
        ls.args(["ls", "--server", edge.ready("edge"), "--data"]).arg(stage.data.path());
        ls.env("SSL_CERT_FILE", authorities);
        ls.output().expect("the program starts").status.code()
    };
    assert_eq!((ls(&ca), ls(&others)), (Some(0), Some(6)));
}

/// Who signs as an edge does.
struct Signer {
    id: String,
    secret: Vec<u8>,
}

impl Signer {
    /// With the key that edges sign with.
    fn of(data: &Data) -> Self {
        let text = std::fs::read(data.path().join("keys.json")).expect("there are keys");
        let keys: Value = serde_json::from_slice(&text).expect("they are JSON");
        let text = |name: &str| keys["edge"][name].as_str().expect("it is text").to_owned();
        let secret = URL_SAFE_NO_PAD.decode(text("secret")).expect("it is base64url");
        Self { id: text("id"), secret }
    }

    /// The fields of a request that was signed now.
    fn sign(&self, method: &str, path: &str, identity: &str) -> [(&'static str, String); 3] {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_secs();
        let params = format!(
            "(\"@method\" \"@path\" \"@query\" \"outport-identity\");created={now};expires={};\
             nonce=\"{}\";keyid=\"{}\";alg=\"hmac-sha256\"",
            now + 60,
            random::bytes(8).iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            self.id,
        );
        let base = format!(
            "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?\n\"outport-identity\": {identity}\n\
             \"@signature-params\": {params}"
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let signature = STANDARD.encode(hmac::sign(&key, base.as_bytes()));
        [
            ("outport-identity", identity.to_owned()),
            ("signature-input", format!("edge={params}")),
            ("signature", format!("edge=:{signature}:")),
        ]
    }
}

async fn sent(
    origin: &str,
    method: Method,
    path: &str,
    signed: &[(&'static str, String)],
) -> Answer {
    let fields: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Api::new(origin).send(method, path, &fields, "").await
}

fn with_token(signed: [(&'static str, String); 3], token: &str) -> Vec<(&'static str, String)> {
    signed.into_iter().chain([("authorization", format!("Bearer {token}"))]).collect()
}

async fn the_key_of_an_edge_is_nobodys_token() {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let (url, signer) = (origin.ready("origin"), Signer::of(&data));
    let root = "demo;root;admin";
    let sign = || signer.sign("POST", "/files", root);
    sent(url, Method::POST, "/files", &sign()).await.expect_problem(401, "edge-signature");
    let of = |tenant, subject, scopes| {
        let token = data.token(tenant, subject, scopes, "1h");
        with_token(sign(), &token)
    };
    for others in
        [of("demo", "root", "read"), of("demo", "bob", "admin"), of("acme", "root", "admin")]
    {
        let refused = sent(url, Method::POST, "/files", &others).await;
        refused.expect_problem(401, "edge-signature");
    }
    let forged = with_token(sign(), &data.token("demo", "root", "admin", "1h").replace('.', ".e"));
    sent(url, Method::POST, "/files", &forged).await.expect_problem(401, "token-malformed");
    sent(url, Method::POST, "/files", &of("demo", "root", "admin")).await.expect_status(201);
    // What is only read, an edge alone may ask for.
    let listed = sent(url, Method::GET, "/files", &signer.sign("GET", "/files", root)).await;
    assert_eq!(listed.json()["files"].as_array().map(Vec::len), Some(1));

    let config = data.config("[origin]\nchecks_tokens = false\n");
    let config = config.to_str().expect("the path is text");
    drop(origin);
    let origin = Running::start(&data, &["origin", "--origin-port", "0", "--config", config]);
    let believed = sent(origin.ready("origin"), Method::POST, "/files", &sign()).await;
    believed.expect_status(201);
}

async fn a_request_is_taken_once() {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let (url, signer) = (origin.ready("origin"), Signer::of(&data));
    let alice = "demo;alice;read write";
    let token = data.token("demo", "alice", "read write", "1h");
    let sign = || with_token(signer.sign("POST", "/files", alice), &token);
    let signed = sign();
    sent(url, Method::POST, "/files", &signed).await.expect_status(201);
    sent(url, Method::POST, "/files", &signed).await.expect_problem(401, "edge-signature");
    sent(url, Method::POST, "/files", &sign()).await.expect_status(201);
    let page = signer.sign("GET", "/files", alice);
    for _ in 0..2 {
        // What changes nothing may come again, as those on the way may send it.
        let listed = sent(url, Method::GET, "/files", &page).await;
        listed.expect_status(200);
        assert_eq!(listed.json()["files"].as_array().map(Vec::len), Some(2));
    }
}

async fn keys_of_edges_are_replaced_without_a_restart() {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let edge = Running::edge(&data, origin.ready("origin"), &[]);
    let api = Api::new(edge.ready("edge"));
    let api = api.with_token(&data.token("demo", "demo", "read write", "1h"));
    let old = Signer::of(&data);
    let folder = data.path().to_str().expect("the path is text").to_owned();
    let keys = |args: &[&str]| run([&["keys"], args, &["--data", &folder]].concat());
    // Somebody uploads all the time, and is never refused.
    let uploading = tokio::spawn({
        let api = api.clone();
        async move {
            for number in 0..u64::MAX {
                api.upload(&format!("name={number}"), "text/plain", "content").await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    let id = keys(&["add"]);
    let refused = std::process::Command::new(program())
        .args(["keys", "use", &id, "--data", &folder])
        .output()
        .expect("the program starts");
    assert_eq!(refused.status.code(), Some(2), "the origin may not know it yet: {refused:?}");
    hang_up(&origin);
    // What the origin takes shows in what it answers to who signs with it.
    keys(&["use", &id, "--now"]);
    let new = Signer::of(&data);
    assert_eq!(new.id, id);
    let url = origin.ready("origin");
    let status = async |signer: &Signer| {
        let signed = signer.sign("GET", "/files", "demo;alice;read");
        sent(url, Method::GET, "/files", &signed).await.status
    };
    until(async || status(&new).await == 200).await;
    assert_eq!(status(&old).await, 200, "an edge may still sign with it");
    hang_up(&edge);
    until(async || log_has(&data, "edge", "signs with another key")).await;
    keys(&["remove", &old.id, "--now"]);
    hang_up(&origin);
    until(async || status(&old).await == 401).await;
    assert_eq!(status(&new).await, 200);
    api.upload("name=last", "text/plain", "content").await;
    assert!(!uploading.is_finished(), "an upload was refused");
    uploading.abort();
    assert_eq!(keys(&["list"]), format!("{id}  signs"));
}

/// Whether the log of a node says this.
fn log_has(data: &Data, node: &str, text: &str) -> bool {
    let logs = std::fs::read_dir(data.path()).expect("the folder is there");
    logs.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let own = name.starts_with(node) && name.ends_with(".log");
        own.then(|| std::fs::read_to_string(&path).unwrap_or_default())
    })
    .any(|log| log.contains(text))
}

/// Asks a node to read its files again.
fn hang_up(node: &Running) {
    let pid = i32::try_from(node.id()).ok().and_then(Pid::from_raw).expect("it has an id");
    kill_process(pid, Signal::HUP).expect("it runs");
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to be so");
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the folder can be written to");
}

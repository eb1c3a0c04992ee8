//! An origin on a free port, and an edge that signs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use outport_origin::{Config, Data, Origin};
use outport_wire::edge_signature::{Signed, sign};
use outport_wire::identity::{Identity, Scopes};
use outport_wire::rules::{Rules, TenantRules};
use outport_wire::secret::{Key, Secret};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// An origin that stops when it is told to, and leaves its data in a folder.
pub(crate) struct Running {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    data: Data,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn edge_key() -> Key {
    Key { id: "test".into(), secret: Secret::new(vec![1; 32]).unwrap() }
}

pub(crate) fn link_key() -> Secret {
    Secret::new(vec![2; 32]).unwrap()
}

/// A configuration with small parts, so that short uploads have many.
pub(crate) fn config(folder: &Path) -> Config {
    let mut config = Config::new(folder, vec![edge_key()], link_key());
    config.storage.chunk_bytes = 1 << 10;
    config.storage.part_bytes_min = 4 << 10;
    config.rules = Rules::same(TenantRules::sized(1 << 20));
    config
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(folder.path());
        change(&mut config);
        Self::run(folder, Origin::bind(config).await.unwrap())
    }

    fn run(folder: TempDir, origin: Origin) -> Self {
        let (address, metrics) = (origin.address().unwrap(), origin.metrics_address().unwrap());
        let data = origin.data();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(origin.run(async { drop(stopped.await) }));
        Self { folder, address, metrics, data, stop, task }
    }

    /// Another origin on the same data. Its folder holds nothing but what it is operated by.
    pub(crate) async fn beside(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        Self::run(folder, Origin::bind_on(config, self.data.clone()).await.unwrap())
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        self.folder
    }

    /// A caller known as `subject` of `tenant`, with `scopes`.
    pub(crate) fn caller(&self, tenant: &str, subject: &str, scopes: &str) -> Caller {
        let identity = Identity::new(tenant, subject, Scopes::parse(scopes)).unwrap();
        Caller {
            address: self.address,
            identity: Some(identity.encode()),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) fn alice(&self) -> Caller {
        self.caller("demo", "alice", "read write share")
    }

    /// The edge itself, or an anonymous caller.
    pub(crate) fn nobody(&self) -> Caller {
        Caller { identity: None, ..self.alice() }
    }
}

impl Running {
    /// Somebody who knocks at the port of metrics and administration.
    pub(crate) fn operator(&self) -> Caller {
        Caller { address: self.metrics, ..self.nobody() }
    }
}

/// Somebody whose requests an edge signs.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    identity: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The status and the slug of the problem that was answered.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status);
        let kind = document["type"].as_str().unwrap();
        let registered = "https://iana.org/assignments/http-problem-types#";
        let slug = kind.strip_prefix("urn:outport:problem:").or(kind.strip_prefix(registered));
        (self.status, slug.unwrap().to_owned())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Caller {
    /// The fields that an edge adds to a request.
    pub(crate) fn signed(&self, method: &str, target: &str) -> Vec<(&'static str, String)> {
        self.signed_with(method, target, None)
    }

    /// The same, for content that has this digest.
    pub(crate) fn signed_with(
        &self,
        method: &str,
        target: &str,
        content_digest: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let identity = self.identity.as_deref();
        let signed = Signed { method, path, query, identity, content_digest };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let signature = sign(&edge_key(), &signed, now, rand::random());
        let mut fields =
            vec![("signature-input", signature.input), ("signature", signature.signature)];
        fields.extend(self.identity.clone().map(|identity| ("outport-identity", identity)));
        fields
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let digest = fields.iter().find(|(name, _)| *name == "content-digest");
        let signed = self.signed_with(method, target, digest.map(|(_, value)| *value));
        let signed: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send_unsigned(method, target, &[&signed[..], fields].concat(), body).await
    }

    pub(crate) async fn send_unsigned(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{target}", self.address));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response: Response<_> = self.client.request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.send("GET", target, fields, "").await
    }

    /// A request of tus 1.0.
    pub(crate) async fn tus(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let fields = [&[("tus-resumable", "1.0.0")], fields].concat();
        self.send(method, target, &fields, body).await
    }

    /// Begins an upload; returns its target.
    pub(crate) async fn begin(&self, length: usize, metadata: &str) -> String {
        let length = length.to_string();
        let fields = [("upload-length", length.as_str()), ("upload-metadata", metadata)];
        let answer = self.tus("POST", "/uploads", &fields, "").await.expect(201);
        assert_eq!(answer.header("upload-offset"), Some("0"));
        answer.header("location").unwrap().to_owned()
    }

    pub(crate) async fn patch(
        &self,
        upload: &str,
        offset: usize,
        body: impl Into<Bytes>,
    ) -> Answer {
        let offset = offset.to_string();
        let fields = [
            ("upload-offset", offset.as_str()),
            ("content-type", "application/offset+octet-stream"),
        ];
        self.tus("PATCH", upload, &fields, body).await
    }

    /// Where an upload is, by HEAD.
    pub(crate) async fn offset(&self, upload: &str) -> usize {
        let answer = self.tus("HEAD", upload, &[], "").await.expect(200);
        answer.header("upload-offset").unwrap().parse().unwrap()
    }

    /// Stores a file in one request; returns its target.
    pub(crate) async fn store(&self, query: &str, body: impl Into<Bytes>) -> String {
        let answer = self.send("POST", &format!("/files?{query}"), &[], body).await.expect(201);
        answer.header("location").unwrap().to_owned()
    }
}

/// Nothing that is waited for takes as long, on a machine that has much else to do, unless it never
/// comes. What a killed process had claimed takes the longest: nobody else sends it before the
/// claim is over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until it is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "it does not come");
}

/// Bytes that differ from place to place.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// `Upload-Metadata` of one pair.
pub(crate) fn pair(key: &str, value: &str) -> String {
    format!("{key} {}", STANDARD.encode(value))
}

/// `/files/{id}` for `/uploads/{id}`.
pub(crate) fn file_of(upload: &str) -> String {
    upload.replace("/uploads/", "/files/")
}

/// How many parts lie in a data folder, unfinished ones included.
pub(crate) fn parts_in(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder.join("blobs")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

//! What one decision costs at the component's boundary: a cached file, without a socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use jwt_simple::prelude::*;
use outport_edge_core::config::{Config, Issuer, READ_LIMIT, WRITE_LIMIT};
use outport_edge_core::key_set::Jwk;
use outport_edge_core::platform::WASMTIME;
use outport_edge_core::step::{
    Allowance, Left, Looked, Moment, Need, Outcome, Reply, Taken, UpstreamHead,
};
use outport_edge_core::{Edge, Exchange, step};
use outport_edge_host::Boundary;
use outport_wire::file::{FILE_HEADER, FileRecord, Visibility};
use outport_wire::rules::{Rules, TenantRules};
use outport_wire::secret::{Key, Secret};

pub(crate) const ID: &str = "01000G0000000C000000000004";
const ROUNDS: usize = 7;
const EXCHANGES: u32 = 50_000;

#[derive(Serialize, Deserialize)]
struct Custom {
    tenant: &'static str,
    scope: &'static str,
}

/// Prints the median cost of an exchange, in the component and natively.
pub(crate) fn run() -> Result<()> {
    let pair = Ed25519KeyPair::generate().with_key_id("k1");
    let config = config(&pair)?;
    let compiled = std::fs::read(component()).context("run `cargo xtask build` first")?;
    let boundary = Boundary::new(&compiled, &config, WASMTIME.abilities)
        .map_err(|error| anyhow!("{error}"))?;
    let mut edge = Edge::new(config, WASMTIME.abilities).map_err(|error| anyhow!(error))?;
    for (name, visibility, token) in
        [("public", Visibility::Public, None), ("token", Visibility::Private, Some(token(&pair)?))]
    {
        let head = head(token.as_deref());
        let stored = boundary
            .decide(head.clone(), [192, 0, 2, 1], now(), |need| fill(need, visibility))
            .map_err(|error| anyhow!(error))?
            .store
            .context("the first exchange stores the file")?;
        let found = |need: Need| answer(need, &stored.head);
        let component = median(|| {
            boundary
                .decide(head.clone(), [192, 0, 2, 1], now(), found)
                .map_err(|error| anyhow!(error))
        })?;
        let native = median(|| native(&mut edge, &head, found))?;
        println!(
            "{name:7} one exchange of two calls: {component:.2} µs in the component, \
             {native:.2} µs natively"
        );
    }
    Ok(())
}

/// The same decision without the component's boundary.
fn native(edge: &mut Edge, head: &[u8], answer: impl Fn(Need) -> Outcome) -> Result<Reply> {
    let connection = step::Connection::new("192.0.2.1".parse()?, false);
    let request = step::Request { head, connection };
    let mut next = edge.begin(&request, now());
    loop {
        let (exchange, needs) = match next {
            step::Step::Reply(reply) => return Ok(reply),
            step::Step::ReplyFirst(reply, ..) => return Ok(*reply),
            step::Step::Needs(exchange, needs) => (exchange, needs),
        };
        let exchange = Exchange::from_bytes(&exchange.to_bytes()).context("it comes back")?;
        next = edge.resume(exchange, needs.into_iter().map(&answer).collect(), now());
    }
}

/// Microseconds per exchange: the median of several rounds.
fn median(mut exchange: impl FnMut() -> Result<Reply>) -> Result<f64> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..EXCHANGES {
            let reply = exchange()?;
            anyhow::ensure!(reply.status == 200, "the answer is {}", reply.status);
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(EXCHANGES));
    }
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().context("there are rounds")
}

/// Outcomes of a first exchange: nothing is stored, and the origin has the file.
pub(crate) fn fill(need: Need, visibility: Visibility) -> Outcome {
    match need {
        Need::Lookup { .. } => Outcome::Looked(Looked::Vacant),
        Need::Verify { .. } => Outcome::Verified(true),
        Need::Fetch(_) => {
            let record = FileRecord {
                tenant: "demo".into(),
                owner: "demo".into(),
                visibility,
                name: "a file.bin".into(),
                expires_s: None,
                links_after_ms: None,
            };
            let fields = format!(
                "etag: \"{ID}\"\r\ncontent-type: application/octet-stream\r\ncontent-length: 4096\r\n\
                 last-modified: Tue, 24 Nov 2026 06:49:10 GMT\r\ncache-control: max-age=60\r\n\
                 {FILE_HEADER}: {}\r\n",
                record.encode()
            );
            Outcome::Fetched(Ok(UpstreamHead { status: 200, fields: fields.into_bytes() }))
        }
        need => answer(need, &[]),
    }
}

/// Outcomes of all later exchanges.
pub(crate) fn answer(need: Need, head: &[u8]) -> Outcome {
    match need {
        Need::Lookup { .. } => Outcome::Looked(Looked::Found {
            head: head.to_vec(),
            body: true,
            forms: Vec::new(),
            purged: false,
            lead: false,
            collapsed: false,
        }),
        Need::Take { .. } => {
            let left = Left { remaining: 9, retry_us: 0, full_us: 9 };
            Outcome::Taken(Taken { allowed: true, left: Some(left) })
        }
        _ => Outcome::Verified(true),
    }
}

/// The head of an ordinary browser's request.
pub(crate) fn head(token: Option<&str>) -> Vec<u8> {
    let mut head = format!(
        "GET /files/{ID}/a%20file.bin HTTP/1.1\r\nhost: files.example\r\n\
         user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36\r\n\
         accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
         accept-language: en-GB,en;q=0.9,de;q=0.8\r\naccept-encoding: gzip, deflate, br, zstd\r\n\
         sec-ch-ua: \"Chromium\";v=\"140\"\r\nsec-ch-ua-mobile: ?0\r\nsec-fetch-site: none\r\n\
         sec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\nupgrade-insecure-requests: 1\r\n"
    );
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    head.into_bytes()
}

fn token(pair: &Ed25519KeyPair) -> Result<String> {
    let custom = Custom { tenant: "demo", scope: "read write share admin" };
    let claims = Claims::with_custom_claims(custom, Duration::from_hours(1))
        .with_issuer("outport")
        .with_audience("outport")
        .with_subject("demo");
    pair.sign(claims).map_err(|error| anyhow!("{error}"))
}

fn config(pair: &Ed25519KeyPair) -> Result<Config> {
    config_with(vec![Jwk::ed25519("k1", &pair.public_key().to_bytes())])
}

/// A configuration whose issuer has these keys.
pub(crate) fn config_with(keys: Vec<Jwk>) -> Result<Config> {
    let secret = Secret::new(vec![7; 32])?;
    let roomy = Allowance { interval_us: 1, burst: 1_000_000 };
    Ok(Config {
        issuers: vec![Issuer {
            name: "outport".into(),
            audiences: vec!["outport".into()],
            keys,
            ..Issuer::default()
        }],
        issuer_secrets: BTreeMap::new(),
        link_keys: vec![secret.clone()],
        session_keys: Vec::new(),
        sessions: Default::default(),
        revoked_within_s: 0,
        related_within_s: 15,
        step_up_s: 0,
        edge_key: Key { id: "k1".into(), secret },
        operators: Vec::new(),
        guest: None,
        routes: Vec::new(),
        limits: BTreeMap::from([(READ_LIMIT.into(), roomy), (WRITE_LIMIT.into(), roomy)]),
        shares: BTreeMap::new(),
        budgets: BTreeMap::new(),
        assets: BTreeMap::new(),
        cors_origins: vec!["*".into()],
        public_base_url: None,
        content_base_url: None,
        trusted_proxies: Vec::new(),
        country_field: None,
        firewall: Default::default(),
        uploads: Rules::same(TenantRules::sized(1 << 40).for_edge()),
        stored_bytes_max: 1 << 20,
        slice_bytes: 1 << 20,
        small_upload_bytes_max: 0,
        region: 0,
        request_bytes_max: None,
        upstream_timeout_ms: 1_000,
    })
}

pub(crate) fn component() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/outport/edge.cwasm");
    std::env::var_os("OUTPORT_COMPONENT").map_or_else(|| default.into(), PathBuf::from)
}

pub(crate) fn now() -> Moment {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let unix_ms = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or_default();
    Moment { unix_ms, random: 7 }
}

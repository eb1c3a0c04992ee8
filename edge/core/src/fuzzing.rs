//! What fuzz targets call, and what the tests give mutated bytes to: each function takes anything,
//! and asserts what holds of whatever is made of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use outport_mutate::Target;
use outport_wire::identity::Identity;
use outport_wire::rules::{Rules as UploadRules, TenantRules};
use outport_wire::secret::{Key, Secret};
use outport_wire::session::SessionId;

use crate::challenge::{self, Challenge};
use crate::config::{Budget, Config, Issuer, READ_LIMIT, WRITE_LIMIT};
use crate::country::Country;
use crate::deployment::{self, Deployment};
use crate::dictionary::Pattern;
use crate::esi::{self, Item};
use crate::exchange::{Edge, Exchange};
use crate::firewall::{Asking, CoreSet, Firewall, Rule, Rules, Who};
use crate::forwarded::TrustedProxies;
use crate::guard::{canonical_path, guard, has_dot_segment};
use crate::head::{FieldLines, Fields};
use crate::issuer::Trusted;
use crate::key_set::{Algorithm, Jwk};
use crate::marks::Tagged;
use crate::route::Routes;
use crate::session::cookie::{self, Refreshing, Session, Short};
use crate::sharing;
use crate::step::{
    Abilities, Allowance, Connection, Durable, FetchError, Kept, KeptHead, Looked, Moment, Need,
    Outcome, Reply, Request, Shared, Step, Taken, UpstreamHead,
};
use crate::stored::{Stored, StoredFile, read_record};
use crate::token::Unverified;

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    Target {
        name: "head",
        parse: head,
        examples: &[
            b"GET /files/01000G0000000C000000000004?download HTTP/1.1\r\nhost: x\r\nrange: bytes=0-9\r\n",
            b"OPTIONS * HTTP/1.1\r\nhost: x\r\n",
            b"GET /a/%2e%2e/b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n",
        ],
    },
    Target {
        name: "request",
        parse: request,
        examples: &[
            b"GET /files/01000G0000000C000000000004/a.txt HTTP/1.1\r\nhost: x\r\n\
              if-none-match: \"abc\"\r\n",
            b"GET /files/01000G0000000C000000000004?expires=9&signature=AAAA HTTP/1.1\r\nhost: x\r\n\
              range: bytes=0-9\r\nif-range: \"abc\"\r\n",
            b"POST /uploads HTTP/1.1\r\nhost: x\r\ntus-resumable: 1.0.0\r\nupload-length: 5\r\n\
              upload-metadata: filename YQ==\r\nauthorization: Bearer a.b.c\r\n",
            b"PATCH /uploads/01000G0000000C000000000004 HTTP/1.1\r\nhost: x\r\nupload-offset: 0\r\n\
              content-type: application/partial-upload\r\nupload-complete: ?1\r\n",
            b"OPTIONS /uploads HTTP/1.1\r\nhost: x\r\norigin: https://a.example\r\n\
              access-control-request-method: PATCH\r\n",
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
        ],
    },
    Target {
        name: "template",
        parse: template,
        examples: &[
            b"<p><esi:include src='/a?b=$(CLAIM{subject})' alt=\"/b\" onerror=\"continue\"/></p>",
            b"<!--esi <esi:vars>$(CLAIM{tenant}|'x')</esi:vars> --><esi:remove>a</esi:remove>",
            b"<esi:try><esi:attempt>a</esi:attempt><esi:except>b</esi:except></esi:try>",
        ],
    },
    Target {
        name: "forwarded",
        parse: forwarded,
        examples: &[
            b"forwarded: for=\"[2001:db8::1]:47\";proto=https;host=a.example, for=10.0.0.2\r\n",
            b"x-forwarded-for: 9.9.9.9, 8.8.8.8:1\r\nx-forwarded-proto: https, http\r\n",
        ],
    },
    Target {
        name: "exchange",
        parse: exchange,
        examples: &[b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"\x01\x04GET \x02\x03\0\0\0\0\x01\x01"],
    },
    Target {
        name: "token",
        parse: token,
        examples: &[
            b"eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJpIiwiYXVkIjoiYSIsInN1YiI6InMiLCJ0ZW\
              5hbnQiOiJ0IiwiZXhwIjoyMDAwMDAwMDAwLCJzY29wZSI6InJlYWQifQ.AAAA",
            b"{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}.{\"iss\":\"i\",\"aud\":[\"a\"],\"sub\":\"s\",\
              \"tenant\":\"t\",\"exp\":2000000000,\"nbf\":1,\"iat\":18446744073709551615}",
        ],
    },
    Target {
        name: "cookie",
        parse: cookie,
        examples: &[
            b"a=b; __Host-outport=AAAA.AAAA; __Host-outport-refresh=AAAA.AAAA",
            b"__Host-outport=BzAwMDAwMDAwMDAwMDAwMDcEZGVtbwVhbGljZQMA.AAAA",
            b"outport-pass=eyJmb3IiOnt9fQ.AAAA; outport-pass=a",
            b"outport-proof=AAAAAGtJ0jwSAAAAAAAAAAfKk1VXQ0Ij3cS0LzYy0BHZ.123",
            // White space is that of HTTP alone.
            b"\x0c__Host-outport\x0b=A.A; \xc2\xa0__Host-outport=B.B;\t__Host-outport\t=C.C",
        ],
    },
    Target {
        name: "rules",
        parse: rules,
        examples: &[
            b"{\"name\":\"a\",\"match\":{\"paths\":[\"/x/*\"],\"methods\":[\"GET\"]},\"action\":{\"deny\":null}}\n\
              GET /x/%2e/a;b/../c?d=e HTTP/1.1\r\nhost: x\r\n",
            b"{\"name\":\"b\",\"match\":{\"networks\":[\"192.0.2.0/24\"],\"headers\":{\"x-a\":\
              {\"contains\":\"b\"}}},\"unless\":{\"query\":[\"t*\"]},\"action\":\"allow\",\"dry_run\":true}\n\
              POST /a HTTP/1.1\r\nhost: x\r\nx-a: abc\r\n",
        ],
    },
    Target {
        name: "stored",
        parse: stored,
        examples: &[
            b"\0\ntext/plain\x05\"abc\"\x1dTue, 24 Nov 2026 06:49:10 GMT\x05\x04demo\x05alice\x05a.txt\
              \0\0\0\0\xe0\xd4\x03\xb0\xea\x01\x80\xee\x9b)\0",
            b"\x01\x05",
            b"\x02\x05\xf4\x03",
        ],
    },
    Target {
        name: "origin_answer",
        parse: origin_answer,
        examples: &[
            b"etag: \"abc\"\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\
              last-modified: Tue, 24 Nov 2026 06:49:10 GMT\r\n\
              cache-control: max-age=60, stale-while-revalidate=30, stale-if-error=86400\r\n\
              outport-file: eyJ0ZW5hbnQiOiJkZW1vIiwib3duZXIiOiJhbGljZSIsInZpc2liaWxpdHkiOiJwdWJsaWMi\
              LCJuYW1lIjoiYSJ9\r\n",
        ],
    },
    Target {
        name: "deployment",
        parse: deployment,
        examples: &[
            b"{\"core\":{\"issuers\":[],\"limits\":{},\"uploads\":{\"default\":{\"declared\":{\"size_max_bytes\":9}}},\"stored_bytes_max\":9,\
              \"upstream_timeout_ms\":9,\"routes\":[{\"path\":\"/api/{*rest}\",\
              \"proxy\":\"http://a\"}]},\"origin\":\"http://o\"}\n\
              {\"link_keys\":[],\"edge_key\":{\"id\":\"k\",\
              \"secret\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}",
        ],
    },
    Target {
        name: "dictionary",
        parse: dictionary,
        examples: &[
            b"match=\"/app/*.js\", id=\"one\", type=raw, match-dest=(\"script\" \"style\")",
            b"match=\"https://x/a*b/*?v=*&c\";d=1",
            b"match=\"?v=*\", match=\"c.*\"",
        ],
    },
    Target { name: "tagged", parse: tagged, examples: &[b"0", b"19ac0a2b3c4 9f3e 0 ffffffffffffffff"] },
];

/// A dictionary is for its own origin alone, for the same URLs when it is told of, and for whatever
/// stands for its stars.
pub fn dictionary(bytes: &[u8]) {
    let Some(pattern) = Pattern::said(bytes, "https://x", "/a/b?c") else { return };
    let text = pattern.text();
    assert!(text.starts_with('/') && !text.starts_with("//"), "{text}");
    for filled in ["", "d", "/d/e", "*"] {
        assert!(pattern.matches(&text.replace('*', filled)), "{text}");
    }
    let again = format!("match=\"{text}\"");
    assert_eq!(Pattern::said(again.as_bytes(), "http://y", "/"), Some(pattern));
}

/// What is remembered of what is stored is written as it means, and read the same again.
pub fn tagged(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).ok();
    let Some(tagged) = text.and_then(Tagged::parse) else { return };
    assert_eq!(Tagged::parse(&tagged.to_string()), Some(tagged));
}

/// What the guard lets pass is one path with one meaning, and comes apart and together again.
pub fn head(bytes: &[u8]) {
    let Ok(request) = guard(bytes) else { return };
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(request.target, format!("{}{query}", request.path));
    assert!(request.path.starts_with('/') || request.path == "*", "{}", request.path);
    assert!(request.path.split('/').all(|segment| !matches!(segment, "." | "..")));
    assert!(
        !request
            .path
            .to_ascii_lowercase()
            .split('/')
            .any(|segment| { matches!(segment.replace("%2e", ".").as_str(), "." | "..") })
    );
    let canonical = canonical_path(request.path);
    assert!(!has_dot_segment(&canonical) && !canonical.windows(2).any(|pair| pair == b"//"));
    assert!(!canonical.contains(&b';') && !canonical.iter().any(u8::is_ascii_control));
    assert!(request.fields.get("host").is_some());
    assert_eq!(request.fields.iter().count(), request.lines.iter().count());
    // Field lines that are written anew never make more lines than there were.
    let mut fields = Fields::new();
    for (name, value) in request.fields.iter().filter(|(name, _)| is_token(name)) {
        fields.push(name, value);
    }
    let written = fields.into_bytes();
    assert!(FieldLines::new(&written).iter().count() <= request.fields.iter().count());
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whatever is asked gets an answer, whatever the driver's luck is, and between any two steps the
/// exchange crosses as bytes.
pub fn request(bytes: &[u8]) {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for luck in 0..LUCKS {
        let Some(mut edge) = edge() else { return };
        let mut step = edge
            .begin(&Request { head: bytes, connection: Connection::new(peer, luck == 0) }, MOMENT);
        let mut steps = 0;
        loop {
            let (exchange, needs) = match step {
                Step::Reply(reply) => {
                    check_reply(&reply);
                    break;
                }
                Step::ReplyFirst(reply, exchange, needs) => {
                    check_reply(&reply);
                    assert_eq!(reply.store, None);
                    (exchange, needs)
                }
                Step::Needs(exchange, needs) => (exchange, needs),
            };
            steps += 1;
            assert!(steps <= STEPS_MAX, "an exchange without an end");
            let crossed = Exchange::from_bytes(&exchange.to_bytes());
            assert_eq!(crossed.as_ref(), Some(&exchange));
            let outcomes = needs.iter().map(|need| outcome(need, luck)).collect();
            step = edge.resume(exchange, outcomes, MOMENT);
        }
    }
}

fn check_reply(reply: &Reply) {
    assert!((200..600).contains(&reply.status), "{}", reply.status);
    let lines = reply.fields.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert_eq!(lines.count(), FieldLines::new(&reply.fields).iter().count());
}

/// Whatever a client claims, it is who the trusted proxy saw.
pub fn forwarded(bytes: &[u8]) {
    let Ok(trusted) = TrustedProxies::parse(&["127.0.0.1"]) else { return };
    let trusted = trusted.telling_country(Some("host".to_owned()));
    let (peer, seen) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv4Addr::new(192, 0, 2, 1));
    let _ = trusted.client(Connection::new(peer, false), FieldLines::new(bytes));
    let stranger = trusted.client(Connection::new(seen.into(), false), FieldLines::new(bytes));
    assert_eq!((stranger.address, stranger.secure, stranger.host), (seen.into(), false, None));
    assert_eq!(stranger.country, Country::UNKNOWN);
    let added: &[u8] = b"\r\nforwarded: for=192.0.2.1\r\n";
    let lines = [bytes, added].concat();
    let client = trusted.client(Connection::new(peer, false), FieldLines::new(&lines));
    assert_eq!((client.address, client.secure, client.host), (seen.into(), false, None));
}

/// Bytes that are an exchange come back, and one that nobody made is gone on with all the same.
pub fn exchange(bytes: &[u8]) {
    let Some(exchange) = Exchange::from_bytes(bytes) else { return };
    assert_eq!(Exchange::from_bytes(&exchange.to_bytes()).as_ref(), Some(&exchange));
    let Some(mut edge) = edge() else { return };
    for outcomes in [
        vec![],
        vec![Outcome::Verified(true)],
        vec![Outcome::Looked(Looked::Vacant)],
        vec![Outcome::Taken(Taken { allowed: true, left: None }), Outcome::Value(Some(9))],
        vec![Outcome::Fetched(Err(FetchError::Timeout))],
    ] {
        drop(edge.resume(exchange.clone(), outcomes, MOMENT));
    }
}

/// No token is good without its signature. Parts in JSON are encoded first.
pub fn token(bytes: &[u8]) {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(issuers) = TRUSTED.as_ref() else { return };
    let encoded = text.split("}.").map(|part| {
        let part = if part.starts_with('{') { format!("{part}}}") } else { part.to_owned() };
        URL_SAFE_NO_PAD.encode(part.trim_end_matches("}}"))
    });
    let encoded = encoded.chain([URL_SAFE_NO_PAD.encode([0; 64])]).collect::<Vec<_>>().join(".");
    for token in [text, encoded.as_str()] {
        if let Ok(unverified) = Unverified::read(token, issuers, None, MOMENT.unix_s()) {
            assert!(unverified.verify(MOMENT.unix_s()).is_err(), "{token}");
            let grant = unverified.into_grant();
            assert!(grant.check(MOMENT.unix_s()).is_ok());
        }
    }
}

/// No cookie is good that no edge has signed, and none of ours is told to others.
pub fn cookie(bytes: &[u8]) {
    let Ok(keys) = [1, 2].map(|byte| Secret::new(vec![byte; 32])).into_iter().collect() else {
        return;
    };
    let keys: Vec<Secret> = keys;
    let head = [b"GET / HTTP/1.1\r\nhost: x\r\ncookie: ", bytes, b"\r\n"].concat();
    if let Ok(request) = guard(&head) {
        let challenge = Challenge { bits: 1, life_s: 60 };
        assert!(!challenge.is_met(&request, "192.0.2.1", &keys, 0));
        let client = Ipv4Addr::new(192, 0, 2, 1).into();
        assert_eq!(sharing::find(&request, client, &keys, 0), Ok(None));
        for name in [cookie::SESSION, cookie::REFRESH] {
            if let Some(value) = cookie::read(&request, name) {
                assert_eq!(Short::open(value, &keys), None, "{value}");
                assert_eq!(Refreshing::open(value, &keys), None, "{value}");
            }
        }
    }
    // A value has no line's end: what is behind one is another field.
    if let Some(others) = cookie::without_ours(bytes).filter(|_| !bytes.contains(&b'\n')) {
        assert_eq!(cookie::without_ours(&others), Some(others.clone()));
        let head = [b"GET / HTTP/1.1\r\nhost: x\r\ncookie: ", &others[..], b"\r\n"].concat();
        let request = guard(&head);
        for name in [cookie::SESSION, cookie::REFRESH, challenge::COOKIE, sharing::COOKIE] {
            let left = request.as_ref().ok().and_then(|request| cookie::read(request, name));
            assert_eq!(left, None);
        }
    }
    // What an edge makes, it takes, by the one name.
    let Ok(Ok(identity)) = std::str::from_utf8(bytes).map(Identity::decode) else { return };
    let session = Session { id: SessionId::new(1), identity, signed_in_s: 2, until_s: 3 };
    let short = Short { session, issued_s: 4, expires_s: 5 };
    let value = short.seal(&keys).unwrap_or_default();
    assert_eq!(Short::open(&value, &keys), Some(short));
    assert_eq!(Refreshing::open(&value, &keys), None);
}

/// A rule decides alike whoever asks first, and refuses nothing while it is only tried. Lines: the
/// rule as JSON, a head.
pub fn rules(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (rule, head) = bytes.split_at(end);
    let Ok(rule) = serde_json::from_slice::<Rule>(rule) else { return };
    let (Some(mut config), Some(head)) = (config(), head.get(1..)) else { return };
    let is_tried = rule.dry_run;
    config.firewall = Firewall { core: CoreSet::Off, rules: vec![rule], ..Firewall::default() };
    let (Ok(rules), Ok(routes)) = (Rules::new(&config), Routes::new(&config)) else { return };
    let Ok(request) = guard(head) else { return };
    let client = Ipv4Addr::new(192, 0, 2, 1).into();
    let asking = Asking {
        request: &request,
        client,
        country: Country::UNKNOWN,
        route: None,
        is_proven: false,
    };
    let nobody = rules.judge(&asking, Who::Nobody, &routes).unwrap_or_default();
    assert!(!is_tried || nobody.refusal.is_none() && nobody.limits.is_empty());
    if let Some(early) = rules.judge(&asking, Who::Unknown, &routes) {
        assert_eq!(early, nobody, "it was decided before it was known who asks");
    }
}

/// What a cache gives back is what was put there, or nothing.
pub fn stored(bytes: &[u8]) {
    let Some(stored) = Stored::decode(bytes) else { return };
    assert_eq!(Stored::decode(&stored.encode()).as_ref(), Some(&stored));
    let _ = (stored.fresh_ms(), stored.refusal_counts(MOMENT.unix_ms));
    if let Stored::File(StoredFile { freshness, .. }) = &stored {
        for now_ms in [0, MOMENT.unix_ms, u64::MAX] {
            let _ = (freshness.left_ms(now_ms), freshness.rests(now_ms));
            let _ = (freshness.while_revalidating(now_ms), freshness.if_error(now_ms));
        }
    }
}

/// What an origin says of a file is stored as it is read.
pub fn origin_answer(bytes: &[u8]) {
    let fields = FieldLines::new(bytes);
    let Some(record) = read_record(fields) else { return };
    let Some(file) = StoredFile::read(fields, &record, MOMENT.unix_ms) else { return };
    let stored = Stored::File(file.renewed(fields, &record, MOMENT.unix_ms));
    assert_eq!(Stored::decode(&stored.encode()), Some(stored));
}

/// A deployment that can be read is read again from what it says. The lines: its configuration,
/// and its secrets.
pub fn deployment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(pieces) = deployment::pieces("c", text, 7.max(text.len() / 8)) else { return };
    let find = |name: &str| pieces.iter().find(|(known, _)| known == name).map(|(_, piece)| piece);
    assert_eq!(deployment::gather("c", |name| find(name).cloned()).as_deref(), Some(text));
    let (config, secrets) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(deployment) = Deployment::from_parts(config, secrets) else { return };
    let (config, secrets) = deployment.to_parts();
    assert!(Deployment::from_parts(&config, &secrets).is_ok());
    drop(Edge::new(deployment.core, Abilities::default()));
}

/// Takes a template apart. What has no elements stays as it is, and what a reader is called never
/// gets to be one.
pub fn template(bytes: &[u8]) {
    let reader = Identity::new("<esi:include/>", "'\"<esi:vars>&", Default::default());
    let (nobody, somebody) = (esi::parse(bytes, None), esi::parse(bytes, reader.as_ref().ok()));
    if let (Ok(nobody), Ok(somebody)) = (&nobody, &somebody) {
        assert_eq!(esi::includes(nobody), esi::includes(somebody));
    }
    if memchr::memmem::find(bytes, b"esi").is_none() {
        let text = Some(Item::Text(bytes.to_vec())).filter(|_| !bytes.is_empty());
        assert_eq!(nobody, Ok(text.into_iter().collect()));
    }
    for item in somebody.into_iter().flatten() {
        if let Item::Text(text) = item {
            let named = memchr::memmem::find(&text, b"<esi:include/>").is_some();
            assert!(!named || memchr::memmem::find(bytes, b"<esi:include/>").is_some());
        }
    }
}

/// The moment of everything here.
const MOMENT: Moment = Moment { unix_ms: 1_800_000_000_000, random: 7 };
/// The most steps of an exchange, with room.
const STEPS_MAX: usize = 16;
/// How many ways there are for a driver to fare.
const LUCKS: u8 = 3;

/// What becomes of a need: nothing works, everything does, or the cache is full of old things.
fn outcome(need: &Need, luck: u8) -> Outcome {
    match need {
        Need::Lookup { .. } if luck == 2 => Outcome::Looked(Looked::Found {
            head: Stored::Missing { since_ms: 0 }.encode(),
            body: false,
            forms: Vec::new(),
            purged: false,
            lead: true,
            collapsed: false,
        }),
        Need::Lookup { .. } => Outcome::Looked(Looked::Vacant),
        Need::Claim { keys } => Outcome::Claimed(keys.len() as u64),
        Need::Put { .. } => Outcome::Put,
        Need::Dictionary { .. } => Outcome::Dictionary(None),
        Need::Popular { .. } => Outcome::Popular(Vec::new()),
        Need::Document { .. } => Outcome::Document(None),
        Need::Content { .. } => {
            let template = b"a<esi:include src='/b' onerror='continue'/>".to_vec();
            Outcome::Content((luck != 0).then_some(template))
        }
        Need::Gather { parts, .. } => {
            Outcome::Gathered((luck != 0).then(|| vec![Vec::new(); parts.len()]))
        }
        Need::Body { .. } => Outcome::Body((luck != 0).then(|| b"{\"tags\": [\"a\"]}".to_vec())),
        Need::Encode { .. } => Outcome::Encoded(luck != 0),
        Need::Value { .. } => Outcome::Value((luck != 0).then_some(9)),
        Need::Take { .. } => Outcome::Taken(Taken { allowed: true, left: None }),
        Need::Share { .. } => Outcome::Shared(Shared::Counts),
        Need::Verify { .. } => Outcome::Verified(luck != 0),
        Need::Fetch(_) if luck == 0 => Outcome::Fetched(Err(FetchError::Unreachable)),
        Need::Fetch(_) => {
            let fields = b"content-length: 5\r\nlocation: /files/x\r\n".to_vec();
            Outcome::Fetched(Ok(UpstreamHead { status: 200, fields }))
        }
        Need::Keep { .. } => Outcome::Kept(match luck {
            0 => Kept::Broken,
            1 => Kept::Durably,
            2 => Kept::Unknown,
            _ => Kept::Declined,
        }),
        Need::ReadKept { .. } => Outcome::ReadKept(
            (luck != 0).then(|| KeptHead { head: b"{\"v\":1}".to_vec(), bytes: 9 }),
        ),
        Need::HandOver { .. } => Outcome::HandedOver(luck != 0),
    }
}

fn issuer() -> Issuer {
    Issuer {
        name: "i".to_owned(),
        audiences: vec!["a".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys: vec![Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            kid: Some("k".to_owned()),
            x: Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned()),
            ..Jwk::default()
        }],
        roles_claim: Some("/roles".to_owned()),
        ..Issuer::default()
    }
}

static TRUSTED: LazyLock<Option<Vec<Trusted>>> = LazyLock::new(|| {
    let config = config()?;
    Trusted::all(&config.issuers, &config.issuer_secrets).ok()
});

fn edge() -> Option<Edge> {
    let durable = Some(Durable { value_bytes_max: 1 << 20 });
    Edge::new(config()?, Abilities { durable, ..Abilities::default() }).ok()
}

fn config() -> Option<Config> {
    let secret = || Secret::new(vec![1; 32]).ok();
    let allowance = Allowance { interval_us: 1000, burst: 10 };
    let limits = [READ_LIMIT, WRITE_LIMIT].map(|name| (name.to_owned(), allowance));
    Some(Config {
        issuers: vec![issuer()],
        issuer_secrets: BTreeMap::new(),
        link_keys: vec![secret()?],
        session_keys: vec![secret()?],
        sessions: Default::default(),
        revoked_within_s: 15,
        related_within_s: 15,
        step_up_s: 0,
        edge_key: Key { id: "k1".to_owned(), secret: secret()? },
        operators: Vec::new(),
        guest: None,
        routes: Vec::new(),
        limits: BTreeMap::from(limits),
        shares: BTreeMap::new(),
        budgets: BTreeMap::from([(READ_LIMIT.to_owned(), Budget { requests: 5, period_s: 60 })]),
        assets: BTreeMap::new(),
        cors_origins: vec!["*".to_owned()],
        public_base_url: None,
        content_base_url: None,
        firewall: Default::default(),
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        country_field: Some("x-country".to_owned()),
        uploads: UploadRules::same(TenantRules::sized(1 << 30).for_edge()),
        small_upload_bytes_max: 1 << 10,
        region: 0,
        request_bytes_max: None,
        stored_bytes_max: 1 << 20,
        slice_bytes: 1 << 10,
        upstream_timeout_ms: 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_begin_with_is_understood() {
        assert!(edge().is_some());
        for target in TARGETS.iter().filter(|target| target.name == "deployment") {
            let text = str::from_utf8(target.examples[0]).unwrap();
            let (config, secrets) = text.split_once('\n').unwrap();
            Deployment::from_parts(config, secrets).unwrap();
        }
        let stored = TARGETS.iter().find(|target| target.name == "stored").unwrap();
        assert!(stored.examples.iter().all(|example| Stored::decode(example).is_some()));
    }

    #[test]
    fn no_input_is_too_much() {
        outport_mutate::feed(TARGETS);
    }
}

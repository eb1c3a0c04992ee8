//! Dictionaries (RFC 9842): what is new is sent as what differs from what a client has already.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use outport_tests::api::{Answer, Api};
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use reqwest::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::backend::{Answering, Backend, Death, Framing};

/// A text of the size of a script, and what the next version of it keeps.
const DOCUMENTS: &[&str] = &[
    include_str!("../../docs/caching.md"),
    include_str!("../../docs/platforms.md"),
    include_str!("../../ARCHITECTURE.md"),
    include_str!("../../CHANGELOG.md"),
];
/// One line in so many is another in the next version.
const CHANGED_EACH: usize = 40;

const OLD: &str = "content-type: text/javascript\r\ncache-control: max-age=600\r\n\
                   use-as-dictionary: match=\"/new/*\", id=\"old\"\r\n";
const NEW: &str =
    "content-type: text/javascript\r\ncache-control: max-age=600\r\netag: \"new\"\r\n";
/// What browsers say that have a dictionary.
const ACCEPTED: &str = "gzip, deflate, br, zstd, dcb, dcz";

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(what_is_new_is_sent_as_what_differs),
        check!(a_dictionary_is_its_own_hosts),
        check!(what_is_purged_is_no_dictionary),
    ]
}

struct Parts {
    data: Data,
    _edge: Running,
    _origin: Running,
    _servers: [Backend; 2],
    api: Api,
    old: String,
    new: String,
}

/// An edge that has the old version, and whose server has the new one.
async fn start(framing: Framing) -> Parts {
    let (old, new) = versions();
    let mut servers = Vec::new();
    let mut config = String::new();
    for (path, fields, content) in [("/old/", OLD, &old), ("/new/", NEW, &new)] {
        let server = Backend::start(Answering {
            fields,
            content: Arc::new(content.as_bytes().to_vec()),
            framing,
            delay: Duration::ZERO,
            stops_after: None,
            death: Death::Fin,
        });
        let server = server.await;
        config += &server.route().replace("/r/", path);
        config += "compress = true\ndictionaries = true\n";
        servers.push(server);
    }
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let config = data.config(&config);
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let api = Api::new(edge.ready("edge"));
    let first = api.get_with("/old/app.js", &[("accept-encoding", ACCEPTED)]).await;
    assert_eq!(first.field("use-as-dictionary"), "match=\"/new/*\", id=\"old\"");
    let servers = servers.try_into().unwrap_or_else(|_| panic!("there are two"));
    let parts = Parts { data, _edge: edge, _origin: origin, _servers: servers, api, old, new };
    // It is one as soon as all of it has come.
    while parts.ask("/new/probe.js", &[]).await.field("content-encoding") != "dcz" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    parts
}

/// Two versions of a text.
fn versions() -> (String, String) {
    let old = DOCUMENTS.concat();
    let mut new = "What is here was not there before.\n".repeat(3);
    for (place, line) in old.lines().enumerate() {
        // Writing to a String never fails.
        let _ = match place % CHANGED_EACH {
            0 => writeln!(new, "{place} is what has changed: {line}"),
            _ => writeln!(new, "{line}"),
        };
    }
    (old, new)
}

fn digest(dictionary: &str) -> String {
    format!(":{}:", BASE64_STANDARD.encode(Sha256::digest(dictionary)))
}

/// What any decoder of zstd makes of `dcz`, whose header is a frame that it skips.
fn decoded(dictionary: &str, form: &[u8]) -> String {
    let decoder = zstd::stream::read::Decoder::with_dictionary(form, dictionary.as_bytes());
    let mut text = String::new();
    decoder.expect("it is one").read_to_string(&mut text).expect("it is whole");
    text
}

impl Parts {
    /// Asks as a browser does that has the old version.
    async fn ask(&self, path: &str, more: &[(&str, &str)]) -> Answer {
        let digest = digest(&self.old);
        let own = [
            ("accept-encoding", ACCEPTED),
            ("available-dictionary", &digest),
            ("dictionary-id", "\"old\""),
        ];
        self.api.get_with(path, &[&own, more].concat()).await
    }

    #[track_caller]
    fn expect_difference(&self, answer: &Answer) {
        answer.expect_status(200);
        assert_eq!(answer.field("content-encoding"), "dcz");
        assert_eq!(answer.field("vary"), "accept-encoding, available-dictionary");
        assert_eq!(answer.field("etag"), "W/\"new-dcz\"");
        assert_eq!(answer.body[..8], [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0]);
        assert_eq!(answer.body[8..40], Sha256::digest(&self.old)[..]);
        assert!(decoded(&self.old, &answer.body) == self.new, "it is another text");
    }

    /// What is sent to who takes this coding alone, once it was made well.
    async fn well(&self, coding: &str) -> usize {
        loop {
            let answer = self.api.get_with("/new/app.js", &[("accept-encoding", coding)]).await;
            assert_eq!(answer.field("content-encoding"), coding);
            if answer.field_if_any("content-length").is_some() {
                return answer.body.len();
            }
        }
    }
}

async fn what_is_new_is_sent_as_what_differs() {
    for framing in [Framing::Length, Framing::Chunked] {
        let parts = start(framing).await;
        let first = parts.ask("/new/app.js", &[]).await;
        parts.expect_difference(&first);
        let well = loop {
            let again = parts.ask("/new/app.js", &[]).await;
            parts.expect_difference(&again);
            if again.field_if_any("content-length").is_some() {
                break again;
            }
        };
        let (zstd, brotli) = (parts.well("zstd").await, parts.well("br").await);
        eprintln!(
            "{framing:?}: {} bytes; against {} bytes: {} while sent, {} well; without: zstd {zstd}, \
             brotli {brotli}, both well",
            parts.new.len(),
            parts.old.len(),
            first.body.len(),
            well.body.len(),
        );
        assert!(well.body.len() < brotli / 3 && first.body.len() < brotli / 2);
        let known = parts.ask("/new/app.js", &[("if-none-match", "W/\"new-dcz\"")]).await;
        assert_eq!((known.status, known.body.len()), (304, 0));
        if framing == Framing::Length {
            let part = parts.ask("/new/app.js", &[("range", "bytes=10-19")]).await;
            let range = format!("bytes 10-19/{}", parts.new.len());
            assert_eq!((part.status, part.field("content-range")), (206, range.as_str()));
            assert_eq!(part.body, parts.new.as_bytes()[10..20]);
        }
        let other = digest("what nobody has");
        let fields = [("accept-encoding", ACCEPTED), ("available-dictionary", &other)];
        let other = parts.api.get_with("/new/app.js", &fields).await;
        assert_eq!(other.field("content-encoding"), "br");
    }
}

async fn a_dictionary_is_its_own_hosts() {
    let parts = start(Framing::Length).await;
    let elsewhere = parts.ask("/new/app.js", &[("host", "other.localhost")]).await;
    assert_eq!(elsewhere.field("content-encoding"), "zstd");
    assert_eq!(elsewhere.field("vary"), "accept-encoding, available-dictionary");
    // Nor is there one for what is not encrypted.
    let open = parts.ask("/new/app.js", &[("host", "files.example")]).await;
    assert_eq!(open.field("content-encoding"), "zstd");
    assert_eq!(open.field("vary"), "accept-encoding");
    parts.expect_difference(&parts.ask("/new/app.js", &[]).await);
}

async fn what_is_purged_is_no_dictionary() {
    let parts = start(Framing::Length).await;
    let admin = parts.api.with_token(&parts.data.token("demo", "demo", "admin", "1h"));
    let purge = json!({ "urls": ["/old/app.js"] });
    admin.json(Method::POST, "/purge", &purge).await.expect_status(200);
    let answer = parts.ask("/new/app.js", &[]).await;
    assert_eq!(answer.field("content-encoding"), "zstd");
}

//! Ranges and conditions, answered by us as nginx answers them: from the cache of a route, and of
//! files of our own.
//!
//! nginx serves a file; a cached route of ours has nginx behind it; and a file with the same
//! contents is uploaded. All three are sent thousands of requests that a seed decides. Whatever is
//! answered differently must be explained by one of [`RULES`], which says where RFC 9110 has it
//! that ours may stand; and a rule that explains nothing fails the test.
//!
//! It was seen to fail where a date that is the same counted as a later one, and where `If-Range` took
//! a weak tag.

mod client;
mod requests;

use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;

use self::client::{Answer, Client};
use self::requests::{Date, Random, Request};
use crate::nginx::Nginx;

const REQUESTS: usize = 4_000;
const SEED: u64 = 1;
const FILE_BYTES: usize = 1_000;
/// When the file was last modified, since 1970.
const MODIFIED: Duration = Duration::from_secs(1_700_000_000);
/// The largest gap between two ranges with which they are sent as one.
const GAP_BYTES_MAX: usize = 80;
/// The most unexplained differences that are printed.
const SHOWN_MAX: usize = 10;

pub(crate) fn all() -> Vec<Check> {
    vec![check!(ranges_and_conditions_are_answered_as_by_nginx)]
}

/// What is compared with nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// What the cache of a route holds.
    Route,
    /// A file of our own.
    File,
}

/// Why an answer of ours may differ from nginx's.
struct Rule {
    /// What RFC 9110 says, and where.
    why: &'static str,
    explains: fn(&Request, &Answer, &Answer) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        why: "section 15.3.7.2: of several ranges, those that overlap or nearly touch may be sent as \
              one; nginx sends each, or all of the file where they are longer together, or refuses \
              numbers of more than 63 bits",
        explains: |request, _, ours| request.ranges() > 1 && sends_what_is_asked(request, ours),
    },
    Rule {
        why: "section 14.2: `Range` is defined for GET alone, and passed over in HEAD",
        explains: |request, nginx, ours| {
            request.method == "HEAD"
                && request.range.is_some()
                && matches!(nginx.status, 206 | 416)
                && ours.status == 200
        },
    },
    Rule {
        why: "section 14.2: what is no `ranges-specifier`, an end before its beginning included, may \
              be passed over; nginx rejects it, or takes what it can read of it",
        explains: |request, nginx, ours| {
            request.ranges() == 0 && matches!(nginx.status, 206 | 416) && ours.status == 200
        },
    },
    Rule {
        why: "section 5.6.1: an empty member of a list counts for nothing; nginx rejects the range",
        explains: |request, nginx, ours| {
            request.ranges() == 1
                && request.has_empty_member()
                && nginx.status == 416
                && matches!(ours.status, 200 | 206)
        },
    },
    Rule {
        why: "section 14.1.2: a last place beyond the end means the end, and so does a suffix that \
              is longer than all, however large the number; nginx takes none of more than 63 bits",
        explains: |request, nginx, ours| {
            request.ranges() == 1
                && request.has_large_number()
                && nginx.status == 416
                && ours.status == 206
        },
    },
    Rule {
        why: "section 13.2.2: where there is `If-None-Match`, `If-Modified-Since` is passed over",
        explains: |request, nginx, ours| {
            request.if_none_match.is_some()
                && request.if_modified_since.is_some()
                && nginx.status != 304
                && ours.status == 304
        },
    },
    Rule {
        why: "section 13.2.2: where there is `If-Match`, `If-Unmodified-Since` is passed over",
        explains: |request, nginx, ours| {
            request.if_match.is_some()
                && request.if_unmodified_since.is_some()
                && nginx.status == 412
                && ours.status != 412
        },
    },
    Rule {
        why: "section 13.1.4: an `If-Unmodified-Since` that is no date is passed over",
        explains: |request, nginx, ours| {
            matches!(request.if_unmodified_since, Some(Date::None(_)))
                && nginx.status == 412
                && ours.status != 412
        },
    },
];

/// Whether an answer has all bytes of the ranges that are asked for, and beside them none but those
/// of small gaps.
fn sends_what_is_asked(request: &Request, ours: &Answer) -> bool {
    let Some(sent) = ours.parts() else { return false };
    let right = |(at, byte): (&usize, &u8)| *at < FILE_BYTES && *byte == byte_at(*at);
    let asked = request.places(FILE_BYTES);
    let near = |at: &usize| {
        asked.range(at.saturating_sub(GAP_BYTES_MAX)..=*at).next().is_some()
            && asked.range(*at..=at + GAP_BYTES_MAX).next().is_some()
    };
    sent.iter().all(right) && asked.iter().all(|at| sent.contains_key(at)) && sent.keys().all(near)
}

/// What the file has at a place.
const fn byte_at(at: usize) -> u8 {
    (at % 251) as u8
}

async fn ranges_and_conditions_are_answered_as_by_nginx() {
    let data = Data::new();
    let content: Vec<u8> = (0..FILE_BYTES).map(byte_at).collect();
    let nginx = serve(&data, &content);
    let route = format!(
        "[[routes]]\npath = \"/thing\"\nproxy = \"http://{nginx}\"\nauth = \"none\"\n\
         cache = true\nlimit = \"none\"\n[limits.read]\nper_second = 1000000\nburst = 1000000\n",
        nginx = nginx.address
    );
    let config = data.config(&route);
    let server = Running::serve(&data, &["--config", config.to_str().expect("the path is text")]);
    let edge = server.ready("edge").trim_start_matches("http://").to_owned();
    let api = outport_tests::api::Api::new(server.ready("edge")).with_token(server.ready("token"));
    let file =
        api.upload("name=a.bin&visibility=public", "application/octet-stream", content).await;
    let mut theirs = Client::new(&nginx.address.to_string(), "/thing").await;
    let mut ours = [
        (Ours::Route, Client::new(&edge, "/thing").await),
        (Ours::File, Client::new(&edge, &file.path()).await),
    ];
    let mut random = Random::new(SEED);
    let mut explained = [0; RULES.len()];
    let mut unexplained = Vec::new();
    for _ in 0..REQUESTS {
        let request = Request::random(&mut random, FILE_BYTES as u64);
        let expected = theirs.send(&request).await;
        for (which, client) in &mut ours {
            let answer = client.send(&request).await;
            if *which == Ours::Route && !request.is_decided_upstream() {
                let said = answer.field("cache-status").unwrap_or_default();
                // What is refused says nothing of the cache.
                assert!(answer.status == 416 || said.contains("hit"), "{request:?}: {answer:?}");
            }
            if answer.says_the_same(&expected, &request) {
                continue;
            }
            let explains = |rule: &&Rule| (rule.explains)(&request, &expected, &answer);
            match RULES.iter().position(|rule| explains(&rule)) {
                Some(place) => explained[place] += 1,
                None => unexplained.push(format!(
                    "{which:?}: {request:?}\n  nginx: {expected:?}\n  ours:  {answer:?}"
                )),
            }
        }
    }
    for (rule, count) in RULES.iter().zip(explained) {
        eprintln!("{count:>6} differences: {}", rule.why);
    }
    let shown = &unexplained[..unexplained.len().min(SHOWN_MAX)];
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), shown.join("\n"));
    for (rule, count) in RULES.iter().zip(explained) {
        assert!(count > 0, "nothing is explained by this any more: {}", rule.why);
    }
}

/// nginx with the file.
fn serve(data: &Data, content: &[u8]) -> Nginx {
    let folder = data.path().join("served");
    std::fs::create_dir(&folder).expect("the folder can be written to");
    let path = folder.join("thing");
    std::fs::write(&path, content).expect("the folder can be written to");
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + MODIFIED);
    let file = File::options().write(true).open(&path).expect("it is there");
    file.set_times(times).expect("it is ours");
    let root = folder.to_str().expect("the path is text");
    // By default it takes `If-Modified-Since` for a tag.
    let server = "server {\n listen 80;\n if_modified_since before;\n add_header Cache-Control max-age=3600;\n";
    Nginx::start(&format!("{server} root {root};\n}}"), data.path())
}

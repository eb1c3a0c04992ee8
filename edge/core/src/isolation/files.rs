//! An origin of files whose records change, and the judge of who may have which, by what a record
//! says and by how long it may be believed.

use outport_wire::file::{FILE_HEADER, FileRecord, Visibility};
use proptest::prelude::*;

use super::{Asked, CALLERS, Event, Got, OWNER, Order, asking, some_of};
use crate::head::RequestHead;
use crate::memory::UpstreamAnswer;
use crate::relating::graph::Graph;
use crate::step::{Fetch, FetchError, UpstreamHead};
use crate::token::tests::NOW;

/// A record is renewed a minute after it came; while another renews it, it is used for half a
/// minute more (RFC 5861, section 3), and where that fails for a day (section 4), in milliseconds.
const FRESH_MS: u64 = 60_000;
const RENEWING_MS: u64 = 30_000;
const FAILING_MS: u64 = 86_400_000;
/// For how long one failure counts for all who ask, in milliseconds.
const FAILURE_MS: u64 = 1_000;

const IDS: [&str; 3] =
    ["01000G0000000C000000000004", "01000G0000000C000000000005", "01000G0000000C000000000006"];
/// The first file whose content is more than is stored whole.
const LARGE: usize = 1;

/// What changes in a record.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Visibility(Visibility),
    /// It ends so many seconds after the beginning of the history.
    Expiry(u64),
    Removal,
}

pub(super) fn requests() -> impl Strategy<Value = Event> {
    let more = some_of(&[
        ("range", "bytes=0-9"),
        ("range", "bytes=-5"),
        ("range", "bytes=999-"),
        ("range", "bytes=0-9, 150-"),
        ("range", "bytes=100-109"),
        ("if-none-match", "*"),
        ("if-none-match", "\"file-0-tag\""),
        ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("if-match", "\"other\""),
        ("if-match", "\"file-0-tag\""),
        ("if-unmodified-since", "Fri, 01 Jan 2010 00:00:00 GMT"),
        ("cache-control", "max-stale"),
        ("cache-control", "only-if-cached"),
    ]);
    // Most are about one file, so that they meet.
    let targets = [0, 0, 0, LARGE, LARGE, 2].map(|file| format!("/files/{}", IDS[file])).to_vec();
    asking(targets, &["GET", "GET", "GET", "GET", "HEAD"], more)
}

pub(super) fn others() -> impl Strategy<Value = Event> {
    let visibility = || {
        let all = &[Visibility::Private, Visibility::Link, Visibility::Public];
        prop::sample::select(&all[..])
    };
    let patch = (0..IDS.len(), visibility()).prop_map(|(file, visibility)| {
        let target = format!("/files/{}", IDS[file]);
        let told = vec![
            ("content-length".into(), "0".into()),
            ("accept".into(), visibility.name().into()),
        ];
        Event::Ask(OWNER, "PATCH", target, told, 0)
    });
    prop_oneof![
        4 => (0..IDS.len(), visibility()).prop_map(|(f, v)| Event::Change(f, Change::Visibility(v))),
        1 => (0..IDS.len(), 0..400_u64).prop_map(|(f, s)| Event::Change(f, Change::Expiry(s))),
        1 => (0..IDS.len()).prop_map(|file| Event::Change(file, Change::Removal)),
        4 => patch,
        2 => any::<bool>().prop_map(Event::Fail),
    ]
}

/// What the origin has said of a file.
struct Said {
    exchange: usize,
    file: usize,
    /// Its place among all that happened.
    at: u64,
    /// `None`: it failed.
    record: Option<FileRecord>,
    /// When the edge was told, in milliseconds since 1970.
    learned_ms: Option<u64>,
}

pub(super) struct Origin {
    order: Order,
    pub(super) fails: bool,
    records: [Option<FileRecord>; IDS.len()],
    said: Vec<Said>,
    /// The files that were changed through this edge, and when that was.
    forgotten: Vec<(usize, u64)>,
}

impl Origin {
    pub(super) fn new(order: Order) -> Self {
        let record = |visibility| {
            Some(FileRecord {
                tenant: "demo".into(),
                owner: "alice".into(),
                visibility,
                name: String::new(),
                expires_s: None,
                links_after_ms: None,
            })
        };
        let records =
            [record(Visibility::Private), record(Visibility::Public), record(Visibility::Public)];
        Self { order, fails: false, records, said: Vec::new(), forgotten: Vec::new() }
    }

    pub(super) fn change(&mut self, file: usize, change: Change) {
        let Some(record) = &mut self.records[file] else { return };
        match change {
            Change::Visibility(visibility) => record.visibility = visibility,
            Change::Expiry(after_s) => record.expires_s = Some(NOW + after_s),
            Change::Removal => self.records[file] = None,
        }
    }

    pub(super) fn answer(
        &mut self,
        exchange: usize,
        fetch: &Fetch,
    ) -> Result<UpstreamAnswer, FetchError> {
        let head = RequestHead::parse(&fetch.head).unwrap();
        let Some(file) = file_of(head.target) else { return self.tell(head.target) };
        let reads = matches!(head.method, "GET" | "HEAD");
        if !reads && !self.fails {
            // The client's own words for it are no matter of the edge's.
            let visibility = head.fields.get("accept").and_then(Visibility::parse).unwrap();
            self.change(file, Change::Visibility(visibility));
        }
        let record = self.records[file].clone().filter(|_| !self.fails);
        // Who asks for a slice is told nothing of the record that it uses.
        let is_slice = head.fields.get("if-match").is_some();
        if reads && !is_slice && (self.fails || record.is_some()) {
            let (at, record) = (self.order.next(), record.clone());
            self.said.push(Said { exchange, file, at, record, learned_ms: None });
        }
        let answer = |status, fields: String, body: &str| {
            let head = UpstreamHead { status, fields: fields.into_bytes() };
            Ok(UpstreamAnswer { head, body: body.as_bytes().to_vec() })
        };
        match record {
            _ if self.fails => Err(FetchError::Timeout),
            None => answer(404, String::new(), ""),
            Some(_) if !reads => answer(204, String::new(), ""),
            Some(record) => {
                let content = content(file);
                let range = head.fields.get("range").and_then(|range| part(range, content.len()));
                let (status, body) = match range {
                    _ if head.fields.get("if-none-match").is_some() => (304, ""),
                    Some((first, last)) => (206, &content[first..=last]),
                    None => (200, content.as_str()),
                };
                let length = if status == 304 { content.len() } else { body.len() };
                let body = if head.method == "HEAD" { "" } else { body };
                let content_range = range.filter(|_| status == 206).map(|(first, last)| {
                    format!("content-range: bytes {first}-{last}/{}\r\n", content.len())
                });
                let fields = fields(file, record, length) + &content_range.unwrap_or_default();
                answer(status, fields, body)
            }
        }
    }

    /// Nobody is related to anything.
    fn tell(&self, target: &str) -> Result<UpstreamAnswer, FetchError> {
        if self.fails {
            return Err(FetchError::Timeout);
        }
        let fields = Graph::default().answer(target).into_bytes();
        Ok(UpstreamAnswer { head: UpstreamHead { status: 204, fields }, body: Vec::new() })
    }

    /// An exchange goes on with what it has been told.
    pub(super) fn learned(&mut self, exchange: usize, now_ms: u64) {
        let new = self.said.iter_mut().filter(|said| said.exchange == exchange);
        for said in new.filter(|said| said.learned_ms.is_none()) {
            said.learned_ms = Some(now_ms);
        }
    }

    /// Judges what a client got. The error says what of which file it should not have.
    pub(super) fn judge(&mut self, asked: &Asked, got: &Got) -> Result<(), String> {
        let file = file_of(&asked.target).unwrap();
        let values = got.fields.iter().map(|(_, value)| value.as_str());
        let all = values.chain([got.body.as_str()]).collect::<Vec<_>>().join("\n");
        if (0..IDS.len()).any(|other| other != file && all.contains(&format!("file-{other}-"))) {
            return Err("it is another file's".to_owned());
        }
        let told = all.contains(&format!("file-{file}-"))
            || matches!(got.status, 200 | 206 | 304 | 412 | 416);
        if told && !asked.is_answered && asked.method != "PATCH" && !self.allows(asked, file) {
            return Err(format!("file {file} is not theirs to see"));
        }
        if asked.method == "PATCH" && got.status < 400 {
            self.forgotten.push((file, self.order.next()));
        }
        Ok(())
    }

    /// Whether something that the origin has said, and that may be believed, opens the file.
    fn allows(&self, asked: &Asked, file: usize) -> bool {
        self.said.iter().filter(|said| said.file == file).any(|said| {
            let (Some(record), Some(learned_ms)) = (&said.record, said.learned_ms) else {
                return false;
            };
            let own = said.exchange == asked.number;
            let is_gone = |(changed, at): &(usize, u64)| {
                *changed == file && said.at < *at && *at < asked.begun
            };
            (own || !self.forgotten.iter().any(is_gone))
                && asked.decided_ms.iter().any(|now_ms| {
                    is_open(asked, record, *now_ms)
                        && self.believed(asked, file, learned_ms, *now_ms)
                })
        })
    }

    fn believed(&self, asked: &Asked, file: usize, learned_ms: u64, now_ms: u64) -> bool {
        let Some(age_ms) = now_ms.checked_sub(learned_ms) else { return false };
        let failed = self.said.iter().filter(|said| said.file == file && said.record.is_none());
        let fails = failed.filter_map(|said| Some((said.exchange, said.learned_ms?))).any(
            |(exchange, failed_ms)| {
                exchange == asked.number || failed_ms <= now_ms && now_ms - failed_ms < FAILURE_MS
            },
        );
        age_ms < FRESH_MS + RENEWING_MS || fails && age_ms < FRESH_MS + FAILING_MS
    }
}

/// Who may fetch a file, in the words of the documentation: its owner and the tenant's admins, who
/// holds a link, and everybody where it is public; nobody once it has expired.
fn is_open(asked: &Asked, record: &FileRecord, now_ms: u64) -> bool {
    let now_s = now_ms / 1000;
    let theirs = CALLERS[asked.caller].token.is_some_and(|(tenant, subject, scope)| {
        let (reads, rules) = (scope.contains("read"), scope == "admin");
        tenant == record.tenant && (rules || reads && subject == record.owner)
    });
    let linked =
        asked.link_expires_s.is_some_and(|expires_s| asked.decided_ms[0] / 1000 <= expires_s);
    let lives = record.expires_s.is_none_or(|expires_s| now_s < expires_s);
    lives && (theirs || linked || record.visibility == Visibility::Public)
}

fn file_of(target: &str) -> Option<usize> {
    let id = target.strip_prefix("/files/")?.split('?').next()?;
    IDS.iter().position(|known| *known == id)
}

fn content(file: usize) -> String {
    format!("file-{file}-content ").repeat(if file >= LARGE { 20 } else { 3 })
}

fn fields(file: usize, record: FileRecord, length: usize) -> String {
    let record = FileRecord { name: format!("file-{file}-name"), ..record };
    format!(
        "etag: \"file-{file}-tag\"\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\
         last-modified: Tue, 24 Nov 2026 06:49:10 GMT\r\n{FILE_HEADER}: {}\r\n\
         cache-control: max-age=60, stale-while-revalidate=30, stale-if-error=86400\r\n",
        record.encode()
    )
}

/// The range that an edge asks for, which is always within.
fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < length).then_some((first, last))
}

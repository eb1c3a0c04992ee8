//! A client that sends what a client with manners can't, on one connection after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::requests::Request;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client of one resource.
pub(crate) struct Client {
    authority: String,
    path: String,
    etag: String,
    modified: String,
    connection: Option<TcpStream>,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Client {
    /// One that knows the validators of a resource, and has left it in what caches there are.
    pub(crate) async fn new(authority: &str, path: &str) -> Self {
        let mut client = Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
            etag: String::new(),
            modified: String::new(),
            connection: None,
        };
        let plain = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = client.exchange(&plain, true).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let field = |name| answer.field(name).unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        (client.etag, client.modified) = (field("etag"), field("last-modified"));
        client
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &Request) -> Answer {
        let Self { authority, path, etag, modified, .. } = self;
        let head = request.head(authority, path, etag, modified);
        self.exchange(&head, request.method != "HEAD").await
    }

    async fn exchange(&mut self, request: &str, has_body: bool) -> Answer {
        // A server may have had enough of a connection.
        for _ in 0..2 {
            let exchanged = tokio::time::timeout(PATIENCE, self.try_exchange(request, has_body));
            if let Some(answer) = exchanged.await.expect("the server answers") {
                return answer;
            }
        }
        panic!("the server closes without an answer to {request}");
    }

    async fn try_exchange(&mut self, request: &str, has_body: bool) -> Option<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => TcpStream::connect(&self.authority).await.expect("the server listens"),
        };
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !matches!(connection.read_buf(&mut read).await, Ok(1..)) {
                return None;
            }
        };
        let body = read.split_off(end + 4);
        let mut answer = Answer::read(&String::from_utf8_lossy(&read), body)?;
        let length = match answer.status {
            304 => 0,
            _ if !has_body => 0,
            _ => answer.field("content-length")?.parse().expect("a length"),
        };
        while answer.body.len() < length {
            let read = connection.read_buf(&mut answer.body).await;
            assert!(matches!(read, Ok(1..)), "the body breaks off: {answer:?}");
        }
        assert_eq!(answer.body.len(), length, "{request}{answer:?}");
        if answer.field("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Some(answer)
    }
}

impl Answer {
    fn read(head: &str, body: Vec<u8>) -> Option<Self> {
        let (line, lines) = head.split_once("\r\n")?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self { status, fields: lines.split("\r\n").filter_map(field).collect(), body })
    }

    /// A field's value.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether two servers have answered alike: the status, which part it is, how long, and the
    /// content. What comes with a refusal is each one's own.
    pub(crate) fn says_the_same(&self, other: &Self, request: &Request) -> bool {
        let part = |answer: &Self| answer.field("content-range").map(str::to_owned);
        let length = |answer: &Self| answer.field("content-length").map(str::to_owned);
        if self.status != other.status || part(self) != part(other) {
            return false;
        }
        let is_content = matches!(self.status, 200 | 206);
        !is_content
            || length(self) == length(other)
                && (request.method == "HEAD" || self.content() == other.content())
    }

    /// The content; of several parts, without the boundaries, which are made up anew for each answer
    /// (RFC 9110, section 14.6).
    fn content(&self) -> Vec<u8> {
        let kind = self.field("content-type").unwrap_or_default();
        let Some((_, boundary)) = kind.split_once("boundary=") else { return self.body.clone() };
        let (mut content, mut rest) = (Vec::new(), self.body.as_slice());
        while let Some(at) = find(rest, boundary.as_bytes()) {
            content.extend_from_slice(&rest[..at]);
            rest = &rest[at + boundary.len()..];
        }
        content.extend_from_slice(rest);
        content
    }

    /// What a 206 sends of the file, place by place: one part, or several that don't overlap (RFC
    /// 9110, section 14.6).
    pub(crate) fn parts(&self) -> Option<BTreeMap<usize, u8>> {
        if self.status != 206 {
            return None;
        }
        let mut places = BTreeMap::new();
        if let Some(range) = self.field("content-range") {
            return enter(&mut places, range, &self.body).then_some(places);
        }
        let (_, boundary) = self.field("content-type")?.split_once("boundary=")?;
        let mut rest = self.body.strip_prefix(format!("--{boundary}").as_bytes())?;
        let next = format!("\r\n--{boundary}");
        while rest != b"--\r\n" {
            let end = find(rest, b"\r\n\r\n")?;
            let (head, body) = (String::from_utf8_lossy(&rest[..end]), &rest[end + 4..]);
            let range = head.lines().find_map(|line| line.strip_prefix("content-range: "))?;
            let length = find(body, next.as_bytes())?;
            if !enter(&mut places, range, &body[..length]) {
                return None;
            }
            rest = &body[length + next.len()..];
        }
        Some(places)
    }
}

/// Enters a part that has this `Content-Range`. False where it has another length, or overlaps.
fn enter(places: &mut BTreeMap<usize, u8>, range: &str, part: &[u8]) -> bool {
    let ends = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
    let ends = ends.and_then(|(ends, _)| ends.split_once('-'));
    let Some((Ok(first), Ok(last))) = ends.map(|(a, b)| (a.parse(), b.parse())) else {
        return false;
    };
    let range: RangeInclusive<usize> = first..=last;
    range.clone().count() == part.len()
        && range.zip(part).all(|(at, byte)| places.insert(at, *byte).is_none())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = ["content-range", "content-length", "content-type", "cache-status"];
        write!(f, "{}", self.status)?;
        for name in shown {
            if let Some(value) = self.field(name) {
                write!(f, ", {name}: {value}")?;
            }
        }
        write!(f, ", {} bytes", self.body.len())
    }
}

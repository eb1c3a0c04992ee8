//! A client that sends what a client with manners can't, on one connection after the other.

use std::fmt;
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

    /// The content; of several parts, without what stands between them, which is made up anew for
    /// each answer (RFC 9110, section 14.6).
    fn content(&self) -> Vec<u8> {
        let kind = self.field("content-type").unwrap_or_default();
        let Some((_, boundary)) = kind.split_once("boundary=") else { return self.body.clone() };
        let (mut content, mut rest) = (Vec::new(), self.body.as_slice());
        let is_boundary = |window: &[u8]| window == boundary.as_bytes();
        while let Some(at) = rest.windows(boundary.len()).position(is_boundary) {
            content.extend_from_slice(&rest[..at]);
            rest = &rest[at + boundary.len()..];
        }
        content.extend_from_slice(rest);
        content
    }
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

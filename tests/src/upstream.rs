//! A small HTTP server that tells what reached it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The longest request that is taken.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// A running server. It answers everything with 201 and a document: the request's line, its fields
/// and its body.
pub struct Upstream {
    /// Where it listens.
    pub url: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Upstream {
    /// Starts it.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts it at an address that is free.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, noted.clone()));
            }
        });
        Self { url, seen }
    }

    /// All that has reached it, in the form that it answers with.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

/// Answers one request and closes.
async fn answer(mut stream: TcpStream, noted: Arc<Mutex<Vec<Value>>>) {
    let mut read = Vec::new();
    let seen = loop {
        if let Some(seen) = request(&read) {
            break seen;
        }
        match stream.read_buf(&mut read).await {
            Ok(1..) if read.len() < REQUEST_BYTES_MAX => {}
            _ => return,
        }
    };
    let body = seen.to_string();
    noted.lock().expect("nobody panics with it").push(seen);
    let head = format!(
        "HTTP/1.1 201 Created\r\nx-upstream: yes\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever has gone away needs no answer.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

/// What was asked, once all of it is there.
fn request(read: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(read);
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?;
    let fields: Map<String, Value> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
        .collect();
    let text_of = |name: &str| fields.get(name).and_then(Value::as_str);
    let body = if text_of("transfer-encoding") == Some("chunked") {
        dechunked(rest)?
    } else {
        let length = text_of("content-length").map_or(Some(0), |length| length.parse().ok())?;
        rest.get(..length)?.to_owned()
    };
    Some(json!({ "line": line, "fields": fields, "body": body }))
}

/// The content of a chunked body, once all of it is there.
pub(crate) fn dechunked(mut rest: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn a_request_is_taken_when_it_is_whole() {
        let whole = "POST /a HTTP/1.1\r\nX-A: b\r\ncontent-length: 3\r\n\r\nabc";
        for end in 0..whole.len() {
            assert_eq!(request(&whole.as_bytes()[..end]), None, "{end}");
        }
        let seen = request(whole.as_bytes()).unwrap();
        assert_eq!(seen["fields"]["x-a"], "b");
        assert_eq!(seen["body"], "abc");
        let chunked = "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(request(chunked.as_bytes()).unwrap()["body"], "abc");
    }
}

//! An HTTP server that answers as each request tells it to, in whatever bytes.
//!
//! The conformance suites need an origin that breaks off, falls silent or talks nonsense. Where an
//! edge is reached over HTTP only, its subject says with each request what is to come.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The longest request head that is taken.
const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// How long a peer may take to close after it was answered.
const CLOSE_MAX: Duration = Duration::from_secs(5);
const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What a request asks for by its field `x-script`, or by its query.
#[derive(Debug, PartialEq, Eq)]
enum Script {
    /// These bytes, and then the connection's end.
    Answer(Vec<u8>),
    /// Nothing, until the peer closes.
    Silence,
    /// No script that is understood: 404.
    Unknown,
}

/// The value of `x-script` for an answer with these field lines, each with its end, and this content.
pub fn answer(fields: &str, content: &str) -> String {
    let length = content.len();
    let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n");
    let answer = format!("{head}connection: close\r\n\r\n{content}");
    answer.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers on a thread of its own, until the program ends. Returns the base URL.
pub fn start() -> String {
    let runtime = Runtime::new().expect("a runtime can be made");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    std::thread::spawn(move || runtime.block_on(serve(listener)));
    format!("http://{address}")
}

/// Answers whatever connects, for as long as the program runs.
pub async fn serve(listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_to(stream));
        }
    }
}

async fn answer_to(mut stream: TcpStream) {
    let Some(script) = read_script(&mut stream).await else { return };
    let bytes = match script {
        Script::Silence => return until_closed(&mut stream).await,
        Script::Answer(bytes) => bytes,
        Script::Unknown => NOT_FOUND.to_vec(),
    };
    // Whoever has gone away needs no answer.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    // A socket that is closed with something unread takes back what it has sent.
    let _ = tokio::time::timeout(CLOSE_MAX, until_closed(&mut stream)).await;
}

async fn read_script(stream: &mut TcpStream) -> Option<Script> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(script(&String::from_utf8_lossy(&read[..end])));
        }
        match stream.read_buf(&mut read).await {
            Ok(1..) if read.len() < HEAD_BYTES_MAX => {}
            _ => return None,
        }
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

fn script(head: &str) -> Script {
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let fields = fields.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut scripts = fields.filter(|(name, _)| name.eq_ignore_ascii_case("x-script"));
    // Who fetches a document has no say in its fields.
    let in_query = || line.split_once("?x-script=")?.1.split(' ').next();
    match scripts.next().map(|(_, value)| value.trim()).or_else(in_query) {
        Some("silence") => Script::Silence,
        Some(value) => bytes(value).map_or(Script::Unknown, Script::Answer),
        None => Script::Unknown,
    }
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let byte = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &str) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(serve(listener));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let silence = Duration::from_millis(200);
        let _ = tokio::time::timeout(silence, stream.read_to_end(&mut answer)).await;
        answer
    }

    #[test]
    fn a_request_brings_its_answer_along() {
        let answers = async {
            let body = "POST / HTTP/1.1\r\nX-Script: 610a00Ff\r\ncontent-length: 3\r\n\r\nabc";
            assert_eq!(ask(body).await, b"a\n\0\xff");
            let asked = format!("GET / HTTP/1.1\r\nx-script: {}\r\n\r\n", answer("a: b\r\n", "x"));
            let expected =
                "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
            assert_eq!(ask(&asked).await, expected.as_bytes());
            assert_eq!(ask("GET / HTTP/1.1\r\nx-script: silence\r\n\r\n").await, b"");
            assert_eq!(ask("GET /a?x-script=610a HTTP/1.1\r\nhost: x\r\n\r\n").await, b"a\n");
            for other in ["", "x-script: 6\r\n", "x-script: 6g\r\n", "x-other: 61\r\n"] {
                assert_eq!(ask(&format!("GET / HTTP/1.1\r\n{other}\r\n")).await, NOT_FOUND);
            }
        };
        Runtime::new().unwrap().block_on(answers);
    }
}

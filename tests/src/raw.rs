//! Bytes on a connection, for what a client with manners can't say.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::{self, Asked};
use crate::transcript::Fields;
use crate::upstream::dechunked;

/// How long a server may take to answer or to close.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came back before the server closed the connection or fell silent.
pub struct RawAnswer {
    /// All of it.
    pub text: String,
    /// Whether the server closed the connection.
    pub closed: bool,
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beginning: String = self.text.chars().take(800).collect();
        write!(f, "closed: {}, {beginning:?}", self.closed)
    }
}

impl RawAnswer {
    /// The status of the first answer.
    pub fn status(&self) -> Option<u16> {
        self.text.split(' ').nth(1)?.parse().ok()
    }

    /// How many answers there are.
    pub fn answers(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }
}

/// Sends `bytes` and reads until the server closes, or has been silent for a second after
/// something came.
pub async fn exchange(authority: &str, bytes: &[u8]) -> RawAnswer {
    let asked = ask(authority, bytes);
    let answer = send(authority, bytes).await;
    record(asked, &answer.text);
    answer
}

async fn send(authority: &str, bytes: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(authority).await.expect("the server takes connections");
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let closed = loop {
        let patience = if read.is_empty() { PATIENCE } else { Duration::from_secs(1) };
        match tokio::time::timeout(patience, stream.read_buf(&mut read)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(_)) => {}
            Err(_) => break false,
        }
    };
    RawAnswer { text: String::from_utf8_lossy(&read).into_owned(), closed }
}

fn ask(authority: &str, bytes: &[u8]) -> Asked {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split("\r\n").next().unwrap_or_default();
    let (method, rest) = line.split_once(' ').unwrap_or((line, ""));
    scene::ask(authority, method, rest.strip_suffix(" HTTP/1.1").unwrap_or(rest))
}

/// Takes down the first answer, if there is one.
fn record(asked: Asked, answers: &str) {
    if let Some((status, fields, body)) = first(answers) {
        asked.answered(status, fields, body.as_bytes());
    }
}

fn first(answers: &str) -> Option<(u16, Fields, String)> {
    let (head, rest) = answers.split_once("\r\n\r\n")?;
    let (line, lines) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let fields: Vec<_> = lines.split("\r\n").filter_map(field).collect();
    let value = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| &field.1);
    let body = match value("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => rest.get(..length).map(str::to_owned),
        None if value("transfer-encoding").is_some() => dechunked(rest),
        None => None,
    };
    // What does not end as it says is shown as it came.
    let body = body.unwrap_or_else(|| rest.to_owned());
    Some((status, fields, body))
}

/// Sends `bytes` and cuts the connection.
pub async fn send_and_cut(authority: &str, bytes: &[u8]) {
    ask(authority, bytes);
    let mut stream = TcpStream::connect(authority).await.expect("the server takes connections");
    stream.write_all(bytes).await.expect("the server reads");
    stream.flush().await.expect("the server reads");
    // What was written shall arrive before the cut.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn of_several_answers_the_first_is_taken_apart() {
        let second = "HTTP/1.1 200 OK\r\n\r\n";
        let head = "HTTP/1.1 400 Bad Request\r\nX-A: b\r\n";
        for (more, body) in [
            ("content-length: 3\r\n\r\n", "abc"),
            ("transfer-encoding: chunked\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ] {
            let (status, fields, body) = first(&format!("{head}{more}{body}{second}")).unwrap();
            assert_eq!((status, body.as_str()), (400, "abc"));
            assert_eq!(fields[0], ("x-a".to_owned(), "b".to_owned()));
        }
        assert!(first("").is_none() && first("nonsense\r\n\r\n").is_none());
    }
}

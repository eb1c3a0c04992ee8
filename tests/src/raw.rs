//! Bytes on a connection, for what a client with manners can't say.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

/// Sends `bytes` and cuts the connection.
pub async fn send_and_cut(authority: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(authority).await.expect("the server takes connections");
    stream.write_all(bytes).await.expect("the server reads");
    stream.flush().await.expect("the server reads");
    // What was written shall arrive before the cut.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

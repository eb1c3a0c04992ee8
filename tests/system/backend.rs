//! A server behind a cached route: it counts what it is asked, and can be killed while it answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// How much of a chunked body is in one chunk, in bytes.
const CHUNK_BYTES: usize = 10_000;

/// How it is said where a body ends (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// With the connection.
    Close,
}

/// What becomes of its connections when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// They end, as if all had been said.
    Fin,
    /// They break.
    Reset,
}

/// What may be cached for as long as a test takes.
pub(crate) const CACHED: &str = "cache-control: max-age=600\r\n";

/// How every request is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answering {
    /// Field lines, each with its end.
    pub(crate) fields: &'static str,
    pub(crate) content: Arc<Vec<u8>>,
    pub(crate) framing: Framing,
    /// How long it thinks before.
    pub(crate) delay: Duration,
    /// After so many bytes of the body nothing more comes; `Some(0)`: not even the head.
    pub(crate) stops_after: Option<usize>,
    pub(crate) death: Death,
}

/// The server.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    /// One for each answer that has come to where it stops.
    stopped: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Backend {
    /// Starts it on a free port.
    pub(crate) async fn start(answering: Answering) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answering).await
    }

    /// Starts it.
    pub(crate) async fn start_at(address: SocketAddr, answering: Answering) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("it has an address");
        let (requests, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, told) = (requests.clone(), stopped.clone());
        let task = tokio::spawn(async move {
            // Its connections end with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if answering.death == Death::Reset {
                    stream.set_zero_linger().expect("it is open");
                }
                connections.spawn(serve(stream, answering.clone(), counted.clone(), told.clone()));
            }
        });
        Self { address, requests, stopped, task }
    }

    /// A route to it, with everything below a path.
    pub(crate) fn route(&self) -> String {
        format!(
            "[[routes]]\npath = \"/r/{{*rest}}\"\nproxy = \"http://{}\"\nauth = \"none\"\n\
             cache = true\nlimit = \"none\"\n",
            self.address
        )
    }

    /// How many requests have reached it.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until an answer has come to where it stops.
    pub(crate) async fn has_stopped(&self) {
        self.stopped.acquire().await.expect("it is open").forget();
    }

    /// Ends it, its connections, and whatever it was about to say.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn serve(
    mut stream: TcpStream,
    answering: Answering,
    requests: Arc<AtomicUsize>,
    stopped: Arc<Semaphore>,
) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            match stream.read_buf(&mut read).await {
                Ok(1..) => continue,
                _ => return,
            }
        };
        read.drain(..end + 4);
        requests.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(answering.delay).await;
        // Who has gone away needs no answer.
        if answer(&mut stream, &answering).await.is_err() {
            return;
        }
        if answering.stops_after.is_some() {
            stopped.add_permits(1);
            std::future::pending::<()>().await;
        }
        if answering.framing == Framing::Close {
            return;
        }
    }
}

async fn answer(stream: &mut TcpStream, answering: &Answering) -> std::io::Result<()> {
    let Answering { fields, content, framing, stops_after, .. } = answering;
    if *stops_after == Some(0) {
        return Ok(());
    }
    let framed = match framing {
        Framing::Length => format!("content-length: {}\r\n", content.len()),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::Close => "connection: close\r\n".to_owned(),
    };
    let head = format!("HTTP/1.1 200 OK\r\n{fields}{framed}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let sent = &content[..stops_after.unwrap_or(content.len())];
    if *framing != Framing::Chunked {
        return stream.write_all(sent).await;
    }
    for chunk in sent.chunks(CHUNK_BYTES) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        stream.write_all(chunk).await?;
        stream.write_all(b"\r\n").await?;
    }
    if stops_after.is_none() {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

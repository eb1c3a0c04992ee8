//! Clients that send their heads, or their bodies, very slowly.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use reqwest::Url;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long until each sends a few bytes more; each has its own moment in that.
const PAUSE: Duration = Duration::from_secs(1);
/// So many moments there are.
const MOMENTS: usize = 200;
/// What comes of a head, and of a body, each time.
const HEAD_PIECE: &[u8] = b"a: b\r\n";
const BODY_PIECE: &[u8] = &[b'.'; 300];
/// Open files beside those of the clients.
const OTHER_FILES: u64 = 1_000;

/// So many clients of each kind.
pub(super) struct Slow {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

pub(super) fn start(edge: &str, token: &str, each: usize) -> Result<Slow> {
    let url: Url = edge.parse()?;
    let host = url.host_str().context("the edge has a host")?;
    let authority = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(files > 2 * each as u64 + OTHER_FILES, "too few open files are allowed: {files}");
    let head = format!("GET / HTTP/1.1\r\nhost: {authority}\r\n");
    let body = format!(
        "POST /files?name=slow HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\
         content-type: text/plain\r\ncontent-length: 1000000\r\n\r\n"
    );
    let open = |begun: &str| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&authority)?;
        stream.write_all(begun.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let heads = (0..each).map(|_| open(&head)).collect::<Result<Vec<_>>>()?;
    let bodies = (0..each).map(|_| open(&body)).collect::<Result<Vec<_>>>()?;
    let ends = Arc::new(AtomicBool::default());
    let ended = ends.clone();
    let thread = std::thread::spawn(move || {
        super::give_way();
        trickle(heads, bodies, &ended)
    });
    Ok(Slow { ends, thread })
}

/// Sends until it is to end. Returns how many connections are open then.
fn trickle(heads: Vec<TcpStream>, bodies: Vec<TcpStream>, ends: &AtomicBool) -> usize {
    let each = (heads.len() + bodies.len()).div_ceil(MOMENTS);
    let heads = heads.into_iter().map(|stream| (stream, HEAD_PIECE));
    let bodies = bodies.into_iter().map(|stream| (stream, BODY_PIECE));
    let mut slow = heads.chain(bodies);
    let mut moments = [(); MOMENTS].map(|()| slow.by_ref().take(each).collect::<Vec<_>>());
    let mut due = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        for moment in &mut moments {
            moment.retain_mut(|(stream, piece)| send(stream, piece).is_ok());
            due += PAUSE / MOMENTS as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    moments.iter().map(Vec::len).sum()
}

fn send(stream: &mut TcpStream, piece: &[u8]) -> Result<()> {
    match stream.read(&mut [0; 1]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        // It was answered, or closed: before it was whole.
        _ => return Err(anyhow!("it is over")),
    }
    Ok(stream.write_all(piece)?)
}

impl Slow {
    pub(super) fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}

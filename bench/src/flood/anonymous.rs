//! Anonymous requests: as many as are answered, or so many a second whatever becomes of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use reqwest::Url;

/// Connections that the capacity is measured with: enough for the edge to be busy all the time.
const BUSY: usize = 8;
/// Connections that a flood comes by.
const FLOODING: usize = 256;
/// How often the flood sends.
const ROUND: Duration = Duration::from_millis(5);
const MARK: &[u8] = b"HTTP/1.1 ";

/// A connection, what of an answer is still to come of it, and what was counted.
struct Connection {
    stream: TcpStream,
    /// The end of what was read, where the mark of an answer may have begun.
    rest: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    served: AtomicU64,
    shed: AtomicU64,
}

impl Counts {
    fn all(&self) -> [u64; 3] {
        [&self.sent, &self.served, &self.shed].map(|count| count.load(Ordering::Relaxed))
    }
}

fn request(target: &str) -> Result<(String, Vec<u8>)> {
    let url: Url = target.parse()?;
    let host = url.host_str().context("the edge has a host")?;
    let authority = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let head = format!("GET {} HTTP/1.1\r\nhost: {authority}\r\n\r\n", url.path());
    Ok((authority, head.into_bytes()))
}

impl Connection {
    fn new(authority: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, rest: Vec::new() })
    }

    /// Reads what is there, and counts the answers that begin in it.
    fn read(&mut self, counts: &Counts) -> Result<u64> {
        let mut chunk = [0; 64 << 10];
        let mut answers = 0;
        loop {
            let bytes = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(anyhow!("the edge has closed a connection")),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error.into()),
            };
            self.rest.extend(chunk.iter().take(bytes));
            answers += self.count(counts);
        }
    }

    fn count(&mut self, counts: &Counts) -> u64 {
        let (mut answers, mut end) = (0, 0);
        while let Some(found) = find(self.rest.get(end..).unwrap_or_default()) {
            let status = end + found + MARK.len();
            let Some(digits) = self.rest.get(status..status + 3) else { break };
            let count = if digits == b"200" { &counts.served } else { &counts.shed };
            count.fetch_add(1, Ordering::Relaxed);
            answers += 1;
            end = status + 3;
        }
        let kept = self.rest.len().saturating_sub(MARK.len() + 2).max(end);
        self.rest.drain(..kept);
        answers
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|window| window == MARK)
}

/// How many requests are served a second, by clients that send one after the other.
pub(super) fn capacity(target: &str, time: Duration) -> Result<f64> {
    let (authority, head) = request(target)?;
    let mut connections =
        (0..BUSY).map(|_| Connection::new(&authority)).collect::<Result<Vec<_>>>()?;
    let counts = Counts::default();
    for connection in &mut connections {
        connection.stream.write_all(&head)?;
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        let mut any = 0;
        for connection in &mut connections {
            let answers = connection.read(&counts)?;
            for _ in 0..answers {
                connection.stream.write_all(&head)?;
            }
            any += answers;
        }
        if any == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    Ok(counts.all()[1] as f64 / begun.elapsed().as_secs_f64())
}

/// Requests that come so many a second.
pub(super) struct Flood {
    counts: Arc<Counts>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    begun: std::cell::Cell<(Instant, [u64; 3])>,
}

/// What became of a flood, from when it was looked at.
pub(super) struct Flooded {
    time: Duration,
    counts: [u64; 3],
}

impl Flood {
    pub(super) fn start(target: &str, per_s: f64) -> Result<Self> {
        let (authority, head) = request(target)?;
        let connections =
            (0..FLOODING).map(|_| Connection::new(&authority)).collect::<Result<Vec<_>>>()?;
        let (counts, ends) = (Arc::new(Counts::default()), Arc::new(AtomicBool::default()));
        let (counted, ended) = (counts.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            super::give_way();
            flood(connections, &authority, &head, per_s, &counted, &ended);
        });
        let begun = std::cell::Cell::new((Instant::now(), [0; 3]));
        Ok(Self { counts, ends, thread, begun })
    }

    /// What came before does not count.
    pub(super) fn begin(&self) {
        self.begun.set((Instant::now(), self.counts.all()));
    }

    pub(super) fn end(self) -> Flooded {
        let (begun, before) = self.begun.get();
        let (time, after) = (begun.elapsed(), self.counts.all());
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        let mut counts = [0; 3];
        for ((count, after), before) in counts.iter_mut().zip(after).zip(before) {
            *count = after - before;
        }
        Flooded { time, counts }
    }
}

/// Sends what is due, whether or not what was sent before is answered.
fn flood(
    mut connections: Vec<Connection>,
    authority: &str,
    head: &[u8],
    per_s: f64,
    counts: &Counts,
    ends: &AtomicBool,
) {
    let begun = Instant::now();
    let (mut due, mut next) = (0_u64, 0);
    while !ends.load(Ordering::Relaxed) {
        due = due.max((begun.elapsed().as_secs_f64() * per_s) as u64);
        while counts.sent.load(Ordering::Relaxed) < due {
            next = (next + 1) % FLOODING;
            let Some(connection) = connections.get_mut(next) else { return };
            counts.sent.fetch_add(1, Ordering::Relaxed);
            let written = connection.stream.write(head);
            // One whose queue is full loses this one; half of a request would spoil the rest.
            let is_broken = match written {
                Ok(bytes) => bytes < head.len(),
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if is_broken && let Ok(fresh) = Connection::new(authority) {
                *connection = fresh;
            }
        }
        for connection in &mut connections {
            if connection.read(counts).is_err()
                && let Ok(fresh) = Connection::new(authority)
            {
                *connection = fresh;
            }
        }
        std::thread::sleep(ROUND);
    }
}

impl Flooded {
    fn per_s(&self, place: usize) -> f64 {
        self.counts.get(place).map_or(0.0, |count| *count as f64 / self.time.as_secs_f64())
    }

    pub(super) fn sent_per_s(&self) -> f64 {
        self.per_s(0)
    }

    pub(super) fn served_per_s(&self) -> f64 {
        self.per_s(1)
    }

    pub(super) fn shed_per_s(&self) -> f64 {
        self.per_s(2)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn answers_are_counted_wherever_they_are_cut() {
        let text = b"HTTP/1.1 200 OK\r\n\r\nooHTTP/1.1 503 No\r\n\r\nHTTP/1.1 200 OK\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for size in 1..text.len() {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut connection = Connection { stream, rest: Vec::new() };
            let counts = Counts::default();
            let mut answers = 0;
            for piece in text.chunks(size) {
                connection.rest.extend(piece);
                answers += connection.count(&counts);
            }
            assert_eq!((answers, counts.all()), (3, [0, 2, 1]), "{size}");
        }
    }
}

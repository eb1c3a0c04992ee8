//! Random clients against random handlers over connections that take a few bytes at a time: every
//! byte that comes back belongs to a message, and every message to its request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf, ReadHalf};

use outport_interim::Sent;

use crate::client::Reader;
use crate::server::{Plan, Seen, connect_by};

const HISTORIES: u64 = 400;
const REQUESTS_MAX: usize = 12;
const BODY_BYTES_MAX: usize = 600;

struct Ask {
    plan: Plan,
    body: Vec<u8>,
    chunked: bool,
    expects: bool,
}

impl Ask {
    fn random(random: &mut StdRng) -> Self {
        let length =
            if random.random_bool(0.2) { 0 } else { random.random_range(1..BODY_BYTES_MAX) };
        let plan = Plan {
            at_start: random.random_range(0..4),
            per_chunk: random.random_range(0..3),
            late: random.random(),
            apart: random.random(),
            echo: random.random_bool(0.3),
            ..Plan::NONE
        };
        let body = (0..length).map(|_| random.random_range(b'a'..=b'z')).collect();
        Self { plan, body, chunked: random.random(), expects: random.random_bool(0.2) }
    }

    fn write(&self, id: usize, into: &mut Vec<u8>) {
        let mut head = format!("POST /{id} HTTP/1.1\r\nhost: x\r\n");
        if self.expects {
            head += "expect: 100-continue\r\n";
        }
        if !self.chunked {
            head += &format!("content-length: {}\r\n\r\n", self.body.len());
            into.extend_from_slice(head.as_bytes());
            into.extend_from_slice(&self.body);
            return;
        }
        head += "transfer-encoding: chunked\r\n\r\n";
        into.extend_from_slice(head.as_bytes());
        for piece in self.body.chunks(97) {
            into.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            into.extend_from_slice(piece);
            into.extend_from_slice(b"\r\n");
        }
        into.extend_from_slice(b"0\r\n\r\n");
    }

    fn answer(&self) -> Vec<u8> {
        if self.plan.echo { self.body.clone() } else { self.body.len().to_string().into_bytes() }
    }
}

/// What came back for all requests together.
#[derive(Default, Debug)]
struct Counts {
    sent: usize,
    busy: usize,
    late: usize,
    continued: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_is_accounted_for() {
    let mut counts = Counts::default();
    for seed in 0..HISTORIES {
        let history = history(seed, &mut counts);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), history).await;
        ended.unwrap_or_else(|_| panic!("history {seed} does not end"));
    }
    // Otherwise nothing was tried.
    let Counts { sent, busy, late, continued } = counts;
    assert!(sent > 1_000 && busy > 100 && late > 400 && continued > 100, "{counts:?}");
}

async fn history(seed: u64, counts: &mut Counts) {
    let mut random = StdRng::seed_from_u64(seed);
    let count = random.random_range(1..=REQUESTS_MAX);
    let asks: Vec<Ask> = (0..count).map(|_| Ask::random(&mut random)).collect();
    let plans: Vec<Plan> = asks.iter().map(|ask| ask.plan).collect();
    let held = random.random_range(1..300);
    let (client, seen) = connect_by(held, move |id| plans[id.parse::<usize>().unwrap()]);
    let (read, mut write) = tokio::io::split(client);
    let mut bytes = Vec::new();
    for (id, ask) in asks.iter().enumerate() {
        ask.write(id, &mut bytes);
    }
    let mut pace = StdRng::seed_from_u64(!seed);
    let writing = tokio::spawn(async move {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(pace.random_range(1..=rest.len().min(400)));
            write.write_all(now).await.unwrap();
            rest = later;
            for _ in 0..pace.random_range(0..4) {
                tokio::task::yield_now().await;
            }
        }
        write
    });
    check(seed, &asks, read, &seen, random, counts).await;
    drop(writing.await.unwrap());
}

async fn check(
    seed: u64,
    asks: &[Ask],
    read: ReadHalf<tokio::io::DuplexStream>,
    seen: &Seen,
    random: StdRng,
    counts: &mut Counts,
) {
    let mut reader = Reader::new(Slowly { read, random });
    for (id, ask) in asks.iter().enumerate() {
        let id = id.to_string();
        let mut arrived = 0;
        let answer = loop {
            let message = reader.message().await.unwrap();
            if message.is_final() {
                break message;
            }
            if message.status == 100 {
                assert!(ask.expects, "seed {seed}, request {id}");
                counts.continued += 1;
                continue;
            }
            assert_eq!((message.status, message.field("id")), (104, Some(&*id)), "seed {seed}");
            arrived += 1;
        };
        assert_eq!((answer.status, answer.field("id")), (200, Some(&*id)), "seed {seed}");
        assert_eq!(answer.body, ask.answer(), "seed {seed}, request {id}");
        let outcomes = seen.outcomes(&id);
        let of = |kind| outcomes.iter().filter(|outcome| **outcome == kind).count();
        assert_eq!(arrived, of(Sent::Sent), "seed {seed}, request {id}");
        counts.sent += of(Sent::Sent);
        counts.busy += of(Sent::Busy);
        counts.late += of(Sent::Late);
    }
}

/// A reader that takes little at a time, and often nothing.
struct Slowly<R> {
    read: R,
    random: StdRng,
}

impl<R: AsyncRead + Unpin> AsyncRead for Slowly<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.random.random_bool(0.5) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = self.random.random_range(1..200);
        let mut little = vec![0; most.min(buffer.remaining())];
        let mut part = ReadBuf::new(&mut little);
        ready!(Pin::new(&mut self.read).poll_read(context, &mut part))?;
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

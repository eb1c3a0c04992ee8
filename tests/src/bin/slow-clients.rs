//! Very many slow clients at once, through the edge: uploads that trickle in, then downloads that
//! trickle out.
//!
//! ```sh
//! cargo run --release -p outport-tests --bin slow-clients -- --clients 1000
//! ```
//!
//! Each client uploads a file of its own by one request that takes `--seconds`, a piece at a time;
//! then each downloads one file that no cache keeps, as slowly, and is cut off in its midst.
//! Compares every uploaded file, and prints the most memory that edge and origin ever had. Fails
//! where a file differs or a process had more than it may.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)] // A test ends so.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt as _;
use outport_tests::api::Api;
use outport_tests::deployment::{Data, Running};
use outport_tests::tus::{self, Upload};
use outport_tests::{process, random};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const MIB: u64 = 1024 * 1024;
/// What edge and origin may have in memory, each.
const RESIDENT_BYTES_MAX: u64 = 400 * MIB;
/// In so many pieces each upload comes.
const PIECES: usize = 32;
const PIECE_BYTES: usize = 2048;
/// More than the edge keeps of one file, so that each download is a stream of its own.
const LARGE_BYTES: usize = 24 << 20;
/// So little is on its way to a reader that the servers feel it.
const WINDOW_BYTES: u32 = 16 << 10;
/// How many of the files are begun, or compared, at once.
const AT_ONCE: usize = 64;
/// Open files beside those of the clients.
const OTHER_FILES: u64 = 500;

const NO_LIMITS: &str = "[limits.read]\nper_second = 1000000\nburst = 1000000\n\n\
                         [limits.write]\nper_second = 1000000\nburst = 1000000\n\n\
                         [overload]\ndelay_ms_max = 0\n";

/// Very many slow clients at once.
#[derive(Parser)]
struct Args {
    /// How many clients
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// How long each upload, and each download, takes
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { clients, seconds } = Args::parse();
    assert!(process::raise_open_files() > 2 * clients as u64 + OTHER_FILES, "too few open files");
    let data = Data::new();
    let config = data.config(NO_LIMITS);
    let config = config.to_str().expect("the path is text");
    let origin = Running::origin(&data, 0);
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let pause = Duration::from_secs(seconds) / PIECES as u32;

    let same = upload_all(&api, clients, pause).await;
    println!(
        "{clients} uploads of {} KiB in {seconds} s each: {same} same",
        PIECES * PIECE_BYTES / 1024
    );
    let nodes = [("edge", &edge), ("origin", &origin)];
    let mut right = same == clients;
    for (name, node) in nodes {
        right &= is_small(name, node);
    }
    let streamed = download_all(&api, clients, pause).await;
    println!("{clients} downloads that take {seconds} s each: {streamed} were being served");

    right &= streamed == clients;
    for (name, node) in nodes {
        right &= is_small(name, node);
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a process never had more than it may.
fn is_small(name: &str, node: &Running) -> bool {
    let resident = process::resident_bytes_peak(node.id());
    println!("{name:<7} peak resident memory so far {} MiB", resident / MIB);
    resident < RESIDENT_BYTES_MAX
}

/// Uploads a file for each client, all at once. Returns how many are what was sent.
async fn upload_all(api: &Api, clients: usize, pause: Duration) -> usize {
    let begun = (0..clients).map(|_| tus::create(api, content(0).len() as u64, "slow", "private"));
    let uploads: Vec<Upload> = futures::stream::iter(begun).buffered(AT_ONCE).collect().await;
    let sent =
        uploads.iter().enumerate().map(|(client, upload)| trickle(api, upload, client, pause));
    let acknowledged = futures::future::join_all(sent).await;
    let compared = uploads.iter().enumerate().map(|(client, upload)| async move {
        api.get(&upload.file_path()).await.body == content(client)
    });
    let same: Vec<bool> = futures::stream::iter(compared).buffered(AT_ONCE).collect().await;
    acknowledged.into_iter().zip(same).filter(|both| *both == (true, true)).count()
}

/// Sends one upload a piece at a time. Returns whether it was acknowledged.
async fn trickle(api: &Api, upload: &Upload, client: usize, pause: Duration) -> bool {
    let content = content(client);
    let mut stream = TcpStream::connect(api.authority()).await.expect("the edge takes it");
    let head = upload.raw_head(0, content.len() as u64);
    stream.write_all(head.as_bytes()).await.expect("the edge takes it");
    for piece in content.chunks(PIECE_BYTES) {
        tokio::time::sleep(pause).await;
        stream.write_all(piece).await.expect("the edge takes it");
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("there is an answer");
    answer == *b"HTTP/1.1 204"
}

/// Downloads one large file for each client, all at once and slowly. Returns how many were being
/// served to the end.
async fn download_all(api: &Api, clients: usize, pause: Duration) -> usize {
    let kind = "application/octet-stream";
    let file = api.upload("visibility=public", kind, random::bytes(LARGE_BYTES)).await;
    let read = (0..clients).map(|_| sip(api, file.path(), pause));
    futures::future::join_all(read).await.into_iter().filter(|served| *served).count()
}

async fn sip(api: &Api, path: String, pause: Duration) -> bool {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.set_recv_buffer_size(WINDOW_BYTES).expect("a buffer can be small");
    let address = api.authority().parse().expect("it is an address");
    let mut stream = socket.connect(address).await.expect("the edge takes it");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", api.authority());
    stream.write_all(head.as_bytes()).await.expect("the edge takes it");
    let mut piece = [0; PIECE_BYTES];
    for _ in 0..PIECES {
        tokio::time::sleep(pause).await;
        if stream.read_exact(&mut piece).await.is_err() {
            return false;
        }
    }
    true
}

/// What a client uploads.
fn content(client: usize) -> Vec<u8> {
    let seed = client.wrapping_mul(0x9e37_79b9);
    (0..PIECES * PIECE_BYTES)
        .map(|place| (place.wrapping_mul(31) ^ seed >> (place % 16)) as u8)
        .collect()
}

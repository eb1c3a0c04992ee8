//! A network that breaks: passes connections on to a server, and cuts or stalls them on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const BUFFER_BYTES: usize = 64 * 1024;

/// The way to a server.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Bytes from the client until the next fault.
    budget: AtomicI64,
    /// The budget after each cut.
    cut_every: AtomicI64,
    cuts_left: AtomicU32,
    stalls: AtomicU32,
}

impl Proxy {
    /// A way to the server at `authority` that breaks not at all.
    pub async fn new(authority: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let faults = Arc::new(Faults::default());
        tokio::spawn(serve(listener, authority, Arc::clone(&faults)));
        Self { url, faults }
    }

    /// From now on, cuts the connection after each `bytes` from the client, `times` times.
    pub fn cut_after(&self, bytes: i64, times: u32) {
        self.faults.budget.store(bytes, Ordering::SeqCst);
        self.faults.cut_every.store(bytes, Ordering::SeqCst);
        self.faults.cuts_left.store(times, Ordering::SeqCst);
    }

    /// From now on, lets `bytes` from the client pass and then nothing, until [`Self::mend`].
    pub fn stall_after(&self, bytes: i64) {
        self.faults.budget.store(bytes, Ordering::SeqCst);
        self.faults.stalls.store(1, Ordering::SeqCst);
    }

    /// Whether the client has sent what was to pass before a stall.
    pub fn is_stalled(&self) -> bool {
        self.faults.stalls.load(Ordering::SeqCst) > 0
            && self.faults.budget.load(Ordering::SeqCst) <= 0
    }

    /// How many cuts are still to come.
    pub fn cuts_left(&self) -> u32 {
        self.faults.cuts_left.load(Ordering::SeqCst)
    }

    /// New connections work again.
    pub fn mend(&self) {
        self.faults.stalls.store(0, Ordering::SeqCst);
        self.faults.cuts_left.store(0, Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, authority: String, faults: Arc<Faults>) {
    while let Ok((client, _)) = listener.accept().await {
        let (authority, faults) = (authority.clone(), Arc::clone(&faults));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(authority).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // Whichever way ends first takes the other with it, as a broken connection does.
            tokio::select! {
                () = upstream(from_client, to_server, &faults) => {}
                () = downstream(from_server, to_client) => {}
            }
        });
    }
}

async fn upstream(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let left = faults.budget.fetch_sub(count as i64, Ordering::SeqCst) - count as i64;
        if left <= 0 && faults.stalls.load(Ordering::SeqCst) > 0 {
            std::future::pending::<()>().await;
        }
        if left <= 0 && faults.cuts_left.load(Ordering::SeqCst) > 0 {
            faults.cuts_left.fetch_sub(1, Ordering::SeqCst);
            faults.budget.store(faults.cut_every.load(Ordering::SeqCst), Ordering::SeqCst);
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn downstream(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

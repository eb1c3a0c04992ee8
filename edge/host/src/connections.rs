//! Connections that are taken, and for how long one may do nothing.
//!
//! There is room for so many, and one network has a part of it. hyper bounds how long a head of HTTP/1.1
//! takes; what is here bounds all the rest: who says nothing, or not enough to be a request, in either
//! version, and who does not read its answer.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use outport_edge_core::forwarded::TrustedProxies;
use outport_edge_core::limit::neighbourhood;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How long a connection is kept on which there is no request, whatever comes on it: longer than a
/// head may take.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what is sent to it.
const UNREAD_MAX: Duration = Duration::from_secs(120);

/// How many connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// The most at once; more wait in the system's queue.
    pub most: usize,
    /// The most of one network: an IPv4 /24 or an IPv6 /48. Proxies that are trusted have no such
    /// bound. More are closed at once.
    pub of_network: usize,
}

/// The connections of a node.
pub(crate) struct Connections {
    bounds: ConnectionBounds,
    trusted_proxies: TrustedProxies,
    room: Arc<Semaphore>,
    networks: Mutex<HashMap<String, usize>>,
    open: AtomicUsize,
    refused: AtomicU64,
}

/// Room for a connection that may come.
pub(crate) type Room = OwnedSemaphorePermit;

/// The place of a connection, for as long as it lasts.
pub(crate) struct Place {
    connections: Arc<Connections>,
    network: Option<String>,
    _room: Room,
}

impl Connections {
    pub(crate) fn new(bounds: ConnectionBounds, trusted_proxies: TrustedProxies) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(bounds.most));
        let (open, refused) = (AtomicUsize::default(), AtomicU64::default());
        Arc::new(Self { bounds, trusted_proxies, room, networks: Mutex::default(), open, refused })
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) -> Option<Room> {
        self.room.clone().acquire_owned().await.ok()
    }

    /// The place of a connection; none where its network has too many.
    pub(crate) fn place(self: &Arc<Self>, room: Room, peer: IpAddr) -> Option<Place> {
        let network = if self.trusted_proxies.has(peer) {
            None
        } else {
            Some(neighbourhood(peer.to_canonical()))
        };
        if let Some(network) = &network {
            let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
            let count = networks.entry(network.clone()).or_default();
            if *count >= self.bounds.of_network {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            *count += 1;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { connections: self.clone(), network, _room: room })
    }

    /// How many there are, and how many were refused for their networks.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.open.load(Ordering::Relaxed) as u64, self.refused.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        let Some(network) = &self.network else { return };
        let mut networks = self.connections.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = networks.get_mut(network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(network);
            }
        }
    }
}

/// What a connection is busy with.
pub(crate) struct Activity {
    started: Instant,
    requests: AtomicUsize,
    /// When the last of them was over, in milliseconds since it started.
    over_ms: AtomicU64,
}

/// A request, until its answer is sent or given up.
pub(crate) struct Active(Arc<Activity>);

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        let (requests, over_ms) = (AtomicUsize::default(), AtomicU64::default());
        Arc::new(Self { started: Instant::now(), requests, over_ms })
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }

    /// Completes once there was no request for too long.
    pub(crate) async fn idle(&self) {
        loop {
            let is_busy = self.requests.load(Ordering::Relaxed) > 0;
            let over = Duration::from_millis(self.over_ms.load(Ordering::Relaxed));
            let idle = self.started.elapsed().saturating_sub(over);
            if !is_busy && idle >= IDLE_MAX {
                return;
            }
            let least = if is_busy { IDLE_MAX } else { IDLE_MAX - idle };
            tokio::time::sleep(least.max(Duration::from_millis(1))).await;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let Self(activity) = self;
        let now_ms = u64::try_from(activity.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        activity.over_ms.store(now_ms, Ordering::Relaxed);
        activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response's body, whose request is over with it.
pub(crate) struct Answering<B> {
    body: B,
    _active: Active,
}

impl<B> Answering<B> {
    pub(crate) fn new(body: B, active: Active) -> Self {
        Self { body, _active: active }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose other side has to read what is written.
pub(crate) struct Unread<S> {
    stream: S,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Unread<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, until: None }
    }

    /// An error in place of one that waits for too long.
    fn bounded<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD_MAX)));
        match until.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.bounded(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn connections(trusted: &[&str]) -> Arc<Connections> {
        let trusted = TrustedProxies::parse(trusted).unwrap();
        Connections::new(ConnectionBounds { most: 4, of_network: 2 }, trusted)
    }

    async fn place(connections: &Arc<Connections>, peer: &str) -> Option<Place> {
        let room = connections.room().await.unwrap();
        connections.place(room, peer.parse().unwrap())
    }

    #[tokio::test]
    async fn one_network_has_a_part_of_the_room() {
        let connections = connections(&["10.0.0.0/8"]);
        let (a, b) =
            (place(&connections, "192.0.2.1").await, place(&connections, "192.0.2.2").await);
        assert!(a.is_some() && b.is_some());
        // However it is written.
        assert!(place(&connections, "192.0.2.3").await.is_none());
        assert!(place(&connections, "::ffff:192.0.2.4").await.is_none());
        assert_eq!(connections.counted(), (2, 2));
        assert!(place(&connections, "192.0.3.1").await.is_some());
        drop(a);
        assert!(place(&connections, "192.0.2.3").await.is_some());
        drop(b);
        assert!(connections.networks.lock().unwrap().is_empty());
        let mut proxied = Vec::new();
        for _ in 0..4 {
            proxied.push(place(&connections, "10.1.2.3").await.unwrap());
        }
        assert_eq!(connections.counted(), (4, 2));
        assert!(futures::FutureExt::now_or_never(connections.room()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_idle() {
        let begun = Instant::now();
        Activity::new().idle().await;
        assert_eq!(begun.elapsed(), IDLE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_keeps_a_connection_and_its_end_begins_anew() {
        let (activity, begun) = (Activity::new(), Instant::now());
        let idle = activity.idle();
        let request = async {
            let active = activity.begin();
            tokio::time::sleep(IDLE_MAX * 10).await;
            drop(Answering::new(http_body_util::Empty::<Bytes>::new(), active));
        };
        tokio::join!(idle, request);
        assert!(begun.elapsed() >= IDLE_MAX * 11, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = Unread::new(near);
        near.write_all(b"0123456789").await.unwrap();
        let reading = async {
            tokio::time::sleep(UNREAD_MAX / 2).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
        };
        // What is read at last starts the time anew.
        let (written, ()) = tokio::join!(near.write(b"abcd"), reading);
        written.unwrap();
        let begun = Instant::now();
        let given_up = near.write(b"x").await.unwrap_err();
        assert_eq!((given_up.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, UNREAD_MAX));
    }
}

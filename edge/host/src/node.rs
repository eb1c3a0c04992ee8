//! An edge node: its sockets, its threads, its end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use outport_edge_core::challenge::Challenger;
use outport_edge_core::config::Config as CoreConfig;
use outport_edge_core::forwarded::TrustedProxies;
use outport_edge_core::interim::Interims;
use outport_edge_core::platform::WASMTIME;
use outport_tls::Acceptor;
use outport_tls::reread::{self, Watching};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cache::Cache;
use crate::connections::{Activity, Answering, ConnectionBounds, Connections, Unread};
use crate::disk::Disk;
use crate::documents::Documents;
use crate::driver::{Driver, Fetches, Needs, Peer};
use crate::instances::{ComponentError, Instances};
use crate::kept::{Kept, KeptError};
use crate::kept_handover::Handover;
use crate::limiter::Limiter;
use crate::metrics::{Gauges, Metrics};
use crate::overload::{Overload, Shedding};
use crate::page::{self, PageFile};
use crate::prefetcher;
use crate::purges::Purges;
use crate::signing::Signing;
use crate::tls::{Tls, TlsConfig, TlsStartError};
use crate::upstream::Upstreams;
use crate::values::{ValueError, Values};

/// How long a request's head may take to arrive, from the end of the one before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most of a head that is read. The core refuses sooner, and says why.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How long requests that are under way may take when the node ends.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long is waited when no connection can be taken (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a node needs to start.
#[derive(Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics` is.
    pub metrics_listen: SocketAddr,
    /// The base URL of the origin.
    pub origin: String,
    /// The files for TLS, if any.
    pub tls: TlsConfig,
    /// The core's configuration; its `assets` are filled in from `page`.
    pub core: CoreConfig,
    /// The component, as [`crate::precompile`] made it.
    pub component: &'static [u8],
    /// The page.
    pub page: &'static [PageFile],
    /// A folder for what the node keeps.
    pub data_dir: PathBuf,
    /// Bytes of stored responses.
    pub cache_bytes_max: u64,
    /// Bytes of stored responses on the disk; 0: none are kept there.
    pub cache_disk_bytes_max: u64,
    /// Exchanges that an instance of the component begins before it is replaced.
    pub instance_exchanges_max: u64,
    /// When load is shed.
    pub shedding: Shedding,
    /// How many connections are taken.
    pub connections: ConnectionBounds,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The component is missing or does not fit, or refuses its configuration.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The key-value store can't be opened; another node may be using the folder.
    #[error("{folder}: {source}")]
    Values {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: ValueError,
    },
    /// What is kept for the origin can't be opened; another node may be using the folder.
    #[error("{folder}: {source}")]
    Kept {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: KeptError,
    },
    /// Files for TLS are of no use.
    #[error(transparent)]
    Tls(#[from] TlsStartError),
    /// Signals can't be listened to.
    #[error("can't listen to signals: {0}")]
    Signals(std::io::Error),
    /// The folder can't be made.
    #[error("{folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The address can't be listened on; something else may be there.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        source: std::io::Error,
    },
}

/// A node that listens.
pub struct EdgeNode {
    listener: TcpListener,
    tls: Option<Acceptor>,
    rereading: Watching,
    metrics_listener: TcpListener,
    driver: Arc<Driver>,
    signing: Signing,
    connections: Arc<Connections>,
    limits_file: PathBuf,
    /// What goes on for as long as it serves.
    beside: Vec<JoinHandle<()>>,
}

impl EdgeNode {
    /// Makes everything ready and binds the sockets. Within a tokio runtime, whose worker threads
    /// will each have an instance of the component.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        // Every connection takes a file descriptor, and the usual soft limit is 1,024.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!("the limit of open files can't be raised: {error}");
        }
        let tls = Tls::open(config.tls.clone())?;
        let values = open_values(&config)?;
        config.core.assets = page::deploy(config.page, &values)
            .map_err(|source| StartError::Values { folder: config.data_dir.clone(), source })?;
        let metrics = Arc::new(Metrics::of(&config.core.firewall));
        let instances = Instances::new(
            config.component,
            config.core.to_json(),
            tokio::runtime::Handle::current().metrics().num_workers(),
            config.instance_exchanges_max,
            WASMTIME.abilities,
            metrics.clone(),
        )?;
        let interims = Interims::new(&config.core);
        let routes = config.core.routes.iter().map(|route| route.proxy.clone()).collect();
        let upstreams = Arc::new(Upstreams::new(config.origin.clone(), routes, interims, &tls));
        let kept = open_kept(&config)?;
        let core = Box::new(instances.clone());
        let limits_file = config.data_dir.join("limits");
        let trusted = TrustedProxies::parse(&config.core.trusted_proxies).unwrap_or_default();
        let needs = Arc::new(Needs {
            cache: open_cache(&config),
            values,
            limiter: Arc::new(Limiter::open(&limits_file)),
            shares: Arc::default(),
            handover: Handover::start(kept.clone(), upstreams.clone(), core),
            upstreams,
            documents: Documents::new(tls.others.clone()),
            kept,
            fetches: Fetches::default(),
        });
        let (ahead, waiting) = prefetcher::queue();
        let challenger = Challenger::of(&config.core);
        let signing = Signing::new(instances.clone(), config.core);
        let overload = Overload::new(config.shedding, trusted.clone(), challenger);
        let driver = Driver { instances, needs, metrics, ahead, overload };
        let limiter = driver.needs.limiter.clone();
        let beside = vec![
            prefetcher::start(driver.clone(), waiting),
            tokio::spawn(driver.overload.clone().watch()),
            tokio::spawn(limiter.keep(limits_file.clone())),
        ];
        Ok(Self {
            listener: listen(config.listen).await?,
            rereading: reread::watch(tls.files()).map_err(StartError::Signals)?,
            tls: tls.listen,
            signing,
            metrics_listener: listen(config.metrics_listen).await?,
            driver: Arc::new(driver),
            connections: Connections::new(config.connections, trusted),
            limits_file,
            beside,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where `/metrics` is.
    pub fn metrics_address(&self) -> std::io::Result<SocketAddr> {
        self.metrics_listener.local_addr()
    }

    /// What it signs with.
    pub fn signing(&self) -> Signing {
        self.signing.clone()
    }

    /// Serves until `shutdown` is over, then lets requests that are under way end.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            tls,
            rereading,
            metrics_listener,
            driver,
            connections,
            limits_file,
            beside,
            ..
        } = self;
        let metrics = serve_metrics(metrics_listener, driver.clone(), connections.clone());
        let metrics = tokio::spawn(metrics);
        let open = GracefulShutdown::new();
        tokio::select! {
            () = accept(&listener, tls.as_ref(), &driver, &connections, &open) => {}
            () = shutdown => {}
        }
        drop((listener, rereading));
        if tokio::time::timeout(DRAIN_MAX, open.shutdown()).await.is_err() {
            tracing::warn!("some requests were still under way and were cut off");
        }
        metrics.abort();
        beside.iter().for_each(JoinHandle::abort);
        driver.needs.limiter.save(&limits_file).await;
        driver.needs.cache.close().await;
    }
}

fn open_values(config: &Config) -> Result<Values, StartError> {
    let folder = config.data_dir.clone();
    std::fs::create_dir_all(&folder)
        .map_err(|source| StartError::Folder { folder: folder.clone(), source })?;
    Values::open(&folder.join("values.redb"))
        .map_err(|source| StartError::Values { folder, source })
}

fn open_kept(config: &Config) -> Result<Kept, StartError> {
    Kept::open(&config.data_dir.join("kept.redb"))
        .map_err(|source| StartError::Kept { folder: config.data_dir.clone(), source })
}

/// After the stores that no two nodes can have open at once: the folder of the cache is then ours.
fn open_cache(config: &Config) -> Arc<Cache> {
    let (folder, disk_bytes_max) = (config.data_dir.join("cache"), config.cache_disk_bytes_max);
    let purges = Arc::new(Purges::default());
    let disk = if disk_bytes_max == 0 {
        Disk::remove(&folder);
        None
    } else {
        // What is stored is the component's to read, and no other's.
        let edition = Sha256::digest(config.component);
        Disk::open(&folder, disk_bytes_max, &edition, purges.clone())
    };
    Cache::with_disk(config.cache_bytes_max, config.core.stored_bytes_max, disk, purges)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

async fn accept(
    listener: &TcpListener,
    tls: Option<&Acceptor>,
    driver: &Arc<Driver>,
    connections: &Arc<Connections>,
    open: &GracefulShutdown,
) {
    let server = Arc::new(server());
    loop {
        let Some(room) = connections.room().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be taken: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = connections.place(room, peer.ip()) else { continue };
        // An answer goes out at once; there is nothing that it could wait for.
        let _ = stream.set_nodelay(true);
        let peer = Peer { address: peer.ip(), secure: tls.is_some() };
        let (server, driver, tls) = (server.clone(), driver.clone(), tls.cloned());
        let watcher = open.watcher();
        tokio::spawn(async move {
            match tls {
                None => serve(&server, stream, peer, driver, watcher).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(&server, stream, peer, driver, watcher).await,
                    Err(error) => tracing::debug!("a handshake failed: {error}"),
                },
            }
            drop(place);
        });
    }
}

/// Serves a connection until it is over, or nothing comes of it.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    server: &auto::Builder<TokioExecutor>,
    stream: S,
    peer: Peer,
    driver: Arc<Driver>,
    watcher: Watcher,
) {
    let activity = Activity::new();
    let connection = connection(server, stream, peer, driver, activity.clone());
    tokio::select! {
        // Clients come and go; what they break off is nobody's error here.
        _ = watcher.watch(connection) => {}
        () = activity.idle() => {}
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX);
    server
}

fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    server: &auto::Builder<TokioExecutor>,
    stream: S,
    peer: Peer,
    driver: Arc<Driver>,
    activity: Arc<Activity>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error: std::fmt::Debug> + Send + use<S> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (driver, active) = (driver.clone(), activity.begin());
        async move {
            let response = driver.serve(request, peer).await;
            Ok::<_, Infallible>(response.map(|body| Answering::new(body, active)))
        }
    });
    let (line, service) = outport_interim::over(TokioIo::new(Unread::new(stream)), service);
    server.serve_connection(line, service).into_owned()
}

/// Serves `/metrics` on its own port.
async fn serve_metrics(listener: TcpListener, driver: Arc<Driver>, connections: Arc<Connections>) {
    let server = server();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (driver, connections) = (driver.clone(), connections.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = metrics(&request, &driver, &connections);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(connection);
    }
}

fn metrics(
    request: &Request<Incoming>,
    driver: &Driver,
    connections: &Connections,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        let mut nothing = Response::new(Full::default());
        *nothing.status_mut() = StatusCode::NOT_FOUND;
        return nothing;
    }
    let Needs { cache, kept, handover, .. } = &*driver.needs;
    let text = driver.metrics.text(&Gauges {
        cached: cache.size(),
        disk: cache.disk(),
        kept: kept.size(),
        handed_over: handover.handed_over(),
        load: driver.overload.counted(),
        connections: connections.counted(),
    });
    let mut response = Response::new(Full::from(text));
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

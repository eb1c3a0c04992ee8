//! Binds, serves and shuts down.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use object_store::ObjectStore;
use outport_interim::Interim;
use outport_tls::reread::{self, Watching};
use outport_tls::{Acceptor, TlsError};
use outport_wire::resumable::INTERIM_HEADER;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::admin::{self, OpenDoor};
use crate::audit::Audit;
use crate::blobs;
use crate::budgets::Budgets;
use crate::collector::Collector;
use crate::config::{Config, Limits};
use crate::edges::Nonces;
use crate::environment::{Environment, System};
use crate::fsck::Fsck;
use crate::hooks::{self, Hooks};
use crate::http::{App, Tasks, router};
use crate::meta::{EngineError, FjallEngine, GroupCommit, GroupStats, Meta, Walk};
use crate::metrics::Metrics;
use crate::relations::{KeptRelations, Relations};
use crate::sessions::Sessions;
use crate::store::{PartPolicy, Store};
use crate::upkeep::Upkeep;

/// The most that is read from a connection at once, and so the longest head of a request.
const READ_BYTES_MAX: usize = 64 << 10;
/// How long to wait after a connection could not be accepted, for want of file handles mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most content that a record has room for, beside all else that it can hold (see
/// [`crate::meta::VALUE_BYTES_MAX`]).
const RECORD_CONTENT_BYTES_MAX: u64 = 64 << 10;
/// How long cut uploads may take to store what they have.
const CUT_DEADLINE: Duration = Duration::from_secs(10);

/// Why an origin did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("the origin's configuration: {0}")]
    Config(&'static str),
    /// The data folder can't be used.
    #[error("the data folder {0}: {1}")]
    Folder(String, #[source] io::Error),
    /// The metadata can't be opened.
    #[error("the metadata: {0}")]
    Meta(#[source] EngineError),
    /// The system trusts no certificate authority, and a hook has an https address.
    #[error("the certificates that this system trusts: {0}")]
    Certificates(#[source] io::Error),
    /// What it listens with for TLS is of no use.
    #[error("[origin.tls]: {0}")]
    Tls(#[source] TlsError),
    /// Signals can't be listened to.
    #[error("listening to signals: {0}")]
    Signals(#[source] io::Error),
    /// The address is taken, or is not ours.
    #[error("listening on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// What is in a data folder, open. The folder belongs to one process; several origins in it may
/// answer from the same data, and know of each other by nothing else.
#[derive(Clone)]
pub struct Data {
    meta: Arc<dyn Meta>,
    /// The same, for whoever goes through everything.
    all: Arc<dyn Walk>,
    stats: Arc<GroupStats>,
    blobs: Arc<dyn ObjectStore>,
    /// Where the blobs are.
    parts: PathBuf,
}

impl Data {
    /// Opens the data folder.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let folder_error = |error| StartError::Folder(config.folder.display().to_string(), error);
        let parts = config.folder.join("blobs");
        let blobs = blobs::local(&parts).map_err(folder_error)?;
        let cache_bytes = config.storage.meta_cache_bytes;
        let engine =
            FjallEngine::open(config.folder.join("meta"), cache_bytes).map_err(StartError::Meta)?;
        let meta = Arc::new(GroupCommit::new(engine).map_err(folder_error)?);
        Ok(Self { stats: meta.stats(), meta: meta.clone(), all: meta, blobs, parts })
    }
}

/// An origin that has its addresses and its data, and does not yet answer.
pub struct Origin {
    data: Data,
    app: App,
    telling: Option<hooks::Runner>,
    listener: TcpListener,
    tls: Option<Acceptor>,
    rereading: Option<Watching>,
    metrics_listener: TcpListener,
    door: OpenDoor,
    shutdown_deadline: Duration,
    upkeep: Upkeep,
    /// Held while new work is taken; its other end sees when the last of it is done.
    alive: (mpsc::Sender<Infallible>, mpsc::Receiver<Infallible>),
    /// Cuts what is still coming in.
    cut: watch::Sender<bool>,
}

impl Origin {
    /// Opens the data folder and takes the addresses.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        check(&config)?;
        let data = Data::open(&config)?;
        Self::bind_on(config, data).await
    }

    /// Takes the addresses, to answer from data that is open. Its own folder holds nothing but what
    /// it is operated by.
    pub async fn bind_on(config: Config, data: Data) -> Result<Self, StartError> {
        check(&config)?;
        let tls = config.tls.clone().map(Acceptor::open).transpose().map_err(StartError::Tls)?;
        let rereading = tls.iter().map(|tls| reread::watch(vec![tls.files()])).next();
        let rereading = rereading.transpose().map_err(StartError::Signals)?;
        let listener = listen(config.listen).await?;
        let metrics_listener = listen(config.metrics_listen).await?;
        let (cut, cut_seen) = watch::channel(false);
        let alive = mpsc::channel(1);
        let opened = open(&config, &data)?;
        // Without room for an entry, what is stored is still to be delivered.
        if let Err(error) = opened.audit.note_settings(&config).await {
            tracing::error!(?error, "the audit log does not say that these settings are in force");
        }
        let app = app(&config, &opened, Tasks::new(&alive.0, cut_seen));
        let Opened { telling, upkeep, .. } = opened;
        let Config { shutdown_deadline, folder, .. } = config;
        let door = open_door(&folder, &metrics_listener)
            .map_err(|error| StartError::Folder(folder.display().to_string(), error))?;
        Ok(Self {
            data,
            app,
            telling,
            listener,
            tls,
            rereading,
            metrics_listener,
            door,
            shutdown_deadline,
            upkeep,
            alive,
            cut,
        })
    }

    /// The data that it answers from.
    pub fn data(&self) -> Data {
        self.data.clone()
    }

    /// Where it answers.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where its metrics are, and where it is operated; see [`AdminDoor`](crate::AdminDoor).
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics_listener.local_addr()
    }

    /// Answers until `shutdown` is ready, then finishes what is under way. Uploads that are still
    /// coming at the deadline are cut; what arrived is stored before this returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            app,
            telling,
            listener,
            tls,
            rereading,
            metrics_listener,
            door,
            shutdown_deadline,
            upkeep,
            alive,
            cut,
            ..
        } = self;
        let collecting = tokio::spawn(upkeep.collector.clone().run());
        let telling = telling.map(|runner| tokio::spawn(runner.run(Arc::new(app.store.clone()))));
        let limits = app.limits.clone();
        let operated = admin::router(app.clone(), upkeep, &door);
        let admin = tokio::spawn(serve_admin(metrics_listener, operated));
        let connections = GracefulShutdown::new();
        let router = router(app).layer(map_request(interim_if_asked));
        tokio::select! {
            () = accept(&listener, tls.as_ref(), router, &limits, &connections) => {}
            () = shutdown => {}
        }
        drop((listener, rereading));
        if tokio::time::timeout(shutdown_deadline, connections.shutdown()).await.is_err() {
            tracing::warn!("uploads are cut");
        }
        cut.send_replace(true);
        let (held, mut last) = alive;
        drop(held);
        let done = async { while last.recv().await.is_some() {} };
        if tokio::time::timeout(CUT_DEADLINE, done).await.is_err() {
            tracing::error!("some uploads did not end");
        }
        admin.abort();
        // Wherever it is, what it has begun is found again.
        collecting.abort();
        if let Some(telling) = telling {
            telling.abort();
        }
    }
}

fn check(config: &Config) -> Result<(), StartError> {
    let storage = &config.storage;
    if config.edge_keys.current().is_empty() {
        return Err(StartError::Config("there is no edge whose requests could be taken"));
    }
    if storage.chunk_bytes == 0 || storage.part_bytes_min < storage.chunk_bytes {
        return Err(StartError::Config("a part must hold at least one chunk, and that a byte"));
    }
    if storage.part_bytes_max < storage.part_bytes_min {
        return Err(StartError::Config("part_bytes_max is below part_bytes_min"));
    }
    let hooks = &config.hooks.webhooks;
    let names: HashSet<_> = hooks.iter().map(|webhook| &webhook.name).collect();
    if names.len() < hooks.len() {
        return Err(StartError::Config("two hooks have one name, and so one queue"));
    }
    Ok(())
}

/// What works on the data.
struct Opened {
    store: Store,
    sessions: Sessions,
    budgets: Budgets,
    relations: Arc<dyn Relations>,
    audit: Audit,
    hooks: Hooks,
    telling: Option<hooks::Runner>,
    metrics: Arc<Metrics>,
    upkeep: Upkeep,
}

/// Opens the data folder for the commands that look after it.
pub(crate) fn open_upkeep(config: &Config) -> Result<Upkeep, StartError> {
    Ok(open(config, &Data::open(config)?)?.upkeep)
}

fn open(config: &Config, data: &Data) -> Result<Opened, StartError> {
    let Data { meta, all, stats, blobs, parts: folder } = data.clone();
    let storage = &config.storage;
    let metrics = Arc::new(Metrics::new(stats));
    let environment: Arc<dyn Environment> = Arc::new(System);
    let source = format!("urn:outport:origin:{}", config.region);
    let (hooks, telling) = Hooks::new(config.hooks.clone(), &meta, environment.clone(), &source)
        .map_err(StartError::Certificates)?;
    let relations: Arc<dyn Relations> = Arc::new(KeptRelations::new(meta.clone()));
    let audit = Audit::new(&meta, &environment);
    let sessions = Sessions::new(&meta, &environment, audit.clone());
    let budgets = Budgets::new(&meta, &environment);
    let parts = PartPolicy {
        bytes_min: storage.part_bytes_min,
        bytes_max: storage.part_bytes_max,
        age_max: storage.part_age_max,
        content_bytes_max: storage.record_content_bytes_max.min(RECORD_CONTENT_BYTES_MAX),
    };
    let store = Store::new(meta, blobs, storage.chunk_bytes, config.region, parts, environment);
    let store = store
        .with_expiry(config.limits.upload_expire_after)
        .with_rules(Arc::new(config.rules.clone()))
        .announcing(hooks.clone());
    let collector = Collector::new(store.clone(), config.collection, Some(folder), metrics.clone());
    let fsck = Fsck::new(store.clone(), all, collector.clone());
    let upkeep = Upkeep { collector, fsck };
    Ok(Opened { store, sessions, budgets, relations, audit, hooks, telling, metrics, upkeep })
}

fn app(config: &Config, opened: &Opened, tasks: Tasks) -> App {
    App {
        store: opened.store.clone(),
        sessions: opened.sessions.clone(),
        budgets: opened.budgets.clone(),
        relations: opened.relations.clone(),
        audit: opened.audit.clone(),
        hooks: opened.hooks.clone(),
        rules: Arc::new(config.rules.clone()),
        limits: Arc::new(config.limits.clone()),
        edge_keys: config.edge_keys.clone(),
        tokens: config.tokens.clone(),
        takes_handovers: config.takes_handovers,
        nonces: Arc::new(Nonces::new()),
        link_key: config.link_key.clone(),
        content_base_url: config.content_base_url.as_deref().map(Arc::from),
        metrics: opened.metrics.clone(),
        tasks,
    }
}

fn open_door(folder: &Path, listener: &TcpListener) -> io::Result<OpenDoor> {
    OpenDoor::open(folder, listener.local_addr()?)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))
}

async fn accept(
    listener: &TcpListener,
    tls: Option<&Acceptor>,
    router: Router,
    limits: &Limits,
    connections: &GracefulShutdown,
) {
    let builder = Arc::new(builder(limits));
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small or already in large pieces; waiting to join them only costs time.
                let _ = stream.set_nodelay(true);
                let (builder, router, tls) = (builder.clone(), router.clone(), tls.cloned());
                let watcher = connections.watcher();
                tokio::spawn(async move {
                    match tls {
                        None => serve(&builder, stream, router, watcher).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(&builder, stream, router, watcher).await,
                            Err(error) => tracing::debug!(%error, "a handshake failed"),
                        },
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.connection_idle_max)
        .max_buf_size(READ_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(limits.streams_max);
    builder
}

async fn serve(
    builder: &auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    watcher: Watcher,
) {
    let service = TowerToHyperService::new(router);
    let (line, service) = outport_interim::over(TokioIo::new(stream), service);
    let connection = builder.serve_connection(line, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// An edge asks for interim responses where all on the way to the client can take them. From
/// everybody else the means are taken away.
async fn interim_if_asked(mut request: Request) -> Request {
    if !request.headers().contains_key(INTERIM_HEADER) {
        request.extensions_mut().remove::<Interim>();
    }
    request
}

async fn serve_admin(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics and administration are not served");
    }
}

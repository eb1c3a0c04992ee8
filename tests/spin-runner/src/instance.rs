//! Instances of the component: what each has, how long it lives, how much memory it may take.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, GuestTaskId, Linker, ResourceTable};
use wasmtime::{Config, Engine, ResourceLimiter, Store, StoreContextMut};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::keyvalue::{Hosted, Stores, View, bindings};
use crate::manifest::Manifest;
use crate::outbound::Outbound;

/// How long an instance without work is kept: as Spin does.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// What instances may do.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory_bytes_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) requests_at_once_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes_max: usize::MAX, requests_max: 128, requests_at_once_max: 16 }
    }
}

/// What an instance has.
pub(crate) struct Host {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
    stores: Arc<Stores>,
    allowed: Arc<BTreeSet<String>>,
    variables: Arc<BTreeMap<String, String>>,
    memory: Memory,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}

impl Host {
    fn hosted(&mut self) -> View<'_> {
        View {
            table: &mut self.table,
            stores: &self.stores,
            allowed: &self.allowed,
            variables: &self.variables,
        }
    }
}

/// The linear memory of one instance.
struct Memory {
    bytes: usize,
    bytes_max: usize,
    peak_bytes: Arc<AtomicUsize>,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes + (desired - current);
        if bytes > self.bytes_max {
            eprintln!("an instance asked for {bytes} bytes, and may have {}", self.bytes_max);
            return Ok(false);
        }
        self.bytes = bytes;
        self.peak_bytes.fetch_max(bytes, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// Makes instances.
pub(crate) struct Instances {
    engine: Engine,
    service: ServicePre<Host>,
    stores: Arc<Stores>,
    allowed: Arc<BTreeSet<String>>,
    variables: Arc<BTreeMap<String, String>>,
    outbound: Outbound,
    limits: Limits,
    /// The most linear memory that an instance has had.
    pub(crate) peak_bytes: Arc<AtomicUsize>,
}

impl Instances {
    pub(crate) fn new(
        manifest: Manifest,
        stores: Arc<Stores>,
        limits: Limits,
    ) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        let engine = Engine::new(&config)?;
        let component = Component::from_file(&engine, &manifest.source)?;
        let mut linker = Linker::<Host>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        bindings::Imports::add_to_linker::<_, Hosted>(&mut linker, Host::hosted)?;
        let service = ServicePre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self {
            engine,
            service,
            stores,
            allowed: Arc::new(manifest.stores),
            variables: Arc::new(manifest.variables),
            outbound: Outbound(manifest.outbound.into()),
            limits,
            peak_bytes: Arc::default(),
        })
    }
}

impl HandlerState for Instances {
    type StoreData = Host;
    type WorkerExpiration = Idle;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Host, Idle, Worker>> {
        let host = Host {
            table: ResourceTable::new(),
            wasi: WasiCtxBuilder::new().inherit_stderr().inherit_stdout().build(),
            http: WasiHttpCtx::new(),
            outbound: self.outbound.clone(),
            stores: self.stores.clone(),
            allowed: self.allowed.clone(),
            variables: self.variables.clone(),
            memory: Memory {
                bytes: 0,
                bytes_max: self.limits.memory_bytes_max,
                peak_bytes: self.peak_bytes.clone(),
            },
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| &mut host.memory);
        let proxy = Proxy::P3(self.service.instantiate_async(&mut store).await?);
        let state = Worker(self.limits);
        let expiration = Idle(Box::pin(tokio::time::sleep(IDLE_MAX)));
        Ok(Instance { store, proxy, view: Host::http, expiration, state })
    }
}

/// Ends an instance that has no work.
pub(crate) struct Idle(Pin<Box<tokio::time::Sleep>>);

impl WorkerExpiration for Idle {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        if status != WorkerStatus::Idle {
            return Poll::Pending;
        }
        self.0.as_mut().reset((start + IDLE_MAX).into());
        self.0.as_mut().poll(context)
    }
}

/// Says how many requests an instance takes.
pub(crate) struct Worker(Limits);

impl WorkerState for Worker {
    type StoreData = Host;
    type RequestData = ();

    fn should_accept_request(&self, at_once: usize, total: usize) -> ShouldAccept {
        if total >= self.0.requests_max {
            ShouldAccept::Never
        } else if at_once >= self.0.requests_at_once_max {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, Host>,
        (): (),
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<Host>, result: Result<(), wasmtime::Error>) {
        if let Err(error) = result {
            eprintln!("an instance failed: {error:?}");
        }
        drop(store);
    }
}

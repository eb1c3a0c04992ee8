//! Instances of the edge component: one for each thread that serves, replaced at will.
//!
//! An instance may trap, run too long or grow too large. It then harms the one step it was
//! computing: the step is a pure function of values that the driver still holds, so it is computed
//! once more by a fresh instance, and only if that fails too the request is answered with a 500.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, Weak};
use std::time::Duration;

use outport_edge_core::step as core;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder,
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::convert;
use crate::driver::moment;
use crate::kept_handover::HandoverCore;
use crate::metrics::Metrics;

#[allow(missing_docs)] // wit/edge.wit documents what is generated from it.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({ world: "edge", path: "../../wit" });
}

/// How often running instances are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Ticks that one call may take. Calls take microseconds; what takes this long is stuck, or the
/// machine is.
const CALL_TICKS_MAX: u64 = 10;
/// The most memory of an instance, in bytes.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Tables and instances within one component.
const PARTS_MAX: u32 = 16;

/// Why there is no usable component.
#[derive(Debug, thiserror::Error)]
#[error("the edge component can't be used: {0}")]
pub struct ComponentError(String);

impl ComponentError {
    fn new(error: impl std::fmt::Display) -> Self {
        // With its causes: the trap itself is one of them.
        Self(format!("{error:#}"))
    }
}

/// Why a step could not be computed, by a first instance nor by a second.
#[derive(Debug, thiserror::Error)]
#[error("the component failed twice at the same step: {0}")]
pub(crate) struct StepError(String);

/// Compiles a component to what [`Instances::new`] takes. Only a program with the same wasmtime
/// can use it.
pub fn precompile(wasm: &[u8]) -> Result<Vec<u8>, ComponentError> {
    engine(1)?.precompile_component(wasm).map_err(ComponentError::new)
}

fn engine(instances_max: u32) -> Result<Engine, ComponentError> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max * PARTS_MAX)
        .total_memories(instances_max)
        .total_tables(instances_max * PARTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // The component's functions are synchronous; no call need be ready to be suspended.
        .concurrency_support(false)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(ComponentError::new)
}

struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    limits: StoreLimits,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

struct Instance {
    store: Store<Guest>,
    edge: bindings::Edge,
    begun: u64,
    /// The edition of the configuration that it has.
    edition: u64,
}

/// What the core is told, and how many there were before.
struct Configuration {
    json: Vec<u8>,
    edition: u64,
}

/// Every instance of a node.
pub(crate) struct Instances {
    engine: Engine,
    ready: bindings::EdgePre<Guest>,
    config: RwLock<Arc<Configuration>>,
    slots: Box<[Mutex<Option<Instance>>]>,
    /// Exchanges that an instance begins before it is replaced.
    exchanges_max: u64,
    /// What the core is told that this driver can do.
    abilities: core::Abilities,
    metrics: Arc<Metrics>,
}

impl Instances {
    /// Makes ready to run a component that [`precompile`] has compiled, with this configuration
    /// of the core, for this many threads at once.
    pub(crate) fn new(
        compiled: &[u8],
        config: Vec<u8>,
        threads: usize,
        exchanges_max: u64,
        abilities: core::Abilities,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, ComponentError> {
        // Two for each slot: a fresh instance is made before the old one is given up.
        let instances_max = u32::try_from(threads.max(1) * 2).map_err(ComponentError::new)?;
        let engine = engine(instances_max)?;
        let component = load(&engine, compiled)?;
        let mut linker: Linker<Guest> = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).map_err(ComponentError::new)?;
        let ready = linker.instantiate_pre(&component).map_err(ComponentError::new)?;
        let ready = bindings::EdgePre::new(ready).map_err(ComponentError::new)?;
        let slots = (0..threads.max(1)).map(|_| Mutex::new(None)).collect();
        let config = RwLock::new(Arc::new(Configuration { json: config, edition: 0 }));
        let instances =
            Arc::new(Self { engine, ready, config, slots, exchanges_max, abilities, metrics });
        let first = instances.fresh(&instances.configuration())?;
        if let Some(slot) = instances.slots.first() {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        }
        tick(&instances)?;
        Ok(instances)
    }

    /// Gives instances another configuration of the core from now on. Exchanges that have begun go on
    /// with it. The error leaves the one before.
    pub(crate) fn reconfigure(&self, json: Vec<u8>) -> Result<(), ComponentError> {
        // There is room for one more instance in each slot.
        let mut slot = self.slot();
        let config = Arc::new(Configuration { json, edition: self.configuration().edition + 1 });
        *slot = Some(self.fresh(&config)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn configuration(&self) -> Arc<Configuration> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins an exchange.
    pub(crate) fn begin(
        &self,
        request: &bindings::outport::edge::types::Request,
        moment: core::Moment,
    ) -> Result<convert::Step, StepError> {
        let moment = convert::moment(moment);
        self.step(|instance| {
            instance.begun += 1;
            instance.edge.call_begin(&mut instance.store, request, moment)
        })
    }

    /// Goes on with an exchange.
    pub(crate) fn resume(
        &self,
        exchange: &[u8],
        outcomes: Vec<core::Outcome>,
        moment: core::Moment,
    ) -> Result<convert::Step, StepError> {
        let moment = convert::moment(moment);
        let outcomes: Vec<_> = outcomes.into_iter().map(convert::outcome).collect();
        self.step(|instance| {
            instance.edge.call_resume(&mut instance.store, exchange, &outcomes, moment)
        })
    }

    /// Begins the exchange for what a body goes on with.
    pub(crate) fn next_part(
        &self,
        part: &[u8],
        moment: core::Moment,
    ) -> Result<Option<convert::PartStep>, StepError> {
        let moment = convert::moment(moment);
        let next =
            self.call(|instance| instance.edge.call_next_part(&mut instance.store, part, moment))?;
        Ok(next.map(convert::part_step))
    }

    /// The request that hands over what is kept with this head.
    pub(crate) fn hand_over(
        &self,
        head: &[u8],
        sha256: &[u8; 32],
        moment: core::Moment,
    ) -> Result<Option<core::Fetch>, StepError> {
        let moment = convert::moment(moment);
        let fetch = self.call(|instance| {
            instance.edge.call_hand_over(&mut instance.store, head, sha256, moment)
        })?;
        Ok(fetch.map(convert::fetch))
    }

    /// What the answer to that request means.
    pub(crate) fn handed_over(
        &self,
        answer: Result<core::UpstreamHead, core::FetchError>,
    ) -> Result<core::Handed, StepError> {
        let answer = convert::answer(answer);
        let answer = answer.as_ref().map_err(|failure| *failure);
        let handed =
            self.call(|instance| instance.edge.call_handed_over(&mut instance.store, answer))?;
        Ok(convert::handed(handed))
    }

    fn step(
        &self,
        call: impl Fn(&mut Instance) -> wasmtime::Result<bindings::outport::edge::types::Step>,
    ) -> Result<convert::Step, StepError> {
        self.call(call).map(convert::step)
    }

    fn call<T>(&self, call: impl Fn(&mut Instance) -> wasmtime::Result<T>) -> Result<T, StepError> {
        let mut slot = self.slot();
        let mut failure = String::new();
        for _ in 0..2 {
            match self.try_call(&mut slot, &call) {
                Ok(done) => return Ok(done),
                Err(error) => {
                    // What is left of the instance is not to be trusted.
                    *slot = None;
                    self.metrics.instance_failed();
                    tracing::warn!("an instance failed and was replaced: {error}");
                    failure = error;
                }
            }
        }
        Err(StepError(failure))
    }

    fn try_call<T>(
        &self,
        slot: &mut Option<Instance>,
        call: impl Fn(&mut Instance) -> wasmtime::Result<T>,
    ) -> Result<T, String> {
        let config = self.configuration();
        let worn = slot.as_ref().is_none_or(|instance| {
            instance.begun >= self.exchanges_max || instance.edition != config.edition
        });
        if worn {
            *slot = Some(self.fresh(&config).map_err(|error| error.to_string())?);
        }
        let Some(instance) = slot else { return Err("there is no instance".to_owned()) };
        instance.store.set_epoch_deadline(CALL_TICKS_MAX);
        call(instance).map_err(|error| format!("{error:#}"))
    }

    /// A slot that nobody uses; this thread's own, nearly always.
    fn slot(&self) -> MutexGuard<'_, Option<Instance>> {
        let own = own_place();
        for place in 0..self.slots.len() {
            let Some(slot) = self.slots.get((own + place) % self.slots.len()) else { continue };
            match slot.try_lock() {
                Ok(slot) => return slot,
                Err(TryLockError::Poisoned(slot)) => return slot.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let place = own % self.slots.len();
        let slot = self.slots.get(place).or(self.slots.first());
        #[allow(clippy::expect_used)] // `new` makes at least one.
        slot.expect("there is a slot").lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, config: &Configuration) -> Result<Instance, ComponentError> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).build();
        // Nothing is granted but a voice for its last words.
        let wasi = WasiCtxBuilder::new().inherit_stderr().build();
        let guest = Guest { table: ResourceTable::new(), wasi, limits };
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(CALL_TICKS_MAX);
        let edge = self.ready.instantiate(&mut store).map_err(ComponentError::new)?;
        let abilities = convert::abilities(self.abilities);
        edge.call_configure(&mut store, &config.json, abilities)
            .map_err(ComponentError::new)?
            .map_err(ComponentError)?;
        self.metrics.instance_made();
        Ok(Instance { store, edge, begun: 0, edition: config.edition })
    }
}

impl HandoverCore for Arc<Instances> {
    fn request(&self, head: &[u8], sha256: &[u8; 32]) -> Result<core::Fetch, String> {
        let fetch = self.hand_over(head, sha256, moment()).map_err(|error| error.to_string())?;
        fetch.ok_or_else(|| "another version kept it".to_owned())
    }

    fn means(
        &self,
        answer: Result<core::UpstreamHead, core::FetchError>,
    ) -> Result<core::Handed, String> {
        self.handed_over(answer).map_err(|error| error.to_string())
    }
}

/// Which slot this thread tries first: each thread another one.
fn own_place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PLACE.get().unwrap_or_else(|| {
        let place = THREADS.fetch_add(1, Ordering::Relaxed);
        PLACE.set(Some(place));
        place
    })
}

#[allow(unsafe_code)]
fn load(engine: &Engine, compiled: &[u8]) -> Result<Component, ComponentError> {
    // SAFETY: the bytes are native code and are believed, as this program itself is: they are
    // what `precompile` wrote, embedded into the program when it was built. wasmtime checks that
    // its own version and settings are those they were compiled with.
    unsafe { Component::deserialize(engine, compiled) }.map_err(ComponentError::new)
}

/// Moves the engine's epoch on for as long as the instances are there.
fn tick(instances: &Arc<Instances>) -> Result<(), ComponentError> {
    let instances: Weak<Instances> = Arc::downgrade(instances);
    let run = move || {
        while let Some(instances) = instances.upgrade() {
            instances.engine.increment_epoch();
            drop(instances);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("epochs".into()).spawn(run).map_err(ComponentError::new)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(body: &str) -> Vec<u8> {
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_dir("../../wit").unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        let mangling = wit_parser::ManglingAndAbi::Standard32;
        let dummy = wit_component::dummy_module(&resolve, world, mangling);
        let text = wasmprinter::print_bytes(dummy).unwrap().replace("unreachable", body);
        let mut module = wat::parse_str(text).unwrap();
        let encoding = wit_component::StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
        wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
    }

    /// Instances of a component whose every function is this, without a first one.
    fn instances(body: &str) -> Instances {
        let compiled = precompile(&component(body)).unwrap();
        let engine = engine(2).unwrap();
        let component = load(&engine, &compiled).unwrap();
        let linker: Linker<Guest> = Linker::new(&engine);
        let ready = linker.instantiate_pre(&component).unwrap();
        Instances {
            engine,
            ready: bindings::EdgePre::new(ready).unwrap(),
            config: RwLock::new(Arc::new(Configuration { json: Vec::new(), edition: 0 })),
            slots: Box::new([Mutex::new(None)]),
            exchanges_max: 1,
            abilities: core::Abilities::default(),
            metrics: Arc::new(Metrics::default()),
        }
    }

    fn failure(instances: &Instances) -> String {
        let moment = core::Moment { unix_ms: 0, random: 0 };
        match instances.resume(b"", Vec::new(), moment) {
            Err(StepError(failure)) => failure,
            Ok(_) => panic!("it can't succeed"),
        }
    }

    #[test]
    fn a_trap_is_an_error() {
        assert!(failure(&instances("unreachable")).contains("unreachable"));
    }

    #[test]
    fn an_endless_loop_is_ended() {
        let instances = Arc::new(instances("(loop br 0) unreachable"));
        tick(&instances).unwrap();
        assert!(failure(&instances).contains("interrupt"), "{}", failure(&instances));
    }

    #[test]
    fn what_was_compiled_by_another_is_refused() {
        let metrics = Arc::new(Metrics::default());
        let abilities = core::Abilities::default();
        let refused =
            Instances::new(b"not native code", Vec::new(), 1, 1, abilities, metrics).err();
        assert!(refused.unwrap().to_string().starts_with("the edge component can't be used"));
    }
}

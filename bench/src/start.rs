//! How quickly each platform's edge is there: compiled once for a deployment, and instantiated
//! anew for a request where the platform does so. Measured on wasmtime with imports that trap,
//! since the platforms' own runtimes keep their times to themselves.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use wasmtime::component::{self, Component};
use wasmtime::error::Error as WasmtimeError;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig, Store,
};

/// The edges, and their files below the folder of what was built. Cloudflare's is bound to
/// JavaScript by references, which this wasmtime is compiled without.
const EDGES: [(&str, &str); 3] =
    [("wasmtime", "edge.wasm"), ("fastly", "fastly/edge.wasm"), ("spin", "spin/edge.wasm")];
const INSTANCES: usize = 1_001;

/// Prints a line for each edge that is built.
pub(crate) fn run() -> Result<()> {
    let engine = engine().map_err(|error| anyhow!("{error:#}"))?;
    println!("{:12}{:>14}{:>18}", "edge for", "compiled in", "instantiated in");
    for (name, file) in EDGES {
        let path = built().join(file);
        if !path.is_file() {
            println!("{name:12}not built: `cargo xtask build --on {name}`");
            continue;
        }
        let (compile_ms, instantiate_us) = measure(&engine, &path)?;
        println!("{name:12}{compile_ms:>11.0} ms{instantiate_us:>15.1} µs");
    }
    Ok(())
}

fn built() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/outport")
}

fn engine() -> Result<Engine, WasmtimeError> {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    let pool = PoolingAllocationConfig::default();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Milliseconds to compile, and the median of microseconds to instantiate.
fn measure(engine: &Engine, path: &Path) -> Result<(f64, f64)> {
    let wasm = std::fs::read(path).with_context(|| path.display().to_string())?;
    let begun = Instant::now();
    let timed = if is_component(&wasm) {
        let component = Component::new(engine, &wasm).map_err(|error| anyhow!("{error:#}"))?;
        let compiled = begun.elapsed();
        let mut linker = component::Linker::<()>::new(engine);
        linker.define_unknown_imports_as_traps(&component).map_err(|error| anyhow!("{error:#}"))?;
        let ready = linker.instantiate_pre(&component).map_err(|error| anyhow!("{error:#}"))?;
        // A component that may be suspended is instantiated by a call that may be, too.
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let instantiate = || {
            let instantiated = ready.instantiate_async(Store::new(engine, ()));
            runtime.block_on(instantiated).map(drop)
        };
        (compiled, median(instantiate)?)
    } else {
        let module = Module::new(engine, &wasm).map_err(|error| anyhow!("{error:#}"))?;
        let compiled = begun.elapsed();
        let mut linker = Linker::<()>::new(engine);
        linker.define_unknown_imports_as_traps(&module).map_err(|error| anyhow!("{error:#}"))?;
        let ready = linker.instantiate_pre(&module).map_err(|error| anyhow!("{error:#}"))?;
        (compiled, median(|| ready.instantiate(Store::new(engine, ())).map(drop))?)
    };
    let (compiled, instantiate_us) = timed;
    Ok((compiled.as_secs_f64() * 1e3, instantiate_us))
}

/// The layer field of a component's preamble is 1, a module's is 0.
fn is_component(wasm: &[u8]) -> bool {
    wasm.get(6) == Some(&1)
}

fn median(mut instantiate: impl FnMut() -> Result<(), WasmtimeError>) -> Result<f64> {
    let mut times = Vec::with_capacity(INSTANCES);
    for _ in 0..INSTANCES {
        let begun = Instant::now();
        instantiate().map_err(|error| anyhow!("{error:#}"))?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times.get(INSTANCES / 2).copied().context("there are times")
}

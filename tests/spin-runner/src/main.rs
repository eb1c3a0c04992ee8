//! Serves a Spin application's component where the `spin` program is missing.
//!
//! A host of the interfaces that the component imports, from Spin's published WIT, around
//! wasmtime. It reads spin.toml, keeps key-value stores in one file, enforces
//! `allowed_outbound_hosts`, and runs instances as Spin 4 does: one serves up to 128 requests, 16
//! of them at once, and goes after a second without work. For tests: no TLS, no other triggers, no
//! other interfaces.

mod instance;
mod keyvalue;
mod manifest;
mod outbound;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use lexopt::{Arg, ValueExt as _};

const USAGE: &str = "\
outport-spin-runner: serves the component of a Spin application

--from FILE                      the manifest; ./spin.toml by default
--listen ADDRESS                 127.0.0.1:3000 by default; port 0 takes a free one
--variable NAME=VALUE|@FILE      a variable, or a JSON file of variables; repeatable
--key-value KEY=VALUE|KEY=@FILE  a value of the store `default`; repeatable
--key-values FILE                a JSON file of keys and the files of their values; repeatable
--data DIR                       where stores are kept; in memory without it
--memory-max BYTES               the most linear memory of an instance
--max-instance-reuse-count N     how many requests an instance serves: 128 by default
--max-instance-concurrent-reuse-count N   and how many at once: 16 by default
";

/// What the command line says.
struct Arguments {
    manifest: PathBuf,
    listen: SocketAddr,
    variables: Vec<String>,
    values: Vec<String>,
    value_files: Vec<PathBuf>,
    data: Option<PathBuf>,
    limits: instance::Limits,
}

impl Arguments {
    fn parse(mut parser: lexopt::Parser) -> Result<Self> {
        let mut arguments = Self {
            manifest: "spin.toml".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            variables: Vec::new(),
            values: Vec::new(),
            value_files: Vec::new(),
            data: None,
            limits: instance::Limits::default(),
        };
        while let Some(argument) = parser.next()? {
            let Arg::Long(name) = argument else { bail!("{}\n{USAGE}", argument.unexpected()) };
            let name = name.to_owned();
            let value = parser.value().with_context(|| USAGE)?;
            match name.as_str() {
                "from" => arguments.manifest = value.into(),
                "listen" => arguments.listen = value.parse()?,
                "variable" => arguments.variables.push(value.string()?),
                "key-value" => arguments.values.push(value.string()?),
                "key-values" => arguments.value_files.push(value.into()),
                "data" => arguments.data = Some(value.into()),
                "memory-max" => arguments.limits.memory_bytes_max = value.parse()?,
                "max-instance-reuse-count" => arguments.limits.requests_max = value.parse()?,
                "max-instance-concurrent-reuse-count" => {
                    arguments.limits.requests_at_once_max = value.parse()?;
                }
                name => bail!("no option --{name}\n{USAGE}"),
            }
        }
        Ok(arguments)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse(lexopt::Parser::from_env())?;
    let manifest = manifest::Manifest::read(&arguments.manifest, &arguments.variables)?;
    let stores = keyvalue::Stores::open(arguments.data.as_deref())?;
    for pair in &arguments.values {
        let (key, value) = pair.split_once('=').with_context(|| format!("{pair}: no `=`"))?;
        let value = match value.strip_prefix('@') {
            Some(file) => std::fs::read(file).with_context(|| file.to_owned())?,
            None => value.as_bytes().to_vec(),
        };
        stores.set("default", key, &value)?;
    }
    for index in &arguments.value_files {
        let folder = index.parent().unwrap_or(Path::new(""));
        let files: BTreeMap<String, PathBuf> = serde_json::from_slice(&std::fs::read(index)?)?;
        for (key, file) in files {
            let file = folder.join(file);
            let value = std::fs::read(&file).with_context(|| file.display().to_string())?;
            stores.set("default", &key, &value)?;
        }
    }
    let stores = Arc::new(stores);
    let instances = instance::Instances::new(manifest, stores, arguments.limits)
        .map_err(|error| anyhow!("the component can't be served: {error:?}"))?;
    let peak = instances.peak_bytes.clone();
    server::serve(arguments.listen, instances).await?;
    let peak_bytes = peak.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("peak linear memory of an instance: {peak_bytes} bytes");
    // Instances that wait for work end here, and need not be told of.
    std::process::exit(0)
}

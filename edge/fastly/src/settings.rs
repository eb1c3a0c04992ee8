//! What the deployment set up: its configuration, and the parts of the platform that are there.

use fastly::kv_store::KVStore;
use fastly::{Backend, ConfigStore, SecretStore};
use outport_edge_core::Edge;
use outport_edge_core::deployment::{Deployment, gather};
use outport_edge_core::platform::FASTLY;

use crate::exchange::Parts;
use crate::upstream::upstreams;

/// The name of the config store, of the secret store and of the KV store.
const STORE: &str = "outport";

/// The edge as it is configured. The error names what is missing, and where it is set.
pub(crate) fn load() -> Result<(Edge, Parts), String> {
    let config = ConfigStore::try_open(STORE).map_err(|_| missing_store("config"))?;
    let secrets = SecretStore::open(STORE).map_err(|_| missing_store("secret"))?;
    let values = KVStore::open(STORE).ok().flatten().ok_or_else(|| missing_store("KV"))?;
    let config = gather("config", |key| config.try_get(key).ok()?)
        .ok_or_else(|| missing("key `config` of the config store", "config-store-entry update"))?;
    let secret = |key: &str| secrets.try_get(key).ok()??.try_plaintext().ok();
    let secrets = gather("secrets", |key| String::from_utf8(secret(key)?.to_vec()).ok())
        .ok_or_else(|| missing("key `secrets` of the secret store", "secret-store-entry create"))?;
    let deployment = Deployment::from_parts(&config, &secrets)?;
    let upstreams = upstreams(&deployment);
    let is_there = |name: &str| Backend::from_name(name).is_ok_and(|backend| backend.exists());
    if let Some(name) = upstreams.keys().find(|name| !is_there(name)) {
        return Err(missing(&format!("backend `{name}`"), "service backend create"));
    }
    let edge = Edge::new(deployment.core, FASTLY.abilities)?;
    Ok((edge, Parts { upstreams, values: Some(values) }))
}

fn missing_store(kind: &str) -> String {
    missing(&format!("{kind} store `{STORE}`"), "service resource-link create")
}

fn missing(what: &str, command: &str) -> String {
    let guide = "docs/deploy/fastly.md";
    format!("there is no {what}; set it by `fastly {command}`, or here in fastly.toml: see {guide}")
}

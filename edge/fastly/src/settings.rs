//! What the deployment set up: its configuration, and the parts of the platform that are there.

use fastly::kv_store::KVStore;
use fastly::{Backend, ConfigStore, SecretStore};
use outport_edge_core::Edge;
use outport_edge_core::deployment::{Deployment, backend, gather};
use outport_edge_core::platform::FASTLY;

use crate::exchange::Parts;
use crate::upstream::Upstreams;

/// The config store, the secret store and the KV store have one name.
const STORE: &str = "outport";
const CONFIG: &str = "config";
const SECRETS: &str = "secrets";

/// The edge as it is configured. The error names what is missing, and where it is set.
pub(crate) fn load() -> Result<(Edge, Parts), String> {
    let deployment = Deployment::from_parts(&config()?, &secrets()?)?;
    let upstreams = Upstreams::new(&deployment);
    if let Some(missing) = upstreams
        .all()
        .map(backend)
        .find(|name| !Backend::from_name(name).is_ok_and(|it| it.exists()))
    {
        return Err(format!("the backend `{missing}` is missing: {}", set_by("backend create")));
    }
    let values = KVStore::open(STORE).ok().flatten().ok_or_else(|| missing_store("KV"))?;
    let edge = Edge::new(deployment.core, FASTLY.abilities)?;
    Ok((edge, Parts { upstreams, values }))
}

fn config() -> Result<String, String> {
    let store = ConfigStore::try_open(STORE).map_err(|_| missing_store("config"))?;
    gather(CONFIG, |key| store.try_get(key).ok().flatten())
        .ok_or_else(|| missing_key("config", CONFIG, "config-store-entry"))
}

fn secrets() -> Result<String, String> {
    let store = SecretStore::open(STORE).map_err(|_| missing_store("secret"))?;
    let text = gather(SECRETS, |key| {
        let secret = store.try_get(key).ok().flatten()?.try_plaintext().ok()?;
        String::from_utf8(secret.to_vec()).ok()
    });
    text.ok_or_else(|| missing_key("secret", SECRETS, "secret-store-entry"))
}

fn missing_store(kind: &str) -> String {
    let how = set_by("resource-link create");
    format!("the {kind} store `{STORE}` is missing, or not linked to the service: {how}")
}

fn missing_key(kind: &str, key: &str, command: &str) -> String {
    let how = set_by(&format!("{command} create"));
    format!("the {kind} store `{STORE}` has no key `{key}`: {how}")
}

fn set_by(command: &str) -> String {
    format!("`fastly {command}`, or [local_server] in fastly.toml; see docs/deploy/fastly.md")
}

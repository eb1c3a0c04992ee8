//! The direction of dependencies: which of the workspace's packages may name which, and where
//! runtimes may be named at all. Read from `cargo metadata`, so that it holds what is written in
//! the manifests and not what somebody remembers.

use anyhow::{Context, Result};
use serde_json::Value;

/// Every package of the workspace, and the ones it may depend on (for tests and builds too).
const ALLOWED: &[(&str, &[&str])] = &[
    // Knows nothing; test code alone and fuzz targets use it.
    ("outport-mutate", &[]),
    ("outport-wire", &["outport-mutate"]),
    ("outport-edge-core", &["outport-wire", "outport-mutate"]),
    ("outport-edge-component", &["outport-edge-core", "outport-wire"]),
    ("outport-edge-host", &["outport-edge-core", "outport-interim", "outport-tls", "outport-wire"]),
    ("outport-edge-cloudflare", &["outport-edge-core"]),
    ("outport-edge-fastly", &["outport-edge-core"]),
    ("outport-edge-spin", &["outport-edge-core"]),
    ("outport-interim", &[]),
    ("outport-tls", &[]),
    ("outport-origin", &["outport-interim", "outport-mutate", "outport-tls", "outport-wire"]),
    (
        "outport",
        &[
            "outport-edge-host",
            "outport-edge-core",
            "outport-mutate",
            "outport-origin",
            "outport-tls",
            "outport-wire",
        ],
    ),
    ("outport-tests", &[]),
    ("outport-spin-runner", &[]),
    (
        "outport-bench",
        &["outport-edge-host", "outport-edge-core", "outport-origin", "outport-wire"],
    ),
    ("xtask", &[]),
];

/// The packages without a runtime of any kind: they run wherever Rust does.
const RUNTIME_FREE: &[&str] = &["outport-wire", "outport-edge-core"];

/// What performs I/O, schedules, or belongs to one platform.
const RUNTIMES: &[&str] = &[
    "async-std",
    "axum",
    "fastly",
    "fastly-sys",
    "hyper",
    "hyper-util",
    "object_store",
    "reqwest",
    "smol",
    "spin-sdk",
    "tokio",
    "tower",
    "ureq",
    "wasi",
    "wasmtime",
    "wit-bindgen",
    "worker",
];

/// The packages that may name wasmtime.
const WASMTIME_USERS: &[&str] = &["outport-edge-host", "outport-bench", "outport-spin-runner"];

/// A package and the names it depends on.
#[derive(Debug)]
pub(crate) struct Package {
    name: String,
    dependencies: Vec<String>,
}

/// Reads the packages from what `cargo metadata --no-deps` prints.
pub(crate) fn packages(metadata: &Value) -> Result<Vec<Package>> {
    list(metadata, "packages")?
        .iter()
        .map(|package| {
            let dependencies = list(package, "dependencies")?;
            let dependencies = dependencies.iter().map(name).collect::<Result<_>>()?;
            Ok(Package { name: name(package)?, dependencies })
        })
        .collect()
}

/// Every dependency that points the wrong way, as a sentence.
pub(crate) fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            found
                .push(format!("{name} is unknown; say in xtask/src/directions.rs what it may use"));
            continue;
        };
        for used in package.dependencies.iter().map(String::as_str) {
            let ours = packages.iter().any(|package| package.name == used);
            if ours && !allowed.contains(&used) {
                found.push(format!("{name} must not depend on {used}"));
            }
            if RUNTIME_FREE.contains(&name) && RUNTIMES.contains(&used) {
                found.push(format!("{name} must not depend on {used}: it has no runtime"));
            }
            if is_wasmtime(used) && !WASMTIME_USERS.contains(&name) {
                found.push(format!("{name} must not depend on {used}: only the host knows it"));
            }
        }
    }
    found
}

fn is_wasmtime(name: &str) -> bool {
    name == "wasmtime" || name.starts_with("wasmtime-")
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    value.get(name).and_then(Value::as_array).with_context(|| format!("metadata has no {name}"))
}

fn name(value: &Value) -> Result<String> {
    let name = value.get("name").and_then(Value::as_str);
    Ok(name.context("metadata has a package without a name")?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(ToString::to_string).collect();
        Package { name: name.to_owned(), dependencies }
    }

    fn with(name: &str, dependencies: &[&str]) -> Vec<String> {
        let mut packages: Vec<_> = ALLOWED.iter().map(|(name, _)| package(name, &[])).collect();
        packages.retain(|package| package.name != name);
        packages.push(package(name, dependencies));
        violations(&packages)
    }

    #[test]
    fn the_intended_directions_are_allowed() {
        assert_eq!(with("outport-edge-host", &["outport-edge-core", "wasmtime"]), [""; 0]);
        assert_eq!(with("outport-origin", &["outport-wire", "tokio", "axum"]), [""; 0]);
        assert_eq!(with("outport-edge-core", &["outport-wire", "serde", "http"]), [""; 0]);
        assert_eq!(with("outport", &["outport-edge-host", "outport-origin"]), [""; 0]);
    }

    #[test]
    fn edge_and_origin_never_meet() {
        for edge in ["outport-edge-core", "outport-edge-host", "outport-edge-fastly"] {
            let expected = format!("{edge} must not depend on outport-origin");
            assert_eq!(with(edge, &["outport-origin"]), [expected]);
            let expected = format!("outport-origin must not depend on {edge}");
            assert_eq!(with("outport-origin", &[edge]), [expected]);
        }
    }

    #[test]
    fn drivers_do_not_know_each_other() {
        assert_eq!(with("outport-edge-host", &["outport-edge-component"]).len(), 1);
        assert_eq!(with("outport-edge-component", &["outport-edge-host"]).len(), 1);
        assert_eq!(with("outport-edge-fastly", &["outport-edge-spin"]).len(), 1);
        assert_eq!(with("outport-edge-cloudflare", &["outport-edge-host"]).len(), 1);
    }

    #[test]
    fn scenarios_know_no_product_crate() {
        for (name, _) in ALLOWED.iter().filter(|(name, _)| *name != "outport-tests") {
            assert_eq!(with("outport-tests", &[name]).len(), 1, "{name}");
        }
    }

    #[test]
    fn the_core_and_the_wire_have_no_runtime() {
        assert_eq!(with("outport-edge-core", &["tokio"]).len(), 1);
        assert_eq!(with("outport-wire", &["reqwest"]).len(), 1);
    }

    #[test]
    fn wasmtime_stays_in_the_host() {
        assert_eq!(with("outport", &["wasmtime"]).len(), 1);
        assert_eq!(with("outport-tests", &["wasmtime-wasi"]).len(), 1);
        assert_eq!(with("outport-bench", &["wasmtime"]), [""; 0]);
    }

    #[test]
    fn a_new_package_needs_a_line() {
        assert!(with("outport-new", &[])[0].contains("outport-new is unknown"));
    }

    #[test]
    fn metadata_is_read() {
        let metadata = json!({"packages": [
            {"name": "a", "dependencies": [{"name": "b", "kind": "dev"}]},
        ]});
        let packages = packages(&metadata).unwrap();
        assert_eq!(packages[0].name, "a");
        assert_eq!(packages[0].dependencies, ["b"]);
        assert!(super::packages(&json!({})).is_err());
    }
}

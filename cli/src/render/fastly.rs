//! Fastly's form: the stores of the service, and a manifest for the local server that has them.

use std::fmt::Write as _;
use std::path::Path;

use outport_edge_core::deployment::backend;
use reqwest::Url;
use serde_json::{Map, Value, json};
use toml::Table;

use super::output::{File, Next, Rendered, word};
use super::{Problem, Source, base64};
use crate::failure::Failure;

/// The name of each of the three stores.
const STORE: &str = "outport";

/// The manifest where the folder has none.
const MANIFEST: &str = "manifest_version = 3\nname = \"outport\"\n";

pub(super) fn render(source: &Source, manifest: &Path) -> Result<Rendered, Problem> {
    let (config, secrets) = (source.config("config")?, source.secrets("secrets")?);
    let values = source.value_files();
    let value_paths: Map<String, Value> = values
        .iter()
        .map(|(key, file)| ((*key).to_owned(), json!({ "file": source.path(&file.name) })))
        .collect();
    let next = next(source, &config, &secrets);
    let mut files = vec![
        File::open("config.json", object(&config)),
        File::secret("secrets.json", object(&secrets)),
        File::open("values.json", Value::Object(value_paths).to_string()),
        File::open("values.jsonl", lines(source)),
        File::open("fastly.toml", local_server(source, read_manifest(manifest)?)),
    ];
    files.extend(config.into_iter().map(|(name, text)| File::open(config_file(&name), text)));
    files.extend(secrets.into_iter().map(|(name, text)| File::secret(secret_file(&name), text)));
    files.extend(values.into_iter().map(|(_, file)| file));
    Ok(Rendered { files, next })
}

fn object(pieces: &[(String, String)]) -> String {
    let pieces = pieces.iter().map(|(name, text)| (name.clone(), text.as_str().into()));
    Value::Object(pieces.collect()).to_string()
}

/// The values as the service's command line takes them: one JSON object a line.
fn lines(source: &Source) -> String {
    let mut lines = String::new();
    for (key, value) in &source.values {
        let _ = writeln!(lines, "{}", json!({ "key": key, "value": base64(value) }));
    }
    lines
}

fn config_file(name: &str) -> String {
    format!("config/{name}")
}

fn secret_file(name: &str) -> String {
    format!("secrets/{name}")
}

fn read_manifest(path: &Path) -> Result<Table, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => MANIFEST.to_owned(),
        Err(source) => return Err(Problem::Manifest(Failure::io("read", path, source))),
    };
    text.parse().map_err(|error: toml::de::Error| {
        let source = std::io::Error::other(error.message().to_owned());
        Problem::Manifest(Failure::io("read", path, source))
    })
}

/// The manifest with a local server that has this deployment's stores and backends. Paths are
/// from the root on, since the local server takes them from the folder that it runs in.
fn local_server(source: &Source, mut manifest: Table) -> String {
    let store = |name: &str| {
        let path = source.path(name).display().to_string();
        let store = Table::from_iter([("file", path), ("format", "json".to_owned())].map(entry));
        toml::Value::Table(Table::from_iter([(STORE.to_owned(), toml::Value::Table(store))]))
    };
    let mut server = match manifest.remove("local_server") {
        Some(toml::Value::Table(server)) => server,
        _ => Table::new(),
    };
    server.insert("backends".to_owned(), toml::Value::Table(backends(source)));
    server.insert("config_stores".to_owned(), store("config.json"));
    server.insert("secret_stores".to_owned(), store("secrets.json"));
    server.insert("kv_stores".to_owned(), store("values.json"));
    manifest.insert("local_server".to_owned(), toml::Value::Table(server));
    manifest.to_string()
}

fn entry((name, text): (&str, String)) -> (String, toml::Value) {
    (name.to_owned(), toml::Value::String(text))
}

/// The backends' addresses. The path of a base URL is the driver's to put before a request's.
fn backends(source: &Source) -> Table {
    let backend = |(upstream, url): (_, Url)| {
        let url = Table::from_iter([entry(("url", url.origin().ascii_serialization()))]);
        (backend(upstream), toml::Value::Table(url))
    };
    source.upstreams().into_iter().map(backend).collect()
}

fn next(source: &Source, config: &[(String, String)], secrets: &[(String, String)]) -> Vec<Next> {
    let manifest = word(source.path("fastly.toml"));
    vec![
        Next {
            title: "To run it here",
            commands: vec![format!("viceroy --config {manifest} PROGRAM.wasm")],
        },
        Next { title: "Once, when the service is there", commands: once(source) },
        Next {
            title: "To deploy it, with the stores' ids for CONFIG_ID, SECRETS_ID and VALUES_ID",
            commands: each_time(source, config, secrets),
        },
    ]
}

fn once(source: &Source) -> Vec<String> {
    let mut commands = vec!["outport check --for fastly".to_owned()];
    let stores = [("config", "CONFIG_ID"), ("secret", "SECRETS_ID"), ("kv", "VALUES_ID")];
    for (kind, id) in stores {
        commands.push(format!("fastly {kind}-store create --name {STORE}"));
        let version = "--version latest --autoclone";
        commands.push(format!("fastly service resource-link create {version} --resource-id {id}"));
    }
    let timeout_ms = source.deployment.core.upstream_timeout_ms;
    for (upstream, url) in source.upstreams() {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or_default();
        let tls = match url.scheme() {
            "https" => format!(" --use-ssl --ssl-cert-hostname {host} --ssl-sni-hostname {host}"),
            _ => String::new(),
        };
        commands.push(format!(
            "fastly service backend create --version latest --autoclone --name {} --address {host} \
             --port {port} --first-byte-timeout {timeout_ms}{tls}",
            backend(upstream)
        ));
    }
    commands
}

fn each_time(
    source: &Source,
    config: &[(String, String)],
    secrets: &[(String, String)],
) -> Vec<String> {
    let values = word(source.path("values.jsonl"));
    let mut commands =
        vec![format!("fastly kv-store-entry create --store-id VALUES_ID --file {values}")];
    for (name, _) in config {
        let file = word(source.path(&config_file(name)));
        commands.push(format!(
            "fastly config-store-entry update --upsert --store-id CONFIG_ID --key {name} --stdin \
             < {file}"
        ));
    }
    for (name, _) in secrets {
        let file = word(source.path(&secret_file(name)));
        commands.push(format!(
            "fastly secret-store-entry create --recreate-allow --store-id SECRETS_ID --name {name} \
             --file {file}"
        ));
    }
    commands.push("fastly compute publish".to_owned());
    commands
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, source};
    use super::*;
    use crate::target::Target;
    use outport_edge_core::deployment::{Deployment, gather};

    const ROUTES: &str = "[[routes]]\npath = \"/own\"\n[[routes]]\npath = \"/legacy/{*rest}\"\n\
                          proxy = \"http://legacy.example.com/old\"\n";

    fn rendered(source: &Source) -> Rendered {
        render(source, Path::new("there is no such file")).unwrap()
    }

    fn manifest(rendered: &Rendered) -> Table {
        let file = rendered.files.iter().find(|file| file.name == "fastly.toml").unwrap();
        String::from_utf8(file.content.clone()).unwrap().parse().unwrap()
    }

    #[test]
    fn the_stores_are_the_deployment() {
        let source = source(Target::Fastly, ROUTES);
        let rendered = rendered(&source);
        let text = |store: &str, name: &str| {
            let store = read(&rendered, store);
            gather(name, |name| store.get(name).and_then(Value::as_str).map(str::to_owned)).unwrap()
        };
        let (config, secrets) = (text("config.json", "config"), text("secrets.json", "secrets"));
        let whole = Deployment::from_parts(&config, &secrets).unwrap();
        assert_eq!(whole.to_parts(), source.deployment.to_parts());
        let secret =
            |name: &str| rendered.files.iter().find(|file| file.name == name).unwrap().secret;
        assert!(secret("secrets.json") && secret("secrets/secrets") && !secret("config.json"));
    }

    #[test]
    fn the_local_server_has_the_stores_and_the_backends() {
        let source = source(Target::Fastly, ROUTES);
        let manifest = manifest(&rendered(&source));
        let server = &manifest["local_server"];
        assert_eq!(server["backends"]["origin"]["url"].as_str(), Some("http://127.0.0.1:8081"));
        assert_eq!(
            server["backends"]["route_1"]["url"].as_str(),
            Some("http://legacy.example.com")
        );
        assert!(server["backends"].get("route_0").is_none());
        for (stores, file) in
            [("config_stores", "config"), ("secret_stores", "secrets"), ("kv_stores", "values")]
        {
            let path = source.path(&format!("{file}.json"));
            assert_eq!(server[stores]["outport"]["file"].as_str(), path.to_str());
            assert_eq!(server[stores]["outport"]["format"].as_str(), Some("json"));
        }
    }

    #[test]
    fn what_else_the_manifest_says_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fastly.toml");
        std::fs::write(
            &path,
            "name = \"mine\"\n[local_server.backends.old]\nurl = \"http://x\"\n\
                               [local_server.geolocation]\nuse_default_loopback = true\n",
        )
        .unwrap();
        let manifest = manifest(&render(&source(Target::Fastly, ""), &path).unwrap());
        assert_eq!(manifest["name"].as_str(), Some("mine"));
        let server = &manifest["local_server"];
        assert_eq!(server["geolocation"]["use_default_loopback"].as_bool(), Some(true));
        assert!(server["backends"].get("old").is_none());

        std::fs::write(&path, "name = ").unwrap();
        assert!(matches!(
            render(&source(Target::Fastly, ""), &path),
            Err(Problem::Manifest(Failure::Io { .. }))
        ));
    }

    #[test]
    fn values_are_files_here_and_lines_there() {
        let source = source(Target::Fastly, "");
        let rendered = rendered(&source);
        let index = read(&rendered, "values.json");
        let path = Path::new(index["page a.js t br"]["file"].as_str().unwrap()).to_owned();
        let name = path.strip_prefix(&source.out).unwrap().to_str().unwrap();
        let file = rendered.files.iter().find(|file| file.name == name).unwrap();
        assert_eq!(file.content, [0xff, 0, 1]);
        let lines = rendered.files.iter().find(|file| file.name == "values.jsonl").unwrap();
        assert!(lines.content.starts_with(b"{\"key\":\"page a.js t br\",\"value\":\"/wAB\"}\n"));
    }

    #[test]
    fn backends_of_the_service() {
        let mut source = source(Target::Fastly, ROUTES);
        source.deployment.origin = "https://origin.example.com:8443/base".into();
        let commands = once(&source);
        let backends: Vec<&String> =
            commands.iter().filter(|command| command.contains("backend create")).collect();
        assert!(backends[0].contains(
            "--name origin --address origin.example.com --port 8443 --first-byte-timeout 30000 \
             --use-ssl --ssl-cert-hostname origin.example.com"
        ));
        assert!(backends[1].ends_with(
            "--name route_1 --address legacy.example.com --port 80 --first-byte-timeout 30000"
        ));
    }
}

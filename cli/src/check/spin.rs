//! What `spin.toml` must have.

use super::Subject;
use super::hosts;
use super::manifest::{Table, Value};
use crate::settings::Sink;

/// The application's variables, and whether each is secret.
const VARIABLES: [(&str, bool); 2] = [("outport_config", false), ("outport_secrets", true)];

pub(super) fn check(subject: &Subject, manifest: Table<'_>, sink: &Sink) {
    for (name, secret) in VARIABLES {
        declared(manifest, name, secret, sink);
    }
    let Some(component) = component(manifest) else {
        let right = "add [[trigger.http]] with route = \"/...\" and the edge's component";
        return sink.note(0, "no component answers HTTP", right);
    };
    for (name, _) in VARIABLES {
        handed_on(component, name, sink);
    }
    store(component, sink);
    allowed_hosts(subject, component, sink);
}

/// The component of the first HTTP trigger.
fn component(manifest: Table<'_>) -> Option<Table<'_>> {
    let trigger = manifest.table("trigger")?;
    let component = trigger.tables("http").first()?.get("component")?;
    match component.text() {
        Some(name) => manifest.table("component")?.table(name),
        None => component.table(),
    }
}

fn declared(manifest: Table<'_>, name: &str, secret: bool, sink: &Sink) {
    let variables = manifest.table("variables");
    let attributes = if secret { "required = true, secret = true" } else { "required = true" };
    let right = format!("add to [variables]: {name} = {{ {attributes} }}");
    let Some(variable) = variables.and_then(|variables| variables.get(name)) else {
        let at = variables.map_or(0, |variables| variables.at);
        return sink.note(at, format!("there is no variable {name}"), right);
    };
    let is_secret = variable.table().and_then(|variable| variable.get("secret"));
    if secret && !is_secret.is_some_and(Value::is_true) {
        let wrong = format!("the variable {name} is not marked as a secret");
        sink.note(variable.at, wrong, format!("{name} = {{ {attributes} }}"));
    }
}

fn handed_on(component: Table<'_>, name: &str, sink: &Sink) {
    let variables = component.table("variables");
    if variables.and_then(|variables| variables.get(name)).is_none() {
        let at = variables.map_or(component.at, |variables| variables.at);
        let wrong = format!("the component is not given the variable {name}");
        let right = format!("add to its variables: {name} = \"{{{{ {name} }}}}\"");
        sink.note(at, wrong, right);
    }
}

fn store(component: Table<'_>, sink: &Sink) {
    let stores = component.get("key_value_stores");
    let named = stores.map(Value::items).unwrap_or_default();
    if !named.into_iter().any(|store| store.text() == Some("default")) {
        let at = stores.map_or(component.at, |stores| stores.at);
        let right = "key_value_stores = [\"default\"]";
        sink.note(at, "the component may not use the key-value store \"default\"", right);
    }
}

fn allowed_hosts(subject: &Subject, component: Table<'_>, sink: &Sink) {
    let hosts = component.get("allowed_outbound_hosts");
    let at = hosts.map_or(component.at, |hosts| hosts.at);
    let lines: Vec<Value<'_>> = hosts.map(Value::items).unwrap_or_default();
    let patterns: Vec<&str> = lines.iter().filter_map(|line| line.text()).collect();
    if patterns.is_empty() {
        let right = "allowed_outbound_hosts = [\"http://HOST:PORT\"], with the origin's address";
        sink.note(at, "the component may reach no server, and so not the origin", right);
        return;
    }
    // What an expression stands for is known only where it runs.
    if patterns.iter().any(|pattern| pattern.contains("{{")) {
        return;
    }
    let upstreams = subject.upstreams();
    let upstreams = upstreams.iter().map(|(name, url)| (name.as_str(), url));
    let issuers = subject.issuers();
    let issuers = issuers.iter().map(|(name, url)| (*name, url));
    for (name, url) in upstreams.chain(issuers) {
        if !patterns.iter().any(|pattern| hosts::covers(pattern, url) == Some(true)) {
            let wrong = format!("the component may not reach {url} ({name})");
            let right = format!(
                "add \"{}\" to its allowed_outbound_hosts",
                url.origin().ascii_serialization()
            );
            sink.note(at, wrong, right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes;
    use crate::target::Target;

    const RIGHT: &str = r#"spin_manifest_version = 2
[variables]
outport_config = { required = true }
outport_secrets = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = "edge"
[component.edge]
source = "edge.wasm"
allowed_outbound_hosts = ["http://127.0.0.1:8081", "http://*.example.com"]
key_value_stores = ["default"]
[component.edge.variables]
outport_config = "{{ outport_config }}"
outport_secrets = "{{ outport_secrets }}"
"#;
    const CONFIG: &str = "[[routes]]\npath = \"/x\"\nproxy = \"http://legacy.example.com\"\n";
    const ORIGIN: Option<&str> = Some("http://127.0.0.1:8081");

    fn found(config: &str, manifest: &str) -> Vec<String> {
        mistakes(Target::Spin, config, manifest, ORIGIN)
    }

    #[test]
    fn a_manifest_that_has_it_all_is_right() {
        assert_eq!(found(CONFIG, RIGHT), [""; 0]);
    }

    #[test]
    fn everything_that_is_missing() {
        let manifest = "spin_manifest_version = 2\n[[trigger.http]]\nroute = \"/...\"\n\
                        component = \"edge\"\n[component.edge]\nsource = \"edge.wasm\"\n";
        assert_eq!(
            found(CONFIG, manifest),
            [
                "1:1 there is no variable outport_config | add to [variables]: outport_config = { \
                 required = true }",
                "1:1 there is no variable outport_secrets | add to [variables]: outport_secrets = \
                 { required = true, secret = true }",
                "5:1 the component is not given the variable outport_config | add to its \
                 variables: outport_config = \"{{ outport_config }}\"",
                "5:1 the component is not given the variable outport_secrets | add to its \
                 variables: outport_secrets = \"{{ outport_secrets }}\"",
                "5:1 the component may not use the key-value store \"default\" | key_value_stores \
                 = [\"default\"]",
                "5:1 the component may reach no server, and so not the origin | \
                 allowed_outbound_hosts = [\"http://HOST:PORT\"], with the origin's address",
            ]
        );
        let none = found("", "[variables]\noutport_config = {}\noutport_secrets = {}\n");
        assert!(none[0].starts_with("1:1 no component answers HTTP"), "{none:?}");
        assert_eq!(
            none[1],
            "3:19 the variable outport_secrets is not marked as a secret | outport_secrets = { \
             required = true, secret = true }"
        );
    }

    #[test]
    fn servers_that_are_not_allowed() {
        let manifest = RIGHT.replace(", \"http://*.example.com\"", "").replace("8081", "8082");
        assert_eq!(
            found(CONFIG, &manifest),
            [
                "10:26 the component may not reach http://127.0.0.1:8081/ (origin) | add \
                 \"http://127.0.0.1:8081\" to its allowed_outbound_hosts",
                "10:26 the component may not reach http://legacy.example.com/ (route_0) | add \
                 \"http://legacy.example.com\" to its allowed_outbound_hosts",
            ]
        );
        let issuers = "[issuers.a]\nissuer = \"https://id.example.org\"\naudiences = [\"x\"]\n\
                       [issuers.b]\nissuer = \"b\"\naudiences = [\"x\"]\n\
                       keys_url = \"https://keys.example.net/jwks\"\n";
        assert_eq!(
            found(&format!("{CONFIG}{issuers}"), RIGHT),
            [
                "10:26 the component may not reach https://id.example.org/ \
                 (https://id.example.org) | add \"https://id.example.org\" to its \
                 allowed_outbound_hosts",
                "10:26 the component may not reach https://keys.example.net/jwks (b) | add \
                 \"https://keys.example.net\" to its allowed_outbound_hosts",
            ]
        );
        let templated = RIGHT.replace("http://*.example.com", "http://{{ host }}");
        assert_eq!(found(CONFIG, &templated), [""; 0]);
    }
}

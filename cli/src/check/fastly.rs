//! What `fastly.toml` must have: `fastly compute publish` makes of it what a new service is made of.

use reqwest::Url;

use super::Subject;
use super::manifest::{Table, Value};
use crate::settings::Sink;

/// The name of each store.
const STORE: &str = "outport";
/// The kinds of store, and what each is for.
const STORES: [(&str, &str); 3] = [
    ("config_stores", "the configuration"),
    ("secret_stores", "the secrets"),
    ("kv_stores", "the page"),
];

pub(super) fn check(subject: &Subject, manifest: Table<'_>, sink: &Sink) {
    let setup = manifest.table("setup");
    let at = setup.map_or(0, |setup| setup.at);
    for (kind, contents) in STORES {
        let store = setup.and_then(|setup| setup.table(kind)?.table(STORE));
        if store.is_none() {
            let wrong = format!("there is no [setup.{kind}.{STORE}], for {contents}");
            sink.note(at, wrong, format!("add the section [setup.{kind}.{STORE}]"));
        }
    }
    let backends = setup.and_then(|setup| setup.table("backends"));
    let upstreams = subject.upstreams();
    if subject.origin.is_none() && backends.and_then(|all| all.table("origin")).is_none() {
        let right = "add the section [setup.backends.origin] with the origin's address and port";
        sink.note(at, "there is no backend \"origin\"", right);
    }
    for (name, url) in upstreams {
        let found = backends.and_then(|backends| backends.table(&name));
        backend(&name, &url, found, backends.map_or(at, |backends| backends.at), sink);
    }
}

/// A backend is the server that the configuration names.
fn backend(name: &str, url: &Url, found: Option<Table<'_>>, at: usize, sink: &Sink) {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or_default();
    let right = format!("[setup.backends.{name}] with address = \"{host}\" and port = {port}");
    let Some(found) = found else {
        let wrong = format!("there is no backend \"{name}\", for {url}");
        return sink.note(at, wrong, format!("add the section {right}"));
    };
    let address = found.get("address");
    if address.and_then(Value::text) != Some(host) {
        let (at, wrong) = match address {
            Some(address) => (address.at, format!("is another server than {url}")),
            None => {
                (found.at, "has no address; unless it is asked for, it is 127.0.0.1".to_owned())
            }
        };
        return sink.note(
            at,
            format!("the backend \"{name}\" {wrong}"),
            format!("it takes {right}"),
        );
    }
    let given = found.get("port");
    // The command line takes 443 where nothing is said.
    if given.map_or(Some(443), Value::whole) != Some(u64::from(port)) {
        let scheme = url.scheme();
        let wrong = format!("the backend \"{name}\" has another port than {scheme} to {url}");
        let at = given.map_or(found.at, |given| given.at);
        sink.note(at, wrong, format!("it takes {right}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes;
    use crate::target::Target;

    const RIGHT: &str = r#"manifest_version = 3
[setup.config_stores.outport]
[setup.secret_stores.outport]
[setup.kv_stores.outport]
[setup.backends.origin]
address = "origin.example.com"
port = 8081
[setup.backends.route_1]
address = "legacy.example.com"
port = 80
"#;
    const CONFIG: &str = "[[routes]]\npath = \"/own\"\n[[routes]]\npath = \"/legacy\"\n\
                          proxy = \"http://legacy.example.com/old\"\n";
    const ORIGIN: Option<&str> = Some("http://origin.example.com:8081");

    fn found(config: &str, manifest: &str, origin: Option<&str>) -> Vec<String> {
        mistakes(Target::Fastly, config, manifest, origin)
    }

    #[test]
    fn a_manifest_with_stores_and_backends_is_right() {
        assert_eq!(found(CONFIG, RIGHT, None), [""; 0]);
        assert_eq!(found(CONFIG, RIGHT, ORIGIN), [""; 0]);
    }

    #[test]
    fn everything_that_is_missing() {
        assert_eq!(
            found(CONFIG, "manifest_version = 3\n", None),
            [
                "1:1 there is no [setup.config_stores.outport], for the configuration | add the \
                 section [setup.config_stores.outport]",
                "1:1 there is no [setup.secret_stores.outport], for the secrets | add the section \
                 [setup.secret_stores.outport]",
                "1:1 there is no [setup.kv_stores.outport], for the page | add the section \
                 [setup.kv_stores.outport]",
                "1:1 there is no backend \"origin\" | add the section [setup.backends.origin] with \
                 the origin's address and port",
                "1:1 there is no backend \"route_1\", for http://legacy.example.com/old | add the \
                 section [setup.backends.route_1] with address = \"legacy.example.com\" and port = \
                 80",
            ]
        );
    }

    #[test]
    fn backends_that_are_other_servers() {
        let manifest = RIGHT.replace("legacy.example", "other.example").replace("8081", "80");
        assert_eq!(
            found(CONFIG, &manifest, ORIGIN),
            [
                "7:8 the backend \"origin\" has another port than http to \
                 http://origin.example.com:8081/ | it takes [setup.backends.origin] with address = \
                 \"origin.example.com\" and port = 8081",
                "9:11 the backend \"route_1\" is another server than \
                 http://legacy.example.com/old | it takes [setup.backends.route_1] with address = \
                 \"legacy.example.com\" and port = 80",
            ]
        );
        let found_without =
            found(CONFIG, &RIGHT.replace("address = \"origin.example.com\"\n", ""), ORIGIN);
        assert_eq!(found_without.len(), 1);
        assert!(found_without[0].starts_with("5:1 the backend \"origin\" has no address"));
        // Without a port, it would be 443.
        let found = found(CONFIG, &RIGHT.replace("port = 80\n", ""), ORIGIN);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("8:1 the backend \"route_1\" has another port than http"));
    }
}

//! Rules of the firewall on our own node: counted, logged, limiting.

use outport_tests::api::Api;
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::metrics;
use outport_tests::suite::Check;

const CONFIG: &str = r#"
[limits.rare]
per_second = 1
burst = 2

[[firewall.rules]]
name = "watch"
match = { headers = { x-probe = { present = true } } }
action = "log"

[[firewall.rules]]
name = "not-yet"
match = { networks = ["127.0.0.0/8"], paths = ["/files"] }
action = "deny"
dry_run = true

[[firewall.rules]]
name = "rarely"
match = { paths = ["/session", "/healthz"] }
unless = { query = "probe" }
action = "limit"
limit = "rare"

[[firewall.rules]]
name = "closed"
match = { paths = ["/files/*"], methods = ["DELETE", "PATCH"] }
unless = { tenants = ["demo"], subjects = ["trusted"] }
action = "deny"
"#;

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(what_matches_is_counted_and_logged),
        check!(a_limit_holds_where_none_is_otherwise),
        check!(a_tenant_is_excepted),
        check!(a_proxy_says_where_its_client_is),
    ]
}

struct Guarded {
    data: Data,
    edge: Running,
}

fn start() -> Guarded {
    let data = Data::new();
    let config = data.config(CONFIG);
    let config = config.to_str().expect("the path is text");
    let edge = Running::serve(&data, &["--config", config]);
    Guarded { data, edge }
}

impl Guarded {
    fn api(&self, subject: &str) -> Api {
        let token = self.data.token("demo", subject, "read write", "1h");
        Api::new(self.edge.ready("edge")).with_token(&token)
    }

    async fn counted(&self, rule: &str) -> u64 {
        let label = format!("rule=\"{rule}\"");
        metrics::sum(self.edge.ready("edge_metrics"), "outport_edge_rules_total", &label).await
    }

    /// The lines that the firewall has logged.
    fn logged(&self) -> Vec<String> {
        let lines = logged(&self.data);
        let notes = lines.iter().filter_map(|line| line.split_once("firewall: "));
        notes.map(|(_, note)| note.to_owned()).collect()
    }
}

/// The lines of all logs.
fn logged(data: &Data) -> Vec<String> {
    let files = std::fs::read_dir(data.path()).expect("the folder can be read");
    let paths = files.map(|file| file.expect("it can be read").path());
    let logs = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "log"));
    let texts = logs.map(|path| std::fs::read_to_string(path).expect("a log is text"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

async fn what_matches_is_counted_and_logged() {
    let guarded = start();
    let api = guarded.api("somebody");
    api.get("/files?secret").await.expect_status(200);
    api.get_with("/files", &[("x-probe", "1")]).await.expect_status(200);
    api.delete("/files/01000G0000000C000000000004").await.expect_problem(403, "forbidden-by-rule");
    assert_eq!(guarded.counted("watch").await, 1);
    assert_eq!(guarded.counted("not-yet").await, 2);
    assert_eq!(guarded.counted("closed").await, 1);
    assert_eq!(guarded.counted("core-route").await, 0);
    let expected = [
        "127.0.0.1 GET /files: not-yet (deny, dry run)",
        "127.0.0.1 GET /files: watch (log), not-yet (deny, dry run)",
    ];
    assert_eq!(guarded.logged(), expected);
}

async fn a_limit_holds_where_none_is_otherwise() {
    let guarded = start();
    let api = Api::new(guarded.edge.ready("edge"));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(api.get("/healthz").await.status);
        api.get("/healthz?probe").await.expect_status(200);
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(guarded.counted("rarely").await, 20);
}

async fn a_tenant_is_excepted() {
    let guarded = start();
    let path = "/files/01000G0000000C000000000004";
    guarded.api("trusted").delete(path).await.expect_status(404);
    guarded.api("other").delete(path).await.expect_problem(403, "forbidden-by-rule");
    let anonymous = Api::new(guarded.edge.ready("edge"));
    anonymous.delete(path).await.expect_problem(403, "forbidden-by-rule");
    anonymous.get(path).await.expect_status(404);
}

async fn a_proxy_says_where_its_client_is() {
    let rule = r#"
[[firewall.rules]]
name = "only-here"
match = { paths = ["/files"] }
unless = { countries = ["DE"] }
action = "deny"
"#;
    let data = Data::new();
    let status = async |edge: &Running, country: &str| {
        let api = Api::new(edge.ready("edge"));
        api.get_with("/files", &[("x-country", country)]).await.status
    };
    let config = data.config(rule);
    let config = config.to_str().expect("the path is text");
    let alone = Running::serve(&data, &["--config", config]);
    assert_eq!(status(&alone, "DE").await, 403, "nobody is believed");
    drop(alone);
    let told = "rule only-here asks where clients are, and nobody tells";
    assert!(logged(&data).iter().any(|line| line.contains(told)));
    let proxied = "[edge]\ntrusted_proxies = [\"127.0.0.1\"]\ncountry_field = \"X-Country\"\n";
    let config = data.config(&format!("{proxied}{rule}"));
    let config = config.to_str().expect("the path is text");
    let behind = Running::serve(&data, &["--config", config]);
    for (country, expected) in [("DE", 401), ("FR", 403), ("", 403)] {
        assert_eq!(status(&behind, country).await, expected, "{country}");
    }
}

//! What `wrangler.toml` must have.

use std::collections::HashMap;

use outport_edge_core::deployment::limit_binding;

use super::Subject;
use super::manifest::{Table, Value};
use crate::settings::{Limit, Sink};

const VALUES: &str = "OUTPORT_VALUES";
const KEPT: &str = "OUTPORT_KEPT";
/// Set as secrets; `outport render` writes both.
const SECRETS: [&str; 2] = ["OUTPORT_CONFIG", "OUTPORT_SECRETS"];

pub(super) fn check(subject: &Subject, manifest: Table<'_>, sink: &Sink) {
    values(manifest, sink);
    kept(subject, manifest, sink);
    variables(manifest, sink);
    let mut namespaces = HashMap::new();
    for (name, limit) in &subject.settings.limits {
        let periods = subject.target.platform().bounds.limit_periods_s;
        one_limit(manifest, name, *limit, periods, &mut namespaces, sink);
    }
}

fn values(manifest: Table<'_>, sink: &Sink) {
    let spaces = manifest.tables("kv_namespaces");
    let Some(space) = spaces.into_iter().find(|space| space.text("binding") == Some(VALUES)) else {
        let at = manifest.get("kv_namespaces").map_or(0, |spaces| spaces.at);
        let wrong = format!("there is no KV namespace {VALUES}, which the page is kept in");
        let right =
            format!("add [[kv_namespaces]] with binding = \"{VALUES}\" and the namespace's id");
        return sink.note(at, wrong, right);
    };
    // Without an id, the command line makes a namespace by itself.
    let placeholder = |id: &Value<'_>| id.text().is_some_and(|id| id.bytes().all(|c| c == b'0'));
    if let Some(id) = space.get("id").filter(placeholder) {
        let right = format!("`wrangler kv namespace create {VALUES}` prints the id to put here");
        sink.note(id.at, format!("the id of the KV namespace {VALUES} is a placeholder"), right);
    }
}

/// What small uploads are kept in may be missing, and they go to the origin then, unless somebody
/// asked for it. What is in it must be handed over.
fn kept(subject: &Subject, manifest: Table<'_>, sink: &Sink) {
    let buckets = manifest.tables("r2_buckets");
    let bucket = buckets.into_iter().find(|bucket| bucket.text("binding") == Some(KEPT));
    let Some(bucket) = bucket else {
        if subject.settings.edge.small_upload_bytes_max.is_some_and(|max| max > 0) {
            let at = manifest.get("r2_buckets").map_or(0, |buckets| buckets.at);
            let wrong = format!(
                "there is no R2 bucket {KEPT}, which small uploads are kept in \
                 (edge.small_upload_bytes_max)"
            );
            let right = format!("add [[r2_buckets]] with binding = \"{KEPT}\" and a bucket_name");
            sink.note(at, wrong, right);
        }
        return;
    };
    let triggers = manifest.table("triggers").and_then(|triggers| triggers.get("crons"));
    if triggers.is_none_or(|crons| crons.items().is_empty()) {
        let at = triggers.map_or(bucket.at, |crons| crons.at);
        let wrong = format!("nothing hands over what stays in the R2 bucket {KEPT}");
        sink.note(at, wrong, "add [triggers] with crons = [\"* * * * *\"]");
    }
}

/// A variable and a secret of the same name collide, and a secret is no variable.
fn variables(manifest: Table<'_>, sink: &Sink) {
    let Some(vars) = manifest.table("vars") else { return };
    for name in SECRETS {
        if let Some(value) = vars.get(name) {
            let right = "remove the line: `wrangler deploy --secrets-file` and `wrangler secret \
                         bulk` set it";
            sink.note(value.at, format!("{name} is a secret, and here it is a variable"), right);
        }
    }
}

fn one_limit<'a>(
    manifest: Table<'a>,
    name: &str,
    limit: Limit,
    periods: &[u32],
    namespaces: &mut HashMap<&'a str, String>,
    sink: &Sink,
) {
    let binding = limit_binding(name);
    let example = example(&binding, limit, periods);
    let found =
        manifest.tables("ratelimits").into_iter().find(|one| one.text("name") == Some(&binding));
    let Some(found) = found else {
        let at = manifest.get("ratelimits").map_or(0, |limits| limits.at);
        let wrong = format!("there is no rate limit {binding}, for the limit \"{name}\"");
        return sink.note(at, wrong, format!("add {example}"));
    };
    match found.text("namespace_id") {
        None => {
            let wrong = format!("the rate limit {binding} has no namespace_id");
            sink.note(found.at, wrong, "it takes a whole number in quotes, one for each limit");
        }
        Some(id) => {
            if let Some(other) = namespaces.insert(id, binding.clone()) {
                let at = found.get("namespace_id").map_or(found.at, |id| id.at);
                let wrong =
                    format!("{binding} and {other} count together: both are namespace {id}");
                sink.note(at, wrong, "give each limit a namespace_id of its own");
            }
        }
    }
    numbers(found, &binding, limit, periods, &example, sink);
}

/// The numbers of the binding are those of the configuration.
fn numbers(
    found: Table<'_>,
    binding: &str,
    limit: Limit,
    periods: &[u32],
    example: &str,
    sink: &Sink,
) {
    let simple = found.table("simple");
    let number = |key| simple.and_then(|simple| simple.get(key));
    let whole = |key| number(key).and_then(Value::whole);
    let at = |key| number(key).or(found.get("simple")).map_or(found.at, |value| value.at);
    let period = whole("period").filter(|period| periods.iter().any(|p| u64::from(*p) == *period));
    let Some(period_s) = period else {
        let wrong =
            format!("the rate limit {binding} has no period of {} seconds", listed(periods));
        return sink.note(at("period"), wrong, format!("it takes {example}"));
    };
    let expected = u64::from(limit.per_second) * period_s;
    if whole("limit") != Some(expected) {
        let wrong = format!("the rate limit {binding} is not that of the configuration");
        let right =
            format!("limit = {expected}: {} a second, for {period_s} seconds", limit.per_second);
        sink.note(at("limit"), wrong, right);
    }
}

fn example(binding: &str, limit: Limit, periods: &[u32]) -> String {
    let period_s = periods.first().copied().unwrap_or(1);
    let most = u64::from(limit.per_second) * u64::from(period_s);
    format!(
        "[[ratelimits]] with name = \"{binding}\", namespace_id = \"…\", simple = {{ limit = \
         {most}, period = {period_s} }}"
    )
}

fn listed(periods: &[u32]) -> String {
    let periods: Vec<String> = periods.iter().map(u32::to_string).collect();
    periods.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes;
    use crate::target::Target;

    const RIGHT: &str = r#"name = "outport"
[[kv_namespaces]]
binding = "OUTPORT_VALUES"
id = "abc"
[[ratelimits]]
name = "OUTPORT_LIMIT_READ"
namespace_id = "1"
simple = { limit = 50000, period = 10 }
[[ratelimits]]
name = "OUTPORT_LIMIT_WRITE"
namespace_id = "2"
simple = { limit = 30000, period = 60 }
"#;

    fn found(config: &str, manifest: &str) -> Vec<String> {
        mistakes(Target::Cloudflare, config, manifest, None)
    }

    #[test]
    fn a_manifest_with_all_bindings_is_right() {
        assert_eq!(found("", RIGHT), [""; 0]);
    }

    #[test]
    fn everything_that_is_missing() {
        assert_eq!(
            found("[limits.api-v1]\nper_second = 5\n", "name = \"outport\"\n"),
            [
                "1:1 there is no KV namespace OUTPORT_VALUES, which the page is kept in | add \
                 [[kv_namespaces]] with binding = \"OUTPORT_VALUES\" and the namespace's id",
                "1:1 there is no rate limit OUTPORT_LIMIT_API_V1, for the limit \"api-v1\" | add \
                 [[ratelimits]] with name = \"OUTPORT_LIMIT_API_V1\", namespace_id = \"…\", simple \
                 = { limit = 50, period = 10 }",
                "1:1 there is no rate limit OUTPORT_LIMIT_READ, for the limit \"read\" | add \
                 [[ratelimits]] with name = \"OUTPORT_LIMIT_READ\", namespace_id = \"…\", simple = \
                 { limit = 50000, period = 10 }",
                "1:1 there is no rate limit OUTPORT_LIMIT_WRITE, for the limit \"write\" | add \
                 [[ratelimits]] with name = \"OUTPORT_LIMIT_WRITE\", namespace_id = \"…\", simple \
                 = { limit = 5000, period = 10 }",
            ]
        );
    }

    #[test]
    fn limits_that_are_not_those_of_the_configuration() {
        assert_eq!(
            found("[limits.read]\nper_second = 100\n", RIGHT),
            ["8:20 the rate limit OUTPORT_LIMIT_READ is not that of the configuration | limit = \
              1000: 100 a second, for 10 seconds"]
        );
        let manifest = RIGHT.replace("period = 60", "period = 30").replace("\"2\"", "\"1\"");
        let found = found("", &manifest);
        assert_eq!(
            found[0],
            "11:16 OUTPORT_LIMIT_WRITE and OUTPORT_LIMIT_READ count together: both are namespace 1 \
             | give each limit a namespace_id of its own"
        );
        assert!(
            found[1].starts_with(
                "12:36 the rate limit OUTPORT_LIMIT_WRITE has no period of 10 or 60 seconds | it \
                 takes [[ratelimits]] with name = \"OUTPORT_LIMIT_WRITE\""
            ),
            "{found:?}"
        );
    }

    #[test]
    fn an_id_that_is_a_placeholder() {
        assert_eq!(
            found("", &RIGHT.replace("\"abc\"", "\"000\"")),
            ["4:6 the id of the KV namespace OUTPORT_VALUES is a placeholder | `wrangler kv \
              namespace create OUTPORT_VALUES` prints the id to put here"]
        );
    }

    #[test]
    fn small_uploads_are_kept_where_somebody_wants_it_and_handed_over() {
        let bucket = "[[r2_buckets]]\nbinding = \"OUTPORT_KEPT\"\nbucket_name = \"b\"\n";
        let crons = "[triggers]\ncrons = [\"* * * * *\"]\n";
        let asked = "[edge]\nsmall_upload_bytes_max = 5\n";
        assert_eq!(found(asked, &format!("{RIGHT}{bucket}{crons}")), [""; 0]);
        assert_eq!(found("[edge]\nsmall_upload_bytes_max = 0\n", RIGHT), [""; 0]);
        assert_eq!(
            found(asked, RIGHT),
            ["1:1 there is no R2 bucket OUTPORT_KEPT, which small uploads are kept in \
              (edge.small_upload_bytes_max) | add [[r2_buckets]] with binding = \"OUTPORT_KEPT\" \
              and a bucket_name"]
        );
        assert_eq!(
            found("", &format!("{RIGHT}{bucket}[triggers]\ncrons = []\n")),
            ["17:9 nothing hands over what stays in the R2 bucket OUTPORT_KEPT | add [triggers] \
              with crons = [\"* * * * *\"]"]
        );
    }

    #[test]
    fn secrets_are_no_variables() {
        let manifest = format!("{RIGHT}[vars]\nOUTPORT_SECRETS = \"{{}}\"\n");
        let found = found("", &manifest);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("14:19 OUTPORT_SECRETS is a secret, and here it is a variable")
        );
    }
}

//! What a node counts, as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use outport_edge_core::firewall::{Counted as CountedRule, Firewall};
use outport_edge_core::step::{Ended, Matched};

use crate::disk::Counted;
use crate::overload::Counted as Load;

/// A node's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: [AtomicU64; 3],
    slices: [AtomicU64; 3],
    fragments: [AtomicU64; 3],
    prefetches: [AtomicU64; 3],
    prefetches_dropped: AtomicU64,
    instances_made: AtomicU64,
    instances_failed: AtomicU64,
    rules: Vec<Rule>,
}

/// A rule of the firewall.
#[derive(Debug)]
struct Rule {
    labels: String,
    matched: AtomicU64,
}

/// What is read from elsewhere when it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    /// Bytes and number of stored responses.
    pub(crate) cached: (u64, u64),
    /// What the cache counts on the disk, if it has one.
    pub(crate) disk: Option<Counted>,
    /// Number and bytes of what is kept for the origin.
    pub(crate) kept: (u64, u64),
    /// What was handed over.
    pub(crate) handed_over: u64,
    /// What the node counts of its load.
    pub(crate) load: Load,
    /// Connections that are open, and those refused for their networks.
    pub(crate) connections: (u64, u64),
}

const ENDS: [Ended; 3] = [Ended::Edge, Ended::Cache, Ended::Origin];

/// Counts what has ended there.
fn count(counts: &[AtomicU64; 3], ended: Ended) {
    if let Some(place) = ENDS.iter().position(|end| *end == ended)
        && let Some(count) = counts.get(place)
    {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Those of a node with these rules.
    pub(crate) fn of(firewall: &Firewall) -> Self {
        let rule = |CountedRule { rule, action, enforced }: CountedRule<'_>| Rule {
            labels: format!("{{rule=\"{rule}\",action=\"{action}\",enforced=\"{enforced}\"}}"),
            matched: AtomicU64::new(0),
        };
        Self { rules: firewall.counted().map(rule).collect(), ..Self::default() }
    }

    /// A request matched these rules.
    pub(crate) fn rules_matched(&self, matched: &Matched) {
        for rule in matched.rules.iter().filter_map(|place| self.rules.get(usize::from(*place))) {
            rule.matched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was answered.
    pub(crate) fn request_ended(&self, ended: Ended) {
        count(&self.requests, ended);
    }

    /// A slice of a large file was found or fetched.
    pub(crate) fn slice_ended(&self, ended: Ended) {
        count(&self.slices, ended);
    }

    /// What takes a place in a page was found, fetched or refused.
    pub(crate) fn fragment_ended(&self, ended: Ended) {
        count(&self.fragments, ended);
    }

    /// What was fetched ahead has ended.
    pub(crate) fn prefetch_ended(&self, ended: Ended) {
        count(&self.prefetches, ended);
    }

    /// There was no room for what was to be fetched ahead.
    pub(crate) fn prefetch_dropped(&self) {
        self.prefetches_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance of the component was made.
    pub(crate) fn instance_made(&self) {
        self.instances_made.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance trapped or ran too long.
    pub(crate) fn instance_failed(&self) {
        self.instances_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The exposition.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let Gauges { cached: (cached_bytes, cached), disk, kept: (kept, kept_bytes), .. } = *gauges;
        let Gauges { handed_over, load, connections: (open, refused), .. } = *gauges;
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
            // Writing to a String never fails.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let labels = ENDS.map(|end| format!("{{outcome=\"{}\"}}", end.label()));
        let mut by_end = |name: &str, help: &str, counts: &[AtomicU64; 3]| {
            let counts = labels.iter().zip(counts);
            let counts = counts.map(|(label, count)| (&**label, count.load(Ordering::Relaxed)));
            family(name, "counter", help, &counts.collect::<Vec<_>>());
        };
        by_end(
            "outport_edge_requests_total",
            "Requests answered, by where they ended.",
            &self.requests,
        );
        by_end(
            "outport_edge_slices_total",
            "Slices of large files that were sent, by where they came from.",
            &self.slices,
        );
        by_end(
            "outport_edge_fragments_total",
            "What was asked for to take a place in a page, by where that ended.",
            &self.fragments,
        );
        by_end(
            "outport_edge_prefetches_total",
            "What was fetched ahead, by where that ended.",
            &self.prefetches,
        );
        family(
            "outport_edge_prefetches_dropped_total",
            "counter",
            "What was not fetched ahead, as too much waited already.",
            &[("", self.prefetches_dropped.load(Ordering::Relaxed))],
        );
        family(
            "outport_edge_instances_total",
            "counter",
            "Instances of the component that were made.",
            &[("", self.instances_made.load(Ordering::Relaxed))],
        );
        family(
            "outport_edge_instance_failures_total",
            "counter",
            "Instances that trapped or ran too long, and were replaced.",
            &[("", self.instances_failed.load(Ordering::Relaxed))],
        );
        let matched = |rule: &'_ Rule| rule.matched.load(Ordering::Relaxed);
        let rules: Vec<_> = self.rules.iter().map(|rule| (&*rule.labels, matched(rule))).collect();
        family(
            "outport_edge_rules_total",
            "counter",
            "Requests that a rule of the firewall matched.",
            &rules,
        );
        family("outport_edge_cache_bytes", "gauge", "Bytes in the cache.", &[("", cached_bytes)]);
        family("outport_edge_cache_responses", "gauge", "Stored responses.", &[("", cached)]);
        for (name, kind, help, value) in disk.iter().flat_map(on_disk) {
            family(name, kind, help, &[("", value)]);
        }
        family(
            "outport_edge_kept_files",
            "gauge",
            "Files that were accepted here and that the origin does not have yet.",
            &[("", kept)],
        );
        family("outport_edge_kept_bytes", "gauge", "Bytes of these.", &[("", kept_bytes)]);
        family(
            "outport_edge_handed_over_total",
            "counter",
            "Files that were accepted here and that the origin has taken since.",
            &[("", handed_over)],
        );
        let shed = load.shed.map(|(priority, shed)| (format!("{{priority=\"{priority}\"}}"), shed));
        family(
            "outport_edge_shed_total",
            "counter",
            "Requests that were refused as there was too much to do.",
            &shed.each_ref().map(|(labels, shed)| (&**labels, *shed)),
        );
        for (name, kind, help, value) in [
            (
                "outport_edge_delay_microseconds",
                "gauge",
                "How long a task that was ready has waited last.",
                load.delay_us,
            ),
            (
                "outport_edge_requests_waiting",
                "gauge",
                "Requests that wait for their answers.",
                load.waiting,
            ),
            ("outport_edge_connections", "gauge", "Connections of clients.", open),
            (
                "outport_edge_connections_refused_total",
                "counter",
                "Connections that were closed at once, as their networks had too many.",
                refused,
            ),
        ] {
            family(name, kind, help, &[("", value)]);
        }
        text
    }
}

/// The families of the disk tier: name, kind, help, value.
fn on_disk(disk: &Counted) -> [(&'static str, &'static str, &'static str, u64); 6] {
    let Counted { bytes, responses, hits, written, dropped, failures } = *disk;
    [
        ("outport_edge_cache_disk_bytes", "gauge", "Bytes of the cache on the disk.", bytes),
        ("outport_edge_cache_disk_responses", "gauge", "Responses stored on the disk.", responses),
        (
            "outport_edge_cache_disk_hits_total",
            "counter",
            "Responses that were not in memory and were found on the disk.",
            hits,
        ),
        (
            "outport_edge_cache_disk_written_total",
            "counter",
            "Responses that were written to the disk.",
            written,
        ),
        (
            "outport_edge_cache_disk_dropped_total",
            "counter",
            "Responses that were not written, as too many waited for it.",
            dropped,
        ),
        (
            "outport_edge_cache_disk_failures_total",
            "counter",
            "Reads and writes of the disk that failed, or found something else.",
            failures,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use outport_edge_core::firewall::{Action, Conditions, CoreSet, Rule as FirewallRule};

    use super::*;

    #[test]
    fn counts_by_rule() {
        let rule = |name: &str, action, dry_run| {
            let name = name.to_owned();
            FirewallRule { name, matches: Conditions::default(), unless: None, action, dry_run }
        };
        let rules = vec![rule("a", Action::Log, false), rule("b", Action::Deny(None), true)];
        let metrics = Metrics::of(&Firewall { core: CoreSet::Log, rules, ..Firewall::default() });
        metrics.rules_matched(&Matched { rules: vec![1, 2], note: None });
        metrics.rules_matched(&Matched { rules: vec![1, 99], note: None });
        let text = metrics.text(&Gauges::default());
        for line in [
            "{rule=\"a\",action=\"log\",enforced=\"true\"} 0",
            "{rule=\"b\",action=\"deny\",enforced=\"false\"} 2",
            "{rule=\"core-route\",action=\"deny\",enforced=\"false\"} 1",
        ] {
            assert!(text.contains(&format!("outport_edge_rules_total{line}\n")), "{text}");
        }
    }

    #[test]
    fn counts_by_outcome() {
        let metrics = Metrics::default();
        metrics.request_ended(Ended::Cache);
        metrics.request_ended(Ended::Cache);
        metrics.request_ended(Ended::Origin);
        let text = metrics.text(&Gauges { cached: (10, 1), ..Gauges::default() });
        assert!(text.contains("outport_edge_requests_total{outcome=\"cache\"} 2\n"), "{text}");
        assert!(text.contains("outport_edge_requests_total{outcome=\"edge\"} 0\n"));
        assert!(text.contains("outport_edge_cache_bytes 10\n"));
        assert!(!text.contains("outport_edge_cache_disk_"));
        let disk = Some(Counted { hits: 3, ..Counted::default() });
        let text = metrics.text(&Gauges { disk, ..Gauges::default() });
        assert!(text.contains("outport_edge_cache_disk_hits_total 3\n"), "{text}");
    }
}

//! What is counted of receivers, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::deliver::{Tally, Target};

/// A name, its type, what it says, and how it is read.
type Metric = (&'static str, &'static str, &'static str, fn(&Tally) -> u64);

const METRICS: [Metric; 4] = [
    ("delivered_total", "counter", "Events that the receiver took.", |tally| {
        tally.delivered.load(Ordering::Relaxed)
    }),
    ("failed_total", "counter", "Attempts that failed.", |tally| {
        tally.failed.load(Ordering::Relaxed)
    }),
    ("waiting", "gauge", "Events that the receiver has yet to be told.", Tally::waiting),
    ("dead", "gauge", "Events that were given up.", Tally::dead),
];

/// All of it. Nothing where there is nobody to tell.
pub(super) fn render(targets: &[Target]) -> String {
    let mut text = String::new();
    for (name, kind, help, read) in METRICS {
        if !targets.is_empty() {
            let name = format!("outport_origin_hook_{name}");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for Target { webhook, tally, .. } in targets {
                let _ = writeln!(text, "{name}{{hook=\"{}\"}} {}", webhook.name, read(tally));
            }
        }
    }
    text
}

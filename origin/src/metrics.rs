//! Counters, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use outport_wire::UnixSeconds;

use crate::collector::Collected;
use crate::meta::GroupStats;

/// The methods that are counted by name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "other"];
/// The classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What has happened since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    edges_told: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    uploads_collected: AtomicU64,
    parts_collected: AtomicU64,
    bytes_collected: AtomicU64,
    round_ended_s: AtomicU64,
    meta: Arc<GroupStats>,
}

impl Metrics {
    pub(crate) fn new(meta: Arc<GroupStats>) -> Self {
        Self {
            requests: Default::default(),
            edges_told: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            uploads_collected: AtomicU64::new(0),
            parts_collected: AtomicU64::new(0),
            bytes_collected: AtomicU64::new(0),
            round_ended_s: AtomicU64::new(0),
            meta,
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode) {
        let other = METHODS.len() - 1;
        let method = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(other);
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.requests.get(method).and_then(|classes| classes.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An edge was told what is revoked, related or spent.
    pub(crate) fn told_edge(&self) {
        self.edges_told.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of an upload came in.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of a file were handed out.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The collector removed something.
    pub(crate) fn collected(&self, done: &Collected) {
        let uploads = done.uploads.count + done.files.count + done.orphans.count;
        self.uploads_collected.fetch_add(uploads, Ordering::Relaxed);
        let parts = done.parts.count + done.unfinished.count;
        self.parts_collected.fetch_add(parts, Ordering::Relaxed);
        self.bytes_collected.fetch_add(done.bytes(), Ordering::Relaxed);
    }

    /// The collector had looked through all parts at this time.
    pub(crate) fn round_ended(&self, at: UnixSeconds) {
        self.round_ended_s.store(at, Ordering::Relaxed);
    }

    /// All of it.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let name = "outport_origin_requests_total";
        let help = "Requests answered, but for health checks and what edges ask by themselves.";
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (method, classes) in METHODS.iter().zip(&self.requests) {
            for (class, counter) in CLASSES.iter().zip(classes) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    let _ =
                        writeln!(text, "{name}{{method=\"{method}\",status=\"{class}\"}} {count}");
                }
            }
        }
        let single = [
            (
                "edges_told_total",
                "How often edges were told what is revoked, related or spent.",
                &self.edges_told,
            ),
            ("received_bytes_total", "Bytes of uploads taken in.", &self.bytes_received),
            ("sent_bytes_total", "Bytes of files handed out.", &self.bytes_sent),
            (
                "collected_uploads_total",
                "Expired uploads and files removed by the collector.",
                &self.uploads_collected,
            ),
            (
                "collected_parts_total",
                "Parts without a record removed by the collector.",
                &self.parts_collected,
            ),
            ("collected_bytes_total", "Bytes freed by the collector.", &self.bytes_collected),
            ("meta_commits_total", "Durable commits of metadata.", &self.meta.commits),
            ("meta_changes_total", "Changes in those commits.", &self.meta.changes),
            ("meta_failures_total", "Commits of metadata that failed.", &self.meta.failures),
        ];
        for (name, help, counter) in single {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "# HELP outport_origin_{name} {help}\n\
                 # TYPE outport_origin_{name} counter\n\
                 outport_origin_{name} {count}"
            );
        }
        let name = "outport_origin_collected_all_timestamp_seconds";
        let help = "When the collector had last looked through all parts; 0 for never.";
        let ended_s = self.round_ended_s.load(Ordering::Relaxed);
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {ended_s}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_method_and_class() {
        let metrics = Metrics::new(Arc::default());
        metrics.answered(&Method::GET, StatusCode::OK);
        metrics.answered(&Method::GET, StatusCode::PARTIAL_CONTENT);
        metrics.answered(&Method::PUT, StatusCode::METHOD_NOT_ALLOWED);
        metrics.received(5);
        let text = metrics.render();
        for line in [
            "outport_origin_requests_total{method=\"GET\",status=\"2xx\"} 2",
            "outport_origin_requests_total{method=\"other\",status=\"4xx\"} 1",
            "outport_origin_received_bytes_total 5",
            "outport_origin_meta_commits_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}

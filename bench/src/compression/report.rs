//! From what was measured to three tables: bytes, processor time of each answer, and of many.

use std::fmt::Write as _;
use std::time::Duration;

use super::visit::{Time, Visited};

/// How many requests for one file the last table adds up.
const MANY: u32 = 1_000;
/// Nobody asks that often.
const NEVER: u32 = 1_000_000;

/// A content and what each contender did with it, ours first.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    pub(super) visited: Vec<Visited>,
}

impl Visited {
    /// Processor time for so many requests for one file, two at least.
    fn cpu(&self, requests: u32) -> Duration {
        self.first.cpu + self.second.cpu + self.later.cpu * requests.saturating_sub(2)
    }

    /// From which request on it has used less of the processor than another.
    fn cheaper_from(&self, other: &Self) -> Option<u32> {
        (2..NEVER).find(|requests| self.cpu(*requests) < other.cpu(*requests))
    }
}

/// The report on these, by the contenders' names.
pub(super) fn text(names: &[&str], rows: &[Row]) -> String {
    let mut text = String::new();
    table(&mut text, "bytes sent: first → later", names, rows, bytes);
    table(&mut text, "CPU ms: first, second, each later answer", names, rows, each);
    table(&mut text, &format!("CPU ms: {MANY} requests for a file"), names, rows, many);
    text
}

/// A table with a column for each contender.
fn table(
    text: &mut String,
    title: &str,
    names: &[&str],
    rows: &[Row],
    cell: fn(&Row, &Visited) -> String,
) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {title} | plain bytes | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(names.len()));
    for row in rows {
        let cells: Vec<_> = row.visited.iter().map(|visited| cell(row, visited)).collect();
        let _ = writeln!(text, "| {} | {} | {} |", row.name, row.bytes, cells.join(" | "));
    }
    text.push('\n');
}

/// What is sent at first and later, and how much less than the content that is.
fn bytes(row: &Row, Visited { first, later, .. }: &Visited) -> String {
    let sent = |time: &Time| match &*time.coding {
        "" => "plain".to_owned(),
        coding => {
            let saved = 1.0 - time.bytes as f64 / row.bytes as f64;
            format!("{coding} {} (−{:.1} %)", time.bytes, saved * 100.0)
        }
    };
    if (&first.coding, first.bytes) == (&later.coding, later.bytes) {
        return sent(later);
    }
    format!("{} → {}", sent(first), sent(later))
}

fn each(_row: &Row, visited: &Visited) -> String {
    let Visited { first, second, later } = visited;
    format!("{:.2}, {:.2}, {:.3}", ms(first.cpu), ms(second.cpu), ms(later.cpu))
}

/// Beside what the peers take: from how many requests on ours takes less.
fn many(row: &Row, visited: &Visited) -> String {
    let cpu = format!("{:.0}", ms(visited.cpu(MANY)));
    match row.visited.first() {
        Some(ours) if ours != visited => match ours.cheaper_from(visited) {
            Some(requests) => format!("{cpu}, from {requests}"),
            None => format!("{cpu}, never"),
        },
        _ => cpu,
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(coding: &str, bytes: u64, cpu_us: u64) -> Time {
        Time { coding: coding.to_owned(), bytes, cpu: Duration::from_micros(cpu_us) }
    }

    fn same(time: Time) -> Visited {
        Visited { first: time.clone(), second: time.clone(), later: time }
    }

    #[test]
    fn what_is_saved_and_spent_is_told_by_content() {
        let ours = Visited {
            first: time("zstd", 300, 1_000),
            second: time("zstd", 300, 20_000),
            later: time("br", 200, 50),
        };
        let rows = [
            Row { name: "text", bytes: 1_000, visited: vec![ours, same(time("gzip", 400, 1_050))] },
            Row {
                name: "noise",
                bytes: 1_000,
                visited: vec![same(time("", 1_000, 50)), same(time("", 1_000, 20))],
            },
        ];
        let expected = "\
| bytes sent: first → later | plain bytes | edge | peer |
|---|---|---|---|
| text | 1000 | zstd 300 (−70.0 %) → br 200 (−80.0 %) | gzip 400 (−60.0 %) |
| noise | 1000 | plain | plain |

| CPU ms: first, second, each later answer | plain bytes | edge | peer |
|---|---|---|---|
| text | 1000 | 1.00, 20.00, 0.050 | 1.05, 1.05, 1.050 |
| noise | 1000 | 0.05, 0.05, 0.050 | 0.02, 0.02, 0.020 |

| CPU ms: 1000 requests for a file | plain bytes | edge | peer |
|---|---|---|---|
| text | 1000 | 71 | 1050, from 21 |
| noise | 1000 | 50 | 20, never |

";
        assert_eq!(text(&["edge", "peer"], &rows), expected);
    }
}

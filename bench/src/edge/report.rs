//! From the rounds' figures to two tables: medians, and ratios within each round.

use std::fmt::Write as _;

/// What one round measured of one contender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Requests per second.
    pub(super) per_second: f64,
    /// What half of the answers took at most, in microseconds.
    pub(super) p50_us: f64,
    /// What 99 % of the answers took at most, in microseconds.
    pub(super) p99_us: f64,
    /// Processor time of the server for each request, in microseconds.
    pub(super) cpu_us: f64,
}

/// Something that is compared between contenders.
type Measure = (&'static str, fn(&Sample) -> f64);

const COMPARED: [Measure; 2] =
    [("requests/s", |sample| sample.per_second), ("CPU a request", |sample| sample.cpu_us)];

/// How many of the contenders, at the end of the list, the others are compared with.
const PEERS: usize = 2;

/// The report on these rounds, each with a sample for each name.
pub(super) fn text(load: &str, names: &[&str], rounds: &[Vec<Sample>]) -> String {
    let mut text = format!("{load}, medians of {} rounds\n\n", rounds.len());
    medians(&mut text, names, rounds);
    text.push('\n');
    ratios(&mut text, names, rounds);
    text
}

fn medians(text: &mut String, names: &[&str], rounds: &[Vec<Sample>]) {
    text.push_str("| server | requests/s | p50 ms | p99 ms | CPU µs/request |\n");
    text.push_str("|---|---|---|---|---|\n");
    for (place, name) in names.iter().enumerate() {
        let median = |value: fn(&Sample) -> f64| median(values(rounds, place, value));
        let (p50_ms, p99_ms) = (median(|s| s.p50_us) / 1e3, median(|s| s.p99_us) / 1e3);
        let (per_second, cpu_us) = (median(|s| s.per_second), median(|s| s.cpu_us));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {name} | {per_second:.0} | {p50_ms:.2} | {p99_ms:.2} | {cpu_us:.1} |"
        );
    }
}

fn ratios(text: &mut String, names: &[&str], rounds: &[Vec<Sample>]) {
    let numbers = (1..=rounds.len()).map(|round| round.to_string());
    let _ = writeln!(text, "| ratio, by round | {} | median |", joined(numbers));
    let _ = writeln!(text, "|---|{}---|", "---|".repeat(rounds.len()));
    let own = names.len().saturating_sub(PEERS);
    for (measure, value) in COMPARED {
        for (place, name) in names.iter().enumerate().take(own) {
            for (peer_place, peer) in names.iter().enumerate().skip(own) {
                let own = values(rounds, place, value);
                let peers = values(rounds, peer_place, value);
                let ratios: Vec<f64> =
                    own.iter().zip(peers).map(|(own, peer)| own / peer).collect();
                let row = joined(ratios.iter().map(|ratio| format!("{ratio:.2}")));
                let median = median(ratios);
                let _ = writeln!(text, "| {measure}: {name} ÷ {peer} | {row} | {median:.2} |");
            }
        }
    }
}

fn joined(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" | ")
}

fn values(rounds: &[Vec<Sample>], place: usize, value: fn(&Sample) -> f64) -> Vec<f64> {
    rounds.iter().filter_map(|samples| samples.get(place)).map(value).collect()
}

/// The middle one; of an even number the higher of the two. Zero of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(per_second: f64, cpu_us: f64) -> Sample {
        Sample { per_second, p50_us: 500.0, p99_us: 1500.0, cpu_us }
    }

    #[test]
    fn medians_are_taken_of_each_column_and_ratios_within_each_round() {
        let rounds = [
            vec![sample(60.0, 20.0), sample(100.0, 10.0), sample(30.0, 40.0)],
            vec![sample(40.0, 30.0), sample(50.0, 10.0), sample(20.0, 40.0)],
            vec![sample(70.0, 10.0), sample(100.0, 10.0), sample(70.0, 40.0)],
        ];
        let text = text("load", &["edge", "nginx", "peer"], &rounds);
        let expected = "\
load, medians of 3 rounds

| server | requests/s | p50 ms | p99 ms | CPU µs/request |
|---|---|---|---|---|
| edge | 60 | 0.50 | 1.50 | 20.0 |
| nginx | 100 | 0.50 | 1.50 | 10.0 |
| peer | 30 | 0.50 | 1.50 | 40.0 |

| ratio, by round | 1 | 2 | 3 | median |
|---|---|---|---|---|
| requests/s: edge ÷ nginx | 0.60 | 0.80 | 0.70 | 0.70 |
| requests/s: edge ÷ peer | 2.00 | 2.00 | 1.00 | 2.00 |
| CPU a request: edge ÷ nginx | 2.00 | 3.00 | 1.00 | 2.00 |
| CPU a request: edge ÷ peer | 0.50 | 0.75 | 0.25 | 0.50 |
";
        assert_eq!(text, expected);
    }
}

//! `outport platforms`: what each platform's edge can do, as a table in Markdown.
//!
//! Printed from the core's data, by which the drivers declare what they can do; `docs/platforms.md`
//! holds it, and a test holds that file to it.

use std::fmt::Write as _;

use outport_edge_core::deployment::PIECES_MAX;
use outport_edge_core::platform::{ALL, Platform, Reach};

use crate::failure::Failure;
use crate::output;

/// Prints what each platform's edge can do, as a table in Markdown.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_: &Args) -> Result<(), Failure> {
    output::line(document().trim_end())
}

/// A row: its title, and what it says of a platform.
type Row = (&'static str, fn(&Platform) -> String);

const NEEDS: &[Row] = &[
    ("Command line", |platform| format!("`{}`", platform.tool)),
    ("**Cache**: built on", |platform| text(platform.cache.on)),
    ("what is stored is found by", |platform| reach(platform.cache.shared)),
    ("requests for one vacant key become one within", |platform| reach(platform.cache.collapses)),
    ("what is forgotten is gone at once in", |platform| reach(platform.cache.forgets)),
    ("what is not exact", |platform| match platform.cache.inexact {
        "" => "nothing".to_owned(),
        inexact => text(inexact),
    }),
    ("of proxied routes, answers are stored that don't say their length", |platform| {
        so_far(platform.abilities.unannounced)
    }),
    ("`POST /purge`", |platform| match platform.cache.purges {
        "" => "no, so far".to_owned(),
        purges => text(purges),
    }),
    ("several ranges are sent at once", |platform| {
        if platform.abilities.composes { "yes" } else { "no, so far: the whole is" }.to_owned()
    }),
    ("large files are stored in slices", |platform| {
        if platform.abilities.slices { "yes" } else { "no, so far: they pass" }.to_owned()
    }),
    ("pages are composed of templates (ESI)", |platform| so_far(platform.abilities.fragments)),
    ("issuers are asked for their keys", |platform| so_far(platform.abilities.documents)),
    ("what is wanted next is fetched ahead", |platform| so_far(platform.abilities.prefetches)),
    ("what is stored is compressed", |platform| text(platform.compresses)),
    ("against dictionaries (RFC 9842)", |platform| so_far(platform.abilities.dictionaries)),
    ("**Values**: built on", |platform| text(platform.values.on)),
    ("a new value is seen", |platform| text(platform.values.consistency)),
    ("**Small uploads** that end at the edge are kept in", |platform| text(platform.keeps)),
    ("**Limits**: built on", |platform| text(platform.limits.on)),
    ("counted together", |platform| reach(platform.limits.counts)),
    ("`RateLimit` says what is left", |platform| yes(platform.limits.tells_what_is_left)),
    ("accuracy", |platform| text(platform.limits.accuracy)),
    ("a restart forgets", |platform| text(platform.limits.restarts)),
    ("who is anonymous is limited by wider networks, too", |platform| {
        so_far(platform.abilities.escalates)
    }),
    ("`budget` of limits, over all edges", |_| {
        "to the request up to 2,500; ± 2 % beyond ([limits](limits.md))".to_owned()
    }),
    ("`at_once`, `bytes_per_second` and `bytes` of limits", |platform| {
        so_far(platform.abilities.shares)
    }),
    ("where clients are is told by", |platform| match platform.countries {
        "" => "proxies alone (`country_field`)".to_owned(),
        countries => text(countries),
    }),
    ("where there is too much to do, requests are refused by", |platform| text(platform.sheds)),
    ("**Signatures** are checked", |platform| text(platform.signatures)),
    ("**Bodies**", |platform| text(platform.bodies)),
    ("a checksum behind a request's body reaches the origin", |platform| {
        if platform.abilities.request_trailers { "yes" } else { "no: it is refused" }.to_owned()
    }),
    ("**Interim responses** (104) reach clients", |platform| interim(platform.abilities.interim)),
    ("**Metrics**", |platform| text(platform.metrics)),
];

const BOUNDS: &[Row] = &[
    ("A request's body", |platform| bytes(platform.bounds.request_body_bytes)),
    ("A value", |platform| bytes(platform.bounds.value_bytes)),
    ("The configuration", |platform| pieces(platform.bounds.config_piece_bytes)),
    ("The secrets", |platform| pieces(platform.bounds.secret_piece_bytes)),
    ("Periods of a limit", |platform| match platform.bounds.limit_periods_s {
        [] => "any".to_owned(),
        periods => {
            let periods: Vec<String> = periods.iter().map(u32::to_string).collect();
            format!("{} s", periods.join(", "))
        }
    }),
];

/// The whole of what is printed.
fn document() -> String {
    let mut document = String::from("## What an edge can do\n\n");
    table(&mut document, NEEDS);
    document.push_str("\n## What the platform bounds\n\n");
    table(&mut document, BOUNDS);
    document.push_str("\n## What can't be tested on one machine\n\n");
    for Platform { name, untested, .. } in &ALL {
        match untested {
            [] => drop(writeln!(document, "- **{name}**: nothing; it runs here as it does there.")),
            untested => drop(writeln!(document, "- **{name}**: {}.", untested.join("; "))),
        }
    }
    document
}

fn table(document: &mut String, rows: &[Row]) {
    let names: Vec<&str> = ALL.iter().map(|platform| platform.name).collect();
    let _ = writeln!(document, "| | {} |", names.join(" | "));
    let _ = writeln!(document, "|---{}|", "|---".repeat(names.len()));
    for (title, says) in rows {
        let cells: Vec<String> = ALL.iter().map(says).collect();
        let _ = writeln!(document, "| {title} | {} |", cells.join(" | "));
    }
}

fn text(said: &str) -> String {
    if said.is_empty() { "not stated".to_owned() } else { said.replace('|', r"\|") }
}

fn so_far(flag: bool) -> String {
    if flag { "yes" } else { "no, so far" }.to_owned()
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no: it only says whether" }.to_owned()
}

fn interim(passed_on: bool) -> String {
    if passed_on { "on HTTP/1.1" } else { "no: the platform sends none" }.to_owned()
}

fn reach(reach: Reach) -> String {
    match reach {
        Reach::Node => "the node",
        Reach::Isolate => "the isolate",
        Reach::DataCentre => "the data centre",
        Reach::Store => "all that share the store",
        Reach::Everywhere => "everywhere",
    }
    .to_owned()
}

fn bytes(bound: Option<u64>) -> String {
    const MIB: u64 = 1 << 20;
    const MB: u64 = 1_000_000;
    match bound {
        None => "not bounded".to_owned(),
        Some(bytes) if bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
        Some(bytes) if bytes % MB == 0 => format!("{} MB", bytes / MB),
        Some(bytes) => format!("{bytes} bytes"),
    }
}

fn pieces(bound: Option<usize>) -> String {
    match bound {
        None => "not bounded".to_owned(),
        Some(bytes) => format!("{PIECES_MAX} pieces of {bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Where what is printed begins, in the file that holds it.
    const MARK: &str = "<!-- From here on, as `outport platforms` prints it. -->\n\n";

    #[test]
    fn the_documentation_holds_what_is_printed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/platforms.md");
        let held = std::fs::read_to_string(&path).unwrap();
        let (introduction, printed) = held.split_once(MARK).expect("the mark is there");
        if std::env::var_os("OUTPORT_UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{introduction}{MARK}{}", document())).unwrap();
            return;
        }
        assert!(
            printed == document(),
            "docs/platforms.md says something else than the code. This writes it anew: \
             OUTPORT_UPDATE_DOCS=1 cargo test -p outport platforms"
        );
    }

    #[test]
    fn every_row_speaks_of_every_platform() {
        for line in document().lines().filter(|line| line.starts_with('|')) {
            let cells = line.replace(r"\|", "").matches('|').count() - 1;
            assert_eq!(cells, ALL.len() + 1, "{line}");
        }
    }

    #[test]
    fn bounds_as_people_read_them() {
        assert_eq!(bytes(Some(25 * 1024 * 1024)), "25 MiB");
        assert_eq!(bytes(Some(100_000_000)), "100 MB");
        assert_eq!(bytes(Some(1_000)), "1000 bytes");
        assert_eq!(bytes(None), "not bounded");
    }
}

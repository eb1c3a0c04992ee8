//! Starts the program with TLS, has a scanner of others look at what it serves, and fails where that
//! is not as it should be: `cargo xtask tls`.

// What is not as it should be ends the program; it prints what it finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use outport_tests::secured::Secured;
use outport_tests::tls::{Issued, connect, negotiated};
use serde_json::Value;

/// Which suites keep what was said secret when a key is lost, and have no known weakness: ephemeral
/// keys, and ciphers that authenticate what they encrypt (RFC 9325, section 4.2).
const STRONG_1_2: &[&str] = &["_GCM_SHA256", "_GCM_SHA384", "_CHACHA20_POLY1305_SHA256"];
/// The versions that are nobody's any more, and those that are.
const REFUSED: [(&str, &str); 4] = [
    ("SSL 2.0", "ssl_2_0_cipher_suites"),
    ("SSL 3.0", "ssl_3_0_cipher_suites"),
    ("TLS 1.0", "tls_1_0_cipher_suites"),
    ("TLS 1.1", "tls_1_1_cipher_suites"),
];
const TAKEN: [(&str, &str); 2] =
    [("TLS 1.2", "tls_1_2_cipher_suites"), ("TLS 1.3", "tls_1_3_cipher_suites")];
/// What the scanner is to look at.
const LOOKS: [&str; 11] = [
    "--sslv2",
    "--sslv3",
    "--tlsv1",
    "--tlsv1_1",
    "--tlsv1_2",
    "--tlsv1_3",
    "--heartbleed",
    "--openssl_ccs",
    "--compression",
    "--early_data",
    "--reneg",
];
/// What else is looked for: where the scanner says it, and what it is called here.
const FAULTS: [(&str, &str); 5] = [
    ("/heartbleed/result/is_vulnerable_to_heartbleed", "Heartbleed"),
    ("/openssl_ccs_injection/result/is_vulnerable_to_ccs_injection", "CCS injection"),
    ("/tls_compression/result/supports_compression", "compression"),
    ("/tls_1_3_early_data/result/supports_early_data", "early data"),
    (
        "/session_renegotiation/result/is_vulnerable_to_client_renegotiation_dos",
        "renegotiation by clients",
    ),
];

/// Scans what the program serves.
#[derive(Parser)]
struct Args {
    /// The Python that has sslyze
    #[arg(long)]
    python: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let stage = Secured::new();
    let mutual = stage.config("mutual.toml", true, Some("edge"));
    let origin = stage.start("origin", &mutual, &[]);
    let edge = stage.edge(&mutual, origin.ready("origin"));
    let mut wrong = Vec::new();
    for (node, address, shown) in [
        ("edge", edge.ready("edge"), None),
        ("origin", origin.ready("origin"), Some(&stage.edge_shows)),
    ] {
        let authority = address.strip_prefix("https://").expect("it speaks TLS");
        println!(
            "{node}{}",
            if shown.is_some() { ", with certificates of both sides" } else { "" }
        );
        let scanned = scan(&args.python, &stage, authority, shown);
        report(&scanned, &mut wrong);
        groups(&stage, authority, shown, &mut wrong).await;
    }
    if wrong.is_empty() {
        println!("nothing is wrong");
        return ExitCode::SUCCESS;
    }
    println!("WRONG: {}", wrong.join(", "));
    ExitCode::FAILURE
}

/// What the scanner finds, as it prints it in JSON.
fn scan(python: &Path, stage: &Secured, authority: &str, shown: Option<&Issued>) -> Value {
    let result = stage.path("scanned.json");
    let mut command = Command::new(python);
    command.args(["-m", "sslyze", "--mozilla_config=disable", "--json_out", &result]).args(LOOKS);
    if shown.is_some() {
        command.args(["--cert", &stage.path("edge.crt"), "--key", &stage.path("edge.key")]);
    }
    let output = command.arg(authority).output().expect("the scanner starts");
    let text = std::fs::read(&result);
    let text = text.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let all: Value = serde_json::from_slice(&text).expect("it prints JSON");
    let scanned = &all["server_scan_results"][0]["scan_result"];
    assert!(scanned.is_object(), "{all}");
    scanned.clone()
}

fn report(scanned: &Value, wrong: &mut Vec<String>) {
    for (name, key) in REFUSED {
        let suites = suites(scanned, key);
        println!("  {name:<26}{}", if suites.is_empty() { "refused" } else { "TAKEN" });
        if !suites.is_empty() {
            wrong.push(format!("{name} is taken"));
        }
    }
    for (name, key) in TAKEN {
        let suites = suites(scanned, key);
        println!("  {name:<26}{}", suites.join("\n                            "));
        if suites.is_empty() {
            wrong.push(format!("{name} is refused"));
        }
    }
    let weak: Vec<_> =
        suites(scanned, TAKEN[0].1).into_iter().filter(|name| is_weak(name)).collect();
    println!(
        "  {:<26}{}",
        "weak suites",
        if weak.is_empty() { "none".into() } else { weak.join(" ") }
    );
    wrong.extend(weak.into_iter().map(|name| format!("{name} is weak")));
    for (path, name) in FAULTS {
        let found = scanned.pointer(path).and_then(Value::as_bool);
        let said = match found {
            Some(false) => "no",
            Some(true) => "YES",
            None => "not known",
        };
        println!("  {name:<26}{said}");
        if found != Some(false) {
            wrong.push(format!("{name}: {said}"));
        }
    }
}

fn suites(scanned: &Value, key: &str) -> Vec<String> {
    let taken = scanned.pointer(&format!("/{key}/result/accepted_cipher_suites"));
    let taken = taken.and_then(Value::as_array).unwrap_or_else(|| panic!("no {key}: {scanned}"));
    let name = |taken: &Value| taken["cipher_suite"]["name"].as_str().map(str::to_owned);
    taken.iter().filter_map(name).collect()
}

fn is_weak(suite: &str) -> bool {
    !suite.starts_with("TLS_ECDHE_") || !STRONG_1_2.iter().any(|end| suite.ends_with(end))
}

/// What is negotiated with a client that offers what this program would.
async fn groups(stage: &Secured, authority: &str, shown: Option<&Issued>, wrong: &mut Vec<String>) {
    let stream = connect(stage.authority.client(shown), authority).await;
    let (version, group) = negotiated(stream.expect("it is believed").get_ref().1);
    println!("  {:<26}{version}, {group}", "negotiated");
    if group != "X25519MLKEM768" {
        wrong.push(format!("the group is {group}"));
    }
}

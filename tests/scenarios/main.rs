//! Black-box scenarios over HTTP, run unchanged against any edge.
//!
//! Set `OUTPORT_EDGE` and `OUTPORT_TOKEN` to test a server that runs already; otherwise one is
//! started. See `outport_tests::world` for the other callers' tokens.
//!
//! `OUTPORT_PLATFORM` says what that server's edge runs on, and so what is left out
//! (`outport_tests::platform`). With `OUTPORT_TRANSCRIPT` set, what every scenario asked and got is
//! written to that file, for the program `compare`.

// What is not as it should be ends the test.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod audit;
mod changes;
mod clients;
mod conditional;
mod delivery;
mod firewall;
mod foreign;
mod issuers;
mod links;
mod listing;
mod malformed;
mod names;
mod page;
mod passes;
mod purging;
mod ranges;
mod relations;
mod resumable;
mod sessions;
mod tokens;
mod tus;
mod tus_server;
mod uploads;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    let scenarios = [
        audit::all(),
        changes::all(),
        clients::all(),
        conditional::all(),
        delivery::all(),
        issuers::all(),
        firewall::all(),
        foreign::all(),
        links::all(),
        listing::all(),
        malformed::all(),
        names::all(),
        page::all(),
        passes::all(),
        purging::all(),
        ranges::all(),
        relations::all(),
        resumable::all(),
        sessions::all(),
        tokens::all(),
        tus::all(),
        tus_server::all(),
        uploads::all(),
        whole::all(),
    ];
    outport_tests::suite::run(scenarios.into_iter().flatten().collect())
}

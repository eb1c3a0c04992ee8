//! Tests that own their processes: they kill them, starve them and count what reaches them.

// What is not as it should be ends the test.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod agreement;
mod ahead;
mod allowances;
mod audit;
mod backend;
mod configured;
mod crash;
mod dictionaries;
mod firewall;
mod full_disk;
mod herd;
mod hooks;
mod issuers;
mod kept;
mod large;
mod limits;
mod nginx;
mod outage;
mod overload;
mod pages;
mod policies;
mod program;
mod proxies;
mod routes;
mod serve;
mod slices;
mod tls;
mod warm;

use std::process::ExitCode;

fn main() -> ExitCode {
    let checks = [
        agreement::all(),
        ahead::all(),
        allowances::all(),
        audit::all(),
        configured::all(),
        crash::all(),
        dictionaries::all(),
        firewall::all(),
        full_disk::all(),
        herd::all(),
        hooks::all(),
        issuers::all(),
        kept::all(),
        large::all(),
        limits::all(),
        outage::all(),
        overload::all(),
        pages::all(),
        policies::all(),
        program::all(),
        proxies::all(),
        routes::all(),
        serve::all(),
        slices::all(),
        tls::all(),
        warm::all(),
    ];
    outport_tests::suite::run_checks(checks.into_iter().flatten().collect())
}

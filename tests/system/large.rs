//! A large file up and down by the program itself, in constant memory. `OUTPORT_LARGE_BYTES` sets
//! its size.

use std::path::Path;
use std::process::Command;

use outport_tests::deployment::{Data, Running, program};
use outport_tests::suite::Check;
use outport_tests::{check, process, random};

const MIB: u64 = 1024 * 1024;
const LARGE_BYTES_DEFAULT: u64 = 64 * MIB;
/// What edge and origin may have in memory, each.
const RESIDENT_BYTES_MAX: u64 = 200 * MIB;

pub(crate) fn all() -> Vec<Check> {
    vec![check!(a_large_file_in_constant_memory)]
}

async fn a_large_file_in_constant_memory() {
    let bytes = std::env::var("OUTPORT_LARGE_BYTES").ok().and_then(|bytes| bytes.parse().ok());
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let edge = Running::edge(&data, origin.ready("origin"), &[]);
    let (up, down) = (data.path().join("up.bin"), data.path().join("down.bin"));
    let digest = random::file(&up, bytes.unwrap_or(LARGE_BYTES_DEFAULT)).expect("there is space");

    let url = outport(&data, &edge, &["put".as_ref(), &up]);
    outport(&data, &edge, &["get".as_ref(), url.as_ref(), "-o".as_ref(), &down]);
    assert_eq!(random::file_digest(&down).expect("it is there"), digest);
    for (name, node) in [("edge", &edge), ("origin", &origin)] {
        let resident = process::resident_bytes_peak(node.id());
        assert!(resident < RESIDENT_BYTES_MAX, "the {name} had {} MiB", resident / MIB);
    }
}

fn outport(data: &Data, edge: &Running, args: &[&Path]) -> String {
    let output = Command::new(program())
        .args(args)
        .env("OUTPORT_SERVER", edge.ready("edge"))
        .env("OUTPORT_TOKEN", data.token("demo", "demo", "read write", "1h"))
        .env("XDG_STATE_HOME", data.path())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

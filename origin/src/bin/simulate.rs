//! Runs histories of faults against the upload code; see `outport_origin::simulation`.

use std::process::ExitCode;

fn main() -> ExitCode {
    outport_origin::simulation::main()
}

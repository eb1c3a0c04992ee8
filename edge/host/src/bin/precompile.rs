//! Compiles the edge component ahead of time: `outport-precompile IN.wasm OUT.cwasm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(input), Some(output), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: outport-precompile IN.wasm OUT.cwasm");
        return ExitCode::from(2);
    };
    let compiled = std::fs::read(&input)
        .map_err(|error| error.to_string())
        .and_then(|wasm| outport_edge_host::precompile(&wasm).map_err(|error| error.to_string()))
        .and_then(|native| std::fs::write(&output, native).map_err(|error| error.to_string()));
    match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", input.display());
            ExitCode::FAILURE
        }
    }
}

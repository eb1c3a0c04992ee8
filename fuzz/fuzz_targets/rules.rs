#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outport_edge_core::fuzzing::rules(bytes));

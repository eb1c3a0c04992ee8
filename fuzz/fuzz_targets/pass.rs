#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outport_wire::fuzzing::pass(bytes));

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outport_origin::fuzzing::audit_entry(bytes));

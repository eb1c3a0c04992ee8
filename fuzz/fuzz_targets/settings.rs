#![no_main]

// The settings are part of a program, and not of a library that could be named here.
#[path = "../../cli/src/settings/mod.rs"]
#[allow(dead_code, unused_imports)]
mod settings;

libfuzzer_sys::fuzz_target!(|text: &str| drop(settings::parse(text)));

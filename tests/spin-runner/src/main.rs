//! Serves a Spin application's component where the `spin` program is missing.
fn main() {}

//! Where tests are by the names that requirements give them.
//!
//! - `scenario:MODULE::TEST`: over HTTP, in `tests/scenarios`
//! - `system:MODULE::TEST`: with processes of its own, in `tests/system`
//! - `origin:MODULE::TEST`: an origin over HTTP, in `origin/tests/origin`
//! - `host:TEST` and `host:MODULE::TEST`: the self-hosted node, in `edge/host/tests/node`
//! - `interim:TEST`: interim responses below a server, in `interim/tests/interim/main.rs`
//! - `unit:CRATE::MODULE…::TEST`: beside the code, in `CRATE/src`; a crate is named by its folder,
//!   with `_` where that has `/`

use std::fs;
use std::path::{Path, PathBuf};

/// Whether there is a test of this name.
pub(super) fn exists(root: &Path, name: &str) -> bool {
    let Some((kind, path)) = name.split_once(':') else { return false };
    let segments: Vec<&str> = path.split("::").collect();
    let Some((test, modules)) = segments.split_last() else { return false };
    let files = match (kind, modules) {
        ("scenario", [module]) => vec![root.join(format!("tests/scenarios/{module}.rs"))],
        ("system", [module]) => vec![root.join(format!("tests/system/{module}.rs"))],
        ("origin", [module]) => vec![root.join(format!("origin/tests/origin/{module}.rs"))],
        ("host", []) => vec![root.join("edge/host/tests/node/main.rs")],
        ("host", [module]) => vec![root.join(format!("edge/host/tests/node/{module}.rs"))],
        ("interim", []) => vec![root.join("interim/tests/interim/main.rs")],
        ("unit", [package, modules @ ..]) => beside_the_code(root, package, modules),
        _ => return false,
    };
    files.iter().any(|file| holds(file, test))
}

/// The files in which the tests of a module may be.
fn beside_the_code(root: &Path, package: &str, modules: &[&str]) -> Vec<PathBuf> {
    let folder = root.join(package.replace('_', "/")).join("src");
    let module = modules.iter().fold(folder, |path, module| path.join(module));
    let ends = ["mod.rs", "tests.rs", "lib.rs"].map(|end| module.join(end));
    std::iter::once(module.with_extension("rs")).chain(ends).collect()
}

/// Whether a file has a function of this name that takes nothing, as tests do, or the world, as
/// scenarios do.
fn holds(file: &Path, test: &str) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    [format!("fn {test}() {{"), format!("async fn {test}(world: World) {{")]
        .iter()
        .any(|signature| text.contains(signature.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_functions() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for there in [
            "scenario:uploads::termination",
            "system:crash::an_origin_killed_in_the_middle_of_a_hundred_uploads",
            "origin:uploads::creation_takes_the_first_bytes",
            "unit:origin::http::field::numbers_are_digits",
            "unit:edge_core::exchange::a_public_file_is_fetched_once",
            "host:many_at_once_ask_once",
            "host:interim::http_1_0_gets_none",
        ] {
            assert!(exists(&root, there), "{there}");
        }
        for missing in
            ["scenario:uploads::none", "scenario:none::termination", "termination", "x:y"]
        {
            assert!(!exists(&root, missing), "{missing}");
        }
    }
}

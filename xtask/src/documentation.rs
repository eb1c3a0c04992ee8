//! Files of docs/ whose ends are printed from the code.

use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Panics unless a file holds, from a mark on, what is printed. With `OUTPORT_UPDATE_DOCS` it is
/// written there. `tests` is the name of the tests that do so.
pub(crate) fn holds(file: &str, mark: &str, printed: &str, tests: &str) {
    let path = root().join(file);
    let held = std::fs::read_to_string(&path).unwrap();
    let (introduction, _) = held.split_once(mark).expect("the mark is there");
    let anew = format!("{introduction}{mark}{printed}");
    if std::env::var_os("OUTPORT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, anew).unwrap();
        return;
    }
    assert!(
        held == anew,
        "{file} says something else than the code. This writes it anew: \
         OUTPORT_UPDATE_DOCS=1 cargo test -p xtask {tests}"
    );
}

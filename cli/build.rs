//! Puts the edge's component and the page into the program.
//!
//! Both are made by other steps of the build. Where one is missing, the program is built without
//! it and says so when it is needed.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Codings of a page's file that may stand beside it, and the suffixes they have there.
const CODINGS: [(&str, &str); 2] = [("br", "br"), ("gzip", "gz")];

fn main() -> io::Result<()> {
    let component = input("OUTPORT_COMPONENT", target_folder()?.join("outport/edge.cwasm"))?;
    let page = input("OUTPORT_PAGE", variable("CARGO_MANIFEST_DIR")?.join("../web/dist"))?;
    let source = format!("{}{}", component_source(&component), page_source(&page)?);
    fs::write(variable("OUT_DIR")?.join("embedded.rs"), source)
}

/// The path that the variable names, or the default; the program is built anew when it changes.
fn input(name: &str, default: PathBuf) -> io::Result<PathBuf> {
    println!("cargo::rerun-if-env-changed={name}");
    let path = env::var_os(name).map_or(default, PathBuf::from);
    println!("cargo::rerun-if-changed={}", path.display());
    if path.exists() { path.canonicalize() } else { Ok(path) }
}

fn component_source(path: &Path) -> String {
    let value =
        if path.is_file() { format!("Some(include_bytes!({path:?}))") } else { "None".into() };
    format!("pub(crate) static COMPONENT: Option<&[u8]> = {value};\n")
}

fn page_source(folder: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    if folder.is_dir() {
        collect(folder, &mut files)?;
    }
    files.sort();
    let is_coding = |file: &PathBuf| {
        file.extension()
            .is_some_and(|extension| CODINGS.iter().any(|(_, suffix)| extension == *suffix))
    };
    let mut source = "pub(crate) static PAGE: &[PageFile] = &[\n".to_owned();
    for file in files.iter().filter(|file| !is_coding(file)) {
        let name = file.strip_prefix(folder).unwrap_or(file);
        let codings = codings_source(file, &files);
        let _ = writeln!(
            source,
            "PageFile {{ name: {name:?}, content: include_bytes!({file:?}), codings: &[{codings}] }},"
        );
    }
    source.push_str("];\n");
    Ok(source)
}

fn codings_source(file: &Path, files: &[PathBuf]) -> String {
    let mut source = String::new();
    for (coding, suffix) in CODINGS {
        let coded = PathBuf::from(format!("{}.{suffix}", file.display()));
        if files.contains(&coded) {
            let _ = write!(source, "({coding:?}, include_bytes!({coded:?})), ");
        }
    }
    source
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// The target folder: OUT_DIR is `target/PROFILE/build/outport-HASH/out`.
fn target_folder() -> io::Result<PathBuf> {
    let out = variable("OUT_DIR")?;
    let target = out.ancestors().nth(4);
    target
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("OUT_DIR is not below a target folder"))
}

fn variable(name: &str) -> io::Result<PathBuf> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("no {name}")))
}

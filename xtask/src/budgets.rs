//! `cargo xtask budgets`: what each platform's edge weighs, and what it asks its platform for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use wasmparser::{ComponentTypeRef, Parser, Payload};

use crate::build::Product;
use crate::drivers::{self, Flavour};
use crate::platform::Platform;
use crate::process::say;
use crate::workspace::Workspace;

/// The most that a module may weigh compressed, in bytes: what the smallest plan takes, and more
/// than starts quickly.
const GZIP_BYTES_MAX: usize = 1 << 20;

/// What a platform offers to import, by the beginning of its name.
const fn offered(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Wasmtime => &["wasi:", "outport:edge/"],
        // Bound to JavaScript by wasm-bindgen.
        Platform::Cloudflare => &["./index_bg.js", "__wbindgen"],
        Platform::Fastly => &["wasi_snapshot_preview1", "fastly_", "env"],
        Platform::Spin => &["wasi:", "spin:", "fermyon:spin/"],
    }
}

/// A module or component as it is deployed.
struct Weighed {
    platform: Platform,
    raw_bytes: usize,
    gzip_bytes: usize,
    imports: BTreeSet<String>,
}

/// Prints the table, and fails if a budget is broken.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let weighed = Platform::ALL.iter().map(|on| weigh(*on, &module(workspace, *on)));
    let weighed = weighed.collect::<Result<Vec<_>>>()?;
    say(&table(&weighed));
    let broken: Vec<_> = weighed.iter().flat_map(broken).collect();
    if !broken.is_empty() {
        bail!("{}", broken.join("; "));
    }
    Ok(())
}

fn module(workspace: &Workspace, platform: Platform) -> std::path::PathBuf {
    match platform {
        Platform::Wasmtime => Product::of(workspace).component,
        driven => drivers::module(workspace, driven, Flavour::Product),
    }
}

fn weigh(platform: Platform, path: &Path) -> Result<Weighed> {
    let advice = || format!("`cargo xtask build --on {platform}` makes {}", path.display());
    let module = fs::read(path).with_context(advice)?;
    Ok(Weighed {
        platform,
        raw_bytes: module.len(),
        gzip_bytes: gzip_bytes(&module)?,
        imports: imports(&module)?,
    })
}

fn gzip_bytes(content: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut encoder, content)?;
    Ok(encoder.finish()?.len())
}

/// The modules or interfaces that the outermost module or component imports from.
fn imports(module: &[u8]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    names.insert(import?.module.to_owned());
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import?;
                    // A type is named for those who link, and asks for nothing.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        names.insert(import.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn table(weighed: &[Weighed]) -> String {
    let mut text = format!("{:<12}{:>12}{:>12}  imports\n", "edge for", "bytes", "gzip");
    for Weighed { platform, raw_bytes, gzip_bytes, imports } in weighed {
        let imports: Vec<_> = imports.iter().map(String::as_str).collect();
        let imports = imports.join(", ");
        let name = platform.name();
        let _ = writeln!(text, "{name:<12}{raw_bytes:>12}{gzip_bytes:>12}  {imports}");
    }
    text
}

fn broken(weighed: &Weighed) -> Vec<String> {
    let Weighed { platform, gzip_bytes, imports, .. } = weighed;
    let mut broken = Vec::new();
    if *gzip_bytes > GZIP_BYTES_MAX {
        broken.push(format!("{platform}: {gzip_bytes} bytes compressed, over {GZIP_BYTES_MAX}"));
    }
    let is_offered =
        |import: &&String| offered(*platform).iter().any(|offer| import.starts_with(offer));
    for import in imports.iter().filter(|import| !is_offered(import)) {
        broken.push(format!("{platform} does not offer the import {import}"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighed(gzip_bytes: usize, imports: &[&str]) -> Weighed {
        let imports = imports.iter().map(ToString::to_string).collect();
        Weighed { platform: Platform::Fastly, raw_bytes: 3 * gzip_bytes, gzip_bytes, imports }
    }

    #[test]
    fn a_budget_is_kept_or_broken() {
        let within = weighed(GZIP_BYTES_MAX, &["wasi_snapshot_preview1", "fastly_http_req"]);
        assert_eq!(broken(&within), [""; 0]);
        let heavy = broken(&weighed(GZIP_BYTES_MAX + 1, &[]));
        assert!(heavy[0].contains("over 1048576"), "{heavy:?}");
        let greedy = broken(&weighed(1, &["wasi:sockets/tcp"]));
        assert_eq!(greedy, ["fastly does not offer the import wasi:sockets/tcp"]);
    }

    #[test]
    fn imports_are_those_of_the_outermost_module() {
        // (module (import "fastly_log" "write" (func)))
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x14\x01\x0afastly_log\x05write\0\0";
        assert_eq!(imports(module).unwrap(), BTreeSet::from(["fastly_log".to_owned()]));
        assert!(imports(b"nonsense").is_err());
    }
}

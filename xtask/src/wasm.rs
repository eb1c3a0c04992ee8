//! Compiling for wasm: by rustup's targets, or where its servers can't be reached, by Debian's
//! toolchain.
//!
//! Debian 12's security archive carries a recent Rust for building browsers. It comes with the
//! source of the standard library, but without that library for wasm and without a linker for it.
//! rustup's own toolchain has the linker; the library is compiled here, and WASI's C library comes
//! from the next Debian. The result is linked into rustup as the toolchain `wasm`.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::process::{Run, in_path, say, timed};
use crate::workspace::Workspace;

/// The target of the component for our own host.
pub(crate) const COMPONENT_TARGET: &str = "wasm32-wasip2";

/// What the component needs.
pub(crate) const COMPONENT_TARGETS: &[&str] = &[COMPONENT_TARGET];

/// Long enough for a slow line, short enough where packets are dropped in silence.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Set to `debian`, this variable passes over rustup's targets: a way to try the other one.
const CHOICE_VARIABLE: &str = "OUTPORT_WASM_TOOLCHAIN";

/// What the Debian toolchain is called in rustup.
const DEBIAN_NAME: &str = "wasm";

/// The packages of the Debian toolchain, and where its programs are.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// The Debian whose `wasi-libc` knows all of WASI's versions, and the key its lists are signed by.
const WASI_LIBC_SUITE: &str = "trixie";
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What a WASI target links with, besides Rust's own libraries.
const WASI_OBJECTS: &[&str] = &["crt1-command.o", "crt1-reactor.o", "libc.a"];

/// The programs that linking for wasm takes.
const LINKERS: &[&str] = &["rust-lld", "wasm-component-ld", "gcc-ld"];

/// A toolchain that compiles for wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one this program was compiled with.
    Own,
    /// Debian's, as described above.
    Debian,
}

impl Toolchain {
    /// A call of this toolchain's cargo.
    pub(crate) fn cargo(self) -> Run {
        match self {
            Self::Own => Run::new("cargo"),
            Self::Debian => Run::new("rustup").args(["run", DEBIAN_NAME, "cargo"]),
        }
    }

    /// Its name in rustup, where it has to be named.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Own => None,
            Self::Debian => Some(DEBIAN_NAME),
        }
    }

    fn sysroot(self) -> Result<PathBuf> {
        let run = match self {
            Self::Own => Run::new("rustc"),
            Self::Debian => Run::new("rustup").args(["run", DEBIAN_NAME, "rustc"]),
        };
        Ok(run.args(["--print", "sysroot"]).text()?.into())
    }

    fn has_all(self, targets: &[&str]) -> Result<bool> {
        let sysroot = self.sysroot()?;
        Ok(targets.iter().all(|target| has_target(&sysroot, target)))
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "cargo build",
            Self::Debian => "cargo +wasm build",
        })
    }
}

/// The toolchain that is ready for all of these targets, if there is one.
pub(crate) fn toolchain(targets: &[&str]) -> Result<Option<Toolchain>> {
    if !debian_is_chosen() && Toolchain::Own.has_all(targets)? {
        return Ok(Some(Toolchain::Own));
    }
    // An error means that rustup, or the toolchain's name in it, is not there.
    let has_debian = Toolchain::Debian.has_all(targets).unwrap_or(false);
    Ok(has_debian.then_some(Toolchain::Debian))
}

/// Makes a toolchain ready for these targets.
pub(crate) fn make_ready(workspace: &Workspace, targets: &[&str]) -> Result<()> {
    if toolchain(targets)?.is_some() {
        return Ok(());
    }
    let wanted = targets.join(" ");
    if debian_is_chosen() {
        say(&format!("{CHOICE_VARIABLE} says: {wanted} from Debian's toolchain"));
    } else {
        match timed(&format!("wasm: rustup target add {wanted}"), || from_rustup(targets)) {
            Ok(()) => return Ok(()),
            Err(error) => say(&format!("{error:#}\n    trying Debian's toolchain instead")),
        }
    }
    let advice = "where rustup can reach its servers, `rustup target add` is all it takes";
    timed(&format!("wasm: {wanted} from Debian's toolchain"), || from_debian(workspace, targets))
        .context(advice)
}

fn debian_is_chosen() -> bool {
    std::env::var_os(CHOICE_VARIABLE).is_some_and(|choice| choice == "debian")
}

fn from_rustup(targets: &[&str]) -> Result<()> {
    let add = Run::new("rustup").args(["target", "add"]).args(targets);
    add.env("RUSTUP_MAX_RETRIES", "1").done_within(RUSTUP_LIMIT)?;
    if !Toolchain::Own.has_all(targets)? {
        bail!("rustup added the targets, but not to the toolchain in use");
    }
    Ok(())
}

fn from_debian(workspace: &Workspace, targets: &[&str]) -> Result<()> {
    if in_path("dpkg").is_none() {
        bail!("this is not Debian: install the targets {} for your Rust", targets.join(" "));
    }
    if !apt::is_root()? {
        bail!("this puts files below /usr: run `cargo xtask setup --only wasm` once as root");
    }
    if !Path::new(DEBIAN_RUSTC).is_file() || !Path::new(DEBIAN_CARGO).is_file() {
        timed("Debian's rustc and cargo", || apt::install(DEBIAN_PACKAGES))?;
    }
    let sysroot = PathBuf::from(Run::new(DEBIAN_RUSTC).args(["--print", "sysroot"]).text()?);
    link_linkers(&sysroot)?;
    let scratch = workspace.products().join("debian-wasm");
    for target in targets {
        timed(&format!("standard library for {target}"), || {
            compile_library(&scratch.join(target), &sysroot, target)
        })?;
    }
    if targets.iter().any(|target| is_wasi(target)) {
        timed("wasi-libc", || install_wasi_libc(&scratch.join("libc"), &sysroot, targets))?;
    }
    Run::new("rustup").args(["toolchain", "link", DEBIAN_NAME]).arg(&sysroot).done()?;
    fs::remove_dir_all(&scratch)?;
    // What is compiled against another build of the library can't be used with this one.
    remove_folder(&workspace.wasm_target())?;
    if !Toolchain::Debian.has_all(targets)? {
        bail!("the toolchain lacks a target that was just installed");
    }
    Ok(())
}

// Links, not copies: rust-lld finds its LLVM beside its real file.
fn link_linkers(sysroot: &Path) -> Result<()> {
    let host = host_triple(&Run::new("rustc").arg("-vV").text()?)?;
    let programs = Path::new("lib/rustlib").join(host).join("bin");
    let from = Toolchain::Own.sysroot()?.join(&programs);
    let to = sysroot.join(&programs);
    fs::create_dir_all(&to)?;
    for name in LINKERS {
        let link = to.join(name);
        if link.is_symlink() {
            fs::remove_file(&link)?;
        }
        if !link.exists() {
            let target = from.join(name);
            symlink(&target, &link).with_context(|| format!("cannot link {}", target.display()))?;
        }
    }
    Ok(())
}

fn host_triple(version: &str) -> Result<String> {
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what its host is")?.to_owned())
}

fn compile_library(scratch: &Path, sysroot: &Path, target: &str) -> Result<()> {
    remove_folder(scratch)?;
    fs::create_dir_all(scratch.join("src"))?;
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(scratch.join("Cargo.toml"), manifest)?;
    fs::write(scratch.join("src/lib.rs"), "#![no_std]\n")?;
    // From the registry, at the versions of the library's own Cargo.lock: the copies that Debian
    // ships lack the compiled parts of wit-bindgen, and WASI 0.2 needs those.
    Run::new(DEBIAN_CARGO)
        .args(["build", "--release", "--target", target])
        .arg("-Zbuild-std=std,panic_abort,proc_macro,test")
        .args(["--target-dir", "target"])
        .folder(scratch)
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        // Without the bitcode a build with link-time optimization does not find its .llvmbc.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .done()?;
    let library = library_folder(sysroot, target);
    fs::create_dir_all(&library)?;
    // Two builds of one library side by side are ambiguous.
    for old in files_with_extension(&library, "rlib")? {
        fs::remove_file(old)?;
    }
    let built = scratch.join("target").join(target).join("release/deps");
    for file in files_with_extension(&built, "rlib")? {
        let name = file.file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with("libempty") {
            fs::copy(&file, library.join(name))?;
        }
    }
    Ok(())
}

// One apt call with a source and lists of its own: the machine's own set-up is only read.
fn install_wasi_libc(scratch: &Path, sysroot: &Path, targets: &[&str]) -> Result<()> {
    let (sources, lists, cache) =
        (scratch.join("list"), scratch.join("lists"), scratch.join("cache"));
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    let mirror = debian_mirror()?;
    fs::write(
        &sources,
        format!("deb [signed-by={DEBIAN_KEYS}] {mirror} {WASI_LIBC_SUITE} main\n"),
    )?;
    let apt_get = |arguments: &[&str]| {
        let set = |name: &str, path: &Path| format!("-o{name}={}", path.display());
        Run::new("apt-get")
            .arg(set("Dir::Etc::SourceList", &sources))
            .arg(set("Dir::Etc::SourceParts", Path::new("/dev/null")))
            .arg(set("Dir::State::Lists", &lists))
            .arg(set("Dir::Cache", &cache))
            // The scratch folder is not one that apt's own user may write to.
            .arg("-oAPT::Sandbox::User=root")
            .args(arguments)
            .folder(scratch)
            .done()
    };
    apt_get(&["update"])?;
    apt_get(&["download", "wasi-libc"])?;
    let packages = files_with_extension(scratch, "deb")?;
    let package = packages.first().context("apt-get downloaded no package")?;
    let root = scratch.join("root");
    Run::new("dpkg").arg("-x").arg(package).arg(&root).done()?;
    for target in targets.iter().filter(|target| is_wasi(target)) {
        let to = library_folder(sysroot, target).join("self-contained");
        fs::create_dir_all(&to)?;
        for object in WASI_OBJECTS {
            let from = root.join("usr/lib").join(target).join(object);
            fs::copy(&from, to.join(object))
                .with_context(|| format!("wasi-libc has no {}", from.display()))?;
        }
    }
    Ok(())
}

// The mirror that this machine takes its own release from: on a closed network, the one it reaches.
fn debian_mirror() -> Result<String> {
    let codename = apt::os_release("VERSION_CODENAME").context("os-release has no codename")?;
    let format = "$(LABEL) $(CODENAME) $(REPO_URI)";
    let sources = Run::new("apt-get").args(["indextargets", "--format", format]).text()?;
    pick_mirror(&sources, &codename)
        .with_context(|| format!("apt is set up with no mirror of Debian {codename}"))
}

fn pick_mirror(sources: &str, codename: &str) -> Option<String> {
    let wanted = format!("Debian {codename} ");
    sources.lines().find_map(|line| line.strip_prefix(&wanted)).map(str::to_owned)
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    let library = library_folder(sysroot, target);
    let rlibs = files_with_extension(&library, "rlib").unwrap_or_default();
    let is_std = |file: &PathBuf| {
        let name = file.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("libstd-"))
    };
    let has_libc = !is_wasi(target) || library.join("self-contained/libc.a").is_file();
    rlibs.iter().any(is_std) && has_libc
}

fn is_wasi(target: &str) -> bool {
    target.starts_with("wasm32-wasi")
}

fn library_folder(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

fn files_with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            files.push(path);
        }
    }
    Ok(files)
}

fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() { Ok(fs::remove_dir_all(folder)?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_machine_s_own_release() {
        let sources = "\
Debian-Security bookworm-security http://mirror/debian-security/
Debian bookworm-updates http://mirror/debian/
Debian bookworm http://mirror/debian/
Node bookworm http://node/";
        assert_eq!(pick_mirror(sources, "bookworm").as_deref(), Some("http://mirror/debian/"));
        assert_eq!(pick_mirror(sources, "trixie"), None);
    }

    #[test]
    fn the_host_is_read_from_rustc() {
        assert_eq!(host_triple("rustc 1\nhost: x86_64-unknown-x\n").unwrap(), "x86_64-unknown-x");
        assert!(host_triple("rustc 1").is_err());
    }

    #[test]
    fn a_wasi_target_needs_its_c_library() {
        let root = std::env::temp_dir().join(format!("xtask-sysroot-{}", std::process::id()));
        let library = library_folder(&root, COMPONENT_TARGET);
        fs::create_dir_all(library.join("self-contained")).unwrap();
        assert!(!has_target(&root, COMPONENT_TARGET));
        fs::write(library.join("libstd-1.rlib"), "").unwrap();
        assert!(!has_target(&root, COMPONENT_TARGET));
        fs::write(library.join("self-contained/libc.a"), "").unwrap();
        assert!(has_target(&root, COMPONENT_TARGET));
        fs::remove_dir_all(root).unwrap();
    }
}

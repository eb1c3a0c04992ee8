//! Debian and Ubuntu packages.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{Run, in_path, timed};

/// How long to wait for another apt to finish, in seconds.
const LOCK_WAIT_S: &str = "DPkg::Lock::Timeout=300";

/// Installs packages; an error that says what to do where it can't.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if in_path("apt-get").is_none() {
        bail!("install {wanted} with this system's package manager, then run this again");
    }
    let by_hand = format!("run `sudo apt-get install --no-install-recommends {wanted}` yourself");
    // Old lists name packages that the mirror no longer has.
    as_root("apt-get")?.args(["-o", LOCK_WAIT_S, "update"]).done().context(by_hand.clone())?;
    as_root("apt-get")?
        .args(["-o", LOCK_WAIT_S, "install", "--yes", "--no-install-recommends"])
        .args(packages)
        .done()
        .context(by_hand)
}

/// Installs those of these programs that are missing, by the packages that have them. What is no
/// program is named by its absolute path.
pub(crate) fn programs(what: &str, programs: &[(&str, &str)]) -> Result<()> {
    let is_missing = |program: &str| in_path(program).is_none() && !in_sbin(program);
    let missing = programs.iter().filter(|(program, _)| is_missing(program));
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    timed(&format!("{what}: apt-get install {}", packages.join(" ")), || install(&packages))
}

// Where Debian puts servers; not in everybody's PATH.
fn in_sbin(program: &str) -> bool {
    Path::new("/usr/sbin").join(program).is_file()
}

/// Whether packages can be installed and files put below /usr without sudo.
pub(crate) fn is_root() -> Result<bool> {
    Ok(Run::new("id").arg("-u").text()? == "0")
}

/// A field of /etc/os-release.
pub(crate) fn os_release(field: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn as_root(program: &str) -> Result<Run> {
    // Services of what is installed must not be started: RUNLEVEL=1 is how invoke-rc.d is told.
    let settings = ["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let run = if is_root()? { Run::new("env") } else { Run::new("sudo").arg("env") };
    Ok(run.args(settings).arg(program))
}

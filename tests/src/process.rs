//! What the system knows about a process.

use std::fs;
use std::path::Path;

/// The most resident memory that the process has ever had, in bytes (`VmHWM` of proc(5)).
pub fn resident_bytes_peak(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the system says how much memory a process has") * 1024
}

/// The processes that the process has started.
pub fn children(id: u32) -> Vec<u32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether there is such a process, and not only its remains. Its threads end one by one, the first of
/// them perhaps before others, and it holds its files until the last has.
pub fn is_alive(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    threads.map(|thread| thread.path().join("stat")).any(|stat| is_running(&stat))
}

fn is_running(stat: &Path) -> bool {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether we may do everything, mounting included.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lets this process and those it starts open as many files as the system allows. Returns how
/// many that is.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Ends a process that a process of ours has started, as a power cut does.
pub fn kill(id: u32) {
    let pid = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    let killed = rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::KILL);
    killed.expect("the process runs");
}

//! Holds drivers to their part: they meet needs and decide nothing. What a request asks for, what
//! an answer's status means and what a token claims is the core's alone to look at.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::platform::Platform;

/// A driver with more lines of code than this can't be read in a sitting.
const LINES_MAX: usize = 1_650;

/// The files of a driver that are not deployed.
const UNDEPLOYED: &[&str] = &["conformance.rs", "conformance"];

/// Signs of a decision, and why a driver has no business with it.
const SIGNS: &[(&str, &str)] = &[
    ("\"/files", "a path of the public interface"),
    ("\"/uploads", "a path of the public interface"),
    ("\"/session", "a path of the public interface"),
    ("\"/healthz", "a path of the public interface"),
    ("\"/assets", "a path of the public interface"),
    ("\"/.well-known", "a path of the public interface"),
    ("\"authorization", "credentials"),
    ("\"cookie", "credentials"),
    ("\"bearer", "credentials"),
    ("outport_wire::identity", "claims"),
    ("outport_wire::link", "links"),
    ("outport_wire::file", "a file's record"),
    ("jwt", "tokens"),
    (".status ==", "what a status means"),
    (".status !=", "what a status means"),
    (".status >", "what a status means"),
    (".status <", "what a status means"),
    ("match reply.status", "what a status means"),
];

/// Every sign of a decision in a driver, and every driver that is too long, as a sentence.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for platform in Platform::DRIVEN {
        let files = sources(root, platform)?;
        found.extend(too_long(platform, code_lines(&files)));
        for (path, text) in files {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found
                .extend(signs(&text).map(|(line, what)| {
                    format!("{name}:{line}: drivers decide nothing by {what}")
                }));
        }
    }
    Ok(found)
}

fn too_long(platform: Platform, lines: usize) -> Option<String> {
    let told = || format!("{platform}'s driver has {lines} lines of code, over {LINES_MAX}");
    (lines > LINES_MAX).then(told)
}

/// How long each driver is.
pub(crate) fn lines(root: &Path) -> Result<String> {
    let mut text = String::from("lines of code in each driver, without comments and tests:");
    for platform in Platform::DRIVEN {
        let lines = code_lines(&sources(root, platform)?);
        let _ = write!(text, " {platform} {lines}"); // Writing to a String never fails.
    }
    Ok(text)
}

fn code_lines(files: &[(PathBuf, String)]) -> usize {
    files.iter().flat_map(|(_, text)| text.lines()).filter(|line| is_code(line)).count()
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

/// The deployed sources of a driver, without the tests inside them.
fn sources(root: &Path, platform: Platform) -> Result<Vec<(PathBuf, String)>> {
    let folder = root.join("edge").join(platform.name()).join("src");
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_file() && !UNDEPLOYED.iter().any(|undeployed| name == *undeployed) {
            let text = fs::read_to_string(&path)?;
            let deployed = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            sources.push((path, deployed.to_owned()));
        }
    }
    Ok(sources)
}

/// The lines that show a sign, counted from 1, and what is decided there.
fn signs(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines().enumerate().filter(|(_, line)| is_code(line)).flat_map(|(number, line)| {
        let line = line.to_ascii_lowercase();
        SIGNS
            .iter()
            .filter(move |(sign, _)| line.contains(sign))
            .map(move |(_, what)| (number + 1, *what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_has_a_length() {
        assert_eq!(too_long(Platform::Spin, LINES_MAX), None);
        let told = too_long(Platform::Spin, LINES_MAX + 1).unwrap();
        let expected =
            format!("spin's driver has {} lines of code, over {LINES_MAX}", LINES_MAX + 1);
        assert_eq!(told, expected);
    }

    #[test]
    fn decisions_are_seen() {
        let found = |text: &str| signs(text).collect::<Vec<_>>();
        assert_eq!(found("let a = 1;\n// \"/files\" is the core's\nfetch(key);"), []);
        let path = found("\nif target.starts_with(\"/files/\") {");
        assert_eq!(path, [(2, "a path of the public interface")]);
        assert_eq!(found("if reply.status == 404 {"), [(1, "what a status means")]);
        assert_eq!(found("fields.get(\"Authorization\")"), [(1, "credentials")]);
    }
}

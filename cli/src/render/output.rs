//! What rendering makes: files, and the commands that use them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use outport_edge_core::platform::Platform;

use crate::failure::Failure;
use crate::output;

const OWNER_ONLY: u32 = 0o600;
const READABLE: u32 = 0o644;

/// A file to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its path below the folder.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    /// Whether it is for its owner's eyes only.
    pub(super) secret: bool,
}

impl File {
    /// A file that holds nothing secret.
    pub(super) fn open(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: content.into(), secret: false }
    }

    /// A file for its owner's eyes only.
    pub(super) fn secret(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: content.into(), secret: true }
    }
}

/// Commands that belong together, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// What they are for.
    pub(super) title: &'static str,
    pub(super) commands: Vec<String>,
}

/// What a platform's command line takes, and what to do with it.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) files: Vec<File>,
    pub(super) next: Vec<Next>,
}

/// The folder, which is made where there is none, from the root on: a command that is printed
/// works from anywhere.
pub(super) fn folder(out: &Path) -> Result<PathBuf, Failure> {
    let made = fs::create_dir_all(out).and_then(|()| out.canonicalize());
    made.map_err(|source| Failure::io("make the folder", out, source))
}

/// Writes the files; each appears under its name complete or not at all.
pub(super) fn write(folder: &Path, files: &[File]) -> Result<(), Failure> {
    for file in files {
        let path = folder.join(&file.name);
        write_one(&path, file).map_err(|source| Failure::io("write", &path, source))?;
    }
    Ok(())
}

fn write_one(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = if file.secret { OWNER_ONLY } else { READABLE };
    let mut writer = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    writer.write_all(&file.content)?;
    drop(writer);
    fs::rename(&draft, path)
}

/// Says what was written, and what to do next.
pub(super) fn report(
    platform: &Platform,
    folder: &Path,
    rendered: &Rendered,
) -> Result<(), Failure> {
    output::line(&format!("For {}, in {}:", platform.name, folder.display()))?;
    let is_value = |file: &&File| file.name.starts_with("values/");
    for file in rendered.files.iter().filter(|file| !is_value(file)) {
        let size = output::size(file.content.len() as u64);
        let note = if file.secret { "  secret: readable by its owner only" } else { "" };
        output::line(&format!("  {:<16} {size:>10}{note}", file.name))?;
    }
    let values: Vec<u64> =
        rendered.files.iter().filter(is_value).map(|file| file.content.len() as u64).collect();
    if !values.is_empty() {
        let size = output::size(values.iter().sum());
        output::line(&format!("  {:<16} {size:>10}  {} values", "values/", values.len()))?;
    }
    for Next { title, commands } in &rendered.next {
        output::line(&format!("\n{title}:"))?;
        for command in commands {
            output::line(&format!("  {command}"))?;
        }
    }
    Ok(())
}

/// A word of a command as a shell reads it.
pub(super) fn word(text: impl AsRef<Path>) -> String {
    let text = text.as_ref().display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_for_their_owner_even_where_the_file_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/secrets.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        write(folder.path(), &[File::open("a/secrets.json", "old")]).unwrap();
        assert_ne!(mode(), OWNER_ONLY);
        write(folder.path(), &[File::secret("a/secrets.json", "new")]).unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (OWNER_ONLY, b"new".to_vec()));
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(word("/a/b-c.json"), "/a/b-c.json");
        assert_eq!(word("/my files/it's"), r"'/my files/it'\''s'");
        assert_eq!(word(""), "''");
    }
}

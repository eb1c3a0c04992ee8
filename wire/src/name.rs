//! File names, as users give them, read alike by edge and origin. A name is a label: it is never a path here, but it will be one
//! on the disk of whoever downloads the file, and text on somebody's screen.

use crate::problem::{Problem, ProblemType};

/// The longest name that is taken if nothing else is said, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A name that can be shown and saved without surprise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

/// Why a name is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it, or only dots.
    #[error("the name is empty, or has nothing but dots and spaces")]
    Empty,
    /// It is longer than is allowed.
    #[error("the name is longer than {0} bytes")]
    TooLong(usize),
    /// It holds NUL, a line break or another control character.
    #[error("the name holds a control character")]
    Control,
    /// It holds a mark that changes the direction of text, so that it reads as another name.
    #[error("the name holds a mark that changes the direction of text")]
    Direction,
    /// It is a device's on Windows, whatever its extension is.
    #[error("the name is a device's on Windows, such as CON or LPT1")]
    Device,
    /// It is a program's and looks like a document's where extensions are hidden.
    #[error("the name has a program's extension behind a document's")]
    Disguised,
}

impl FileName {
    /// The name that a client gave, or the one of what was uploaded without.
    pub fn given(name: Option<&str>, bytes_max: usize) -> Result<Self, NameError> {
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Self::parse(name, bytes_max),
            None => Ok(Self("untitled".to_owned())),
        }
    }

    /// Takes a name. Folders before it are cut off, as some browsers send them; what would
    /// deceive is refused rather than repaired, so that nothing is stored under a name its owner
    /// did not choose.
    pub fn parse(name: &str, bytes_max: usize) -> Result<Self, NameError> {
        if name.len() > bytes_max {
            return Err(NameError::TooLong(bytes_max));
        }
        if name.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if name.chars().any(changes_direction) {
            return Err(NameError::Direction);
        }
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
        if name.chars().all(|c| c == '.' || c.is_whitespace()) {
            return Err(NameError::Empty);
        }
        if is_device(name) {
            return Err(NameError::Device);
        }
        if is_disguised(name) {
            return Err(NameError::Disguised);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// The marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX 9, section
/// 2), and the line and paragraph separators, which Rust does not count as control characters.
fn changes_direction(c: char) -> bool {
    matches!(
        c,
        '\u{061c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Whether Windows takes a name for a device's, wherever it is and whatever follows a dot
/// (<https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file>).
fn is_device(name: &str) -> bool {
    let base = name.split(['.', ':']).next().unwrap_or_default().trim_end();
    let base = base.to_ascii_uppercase();
    if matches!(base.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let number = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT"));
    number.is_some_and(|number| {
        matches!(number.as_bytes(), [b'1'..=b'9']) || matches!(number, "¹" | "²" | "³")
    })
}

/// What a double click runs on some system.
const PROGRAMS: [&str; 19] = [
    "bat", "cmd", "com", "cpl", "exe", "hta", "jse", "lnk", "msc", "msi", "pif", "ps1", "scf",
    "scr", "vbe", "vbs", "wsf", "wsh", "xll",
];

/// What people open without a thought.
const DOCUMENTS: [&str; 24] = [
    "avi", "bmp", "csv", "doc", "docx", "gif", "heic", "jpeg", "jpg", "mov", "mp3", "mp4", "odp",
    "ods", "odt", "pdf", "png", "ppt", "pptx", "rtf", "txt", "webp", "xls", "xlsx",
];

/// Whether a program's extension stands behind a document's. Dots and spaces at the end count for
/// nothing, since Windows cuts them off, nor do spaces before the last extension.
fn is_disguised(name: &str) -> bool {
    let is_one_of = |extension: Option<&str>, list: &[&str]| {
        extension
            .is_some_and(|extension| list.contains(&extension.trim().to_ascii_lowercase().as_str()))
    };
    let end = |c: char| c == '.' || c.is_whitespace();
    let mut parts = name.trim_end_matches(end).rsplit('.');
    let (last, before) = (parts.next(), parts.next());
    parts.next().is_some() && is_one_of(last, &PROGRAMS) && is_one_of(before, &DOCUMENTS)
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(ProblemType::InvalidName, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<String, NameError> {
        FileName::parse(name, 64).map(FileName::into_string)
    }

    #[test]
    fn ordinary_names_stay() {
        for name in ["report.pdf", ".profile", "a..b", "日本語 résumé.txt", "مرحبا.txt", "100%"]
        {
            assert_eq!(parse(name).as_deref(), Ok(name));
        }
        for name in [
            "console.txt",
            "com.txt",
            "com10.txt",
            "auxiliary",
            "nullable.rs",
            "setup.exe",
            "v1.2.exe",
            "pdf.exe",
            "a.pdf",
            "data.csv.gz",
            "icon.png.js",
            "Letter to Smith Jr.",
            "🎉 party.png",
        ] {
            assert_eq!(parse(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn folders_are_cut_off() {
        for name in ["a/b/c.txt", "../../c.txt", "C:\\Users\\me\\c.txt", "/c.txt", " c.txt "] {
            assert_eq!(parse(name).as_deref(), Ok("c.txt"), "{name}");
        }
    }

    #[test]
    fn what_would_deceive_is_refused() {
        for name in ["", ".", "..", "../..", "a/", "a/..", " . ", "\u{3000}"] {
            assert_eq!(parse(name), Err(NameError::Empty), "{name:?}");
        }
        for name in ["a\0b", "a\r\nb", "\u{85}", "\u{7f}"] {
            assert_eq!(parse(name), Err(NameError::Control), "{name:?}");
        }
        for name in ["exe.\u{202e}fdp", "a\u{200f}", "\u{2066}a\u{2069}", "a\u{2028}b"] {
            assert_eq!(parse(name), Err(NameError::Direction), "{name:?}");
        }
        for name in [
            "CON",
            "nul.txt",
            "Aux.tar.gz",
            "com1",
            "LPT9.pdf",
            "com¹.txt",
            "nul .txt",
            "a/prn.",
            "con:x",
        ] {
            assert_eq!(parse(name), Err(NameError::Device), "{name:?}");
        }
        for name in
            ["invoice.pdf.exe", "a.JPG.Scr", "a.docx   .exe", "a.pdf.exe.", "a.b.txt.lnk . "]
        {
            assert_eq!(parse(name), Err(NameError::Disguised), "{name:?}");
        }
        assert_eq!(parse(&"ä".repeat(33)), Err(NameError::TooLong(64)));
        assert!(parse(&"ä".repeat(32)).is_ok());
    }
}

//! What the first bytes of a file look like, and whether that agrees with what was said of it.
//!
//! A signature can show that contents are something, never that they are harmless. So only what is
//! recognised is judged: what is refused by name, what is of another kind than was declared, and
//! what is not among the types that are taken. What is not recognised passes as what it was
//! declared to be, and is delivered as that.

use outport_wire::describe::UNKNOWN_TYPE;
use outport_wire::problem::Problem;
use outport_wire::rules::{MediaTypes, essence};

/// How many of a file's first bytes are looked at. What is inside an archive is told from here.
pub(crate) const WINDOW_BYTES: usize = 8 << 10;

/// Names of the same thing.
const SAME: &[&[&str]] = &[
    &["application/font-sfnt", "font/ttf", "font/otf", "font/sfnt", "application/x-font-ttf"],
    &["application/font-woff", "font/woff", "font/woff2"],
    &["application/gzip", "application/x-gzip"],
    &["application/rtf", "text/rtf"],
    &[
        "application/vnd.microsoft.portable-executable",
        "application/x-msdownload",
        "application/x-dosexec",
        "application/x-msdos-program",
    ],
    &["application/vnd.rar", "application/x-rar-compressed", "application/x-rar"],
    &["application/vnd.sqlite3", "application/x-sqlite3"],
    &["application/x-bzip2", "application/x-bzip"],
    &["application/x-executable", "application/x-elf", "application/x-sharedlib"],
    &["application/zip", "application/x-zip-compressed"],
    &["audio/m4a", "audio/mp4", "audio/x-m4a"],
    &["audio/mpeg", "audio/mp3"],
    &["audio/x-aiff", "audio/aiff"],
    &["audio/x-flac", "audio/flac"],
    &["audio/x-wav", "audio/wav", "audio/wave", "audio/vnd.wave"],
    &["image/heif", "image/heic"],
    &["image/jpeg", "image/jpg", "image/pjpeg"],
    &["image/vnd.microsoft.icon", "image/x-icon"],
    &["image/bmp", "image/x-ms-bmp"],
    &["text/x-shellscript", "application/x-sh", "application/x-shellscript"],
    &["text/xml", "application/xml"],
    &["video/x-m4v", "video/mp4"],
    &["video/x-msvideo", "video/avi"],
];

/// Forms that other formats are written in.
const CONTAINERS: &[&str] = &[
    "application/gzip",
    "application/vnd.sqlite3",
    "application/x-ole-storage",
    "application/zip",
    "text/xml",
];

/// Formats that are recognised, and written in one of these forms all the same.
const CONTAINED: &[&str] = &[
    "application/epub+zip",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.oasis.opendocument.",
    "application/vnd.openxmlformats-officedocument.",
    "application/x-tar",
    "image/openraster",
];

/// Refuses contents that begin with `window` and were declared to be of the type `declared`, which
/// is one that is taken.
pub(crate) fn check(types: &MediaTypes, declared: &str, window: &[u8]) -> Result<(), Problem> {
    let declared = essence(declared).to_ascii_lowercase();
    let Some(found) = recognise(window) else { return Ok(()) };
    let refusal = |detail: String| Err(types.refusal(detail));
    if names(found).iter().any(|name| types.names_refused(name)) {
        return refusal(format!("The contents are {found}: the upload is removed."));
    }
    if declared == UNKNOWN_TYPE || names(found).contains(&declared.as_str()) {
        return Ok(());
    }
    if may_hold(found, &declared) {
        return Ok(());
    }
    if contradicts(found, &declared) {
        return refusal(format!(
            "The contents are {found}, not {declared}: the upload is removed."
        ));
    }
    if kind(found) == "text" || names(found).iter().any(|name| types.allows(name)) {
        return Ok(());
    }
    refusal(format!("The contents are {found}: the upload is removed."))
}

/// What contents are that begin like this, if that is known.
fn recognise(window: &[u8]) -> Option<&'static str> {
    let window = window.get(..WINDOW_BYTES).unwrap_or(window);
    let found = infer::get(window)?.mime_type();
    let textual = kind(found) == "text"
        || matches!(found, "application/pdf" | "application/postscript" | "application/rtf");
    // Some signatures are two letters, and a text may begin with any.
    (textual || !is_text(window)).then_some(found)
}

fn is_text(window: &[u8]) -> bool {
    let whole = match std::str::from_utf8(window) {
        Ok(text) => text,
        // A character may be cut at the end, and nowhere else.
        Err(error) if error.error_len().is_none() => {
            let valid = window.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !whole.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c'))
}

/// All names of a type.
fn names(found: &'static str) -> Vec<&'static str> {
    let same = SAME.iter().find(|names| names.contains(&found));
    same.map_or_else(|| vec![found], |names| names.to_vec())
}

/// Whether a file of the declared type may look like the form that was found.
fn may_hold(found: &str, declared: &str) -> bool {
    // An SVG that begins with a comment looks like a page.
    let is_xml = declared.ends_with("+xml") || declared == "text/html";
    if is_xml && matches!(found, "text/xml" | "text/html") {
        return true;
    }
    let is_contained = CONTAINED.iter().any(|begin| declared.starts_with(begin));
    let unknown = kind(declared) == "application" && !infer::is_mime_supported(declared);
    CONTAINERS.contains(&found) && (is_contained || unknown)
}

/// Whether what was found can't be what was declared.
fn contradicts(found: &str, declared: &str) -> bool {
    let moving = |kind: &str| matches!(kind, "audio" | "video");
    let (is, claimed) = (kind(found), kind(declared));
    if is == claimed && is != "application" || moving(is) && moving(claimed) {
        return false;
    }
    let is_media = matches!(claimed, "image" | "audio" | "video" | "font" | "text");
    is_media || infer::is_mime_supported(declared)
}

fn kind(media_type: &str) -> &str {
    media_type.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0";
    const ELF: &[u8] = &{
        let mut elf = [0; 64];
        (elf[0], elf[1], elf[2], elf[3], elf[4]) = (0x7f, b'E', b'L', b'F', 2);
        elf
    };
    const EXE: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff";
    const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0";
    const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0";
    const HTML: &[u8] = b"<!DOCTYPE html><html><script>alert(1)</script></html>";
    const XML: &[u8] = b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    const PDF: &[u8] = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3";

    fn types(allowed: &[&str], refused: &[&str]) -> MediaTypes {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        MediaTypes { allowed: parse(allowed), refused: parse(refused) }
    }

    #[track_caller]
    fn taken(types: &MediaTypes, declared: &str, window: &[u8]) {
        assert_eq!(check(types, declared, window), Ok(()));
    }

    #[track_caller]
    fn refused(types: &MediaTypes, declared: &str, window: &[u8], why: &str) {
        let problem = check(types, declared, window).unwrap_err();
        assert!(problem.detail().starts_with(why), "{}", problem.detail());
    }

    #[test]
    fn what_is_not_what_it_was_said_to_be() {
        let images = types(&["image/*"], &[]);
        taken(&images, "image/png", PNG);
        taken(&images, "Image/PNG; x=y", PNG);
        taken(&images, "image/png", JPEG); // Mislabelled, and taken all the same.
        refused(
            &images,
            "image/png",
            ELF,
            "The contents are application/x-executable, not image/png: the upload is removed. Taken \
             are image/*.",
        );
        refused(&images, "image/png", HTML, "The contents are text/html, not image/png:");
        refused(&images, "image/x-unheard-of", ZIP, "The contents are application/zip, not");
        taken(&images, "image/png", b"something that nobody knows");
        let documents = types(&["application/pdf"], &[]);
        refused(&documents, "application/pdf", ZIP, "The contents are application/zip, not");
        taken(&documents, "application/pdf", PDF);
        // Nothing but a list of what is refused says that much, too.
        refused(&types(&[], &["text/html"]), "image/png", ELF, "The contents are application/x-e");
    }

    #[test]
    fn what_is_refused_by_name_is_refused_under_each_of_its_names() {
        let no_programs = types(&[], &["application/x-msdownload", "text/html"]);
        refused(&no_programs, UNKNOWN_TYPE, EXE, "The contents are application/vnd.microsoft");
        refused(&no_programs, "application/x-game", EXE, "The contents are application/vnd.micro");
        refused(&no_programs, UNKNOWN_TYPE, HTML, "The contents are text/html: the");
        refused(&no_programs, "text/plain", HTML, "The contents are text/html: the");
        taken(&no_programs, UNKNOWN_TYPE, ELF);
        taken(&no_programs, UNKNOWN_TYPE, b"");
    }

    #[test]
    fn what_is_of_the_kind_must_be_among_what_is_taken() {
        let only_png = types(&["image/png"], &[]);
        refused(&only_png, "image/png", JPEG, "The contents are image/jpeg: the upload");
        taken(&types(&["audio/wav"], &[]), "audio/wav", WAV);
        let own = types(&["application/x-own"], &[]);
        refused(&own, "application/x-own", ELF, "The contents are application/x-executable: t");
        taken(&types(&[UNKNOWN_TYPE], &[]), UNKNOWN_TYPE, PNG);
    }

    #[test]
    fn what_is_inside_of_something_else() {
        let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        taken(&types(&[word], &[]), word, ZIP);
        taken(&types(&["application/java-archive"], &[]), "application/java-archive", ZIP);
        taken(&types(&["image/svg+xml"], &[]), "image/svg+xml", XML);
        taken(&types(&["image/svg+xml"], &[]), "image/svg+xml", b"<!-- made by me --><svg/>");
    }

    #[test]
    fn texts_begin_as_they_like() {
        let texts = types(&["text/plain", "text/markdown"], &[]);
        for begin in ["BM is not a bitmap", "MZ and no program", "BC", "GIF"] {
            taken(&texts, "text/plain", begin.as_bytes());
        }
        taken(&texts, "text/markdown", b"<p align=\"center\"> A project </p>");
        refused(&texts, "text/plain", EXE, "The contents are application/vnd.microsoft");
        let cut = "MZ grüße".as_bytes();
        taken(&texts, "text/plain", &cut[..6]);
    }
}

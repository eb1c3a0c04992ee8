//! What the commands print for people and for scripts.

use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;

/// Prints one line on standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    written(writeln!(io::stdout(), "{text}"))
}

/// Prints one JSON document on a line of its own.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(io::Error::other);
    written(text.and_then(|text| writeln!(io::stdout(), "{text}")))
}

/// A name as a terminal may show it: what would move the cursor or turn the direction of the text
/// is spelt out.
pub(crate) fn printable(name: &str) -> String {
    let spelt = |c: char| -> String {
        if c.is_control() || is_format(c) { c.escape_unicode().to_string() } else { c.to_string() }
    };
    name.chars().map(spelt).collect()
}

/// A size as people read it, in binary units.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Zero-width characters, and the marks that set the direction of text (UAX #9).
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|source| Failure::io("write to", Path::new("standard output"), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_play_tricks_on_a_terminal() {
        assert_eq!(printable("día 1.pdf"), "día 1.pdf");
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("exe\u{202e}fdp"), "exe\\u{202e}fdp");
    }
}

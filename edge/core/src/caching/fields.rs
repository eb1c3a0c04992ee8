//! Field lines for who asks for all lines of a name, and keys made of what fields hold.

use sha2::{Digest as _, Sha256};

use crate::head::FieldLines;

/// How much of a digest a key holds: nobody finds two requests with the same.
const KEY_BYTES: usize = 20;

/// Field lines of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a>(FieldLines<'a>);

impl<'a> Lines<'a> {
    pub(crate) const fn new(lines: FieldLines<'a>) -> Self {
        Self(lines)
    }

    /// The value of each line of this name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// What a key holds of these parts, each told apart from the next.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = Sha256::new();
    for part in parts {
        all.update((part.len() as u64).to_be_bytes());
        all.update(part);
    }
    short(all)
}

/// A digest as a part of a key.
pub(crate) fn short(digest: Sha256) -> String {
    digest.finalize().iter().take(KEY_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

//! Field lines for who asks for all lines of a name.

use crate::head::FieldLines;

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

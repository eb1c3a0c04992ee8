//! What is wrong with a configuration, where, and what would be right.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

/// One mistake. Line and column count from 1; the column counts characters, as editors do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// Line of the configuration file.
    pub(crate) line: usize,
    /// Column of that line.
    pub(crate) column: usize,
    /// What is wrong.
    pub(crate) wrong: String,
    /// What would be right.
    pub(crate) right: String,
}

/// All mistakes of one file, in the order of the file. Never empty where it is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mistakes {
    /// The file as the user named it.
    pub(crate) file: String,
    /// The mistakes.
    pub(crate) mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake { line, column, wrong, right } in &self.mistakes {
            writeln!(f, "{}:{line}:{column}: {wrong}\n    {right}", self.file)?;
        }
        let count = self.mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in {}", self.file)
    }
}

/// Collects mistakes by their byte offset while a file is read.
#[derive(Default)]
pub(crate) struct Sink(RefCell<Vec<(usize, String, String)>>);

impl Sink {
    /// Notes that what stands at byte `at` is `wrong`, and what would be `right`.
    pub(crate) fn note(&self, at: usize, wrong: impl Into<String>, right: impl Into<String>) {
        self.0.borrow_mut().push((at, wrong.into(), right.into()));
    }

    /// The mistakes in the order of the file, with lines and columns of `text`.
    pub(crate) fn into_mistakes(self, text: &str) -> Vec<Mistake> {
        let mut found = self.0.into_inner();
        found.sort_by_key(|(at, ..)| *at);
        let place = |(at, wrong, right)| {
            let (line, column) = line_and_column(text, at);
            Mistake { line, column, wrong, right }
        };
        found.into_iter().map(place).collect()
    }
}

/// The line of byte `at` of `text`, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    line_and_column(text, at).0
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(line_and_column("ab\ncd", 0), (1, 1));
        assert_eq!(line_and_column("ab\ncd", 4), (2, 2));
        assert_eq!(line_and_column("é = 1", 3), (1, 3));
    }
}

//! Patterns with `*` for anything, matched in the time that it takes to read a text once.

use memchr::memmem;

/// A pattern: texts with anything between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    first: Vec<u8>,
    /// What follows each `*`.
    rest: Vec<Vec<u8>>,
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut pieces = pattern.split('*').map(|piece| piece.as_bytes().to_vec());
        Self { first: pieces.next().unwrap_or_default(), rest: pieces.collect() }
    }

    /// Whether it is the whole of a text. Each piece is taken where it comes first: what is behind
    /// that holds whatever would be behind a later one.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some(mut text) = text.strip_prefix(&*self.first) else { return false };
        let Some((last, between)) = self.rest.split_last() else { return text.is_empty() };
        for piece in between {
            let behind = memmem::find(text, piece).map(|at| at + piece.len());
            let Some(behind) = behind.and_then(|behind| text.get(behind..)) else { return false };
            text = behind;
        }
        text.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("*.php", "/x/y.php", true),
            ("*.php", "/x/y.php/", false),
            ("/a*b*c", "/abbc", true),
            ("/a*b*c", "/acb", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// The definition, in the time that it takes.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn as_it_is_defined(
            pattern in vec(select(vec!['a', 'b', '*']), 0..8),
            text in vec(select(vec![b'a', b'b']), 0..12),
        ) {
            let pattern: String = pattern.into_iter().collect();
            let expected = naive(pattern.as_bytes(), &text);
            prop_assert_eq!(Glob::new(&pattern).matches(&text), expected, "{}", pattern);
        }
    }
}

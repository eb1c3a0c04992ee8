//! Reads typed values from a TOML table and notes every mistake instead of stopping at the first.
//!
//! A section remembers which keys were asked for; what remains at [`Section::finish`] is unknown.
//! So the list of known keys cannot drift from what is read.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::mistake::Sink;

/// Below this similarity (Jaro-Winkler, 0 to 1) a known key is no plausible reading of an unknown.
const SUGGESTION_MIN: f64 = 0.8;

/// A value and the byte where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// One table of the file.
pub(super) struct Section<'a> {
    /// As it is written in the file, such as `[cache]`; empty for the file itself.
    title: String,
    /// The byte where it begins.
    pub(super) at: usize,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    sink: &'a Sink,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(table: &'a DeTable<'a>, sink: &'a Sink) -> Self {
        Self { title: String::new(), at: 0, table, known: Vec::new(), sink }
    }

    /// The table below `key`.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.take(key)?;
        let title = match self.title.trim_matches(['[', ']']) {
            "" => format!("[{key}]"),
            above => format!("[{above}.{key}]"),
        };
        self.table_below(title, value)
    }

    /// The tables of the array of tables `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let title = match self.title.trim_matches(['[', ']']) {
            "" => format!("[[{key}]]"),
            prefix => format!("[[{prefix}.{key}]]"),
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type::<()>(value, key, &format!("sections that begin with {title}"));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.table_below(title.clone(), item)).collect()
    }

    /// The table that is the value of `key`, written in braces.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.take(key)?;
        self.table_in_braces(key, value)
    }

    /// Every table that is the value of a key here, with that key: for keys that the user chooses.
    pub(super) fn named_tables(self) -> Vec<(Located<String>, Section<'a>)> {
        let read = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let table = self.table_in_braces(name, value)?;
            Some((Located { value: name.to_string(), at: key.span().start }, table))
        };
        self.table.iter().filter_map(read).collect()
    }

    /// Every table below this one, with its name: for sections whose names the user chooses.
    pub(super) fn named_sections(self) -> Vec<(Located<String>, Section<'a>)> {
        let prefix = self.title.trim_matches(['[', ']']).to_owned();
        let read = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let title = format!("[{prefix}.{name}]");
            let name = Located { value: name.to_string(), at: key.span().start };
            Some((name, self.table_below(title, value)?))
        };
        self.table.iter().filter_map(read).collect()
    }

    /// Every list of texts of this table, with its name: where the user chooses the names.
    pub(super) fn named_texts(&self) -> Vec<(Located<String>, Vec<Located<String>>)> {
        let read = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let listed = self.texts_of(name, value)?;
            Some((Located { value: name.to_string(), at: key.span().start }, listed))
        };
        self.table.iter().filter_map(read).collect()
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                Some(Located { value: text.to_string(), at: value.span().start })
            }
            _ => self.wrong_type(value, key, "a text in double quotes"),
        }
    }

    /// A list of texts, or one text alone.
    pub(super) fn text_or_texts(
        &mut self,
        key: &'static str,
    ) -> Option<Located<Vec<Located<String>>>> {
        let Some(sent) = self.table.get(key) else {
            self.known.push(key);
            return None;
        };
        let (value, is_empty) = match sent.get_ref() {
            DeValue::String(_) => (vec![self.text(key)?], false),
            DeValue::Array(items) => (self.texts(key)?, items.is_empty()),
            _ => (self.texts(key)?, false),
        };
        // What is no text was noted, and is no reason to call the list empty.
        (is_empty || !value.is_empty()).then(|| Located { value, at: sent.span().start })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let value = self.take(key)?;
        self.texts_of(key, value)
    }

    fn texts_of(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Vec<Located<String>>> {
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_type(value, key, "a list of texts, such as [\"a\", \"b\"]");
        };
        let text = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::String(text) => {
                Some(Located { value: text.to_string(), at: item.span().start })
            }
            _ => self.wrong_type(item, key, "a list of texts only"),
        };
        Some(items.iter().filter_map(text).collect())
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        Some(self.located_flag(key)?.value)
    }

    /// The same, and where it is.
    pub(super) fn located_flag(&mut self, key: &'static str) -> Option<Located<bool>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(Located { value: *flag, at: value.span().start }),
            _ => self.wrong_type(value, key, "true or false, without quotes"),
        }
    }

    /// A whole number of `unit` within `range`.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<Located<u64>> {
        let value = self.take(key)?;
        let right = format!("a whole number of {unit} from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong_type(value, key, &right);
        };
        match integer(number).filter(|number| range.contains(number)) {
            Some(number) => Some(Located { value: number, at: value.span().start }),
            None => {
                let wrong = format!("{} is out of range: {number}", self.key_title(key));
                self.sink.note(value.span().start, wrong, format!("it takes {right}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text.value);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let wrong = format!("{} can't be \"{}\"", self.key_title(key), text.value);
            self.sink.note(text.at, wrong, format!("it takes one of {}", words.join(", ")));
        }
        chosen.map(|(_, value)| *value)
    }

    /// Whether a key is there, whatever its value is.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// How many keys are there.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key is there.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Notes a mistake at byte `at`.
    pub(super) fn note(&self, at: usize, wrong: impl Into<String>, right: impl Into<String>) {
        self.sink.note(at, wrong, right);
    }

    /// Notes that a key without which the section says nothing is absent.
    pub(super) fn note_missing(&self, key: &str, example: &str) {
        let wrong = format!("{} has no {key}", self.title);
        self.sink.note(self.at, wrong, format!("add a line such as: {key} = {example}"));
    }

    /// Notes every key that nothing asked for.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                self.sink.note(key.span().start, self.unknown(name), self.suggestion(name));
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        match self.title.as_str() {
            "" => format!("there is no section or key \"{name}\""),
            title => format!("{title} has no key \"{name}\""),
        }
    }

    fn suggestion(&self, name: &str) -> String {
        match most_similar(name, self.known.iter().copied()) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => format!("known here: {}", self.known.join(", ")),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn table_below(&self, title: String, value: &'a Spanned<DeValue<'a>>) -> Option<Section<'a>> {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Section { title, at, table, known: Vec::new(), sink: self.sink })
            }
            other => {
                let wrong = format!("{title} is {}", described(other));
                self.sink.note(at, wrong, format!("write it as a section that begins {title}"));
                None
            }
        }
    }

    fn table_in_braces(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Section<'a>> {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(value, key, "a table in braces, such as { a = \"b\" }");
        };
        let title = self.key_title(key);
        Some(Section { title, at: value.span().start, table, known: Vec::new(), sink: self.sink })
    }

    fn wrong_type<T>(&self, value: &Spanned<DeValue<'_>>, key: &str, right: &str) -> Option<T> {
        let wrong = format!("{} is {}", self.key_title(key), described(value.get_ref()));
        self.sink.note(value.span().start, wrong, format!("it takes {right}"));
        None
    }

    fn key_title(&self, key: &str) -> String {
        if self.title.is_empty() { key.to_owned() } else { format!("{key} in {}", self.title) }
    }
}

/// The one of `known` that `name` most resembles, if any does.
pub(super) fn most_similar<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    let score = |known: &'n str| (strsim::jaro_winkler(name, known), known);
    let best = known.map(score).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= SUGGESTION_MIN).then_some(best.1)
}

fn integer(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => format!("{flag}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

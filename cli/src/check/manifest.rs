//! A platform's manifest, read so that every mistake has its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::{Mistake, Sink};

/// A table of the manifest and the byte where it begins.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    pub(super) at: usize,
}

/// A value of the manifest and the byte where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    value: &'a DeValue<'a>,
    pub(super) at: usize,
}

/// Reads a manifest and lets `check` look at it, unless it is no TOML.
pub(super) fn check(text: &str, check: impl FnOnce(Table<'_>, &Sink)) -> Vec<Mistake> {
    let sink = Sink::default();
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let at = error.span().map_or(0, |span| span.start);
        let right = "it takes valid TOML: key = value lines below [section] lines";
        sink.note(at, format!("this is no TOML: {}", error.message()), right);
    }
    if syntax.is_empty() {
        check(Table { table: table.get_ref(), at: 0 }, &sink);
    }
    sink.into_mistakes(text)
}

impl<'a> Table<'a> {
    /// The value at `key`.
    pub(super) fn get(self, key: &str) -> Option<Value<'a>> {
        self.table.get(key).map(Value::new)
    }

    /// The table at `key`.
    pub(super) fn table(self, key: &str) -> Option<Table<'a>> {
        self.get(key)?.table()
    }

    /// The text at `key`.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key)?.text()
    }

    /// The tables of the array at `key`.
    pub(super) fn tables(self, key: &str) -> Vec<Table<'a>> {
        let items = self.get(key).map(Value::items).unwrap_or_default();
        items.into_iter().filter_map(Value::table).collect()
    }
}

impl<'a> Value<'a> {
    fn new(value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { value: value.get_ref(), at: value.span().start }
    }

    pub(super) fn table(self) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Table { table, at: self.at }),
            _ => None,
        }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn whole(self) -> Option<u64> {
        match self.value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        }
    }

    pub(super) fn is_true(self) -> bool {
        matches!(self.value, DeValue::Boolean(true))
    }

    /// The items of an array; nothing where it is none.
    pub(super) fn items(self) -> Vec<Value<'a>> {
        match self.value {
            DeValue::Array(items) => items.iter().map(Value::new).collect(),
            _ => Vec::new(),
        }
    }
}

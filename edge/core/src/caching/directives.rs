//! `Cache-Control` (RFC 9111, section 5.2), and the targeted fields that go before it (RFC 9213).
//!
//! `Cache-Control` is read as tolerantly as the world writes it; what can't be read of a time is
//! read as no time at all, so that it errs towards asking again. A targeted field is a Dictionary
//! (RFC 9651): it is read strictly, or it is not there. `Surrogate-Control` (Edge Architecture
//! Specification 1.0) is the older way to say the same, and comes after them.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

/// The longest time that is told from any other, in seconds (RFC 9111, section 1.2.2).
pub(crate) const DELTA_S_MAX: u64 = 1 << 31;

/// The field of every cache.
pub(crate) const CACHE_CONTROL: &str = "cache-control";
/// The targeted fields that this cache goes by, the first that is there before the others: its
/// own, then that of every CDN.
const TARGETED: [&str; 2] = ["outport-cache-control", "cdn-cache-control"];
/// The field for caches that stand in for an origin.
const SURROGATE: &str = "surrogate-control";
/// What this cache is called in that field.
pub(crate) const SURROGATE_NAME: &str = "outport";

/// Cache directives, of a request or of a response. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Their names are the RFCs'.
pub(crate) struct Directives {
    pub(crate) max_age_s: Option<u64>,
    pub(crate) s_maxage_s: Option<u64>,
    pub(crate) stale_while_revalidate_s: Option<u64>,
    pub(crate) stale_if_error_s: Option<u64>,
    pub(crate) min_fresh_s: Option<u64>,
    /// Without a value it takes any staleness.
    pub(crate) max_stale_s: Option<u64>,
    pub(crate) no_store: bool,
    pub(crate) no_cache: Scope,
    pub(crate) private: Scope,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) no_transform: bool,
}

/// What a directive is about that may name fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scope {
    /// It is not there.
    #[default]
    Nothing,
    /// These fields, in lower case.
    Fields(Vec<String>),
    /// The whole response.
    All,
}

impl Directives {
    /// Reads the lines of `Cache-Control`.
    pub(crate) fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for line in lines {
            let mut rest = line;
            while let Some((name, argument, after)) = next_directive(rest) {
                rest = after;
                directives.set(&name.to_ascii_lowercase(), argument.as_deref());
            }
        }
        directives
    }

    /// Reads what a response says to a shared cache of this kind: the first targeted field that is
    /// valid and not empty, else `Cache-Control`. The name of that field comes with it: `Expires`
    /// counts beside `Cache-Control` alone (RFC 9213, section 2.2).
    pub(crate) fn of_response<'a, I>(lines: impl Fn(&'static str) -> I) -> (Self, &'static str)
    where
        I: Iterator<Item = &'a [u8]>,
    {
        for name in TARGETED {
            // Keys are in lower case, and what they are given that has a case are names of fields.
            let joined = lines(name).collect::<Vec<_>>().join(&b", "[..]).to_ascii_lowercase();
            let visited = Parser::new(&joined).parse_dictionary_with_visitor(Targeted::default());
            if let Ok(Some(directives)) = visited {
                return (directives, name);
            }
        }
        let surrogate = Self::read_surrogate(lines(SURROGATE));
        if surrogate != Self::default() {
            return (surrogate, SURROGATE);
        }
        (Self::read(lines(CACHE_CONTROL)), CACHE_CONTROL)
    }

    /// Reads the lines of `Surrogate-Control`: of its directives those for all, and for this cache.
    /// Whom one is for stands behind a semicolon.
    fn read_surrogate<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for line in lines {
            let mut rest = line;
            while let Some((name, argument, after)) = next_directive(rest) {
                rest = after;
                let (name, for_one) = name.split_once(';').unwrap_or((&name, ""));
                let argument = argument.as_deref();
                let mut parts = argument.unwrap_or_default().splitn(2, |byte| *byte == b';');
                let value = parts.next().filter(|_| argument.is_some());
                let target = parts.next().unwrap_or(for_one.as_bytes()).trim_ascii();
                if target.is_empty() || target == SURROGATE_NAME.as_bytes() {
                    directives.set(&name.trim().to_ascii_lowercase(), value);
                }
            }
        }
        directives
    }

    fn set(&mut self, name: &str, argument: Option<&[u8]>) {
        match name {
            "max-age" => first(&mut self.max_age_s, delta(argument)),
            "s-maxage" => first(&mut self.s_maxage_s, delta(argument)),
            "stale-while-revalidate" => {
                first(&mut self.stale_while_revalidate_s, delta(argument));
            }
            "stale-if-error" => first(&mut self.stale_if_error_s, delta(argument)),
            "min-fresh" => first(&mut self.min_fresh_s, delta(argument)),
            "max-stale" => {
                let any = argument.is_none().then_some(DELTA_S_MAX);
                first(&mut self.max_stale_s, any.unwrap_or_else(|| delta(argument)));
            }
            "no-cache" => self.no_cache.widen(argument),
            "private" => self.private.widen(argument),
            _ => self.set_flag(name),
        }
    }

    /// Sets what has no argument. One that is there all the same is passed over.
    fn set_flag(&mut self, name: &str) {
        match name {
            "no-store" => self.no_store = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "only-if-cached" => self.only_if_cached = true,
            "no-transform" => self.no_transform = true,
            _ => {}
        }
    }
}

impl Scope {
    /// Whether it is about anything.
    pub(crate) fn is_there(&self) -> bool {
        *self != Self::Nothing
    }

    /// Whether it is about this field.
    pub(crate) fn names(&self, field: &str) -> bool {
        matches!(self, Self::Fields(names) if names.iter().any(|name| name == field))
    }

    /// The directive came with this argument: fields, or none for all. What names none is taken
    /// for all.
    fn widen(&mut self, argument: Option<&[u8]>) {
        let named: Vec<_> = argument
            .unwrap_or_default()
            .split(|byte| *byte == b',')
            .filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok())
            .filter(|name| !name.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        match self {
            _ if named.is_empty() => *self = Self::All,
            Self::All => {}
            Self::Nothing => *self = Self::Fields(named),
            Self::Fields(names) => names.extend(named),
        }
    }
}

/// Of a directive that comes twice, the first counts (RFC 9111, section 4.2.1).
fn first(time_s: &mut Option<u64>, said_s: u64) {
    time_s.get_or_insert(said_s);
}

/// A number of seconds. What is none is 0, so that it counts as over (RFC 9111, section 4.2.1).
fn delta(argument: Option<&[u8]>) -> u64 {
    let digits = argument.unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let more =
        |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    digits.iter().fold(0, more).min(DELTA_S_MAX)
}

/// The next directive, its argument, and what is behind it.
type NextDirective<'a> = (String, Option<Vec<u8>>, &'a [u8]);

fn next_directive(line: &[u8]) -> Option<NextDirective<'_>> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [b',', after @ ..] => rest = after,
            [] => return None,
            _ => break,
        }
    }
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'=')).unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end)?;
    let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
    let Some(after) = after.strip_prefix(b"=") else { return Some((name, None, after)) };
    // Blanks around the sign are no part of the grammar, but their meaning is plain.
    let (argument, after) = match after.trim_ascii_start() {
        [b'"', quoted @ ..] => unquote(quoted),
        token => {
            let end = token.iter().position(|byte| *byte == b',').unwrap_or(token.len());
            let (argument, after) = token.split_at_checked(end)?;
            (argument.trim_ascii().to_vec(), after)
        }
    };
    Some((name, Some(argument), after))
}

/// Reads a quoted string from behind its first quote. What is between its end and the next comma
/// is passed over; one without an end goes to the end of the line.
fn unquote(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'\\' => text.extend(bytes.next().map(|(_, escaped)| *escaped)),
            b'"' => {
                let after = quoted.get(place + 1..).unwrap_or_default();
                let comma = after.iter().position(|byte| *byte == b',').unwrap_or(after.len());
                return (text, after.get(comma..).unwrap_or_default());
            }
            _ => text.push(*byte),
        }
    }
    (text, &[])
}

/// A targeted field while it is read. A later entry of one name takes the place of an earlier
/// (RFC 9651, section 4.2.2).
#[derive(Default)]
struct Targeted {
    directives: Directives,
    some: bool,
}

/// What an entry's value is.
enum Value<'a> {
    Flag(bool),
    Number(i64),
    Text(&'a str),
    Other,
}

struct Entry<'v, 'a> {
    into: &'v mut Targeted,
    key: &'a str,
}

impl Targeted {
    /// A directive of the wrong type is passed over, as one that is not known (RFC 9213,
    /// section 2.1); that of a time is read as no time.
    fn set(&mut self, key: &str, value: Value<'_>) {
        self.some = true;
        let directives = &mut self.directives;
        let time_s = match key {
            "max-age" => &mut directives.max_age_s,
            "s-maxage" => &mut directives.s_maxage_s,
            "stale-while-revalidate" => &mut directives.stale_while_revalidate_s,
            "stale-if-error" => &mut directives.stale_if_error_s,
            "no-cache" => return set_scope(&mut directives.no_cache, &value),
            "private" => return set_scope(&mut directives.private, &value),
            _ => {
                if matches!(value, Value::Flag(true)) {
                    directives.set_flag(key);
                }
                return;
            }
        };
        *time_s = match value {
            Value::Number(number) => u64::try_from(number).ok().map(|s| s.min(DELTA_S_MAX)),
            _ => None,
        };
    }
}

fn set_scope(scope: &mut Scope, value: &Value<'_>) {
    *scope = Scope::Nothing;
    match value {
        Value::Flag(true) => scope.widen(None),
        Value::Text(fields) => scope.widen(Some(fields.as_bytes())),
        Value::Flag(false) | Value::Number(_) | Value::Other => {}
    }
}

impl<'a> DictionaryVisitor<'a> for Targeted {
    type Out = Option<Directives>;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        Ok(Entry { into: self, key: key.as_str() })
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.some.then_some(self.directives))
    }
}

impl<'a> ItemVisitor<'a> for Entry<'_, 'a> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, Infallible> {
        let value = match &item {
            BareItemFromInput::Boolean(flag) => Value::Flag(*flag),
            BareItemFromInput::Integer(number) => Value::Number((*number).into()),
            BareItemFromInput::String(text) => Value::Text(text.as_str()),
            _ => Value::Other,
        };
        self.into.set(self.key, value);
        Ok(Ignored)
    }
}

impl<'a> EntryVisitor<'a> for Entry<'_, 'a> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        self.into.set(self.key, Value::Other);
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Directives {
        Directives::read(std::iter::once(line.as_bytes()))
    }

    #[test]
    fn times() {
        for (line, seconds) in [
            ("max-age=60", Some(60)),
            ("MAX-AGE=60", Some(60)),
            ("public,max-age=60", Some(60)),
            (" , ,max-age = \"60\" , public", Some(60)),
            ("max-age=60, max-age=0", Some(60)),
            ("max-age=99999999999999999999999", Some(DELTA_S_MAX)),
            ("max-age=-1", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age=6x", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("x-max-age=60", None),
            ("ext=\"max-age=60\"", None),
            ("ext=\"a, max-age=60\", b", None),
            ("ext=\"\\\", max-age=60\"", None),
            ("ext=\"max-age=60", None),
        ] {
            assert_eq!(read(line).max_age_s, seconds, "{line}");
        }
        assert_eq!(read("max-stale").max_stale_s, Some(DELTA_S_MAX));
        assert_eq!(read("max-stale=5").max_stale_s, Some(5));
    }

    #[test]
    fn scopes() {
        let fields =
            |names: &[&str]| Scope::Fields(names.iter().map(ToString::to_string).collect());
        for (line, scope) in [
            ("private", Scope::All),
            ("private=\"A, b\"", fields(&["a", "b"])),
            ("private=a", fields(&["a"])),
            ("private=\"\"", Scope::All),
            ("private=a, private", Scope::All),
            ("private, private=a", Scope::All),
            ("private=a, private=b", fields(&["a", "b"])),
            ("public", Scope::Nothing),
        ] {
            assert_eq!(read(line).private, scope, "{line}");
        }
    }

    #[test]
    fn lines_are_one_list() {
        let lines = [&b"no-store"[..], b"max-age=5", b"\xff, public"];
        let directives = Directives::read(lines.into_iter());
        assert!(directives.no_store && directives.public);
        assert_eq!(directives.max_age_s, Some(5));
    }

    #[test]
    fn what_is_said_to_surrogates() {
        let general = ("cache-control", "max-age=1");
        for (surrogate, seconds, counts) in [
            ("max-age=60", Some(60), true),
            ("MaX-aGe=60, content=\"ESI/1.0\"", Some(60), true),
            ("max-age=60;outport", Some(60), true),
            ("max-age=60;other", Some(1), false),
            ("no-store;other", Some(1), false),
            ("no-store;outport", None, true),
            ("content=\"ESI/1.0\"", Some(1), false),
        ] {
            let (directives, is_targeted) =
                of_response(&[("surrogate-control", surrogate), general]);
            assert_eq!((directives.max_age_s, is_targeted), (seconds, counts), "{surrogate}");
        }
        let (directives, _) =
            of_response(&[("surrogate-control", "max-age=5"), ("cdn-cache-control", "max-age=6")]);
        assert_eq!(directives.max_age_s, Some(6));
    }

    fn of_response(fields: &[(&str, &str)]) -> (Directives, bool) {
        let (directives, field) = Directives::of_response(|name| {
            let lines: Vec<_> = fields.iter().filter(|(found, _)| *found == name).collect();
            lines.into_iter().map(|(_, value)| value.as_bytes())
        });
        (directives, field != CACHE_CONTROL)
    }

    #[test]
    fn targeted_fields_go_first() {
        let general = ("cache-control", "max-age=1");
        for (targeted, seconds, counts) in [
            ("max-age=60", Some(60), true),
            ("max-age=60;a=b, ext=(1 2)", Some(60), true),
            ("max-age=60, max-age=5", Some(5), true),
            ("no-store", None, true),
            ("max-age=\"60\"", None, true),
            ("max-age=-60", None, true),
            ("max-age=60, &", Some(1), false),
            ("Max-Age=60", Some(60), true),
            ("max-age =60", Some(1), false),
            ("", Some(1), false),
        ] {
            let (directives, is_targeted) =
                of_response(&[("cdn-cache-control", targeted), general]);
            assert_eq!((directives.max_age_s, is_targeted), (seconds, counts), "{targeted}");
        }
        let both = [("cdn-cache-control", "max-age=60"), ("outport-cache-control", "private")];
        let (directives, _) = of_response(&both);
        assert_eq!((directives.private, directives.max_age_s), (Scope::All, None));
        let lines = [("cdn-cache-control", "max-age=60"), ("cdn-cache-control", "must-revalidate")];
        let (directives, _) = of_response(&lines);
        assert!(directives.must_revalidate && directives.max_age_s == Some(60));
        let (directives, _) = of_response(&[("cdn-cache-control", "no-cache=\"a\", no-store=?0")]);
        assert!(directives.no_cache.names("a") && !directives.no_store);
    }
}

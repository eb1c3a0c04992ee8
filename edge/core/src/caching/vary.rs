//! `Vary` (RFC 9110, section 12.5.5): which requests one stored response answers (RFC 9111,
//! section 4.1).

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fields::{Lines, short};
use crate::session::cookie;

/// The most fields that a response may vary on. More, and it matches next to nobody.
const NAMES_MAX: usize = 16;

/// What the responses of one URI vary on: stored in their place, each of them has a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variants {
    /// The selecting fields, in lower case and in order, each once.
    names: Vec<String>,
    /// Makes the keys others than those of a list before it, and of one that was forgotten.
    nonce: u64,
}

/// What `Vary` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    /// One response answers every request.
    Nothing,
    /// It answers requests with the same values of these fields.
    On(Vec<String>),
    /// Nobody can tell which requests it answers.
    Unknown,
}

impl Vary {
    /// Reads the lines of `Vary`.
    pub(crate) fn read(lines: &Lines<'_>) -> Self {
        let mut names = Vec::new();
        for member in lines.all("vary").flat_map(|line| line.split(|byte| *byte == b',')) {
            let name = member.trim_ascii().to_ascii_lowercase();
            match String::from_utf8(name) {
                Ok(name) if name.is_empty() => {}
                Ok(name) if is_token(&name) => names.push(name),
                _ => return Self::Unknown,
            }
        }
        names.sort_unstable();
        names.dedup();
        match names.len() {
            0 => Self::Nothing,
            1..=NAMES_MAX => Self::On(names),
            _ => Self::Unknown,
        }
    }
}

impl Variants {
    pub(crate) fn new(names: Vec<String>, nonce: u64) -> Self {
        Self { names, nonce }
    }

    /// The fields, in lower case.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Whether these are the responses that vary on these fields.
    pub(crate) fn vary_on(&self, names: &[String]) -> bool {
        self.names == names
    }

    /// The key of the response to this request.
    pub(crate) fn key(&self, uri_key: &str, request: &Lines<'_>) -> String {
        let mut values = Sha256::new();
        for name in &self.names {
            let value = normalized(name, request);
            // Told apart from a value that is empty, and each from the next.
            let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
            values.update(length.to_be_bytes());
            values.update(value.unwrap_or_default());
        }
        format!("{uri_key} {:016x} {}", self.nonce, short(values))
    }
}

/// Whether it can be a field's name (RFC 9110, section 5.6.2); a star alone, which could be one, has
/// a meaning of its own.
fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    name.bytes().all(is_tchar)
}

/// A field's value as requests are compared by it. Lines are joined, and the blanks around members
/// are taken out (RFC 9111, section 4.1). Of languages neither case nor order says anything, but
/// for their weights. `None` where the field is not there.
fn normalized(name: &str, request: &Lines<'_>) -> Option<Vec<u8>> {
    let lines: Vec<Vec<u8>> = match name {
        // The upstream does not see those of sessions.
        "cookie" => request.all(name).filter_map(cookie::without_ours).collect(),
        _ => request.all(name).map(<[u8]>::to_vec).collect(),
    };
    if lines.is_empty() {
        return None;
    }
    if lines.iter().any(|line| line.contains(&b'"')) {
        // A comma may be within quotes.
        return Some(lines.join(&b","[..]));
    }
    let members = lines.iter().flat_map(|line| line.split(|byte| *byte == b','));
    let mut members: Vec<_> = members.map(|member| member.trim_ascii().to_vec()).collect();
    if name == "accept-language" {
        for member in &mut members {
            member.retain(|byte| !byte.is_ascii_whitespace());
            member.make_ascii_lowercase();
        }
        members.sort_unstable();
    }
    Some(members.join(&b","[..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FieldLines;

    fn lines(fields: &'static str) -> Lines<'static> {
        Lines::new(FieldLines::new(fields.as_bytes()))
    }

    #[test]
    fn what_is_varied_on() {
        let on = |names: &[&str]| Vary::On(names.iter().map(ToString::to_string).collect());
        for (fields, vary) in [
            ("", Vary::Nothing),
            ("vary: \r\n", Vary::Nothing),
            ("vary: Foo, bar,foo\r\nvary: Baz\r\n", on(&["bar", "baz", "foo"])),
            ("vary: *\r\n", Vary::Unknown),
            ("vary: foo, *\r\n", Vary::Unknown),
            ("vary: \r\nvary: *\r\n", Vary::Unknown),
            ("vary: a b\r\n", Vary::Unknown),
            ("vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n", Vary::Unknown),
        ] {
            assert_eq!(Vary::read(&lines(fields)), vary, "{fields}");
        }
    }

    #[test]
    fn requests_that_are_alike() {
        let names = ["accept-language", "foo"].map(str::to_owned).to_vec();
        let variants = Variants::new(names, 1);
        let key = |fields| variants.key("u", &lines(fields));
        for (one, other) in [
            ("foo: 1, 2\r\n", "foo: 1\r\nfoo:  2\r\n"),
            ("foo: 1,2\r\n", "foo:  1 , 2 \r\nother: 3\r\n"),
            ("accept-language: en, de\r\n", "accept-language: DE ,eN\r\n"),
            ("accept-language: en;q=0.5\r\n", "accept-language: en; q=0.5\r\n"),
        ] {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
        for (one, other) in [
            ("foo: 1\r\n", "foo: 2\r\n"),
            ("foo: a\r\n", "foo: A\r\n"),
            ("foo: 1, 2\r\n", "foo: 2, 1\r\n"),
            ("foo: \r\n", ""),
            ("foo: \"1, 2\"\r\n", "foo: \"1,2\"\r\n"),
            ("accept-language: 1\r\n", "foo: 1\r\n"),
            ("accept-language: en;q=0.5\r\n", "accept-language: en\r\n"),
        ] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
        let anew = Variants::new(vec!["accept-language".into(), "foo".into()], 2);
        assert_ne!(anew.key("u", &lines("")), key(""));
    }
}

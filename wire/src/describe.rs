//! What a client says of a file that it uploads whole, read alike by edge and origin: whoever of the
//! two decides, the same is taken and the same is refused.

use std::borrow::Cow;

use crate::file::Visibility;
use crate::problem::Problem;
use crate::syntax::is_token;

/// The media type of bytes of which nothing is known.
pub const UNKNOWN_TYPE: &str = "application/octet-stream";
/// The longest media type that is taken if nothing else is said, in bytes.
pub const TYPE_BYTES_MAX: usize = 255;

/// A query, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query without its question mark.
    pub fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The name of each parameter.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

/// A visibility by its name.
pub fn visibility(name: &str) -> Result<Visibility, Problem> {
    Visibility::parse(name).ok_or_else(|| Problem::field("visibility", "private, link or public"))
}

/// A media type; the default where there is none.
pub fn media_type(text: Option<&str>, bytes_max: usize) -> Result<String, Problem> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(UNKNOWN_TYPE);
    if text.len() > bytes_max || !is_media_type(text) {
        return Err(Problem::field("the content type", "a media type such as image/png"));
    }
    Ok(text.to_owned())
}

/// The name in a `Content-Disposition` (RFC 6266): `filename*` before `filename`.
pub fn disposition_name(value: &[u8]) -> Result<Option<String>, Problem> {
    let malformed =
        || Problem::field("content-disposition", "attachment; filename*=UTF-8''NAME in UTF-8");
    let value = std::str::from_utf8(value).map_err(|_| malformed())?;
    let (mut plain, mut extended) = (None, None);
    for (name, value) in parameters(value) {
        match name.to_ascii_lowercase().as_str() {
            "filename" => plain = Some(value),
            "filename*" => extended = Some(extended_value(&value).ok_or_else(malformed)?),
            _ => {}
        }
    }
    Ok(extended.or(plain))
}

/// The parameters behind a value: `; name=token` or `; name="quoted"`.
fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = value.split_once(';').map(|(_, rest)| rest).unwrap_or_default();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, behind) = parameter_value(value.trim_start());
        found.push((name.trim().to_owned(), value));
        rest = behind.trim_start().strip_prefix(';').unwrap_or_default();
    }
    found
}

fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let (value, behind) = text.split_at(end);
        return (value.trim().to_owned(), behind);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

/// `UTF-8''percent-encoded` (RFC 8187).
fn extended_value(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
    charset.eq_ignore_ascii_case("utf-8").then(|| Cow::into_owned(decoded))
}

/// `type/subtype`, with whatever parameters, in visible ASCII.
fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let parts = essence.split_once('/');
    parts.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions() {
        let name = |value: &str| disposition_name(value.as_bytes()).ok().flatten();
        assert_eq!(name("attachment"), None);
        assert_eq!(name("attachment; filename=a.txt").as_deref(), Some("a.txt"));
        assert_eq!(
            name(r#"attachment; filename="a \"b\"; c.txt""#).as_deref(),
            Some("a \"b\"; c.txt")
        );
        let both = "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt; filename=\"x\"";
        assert_eq!(name(both).as_deref(), Some("grüße.txt"));
        assert_eq!(name("attachment; filename=\"grüße.txt\"").as_deref(), Some("grüße.txt"));
        assert_eq!(name("attachment; filename*=UTF-8''%ff"), None);
        assert!(disposition_name(b"a; filename*=x").is_err());
        assert!(disposition_name(b"attachment; filename=\xff").is_err());
    }

    #[test]
    fn media_types() {
        let read = |text| media_type(Some(text), TYPE_BYTES_MAX).ok();
        for good in ["text/plain; charset=utf-8", "image/svg+xml", "application/x.y-z"] {
            assert_eq!(read(good).as_deref(), Some(good));
        }
        assert_eq!(read("").as_deref(), Some(UNKNOWN_TYPE));
        for bad in
            ["text", "text/", "/plain", "te xt/plain", "text/plain\r\nx: y", "text/pl\u{e4}in"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn queries() {
        let query = Query::parse("name=a+b%20c&visibility=link&name=x&flag");
        assert_eq!((query.get("name"), query.get("flag")), (Some("a b c"), Some("")));
        assert_eq!(query.names().collect::<Vec<_>>(), ["name", "visibility", "name", "flag"]);
        assert_eq!(Query::parse("").names().count(), 0);
    }
}

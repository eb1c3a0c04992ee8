//! Heads as bytes: a request line or none, then field lines, each ended by CRLF.
//!
//! One byte string crosses a WebAssembly boundary several times faster than a list of pairs.

use memchr::memchr;

/// A request head, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Path and query, as sent.
    pub target: &'a str,
    /// The fields.
    pub fields: FieldLines<'a>,
}

impl<'a> RequestHead<'a> {
    /// Splits a head as a driver hands it over. `None` where it is no such head.
    pub fn parse(head: &'a [u8]) -> Option<Self> {
        let end = memchr(b'\n', head)?;
        let (line, fields) = head.split_at_checked(end + 1)?;
        let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
        let (method, rest) = line.split_once(' ')?;
        let (target, _version) = rest.split_once(' ')?;
        Some(Self { method, target, fields: FieldLines(fields) })
    }
}

/// Field lines, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct FieldLines<'a>(&'a [u8]);

impl<'a> FieldLines<'a> {
    /// Takes field lines as a driver hands them over.
    pub const fn new(lines: &'a [u8]) -> Self {
        Self(lines)
    }

    /// Name and value of each field line, in order. A value may hold bytes that are no UTF-8
    /// (obs-text of RFC 9110, section 5.5).
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                let end = memchr(b'\n', rest)?;
                let (line, after) = rest.split_at_checked(end + 1)?;
                rest = after;
                if let Some(field) = split_line(line) {
                    return Some(field);
                }
            }
        })
    }

    /// The value of the first field of this name; `None` also where it is no UTF-8.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let (_, value) = self.iter().find(|(found, _)| *found == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// Whether a `Content-Type` is one of these, whatever its parameters are.
pub(crate) fn is_of_type(fields: FieldLines<'_>, types: &[&str]) -> bool {
    let essence = fields.get("content-type").and_then(|kind| kind.split(';').next());
    let essence = essence.unwrap_or_default().trim();
    types.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

/// Field lines that were gone through once, for who asks for many.
#[derive(Clone, Debug)]
pub(crate) struct FieldIndex<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> FieldIndex<'a> {
    pub(crate) fn new(lines: FieldLines<'a>) -> Self {
        let mut fields = Vec::with_capacity(32);
        fields.extend(lines.iter());
        Self(fields)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of the first field of this name, whatever bytes it holds.
    pub(crate) fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The value of the first field of this name; `None` also where it is no UTF-8.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }
}

fn split_line(line: &[u8]) -> Option<(&str, &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let colon = memchr(b':', line)?;
    let name = std::str::from_utf8(line.get(..colon)?).ok()?;
    Some((name, without_ows(line.get(colon + 1..)?)))
}

/// Without the white space around it: that of HTTP (RFC 9110, section 5.6.3), and no other, so that
/// nobody else reads something else.
pub(crate) fn without_ows(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Which bytes are control characters (RFC 9110, section 5.5); a tabulator may be in a value.
pub(crate) const fn is_control(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f)
}

/// Field lines under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// None yet.
    pub fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    /// A request head that begins with this line.
    pub fn for_request(method: &str, target: &str) -> Self {
        let mut fields = Self::new();
        for part in [method, " ", target, " HTTP/1.1\r\n"] {
            fields.0.extend_from_slice(part.as_bytes());
        }
        fields
    }

    /// Adds a field line. A value with control characters would change the message's framing
    /// (RFC 9110, section 5.5) and is left out whole.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        // Without an early end, so that many bytes are looked at together.
        if value.iter().fold(false, |found, byte| found | is_control(*byte)) {
            return;
        }
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// Adds a field line with a number.
    pub fn push_number(&mut self, name: &str, value: u64) {
        self.push(name, itoa::Buffer::new().format(value));
    }

    /// Adds a field line of our own making, which holds nothing from outside.
    pub(crate) fn push_args(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        for part in [name, ": "] {
            self.0.extend_from_slice(part.as_bytes());
        }
        let _ = std::io::Write::write_fmt(&mut self.0, value); // Writing to a Vec never fails.
        self.0.extend_from_slice(b"\r\n");
    }

    /// The lines.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Whether a field belongs to one connection and never passes on (RFC 9110, section 7.6.1).
/// `Connection` may name more; see [`is_named_by_connection`].
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether the `Connection` field names this field.
pub fn is_named_by_connection(fields: FieldLines<'_>, name: &str) -> bool {
    fields
        .iter()
        .filter(|(found, _)| *found == "connection")
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_a_head() {
        let head = b"GET /files?a=b HTTP/1.1\r\nhost: x\r\naccept:  a, b \r\nhost: y\r\n";
        let head = RequestHead::parse(head).unwrap();
        assert_eq!((head.method, head.target), ("GET", "/files?a=b"));
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [("host", &b"x"[..]), ("accept", b"a, b"), ("host", b"y")]);
        assert_eq!(head.fields.get("accept"), Some("a, b"));
        assert_eq!(head.fields.get("range"), None);
    }

    #[test]
    fn what_is_no_head() {
        for head in [&b"GET /"[..], b"GET\r\n", b"GET /\xff HTTP/1.1\r\n", b""] {
            assert!(RequestHead::parse(head).is_none(), "{head:?}");
        }
    }

    #[test]
    fn no_value_breaks_out_of_its_line() {
        let mut fields = Fields::new();
        fields.push("a", "1\r\nset-cookie: x");
        fields.push("b", "2");
        assert_eq!(fields.into_bytes(), b"b: 2\r\n");
    }

    #[test]
    fn connection_options() {
        let lines = FieldLines::new(b"connection: close, X-Secret\r\n");
        assert!(is_named_by_connection(lines, "x-secret"));
        assert!(!is_named_by_connection(lines, "x-other"));
    }
}

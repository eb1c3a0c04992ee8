//! Renames what differs between two runs of one scenario, so that the rest can be compared.
//!
//! Ids and random words get numbers in the order in which the scenario sees them; times, tokens,
//! keys, signatures and counters lose their value and keep their place.

/// Characters of an id (Crockford base32), of an HTTP-date, and of a time up to its seconds.
const ID_CHARS: usize = 26;
const DATE_SHAPE: &str = "aaa, 00 aaa 0000 00:00:00 aaa";
const TIME_SHAPE: &str = "0000-00-00a00:00:00";
/// Characters of `"id":"` and of the id of somebody in an audit log, in hexadecimal.
const PERSON_CHARS: usize = 6 + 32;

/// Parameters that are counted or depend on the time: field, parameter.
const COUNTERS: [(&str, &str); 4] = [
    ("ratelimit", ";r="),
    ("ratelimit", ";t="),
    ("cache-status", "; ttl="),
    // For how long an upload is still there.
    ("upload-limit", "max-age="),
];

/// A revision of relations: how many changes there were, of all scenarios.
pub(crate) const REVISION: &str = "\"revision\":{revision}";

/// What a scenario has seen so far.
#[derive(Default)]
pub struct Names {
    /// What stands for the server, by its own names.
    literal: Vec<(String, String)>,
    ids: Vec<String>,
    words: usize,
}

impl Names {
    /// Lets `{edge}` stand for the server's host and port.
    pub fn edge(&mut self, authority: &str) {
        if !self.literal.iter().any(|(text, _)| text == authority) {
            self.literal.push((authority.to_owned(), "{edge}".to_owned()));
        }
    }

    /// Lets a number stand for a random word.
    pub fn word(&mut self, word: &str) {
        self.words += 1;
        self.literal.push((word.to_owned(), format!("{{word {}}}", self.words)));
    }

    /// A field's value with everything renamed.
    pub fn field(&mut self, name: &str, value: &str) -> String {
        let mut value = match name {
            "age" => "{age}".to_owned(),
            _ => self.text(value),
        };
        for (_, parameter) in COUNTERS.iter().filter(|(field, _)| *field == name) {
            value = without_number(&value, parameter);
        }
        value
    }

    /// A text with everything renamed.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (literal, name) in &self.literal {
            text = text.replace(literal, name);
        }
        let (mut renamed, mut rest) = (String::new(), text.as_str());
        while let Some(next) = rest.chars().next() {
            let is_inside = renamed.ends_with(|last: char| last.is_ascii_alphanumeric());
            let found = if is_inside { None } else { self.found(rest) };
            let taken = found.as_ref().map_or(next.len_utf8(), |(length, _)| *length);
            let (this, after) = rest.split_at(taken);
            renamed.push_str(found.as_ref().map_or(this, |(_, name)| name));
            rest = after;
        }
        renamed
    }

    /// What `text` begins with, if that is to be renamed: its length, and its name.
    fn found(&mut self, text: &str) -> Option<(usize, String)> {
        if let Some(id) = id(text) {
            return Some((ID_CHARS, format!("{{id {}}}", self.number(id))));
        }
        let found = [
            (person(text), "\"id\":\"{person}\""),
            (date(text), "{date}"),
            (time(text), "{time}"),
            (token(text), "{token}"),
            (after(text, "begins=", |c| c.is_ascii_digit()), "begins={time}"),
            (after(text, "issued=", |c| c.is_ascii_digit()), "issued={time}"),
            (after(text, "expires=", |c| c.is_ascii_digit()), "expires={time}"),
            (after(text, "signature=", is_base64url), "signature={signature}"),
            (after(text, "__Host-outport=", is_cookie), "__Host-outport={session}"),
            (after(text, "__Host-outport-refresh=", is_cookie), "__Host-outport-refresh={session}"),
            (after(text, "\"challenge\":\"", is_base64url), "\"challenge\":\"{challenge}"),
            (after(text, "data-challenge=\"", is_base64url), "data-challenge=\"{challenge}"),
            (after(text, "/passes/", is_cookie), "/passes/{pass}"),
            (after(text, "\"pass\":\"", is_cookie), "\"pass\":\"{pass}"),
            (after(text, "outport-pass=", is_cookie), "outport-pass={pass}"),
            (after(text, "Max-Age=", |c| c.is_ascii_digit()), "Max-Age={seconds}"),
            (after(text, "outport-proof=", is_cookie), "outport-proof={proof}"),
            // When a session expires.
            (after(text, "\"expires\":", |c| c.is_ascii_digit()), "\"expires\":{time}"),
            (after(text, "outport-part-", |c| c.is_ascii_hexdigit()), "outport-part-{boundary}"),
            (after(text, "\"revision\":", |c| c.is_ascii_digit()), REVISION),
            (after(text, "cursor=", is_base64url), "cursor={cursor}"),
            (after(text, "\"cursor\":\"", is_base64url), "\"cursor\":\"{cursor}"),
            // Of an audit log, in which nearly everything is random, or the hash of what is.
            (after(text, "\"session\":\"", is_hex), "\"session\":\"{session}"),
            (after(text, "\"person\":\"", is_hex), "\"person\":\"{person}"),
            (after(text, "\"salt\":\"", is_base64url), "\"salt\":\"{salt}"),
            (after(text, "\"previous\":\"", is_hex), "\"previous\":\"{hash}"),
            (after(text, "\"hash\":\"", is_hex), "\"hash\":\"{hash}"),
            (after(text, "\"bytes\":\"", is_base64url), "\"bytes\":\"{bytes}"),
            // Of a key set (RFC 7517): each server has a key of its own.
            (after(text, "\"kid\":\"", is_base64url), "\"kid\":\"{key}"),
            (after(text, "\"x\":\"", is_base64url), "\"x\":\"{key}"),
        ];
        found.into_iter().find_map(|(length, name)| Some((length?, name.to_owned())))
    }

    fn number(&mut self, id: &str) -> usize {
        let known = self.ids.iter().position(|known| known == id);
        1 + known.unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        })
    }
}

fn id(text: &str) -> Option<&str> {
    let is_crockford =
        |c: char| matches!(c, '0'..='9' | 'A'..='Z') && !matches!(c, 'I' | 'L' | 'O' | 'U');
    let goes_on = text.get(ID_CHARS..)?.starts_with(|c: char| c.is_ascii_alphanumeric());
    let id = text.get(..ID_CHARS)?;
    (id.chars().all(is_crockford) && !goes_on).then_some(id)
}

/// An HTTP-date (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<usize> {
    begins(text, DATE_SHAPE).then_some(DATE_SHAPE.len())
}

/// A time (RFC 3339) with `Z` at its end.
fn time(text: &str) -> Option<usize> {
    let rest = text.get(TIME_SHAPE.len()..).filter(|_| begins(text, TIME_SHAPE))?;
    let fraction = rest.bytes().take_while(|b| matches!(b, b'.' | b'0'..=b'9')).count();
    rest.get(fraction..)?.starts_with('Z').then_some(TIME_SHAPE.len() + fraction + 1)
}

/// Three parts of base64url, the first of which is a JSON object.
fn token(text: &str) -> Option<usize> {
    let token =
        &text[..text.bytes().take_while(|b| *b == b'.' || is_base64url(*b as char)).count()];
    (token.starts_with("eyJ") && token.matches('.').count() == 2).then_some(token.len())
}

/// Whether the text's beginning has digits and letters where the shape has them.
fn begins(text: &str, shape: &str) -> bool {
    let class = |byte: u8| match byte {
        b'0'..=b'9' => b'0',
        b'a'..=b'z' | b'A'..=b'Z' => b'a',
        other => other,
    };
    text.len() >= shape.len() && text.bytes().map(class).zip(shape.bytes()).all(|(a, b)| a == b)
}

/// The length of `key` and a value that is not empty.
fn after(text: &str, key: &str, is_value: impl Fn(char) -> bool) -> Option<usize> {
    let value = text.strip_prefix(key)?.chars().take_while(|c| is_value(*c)).count();
    (value > 0).then_some(key.len() + value)
}

/// The id of somebody in an audit log.
fn person(text: &str) -> Option<usize> {
    let length = after(text, "\"id\":\"", is_hex).filter(|length| *length == PERSON_CHARS)?;
    text.get(length..)?.starts_with('"').then_some(length + 1)
}

fn is_hex(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

fn is_cookie(c: char) -> bool {
    c == '.' || is_base64url(c)
}

fn is_base64url(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// The number after `parameter`, without its value.
fn without_number(value: &str, parameter: &str) -> String {
    let Some((before, after)) = value.split_once(parameter) else { return value.to_owned() };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}{parameter}{{number}}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_words_are_numbered_as_they_come() {
        let mut names = Names::default();
        names.edge("127.0.0.1:80");
        names.word("8f2b");
        let (a, b) = ("0000000000000000000000000A", "0000000000000000000000000B");
        assert_eq!(
            names.text(&format!("/files/{b}?name=8f2b.txt")),
            "/files/{id 1}?name={word 1}.txt"
        );
        assert_eq!(names.text(&format!("\"{a}\", \"{b}\"")), "\"{id 2}\", \"{id 1}\"");
        assert_eq!(names.text("http://127.0.0.1:80/"), "http://{edge}/");
        // Not an id: too long, too short, or with a letter that ids do not have.
        for same in [&format!("{a}0"), &a[1..], &a.replace('A', "U"), &format!("x{a}")] {
            assert_eq!(names.text(same), same);
        }
    }

    #[test]
    fn what_depends_on_the_time_keeps_its_place() {
        let mut names = Names::default();
        for (text, renamed) in [
            ("Tue, 24 Nov 2026 10:07:25 GMT", "{date}"),
            ("\"2026-11-24T10:07:25.123Z\",", "\"{time}\","),
            ("a 2026-11-24T10:07:25Z", "a {time}"),
            ("?expires=1764000000&signature=a-_b", "?expires={time}&signature={signature}"),
            ("?expires=&signature=", "?expires=&signature="),
            ("Bearer eyJh.b-c.d_e", "Bearer {token}"),
            ("día 2026-11-24", "día 2026-11-24"),
            (
                "{\"id\":\"00112233445566778899aabbccddeeff\",\"salt\":\"a-_b\"}",
                "{\"id\":\"{person}\",\"salt\":\"{salt}\"}",
            ),
            ("{\"id\":\"0011\"}", "{\"id\":\"0011\"}"),
            (
                "\"previous\":\"00ab\",\"hash\":\"cd\"",
                "\"previous\":\"{hash}\",\"hash\":\"{hash}\"",
            ),
        ] {
            assert_eq!(names.text(text), renamed);
        }
    }

    #[test]
    fn counters_of_fields_lose_their_value() {
        let mut names = Names::default();
        for (name, value, renamed) in [
            ("ratelimit", "\"read\";r=99;t=1", "\"read\";r={number};t={number}"),
            ("ratelimit-policy", "\"read\";q=99;w=1", "\"read\";q=99;w=1"),
            ("cache-status", "outport; hit; ttl=59", "outport; hit; ttl={number}"),
            ("upload-limit", "max-size=9, max-age=604799", "max-size=9, max-age={number}"),
            ("age", "3", "{age}"),
        ] {
            assert_eq!(names.field(name, value), renamed);
        }
    }
}

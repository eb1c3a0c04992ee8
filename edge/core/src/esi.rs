//! The language of composed pages: a subset of ESI 1.0 (W3C Note, 4 August 2001).
//!
//! `include` with `src`, `alt`, `onerror` and `maxwait`; `try`, `remove`, `comment`, `vars` and
//! `<!--esi -->`. The only variables are what a token says of who asks, once it was verified:
//! nothing that a client sends by itself gets into a page. Whatever else begins with `<esi:` is an
//! error and not passed over, so that nobody relies on what is not done.

use std::fmt::Write as _;

use memchr::{memchr, memchr3, memmem};
use outport_wire::identity::Identity;
use serde::{Deserialize, Serialize};

use crate::config::Claim;

/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 8 << 10;
/// How deep elements may be in each other.
const DEPTH_MAX: usize = 8;
/// The longest time that an `include` may give itself, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// It goes into the page as it is.
    Text(Vec<u8>),
    /// Something else takes its place.
    Include(Include),
    /// `attempt`, unless something of it can't be had; then `except`.
    Try { attempt: Vec<Item>, except: Vec<Item> },
}

/// What is to take a place in the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Include {
    /// A reference, as in the template, its variables replaced.
    pub(crate) src: Reference,
    /// What is tried if that can't be had.
    pub(crate) alt: Option<Reference>,
    /// Nothing takes the place if neither can be had; otherwise the page breaks off.
    pub(crate) continues: bool,
    /// How long each may take to begin, in milliseconds, if that is said.
    pub(crate) max_wait_ms: Option<u64>,
}

/// A reference and the claims that it was made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) text: String,
    pub(crate) claims: Vec<Claim>,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Where, in bytes from its beginning.
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// Takes a template apart for whom it is composed.
pub(crate) fn parse(template: &[u8], reader: Option<&Identity>) -> Result<Vec<Item>, Wrong> {
    let mut parser = Parser { template, at: 0, reader, commented: false };
    let items = parser.items(None, false, 0)?;
    match parser.commented {
        true => Err(parser.wrong("`<!--esi` has no `-->`")),
        false => Ok(items),
    }
}

/// How many includes there are, whether or not they come to be asked for.
pub(crate) fn includes(items: &[Item]) -> usize {
    items
        .iter()
        .map(|item| match item {
            Item::Text(_) => 0,
            Item::Include(include) => 1 + usize::from(include.alt.is_some()),
            Item::Try { attempt, except } => includes(attempt) + includes(except),
        })
        .sum()
}

struct Parser<'a> {
    template: &'a [u8],
    at: usize,
    reader: Option<&'a Identity>,
    /// It is within `<!--esi`.
    commented: bool,
}

/// A tag: its name without `esi:`, its attributes, and whether it closes itself.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
    is_empty: bool,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a [u8] {
        self.template.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { at: self.at, what: what.into() }
    }

    /// Reads on to the end tag of an element, or to the template's end.
    fn items(
        &mut self,
        end: Option<&str>,
        in_vars: bool,
        depth: usize,
    ) -> Result<Vec<Item>, Wrong> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(format!("elements are more than {DEPTH_MAX} deep")));
        }
        let mut items = Vec::new();
        loop {
            let rest = self.rest();
            let next = memchr3(b'<', b'-', b'$', rest).unwrap_or(rest.len());
            let (text, rest) = rest.split_at(next);
            push_text(&mut items, text);
            self.at += next;
            if rest.is_empty() {
                return match end {
                    Some(name) => Err(self.wrong(format!("`<esi:{name}>` is not closed"))),
                    None => Ok(items),
                };
            }
            if rest.starts_with(b"</esi:") {
                return self.end_tag(end).map(|()| items);
            }
            if rest.starts_with(b"<esi:") {
                self.element(&mut items, in_vars, depth)?;
            } else if rest.starts_with(b"<!--esi") && !self.commented {
                (self.commented, self.at) = (true, self.at + b"<!--esi".len());
            } else if rest.starts_with(b"-->") && self.commented {
                (self.commented, self.at) = (false, self.at + b"-->".len());
            } else if in_vars && rest.starts_with(b"$(") {
                let end = memchr(b'\n', rest).unwrap_or(rest.len()).min(TAG_BYTES_MAX);
                let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default());
                let (value, length, _) = self.variable(&line)?;
                push_text(&mut items, escaped(&value).as_bytes());
                self.at += length;
            } else {
                push_text(&mut items, rest.get(..1).unwrap_or_default());
                self.at += 1;
            }
        }
    }

    fn element(&mut self, items: &mut Vec<Item>, in_vars: bool, depth: usize) -> Result<(), Wrong> {
        let begin = self.at;
        let tag = self.tag()?;
        match &*tag.name {
            "include" => {
                let include = self.include(&tag).map_err(|wrong| Wrong { at: begin, ..wrong })?;
                items.push(Item::Include(include));
                self.close_empty(&tag)
            }
            "comment" => self.close_empty(&tag),
            "remove" if !tag.is_empty => {
                let end: &[u8] = b"</esi:remove>";
                let Some(found) = memmem::find(self.rest(), end) else {
                    return Err(self.wrong("`<esi:remove>` is not closed"));
                };
                self.at += found + end.len();
                Ok(())
            }
            "vars" if !tag.is_empty => {
                items.extend(self.items(Some("vars"), true, depth + 1)?);
                Ok(())
            }
            "try" if !tag.is_empty => {
                let attempt = self.branch("attempt", in_vars, depth)?;
                let except = self.branch("except", in_vars, depth)?;
                self.blank();
                self.end_tag(Some("try"))?;
                items.push(Item::Try { attempt, except });
                Ok(())
            }
            "remove" | "vars" | "try" => {
                self.at = begin;
                Err(self.wrong(format!("`<esi:{}/>` has no content", tag.name)))
            }
            name => {
                self.at = begin;
                Err(self.wrong(format!(
                    "`<esi:{name}>` is not known here: it takes include, try, remove, comment and vars"
                )))
            }
        }
    }

    /// One of the two elements that `try` has.
    fn branch(&mut self, name: &str, in_vars: bool, depth: usize) -> Result<Vec<Item>, Wrong> {
        self.blank();
        let begin = self.at;
        if self.rest().starts_with(b"<esi:") {
            let tag = self.tag()?;
            match tag.is_empty {
                _ if tag.name != name => {}
                true => return Ok(Vec::new()),
                false => return self.items(Some(name), in_vars, depth + 1),
            }
        }
        self.at = begin;
        Err(self
            .wrong(format!("`<esi:try>` has an attempt and an except: `<esi:{name}>` is missing")))
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    fn end_tag(&mut self, expected: Option<&str>) -> Result<(), Wrong> {
        let expected = expected.unwrap_or_default();
        let tag = format!("</esi:{expected}>");
        if expected.is_empty() || !self.rest().starts_with(tag.as_bytes()) {
            return Err(self.wrong(match expected {
                "" => "an element ends that did not begin".to_owned(),
                name => format!("`</esi:{name}>` is missing"),
            }));
        }
        self.at += tag.len();
        Ok(())
    }

    /// The end of an element that has no content.
    fn close_empty(&mut self, tag: &Tag) -> Result<(), Wrong> {
        if tag.is_empty {
            return Ok(());
        }
        self.blank();
        self.end_tag(Some(&tag.name))
    }

    fn include(&self, tag: &Tag) -> Result<Include, Wrong> {
        let wrong = |what: String| self.wrong(what);
        let mut include =
            Include { src: Reference::default(), alt: None, continues: false, max_wait_ms: None };
        let mut has_src = false;
        for (name, value) in &tag.attributes {
            match &**name {
                "src" => (include.src, has_src) = (self.reference(value)?, true),
                "alt" => include.alt = Some(self.reference(value)?),
                "onerror" if value == "continue" => include.continues = true,
                "onerror" => return Err(wrong("`onerror` takes `continue`".to_owned())),
                "maxwait" => {
                    let most = value.parse().ok().filter(|ms| (1..=WAIT_MS_MAX).contains(ms));
                    let takes = || format!("`maxwait` takes 1 to {WAIT_MS_MAX} milliseconds");
                    include.max_wait_ms = Some(most.ok_or_else(|| wrong(takes()))?);
                }
                _ => {
                    return Err(wrong(format!(
                        "`include` does not take `{name}`: it takes src, alt, onerror and maxwait"
                    )));
                }
            }
        }
        match has_src {
            true => Ok(include),
            false => Err(wrong("`include` needs `src`".to_owned())),
        }
    }

    /// Replaces the variables of a reference.
    fn reference(&self, value: &str) -> Result<Reference, Wrong> {
        let mut reference = Reference::default();
        let mut rest = value;
        while let Some((text, variable)) = rest.split_once("$(") {
            reference.text.push_str(text);
            let (value, length, claim) =
                self.variable(rest.get(text.len()..).unwrap_or(variable))?;
            reference.text.push_str(&encoded(&value));
            reference.claims.push(claim);
            rest = rest.get(text.len() + length..).unwrap_or_default();
        }
        reference.text.push_str(rest);
        // Anything else would be more than a reference in the head of a request.
        match reference.text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(reference),
            false => Err(self.wrong(format!(
                "\"{}\" is no reference: it takes visible ASCII characters, others percent-encoded",
                reference.text.escape_debug()
            ))),
        }
    }

    /// Reads `$(CLAIM{name})` or `$(CLAIM{name}|default)`: its value, its length, and the claim.
    fn variable(&self, text: &str) -> Result<(String, usize, Claim), Wrong> {
        let end = text.find(')').ok_or_else(|| self.wrong("`$(` has no `)`"))?;
        let inside = text.get(2..end).unwrap_or_default();
        let (variable, default) = match inside.split_once('|') {
            Some((variable, default)) => (variable, default.trim_matches('\'')),
            None => (inside, ""),
        };
        let name = variable.strip_prefix("CLAIM{").and_then(|rest| rest.strip_suffix('}'));
        let claim = name.and_then(Claim::named).ok_or_else(|| {
            self.wrong(format!(
                "`$({variable})` is not known here: it takes $(CLAIM{{subject}}) and $(CLAIM{{tenant}})"
            ))
        })?;
        let value = self.reader.map_or(default, |reader| claim.of(reader));
        Ok((value.to_owned(), end + 1, claim))
    }

    /// Reads a tag.
    fn tag(&mut self) -> Result<Tag, Wrong> {
        let rest = self.rest();
        let Some(text) = tag_text(rest) else {
            return Err(self.wrong(format!(
                "a tag has no end, is longer than {TAG_BYTES_MAX} bytes, or is no UTF-8"
            )));
        };
        let length = text.len() + 2;
        let (text, is_empty) = match text.strip_suffix('/') {
            Some(text) => (text, true),
            None => (text, false),
        };
        let text = text.strip_prefix("esi:").unwrap_or(text);
        let (name, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        let tag = Tag { name: name.to_owned(), attributes: self.attributes(rest)?, is_empty };
        self.at += length;
        Ok(tag)
    }

    fn attributes(&self, mut text: &str) -> Result<Vec<(String, String)>, Wrong> {
        let mut attributes: Vec<(String, String)> = Vec::new();
        loop {
            text = text.trim_start();
            if text.is_empty() {
                return Ok(attributes);
            }
            let attribute = text.split_once('=').and_then(|(name, rest)| {
                let rest = rest.trim_start();
                let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
                let (value, after) = rest.get(1..)?.split_once(quote)?;
                Some((name.trim_end(), value, after))
            });
            let Some((name, value, after)) = attribute else {
                return Err(self.wrong("an attribute is not written as name=\"value\""));
            };
            if attributes.iter().any(|(known, _)| known == name) {
                return Err(self.wrong(format!("`{name}` is there twice")));
            }
            attributes.push((name.to_owned(), unescaped(value)));
            text = after;
        }
    }
}

/// What is between `<` and `>`, which may be within quotes.
fn tag_text(rest: &[u8]) -> Option<&str> {
    let mut quote = None;
    let end = rest.iter().take(TAG_BYTES_MAX).position(|byte| {
        match quote {
            Some(open) if *byte == open => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(*byte),
            _ => {}
        }
        quote.is_none() && *byte == b'>'
    })?;
    std::str::from_utf8(rest.get(1..end)?).ok()
}

fn push_text(items: &mut Vec<Item>, text: &[u8]) {
    match items.last_mut() {
        _ if text.is_empty() => {}
        Some(Item::Text(before)) => before.extend_from_slice(text),
        _ => items.push(Item::Text(text.to_vec())),
    }
}

/// The references of characters that an attribute of XML may have.
const REFERENCES: [(&str, char); 5] =
    [("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\''), ("&amp;", '&')];

fn unescaped(value: &str) -> String {
    REFERENCES.iter().fold(value.to_owned(), |value, (reference, character)| {
        value.replace(reference, character.encode_utf8(&mut [0; 4]))
    })
}

/// As text, or as an attribute's value, of HTML and XML.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\'' => text.push_str("&#39;"),
            _ => match REFERENCES.iter().find(|(_, known)| *known == character) {
                Some((reference, _)) => text.push_str(reference),
                None => text.push(character),
            },
        }
    }
    text
}

/// As part of a URI (RFC 3986, section 2.3).
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}"); // Writing to a String never fails.
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader() -> Identity {
        Identity::new("acme & co", "o'neil/<1>", Default::default()).unwrap()
    }

    fn text(text: &str) -> Item {
        Item::Text(text.into())
    }

    fn include(src: &str) -> Include {
        let src = Reference { text: src.to_owned(), claims: Vec::new() };
        Include { src, alt: None, continues: false, max_wait_ms: None }
    }

    fn parsed(template: &str) -> Vec<Item> {
        parse(template.as_bytes(), Some(&reader())).unwrap()
    }

    #[test]
    fn what_is_no_element_stays() {
        for template in
            ["", "a", "<p>a - b --> c</p>", "<!-- a -->", "$(CLAIM{subject})", "<", "a<e"]
        {
            let expected: Vec<_> =
                (!template.is_empty()).then(|| text(template)).into_iter().collect();
            assert_eq!(parsed(template), expected, "{template}");
        }
        assert_eq!(parse(b"\xff<b>\xfe", None).unwrap(), [Item::Text(b"\xff<b>\xfe".to_vec())]);
    }

    #[test]
    fn elements() {
        let all = Include {
            alt: Some(Reference { text: "/c".to_owned(), claims: Vec::new() }),
            continues: true,
            max_wait_ms: Some(300),
            ..include("/b?x=1&y=\"2\"")
        };
        for (template, expected) in [
            (
                "a<esi:include src=\"/b\"/>c",
                vec![text("a"), Item::Include(include("/b")), text("c")],
            ),
            ("<esi:include src='/b' ></esi:include>", vec![Item::Include(include("/b"))]),
            (
                "<esi:include src='/b?x=1&amp;y=\"2\"' alt=\"/c\" onerror=\"continue\"\n maxwait=\"300\" />",
                vec![Item::Include(all)],
            ),
            ("a<esi:remove><esi:include/></esi:remove>b", vec![text("ab")]),
            ("a<esi:comment text=\">\"/>b", vec![text("ab")]),
            (
                "<!--esi <b><esi:include src=\"/b\"/>--></b>-->",
                vec![text(" <b>"), Item::Include(include("/b")), text("</b>-->")],
            ),
            (
                "<esi:try>\n<esi:attempt>a<esi:include src='/b'/></esi:attempt> <esi:except>c</esi:except></esi:try>",
                vec![Item::Try {
                    attempt: vec![text("a"), Item::Include(include("/b"))],
                    except: vec![text("c")],
                }],
            ),
            (
                "<esi:try><esi:attempt/><esi:except/></esi:try>",
                vec![Item::Try { attempt: vec![], except: vec![] }],
            ),
        ] {
            assert_eq!(parsed(template), expected, "{template}");
        }
    }

    #[test]
    fn variables_are_written_so_that_they_stay_values() {
        let vars =
            "<esi:vars>$(CLAIM{subject}) of $(CLAIM{tenant}), $5 $(CLAIM{subject}|x)</esi:vars>$(a";
        assert_eq!(
            parsed(vars),
            [text("o&#39;neil/&lt;1&gt; of acme &amp; co, $5 o&#39;neil/&lt;1&gt;$(a")]
        );
        let nobody =
            parse(b"<esi:vars>$(CLAIM{subject}|'a guest')$(CLAIM{tenant})</esi:vars>", None);
        assert_eq!(nobody.unwrap(), [text("a guest")]);
        let src = Reference {
            text: "/b?c=o%27neil%2F%3C1%3E&d=".to_owned(),
            claims: vec![Claim::Subject],
        };
        assert_eq!(
            parsed("<esi:include src=\"/b?c=$(CLAIM{subject})&d=\"/>"),
            [Item::Include(Include { src, ..include("") })]
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (template, at, what) in [
            ("ab<esi:choose>", 2, "`<esi:choose>` is not known here"),
            ("<esi:include/>", 0, "needs `src`"),
            ("a<esi:include src=/b/>", 1, "name=\"value\""),
            ("<esi:include src='/b' src='/c'/>", 0, "`src` is there twice"),
            ("<esi:include src='/b' ttl='1'/>", 0, "does not take `ttl`"),
            ("<esi:include src='/b' onerror='stop'/>", 0, "`onerror` takes `continue`"),
            ("<esi:include src='/b' maxwait='0'/>", 0, "`maxwait` takes 1 to"),
            ("<esi:include src='/b c'/>", 0, "\"/b c\" is no reference"),
            ("<esi:include src='/b\r\nx: y'/>", 0, "\"/b\\r\\nx: y\" is no reference"),
            ("<esi:include src='/b' alt='/\u{e4}'/>", 0, "is no reference"),
            ("<esi:include src='/b'>c</esi:include>", 22, "`</esi:include>` is missing"),
            ("<esi:include src='/b'", 0, "a tag has no end"),
            ("<esi:remove>", 12, "is not closed"),
            ("<esi:remove/>", 0, "has no content"),
            ("<esi:vars>a", 11, "is not closed"),
            ("</esi:vars>", 0, "ends that did not begin"),
            ("<esi:vars></esi:try>", 10, "`</esi:vars>` is missing"),
            ("<esi:vars>$(HTTP_COOKIE{a})</esi:vars>", 10, "`$(HTTP_COOKIE{a})` is not known"),
            ("<esi:vars>$(CLAIM{subject", 10, "has no `)`"),
            ("<esi:include src='$(CLAIM{email})'/>", 0, "is not known"),
            ("<esi:try><esi:except/></esi:try>", 9, "`<esi:attempt>` is missing"),
            ("<esi:try>x<esi:attempt/>", 9, "`<esi:attempt>` is missing"),
            ("<esi:try><esi:attempt/></esi:try>", 23, "`<esi:except>` is missing"),
            ("a<!--esi b", 10, "has no `-->`"),
        ] {
            let wrong = parse(template.as_bytes(), Some(&reader())).unwrap_err();
            assert!(wrong.what.contains(what), "{template}: {wrong:?}");
            assert_eq!(wrong.at, at, "{template}: {wrong:?}");
        }
        let deep = "<esi:vars>".repeat(DEPTH_MAX + 1);
        assert!(parse(deep.as_bytes(), None).unwrap_err().what.contains("deep"));
    }

    #[test]
    fn includes_count_that_may_never_be_asked_for() {
        let template = "<esi:include src='/a' alt='/b'/><esi:try><esi:attempt><esi:include src='/c'/>\
            </esi:attempt><esi:except><esi:include src='/d'/></esi:except></esi:try>";
        assert_eq!(includes(&parsed(template)), 4);
    }

    proptest! {
        /// What has no element of the language comes out as it went in, and nothing is lost of
        /// what has.
        #[test]
        fn any_template_is_parsed_or_refused(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "<", "-->", "<!--esi", "$(", "$(CLAIM{subject})", "<esi:vars>", "</esi:vars>",
                    "<esi:try>", "<esi:attempt>", "</esi:attempt>", "<esi:except>", "</esi:except>",
                    "</esi:try>", "<esi:include src='/a'/>", "<esi:remove>", "</esi:remove>", "'", "\"", ">",
                ]),
                0..24,
            ),
        ) {
            let template = pieces.concat();
            let parsed = parse(template.as_bytes(), None);
            if !template.contains("esi") {
                prop_assert_eq!(parsed.clone().unwrap().len(), usize::from(!template.is_empty()));
            }
            if let Err(wrong) = parsed {
                prop_assert!(wrong.at <= template.len());
            }
        }
    }
}

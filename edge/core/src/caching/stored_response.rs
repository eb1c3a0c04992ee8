//! What the cache holds under a key of a proxied route: opaque to drivers, read back here.

use outport_wire::time::http_date;
use serde::{Deserialize, Serialize};

use super::directives::{CACHE_CONTROL, Directives, Scope};
use super::fields::Lines;
use super::freshness::{Freshness, Times, is_heuristic};
use super::vary::{Variants, Vary};
use crate::forward::end_to_end;
use crate::head::{FieldLines, Fields};
use crate::purge;

/// For how long it is known what a URI's responses vary on, in milliseconds.
const VARIANTS_MS: u64 = 24 * 60 * 60 * 1000;

/// What a 304 never changes in a stored response: they describe the content that is stored
/// (RFC 9111, section 3.2).
const OF_THE_CONTENT: &[&str] =
    &["content-encoding", "content-length", "content-md5", "content-range", "etag"];

/// An entry of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry<'a> {
    /// A stored response.
    #[serde(borrow)]
    Response(StoredResponse<'a>),
    /// The responses of this URI vary: each has a key of its own.
    Variants(Variants),
    /// The last response was not to be stored: until then it is not looked for another.
    NotStored { until_ms: u64, why: NotStorable },
    /// The upstream failed, which was answered with this status.
    Failed { until_ms: u64, status: u16 },
}

/// A stored response, but for its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredResponse<'a> {
    pub(crate) status: u16,
    /// The field lines, those of the connection and `Age` left out.
    fields: &'a [u8],
    pub(crate) freshness: Freshness,
}

/// What of a request decides whether its response may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// It has a field `Authorization`.
    pub(crate) authorized: bool,
    /// It says `no-store`.
    pub(crate) no_store: bool,
}

/// A response that may be stored.
pub(crate) struct Storable {
    pub(crate) status: u16,
    fields: Vec<u8>,
    pub(crate) freshness: Freshness,
    /// The selecting fields, if it varies.
    pub(crate) varies_on: Option<Vec<String>>,
}

impl Storable {
    /// Decides whether a response to GET may be stored (RFC 9111, section 3), and what of it.
    pub(crate) fn read(
        status: u16,
        answer: FieldLines<'_>,
        asked: Asked,
        times: Times,
    ) -> Result<Self, NotStorable> {
        let lines = Lines::new(answer);
        let (directives, field) = Directives::of_response(|name| lines.all(name));
        let is_targeted = field != CACHE_CONTROL;
        let freshness = Freshness::of(status, &lines, &directives, is_targeted, times);
        may_be_stored(status, asked, &directives)?;
        let varies_on = match Vary::read(&lines) {
            Vary::Nothing => None,
            Vary::On(names) => Some(names),
            Vary::Unknown => return Err(NotStorable::Vary),
        };
        purge::given(&lines).ok_or(NotStorable::Tags)?;
        let can_be_validated = status == 200
            && (lines.all("etag").next().is_some() || lines.date_ms("last-modified").is_some());
        if !freshness.is_of_use(times.received_ms) && !can_be_validated {
            return Err(NotStorable::NoUse);
        }
        let fields = stored_fields(answer, &directives, times.received_ms);
        Ok(Self { status, fields, freshness, varies_on })
    }

    /// The entry.
    pub(crate) fn stored(&self) -> StoredResponse<'_> {
        StoredResponse { status: self.status, fields: &self.fields, freshness: self.freshness }
    }
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotStorable {
    /// It, or the request, says so.
    NoStore,
    /// It is for one user only.
    Private,
    /// It answers who has said who they are, and does not say that others may have it.
    Authorized,
    /// It wants its status to be understood, and it is not.
    Status,
    /// It is a part, or the answer to a condition.
    Part,
    /// Nobody can tell whom else it answers.
    Vary,
    /// It would have to be fetched again each time.
    NoUse,
    /// It is larger than what is stored.
    Size,
    /// Nobody said its length, and this driver must know it.
    Length,
    /// It has more tags than are kept, or one that can't be: a purge might miss it.
    Tags,
}

/// Whether nothing that is said forbids to store it.
fn may_be_stored(status: u16, asked: Asked, directives: &Directives) -> Result<(), NotStorable> {
    // With `must-understand` a status decides, and `no-store` is for who does not know it
    // (RFC 9111, section 5.2.2.3).
    if directives.must_understand && !is_understood(status) {
        return Err(NotStorable::Status);
    }
    if directives.no_store && !directives.must_understand || asked.no_store {
        return Err(NotStorable::NoStore);
    }
    if directives.private == Scope::All {
        return Err(NotStorable::Private);
    }
    if matches!(status, 206 | 304) {
        return Err(NotStorable::Part);
    }
    let for_all =
        directives.public || directives.must_revalidate || directives.s_maxage_s.is_some();
    if asked.authorized && !for_all {
        return Err(NotStorable::Authorized);
    }
    Ok(())
}

/// Statuses whose rules this cache keeps.
const fn is_understood(status: u16) -> bool {
    is_heuristic(status) || matches!(status, 302 | 303 | 307 | 400 | 403 | 500 | 502 | 503 | 504)
}

/// The fields that are stored (RFC 9111, section 3.1). When it came is said where the answer did
/// not say it (RFC 9110, section 6.6.1).
fn stored_fields(answer: FieldLines<'_>, directives: &Directives, received_ms: u64) -> Vec<u8> {
    let mut fields = Fields::new();
    let mut dated = false;
    for (name, value) in end_to_end(answer) {
        if name == "age" || directives.private.names(name) || directives.no_cache.names(name) {
            continue;
        }
        dated |= name == "date";
        fields.push(name, value);
    }
    if !dated {
        fields.push("date", http_date(received_ms / 1000));
    }
    fields.into_bytes()
}

impl<'a> StoredResponse<'a> {
    /// The field lines.
    pub(crate) const fn fields(&self) -> FieldLines<'a> {
        FieldLines::new(self.fields)
    }

    /// The tags that its origin gave it.
    pub(crate) fn tags(&self) -> Vec<String> {
        purge::given(&Lines::new(self.fields())).unwrap_or_default()
    }

    /// The same response under another freshness.
    pub(crate) const fn with(self, freshness: Freshness) -> Self {
        Self { freshness, ..self }
    }

    /// The same response with other fields.
    pub(crate) const fn with_fields<'b>(&self, fields: &'b [u8]) -> StoredResponse<'b> {
        StoredResponse { status: self.status, fields, freshness: self.freshness }
    }

    /// The length of the content, where it was said.
    pub(crate) fn length(&self) -> Option<u64> {
        self.fields().get("content-length")?.parse().ok()
    }

    /// The fields of the response as a 304 has confirmed it (RFC 9111, section 4.3.4). What may be
    /// stored of it is then decided as of one that has just come.
    pub(crate) fn confirmed(&self, answer: FieldLines<'_>, times: Times) -> Vec<u8> {
        let dated = answer.get("date").is_some();
        let updates = |name: &str| match name {
            // Where it does not say when it was made, it was just now.
            "date" => true,
            _ => !OF_THE_CONTENT.contains(&name) && answer.iter().any(|(new, _)| new == name),
        };
        let mut fields = Fields::new();
        for (name, value) in self.fields().iter().filter(|(name, _)| !updates(name)) {
            fields.push(name, value);
        }
        for (name, value) in end_to_end(answer) {
            if !OF_THE_CONTENT.contains(&name) {
                fields.push(name, value);
            }
        }
        if !dated {
            fields.push("date", http_date(times.received_ms / 1000));
        }
        fields.into_bytes()
    }
}

impl Entry<'_> {
    /// Reads an entry. What can't be read was written by another version.
    pub(crate) fn decode(head: &[u8]) -> Option<Entry<'_>> {
        postcard::from_bytes(head).ok()
    }

    /// The head, for the cache.
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The same, with the URL by which it can be had again.
    pub(crate) fn encode_from(&self, source: &str) -> Vec<u8> {
        postcard::to_extend(source, self.encode()).unwrap_or_default()
    }

    /// The URL that an encoded response came from.
    pub(crate) fn source(head: &[u8]) -> Option<&str> {
        let (Entry::Response(_), source) = postcard::take_from_bytes(head).ok()? else {
            return None;
        };
        postcard::from_bytes(source).ok()
    }

    /// How long lookups may be left without a leader, in milliseconds.
    pub(crate) fn unled_ms(&self, now_ms: u64) -> u64 {
        match self {
            Self::Response(response) => response.freshness.unled_ms(now_ms),
            Self::Variants(_) => VARIANTS_MS,
            Self::NotStored { until_ms, .. } | Self::Failed { until_ms, .. } => {
                until_ms.saturating_sub(now_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_521_600_000;
    const TIMES: Times = Times { requested_ms: NOW_MS, received_ms: NOW_MS };

    fn read(status: u16, fields: &str, asked: Asked) -> Result<Storable, NotStorable> {
        let fields = format!("{}\r\n", fields.replace('|', "\r\n"));
        Storable::read(status, FieldLines::new(fields.as_bytes()), asked, TIMES)
    }

    fn refusal(status: u16, fields: &str, asked: Asked) -> Option<NotStorable> {
        read(status, fields, asked).err()
    }

    #[test]
    fn what_is_stored() {
        for (status, fields) in [
            (200, "cache-control: max-age=5"),
            (200, "etag: \"a\""),
            (200, "last-modified: Tue, 24 Nov 2026 11:00:00 GMT"),
            (404, "cache-control: max-age=5"),
            (302, "cache-control: max-age=5"),
            (599, "cache-control: max-age=5"),
            (200, "cache-control: max-age=5, no-store, must-understand"),
            (200, "cache-control: no-store|cdn-cache-control: max-age=5"),
            (200, "cache-control: max-age=5, private=\"set-cookie\""),
            (200, "cache-control: no-cache|etag: \"a\""),
            (200, "cache-control: max-age=5|set-cookie: a=b"),
        ] {
            assert_eq!(refusal(status, fields, Asked::default()), None, "{status} {fields}");
        }
    }

    #[test]
    fn what_is_not() {
        for (status, fields, why) in [
            (200, "", NotStorable::NoUse),
            (200, "cache-control: max-age=0", NotStorable::NoUse),
            (200, "cache-control: no-cache", NotStorable::NoUse),
            (201, "last-modified: Tue, 24 Nov 2026 11:00:00 GMT", NotStorable::NoUse),
            (200, "cache-control: max-age=5, no-store", NotStorable::NoStore),
            (200, "cache-control: max-age=5, private", NotStorable::Private),
            (599, "cache-control: max-age=5, must-understand", NotStorable::Status),
            (206, "cache-control: max-age=5", NotStorable::Part),
            (200, "cache-control: max-age=5|vary: *", NotStorable::Vary),
            (200, "cache-control: max-age=5|cdn-cache-control: private", NotStorable::Private),
            (200, "cache-control: max-age=5|cache-tag: a b", NotStorable::Tags),
        ] {
            assert_eq!(refusal(status, fields, Asked::default()), Some(why), "{status} {fields}");
        }
        let no_store = Asked { no_store: true, ..Asked::default() };
        let fresh = "cache-control: max-age=5";
        assert_eq!(refusal(200, fresh, no_store), Some(NotStorable::NoStore));
        let authorized = Asked { authorized: true, ..Asked::default() };
        assert_eq!(refusal(200, fresh, authorized), Some(NotStorable::Authorized));
        for more in ["public", "must-revalidate", "s-maxage=5"] {
            assert_eq!(refusal(200, &format!("{fresh}, {more}"), authorized), None, "{more}");
        }
    }

    #[test]
    fn fields_that_are_stored() {
        let fields = "cache-control: max-age=5, private=\"a\", no-cache=\"b\"|a: 1|b: 2|c: 3|age: 1|\
                      connection: d|d: 4|date: Tue, 24 Nov 2026 12:00:00 GMT|outport-file: x";
        let storable = read(200, fields, Asked::default()).unwrap();
        assert_eq!(
            String::from_utf8(storable.fields).unwrap(),
            "cache-control: max-age=5, private=\"a\", no-cache=\"b\"\r\nc: 3\r\n\
             date: Tue, 24 Nov 2026 12:00:00 GMT\r\n"
        );
        let undated = read(200, "cache-control: max-age=5", Asked::default()).unwrap();
        assert!(undated.stored().fields().get("date").is_some());
    }

    #[test]
    fn a_304_updates_all_but_the_content() {
        let first = "cache-control: max-age=5|etag: \"a\"|content-length: 5|a: 1|a: 2|b: 1";
        let storable = read(200, first, Asked::default()).unwrap();
        let answer = b"cache-control: max-age=9, private=\"c\"\r\netag: \"b\"\r\n\
            content-length: 9\r\na: 3\r\nc: 4\r\nage: 4\r\n";
        let confirmed = storable.stored().confirmed(FieldLines::new(answer), TIMES);
        let validated =
            Storable::read(200, FieldLines::new(&confirmed), Asked::default(), TIMES).unwrap();
        let stored = validated.stored();
        let get = |name| stored.fields().get(name);
        assert_eq!((get("etag"), get("content-length")), (Some("\"a\""), Some("5")));
        assert_eq!((get("a"), get("b"), get("age")), (Some("3"), Some("1"), None));
        assert_eq!(get("c"), None, "it is one user's");
        assert_eq!(stored.fields().iter().filter(|(name, _)| *name == "a").count(), 1);
        assert_eq!(stored.freshness.left_ms(NOW_MS), 5_000);
    }

    #[test]
    fn entries_come_back() {
        let storable = read(200, "cache-control: max-age=5", Asked::default()).unwrap();
        let entry = Entry::Response(storable.stored());
        let head = entry.encode();
        assert_eq!(Entry::decode(&head), Some(entry));
        assert_eq!(Entry::decode(&head[..head.len() - 1]), None);
        assert_eq!(
            Entry::NotStored { until_ms: NOW_MS, why: NotStorable::Private }
                .unled_ms(NOW_MS - 4_000),
            4_000
        );
    }
}

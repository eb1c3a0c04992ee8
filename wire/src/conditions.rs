//! What a GET or HEAD of a file is answered with: conditions (RFC 9110, section 13) and single
//! ranges (section 14). Edge and origin decide it alike.

use serde::{Deserialize, Serialize};

/// A range of bytes, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last byte; never before the first.
    pub last: u64,
}

impl ByteRange {
    /// The number of bytes, at least one.
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// The conditions of a request, each the value of the field of its name.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // Their names are the fields'.
pub struct Conditions<'a> {
    pub if_match: Option<&'a str>,
    pub if_unmodified_since: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
    pub if_range: Option<&'a str>,
    /// Of a GET only: ranges are defined for no other method (section 14.2).
    pub range: Option<&'a str>,
}

/// What there is to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'a> {
    /// A strong entity tag, with its quotes.
    pub etag: &'a str,
    /// The value of `Last-Modified`.
    pub last_modified: &'a str,
    /// Bytes.
    pub length: u64,
}

/// What is delivered of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// 200, all of it.
    Whole,
    /// 206, this part.
    Part(ByteRange),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    RangeNotSatisfiable,
}

impl Delivery {
    /// Decides, in the order of section 13.2.2.
    pub fn decide(conditions: &Conditions<'_>, file: Representation<'_>) -> Self {
        let refused = match conditions.if_match {
            Some(tags) => !matches_strongly(tags, file.etag),
            None => is_later(file.last_modified, conditions.if_unmodified_since) == Some(true),
        };
        if refused {
            return Self::PreconditionFailed;
        }
        let known = match conditions.if_none_match {
            Some(tags) => matches_weakly(tags, file.etag),
            None => is_later(file.last_modified, conditions.if_modified_since) == Some(false),
        };
        if known {
            return Self::NotModified;
        }
        match conditions.range {
            Some(range) if is_current(conditions.if_range, file) => {
                Self::ranged(range, file.length)
            }
            _ => Self::Whole,
        }
    }

    /// One range of bytes. What is malformed, of another unit, or several ranges at once is
    /// passed over, as section 14.2 allows.
    fn ranged(field: &str, length: u64) -> Self {
        let set =
            field.trim().split_once('=').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
        let Some((first, last)) = set.and_then(|(_, set)| set.trim().split_once('-')) else {
            return Self::Whole;
        };
        match (Place::parse(first), Place::parse(last)) {
            (Place::At(first), Place::At(last)) if first > last => Self::Whole,
            (Place::At(first), Place::At(last)) => Self::within(first, last, length),
            (Place::At(first), Place::Nowhere) => Self::within(first, u64::MAX, length),
            (Place::Nowhere, Place::At(0)) => Self::RangeNotSatisfiable,
            (Place::Nowhere, Place::At(suffix)) => {
                Self::within(length.saturating_sub(suffix), u64::MAX, length)
            }
            _ => Self::Whole,
        }
    }

    fn within(first: u64, last: u64, length: u64) -> Self {
        if first >= length {
            return Self::RangeNotSatisfiable;
        }
        Self::Part(ByteRange { first, last: last.min(length - 1) })
    }
}

/// One end of a range.
enum Place {
    At(u64),
    Nowhere,
    Malformed,
}

impl Place {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "" => Self::Nowhere,
            // A number too large to hold lies beyond every file.
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self::At(digits.parse().unwrap_or(u64::MAX))
            }
            _ => Self::Malformed,
        }
    }
}

/// `If-None-Match`: the weak comparison (section 8.8.3.2).
pub fn matches_weakly(tags: &str, etag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// `If-Match`: the strong comparison.
fn matches_strongly(tags: &str, etag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|tag| tag.trim() == etag)
}

/// Whether `If-Range` lets the range be applied (section 13.1.5): the very same tag, or the very
/// same date.
fn is_current(if_range: Option<&str>, file: Representation<'_>) -> bool {
    if_range.is_none_or(|validator| [file.etag, file.last_modified].contains(&validator.trim()))
}

/// Whether the file was changed after the date in a condition. `None` where either is no date:
/// such a condition is passed over (sections 13.1.3 and 13.1.4).
fn is_later(last_modified: &str, date: Option<&str>) -> Option<bool> {
    let date = httpdate::parse_http_date(date?).ok()?;
    let changed = httpdate::parse_http_date(last_modified).ok()?;
    Some(changed > date)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Tue, 24 Nov 2026 06:49:10 GMT";
    const EARLIER: &str = "Mon, 23 Nov 2026 06:49:10 GMT";

    fn decide(conditions: Conditions<'_>) -> Delivery {
        let file = Representation { etag: "\"abc\"", last_modified: DATE, length: 100 };
        Delivery::decide(&conditions, file)
    }

    fn part(first: u64, last: u64) -> Delivery {
        Delivery::Part(ByteRange { first, last })
    }

    #[test]
    fn ranges() {
        for (range, delivery) in [
            ("bytes=0-9", part(0, 9)),
            ("Bytes = 0 - 9", Delivery::Whole),
            ("BYTES=0-9", part(0, 9)),
            ("bytes=90-", part(90, 99)),
            ("bytes=90-1000", part(90, 99)),
            ("bytes=-10", part(90, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=0-99999999999999999999999", part(0, 99)),
            ("bytes=100-", Delivery::RangeNotSatisfiable),
            ("bytes=99999999999999999999999-", Delivery::RangeNotSatisfiable),
            ("bytes=-0", Delivery::RangeNotSatisfiable),
            ("bytes=9-0", Delivery::Whole),
            ("bytes=a-b", Delivery::Whole),
            ("bytes=-", Delivery::Whole),
            ("bytes=0-1,5-6", Delivery::Whole),
            ("bytes=+1-2", Delivery::Whole),
            ("lines=0-9", Delivery::Whole),
            ("0-9", Delivery::Whole),
        ] {
            let conditions = Conditions { range: Some(range), ..Conditions::default() };
            assert_eq!(decide(conditions), delivery, "{range}");
        }
    }

    #[test]
    fn nothing_has_no_ranges() {
        let file = Representation { etag: "\"abc\"", last_modified: DATE, length: 0 };
        for range in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            let conditions = Conditions { range: Some(range), ..Conditions::default() };
            assert_eq!(Delivery::decide(&conditions, file), Delivery::RangeNotSatisfiable);
        }
    }

    #[test]
    fn ranges_of_what_was_seen_before() {
        let decide = |if_range| {
            decide(Conditions {
                range: Some("bytes=0-9"),
                if_range: Some(if_range),
                ..Conditions::default()
            })
        };
        assert_eq!(decide("\"abc\""), part(0, 9));
        assert_eq!(decide(DATE), part(0, 9));
        assert_eq!(decide("\"other\""), Delivery::Whole);
        assert_eq!(decide("W/\"abc\""), Delivery::Whole);
        assert_eq!(decide(EARLIER), Delivery::Whole);
    }

    #[test]
    fn tags() {
        for (tags, delivery) in [
            ("\"abc\"", Delivery::NotModified),
            ("\"x\", W/\"abc\"", Delivery::NotModified),
            ("*", Delivery::NotModified),
            ("\"x\"", Delivery::Whole),
        ] {
            let conditions = Conditions { if_none_match: Some(tags), ..Conditions::default() };
            assert_eq!(decide(conditions), delivery, "{tags}");
        }
        for (tags, delivery) in [
            ("\"x\"", Delivery::PreconditionFailed),
            ("W/\"abc\"", Delivery::PreconditionFailed),
            ("\"x\", \"abc\"", Delivery::Whole),
            ("*", Delivery::Whole),
        ] {
            let conditions = Conditions { if_match: Some(tags), ..Conditions::default() };
            assert_eq!(decide(conditions), delivery, "{tags}");
        }
    }

    #[test]
    fn dates() {
        let modified = |date| Conditions { if_modified_since: Some(date), ..Conditions::default() };
        assert_eq!(decide(modified(DATE)), Delivery::NotModified);
        assert_eq!(decide(modified(EARLIER)), Delivery::Whole);
        assert_eq!(decide(modified("yesterday")), Delivery::Whole);
        let unmodified =
            |date| Conditions { if_unmodified_since: Some(date), ..Conditions::default() };
        assert_eq!(decide(unmodified(EARLIER)), Delivery::PreconditionFailed);
        assert_eq!(decide(unmodified(DATE)), Delivery::Whole);
    }

    #[test]
    fn a_tag_says_more_than_a_date() {
        let known = Conditions { if_none_match: Some("\"x\""), ..Conditions::default() };
        assert_eq!(decide(Conditions { if_modified_since: Some(DATE), ..known }), Delivery::Whole);
        let same = Conditions { if_match: Some("\"abc\""), ..Conditions::default() };
        assert_eq!(
            decide(Conditions { if_unmodified_since: Some(EARLIER), ..same }),
            Delivery::Whole
        );
    }

    #[test]
    fn a_condition_comes_before_the_range() {
        let conditions = Conditions {
            if_none_match: Some("\"abc\""),
            range: Some("bytes=0-9"),
            ..Conditions::default()
        };
        assert_eq!(decide(conditions), Delivery::NotModified);
    }

    /// What a range asks for, byte by byte.
    fn model(first: Option<u64>, last: Option<u64>, length: u64) -> Vec<u64> {
        let is_in = |byte: &u64| match (first, last) {
            (Some(first), last) => first <= *byte && last.is_none_or(|last| *byte <= last),
            (None, Some(suffix)) => length - byte <= suffix,
            (None, None) => true,
        };
        (0..length).filter(is_in).collect()
    }

    proptest! {
        #[test]
        fn a_range_is_the_bytes_it_asks_for(
            first in prop::option::of(0..70_u64),
            last in prop::option::of(0..70_u64),
            length in 0..60_u64,
        ) {
            let said = |end: Option<u64>| end.map(|end| end.to_string()).unwrap_or_default();
            let range = format!("bytes={}-{}", said(first), said(last));
            let file = Representation { etag: "\"abc\"", last_modified: DATE, length };
            let conditions = Conditions { range: Some(&range), ..Conditions::default() };
            let is_none = first.is_none() && last.is_none()
                || matches!((first, last), (Some(first), Some(last)) if first > last);
            let expected = model(first, last, length);
            let delivery = match (expected.first(), expected.last()) {
                _ if is_none => Delivery::Whole,
                (Some(first), Some(last)) => part(*first, *last),
                _ => Delivery::RangeNotSatisfiable,
            };
            prop_assert_eq!(Delivery::decide(&conditions, file), delivery, "{} of {}", range, length);
        }
    }
}

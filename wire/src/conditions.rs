//! What a GET or HEAD of a file is answered with: conditions (RFC 9110, section 13) and ranges
//! (section 14). Edge and origin decide it alike.

use serde::{Deserialize, Serialize};

/// The most ranges of one request that are delivered each by itself. Who asks for more is sent the
/// whole: a few hundred small ranges would cost more than that (RFC 9110, section 17.15).
pub const RANGES_MAX: usize = 16;
/// Ranges with a gap of no more bytes than this between them are delivered as one: about what the
/// fields take that stand before each (section 15.3.7.2).
const GAP_BYTES_MAX: u64 = 80;

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
    /// Whether several ranges can be delivered at once. Elsewhere they are passed over.
    pub several: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// 200, all of it.
    Whole,
    /// 206, this part.
    Part(ByteRange),
    /// 206, these parts: at least two, none of which touches another, in the order in which they
    /// were asked for.
    Parts(Vec<ByteRange>),
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
                Self::ranged(range, conditions.several, file.length)
            }
            _ => Self::Whole,
        }
    }

    /// Ranges of bytes. What is malformed, of another unit, or more than can be delivered is passed
    /// over, as section 14.2 allows. Of several, those that lie beyond the end are left out
    /// (section 14.1.2).
    fn ranged(field: &str, several: bool, length: u64) -> Self {
        let set =
            field.trim().split_once('=').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
        let Some((_, set)) = set else { return Self::Whole };
        // A list may have empty members (section 5.6.1.2).
        let members = set.split(',').filter(|member| !member.trim().is_empty());
        let most = if several { RANGES_MAX } else { 1 };
        let read: Option<Vec<_>> =
            members.take(most + 1).map(|member| within(member.trim(), length)).collect();
        let Some(read) = read.filter(|read| (1..=most).contains(&read.len())) else {
            return Self::Whole;
        };
        let parts = apart(read.into_iter().flatten().collect());
        match *parts {
            [] => Self::RangeNotSatisfiable,
            [part] => Self::Part(part),
            _ => Self::Parts(parts),
        }
    }
}

/// What a range asks for of so many bytes: perhaps nothing. `None` where it is malformed.
fn within(range: &str, length: u64) -> Option<Option<ByteRange>> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = match (Place::parse(first), Place::parse(last)) {
        (Place::At(first), Place::At(last)) if first <= last => (first, last),
        (Place::At(first), Place::Nowhere) => (first, u64::MAX),
        (Place::Nowhere, Place::At(0)) => return Some(None),
        (Place::Nowhere, Place::At(suffix)) => (length.saturating_sub(suffix), u64::MAX),
        _ => return None,
    };
    let part = || ByteRange { first, last: last.min(length - 1) };
    Some((first < length).then(part))
}

/// The same bytes, where what overlaps or nearly touches is one range. It stands where the first of
/// its ranges stood.
fn apart(ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut placed: Vec<_> = ranges.into_iter().enumerate().collect();
    placed.sort_by_key(|(_, range)| range.first);
    let mut merged: Vec<(usize, ByteRange)> = Vec::with_capacity(placed.len());
    for (place, range) in placed {
        match merged.last_mut() {
            Some((first_place, before))
                if range.first <= before.last.saturating_add(GAP_BYTES_MAX + 1) =>
            {
                before.last = before.last.max(range.last);
                *first_place = place.min(*first_place);
            }
            _ => merged.push((place, range)),
        }
    }
    merged.sort_by_key(|(place, _)| *place);
    merged.into_iter().map(|(_, range)| range).collect()
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
            ("bytes=0-1,", part(0, 1)),
            ("bytes=+1-2", Delivery::Whole),
            ("lines=0-9", Delivery::Whole),
            ("0-9", Delivery::Whole),
        ] {
            let conditions = Conditions { range: Some(range), ..Conditions::default() };
            assert_eq!(decide(conditions), delivery, "{range}");
        }
    }

    #[test]
    fn several_ranges() {
        let parts = |parts: &[(u64, u64)]| {
            Delivery::Parts(parts.iter().map(|&(first, last)| ByteRange { first, last }).collect())
        };
        let many = |count| format!("bytes={}", vec!["0-0"; count].join(","));
        for (range, delivery) in [
            ("bytes=0-1,500-501", parts(&[(0, 1), (500, 501)])),
            ("bytes=500-501, 0-1", parts(&[(500, 501), (0, 1)])),
            ("bytes= 0-1 ,, -2 ,", parts(&[(0, 1), (998, 999)])),
            ("bytes=0-1,5-6", part(0, 6)),
            ("bytes=0-1,82-90", part(0, 90)),
            ("bytes=0-1,83-90", parts(&[(0, 1), (83, 90)])),
            ("bytes=200-300,0-1,250-400", parts(&[(200, 400), (0, 1)])),
            ("bytes=0-1,500-501,0-499", part(0, 501)),
            ("bytes=0-1,1000-", part(0, 1)),
            ("bytes=1000-,2000-2001", Delivery::RangeNotSatisfiable),
            ("bytes=0-1,-0", part(0, 1)),
            ("bytes=0-1,a-b", Delivery::Whole),
            ("bytes=0-1,9-8", Delivery::Whole),
            ("bytes=,", Delivery::Whole),
            (&many(RANGES_MAX), part(0, 0)),
            (&many(RANGES_MAX + 1), Delivery::Whole),
        ] {
            let conditions =
                Conditions { range: Some(range), several: true, ..Conditions::default() };
            let file = Representation { etag: "\"abc\"", last_modified: DATE, length: 1_000 };
            assert_eq!(Delivery::decide(&conditions, file), delivery, "{range}");
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

        #[test]
        fn several_ranges_are_the_bytes_they_ask_for(
            asked in prop::collection::vec((prop::option::of(0..2_000_u64), 0..2_000_u64), 1..RANGES_MAX),
            length in 1..1_500_u64,
        ) {
            let said = |(first, last): &(Option<u64>, u64)| match first {
                Some(first) => format!("{first}-{}", first + last),
                None => format!("-{last}"),
            };
            let range = format!("bytes={}", asked.iter().map(said).collect::<Vec<_>>().join(","));
            let file = Representation { etag: "\"abc\"", last_modified: DATE, length };
            let conditions =
                Conditions { range: Some(&range), several: true, ..Conditions::default() };
            let parts = match Delivery::decide(&conditions, file) {
                Delivery::Part(part) => vec![part],
                Delivery::Parts(parts) => parts,
                Delivery::RangeNotSatisfiable => Vec::new(),
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            let wanted: std::collections::BTreeSet<_> = asked
                .iter()
                .flat_map(|(first, last)| model(*first, Some(first.unwrap_or(0) + last), length))
                .collect();
            // Every byte at most once, none missing, and none beside them but in small gaps.
            let sent: Vec<_> = parts.iter().flat_map(|part| part.first..=part.last).collect();
            let sent_once: std::collections::BTreeSet<_> = sent.iter().copied().collect();
            prop_assert_eq!(sent.len(), sent_once.len());
            prop_assert!(wanted.is_subset(&sent_once));
            for part in parts {
                prop_assert!(wanted.contains(&part.first) && wanted.contains(&part.last));
            }
        }
    }
}

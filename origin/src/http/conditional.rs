//! Decides what a GET or HEAD is answered with: conditions (RFC 9110, section 13) and single
//! ranges (section 14).

use std::ops::Range;

use http::HeaderMap;
use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use outport_wire::UnixSeconds;

use crate::clock::parse_http_date;

/// What is there to be delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Representation<'a> {
    pub(crate) etag: &'a str,
    pub(crate) modified: UnixSeconds,
    pub(crate) length: u64,
}

/// What the answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200 with everything.
    Whole,
    /// 206 with this range.
    Partial(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    NotSatisfiable,
}

/// Decides, in the order of RFC 9110, section 13.2.2. `with_range` is false for a HEAD.
pub(crate) fn answer(headers: &HeaderMap, file: Representation<'_>, with_range: bool) -> Answer {
    let field = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let date = |name| field(name).and_then(parse_http_date);
    let refused = match field(IF_MATCH) {
        Some(tags) => !matches(tags, file.etag, false),
        None => date(IF_UNMODIFIED_SINCE).is_some_and(|since| file.modified > since),
    };
    if refused {
        return Answer::PreconditionFailed;
    }
    let known = match field(IF_NONE_MATCH) {
        Some(tags) => matches(tags, file.etag, true),
        None => date(IF_MODIFIED_SINCE).is_some_and(|since| file.modified <= since),
    };
    if known {
        return Answer::NotModified;
    }
    match field(RANGE) {
        Some(range) if with_range && range_applies(field(IF_RANGE), file) => {
            ranged(range, file.length)
        }
        _ => Answer::Whole,
    }
}

/// Whether a list of entity tags names `etag`. The weak comparison passes over `W/`.
fn matches(tags: &str, etag: &str, weak: bool) -> bool {
    tags.trim() == "*"
        || tags.split(',').map(str::trim).any(|tag| {
            let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            tag == etag
        })
}

/// Whether `If-Range` lets the range be applied (RFC 9110, section 13.1.5): the very same entity
/// tag, or the very same date.
fn range_applies(if_range: Option<&str>, file: Representation<'_>) -> bool {
    if_range.is_none_or(|validator| {
        validator.trim() == file.etag || parse_http_date(validator) == Some(file.modified)
    })
}

/// One range of bytes. What is no such thing is ignored, several ranges among it (RFC 9110,
/// section 14.2).
fn ranged(range: &str, length: u64) -> Answer {
    let Some((first, last)) = range
        .trim()
        .split_once('=')
        .filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"))
        .and_then(|(_, range)| range.trim().split_once('-'))
    else {
        return Answer::Whole;
    };
    let wanted = match (position(first), position(last)) {
        (Ok(Some(first)), Ok(None)) => first..length,
        (Ok(Some(first)), Ok(Some(last))) if first <= last => {
            first..last.saturating_add(1).min(length)
        }
        (Ok(None), Ok(Some(suffix))) => length.saturating_sub(suffix)..length,
        _ => return Answer::Whole,
    };
    if wanted.is_empty() { Answer::NotSatisfiable } else { Answer::Partial(wanted) }
}

/// A position of a range, or none. A number that does not fit is beyond every file.
fn position(text: &str) -> Result<Option<u64>, ()> {
    match text.trim() {
        "" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const ETAG: &str = "\"abc\"";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn asked(fields: &[(HeaderName, &'static str)], length: u64) -> Answer {
        let fields = fields.iter().map(|(name, v)| (name.clone(), HeaderValue::from_static(v)));
        let file = Representation { etag: ETAG, modified: 784_111_777, length };
        answer(&fields.collect(), file, true)
    }

    #[test]
    fn ranges() {
        let range = |range, length| asked(&[(RANGE, range)], length);
        assert_eq!(range("bytes=0-0", 10), Answer::Partial(0..1));
        assert_eq!(range("bytes=2-5", 10), Answer::Partial(2..6));
        assert_eq!(range("bytes=2-", 10), Answer::Partial(2..10));
        assert_eq!(range("bytes=-3", 10), Answer::Partial(7..10));
        assert_eq!(range("bytes=-30", 10), Answer::Partial(0..10));
        assert_eq!(range("Bytes = 5-99999999999999999999999", 10), Answer::Whole);
        assert_eq!(range("bytes=5-99999999999999999999999", 10), Answer::Partial(5..10));
        for none in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(range(none, 10), Answer::NotSatisfiable, "{none}");
        }
        assert_eq!(range("bytes=0-", 0), Answer::NotSatisfiable);
        for odd in ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=+1-2"]
        {
            assert_eq!(range(odd, 10), Answer::Whole, "{odd}");
        }
    }

    #[test]
    fn if_range() {
        let with = |validator| asked(&[(RANGE, "bytes=0-0"), (IF_RANGE, validator)], 10);
        assert_eq!(with(ETAG), Answer::Partial(0..1));
        assert_eq!(with(MODIFIED), Answer::Partial(0..1));
        for other in ["\"x\"", "W/\"abc\"", LATER, EARLIER, "nonsense"] {
            assert_eq!(with(other), Answer::Whole, "{other}");
        }
    }

    #[test]
    fn validators() {
        for same in [ETAG, "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert_eq!(asked(&[(IF_NONE_MATCH, same)], 10), Answer::NotModified, "{same}");
        }
        assert_eq!(asked(&[(IF_NONE_MATCH, "\"x\"")], 10), Answer::Whole);
        assert_eq!(asked(&[(IF_MODIFIED_SINCE, MODIFIED)], 10), Answer::NotModified);
        assert_eq!(asked(&[(IF_MODIFIED_SINCE, EARLIER)], 10), Answer::Whole);
        let both = [(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, MODIFIED)];
        assert_eq!(asked(&both, 10), Answer::Whole, "the entity tag goes first");
        let ranged = [(IF_NONE_MATCH, ETAG), (RANGE, "bytes=0-0")];
        assert_eq!(asked(&ranged, 10), Answer::NotModified, "conditions go before ranges");
    }

    #[test]
    fn preconditions() {
        assert_eq!(asked(&[(IF_MATCH, ETAG)], 10), Answer::Whole);
        assert_eq!(asked(&[(IF_MATCH, "*")], 10), Answer::Whole);
        assert_eq!(asked(&[(IF_MATCH, "W/\"abc\"")], 10), Answer::PreconditionFailed);
        assert_eq!(asked(&[(IF_UNMODIFIED_SINCE, LATER)], 10), Answer::Whole);
        assert_eq!(asked(&[(IF_UNMODIFIED_SINCE, EARLIER)], 10), Answer::PreconditionFailed);
    }

    #[test]
    fn a_head_has_no_range() {
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
        let file = Representation { etag: ETAG, modified: 0, length: 10 };
        assert_eq!(answer(&headers, file, false), Answer::Whole);
    }
}

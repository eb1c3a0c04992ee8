//! How moments are written.

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

use crate::UnixSeconds;

/// The last second of the year 9999, the last that an HTTP date can name.
const HTTP_DATE_S_MAX: u64 = 253_402_300_799;

/// As RFC 3339, in UTC.
pub fn rfc3339(seconds: UnixSeconds) -> String {
    let moment =
        i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// As RFC 3339 with milliseconds, in UTC.
pub fn rfc3339_ms(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    moment.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads RFC 3339, in any zone. `None` where it is none, before 1970, or after 9999, which a year
/// of four digits can be in UTC.
pub fn parse_rfc3339(text: &str) -> Option<UnixSeconds> {
    let seconds = DateTime::parse_from_rfc3339(text).ok()?.timestamp().try_into().ok()?;
    (seconds <= HTTP_DATE_S_MAX).then_some(seconds)
}

/// As an HTTP date (RFC 9110, section 5.6.7).
pub fn http_date(seconds: UnixSeconds) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(HTTP_DATE_S_MAX)))
}

/// Reads an HTTP date in any of its three forms (RFC 9110, section 5.6.7). `None` where it is none,
/// or before 1970.
pub fn parse_http_date(text: &str) -> Option<UnixSeconds> {
    let moment = httpdate::parse_http_date(text).ok()?;
    Some(moment.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back() {
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339_ms(784_111_777_042), "1994-11-06T08:49:37.042Z");
        assert_eq!(parse_rfc3339("1994-11-06T09:49:37.5+01:00"), Some(784_111_777));
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_http_date(date), Some(784_111_777), "{date}");
        }
        assert_eq!(parse_http_date("0"), None);
        for text in ["", "tomorrow", "1960-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(parse_rfc3339(text), None);
        }
        assert!(http_date(u64::MAX).starts_with("Fri, 31 Dec 9999"));
    }
}

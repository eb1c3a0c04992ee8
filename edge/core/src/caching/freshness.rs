//! How long a response may be used, and how old it is (RFC 9111, section 4.2; RFC 5861).

use outport_wire::time::parse_http_date;
use serde::{Deserialize, Serialize};

use super::directives::{DELTA_S_MAX, Directives};
use super::fields::Lines;

/// Of the time since a response was last modified, the share for which it is taken to be fresh
/// where nobody says more (RFC 9111, section 4.2.2).
const HEURISTIC_SHARE: u64 = 10;
/// The longest such time, in milliseconds: a day. Beyond it a warning would once have been due.
const HEURISTIC_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// For how long, once it is stale, a response that says nothing of it may be used where the upstream
/// can't be reached, in milliseconds (RFC 9111, section 4.2.4).
const DISCONNECTED_MS: u64 = 10 * 60 * 1000;
/// How long nobody asks again after a validation failed, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// When a request was sent and its answer came, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) requested_ms: u64,
    pub(crate) received_ms: u64,
}

/// How long a stored response may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freshness {
    /// When it came or was last validated, in milliseconds since 1970.
    pub(crate) received_ms: u64,
    /// How old it was then: the corrected initial age.
    pub(crate) initial_age_ms: u64,
    /// The freshness lifetime.
    pub(crate) lifetime_ms: u64,
    /// For how long, once it is stale, it may be used while it is validated.
    pub(crate) while_revalidate_ms: u64,
    /// For how long, once it is stale, it may be used where the upstream fails.
    pub(crate) if_error_ms: u64,
    /// It is never used without having been validated.
    pub(crate) always_validates: bool,
    /// It is never used once it is stale, whatever else is said.
    never_stale: bool,
    /// When validating it failed, if that was the last that was tried.
    failed_ms: Option<u64>,
}

impl Freshness {
    /// Of a response that has just come.
    pub(crate) fn of(
        status: u16,
        lines: &Lines<'_>,
        directives: &Directives,
        is_targeted: bool,
        times: Times,
    ) -> Self {
        let date_ms = lines.date_ms("date").unwrap_or(times.received_ms);
        let expires_ms = if is_targeted { None } else { expires(lines, date_ms) };
        let explicit_s = directives.s_maxage_s.or(directives.max_age_s);
        let lifetime_ms = match (explicit_s, expires_ms) {
            (Some(seconds), _) => seconds * 1000,
            (None, Some(lifetime_ms)) => lifetime_ms,
            (None, None) if is_heuristic(status) || directives.public => heuristic(lines, date_ms),
            (None, None) => 0,
        };
        let milliseconds = |seconds: Option<u64>| seconds.unwrap_or_default() * 1000;
        Self {
            received_ms: times.received_ms,
            initial_age_ms: initial_age(lines, date_ms, times),
            lifetime_ms,
            while_revalidate_ms: milliseconds(directives.stale_while_revalidate_s),
            if_error_ms: directives.stale_if_error_s.map_or(DISCONNECTED_MS, |s| s * 1000),
            always_validates: directives.no_cache == super::directives::Scope::All,
            // `s-maxage` means the same to a shared cache (RFC 9111, section 5.2.2.10).
            never_stale: directives.must_revalidate
                || directives.proxy_revalidate
                || directives.s_maxage_s.is_some(),
            failed_ms: None,
        }
    }

    /// Of a response that is never used again without having been validated.
    pub(crate) fn none(now_ms: u64) -> Self {
        Self { received_ms: now_ms, always_validates: true, ..Self::default() }
    }

    /// The current age.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        self.initial_age_ms.saturating_add(now_ms.saturating_sub(self.received_ms))
    }

    /// Milliseconds until it is stale; below zero once it is.
    pub(crate) fn left_ms(&self, now_ms: u64) -> i64 {
        let lifetime = i64::try_from(self.lifetime_ms).unwrap_or(i64::MAX);
        lifetime.saturating_sub(i64::try_from(self.age_ms(now_ms)).unwrap_or(i64::MAX))
    }

    /// Whether it may be used as it is.
    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        !self.always_validates && self.left_ms(now_ms) > 0
    }

    /// Whether it may be used, stale, while it is validated (RFC 5861, section 3).
    pub(crate) fn while_revalidating(&self, now_ms: u64) -> bool {
        self.may_be_stale(now_ms, self.while_revalidate_ms)
    }

    /// Whether it may be used, stale, where the upstream fails (RFC 5861, section 4).
    pub(crate) fn if_error(&self, now_ms: u64) -> bool {
        self.may_be_stale(now_ms, self.if_error_ms)
    }

    /// Whether it may be used, stale, for whoever takes this much staleness (RFC 9111,
    /// section 5.2.1.2).
    pub(crate) fn may_be_stale(&self, now_ms: u64, by_ms: u64) -> bool {
        let forbidden = self.always_validates || self.never_stale;
        !forbidden && self.left_ms(now_ms).saturating_add_unsigned(by_ms) > 0
    }

    /// The same, stale from this moment at the latest.
    pub(crate) fn made_stale(self, now_ms: u64) -> Self {
        Self { lifetime_ms: self.lifetime_ms.min(self.age_ms(now_ms)), ..self }
    }

    /// The same after validating failed at this moment.
    pub(crate) const fn failed(self, now_ms: u64) -> Self {
        Self { failed_ms: Some(now_ms), ..self }
    }

    /// Whether validating failed so short a time ago that it is not tried again.
    pub(crate) fn rests(&self, now_ms: u64) -> bool {
        let recent = |failed: u64| now_ms < failed.saturating_add(RETRY_MS);
        self.failed_ms.is_some_and(recent) && self.if_error(now_ms)
    }

    /// Whether it may be used without being validated at some time from this one on.
    pub(crate) fn is_of_use(&self, now_ms: u64) -> bool {
        self.is_fresh(now_ms) || self.while_revalidating(now_ms)
    }

    /// How long, from this moment, lookups need no leader, in milliseconds.
    pub(crate) fn unled_ms(&self, now_ms: u64) -> u64 {
        if self.failed_ms.is_some() {
            return RETRY_MS;
        }
        if self.always_validates { 0 } else { self.left_ms(now_ms).try_into().unwrap_or_default() }
    }
}

/// Statuses whose responses may be used for some time though nobody says so (RFC 9110,
/// section 15.1).
pub(crate) const fn is_heuristic(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The lifetime by `Expires` (RFC 9111, section 5.3). What is no date, `0` above all, is over.
fn expires(lines: &Lines<'_>, date_ms: u64) -> Option<u64> {
    let mut said = lines.all("expires");
    let first = said.next()?;
    // Two of them, and it is not known which one counts.
    let expires_ms = if said.any(|other| other != first) { None } else { date_of(first) };
    let lifetime_ms = expires_ms.unwrap_or_default().saturating_sub(date_ms);
    Some(lifetime_ms.min(DELTA_S_MAX * 1000))
}

fn heuristic(lines: &Lines<'_>, date_ms: u64) -> u64 {
    let Some(modified_ms) = lines.date_ms("last-modified") else { return 0 };
    (date_ms.saturating_sub(modified_ms) / HEURISTIC_SHARE).min(HEURISTIC_MS_MAX)
}

/// The corrected initial age (RFC 9111, section 4.2.3).
fn initial_age(lines: &Lines<'_>, date_ms: u64, times: Times) -> u64 {
    let apparent_ms = times.received_ms.saturating_sub(date_ms);
    // Of a list the first counts, and what is no number is passed over (section 5.1). A number
    // with parameters, which nobody defined, is still more than none.
    let age_ms = lines.all("age").next().and_then(|value| {
        let digits = value.split(|byte| matches!(byte, b',' | b';')).next()?.trim_ascii();
        let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let age: u64 = std::str::from_utf8(digits).ok()?.parse().unwrap_or(DELTA_S_MAX);
        all_digits.then_some(age.min(DELTA_S_MAX) * 1000)
    });
    let delay_ms = times.received_ms.saturating_sub(times.requested_ms);
    apparent_ms.max(age_ms.unwrap_or_default() + delay_ms)
}

fn date_of(value: &[u8]) -> Option<u64> {
    Some(parse_http_date(std::str::from_utf8(value).ok()?)? * 1000)
}

impl Lines<'_> {
    /// The moment that a field names, in milliseconds since 1970; the first, if it comes twice.
    pub(crate) fn date_ms(&self, name: &str) -> Option<u64> {
        date_of(self.all(name).next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The date of all answers here.
    const DATE: &str = "Tue, 24 Nov 2026 12:00:00 GMT";
    const DATE_MS: u64 = 1_795_521_600_000;

    fn freshness(status: u16, fields: &str) -> Freshness {
        let fields = format!("date: {DATE}\r\n{}\r\n", fields.replace('|', "\r\n"));
        let lines = Lines::new(crate::head::FieldLines::new(fields.as_bytes()));
        let (directives, field) = Directives::of_response(|name| lines.all(name));
        let is_targeted = field != crate::caching::directives::CACHE_CONTROL;
        let times = Times { requested_ms: DATE_MS, received_ms: DATE_MS };
        Freshness::of(status, &lines, &directives, is_targeted, times)
    }

    #[test]
    fn lifetimes() {
        for (fields, seconds) in [
            ("cache-control: max-age=60", 60),
            ("cache-control: max-age=60, s-maxage=30", 30),
            ("cache-control: max-age=60|expires: Tue, 24 Nov 2026 13:00:00 GMT", 60),
            ("expires: Tue, 24 Nov 2026 13:00:00 GMT", 3600),
            ("expires: Tue, 24 Nov 2026 11:00:00 GMT", 0),
            ("expires: Tuesday, 24-Nov-26 13:00:00 GMT", 3600),
            ("expires: Tue Nov 24 13:00:00 2026", 3600),
            ("expires: 0", 0),
            ("expires: Tue, 24 Nov 2026 13:00:00 GMT|expires: Tue, 24 Nov 2026 14:00:00 GMT", 0),
            ("cdn-cache-control: max-age=9|cache-control: max-age=60", 9),
            ("cdn-cache-control: must-revalidate|expires: Tue, 24 Nov 2026 13:00:00 GMT", 0),
            ("last-modified: Tue, 24 Nov 2026 11:00:00 GMT", 360),
            ("last-modified: Mon, 24 Nov 2025 11:00:00 GMT", 86_400),
            ("last-modified: Tue, 24 Nov 2026 13:00:00 GMT", 0),
            ("last-modified: yesterday", 0),
            ("", 0),
        ] {
            assert_eq!(freshness(200, fields).lifetime_ms, seconds * 1000, "{fields}");
        }
        let modified = "last-modified: Tue, 24 Nov 2026 11:00:00 GMT";
        assert_eq!(freshness(404, modified).lifetime_ms, 360_000);
        assert_eq!(freshness(403, modified).lifetime_ms, 0);
        let public = format!("{modified}|cache-control: public");
        assert_eq!(freshness(403, &public).lifetime_ms, 360_000);
    }

    #[test]
    fn ages() {
        let age = |fields: &str, times: Times| {
            let fields = format!("{}\r\n", fields.replace('|', "\r\n"));
            let lines = Lines::new(crate::head::FieldLines::new(fields.as_bytes()));
            let date_ms = lines.date_ms("date").unwrap_or(times.received_ms);
            initial_age(&lines, date_ms, times)
        };
        let at_once = Times { requested_ms: DATE_MS, received_ms: DATE_MS };
        for (fields, ms) in [
            ("age: 10", 10_000),
            ("age: 10, 20", 10_000),
            ("age: 10|age: 20", 10_000),
            ("age: x", 0),
            ("age: -1", 0),
            ("age: 1.5", 0),
            ("age: 10;a=b", 10_000),
            ("age: 99999999999999999999999", DELTA_S_MAX * 1000),
            ("date: Tue, 24 Nov 2026 11:59:00 GMT", 60_000),
            ("date: Tue, 24 Nov 2026 11:59:00 GMT|age: 90", 90_000),
            ("date: Tue, 24 Nov 2026 12:01:00 GMT", 0),
            ("date: nonsense", 0),
        ] {
            assert_eq!(age(fields, at_once), ms, "{fields}");
        }
        let late = Times { requested_ms: DATE_MS, received_ms: DATE_MS + 3_000 };
        assert_eq!(age("age: 10", late), 13_000);
        let freshness = freshness(200, "age: 50|cache-control: max-age=60");
        assert_eq!(freshness.left_ms(DATE_MS), 10_000);
        assert_eq!(freshness.age_ms(DATE_MS + 5_000), 55_000);
        assert!(freshness.is_fresh(DATE_MS + 9_999) && !freshness.is_fresh(DATE_MS + 10_000));
    }

    #[test]
    fn staleness() {
        let stale = "max-age=10, stale-while-revalidate=20, stale-if-error=30";
        let freshness_of = |more: &str| freshness(200, &format!("cache-control: {stale}{more}"));
        let may = freshness_of("");
        assert!(may.while_revalidating(DATE_MS + 29_999));
        assert!(!may.while_revalidating(DATE_MS + 30_000));
        assert!(may.if_error(DATE_MS + 39_999) && !may.if_error(DATE_MS + 40_000));
        for more in [", must-revalidate", ", proxy-revalidate", ", s-maxage=10", ", no-cache"] {
            let never = freshness_of(more);
            assert!(!never.while_revalidating(DATE_MS + 15_000), "{more}");
            assert!(!never.if_error(DATE_MS + 15_000), "{more}");
        }
        assert!(!freshness_of(", no-cache").is_fresh(DATE_MS));
        assert!(freshness_of(", no-cache=\"a\"").is_fresh(DATE_MS));
        let failed = may.failed(DATE_MS + 15_000);
        assert!(failed.rests(DATE_MS + 15_999) && !failed.rests(DATE_MS + 16_000));
        assert_eq!((may.unled_ms(DATE_MS), failed.unled_ms(DATE_MS)), (10_000, 1_000));
    }
}

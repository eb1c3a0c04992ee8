//! What a tenant has spent of a budget, as the origin tells its edges.
//!
//! The origin counts, in periods by its own clock. An edge asks for what was spent by all of them, and
//! adds to it: not for each request, but for some of them, and as much as it has let pass since.

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// The response header in which the origin tells an edge. Edges keep it to themselves.
pub const SPENT_HEADER: &str = "outport-spent";
/// Where an edge asks by GET, and adds by POST: the query says whose and how much, as in [`Spending`].
pub const SPENT_PATH: &str = "/spent";
/// The longest period, in seconds: 31 days.
pub const PERIOD_S_MAX: u64 = 31 * 86_400;

/// What an edge asks, or adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending<'a> {
    /// Whose budget.
    pub tenant: &'a str,
    /// The budget's name.
    pub budget: &'a str,
    /// How long its periods are, in seconds. They begin at multiples of that since 1970.
    pub period_s: u64,
    /// What is added, unless `most` was spent before.
    pub add: Option<Adding>,
}

/// What is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adding {
    /// How much.
    pub units: u64,
    /// The budget: what is added when so much is spent is not.
    pub most: u64,
}

impl Spending<'_> {
    /// The target of the request.
    pub fn target(&self) -> String {
        let Self { tenant, budget, period_s, add } = self;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("tenant", tenant).append_pair("budget", budget);
        query.append_pair("period_s", &period_s.to_string());
        if let Some(Adding { units, most }) = add {
            query.append_pair("units", &units.to_string()).append_pair("most", &most.to_string());
        }
        format!("{SPENT_PATH}?{}", query.finish())
    }
}

/// What was spent in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// By all edges, in units.
    pub units: u64,
    /// When the period ends.
    pub until_s: UnixSeconds,
    /// What was to be added is not: there was nothing left.
    pub refused: bool,
}

impl Spent {
    /// The header's value: units, when the period ends, and whether something was refused.
    pub fn encode(self) -> String {
        let Self { units, until_s, refused } = self;
        format!("{units} {until_s}{}", if refused { " refused" } else { "" })
    }

    /// Reads the header's value. `None` where it says nothing that could be understood.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let (units, until_s) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let refused = match words.next() {
            None => false,
            Some("refused") => true,
            Some(_) => return None,
        };
        words.next().is_none().then_some(Self { units, until_s, refused })
    }
}

/// The period that a moment is in: when it ends.
pub const fn period_end_s(now_s: UnixSeconds, period_s: u64) -> UnixSeconds {
    let period_s = if period_s == 0 { 1 } else { period_s };
    (now_s / period_s).saturating_add(1).saturating_mul(period_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_comes_back() {
        for refused in [false, true] {
            let spent = Spent { units: 12, until_s: 1_800_000_000, refused };
            assert_eq!(Spent::decode(spent.encode().as_bytes()), Some(spent));
        }
        for text in ["", "1", "1 2 3", "1 2 refused x", "-1 2", "1 x", "1  2"] {
            assert_eq!(Spent::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_asked() {
        let asked = Spending { tenant: "a&b", budget: "read", period_s: 60, add: None };
        assert_eq!(asked.target(), "/spent?tenant=a%26b&budget=read&period_s=60");
        let adding = Spending { add: Some(Adding { units: 4, most: 9 }), ..asked };
        assert_eq!(adding.target(), "/spent?tenant=a%26b&budget=read&period_s=60&units=4&most=9");
    }

    #[test]
    fn periods_begin_at_multiples() {
        assert_eq!(
            (period_end_s(0, 60), period_end_s(59, 60), period_end_s(60, 60)),
            (60, 60, 120)
        );
        assert_eq!(period_end_s(7, 0), 8);
        assert_eq!(period_end_s(u64::MAX, 60), u64::MAX);
    }
}

//! Durations as people write them on a command line: `90s`, `15m`, `1h`, `7d`.

use std::time::Duration;

const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

/// Longer than any token or link lives.
const DURATION_S_MAX: u64 = 10 * 366 * 86_400;

/// Reads a whole number with its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit =
        text.chars().next_back().and_then(|last| UNITS.iter().find(|(name, _)| *name == last));
    let seconds = unit.and_then(|(name, seconds)| {
        let number: u64 = text.strip_suffix(*name)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    match seconds {
        Some(seconds @ 1..=DURATION_S_MAX) => Ok(Duration::from_secs(seconds)),
        Some(_) => Err("it takes at least 1s and at most ten years".to_owned()),
        None => Err("it takes a whole number and a unit: 90s, 15m, 1h or 7d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "h", "1", "0s", "-1s", "1.5h", "1w", "é", "99999999999999999999d", "4000d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

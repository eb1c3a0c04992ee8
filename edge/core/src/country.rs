//! Where a client is, as far as somebody tells.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A country or a region: two letters of ISO 3166-1, or one of the codes beside it that platforms
/// use (`T1` for Tor's network, on Cloudflare).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// Nobody tells. ISO 3166-1 leaves this code to its users, and platforms use it so.
    pub const UNKNOWN: Self = Self(*b"XX");

    /// Reads what somebody tells. What is none is [`UNKNOWN`](Self::UNKNOWN).
    pub fn told(code: &[u8]) -> Self {
        Self::read(code).unwrap_or_default()
    }

    /// The code, in capitals.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Reads a code, in letters of either case.
    pub fn read(code: &[u8]) -> Option<Self> {
        let code @ [first, second] = <[u8; 2]>::try_from(code).ok()?;
        let is_code = first.is_ascii_alphabetic() && second.is_ascii_alphanumeric();
        is_code.then(|| Self(code.map(|byte| byte.to_ascii_uppercase())))
    }
}

impl Default for Country {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl TryFrom<String> for Country {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::read(code.as_bytes()).ok_or("a country has two letters, such as DE")
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.as_str().to_owned()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_country() {
        for (code, country) in [("DE", "DE"), ("de", "DE"), ("T1", "T1"), ("XX", "XX")] {
            assert_eq!(Country::read(code.as_bytes()).unwrap().to_string(), country);
            assert_eq!(Country::told(code.as_bytes()).as_str(), country);
        }
        for code in ["", "D", "DEU", "1T", "D ", "ä", "日", "DE,FR"] {
            assert_eq!(Country::read(code.as_bytes()), None, "{code}");
            assert_eq!(Country::told(code.as_bytes()), Country::UNKNOWN);
        }
        assert_eq!(Country::told(b"\xff\xff"), Country::UNKNOWN);
    }

    #[test]
    fn it_crosses_as_text() {
        let country = Country::told(b"DE");
        assert_eq!(serde_json::to_string(&country).unwrap(), "\"DE\"");
        assert_eq!(serde_json::from_str::<Country>("\"de\"").unwrap(), country);
        assert!(serde_json::from_str::<Country>("\"Germany\"").is_err());
    }
}

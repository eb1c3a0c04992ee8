//! What an edge must know of a file to decide about it without the origin.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// The response header in which the origin hands an edge a file's record. Edges keep it to
/// themselves.
pub const FILE_HEADER: &str = "outport-file";

/// Who may fetch a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Its owner, and who holds a signed link.
    #[default]
    Private,
    /// As `Private`; says that its owner has shared it by link.
    Link,
    /// Everybody.
    Public,
}

impl Visibility {
    /// The name used in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Link => "link",
            Self::Public => "public",
        }
    }

    /// Reads the name used in requests.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "private" => Some(Self::Private),
            "link" => Some(Self::Link),
            "public" => Some(Self::Public),
            _ => None,
        }
    }
}

/// A file's record, as far as an edge needs it. Size, type and validators are in the response's
/// own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The tenant that the file belongs to.
    pub tenant: String,
    /// The subject that owns it.
    pub owner: String,
    /// Who may fetch it.
    pub visibility: Visibility,
    /// The name it is delivered under. Any Unicode without control characters.
    pub name: String,
    /// When it ceases to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<UnixSeconds>,
    /// Signed links are good that were made later than this, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links_after_ms: Option<u64>,
}

/// The header's value is no file record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a file record is base64url of a JSON object")]
pub struct NotARecord;

impl FileRecord {
    /// The value of [`FILE_HEADER`].
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the value of [`FILE_HEADER`].
    pub fn decode(value: &[u8]) -> Result<Self, NotARecord> {
        let json = URL_SAFE_NO_PAD.decode(value).map_err(|_| NotARecord)?;
        serde_json::from_slice(&json).map_err(|_| NotARecord)
    }

    /// Whether the file is gone at `now`.
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires_s.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> FileRecord {
        FileRecord {
            tenant: "demo".into(),
            owner: "alice".into(),
            visibility: Visibility::Private,
            name: "grüße.txt".into(),
            expires_s: Some(100),
            links_after_ms: None,
        }
    }

    #[test]
    fn comes_back() {
        assert_eq!(FileRecord::decode(record().encode().as_bytes()), Ok(record()));
        assert_eq!(FileRecord::decode(b"e30"), Err(NotARecord));
    }

    #[test]
    fn expiry() {
        assert!(!record().is_expired(99) && record().is_expired(100));
    }
}

//! `Cache-Status` (RFC 9211): what this cache did, and nothing but the truth.

use crate::step::FetchError;

/// How a request met the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheStatus {
    /// Answered with what is stored; seconds until it is stale, below zero once it is.
    Hit { ttl_s: i64 },
    /// Waited for another request that went to the origin for the same.
    Collapsed,
    /// Nothing was stored; the origin answered with this status.
    Miss { status: u16, stored: bool },
    /// What is stored was stale; the origin answered with this status.
    Stale { status: u16 },
    /// What is stored was stale and is used all the same, since the origin gave no answer.
    StaleOnError(FetchError),
    /// The record is stored, the contents are not.
    Partial,
    /// The method is not one that a cache answers.
    Method { status: u16 },
    /// Answered with what is kept here until the origin has it.
    Kept,
    /// Taken and kept here, without the origin.
    Accepted,
    /// Answers of this resource are not stored.
    Bypass { status: u16 },
}

impl CacheStatus {
    /// The field's value.
    pub(crate) fn value(self) -> String {
        match self {
            Self::Hit { ttl_s } => format!("outport; hit; ttl={ttl_s}"),
            Self::Collapsed => "outport; fwd=uri-miss; collapsed".to_owned(),
            Self::Miss { status, stored } => {
                let stored = if stored { "; stored" } else { "" };
                format!("outport; fwd=uri-miss; fwd-status={status}{stored}")
            }
            Self::Stale { status } => format!("outport; fwd=stale; fwd-status={status}"),
            Self::StaleOnError(FetchError::Timeout) => {
                "outport; fwd=stale; detail=origin-timeout".to_owned()
            }
            Self::StaleOnError(_) => "outport; fwd=stale; detail=origin-unreachable".to_owned(),
            Self::Partial => "outport; fwd=partial; detail=contents-not-stored".to_owned(),
            Self::Kept => "outport; hit; detail=kept".to_owned(),
            Self::Accepted => "outport; detail=kept".to_owned(),
            Self::Method { status } => format!("outport; fwd=method; fwd-status={status}"),
            Self::Bypass { status } => format!("outport; fwd=bypass; fwd-status={status}"),
        }
    }
}

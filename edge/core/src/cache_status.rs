//! `Cache-Status` (RFC 9211): what this cache did, and nothing but the truth.

use serde::{Deserialize, Serialize};

use crate::caching::stored_response::NotStorable;
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
    /// The record is stored, and the contents are sent slice by slice: which of them are stored is
    /// not known when the answer begins.
    Slices,
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
            Self::Slices => "outport; detail=slices".to_owned(),
            Self::Kept => "outport; hit; detail=kept".to_owned(),
            Self::Accepted => "outport; detail=kept".to_owned(),
            Self::Method { status } => format!("outport; fwd=method; fwd-status={status}"),
            Self::Bypass { status } => format!("outport; fwd=bypass; fwd-status={status}"),
        }
    }
}

/// How a request for a cached route met the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteStatus {
    /// Answered with what is stored; seconds until it is stale, below zero once it is.
    Hit { ttl_s: i64, collapsed: bool },
    /// Answered with what is stored and stale, since the upstream gave no answer.
    StaleOnError,
    /// The head is stored, and the content is sent slice by slice: which of them are stored is not
    /// known when the answer begins.
    Slices,
    /// The upstream was asked.
    Forwarded(Forwarded),
}

/// What came of asking the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) why: Why,
    /// The status that it answered with.
    pub(crate) status: u16,
    pub(crate) stored: bool,
    /// Why it was not stored.
    pub(crate) why_not: Option<NotStorable>,
}

/// Why the upstream was asked (RFC 9211, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// Nothing is stored of the URI.
    UriMiss,
    /// Something is, for other requests.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// What is stored is fresh, and the request does not take it.
    Request,
}

impl RouteStatus {
    /// The field's value.
    pub(crate) fn value(self) -> String {
        match self {
            Self::Hit { ttl_s, collapsed: false } => format!("outport; hit; ttl={ttl_s}"),
            Self::Hit { collapsed: true, .. } => "outport; fwd=uri-miss; collapsed".to_owned(),
            Self::StaleOnError => "outport; fwd=stale; detail=validation-failed".to_owned(),
            Self::Slices => CacheStatus::Slices.value(),
            Self::Forwarded(Forwarded { why, status, stored, why_not }) => {
                let why = why.name();
                let stored = if stored { "; stored" } else { "" };
                let detail = why_not.map(|why_not| format!("; detail={}", why_not.name()));
                let detail = detail.unwrap_or_default();
                format!("outport; fwd={why}; fwd-status={status}{stored}{detail}")
            }
        }
    }
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

impl NotStorable {
    /// The reason in one word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorized => "authorized",
            Self::Status => "status",
            Self::Part => "part",
            Self::Vary => "vary",
            Self::NoUse => "no-freshness",
            Self::Size => "size",
            Self::Length => "length",
            Self::Tags => "tags",
        }
    }
}

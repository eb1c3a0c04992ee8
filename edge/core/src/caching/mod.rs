//! The cache of proxied routes: RFC 9111 as decisions, without I/O.
//!
//! [`ask`] is what a request wants, [`directives`] reads what is said, [`freshness`] says how long it holds, [`vary`] whom a
//! response answers, [`stored_response`] what is stored and what a validation changes.

pub(crate) mod ask;
pub(crate) mod directives;
pub(crate) mod fields;
pub(crate) mod freshness;
pub(crate) mod stored_response;
pub(crate) mod vary;

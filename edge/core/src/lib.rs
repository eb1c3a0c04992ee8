//! Every decision the edge makes, without I/O.
//!
//! One HTTP exchange is a value. [`Edge::begin`] is given the request head and the moment, and
//! answers with a [`Step`](step::Step): a set of needs, or the response head with a body plan.
//! Whoever drives the exchange fulfils the needs with whatever its platform has and resumes the
//! exchange with the outcomes. Nothing here is async, has a clock or knows a platform, so a whole
//! edge with its races and failures runs in a unit test.
//!
//! ```text
//! head → guard → route → firewall → authenticate → authorize → limit → answer → finish → head + body plan
//!               (needs: cached? value? allowance? signature? origin's answer?)  ⇄ driver
//! ```
//!
//! Start reading at [`step`], the vocabulary; then [`exchange`], the order of the stages.

mod answer;
mod assets;
mod budget;
mod cache_status;
mod cached;
mod cached_file;
mod cached_route;
mod caching;
pub mod challenge;
pub mod checker;
mod coding;
mod composing;
pub mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod content_host;
mod cors;
pub mod country;
pub mod deployment;
mod dictionary;
pub mod driver;
mod esi;
mod exchange;
mod explain;
mod file;
pub mod firewall;
pub mod flights;
mod forward;
pub mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod guard;
pub mod head;
pub mod interim;
#[cfg(test)]
mod isolation;
mod issuer;
mod issuer_keys;
pub mod kept;
pub mod key_set;
pub mod limit;
pub mod marks;
#[cfg(any(test, feature = "conformance"))]
pub mod memory;
mod multipart;
#[cfg(test)]
mod outage;
pub mod platform;
mod prefetch;
pub mod priority;
mod purge;
mod relating;
mod revocations;
mod route;
mod rules;
mod session;
mod sharing;
mod slices;
pub mod step;
mod stored;
mod token;
mod told;
pub mod turns;
mod uploads;

pub use exchange::{Edge, Exchange};

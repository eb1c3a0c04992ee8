//! What the edge and the origin say to each other.
//!
//! Ids, identities, names, the record that travels with a file, the signature an edge puts on what
//! it sends, signed links, and the table of problems that clients see. Values and pure functions
//! only: no I/O and no clock, so that the same code runs in a WebAssembly edge and in the origin.

pub mod conditions;
pub mod describe;
pub mod document;
pub mod edge_signature;
pub mod file;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handover;
pub mod id;
pub mod identity;
pub mod link;
pub mod name;
pub mod network;
pub mod pass;
pub mod problem;
pub mod relation;
pub mod resumable;
pub mod revocation;
pub mod rules;
pub mod secret;
pub mod session;
pub mod spending;
pub mod syntax;
pub mod time;
pub mod tus;

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = u64;

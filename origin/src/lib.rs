//! The origin: takes uploads, keeps files and hands them to edges.
//!
//! It answers nobody but its edges, whose signature it checks on every request, and stores what
//! an edge can't answer itself. A file is a record in [`meta`] and an ordered list of immutable
//! parts in an object store; an upload is the same record, not yet full. Appending writes parts,
//! makes them durable, and then replaces the record by compare-and-swap; only then is anything
//! acknowledged. So there are no locks, and nothing that was acknowledged is lost by a crash.
//!
//! [`Origin::bind`] takes addresses and data, [`Origin::run`] answers until it is told to stop.

mod admin;
mod admission;
mod audit;
mod blobs;
mod book;
mod budgets;
mod callers;
mod collector;
mod config;
mod digest;
mod edges;
mod environment;
#[cfg(test)]
mod fixtures;
mod fsck;
mod full;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hooks;
mod http;
mod intake;
mod ledger;
pub mod meta;
mod metrics;
mod open_uploads;
mod record;
mod relations;
mod server;
mod sessions;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod sniff;
mod store;
mod turns;
mod upkeep;

pub use crate::admin::AdminDoor;
pub use crate::audit::{Broken, LINE_BYTES_MAX, Verified, Verifier};
pub use crate::callers::Tokens;
pub use crate::collector::{Collected, Tally};
pub use crate::config::{Collection, Config, Limits, Storage};
pub use crate::edges::EdgeKeys;
pub use crate::fsck::{Disagreement, Fscked, Kind as Disagreeing};
pub use crate::server::{Data, Origin, StartError};
pub use crate::upkeep::{Upkeep, UpkeepError};

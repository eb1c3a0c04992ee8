//! The origin over HTTP, as an edge sees it.

mod bad_input;
mod crash;
mod delivery;
mod files;
mod support;
mod uploads;

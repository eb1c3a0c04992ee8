//! The origin over HTTP, as an edge sees it.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod admin;
mod bad_input;
mod bounds;
mod callers;
mod crash;
mod delivery;
mod draft;
mod files;
mod handover;
mod hooks;
mod life;
mod promises;
mod rules;
mod support;
mod turns;
mod tus;
mod uploads;

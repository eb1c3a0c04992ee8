//! What the black-box tests share: a client that fails with a clear message, raw connections, and
//! running deployments.
//!
//! Two suites use it. `scenarios` run against any base URL and know of no runtime; `system` starts
//! and ends processes of its own. Neither knows a crate of the product.

// Everything here is test code: what is not as it should be ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

pub mod acknowledged;
pub mod api;
pub mod compare;
pub mod deployment;
pub mod differences;
pub mod issued;
pub mod metrics;
pub mod platform;
pub mod process;
pub mod proof;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod rename;
pub mod scene;
pub mod scripted;
pub mod secured;
pub mod suite;
pub mod tls;
pub mod transcript;
pub mod tus;
pub mod upstream;
pub mod world;

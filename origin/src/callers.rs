//! By what it is known that a caller is who an edge says.
//!
//! An edge vouches for its callers under its signature. For what changes something that is not believed
//! alone: the caller's own token comes along and is checked again, or the session, which this origin
//! keeps itself. So whoever takes an edge over can't change anything in the name of somebody whose
//! token they don't have.

use std::fmt::Debug;

use futures::future::BoxFuture;
use outport_wire::identity::Named;
use outport_wire::problem::Problem;

/// Checks tokens of callers (RFC 7519).
pub trait Tokens: Debug + Send + Sync {
    /// Whom a token names, if it is good now; else what is wrong with it, or that nobody can know.
    fn check<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Named, Problem>>;
}

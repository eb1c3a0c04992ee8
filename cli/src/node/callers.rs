//! What the origin checks the tokens of callers with.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use outport_edge_host::Tokens;
use outport_wire::identity::Named;
use outport_wire::problem::Problem;

use crate::core_config::issuers;
use crate::failure::Failure;
use crate::keys::Keys;
use crate::settings::Settings;

#[derive(Debug)]
struct Callers(Tokens);

/// Those of all issuers that the edges trust.
pub(super) fn tokens(
    settings: &Settings,
    keys: &Keys,
) -> Result<Arc<dyn outport_origin::Tokens>, Failure> {
    let (issuers, secrets) = issuers(settings, keys)?;
    let tokens = Tokens::new(&issuers, &secrets).map_err(Failure::Usage)?;
    Ok(Arc::new(Callers(tokens)))
}

impl outport_origin::Tokens for Callers {
    fn check<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Named, Problem>> {
        self.0.check(token).boxed()
    }
}

//! What this isolate was told of its deployment, checked once.

use std::cell::RefCell;
use std::rc::Rc;

use outport_edge_core::deployment::{Deployment, gather, limit_binding};
use outport_edge_core::step::Abilities;
use outport_edge_core::{Edge, platform};
use worker::Env;

use crate::js;

const CONFIG: &str = "OUTPORT_CONFIG";
const SECRETS: &str = "OUTPORT_SECRETS";
pub(crate) const VALUES: &str = "OUTPORT_VALUES";
pub(crate) const KEPT: &str = "OUTPORT_KEPT";
pub(crate) const METRICS: &str = "OUTPORT_METRICS";

thread_local! {
    static SETUP: RefCell<Option<Rc<Setup>>> = const { RefCell::new(None) };
}

/// A deployment, and the core that decides for it.
pub(crate) struct Setup {
    pub(crate) deployment: Deployment,
    pub(crate) edge: RefCell<Edge>,
}

/// The isolate's setup. `None` while something is missing, which the log then names.
pub(crate) fn setup(env: &Env) -> Option<Rc<Setup>> {
    if let Some(setup) = SETUP.with_borrow(Clone::clone) {
        return Some(setup);
    }
    let setup = Rc::new(js::logged("this edge is not configured", read(env))?);
    SETUP.set(Some(setup.clone()));
    Some(setup)
}

fn read(env: &Env) -> Result<Setup, String> {
    let text = |name: &str| env.var(name).ok().map(|text| text.to_string());
    let text = |name| {
        gather(name, text).ok_or_else(|| {
            format!("set the secret {name} (`wrangler secret bulk`; `outport render` writes it)")
        })
    };
    let (config, secrets) = (text(CONFIG)?, text(SECRETS)?);
    let deployment = Deployment::from_parts(&config, &secrets)
        .map_err(|error| format!("{error} (in {CONFIG} and {SECRETS})"))?;
    if !deployment.core.assets.is_empty() && js::binding(env, VALUES).is_none() {
        return Err(format!("bind a KV namespace as {VALUES} (kv_namespaces in wrangler.toml)"));
    }
    for limit in deployment.core.limits.keys() {
        let name = limit_binding(limit);
        if js::binding(env, &name).is_none() {
            return Err(format!("bind a rate limit as {name} (ratelimits in wrangler.toml)"));
        }
    }
    let edge = Edge::new(deployment.core.clone(), abilities(env))?;
    Ok(Setup { deployment, edge: RefCell::new(edge) })
}

/// What this deployment can do: it keeps things, and marks of purges, where it is given something to
/// keep them in.
fn abilities(env: &Env) -> Abilities {
    let abilities = platform::CLOUDFLARE.abilities;
    let durable = abilities.durable.filter(|_| js::binding(env, KEPT).is_some());
    let purges = abilities.purges && js::binding(env, VALUES).is_some();
    Abilities { durable, purges, ..abilities }
}

//! What an instance is made of, from the application's variables, and the steps of an exchange.

use std::cell::RefCell;
use std::rc::Rc;

use outport_edge_core::Edge;
use outport_edge_core::deployment::Deployment;
use outport_edge_core::driver::STEPS_MAX;
use outport_edge_core::platform::SPIN;
use outport_edge_core::step::{Moment, Need, Reply, Step};
use spin_sdk::variables;
use spin_sdk::wasip3::clocks::system_clock;
use spin_sdk::wasip3::random::random::get_random_u64;

use crate::cache;
use crate::exchange::Exchange;
use crate::head::Received;
use crate::store::Store;

/// The variable with the configuration: what `Deployment::to_parts` gives first.
const CONFIG: &str = "outport_config";
/// The variable with the secrets: what it gives second.
const SECRETS: &str = "outport_secrets";

thread_local! {
    static NODE: RefCell<Option<Rc<Node>>> = const { RefCell::new(None) };
}

/// An edge, and what its needs are met with.
pub(crate) struct Node {
    edge: RefCell<Edge>,
    pub(crate) needs: Rc<Needs>,
}

/// What needs are met with.
pub(crate) struct Needs {
    pub(crate) store: Rc<Store>,
    pub(crate) deployment: Deployment,
}

/// What goes on behind the client's back.
pub(crate) type After = (outport_edge_core::Exchange, Vec<Need>);

/// What an exchange has come to.
pub(crate) struct Decided {
    pub(crate) reply: Reply,
    pub(crate) after: Option<After>,
}

impl Node {
    /// This instance's node. The error names what is missing, and where it is set.
    pub(crate) async fn get() -> Result<Rc<Self>, String> {
        if let Some(node) = NODE.with_borrow(Clone::clone) {
            return Ok(node);
        }
        let node = Rc::new(Self::new().await?);
        NODE.set(Some(node.clone()));
        Ok(node)
    }

    async fn new() -> Result<Self, String> {
        let (config, secrets) = (variable(CONFIG).await?, variable(SECRETS).await?);
        let mut deployment = Deployment::from_parts(&config, &secrets)
            .map_err(|error| format!("the variables {CONFIG} and {SECRETS}: {error}"))?;
        let stored_bytes_max = &mut deployment.core.stored_bytes_max;
        *stored_bytes_max = cache::BODY_BYTES_MAX.min(*stored_bytes_max);
        let edge = Edge::new(deployment.core.clone(), SPIN.abilities)?;
        let store = Rc::new(Store::open(String::new()).await?);
        Ok(Self { edge: RefCell::new(edge), needs: Rc::new(Needs { store, deployment }) })
    }

    /// Takes an exchange from its head to its reply.
    pub(crate) async fn decide(
        &self,
        received: &Received,
        exchange: &mut Exchange,
    ) -> Result<Decided, &'static str> {
        let step = self.edge.borrow_mut().begin(&received.request(), moment());
        self.go_on(step, exchange).await
    }

    /// Takes an exchange to its end whose client has its answer.
    pub(crate) async fn end(self: Rc<Self>, mut exchange: Exchange, (state, needs): After) {
        match self.go_on(Step::Needs(state, needs), &mut exchange).await {
            Ok(decided) => drop(exchange.respond(decided.reply.unsent())),
            Err(fault) => {
                crate::log(&format!("a request could not be brought to its end: {fault}"));
            }
        }
    }

    async fn go_on(
        &self,
        mut step: Step,
        exchange: &mut Exchange,
    ) -> Result<Decided, &'static str> {
        for _ in 0..STEPS_MAX {
            let (state, needs) = match step {
                Step::Reply(reply) => return Ok(Decided { reply, after: None }),
                Step::ReplyFirst(reply, state, needs) => {
                    return Ok(Decided { reply: *reply, after: Some((state, needs)) });
                }
                Step::Needs(state, needs) => (state, needs),
            };
            let mut outcomes = Vec::with_capacity(needs.len());
            for need in needs {
                outcomes.push(exchange.fulfil(need).await);
            }
            step = self.edge.borrow_mut().resume(state, outcomes, moment());
        }
        Err("its steps have no end")
    }
}

async fn variable(name: &str) -> Result<String, String> {
    let why = match variables::get(name).await {
        Ok(value) if !value.is_empty() => return Ok(value),
        Ok(_) => "it is empty".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "the variable {name} is missing ({why}): name it in spin.toml below [variables] and \
         [component.edge.variables], and set it with `spin up --variable`"
    ))
}

fn moment() -> Moment {
    Moment { unix_ms: unix_us() / 1000, random: get_random_u64() }
}

/// Microseconds since 1970.
pub(crate) fn unix_us() -> u64 {
    let now = system_clock::now();
    let seconds = u64::try_from(now.seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000) + u64::from(now.nanoseconds / 1000)
}

//! The component without a node: for measuring what a decision costs.

use std::sync::Arc;

use outport_edge_core::config::Config;
use outport_edge_core::step::{Abilities, Moment, Need, Outcome, Reply};

use crate::convert::{NOWHERE, Pending, Step};
use crate::instances::bindings::outport::edge::types as wit;
use crate::instances::{ComponentError, Instances};
use crate::metrics::Metrics;

/// One instance of the component, driven by whoever holds it.
pub struct Boundary {
    instances: Arc<Instances>,
}

impl Boundary {
    /// An instance of a component that [`crate::precompile`] has compiled, for a driver that can do
    /// this.
    pub fn new(
        compiled: &[u8],
        config: &Config,
        abilities: Abilities,
    ) -> Result<Self, ComponentError> {
        let metrics = Arc::new(Metrics::default());
        let config = config.to_json();
        let instances = Instances::new(compiled, config, 1, u64::MAX, abilities, metrics)?;
        Ok(Self { instances })
    }

    /// Decides one request from this address, its needs met by `fulfil`. The error says how the
    /// component failed.
    pub fn decide(
        &self,
        head: Vec<u8>,
        peer: [u8; 4],
        moment: Moment,
        mut fulfil: impl FnMut(Need) -> Outcome,
    ) -> Result<Reply, String> {
        let connection = wit::Connection { peer: peer.to_vec(), secure: false, country: NOWHERE };
        let request = wit::Request { head, connection };
        let mut step = self.instances.begin(&request, moment).map_err(|error| error.to_string())?;
        loop {
            let Pending { exchange, needs } = match step {
                Step::Reply(reply) | Step::ReplyFirst(reply, _) => return Ok(reply),
                Step::Needs(pending) => pending,
            };
            let outcomes = needs.into_iter().map(&mut fulfil).collect();
            step = self
                .instances
                .resume(&exchange, outcomes, moment)
                .map_err(|error| error.to_string())?;
        }
    }
}

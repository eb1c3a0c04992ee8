//! The key that a node signs with, which may be another one while it serves.

use std::sync::{Arc, Mutex, PoisonError};

use outport_edge_core::config::Config as CoreConfig;
use outport_wire::secret::Key;

use crate::instances::{ComponentError, Instances};

/// What a running node signs its requests to the origin with.
#[derive(Clone)]
pub struct Signing {
    instances: Arc<Instances>,
    core: Arc<Mutex<CoreConfig>>,
}

impl Signing {
    pub(crate) fn new(instances: Arc<Instances>, core: CoreConfig) -> Self {
        Self { instances, core: Arc::new(Mutex::new(core)) }
    }

    /// Signs with this key from now on. The error leaves all as it was.
    pub fn replace(&self, key: Key) -> Result<(), ComponentError> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        if core.edge_key == key {
            return Ok(());
        }
        let before = std::mem::replace(&mut core.edge_key, key);
        self.instances.reconfigure(core.to_json()).inspect_err(|_| core.edge_key = before)?;
        tracing::info!(key = core.edge_key.id, "the edge signs with another key from now on");
        Ok(())
    }
}

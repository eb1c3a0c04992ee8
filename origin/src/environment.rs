//! What comes from outside and can't be computed: the time of day, randomness, and who goes on with
//! work that nobody waits for. Handed in as a value, so that a whole history can be replayed.

use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use outport_wire::UnixSeconds;

/// The world around a store.
pub(crate) trait Environment: Send + Sync + 'static {
    /// Milliseconds since 1970. May jump, in both directions.
    fn unix_ms(&self) -> u64;

    /// 64 bits that nobody can guess.
    fn random(&self) -> u64;

    /// Has work gone on with that nobody waits for, until it ends or the process does.
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    /// Whole seconds since 1970.
    fn unix_s(&self) -> UnixSeconds {
        self.unix_ms() / 1000
    }
}

/// This machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Environment for System {
    fn unix_ms(&self) -> u64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

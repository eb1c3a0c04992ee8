//! What an operator asks for: one round of the collector, or a check of everything. By the origin
//! that runs on a data folder, through its door, or on the folder itself where none does.

use crate::collector::{Collected, Collector, Mode};
use crate::config::Config;
use crate::fsck::{Fsck, Fscked};
use crate::server::{StartError, open_upkeep};
use crate::store::StoreError;

/// The storage of one origin, to be looked after.
#[derive(Clone)]
pub struct Upkeep {
    pub(crate) collector: Collector,
    pub(crate) fsck: Fsck,
}

/// Why it was not looked after to the end. What was done is done, and a retry does the rest.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UpkeepError(#[from] StoreError);

impl Upkeep {
    /// Opens the data folder, which no origin runs on. Nothing listens.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        open_upkeep(config)
    }

    /// Removes what nobody needs any more, or counts it.
    pub async fn collect(&self, dry_run: bool) -> Result<Collected, UpkeepError> {
        let mode = if dry_run { Mode::Count } else { Mode::Remove };
        Ok(self.collector.round(mode).await?)
    }

    /// Holds records, manifests and parts against each other, and repairs what can be.
    pub async fn check(&self, repair: bool) -> Result<Fscked, UpkeepError> {
        Ok(self.fsck.run(repair).await?)
    }
}

//! A whole file under an id that an edge gave it, any number of times.
//!
//! The edge asks again until it is told that the file is here, so every step may have been made
//! before: the record comes last, by compare-and-swap, and of several attempts one makes it. A file
//! that was removed since has a tombstone in its record's place, and is not made again; the
//! tombstone of an attempt that ended half way gives place.

use outport_wire::id::FileId;
use outport_wire::identity::Identity;

use super::whole::own_names;
use super::{AppendError, Held, Slot, Store, StoreError};
use crate::intake::Intake;
use crate::meta::Version;
use crate::record::{Description, Opening, Part, Record};

/// What came of storing a file that an edge has accepted.
#[derive(Debug)]
pub(crate) enum Given {
    /// It is here from now on.
    Stored,
    /// It was here before.
    Here(Box<Held>),
    /// It was here before and was removed.
    Removed,
}

impl Store {
    /// Stores a whole file under this id, as it was accepted when the id was made. Idempotent; all
    /// of it is durable when this returns [`Given::Stored`].
    pub(crate) async fn store_given(
        &self,
        id: FileId,
        owner: &Identity,
        description: Description,
        intake: &mut Intake,
    ) -> Result<Given, AppendError> {
        let place = match self.given_before(id).await? {
            Ok(before) => return Ok(before),
            Err(place) => place,
        };
        let mut record = Record::begin(owner, description, Opening::default(), id.unix_ms() / 1000);
        let mut parts = Vec::new();
        let taken = self.take_given(id, &mut record, &mut parts, intake).await;
        let made = match taken {
            Ok(()) => {
                record.complete();
                self.make_given(owner, id, record, place).await.map_err(AppendError::Store)
            }
            Err(error) => Err(error),
        };
        // While it is not certain that no record names them, the parts stay: a sweep will tell.
        if !matches!(made, Ok(_) | Err(AppendError::Store(StoreError::Uncertain(_)))) {
            self.blobs.remove(&own_names(id, &parts)).await;
        }
        match made {
            Ok(()) => Ok(Given::Stored),
            // Another attempt was quicker.
            Err(AppendError::Store(StoreError::Contended)) => {
                let before = self.given_before(id).await?;
                before.map_err(|_| AppendError::Store(StoreError::Contended))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the body in: into the record, where it is small, else as parts.
    async fn take_given(
        &self,
        id: FileId,
        record: &mut Record,
        parts: &mut Vec<Part>,
        intake: &mut Intake,
    ) -> Result<(), AppendError> {
        if intake.is_small(self.parts.content_bytes_max).await {
            record.content = self.take_small(intake).await?;
            return Ok(());
        }
        self.write_whole(id, 0, parts, intake).await?;
        record.parts.clone_from(parts);
        Ok(())
    }

    /// The list entry stays, whatever comes of it: another attempt may need it.
    async fn make_given(
        &self,
        owner: &Identity,
        id: FileId,
        record: Record,
        place: Option<Version>,
    ) -> Result<(), StoreError> {
        self.list_entry(owner, id).await?;
        self.create_at(place, id, record).await.map(drop)
    }

    /// What came of it before; else the state of the place that its record is to have.
    async fn given_before(&self, id: FileId) -> Result<Result<Given, Option<Version>>, StoreError> {
        Ok(match self.slot(id).await? {
            Slot::Held(held) => Ok(Given::Here(Box::new(held))),
            Slot::Buried(buried) if buried.removed() => Ok(Given::Removed),
            Slot::Buried(buried) => Err(Some(buried.version())),
            Slot::Empty => Err(None),
        })
    }
}

//! A whole file from one body: all of it or nothing.

use bytes::Bytes;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use tokio::time::Instant;

use super::{AppendError, Held, PART_AGE_MAX, PARTS_MAX, Store, StoreError};
use crate::admission::{Ended, Place};
use crate::blobs::PartLimits;
use crate::intake::{End, Intake};
use crate::ledger::Amount;
use crate::record::{Description, Opening, Part, PartName, Record};

impl Store {
    /// Stores a whole file from one body. All of it is durable when this returns, or none of it
    /// is there.
    pub(crate) async fn store_whole(
        &self,
        owner: &Identity,
        description: Description,
        intake: &mut Intake,
    ) -> Result<Held, AppendError> {
        let id = self.new_id(owner);
        let mut place = self.admission.whole(owner, id, intake.announced()).await?;
        let record = Record::begin(owner, description, Opening::default(), self.now_s());
        let created = match self.look_whole(&record, intake).await {
            Ok(()) if intake.is_small(self.parts.content_bytes_max).await => {
                self.store_small(owner, id, record, intake, &mut place).await
            }
            Ok(()) => self.store_large(owner, id, record, intake, &mut place).await,
            Err(refused) => Err(refused),
        };
        self.admission.ended(
            place,
            match &created {
                Ok(held) => Ended::At(Amount::of(&held.record)),
                Err(AppendError::Store(StoreError::Uncertain(_))) => Ended::Unknown,
                Err(_) => Ended::Not,
            },
        );
        created
    }

    /// Stores a body as parts, and then the record that names them.
    async fn store_large(
        &self,
        owner: &Identity,
        id: FileId,
        mut record: Record,
        intake: &mut Intake,
        place: &mut Place,
    ) -> Result<Held, AppendError> {
        let mut parts = Vec::new();
        let writing = self.write_whole(id, 0, &mut parts, intake);
        let storing = async { futures::join!(self.list_entry(owner, id), writing) };
        let created = match self.admission.keep(place, storing).await {
            (Ok(()), Ok(())) => {
                record.parts.clone_from(&parts);
                record.complete();
                self.create_whole(id, record, place).await
            }
            (Err(error), _) => Err(error.into()),
            (_, Err(error)) => Err(error),
        };
        // While it is not certain that there is no record, the parts stay: the collector will
        // tell.
        if !matches!(created, Ok(_) | Err(AppendError::Store(StoreError::Uncertain(_)))) {
            self.blobs.remove(&own_names(id, &parts)).await;
            self.unlist(owner, id).await;
        }
        created
    }

    /// Stores a body in the record itself: one write in place of two, and no block of the disk for
    /// itself.
    async fn store_small(
        &self,
        owner: &Identity,
        id: FileId,
        mut record: Record,
        intake: &mut Intake,
        place: &mut Place,
    ) -> Result<Held, AppendError> {
        let content = self.take_small(intake).await?;
        self.list_entry(owner, id).await?;
        record.content = content;
        record.complete();
        let created = self.create_whole(id, record, place).await;
        if !matches!(created, Ok(_) | Err(AppendError::Store(StoreError::Uncertain(_)))) {
            self.unlist(owner, id).await;
        }
        created
    }

    async fn create_whole(
        &self,
        id: FileId,
        mut record: Record,
        place: &mut Place,
    ) -> Result<Held, AppendError> {
        self.admission.confirm(place, &mut record).await?;
        Ok(self.create(id, record).await?)
    }

    /// Takes a body in that is small enough for a record.
    pub(super) async fn take_small(&self, intake: &mut Intake) -> Result<Bytes, AppendError> {
        let chunk = intake.chunk(self.parts.content_bytes_max, Instant::now()).await;
        match chunk.end {
            Some(End::Complete) => intake.digests().check()?,
            Some(end) => return Err(AppendError::ended(end, 0)),
            None => return Err(StoreError::Fault("a small body has no end".into()).into()),
        }
        Ok(chunk.payload.into())
    }

    /// Writes a body that counts as a whole or not at all, as parts behind the `begin` bytes that
    /// an upload has. What was written is in `parts`, whatever comes of it.
    pub(super) async fn write_whole(
        &self,
        id: FileId,
        begin: u64,
        parts: &mut Vec<Part>,
        intake: &mut Intake,
    ) -> Result<(), AppendError> {
        let mut offset = begin;
        let begun = Instant::now();
        loop {
            let age_max = PART_AGE_MAX.saturating_sub(begun.elapsed());
            let limits = PartLimits { age_max, ..self.part_limits(offset, 0) };
            let written = self.blobs.write(self.new_part(id), intake, limits).await;
            let written = written.map_err(StoreError::from)?;
            if let Some(part) = written.part {
                offset += part.bytes;
                parts.push(part);
            }
            match written.end {
                None if begun.elapsed() >= PART_AGE_MAX => {
                    return Err(AppendError::Cut { offset: begin });
                }
                None if parts.len() >= PARTS_MAX => return Err(AppendError::TooManyParts),
                None => {}
                Some(End::Complete) => return Ok(intake.digests().check()?),
                Some(end) => return Err(AppendError::ended(end, begin)),
            }
        }
    }
}

/// What parts that `writer` has just written are called.
pub(super) fn own_names(writer: FileId, parts: &[Part]) -> Vec<PartName> {
    parts.iter().map(|part| PartName { writer, nonce: part.nonce }).collect()
}

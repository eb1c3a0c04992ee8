//! Looks at the first bytes of files, where their tenant has rules on media types: before any of
//! them is kept, however few come at a time.

use futures::TryStreamExt as _;
use outport_wire::rules::MediaTypes;
use tokio::time::Instant;

use super::concat::ConcatError;
use super::{AppendError, Held, PART_AGE_MAX, Store, StoreError};
use crate::blobs::PartLimits;
use crate::intake::Intake;
use crate::record::{Concat, Record};
use crate::sniff::{self, WINDOW_BYTES};

impl Store {
    /// Refuses a file that comes whole and is not of a type that is taken.
    pub(super) async fn look_whole(
        &self,
        record: &Record,
        intake: &mut Intake,
    ) -> Result<(), AppendError> {
        let Some(types) = self.types_of(record) else { return Ok(()) };
        let window = intake.peek(WINDOW_BYTES, Instant::now() + PART_AGE_MAX).await;
        sniff::check(types, &record.media_type, &window).map_err(AppendError::TypeRefused)
    }

    /// Refuses an append that makes a file of a type that is not taken. Returns how many bytes may
    /// be kept before the next look.
    pub(super) async fn look(
        &self,
        held: &Held,
        intake: &mut Intake,
        limits: PartLimits,
    ) -> Result<u64, AppendError> {
        let offset = usize::try_from(held.record.offset()).unwrap_or(usize::MAX);
        let is_piece = matches!(held.record.concat, Some(Concat::Partial { .. }));
        let (Some(types), false) = (self.types_of(&held.record), is_piece) else {
            return Ok(u64::MAX);
        };
        let Some(missing) = WINDOW_BYTES.checked_sub(offset).filter(|missing| *missing > 0) else {
            return Ok(u64::MAX);
        };
        let due = Instant::now() + limits.age_max;
        let (before, next) = futures::join!(self.first_bytes(held), intake.peek(missing, due));
        let window = [before?, next].concat();
        sniff::check(types, &held.record.media_type, &window).map_err(AppendError::TypeRefused)?;
        let is_over = window.len() == WINDOW_BYTES || intake.has_ended();
        Ok(if is_over { u64::MAX } else { (window.len() - offset).max(1) as u64 })
    }

    /// Refuses a final upload whose pieces make a file of a type that is not taken.
    pub(super) async fn look_joined(&self, held: &Held) -> Result<(), ConcatError> {
        let Some(types) = self.types_of(&held.record) else { return Ok(()) };
        let window = self.first_bytes(held).await?;
        sniff::check(types, &held.record.media_type, &window).map_err(ConcatError::TypeRefused)
    }

    /// The first bytes of what there is of a file, [`WINDOW_BYTES`] at most.
    async fn first_bytes(&self, held: &Held) -> Result<Vec<u8>, StoreError> {
        let end = held.record.offset().min(WINDOW_BYTES as u64);
        let pieces: Vec<_> = self.read(held, 0..end).try_collect().await?;
        Ok(pieces.concat())
    }

    /// The rules on the types of a tenant's files, if there are any.
    fn types_of(&self, record: &Record) -> Option<&MediaTypes> {
        Some(self.admission.types(&record.tenant)).filter(|types| !types.takes_all())
    }
}

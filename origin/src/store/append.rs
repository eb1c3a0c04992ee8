//! Appending: parts are written, and the record takes them by compare-and-swap.

use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::problem::Problem;
use tokio::time::Instant;

use super::concat::ConcatError;
use super::whole::own_names;
use super::{CHANGE_ATTEMPTS_MAX, ChangeError, Held, PARTS_MAX, Store, StoreError};
use crate::admission::Ended;
use crate::digest::{Mismatch, Running};
use crate::intake::{End, Intake};
use crate::ledger::Amount;
use crate::meta::MetaError;
use crate::record::{Part, Record};

/// When an append completes its upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completes {
    /// When all the bytes of the announced length are there.
    AtLength,
    /// When its body has ended as it should.
    WithBody,
    /// Not by this one.
    Not,
}

/// Why an append, or a whole upload, did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The upload is not there, or not any more.
    #[error("the upload is gone")]
    Gone,
    /// Nothing can be appended any more.
    #[error("the upload is complete")]
    Complete,
    /// Somebody else appended meanwhile. Ask for the offset and go on from there.
    #[error("the upload is at byte {expected}")]
    OffsetMismatch { expected: u64 },
    /// A newer request took the upload over.
    #[error("a newer request has taken over; the upload is at byte {offset}")]
    Superseded { offset: u64 },
    /// The body was longer than announced. Its last part was thrown away.
    #[error("the body is longer than announced; the upload is at byte {offset}")]
    TooLong { offset: u64 },
    /// The upload has, or would have, another length than was announced.
    #[error("the upload was to have {length} bytes and is at byte {offset}")]
    LengthMismatch { offset: u64, length: u64 },
    /// The upload has come in too many pieces; it can't be ended.
    #[error("an upload can have {PARTS_MAX} pieces; begin anew and send larger ones")]
    TooManyParts,
    /// The body broke off. What arrived is durable up to `offset`.
    #[error("the body broke off; the upload is at byte {offset}")]
    Cut { offset: u64 },
    /// The body is not what its checksum says. Nothing of it was kept; send it again.
    #[error(transparent)]
    Digest(#[from] Mismatch),
    /// The contents are of a type that is not taken. The upload is removed.
    #[error("the contents are not taken: {}", .0.detail())]
    TypeRefused(Problem),
    /// The whole is not what its digest says. The upload is removed.
    #[error("the whole upload has another digest than was announced")]
    WholeDigest,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// Of a body that did not end as it should, for an upload that is then at `offset`.
    pub(super) const fn ended(end: End, offset: u64) -> Self {
        match end {
            End::TooLong => Self::TooLong { offset },
            End::Superseded | End::Displaced => Self::Superseded { offset },
            End::Cut | End::Complete => Self::Cut { offset },
        }
    }
}

/// What one commit adds to a record.
struct Addition {
    parts: Vec<Part>,
    /// The digest of the whole, over these parts too.
    digest: Option<Running>,
    /// The body has ended as it should.
    ended: bool,
    completes: Completes,
}

impl Addition {
    /// Whether the record is complete with it, at the offset that it has then.
    fn completes(&self, record: &Record, offset: u64) -> bool {
        let full = record.length.is_none_or(|length| length == offset);
        match self.completes {
            Completes::AtLength => full && record.length.is_some(),
            Completes::WithBody => full && self.ended,
            Completes::Not => false,
        }
    }

    /// Progress lets the upload live until `expires_s`.
    fn apply(&self, record: &mut Record, expires_s: Option<UnixSeconds>) {
        if let (false, Some(expires_s)) = (self.parts.is_empty(), expires_s) {
            record.live_until(expires_s);
        }
        record.parts.extend_from_slice(&self.parts);
        record.digest.clone_from(&self.digest);
        if self.completes(record, record.offset()) {
            record.complete();
        }
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Whether a record has it already.
    fn is_in(&self, record: &Record, expected: u64) -> bool {
        match self.parts.last() {
            Some(part) => record.parts.contains(part),
            None => record.complete && record.offset() == expected,
        }
    }
}

/// Whether it is certain that no record names a part.
struct Unreferenced(bool);

impl Store {
    /// Appends a body to an upload that is in the `held` state.
    ///
    /// Each part is acknowledged by the state of the record, so that even an error leaves behind
    /// what was committed before it. A body with a checksum counts as a whole or not at all.
    pub(crate) async fn append(
        &self,
        held: Held,
        intake: &mut Intake,
        completes: Completes,
    ) -> Result<Held, AppendError> {
        if held.record.complete {
            return nothing_more(held, intake).await;
        }
        let id = held.id;
        if let Some(bytes) = intake.announced() {
            self.admission.check_room(&held.record, bytes).await?;
        }
        let held = self.merge_small_parts(held).await;
        intake.carry_on(held.record.digest.as_ref());
        let appended = if intake.digests().check_content() {
            self.append_checked(held, intake, completes).await
        } else {
            self.append_parts(held, intake, completes).await
        };
        match &appended {
            Ok(held) => self.join_claimer(&held.record).await,
            Err(AppendError::WholeDigest | AppendError::TypeRefused(_)) => self.give_up(id).await,
            Err(_) => {}
        }
        appended
    }

    /// Says how long an upload will be, once. It is still where it was `held`, so that what was to
    /// be appended there still can be; a length that was said is no other afterwards.
    pub(crate) async fn declare_length(
        &self,
        held: Held,
        length: u64,
    ) -> Result<Held, AppendError> {
        if held.record.length == Some(length) {
            return Ok(held);
        }
        let (offset, epoch) = (held.record.offset(), held.record.epoch);
        let declared = self.change(held.id, |record| {
            if let Some(lost) = lost(record, offset, epoch) {
                return Err(lost);
            }
            match record.length {
                Some(known) if known != length => {
                    Err(AppendError::LengthMismatch { offset, length: known })
                }
                _ if offset > length => Err(AppendError::LengthMismatch { offset, length }),
                _ => {
                    record.length = Some(length);
                    Ok(())
                }
            }
        });
        declared.await.map_err(|error| match error {
            ChangeError::Gone | ChangeError::Claimed(_) => AppendError::Gone,
            ChangeError::Refused(error) => error,
            ChangeError::Store(error) => error.into(),
        })
    }

    async fn append_parts(
        &self,
        mut held: Held,
        intake: &mut Intake,
        completes: Completes,
    ) -> Result<Held, AppendError> {
        loop {
            if held.record.parts.len() >= PARTS_MAX {
                return Err(AppendError::TooManyParts);
            }
            let mut limits = self.part_limits(held.record.offset(), held.record.parts.len());
            limits.bytes_max = limits.bytes_max.min(self.look(&held, intake, limits).await?);
            let name = self.new_part(held.id);
            let written = self.blobs.write(name, intake, limits).await.map_err(StoreError::from)?;
            let ended = written.end == Some(End::Complete);
            if written.part.is_some() || ended {
                let parts = written.part.into_iter().collect();
                let digest = intake.digests().running();
                held = self.commit(held, Addition { parts, digest, ended, completes }).await?;
            }
            let offset = held.record.offset();
            match written.end {
                None => intake.durable(offset),
                Some(End::Complete) => return consistent(held, completes),
                Some(end) => return Err(AppendError::ended(end, offset)),
            }
        }
    }

    async fn append_checked(
        &self,
        held: Held,
        intake: &mut Intake,
        completes: Completes,
    ) -> Result<Held, AppendError> {
        self.look(&held, intake, self.part_limits(0, 0)).await?;
        let mut parts = Vec::new();
        let written = self.write_whole(held.id, held.record.offset(), &mut parts, intake).await;
        let fits = held.record.parts.len() + parts.len() <= PARTS_MAX;
        let written = match written {
            Ok(()) if !fits => Err(AppendError::TooManyParts),
            written => written,
        };
        if let Err(error) = written {
            self.blobs.remove(&own_names(held.id, &parts)).await;
            return Err(error);
        }
        let digest = intake.digests().running();
        let addition = Addition { parts, digest, ended: true, completes };
        consistent(self.commit(held, addition).await?, completes)
    }

    /// Adds durable parts to the record, if the record is still where they begin. If not, the
    /// parts go.
    async fn commit(&self, held: Held, addition: Addition) -> Result<Held, AppendError> {
        let id = held.id;
        let outcome = match self.check_whole(&held.record, &addition) {
            Ok(()) => self.try_commit(held, &addition).await,
            Err(error) => Err((error, Unreferenced(true))),
        };
        if let Err((error, Unreferenced(true))) = &outcome {
            tracing::debug!(%id, %error, "parts were not taken");
            self.blobs.remove(&own_names(id, &addition.parts)).await;
        }
        outcome.map_err(|(error, _)| error)
    }

    /// Checks the digest of the whole, where this completes it.
    fn check_whole(&self, record: &Record, addition: &Addition) -> Result<(), AppendError> {
        let end = record.offset() + addition.bytes();
        if record.digest.is_none() || !addition.completes(record, end) {
            return Ok(());
        }
        match addition.digest.as_ref().and_then(Running::agrees) {
            Some(true) => Ok(()),
            Some(false) => Err(AppendError::WholeDigest),
            None => Err(StoreError::Fault("the state of a digest can't be read".into()).into()),
        }
    }

    async fn try_commit(
        &self,
        mut held: Held,
        addition: &Addition,
    ) -> Result<Held, (AppendError, Unreferenced)> {
        let (expected, epoch) = (held.record.offset(), held.record.epoch);
        let mut certain = true;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            if addition.parts.is_empty() && !addition.completes(&held.record, expected) {
                return Ok(held);
            }
            addition.apply(&mut held.record, self.upload_expiry_s());
            let place = match self.admission.grow(held.id, &mut held.record).await {
                Ok(place) => place,
                Err(error) => return Err((error.into(), Unreferenced(certain))),
            };
            let advanced = self.advance(&held).await;
            let ended = match &advanced {
                Ok(_) => Ended::At(Amount::of(&held.record)),
                Err(error) => Ended::failed(error),
            };
            self.admission.ended(place, ended);
            match advanced {
                Ok(version) => return Ok(Held { version, ..held }),
                Err(MetaError::Conflict) => {}
                Err(MetaError::Uncertain(_)) => certain = false,
                Err(error) => return Err((StoreError::from(error).into(), Unreferenced(certain))),
            }
            let now = match self.load_any(held.id).await {
                Ok(Some(now)) => now,
                Ok(None) => return Err((AppendError::Gone, Unreferenced(true))),
                Err(error) => return Err((error.into(), Unreferenced(false))),
            };
            // What expected a state that is past will never be made.
            certain |= now.version != held.version;
            // After an uncertain write, it may be there already, and what others did behind it.
            if addition.is_in(&now.record, expected) {
                let end = expected + addition.bytes();
                let taken_over = lost(&now.record, end, epoch).filter(|_| !addition.ended);
                return taken_over.map_or(Ok(now), |lost| Err((lost, Unreferenced(false))));
            }
            // An uncertain write can still be made to what has only expired.
            if now.record.is_expired(self.now_s()) {
                return Err((AppendError::Gone, Unreferenced(certain)));
            }
            if let Some(lost) = lost(&now.record, expected, epoch) {
                return Err((lost, Unreferenced(true)));
            }
            held = now;
        }
        Err((StoreError::Contended.into(), Unreferenced(certain)))
    }

    /// Removes an upload that can't be completed.
    pub(crate) async fn give_up(&self, id: FileId) {
        match self.remove_record(id, None, |_| Ok::<_, ()>(())).await {
            Ok(_) | Err(ChangeError::Gone) => {}
            Err(error) => tracing::warn!(%id, ?error, "a failed upload was not removed"),
        }
    }

    /// Completes the final upload that waits for this one, if one does and nothing else is missing.
    async fn join_claimer(&self, record: &Record) {
        let Some(claimer) = record.claimed_by() else { return };
        if !record.complete {
            return;
        }
        match self.join(claimer).await {
            Ok(_) => {}
            Err(ConcatError::TypeRefused(problem)) => {
                tracing::info!(id = %claimer, why = problem.detail(), "a final upload is removed");
                self.give_up_final(claimer).await;
            }
            // Whoever asks for the final upload tries again.
            Err(error) => tracing::warn!(id = %claimer, %error, "a final upload was not joined"),
        }
    }
}

/// To append nothing to what is complete is no error: a client asks in this way whether it is.
async fn nothing_more(held: Held, intake: &mut Intake) -> Result<Held, AppendError> {
    let chunk = intake.chunk(1, Instant::now()).await;
    match chunk.end {
        Some(End::Complete) if chunk.bytes == 0 => Ok(held),
        _ => Err(AppendError::Complete),
    }
}

/// Why an append that began at `expected` in `epoch` has lost against what is there now.
fn lost(now: &Record, expected: u64, epoch: u32) -> Option<AppendError> {
    let offset = now.offset();
    if now.epoch != epoch {
        return Some(AppendError::Superseded { offset });
    }
    if offset != expected {
        return Some(AppendError::OffsetMismatch { expected: offset });
    }
    now.complete.then_some(AppendError::Complete)
}

/// An append that was to complete the upload has done so.
fn consistent(held: Held, completes: Completes) -> Result<Held, AppendError> {
    match held.record.length {
        Some(length) if completes == Completes::WithBody && !held.record.complete => {
            Err(AppendError::LengthMismatch { offset: held.record.offset(), length })
        }
        _ => Ok(held),
    }
}

//! Concatenation (tus 1.0): a final upload is the parts of its partial ones, one after the other.
//! No byte is copied; the final record names the parts that the partial uploads wrote.
//!
//! The order of writes: the final record names its partial uploads, then each of those is claimed,
//! and only then does the final record take their parts. A partial upload that is claimed is never
//! another's, and its record stays for as long as the final one, so that its parts are never
//! garbage. Each step can be done again by whoever comes next.

use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::problem::Problem;

use super::{CHANGE_ATTEMPTS_MAX, ChangeError, Held, PARTS_MAX, Store, StoreError};
use crate::meta::MetaError;
use crate::record::{Concat, Description, Opening, Part, Record};

/// The most partial uploads of one final upload.
pub(crate) const PARTIALS_MAX: usize = 1000;

/// The partial uploads that a final one is to be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// In their order.
    pub(crate) of: Vec<FileId>,
    /// `Upload-Concat` as the client sent it.
    pub(crate) tus_concat: Option<String>,
}

impl From<Vec<FileId>> for Pieces {
    fn from(of: Vec<FileId>) -> Self {
        Self { of, tus_concat: None }
    }
}

/// How far the partial uploads of a final one are, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many bytes are durable.
    pub(crate) offset: u64,
    /// How many they will be.
    pub(crate) length: Option<u64>,
}

/// Why uploads can't be concatenated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConcatError {
    /// There is no such upload, or it is another's.
    #[error("there is no upload {0}")]
    NotFound(FileId),
    /// It was not begun as a partial upload.
    #[error("the upload {0} is no partial one")]
    NotPartial(FileId),
    /// It belongs to another final upload, or is named twice.
    #[error("the upload {0} is part of a final one already")]
    Claimed(FileId),
    /// How long it will be is not known, and so neither is how long the whole would be.
    #[error("the upload {0} has no length yet; send Upload-Length with a PATCH of it first")]
    Deferred(FileId),
    /// They are none, or too many, or in too many pieces.
    #[error(
        "a final upload has from 1 to {PARTIALS_MAX} partial ones, in {PARTS_MAX} pieces at most"
    )]
    Number,
    /// Together they are larger than is allowed.
    #[error("together they have more than {0} bytes")]
    TooLarge(u64),
    /// Together they are of a type that is not taken. The final upload is removed.
    #[error("the contents are not taken: {}", .0.detail())]
    TypeRefused(Problem),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Begins a final upload, and completes it if its partial ones are complete. Nothing has
    /// changed after an error.
    pub(crate) async fn concatenate(
        &self,
        owner: &Identity,
        description: Description,
        pieces: impl Into<Pieces>,
        bytes_max: u64,
    ) -> Result<Held, ConcatError> {
        let Pieces { of, tus_concat } = pieces.into();
        self.check_partials(owner, &of, bytes_max).await?;
        let concat = Some(Concat::Final { of: of.clone() });
        let opening = Opening { concat, tus_concat, ..Opening::default() };
        let held = self.begin(owner, description, opening).await?;
        let joined = match self.claim_all(held.id, &of).await {
            Ok(()) => self.join(held.id).await,
            Err(error) => Err(error),
        };
        match joined {
            Ok(joined) => Ok(joined.unwrap_or(held)),
            Err(error) => self.abandon(held.id, &of).await.ok_or(error),
        }
    }

    /// Undoes what a concatenation has done that failed, as far as that is certain. Gives the final
    /// upload where it was completed after all.
    async fn abandon(&self, id: FileId, of: &[FileId]) -> Option<Held> {
        // From here on nobody joins it any more, not even who began to before.
        let stopped = self.change(id, |record| {
            record.concat = None;
            if record.complete { Err(()) } else { Ok(()) }
        });
        match stopped.await {
            Ok(_) | Err(ChangeError::Gone) => {
                // A partial upload that stays claimed goes with the final one, so that stays too.
                if self.release_all(id, of).await {
                    self.give_up(id).await;
                }
                None
            }
            Err(ChangeError::Refused(()) | ChangeError::Claimed(_)) => {
                self.load(id).await.ok().flatten()
            }
            Err(ChangeError::Store(error)) => {
                tracing::warn!(%id, %error, "a final upload and what it claimed stay");
                None
            }
        }
    }

    /// Completes a final upload if nothing is missing any more. `None` if it is gone.
    pub(crate) async fn join(&self, id: FileId) -> Result<Option<Held>, ConcatError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let Some(mut held) = self.load(id).await? else { return Ok(None) };
            let Some(Concat::Final { of }) = held.record.concat.clone() else {
                return Ok(Some(held));
            };
            if held.record.complete {
                return Ok(Some(held));
            }
            self.claim_all(id, &of).await?;
            let Some(parts) = self.parts_of(&of).await? else { return Ok(Some(held)) };
            (held.record.sources, held.record.parts) = (of, parts);
            self.look_joined(&held).await?;
            held.record.complete();
            match self.advance(&held).await {
                Ok(version) => return Ok(Some(Held { version, ..held })),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        Err(StoreError::Contended.into())
    }

    /// How far partial uploads are, all together. `None` if one of them is gone.
    pub(crate) async fn progress(&self, of: &[FileId]) -> Result<Option<Progress>, StoreError> {
        let mut all = Progress { offset: 0, length: Some(0) };
        for id in of {
            let Some(Held { record, .. }) = self.load(*id).await? else { return Ok(None) };
            all.offset = all.offset.saturating_add(record.offset());
            all.length = all.length.zip(record.length).map(|(sum, one)| sum.saturating_add(one));
        }
        Ok(Some(all))
    }

    /// Removes a final upload that can't be completed, and lets its partial ones go.
    pub(super) async fn give_up_final(&self, id: FileId) {
        let Ok(Some(held)) = self.load(id).await else { return };
        self.give_up(id).await;
        if let Some(Concat::Final { of }) = held.record.concat {
            self.release_all(id, &of).await;
        }
    }

    /// The final upload that has claimed this one, while it exists.
    pub(super) async fn claimer(&self, record: &Record) -> Result<Option<FileId>, StoreError> {
        let Some(claimer) = record.claimed_by() else { return Ok(None) };
        Ok(self.load(claimer).await?.map(|held| held.id))
    }

    async fn check_partials(
        &self,
        owner: &Identity,
        of: &[FileId],
        bytes_max: u64,
    ) -> Result<(), ConcatError> {
        if of.is_empty() || of.len() > PARTIALS_MAX {
            return Err(ConcatError::Number);
        }
        let (mut bytes, mut parts) = (0u64, 0);
        for (place, id) in of.iter().enumerate() {
            if of.iter().take(place).any(|before| before == id) {
                return Err(ConcatError::Claimed(*id));
            }
            let held = self.load(*id).await?;
            let held = held.filter(|held| owner.owns(&held.record.tenant, &held.record.owner));
            let record = held.ok_or(ConcatError::NotFound(*id))?.record;
            match record.concat {
                Some(Concat::Partial { claimed_by: None }) => {}
                Some(Concat::Partial { .. }) => return Err(ConcatError::Claimed(*id)),
                _ => return Err(ConcatError::NotPartial(*id)),
            }
            bytes = bytes.saturating_add(record.length.ok_or(ConcatError::Deferred(*id))?);
            parts += record.parts.len();
        }
        if parts > PARTS_MAX {
            return Err(ConcatError::Number);
        }
        if bytes > bytes_max { Err(ConcatError::TooLarge(bytes_max)) } else { Ok(()) }
    }

    async fn claim_all(&self, id: FileId, of: &[FileId]) -> Result<(), ConcatError> {
        for partial in of {
            if self.load(*partial).await?.is_some_and(|held| held.record.claimed_by() == Some(id)) {
                continue;
            }
            let claimed = self.change(*partial, |record| match &mut record.concat {
                Some(Concat::Partial { claimed_by: Some(other) }) if *other != id => Err(()),
                Some(Concat::Partial { claimed_by }) => {
                    *claimed_by = Some(id);
                    Ok(())
                }
                _ => Err(()),
            });
            match claimed.await {
                Ok(_) => {}
                Err(ChangeError::Gone) => return Err(ConcatError::NotFound(*partial)),
                Err(ChangeError::Refused(()) | ChangeError::Claimed(_)) => {
                    return Err(ConcatError::Claimed(*partial));
                }
                Err(ChangeError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives partial uploads back that were claimed for a final one that will not be. `false` where
    /// one stays claimed.
    async fn release_all(&self, id: FileId, of: &[FileId]) -> bool {
        let mut released_all = true;
        for partial in of {
            let released = self.change(*partial, |record| match &mut record.concat {
                Some(Concat::Partial { claimed_by: Some(other) }) if *other != id => Err(()),
                // One that is not claimed is written too: a claim that may still come is then none.
                Some(Concat::Partial { claimed_by }) => {
                    *claimed_by = None;
                    Ok(())
                }
                _ => Err(()),
            });
            if let Err(ChangeError::Store(error)) = released.await {
                tracing::warn!(id = %partial, %error, "a partial upload stays claimed");
                released_all = false;
            }
        }
        released_all
    }

    /// The parts of complete partial uploads, one after the other. `None` while one is missing.
    async fn parts_of(&self, of: &[FileId]) -> Result<Option<Vec<Part>>, ConcatError> {
        let mut parts = Vec::new();
        for (place, id) in of.iter().enumerate() {
            let record = self.load(*id).await?.ok_or(ConcatError::NotFound(*id))?.record;
            if !record.complete {
                return Ok(None);
            }
            let source = u16::try_from(place + 1).map_err(|_| ConcatError::Number)?;
            parts.extend(record.parts.iter().map(|part| Part { source, ..*part }));
        }
        if parts.len() > PARTS_MAX { Err(ConcatError::Number) } else { Ok(Some(parts)) }
    }
}

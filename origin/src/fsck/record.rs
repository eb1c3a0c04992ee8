//! Holds one record against what it names.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use outport_wire::id::FileId;

use super::{Fsck, IDS_MAX, Kind, Run};
use crate::record::{Concat, Part, Record};
use crate::store::{Held, Slot, StoreError};

/// How many parts of one record are asked for at once.
const LOOKS_MAX: usize = 16;
/// How often a record is looked at again that changes all the time. It is well, then: whoever
/// changes it has just read it.
const ATTEMPTS_MAX: usize = 4;

/// What is wrong with a record.
type Wrongs = Vec<(Kind, String)>;

impl Fsck {
    /// Checks a record, and once more if it has changed meanwhile.
    pub(super) async fn look_at_record(
        &self,
        mut held: Held,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        let bytes = held.record.offset();
        if held.record.is_file() { &mut run.found.files } else { &mut run.found.uploads }
            .add(bytes);
        if let Some(expires_s) = self.collector.expects(&held.record) {
            if run.expecting.len() < IDS_MAX {
                run.expecting.insert(held.id, expires_s);
            } else {
                run.found.index_compared = false;
            }
        }
        for _ in 0..ATTEMPTS_MAX {
            let wrongs = self.wrongs(&held).await?;
            if wrongs.is_empty() {
                return Ok(());
            }
            match self.store.slot(held.id).await? {
                Slot::Held(now) if now.is_same(&held) => {
                    return self.tell(&held, wrongs, run).await;
                }
                Slot::Held(now) => held = now,
                Slot::Buried(_) | Slot::Empty => return Ok(()),
            }
        }
        Ok(())
    }

    async fn tell(&self, held: &Held, wrongs: Wrongs, run: &mut Run) -> Result<(), StoreError> {
        for (kind, detail) in wrongs {
            let repaired = run.repair && self.repair(held, kind).await?;
            run.found.tell(kind, held.id, detail, repaired);
        }
        Ok(())
    }

    async fn repair(&self, held: &Held, kind: Kind) -> Result<bool, StoreError> {
        match (kind, held.owner()) {
            (Kind::NotListed, Some(owner)) => {
                self.store.list_again(&owner, held.id).await?;
                Ok(true)
            }
            (Kind::Orphan, _) => self.store.remove_held(held, None).await,
            _ => Ok(false),
        }
    }

    async fn wrongs(&self, held: &Held) -> Result<Wrongs, StoreError> {
        let mut wrongs = wrong_in_itself(held.id, &held.record);
        wrongs.extend(self.wrong_parts(held).await?);
        wrongs.extend(self.wrong_claims(held).await?);
        match held.owner() {
            Some(owner) if self.store.is_listed(&owner, held.id).await? => {}
            _ => wrongs.push((Kind::NotListed, format!("of {}", held.record.owner))),
        }
        Ok(wrongs)
    }

    /// Parts that are not there, or of another length.
    async fn wrong_parts(&self, held: &Held) -> Result<Wrongs, StoreError> {
        let mut begin = 0;
        let mut looks = Vec::with_capacity(held.record.parts.len());
        for part in &held.record.parts {
            looks.push((held.record.part_name(held.id, *part), begin, part.bytes));
            begin += part.bytes;
        }
        let mut looked = stream::iter(looks)
            .map(|(name, begin, bytes)| async move {
                (self.store.part_bytes(name).await, name, begin, bytes)
            })
            .buffered(LOOKS_MAX);
        let mut wrongs = Vec::new();
        while let Some((stored, name, begin, bytes)) = looked.next().await {
            let part = format!("{}-{:016x}, from byte {begin} on", name.writer, name.nonce);
            match stored? {
                Some(stored) if stored == bytes => {}
                Some(stored) => {
                    let detail = format!("{part}: {stored} bytes instead of {bytes}");
                    wrongs.push((Kind::WrongLength, detail));
                }
                None => wrongs.push((Kind::MissingPart, part)),
            }
        }
        Ok(wrongs)
    }

    /// A part belongs to the upload that wrote it and to the final one that has claimed that, and
    /// to nobody else. So no two files share one.
    async fn wrong_claims(&self, held: &Held) -> Result<Wrongs, StoreError> {
        let mut wrongs = Vec::new();
        if let Some(last) = held.record.claimed_by() {
            let names_it = match self.store.slot(last).await? {
                Slot::Held(last) => match last.record.concat {
                    Some(Concat::Final { of }) => of.contains(&held.id),
                    _ => false,
                },
                Slot::Buried(_) | Slot::Empty => false,
            };
            if !names_it {
                wrongs.push((Kind::Orphan, format!("claimed by {last}")));
            }
        }
        for source in &held.record.sources {
            let claimed = match self.store.slot(*source).await? {
                Slot::Held(partial) => partial.record.claimed_by() == Some(held.id),
                Slot::Buried(_) | Slot::Empty => false,
            };
            if !claimed {
                wrongs.push((Kind::ForeignPart, format!("of {source}, which it has no claim to")));
            }
        }
        Ok(wrongs)
    }
}

/// What is wrong with a record whatever else there is.
fn wrong_in_itself(id: FileId, record: &Record) -> Wrongs {
    let mut wrongs = Vec::new();
    let offset = record.offset();
    match record.length {
        Some(length) if offset > length || (record.complete && offset != length) => {
            let detail = format!("{offset} bytes in parts, and a length of {length}");
            wrongs.push((Kind::WrongSum, detail));
        }
        None if record.complete => {
            wrongs.push((Kind::WrongSum, "complete without a length".into()))
        }
        _ => {}
    }
    let is_known = |part: &&Part| usize::from(part.source) <= record.sources.len();
    let names: HashSet<_> =
        record.parts.iter().filter(is_known).map(|part| record.part_name(id, *part)).collect();
    if names.len() != record.parts.len() {
        wrongs.push((Kind::ForeignPart, "a part is named twice, or its writer is not".into()));
    }
    wrongs
}

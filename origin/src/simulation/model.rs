//! What a history must come to: every change of a record is checked as it is made, and so is every
//! answer that a client gets.
//!
//! The model knows what each request sends. The bytes of two requests differ, so the bytes of a
//! part say whose they are.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;

use super::body::Body;
use super::dice::mix;
use super::invariants::{Broken, Checks, Invariant};
use super::objects::Objects;
use crate::blobs;
use crate::record::{Concat, Part, Record};

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) checks: Checks,
    uploads: BTreeMap<FileId, Upload>,
    requests: Vec<Request>,
    creations: Vec<Creation>,
    listed: BTreeSet<FileId>,
    /// Which parts records name.
    named: BTreeMap<Path, usize>,
    latest_s: UnixSeconds,
}

/// An upload, or the file it made.
#[derive(Clone, Debug)]
struct Upload {
    /// The record, while there is one.
    record: Option<Record>,
    content: Vec<u8>,
    /// Whose the last part may be.
    last: Vec<usize>,
    creation: Option<usize>,
    /// What it was to be made of.
    of: Vec<FileId>,
    /// It goes with another, or if something goes wrong, or somebody asked for its removal.
    may_go: bool,
    /// Somebody asked for its removal.
    was_asked: bool,
    /// By some clock it had expired, and was renewed later or is gone.
    had_expired: bool,
}

/// A body on its way.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `None` for the body of a whole upload.
    pub(super) id: Option<FileId>,
    pub(super) creation: Option<usize>,
    pub(super) start: u64,
    /// What the bytes are made of.
    pub(super) salt: u64,
    /// It is not what its checksum says.
    pub(super) corrupt: bool,
    /// When it had read the record.
    pub(super) began: Option<u64>,
    /// A newer one was answered.
    pub(super) shut_out: bool,
}

impl Request {
    /// One for an upload, or for a whole one, which has no id yet.
    pub(super) fn of(id: Option<FileId>, body: &Body) -> Self {
        Self {
            id,
            creation: None,
            start: body.start,
            salt: body.salt,
            corrupt: body.is_corrupt,
            began: None,
            shut_out: false,
        }
    }
}

/// An upload that somebody wants.
#[derive(Clone, Debug, Default)]
struct Creation {
    /// Whoever asked for it was told that nothing changed.
    refused: bool,
    /// It goes again if something goes wrong.
    fragile: bool,
}

impl Model {
    // What clients do.

    /// Somebody wants an upload. Its name is the number that this returns.
    pub(super) fn creating(&mut self, fragile: bool) -> usize {
        self.creations.push(Creation { refused: false, fragile });
        self.creations.len() - 1
    }

    /// The answer was that nothing has changed.
    pub(super) fn refused(&mut self, creation: usize) {
        let exists = |upload: &&Upload| upload.creation == Some(creation);
        let found = self.uploads.values().find(exists).map(|upload| upload.record.is_some());
        self.checks.hold(Invariant::Errors, found != Some(true), || {
            format!("creation {creation} failed, it was said, and the record is there")
        });
        if let Some(creation) = self.creations.get_mut(creation) {
            creation.refused = true;
        }
    }

    /// Somebody sends a body.
    pub(super) fn sending(&mut self, request: Request) -> usize {
        self.requests.push(request);
        self.requests.len() - 1
    }

    /// A request has read the record that it goes by.
    pub(super) fn began(&mut self, request: usize, now: u64) {
        if let Some(request) = self.requests.get_mut(request) {
            request.began = Some(now);
        }
    }

    /// Removal was asked for.
    pub(super) fn may_go(&mut self, id: FileId) {
        if let Some(upload) = self.uploads.get_mut(&id) {
            (upload.may_go, upload.was_asked) = (true, true);
        }
        for partial in self.partials(id) {
            self.may_go(partial);
        }
    }

    /// What an upload must have at least, by what is durable now.
    pub(super) fn offset(&self, id: FileId) -> u64 {
        self.uploads.get(&id).map_or(0, |upload| upload.content.len() as u64)
    }

    /// Somebody was told an offset that the upload has reached, and knew `at_least` before.
    pub(super) fn told_offset(&mut self, id: FileId, offset: u64, at_least: u64) {
        let upload = self.uploads.get(&id);
        let durable = upload.map_or(0, |upload| upload.content.len() as u64);
        self.checks.hold(Invariant::Offset, offset <= durable, || {
            format!("{id} was said to be at byte {offset}, and {durable} are stored")
        });
        self.checks.hold(Invariant::Offset, offset >= at_least, || {
            format!("{id} was said to be at byte {offset}, and was at {at_least} before")
        });
    }

    /// Somebody was told that their bytes are kept, up to `offset`.
    pub(super) fn told_kept(&mut self, id: FileId, request: usize, offset: u64) {
        self.told_offset(id, offset, 0);
        let Some(request) = self.requests.get(request) else { return };
        let content = self.uploads.get(&id).map(|upload| upload.content.as_slice());
        let kept = (request.start..offset).all(|place| {
            let byte = content.and_then(|content| content.get(place as usize));
            byte == Some(&byte_at(request.salt, place))
        });
        let start = request.start;
        self.checks.hold(Invariant::Durable, kept, || {
            format!("{id}: bytes {start} to {offset} were acknowledged, and are not what was sent")
        });
    }

    /// Somebody was told that it is a whole file.
    pub(super) fn told_complete(&mut self, id: FileId) {
        let upload = self.uploads.get(&id);
        let complete = upload.is_some_and(|upload| {
            upload.may_go || upload.record.as_ref().is_some_and(|record| record.complete)
        });
        self.checks.hold(Invariant::Complete, complete, || format!("{id} is not complete"));
    }

    /// Somebody was told that it is not there.
    pub(super) fn told_gone(&mut self, id: FileId) {
        let had_expired = self.uploads.get(&id).is_some_and(|upload| upload.had_expired);
        let gone = had_expired || self.may_be_gone(id);
        self.checks.hold(Invariant::Durable, gone, || format!("{id} is gone, and nobody asked"));
    }

    /// Somebody was shown a record, after `began`.
    pub(super) fn told_there(&mut self, id: FileId, was_gone: bool) {
        self.checks.hold(Invariant::Gone, !was_gone, || format!("{id} was removed and is back"));
    }

    /// Whether there is certainly no record any more.
    pub(super) fn is_gone(&self, id: FileId) -> bool {
        self.uploads.get(&id).is_some_and(|upload| upload.record.is_none())
    }

    /// Somebody has read all of a file.
    pub(super) fn told_content(&mut self, id: FileId, read: &[u8]) {
        let content = self.uploads.get(&id).map(|upload| upload.content.as_slice());
        self.checks.hold(Invariant::Complete, content == Some(read), || {
            format!("{id} reads as {} bytes that are not its own", read.len())
        });
    }

    /// Somebody was told that it is removed.
    pub(super) fn told_removed(&mut self, id: FileId) {
        let gone = self.uploads.get(&id).is_none_or(|upload| upload.record.is_none());
        self.checks.hold(Invariant::Gone, gone, || format!("{id} was said to be removed"));
    }

    /// Somebody was told of something that must be so.
    pub(super) fn told_error(&mut self, is_so: bool, what: &str) {
        self.checks.hold(Invariant::Errors, is_so, || format!("{what} was blamed, and is not to"));
    }

    /// Somebody has read the list. `before` were files when it was asked for, and `gone` were gone.
    pub(super) fn told_list(&mut self, before: &[FileId], gone: &[FileId], found: &[FileId]) {
        for id in before {
            let there = found.contains(id) || self.may_be_gone(*id);
            self.checks.hold(Invariant::Listed, there, || format!("{id} is not in the list"));
        }
        for id in found {
            self.told_there(*id, gone.contains(id));
        }
    }

    /// The files that there are.
    pub(super) fn files(&self) -> Vec<FileId> {
        let files = self
            .uploads
            .iter()
            .filter(|(_, upload)| upload.record.as_ref().is_some_and(|record| record.is_file()));
        files.map(|(id, _)| *id).collect()
    }

    /// Those that are certainly gone.
    pub(super) fn all_gone(&self) -> Vec<FileId> {
        let gone = self.uploads.iter().filter(|(_, upload)| upload.record.is_none());
        gone.map(|(id, _)| *id).collect()
    }

    /// Whether it is complete.
    pub(super) fn is_complete(&self, id: FileId) -> bool {
        let record = self.uploads.get(&id).and_then(|upload| upload.record.as_ref());
        record.is_some_and(|record| record.complete)
    }

    /// Whether it may be gone by now, for whoever looks.
    pub(super) fn may_be_gone(&self, id: FileId) -> bool {
        self.uploads.get(&id).is_none_or(|upload| {
            let expired = |record: &Record| has_expired(record, self.latest_s);
            upload.may_go || upload.record.as_ref().is_none_or(expired)
        }) || self.partials(id).into_iter().any(|partial| self.may_be_gone(partial))
    }

    /// Whether it is claimed by what is there, and was to be made of it, and will not be.
    pub(super) fn is_kept_by_abandoned(&self, id: FileId) -> bool {
        let record = |id| self.uploads.get(&id).and_then(|upload| upload.record.as_ref());
        let claimer = record(id).and_then(Record::claimed_by).and_then(record);
        claimer.is_some_and(|claimer| claimer.concat.is_none())
    }

    /// Whether nothing leads a collector to it: it has no parts, and does not expire.
    pub(super) fn is_out_of_sight(&self, id: FileId) -> bool {
        let record = self.uploads.get(&id).and_then(|upload| upload.record.as_ref());
        record.is_some_and(|record| record.parts.is_empty() && record.upload_expires_s.is_none())
    }

    /// Whether somebody may have been told that it was removed.
    pub(super) fn was_removed(&self, id: FileId) -> bool {
        let was_asked = |upload: &Upload| upload.record.is_none() && upload.was_asked;
        self.uploads.get(&id).is_some_and(was_asked)
    }

    /// Whether it may be gone because its time was over.
    pub(super) fn has_gone_by_itself(&self, id: FileId) -> bool {
        let expired = |upload: &Upload| upload.record.is_none() && upload.had_expired;
        self.uploads.get(&id).is_some_and(expired)
    }

    /// Whether there is another reason why it may go than that its time is over.
    pub(super) fn may_be_dropped(&self, id: FileId) -> bool {
        self.uploads.get(&id).is_none_or(|upload| upload.may_go)
    }

    /// A newer request was answered. What began before `asked` never commits any more.
    pub(super) fn shut_out(&mut self, id: FileId, asked: u64) {
        let older = |request: &&mut Request| {
            request.id == Some(id) && request.began.is_some_and(|began| began < asked)
        };
        for request in self.requests.iter_mut().filter(older) {
            request.shut_out = true;
        }
    }

    /// A newer request was to be answered so that no older one goes on, and was not.
    pub(super) fn told_epoch(&mut self, id: FileId, before: u32, after: u32, complete: bool) {
        self.checks.hold(Invariant::ShutOut, complete || after != before, || {
            format!("{id}: an offset was told, and older requests can still change it")
        });
    }

    /// What the record's epoch is.
    pub(super) fn epoch(&self, id: FileId) -> u32 {
        let record = self.uploads.get(&id).and_then(|upload| upload.record.as_ref());
        record.map_or(0, |record| record.epoch)
    }

    // What happens in the stores.

    /// A clock has shown this.
    pub(super) fn clock_showed(&mut self, unix_s: UnixSeconds) {
        self.latest_s = self.latest_s.max(unix_s);
    }

    /// A list has an entry more, or less.
    pub(super) fn list_changed(&mut self, id: FileId, is_in: bool) {
        if is_in {
            self.listed.insert(id);
            return;
        }
        self.listed.remove(&id);
        let has_record = self.uploads.get(&id).is_some_and(|upload| upload.record.is_some());
        self.checks.hold(Invariant::Listed, !has_record, || {
            format!("{id} was taken off its owner's list, and is there")
        });
    }

    /// A part is about to be removed.
    pub(super) fn removing(&mut self, path: &Path) {
        let named = self.named.contains_key(path);
        self.checks.hold(Invariant::Parts, !named, || {
            format!("the part {} is removed, and a record names it", short(path))
        });
    }

    /// A record was made, replaced or removed.
    pub(super) fn record_changed(
        &mut self,
        id: FileId,
        old: Option<&Record>,
        new: Option<&Record>,
        objects: &Objects,
    ) {
        match (old, new) {
            (None, Some(new)) => self.created(id, new),
            (Some(old), Some(new)) => self.replaced(id, old, new),
            (Some(old), None) => self.removed(id, old),
            (None, None) => {}
        }
        self.count_named(id, old, new);
        let Some(new) = new else { return };
        let known = old.map_or(0, |old| old.parts.len());
        if matches!(new.concat, Some(Concat::Final { .. })) {
            self.joined(id, new);
        } else if old.is_none() && !new.content.is_empty() {
            self.check_writer(id, &new.content);
        } else {
            self.added(id, new, new.parts.get(known..).unwrap_or_default(), objects);
        }
        if let Some(upload) = self.uploads.get_mut(&id) {
            upload.record = Some(new.clone());
        }
        self.check_complete(id, new);
    }

    /// Every record's parts are there, and are what they were.
    pub(super) fn check_all(&mut self, objects: &Objects) {
        for (id, upload) in &self.uploads {
            let Some(record) = &upload.record else { continue };
            let mut place = record.content.len();
            let kept = upload.content.get(..place) == Some(record.content.as_ref());
            let whole = kept
                && record.parts.iter().all(|part| {
                    let end = place.saturating_add(part.bytes as usize);
                    let stored = objects.get(&blobs::path(record.part_name(*id, *part)));
                    let same = stored.is_some_and(|object| {
                        Some(object.bytes.as_ref()) == upload.content.get(place..end)
                    });
                    place = end;
                    same
                });
            self.checks.hold(Invariant::Durable, whole, || {
                format!("{id}: what is before byte {place} is not what was stored there")
            });
        }
    }

    /// After a sweep: no part is left that nobody names.
    pub(super) fn check_swept(&mut self, objects: &Objects) {
        for path in objects.paths() {
            let named = self.named.contains_key(path);
            self.checks.hold(Invariant::Swept, named, || {
                format!("the part {} was not swept, and nobody names it", short(path))
            });
        }
    }

    fn created(&mut self, id: FileId, new: &Record) {
        let creation: Option<usize> = new.name.parse().ok();
        let wanted = creation.and_then(|creation| self.creations.get(creation)).cloned();
        let refused = wanted.as_ref().is_some_and(|creation| creation.refused);
        self.checks.hold(Invariant::Errors, !refused, || {
            format!("creation {creation:?} failed, it was said, and {id} is made")
        });
        let back = self.uploads.contains_key(&id);
        self.checks.hold(Invariant::Gone, !back, || format!("{id} was removed and is back"));
        let listed = self.listed.contains(&id);
        self.checks.hold(Invariant::Listed, listed, || format!("{id} is in no list"));
        let upload = Upload {
            record: None,
            content: Vec::new(),
            last: Vec::new(),
            creation,
            of: concat_of(new),
            may_go: wanted.is_some_and(|creation| creation.fragile),
            was_asked: false,
            had_expired: false,
        };
        self.uploads.insert(id, upload);
    }

    fn replaced(&mut self, id: FileId, old: &Record, new: &Record) {
        let kept = new.parts.len() >= old.parts.len()
            && old.part_names(id).iter().eq(new.part_names(id).iter().take(old.parts.len()));
        self.checks.hold(Invariant::Offset, kept, || {
            let (before, after) = (old.offset(), new.offset());
            format!("{id} was at byte {before} and is at {after}, without some of its parts")
        });
        let fixed = !old.complete || (new.complete && old.parts.len() == new.parts.len());
        let length = old.length.is_none() || old.length == new.length;
        self.checks.hold(Invariant::Complete, fixed && length, || {
            format!("{id} had {:?} bytes and has {:?}", old.length, new.length)
        });
        let Some(upload) = self.uploads.get_mut(&id) else { return };
        upload.had_expired |= has_expired(old, self.latest_s);
        if !kept {
            upload.content.clear();
        }
    }

    fn removed(&mut self, id: FileId, old: &Record) {
        let partials = self.partials(id);
        let is_dead = has_expired(old, self.latest_s)
            || (!old.complete && partials.iter().any(|partial| self.may_be_gone(*partial)));
        let Some(upload) = self.uploads.get_mut(&id) else { return };
        upload.record = None;
        upload.had_expired |= is_dead;
        let (may_go, was_asked) = (upload.may_go || is_dead, upload.was_asked);
        self.checks.hold(Invariant::Gone, may_go, || format!("{id} is removed, and nobody asked"));
        if is_dead || was_asked {
            // What was claimed goes with it.
            partials.into_iter().for_each(|partial| self.may_go(partial));
        }
    }

    /// Parts were added: they are there, and are what one request has sent.
    fn added(&mut self, id: FileId, record: &Record, parts: &[Part], objects: &Objects) {
        for part in parts {
            let name = record.part_name(id, *part);
            let stored = objects.get(&blobs::path(name)).map(|object| object.bytes.clone());
            let stored = stored.filter(|bytes| bytes.len() as u64 == part.bytes);
            self.checks.hold(Invariant::Parts, stored.is_some(), || {
                format!("{id} names the part {name:?}, which is not there as it says")
            });
            if let Some(bytes) = stored {
                self.check_writer(id, &bytes);
            }
        }
    }

    fn check_writer(&mut self, id: FileId, bytes: &[u8]) {
        let Some(upload) = self.uploads.get_mut(&id) else { return };
        let start = upload.content.len() as u64;
        let is_writer = |(number, request): &(usize, &Request)| {
            let of_it = request.id == Some(id)
                || (request.id.is_none() && request.creation == upload.creation);
            let in_place = request.start == start || upload.last.contains(number);
            of_it && in_place && {
                let places = (start..).zip(bytes);
                places.into_iter().all(|(place, byte)| byte_at(request.salt, place) == *byte)
            }
        };
        let writers: Vec<_> = self.requests.iter().enumerate().filter(is_writer).collect();
        let numbers = writers.iter().map(|(number, _)| *number).collect();
        let stretch = || format!("{id}: the bytes from {start}, {} of them,", bytes.len());
        self.checks.hold(Invariant::OneWriter, !writers.is_empty(), || {
            format!("{} are not what one request has sent there", stretch())
        });
        if !writers.is_empty() {
            let all_shut_out = writers.iter().all(|(_, request)| request.shut_out);
            self.checks.hold(Invariant::ShutOut, !all_shut_out, || {
                format!("{} come from a request older than one that was answered", stretch())
            });
            let all_corrupt = writers.iter().all(|(_, request)| request.corrupt);
            self.checks.hold(Invariant::Checksum, !all_corrupt, || {
                format!("{} are not what their checksum says", stretch())
            });
        }
        upload.last = numbers;
        upload.content.extend_from_slice(bytes);
    }

    /// A final upload has the bytes of its partial ones.
    fn joined(&mut self, id: FileId, record: &Record) {
        if !record.complete {
            return;
        }
        let partials = concat_of(record);
        let content = |id: &FileId| self.uploads.get(id).map(|upload| upload.content.clone());
        let content: Vec<u8> = partials.iter().filter_map(content).flatten().collect();
        let bytes = record.offset();
        self.checks.hold(Invariant::Complete, bytes == content.len() as u64, || {
            format!("{id} has {bytes} bytes, and its pieces {}", content.len())
        });
        if let Some(upload) = self.uploads.get_mut(&id) {
            upload.content = content;
        }
    }

    fn check_complete(&mut self, id: FileId, record: &Record) {
        if record.complete {
            let offset = record.offset();
            self.checks.hold(Invariant::Complete, record.length == Some(offset), || {
                format!("{id} is complete with {offset} bytes of {:?}", record.length)
            });
        }
    }

    fn count_named(&mut self, id: FileId, old: Option<&Record>, new: Option<&Record>) {
        let paths = |record: Option<&Record>| -> Vec<Path> {
            let names = record.map(|record| record.part_names(id)).unwrap_or_default();
            names.into_iter().map(blobs::path).collect()
        };
        for path in paths(new) {
            *self.named.entry(path).or_default() += 1;
        }
        for path in paths(old) {
            if let Some(count) = self.named.get_mut(&path) {
                *count -= 1;
                if *count == 0 {
                    self.named.remove(&path);
                }
            }
        }
    }

    fn partials(&self, id: FileId) -> Vec<FileId> {
        self.uploads.get(&id).map(|upload| upload.of.clone()).unwrap_or_default()
    }

    /// What went wrong first.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.checks.broken()
    }
}

/// Whether it may be gone by now, for whoever has the latest clock. Partial uploads and what is to
/// be made of them don't wait for each other for ever.
fn has_expired(record: &Record, latest_s: UnixSeconds) -> bool {
    let is_partial = matches!(record.concat, Some(Concat::Partial { .. }));
    let is_open = is_partial || !record.complete;
    let is_late = is_open && record.upload_expires_s.is_some_and(|at| at <= latest_s);
    is_late || record.is_expired(latest_s)
}

fn concat_of(record: &Record) -> Vec<FileId> {
    match &record.concat {
        Some(Concat::Final { of }) => of.clone(),
        _ => Vec::new(),
    }
}

fn short(path: &Path) -> &str {
    path.filename().unwrap_or_default()
}

/// The byte that a request sends for a place of its upload.
pub(super) fn byte_at(salt: u64, place: u64) -> u8 {
    mix(salt ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as u8
}

/// The bytes that a request sends for a stretch.
pub(super) fn bytes_of(salt: u64, start: u64, end: u64) -> Vec<u8> {
    (start..end).map(|place| byte_at(salt, place)).collect()
}

//! What is told of files, against what has happened to them.

use std::collections::BTreeSet;

use outport_wire::id::FileId;

use super::invariants::{Checks, Invariant};
use super::model::Model;
use crate::hooks::Kind;
use crate::hooks::event::EventId;
use crate::meta::Key;
use crate::record::{Concat, Record};

/// What was told, and what is to be.
#[derive(Debug)]
pub(super) struct NewsModel {
    /// Whether anybody wants to know.
    is_told: bool,
    to_tell: BTreeSet<(Kind, FileId)>,
    told: BTreeSet<(Kind, FileId)>,
}

impl NewsModel {
    pub(super) fn new(is_told: bool) -> Self {
        Self { is_told, to_tell: BTreeSet::new(), told: BTreeSet::new() }
    }

    /// A record was made, replaced or removed. The model knows.
    pub(super) fn record_changed(
        &mut self,
        id: FileId,
        old: Option<&Record>,
        new: Option<&Record>,
        model: &Model,
    ) {
        let was_file = old.is_some_and(Record::is_file);
        if new.is_some_and(Record::is_file) && !was_file {
            self.to_tell.insert((Kind::Completed, id));
        }
        let gone = old.filter(|_| new.is_none());
        // A piece of a file is nothing that anybody was told of.
        let is_piece = |record: &Record| matches!(record.concat, Some(Concat::Partial { .. }));
        if gone.is_some_and(|record| !is_piece(record)) && !model.may_be_dropped(id) {
            self.to_tell.insert((Kind::Expired, id));
        }
    }

    /// Somebody was told that it is removed.
    pub(super) fn told_removed(&mut self, id: FileId) {
        self.to_tell.insert((Kind::Removed, id));
    }

    /// A receiver was told.
    pub(super) fn told(&mut self, event: &str, model: &mut Model) {
        let Ok(EventId { kind, file }) = event.parse() else {
            let checks = &mut model.checks;
            return checks.hold(Invariant::News, false, || format!("{event} is no event"));
        };
        let is_true = match kind {
            Kind::Completed => self.to_tell.contains(&(kind, file)),
            Kind::Removed => model.was_removed(file),
            Kind::Expired => model.has_gone_by_itself(file),
        };
        model.checks.hold(Invariant::News, is_true, || format!("{event} was told, and is not so"));
        self.told.insert((kind, file));
    }

    /// At the end: what is `untold` would never be told.
    pub(super) fn check_all_told(&self, untold: Option<&Key>, checks: &mut Checks) {
        if !self.is_told {
            return;
        }
        for event @ (kind, file) in &self.to_tell {
            let is_told = self.told.contains(event);
            checks.hold(Invariant::Told, is_told, || {
                format!("nobody was told that {file} is {}", kind.name())
            });
        }
        checks.hold(Invariant::Told, untold.is_none(), || format!("{untold:?} is left"));
    }
}

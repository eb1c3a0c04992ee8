//! A disk, or a bucket: what is on it, and what of that a power cut would take.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path;

use super::dice::Dice;
use super::faults::Fault;
use super::schedule::Domain;

/// All objects that are visible.
#[derive(Debug, Default)]
pub(super) struct Objects {
    there: BTreeMap<Path, Object>,
    /// What was removed, and would be there again after a power cut.
    removed: Vec<(Domain, Path, Object)>,
}

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) modified: SystemTime,
    unsynced: Option<Unsynced>,
}

/// Whose power cut takes an object, and until when.
#[derive(Clone, Copy, Debug)]
struct Unsynced {
    by: Domain,
    until: Duration,
}

impl Objects {
    pub(super) fn get(&self, path: &Path) -> Option<&Object> {
        self.there.get(path)
    }

    /// The first object behind `after` whose path begins with `prefix`.
    pub(super) fn next(&self, prefix: &Path, after: Option<&Path>) -> Option<(&Path, &Object)> {
        let begin = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let next = self.there.range::<Path, _>((begin, Bound::Unbounded)).next();
        next.filter(|(path, _)| path.prefix_matches(prefix))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.there.keys()
    }

    /// Makes an object visible. It is not durable yet.
    pub(super) fn store(&mut self, path: Path, bytes: Bytes, modified: SystemTime, by: Domain) {
        let unsynced = Some(Unsynced { by, until: Duration::MAX });
        self.there.insert(path, Object { bytes, modified, unsynced });
    }

    /// It will be durable at that time, or is.
    pub(super) fn sync(&mut self, path: &Path, at: Option<Duration>) {
        if let Some(object) = self.there.get_mut(path) {
            object.unsynced = match (at, object.unsynced) {
                (Some(until), Some(unsynced)) => Some(Unsynced { until, ..unsynced }),
                _ => None,
            };
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, path: &Path, by: Domain) -> bool {
        let Some(object) = self.there.remove(path) else { return false };
        self.removed.push((by, path.clone(), object));
        true
    }

    /// A machine loses its power: what it had not synced is lost, torn or there, as chance has it,
    /// and so is what it had removed. Says what was lost.
    pub(super) fn power_cut(
        &mut self,
        by: Domain,
        now: Duration,
        dice: &Dice,
    ) -> Vec<(Fault, Path)> {
        let at_risk = |object: &Object| {
            object.unsynced.is_some_and(|unsynced| unsynced.by == by && unsynced.until > now)
        };
        let paths: Vec<_> = self.there.iter().filter(|(_, object)| at_risk(object)).collect();
        let paths: Vec<_> = paths.into_iter().map(|(path, _)| path.clone()).collect();
        let mut struck = Vec::new();
        for path in paths {
            match dice.below(4) {
                0 | 1 => {
                    self.there.remove(&path);
                    struck.push((Fault::WriteLost, path));
                }
                2 => {
                    self.tear(&path, dice);
                    struck.push((Fault::WriteTorn, path));
                }
                _ => self.sync(&path, None),
            }
        }
        let (of_it, others) =
            std::mem::take(&mut self.removed).into_iter().partition(|r| r.0 == by);
        self.removed = others;
        let of_it: Vec<(Domain, Path, Object)> = of_it;
        for (_, path, object) in of_it {
            if dice.one_in(4) {
                self.there.insert(path.clone(), Object { unsynced: None, ..object });
                struck.push((Fault::RemovalUndone, path));
            }
        }
        struck
    }

    fn tear(&mut self, path: &Path, dice: &Dice) {
        if let Some(object) = self.there.get_mut(path) {
            let kept = dice.below(object.bytes.len() as u64) as usize;
            object.bytes.truncate(kept);
            object.unsynced = None;
        }
    }
}

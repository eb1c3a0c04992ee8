//! Who can see this, and what can they see: answered by going through the relations, and so for people,
//! not for decisions.

use std::collections::{BTreeMap, BTreeSet};

use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::relation::{
    FOLDERS_MAX, Holds, Level, Object, Relation, Revision, Subject, Tuple,
};

use super::{ATTEMPTS_MAX, Relations, RelationsError, chain, level};

/// The most users, or files, that an answer names.
const NAMED_MAX: usize = 1_000;
/// The most tuples that are looked at for an answer.
const LOOKED_AT_MAX: usize = 20_000;

/// A user, or everybody of the tenant, who can see something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seer {
    pub(crate) subject: Subject,
    pub(crate) level: Level,
    /// The tuples by which they can, from the object on.
    pub(crate) through: Vec<Tuple>,
}

/// A file that somebody can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) file: FileId,
    pub(crate) level: Level,
}

/// An answer, and whether there may be more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer<T> {
    pub(crate) revision: Revision,
    pub(crate) named: Vec<T>,
    pub(crate) is_whole: bool,
}

/// Who can see a file or a folder by relations, each with the most that they may do.
pub(crate) async fn who_sees(
    relations: &dyn Relations,
    tenant: &str,
    object: &Object,
) -> Result<Answer<Seer>, RelationsError> {
    for _ in 0..ATTEMPTS_MAX {
        let now = Holds { changed: 0, read: Revision::MAX };
        let Some(chain) = chain(relations, tenant, object, now).await? else { continue };
        let revision = chain.iter().map(|(_, direct)| direct.holds.read).min().unwrap_or_default();
        let mut search = Search::default();
        let mut above = Vec::new();
        for (_, direct) in &chain {
            for tuple in &direct.tuples {
                let Some(level) = tuple.relation.level() else { continue };
                let through = [above.clone(), vec![tuple.clone()]].concat();
                search.found(Seer { subject: tuple.subject.clone(), level, through });
            }
            let parent = direct.tuples.iter().find(|tuple| tuple.relation == Relation::Parent);
            above.extend(parent.cloned());
        }
        search.members(relations, tenant).await?;
        let Search { seers, is_cut, .. } = search;
        let named = seers.into_values().collect();
        return Ok(Answer { revision, named, is_whole: !is_cut });
    }
    Err(RelationsError::Busy)
}

/// Users that were found, and groups whose members are still to be.
#[derive(Default)]
struct Search {
    seers: BTreeMap<Subject, Seer>,
    groups: Vec<Seer>,
    looked_at: BTreeSet<(Subject, Level)>,
    is_cut: bool,
}

impl Search {
    fn found(&mut self, seer: Seer) {
        if seer.subject.object().is_some() {
            if self.looked_at.insert((seer.subject.clone(), seer.level)) {
                self.groups.push(seer);
            }
            return;
        }
        let known = self.seers.get(&seer.subject);
        if known.is_some_and(|known| known.level >= seer.level) {
            return;
        }
        if known.is_none() && self.seers.len() >= NAMED_MAX {
            self.is_cut = true;
            return;
        }
        self.seers.insert(seer.subject.clone(), seer);
    }

    async fn members(
        &mut self,
        relations: &dyn Relations,
        tenant: &str,
    ) -> Result<(), RelationsError> {
        let mut looked_at = 0;
        while let Some(group) = self.groups.pop() {
            let Some(object) = group.subject.object() else { continue };
            let mut after = None;
            loop {
                let page = relations.members(tenant, &object, after).await?;
                looked_at += page.tuples.len();
                for tuple in page.tuples {
                    let through = [group.through.clone(), vec![tuple.clone()]].concat();
                    self.found(Seer { subject: tuple.subject, level: group.level, through });
                }
                after = page.next;
                if looked_at >= LOOKED_AT_MAX || self.is_cut {
                    self.is_cut |= after.is_some() || !self.groups.is_empty();
                    return Ok(());
                }
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The files that somebody can see by relations. All of a tenant's are not named one by one.
pub(crate) async fn visible(
    relations: &dyn Relations,
    whose: &Identity,
) -> Result<Answer<Seen>, RelationsError> {
    let tenant = &whose.tenant;
    let user = Subject::User(whose.subject.as_str().into());
    let closure = relations.closure(tenant, &user).await?;
    let mut found = Found::default();
    for subject in [user, Subject::Tenant].iter().chain(&closure.of) {
        found.of(relations, tenant, subject, 0).await?;
    }
    while let Some((folder, depth)) = found.folders.pop() {
        found.of(relations, tenant, &Subject::Folder(folder), depth).await?;
    }
    let mut named = Vec::new();
    for file in &found.files {
        // The indexes may name what has gone.
        if let Some(level) = level(relations, whose, &Object::File(*file)).await? {
            named.push(Seen { file: *file, level });
        }
    }
    Ok(Answer { revision: closure.holds.read, named, is_whole: !found.is_cut })
}

/// Files that were found, and folders that are still to be looked into.
#[derive(Default)]
struct Found {
    files: BTreeSet<FileId>,
    folders: Vec<(Box<str>, usize)>,
    looked_into: BTreeSet<Box<str>>,
    looked_at: usize,
    is_cut: bool,
}

impl Found {
    /// Adds what a subject is related to. What is in a folder is related to it.
    async fn of(
        &mut self,
        relations: &dyn Relations,
        tenant: &str,
        subject: &Subject,
        depth: usize,
    ) -> Result<(), RelationsError> {
        let mut after = None;
        loop {
            if self.files.len() >= NAMED_MAX || self.looked_at >= LOOKED_AT_MAX {
                self.is_cut = true;
                return Ok(());
            }
            let page = relations.of_subject(tenant, subject, after).await?;
            self.looked_at += page.tuples.len();
            for tuple in page.tuples {
                self.add(tuple, depth);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn add(&mut self, tuple: Tuple, depth: usize) {
        match tuple.object {
            Object::File(_) if self.files.len() >= NAMED_MAX => self.is_cut = true,
            Object::File(id) => drop(self.files.insert(id)),
            Object::Folder(name)
                if depth < FOLDERS_MAX && self.looked_into.insert(name.clone()) =>
            {
                self.folders.push((name, depth + 1));
            }
            // Whoever sees all of a tenant is told so, and not of each file.
            Object::Tenant => self.is_cut = true,
            _ => {}
        }
    }
}

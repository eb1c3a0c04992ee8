//! Relations as an origin keeps them, in the simplest way: every revision there was, and all of it
//! evaluated by the words of the documentation.

use std::collections::{BTreeMap, BTreeSet};

use outport_wire::describe::Query;
use outport_wire::relation::{
    FOLDERS_MAX, Holds, Level, Memberships, Object, RELATIONS_HEADER, Related, Relation, Revision,
    Subject, Tuple, encode,
};

/// A tenant's relations.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// By revision, the first of which has none.
    history: Vec<BTreeSet<Tuple>>,
    /// When what is related to an object, or is a member of what, last changed.
    changed: BTreeMap<String, Revision>,
}

impl Default for Graph {
    fn default() -> Self {
        Self { history: vec![BTreeSet::new()], changed: BTreeMap::new() }
    }
}

impl Graph {
    pub(crate) fn revision(&self) -> Revision {
        self.history.len() as Revision - 1
    }

    /// Writes a tuple, or takes it away.
    pub(crate) fn change(&mut self, tuple: &str, is_there: bool) -> Revision {
        let tuple: Tuple = tuple.parse().unwrap();
        let mut tuples = self.now().clone();
        if tuple.relation == Relation::Parent && is_there {
            // It is put there, from where it was.
            tuples.retain(|old| (&old.object, old.relation) != (&tuple.object, tuple.relation));
        }
        if is_there {
            tuples.insert(tuple.clone())
        } else {
            tuples.remove(&tuple)
        };
        self.history.push(tuples);
        let revision = self.revision();
        self.changed.insert(tuple.object.to_string(), revision);
        self.changed.insert(format!("of {}", tuple.subject), revision);
        revision
    }

    fn now(&self) -> &BTreeSet<Tuple> {
        self.history.last().unwrap()
    }

    fn holds<'a>(&self, of: impl IntoIterator<Item = &'a str>) -> Holds {
        let changed = of.into_iter().filter_map(|name| self.changed.get(name)).max();
        Holds { changed: changed.copied().unwrap_or_default(), read: self.revision() }
    }

    /// The fields of the answer to an edge.
    pub(crate) fn answer(&self, target: &str) -> String {
        let (_, query) = target.split_once('?').unwrap();
        let query = Query::parse(query);
        let bytes = match (query.get("object"), query.get("member")) {
            (Some(object), None) => self.related(object).to_bytes(),
            (None, Some(subject)) => self.memberships(subject).to_bytes(),
            _ => panic!("{target}"),
        };
        format!("{RELATIONS_HEADER}: {}\r\n", encode(&bytes))
    }

    fn related(&self, object: &str) -> Related {
        let object: Object = object.parse().unwrap();
        let tuples: Vec<_> = self.now().iter().filter(|tuple| tuple.object == object).collect();
        let parent = tuples.iter().find_map(|tuple| match (&tuple.relation, &tuple.subject) {
            (Relation::Parent, Subject::Folder(name)) => Some(name.clone()),
            _ => None,
        });
        let grants =
            tuples.iter().filter_map(|tuple| Some((&tuple.subject, tuple.relation.level()?)));
        Related::new(self.holds([object.to_string().as_str()]), parent, grants)
    }

    fn memberships(&self, subject: &str) -> Memberships {
        let subject: Subject = subject.parse().unwrap();
        let all = closure(self.now(), &subject);
        let names: Vec<_> = all.iter().map(|subject| format!("of {subject}")).collect();
        let holds = self.holds(names.iter().map(String::as_str));
        Memberships::new(holds, all.iter().filter(|one| **one != subject))
    }

    /// What a user may do with a file, at a revision.
    pub(crate) fn level(&self, user: &str, file: &Object, at: Revision) -> Option<Level> {
        let tuples = &self.history[at as usize];
        let mut subjects = closure(tuples, &Subject::User(user.into()));
        subjects.insert(Subject::Tenant);
        let (mut objects, mut last) = (vec![file.clone(), Object::Tenant], file.clone());
        for _ in 0..FOLDERS_MAX {
            let parent = tuples
                .iter()
                .find(|tuple| tuple.object == last && tuple.relation == Relation::Parent);
            let Some(parent) = parent.and_then(|tuple| tuple.subject.object()) else { break };
            objects.push(parent.clone());
            last = parent;
        }
        let granted = tuples
            .iter()
            .filter(|tuple| objects.contains(&tuple.object) && subjects.contains(&tuple.subject));
        granted.filter_map(|tuple| tuple.relation.level()).max()
    }
}

/// A subject, its groups and roles, and theirs.
fn closure(tuples: &BTreeSet<Tuple>, subject: &Subject) -> BTreeSet<Subject> {
    let mut all = BTreeSet::from([subject.clone()]);
    loop {
        let found = tuples.iter().filter_map(|tuple| match &tuple.object {
            _ if tuple.relation != Relation::Member || !all.contains(&tuple.subject) => None,
            Object::Group(name) => Some(Subject::Group(name.clone())),
            Object::Role(name) => Some(Subject::Role(name.clone())),
            _ => None,
        });
        let found: Vec<_> = found.collect();
        let before = all.len();
        all.extend(found);
        if all.len() == before {
            return all;
        }
    }
}

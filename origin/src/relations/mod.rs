//! Relations: who may do what with what is not their own, and why.
//!
//! [`Relations`] is what a store of them has to give. The one that is built in keeps them in
//! [`Meta`](crate::meta::Meta) ([`KeptRelations`]). What is asked of several parts of it is answered at one
//! revision.

mod kept;
mod questions;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures::future::BoxFuture;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::relation::{
    self, FOLDERS_MAX, Holds, Level, Memberships, Object, Related, Relation, Revision, Subject,
    Tuple,
};

pub(crate) use self::kept::KeptRelations;
pub(crate) use self::questions::{visible, who_sees};
use crate::meta::MetaError;

/// The most changes that are made at once.
pub(crate) const CHANGES_MAX: usize = 64;
/// How often an answer is tried whose parts have changed meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// Why relations are not told, or not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RelationsError {
    /// Too much has changed meanwhile. Retry.
    #[error("the relations change too quickly")]
    Busy,
    /// An object would be related to more subjects, or a subject be a member of more groups and roles,
    /// than edges are told ([`RELATED_MAX`](relation::RELATED_MAX)).
    #[error("{0} would have more than {max}", max = relation::RELATED_MAX)]
    Full(String),
    /// The store failed.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// A tuple to be written, or to be taken away. Both may have been done before.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Change {
    pub(crate) tuple: Tuple,
    pub(crate) is_there: bool,
}

/// What is related to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Direct {
    pub(crate) holds: Holds,
    pub(crate) tuples: Vec<Tuple>,
}

/// What a subject is a member of, by way of others too. The subject itself is not among it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    pub(crate) holds: Holds,
    pub(crate) of: Vec<Subject>,
}

/// Some of many tuples, and where the next begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) tuples: Vec<Tuple>,
    pub(crate) next: Option<Bytes>,
}

/// A store of relations, apart for each tenant.
pub(crate) trait Relations: Send + Sync + 'static {
    /// Makes all these changes, at most [`CHANGES_MAX`], at one revision, or none. What is written of
    /// where something is takes it from where it was.
    fn change<'a>(
        &'a self,
        tenant: &'a str,
        changes: Vec<Change>,
    ) -> BoxFuture<'a, Result<Revision, RelationsError>>;

    /// What is related to a file, a folder or the tenant.
    fn direct<'a>(
        &'a self,
        tenant: &'a str,
        object: &'a Object,
    ) -> BoxFuture<'a, Result<Direct, RelationsError>>;

    /// The groups and roles of a subject.
    fn closure<'a>(
        &'a self,
        tenant: &'a str,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Closure, RelationsError>>;

    /// The members of a group or a role, some at a time. It may tell of some that have gone meanwhile.
    fn members<'a>(
        &'a self,
        tenant: &'a str,
        of: &'a Object,
        after: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Page, RelationsError>>;

    /// All tuples of a subject, some at a time. It may tell of some that have gone meanwhile.
    fn of_subject<'a>(
        &'a self,
        tenant: &'a str,
        subject: &'a Subject,
        after: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Page, RelationsError>>;
}

impl Direct {
    /// The folder that the object is in.
    pub(crate) fn parent(&self) -> Option<&str> {
        self.tuples.iter().find_map(|tuple| match (tuple.relation, &tuple.subject) {
            (Relation::Parent, Subject::Folder(name)) => Some(&**name),
            _ => None,
        })
    }

    fn grants(&self) -> impl Iterator<Item = (&Subject, Level)> {
        self.tuples.iter().filter_map(|tuple| Some((&tuple.subject, tuple.relation.level()?)))
    }

    /// What an edge is told.
    pub(crate) fn entry(&self) -> Related {
        Related::new(self.holds, self.parent().map(Into::into), self.grants())
    }
}

impl Closure {
    /// What an edge is told.
    pub(crate) fn entry(&self) -> Memberships {
        Memberships::new(self.holds, &self.of)
    }
}

/// What is related to an object, to each of the folders above it and to the tenant, at one revision with
/// what else `also` holds for.
async fn chain(
    relations: &dyn Relations,
    tenant: &str,
    object: &Object,
    also: Holds,
) -> Result<Option<Vec<(Object, Direct)>>, RelationsError> {
    let mut chain: Vec<(Object, Direct)> = Vec::new();
    let mut next = Some(object.clone());
    while let Some(object) = next {
        let direct = relations.direct(tenant, &object).await?;
        let folder = direct.parent().filter(|_| chain.len() < FOLDERS_MAX);
        next = match folder {
            Some(name) => Some(Object::Folder(name.into())),
            None => (object != Object::Tenant).then_some(Object::Tenant),
        };
        chain.push((object, direct));
    }
    let holds = chain.iter().map(|(_, direct)| direct.holds).chain([also]);
    Ok(relation::together(holds, 0).is_ok().then_some(chain))
}

/// The most that somebody may do with an object, as relations have it.
pub(crate) async fn level(
    relations: &dyn Relations,
    whose: &Identity,
    object: &Object,
) -> Result<Option<Level>, RelationsError> {
    let (tenant, user) = (&whose.tenant, &whose.subject);
    for _ in 0..ATTEMPTS_MAX {
        let closure = relations.closure(tenant, &Subject::User(user.as_str().into())).await?;
        if let Some(chain) = chain(relations, tenant, object, closure.holds).await? {
            let chain: Vec<_> = chain.iter().map(|(_, direct)| direct.entry()).collect();
            return Ok(relation::level(user, &closure.entry(), &chain));
        }
    }
    Err(RelationsError::Busy)
}

/// Takes away all that is related to a file, which is gone.
pub(crate) async fn forget_file(
    relations: &dyn Relations,
    tenant: &str,
    file: FileId,
) -> Result<(), RelationsError> {
    let mut tuples = relations.direct(tenant, &Object::File(file)).await?.tuples;
    while !tuples.is_empty() {
        let rest = tuples.split_off(tuples.len().min(CHANGES_MAX));
        let gone = tuples.into_iter().map(|tuple| Change { tuple, is_there: false });
        relations.change(tenant, gone.collect()).await?;
        tuples = rest;
    }
    Ok(())
}

//! The list of an owner's files: an entry for each upload and file, in a partition of the owner's.

use bytes::Bytes;
use futures::stream;
use futures::{StreamExt as _, TryStreamExt as _};
use outport_wire::id::FileId;
use outport_wire::identity::Identity;

use super::{Held, Store, StoreError};
use crate::meta::{Key, MetaError};
use crate::record::Record;

/// How many records are fetched at once for a list.
const LIST_FETCHES_MAX: usize = 16;
/// How many entries one request for a list looks at, whether they match or not.
const LIST_ENTRIES_MAX: usize = 1000;

/// A page of an owner's files.
#[derive(Debug)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) files: Vec<(FileId, Record)>,
    /// Where the next page begins, if there may be one.
    pub(crate) next: Option<Bytes>,
}

impl Store {
    /// The files of an owner, newest first, whose names begin with `prefix`. Uploads that are not
    /// complete are none. A page may be short, or empty, and yet have a next one.
    pub(crate) async fn list(
        &self,
        owner: &Identity,
        prefix: &str,
        limit: usize,
        after: Option<Bytes>,
    ) -> Result<Page, StoreError> {
        let partition = list_partition(&owner.tenant, &owner.subject);
        let entries = self.meta.scan(partition, after, LIST_ENTRIES_MAX).await?;
        let mut more = entries.len() == LIST_ENTRIES_MAX;
        let mut fetched = stream::iter(entries.into_iter().map(|(key, _)| key))
            .map(|key| async move { Ok::<_, StoreError>((self.load_listed(&key).await?, key)) })
            .buffered(LIST_FETCHES_MAX);
        let (mut files, mut last) = (Vec::new(), None);
        while let Some((held, key)) = fetched.try_next().await? {
            if files.len() == limit {
                more = true;
                break;
            }
            if let (None, Some(id)) = (&held, listed_id(&key)) {
                self.noticed.add(owner, id);
            }
            last = Some(key);
            if let Some(Held { id, record, .. }) = held
                && record.is_file()
                && record.name.starts_with(prefix)
            {
                files.push((id, record));
            }
        }
        Ok(Page { files, next: last.filter(|_| more) })
    }

    pub(super) async fn list_entry(&self, owner: &Identity, id: FileId) -> Result<(), StoreError> {
        match self.meta.put(entry_key(owner, id), Bytes::new(), None).await {
            // It is there already, of an attempt that did not get further.
            Ok(_) | Err(MetaError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes an entry off its owner's list. One that stays does no harm.
    pub(crate) async fn unlist(&self, owner: &Identity, id: FileId) {
        let key = entry_key(owner, id);
        let removed = match self.meta.get(key.clone()).await {
            Ok(Some(entry)) => self.meta.delete(key, entry.version).await,
            other => other.map(drop),
        };
        if let Err(error) = removed {
            tracing::warn!(%id, %error, "an entry stays in its owner's list");
        }
    }

    async fn load_listed(&self, key: &[u8]) -> Result<Option<Held>, StoreError> {
        match listed_id(key) {
            Some(id) => self.load(id).await,
            None => Ok(None),
        }
    }
}

/// Whose list a partition is. `None` where it is no list.
pub(crate) fn list_owner(partition: &[u8]) -> Option<Identity> {
    let (tenant, subject) =
        std::str::from_utf8(partition).ok()?.strip_prefix("list/")?.split_once('\0')?;
    Identity::new(tenant, subject, Default::default()).ok()
}

/// Tenants and subjects hold no control characters, so NUL parts them.
pub(super) fn list_partition(tenant: &str, subject: &str) -> Bytes {
    format!("list/{tenant}\0{subject}").into()
}

pub(super) fn entry_key(owner: &Identity, id: FileId) -> Key {
    Key::new(list_partition(&owner.tenant, &owner.subject), list_key(id))
}

/// Newest first: scans go upwards, so time counts down.
fn list_key(id: FileId) -> Bytes {
    let age = u64::MAX - id.unix_ms();
    [age.to_be_bytes().as_slice(), id.to_string().as_bytes()].concat().into()
}

pub(crate) fn listed_id(key: &[u8]) -> Option<FileId> {
    let (_, id) = key.split_first_chunk::<8>()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

//! The key-value store of a node: small values, durable, read from memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Recent;
use redb::{Database, ReadableDatabase as _, TableDefinition};

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// What is kept in memory of what was read, in bytes.
const RECENT_BYTES_MAX: u64 = 32 << 20;
const RECENT_EXPECTED: usize = 1_000;
/// The largest value, in bytes: what the smallest of the platforms takes (Workers KV).
pub(crate) const VALUE_BYTES_MAX: usize = 25 << 20;

/// Why a value could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The value is larger than any platform's store takes.
    #[error("a value may have {VALUE_BYTES_MAX} bytes, and this one has {0}")]
    TooLarge(usize),
    /// The store failed.
    #[error("the key-value store failed: {0}")]
    Store(#[from] redb::Error),
}

/// The store.
#[derive(Clone)]
pub(crate) struct Values {
    database: Arc<Database>,
    recent: Arc<Recent<String, Bytes, ByLength>>,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<String, Bytes> for ByLength {
    fn weight(&self, key: &String, value: &Bytes) -> u64 {
        (key.len() + value.len() + 64) as u64
    }
}

impl Values {
    /// Opens the store at this path, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, ValueError> {
        let database = Database::create(path).map_err(redb::Error::from)?;
        let recent = Recent::with_weighter(RECENT_EXPECTED, RECENT_BYTES_MAX, ByLength);
        Ok(Self { database: Arc::new(database), recent: Arc::new(recent) })
    }

    /// Makes these the only values whose keys begin with `prefix`: all or none, durably.
    pub(crate) fn replace(
        &self,
        prefix: &str,
        values: &BTreeMap<String, &[u8]>,
    ) -> Result<(), ValueError> {
        if let Some(large) = values.values().find(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(ValueError::TooLarge(large.len()));
        }
        let write = self.database.begin_write().map_err(redb::Error::from)?;
        {
            let mut table = write.open_table(VALUES).map_err(redb::Error::from)?;
            let is_old = |key: &str| key.starts_with(prefix) && !values.contains_key(key);
            table.retain(|key, _| !is_old(key)).map_err(redb::Error::from)?;
            for (key, value) in values {
                table.insert(key.as_str(), *value).map_err(redb::Error::from)?;
            }
        }
        write.commit().map_err(redb::Error::from)?;
        self.recent.clear();
        Ok(())
    }

    /// Reads a value. From memory at once; from the store on a thread that may wait.
    pub(crate) async fn get(&self, key: String) -> Result<Option<Bytes>, ValueError> {
        if let Some(value) = self.recent.get(&key) {
            return Ok(Some(value));
        }
        let values = self.clone();
        let read = tokio::task::spawn_blocking(move || values.read(&key)).await;
        read.unwrap_or(Ok(None))
    }

    fn read(&self, key: &str) -> Result<Option<Bytes>, ValueError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = match read.open_table(VALUES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(redb::Error::from(error).into()),
        };
        let Some(value) = table.get(key).map_err(redb::Error::from)? else { return Ok(None) };
        let value = Bytes::copy_from_slice(value.value());
        self.recent.insert(key.to_owned(), value.clone());
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<'a>(key: &str, value: &'a [u8]) -> BTreeMap<String, &'a [u8]> {
        BTreeMap::from([(key.to_owned(), value)])
    }

    #[tokio::test]
    async fn values_outlive_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values");
        let values = Values::open(&path).unwrap();
        assert_eq!(values.get("page a".into()).await.unwrap(), None);
        values.replace("page ", &one("page a", b"1")).unwrap();
        assert_eq!(values.get("page a".into()).await.unwrap().unwrap(), "1");
        values.replace("page ", &one("page a", b"2")).unwrap();
        assert_eq!(values.get("page a".into()).await.unwrap().unwrap(), "2");
        drop(values);
        let values = Values::open(&path).unwrap();
        assert_eq!(values.get("page a".into()).await.unwrap().unwrap(), "2");
    }

    #[tokio::test]
    async fn what_is_replaced_is_gone_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let values = Values::open(&folder.path().join("values")).unwrap();
        values.replace("other ", &one("other a", b"1")).unwrap();
        values.replace("page ", &one("page a", b"1")).unwrap();
        values.replace("page ", &one("page b", b"2")).unwrap();
        assert_eq!(values.get("page a".into()).await.unwrap(), None);
        assert_eq!(values.get("page b".into()).await.unwrap().unwrap(), "2");
        assert_eq!(values.get("other a".into()).await.unwrap().unwrap(), "1");
    }

    #[test]
    fn no_value_is_too_large_for_another_platform() {
        let folder = tempfile::tempdir().unwrap();
        let values = Values::open(&folder.path().join("values")).unwrap();
        let large = vec![0; VALUE_BYTES_MAX + 1];
        let refused = values.replace("page ", &one("page a", &large));
        assert!(matches!(refused, Err(ValueError::TooLarge(_))));
    }
}

//! Intents: what is about to happen, written down before it does.
//!
//! A change and the news of it are two keys, and nothing spans two keys. So the intent comes first,
//! then the change; and nothing is sent before the record shows that the change was made. A crash
//! in between leaves an intent without a change, which is dropped once it is old, and once nobody
//! can make the change any more who goes by it; a change without an intent there never is. The key of an intent follows from the event, so that whoever tries
//! again renews the same one.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{EventId, Kind};
use crate::meta::{self, Key, Meta, MetaError, Version};

/// The form in which intents are stored, written into each of them.
const FORMAT: u8 = 1;
/// How often an intent is renewed that others renew at the same time.
const RENEW_ATTEMPTS_MAX: usize = 16;
/// How many intents are read at once.
const PAGE_INTENTS: usize = 256;
const PARTITION: &str = "hook-intent";

/// What the records say of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// There is no record.
    Absent,
    /// An upload that goes on.
    Open,
    /// A file, with its document.
    Complete(Value),
}

/// An intent in the state it was read in.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) id: EventId,
    version: Version,
    pub(crate) stored: StoredIntent,
}

/// An intent as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredIntent {
    #[serde(rename = "v")]
    format: u8,
    /// When it was written, or renewed.
    pub(crate) at_ms: u64,
    /// The file's document, as it will have been.
    pub(crate) file: Value,
}

/// What becomes of an intent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It has happened, to a file with this document.
    Happened(Value),
    /// It may yet happen.
    Wait,
    /// It has not happened in all the time it had.
    Never,
}

/// Judges an intent by what the records say.
pub(crate) fn judge(
    kind: Kind,
    stored: &StoredIntent,
    standing: Standing,
    now_ms: u64,
    age_ms_max: u64,
) -> Verdict {
    match (kind, standing) {
        (Kind::Completed, Standing::Complete(file)) => Verdict::Happened(file),
        (Kind::Removed | Kind::Expired, Standing::Absent) => Verdict::Happened(stored.file.clone()),
        _ if now_ms.saturating_sub(stored.at_ms) <= age_ms_max => Verdict::Wait,
        _ => Verdict::Never,
    }
}

/// All intents of a store.
#[derive(Clone)]
pub(crate) struct Intents {
    meta: Arc<dyn Meta>,
}

impl Intents {
    pub(crate) fn new(meta: Arc<dyn Meta>) -> Self {
        Self { meta }
    }

    /// Writes an intent, or renews it. It is durable when this returns.
    pub(crate) async fn write(
        &self,
        id: EventId,
        at_ms: u64,
        file: Value,
    ) -> Result<(), MetaError> {
        let stored = StoredIntent { format: FORMAT, at_ms, file };
        let value = stored.to_bytes();
        let mut expected = None;
        for _ in 0..RENEW_ATTEMPTS_MAX {
            match self.meta.put(key(id), value.clone(), expected).await {
                Ok(_) => return Ok(()),
                Err(MetaError::Conflict | MetaError::Uncertain(_)) => {}
                Err(error) => return Err(error),
            }
            let entry = self.meta.get(key(id)).await?;
            expected = entry.map(|entry| entry.version);
        }
        Err(MetaError::Conflict)
    }

    /// The intent of an event, if there is one.
    pub(crate) async fn get(&self, id: EventId) -> Result<Option<Intent>, MetaError> {
        let entry = self.meta.get(key(id)).await?;
        Ok(entry.and_then(|entry| read(id, entry)))
    }

    /// Removes an intent, if nobody has renewed it.
    pub(crate) async fn remove(&self, intent: &Intent) -> Result<(), MetaError> {
        match self.meta.delete(key(intent.id), intent.version).await {
            Err(error) if !matches!(error, MetaError::Conflict) => Err(error),
            _ => Ok(()),
        }
    }

    /// Intents in the order of their keys, and where the next page begins.
    pub(crate) async fn page(
        &self,
        after: Option<Bytes>,
    ) -> Result<(Vec<Intent>, Option<Bytes>), MetaError> {
        let scanned = self.meta.scan(PARTITION.into(), after, PAGE_INTENTS).await?;
        let next = scanned.last().filter(|_| scanned.len() == PAGE_INTENTS);
        let next = next.map(|(key, _)| key.clone());
        let intents = scanned.into_iter().filter_map(|(key, entry)| {
            let id = std::str::from_utf8(&key).ok().and_then(|text| text.parse().ok());
            read(id?, entry)
        });
        Ok((intents.collect(), next))
    }
}

impl StoredIntent {
    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into() // Maps have text keys, so JSON takes it all.
    }
}

fn key(id: EventId) -> Key {
    Key::new(PARTITION, id.to_string())
}

fn read(id: EventId, meta::Entry { version, value }: meta::Entry) -> Option<Intent> {
    let stored = serde_json::from_slice(&value).ok();
    let stored = stored.filter(|stored: &StoredIntent| stored.format == FORMAT);
    if stored.is_none() {
        tracing::error!(%id, "an intent can't be read");
    }
    Some(Intent { id, version, stored: stored? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::meta::MemoryMeta;

    fn id(kind: Kind) -> EventId {
        EventId { kind, file: "01000G0000000C000000000004".parse().unwrap() }
    }

    #[test]
    fn only_what_the_records_show_has_happened() {
        let stored = StoredIntent { format: FORMAT, at_ms: 1_000, file: json!("then") };
        let judged = |kind, standing, now_ms| judge(kind, &stored, standing, now_ms, 500);
        let complete = || Standing::Complete(json!("now"));
        assert_eq!(judged(Kind::Completed, complete(), 9_000), Verdict::Happened(json!("now")));
        for standing in [Standing::Absent, Standing::Open] {
            assert_eq!(judged(Kind::Completed, standing.clone(), 1_500), Verdict::Wait);
            assert_eq!(judged(Kind::Completed, standing, 1_501), Verdict::Never);
        }
        for kind in [Kind::Removed, Kind::Expired] {
            let happened = Verdict::Happened(json!("then"));
            assert_eq!(judged(kind, Standing::Absent, 9_000), happened);
            for standing in [Standing::Open, complete()] {
                assert_eq!(judged(kind, standing.clone(), 1_500), Verdict::Wait);
                assert_eq!(judged(kind, standing, 1_501), Verdict::Never);
            }
        }
        // A clock that was set back makes nothing old.
        assert_eq!(judged(Kind::Completed, Standing::Open, 0), Verdict::Wait);
    }

    #[tokio::test]
    async fn a_renewed_intent_is_not_removed_by_who_saw_it_before() {
        let intents = Intents::new(Arc::new(MemoryMeta::default()));
        let id = id(Kind::Completed);
        intents.write(id, 1, json!(1)).await.unwrap();
        let old = intents.get(id).await.unwrap().unwrap();
        intents.write(id, 2, json!(2)).await.unwrap();
        intents.remove(&old).await.unwrap();
        let renewed = intents.get(id).await.unwrap().unwrap();
        assert_eq!((renewed.stored.at_ms, &renewed.stored.file), (2, &json!(2)));
        intents.remove(&renewed).await.unwrap();
        assert!(intents.get(id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_page_has_all_kinds() {
        let intents = Intents::new(Arc::new(MemoryMeta::default()));
        for kind in Kind::ALL {
            intents.write(id(kind), 1, Value::Null).await.unwrap();
        }
        let (found, next) = intents.page(None).await.unwrap();
        assert_eq!((found.len(), next), (3, None));
    }
}

//! What every implementation of [`Meta`] must pass. Each check works in partitions of its own, so
//! that one store can run them all.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Entry, KEY_BYTES_MAX, Key, Meta, MetaError, PARTITION_BYTES_MAX, SCAN_ENTRIES_MAX,
    VALUE_BYTES_MAX, Version, Walk,
};

/// How many callers race for one key.
const RACERS: usize = 32;
/// How many increments each of them makes.
const INCREMENTS: usize = 8;

/// Runs every check.
pub(crate) async fn run(meta: Arc<dyn Meta>) {
    absent_keys(&*meta).await;
    put_and_get(&*meta).await;
    conflicts_change_nothing(&*meta).await;
    delete_and_recreate(&*meta).await;
    scan_order(&*meta).await;
    scan_stays_in_its_partition(&*meta).await;
    scan_is_bounded(&*meta).await;
    sizes(&*meta).await;
    one_creator_wins(meta.clone()).await;
    no_increment_is_lost(meta).await;
}

/// The check of stores that can go through everything. Those above have left enough.
pub(crate) async fn walk(meta: &(impl Meta + Walk)) {
    let mut walked = Vec::new();
    loop {
        let after = walked.last().map(|(key, _): &(Key, Entry)| key.clone());
        let page = meta.walk(after, 300).await.unwrap();
        let last = page.len() < 300;
        walked.extend(page);
        if last {
            break;
        }
    }
    let keys: std::collections::BTreeSet<_> = walked.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys.len(), walked.len(), "an entry came twice");
    for partition in ["order", "p", "pq", "", "p\0", "many", "race"] {
        let scanned = meta.scan(partition.into(), None, usize::MAX).await.unwrap();
        let walked = walked.iter().filter(|(key, _)| key.partition == partition);
        let walked = walked.take(scanned.len());
        let walked: Vec<_> = walked.map(|(key, entry)| (key.key.clone(), entry.clone())).collect();
        assert_eq!(walked, scanned, "{partition:?}");
    }
}

async fn absent_keys(meta: &dyn Meta) {
    let key = Key::new("absent", "a");
    assert_eq!(meta.get(key.clone()).await.unwrap(), None);
    assert!(matches!(
        meta.put(key.clone(), Bytes::new(), Some(Version::fresh())).await,
        Err(MetaError::Conflict)
    ));
    assert!(matches!(meta.delete(key, Version::fresh()).await, Err(MetaError::Conflict)));
    assert_eq!(meta.scan("absent".into(), None, 10).await.unwrap(), []);
}

async fn put_and_get(meta: &dyn Meta) {
    let key = Key::new("put", "a");
    let first = meta.put(key.clone(), "one".into(), None).await.unwrap();
    assert_eq!(
        meta.get(key.clone()).await.unwrap(),
        Some(Entry { version: first, value: "one".into() })
    );
    let second = meta.put(key.clone(), Bytes::new(), Some(first)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(meta.get(key).await.unwrap(), Some(Entry { version: second, value: Bytes::new() }));
}

async fn conflicts_change_nothing(meta: &dyn Meta) {
    let key = Key::new("conflict", "a");
    let old = meta.put(key.clone(), "one".into(), None).await.unwrap();
    let new = meta.put(key.clone(), "two".into(), Some(old)).await.unwrap();
    for expected in [None, Some(old), Some(Version::fresh())] {
        let put = meta.put(key.clone(), "three".into(), expected).await;
        assert!(matches!(put, Err(MetaError::Conflict)), "{expected:?}");
    }
    assert!(matches!(meta.delete(key.clone(), old).await, Err(MetaError::Conflict)));
    assert_eq!(meta.get(key).await.unwrap(), Some(Entry { version: new, value: "two".into() }));
}

async fn delete_and_recreate(meta: &dyn Meta) {
    let key = Key::new("delete", "a");
    let first = meta.put(key.clone(), "one".into(), None).await.unwrap();
    meta.delete(key.clone(), first).await.unwrap();
    assert_eq!(meta.get(key.clone()).await.unwrap(), None);
    assert!(matches!(meta.delete(key.clone(), first).await, Err(MetaError::Conflict)));
    let again = meta.put(key.clone(), "one".into(), None).await.unwrap();
    assert_ne!(first, again, "a version came back");
    assert!(matches!(meta.put(key, "two".into(), Some(first)).await, Err(MetaError::Conflict)));
}

async fn scan_order(meta: &dyn Meta) {
    let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"b", b"\xff\xff"];
    for key in keys.iter().rev() {
        meta.put(Key::new("order", *key), Bytes::from_static(key), None).await.unwrap();
    }
    let scan = async |after: Option<&'static [u8]>, limit| {
        let after = after.map(Bytes::from_static);
        let entries = meta.scan("order".into(), after, limit).await.unwrap();
        assert!(entries.iter().all(|(key, entry)| *key == entry.value));
        entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(scan(None, 10).await, keys);
    assert_eq!(scan(None, 2).await, keys[..2]);
    assert_eq!(scan(Some(b""), 2).await, keys[1..3]);
    assert_eq!(scan(Some(b"aa"), 10).await, keys[4..]);
    assert_eq!(scan(Some(b"\xff\xff"), 10).await, keys[..0]);
    assert_eq!(scan(None, 0).await, keys[..0]);
}

async fn scan_stays_in_its_partition(meta: &dyn Meta) {
    // Names that an encoding which only joins partition and key would run together.
    for (partition, key) in [("p", "qr"), ("pq", "r"), ("", "pqr"), ("p\0", "q"), ("o", "z")] {
        meta.put(Key::new(partition, key), partition.into(), None).await.unwrap();
    }
    for (partition, key) in [("p", "qr"), ("pq", "r"), ("", "pqr"), ("p\0", "q")] {
        let entries = meta.scan(partition.into(), None, 10).await.unwrap();
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, [Bytes::from(key)], "{partition:?}");
    }
}

async fn scan_is_bounded(meta: &dyn Meta) {
    let keys = (0..=SCAN_ENTRIES_MAX).map(|place| Key::new("many", format!("{place:08}")));
    futures::future::try_join_all(keys.map(|key| meta.put(key, Bytes::new(), None))).await.unwrap();
    let entries = meta.scan("many".into(), None, usize::MAX).await.unwrap();
    assert_eq!(entries.len(), SCAN_ENTRIES_MAX);
}

async fn sizes(meta: &dyn Meta) {
    let largest = Key::new(vec![b'p'; PARTITION_BYTES_MAX], vec![b'k'; KEY_BYTES_MAX]);
    let value = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    meta.put(largest.clone(), value.clone(), None).await.unwrap();
    assert_eq!(meta.get(largest).await.unwrap().unwrap().value, value);
    for (key, value_bytes) in [
        (Key::new(vec![b'p'; PARTITION_BYTES_MAX + 1], "k"), 1),
        (Key::new("size", vec![b'k'; KEY_BYTES_MAX + 1]), 1),
        (Key::new("size", "k"), VALUE_BYTES_MAX + 1),
    ] {
        let put = meta.put(key.clone(), vec![0; value_bytes].into(), None).await;
        assert!(matches!(put, Err(MetaError::TooLarge(_))), "{key:?}");
    }
    assert_eq!(meta.scan("size".into(), None, 10).await.unwrap(), []);
}

async fn one_creator_wins(meta: Arc<dyn Meta>) {
    let racers = (0..RACERS).map(|racer| {
        let meta = meta.clone();
        tokio::spawn(async move {
            let value = Bytes::from(racer.to_string());
            meta.put(Key::new("race", "a"), value.clone(), None).await.map(|_| value)
        })
    });
    let outcomes = futures::future::try_join_all(racers).await.unwrap();
    let won: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(MetaError::Conflict))));
    assert_eq!(meta.get(Key::new("race", "a")).await.unwrap().unwrap().value, *won[0]);
}

async fn no_increment_is_lost(meta: Arc<dyn Meta>) {
    let key = Key::new("count", "a");
    meta.put(key.clone(), 0usize.to_be_bytes().to_vec().into(), None).await.unwrap();
    let racers = (0..RACERS).map(|_| {
        let (meta, key) = (meta.clone(), key.clone());
        tokio::spawn(async move {
            for _ in 0..INCREMENTS {
                increment(&*meta, &key).await;
            }
        })
    });
    futures::future::try_join_all(racers).await.unwrap();
    let value = meta.get(key).await.unwrap().unwrap().value;
    assert_eq!(value[..], (RACERS * INCREMENTS).to_be_bytes());
}

async fn increment(meta: &dyn Meta, key: &Key) {
    loop {
        let entry = meta.get(key.clone()).await.unwrap().unwrap();
        let count = usize::from_be_bytes(entry.value[..].try_into().unwrap()) + 1;
        match meta.put(key.clone(), count.to_be_bytes().to_vec().into(), Some(entry.version)).await
        {
            Ok(_) => return,
            Err(MetaError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

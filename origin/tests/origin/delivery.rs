//! What edges get of a file.

use outport_wire::file::{FileRecord, Visibility};

use crate::support::{Answer, Running, bytes};

fn record(answer: &Answer) -> FileRecord {
    FileRecord::decode(answer.header("outport-file").unwrap().as_bytes()).unwrap()
}

#[tokio::test]
async fn the_whole_file_and_its_record() {
    let origin = Running::start().await;
    let content = bytes(30_000);
    let file = origin.alice().store("name=a.txt&visibility=link", content.clone()).await;
    let edge = origin.nobody();
    for target in [file.clone(), format!("{file}/a.txt"), format!("{file}/links?download")] {
        let answer = edge.get(&target, &[]).await.expect(200);
        assert!(answer.body == content);
        let id = file.strip_prefix("/files/").unwrap();
        assert_eq!(answer.header("etag"), Some(format!("\"{id}\"").as_str()));
        assert_eq!(answer.header("content-length"), Some("30000"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(
            answer.header("cache-control"),
            Some("max-age=60, stale-while-revalidate=30, stale-if-error=86400")
        );
        assert!(answer.header("last-modified").unwrap().ends_with(" GMT"));
        let expected = FileRecord {
            tenant: "demo".into(),
            owner: "alice".into(),
            visibility: Visibility::Link,
            name: "a.txt".into(),
            expires_s: None,
            links_after_ms: None,
        };
        assert_eq!(record(&answer), expected);
        let head = edge.send("HEAD", &target, &[("range", "bytes=0-1")], "").await.expect(200);
        assert_eq!((head.header("content-length"), head.body.len()), (Some("30000"), 0));
        assert_eq!(record(&head), expected);
    }
}

#[tokio::test]
async fn ranges_cross_parts() {
    let origin = Running::start().await;
    let content = bytes(30_000);
    let file = origin.alice().store("name=a", content.clone()).await;
    let edge = origin.nobody();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=4095-4096", 4095, 4097),
        ("bytes=1000-20000", 1000, 20001),
        ("bytes=29999-", 29999, 30000),
        ("bytes=-5000", 25000, 30000),
        ("bytes=8192-99999", 8192, 30000),
    ] {
        let answer = edge.get(&file, &[("range", range)]).await.expect(206);
        assert!(answer.body == content[from..to], "{range}");
        let content_range = format!("bytes {from}-{}/30000", to - 1);
        assert_eq!(answer.header("content-range"), Some(content_range.as_str()));
        assert_eq!(answer.header("content-length"), Some((to - from).to_string().as_str()));
    }
    for range in ["bytes=30000-", "bytes=-0"] {
        let answer = edge.get(&file, &[("range", range)]).await;
        assert_eq!(answer.problem(), (416, "range-not-satisfiable".into()), "{range}");
        assert_eq!(answer.header("content-range"), Some("bytes */30000"));
    }
    for range in ["bytes=0-1,5-6", "bytes=9-2", "apples=1-2", "bytes"] {
        assert_eq!(edge.get(&file, &[("range", range)]).await.expect(200).body.len(), 30_000);
    }
}

#[tokio::test]
async fn conditions() {
    let origin = Running::start().await;
    let file = origin.alice().store("name=a", "0123456789").await;
    let edge = origin.nobody();
    let first = edge.get(&file, &[]).await.expect(200);
    let etag = first.header("etag").unwrap();
    let modified = first.header("last-modified").unwrap();

    for condition in [("if-none-match", etag), ("if-modified-since", modified)] {
        let answer = edge.get(&file, &[condition]).await.expect(304);
        assert_eq!(answer.body, "");
        assert_eq!(answer.header("etag"), Some(etag));
        assert_eq!(answer.header("last-modified"), Some(modified));
        assert!(answer.header("cache-control").unwrap().starts_with("max-age=60"));
        assert_eq!(record(&answer), record(&first));
    }
    let range = ("range", "bytes=2-3");
    assert_eq!(edge.get(&file, &[range, ("if-range", etag)]).await.expect(206).body, "23");
    assert_eq!(edge.get(&file, &[range, ("if-range", modified)]).await.expect(206).body, "23");
    edge.get(&file, &[range, ("if-range", "\"other\"")]).await.expect(200);
    let answer = edge.get(&file, &[("if-match", "\"other\"")]).await;
    assert_eq!(answer.problem(), (412, "precondition-failed".into()));
}

#[tokio::test]
async fn a_304_carries_the_record_as_it_is_now() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let etag = alice.get(&file, &[]).await.header("etag").unwrap().to_owned();
    let change = r#"{"visibility":"public","name":"b","expires":"2100-01-01T00:00:00Z"}"#;
    alice.send("PATCH", &file, &[], change).await.expect(200);
    let answer = alice.get(&file, &[("if-none-match", &etag)]).await.expect(304);
    let record = record(&answer);
    assert_eq!((record.visibility, record.name.as_str()), (Visibility::Public, "b"));
    assert_eq!(record.expires_s, Some(4_102_444_800));
}

#[tokio::test]
async fn what_has_expired_is_gone() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let soon = chrono::DateTime::from_timestamp(
        soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64,
        0,
    );
    let change = serde_json::json!({ "expires": soon.unwrap().to_rfc3339() });
    alice.send("PATCH", &file, &[], change.to_string()).await.expect(200);
    alice.get(&file, &[]).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    alice.get(&file, &[]).await.expect(404);
    assert_eq!(alice.get("/files", &[]).await.json()["files"], serde_json::json!([]));
}

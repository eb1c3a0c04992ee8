//! Files as a whole: stored, listed, changed, removed, shared.

use outport_wire::file::FileRecord;
use outport_wire::link::{Holder, Link, LinkRefusal, mark};
use serde_json::json;

use crate::support::{Running, bytes, link_key, parts_in};

fn form(parts: &[(&str, &str)]) -> (String, String) {
    let body: String =
        parts.iter().map(|(head, body)| format!("--b\r\n{head}\r\n\r\n{body}\r\n")).collect();
    ("multipart/form-data; boundary=b".into(), format!("{body}--b--\r\n"))
}

const VISIBILITY: &str = "Content-Disposition: form-data; name=\"visibility\"";

fn file(name: &str) -> String {
    format!(
        "Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: text/plain"
    )
}

#[tokio::test]
async fn a_raw_body_is_a_file() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let content = bytes(30_000);
    let fields = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-disposition", "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt"),
    ];
    let target = "/files?visibility=public&name=ignored";
    let answer = alice.send("POST", target, &fields, content.clone()).await.expect(201);
    let document = answer.json();
    let id = document["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/files/{id}").as_str()));
    assert_eq!(document["created"].as_str().unwrap().len(), "2026-11-24T07:00:00Z".len());
    assert_eq!(
        document,
        json!({
            "id": id,
            "name": "grüße.txt",
            "type": "text/plain; charset=utf-8",
            "size": 30_000,
            "visibility": "public",
            "created": document["created"],
            "expires": null,
            "etag": format!("\"{id}\""),
            "url": format!("/files/{id}"),
            "metadata": {},
        })
    );
    assert!(alice.get(&format!("/files/{id}"), &[]).await.body == content);
}

#[tokio::test]
async fn every_file_of_a_form_is_stored() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let large = "x".repeat(20_000);
    let (content_type, body) = form(&[
        (VISIBILITY, "link"),
        (&file("one.txt"), "1"),
        ("Content-Disposition: form-data; name=\"other\"", "passed over"),
        (&file("C:\\\\two.txt"), &large),
        (&file(""), ""),
    ]);
    let fields = [("content-type", content_type.as_str())];
    let answer = alice.send("POST", "/files", &fields, body).await.expect(201).json();
    let files = answer["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one.txt", "two.txt"]);
    assert_eq!(files[0]["visibility"], "link");
    let second = alice.get(files[1]["url"].as_str().unwrap(), &[]).await.expect(200);
    assert_eq!(
        (second.header("content-type"), &second.body[..]),
        (Some("text/plain"), large.as_bytes())
    );

    let (_, one) = form(&[(&file("one.txt"), "1")]);
    let answer = alice.send("POST", "/files", &fields, one).await.expect(201).json();
    assert_eq!(answer["name"], "one.txt");
}

#[tokio::test]
async fn a_form_that_fails_leaves_nothing() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let large = "x".repeat(20_000);
    let (content_type, whole) = form(&[(&file("one.txt"), &large), (&file("two.txt"), &large)]);
    let fields = [("content-type", content_type.as_str())];
    let cut = whole[..whole.len() - 100].to_owned();
    let answer = alice.send("POST", "/files", &fields, cut).await;
    assert_eq!(answer.problem(), (400, "body-too-short".into()));
    let (_, named) = form(&[(&file("one.txt"), &large), (&file("a\u{202e}b"), "2")]);
    let answer = alice.send("POST", "/files", &fields, named).await;
    assert_eq!(answer.problem(), (400, "invalid-name".into()));
    assert_eq!(parts_in(origin.folder.path()), 0);
    assert_eq!(alice.get("/files", &[]).await.json(), json!({ "files": [], "cursor": null }));
}

#[tokio::test]
async fn lists_are_newest_first_and_paged() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for place in 0..7 {
        let name = if place % 2 == 0 { "even" } else { "odd" };
        alice.store(&format!("name={name}-{place}"), "x").await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    origin.caller("demo", "bob", "write").store("name=bobs", "x").await;
    alice.begin(10, "").await;

    let mut names = Vec::new();
    let mut target = "/files?limit=3".to_owned();
    let mut pages = 0;
    loop {
        let page = alice.get(&target, &[]).await.expect(200).json();
        let files = page["files"].as_array().unwrap();
        names.extend(files.iter().map(|file| file["name"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(cursor) = page["cursor"].as_str() else { break };
        target = format!("/files?limit=3&cursor={cursor}");
    }
    let all = ["even-6", "odd-5", "even-4", "odd-3", "even-2", "odd-1", "even-0"];
    assert_eq!((names, pages), (all.map(String::from).to_vec(), 3));

    let odd = alice.get("/files?prefix=odd", &[]).await.json();
    assert_eq!(odd["files"].as_array().unwrap().len(), 3);
    for bad in ["limit=0", "limit=-1", "limit=x", "cursor=%2f%2f"] {
        let answer = alice.get(&format!("/files?{bad}"), &[]).await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()), "{bad}");
    }
}

#[tokio::test]
async fn a_change_is_seen_at_once() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a.txt", "x").await;
    let change = json!({
        "name": "dir/b.txt", "visibility": "public", "expires": "2100-01-01T00:00:00+01:00",
        "metadata": { "k": "v" },
    });
    let answer = alice.send("PATCH", &file, &[], change.to_string()).await.expect(200).json();
    assert_eq!(answer["name"], "b.txt");
    assert_eq!(answer["expires"], "2099-12-31T23:00:00Z");
    assert_eq!(answer["metadata"], json!({ "k": "v" }));
    let kept = alice.send("PATCH", &file, &[], r#"{"visibility":"private"}"#).await.json();
    assert_eq!((&kept["name"], &kept["expires"]), (&answer["name"], &answer["expires"]));
    let cleared = alice.send("PATCH", &file, &[], r#"{"expires":null}"#).await.json();
    assert_eq!(cleared["expires"], json!(null));
    for bad in [
        "[]",
        "{",
        r#"{"nme":"x"}"#,
        r#"{"visibility":"secret"}"#,
        r#"{"expires":"yesterday"}"#,
        r#"{"expires":"2001-01-01T00:00:00Z"}"#,
        r#"{"name":""}"#,
    ] {
        let answer = alice.send("PATCH", &file, &[], bad).await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()), "{bad}");
    }
    let answer = alice.send("PATCH", &file, &[], r#"{"name":".."}"#).await;
    assert_eq!(answer.problem(), (400, "invalid-name".into()));
    let answer = alice.send("PATCH", &file, &[], "x".repeat(100_000)).await;
    assert_eq!(answer.problem(), (413, "too-large".into()));
}

#[tokio::test]
async fn what_is_removed_is_gone() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", bytes(30_000)).await;
    alice.send("DELETE", &file, &[], "").await.expect(204);
    alice.get(&file, &[]).await.expect(404);
    alice.send("DELETE", &file, &[], "").await.expect(404);
    assert_eq!(parts_in(origin.folder.path()), 0);
    assert_eq!(alice.get("/files", &[]).await.json()["files"], json!([]));
}

#[tokio::test]
async fn links_have_passwords_and_ends() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let links = format!("{file}/links");
    let made = alice.send("POST", &links, &[], r#"{"password":"open sesame"}"#).await.expect(201);
    let made = made.json();
    let (_, query) = made["url"].as_str().unwrap().split_once('?').unwrap();
    assert!(!query.contains("sesame"), "{query}");
    let id = file.strip_prefix("/files/").unwrap().parse().unwrap();
    let read = |password| {
        let here = Holder { address: "192.0.2.1".parse().unwrap(), password };
        Link::read(id, query, &[link_key()], 0, here).unwrap()
    };
    assert_eq!(read(None), Err(LinkRefusal::Password));
    assert_eq!(read(Some("sesame")), Err(LinkRefusal::Password));
    let issued_ms = read(Some("open sesame")).unwrap().issued_ms.unwrap();

    let told = async || {
        let answer = alice.get(&file, &[]).await.expect(200);
        FileRecord::decode(answer.header("outport-file").unwrap().as_bytes()).unwrap()
    };
    assert_eq!(told().await.links_after_ms, None);
    let bob = origin.caller("demo", "bob", "share");
    bob.send("DELETE", &links, &[], "").await.expect(404);
    alice.send("DELETE", &links, &[], "").await.expect(204);
    assert!(told().await.links_after_ms.unwrap() >= issued_ms);
    alice.send("DELETE", &format!("{file}/x"), &[], "").await.expect(405);
    assert_eq!(told().await.name, "a", "it is still there");
}

/// However many come at once, a link is used as often as it says.
#[tokio::test]
async fn uses_of_a_link_are_counted_exactly() {
    const USES: usize = 7;
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a", "x").await;
    let links = format!("{file}/links");
    let make = async |uses: usize| {
        let made =
            alice.send("POST", &links, &[], format!("{{\"uses\":{uses}}}")).await.expect(201);
        let url = made.json()["url"].as_str().unwrap().to_owned();
        let (_, query) = url.split_once('?').unwrap();
        format!("{file}/uses?link={}", mark(query).unwrap())
    };
    let (link, other) = (make(USES).await, make(1).await);
    let edge = origin.nobody();
    let uses = (0..4 * USES).map(|_| edge.send("POST", &link, &[], ""));
    let used = futures::future::join_all(uses).await;
    let good = used.iter().filter(|answer| answer.status == 204).count();
    assert!(used.iter().all(|answer| matches!(answer.status, 204 | 404)));
    assert_eq!(good, USES);
    // The caller of nobody is an edge; somebody is not, and has no use to spend.
    alice.send("POST", &other, &[], "").await.expect(404);
    edge.send("POST", &other, &[], "").await.expect(204);
    edge.send("POST", &other, &[], "").await.expect(404);
    edge.send("POST", &format!("{file}/uses?link=AAAAAAAAAAAAAAAA"), &[], "").await.expect(404);
    edge.send("POST", &format!("{file}/uses"), &[], "").await.expect(404);
    // Those that have ended have no uses left.
    let ended = make(1).await;
    alice.send("DELETE", &links, &[], "").await.expect(204);
    edge.send("POST", &ended, &[], "").await.expect(404);
    for _ in 0..64 {
        make(1).await;
    }
    let refused = alice.send("POST", &links, &[], r#"{"uses":1}"#).await;
    assert_eq!(refused.problem(), (400, "invalid-field".into()));
    alice.send("POST", &links, &[], "").await.expect(201);
}

#[tokio::test]
async fn links_are_signed() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a%20b.txt", "x").await;
    let wanted = r#"{"expires_in":60,"download":true}"#;
    let answer = alice.send("POST", &format!("{file}/links"), &[], wanted).await.expect(201).json();
    let url = answer["url"].as_str().unwrap();
    let (path, query) = url.split_once('?').unwrap();
    assert_eq!(path, format!("{file}/a%20b.txt"));
    let id = file.strip_prefix("/files/").unwrap().parse().unwrap();
    let here = Holder { address: "192.0.2.1".parse().unwrap(), password: None };
    let link = Link::read(id, query, &[link_key()], 0, here).unwrap().unwrap();
    assert!(link.download);
    let wanted = r#"{"expires_in":60,"starts_in":30,"network":"192.0.2.77/24"}"#;
    let bounded = alice.send("POST", &format!("{file}/links"), &[], wanted).await.expect(201);
    let bounded = bounded.json();
    let (_, query) = bounded["url"].as_str().unwrap().split_once('?').unwrap();
    let read = |now| Link::read(id, query, &[link_key()], now, here).unwrap();
    assert_eq!(read(0), Err(LinkRefusal::Early));
    let link = read(u64::MAX).unwrap_err();
    assert_eq!(link, LinkRefusal::Expired);
    assert!(query.contains("network=192.0.2.0/24&"), "{query}");
    for bad in [
        r#"{"expires_in":60,"starts_in":60}"#,
        r#"{"starts_in":-1}"#,
        r#"{"network":"x"}"#,
        r#"{"network":"10.0.0.0/33"}"#,
        r#"{"password":"short"}"#,
        r#"{"uses":0}"#,
        r#"{"uses":1000001}"#,
        "{\"password\":\"with\\ncontrols\"}",
    ] {
        let answer = alice.send("POST", &format!("{file}/links"), &[], bad).await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()), "{bad}");
    }
    alice.send("POST", &format!("{file}/links"), &[], "").await.expect(201);
    for bad in [r#"{"expires_in":0}"#, r#"{"expires_in":2592001}"#, r#"{"expires_in":-1}"#] {
        let answer = alice.send("POST", &format!("{file}/links"), &[], bad).await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()), "{bad}");
    }
}

#[tokio::test]
async fn strangers_learn_nothing() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a&visibility=public", "x").await;
    let upload = alice.begin(10, "").await;
    let unknown = "0000000000000000000000000A";
    let admin = origin.caller("demo", "root", "admin");
    for stranger in [
        origin.caller("demo", "bob", "read write share"),
        origin.caller("other", "alice", "read write share admin"),
    ] {
        for (method, target) in [
            ("PATCH", file.clone()),
            ("DELETE", file.clone()),
            ("POST", format!("{file}/links")),
            ("HEAD", upload.clone()),
            ("GET", upload.clone()),
            ("DELETE", upload.clone()),
        ] {
            let tus = [("tus-resumable", "1.0.0")];
            let answer = stranger.send(method, &target, &tus, "").await.expect(404);
            let id = target.split('/').nth(2).unwrap();
            let other = stranger.send(method, &target.replace(id, unknown), &tus, "").await;
            assert_eq!((answer.status, answer.body), (other.status, other.body), "{method}");
        }
        assert_eq!(stranger.patch(&upload, 0, "x").await.problem(), (404, "not-found".into()));
    }
    admin.send("PATCH", &file, &[], r#"{"name":"b"}"#).await.expect(200);
    admin.send("DELETE", &file, &[], "").await.expect(204);
}

#[tokio::test]
async fn scopes_are_held() {
    let origin = Running::start().await;
    let file = origin.alice().store("name=a", "x").await;
    let upload = origin.alice().begin(10, "").await;
    let tus = [("tus-resumable", "1.0.0")];
    let refused = [
        ("read", "POST", "/files".to_owned()),
        ("read", "POST", "/uploads".to_owned()),
        ("read share", "PATCH", file.clone()),
        ("read share", "DELETE", file.clone()),
        ("read", "DELETE", upload.clone()),
        ("read", "PATCH", upload.clone()),
        ("write", "GET", "/files".to_owned()),
        ("read write", "POST", format!("{file}/links")),
    ];
    for (scopes, method, target) in refused {
        let caller = origin.caller("demo", "alice", scopes);
        let answer = caller.send(method, &target, &tus, "").await;
        assert_eq!(answer.problem(), (403, "scope-missing".into()), "{method} {target}");
        let answer = origin.nobody().send(method, &target, &tus, "").await;
        assert_eq!(answer.problem(), (401, "token-missing".into()), "{method} {target}");
    }
}

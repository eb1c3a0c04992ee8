//! What a tenant may upload, by every way of uploading.

use futures::future::join_all;
use outport_wire::rules::{Quota, Rules, TenantRules};
use serde_json::json;

use crate::support::{Answer, Caller, Running, bytes, file_of, pair, parts_in};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
const EXE: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff";
const TUS_BODY: (&str, &str) = ("content-type", "application/offset+octet-stream");

fn sized() -> TenantRules {
    TenantRules::sized(1 << 20)
}

fn images() -> TenantRules {
    let mut rules = sized();
    rules.declared.types.allowed = vec!["image/*".parse().unwrap()];
    rules.declared.types.refused = vec!["image/svg+xml".parse().unwrap()];
    rules
}

fn quota(bytes: Option<u64>, files: Option<u64>) -> TenantRules {
    TenantRules { quota: Quota { bytes, files }, ..sized() }
}

/// The tenant `acme` has these rules, and all others have none.
async fn start(rules: TenantRules) -> Running {
    Running::start_with(|config| {
        config.rules = Rules::same(sized());
        config.rules.tenants.insert("acme".into(), rules);
    })
    .await
}

fn acme(origin: &Running) -> Caller {
    origin.caller("acme", "alice", "read write share")
}

/// One file of this type and content, by each way of uploading.
async fn by_each_way(caller: &Caller, media_type: &str, content: &[u8]) -> Vec<Answer> {
    let length = content.len().to_string();
    let typed = [("content-type", media_type)];
    let raw = caller.send("POST", "/files", &typed, content.to_vec());
    let head = format!(
        "--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a\"\r\n\
         content-type: {media_type}\r\n\r\n"
    );
    let form = [head.as_bytes(), content, b"\r\n--b--\r\n"].concat();
    let multipart = [("content-type", "multipart/form-data; boundary=b")];
    let form = caller.send("POST", "/files", &multipart, form);
    let metadata = pair("filetype", media_type);
    let fields = [("upload-length", &*length), ("upload-metadata", &*metadata), TUS_BODY];
    let tus = caller.tus("POST", "/uploads", &fields, content.to_vec());
    let fields = [
        ("upload-complete", "?1"),
        ("content-type", media_type),
        ("upload-draft-interop-version", "8"),
    ];
    let draft = caller.send("POST", "/uploads", &fields, content.to_vec());
    vec![raw.await, form.await, tus.await, draft.await]
}

#[tokio::test]
async fn a_declared_type_that_is_not_taken() {
    let origin = start(images()).await;
    let acme = acme(&origin);
    for media_type in ["text/html; charset=utf-8", "image/svg+xml"] {
        for answer in by_each_way(&acme, media_type, b"whatever").await {
            assert_eq!(answer.problem(), (415, "media-type-refused".into()));
            assert_eq!(answer.json()["allowed"], json!(["image/*"]));
            assert_eq!(answer.json()["refused"], json!(["image/svg+xml"]));
        }
    }
    for answer in by_each_way(&acme, "image/png", PNG).await {
        answer.expect(201);
    }
    let untyped = acme.tus("POST", "/uploads", &[("upload-length", "1")], "").await;
    assert_eq!(untyped.problem(), (415, "media-type-refused".into()));
    // Another tenant takes everything.
    for answer in by_each_way(&origin.alice(), "text/html", b"whatever").await {
        answer.expect(201);
    }
}

#[tokio::test]
async fn a_declared_type_of_a_final_upload_that_is_not_taken() {
    let origin = start(images()).await;
    let acme = acme(&origin);
    let fields = [("upload-concat", "partial"), ("upload-length", "1")];
    let piece = acme.tus("POST", "/uploads", &fields, "").await.expect(201);
    let concat = format!("final;{}", piece.header("location").unwrap());
    for (media_type, status) in [("image/svg+xml", 415), ("image/png", 201)] {
        let metadata = pair("filetype", media_type);
        let fields = [("upload-concat", concat.as_str()), ("upload-metadata", &metadata)];
        acme.tus("POST", "/uploads", &fields, "").await.expect(status);
    }
}

#[tokio::test]
async fn contents_that_are_not_what_was_declared() {
    let origin = start(images()).await;
    let acme = acme(&origin);
    let parts = parts_in(origin.folder.path());
    for length in [EXE.len(), 10_000, 100_000] {
        let mut program = EXE.to_vec();
        program.resize(length, 0);
        for answer in by_each_way(&acme, "image/png", &program).await {
            assert_eq!(answer.problem(), (415, "media-type-refused".into()));
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            let begin =
                "The contents are application/vnd.microsoft.portable-executable, not image/png";
            assert!(detail.starts_with(begin), "{detail}");
        }
    }
    assert_eq!(parts_in(origin.folder.path()), parts, "nothing is kept");
    assert_eq!(acme.get("/files", &[]).await.json()["files"], json!([]));
}

#[tokio::test]
async fn an_upload_whose_first_bytes_are_refused_is_gone() {
    let origin = start(images()).await;
    let acme = acme(&origin);
    let upload = acme.begin(10_000, &pair("filetype", "image/png")).await;
    acme.patch(&upload, 0, &EXE[..1]).await.expect(204);
    let refused = acme.patch(&upload, 1, &EXE[1..]).await;
    assert_eq!(refused.problem(), (415, "media-type-refused".into()));
    acme.tus("HEAD", &upload, &[], "").await.expect(404);
    let upload = acme.begin(PNG.len(), &pair("filetype", "image/png")).await;
    acme.patch(&upload, 0, &PNG[..3]).await.expect(204);
    acme.patch(&upload, 3, &PNG[3..]).await.expect(204);
    assert_eq!(acme.get(&file_of(&upload), &[]).await.expect(200).body, PNG);
}

#[tokio::test]
async fn a_tenant_s_own_size() {
    let origin = start(TenantRules::sized(1000)).await;
    let acme = acme(&origin);
    for answer in by_each_way(&acme, "a/b", &bytes(1001)).await {
        assert_eq!(answer.problem(), (413, "too-large".into()));
    }
    for answer in by_each_way(&acme, "a/b", &bytes(1000)).await {
        answer.expect(201);
    }
    for answer in by_each_way(&origin.alice(), "a/b", &bytes(1001)).await {
        answer.expect(201);
    }
}

#[tokio::test]
async fn a_quota_holds_whichever_way_is_taken_and_comes_back() {
    let origin = start(quota(Some(5000), None)).await;
    let acme = acme(&origin);
    let stored = by_each_way(&acme, "a/b", &bytes(1000)).await;
    for answer in by_each_way(&acme, "a/b", &bytes(1001)).await {
        assert_eq!(answer.problem(), (403, "quota-exceeded".into()));
        assert_eq!(answer.json()["limit_bytes"], 5000);
        assert_eq!(answer.json()["used_bytes"], 4000);
    }
    let upload = acme.begin(1000, "").await;
    let full = acme.send("POST", "/files", &[], "x").await;
    assert_eq!(full.problem(), (403, "quota-exceeded".into()), "what is open counts in full");
    acme.tus("DELETE", &upload, &[], "").await.expect(204);
    for answer in stored {
        let location = answer.expect(201).header("location").unwrap().to_owned();
        let file = location.replace("/uploads/", "/files/");
        acme.send("DELETE", &file, &[], "").await.expect(204);
    }
    acme.send("POST", "/files", &[], bytes(5000)).await.expect(201);
}

#[tokio::test]
async fn an_upload_without_a_length_reserves_as_it_grows() {
    let origin = start(quota(Some(5000), None)).await;
    let acme = acme(&origin);
    let begun = acme.tus("POST", "/uploads", &[("upload-defer-length", "1")], "").await.expect(201);
    let upload = begun.header("location").unwrap();
    acme.patch(upload, 0, bytes(2000)).await.expect(204);
    assert_eq!(acme.patch(upload, 2000, bytes(3001)).await.problem().1, "quota-exceeded");
    assert_eq!(acme.offset(upload).await, 2000);
    acme.send("POST", "/files", &[], bytes(1000)).await.expect(201);
    // The rest is counted as soon as it is announced.
    let fields = [("upload-offset", "2000"), ("upload-length", "4001"), TUS_BODY];
    let over = acme.tus("PATCH", upload, &fields, "").await;
    assert_eq!(over.problem(), (403, "quota-exceeded".into()));
    let fields = [("upload-offset", "2000"), ("upload-length", "4000"), TUS_BODY];
    acme.tus("PATCH", upload, &fields, "").await.expect(204);
    assert_eq!(acme.send("POST", "/files", &[], "x").await.problem().1, "quota-exceeded");
    acme.patch(upload, 2000, bytes(2000)).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_creations_at_once_ten_fit() {
    let origin = start(quota(None, Some(10))).await;
    let acme = acme(&origin);
    let tries = (0..50).map(|place| {
        let acme = acme.clone();
        async move {
            if place % 2 == 0 {
                acme.tus("POST", "/uploads", &[("upload-length", "5")], "").await
            } else {
                acme.send("POST", "/files", &[], "12345").await
            }
        }
    });
    let answers = join_all(tries).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 10);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(refused.problem(), (403, "quota-exceeded".into()));
        assert_eq!(refused.json()["limit_files"], 10);
    }
    for answer in made {
        let location = answer.header("location").unwrap();
        acme.tus("DELETE", &location.replace("/files/", "/uploads/"), &[], "").await.expect(204);
    }
    for answer in join_all((0..10).map(|_| acme.send("POST", "/files", &[], "x"))).await {
        answer.expect(201);
    }
    assert_eq!(acme.send("POST", "/files", &[], "x").await.problem().1, "quota-exceeded");
}

#[tokio::test]
async fn a_quota_outlives_the_process() {
    let origin = start(quota(Some(1000), None)).await;
    acme(&origin).send("POST", "/files", &[], bytes(900)).await.expect(201);
    let folder = origin.stop().await;
    let again = Running::start_in(folder, |config| {
        config.rules = Rules::same(quota(Some(1000), None));
    })
    .await;
    let acme = acme(&again);
    assert_eq!(acme.send("POST", "/files", &[], bytes(101)).await.problem().1, "quota-exceeded");
    acme.send("POST", "/files", &[], bytes(100)).await.expect(201);
}

#[tokio::test]
async fn so_many_uploads_are_open_at_once() {
    let origin = start(TenantRules { open_max: Some(2), ..sized() }).await;
    let acme = acme(&origin);
    let first = acme.begin(5, "").await;
    acme.begin(5, "").await;
    let third = acme.tus("POST", "/uploads", &[("upload-length", "5")], "").await;
    assert_eq!(third.problem(), (429, "too-many-uploads".into()));
    assert_eq!(third.json()["limit"], 2);
    // Another identity has its own, and a file that comes whole is never open.
    origin.caller("acme", "bob", "write").begin(5, "").await;
    acme.send("POST", "/files", &[], "whole").await.expect(201);
    acme.patch(&first, 0, "12345").await.expect(204);
    acme.begin(5, "").await;
}

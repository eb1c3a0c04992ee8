//! `GET` and `HEAD` of files: what is said about them, to whom, and from where.

use outport_tests::world::World;
use outport_tests::{random, scenarios, scene};
use reqwest::Method;

scenarios![
    a_file_with_all_that_is_said_about_it,
    head_says_what_get_does,
    what_was_fetched_is_a_hit,
    a_hit_for_everybody,
    any_name_may_follow_the_id,
    a_public_file_for_everybody,
    active_content_never_runs,
    scripts_and_styles_cannot_be_included,
    a_download_is_saved,
    a_large_file,
    an_unknown_file,
    ids_that_are_none,
    methods_that_are_not_for_files,
    by_http_2,
];

async fn a_file_with_all_that_is_said_about_it(world: World) {
    let file = world.owner().upload("name=said.txt", "text/plain", "0123456789").await;
    let answer = world.owner().get(&file.path()).await;
    answer.expect_status(200);
    assert_eq!(answer.body, "0123456789");
    assert_eq!(answer.number("content-length"), 10);
    assert_eq!(answer.field("content-type"), "text/plain");
    assert_eq!(answer.field("accept-ranges"), "bytes");
    assert_eq!(answer.field("x-content-type-options"), "nosniff");
    assert!(answer.field("etag").starts_with('"'), "{answer:?}");
    assert!(answer.field("last-modified").ends_with(" GMT"), "{answer:?}");
    assert!(answer.field("content-disposition").contains("said.txt"), "{answer:?}");
    assert!(answer.field("cache-control").contains("private"), "{answer:?}");
    for internal in ["outport-file", "outport-identity", "signature", "signature-input"] {
        assert_eq!(answer.field_if_any(internal), None, "{answer:?}");
    }
}

async fn head_says_what_get_does(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "0123456789").await;
    for _ in 0..2 {
        let head = world.owner().head(&file.path(), &[]).await;
        head.expect_status(200);
        assert!(head.body.is_empty());
        let get = world.owner().get(&file.path()).await;
        for field in
            ["content-length", "content-type", "etag", "last-modified", "content-disposition"]
        {
            assert_eq!(head.field(field), get.field(field), "{field}");
        }
    }
}

async fn what_was_fetched_is_a_hit(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "cached").await;
    let first = world.owner().get(&file.path()).await;
    let status = first.field("cache-status");
    assert!(!status.contains("hit") && status.contains("fwd="), "{status}");
    // Where it is stored once the answer is sent, who comes at once may wait for that.
    world.owner().get(&file.path()).await.expect_status(200);
    let later = world.owner().get(&file.path()).await;
    assert_eq!(later.body, "cached");
    let status = later.field("cache-status");
    assert!(status.contains("hit") && !status.contains("fwd="), "{status}");
    assert_eq!(first.field("etag"), later.field("etag"));
}

async fn a_hit_for_everybody(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "shared").await;
    // The second waits until it is stored, where that is after the first answer.
    for _ in 0..2 {
        world.owner().get(&file.path()).await.expect_status(200);
    }
    let answer = world.anonymous().get(&file.path()).await;
    assert!(answer.field("cache-status").contains("hit"), "{answer:?}");
}

async fn any_name_may_follow_the_id(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "named").await;
    for name in ["a.txt", "other.pdf", "d%C3%ADa.txt", "..a"] {
        let answer = world.owner().get(&format!("{}/{name}", file.path())).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(answer.body, "named");
    }
}

async fn a_public_file_for_everybody(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "open").await;
    let answer = world.anonymous().get(&file.path()).await;
    answer.expect_status(200);
    assert_eq!(answer.body, "open");
    assert!(answer.field("cache-control").contains("public"), "{answer:?}");
}

async fn active_content_never_runs(world: World) {
    for kind in
        ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "TEXT/HTML; charset=x"]
    {
        let query = "visibility=public&name=a.html";
        let file = world.owner().upload(query, kind, "<script>alert(1)</script>").await;
        for _ in 0..2 {
            let answer = world.anonymous().get(&file.path()).await;
            answer.expect_status(200);
            let policy = answer.field("content-security-policy");
            assert!(
                policy.contains("sandbox") && policy.contains("default-src 'none'"),
                "{answer:?}"
            );
            assert!(answer.field("content-disposition").starts_with("attachment"), "{answer:?}");
            assert_eq!(answer.field("x-content-type-options"), "nosniff");
        }
    }
}

async fn scripts_and_styles_cannot_be_included(world: World) {
    for kind in ["text/javascript", "application/javascript", "text/css"] {
        let file = world.owner().upload("visibility=public", kind, "x").await;
        let answer = world.anonymous().get(&file.path()).await;
        assert!(answer.field("content-type").starts_with("text/plain"), "{kind}: {answer:?}");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
    }
}

async fn a_download_is_saved(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "x").await;
    let shown = world.owner().get(&file.path()).await;
    assert!(shown.field("content-disposition").starts_with("inline"), "{shown:?}");
    let saved = world.owner().get(&format!("{}?download", file.path())).await;
    assert!(saved.field("content-disposition").starts_with("attachment"), "{saved:?}");
}

async fn a_large_file(world: World) {
    let content = random::bytes(20 * 1024 * 1024);
    let file =
        world.owner().upload("name=large.bin", "application/octet-stream", content.clone()).await;
    for _ in 0..2 {
        let answer = world.owner().get(&file.path()).await;
        answer.expect_status(200);
        assert_eq!(answer.number("content-length"), content.len() as u64);
        assert_eq!(random::digest(&answer.body), random::digest(&content));
    }
}

async fn an_unknown_file(world: World) {
    let answer = world.owner().get("/files/01000G0000000C000000000004").await;
    answer.expect_problem(404, "not-found");
}

async fn ids_that_are_none(world: World) {
    for path in
        ["/files/x", "/files/01000G0000000C00000000000U", "/files/0", "/files/a/b/c", "/nothing"]
    {
        world.owner().get(path).await.expect_problem(404, "not-found");
    }
}

async fn methods_that_are_not_for_files(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "x").await;
    for method in [Method::PUT, Method::POST] {
        let answer = world.owner().send(method, &file.path(), &[], "x").await;
        answer.expect_problem(405, "method-not-allowed");
        assert!(answer.field("allow").contains("GET"), "{answer:?}");
    }
    assert_eq!(world.owner().get(&file.path()).await.body, "x");
}

async fn by_http_2(world: World) {
    let owner = world.owner().by_http_2();
    let content = random::bytes(3_000_000);
    let kind = "application/octet-stream";
    let file = owner.upload("name=h2.bin", kind, content.clone()).await;
    let path = file.path();
    let gets = futures::future::join_all((0..20).map(|_| owner.get(&path)));
    for answer in scene::unordered("any of them may be the first to come", gets).await {
        answer.expect_status(200);
        assert_eq!(random::digest(&answer.body), random::digest(&content));
    }
    let part = owner.get_with(&path, &[("range", "bytes=10-19")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &content[10..20]));
    owner.anonymous().get(&path).await.expect_problem(404, "not-found");
}

//! Conditional requests (RFC 9110, section 13), of files that are cached and of files that are not.

use outport_tests::scenarios;
use outport_tests::world::World;

scenarios![
    if_none_match,
    if_none_match_of_a_file_that_is_not_cached,
    if_none_match_comes_before_if_modified_since,
    if_modified_since,
    if_match,
    a_304_says_enough_and_has_no_content,
];

const PAST: &str = "Mon, 01 Jan 2001 00:00:00 GMT";
const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

async fn if_none_match(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=a.txt", "text/plain", "content").await;
    let tag = owner.get(&file.path()).await.field("etag").to_owned();
    for (tags, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"x\", {tag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (tag.replace('"', ""), 200),
    ] {
        let answer = owner.get_with(&file.path(), &[("if-none-match", &tags)]).await;
        assert_eq!(answer.status, status, "{tags}: {answer:?}");
    }
}

async fn if_none_match_of_a_file_that_is_not_cached(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=a.txt", "text/plain", "content").await;
    let fields = [("if-none-match", file.text("etag"))];
    owner.get_with(&file.path(), &fields).await.expect_status(304);
    // What was learnt from a 304 must not pass for the content.
    let whole = owner.get(&file.path()).await;
    whole.expect_status(200);
    assert_eq!(whole.body, "content");
}

async fn if_none_match_comes_before_if_modified_since(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=a.txt", "text/plain", "content").await;
    let fields = [("if-none-match", "\"x\""), ("if-modified-since", FUTURE)];
    owner.get_with(&file.path(), &fields).await.expect_status(200);
    let fields = [("if-none-match", file.text("etag")), ("if-modified-since", PAST)];
    owner.get_with(&file.path(), &fields).await.expect_status(304);
}

async fn if_modified_since(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=a.txt", "text/plain", "content").await;
    let modified = owner.get(&file.path()).await.field("last-modified").to_owned();
    for (date, status) in
        [(modified.as_str(), 304), (FUTURE, 304), (PAST, 200), ("yesterday", 200), ("", 200)]
    {
        let answer = owner.get_with(&file.path(), &[("if-modified-since", date)]).await;
        assert_eq!(answer.status, status, "{date}: {answer:?}");
    }
}

async fn if_match(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=a.txt", "text/plain", "content").await;
    let weak = format!("W/{}", file.text("etag"));
    for (tags, status) in [(file.text("etag"), 200), ("*", 200), ("\"x\"", 412), (&weak, 412)] {
        let answer = owner.get_with(&file.path(), &[("if-match", tags)]).await;
        assert_eq!(answer.status, status, "{tags}: {answer:?}");
    }
}

async fn a_304_says_enough_and_has_no_content(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=a.txt", "text/plain", "content").await;
    let whole = owner.get(&file.path()).await;
    let fields = [("if-none-match", whole.field("etag"))];
    let answer = owner.get_with(&file.path(), &fields).await;
    answer.expect_status(304);
    assert!(answer.body.is_empty());
    for field in ["etag", "cache-control", "cache-status"] {
        answer.field(field);
    }
}

//! Ranges (RFC 9110, section 14), of files that are cached and of files that are not.

use outport_tests::api::{Api, File};
use outport_tests::world::World;
use outport_tests::{random, scenarios};

scenarios![
    ranges_of_a_cached_file,
    a_range_of_a_file_that_is_not_cached,
    ranges_outside_the_file,
    ranges_that_are_none,
    several_ranges,
    a_range_of_head,
    a_range_if_it_is_still_the_same,
    a_range_of_an_empty_file,
];

const CONTENT: &str = "0123456789abcdefghij";

async fn ranges_of_a_cached_file(world: World) {
    let owner = world.owner();
    let file = cached(&owner).await;
    for (range, first, last) in [
        ("bytes=0-9", 0, 9),
        ("bytes=5-5", 5, 5),
        ("bytes=10-", 10, 19),
        ("bytes=-5", 15, 19),
        ("bytes=0-", 0, 19),
        ("bytes=15-1000", 15, 19),
        ("bytes=-1000", 0, 19),
        ("bytes=0-18446744073709551616", 0, 19),
    ] {
        expect_part(&owner, &file, range, first, last).await;
    }
}

async fn a_range_of_a_file_that_is_not_cached(world: World) {
    let owner = world.owner();
    for (range, first, last) in [("bytes=3-6", 3, 6), ("bytes=-2", 18, 19), ("bytes=7-", 7, 19)] {
        let file = owner.upload("name=a.txt", "text/plain", CONTENT).await;
        expect_part(&owner, &file, range, first, last).await;
        // What was learnt from a part must not pass for the whole.
        let whole = owner.get(&file.path()).await;
        whole.expect_status(200);
        assert_eq!(whole.body, CONTENT);
        expect_part(&owner, &file, range, first, last).await;
    }
}

async fn ranges_outside_the_file(world: World) {
    let owner = world.owner();
    let cold = owner.upload("name=a.txt", "text/plain", CONTENT).await;
    for file in [cold, cached(&owner).await] {
        for range in ["bytes=20-", "bytes=20-30", "bytes=18446744073709551616-", "bytes=-0"] {
            let answer = owner.get_with(&file.path(), &[("range", range)]).await;
            assert_eq!(answer.status, 416, "{range}: {answer:?}");
            answer.expect_problem(416, "range-not-satisfiable");
            assert_eq!(answer.field("content-range"), "bytes */20", "{range}");
        }
    }
}

async fn ranges_that_are_none(world: World) {
    let owner = world.owner();
    let file = cached(&owner).await;
    for range in [
        "bytes=5-2",
        "bytes=a-b",
        "bytes",
        "bytes=",
        "bytes=-",
        "lines=0-5",
        "bytes=--5",
        "bytes=1-2-3",
        "-5",
        "bytes=+1-5",
    ] {
        let answer = owner.get_with(&file.path(), &[("range", range)]).await;
        assert_eq!(answer.status, 200, "{range}: {answer:?}");
        assert_eq!(answer.body, CONTENT, "{range}");
    }
}

async fn several_ranges(world: World) {
    let owner = world.owner();
    let content = CONTENT.repeat(10);
    let file = owner.upload("name=a.txt", "text/plain", content).await;
    // While it arrives, and once it is stored.
    for _ in 0..2 {
        let answer = owner.get_with(&file.path(), &[("range", "bytes=190-, 0-1")]).await;
        assert_eq!(answer.status, 206, "{answer:?}");
        let kind = answer.field("content-type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("parts");
        let part = |range: &str, content: &str| {
            format!(
                "--{boundary}\r\ncontent-type: text/plain\r\ncontent-range: bytes {range}/200\r\n\r\n\
                 {content}\r\n"
            )
        };
        let end = format!("--{boundary}--\r\n");
        let parts = part("190-199", "abcdefghij") + &part("0-1", "01") + &end;
        assert_eq!(answer.number("content-length"), parts.len() as u64);
        assert_eq!(answer.body, parts);
    }
}

async fn a_range_of_head(world: World) {
    let file = cached(&world.owner()).await;
    let answer = world.owner().head(&file.path(), &[("range", "bytes=0-4")]).await;
    answer.expect_status(200);
    assert_eq!(answer.number("content-length"), 20);
}

async fn a_range_if_it_is_still_the_same(world: World) {
    let owner = world.owner();
    let file = cached(&owner).await;
    let seen = owner.get(&file.path()).await;
    let weak = format!("W/{}", seen.field("etag"));
    let past = "Mon, 01 Jan 2001 00:00:00 GMT";
    for (validator, status) in [
        (seen.field("etag"), 206),
        ("\"other\"", 200),
        (weak.as_str(), 200),
        (past, 200),
        ("nonsense", 200),
    ] {
        let fields = [("range", "bytes=2-4"), ("if-range", validator)];
        let answer = owner.get_with(&file.path(), &fields).await;
        assert_eq!(answer.status, status, "{validator}: {answer:?}");
        assert_eq!(answer.body, if status == 206 { "234" } else { CONTENT }, "{validator}");
    }
}

async fn a_range_of_an_empty_file(world: World) {
    let file = world.owner().upload("name=empty", "text/plain", "").await;
    for _ in 0..2 {
        let answer = world.owner().get_with(&file.path(), &[("range", "bytes=0-0")]).await;
        assert_eq!(answer.status, 416, "{answer:?}");
        assert_eq!(answer.field("content-range"), "bytes */0");
        world.owner().get(&file.path()).await.expect_status(200);
    }
}

async fn cached(owner: &Api) -> File {
    let name = format!("name={}.txt", random::word());
    let file = owner.upload(&name, "text/plain", CONTENT).await;
    owner.get(&file.path()).await.expect_status(200);
    file
}

async fn expect_part(api: &Api, file: &File, range: &str, first: usize, last: usize) {
    let answer = api.get_with(&file.path(), &[("range", range)]).await;
    assert_eq!(answer.status, 206, "{range}: {answer:?}");
    assert_eq!(answer.field("content-range"), format!("bytes {first}-{last}/20"), "{range}");
    assert_eq!(answer.number("content-length") as usize, last - first + 1, "{range}");
    assert_eq!(answer.body, CONTENT[first..=last], "{range}");
}

//! tus 1.0 (tus.io/protocols/resumable-upload), and everything that can be wrong about an upload.

use outport_tests::tus::Upload;
use outport_tests::world::World;
use outport_tests::{random, raw, scenarios, scene, tus};
use reqwest::Method;

scenarios![
    options_say_what_there_is,
    a_file_in_three_appends,
    content_with_the_creation,
    the_whole_content_with_the_creation,
    an_empty_file,
    a_progress_document_until_it_is_complete,
    termination,
    a_wrong_version,
    no_version,
    a_wrong_offset_changes_nothing,
    a_wrong_type,
    a_body_longer_than_announced,
    a_body_shorter_than_announced_with_the_connection_cut,
    a_length_over_the_limit,
    lengths_that_are_no_numbers,
    no_length,
    offsets_that_are_no_numbers,
    metadata_that_is_none,
    an_unknown_upload,
    a_finished_upload_takes_no_more,
    of_two_appends_at_one_offset_one_wins,
];

const NO_NUMBERS: [&str; 9] =
    ["-1", "+5", "1e3", "0x10", "1.0", "ten", "5 5", "99999999999999999999999", ""];

async fn options_say_what_there_is(world: World) {
    let answer = world.anonymous().send(Method::OPTIONS, "/uploads", &[], "").await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert_eq!(answer.field("tus-version"), "1.0.0");
    for extension in ["creation", "creation-with-upload", "termination"] {
        assert!(answer.field("tus-extension").split(',').any(|listed| listed.trim() == extension));
    }
    assert!(answer.number("tus-max-size") > 0);
}

async fn a_file_in_three_appends(world: World) {
    let owner = world.owner();
    let content = random::bytes(300_000);
    let upload = tus::create(&owner, 300_000, "three.bin", "private").await;
    assert!(upload.path.starts_with("/uploads/"), "{}", upload.path);

    let head = upload.head().await;
    head.expect_status(200);
    assert_eq!((head.number("upload-offset"), head.number("upload-length")), (0, 300_000));
    assert_eq!(head.field("tus-resumable"), "1.0.0");
    assert!(head.field("cache-control").contains("no-store"), "{head:?}");
    assert!(head.field("upload-metadata").contains("filename dGhyZWUuYmlu"), "{head:?}");

    for (start, end) in [(0, 100_000), (100_000, 100_001), (100_001, 300_000)] {
        let answer = upload.patch(start as u64, content[start..end].to_vec()).await;
        answer.expect_status(204);
        assert_eq!(answer.number("upload-offset"), end as u64);
        assert_eq!(answer.field("tus-resumable"), "1.0.0");
        assert_eq!(upload.offset().await, end as u64);
    }
    let file = owner.get(&upload.file_path()).await;
    assert_eq!(random::digest(&file.body), random::digest(&content));
    assert_eq!(file.field("content-type"), "text/plain");
}

async fn content_with_the_creation(world: World) {
    let fields = [
        tus::VERSION,
        ("upload-length", "10"),
        ("content-type", tus::PATCH_TYPE),
        ("upload-metadata", "filename YS50eHQ="),
    ];
    let owner = world.owner();
    let answer = owner.send(Method::POST, "/uploads", &fields, "01234").await;
    answer.expect_status(201);
    assert_eq!(answer.number("upload-offset"), 5);
    let path = answer.field("location");
    let fields = [tus::VERSION, ("upload-offset", "5"), ("content-type", tus::PATCH_TYPE)];
    owner.send(Method::PATCH, path, &fields, "56789").await.expect_status(204);
    assert_eq!(owner.get(&path.replace("uploads", "files")).await.body, "0123456789");
}

async fn the_whole_content_with_the_creation(world: World) {
    let fields = [tus::VERSION, ("upload-length", "5"), ("content-type", tus::PATCH_TYPE)];
    let answer = world.owner().send(Method::POST, "/uploads", &fields, "whole").await;
    answer.expect_status(201);
    assert_eq!(answer.number("upload-offset"), 5);
    let path = answer.field("location").replace("uploads", "files");
    assert_eq!(world.owner().get(&path).await.body, "whole");
}

async fn an_empty_file(world: World) {
    let upload = tus::create(&world.owner(), 0, "empty.txt", "private").await;
    let answer = world.owner().get(&upload.file_path()).await;
    answer.expect_status(200);
    assert_eq!(answer.number("content-length"), 0);
}

async fn a_progress_document_until_it_is_complete(world: World) {
    let owner = world.owner();
    let upload = tus::create(&owner, 10, "a.txt", "private").await;
    upload.patch(0, "0123").await.expect_status(204);
    owner.get(&upload.file_path()).await.expect_problem(404, "not-found");
    let document = owner.get(&upload.path).await;
    document.expect_status(200);
    let expected = serde_json::json!({
        "id": upload.id(), "offset": 4, "length": 10, "complete": false,
    });
    assert_eq!(document.json(), expected);
    upload.patch(4, "456789").await.expect_status(204);
    let answer = owner.get(&upload.path).await;
    answer.expect_status(303);
    assert_eq!(answer.field("location"), upload.file_path());
}

async fn termination(world: World) {
    let owner = world.owner();
    let upload = tus::create(&owner, 10, "a.txt", "private").await;
    upload.patch(0, "0123").await.expect_status(204);
    owner.send(Method::DELETE, &upload.path, &[tus::VERSION], "").await.expect_status(204);
    let head = upload.head().await;
    assert!(matches!(head.status, 404 | 410), "{head:?}");
    let patch = upload.patch(4, "456789").await;
    assert!(matches!(patch.status, 404 | 410), "{patch:?}");
}

async fn a_wrong_version(world: World) {
    let owner = world.owner();
    let upload = tus::create(&owner, 10, "a.txt", "private").await;
    for version in ["0.2.2", "1.0", "2.0.0", "one"] {
        let fields = [
            ("tus-resumable", version),
            ("upload-length", "10"),
            ("upload-offset", "0"),
            ("content-type", tus::PATCH_TYPE),
        ];
        for (method, path) in [
            (Method::POST, "/uploads"),
            (Method::PATCH, &upload.path),
            (Method::HEAD, &upload.path),
            (Method::DELETE, &upload.path),
        ] {
            let answer = owner.send(method.clone(), path, &fields, "0123").await;
            assert_eq!(answer.status, 412, "{method} {version}: {answer:?}");
            assert_eq!(answer.field("tus-version"), "1.0.0");
            if method != Method::HEAD {
                answer.expect_problem(412, "tus-version");
            }
        }
    }
    assert_eq!(upload.offset().await, 0);
}

async fn no_version(world: World) {
    let upload = tus::create(&world.owner(), 10, "a.txt", "private").await;
    let fields = [("upload-offset", "0"), ("content-type", tus::PATCH_TYPE)];
    let answer = world.owner().send(Method::PATCH, &upload.path, &fields, "0123").await;
    answer.expect_problem(412, "tus-version");
    assert_eq!(upload.offset().await, 0);
}

async fn a_wrong_offset_changes_nothing(world: World) {
    let upload = tus::create(&world.owner(), 10, "a.txt", "private").await;
    upload.patch(0, "01234").await.expect_status(204);
    for offset in ["0", "4", "6", "10", "11", "9223372036854775807", "18446744073709551615"] {
        let answer = upload.patch_with(offset, tus::PATCH_TYPE, "xxxxx").await;
        assert_eq!(answer.status, 409, "{offset}: {answer:?}");
        answer.expect_problem(409, "offset-mismatch");
        assert_eq!(upload.offset().await, 5, "{offset}");
    }
    upload.patch(5, "56789").await.expect_status(204);
    assert_eq!(world.owner().get(&upload.file_path()).await.body, "0123456789");
}

async fn a_wrong_type(world: World) {
    let upload = tus::create(&world.owner(), 10, "a.txt", "private").await;
    for kind in ["application/octet-stream", "text/plain", "application/offset", "x"] {
        let answer = upload.patch_with("0", kind, "01234").await;
        answer.expect_problem(415, "unsupported-type");
    }
    assert_eq!(upload.offset().await, 0);
}

async fn a_body_longer_than_announced(world: World) {
    let upload = tus::create(&world.owner(), 10, "a.txt", "private").await;
    upload.patch(0, "0123").await.expect_status(204);
    upload.patch(4, "456789x").await.expect_problem(400, "body-too-long");
    // Without an announced length of the body, what is too much shows only as it comes.
    let chunks = futures::stream::iter(["4567", "89xx"].map(Ok::<_, std::io::Error>));
    let answer = upload.patch(4, reqwest::Body::wrap_stream(chunks)).await;
    answer.expect_problem(400, "body-too-long");
    let offset = upload.offset().await;
    assert!((4..=10).contains(&offset), "{offset}");
    if offset < 10 {
        let rest = &"0123456789"[usize::try_from(offset).expect("it is small")..];
        upload.patch(offset, rest).await.expect_status(204);
    }
    assert_eq!(world.owner().get(&upload.file_path()).await.body, "0123456789");
}

async fn a_body_shorter_than_announced_with_the_connection_cut(world: World) {
    let owner = world.owner();
    let content = random::bytes(100_000);
    let upload = tus::create(&owner, 100_000, "cut.bin", "private").await;
    let mut request = upload.raw_head(0, 100_000).into_bytes();
    request.extend(&content[..40_000]);
    raw::send_and_cut(&owner.authority(), &request).await;
    let why = "how much of the cut request arrived, and whether it has ended, is up to the machine";
    scene::unrecorded(why, go_on(&upload, &content)).await;
    let file = owner.get(&upload.file_path()).await;
    assert_eq!(random::digest(&file.body), random::digest(&content));
}

/// Goes on with an upload of which at most 40,000 bytes were sent.
async fn go_on(upload: &Upload, content: &[u8]) {
    let offset = upload.offset().await;
    assert!(offset <= 40_000, "{offset} bytes were acknowledged of 40000 sent");
    let rest = content[usize::try_from(offset).expect("it is small")..].to_vec();
    // The cut request may still be ending; it can only have brought the offset further.
    let answer = upload.patch(offset, rest).await;
    if answer.status == 409 {
        let offset = upload.offset().await;
        assert!(offset <= 40_000, "{offset} bytes were acknowledged of 40000 sent");
        let rest = content[usize::try_from(offset).expect("it is small")..].to_vec();
        upload.patch(offset, rest).await.expect_status(204);
    } else {
        answer.expect_status(204);
    }
}

async fn a_length_over_the_limit(world: World) {
    let owner = world.owner();
    let limit = owner.send(Method::OPTIONS, "/uploads", &[], "").await.number("tus-max-size");
    let answer = tus::ask(&owner, &(limit + 1).to_string(), "").await;
    answer.expect_problem(413, "too-large");
    let said = format!("max-size={limit}");
    assert!(answer.field("upload-limit").split(", ").any(|one| one == said), "{answer:?}");
    let head = format!(
        "POST /files HTTP/1.1\r\nhost: {0}\r\nauthorization: Bearer {1}\r\ncontent-length: {2}\r\n\r\n",
        owner.authority(),
        owner.token(),
        limit + 1,
    );
    let answer = raw::exchange(&owner.authority(), head.as_bytes()).await;
    assert_eq!(answer.status(), Some(413), "{answer:?}");
}

async fn lengths_that_are_no_numbers(world: World) {
    for length in NO_NUMBERS {
        let answer = tus::ask(&world.owner(), length, "").await;
        assert_eq!(answer.status, 400, "{length:?}: {answer:?}");
        answer.expect_problem(400, "invalid-field");
    }
}

async fn no_length(world: World) {
    let answer = world.owner().send(Method::POST, "/uploads", &[tus::VERSION], "").await;
    assert!(matches!(answer.status, 400 | 411), "{answer:?}");
}

async fn offsets_that_are_no_numbers(world: World) {
    let upload = tus::create(&world.owner(), 10, "a.txt", "private").await;
    for offset in NO_NUMBERS {
        let answer = upload.patch_with(offset, tus::PATCH_TYPE, "0123").await;
        assert_eq!(answer.status, 400, "{offset:?}: {answer:?}");
        answer.expect_problem(400, "invalid-field");
    }
    assert_eq!(upload.offset().await, 0);
}

async fn metadata_that_is_none(world: World) {
    let long = format!("filename {}", "QUFB".repeat(4_000));
    for metadata in ["filename !", "filename YQ== x", long.as_str()] {
        let answer = tus::ask(&world.owner(), "10", metadata).await;
        assert!(matches!(answer.status, 400 | 431), "{metadata}: {answer:?}");
    }
    let visibility = tus::metadata(&[("visibility", "everyone")]);
    tus::ask(&world.owner(), "10", &visibility).await.expect_problem(400, "invalid-field");
}

async fn an_unknown_upload(world: World) {
    let owner = world.owner();
    for id in ["01000G0000000C000000000004", "x", "..a%2f..etc", "0123456789012345678901234567"] {
        let fields = [tus::VERSION, ("upload-offset", "0"), ("content-type", tus::PATCH_TYPE)];
        for method in [Method::HEAD, Method::PATCH, Method::DELETE, Method::GET] {
            let path = format!("/uploads/{id}");
            let answer = owner.send(method.clone(), &path, &fields, "0").await;
            assert!(matches!(answer.status, 404 | 410), "{method} {path}: {answer:?}");
        }
    }
}

async fn a_finished_upload_takes_no_more(world: World) {
    let upload = tus::create(&world.owner(), 4, "a.txt", "private").await;
    upload.patch(0, "0123").await.expect_status(204);
    for (offset, body) in [(0, "xxxx"), (4, "x")] {
        let answer = upload.patch(offset, body).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert_eq!(world.owner().get(&upload.file_path()).await.body, "0123");
}

async fn of_two_appends_at_one_offset_one_wins(world: World) {
    let owner = world.owner();
    for _ in 0..8 {
        let upload = tus::create(&owner, 50_000, "race.bin", "private").await;
        let (a, b) = (random::bytes(50_000), random::bytes(50_000));
        let both = async { tokio::join!(upload.patch(0, a.clone()), upload.patch(0, b.clone())) };
        let (first, second) = scene::unordered("one of them is the first", both).await;
        let (won, lost, content) =
            if first.status == 204 { (first, second, a) } else { (second, first, b) };
        won.expect_status(204);
        assert!((400..500).contains(&lost.status), "{lost:?}");
        let path = upload.file_path();
        let file = scene::unordered("it is that of the first", owner.get(&path)).await;
        assert_eq!(random::digest(&file.body), random::digest(&content));
    }
}

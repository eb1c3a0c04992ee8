//! File names as people, and people with bad intentions, give them.

use outport_tests::api::{Answer, Api};
use outport_tests::world::World;
use outport_tests::{scenarios, tus};
use reqwest::Method;

scenarios![
    names_of_all_languages,
    names_with_folders_keep_their_end,
    names_of_dots,
    names_with_nul_and_other_control_characters,
    names_with_direction_marks,
    names_of_devices,
    names_of_programs_that_look_like_documents,
    a_name_too_long,
    a_name_in_content_disposition,
    no_name,
    names_do_not_escape_in_answers,
];

async fn names_of_all_languages(world: World) {
    for name in [
        "report.pdf",
        "día 1.pdf",
        "日本語.txt",
        "مرحبا.txt",
        "a..b",
        ".profile",
        "100 %.txt",
        "a;b,c='d'.txt",
    ] {
        expect_name(&world.owner(), name, name).await;
    }
}

async fn names_with_folders_keep_their_end(world: World) {
    for name in ["../../etc/kept.txt", "/etc/kept.txt", "C:\\temp\\kept.txt", "a/b/kept.txt"] {
        expect_name(&world.owner(), name, "kept.txt").await;
    }
}

async fn names_of_dots(world: World) {
    for name in [".", "..", "...", "a/..", "a/", "\\", " "] {
        expect_refused(&world.owner(), name).await;
    }
}

async fn names_with_nul_and_other_control_characters(world: World) {
    for name in ["a\0b.txt", "a\nb.txt", "a\r\nx-injected: 1", "a\u{1b}[2J", "a\u{7f}", "a\u{85}b"]
    {
        expect_refused(&world.owner(), name).await;
    }
}

async fn names_with_direction_marks(world: World) {
    for mark in ['\u{200f}', '\u{202e}', '\u{2066}', '\u{061c}'] {
        expect_refused(&world.owner(), &format!("txt{mark}fdp.exe")).await;
    }
}

async fn names_of_devices(world: World) {
    for name in ["CON", "nul.txt", "com1.tar.gz"] {
        expect_refused(&world.owner(), name).await;
    }
    expect_name(&world.owner(), "console.txt", "console.txt").await;
}

async fn names_of_programs_that_look_like_documents(world: World) {
    for name in ["invoice.pdf.exe", "photo.jpg      .scr", "a.docx.lnk."] {
        expect_refused(&world.owner(), name).await;
    }
    expect_name(&world.owner(), "setup.exe", "setup.exe").await;
}

async fn a_name_too_long(world: World) {
    expect_refused(&world.owner(), &format!("{}.txt", "a".repeat(300))).await;
    let just = "é".repeat(120);
    expect_name(&world.owner(), &just, &just).await;
}

async fn a_name_in_content_disposition(world: World) {
    for (value, name) in [
        ("attachment; filename=\"plain name.txt\"", "plain name.txt"),
        ("attachment; filename=bare.txt", "bare.txt"),
        ("attachment; filename=\"x\"; filename*=UTF-8''d%C3%ADa.txt", "día.txt"),
    ] {
        let fields = [("content-disposition", value), ("content-type", "text/plain")];
        let answer = world.owner().send(Method::POST, "/files", &fields, "content").await;
        answer.expect_status(201);
        assert_eq!(answer.json()["name"], name, "{value}");
    }
    let evil = [("content-disposition", "attachment; filename*=UTF-8''a%00b")];
    let answer = world.owner().send(Method::POST, "/files", &evil, "content").await;
    answer.expect_problem(400, "invalid-name");
}

async fn no_name(world: World) {
    let file = world.owner().upload("", "text/plain", "content").await;
    assert!(!file.text("name").is_empty());
    world.owner().get(&file.path()).await.expect_status(200);
}

async fn names_do_not_escape_in_answers(world: World) {
    let name = "a\"; filename=evil.exe; x=\".txt";
    expect_name(&world.owner(), name, name).await;
    let file = world.owner().upload(&query(name), "text/plain", "content").await;
    let answer = world.owner().get(&file.path()).await;
    let disposition = answer.field("content-disposition");
    let quoted = disposition.split('"').nth(1).expect("the plain name is quoted");
    assert!(!quoted.contains(['"', '\\']), "{disposition}");
    assert_eq!(disposition.matches('"').count(), 2, "{disposition}");
}

/// The name is taken, in both ways of uploading, as `expected`.
async fn expect_name(api: &Api, name: &str, expected: &str) {
    let file = api.upload(&query(name), "text/plain", "content").await;
    assert_eq!(file.text("name"), expected, "{name}");
    let answer = by_tus(api, name).await;
    answer.expect_status(201);
    let path = answer.field("location").replace("uploads", "files");
    let delivered = api.get(&path).await;
    delivered.expect_status(200);
    if expected.is_ascii() && !expected.contains(['"', '%', '\\']) {
        let plain = format!("filename=\"{expected}\"");
        assert!(delivered.field("content-disposition").contains(&plain), "{delivered:?}");
    } else {
        let extended = delivered.field("content-disposition").contains("filename*=UTF-8''");
        assert!(extended, "{delivered:?}");
    }
}

async fn expect_refused(api: &Api, name: &str) {
    let path = format!("/files?{}", query(name));
    let answer = api.send(Method::POST, &path, &[("content-type", "text/plain")], "content").await;
    assert_eq!(answer.status, 400, "{name:?}: {answer:?}");
    answer.expect_problem(400, "invalid-name");
    let answer = by_tus(api, name).await;
    assert_eq!(answer.status, 400, "{name:?}: {answer:?}");
    answer.expect_problem(400, "invalid-name");
}

/// An empty file under the name, so that it is complete at once.
async fn by_tus(api: &Api, name: &str) -> Answer {
    tus::ask(api, "0", &tus::metadata(&[("filename", name), ("filetype", "text/plain")])).await
}

fn query(name: &str) -> String {
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("name={encoded}")
}

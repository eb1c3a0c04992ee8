//! What the upload protocols promise of several answers together.

use crate::draft::{begin, read_until};
use crate::support::{Caller, Running};

/// The value of a field in what came over a connection, each time that it is there.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

async fn max_size(alice: &Caller, method: &str, upload: &str, fields: &[(&str, &str)]) -> String {
    let answer = alice.send(method, upload, fields, "01").await;
    let limits = answer.header("upload-limit").unwrap();
    limits.split(',').next().unwrap().to_owned()
}

#[tokio::test]
async fn options_look_at_no_version() {
    let origin = Running::start().await;
    for version in ["0.2.2", "1.0.0", "x"] {
        let fields = [("tus-resumable", version)];
        let answer = origin.nobody().send("OPTIONS", "/uploads", &fields, "").await.expect(204);
        assert_eq!(answer.header("tus-version"), Some("1.0.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_has_one_location() {
    let origin = Running::start().await;
    let head = "outport-interim: ?1\r\nupload-complete: ?0\r\ncontent-length: 5";
    let mut stream = begin(&origin.alice(), head, "POST", "/uploads", b"01234").await;
    let mut text = read_until(&mut stream, "HTTP/1.1 201").await;
    if !text.ends_with("\r\n\r\n") {
        text += &read_until(&mut stream, "\r\n\r\n").await;
    }
    let locations = values(&text, "location");
    assert!(text.starts_with("HTTP/1.1 104 ") && locations.len() == 2, "{text}");
    assert_eq!(locations[0], locations[1]);
}

#[tokio::test]
async fn limits_stay_what_they_were() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let created = alice.send("POST", "/uploads", &[("upload-complete", "?0")], "").await;
    let upload = created.header("location").unwrap();
    let first = created.header("upload-limit").unwrap().split(',').next().unwrap().to_owned();
    for offset in [0, 2] {
        assert_eq!(max_size(&alice, "HEAD", upload, &[]).await, first);
        let offset = offset.to_string();
        let fields = [
            ("content-type", "application/partial-upload"),
            ("upload-offset", offset.as_str()),
            ("upload-complete", "?0"),
        ];
        assert_eq!(max_size(&alice, "PATCH", upload, &fields).await, first);
    }
}

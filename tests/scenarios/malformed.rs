//! What is no HTTP, or HTTP that two parties could read differently, ends at the edge.

use outport_tests::api::Api;
use outport_tests::raw::{self, RawAnswer};
use outport_tests::world::World;
use outport_tests::{scenarios, scene};

scenarios![
    two_lengths,
    a_length_and_chunks,
    lengths_that_are_no_numbers,
    chunks_that_are_none,
    a_field_over_the_limit,
    a_field_of_a_megabyte,
    too_many_fields,
    a_target_too_long,
    duplicate_fields,
    two_tokens,
    fields_with_control_characters,
    names_of_fields_that_are_none,
    request_lines_that_are_none,
    no_host,
    two_hosts,
    a_method_that_is_no_token,
    unknown_methods,
    trace,
    connect,
    dot_segments_in_the_path,
    encoded_dot_segments_in_the_path,
    a_backslash_in_the_path,
    percent_signs_that_encode_nothing,
    a_smuggled_request_is_not_answered,
    encoded_nul_in_the_path,
];

async fn two_lengths(world: World) {
    expect_refused(&world, "content-length: 5\r\ncontent-length: 6\r\n", "hello!").await;
}

async fn a_length_and_chunks(world: World) {
    let fields = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    let answer = post(&world.owner(), fields, "5\r\nhello\r\n0\r\n\r\n").await;
    // RFC 9112, section 6.3: refuse it, or let the chunks count and close afterwards.
    let refused = matches!(answer.status(), Some(400..=499));
    assert!(refused || (answer.status() == Some(201) && answer.closed), "{answer:?}");
    assert_eq!(answer.answers(), 1, "{answer:?}");
    expect_alive(&world).await;
}

async fn lengths_that_are_no_numbers(world: World) {
    for length in ["-1", "+5", "5x", "0x5", "5, 6", "99999999999999999999999999", "five"] {
        expect_refused(&world, &format!("content-length: {length}\r\n"), "hello").await;
    }
}

async fn chunks_that_are_none(world: World) {
    for body in
        ["zz\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "ffffffffffffffffff\r\nhello"]
    {
        expect_refused(&world, "transfer-encoding: chunked\r\n", body).await;
    }
}

async fn a_field_over_the_limit(world: World) {
    let fields = format!("x-large: {}\r\n", "a".repeat(40_000));
    let answer = get(&world.owner(), "/files", &fields).await;
    assert!(matches!(answer.status(), Some(400 | 431)), "{answer:?}");
    expect_alive(&world).await;
}

async fn a_field_of_a_megabyte(world: World) {
    let fields = format!("x-large: {}\r\n", "a".repeat(1_000_000));
    let owner = world.owner();
    let why = "the server may close before it has read everything, and the answer with it";
    let answer = scene::unrecorded(why, get(&owner, "/files", &fields)).await;
    assert!(matches!(answer.status(), Some(400 | 431) | None), "{answer:?}");
    expect_alive(&world).await;
}

async fn too_many_fields(world: World) {
    let fields: String = (0..1_000).map(|number| format!("x-{number}: a\r\n")).collect();
    let answer = get(&world.owner(), "/files", &fields).await;
    assert!(matches!(answer.status(), Some(400 | 431)), "{answer:?}");
    expect_alive(&world).await;
}

async fn a_target_too_long(world: World) {
    let answer = get(&world.owner(), &format!("/files?prefix={}", "a".repeat(20_000)), "").await;
    assert!(matches!(answer.status(), Some(414 | 431)), "{answer:?}");
    expect_alive(&world).await;
}

async fn duplicate_fields(world: World) {
    let owner = world.owner();
    for field in ["range: bytes=0-1", "if-range: \"a\"", "content-type: a/b", "upload-offset: 0"] {
        expect_malformed(&owner, &format!("{field}\r\n{field}\r\n")).await;
    }
}

async fn two_tokens(world: World) {
    // One comes with every request of the owner.
    expect_malformed(&world.owner(), "authorization: Bearer x\r\n").await;
}

async fn fields_with_control_characters(world: World) {
    for value in ["a\0b", "a\rb", "a\u{1}b", "a\u{7f}b"] {
        let answer = get(&world.owner(), "/files", &format!("x-field: {value}\r\n")).await;
        assert_eq!(answer.status(), Some(400), "{value:?}: {answer:?}");
    }
    expect_alive(&world).await;
}

async fn names_of_fields_that_are_none(world: World) {
    for line in ["x field: a", "x-field : a", ": a", "x-field", "x@field\u{e9}: a", " x-field: a"] {
        let answer = get(&world.owner(), "/files", &format!("{line}\r\n")).await;
        assert_eq!(answer.status(), Some(400), "{line:?}: {answer:?}");
    }
    expect_alive(&world).await;
}

async fn request_lines_that_are_none(world: World) {
    let authority = world.owner().authority();
    for line in [
        "GET",
        "GET /files",
        "GET  /files HTTP/1.1",
        "GET /files HTTP/9.9",
        "GET /a b HTTP/1.1",
        "\0\0\0\0",
        "GET files HTTP/1.1",
    ] {
        let request = format!("{line}\r\nhost: {authority}\r\n\r\n");
        let answer = raw::exchange(&authority, request.as_bytes()).await;
        let refused = matches!(answer.status(), Some(400..=505));
        // HTTP/0.9 has no status; whoever does not speak it may close without a word.
        assert!(refused || (answer.text.is_empty() && answer.closed), "{line:?}: {answer:?}");
    }
    expect_alive(&world).await;
}

async fn no_host(world: World) {
    let owner = world.owner();
    let request = format!("GET /files HTTP/1.1\r\nauthorization: Bearer {}\r\n\r\n", owner.token());
    let answer = raw::exchange(&owner.authority(), request.as_bytes()).await;
    assert_eq!(answer.status(), Some(400), "{answer:?}");
}

async fn two_hosts(world: World) {
    let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    let answer = raw::exchange(&world.owner().authority(), request).await;
    assert_eq!(answer.status(), Some(400), "{answer:?}");
}

async fn a_method_that_is_no_token(world: World) {
    expect_no_method(&world, "G@T").await;
}

async fn unknown_methods(world: World) {
    expect_no_method(&world, "get").await;
    expect_no_method(&world, "LONGLONGLONGLONGLONGLONGLONGLONGLONGLONG").await;
}

async fn trace(world: World) {
    expect_no_method(&world, "TRACE").await;
}

async fn connect(world: World) {
    expect_no_method(&world, "CONNECT").await;
}

async fn dot_segments_in_the_path(world: World) {
    expect_refused_path(&world, "/files/../session").await;
    expect_refused_path(&world, "/./files").await;
}

async fn encoded_dot_segments_in_the_path(world: World) {
    expect_refused_path(&world, "/files/%2e%2e/session").await;
    expect_refused_path(&world, "/files/.%2E/x").await;
    // For servers that decode a slash, count a backslash as one, or leave parameters out.
    expect_refused_path(&world, "/uploads/..%2f..%2fetc").await;
    expect_refused_path(&world, "/files/x%5c..").await;
    expect_refused_path(&world, "/files/..;/x").await;
}

async fn a_backslash_in_the_path(world: World) {
    expect_refused_path(&world, "/files\\x").await;
}

async fn percent_signs_that_encode_nothing(world: World) {
    expect_refused_path(&world, "/files/%zz").await;
    expect_refused_path(&world, "/files/%2").await;
}

async fn a_smuggled_request_is_not_answered(world: World) {
    let owner = world.owner();
    let second = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", owner.authority());
    for fields in [
        "content-length: 0\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\ncontent-length: 0\r\n",
        "transfer-encoding : chunked\r\ncontent-length: 0\r\n",
    ] {
        let answer = post(&owner, fields, &format!("0\r\n\r\n{second}")).await;
        assert!(answer.answers() <= 1, "{fields}: {answer:?}");
    }
    expect_alive(&world).await;
}

async fn encoded_nul_in_the_path(world: World) {
    let file = world.owner().upload("name=a.txt", "text/plain", "x").await;
    for name in ["a%00.txt", "a%0d%0ax-injected:%201"] {
        let answer = get(&world.owner(), &format!("{}/{name}", file.path()), "").await;
        assert_eq!(answer.status(), Some(400), "{name}: {answer:?}");
        assert!(!answer.text.to_lowercase().contains("\r\nx-injected"), "{answer:?}");
    }
}

/// The upload is refused, nothing after it is taken for a request, and the server goes on.
async fn expect_refused(world: &World, fields: &str, body: &str) {
    let answer = post(&world.owner(), fields, body).await;
    assert!(matches!(answer.status(), Some(400..=499 | 501)), "{fields}{body}: {answer:?}");
    assert_eq!(answer.answers(), 1, "{fields}{body}: {answer:?}");
    expect_alive(world).await;
}

/// The edge itself refuses the fields.
async fn expect_malformed(api: &Api, fields: &str) {
    let answer = get(api, "/files", fields).await;
    assert_eq!(answer.status(), Some(400), "{fields}: {answer:?}");
    assert!(answer.text.contains("urn:outport:problem:malformed-request"), "{answer:?}");
}

async fn expect_no_method(world: &World, method: &str) {
    let authority = world.owner().authority();
    let request = format!("{method} /files HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let answer = raw::exchange(&authority, request.as_bytes()).await;
    let status = answer.status();
    assert!(matches!(status, Some(400 | 401 | 404 | 405 | 501)), "{method}: {answer:?}");
    expect_alive(world).await;
}

/// A path that two parties could read differently.
async fn expect_refused_path(world: &World, path: &str) {
    let answer = get(&world.owner(), path, "").await;
    assert_eq!(answer.status(), Some(400), "{path}: {answer:?}");
}

async fn expect_alive(world: &World) {
    world.anonymous().get("/healthz").await.expect_status(200);
}

async fn get(api: &Api, target: &str, fields: &str) -> RawAnswer {
    send(api, &format!("GET {target}"), fields, "").await
}

async fn post(api: &Api, fields: &str, body: &str) -> RawAnswer {
    send(api, "POST /files?name=raw.txt", fields, body).await
}

async fn send(api: &Api, line: &str, fields: &str, body: &str) -> RawAnswer {
    let (authority, token) = (api.authority(), api.token());
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n{fields}\r\n{body}"
    );
    raw::exchange(&authority, request.as_bytes()).await
}

//! What is malformed, forged or hostile.

use outport_wire::rules::{Rules, TenantRules};
use serde_json::json;

use crate::support::{Running, edge_key, pair, parts_in};

#[tokio::test]
async fn only_edges_are_answered() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let file = alice.store("name=a&visibility=public", "x").await;
    let signed = alice.signed("GET", &file);
    let fields = |change: fn(&str, &str) -> Option<String>| -> Vec<(&'static str, String)> {
        signed.iter().filter_map(|(name, value)| Some((*name, change(name, value)?))).collect()
    };
    let forged = [
        ("no signature", vec![]),
        ("no identity", fields(|name, v| (name != "outport-identity").then(|| v.into()))),
        ("another identity", fields(|_, v| Some(v.replace("alice", "bob")))),
        ("another key", fields(|_, v| Some(v.replace("keyid=\"test\"", "keyid=\"other\"")))),
        ("longer life", fields(|_, v| Some(v.replace("expires=1", "expires=9")))),
        ("two signatures", [&signed[..], &signed[..]].concat()),
    ];
    for (what, fields) in forged {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = alice.send_unsigned("GET", &file, &fields, "").await;
        assert_eq!(answer.problem(), (401, "edge-signature".into()), "{what}");
    }
    let fields: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    alice.send_unsigned("GET", &file, &fields, "").await.expect(200);
    let other = alice.send_unsigned("DELETE", &file, &fields, "").await;
    assert_eq!(other.problem(), (401, "edge-signature".into()), "a signature is for one method");
    let other = alice.send_unsigned("GET", &format!("{file}?download"), &fields, "").await;
    assert_eq!(other.problem(), (401, "edge-signature".into()), "a signature is for one target");
    assert_eq!(edge_key().id, "test");
}

#[tokio::test]
async fn health_needs_no_signature() {
    let origin = Running::start().await;
    let nobody = origin.nobody();
    nobody.send_unsigned("GET", "/healthz", &[], "").await.expect(200);
    nobody.send_unsigned("GET", "/readyz", &[], "").await.expect(200);
    nobody.get("/files/0000000000000000000000000A", &[]).await.expect(404);
    let mut metrics = nobody.clone();
    metrics.address = origin.metrics;
    let text = metrics.send_unsigned("GET", "/metrics", &[], "").await.expect(200).body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let counted = "outport_origin_requests_total{method=\"GET\",status=\"4xx\"} 1";
    assert!(text.contains(counted), "{text}");
    assert!(!text.contains("status=\"2xx\""), "health checks are not counted: {text}");
}

#[tokio::test]
async fn tus_versions() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let upload = alice.begin(10, "").await;
    for (method, target) in
        [("POST", "/uploads"), ("HEAD", &upload), ("PATCH", &upload), ("DELETE", &upload)]
    {
        // Without a field, HEAD and DELETE are those of the other protocol.
        let none = matches!(method, "POST" | "PATCH").then_some(&[][..]);
        for fields in none.into_iter().chain([&[("tus-resumable", "0.2.2")][..]]) {
            let answer = alice.send(method, target, fields, "").await.expect(412);
            assert_eq!(answer.header("tus-version"), Some("1.0.0"), "{method}");
            if method != "HEAD" {
                assert_eq!(answer.problem().1, "tus-version");
            }
        }
    }
}

#[tokio::test]
async fn numbers() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for length in ["", "-1", "+1", "1.0", "ten", "0x10", "99999999999999999999999"] {
        let answer = alice.tus("POST", "/uploads", &[("upload-length", length)], "").await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()), "{length}");
    }
    let none = alice.tus("POST", "/uploads", &[], "").await;
    assert_eq!(none.problem(), (400, "invalid-field".into()));
    let twice = [("upload-length", "1"), ("upload-length", "1")];
    let answer = alice.tus("POST", "/uploads", &twice, "").await;
    assert_eq!(answer.problem(), (400, "invalid-field".into()));
    for length in ["1048577", "18446744073709551615"] {
        let answer = alice.tus("POST", "/uploads", &[("upload-length", length)], "").await;
        assert_eq!(answer.problem(), (413, "too-large".into()), "{length}");
    }
    let upload = alice.begin(10, "").await;
    let patch = "application/offset+octet-stream";
    for offset in ["", "-1", "x", "18446744073709551616"] {
        let fields = [("upload-offset", offset), ("content-type", patch)];
        let answer = alice.tus("PATCH", &upload, &fields, "x").await;
        assert_eq!(answer.problem(), (400, "invalid-field".into()), "{offset}");
    }
    let answer = alice.tus("PATCH", &upload, &[("content-type", patch)], "x").await;
    assert_eq!(answer.problem(), (400, "invalid-field".into()));
    for wrong in ["text/plain", "application/offset+octet-stream2"] {
        let fields = [("upload-offset", "0"), ("content-type", wrong)];
        let answer = alice.tus("PATCH", &upload, &fields, "x").await;
        assert_eq!(answer.problem(), (415, "unsupported-type".into()), "{wrong}");
    }
    assert_eq!(alice.offset(&upload).await, 0);
}

#[tokio::test]
async fn names() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for name in ["a\0b", "a\nb", "..", "/", "photo\u{202e}gnp.exe", &"n".repeat(256)] {
        let metadata = pair("filename", name);
        let fields = [("upload-length", "1"), ("upload-metadata", metadata.as_str())];
        let answer = alice.tus("POST", "/uploads", &fields, "").await;
        assert_eq!(answer.problem(), (400, "invalid-name".into()), "{name:?}");
        let query: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let answer = alice.send("POST", &format!("/files?name={query}"), &[], "x").await;
        assert_eq!(answer.problem(), (400, "invalid-name".into()), "{name:?}");
    }
    let answer = alice.send("POST", "/files?name=..%2F..%2Fetc%2Fpasswd", &[], "x").await;
    assert_eq!(answer.expect(201).json()["name"], "passwd");
    assert_eq!(alice.get("/files", &[]).await.json()["files"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn forms() {
    let origin = Running::start().await;
    let alice = origin.alice();
    let head =
        "--b\r\nContent-Disposition: form-data; name=\"visibility\"\r\n\r\npublic\r\n--b--\r\n";
    let huge = format!("--b\r\nX-Filler: {}", "x".repeat(1_000_000));
    let long = format!(
        "--b\r\nContent-Disposition: form-data; name=\"passed over\"\r\n\r\n{}\r\n--b--\r\n",
        "x".repeat(5000)
    );
    for (boundary, body, problem) in [
        ("; boundary=b", head, "form-without-file"),
        ("; boundary=b", "--b--\r\n", "form-without-file"),
        ("", head, "invalid-field"),
        ("; boundary=b", "", "body-too-short"),
        ("; boundary=b", "nonsense", "body-too-short"),
        ("; boundary=b", &huge, "malformed-request"),
        ("; boundary=b", &long, "invalid-field"),
    ] {
        let content_type = format!("multipart/form-data{boundary}");
        let fields = [("content-type", content_type.as_str())];
        let answer = alice.send("POST", "/files", &fields, body.to_owned()).await;
        assert_eq!(answer.problem(), (400, problem.into()), "{boundary} {:.60}", body);
    }
    assert_eq!(parts_in(origin.folder.path()), 0);
}

#[tokio::test]
async fn whole_bodies_have_a_limit() {
    let origin =
        Running::start_with(|config| config.rules = Rules::same(TenantRules::sized(5_000))).await;
    let alice = origin.alice();
    let answer = alice.send("POST", "/files?name=a", &[], vec![0; 5_001]).await;
    assert_eq!(answer.problem(), (413, "too-large".into()));
    alice.send("POST", "/files?name=a", &[], vec![0; 5_000]).await.expect(201);
    let form = |bytes| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n{}\r\n--b--\r\n",
            "x".repeat(bytes)
        )
    };
    let fields = [("content-type", "multipart/form-data; boundary=b")];
    let answer = alice.send("POST", "/files", &fields, form(5_001)).await;
    assert_eq!(answer.problem(), (413, "too-large".into()));
    alice.send("POST", "/files", &fields, form(5_000)).await.expect(201);
}

#[tokio::test]
async fn addresses_and_methods() {
    let origin = Running::start().await;
    let alice = origin.alice();
    for target in ["/", "/files/", "/files/x", "/files/..%2f..%2fetc", "/files/%ff", "/uploads/x/y"]
    {
        let answer = alice.get(target, &[]).await;
        assert_eq!(answer.problem(), (404, "not-found".into()), "{target}");
    }
    for (method, target) in [("PUT", "/files"), ("TRACE", "/uploads"), ("PURGE", "/files/x")] {
        let answer = alice.send(method, target, &[], "").await;
        assert_eq!(answer.problem(), (405, "method-not-allowed".into()), "{method} {target}");
    }
    let answer = alice.send("POST", "/files?visibility=secret", &[], "x").await;
    assert_eq!(answer.problem(), (400, "invalid-field".into()));
    let fields = [("content-type", "nonsense")];
    let answer = alice.send("POST", "/files", &fields, "x").await;
    assert_eq!(answer.problem(), (400, "invalid-field".into()));
    assert_eq!(alice.get("/files", &[]).await.json(), json!({ "files": [], "cursor": null }));
}

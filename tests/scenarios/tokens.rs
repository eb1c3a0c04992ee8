//! Who may do what: good tokens and bad tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_tests::api::{Answer, Api};
use outport_tests::scenarios;
use outport_tests::tus;
use outport_tests::world::{Caller, World};
use reqwest::Method;
use serde_json::json;

scenarios![
    no_token,
    malformed_tokens,
    a_token_with_a_changed_signature,
    a_token_with_changed_claims,
    a_token_without_an_algorithm,
    an_expired_token needs Expired,
    a_token_of_a_foreign_issuer needs Untrusted,
    a_token_that_only_reads needs Reader,
    a_bad_token_is_refused_even_for_a_public_file needs Untrusted,
    a_cached_private_file_stays_private needs Foreign,
    an_admin_of_the_tenant_may needs Other,
];

async fn no_token(world: World) {
    let nobody = world.anonymous();
    for (method, path) in
        [(Method::GET, "/files"), (Method::POST, "/files"), (Method::POST, "/uploads")]
    {
        let answer = nobody.send(method, path, &[tus::VERSION, ("upload-length", "1")], "x").await;
        answer.expect_problem(401, "token-missing");
        assert!(answer.field("www-authenticate").starts_with("Bearer"), "{answer:?}");
    }
}

async fn malformed_tokens(world: World) {
    let long = "a".repeat(10_000);
    for token in ["abc", "a.b.c", "..", "e30.e30.e30", "\u{20ac}.b.c", long.as_str()] {
        let answer = list(&world.anonymous().with_token(token)).await;
        answer.expect_problem(401, "token-malformed");
    }
}

async fn a_token_with_a_changed_signature(world: World) {
    let token = world.owner().token().to_owned();
    let (signed, signature) = token.rsplit_once('.').expect("a token has three parts");
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("a signature is base64url");
    bytes[5] ^= 1;
    let changed = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
    list(&world.anonymous().with_token(&changed)).await.expect_problem(401, "token-untrusted");
}

async fn a_token_with_changed_claims(world: World) {
    let changed = with_parts(world.owner().token(), |_, claims| {
        claims["tenant"] = json!("foreign");
    });
    list(&world.anonymous().with_token(&changed)).await.expect_problem(401, "token-untrusted");
}

async fn a_token_without_an_algorithm(world: World) {
    for algorithm in ["none", "None", "HS256"] {
        let changed = with_parts(world.owner().token(), |header, _| {
            header["alg"] = json!(algorithm);
        });
        let unsigned = format!("{}.", changed.rsplit_once('.').expect("three parts").0);
        for token in [changed, unsigned] {
            let answer = list(&world.anonymous().with_token(&token)).await;
            assert_eq!(answer.status, 401, "{algorithm}: {answer:?}");
        }
    }
}

async fn an_expired_token(world: World) {
    list(&world.expired().await).await.expect_problem(401, "token-expired");
}

async fn a_token_of_a_foreign_issuer(world: World) {
    list(&world.api(Caller::Untrusted)).await.expect_problem(401, "token-untrusted");
}

async fn a_token_that_only_reads(world: World) {
    let reader = world.api(Caller::Reader);
    list(&reader).await.expect_status(200);
    let file = world.owner().upload("name=a.txt", "text/plain", "kept").await;
    reader.get(&file.path()).await.expect_status(200);
    let links = format!("{}/links", file.path());
    for (method, path) in [
        (Method::POST, "/files"),
        (Method::POST, "/uploads"),
        (Method::PATCH, &file.path()),
        (Method::DELETE, &file.path()),
        (Method::POST, &links),
    ] {
        let fields = [tus::VERSION, ("upload-length", "2"), ("content-type", "application/json")];
        let answer = reader.send(method.clone(), path, &fields, "{}").await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        answer.expect_problem(403, "scope-missing");
    }
    assert_eq!(world.owner().get(&file.path()).await.body, "kept");
}

async fn a_bad_token_is_refused_even_for_a_public_file(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "open").await;
    world.anonymous().get(&file.path()).await.expect_status(200);
    world.api(Caller::Untrusted).get(&file.path()).await.expect_problem(401, "token-untrusted");
}

async fn a_cached_private_file_stays_private(world: World) {
    let owner = world.owner();
    let file = owner.upload("name=secret.txt", "text/plain", "secret").await;
    for _ in 0..2 {
        owner.get(&file.path()).await.expect_status(200);
    }
    for caller in [world.anonymous(), world.api(Caller::Foreign)] {
        for fields in [&[][..], &[("range", "bytes=0-1")], &[("if-none-match", "*")]] {
            let answer = caller.get_with(&file.path(), fields).await;
            answer.expect_problem(404, "not-found");
            assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{answer:?}");
        }
    }
}

async fn an_admin_of_the_tenant_may(world: World) {
    let file = world.api(Caller::Other).upload("name=theirs.txt", "text/plain", "theirs").await;
    let admin = world.owner();
    assert_eq!(admin.get(&file.path()).await.body, "theirs");
    admin.delete(&file.path()).await.expect_status(204);
    world.api(Caller::Other).get(&file.path()).await.expect_status(404);
}

/// Lists nothing, since there is nothing of such a name.
async fn list(api: &Api) -> Answer {
    api.get("/files?limit=1&prefix=no-such-name").await
}

/// A token with changed header or claims under the old signature.
fn with_parts(
    token: &str,
    change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value),
) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let read = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("a part is base64url");
        serde_json::from_slice(&bytes).expect("a part is JSON")
    };
    let (mut header, mut claims) = (read(parts[0]), read(parts[1]));
    change(&mut header, &mut claims);
    let write = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{}", write(header), write(claims), parts[2])
}

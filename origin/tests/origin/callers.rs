//! Where something is to change, an edge alone is not believed.

use futures::future::{BoxFuture, FutureExt as _};
use outport_origin::Tokens;
use outport_wire::identity::{Identity, Named};
use outport_wire::problem::{Problem, ProblemType};

use crate::support::{Answer, Caller, Running};

/// Knows tokens that are the identity that they are of, with the time of their issue before it.
#[derive(Debug)]
struct Plain;

impl Tokens for Plain {
    fn check<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Named, Problem>> {
        let named = token.split_once('/').and_then(|(issued_s, identity)| {
            let identity = Identity::decode(identity).ok()?;
            Some(Named { identity, issued_s: issued_s.parse().ok()? })
        });
        let unknown = || Problem::new(ProblemType::TokenExpired, "Get a new token.");
        async move { named.ok_or_else(unknown) }.boxed()
    }
}

async fn start() -> Running {
    Running::start_with(|config| config.tokens = Some(std::sync::Arc::new(Plain))).await
}

const ALICE: &str = "Bearer 99999999999/demo;alice;read write share";
const SESSION: &str = "00000000000000aa";

async fn upload(by: &Caller, fields: &[(&str, &str)]) -> Answer {
    by.send("POST", "/files?name=a.txt", fields, "content").await
}

/// Every request of alice's that changes something, none of whose things are there.
const CHANGES: [(&str, &str); 12] = [
    ("POST", "/files"),
    ("PATCH", "/files/01000G0000001W000000000004"),
    ("DELETE", "/files/01000G0000001W000000000004"),
    ("POST", "/files/01000G0000001W000000000004/links"),
    ("DELETE", "/files/01000G0000001W000000000004/links"),
    ("POST", "/uploads"),
    ("PATCH", "/uploads/01000G0000001W000000000004"),
    ("DELETE", "/uploads/01000G0000001W000000000004"),
    ("POST", "/passes"),
    ("POST", "/relations"),
    ("POST", "/revocations"),
    ("PUT", "/sessions/00000000000000aa?until=9999999999"),
];

#[tokio::test]
async fn an_edge_that_was_taken_over_changes_nothing() {
    let origin = start().await;
    let root = origin.caller("demo", "root", "admin");
    for (method, target) in CHANGES {
        let others = [
            None,
            Some("Bearer 99999999999/demo;bob;admin"),
            Some("Bearer 99999999999/other;root;admin"),
            // It is root's, and allows less.
            Some("Bearer 99999999999/demo;root;read"),
            Some("Basic cm9vdDpyb290"),
        ];
        for token in others {
            let fields: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
            let refused = root.send(method, target, &fields, "{}").await;
            assert_eq!(refused.header("outport-caller-refused"), None, "{refused:?}");
            assert_eq!(refused.problem(), (401, "edge-signature".into()), "{method} {target}");
        }
        let session = [("outport-session", SESSION)];
        let refused = root.send(method, target, &session, "{}").await;
        assert_eq!(refused.problem(), (401, "session-ended".into()), "{method} {target}");
    }
    // To read, it is believed.
    root.get("/files", &[]).await.expect(200);
}

#[tokio::test]
async fn whose_token_comes_along_is_served() {
    let origin = start().await;
    let alice = origin.alice();
    upload(&alice, &[("authorization", ALICE)]).await.expect(201);
    let expired = upload(&alice, &[("authorization", "Bearer expired")]).await;
    assert_eq!(expired.problem(), (401, "token-expired".into()));
    assert_eq!(expired.header("outport-caller-refused"), Some("1"));
    assert!(expired.header("www-authenticate").is_some());
    let twice = [("authorization", ALICE), ("authorization", ALICE)];
    assert_eq!(upload(&alice, &twice).await.problem(), (401, "edge-signature".into()));
}

#[tokio::test]
async fn what_is_revoked_counts_at_once() {
    let origin = start().await;
    let root = origin.caller("demo", "root", "admin");
    let by_root = ("authorization", "Bearer 99999999999/demo;root;admin");
    let old = ("authorization", "Bearer 1000000000/demo;alice;read write share");
    upload(&origin.alice(), &[old]).await.expect(201);
    let alice = r#"{"subject": "alice"}"#;
    root.send("POST", "/revocations", &[by_root], alice).await.expect(200);
    let refused = upload(&origin.alice(), &[old]).await;
    assert_eq!(refused.problem(), (401, "token-revoked".into()));
    upload(&origin.alice(), &[("authorization", ALICE)]).await.expect(201);
}

#[tokio::test]
async fn a_session_is_one_while_it_lasts_and_for_what_it_was_begun() {
    let origin = start().await;
    let (alice, session) = (origin.alice(), [("outport-session", SESSION)]);
    let at = format!("/sessions/{SESSION}");
    let refused = upload(&alice, &session).await;
    assert_eq!(refused.problem(), (401, "session-ended".into()));
    let begin = format!("{at}?until=9999999999");
    alice.send("PUT", &begin, &[("authorization", ALICE)], "").await.expect(204);
    upload(&alice, &session).await.expect(201);
    for (subject, scopes) in [("alice", "admin"), ("alice", "write"), ("bob", "read write share")] {
        let other = origin.caller("demo", subject, scopes);
        let refused = upload(&other, &session).await;
        assert_eq!(refused.problem(), (401, "session-ended".into()), "{subject}, {scopes}");
    }
    // Its refresh is by a cookie that only the edge reads.
    alice.send("POST", &format!("{at}?generation=0"), &[], "").await.expect(204);
    upload(&alice, &session).await.expect(201);
    alice.send("DELETE", &at, &[], "").await.expect(204);
    assert_eq!(upload(&alice, &session).await.problem(), (401, "session-ended".into()));
    // Nor does one go on that began before everything was revoked.
    alice.send("PUT", &begin, &[("authorization", ALICE)], "").await.expect(204);
    upload(&alice, &session).await.expect(201);
    let root = origin.caller("demo", "root", "admin");
    let by_root = ("authorization", "Bearer 99999999999/demo;root;admin");
    root.send("POST", "/revocations", &[by_root], r#"{"everything": true}"#).await.expect(200);
    assert_eq!(upload(&alice, &session).await.problem(), (401, "session-ended".into()));
}

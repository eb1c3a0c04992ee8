//! Rules of the firewall: those of `firewall.toml`, which every server before the scripted upstream
//! has, and the core set.

use outport_tests::world::World;
use outport_tests::{proof, random, scenarios};

scenarios![
    a_rule_refuses_what_is_stored needs Route,
    a_rule_about_who_asks needs Route,
    what_is_tried_changes_nothing needs Route,
    paths_that_hide_what_they_are needs Route,
    who_is_not_signed_in_does_some_work needs Route,
    where_a_client_is needs Route,
];

const DENY: (&str, &str) = ("x-scenario", "deny");
const DENY_ANONYMOUS: (&str, &str) = ("x-scenario", "Deny-Anonymous");
const CHALLENGE: (&str, &str) = ("x-scenario", "challenge");
const TRY: (&str, &str) = ("x-scenario", "try");

async fn a_rule_refuses_what_is_stored(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "stored").await;
    let anonymous = world.anonymous();
    for _ in 0..2 {
        anonymous.get(&file.path()).await.expect_status(200);
    }
    let refused = anonymous.get_with(&file.path(), &[DENY]).await;
    refused.expect_problem(403, "forbidden-by-rule");
    assert_eq!(refused.json()["detail"], "Not with this field.");
    assert!(!String::from_utf8_lossy(&refused.body).contains("by-field"), "{refused:?}");
    assert_eq!(refused.field("cache-control"), "no-store");
    // No token helps, good or not.
    world.owner().get_with(&file.path(), &[DENY]).await.expect_status(403);
    let bad = anonymous.with_token("a.b.c");
    bad.get_with(&file.path(), &[DENY]).await.expect_problem(403, "forbidden-by-rule");
    bad.get(&file.path()).await.expect_status(401);
    // Nor does another way to write the path.
    let route = world.route().expect("there is one");
    for path in [route.replace("/s", "/%73"), format!("{route}/a%2Fb"), format!("{route};x=1/a")] {
        anonymous.get_with(&path, &[DENY]).await.expect_problem(403, "forbidden-by-rule");
    }
    anonymous.get_with("/healthz", &[DENY]).await.expect_status(200);
}

async fn a_rule_about_who_asks(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "stored").await;
    let refused = world.anonymous().get_with(&file.path(), &[DENY_ANONYMOUS]).await;
    refused.expect_problem(403, "forbidden-by-rule");
    world.owner().get_with(&file.path(), &[DENY_ANONYMOUS]).await.expect_status(200);
}

async fn what_is_tried_changes_nothing(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "stored").await;
    world.anonymous().get_with(&file.path(), &[TRY]).await.expect_status(200);
}

/// Local runtimes say of this machine that it is in the United States.
async fn where_a_client_is(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "stored").await;
    for client in [world.anonymous(), world.owner()] {
        client.get_with(&file.path(), &[("x-scenario", "elsewhere")]).await.expect_status(200);
        let refused = client.get_with(&file.path(), &[("x-scenario", "here")]).await;
        refused.expect_problem(403, "forbidden-by-rule");
        // No client says where it is.
        let claimed = [("x-scenario", "here"), ("cf-ipcountry", "FR")];
        client.get_with(&file.path(), &claimed).await.expect_status(403);
    }
}

async fn who_is_not_signed_in_does_some_work(world: World) {
    let file = world.owner().upload("visibility=public", "text/plain", "stored").await;
    let (path, anonymous) = (file.path(), world.anonymous());
    let refused = anonymous.get_with(&path, &[CHALLENGE]).await;
    refused.expect_problem(403, "proof-needed");
    assert_eq!(refused.field("cache-control"), "no-store");
    let asked = refused.json();
    let (challenge, bits) = (asked["challenge"].as_str(), asked["bits"].as_u64());
    let (challenge, bits) = challenge.zip(bits).expect("it asks for work");
    let good = proof::solve(&asked);
    let mut proofs = (0..).map(|number| format!("{challenge}.{number}"));
    let lazy = proofs.find(|proof| proof::zero_bits(proof) < bits).expect("most are none");
    for shown in [("outport-proof", good.clone()), ("cookie", format!("a=b; outport-proof={good}"))]
    {
        for _ in 0..2 {
            let shown = [CHALLENGE, (shown.0, shown.1.as_str())];
            let answer = anonymous.get_with(&path, &shown).await;
            answer.expect_status(200);
            assert_eq!(answer.body, "stored");
        }
    }
    let other = "AAAAAHP_____DAAAAAAAAAAHAAAAAAAAAAAAAAAAAAAA.1";
    for bad in [lazy, challenge.to_owned(), other.to_owned()] {
        let answer = anonymous.get_with(&path, &[CHALLENGE, ("outport-proof", &bad)]).await;
        answer.expect_problem(403, "proof-needed");
    }
    // Whoever has a good token sees nothing of it; one that is none is told so.
    world.owner().get_with(&path, &[CHALLENGE]).await.expect_status(200);
    let bad = anonymous.with_token("a.b.c");
    bad.get_with(&path, &[CHALLENGE]).await.expect_problem(401, "token-malformed");
    // A browser is given a page that does the work.
    let html = [CHALLENGE, ("accept", "text/html,*/*;q=0.8")];
    let page = anonymous.get_with(&path, &html).await;
    page.expect_status(403);
    assert_eq!(page.field("content-type"), "text/html; charset=utf-8");
    assert!(
        page.field("content-security-policy")
            .starts_with("default-src 'none'; script-src 'sha256-")
    );
    assert_eq!(page.field("cache-control"), "no-store");
}

async fn paths_that_hide_what_they_are(world: World) {
    let route = format!("{}/{}", world.route().expect("there is one"), random::word());
    for hidden in ["%252e%252e/x", "..%252fx", "%c0%ae%c0%ae/x", "x?a=b%00"] {
        let answer = world.anonymous().get(&format!("{route}/{hidden}")).await;
        answer.expect_problem(403, "forbidden-by-rule");
    }
    for hidden in ["..%2fx", "x%5c..", "..;/x"] {
        let answer = world.anonymous().get(&format!("{route}/{hidden}")).await;
        answer.expect_problem(400, "malformed-request");
    }
}

//! Rules of the firewall: those of `firewall.toml`, which every server before the scripted upstream
//! has, and the core set.

use outport_tests::world::World;
use outport_tests::{random, scenarios};

scenarios![
    a_rule_refuses_what_is_stored needs Route,
    a_rule_about_who_asks needs Route,
    what_is_tried_changes_nothing needs Route,
    paths_that_hide_what_they_are needs Route,
];

const DENY: (&str, &str) = ("x-scenario", "deny");
const DENY_ANONYMOUS: (&str, &str) = ("x-scenario", "Deny-Anonymous");
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

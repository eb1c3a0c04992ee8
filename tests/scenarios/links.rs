//! Signed links: what they give, for how long, and to which file only.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_tests::api::{Api, File};
use outport_tests::scenarios;
use outport_tests::world::World;
use reqwest::Method;
use serde_json::json;

scenarios![
    a_link_gives_a_private_file_to_whoever_has_it,
    a_link_gives_ranges_and_conditions_too,
    a_link_ends,
    a_changed_link_is_none,
    a_link_is_for_one_file,
    a_download_link_is_only_for_saving,
    a_link_only_reads,
    a_link_begins_when_it_says,
    a_link_for_a_network_is_not_good_elsewhere,
    a_password_goes_with_a_link,
    a_link_is_used_as_often_as_it_says,
    all_links_of_a_file_end,
    lives_that_are_none,
];

async fn a_link_gives_a_private_file_to_whoever_has_it(world: World) {
    let (owner, nobody) = (world.owner(), world.anonymous());
    for visibility in ["private", "link", "public"] {
        let file = upload(&owner, visibility).await;
        let link = link(&owner, &file, 60, false).await;
        for _ in 0..2 {
            let answer = nobody.get(&link).await;
            answer.expect_status(200);
            assert_eq!(answer.body, "0123456789");
            assert!(answer.field("content-disposition").contains("a.txt"), "{answer:?}");
        }
        let bare = nobody.get(&file.path()).await;
        assert_eq!(bare.status, if visibility == "public" { 200 } else { 404 }, "{visibility}");
    }
}

async fn a_link_gives_ranges_and_conditions_too(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = link(&owner, &file, 60, false).await;
    let nobody = world.anonymous();
    let part = nobody.get_with(&link, &[("range", "bytes=2-4")]).await;
    part.expect_status(206);
    assert_eq!(part.body, "234");
    nobody.get_with(&link, &[("if-none-match", file.text("etag"))]).await.expect_status(304);
    nobody.head(&link, &[]).await.expect_status(200);
}

async fn a_link_ends(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = link(&owner, &file, 5, false).await;
    world.anonymous().get(&link).await.expect_status(200);
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    world.anonymous().get(&link).await.expect_problem(403, "link-expired");
}

async fn a_changed_link_is_none(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = link(&owner, &file, 60, false).await;
    let (path, query) = link.split_once('?').expect("a link has a query");
    let later = query.replace("expires=1", "expires=2");
    assert_ne!(later, query, "the end of the link is in its query");
    let cut = &query[..query.len() - 4];
    for changed in [later.as_str(), cut, "signature=&expires=9999999999", "signature=x"] {
        let answer = world.anonymous().get(&format!("{path}?{changed}")).await;
        assert_eq!(answer.status, 404, "{changed}: {answer:?}");
    }
}

async fn a_password_goes_with_a_link(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = bounded(&owner, &file, &json!({"password": "open sesame"})).await;
    let nobody = world.anonymous();
    let by = async |credentials: &str| {
        let basic = format!("Basic {}", STANDARD.encode(credentials));
        nobody.get_with(&link, &[("authorization", basic.as_str())]).await
    };
    for _ in 0..2 {
        assert_eq!(by("anybody:open sesame").await.body, "0123456789");
        for refused in
            [by("anybody:sesame").await, by("open sesame").await, nobody.get(&link).await]
        {
            refused.expect_problem(401, "link-password");
            assert!(refused.field("www-authenticate").starts_with("Basic"), "{refused:?}");
        }
    }
    let open = link.replace("protected&", "");
    nobody.get(&open).await.expect_problem(404, "not-found");
    for password in ["", "short", "with\ncontrols"] {
        let wanted = json!({ "password": password });
        let answer = owner.json(Method::POST, &format!("{}/links", file.path()), &wanted).await;
        answer.expect_problem(400, "invalid-field");
    }
}

async fn a_link_is_used_as_often_as_it_says(world: World) {
    let (owner, nobody) = (world.owner(), world.anonymous());
    let file = upload(&owner, "private").await;
    let made = async |uses: u32| {
        let wanted = json!({ "uses": uses });
        let made = owner.json(Method::POST, &format!("{}/links", file.path()), &wanted).await;
        made.expect_status(201);
        made.json()["url"].as_str().expect("it is text").to_owned()
    };
    let (twice, other) = (made(2).await, made(1).await);
    assert!(twice.contains("uses=2&"), "{twice}");
    nobody.head(&twice, &[]).await.expect_status(200);
    nobody.get(&twice).await.expect_status(200);
    let part = nobody.get_with(&twice, &[("range", "bytes=1-2")]).await;
    part.expect_status(206);
    for _ in 0..2 {
        nobody.get(&twice).await.expect_problem(403, "link-expired");
    }
    // Whoever may have the file by themselves needs none of it.
    owner.get(&twice).await.expect_status(200);
    nobody.get(&twice.replace("uses=2", "uses=3")).await.expect_problem(404, "not-found");
    nobody.get(&other).await.expect_status(200);
    nobody.get(&other).await.expect_problem(403, "link-expired");
    for uses in [0, 1_000_001] {
        let wanted = json!({ "uses": uses });
        let refused = owner.json(Method::POST, &format!("{}/links", file.path()), &wanted).await;
        refused.expect_problem(400, "invalid-field");
    }
    let uses = format!("{}/uses?link=AAAAAAAAAAAAAAAA", file.path());
    owner.json(Method::POST, &uses, &json!({})).await.expect_status(405);
}

async fn all_links_of_a_file_end(world: World) {
    let owner = world.owner();
    let (file, other) = (upload(&owner, "private").await, upload(&owner, "private").await);
    let nobody = world.anonymous();
    let links = [link(&owner, &file, 60, false).await, link(&owner, &file, 60, true).await];
    let others = link(&owner, &other, 60, false).await;
    for link in links.iter().chain([&others]) {
        nobody.get(link).await.expect_status(200);
    }
    let path = format!("{}/links", file.path());
    nobody.delete(&path).await.expect_problem(401, "token-missing");
    owner.delete(&path).await.expect_status(204);
    for link in &links {
        nobody.get(link).await.expect_problem(403, "link-expired");
        owner.get(link).await.expect_status(200);
    }
    nobody.get(&others).await.expect_status(200);
    let link = link(&owner, &file, 60, false).await;
    nobody.get(&link).await.expect_status(200);
}

async fn a_link_begins_when_it_says(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = bounded(&owner, &file, &json!({"expires_in": 60, "starts_in": 4})).await;
    world.anonymous().get(&link).await.expect_problem(403, "link-not-here");
    owner.get(&link).await.expect_status(200);
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(world.anonymous().get(&link).await.body, "0123456789");
    let early = link.replacen("begins=1", "begins=0", 1);
    assert_ne!(early, link);
    world.anonymous().get(&early).await.expect_status(404);
}

async fn a_link_for_a_network_is_not_good_elsewhere(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let nobody = world.anonymous();
    // Nobody is there: it is for documentation (RFC 5737).
    let elsewhere = bounded(&owner, &file, &json!({"network": "203.0.113.7/24"})).await;
    assert!(elsewhere.contains("network=203.0.113.0/24"), "{elsewhere}");
    nobody.get(&elsewhere).await.expect_problem(403, "link-not-here");
    assert_eq!(owner.get(&elsewhere).await.body, "0123456789", "it takes no right away");
    let moved = elsewhere.replace("203.0.113.0/24", "0.0.0.0/0");
    nobody.get(&moved).await.expect_status(404);
    for network in ["x", "", "10.0.0.0/33", "10.0.0.0/", "::1/129"] {
        let wanted = json!({"network": network});
        let links = format!("{}/links", file.path());
        owner.json(Method::POST, &links, &wanted).await.expect_problem(400, "invalid-field");
    }
}

async fn a_link_is_for_one_file(world: World) {
    let owner = world.owner();
    let (one, other) = (upload(&owner, "private").await, upload(&owner, "private").await);
    let link = link(&owner, &one, 60, false).await;
    let moved = link.replace(one.id(), other.id());
    world.anonymous().get(&moved).await.expect_status(404);
}

async fn a_download_link_is_only_for_saving(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = link(&owner, &file, 60, true).await;
    let answer = world.anonymous().get(&link).await;
    answer.expect_status(200);
    assert!(answer.field("content-disposition").starts_with("attachment"), "{answer:?}");
    let shown = link.replace("download&", "");
    assert_ne!(shown, link, "the link says that it is for saving");
    let answer = world.anonymous().get(&shown).await;
    let shows = answer.status == 200 && answer.field("content-disposition").starts_with("inline");
    assert!(!shows, "{answer:?}");
}

async fn a_link_only_reads(world: World) {
    let owner = world.owner();
    let file = upload(&owner, "private").await;
    let link = link(&owner, &file, 60, false).await;
    for method in [Method::DELETE, Method::PATCH] {
        let fields = [("content-type", "application/json")];
        let answer = world.anonymous().send(method.clone(), &link, &fields, "{}").await;
        assert!(matches!(answer.status, 401 | 404 | 405), "{method}: {answer:?}");
    }
    owner.get(&file.path()).await.expect_status(200);
}

async fn lives_that_are_none(world: World) {
    let owner = world.owner();
    let path = format!("{}/links", upload(&owner, "private").await.path());
    for life in
        [json!(0), json!(-1), json!(1.5), json!("1h"), json!(30 * 86_400 + 1), json!(u64::MAX)]
    {
        let answer = owner.json(Method::POST, &path, &json!({ "expires_in": life })).await;
        assert_eq!(answer.status, 400, "{life}: {answer:?}");
    }
    let answer = owner.json(Method::POST, &path, &json!({})).await;
    answer.expect_status(201);
}

async fn upload(owner: &Api, visibility: &str) -> File {
    owner.upload(&format!("name=a.txt&visibility={visibility}"), "text/plain", "0123456789").await
}

async fn link(owner: &Api, file: &File, expires_in: u64, download: bool) -> String {
    bounded(owner, file, &json!({ "expires_in": expires_in, "download": download })).await
}

async fn bounded(owner: &Api, file: &File, wanted: &serde_json::Value) -> String {
    let answer = owner.json(Method::POST, &format!("{}/links", file.path()), wanted).await;
    answer.expect_status(201);
    let link = answer.json()["url"].as_str().expect("it has an address").to_owned();
    assert!(link.starts_with(&file.path()), "{link}");
    link
}

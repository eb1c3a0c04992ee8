//! What the end-to-end tests of @tus/server ask of a server over HTTP, asked of this one: a scenario
//! for each of theirs that needs no settings of its own. Theirs are in none of its packages, so these
//! are ours, after what theirs look at. `docs/protocols.md` has the whole list: which of ours goes
//! with which of theirs, where the answer differs, and what does not apply.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use outport_tests::api::{Answer, Api};
use outport_tests::world::World;
use outport_tests::{random, scenarios, scene, tus};
use reqwest::{Body, Method};

scenarios![
    head_of_an_upload_that_is_not_there,
    creation_without_a_length_for_now,
    creation_with_length_and_metadata,
    creation_with_metadata_and_without_a_length,
    creation_with_all_of_the_content_as_a_stream,
    head_of_a_new_upload,
    head_of_a_new_upload_without_a_length,
    patch_without_an_id,
    patch_of_an_upload_that_is_not_there,
    patch_of_everything_as_a_stream,
    head_of_a_complete_upload,
    delete_of_a_complete_upload,
    creation_tells_a_relative_location,
    options_list_expiration,
    creation_tells_when_it_expires,
    patch_tells_when_an_unfinished_upload_expires,
    creation_over_the_largest_size,
    patch_beyond_the_length,
    patch_beyond_the_length_as_a_stream,
    head_ends_a_patch_that_is_still_sent,
];

const CONTENT_BYTES: usize = 800_000;
/// What a stream is cut into.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a request is given to get as far as the upload.
const BEGUN_WITHIN: Duration = Duration::from_millis(300);
/// A name, and a key that has no value.
const METADATA: (&str, &str) = ("upload-metadata", "filename cmVwb3J0LnBkZg==,is_secret");
const DEFER: (&str, &str) = ("upload-defer-length", "1");
const TYPE: (&str, &str) = ("content-type", tus::PATCH_TYPE);

async fn create(api: &Api, fields: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let answer =
        api.send(Method::POST, "/uploads", &[&[tus::VERSION], fields].concat(), body).await;
    assert_eq!(answer.field("tus-resumable"), "1.0.0");
    answer
}

/// Begins an upload of this length, or of one that is said later; returns its path.
async fn begun(api: &Api, length: Option<usize>) -> String {
    let length = length.map(|length| length.to_string());
    let length = length.as_deref().map_or(DEFER, |length| ("upload-length", length));
    let created = create(api, &[length, METADATA], "").await;
    created.expect_status(201);
    created.field("location").to_owned()
}

async fn patch(api: &Api, path: &str, offset: usize, body: impl Into<Body>) -> Answer {
    let offset = offset.to_string();
    let fields = [tus::VERSION, TYPE, ("upload-offset", &offset)];
    let answer = api.send(Method::PATCH, path, &fields, body).await;
    assert_eq!(answer.field("tus-resumable"), "1.0.0");
    answer
}

async fn head(api: &Api, path: &str) -> Answer {
    let answer = api.head(path, &[tus::VERSION]).await;
    assert_eq!(answer.field("tus-resumable"), "1.0.0");
    answer
}

/// A body that says no length.
fn streamed(content: &[u8]) -> Body {
    let pieces: Vec<_> = content.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect();
    Body::wrap_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
}

async fn head_of_an_upload_that_is_not_there(world: World) {
    head(&world.owner(), "/uploads/undefined").await.expect_status(404);
}

async fn creation_without_a_length_for_now(world: World) {
    let created = create(&world.owner(), &[DEFER], "").await;
    created.expect_status(201);
    created.field("location");
}

async fn creation_with_length_and_metadata(world: World) {
    begun(&world.owner(), Some(CONTENT_BYTES)).await;
}

async fn creation_with_metadata_and_without_a_length(world: World) {
    begun(&world.owner(), None).await;
}

async fn creation_with_all_of_the_content_as_a_stream(world: World) {
    let owner = world.owner();
    let content = random::bytes(CONTENT_BYTES);
    let length = content.len().to_string();
    let created = create(&owner, &[("upload-length", &length), TYPE], streamed(&content)).await;
    created.expect_status(201);
    assert_eq!(created.field("upload-offset"), length);
}

async fn head_of_a_new_upload(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, Some(CONTENT_BYTES)).await;
    let shown = head(&owner, &upload).await;
    shown.expect_status(200);
    assert_eq!(shown.field("upload-metadata"), METADATA.1);
    assert_eq!(shown.number("upload-offset"), 0);
    assert_eq!(shown.number("upload-length"), CONTENT_BYTES as u64);
}

async fn head_of_a_new_upload_without_a_length(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, None).await;
    let shown = head(&owner, &upload).await;
    shown.expect_status(200);
    assert_eq!(shown.number("upload-offset"), 0);
    assert_eq!(shown.field("upload-defer-length"), "1");
}

async fn patch_without_an_id(world: World) {
    patch(&world.owner(), "/uploads/", 0, "").await.expect_status(404);
}

async fn patch_of_an_upload_that_is_not_there(world: World) {
    patch(&world.owner(), "/uploads/there_is_none", 0, "").await.expect_status(404);
}

async fn patch_of_everything_as_a_stream(world: World) {
    let owner = world.owner();
    let content = random::bytes(CONTENT_BYTES);
    let upload = begun(&owner, Some(content.len())).await;
    let answer = patch(&owner, &upload, 0, streamed(&content)).await;
    answer.expect_status(204);
    assert_eq!(answer.number("upload-offset"), CONTENT_BYTES as u64);
}

async fn head_of_a_complete_upload(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, Some(CONTENT_BYTES)).await;
    patch(&owner, &upload, 0, random::bytes(CONTENT_BYTES)).await.expect_status(204);
    let shown = head(&owner, &upload).await;
    shown.expect_status(200);
    assert_eq!(shown.field("upload-metadata"), METADATA.1);
    assert_eq!(shown.number("upload-offset"), CONTENT_BYTES as u64);
    assert_eq!(shown.number("upload-length"), CONTENT_BYTES as u64);
}

async fn delete_of_a_complete_upload(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, Some(CONTENT_BYTES)).await;
    patch(&owner, &upload, 0, random::bytes(CONTENT_BYTES)).await.expect_status(204);
    owner.send(Method::DELETE, &upload, &[tus::VERSION], "").await.expect_status(204);
}

async fn creation_tells_a_relative_location(world: World) {
    let upload = begun(&world.owner(), Some(CONTENT_BYTES)).await;
    assert!(upload.starts_with("/uploads/") && !upload.contains("//"), "{upload}");
}

async fn options_list_expiration(world: World) {
    let answer = world.owner().send(Method::OPTIONS, "/uploads", &[tus::VERSION], "").await;
    answer.expect_status(204);
    assert_eq!(answer.field("tus-resumable"), "1.0.0");
    let mut extensions = answer.field("tus-extension").split(',');
    assert!(extensions.any(|extension| extension == "expiration"), "{answer:?}");
}

async fn creation_tells_when_it_expires(world: World) {
    let created = create(&world.owner(), &[("upload-length", "10"), METADATA], "").await;
    created.expect_status(201);
    created.field("upload-expires");
}

async fn patch_tells_when_an_unfinished_upload_expires(world: World) {
    let owner = world.owner();
    let upload = begun(&owner, Some(CONTENT_BYTES)).await;
    let answer = patch(&owner, &upload, 0, "a little").await;
    answer.expect_status(204);
    assert_eq!(answer.number("upload-offset"), 8);
    answer.field("upload-expires");
}

async fn creation_over_the_largest_size(world: World) {
    let owner = world.owner();
    let options = owner.send(Method::OPTIONS, "/uploads", &[], "").await;
    let length = (options.number("tus-max-size") + 1).to_string();
    create(&owner, &[("upload-length", &length), METADATA], "").await.expect_status(413);
}

// Theirs ask for 413 here. The upload's own length is no limit of the server's, so ours is 400.
async fn patch_beyond_the_length(world: World) {
    let owner = world.owner();
    let content = random::bytes(CONTENT_BYTES);
    let (first, second) = content.split_at(CONTENT_BYTES / 2);
    let upload = begun(&owner, Some(content.len())).await;
    patch(&owner, &upload, 0, first.to_vec()).await.expect_status(204);
    patch(&owner, &upload, first.len(), second.to_vec()).await.expect_status(204);
    let beyond = patch(&owner, &upload, content.len(), first.to_vec()).await;
    beyond.expect_problem(400, "body-too-long");
}

async fn patch_beyond_the_length_as_a_stream(world: World) {
    let owner = world.owner();
    // What is too much comes last, so that the answer finds nobody still sending.
    let content = random::bytes(CONTENT_BYTES + 1);
    let upload = begun(&owner, Some(CONTENT_BYTES)).await;
    let why = "how much of it was kept by then is up to the machine";
    let beyond = scene::unordered(why, patch(&owner, &upload, 0, streamed(&content))).await;
    beyond.expect_problem(400, "body-too-long");
}

// Theirs ask that the PATCH gets 400. Ours is 409: the client asks where the upload is, and goes on.
async fn head_ends_a_patch_that_is_still_sent(world: World) {
    let owner = world.owner();
    let content = random::bytes(CONTENT_BYTES);
    let upload = begun(&owner, Some(content.len())).await;
    let begins = stream::iter([Ok::<_, std::io::Error>(content[..PIECE_BYTES].to_vec())]);
    let never_ends = Body::wrap_stream(begins.chain(stream::pending()));
    let both = async {
        tokio::join!(patch(&owner, &upload, 0, never_ends), go_on(&owner, &upload, &content))
    };
    let why = "how much of the first request arrived is up to the machine";
    let (ended, ()) = scene::unrecorded(why, both).await;
    ended.expect_status(409);
    let file = owner.get(&upload.replace("/uploads/", "/files/")).await;
    assert_eq!(random::digest(&file.body), random::digest(&content));
}

/// Asks where an upload is and sends the rest. What ends a request may come before that request
/// does, which then ends this one: so it begins anew, once.
async fn go_on(api: &Api, upload: &str, content: &[u8]) {
    tokio::time::sleep(BEGUN_WITHIN).await;
    for _ in 0..2 {
        let shown = head(api, upload).await;
        shown.expect_status(200);
        let offset = usize::try_from(shown.number("upload-offset")).expect("it is small");
        let answer = patch(api, upload, offset, content[offset..].to_vec()).await;
        if answer.status == 204 {
            return;
        }
        answer.expect_status(409);
    }
    panic!("it is ended again and again");
}

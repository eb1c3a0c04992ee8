//! What is somebody else's is as if it were not there: every way to ask for something, with the id of
//! each kind of thing that is not the caller's, is answered as with an id that nobody was given, to
//! the last field and byte.

use outport_tests::api::{Answer, Api};
use outport_tests::scenarios;
use outport_tests::tus;
use outport_tests::world::{Caller, World};
use reqwest::Method;

scenarios![
    to_another_tenant needs Foreign,
    to_another_subject_of_the_tenant needs Other,
    to_nobody,
];

/// An id that nobody was given.
const UNKNOWN: &str = "01000G0000000C000000000004";

/// A way to ask. `{id}` is in the path, in a field or in the body.
struct Way {
    method: Method,
    path: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
}

const fn way(
    method: Method,
    path: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Way {
    Way { method, path, fields, body }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PATCH_TYPE: (&str, &str) = ("content-type", tus::PATCH_TYPE);

/// Every way that names a file or an upload, with what is right and with what is wrong: what is looked
/// at first must not tell whether there is something.
fn ways() -> Vec<Way> {
    let (get, head) = (Method::GET, Method::HEAD);
    vec![
        way(get.clone(), "/files/{id}", &[], ""),
        way(get.clone(), "/files/{id}/mine.txt", &[], ""),
        way(get.clone(), "/files/{id}/other.txt", &[], ""),
        way(get.clone(), "/files/{id}?download", &[], ""),
        way(get.clone(), "/files/{id}?expires=99999999999&signature=AAAA", &[], ""),
        way(get.clone(), "/files/{id}?expires=1&signature=AAAA", &[], ""),
        way(get.clone(), "/files/{id}?protected&expires=99999999999&signature=AAAA", &[], ""),
        way(get.clone(), "/files/{id}", &[("range", "bytes=0-0")], ""),
        way(get.clone(), "/files/{id}", &[("range", "bytes=900-")], ""),
        way(get.clone(), "/files/{id}", &[("range", "bytes=0-0,2-2")], ""),
        way(get.clone(), "/files/{id}", &[("if-none-match", "*")], ""),
        way(get.clone(), "/files/{id}", &[("if-match", "\"x\"")], ""),
        way(get.clone(), "/files/{id}", &[("if-match", "*")], ""),
        way(get.clone(), "/files/{id}", &[("accept-encoding", "br")], ""),
        way(get.clone(), "/files/{id}/links", &[], ""),
        way(head.clone(), "/files/{id}", &[], ""),
        way(Method::PATCH, "/files/{id}", &[JSON], "{\"name\": \"theirs.txt\"}"),
        way(Method::PATCH, "/files/{id}", &[JSON], "{\"visibility\": \"public\"}"),
        way(Method::PATCH, "/files/{id}", &[JSON, ("if-match", "\"x\"")], "{}"),
        way(Method::DELETE, "/files/{id}", &[("if-match", "\"x\"")], ""),
        way(Method::DELETE, "/files/{id}", &[], ""),
        way(Method::POST, "/files/{id}/links", &[JSON], "{}"),
        way(Method::POST, "/files/{id}/links", &[JSON], "{\"expires_in\": 60}"),
        way(Method::DELETE, "/files/{id}/links", &[], ""),
        way(get.clone(), "/uploads/{id}", &[], ""),
        way(get, "/uploads/{id}", &[tus::VERSION], ""),
        way(head.clone(), "/uploads/{id}", &[tus::VERSION], ""),
        way(head, "/uploads/{id}", &[("upload-draft-interop-version", "8")], ""),
        way(
            Method::PATCH,
            "/uploads/{id}",
            &[tus::VERSION, PATCH_TYPE, ("upload-offset", "0")],
            "0123",
        ),
        way(
            Method::PATCH,
            "/uploads/{id}",
            &[tus::VERSION, PATCH_TYPE, ("upload-offset", "3")],
            "0123",
        ),
        way(
            Method::PATCH,
            "/uploads/{id}",
            &[tus::VERSION, PATCH_TYPE, ("upload-offset", "0")],
            "0123456789abcdef",
        ),
        way(
            Method::PATCH,
            "/uploads/{id}",
            &[
                tus::VERSION,
                PATCH_TYPE,
                ("upload-offset", "0"),
                ("upload-checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ],
            "0123",
        ),
        way(
            Method::PATCH,
            "/uploads/{id}",
            &[
                ("upload-draft-interop-version", "8"),
                ("content-type", "application/partial-upload"),
                ("upload-offset", "0"),
                ("upload-complete", "?1"),
            ],
            "0123456789",
        ),
        way(Method::DELETE, "/uploads/{id}", &[tus::VERSION], ""),
        way(Method::DELETE, "/uploads/{id}", &[("upload-draft-interop-version", "8")], ""),
        way(
            Method::POST,
            "/uploads",
            &[tus::VERSION, ("upload-concat", "final;/uploads/{id}")],
            "",
        ),
        way(Method::GET, "/explain?url=/files/{id}", &[], ""),
        way(Method::GET, "/files/{id}", &[("outport-at-least", "1")], ""),
        way(Method::GET, "/relations?who=file:{id}", &[], ""),
        way(Method::GET, "/relations?object=file:{id}", &[], ""),
        way(Method::POST, "/relations", &[JSON], "{\"write\": [\"file:{id}#owner@user:x\"]}"),
        way(Method::POST, "/relations", &[JSON], "{\"delete\": [\"file:{id}#owner@user:x\"]}"),
    ]
}

/// Things of the owner's: what is cached, what is not, what may be opened by link, and uploads, one of
/// them a part of another.
struct Things {
    private: String,
    uncached: String,
    by_link: String,
    upload: String,
    partial: String,
}

impl Things {
    async fn new(owner: &Api) -> Self {
        let private = owner.upload("name=mine.txt", "text/plain", "mine").await;
        owner.get(&private.path()).await.expect_status(200);
        let uncached = owner.upload("name=mine.txt", "text/plain", "mine").await;
        let by_link = owner.upload("name=mine.txt&visibility=link", "text/plain", "mine").await;
        let upload = tus::create(owner, 10, "a.txt", "private").await;
        let fields = [tus::VERSION, ("upload-length", "4"), ("upload-concat", "partial")];
        let partial = owner.send(Method::POST, "/uploads", &fields, "").await;
        partial.expect_status(201);
        let partial = partial.field("location").rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            private: private.id().to_owned(),
            uncached: uncached.id().to_owned(),
            by_link: by_link.id().to_owned(),
            upload: upload.id().to_owned(),
            partial,
        }
    }

    fn all(&self) -> [(&'static str, &str); 5] {
        let Self { private, uncached, by_link, upload, partial } = self;
        [
            ("a private file", private),
            ("one that is not cached", uncached),
            ("one with links", by_link),
            ("an upload", upload),
            ("a part of one", partial),
        ]
    }

    /// Everything is as it was.
    async fn expect_untouched(&self, owner: &Api) {
        for id in [&self.private, &self.uncached, &self.by_link] {
            let file = owner.get(&format!("/files/{id}")).await;
            assert_eq!((file.status, &file.body[..]), (200, &b"mine"[..]), "{file:?}");
            assert!(file.field("content-disposition").contains("mine.txt"), "{file:?}");
        }
        for id in [&self.upload, &self.partial] {
            let upload = owner.head(&format!("/uploads/{id}"), &[tus::VERSION]).await;
            assert_eq!((upload.status, upload.number("upload-offset")), (200, 0), "{upload:?}");
        }
    }
}

async fn to_another_tenant(world: World) {
    is_as_unknown(&world, &world.api(Caller::Foreign), 404).await;
}

async fn to_another_subject_of_the_tenant(world: World) {
    is_as_unknown(&world, &world.api(Caller::Other), 404).await;
}

async fn to_nobody(world: World) {
    is_as_unknown(&world, &world.anonymous(), 401).await;
}

/// `changes` is the status of a change that a stranger tries.
async fn is_as_unknown(world: &World, stranger: &Api, changes: u16) {
    let owner = world.owner();
    let things = Things::new(&owner).await;
    for way in ways() {
        let unknown = ask(stranger, &way, UNKNOWN).await;
        for (what, id) in things.all() {
            let theirs = ask(stranger, &way, id).await;
            assert_same(&theirs, id, &unknown, &format!("{} {} of {what}", way.method, way.path));
        }
        // They are answered as what is not there, not in some other way that is the same for all.
        if matches!(way.method, Method::DELETE) && way.path == "/files/{id}" {
            assert_eq!(unknown.status, changes, "{unknown:?}");
        }
        if matches!(way.method, Method::GET) && way.path == "/files/{id}" && way.fields.is_empty() {
            assert_eq!(unknown.status, 404, "{unknown:?}");
        }
    }
    things.expect_untouched(&owner).await;
}

async fn ask(stranger: &Api, way: &Way, id: &str) -> Answer {
    let fields: Vec<_> =
        way.fields.iter().map(|(name, value)| (*name, value.replace("{id}", id))).collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (path, body) = (way.path.replace("{id}", id), way.body.replace("{id}", id));
    stranger.send(way.method.clone(), &path, &fields, body).await
}

/// Two answers between which a stranger can see no difference.
#[track_caller]
fn assert_same(theirs: &Answer, id: &str, unknown: &Answer, what: &str) {
    let seen = |answer: &Answer, id: &str| {
        let changing = ["date", "ratelimit", "server-timing"];
        let fields = answer.headers.iter().filter(|(name, _)| !changing.contains(&name.as_str()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(id, "{id}");
        let mut fields: Vec<_> =
            fields.map(|(name, value)| format!("{name}: {}", text(value.as_bytes()))).collect();
        fields.sort();
        (answer.status, fields, text(&answer.body))
    };
    assert_eq!(seen(theirs, id), seen(unknown, UNKNOWN), "{what}");
}

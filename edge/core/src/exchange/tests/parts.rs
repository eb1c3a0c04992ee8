//! Several ranges at once, and large files in slices.

use super::*;

const COMPOSING: Abilities = Abilities { composes: true, slices: true, ..SIGNATURES };

/// Bodies of more than 100 bytes are in slices of 10.
fn composing() -> World {
    World::with(COMPOSING, |config| config.slice_bytes = 10)
}

/// A body none of whose bytes is like its neighbours.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

/// The parts of an answer: the value of `content-range`, and the bytes.
fn parts(sent: &Sent) -> Vec<(String, Vec<u8>)> {
    assert_eq!(sent.status, 206);
    assert_eq!(sent.field("content-length"), Some(&*sent.body.len().to_string()));
    assert_eq!(sent.field("content-range"), None);
    let boundary = sent.field("content-type").unwrap();
    let boundary = boundary.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let delimiter = format!("\r\n--{boundary}");
    let body = [b"\r\n", &sent.body[..]].concat();
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut rest = &body[..];
    while let Some(at) = rest.windows(delimiter.len()).position(|at| at == delimiter.as_bytes()) {
        pieces.push(&rest[..at]);
        rest = &rest[at + delimiter.len()..];
    }
    assert_eq!((pieces.remove(0), rest), (&b""[..], &b"--\r\n"[..]));
    let part = |piece: &&[u8]| {
        let end = piece.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
        let (head, body) = (&piece[2..end + 2], &piece[end + 4..]);
        let head = FieldLines::new(head);
        assert_eq!(head.get("content-type"), Some("text/plain"));
        (head.get("content-range").unwrap().to_owned(), body.to_vec())
    };
    pieces.iter().map(part).collect()
}

fn asking(range: &str) -> String {
    format!("range: bytes={range}\r\n")
}

#[test]
fn several_ranges_of_a_stored_file() {
    let mut world = World::with(COMPOSING, |config| config.stored_bytes_max = 1_000);
    let whole = body(500);
    world.put(ID, Visibility::Public, &whole);
    for _ in 0..2 {
        let sent = world.get(&path(), &asking("400-409,0-4,-1"));
        let expected = [("bytes 400-409/500", 400..410), ("bytes 0-4/500", 0..5)];
        let expected = expected.into_iter().chain([("bytes 499-499/500", 499..500)]);
        let expected: Vec<_> =
            expected.map(|(range, at)| (range.to_owned(), whole[at].to_vec())).collect();
        assert_eq!(parts(&sent), expected);
    }
    let one = world.get(&path(), &asking("0-4,2-9"));
    assert_eq!(one.field("content-range"), Some("bytes 0-9/500"));
    assert_eq!(world.get(&path(), &asking("500-,600-")).status, 416);
    assert_eq!(world.seen(), [format!("HEAD /files/{ID}"), format!("GET /files/{ID}")]);
}

#[test]
fn several_ranges_are_the_whole_where_bodies_have_no_parts() {
    let mut world = World::with(SIGNATURES, |config| config.stored_bytes_max = 1_000);
    world.put(ID, Visibility::Public, &body(500));
    let sent = world.get(&path(), &asking("400-409,0-4"));
    assert_eq!((sent.status, sent.body.len()), (200, 500));
}

#[test]
fn a_seek_fetches_the_slices_that_it_needs_and_no_more() {
    let mut world = composing();
    let whole = body(1_000);
    world.put(ID, Visibility::Public, &whole);
    let sent = world.get(&path(), &asking("503-507"));
    assert_eq!((sent.status, &sent.body[..]), (206, &whole[503..=507]));
    assert_eq!(sent.field("content-range"), Some("bytes 503-507/1000"));
    assert_eq!(sent.field("cache-status"), Some("outport; detail=slices"));
    assert_eq!(
        world.seen(),
        [format!("HEAD /files/{ID}"), format!("GET /files/{ID} bytes=500-509")]
    );
    // The slice that is there is not fetched again; those that are not, in one request.
    let sent = world.get(&path(), &asking("495-535"));
    assert_eq!(&sent.body[..], &whole[495..=535]);
    assert_eq!(
        world.seen(),
        [format!("GET /files/{ID} bytes=490-499"), format!("GET /files/{ID} bytes=510-539")]
    );
    let sent = world.get(&path(), &asking("490-539"));
    assert_eq!((&sent.body[..], sent.ended), (&whole[490..=539], Ended::Cache));
    assert_eq!(world.seen(), [] as [&str; 0]);
}

#[test]
fn all_of_a_large_file_comes_in_bounded_requests() {
    let mut world = composing();
    let whole = body(195);
    world.put(ID, Visibility::Public, &whole);
    world.get(&path(), &asking("194-"));
    world.seen();
    let sent = world.get(&path(), "");
    assert_eq!((sent.status, &sent.body), (200, &whole));
    assert_eq!(sent.field("content-length"), Some("195"));
    let expected =
        ["0-79", "80-159", "160-189"].map(|part| format!("GET /files/{ID} bytes={part}"));
    assert_eq!(world.seen(), expected);
    let several = world.get(&path(), &asking("0-14,150-190"));
    let several: Vec<_> = parts(&several).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(several, [&whole[0..=14], &whole[150..=190]]);
    assert_eq!(world.seen(), [] as [&str; 0]);
}

#[test]
fn the_first_who_wants_all_of_a_large_file_is_passed_through() {
    let mut world = composing();
    world.put(ID, Visibility::Public, &body(195));
    let sent = world.get(&path(), "");
    assert_eq!(sent.field("cache-status"), Some("outport; fwd=uri-miss; fwd-status=200"));
    assert_eq!(world.seen(), [format!("GET /files/{ID}")]);
    assert_eq!(world.get(&path(), "").body, body(195));
}

#[test]
fn slices_are_for_who_may_see_the_file() {
    let mut world = composing();
    world.put(ID, Visibility::Private, &body(195));
    let owner = world.token("demo", "alice", "read");
    assert_eq!(world.get(&path(), &format!("{owner}{}", asking("0-9"))).status, 206);
    assert_eq!(world.get(&path(), &asking("0-9")).status, 404);
    let other = world.token("demo", "mallory", "read");
    assert_eq!(world.get(&path(), &format!("{other}{}", asking("0-9"))).status, 404);
}

#[test]
fn a_slice_that_breaks_off_breaks_the_answer_off_and_is_fetched_anew() {
    let mut world = composing();
    let whole = body(195);
    world.put(ID, Visibility::Public, &whole);
    world.origin.cut_after.set(Some(15));
    let sent = world.get(&path(), &asking("0-29"));
    assert_eq!((sent.status, &sent.body[..]), (206, &whole[..10]));
    world.origin.cut_after.set(None);
    world.seen();
    assert_eq!(&world.get(&path(), &asking("0-29")).body[..], &whole[..30]);
    assert_eq!(world.seen(), [format!("GET /files/{ID} bytes=10-29")]);
}

#[test]
fn a_file_that_is_another_now_is_not_mixed_with_what_was() {
    let mut world = composing();
    world.put(ID, Visibility::Public, &body(195));
    world.get(&path(), &asking("0-9"));
    // It never happens, as contents don't change under an id; an origin may be wrong.
    world.put(ID, Visibility::Public, &body(196));
    world.origin.cut_after.set(Some(0));
    let sent = world.get(&path(), &asking("10-19"));
    assert_eq!((sent.status, &sent.body[..]), (206, &b""[..]), "it breaks off");
}

#[test]
fn a_slice_must_be_what_was_asked_for() {
    for misquote in [("etag: \"0", "etag: \"x"), ("bytes 10-19/195", "bytes 20-29/195")] {
        let mut world = composing();
        world.put(ID, Visibility::Public, &body(195));
        world.get(&path(), &asking("0-9"));
        assert_eq!(world.origin.if_match.take(), Some(format!("\"{ID}\"")));
        world.origin.misquotes.set(Some(misquote));
        // So many that nothing is cut: it breaks off since the edge does not believe it.
        world.origin.cut_after.set(Some(1_000));
        let sent = world.get(&path(), &asking("10-19"));
        assert_eq!((sent.status, &sent.body[..]), (206, &b""[..]), "{misquote:?}");
    }
}

#[test]
fn a_purged_file_is_fetched_anew() {
    let abilities = Abilities { purges: true, ..COMPOSING };
    let mut world = World::with(abilities, |config| config.slice_bytes = 10);
    world.put(ID, Visibility::Public, &body(195));
    world.get(&path(), &asking("0-9"));
    let admin = world.token("demo", "alice", "admin");
    let asked = format!("{{\"files\": [\"{ID}\"]}}");
    let length = format!("content-length: {}\r\n{admin}", asked.len());
    assert_eq!(world.send_body("POST /purge", &length, asked.as_bytes()).status, 200);
    world.seen();
    world.get(&path(), &asking("0-9"));
    assert_eq!(world.seen(), [format!("HEAD /files/{ID}"), format!("GET /files/{ID} bytes=0-9")]);
}

/// A world with a cached route whose server gives this, of 1,000 bytes.
fn of_a_route(fields: &str, text: &str) -> World {
    let abilities = Abilities { purges: true, ..COMPOSING };
    let world = World::with(abilities, |config| {
        config.slice_bytes = 10;
        config.routes.push(crate::config::Route {
            path: "/film/{*rest}".into(),
            proxy: Some("http://127.0.0.1:1".into()),
            auth: crate::config::Auth::None,
            cache: true,
            ..Default::default()
        });
    });
    world.film(fields, text);
    world
}

impl World {
    fn film(&self, fields: &str, text: &str) {
        let fields = format!("cache-control: max-age=60|content-length: {}|{fields}", text.len());
        self.page("/film/a", 200, &fields, text);
    }
}

const FILM: &str = "etag: \"a\"|accept-ranges: bytes|cache-tag: films";

fn text(length: usize) -> String {
    (0..length).map(|place| char::from(b'a' + (place % 23) as u8)).collect()
}

#[test]
fn a_seek_in_what_a_route_gives_fetches_slices() {
    let text = text(1_000);
    for first in ["range: bytes=0-9\r\n", ""] {
        let mut world = of_a_route(FILM, &text);
        let passed = world.get("/film/a", first);
        assert_eq!(passed.ended, Ended::Origin);
        let detail = if first.is_empty() { "size" } else { "part" };
        assert!(passed.field("cache-status").unwrap().ends_with(detail), "{}", passed.fields);
        world.seen();
        let sent = world.get("/film/a", "range: bytes=503-507\r\n");
        assert_eq!((sent.status, &*sent.body), (206, &text.as_bytes()[503..=507]));
        assert_eq!(sent.field("content-range"), Some("bytes 503-507/1000"));
        assert_eq!(sent.field("cache-status"), Some("outport; detail=slices"));
        assert_eq!(world.seen(), ["GET /film/a bytes=500-509"]);
        let sent = world.get("/film/a", "range: bytes=495-515,900-901\r\n");
        assert_eq!(parts_of(&sent), ["bytes 495-515/1000", "bytes 900-901/1000"]);
        assert_eq!(
            world.seen(),
            [490, 510, 900].map(|first| format!("GET /film/a bytes={first}-{}", first + 9))
        );
        let whole = world.get("/film/a", "");
        assert_eq!((whole.status, &*whole.body), (200, text.as_bytes()));
        world.seen();
        let again = world.get("/film/a", "");
        assert_eq!((&*again.body, again.ended), (text.as_bytes(), Ended::Cache));
        let head = world.send("HEAD /film/a", "");
        assert_eq!((head.field("content-length"), head.ended), (Some("1000"), Ended::Cache));
        assert_eq!(world.get("/film/a", "if-none-match: \"a\"\r\n").status, 304);
        assert_eq!(world.seen(), [""; 0]);
        // Purged, it is gone with its slices.
        let admin = world.token("demo", "root", "admin");
        world.send_body("POST /purge", &admin, b"{\"tags\": [\"films\"]}");
        world.seen();
        world.get("/film/a", "range: bytes=0-9\r\n");
        world.get("/film/a", "range: bytes=500-509\r\n");
        assert_eq!(world.seen(), ["GET /film/a bytes=0-9", "GET /film/a bytes=500-509"]);
    }
}

/// The values of `content-range` in a body of several parts.
fn parts_of(sent: &Sent) -> Vec<String> {
    let body = String::from_utf8(sent.body.clone()).unwrap();
    let ranges = body.lines().filter_map(|line| line.strip_prefix("content-range: "));
    ranges.map(str::to_owned).collect()
}

#[test]
fn slices_of_what_has_changed_are_not_mixed() {
    let (old, new) = (text(1_000), text(1_003).split_off(3));
    let mut world = of_a_route(FILM, &old);
    world.get("/film/a", "");
    assert_eq!(world.get("/film/a", "range: bytes=0-9\r\n").body, &old.as_bytes()[..10]);
    world.film("etag: \"b\"|accept-ranges: bytes", &new);
    // What is stored still counts for a minute; what is not can't be had any more.
    world.origin.breaks.set(true);
    world.get("/film/a", "range: bytes=500-509\r\n");
    world.origin.breaks.set(false);
    // From then on it is known that it has changed.
    let sent = world.get("/film/a", "range: bytes=0-9\r\n");
    assert_eq!((sent.status, &*sent.body), (206, &new.as_bytes()[..10]));
    let sent = world.get("/film/a", "range: bytes=500-509\r\n");
    assert_eq!((sent.status, &*sent.body), (206, &new.as_bytes()[500..510]));
    assert_eq!(sent.field("cache-status"), Some("outport; detail=slices"));
    let sent = world.get("/film/a", "range: bytes=0-9\r\n");
    assert_eq!((sent.status, &*sent.body), (206, &new.as_bytes()[..10]));
}

#[test]
fn what_can_t_be_told_apart_has_no_slices() {
    for fields in [
        "etag: W/\"a\"|accept-ranges: bytes",
        "accept-ranges: bytes",
        "etag: \"a\"",
        "etag: \"a\"|accept-ranges: none",
        "etag: \"a\"|accept-ranges: bytes|vary: *",
        "etag: \"a\"|accept-ranges: bytes|set-cookie: a=b|cdn-cache-control: no-store",
    ] {
        let mut world = of_a_route(fields, &text(1_000));
        world.get("/film/a", "");
        world.seen();
        let whole = world.get("/film/a", "");
        assert_eq!((whole.status, whole.body.len(), whole.ended), (200, 1_000, Ended::Origin));
        assert_eq!(world.seen(), ["GET /film/a"], "{fields}");
    }
}

//! Files that are too large for the cache: what is asked for of them is fetched and stored in
//! slices.

use std::sync::Arc;

use outport_tests::api::{Answer, Api, File};
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;
use outport_tests::{check, metrics, random};

const SLICE_BYTES: usize = 64 << 10;
const FILE_SLICES: usize = 100;
/// Not a whole number of slices.
const FILE_BYTES: usize = SLICE_BYTES * FILE_SLICES - 1_000;
const CONFIG: &str = "[cache]\nobject_bytes_max = 1048576\nslice_bytes = 65536\n\
                      [limits.read]\nper_second = 100000\nburst = 100000\n\
                      [overload]\ndelay_ms_max = 0\n";
/// How many seek to the same place at once.
const SEEKERS: usize = 300;

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_seek_fetches_slices_and_not_the_file),
        check!(who_seek_to_one_place_fetch_it_once),
        check!(slices_are_served_while_the_origin_is_away),
        check!(what_a_route_gives_is_sliced_too),
    ]
}

struct Parts {
    _data: Data,
    edge: Running,
    origin: Running,
    api: Api,
    content: Vec<u8>,
    file: File,
}

async fn start() -> Parts {
    let data = Data::new();
    let origin = Running::origin(&data, 0);
    let config = data.config(CONFIG);
    let config = config.to_str().expect("the path is text");
    let edge = Running::edge(&data, origin.ready("origin"), &["--config", config]);
    let token = data.token("demo", "demo", "read write", "1h");
    let api = Api::new(edge.ready("edge")).with_token(&token);
    let content = random::bytes(FILE_BYTES);
    let kind = "application/octet-stream";
    let file = api.upload("visibility=public&name=a.bin", kind, content.clone()).await;
    Parts { _data: data, edge, origin, api: api.anonymous(), content, file }
}

impl Parts {
    async fn range(&self, range: &str) -> Answer {
        let range = format!("bytes={range}");
        self.api.get_with(&self.file.path(), &[("range", &range)]).await
    }

    #[track_caller]
    fn expect(&self, answer: &Answer, first: usize, last: usize) {
        assert_eq!(answer.status, 206, "{answer:?}");
        assert_eq!(answer.field("content-range"), format!("bytes {first}-{last}/{FILE_BYTES}"));
        assert!(answer.body == self.content[first..=last], "{first}-{last}: other bytes");
    }

    /// Bytes of files, and requests, that the origin has answered.
    async fn origin(&self) -> (u64, u64) {
        let url = self.origin.ready("origin_metrics");
        let bytes = metrics::sum(url, "outport_origin_sent_bytes_total", "").await;
        (bytes, metrics::sum(url, "outport_origin_requests_total", "").await)
    }

    async fn slices(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        metrics::sum(self.edge.ready("edge_metrics"), "outport_edge_slices_total", &label).await
    }
}

async fn a_seek_fetches_slices_and_not_the_file() {
    let parts = start().await;
    let (bytes, requests) = parts.origin().await;
    let at = SLICE_BYTES * 50 + 10;
    parts.expect(&parts.range(&format!("{at}-{}", at + 99)).await, at, at + 99);
    // Its record, and a slice.
    assert_eq!(parts.origin().await, (bytes + SLICE_BYTES as u64, requests + 2));
    // The four beside it that are missing, in one request.
    let last = SLICE_BYTES * 55 - 1;
    parts.expect(&parts.range(&format!("{at}-{last}")).await, at, last);
    assert_eq!(parts.origin().await, (bytes + 5 * SLICE_BYTES as u64, requests + 3));
    parts.expect(&parts.range(&format!("{at}-{last}")).await, at, last);
    assert_eq!(parts.origin().await, (bytes + 5 * SLICE_BYTES as u64, requests + 3));
    assert_eq!((parts.slices("origin").await, parts.slices("cache").await), (2, 9));

    let whole = parts.api.get(&parts.file.path()).await;
    assert_eq!((whole.status, whole.number("content-length")), (200, FILE_BYTES as u64));
    assert!(whole.body == parts.content, "the whole has other bytes");
    let (bytes, requests) = parts.origin().await;
    let several = parts.range("0-9,100000-299999,-5").await;
    assert_eq!(several.status, 206);
    assert!(several.field("content-type").starts_with("multipart/byteranges; boundary="));
    assert_eq!(several.number("content-length"), several.body.len() as u64);
    let middle = &parts.content[100_000..300_000];
    assert!(several.body.windows(middle.len()).any(|window| window == middle));
    assert_eq!(parts.origin().await, (bytes, requests), "all slices are stored by now");
}

async fn who_seek_to_one_place_fetch_it_once() {
    let parts = Arc::new(start().await);
    let (_, requests) = parts.origin().await;
    let (first, last) = (SLICE_BYTES * 30, SLICE_BYTES * 40);
    let seeking = (0..SEEKERS).map(|_| {
        let parts = parts.clone();
        tokio::spawn(async move {
            parts.expect(&parts.range(&format!("{first}-{last}")).await, first, last);
        })
    });
    for seeker in seeking.collect::<Vec<_>>() {
        seeker.await.expect("it is answered");
    }
    // The record; eight slices; three.
    assert_eq!(parts.origin().await.1, requests + 3);
}

async fn slices_are_served_while_the_origin_is_away() {
    let Parts { _data, edge, origin, api, content, file } = start().await;
    let at = SLICE_BYTES * 3;
    let range = |slices: usize| format!("bytes={at}-{}", at + SLICE_BYTES * slices - 1);
    api.get_with(&file.path(), &[("range", &range(2))]).await.expect_status(206);
    origin.kill();
    let there = api.get_with(&file.path(), &[("range", &range(2))]).await;
    assert_eq!(there.status, 206);
    assert!(there.body == content[at..at + 2 * SLICE_BYTES], "other bytes");
    let first = SLICE_BYTES * 20;
    let missing = format!("bytes={first}-{}", first + 9);
    let missing = api.get_with(&file.path(), &[("range", &missing)]).await;
    missing.expect_problem(502, "origin-unreachable");
    // What begins with slices that are there, and goes on with others, breaks off.
    let cut = api.try_send(reqwest::Method::GET, &file.path(), &[("range", &range(4))], "").await;
    assert!(cut.is_err(), "{cut:?}");
    drop(edge);
}

async fn what_a_route_gives_is_sliced_too() {
    // Another edge is the route's server: it gives ranges, and says a strong entity tag.
    let Parts { _data, edge, origin, api, content, file } = start().await;
    let server = api.url(&file.path());
    let data = Data::new();
    let own_origin = Running::origin(&data, 0);
    let route = format!(
        "{CONFIG}[[routes]]\npath = \"/film\"\nproxy = \"{server}\"\nauth = \"none\"\ncache = true\n"
    );
    let config = data.config(&route);
    let config = config.to_str().expect("the path is text");
    let front = Running::edge(&data, own_origin.ready("origin"), &["--config", config]);
    let film = Api::new(front.ready("edge"));
    let range = async |first: usize, last: usize| {
        let answer = film.get_with("/film", &[("range", &format!("bytes={first}-{last}"))]).await;
        assert_eq!(answer.status, 206, "{answer:?}");
        assert_eq!(answer.field("content-range"), format!("bytes {first}-{last}/{FILE_BYTES}"));
        assert!(answer.body == content[first..=last], "{first}-{last}: other bytes");
        own_status(&answer)
    };
    // A player begins with a part, which passes and tells how large all of it is.
    assert!(range(0, 99).await.ends_with("detail=part"));
    let at = SLICE_BYTES * 40 + 7;
    for _ in 0..2 {
        assert_eq!(range(at, at + 3 * SLICE_BYTES).await, "outport; detail=slices");
    }
    let whole = film.get("/film").await;
    assert!(whole.body == content, "other bytes");
    edge.kill();
    origin.kill();
    range(FILE_BYTES - 5_000, FILE_BYTES - 1).await;
    let whole = film.get("/film").await;
    assert!(whole.body == content, "other bytes");
    assert_eq!(own_status(&whole), "outport; detail=slices");
}

/// What the nearest of several caches says: it comes last (RFC 9211, section 2).
fn own_status(answer: &Answer) -> String {
    let mut all = answer.headers.get_all("cache-status").iter();
    let last = all.next_back().expect("a cache has said something");
    last.to_str().expect("it is text").to_owned()
}

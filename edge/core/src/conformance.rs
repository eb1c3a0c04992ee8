//! The contract of each kind of need, as tests that every driver runs.
//!
//! A driver implements [`Subject`] over itself. One that runs natively calls
//! [`conformance_tests!`] in a test module; one that runs inside a platform is built with the
//! suite in it and answers requests with [`answer`].

mod keeping;

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::step::{
    Allowance, Body, ByteRange, Coding, Ended, Extent, Fetch, FetchError, Form, Left, Looked, Need,
    Outcome, Purge, Reply, Store, StoreBody, Taken, Upstream, UpstreamHead,
};

use self::keeping::{
    a_body_that_breaks_off_is_not_kept, what_cant_be_handed_over_stays, what_is_kept_is_read,
    what_is_refused_stays_and_lets_the_others_pass, what_was_handed_over_is_not_kept_any_more,
};
pub use crate::memory::UpstreamAnswer;

/// What the upstream does when it is asked next.
#[derive(Clone, Debug)]
pub enum ScriptedAnswer {
    /// It answers.
    Answer(UpstreamAnswer),
    /// It takes the request and says nothing.
    Silence,
}

/// A driver under test.
#[allow(async_fn_in_trait)] // Nothing here need be `Send`: each test is one task.
pub trait Subject: Sized {
    /// Names an exchange.
    type Ticket: Copy;

    /// The allowance that the limiter is tested with, where it can't be any.
    const ALLOWANCE: Allowance = Allowance { interval_us: 2_000_000, burst: 3 };
    /// Whether the limiter tells what is left.
    const COUNTS: bool = true;
    /// Whether the driver keeps things.
    const KEEPS: bool;
    /// Whether the driver encodes bodies.
    const ENCODES: bool;
    /// Whether the driver purges by tag.
    const PURGES: bool;
    /// Whether the driver stores bodies whose length nobody said before they came.
    const UNANNOUNCED: bool;
    /// How long after it was spent there is something of [`Subject::ALLOWANCE`] again.
    const REFILL_MS: u64 = 2_100;
    /// Tests that can't be held on this platform or its local runtime, and why.
    const LEFT_OUT: &'static [(&'static str, &'static str)] = &[];

    /// A fresh driver whose upstream gives these answers in turn, and can't be reached after. What
    /// it keeps is handed over by [`handover`].
    async fn new(answers: Vec<ScriptedAnswer>) -> Self;
    /// Begins an exchange.
    fn open(&mut self) -> Self::Ticket;
    /// Begins an exchange whose request has this body. Of no use to a driver that keeps nothing.
    fn open_sending(&mut self, _body: Vec<u8>) -> Self::Ticket {
        self.open()
    }
    /// Begins to fulfil a need of it.
    async fn ask(&mut self, ticket: Self::Ticket, need: Need);
    /// The outcome of the need asked last; `None` while there is none and nothing is left to do.
    async fn outcome(&mut self, ticket: Self::Ticket) -> Option<Outcome>;
    /// Ends the exchange. Returns the body that the client gets, and whether it ended whole.
    async fn reply(&mut self, ticket: Self::Ticket, reply: Reply) -> (Vec<u8>, bool);
    /// Sends a reply with which the exchange does not end ([`Step::ReplyFirst`](crate::Step)).
    async fn reply_first(&mut self, ticket: Self::Ticket, reply: Reply) -> (Vec<u8>, bool);
    /// Ends the exchange without a reply, as when the client has gone.
    async fn abandon(&mut self, ticket: Self::Ticket);
    /// Puts a value into the key-value store.
    async fn put_value(&mut self, key: &str, value: &[u8]);
    /// Lets this time pass.
    async fn wait(&mut self, ms: u64);
}

/// Writes one test for each part of every contract, for a driver that runs natively.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:ty) => {
        $crate::conformance_tests!(@list natively $subject);
    };
    (@list $what:ident $($subject:ty)?) => {
        $crate::conformance_tests!(@$what $($subject)?;
            one_leads_and_the_others_wait
            who_waits_is_answered_by_the_leader
            a_leader_that_leaves_is_followed_by_one
            a_leader_that_vanishes_is_followed_by_one
            fresh_is_given_to_all
            stale_is_given_to_all_and_led_by_one
            who_replies_first_leads_on
            ranges_of_what_is_stored
            a_new_head_keeps_the_body
            what_is_purged_is_gone
            what_is_purged_softly_is_stale
            what_is_being_fetched_is_purged_too
            a_form_goes_where_the_body_goes
            a_form_that_saves_nothing_is_tried_once
            a_cut_body_is_never_stored
            a_body_of_unknown_length_is_stored
            a_body_beyond_its_bound_passes_and_is_not_stored
            a_head_that_is_put_is_found_by_who_waits
            the_next_lookup_gives_up_the_one_before
            what_is_forgotten_is_gone
            what_is_forgotten_is_not_brought_back
            values_are_read
            allowances_are_spent
            allowances_refill
            allowances_are_apart
            signatures
            an_upstream_answers
            an_upstream_that_is_not_there
            an_upstream_that_says_nothing
            what_is_kept_is_read
            a_body_that_breaks_off_is_not_kept
            what_cant_be_handed_over_stays
            what_was_handed_over_is_not_kept_any_more
            what_is_refused_stays_and_lets_the_others_pass
        );
    };
    (@natively $subject:ty; $($name:ident)*) => {
        $(#[test] fn $name() {
            let test = $crate::conformance::run::<$subject>(stringify!($name));
            assert!($crate::conformance::block_on(test));
        })*
    };
    (@by_name; $($name:ident)*) => {
        /// The names of the tests.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Runs a test, which panics if the driver breaks the contract. False where there is no
        /// test of that name.
        pub async fn run<S: Subject>(name: &str) -> bool {
            match name {
                $(stringify!($name) => $name::<S>().await,)*
                _ => return false,
            }
            true
        }
    };
}

conformance_tests!(@list by_name);

/// Runs a native subject's test, whose futures never wait.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut test = std::pin::pin!(test);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(done) = test.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::yield_now();
    }
}

/// Answers a request below [`PATH`] in a driver that was built with the suite: status and text.
///
/// `names` lists the tests, each with a tab and the reason where it is left out; a test's name
/// runs it; `panic` panics; `memory` tells the linear memory's size in bytes.
pub async fn answer<S: Subject>(path: &str) -> (u16, String) {
    match path.strip_prefix(PATH).unwrap_or_default() {
        "names" => (200, names::<S>()),
        "memory" => (200, memory_bytes().to_string()),
        "panic" => panic!("somebody asked for it"),
        name if run::<S>(name).await => (204, String::new()),
        _ => (404, "there is no such test".to_owned()),
    }
}

/// Where a driver that was built with the suite has it.
pub const PATH: &str = "/conformance/";

fn names<S: Subject>() -> String {
    let mut text = String::new();
    for name in NAMES {
        let of_keeping = !S::KEEPS && OF_KEEPING.contains(name);
        let reason = S::LEFT_OUT.iter().find(|(left_out, _)| left_out == name);
        let unannounced = !S::UNANNOUNCED && UNANNOUNCED.contains(name);
        let reason = reason.or(of_keeping.then_some(&KEEPS_NOTHING));
        let reason = reason.or(unannounced.then_some(&ANNOUNCED_ONLY));
        let reason = reason.map_or(String::new(), |(_, reason)| format!("\t{reason}"));
        let _ = writeln!(text, "{name}{reason}"); // Writing to a String never fails.
    }
    text
}

fn memory_bytes() -> usize {
    #[cfg(target_family = "wasm")]
    return std::arch::wasm32::memory_size(0) * 65_536;
    #[cfg(not(target_family = "wasm"))]
    0
}

/// The field by which the upstream of a platform under test is told what to answer: a whole
/// response of HTTP/1.1 in hexadecimal, or `silence`.
const SCRIPT_FIELD: &str = "x-script";

/// Makes a fetch of the suite one that the scripted upstream outside answers with the next
/// answer, or one to the first route, where nobody listens, once they are used up.
pub fn scripted(need: Need, answers: &mut VecDeque<ScriptedAnswer>) -> Need {
    let Need::Fetch(mut fetch) = need else { return need };
    match answers.pop_front() {
        None => fetch.upstream = Upstream::Route(0),
        Some(answer) => {
            let script = match answer {
                ScriptedAnswer::Silence => "silence".to_owned(),
                ScriptedAnswer::Answer(answer) => to_hex(&raw_answer(&answer)),
            };
            let field = format!("{SCRIPT_FIELD}: {script}\r\n");
            fetch.head.extend_from_slice(field.as_bytes());
        }
    }
    Need::Fetch(fetch)
}

/// An answer as the bytes of a connection that closes after it.
pub fn raw_answer(answer: &UpstreamAnswer) -> Vec<u8> {
    let mut raw = format!("HTTP/1.1 {} Scripted\r\n", answer.head.status).into_bytes();
    for part in [answer.head.fields.as_slice(), b"connection: close\r\n\r\n", &answer.body] {
        raw.extend_from_slice(part);
    }
    raw
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const KEY: &str = "file 1";

/// What a driver under test hands over what it keeps with, in the core's place.
pub fn handover(_head: &[u8]) -> Fetch {
    Fetch {
        upstream: Upstream::Origin,
        head: b"PUT /files/1 HTTP/1.1\r\n".to_vec(),
        with_body: true,
        timeout_ms: 300,
    }
}

/// The tests of what is kept, which a driver that keeps nothing leaves out.
const OF_KEEPING: &[&str] = &[
    "what_is_kept_is_read",
    "a_body_that_breaks_off_is_not_kept",
    "what_cant_be_handed_over_stays",
    "what_was_handed_over_is_not_kept_any_more",
    "what_is_refused_stays_and_lets_the_others_pass",
];
const KEEPS_NOTHING: (&str, &str) = ("", "nothing is kept: the platform promises no durability");

/// The tests of bodies whose length nobody said, which a driver that stores none leaves out.
const UNANNOUNCED: &[&str] =
    &["a_body_of_unknown_length_is_stored", "a_body_beyond_its_bound_passes_and_is_not_stored"];
const ANNOUNCED_ONLY: (&str, &str) = ("", "only what announces its length is stored, so far");

/// Of several lookups of a vacant key, one is told so and the others wait.
async fn one_leads_and_the_others_wait<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let first = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, first).await, Some(Looked::Vacant));
    let second = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, second).await, None);
    let elsewhere = look(&mut subject, "file 2").await;
    assert_eq!(looked(&mut subject, elsewhere).await, Some(Looked::Vacant));
}

/// What the leader stores is what those who waited get, head and body.
async fn who_waits_is_answered_by_the_leader<S: Subject>() {
    let mut subject = S::new(vec![answering(b"hello")]).await;
    let leader = look(&mut subject, KEY).await;
    let waiters = [look(&mut subject, KEY).await, look(&mut subject, KEY).await];
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    fill(&mut subject, leader, 5).await;
    for waiter in waiters {
        let found = found(b"head", true, false, true);
        assert_eq!(looked(&mut subject, waiter).await, Some(found));
        assert_eq!(subject.reply(waiter, stored(None)).await, (b"hello".to_vec(), true));
    }
}

/// When the leader ends without storing, one of those who wait leads.
async fn a_leader_that_leaves_is_followed_by_one<S: Subject>() {
    followed::<S>(false).await;
}

/// The same when the leader's client is gone.
async fn a_leader_that_vanishes_is_followed_by_one<S: Subject>() {
    followed::<S>(true).await;
}

async fn followed<S: Subject>(vanishes: bool) {
    let mut subject = S::new(vec![]).await;
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    let waiters = [look(&mut subject, KEY).await, look(&mut subject, KEY).await];
    if vanishes {
        subject.abandon(leader).await;
    } else {
        subject.reply(leader, with(Body::Empty, None)).await;
    }
    let mut leading = 0;
    for waiter in waiters {
        match looked(&mut subject, waiter).await {
            Some(Looked::Vacant) => leading += 1,
            None => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(leading, 1);
}

/// A fresh response is given to everybody, and nobody renews it.
async fn fresh_is_given_to_all<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, KEY, b"head", 60_000).await;
    for _ in 0..2 {
        let reader = look(&mut subject, KEY).await;
        assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
    }
}

/// A stale response is given to everybody at once; one of them renews it.
async fn stale_is_given_to_all_and_led_by_one<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, KEY, b"head", 0).await;
    let first = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, first).await, Some(found(b"head", false, true, false)));
    let second = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, second).await, Some(found(b"head", false, false, false)));
    subject.abandon(first).await;
    let third = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, third).await, Some(found(b"head", false, true, false)));
}

/// Who replies first goes on with what it holds: nobody else leads meanwhile, and what it fetches
/// then is stored.
async fn who_replies_first_leads_on<S: Subject>() {
    let mut subject = S::new(vec![answering(b"older"), answering(b"newer")]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    fill_for(&mut subject, leader, 5, 0).await;
    let renewer = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, renewer).await, Some(found(b"head", true, true, false)));
    assert_eq!(subject.reply_first(renewer, stored(None)).await, (b"older".to_vec(), true));
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
    subject.abandon(reader).await;
    subject.ask(renewer, fetch()).await;
    assert!(matches!(subject.outcome(renewer).await, Some(Outcome::Fetched(Ok(_)))));
    let store = store(KEY, b"newer", StoreBody::Upstream(Extent::Exactly(5)), 60_000);
    subject.reply(renewer, with(Body::Empty, Some(store))).await;
    let reader = look(&mut subject, KEY).await;
    match looked(&mut subject, reader).await {
        Some(Looked::Found { head, body: true, lead: false, .. }) => assert_eq!(head, b"newer"),
        other => panic!("{other:?}"),
    }
    assert_eq!(subject.reply(reader, stored(None)).await, (b"newer".to_vec(), true));
}

/// A range of a stored body, and all of it.
async fn ranges_of_what_is_stored<S: Subject>() {
    let mut subject = S::new(vec![answering(b"0123456789")]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    fill(&mut subject, leader, 10).await;
    for (first, last) in [(0, 0), (3, 5), (9, 9), (0, 9)] {
        let reader = look(&mut subject, KEY).await;
        looked(&mut subject, reader).await;
        let range = ByteRange { first, last };
        let expected: Vec<u8> = (first..=last).map(|digit| b'0' + digit as u8).collect();
        assert_eq!(subject.reply(reader, stored(Some(range))).await, (expected, true));
    }
}

/// A renewed head goes with the body that is there.
async fn a_new_head_keeps_the_body<S: Subject>() {
    let mut subject = S::new(vec![answering(b"hello")]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    fill(&mut subject, leader, 5).await;
    let renewer = look(&mut subject, KEY).await;
    looked(&mut subject, renewer).await;
    let store = store(KEY, b"newer", StoreBody::Keep, 60_000);
    assert_eq!(
        subject.reply(renewer, with(Body::Stored(None), Some(store))).await,
        (b"hello".to_vec(), true)
    );
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"newer", true, false, false)));
    assert_eq!(subject.reply(reader, stored(None)).await, (b"hello".to_vec(), true));
}

/// What has a tag that is purged is found no more; all else is.
async fn what_is_purged_is_gone<S: Subject>() {
    if !S::PURGES {
        return;
    }
    let mut subject = S::new(vec![]).await;
    put_tagged(&mut subject, KEY, &["a", "b"]).await;
    put_tagged(&mut subject, "other", &["c"]).await;
    purge(&mut subject, "b", false).await;
    let reader = look(&mut subject, "other").await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
    put_tagged(&mut subject, KEY, &["a", "b"]).await;
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
}

/// What is purged softly is stale until it is renewed, and led by one.
async fn what_is_purged_softly_is_stale<S: Subject>() {
    if !S::PURGES {
        return;
    }
    let mut subject = S::new(vec![]).await;
    put_tagged(&mut subject, KEY, &["a"]).await;
    purge(&mut subject, "a", true).await;
    let purged = |lead| match found(b"head", false, lead, false) {
        Looked::Found { head, body, forms, lead, collapsed, .. } => {
            Some(Looked::Found { head, body, forms, purged: true, lead, collapsed })
        }
        vacant => Some(vacant),
    };
    let first = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, first).await, purged(true));
    let second = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, second).await, purged(false));
    let store = tagged(KEY, StoreBody::Keep, &["a"]);
    subject.reply(first, with(Body::Empty, Some(store))).await;
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
    purge(&mut subject, "a", false).await;
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(Looked::Vacant));
}

/// Who looked before a purge stores nothing that is found after it.
async fn what_is_being_fetched_is_purged_too<S: Subject>() {
    if !S::PURGES {
        return;
    }
    let mut subject = S::new(vec![answering(b"hello")]).await;
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    let waiter = look(&mut subject, KEY).await;
    purge(&mut subject, "a", false).await;
    subject.ask(leader, fetch()).await;
    assert!(matches!(subject.outcome(leader).await, Some(Outcome::Fetched(Ok(_)))));
    let store = tagged(KEY, StoreBody::Upstream(Extent::Exactly(5)), &["a"]);
    let sent = subject.reply(leader, with(Body::Stored(None), Some(store))).await;
    assert_eq!(sent, (b"hello".to_vec(), true), "whoever asked before has it");
    assert_eq!(looked(&mut subject, waiter).await, Some(Looked::Vacant));
}

/// A form of a body is told of once it was made, stays with a new head, and goes with the body.
async fn a_form_goes_where_the_body_goes<S: Subject>() {
    if !S::ENCODES {
        return;
    }
    let text = [b'a'; 2_000];
    let mut subject = S::new(vec![answering(&text), answering(b"hello")]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    fill_for(&mut subject, leader, 2_000, 0).await;
    let (first, second) = (look(&mut subject, KEY).await, look(&mut subject, KEY).await);
    for ticket in [first, second] {
        assert_eq!(forms(&mut subject, ticket).await, []);
    }
    for ticket in [first, second] {
        subject.ask(ticket, Need::Encode { coding: Coding::Brotli }).await;
        assert_eq!(subject.outcome(ticket).await, Some(Outcome::Encoded(true)));
    }
    subject.abandon(second).await;
    // It was made for what this one leads the renewal of, which is stored all the same.
    let store = store(KEY, b"newer", StoreBody::Keep, 0);
    subject.reply(first, with(Body::Empty, Some(store))).await;
    let reader = look(&mut subject, KEY).await;
    let told = forms(&mut subject, reader).await;
    let [Form { coding: Coding::Brotli, bytes: Some(bytes) }] = told[..] else {
        panic!("{told:?}")
    };
    let (form, whole) = subject.reply(reader, with(Body::Coded(Coding::Brotli), None)).await;
    assert!(whole && form.len() as u64 == bytes && bytes < 1_000, "{bytes}");
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    fill_for(&mut subject, leader, 5, 60_000).await;
    let reader = look(&mut subject, KEY).await;
    assert_eq!(forms(&mut subject, reader).await, []);
}

/// What can't be made smaller is told of as tried, and is not stored; while it is sent it is encoded
/// all the same.
async fn a_form_that_saves_nothing_is_tried_once<S: Subject>() {
    if !S::ENCODES {
        return;
    }
    let noise: Vec<u8> = (0..1_000u32).map(|place| (place * place / 7 % 251) as u8).collect();
    let mut subject = S::new(vec![answering(&noise)]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    fill(&mut subject, leader, 1_000).await;
    let first = look(&mut subject, KEY).await;
    looked(&mut subject, first).await;
    subject.ask(first, Need::Encode { coding: Coding::Gzip }).await;
    assert_eq!(subject.outcome(first).await, Some(Outcome::Encoded(true)));
    let (sent, whole) = subject.reply(first, with(Body::Encoding(Coding::Gzip), None)).await;
    assert!(whole && !sent.is_empty() && sent != noise);
    let reader = look(&mut subject, KEY).await;
    let tried = Form { coding: Coding::Gzip, bytes: None };
    assert_eq!(forms(&mut subject, reader).await, [tried]);
}

/// A body that ends before its length is not whole, and is not there afterwards.
async fn a_cut_body_is_never_stored<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead { status: 200, fields: b"content-length: 10\r\n".to_vec() },
        body: b"hello".to_vec(),
    })])
    .await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    subject.ask(leader, fetch()).await;
    subject.outcome(leader).await;
    let store = store(KEY, b"head", StoreBody::Upstream(Extent::Exactly(10)), 60_000);
    let (_, whole) = subject.reply(leader, with(Body::Stored(None), Some(store))).await;
    assert!(!whole);
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// A body whose length nobody says is stored, whole, once it has ended.
async fn a_body_of_unknown_length_is_stored<S: Subject>() {
    let mut subject = S::new(vec![unannounced(b"hello")]).await;
    assert_eq!(filled(&mut subject, Extent::AtMost(5)).await, (b"hello".to_vec(), true));
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
    assert_eq!(subject.reply(reader, stored(None)).await, (b"hello".to_vec(), true));
}

/// One that turns out to be too long for the cache is delivered all the same.
async fn a_body_beyond_its_bound_passes_and_is_not_stored<S: Subject>() {
    let mut subject = S::new(vec![unannounced(b"hello")]).await;
    assert_eq!(filled(&mut subject, Extent::AtMost(4)).await, (b"hello".to_vec(), true));
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// A head that is put ends the lead: who waits is given it.
async fn a_head_that_is_put_is_found_by_who_waits<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    let waiter = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, waiter).await, None);
    let put = Need::Put { key: KEY.into(), head: b"index".to_vec(), fresh_ms: 60_000 };
    subject.ask(leader, put).await;
    assert_eq!(subject.outcome(leader).await, Some(Outcome::Put));
    assert_eq!(looked(&mut subject, waiter).await, Some(found(b"index", false, false, true)));
}

/// Who looks another key up leads the one before no more.
async fn the_next_lookup_gives_up_the_one_before<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let first = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, first).await, Some(Looked::Vacant));
    let waiter = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, waiter).await, None);
    subject.ask(first, Need::Lookup { key: "another".into() }).await;
    assert_eq!(looked(&mut subject, first).await, Some(Looked::Vacant));
    assert_eq!(looked(&mut subject, waiter).await, Some(Looked::Vacant));
    let late = store("another", b"head", StoreBody::None, 60_000);
    subject.reply(first, with(Body::Empty, Some(late))).await;
    let reader = look(&mut subject, "another").await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
}

/// An answer whose body ends when it ends.
fn unannounced(body: &[u8]) -> ScriptedAnswer {
    let head = UpstreamHead { status: 200, fields: b"content-type: text/plain\r\n".to_vec() };
    ScriptedAnswer::Answer(UpstreamAnswer { head, body: body.to_vec() })
}

/// Leads, asks the upstream and stores what it sends.
async fn filled<S: Subject>(subject: &mut S, extent: Extent) -> (Vec<u8>, bool) {
    let leader = look(subject, KEY).await;
    looked(subject, leader).await;
    subject.ask(leader, fetch()).await;
    subject.outcome(leader).await;
    let store = store(KEY, b"head", StoreBody::Upstream(extent), 60_000);
    subject.reply(leader, with(Body::Stored(None), Some(store))).await
}

/// What is forgotten is not found by who looks later.
async fn what_is_forgotten_is_gone<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, KEY, b"head", 60_000).await;
    forget(&mut subject, KEY).await;
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// Who began before something was forgotten does not bring it back.
async fn what_is_forgotten_is_not_brought_back<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    forget(&mut subject, KEY).await;
    let late = store(KEY, b"old", StoreBody::None, 60_000);
    subject.reply(leader, with(Body::Empty, Some(late))).await;
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// A value is read as it was written; what is not there is absent.
async fn values_are_read<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    subject.put_value("page", b"<html>").await;
    let reader = subject.open();
    subject.ask(reader, Need::Value { key: "page".into() }).await;
    assert_eq!(subject.outcome(reader).await, Some(Outcome::Value(Some(6))));
    assert_eq!(subject.reply(reader, with(Body::Value, None)).await, (b"<html>".to_vec(), true));
    let reader = subject.open();
    subject.ask(reader, Need::Value { key: "none".into() }).await;
    assert_eq!(subject.outcome(reader).await, Some(Outcome::Value(None)));
}

/// A burst can be taken at once, and no more.
async fn allowances_are_spent<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let Allowance { interval_us, burst } = S::ALLOWANCE;
    for remaining in (0..burst).rev() {
        let taken = take(&mut subject, "test a", S::ALLOWANCE).await;
        assert!(taken.allowed, "{taken:?}");
        assert_eq!(taken.left.map(|left| left.remaining), S::COUNTS.then_some(remaining));
    }
    let refused = take(&mut subject, "test a", S::ALLOWANCE).await;
    assert!(!refused.allowed && refused.left.is_some() == S::COUNTS, "{refused:?}");
    if let Some(Left { remaining, retry_us, .. }) = refused.left {
        assert!(remaining == 0 && (1..=interval_us).contains(&retry_us), "{refused:?}");
    }
}

/// What was taken comes back with time.
async fn allowances_refill<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    spend(&mut subject, "test a").await;
    subject.wait(S::REFILL_MS).await;
    assert!(take(&mut subject, "test a", S::ALLOWANCE).await.allowed);
}

/// One taker's allowance is not another's.
async fn allowances_are_apart<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    spend(&mut subject, "test a").await;
    assert!(take(&mut subject, "test b", S::ALLOWANCE).await.allowed);
}

/// RFC 8032, section 7.1, test 2; and what is not signed by the key.
async fn signatures<S: Subject>() {
    let signature = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    let mut subject = S::new(vec![]).await;
    for (message, signature, right) in
        [(&[0x72], &signature[..], true), (&[0x73], &signature, false), (&[0x72], &[], false)]
    {
        let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let key: [u8; 32] = key.try_into().unwrap_or([0; 32]);
        let (message, signature) = (message.to_vec(), signature.to_vec());
        let ticket = subject.open();
        subject.ask(ticket, Need::Verify { key, message, signature }).await;
        assert_eq!(subject.outcome(ticket).await, Some(Outcome::Verified(right)));
    }
}

/// Head and body of an upstream's answer arrive as they were sent.
async fn an_upstream_answers<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead {
            status: 404,
            fields: b"x-test: a, b\r\ncontent-length: 5\r\n".to_vec(),
        },
        body: b"hello".to_vec(),
    })])
    .await;
    let ticket = subject.open();
    subject.ask(ticket, fetch()).await;
    let Some(Outcome::Fetched(Ok(head))) = subject.outcome(ticket).await else {
        panic!("no answer")
    };
    assert_eq!(head.status, 404);
    let fields = crate::head::FieldLines::new(&head.fields);
    assert_eq!(fields.get("x-test"), Some("a, b"));
    assert_eq!(fields.get("content-length"), Some("5"));
    assert_eq!(subject.reply(ticket, with(Body::Upstream, None)).await, (b"hello".to_vec(), true));
}

/// No connection, no answer, and it is said so.
async fn an_upstream_that_is_not_there<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let ticket = subject.open();
    subject.ask(ticket, fetch()).await;
    let outcome = subject.outcome(ticket).await;
    assert_eq!(outcome, Some(Outcome::Fetched(Err(FetchError::Unreachable))));
}

/// An upstream is waited for no longer than allowed.
async fn an_upstream_that_says_nothing<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Silence]).await;
    let ticket = subject.open();
    subject.ask(ticket, fetch()).await;
    let outcome = subject.outcome(ticket).await;
    assert_eq!(outcome, Some(Outcome::Fetched(Err(FetchError::Timeout))));
}

async fn look<S: Subject>(subject: &mut S, key: &str) -> S::Ticket {
    let ticket = subject.open();
    subject.ask(ticket, Need::Lookup { key: key.to_owned() }).await;
    ticket
}

async fn looked<S: Subject>(subject: &mut S, ticket: S::Ticket) -> Option<Looked> {
    match subject.outcome(ticket).await {
        None => None,
        Some(Outcome::Looked(looked)) => Some(looked),
        Some(other) => panic!("{other:?}"),
    }
}

/// The forms that a lookup tells of.
async fn forms<S: Subject>(subject: &mut S, ticket: S::Ticket) -> Vec<Form> {
    match looked(subject, ticket).await {
        Some(Looked::Found { forms, .. }) => forms,
        other => panic!("{other:?}"),
    }
}

async fn take<S: Subject>(subject: &mut S, key: &str, allowance: Allowance) -> Taken {
    let ticket = subject.open();
    subject.ask(ticket, Need::Take { key: key.to_owned(), allowance }).await;
    match subject.outcome(ticket).await {
        Some(Outcome::Taken(taken)) => taken,
        other => panic!("{other:?}"),
    }
}

/// Takes all of an allowance, and is refused one more.
async fn spend<S: Subject>(subject: &mut S, key: &str) {
    for _ in 0..S::ALLOWANCE.burst {
        assert!(take(subject, key, S::ALLOWANCE).await.allowed);
    }
    assert!(!take(subject, key, S::ALLOWANCE).await.allowed);
}

/// Stores a head without a body.
async fn put<S: Subject>(subject: &mut S, key: &str, head: &[u8], fresh_ms: u64) {
    let leader = look(subject, key).await;
    assert_eq!(looked(subject, leader).await, Some(Looked::Vacant));
    let store = store(key, head, StoreBody::None, fresh_ms);
    subject.reply(leader, with(Body::Empty, Some(store))).await;
}

/// Stores a head under these tags at a vacant key.
async fn put_tagged<S: Subject>(subject: &mut S, key: &str, tags: &[&str]) {
    let leader = look(subject, key).await;
    assert_eq!(looked(subject, leader).await, Some(Looked::Vacant));
    let store = tagged(key, StoreBody::None, tags);
    subject.reply(leader, with(Body::Empty, Some(store))).await;
}

async fn purge<S: Subject>(subject: &mut S, tag: &str, soft: bool) {
    let ticket = subject.open();
    let purge = vec![Purge { tag: tag.to_owned(), soft }];
    subject.reply(ticket, Reply { purge, ..with(Body::Empty, None) }).await;
}

/// Lets a leader fetch, store and read the whole body.
async fn fill<S: Subject>(subject: &mut S, leader: S::Ticket, length: u64) {
    fill_for(subject, leader, length, 60_000).await;
}

async fn fill_for<S: Subject>(subject: &mut S, leader: S::Ticket, length: u64, fresh_ms: u64) {
    subject.ask(leader, fetch()).await;
    assert!(matches!(subject.outcome(leader).await, Some(Outcome::Fetched(Ok(_)))));
    let store = store(KEY, b"head", StoreBody::Upstream(Extent::Exactly(length)), fresh_ms);
    let (body, whole) = subject.reply(leader, with(Body::Stored(None), Some(store))).await;
    assert!(whole && body.len() as u64 == length);
}

async fn forget<S: Subject>(subject: &mut S, key: &str) {
    let ticket = subject.open();
    subject.reply(ticket, Reply { forget: vec![key.to_owned()], ..with(Body::Empty, None) }).await;
}

fn fetch() -> Need {
    Need::Fetch(Fetch {
        upstream: Upstream::Origin,
        head: b"GET /files/1 HTTP/1.1\r\n".to_vec(),
        with_body: false,
        timeout_ms: 300,
    })
}

fn answering(body: &[u8]) -> ScriptedAnswer {
    let fields = format!("content-length: {}\r\n", body.len()).into_bytes();
    ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead { status: 200, fields },
        body: body.to_vec(),
    })
}

fn found(head: &[u8], body: bool, lead: bool, collapsed: bool) -> Looked {
    Looked::Found { head: head.to_vec(), body, forms: Vec::new(), purged: false, lead, collapsed }
}

fn store(key: &str, head: &[u8], body: StoreBody, fresh_ms: u64) -> Store {
    Store { key: key.to_owned(), head: head.to_vec(), body, fresh_ms, tags: Vec::new() }
}

fn tagged(key: &str, body: StoreBody, tags: &[&str]) -> Store {
    let tags = tags.iter().map(ToString::to_string).collect();
    Store { tags, ..store(key, b"head", body, 60_000) }
}

fn stored(range: Option<ByteRange>) -> Reply {
    with(Body::Stored(range), None)
}

fn with(body: Body, store: Option<Store>) -> Reply {
    Reply {
        status: 200,
        fields: Vec::new(),
        body,
        forget: Vec::new(),
        purge: Vec::new(),
        store,
        ended: Ended::Edge,
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

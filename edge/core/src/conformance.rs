//! The contract of each kind of need, as tests that every driver runs.
//!
//! A driver implements [`Subject`] over itself. One that runs natively calls
//! [`conformance_tests!`] in a test module; one that runs inside a platform is built with the
//! suite in it and answers requests with [`answer`].

mod caching;
mod composing;
mod dictionaries;
mod keeping;
mod signed;

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::step::{
    Abilities, Allowance, Body, Ended, Fetch, FetchError, Left, Matched, Need, Outcome, Reply,
    Share, Shared, Store, Taken, Upstream, UpstreamHead, Wider,
};

use self::caching::{
    a_body_beyond_its_bound_passes_and_is_not_stored, a_body_of_unknown_length_is_stored,
    a_cut_body_is_never_stored, a_form_goes_where_the_body_goes,
    a_form_that_saves_nothing_is_tried_once, a_head_is_put_over_a_fresh_one,
    a_head_that_is_put_is_found_by_who_waits, a_leader_that_leaves_is_followed_by_one,
    a_leader_that_vanishes_is_followed_by_one, a_new_head_keeps_the_body, fresh_is_given_to_all,
    one_leads_and_the_others_wait, ranges_of_what_is_stored, stale_is_given_to_all_and_led_by_one,
    the_next_lookup_gives_up_the_one_before, what_comes_after_a_purge_is_stored,
    what_is_being_fetched_is_purged_too, what_is_forgotten_is_gone,
    what_is_forgotten_is_not_brought_back, what_is_purged_is_gone, what_is_purged_softly_is_stale,
    who_replies_first_leads_on, who_waits_is_answered_by_the_leader,
};
use self::composing::{
    a_body_of_several_parts, a_cut_leaves_the_slices_that_are_whole,
    slices_are_stored_each_by_itself, what_is_read_before_it_is_sent, what_is_vacant_is_claimed,
};
use self::dictionaries::{
    a_dictionary_goes_where_its_body_goes, a_dictionary_is_found_by_its_digest,
    what_is_encoded_against_a_dictionary_is_small, what_is_too_large_is_no_dictionary,
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
    /// What the driver can do beyond the needs that every driver meets.
    const ABILITIES: Abilities;
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
    /// The base URL of its upstream. Of no use to a driver that fetches no documents.
    fn upstream(&self) -> String {
        String::new()
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
            what_comes_after_a_purge_is_stored
            a_form_goes_where_the_body_goes
            a_form_that_saves_nothing_is_tried_once
            a_dictionary_is_found_by_its_digest
            what_is_encoded_against_a_dictionary_is_small
            a_dictionary_goes_where_its_body_goes
            what_is_too_large_is_no_dictionary
            a_cut_body_is_never_stored
            a_body_of_unknown_length_is_stored
            a_body_beyond_its_bound_passes_and_is_not_stored
            a_head_that_is_put_is_found_by_who_waits
            a_head_is_put_over_a_fresh_one
            the_next_lookup_gives_up_the_one_before
            what_is_forgotten_is_gone
            what_is_forgotten_is_not_brought_back
            a_body_of_several_parts
            what_is_vacant_is_claimed
            slices_are_stored_each_by_itself
            a_cut_leaves_the_slices_that_are_whole
            what_is_read_before_it_is_sent
            a_document_from_elsewhere
            values_are_read
            allowances_are_spent
            allowances_refill
            allowances_are_apart
            an_allowance_is_shared_with_others
            no_more_are_under_way_than_may_be
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
        let left_out = S::LEFT_OUT.iter().find(|(left_out, _)| left_out == name);
        let beyond = BEYOND
            .iter()
            .find(|beyond| !(beyond.declared)(&S::ABILITIES) && beyond.tests.contains(name));
        let reason = left_out.map(|(_, why)| *why).or(beyond.map(|beyond| beyond.why));
        let reason = reason.map_or(String::new(), |reason| format!("\t{reason}"));
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
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1/";

/// Makes what the suite fetches something that the scripted upstream outside answers with the next
/// answer, or something of the first route, where nobody listens, once they are used up.
pub fn scripted(mut need: Need, answers: &mut VecDeque<ScriptedAnswer>) -> Need {
    if !matches!(need, Need::Fetch(_) | Need::Document { .. }) {
        return need;
    }
    let script = answers.pop_front().map(|answer| match answer {
        ScriptedAnswer::Silence => "silence".to_owned(),
        ScriptedAnswer::Answer(answer) => to_hex(&raw_answer(&answer)),
    });
    match (&mut need, script) {
        (Need::Fetch(fetch), None) => fetch.upstream = Upstream::Route(0),
        (Need::Fetch(fetch), Some(script)) => {
            let field = format!("{SCRIPT_FIELD}: {script}\r\n");
            fetch.head.extend_from_slice(field.as_bytes());
        }
        (Need::Document { url, .. }, None) => NOBODY.clone_into(url),
        // The driver says by itself what fields it is asked for with.
        (Need::Document { url, .. }, Some(script)) => {
            url.push_str(&format!("?{SCRIPT_FIELD}={script}"));
        }
        _ => {}
    }
    need
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

/// What a driver under test hands over what it keeps with, in the core's place.
pub fn handover(_head: &[u8]) -> Fetch {
    Fetch {
        upstream: Upstream::Origin,
        head: b"PUT /files/1 HTTP/1.1\r\n".to_vec(),
        with_body: true,
        timeout_ms: 300,
    }
}

/// Tests of what not every driver can do.
struct Beyond {
    declared: fn(&Abilities) -> bool,
    tests: &'static [&'static str],
    /// Why they are left out where it is not declared.
    why: &'static str,
}

const BEYOND: &[Beyond] = &[
    Beyond {
        declared: |abilities| abilities.durable.is_some(),
        tests: &[
            "what_is_kept_is_read",
            "a_body_that_breaks_off_is_not_kept",
            "what_cant_be_handed_over_stays",
            "what_was_handed_over_is_not_kept_any_more",
            "what_is_refused_stays_and_lets_the_others_pass",
        ],
        why: "nothing is kept: the platform promises no durability",
    },
    Beyond {
        declared: |abilities| abilities.signatures,
        tests: &["signatures"],
        why: "the driver declares none: the core checks them by itself",
    },
    Beyond {
        declared: |abilities| abilities.unannounced,
        tests: &[
            "a_body_of_unknown_length_is_stored",
            "a_body_beyond_its_bound_passes_and_is_not_stored",
        ],
        why: "only what announces its length is stored, so far",
    },
    Beyond {
        declared: |abilities| abilities.encodes,
        tests: &["a_form_goes_where_the_body_goes", "a_form_that_saves_nothing_is_tried_once"],
        why: "the driver encodes nothing: it is the platform's to do, or nobody's",
    },
    Beyond {
        declared: |abilities| abilities.dictionaries,
        tests: &[
            "a_dictionary_is_found_by_its_digest",
            "what_is_encoded_against_a_dictionary_is_small",
            "a_dictionary_goes_where_its_body_goes",
            "what_is_too_large_is_no_dictionary",
        ],
        why: "nothing is encoded against dictionaries, so far",
    },
    Beyond {
        declared: |abilities| abilities.purges,
        tests: &[
            "what_is_purged_is_gone",
            "what_is_purged_softly_is_stale",
            "what_is_being_fetched_is_purged_too",
            "what_comes_after_a_purge_is_stored",
        ],
        why: "nothing can be purged by tag, so far",
    },
    Beyond {
        declared: |abilities| abilities.escalates,
        tests: &["an_allowance_is_shared_with_others"],
        why: "a limit has one allowance a taker, so far: networks are counted each by itself",
    },
    Beyond {
        declared: |abilities| abilities.shares,
        tests: &["no_more_are_under_way_than_may_be"],
        why: "what a taker has under way is not counted",
    },
    Beyond {
        declared: |abilities| abilities.composes,
        tests: &["a_body_of_several_parts"],
        why: "no body has several parts, so far: who asks for several ranges is sent the whole",
    },
    Beyond {
        declared: |abilities| abilities.slices,
        tests: &[
            "what_is_vacant_is_claimed",
            "slices_are_stored_each_by_itself",
            "a_cut_leaves_the_slices_that_are_whole",
        ],
        why: "nothing is cut into slices, so far: large files pass",
    },
    Beyond {
        declared: |abilities| abilities.documents,
        tests: &["a_document_from_elsewhere"],
        why: "nothing is fetched from elsewhere: issuers' keys are in the configuration",
    },
    Beyond {
        declared: |abilities| abilities.fragments,
        tests: &["what_is_read_before_it_is_sent"],
        why: "no body is made of other exchanges' replies, so far: templates pass",
    },
];

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

/// Who takes from an own allowance takes from a wider one, and whoever has spent the own does not.
async fn an_allowance_is_shared_with_others<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let twice = Allowance { burst: S::ALLOWANCE.burst * 2, ..S::ALLOWANCE };
    let mut take = async |taker: &str| {
        let wider = vec![Wider { key: "test wide".to_owned(), allowance: twice }];
        let key = format!("test {taker}");
        take_need(&mut subject, Need::Take { key, allowance: S::ALLOWANCE, wider }).await.allowed
    };
    for taker in ["a", "b"] {
        for _ in 0..S::ALLOWANCE.burst {
            assert!(take(taker).await, "{taker}");
        }
        assert!(!take(taker).await);
    }
    assert!(!take("c").await);
}

/// What is signed by a key, and what is not.
async fn signatures<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    for signed in signed::ALL {
        let key = signed.key();
        let (message, signature) = (signed.message.as_bytes(), signed.signature());
        let mut changed = signature.clone();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        for (key, message, signature, right) in [
            (&key, message, &signature[..], true),
            (&key, b"another", &signature, false),
            (&key, message, &changed, false),
            (&key, message, &[], false),
            (&key, message, &[0; 64], false),
            (&signed::no_key(&key), message, &signature, false),
        ] {
            let (key, message) = (key.clone(), message.to_vec());
            let ticket = subject.open();
            let signature = signature.to_vec();
            subject.ask(ticket, Need::Verify { key, message, signature }).await;
            let outcome = subject.outcome(ticket).await;
            assert_eq!(outcome, Some(Outcome::Verified(right)), "{}", signed.name);
        }
    }
}

/// An exchange counts among its taker's until it has ended, with a reply or without.
async fn no_more_are_under_way_than_may_be<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let share = Share { at_once: Some(2), bytes_per_s: Some(1 << 30), bytes: None };
    let mut under_way = Vec::new();
    for (taker, expected) in [("a", true), ("a", true), ("a", false), ("b", true)] {
        let ticket = subject.open();
        assert_eq!(shared(&mut subject, ticket, taker, share).await, expected, "{taker}");
        under_way.push(ticket);
    }
    let without_end = Share { at_once: None, ..share };
    for _ in 0..5 {
        let ticket = subject.open();
        assert!(shared(&mut subject, ticket, "c", without_end).await);
        under_way.push(ticket);
    }
    // Whoever was refused has nothing to give back.
    for (place, expected) in [(2, false), (0, true), (1, true)] {
        let Some(ended) = under_way.get(place).copied() else { panic!("it was opened") };
        if place == 0 {
            subject.reply(ended, with(Body::Bytes(b"hello".to_vec()), None)).await;
        } else {
            subject.abandon(ended).await;
        }
        let ticket = subject.open();
        assert_eq!(shared(&mut subject, ticket, "a", share).await, expected, "after {place}");
        under_way.push(ticket);
    }
    let ticket = subject.open();
    assert!(!shared(&mut subject, ticket, "a", share).await);
}

async fn shared<S: Subject>(subject: &mut S, ticket: S::Ticket, taker: &str, share: Share) -> bool {
    subject.ask(ticket, Need::Share { key: format!("test {taker}"), share }).await;
    match subject.outcome(ticket).await {
        Some(Outcome::Shared(shared)) => shared == Shared::Counts,
        other => panic!("{other:?}"),
    }
}

/// A document comes whole, with status 200 and within its bound, or not at all.
async fn a_document_from_elsewhere<S: Subject>() {
    let answer = |status, length: &str, body: &[u8]| {
        let fields = format!("content-length: {length}\r\nlocation: /elsewhere\r\n").into_bytes();
        ScriptedAnswer::Answer(UpstreamAnswer {
            head: UpstreamHead { status, fields },
            body: body.to_vec(),
        })
    };
    let mut subject = S::new(vec![
        answer(200, "5", b"hello"),
        answer(200, "6", b"hello!"),
        answer(302, "5", b"hello"),
        answer(404, "5", b"hello"),
        answer(200, "5", b"hell"),
    ])
    .await;
    let url = format!("{}/document", subject.upstream());
    for expected in [Some(b"hello".to_vec()), None, None, None, None, None] {
        let ticket = subject.open();
        let need = Need::Document { url: url.clone(), bytes_max: 5, timeout_ms: 2000 };
        subject.ask(ticket, need).await;
        assert_eq!(subject.outcome(ticket).await, Some(Outcome::Document(expected)));
        subject.abandon(ticket).await;
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

async fn take<S: Subject>(subject: &mut S, key: &str, allowance: Allowance) -> Taken {
    take_need(subject, Need::Take { key: key.to_owned(), allowance, wider: Vec::new() }).await
}

async fn take_need<S: Subject>(subject: &mut S, need: Need) -> Taken {
    let ticket = subject.open();
    subject.ask(ticket, need).await;
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

fn with(body: Body, store: Option<Store>) -> Reply {
    Reply {
        status: 200,
        fields: Vec::new(),
        body,
        forget: Vec::new(),
        purge: Vec::new(),
        store,
        prefetch: Vec::new(),
        matched: Matched::default(),
        caller_known: false,
        ended: Ended::Edge,
    }
}

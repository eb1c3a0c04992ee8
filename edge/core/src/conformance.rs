//! The contract of each kind of need, as tests that every driver runs.
//!
//! A driver implements [`Subject`] over itself and calls [`conformance_tests!`] in a test module.

use crate::step::{
    Allowance, Body, ByteRange, Ended, Fetch, FetchError, Looked, Need, Outcome, Reply, Store,
    StoreBody, Taken, Upstream, UpstreamHead,
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
pub trait Subject {
    /// Names an exchange.
    type Ticket: Copy;

    /// A fresh driver whose upstream gives these answers in turn, and can't be reached after.
    fn new(answers: Vec<ScriptedAnswer>) -> Self;
    /// Begins an exchange.
    fn open(&mut self) -> Self::Ticket;
    /// Begins to fulfil a need of it.
    fn ask(&mut self, ticket: Self::Ticket, need: Need);
    /// The outcome of the need asked last; `None` while there is none and nothing is left to do.
    fn outcome(&mut self, ticket: Self::Ticket) -> Option<Outcome>;
    /// Ends the exchange. Returns the body that the client gets, and whether it ended whole.
    fn reply(&mut self, ticket: Self::Ticket, reply: Reply) -> (Vec<u8>, bool);
    /// Ends the exchange without a reply, as when the client has gone.
    fn abandon(&mut self, ticket: Self::Ticket);
    /// Puts a value into the key-value store.
    fn put_value(&mut self, key: &str, value: &[u8]);
    /// Lets this time pass.
    fn wait(&mut self, ms: u64);
}

/// Writes one test for each part of every contract.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:ty) => {
        $crate::conformance_tests!($subject;
            one_leads_and_the_others_wait
            who_waits_is_answered_by_the_leader
            a_leader_that_leaves_is_followed_by_one
            a_leader_that_vanishes_is_followed_by_one
            fresh_is_given_to_all
            stale_is_given_to_all_and_led_by_one
            ranges_of_what_is_stored
            a_new_head_keeps_the_body
            a_cut_body_is_never_stored
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
        );
    };
    ($subject:ty; $($name:ident)*) => {
        $(#[test] fn $name() { $crate::conformance::$name::<$subject>(); })*
    };
}

const KEY: &str = "file 1";

/// Of several lookups of a vacant key, one is told so and the others wait.
pub fn one_leads_and_the_others_wait<S: Subject>() {
    let mut subject = S::new(vec![]);
    let first = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, first), Some(Looked::Vacant));
    let second = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, second), None);
    let elsewhere = look(&mut subject, "file 2");
    assert_eq!(looked(&mut subject, elsewhere), Some(Looked::Vacant));
}

/// What the leader stores is what those who waited get, head and body.
pub fn who_waits_is_answered_by_the_leader<S: Subject>() {
    let mut subject = S::new(vec![answer(b"hello")]);
    let leader = look(&mut subject, KEY);
    let waiters = [look(&mut subject, KEY), look(&mut subject, KEY)];
    assert_eq!(looked(&mut subject, leader), Some(Looked::Vacant));
    fill(&mut subject, leader, 5);
    for waiter in waiters {
        let found = found(b"head", true, false, true);
        assert_eq!(looked(&mut subject, waiter), Some(found));
        assert_eq!(subject.reply(waiter, stored(None)), (b"hello".to_vec(), true));
    }
}

/// When the leader ends without storing, one of those who wait leads.
pub fn a_leader_that_leaves_is_followed_by_one<S: Subject>() {
    followed::<S>(|subject, leader| {
        subject.reply(leader, with(Body::Empty, None));
    });
}

/// The same when the leader's client is gone.
pub fn a_leader_that_vanishes_is_followed_by_one<S: Subject>() {
    followed::<S>(S::abandon);
}

fn followed<S: Subject>(leave: impl FnOnce(&mut S, S::Ticket)) {
    let mut subject = S::new(vec![]);
    let leader = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, leader), Some(Looked::Vacant));
    let waiters = [look(&mut subject, KEY), look(&mut subject, KEY)];
    leave(&mut subject, leader);
    let leading = waiters
        .into_iter()
        .filter(|waiter| match looked(&mut subject, *waiter) {
            Some(Looked::Vacant) => true,
            None => false,
            other => panic!("{other:?}"),
        })
        .count();
    assert_eq!(leading, 1);
}

/// A fresh response is given to everybody, and nobody renews it.
pub fn fresh_is_given_to_all<S: Subject>() {
    let mut subject = S::new(vec![]);
    put(&mut subject, KEY, b"head", 60_000);
    for _ in 0..2 {
        let reader = look(&mut subject, KEY);
        assert_eq!(looked(&mut subject, reader), Some(found(b"head", false, false, false)));
    }
}

/// A stale response is given to everybody at once; one of them renews it.
pub fn stale_is_given_to_all_and_led_by_one<S: Subject>() {
    let mut subject = S::new(vec![]);
    put(&mut subject, KEY, b"head", 0);
    let first = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, first), Some(found(b"head", false, true, false)));
    let second = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, second), Some(found(b"head", false, false, false)));
    subject.abandon(first);
    let third = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, third), Some(found(b"head", false, true, false)));
}

/// A range of a stored body, and all of it.
pub fn ranges_of_what_is_stored<S: Subject>() {
    let mut subject = S::new(vec![answer(b"0123456789")]);
    let leader = look(&mut subject, KEY);
    looked(&mut subject, leader);
    fill(&mut subject, leader, 10);
    for (first, last) in [(0, 0), (3, 5), (9, 9), (0, 9)] {
        let reader = look(&mut subject, KEY);
        looked(&mut subject, reader);
        let range = ByteRange { first, last };
        let expected: Vec<u8> = (first..=last).map(|digit| b'0' + digit as u8).collect();
        assert_eq!(subject.reply(reader, stored(Some(range))), (expected, true));
    }
}

/// A renewed head goes with the body that is there.
pub fn a_new_head_keeps_the_body<S: Subject>() {
    let mut subject = S::new(vec![answer(b"hello")]);
    let leader = look(&mut subject, KEY);
    looked(&mut subject, leader);
    fill(&mut subject, leader, 5);
    let renewer = look(&mut subject, KEY);
    looked(&mut subject, renewer);
    let store = store(KEY, b"newer", StoreBody::Keep, 60_000);
    assert_eq!(
        subject.reply(renewer, with(Body::Stored(None), Some(store))),
        (b"hello".to_vec(), true)
    );
    let reader = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, reader), Some(found(b"newer", true, false, false)));
    assert_eq!(subject.reply(reader, stored(None)), (b"hello".to_vec(), true));
}

/// A body that ends before its length is not whole, and is not there afterwards.
pub fn a_cut_body_is_never_stored<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead { status: 200, fields: b"content-length: 10\r\n".to_vec() },
        body: b"hello".to_vec(),
    })]);
    let leader = look(&mut subject, KEY);
    looked(&mut subject, leader);
    subject.ask(leader, fetch());
    subject.outcome(leader);
    let store = store(KEY, b"head", StoreBody::Upstream(10), 60_000);
    let (_, whole) = subject.reply(leader, with(Body::Stored(None), Some(store)));
    assert!(!whole);
    let next = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, next), Some(Looked::Vacant));
}

/// What is forgotten is not found by who looks later.
pub fn what_is_forgotten_is_gone<S: Subject>() {
    let mut subject = S::new(vec![]);
    put(&mut subject, KEY, b"head", 60_000);
    forget(&mut subject, KEY);
    let next = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, next), Some(Looked::Vacant));
}

/// Who began before something was forgotten does not bring it back.
pub fn what_is_forgotten_is_not_brought_back<S: Subject>() {
    let mut subject = S::new(vec![]);
    let leader = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, leader), Some(Looked::Vacant));
    forget(&mut subject, KEY);
    let late = store(KEY, b"old", StoreBody::None, 60_000);
    subject.reply(leader, with(Body::Empty, Some(late)));
    let next = look(&mut subject, KEY);
    assert_eq!(looked(&mut subject, next), Some(Looked::Vacant));
}

/// A value is read as it was written; what is not there is absent.
pub fn values_are_read<S: Subject>() {
    let mut subject = S::new(vec![]);
    subject.put_value("page", b"<html>");
    let reader = subject.open();
    subject.ask(reader, Need::Value { key: "page".into() });
    assert_eq!(subject.outcome(reader), Some(Outcome::Value(Some(6))));
    assert_eq!(subject.reply(reader, with(Body::Value, None)), (b"<html>".to_vec(), true));
    let reader = subject.open();
    subject.ask(reader, Need::Value { key: "none".into() });
    assert_eq!(subject.outcome(reader), Some(Outcome::Value(None)));
}

/// A burst can be taken at once, and no more.
pub fn allowances_are_spent<S: Subject>() {
    let mut subject = S::new(vec![]);
    let allowance = Allowance { interval_us: 60_000_000, burst: 3 };
    for remaining in [2, 1, 0] {
        let taken = take(&mut subject, "a", allowance);
        assert_eq!((taken.allowed, taken.remaining), (true, remaining));
    }
    let refused = take(&mut subject, "a", allowance);
    assert_eq!((refused.allowed, refused.remaining), (false, 0));
    assert!((1..=60_000_000).contains(&refused.retry_us), "{refused:?}");
}

/// What was taken comes back with time.
pub fn allowances_refill<S: Subject>() {
    let mut subject = S::new(vec![]);
    let allowance = Allowance { interval_us: 100_000, burst: 1 };
    for _ in 0..3 {
        assert!(take(&mut subject, "a", allowance).allowed);
        subject.wait(150);
    }
}

/// One taker's allowance is not another's.
pub fn allowances_are_apart<S: Subject>() {
    let mut subject = S::new(vec![]);
    let allowance = Allowance { interval_us: 60_000_000, burst: 1 };
    assert!(take(&mut subject, "a", allowance).allowed);
    assert!(take(&mut subject, "b", allowance).allowed);
    assert!(!take(&mut subject, "a", allowance).allowed);
}

/// RFC 8032, section 7.1, test 2; and what is not signed by the key.
pub fn signatures<S: Subject>() {
    let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let key: [u8; 32] = key.try_into().unwrap_or([0; 32]);
    let signature = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    let mut subject = S::new(vec![]);
    let mut check = |message: &[u8], signature: &[u8]| {
        let ticket = subject.open();
        let (message, signature) = (message.to_vec(), signature.to_vec());
        subject.ask(ticket, Need::Verify { key, message, signature });
        subject.outcome(ticket)
    };
    assert_eq!(check(&[0x72], &signature), Some(Outcome::Verified(true)));
    assert_eq!(check(&[0x73], &signature), Some(Outcome::Verified(false)));
    assert_eq!(check(&[0x72], &[]), Some(Outcome::Verified(false)));
}

/// Head and body of an upstream's answer arrive as they were sent.
pub fn an_upstream_answers<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead {
            status: 404,
            fields: b"x-test: a, b\r\ncontent-length: 5\r\n".to_vec(),
        },
        body: b"hello".to_vec(),
    })]);
    let ticket = subject.open();
    subject.ask(ticket, fetch());
    let Some(Outcome::Fetched(Ok(head))) = subject.outcome(ticket) else { panic!("no answer") };
    assert_eq!(head.status, 404);
    let fields = crate::head::FieldLines::new(&head.fields);
    assert_eq!(fields.get("x-test"), Some("a, b"));
    assert_eq!(fields.get("content-length"), Some("5"));
    assert_eq!(subject.reply(ticket, with(Body::Upstream, None)), (b"hello".to_vec(), true));
}

/// No connection, no answer, and it is said so.
pub fn an_upstream_that_is_not_there<S: Subject>() {
    let mut subject = S::new(vec![]);
    let ticket = subject.open();
    subject.ask(ticket, fetch());
    let outcome = subject.outcome(ticket);
    assert_eq!(outcome, Some(Outcome::Fetched(Err(FetchError::Unreachable))));
}

/// An upstream is waited for no longer than allowed.
pub fn an_upstream_that_says_nothing<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Silence]);
    let ticket = subject.open();
    subject.ask(ticket, fetch());
    let outcome = subject.outcome(ticket);
    assert_eq!(outcome, Some(Outcome::Fetched(Err(FetchError::Timeout))));
}

fn look<S: Subject>(subject: &mut S, key: &str) -> S::Ticket {
    let ticket = subject.open();
    subject.ask(ticket, Need::Lookup { key: key.to_owned() });
    ticket
}

fn looked<S: Subject>(subject: &mut S, ticket: S::Ticket) -> Option<Looked> {
    match subject.outcome(ticket) {
        None => None,
        Some(Outcome::Looked(looked)) => Some(looked),
        Some(other) => panic!("{other:?}"),
    }
}

fn take<S: Subject>(subject: &mut S, key: &str, allowance: Allowance) -> Taken {
    let ticket = subject.open();
    subject.ask(ticket, Need::Take { key: key.to_owned(), allowance });
    match subject.outcome(ticket) {
        Some(Outcome::Taken(taken)) => taken,
        other => panic!("{other:?}"),
    }
}

/// Stores a head without a body.
fn put<S: Subject>(subject: &mut S, key: &str, head: &[u8], fresh_ms: u64) {
    let leader = look(subject, key);
    assert_eq!(looked(subject, leader), Some(Looked::Vacant));
    let store = store(key, head, StoreBody::None, fresh_ms);
    subject.reply(leader, with(Body::Empty, Some(store)));
}

/// Lets a leader fetch, store and read the whole body.
fn fill<S: Subject>(subject: &mut S, leader: S::Ticket, length: u64) {
    subject.ask(leader, fetch());
    assert!(matches!(subject.outcome(leader), Some(Outcome::Fetched(Ok(_)))));
    let store = store(KEY, b"head", StoreBody::Upstream(length), 60_000);
    let (body, whole) = subject.reply(leader, with(Body::Stored(None), Some(store)));
    assert!(whole && body.len() as u64 == length);
}

fn forget<S: Subject>(subject: &mut S, key: &str) {
    let ticket = subject.open();
    subject.reply(ticket, Reply { forget: vec![key.to_owned()], ..with(Body::Empty, None) });
}

fn fetch() -> Need {
    Need::Fetch(Fetch {
        upstream: Upstream::Origin,
        head: b"GET /files/1 HTTP/1.1\r\n".to_vec(),
        with_body: false,
        timeout_ms: 300,
    })
}

fn answer(body: &[u8]) -> ScriptedAnswer {
    let fields = format!("content-length: {}\r\n", body.len()).into_bytes();
    ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead { status: 200, fields },
        body: body.to_vec(),
    })
}

fn found(head: &[u8], body: bool, lead: bool, collapsed: bool) -> Looked {
    Looked::Found { head: head.to_vec(), body, lead, collapsed }
}

fn store(key: &str, head: &[u8], body: StoreBody, fresh_ms: u64) -> Store {
    Store { key: key.to_owned(), head: head.to_vec(), body, fresh_ms }
}

fn stored(range: Option<ByteRange>) -> Reply {
    with(Body::Stored(range), None)
}

fn with(body: Body, store: Option<Store>) -> Reply {
    Reply { status: 200, fields: Vec::new(), body, forget: Vec::new(), store, ended: Ended::Edge }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

//! The contract of the cache: who leads, what is found, what is stored, forgotten, purged, encoded.

use super::{ScriptedAnswer, Subject, UpstreamAnswer, answering, fetch, with};
use crate::step::{
    Body, ByteRange, Coding, Extent, Form, Looked, Need, Outcome, Purge, Reply, Store, StoreBody,
    UpstreamHead,
};

pub(super) const KEY: &str = "file 1";

/// Of several lookups of a vacant key, one is told so and the others wait.
pub(super) async fn one_leads_and_the_others_wait<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let first = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, first).await, Some(Looked::Vacant));
    let second = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, second).await, None);
    let elsewhere = look(&mut subject, "file 2").await;
    assert_eq!(looked(&mut subject, elsewhere).await, Some(Looked::Vacant));
}

/// What the leader stores is what those who waited get, head and body.
pub(super) async fn who_waits_is_answered_by_the_leader<S: Subject>() {
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
pub(super) async fn a_leader_that_leaves_is_followed_by_one<S: Subject>() {
    followed::<S>(false).await;
}

/// The same when the leader's client is gone.
pub(super) async fn a_leader_that_vanishes_is_followed_by_one<S: Subject>() {
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
pub(super) async fn fresh_is_given_to_all<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, KEY, b"head", 60_000).await;
    for _ in 0..2 {
        let reader = look(&mut subject, KEY).await;
        assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
    }
}

/// A stale response is given to everybody at once; one of them renews it.
pub(super) async fn stale_is_given_to_all_and_led_by_one<S: Subject>() {
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
pub(super) async fn who_replies_first_leads_on<S: Subject>() {
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
pub(super) async fn ranges_of_what_is_stored<S: Subject>() {
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
pub(super) async fn a_new_head_keeps_the_body<S: Subject>() {
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

/// What has a tag that is purged is found no more, and one of those who look leads; all else is.
pub(super) async fn what_is_purged_is_gone<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put_tagged(&mut subject, KEY, &["a", "b"]).await;
    put_tagged(&mut subject, "other", &["c"]).await;
    purge(&mut subject, "b", false).await;
    let reader = look(&mut subject, "other").await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    let waiter = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, waiter).await, None);
    let store = tagged(KEY, StoreBody::None, &["a", "b"]);
    subject.reply(leader, with(Body::Empty, Some(store))).await;
    assert_eq!(looked(&mut subject, waiter).await, Some(found(b"head", false, false, true)));
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", false, false, false)));
}

/// What is purged softly is stale until it is renewed, and led by one.
pub(super) async fn what_is_purged_softly_is_stale<S: Subject>() {
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
pub(super) async fn what_is_being_fetched_is_purged_too<S: Subject>() {
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

/// What is asked for after a purge is stored, whatever else is purged meanwhile.
pub(super) async fn what_comes_after_a_purge_is_stored<S: Subject>() {
    let mut subject = S::new(vec![answering(b"hello")]).await;
    purge(&mut subject, "a", false).await;
    purge(&mut subject, "b", false).await;
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    purge(&mut subject, "c", false).await;
    subject.ask(leader, fetch()).await;
    assert!(matches!(subject.outcome(leader).await, Some(Outcome::Fetched(Ok(_)))));
    let store = tagged(KEY, StoreBody::Upstream(Extent::Exactly(5)), &["a"]);
    subject.reply(leader, with(Body::Stored(None), Some(store))).await;
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
}

/// A form of a body is told of once it was made, stays with a new head, and goes with the body.
pub(super) async fn a_form_goes_where_the_body_goes<S: Subject>() {
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
pub(super) async fn a_form_that_saves_nothing_is_tried_once<S: Subject>() {
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
pub(super) async fn a_cut_body_is_never_stored<S: Subject>() {
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
pub(super) async fn a_body_of_unknown_length_is_stored<S: Subject>() {
    let mut subject = S::new(vec![unannounced(b"hello")]).await;
    assert_eq!(filled(&mut subject, Extent::AtMost(5)).await, (b"hello".to_vec(), true));
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
    assert_eq!(subject.reply(reader, stored(None)).await, (b"hello".to_vec(), true));
}

/// One that turns out to be too long for the cache is delivered all the same.
pub(super) async fn a_body_beyond_its_bound_passes_and_is_not_stored<S: Subject>() {
    let mut subject = S::new(vec![unannounced(b"hello")]).await;
    assert_eq!(filled(&mut subject, Extent::AtMost(4)).await, (b"hello".to_vec(), true));
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// A head that is put ends the lead: who waits is given it.
pub(super) async fn a_head_that_is_put_is_found_by_who_waits<S: Subject>() {
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

/// A head is put over one that is fresh, by who found that and does not lead.
pub(super) async fn a_head_is_put_over_a_fresh_one<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, KEY, b"before", 60_000).await;
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"before", false, false, false)));
    let put = Need::Put { key: KEY.into(), head: b"after".to_vec(), fresh_ms: 60_000 };
    subject.ask(reader, put).await;
    assert_eq!(subject.outcome(reader).await, Some(Outcome::Put));
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(found(b"after", false, false, false)));
}

/// Who looks another key up leads the one before no more.
pub(super) async fn the_next_lookup_gives_up_the_one_before<S: Subject>() {
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
pub(super) async fn what_is_forgotten_is_gone<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, KEY, b"head", 60_000).await;
    forget(&mut subject, KEY).await;
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// Who began before something was forgotten does not bring it back.
pub(super) async fn what_is_forgotten_is_not_brought_back<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    let leader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, leader).await, Some(Looked::Vacant));
    forget(&mut subject, KEY).await;
    let late = store(KEY, b"old", StoreBody::None, 60_000);
    subject.reply(leader, with(Body::Empty, Some(late))).await;
    let next = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant));
}

/// The forms that a lookup tells of.
async fn forms<S: Subject>(subject: &mut S, ticket: S::Ticket) -> Vec<Form> {
    match looked(subject, ticket).await {
        Some(Looked::Found { forms, .. }) => forms,
        other => panic!("{other:?}"),
    }
}

/// Stores a head without a body.
pub(super) async fn put<S: Subject>(subject: &mut S, key: &str, head: &[u8], fresh_ms: u64) {
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

pub(super) async fn purge<S: Subject>(subject: &mut S, tag: &str, soft: bool) {
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

pub(super) fn found(head: &[u8], body: bool, lead: bool, collapsed: bool) -> Looked {
    Looked::Found { head: head.to_vec(), body, forms: Vec::new(), purged: false, lead, collapsed }
}

pub(super) fn store(key: &str, head: &[u8], body: StoreBody, fresh_ms: u64) -> Store {
    let (key, head, tags) = (key.to_owned(), head.to_vec(), Vec::new());
    Store { key, head, body, fresh_ms, tags, dictionary: None }
}

fn tagged(key: &str, body: StoreBody, tags: &[&str]) -> Store {
    let tags = tags.iter().map(ToString::to_string).collect();
    Store { tags, ..store(key, b"head", body, 60_000) }
}

fn stored(range: Option<ByteRange>) -> Reply {
    with(Body::Stored(range), None)
}

pub(super) async fn look<S: Subject>(subject: &mut S, key: &str) -> S::Ticket {
    let ticket = subject.open();
    subject.ask(ticket, Need::Lookup { key: key.to_owned() }).await;
    ticket
}

pub(super) async fn looked<S: Subject>(subject: &mut S, ticket: S::Ticket) -> Option<Looked> {
    match subject.outcome(ticket).await {
        None => None,
        Some(Outcome::Looked(looked)) => Some(looked),
        Some(other) => panic!("{other:?}"),
    }
}

//! The contract of bodies of several parts, of slices, and of what is read before it is sent.

use super::caching::{KEY, found, look, looked, put, store};
use super::{ScriptedAnswer, Subject, UpstreamAnswer, answering, fetch, with};
use crate::step::{
    Body, ByteRange, Content, Extent, Looked, Need, Outcome, Part, StoreBody, UpstreamHead,
};

/// Parts come one behind the other.
pub(super) async fn a_body_of_several_parts<S: Subject>() {
    let mut subject = S::new(vec![answering(b"0123456789")]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    subject.ask(leader, fetch()).await;
    subject.outcome(leader).await;
    let parts = || {
        Body::Composed(vec![
            Part::Bytes(b"a ".to_vec()),
            Part::Stored(ByteRange { first: 7, last: 9 }),
            Part::Bytes(b" b ".to_vec()),
            Part::Stored(ByteRange { first: 0, last: 0 }),
        ])
    };
    let store = store(KEY, b"head", StoreBody::Upstream(Extent::Exactly(10)), 60_000);
    let arriving = subject.reply(leader, with(parts(), Some(store))).await;
    assert_eq!(arriving, (b"a 789 b 0".to_vec(), true));
    let reader = look(&mut subject, KEY).await;
    looked(&mut subject, reader).await;
    assert_eq!(subject.reply(reader, with(parts(), None)).await, arriving);
}

/// Keys are claimed up to the first that is stored, or led by somebody; those who want them wait.
pub(super) async fn what_is_vacant_is_claimed<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    put(&mut subject, "c", b"head", 60_000).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    assert_eq!(claim(&mut subject, leader, &["a", "b", "c", "d"]).await, 2);
    let waiter = look(&mut subject, "b").await;
    assert_eq!(looked(&mut subject, waiter).await, None);
    let other = look(&mut subject, "d").await;
    assert_eq!(looked(&mut subject, other).await, Some(Looked::Vacant));
    assert_eq!(claim(&mut subject, other, &["e", "a"]).await, 1);
    subject.abandon(leader).await;
    assert_eq!(looked(&mut subject, waiter).await, Some(Looked::Vacant));
}

/// What an upstream sends is stored slice by slice; who waits for one is given it.
pub(super) async fn slices_are_stored_each_by_itself<S: Subject>() {
    let mut subject = S::new(vec![answering(b"0123456789")]).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    assert_eq!(claim(&mut subject, leader, &["a", "b"]).await, 2);
    let waiter = look(&mut subject, "b").await;
    assert_eq!(looked(&mut subject, waiter).await, None);
    assert_eq!(slice(&mut subject, leader, 10).await, (b"12".to_vec(), true));
    assert_eq!(looked(&mut subject, waiter).await, Some(found(b"head", true, false, true)));
    let whole = with(Body::Stored(None), None);
    assert_eq!(subject.reply(waiter, whole.clone()).await, (b"89".to_vec(), true));
    for (key, bytes) in [(KEY, &b"0123"[..]), ("a", b"4567"), ("b", b"89")] {
        let reader = look(&mut subject, key).await;
        assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
        assert_eq!(subject.reply(reader, whole.clone()).await, (bytes.to_vec(), true));
    }
}

/// Of a body that breaks off, the slices stay that are whole.
pub(super) async fn a_cut_leaves_the_slices_that_are_whole<S: Subject>() {
    let mut subject = S::new(vec![ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead { status: 200, fields: b"content-length: 10\r\n".to_vec() },
        body: b"012345".to_vec(),
    })])
    .await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    assert_eq!(claim(&mut subject, leader, &["a", "b"]).await, 2);
    slice(&mut subject, leader, 10).await;
    // The cut may be noticed a moment after the first slice was read.
    for key in ["a", "b"] {
        let cut = look(&mut subject, key).await;
        if let Some(Looked::Found { .. }) = looked(&mut subject, cut).await {
            let (_, whole) = subject.reply(cut, with(Body::Stored(None), None)).await;
            assert!(!whole, "{key}");
        } else {
            subject.abandon(cut).await;
        }
    }
    let reader = look(&mut subject, KEY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
    let whole = with(Body::Stored(None), None);
    assert_eq!(subject.reply(reader, whole).await, (b"0123".to_vec(), true));
    for key in ["a", "b"] {
        let next = look(&mut subject, key).await;
        assert_eq!(looked(&mut subject, next).await, Some(Looked::Vacant), "{key}");
    }
}

/// What was looked up, and what an upstream sends, can be read first: it is there still.
pub(super) async fn what_is_read_before_it_is_sent<S: Subject>() {
    let answers = ["one", "two", "three"].map(|body| answering(body.as_bytes()));
    let mut subject = S::new(answers.to_vec()).await;
    let leader = look(&mut subject, KEY).await;
    looked(&mut subject, leader).await;
    subject.ask(leader, fetch()).await;
    subject.outcome(leader).await;
    assert_eq!(content(&mut subject, leader, Content::Upstream, 3).await, Some(b"one".to_vec()));
    let store = store(KEY, b"head", StoreBody::Upstream(Extent::Exactly(3)), 60_000);
    let sent = subject.reply(leader, with(Body::Stored(None), Some(store))).await;
    assert_eq!(sent, (b"one".to_vec(), true));
    let reader = look(&mut subject, KEY).await;
    looked(&mut subject, reader).await;
    assert_eq!(content(&mut subject, reader, Content::Stored, 2).await, None);
    assert_eq!(content(&mut subject, reader, Content::Stored, 3).await, Some(b"one".to_vec()));
    let sent = subject.reply(reader, with(Body::Stored(None), None)).await;
    assert_eq!(sent, (b"one".to_vec(), true));
    let passing = subject.open();
    subject.ask(passing, fetch()).await;
    subject.outcome(passing).await;
    assert_eq!(content(&mut subject, passing, Content::Upstream, 3).await, Some(b"two".to_vec()));
    assert_eq!(subject.reply(passing, with(Body::Upstream, None)).await, (b"two".to_vec(), true));
    let large = subject.open();
    subject.ask(large, fetch()).await;
    subject.outcome(large).await;
    assert_eq!(content(&mut subject, large, Content::Upstream, 4).await, None);
}

async fn content<S: Subject>(
    subject: &mut S,
    ticket: S::Ticket,
    of: Content,
    bytes_max: u64,
) -> Option<Vec<u8>> {
    subject.ask(ticket, Need::Content { of, bytes_max }).await;
    match subject.outcome(ticket).await {
        Some(Outcome::Content(content)) => content,
        other => panic!("{other:?}"),
    }
}

async fn claim<S: Subject>(subject: &mut S, ticket: S::Ticket, keys: &[&str]) -> u64 {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    subject.ask(ticket, Need::Claim { keys }).await;
    match subject.outcome(ticket).await {
        Some(Outcome::Claimed(claimed)) => claimed,
        other => panic!("{other:?}"),
    }
}

/// Fetches, and stores in slices of four bytes. Who asked gets two of the first one's.
async fn slice<S: Subject>(subject: &mut S, leader: S::Ticket, bytes: u64) -> (Vec<u8>, bool) {
    subject.ask(leader, fetch()).await;
    assert!(matches!(subject.outcome(leader).await, Some(Outcome::Fetched(Ok(_)))));
    let body = StoreBody::Slices { slice_bytes: 4, bytes };
    let store = store(KEY, b"head", body, 60_000);
    let sent = Body::Stored(Some(ByteRange { first: 1, last: 2 }));
    subject.reply(leader, with(sent, Some(store))).await
}

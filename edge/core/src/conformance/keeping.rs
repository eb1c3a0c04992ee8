//! The contract of what is kept, and of its handover.

use super::{ScriptedAnswer, Subject, UpstreamAnswer, with};
use crate::step::{Body, ByteRange, Kept, KeptHead, Need, Outcome, UpstreamHead};

/// What is kept is found at once, with its head, whole and in part.
pub(super) async fn what_is_kept_is_read<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    assert_eq!(keep(&mut subject, "g/1", b"0123456789", 10).await, Kept::Durably);
    assert_eq!(kept(&mut subject, "g/1").await.1, b"0123456789");
    let reader = subject.open();
    subject.ask(reader, Need::ReadKept { key: "g/1".into() }).await;
    let head = KeptHead { head: b"head g/1".to_vec(), bytes: 10 };
    assert_eq!(subject.outcome(reader).await, Some(Outcome::ReadKept(Some(head))));
    let part = Body::Kept(Some(ByteRange { first: 2, last: 4 }));
    assert_eq!(subject.reply(reader, with(part, None)).await, (b"234".to_vec(), true));
    assert_eq!(kept(&mut subject, "g/2").await.0, None);
    assert_eq!(keep(&mut subject, "g/2", b"", 0).await, Kept::Durably);
    assert_eq!(kept(&mut subject, "g/2").await.0.map(|kept| kept.bytes), Some(0));
}

/// A body that ends before its length is told, and not kept.
pub(super) async fn a_body_that_breaks_off_is_not_kept<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    assert_eq!(keep(&mut subject, "g/1", b"01234", 10).await, Kept::Broken);
    assert_eq!(kept(&mut subject, "g/1").await.0, None);
}

/// While the upstream takes nothing, nothing is forgotten.
pub(super) async fn what_cant_be_handed_over_stays<S: Subject>() {
    let mut subject = S::new(vec![]).await;
    assert_eq!(keep(&mut subject, "g/1", b"hello", 5).await, Kept::Durably);
    assert!(!hand_over(&mut subject, "g/").await);
    assert_eq!(kept(&mut subject, "g/1").await.1, b"hello");
    assert!(hand_over(&mut subject, "h/").await, "nothing is kept of this group");
}

/// What the upstream took is forgotten, oldest first; what it did not take is not.
pub(super) async fn what_was_handed_over_is_not_kept_any_more<S: Subject>() {
    let mut subject = S::new(vec![status(503), status(201)]).await;
    for key in ["g/1", "g/2"] {
        assert_eq!(keep(&mut subject, key, b"hello", 5).await, Kept::Durably);
    }
    handed_over_until(&mut subject, 1).await;
    assert_eq!(kept(&mut subject, "g/2").await.1, b"hello");
    assert!(hand_over(&mut subject, "g/1").await, "nothing is left of the first");
    assert!(!hand_over(&mut subject, "g/").await);
}

/// One that the upstream refuses is kept, and does not stand in the others' way.
pub(super) async fn what_is_refused_stays_and_lets_the_others_pass<S: Subject>() {
    let mut subject = S::new(vec![status(400), status(204)]).await;
    for key in ["g/1", "g/2"] {
        assert_eq!(keep(&mut subject, key, b"hello", 5).await, Kept::Durably);
    }
    handed_over_until(&mut subject, 1).await;
    assert!(!hand_over(&mut subject, "g/").await);
}

/// Keeps a body under a key.
async fn keep<S: Subject>(subject: &mut S, key: &str, body: &[u8], bytes: u64) -> Kept {
    let ticket = subject.open_sending(body.to_vec());
    let head = format!("head {key}").into_bytes();
    subject.ask(ticket, Need::Keep { key: key.to_owned(), head, bytes }).await;
    let Some(Outcome::Kept(kept)) = subject.outcome(ticket).await else { panic!("no outcome") };
    subject.abandon(ticket).await;
    kept
}

/// Reads what is kept under a key.
async fn kept<S: Subject>(subject: &mut S, key: &str) -> (Option<KeptHead>, Vec<u8>) {
    let ticket = subject.open();
    subject.ask(ticket, Need::ReadKept { key: key.to_owned() }).await;
    let Some(Outcome::ReadKept(found)) = subject.outcome(ticket).await else {
        panic!("no outcome")
    };
    let body = if found.is_some() { Body::Kept(None) } else { Body::Empty };
    let (body, whole) = subject.reply(ticket, with(body, None)).await;
    assert!(whole);
    (found, body)
}

async fn hand_over<S: Subject>(subject: &mut S, prefix: &str) -> bool {
    let ticket = subject.open();
    subject.ask(ticket, Need::HandOver { prefix: prefix.to_owned(), timeout_ms: 5_000 }).await;
    let outcome = subject.outcome(ticket).await;
    subject.abandon(ticket).await;
    outcome == Some(Outcome::HandedOver(true))
}

/// Hands over until just so many of the two in the group are left. A driver does so by itself as
/// well, so it is not told which attempt it was.
async fn handed_over_until<S: Subject>(subject: &mut S, left: usize) {
    for _ in 0..200 {
        hand_over(subject, "g/").await;
        let mut found = 0;
        for key in ["g/1", "g/2"] {
            found += usize::from(kept(subject, key).await.0.is_some());
        }
        if found == left {
            return;
        }
        subject.wait(25).await;
    }
    panic!("it is never handed over");
}

fn status(status: u16) -> ScriptedAnswer {
    ScriptedAnswer::Answer(UpstreamAnswer {
        head: UpstreamHead { status, fields: b"content-length: 0\r\n".to_vec() },
        body: Vec::new(),
    })
}

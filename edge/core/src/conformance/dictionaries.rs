//! The contract of dictionaries: found by digest and scope, and encoded against.

use sha2::{Digest as _, Sha256};

use super::caching::{KEY, found, look, looked, purge, store};
use super::{Subject, answering, fetch, with};
use crate::step::{
    Body, Coding, DICTIONARY_BYTES_MAX, Extent, Form, Looked, Need, Outcome, Reply, Store,
    StoreBody,
};

const DICTIONARY: &str = "dictionary";
const SCOPE: &str = "scope";
/// How often a dictionary is looked for that has just been stored whole.
const LOOKS_MAX: usize = 1_000;

/// What is stored as a dictionary is found by its digest, in its scope, as soon as it is whole.
pub(super) async fn a_dictionary_is_found_by_its_digest<S: Subject>() {
    let content = noise(1_000);
    let mut subject = S::new(vec![answering(&content), answering(b"plain")]).await;
    fill(&mut subject, DICTIONARY, &content, Some(SCOPE)).await;
    until_found(&mut subject, &content).await;
    assert_eq!(find(&mut subject, "another scope", &content).await, None);
    assert_eq!(find(&mut subject, SCOPE, b"another content").await, None);
    fill(&mut subject, KEY, b"plain", None).await;
    assert_eq!(find(&mut subject, SCOPE, b"plain").await, None, "it is stored as none");
}

/// What is encoded against a dictionary has next to nothing where it is alike, while it is sent and
/// as a form; what it is encoded against is held until then.
pub(super) async fn what_is_encoded_against_a_dictionary_is_small<S: Subject>() {
    let old = noise(4_000);
    let new = [&old[..], b"and more"].concat();
    let mut subject = S::new(vec![answering(&old), answering(&new)]).await;
    fill(&mut subject, DICTIONARY, &old, Some(SCOPE)).await;
    fill(&mut subject, KEY, &new, None).await;
    until_found(&mut subject, &old).await;
    let coding = Coding::Dcz(digest(&old));
    let first = holding(&mut subject, &old).await;
    forget(&mut subject).await;
    subject.ask(first, Need::Encode { coding }).await;
    assert_eq!(subject.outcome(first).await, Some(Outcome::Encoded(true)));
    let (sent, whole) = subject.reply(first, with(Body::Encoding(coding), None)).await;
    assert!(whole && sent.len() < 200, "{}", sent.len());
    let reader = look(&mut subject, KEY).await;
    let Some(Looked::Found { forms, .. }) = looked(&mut subject, reader).await else {
        panic!("it is stored")
    };
    let (form, _) = subject.reply(reader, with(Body::Coded(coding), None)).await;
    assert_eq!(forms, [Form { coding, bytes: Some(form.len() as u64) }]);
    assert!(!form.is_empty() && form.len() < 200, "{}", form.len());
}

/// A dictionary is one as long as it is stored as one: a new head says so anew.
pub(super) async fn a_dictionary_goes_where_its_body_goes<S: Subject>() {
    let content = noise(1_000);
    for (after, stays) in [
        (After::Kept(Some(SCOPE)), true),
        (After::Kept(Some("another scope")), false),
        (After::Kept(None), false),
        (After::Replaced, false),
        (After::Purged(false), false),
        (After::Purged(true), true),
        (After::Forgotten, false),
    ] {
        let mut subject = S::new(vec![answering(&content), answering(b"other")]).await;
        fill(&mut subject, DICTIONARY, &content, Some(SCOPE)).await;
        until_found(&mut subject, &content).await;
        match after {
            After::Kept(scope) => {
                let store = as_dictionary(b"head", StoreBody::Keep, scope);
                let renewer = look(&mut subject, DICTIONARY).await;
                looked(&mut subject, renewer).await;
                subject.reply(renewer, with(Body::Empty, Some(store))).await;
            }
            After::Replaced => fill(&mut subject, DICTIONARY, b"other", Some(SCOPE)).await,
            After::Purged(soft) => purge(&mut subject, "tag", soft).await,
            After::Forgotten => forget(&mut subject).await,
        }
        let there = find(&mut subject, SCOPE, &content).await.is_some();
        assert_eq!(there, stays, "{after:?}");
    }
}

/// What has more bytes than a dictionary may have is stored, and is none.
pub(super) async fn what_is_too_large_is_no_dictionary<S: Subject>() {
    let content = vec![b'a'; DICTIONARY_BYTES_MAX as usize + 1];
    let mut subject = S::new(vec![answering(&content), answering(b"small")]).await;
    fill(&mut subject, DICTIONARY, &content, Some(SCOPE)).await;
    fill(&mut subject, KEY, b"small", Some(SCOPE)).await;
    until_found(&mut subject, b"small").await;
    let reader = look(&mut subject, DICTIONARY).await;
    assert_eq!(looked(&mut subject, reader).await, Some(found(b"head", true, false, false)));
    assert_eq!(find(&mut subject, SCOPE, &content).await, None);
}

/// What becomes of a dictionary.
#[derive(Clone, Copy, Debug)]
enum After {
    Kept(Option<&'static str>),
    Replaced,
    Purged(bool),
    Forgotten,
}

fn as_dictionary(head: &[u8], body: StoreBody, scope: Option<&str>) -> Store {
    let (dictionary, tags) = (scope.map(str::to_owned), vec!["tag".to_owned()]);
    Store { dictionary, tags, ..store(DICTIONARY, head, body, 60_000) }
}

/// Fetches and stores this content, which a key holds from then on.
async fn fill<S: Subject>(subject: &mut S, key: &str, content: &[u8], scope: Option<&str>) {
    let leader = look(subject, key).await;
    looked(subject, leader).await;
    subject.ask(leader, fetch()).await;
    assert!(matches!(subject.outcome(leader).await, Some(Outcome::Fetched(Ok(_)))));
    let body = StoreBody::Upstream(Extent::Exactly(content.len() as u64));
    let store = Store { key: key.to_owned(), ..as_dictionary(b"head", body, scope) };
    let sent = subject.reply(leader, with(Body::Stored(None), Some(store))).await;
    assert!(sent == (content.to_vec(), true));
}

/// The head of the dictionary that has this content, if it is found.
async fn find<S: Subject>(subject: &mut S, scope: &str, content: &[u8]) -> Option<Vec<u8>> {
    let ticket = subject.open();
    let found = find_for(subject, ticket, scope, content).await;
    subject.abandon(ticket).await;
    found
}

async fn find_for<S: Subject>(
    subject: &mut S,
    ticket: S::Ticket,
    scope: &str,
    content: &[u8],
) -> Option<Vec<u8>> {
    let sha256 = digest(content);
    subject.ask(ticket, Need::Dictionary { scope: scope.to_owned(), sha256 }).await;
    match subject.outcome(ticket).await {
        Some(Outcome::Dictionary(head)) => head,
        other => panic!("{other:?}"),
    }
}

/// Looks until what was stored is known to be whole.
async fn until_found<S: Subject>(subject: &mut S, content: &[u8]) {
    for _ in 0..LOOKS_MAX {
        if let Some(head) = find(subject, SCOPE, content).await {
            return assert_eq!(head, b"head");
        }
        subject.wait(1).await;
    }
    panic!("it is not found");
}

/// An exchange that has looked the dictionary up, and then what is to be encoded against it.
async fn holding<S: Subject>(subject: &mut S, dictionary: &[u8]) -> S::Ticket {
    let ticket = subject.open();
    assert!(find_for(subject, ticket, SCOPE, dictionary).await.is_some());
    subject.ask(ticket, Need::Lookup { key: KEY.to_owned() }).await;
    assert_eq!(looked(subject, ticket).await, Some(found(b"head", true, false, false)));
    ticket
}

/// Forgets the dictionary.
async fn forget<S: Subject>(subject: &mut S) {
    let ticket = subject.open();
    let forget = vec![DICTIONARY.to_owned()];
    subject.reply(ticket, Reply { forget, ..with(Body::Empty, None) }).await;
}

fn digest(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// Bytes of which no coding makes fewer by itself.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        // The generator of Lehmer, as in MINSTD.
        state = state * 48_271 % 2_147_483_647;
        (state >> 8) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

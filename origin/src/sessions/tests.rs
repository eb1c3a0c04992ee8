//! Sessions and revocations on a store in memory, with a clock that tests move.

use super::*;
use crate::book::tests::TestClock;
use crate::meta::MemoryMeta;

const DAY_S: u64 = 86_400;

struct World {
    sessions: Sessions,
    clock: Arc<TestClock>,
}

impl World {
    fn new() -> Self {
        let clock = TestClock::at(1_800_000_000);
        let meta: Arc<dyn Meta> = Arc::new(MemoryMeta::default());
        let environment: Arc<dyn Environment> = clock.clone();
        let audit = Audit::new(&meta, &environment);
        Self { sessions: Sessions::new(&meta, &environment, audit), clock }
    }

    fn now_s(&self) -> u64 {
        self.clock.unix_s()
    }

    async fn begin(&self, whose: &Identity, number: u64) -> SessionId {
        let id = SessionId::new(number);
        self.sessions.begin(whose, id, self.now_s() + DAY_S).await.unwrap();
        id
    }

    async fn refresh(&self, whose: &Identity, id: SessionId, from: u32) -> Result<(), Over> {
        match self.sessions.refresh(whose, id, from).await {
            Ok(()) => Ok(()),
            Err(BookError::Refused(over)) => Err(over),
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn told(&self, tenant: &str) -> Revocations {
        self.sessions.revoked(tenant).await.unwrap().told()
    }
}

fn identity(subject: &str) -> Identity {
    Identity::new("demo", subject, Default::default()).unwrap()
}

#[tokio::test]
async fn one_generation_after_another() {
    let world = World::new();
    let alice = identity("alice");
    let id = world.begin(&alice, 1).await;
    for generation in 0..3 {
        assert_eq!(world.refresh(&alice, id, generation).await, Ok(()));
        world.clock.advance(900);
    }
    assert_eq!(world.refresh(&alice, SessionId::new(2), 0).await, Err(Over::Ended));
    assert_eq!(world.refresh(&identity("bob"), id, 3).await, Err(Over::Ended));
    world.clock.advance(DAY_S);
    assert_eq!(world.refresh(&alice, id, 3).await, Err(Over::Ended));
}

#[tokio::test]
async fn a_refresh_may_be_repeated_for_a_moment_and_used_again_it_ends_the_session() {
    let world = World::new();
    let alice = identity("alice");
    let id = world.begin(&alice, 1).await;
    assert_eq!(world.refresh(&alice, id, 0).await, Ok(()));
    world.clock.advance(REPEAT_S);
    assert_eq!(world.refresh(&alice, id, 0).await, Ok(()));
    assert_eq!(world.refresh(&alice, id, 1).await, Ok(()), "it was one refresh");
    // What is older than the one before is nobody's to repeat.
    assert_eq!(world.refresh(&alice, id, 0).await, Err(Over::Reused));
    assert_eq!(world.refresh(&alice, id, 2).await, Err(Over::Ended));
    let told = world.told("demo").await;
    assert!(told.has("alice", world.now_s() + 1, Some(id)), "what is good by itself, too");
    assert!(!told.has("alice", world.now_s() + 1, None));
}

#[tokio::test]
async fn after_a_moment_the_one_before_is_used_again_too() {
    let world = World::new();
    let alice = identity("alice");
    let id = world.begin(&alice, 1).await;
    assert_eq!(world.refresh(&alice, id, 0).await, Ok(()));
    world.clock.advance(REPEAT_S + 1);
    assert_eq!(world.refresh(&alice, id, 0).await, Err(Over::Reused));
    assert_eq!(world.refresh(&alice, id, 1).await, Err(Over::Ended));
}

#[tokio::test]
async fn a_session_ends_alone_or_with_all_of_its_subject() {
    let world = World::new();
    let (alice, bob) = (identity("alice"), identity("bob"));
    let (first, second) = (world.begin(&alice, 1).await, world.begin(&alice, 2).await);
    let of_bob = world.begin(&bob, 3).await;
    world.sessions.end(&alice, first).await.unwrap();
    assert_eq!(world.refresh(&alice, first, 0).await, Err(Over::Ended));
    assert_eq!(world.refresh(&alice, second, 0).await, Ok(()));
    world.sessions.end_all(&alice).await.unwrap();
    assert_eq!(world.refresh(&alice, second, 1).await, Err(Over::Ended));
    assert_eq!(world.refresh(&bob, of_bob, 0).await, Ok(()));
    let told = world.told("demo").await;
    assert!(told.has("alice", world.now_s(), None) && !told.has("alice", world.now_s() + 1, None));
    assert!(!told.has("bob", world.now_s(), None));
    assert_eq!(world.told("other").await, Revocations::default());
}

#[tokio::test]
async fn everything_before_ends_all_sessions_of_the_tenant() {
    let world = World::new();
    let alice = identity("alice");
    let id = world.begin(&alice, 1).await;
    world.sessions.end_all(&identity("bob")).await.unwrap();
    world.sessions.end_everything("demo").await.unwrap();
    assert_eq!(world.refresh(&alice, id, 0).await, Err(Over::Ended));
    let revoked = world.sessions.revoked("demo").await.unwrap();
    assert!(revoked.subjects.is_empty(), "it is said already");
    assert!(revoked.told().has("bob", world.now_s(), None));
    world.clock.advance(1);
    let id = world.begin(&alice, 2).await;
    assert_eq!(world.refresh(&alice, id, 0).await, Ok(()));
}

#[tokio::test]
async fn what_there_is_no_room_for_stays_revoked() {
    let world = World::new();
    let alice = identity("alice");
    let id = world.begin(&alice, 1).await;
    let first_s = world.now_s();
    for number in 0..=REVOKED_MAX {
        world.sessions.end_all(&identity(&format!("subject {number}"))).await.unwrap();
        world.clock.advance(1);
    }
    let told = world.told("demo").await;
    assert!(told.has("subject 0", first_s, None));
    assert!(told.has("alice", first_s, None), "what is as old as what was forgotten");
    assert!(!told.has("alice", first_s + 1, None));
    assert!(told.has("subject 1", first_s + 1, None));
    assert_eq!(world.refresh(&alice, id, 0).await, Ok(()), "sessions go on");
}

#[tokio::test]
async fn a_subject_has_so_many_sessions_and_those_that_ended_are_not_told_for_ever() {
    let world = World::new();
    let alice = identity("alice");
    let first = world.begin(&alice, 1).await;
    for number in 0..SESSIONS_MAX {
        world.clock.advance(1);
        world.begin(&alice, 100 + number as u64).await;
    }
    assert_eq!(world.refresh(&alice, first, 0).await, Err(Over::Ended));
    let told = world.told("demo").await;
    let now_s = world.now_s();
    assert!(told.has("alice", now_s, Some(first)), "its cookie, too");
    assert!(!told.has("alice", now_s, Some(SessionId::new(100))));
    assert_eq!(world.refresh(&alice, SessionId::new(100), 0).await, Ok(()));
    world.sessions.end(&alice, SessionId::new(100)).await.unwrap();
    world.clock.advance(ENDED_TOLD_S);
    world.sessions.end(&alice, SessionId::new(101)).await.unwrap();
    let revoked = world.sessions.revoked("demo").await.unwrap();
    assert_eq!(revoked.sessions.into_keys().collect::<Vec<_>>(), [SessionId::new(101)]);
}

#[tokio::test]
async fn a_clock_that_steps_back_revokes_no_less() {
    let world = World::new();
    let alice = identity("alice");
    world.sessions.end_all(&alice).await.unwrap();
    let then_s = world.now_s();
    world.clock.unix_ms.fetch_sub(100_000, std::sync::atomic::Ordering::SeqCst);
    world.sessions.end_all(&alice).await.unwrap();
    world.sessions.end_everything("demo").await.unwrap();
    assert!(world.told("demo").await.has("alice", then_s, None));
}

/// The origin goes by the page itself, and edges by what they are told of it.
#[tokio::test]
async fn edges_and_origin_agree_on_what_is_revoked() {
    let world = World::new();
    let first_s = world.now_s();
    for number in 0..REVOKED_MAX + 2 {
        let subject = format!("subject {number}");
        world.sessions.end_all(&identity(&subject)).await.unwrap();
        world.clock.advance(1);
    }
    let revoked = world.sessions.revoked("demo").await.unwrap();
    for subject in ["subject 0", "subject 1", "subject 2", "subject 200", "alice"] {
        for issued_s in first_s..world.now_s() + 2 {
            let told = revoked.told().has(subject, issued_s, None);
            assert_eq!(revoked.has_revoked(subject, issued_s), told, "{subject} {issued_s}");
        }
    }
}

//! Logs on a store in memory, which fails when it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, join_all};
use outport_wire::identity::Scopes;
use outport_wire::problem::ProblemType;
use outport_wire::secret::Secret;
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;
use serde_json::{Value, json};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::chain::DENIALS_PER_S;
use super::*;
use crate::book::tests::{Fault, FaultyMeta, TestClock};
use crate::meta::{Key, MemoryMeta, Version, Walk as _};

/// What is nowhere to be found in what is stored.
const NAMES: [&str; 4] = ["alice@example.com", "bøb", "root-admin", "tax return 2025.pdf"];
const ALL: usize = 1000;

struct World {
    memory: Arc<MemoryMeta>,
    clock: Arc<TestClock>,
}

impl World {
    fn new() -> Self {
        Self { memory: Arc::default(), clock: TestClock::at(1_800_000_000) }
    }

    fn audit(&self) -> Audit {
        self.audit_on(self.memory.clone())
    }

    fn audit_on(&self, meta: Arc<dyn Meta>) -> Audit {
        let environment: Arc<dyn Environment> = self.clock.clone();
        Audit::new(&meta, &environment)
    }

    async fn lines(&self) -> Vec<String> {
        self.audit().read(&demo(), 0, ALL).await.unwrap()
    }

    async fn seqs(&self) -> Vec<u64> {
        let lines = self.lines().await;
        lines.iter().map(|line| json(line)["seq"].as_u64().unwrap()).collect()
    }

    /// The log is whole, from the first entry on. Returns how many there are.
    async fn expect_whole(&self) -> u64 {
        let lines = self.lines().await;
        let verified = verify(&lines).unwrap_or_else(|broken| panic!("{broken}: {lines:#?}"));
        let Some(verified) = verified else { return 0 };
        assert_eq!((verified.first, verified.last), (1, verified.entries));
        verified.entries
    }
}

fn demo() -> Whose {
    Whose::Tenant("demo".into())
}

fn of(subject: &str) -> Identity {
    Identity::new("demo", subject, Scopes::all()).unwrap()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn verify<T: AsRef<str>>(lines: &[T]) -> Result<Option<Verified>, Broken> {
    let mut verifier = Verifier::default();
    lines.iter().try_for_each(|line| verifier.line(line.as_ref()))?;
    Ok(verifier.end())
}

/// One of each form that events have.
fn events() -> Vec<(Identity, Event)> {
    let [alice, bob, root] = [of(NAMES[0]), of(NAMES[1]), of(NAMES[2])];
    let removed = Event::new(Kind::FileRemoved, &alice).with("complete", true);
    let revoked = Event::new(Kind::SubjectRevoked, &root).about("subject", NAMES[1], NAMES[1]);
    let denied = Event::denied(&bob, ProblemType::ScopeMissing).with("method", "DELETE");
    vec![
        (alice.clone(), Event::new(Kind::SessionBegun, &alice).with("session", "0123456789abcdef")),
        (alice.clone(), removed.about("name", NAMES[0], NAMES[3])),
        (root, revoked),
        (bob, denied),
        (alice.clone(), Event::new(Kind::SessionsEnded, &alice)),
    ]
}

/// What an entry says that says next to nothing.
fn said(seq: u64) -> entry::Said {
    let (kind, what) = (Kind::SessionsEnded, Default::default());
    entry::Said { seq, time_ms: 0, kind, denied: None, who: None, what }
}

async fn note_all(audit: &Audit) {
    for (by, event) in events() {
        audit.note(&by, event).await.unwrap();
    }
}

#[tokio::test]
async fn an_export_says_what_was_noted() {
    let world = World::new();
    note_all(&world.audit()).await;
    let lines: Vec<_> = world.lines().await.iter().map(|line| json(line)).collect();
    assert_eq!(world.expect_whole().await, 5);
    let removed = &lines[1];
    assert_eq!(removed["seq"], 2);
    assert_eq!(removed["time"], "2027-01-15T08:00:00.000Z");
    assert_eq!(
        (&removed["kind"], &removed["outcome"]),
        (&json!("file-removed"), &json!("allowed"))
    );
    assert_eq!(removed["who"]["text"], NAMES[0]);
    assert_eq!(
        (&removed["what"]["complete"], &removed["what"]["name"]["text"]),
        (&json!(true), &json!(NAMES[3]))
    );
    assert_eq!(removed["previous"], lines[0]["hash"]);
    let denied = &lines[3];
    assert_eq!(
        (&denied["outcome"], &denied["problem"]),
        (&json!("denied"), &json!("scope-missing"))
    );
    // Whose key it is under tells of whom it is, and not of who did it.
    assert_eq!(lines[2]["what"]["subject"]["id"], denied["who"]["id"]);
}

#[tokio::test]
async fn what_is_read_in_pages_verifies_in_one_and_from_the_middle() {
    let world = World::new();
    let audit = world.audit();
    note_all(&audit).await;
    let first = audit.read(&demo(), 0, 2).await.unwrap();
    let rest = audit.read(&demo(), 2, ALL).await.unwrap();
    assert_eq!((first.len(), rest.len()), (2, 3));
    let middle = verify(&rest).unwrap().unwrap();
    assert_eq!((middle.entries, middle.first, middle.last), (3, 3, 5));
    assert_eq!(verify(&[first, rest].concat()).unwrap().unwrap().hash, middle.hash);
    assert_eq!(verify::<&str>(&[]), Ok(None));
}

#[tokio::test]
async fn tenants_have_chains_of_their_own() {
    let world = World::new();
    let audit = world.audit();
    let other = Identity::new("other", NAMES[0], Scopes::all()).unwrap();
    audit.note(&other, Event::new(Kind::SessionsEnded, &other)).await.unwrap();
    note_all(&audit).await;
    assert_eq!(world.expect_whole().await, 5);
    let others = audit.read(&Whose::Tenant("other".into()), 0, ALL).await.unwrap();
    let ids = |lines: &[String]| json(&lines[0])["who"]["id"].clone();
    assert_ne!(ids(&others), ids(&world.lines().await), "one name, two people");
    // What one tenant may be called is no place where another's things are.
    let tenants =
        ["x", "keys/x", "of the deployment", "x/keys"].map(|name| Whose::Tenant(name.into()));
    let places = tenants.iter().chain([&Whose::Deployment]);
    let mut partitions: Vec<_> =
        places.flat_map(|whose| [whose.partition(), whose.keys_partition()]).collect();
    let count = partitions.len();
    partitions.sort();
    partitions.dedup();
    assert_eq!(partitions.len(), count);
}

#[tokio::test]
async fn every_changed_byte_of_what_is_stored_is_found() {
    let world = World::new();
    note_all(&world.audit()).await;
    for (_, stored) in world.memory.scan(demo().partition().into(), None, ALL).await.unwrap() {
        assert!(entry::decode(&stored.value).is_ok());
        for place in 0..stored.value.len() {
            let mut changed = stored.value.to_vec();
            changed[place] ^= 1;
            assert!(entry::decode(&changed).is_err(), "byte {place}");
            assert!(entry::decode(&changed[..place]).is_err(), "cut at {place}");
        }
    }
}

#[tokio::test]
async fn what_is_damaged_in_the_store_is_exported_and_found() {
    let world = World::new();
    note_all(&world.audit()).await;
    let key = chain::key(&demo(), 3);
    let Some(stored) = world.memory.get(key.clone()).await.unwrap() else { panic!("it is there") };
    let mut changed = stored.value.to_vec();
    changed[50] ^= 1;
    world.memory.put(key, changed.into(), Some(stored.version)).await.unwrap();
    let lines = world.lines().await;
    assert_eq!(lines.len(), 5);
    assert_eq!(verify(&lines).unwrap_err().line, 3);
}

#[tokio::test]
async fn every_changed_byte_of_an_export_is_found() {
    let world = World::new();
    note_all(&world.audit()).await;
    let lines = world.lines().await;
    for (number, line) in lines.iter().enumerate() {
        for place in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[place] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let mut changed = lines.clone();
            changed[number] = text.clone();
            let broken = verify(&changed).expect_err(&text);
            assert_eq!(broken.line, number as u64 + 1, "{text}");
        }
    }
}

#[test]
fn the_first_entry_follows_nothing_and_other_versions_are_not_guessed_at() {
    let said = said(1);
    let line = |previous: entry::Hash| {
        let (bytes, _) = entry::encode(&said, &previous);
        Line::new(&entry::decode(&bytes).unwrap(), &bytes, |_, _| None).to_json()
    };
    assert!(verify(&[line([0; 32])]).is_ok());
    assert_eq!(verify(&[line([1; 32])]).unwrap_err().line, 1);
    let (bytes, hash) = entry::encode(&said, &entry::Hash::default());
    let mut newer = bytes[..bytes.len() - hash.len()].to_vec();
    newer[0] += 1;
    newer.extend(entry::digest(&newer));
    assert_eq!(entry::decode(&newer), Err(entry::NoEntry::Version));
}

#[test]
fn a_number_that_is_left_out_is_found_though_the_hashes_agree() {
    let mut last = entry::Hash::default();
    let lines = [1, 2, 4].map(|seq| {
        let (bytes, hash) = entry::encode(&said(seq), &last);
        last = hash;
        Line::new(&entry::decode(&bytes).unwrap(), &bytes, |_, _| None).to_json()
    });
    assert_eq!(verify(&lines).unwrap_err().line, 3);
    assert!(verify(&lines[..2]).is_ok());
}

#[tokio::test]
async fn a_subject_has_one_key_however_many_make_it() {
    let world = World::new();
    let keys = || world.audit_on(FaultyMeta::new(world.memory.clone(), Fault::Never)).keys;
    let (one, other, whose) = (keys(), keys(), demo());
    let (one, other) = futures::join!(one.of(&whose, NAMES[0]), other.of(&whose, NAMES[0]));
    assert_eq!(one.unwrap().id, other.unwrap().id);
    let kept = world.memory.walk(None, ALL).await.unwrap();
    assert_eq!(kept.len(), 2, "of the other key nothing is left");
}

#[tokio::test]
async fn whoever_replaces_a_name_or_all_of_an_entry_is_found_out() {
    let world = World::new();
    note_all(&world.audit()).await;
    let lines = world.lines().await;
    let changed = |change: &dyn Fn(&mut Line)| {
        let mut line: Line = serde_json::from_str(&lines[1]).unwrap();
        change(&mut line);
        let mut changed = lines.clone();
        changed[1] = line.to_json();
        verify(&changed)
    };
    assert!(changed(&|_| ()).is_ok());
    // An entry that is whole by itself, made anew with other content.
    let forged = changed(&|line| {
        let bytes = base64::Engine::decode(&URL_SAFE_NO_PAD, &line.bytes).unwrap();
        let mut entry = entry::decode(&bytes).unwrap();
        entry.said.kind = Kind::LinksEnded;
        let (bytes, hash) = entry::encode(&entry.said, &entry.previous);
        let entry = Entry { hash, ..entry };
        *line = Line::new(&entry, &bytes, |_, _| None);
    });
    assert_eq!(forged.unwrap_err().line, 3, "the next one was made behind another");
    let swapped = lines[1].replace(NAMES[0], NAMES[1]);
    assert_ne!(swapped, lines[1]);
    assert_eq!(verify(&[&lines[0], &swapped]).unwrap_err().line, 2);
}

proptest! {
    #![proptest_config(Cases { cases: 64, ..Cases::default() })]

    /// Lines removed, doubled and moved. Only what is cut off at the end, or at the beginning, is not
    /// found.
    #[test]
    fn no_other_order_of_lines_verifies(order in prop::collection::vec(0_usize..12, 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let audit = world.audit();
            for (by, event) in events().into_iter().cycle().take(12) {
                audit.note(&by, event).await.unwrap();
            }
            let lines = world.lines().await;
            let chosen: Vec<_> = order.iter().map(|place| &lines[*place]).collect();
            let follows = order.windows(2).all(|two| two[0] + 1 == two[1]);
            assert_eq!(verify(&chosen).is_ok(), follows, "{order:?}");
        });
    }

    /// Two origins on one store that fails at some place, and whatever comes in between: what was
    /// acknowledged is in the log, once, and the log is whole.
    #[test]
    fn what_was_acknowledged_is_in_the_log(
        notes in prop::collection::vec((0_usize..3, 0_usize..5), 1..30),
        fails in 0_usize..40,
        fault in 0_usize..4,
    ) {
        let fault = match fault {
            0 => Fault::DiesBefore(fails),
            1 => Fault::DiesAfter(fails),
            2 => Fault::Unsure(fails),
            _ => Fault::Refuses(fails),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(interleave(&notes, fault));
    }
}

async fn interleave(notes: &[(usize, usize)], fault: Fault) {
    let world = World::new();
    let failing = FaultyMeta::new(world.memory.clone(), fault);
    let sound = || FaultyMeta::new(world.memory.clone(), Fault::Never);
    let origins = [world.audit_on(failing), world.audit_on(sound()), world.audit_on(sound())];
    let events = events();
    let noting = notes.iter().enumerate().map(|(place, (origin, event))| {
        let (by, event) = events[*event].clone();
        let origin = &origins[*origin];
        async move { origin.note(&by, event.with("place", place)).await.is_ok() }
    });
    let acknowledged = join_all(noting).await;
    let entries = world.expect_whole().await;
    let mut found: Vec<_> = world
        .lines()
        .await
        .iter()
        .map(|line| json(line)["what"]["place"].as_u64().unwrap() as usize)
        .collect();
    found.sort_unstable();
    let count = found.len();
    found.dedup();
    assert_eq!((found.len(), count as u64), (count, entries), "each at most once");
    for (place, acknowledged) in acknowledged.into_iter().enumerate() {
        assert!(!acknowledged || found.contains(&place), "{place} was acknowledged: {found:?}");
        assert!(acknowledged || notes[place].0 == 0, "{place} was refused by a sound store");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_two_origins_each_has_its_place() {
    let world = World::new();
    let origins = [world.audit(), world.audit()];
    let noting = (0..200).map(|place| {
        let (origin, alice) = (origins[place % 2].clone(), of(NAMES[0]));
        let event = Event::new(Kind::SessionEnded, &alice);
        tokio::spawn(async move { origin.note(&alice, event).await })
    });
    for noted in join_all(noting).await {
        noted.unwrap().unwrap();
    }
    assert_eq!(world.expect_whole().await, 200);
    assert_eq!(world.seqs().await, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_than_may_wait_are_turned_away() {
    let world = World::new();
    let audit = world.audit();
    let alice = of(NAMES[0]);
    // All come before the writer has its first turn.
    let noting = (0..1100).map(|_| audit.note(&alice, Event::new(Kind::SessionEnded, &alice)));
    let noted = join_all(noting).await;
    let busy = noted.iter().filter(|noted| matches!(noted, Err(NoteError::Busy))).count();
    assert_eq!(busy, 1100 - 1024);
}

/// A store that counts what is read.
struct Counting(Arc<MemoryMeta>, AtomicUsize);

impl Meta for Counting {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<crate::meta::Entry>, MetaError>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get(key)
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        self.0.put(key, value, expected)
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        self.0.delete(key, expected)
    }

    fn scan(
        &self,
        _: Bytes,
        _: Option<Bytes>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, crate::meta::Entry)>, MetaError>> {
        panic!("the end of a log is not looked for by a scan")
    }
}

#[tokio::test]
async fn the_end_is_found_by_few_looks() {
    for entries in [0_u64, 1, 2, 3, 7, 8, 9, 900] {
        let world = World::new();
        let mut last = entry::Hash::default();
        for seq in 1..=entries {
            let (bytes, hash) = entry::encode(&said(seq), &last);
            world.memory.put(chain::key(&demo(), seq), bytes.into(), None).await.unwrap();
            last = hash;
        }
        let counting = Arc::new(Counting(world.memory.clone(), AtomicUsize::new(0)));
        let audit = world.audit_on(counting.clone());
        let end = audit.end(&demo(), 0).await.unwrap();
        assert_eq!(end.seq, entries);
        let looks = counting.1.swap(0, Ordering::SeqCst);
        assert!(looks <= 2 * (entries.max(1).ilog2() as usize + 2), "{looks} of {entries}");
        note_all(&audit).await;
        // It is known from then on: two looks for each key, or one more where it is made.
        counting.1.store(0, Ordering::SeqCst);
        note_all(&audit).await;
        let looks = counting.1.load(Ordering::SeqCst);
        assert_eq!(looks, 7 * 2, "of the keys, and of nothing else");
        assert_eq!(world.expect_whole().await, entries + 10);
    }
}

#[tokio::test]
async fn who_is_forgotten_can_be_read_of_no_more() {
    let world = World::new();
    let audit = world.audit();
    note_all(&audit).await;
    let root = of(NAMES[2]);
    let before = world.lines().await;
    assert!(!audit.forget(&root, "nobody").await.unwrap());
    assert_eq!(world.expect_whole().await, 5, "who was never here leaves nothing");
    assert!(audit.forget(&root, NAMES[1]).await.unwrap());

    let lines = world.lines().await;
    assert_eq!(world.expect_whole().await, 6);
    let [revoked, denied, forgotten] = [2, 3, 5].map(|place| json(&lines[place]));
    let id = denied["who"]["id"].clone();
    let gone = json!({ "id": id, "text": null, "forgotten": true });
    assert_eq!((&denied["who"], &revoked["what"]["subject"]), (&gone, &gone));
    assert_eq!(revoked["who"]["text"], NAMES[2], "who did it is another");
    assert_eq!(
        (&forgotten["kind"], &forgotten["what"]["person"]),
        (&json!("person-forgotten"), &id)
    );
    assert!(!lines.concat().contains(NAMES[1]));
    assert_eq!(lines[0], before[0], "others are as they were");

    // Somebody who comes back is somebody else.
    let bob = of(NAMES[1]);
    audit.note(&bob, Event::new(Kind::SessionsEnded, &bob)).await.unwrap();
    let back = json(&world.lines().await[6]);
    assert_eq!(back["who"]["text"], NAMES[1]);
    assert_ne!(back["who"]["id"], id);
    assert_eq!(json(&world.lines().await[3])["who"], gone);
}

#[tokio::test]
async fn forgetting_goes_on_where_it_was_broken_off() {
    for at in 0..4 {
        let world = World::new();
        let (alice, root) = (of(NAMES[0]), of(NAMES[2]));
        note_all(&world.audit()).await;
        let failing = FaultyMeta::new(world.memory.clone(), Fault::DiesBefore(at));
        let forgotten = world.audit_on(failing).forget(&root, NAMES[0]).await;
        assert_eq!(forgotten.is_ok(), at > 2, "{at}");
        let readable = world.lines().await.concat().contains(NAMES[0]);
        assert_eq!(readable, at < 2, "the entry, the key, the way to it: {at}");
        assert!(at > 0 || world.expect_whole().await == 5, "nothing was done unnoted");
        // Whoever comes while only the key is gone gets another.
        world.audit().note(&alice, Event::new(Kind::SessionsEnded, &alice)).await.unwrap();
        world.audit().forget(&root, NAMES[0]).await.unwrap();
        assert!(!world.lines().await.concat().contains(NAMES[0]));
        world.expect_whole().await;
    }
}

#[tokio::test]
async fn no_name_is_stored() {
    let world = World::new();
    let audit = world.audit();
    note_all(&audit).await;
    audit.forget(&of(NAMES[2]), NAMES[0]).await.unwrap();
    let all = world.memory.walk(None, ALL).await.unwrap();
    assert_eq!(
        all.len(),
        6 + 2 * 2,
        "the entries, and of each who is left a key and the way to it"
    );
    for (key, stored) in all {
        for name in NAMES {
            let holds =
                |bytes: &[u8]| bytes.windows(name.len()).any(|part| part == name.as_bytes());
            for bytes in [&key.partition, &key.key, &stored.value] {
                assert!(!holds(bytes), "{name} is stored at {key:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_sealed_opens_where_it_stands_alone() {
    let world = World::new();
    let keys = world.audit().keys;
    let key = keys.of(&demo(), NAMES[0]).await.unwrap();
    let (whose, other) = (demo(), Whose::Tenant("other".into()));
    let place = Place { whose: &whose, seq: 7, name: WHO };
    let sealed = key.seal(&*world.clock, place, "text").unwrap();
    assert_eq!(key.open(place, &sealed).unwrap().text, "text");
    let elsewhere = [
        Place { seq: 8, ..place },
        Place { name: "name", ..place },
        Place { whose: &other, ..place },
    ];
    for place in elsewhere {
        assert_eq!(key.open(place, &sealed), None, "{place:?}");
    }
    let again = key.seal(&*world.clock, place, "text").unwrap();
    assert_ne!((&again.commitment, &again.sealed), (&sealed.commitment, &sealed.sealed));
    let strange = keys.of(&demo(), NAMES[1]).await.unwrap();
    assert_eq!(strange.open(place, &sealed), None);
}

#[tokio::test]
async fn of_many_denials_some_are_noted_and_the_others_counted() {
    let world = World::new();
    let audit = world.audit();
    let bob = of(NAMES[1]);
    let deny = async |times: u32| {
        for _ in 0..times {
            audit.note_denied(&bob, Event::denied(&bob, ProblemType::NotFound)).await;
        }
    };
    deny(DENIALS_PER_S + 15).await;
    assert_eq!(world.expect_whole().await, u64::from(DENIALS_PER_S));
    world.clock.advance(1);
    deny(2).await;
    let left_out: Vec<_> =
        world.lines().await.iter().map(|line| json(line)["what"]["left_out"].clone()).collect();
    let said = left_out.iter().position(|left_out| !left_out.is_null()).unwrap();
    assert_eq!((said as u32, &left_out[said]), (DENIALS_PER_S, &json!(15)));
    assert_eq!(left_out.len() as u32, DENIALS_PER_S + 2);
    assert_eq!(left_out[said + 1], Value::Null, "they are said once");
}

#[tokio::test]
async fn denials_that_could_not_be_noted_are_counted() {
    let world = World::new();
    let failing = FaultyMeta::new(world.memory.clone(), Fault::Refuses(0));
    let audit = world.audit_on(failing);
    let bob = of(NAMES[1]);
    for _ in 0..2 {
        audit.note_denied(&bob, Event::denied(&bob, ProblemType::NotFound)).await;
    }
    assert_eq!(world.expect_whole().await, 1);
    assert_eq!(json(&world.lines().await[0])["what"]["left_out"], 1);
}

#[tokio::test]
async fn settings_are_noted_when_they_are_others() {
    let world = World::new();
    let key =
        || outport_wire::secret::Key { id: "a".into(), secret: Secret::new(vec![1; 32]).unwrap() };
    let mut config = Config::new("/data", vec![key()], Secret::new(vec![2; 32]).unwrap());
    let noted = async |config: &Config| {
        world.audit().note_settings(config).await.unwrap();
        let lines = world.audit().read(&Whose::Deployment, 0, ALL).await.unwrap();
        verify(&lines).unwrap();
        lines.len()
    };
    assert_eq!(noted(&config).await, 1);
    assert_eq!(noted(&config).await, 1);
    config.limits.json_bytes_max += 1;
    assert_eq!(noted(&config).await, 2);
    config.limits.json_bytes_max -= 1;
    assert_eq!(noted(&config).await, 3, "it is the last that counts");
    // Of secrets it says nothing, not even that they are others.
    config.link_key = Secret::new(vec![3; 32]).unwrap();
    assert_eq!(noted(&config).await, 3);
    assert!(world.lines().await.is_empty(), "it is in no tenant's log");
}

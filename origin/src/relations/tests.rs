//! Relations on a store in memory, which others use at the same time and which fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{FutureExt as _, join_all};
use proptest::prelude::*;

use super::questions::Seen;
use super::*;
use crate::meta::{Entry, Key, MemoryMeta, Meta, MetaError, Version};

const FILE: &str = "file:01000G0000000C000000000004";

fn store() -> KeptRelations {
    KeptRelations::new(Arc::new(MemoryMeta::default()))
}

fn tuple(text: &str) -> Tuple {
    text.parse().unwrap()
}

fn change(text: &str, is_there: bool) -> Change {
    Change { tuple: tuple(text), is_there }
}

async fn write(relations: &KeptRelations, tuples: &[&str]) -> Revision {
    let changes = tuples.iter().map(|text| change(text, true)).collect();
    relations.change("demo", changes).await.unwrap()
}

fn bob() -> Identity {
    Identity::new("demo", "bob", Default::default()).unwrap()
}

fn object(text: &str) -> Object {
    text.parse().unwrap()
}

async fn level_of_bob(relations: &KeptRelations, of: &str) -> Option<Level> {
    level(relations, &bob(), &object(of)).await.unwrap()
}

#[tokio::test]
async fn by_folders_and_groups() {
    let relations = store();
    let file = &format!("{FILE}#parent@folder:a");
    assert_eq!(write(&relations, &[file, "folder:a#parent@folder:b"]).await, 1);
    assert_eq!(write(&relations, &["folder:b#editor@group:all"]).await, 2);
    assert_eq!(level_of_bob(&relations, FILE).await, None);
    let of = ["group:staff#member@user:bob", "group:all#member@group:staff"];
    assert_eq!(write(&relations, &of).await, 3);
    assert_eq!(level_of_bob(&relations, FILE).await, Some(Level::Editor));
    assert_eq!(level_of_bob(&relations, "folder:b").await, Some(Level::Editor));
    let other = Identity::new("other", "bob", Default::default()).unwrap();
    assert_eq!(level(&relations, &other, &object(FILE)).await.unwrap(), None);
    // Put somewhere else, it is there no more.
    write(&relations, &[&format!("{FILE}#parent@folder:c")]).await;
    assert_eq!(level_of_bob(&relations, FILE).await, None);
    let direct = relations.direct("demo", &object(FILE)).await.unwrap();
    assert_eq!(direct.parent(), Some("c"));
    assert_eq!(direct.holds, Holds { changed: 4, read: 4 });
}

#[tokio::test]
async fn what_was_done_before_is_done_again_without_harm() {
    let relations = store();
    for expected in 1..=2 {
        assert_eq!(write(&relations, &["tenant#viewer@user:bob"]).await, expected);
    }
    assert_eq!(level_of_bob(&relations, FILE).await, Some(Level::Viewer));
    for _ in 0..2 {
        let gone = vec![change("tenant#viewer@user:bob", false)];
        relations.change("demo", gone).await.unwrap();
    }
    assert_eq!(level_of_bob(&relations, FILE).await, None);
}

#[tokio::test]
async fn no_more_than_edges_are_told() {
    let relations = store();
    for place in 0..relation::RELATED_MAX {
        write(&relations, &[&format!("folder:a#viewer@user:{place}")]).await;
        write(&relations, &[&format!("group:{place}#member@user:bob")]).await;
    }
    for text in ["folder:a#viewer@user:one more", "group:one more#member@user:bob"] {
        let refused = relations.change("demo", vec![change(text, true)]).await;
        assert!(matches!(refused, Err(RelationsError::Full(_))), "{refused:?}");
    }
    write(&relations, &["folder:a#parent@folder:b"]).await;
    // One for another is no more.
    let changes =
        vec![change("folder:a#viewer@user:0", false), change("folder:a#viewer@user:x", true)];
    relations.change("demo", changes).await.unwrap();
}

#[tokio::test]
async fn who_can_see_this_and_what_can_they_see() {
    let relations = store();
    let in_a = format!("{FILE}#parent@folder:a");
    let of = [
        in_a.as_str(),
        "folder:a#viewer@group:staff",
        "group:staff#member@user:bob",
        "group:staff#member@user:eve",
    ];
    write(&relations, &of).await;
    write(&relations, &[&format!("{FILE}#owner@user:eve"), "tenant#viewer@tenant"]).await;
    let answer = who_sees(&relations, "demo", &object(FILE)).await.unwrap();
    let named = answer.named.iter().map(|seer| {
        let through: Vec<_> = seer.through.iter().map(Tuple::to_string).collect();
        (seer.subject.to_string(), seer.level, through.join(", "))
    });
    let by_group = format!("{in_a}, folder:a#viewer@group:staff, group:staff#member@user:bob");
    let expected = [
        ("tenant".to_owned(), Level::Viewer, format!("{in_a}, tenant#viewer@tenant")),
        ("user:bob".to_owned(), Level::Viewer, by_group),
        ("user:eve".to_owned(), Level::Owner, format!("{FILE}#owner@user:eve")),
    ];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    assert!(answer.is_whole && answer.revision == 2);
    let answer = visible(&relations, &bob()).await.unwrap();
    let seen =
        Seen { file: FILE.strip_prefix("file:").unwrap().parse().unwrap(), level: Level::Viewer };
    assert_eq!((answer.named, answer.is_whole), (vec![seen], false), "all of the tenant, too");
    // What has gone is not named, though the folder is.
    relations.change("demo", vec![change("tenant#viewer@tenant", false)]).await.unwrap();
    relations.change("demo", vec![change("group:staff#member@user:bob", false)]).await.unwrap();
    let answer = visible(&relations, &bob()).await.unwrap();
    assert_eq!((answer.named, answer.is_whole), (vec![], true));
}

#[tokio::test]
async fn nothing_is_left_of_a_file_that_is_gone() {
    let relations = store();
    for user in 0..100 {
        write(&relations, &[&format!("{FILE}#viewer@user:{user}")]).await;
    }
    let id = FILE.strip_prefix("file:").unwrap().parse().unwrap();
    forget_file(&relations, "demo", id).await.unwrap();
    assert_eq!(relations.direct("demo", &object(FILE)).await.unwrap().tuples, []);
    let user = Subject::User("7".into());
    assert_eq!(relations.of_subject("demo", &user, None).await.unwrap().tuples, []);
}

/// A store that others get a turn at with each operation, and that fails at some writes: before they
/// are made, or after.
struct Shaky {
    meta: Arc<MemoryMeta>,
    /// What becomes of the next operations, by turns.
    fates: Vec<Fate>,
    next: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    Waits(usize),
    Fails,
    IsUncertain,
}

impl Shaky {
    async fn fate(&self) -> Fate {
        let fate = self.fates[self.next.fetch_add(1, Ordering::Relaxed) % self.fates.len()];
        if let Fate::Waits(turns) = fate {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        }
        tokio::task::yield_now().await;
        fate
    }

    async fn write<T>(
        &self,
        made: impl Future<Output = Result<T, MetaError>>,
    ) -> Result<T, MetaError> {
        let failed = || Arc::new(std::io::Error::other("it shakes"));
        match self.fate().await {
            Fate::Fails => Err(MetaError::Unavailable(failed())),
            Fate::IsUncertain => made.await.and(Err(MetaError::Uncertain(failed()))),
            _ => made.await,
        }
    }
}

impl Meta for Shaky {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, MetaError>> {
        async move {
            self.fate().await;
            self.meta.get(key).await
        }
        .boxed()
    }

    fn put(
        &self,
        key: Key,
        value: Bytes,
        expected: Option<Version>,
    ) -> BoxFuture<'_, Result<Version, MetaError>> {
        self.write(self.meta.put(key, value, expected)).boxed()
    }

    fn delete(&self, key: Key, expected: Version) -> BoxFuture<'_, Result<(), MetaError>> {
        self.write(self.meta.delete(key, expected)).boxed()
    }

    fn scan(
        &self,
        partition: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Bytes, Entry)>, MetaError>> {
        self.meta.scan(partition, after, limit)
    }
}

const TUPLES: [&str; 8] = [
    "file:01000G0000000C000000000004#viewer@user:bob",
    "file:01000G0000000C000000000004#parent@folder:a",
    "file:01000G0000000C000000000004#parent@folder:b",
    "folder:a#viewer@group:staff",
    "folder:b#editor@group:all",
    "group:staff#member@user:bob",
    "group:all#member@group:staff",
    "tenant#owner@user:bob",
];

/// Something that one of several does, one after the other.
#[derive(Clone, Debug)]
enum Does {
    Change(Vec<(usize, bool)>),
    Direct(usize),
    Closure,
    Level,
}

/// What came of it.
#[derive(Debug)]
enum Came {
    /// It was changed at this revision; at none, if it is not known whether it was.
    Changed(Option<Revision>, Vec<Change>),
    Direct(Object, Direct),
    Closure(Closure),
    /// From which revision on it may be true.
    Level(Revision, Option<Level>),
}

async fn do_it(relations: &KeptRelations, does: &Does) -> Option<Came> {
    Some(match does {
        Does::Change(changes) => {
            let changes: Vec<_> =
                changes.iter().map(|(place, is_there)| change(TUPLES[*place], *is_there)).collect();
            let revision = relations.change("demo", changes.clone()).await.ok();
            Came::Changed(revision, changes)
        }
        Does::Direct(place) => {
            let object = tuple(TUPLES[*place]).object;
            let direct = relations.direct("demo", &object).await.ok()?;
            Came::Direct(object, direct)
        }
        Does::Closure => {
            Came::Closure(relations.closure("demo", &Subject::User("bob".into())).await.ok()?)
        }
        Does::Level => {
            let from = relations.direct("demo", &Object::Tenant).await.ok()?.holds.read;
            Came::Level(from, level(relations, &bob(), &object(FILE)).await.ok()?)
        }
    })
}

/// All tuples at each revision.
struct History(Vec<BTreeSet<Tuple>>);

impl History {
    fn of(came: &[Came]) -> Option<Self> {
        let mut by_revision = BTreeMap::new();
        for came in came {
            match came {
                Came::Changed(Some(revision), changes) => {
                    assert!(by_revision.insert(*revision, changes).is_none(), "{revision} twice");
                }
                // Somebody may have done it since, at a revision that nobody was told.
                Came::Changed(None, _) => return None,
                _ => {}
            }
        }
        let mut all = vec![BTreeSet::new()];
        for (revision, changes) in by_revision {
            // One that was made twice, as far as was known, has two, of which the second is told.
            while (all.len() as u64) < revision {
                all.push(all.last().unwrap().clone());
            }
            let mut now = all.last().unwrap().clone();
            for Change { tuple, is_there } in changes {
                let place =
                    |old: &Tuple| old.relation == Relation::Parent && old.object == tuple.object;
                if *is_there && tuple.relation == Relation::Parent {
                    now.retain(|old| !place(old));
                }
                if *is_there {
                    now.insert(tuple.clone())
                } else {
                    now.remove(tuple)
                };
            }
            all.push(now);
        }
        Some(Self(all))
    }

    fn at(&self, revision: Revision) -> &BTreeSet<Tuple> {
        &self.0[(revision as usize).min(self.0.len() - 1)]
    }

    fn direct(&self, object: &Object, at: Revision) -> Vec<Tuple> {
        self.at(at).iter().filter(|tuple| tuple.object == *object).cloned().collect()
    }

    fn closure(&self, at: Revision) -> BTreeSet<String> {
        let has = |text: &str| self.at(at).contains(&tuple(text));
        let staff = has("group:staff#member@user:bob");
        let all = staff && has("group:all#member@group:staff");
        let named = [(staff, "group:staff"), (all, "group:all")];
        named.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned()).collect()
    }

    fn level(&self, at: Revision) -> Option<Level> {
        let has = |text: &str| self.at(at).contains(&tuple(text));
        let groups = self.closure(at);
        let of = |place: usize| has(TUPLES[place]);
        [
            (of(0), Level::Viewer),
            (of(1) && of(3) && groups.contains("group:staff"), Level::Viewer),
            (of(2) && of(4) && groups.contains("group:all"), Level::Editor),
            (of(7), Level::Owner),
        ]
        .into_iter()
        .filter_map(|(is, level)| is.then_some(level))
        .max()
    }
}

fn does() -> impl Strategy<Value = Does> {
    let changes = prop::collection::btree_map(0..TUPLES.len(), any::<bool>(), 1..4);
    prop_oneof![
        3 => changes.prop_map(|changes| Does::Change(changes.into_iter().collect())),
        2 => prop::sample::select(vec![0, 3, 4, 7]).prop_map(Does::Direct),
        1 => Just(Does::Closure),
        2 => Just(Does::Level),
    ]
}

fn fate(failures: u32) -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Good),
        5 => (1..40_usize).prop_map(Fate::Waits),
        failures => prop_oneof![Just(Fate::Fails), Just(Fate::IsUncertain)],
    ]
}

/// Several origins on one store, each of whose callers do one thing after the other.
fn play(fates: Vec<Fate>, callers: &[Vec<Does>]) -> (Vec<Came>, KeptRelations) {
    let shaky = Arc::new(Shaky { meta: Arc::default(), fates, next: AtomicUsize::new(0) });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let came = runtime.block_on(async {
        let origins: Vec<_> = (0..2).map(|_| KeptRelations::new(shaky.clone())).collect();
        let working = callers.iter().enumerate().map(async |(place, all)| {
            let mut came = Vec::new();
            for does in all {
                came.extend(do_it(&origins[place % 2], does).await);
            }
            came
        });
        join_all(working).await.into_iter().flatten().collect()
    });
    let after = Arc::new(Shaky {
        meta: shaky.meta.clone(),
        fates: vec![Fate::Good],
        next: AtomicUsize::new(0),
    });
    (came, KeptRelations::new(after))
}

/// All tuples that there are, each of which the indexes must name.
fn all_there(relations: &KeptRelations) -> BTreeSet<Tuple> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        relations.direct("demo", &Object::Tenant).await.unwrap();
        let mut there = BTreeSet::new();
        for tuple in TUPLES.map(tuple) {
            if !relations.has("demo", &tuple).await.unwrap() {
                continue;
            }
            let by_subject = relations.of_subject("demo", &tuple.subject, None).await.unwrap();
            assert!(by_subject.tuples.contains(&tuple), "{tuple}");
            if tuple.relation == Relation::Member {
                let members = relations.members("demo", &tuple.object, None).await.unwrap();
                assert!(members.tuples.contains(&tuple), "{tuple}");
            }
            there.insert(tuple);
        }
        there
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every answer is what was true at each revision for which it says that it holds, and what is
    /// answered from several is true at one revision.
    #[test]
    fn answers_are_what_was_true(
        fates in prop::collection::vec(fate(0), 1..50),
        callers in prop::collection::vec(prop::collection::vec(does(), 1..8), 1..5),
    ) {
        let (came, after) = play(fates, &callers);
        let history = History::of(&came).unwrap();
        let last = history.0.len() as Revision - 1;
        prop_assert_eq!(&all_there(&after), history.at(last));
        for came in &came {
            match came {
                Came::Changed(..) => {}
                Came::Direct(object, Direct { holds, tuples }) => {
                    prop_assert!(holds.changed <= holds.read, "{holds:?}");
                    for at in holds.changed..=holds.read {
                        prop_assert_eq!(&history.direct(object, at), tuples, "{} at {}", object, at);
                    }
                }
                Came::Closure(Closure { holds, of }) => {
                    prop_assert!(holds.changed <= holds.read, "{holds:?}");
                    let of: BTreeSet<_> = of.iter().map(Subject::to_string).collect();
                    for at in holds.changed..=holds.read {
                        prop_assert_eq!(&history.closure(at), &of, "at {}", at);
                    }
                }
                Came::Level(from, level) => {
                    let is_true = (*from..=last).any(|at| history.level(at) == *level);
                    prop_assert!(is_true, "{level:?} was never true since {from}");
                }
            }
        }
    }

    /// Whatever fails, and wherever it broke off: once it goes well again, all of a change is there or
    /// nothing, and the indexes name all that is.
    #[test]
    fn all_of_a_change_or_nothing(
        fates in prop::collection::vec(fate(4), 1..50),
        changes in prop::collection::vec(
            prop::collection::btree_map(0..TUPLES.len(), any::<bool>(), 1..4),
            1..8,
        ),
    ) {
        let all: Vec<_> =
            changes.into_iter().map(|one| Does::Change(one.into_iter().collect())).collect();
        let (came, after) = play(fates, &[all]);
        // One after the other, each is made or not: what is there is one of what these come to.
        let mut possible = BTreeSet::from([BTreeSet::<Tuple>::new()]);
        for came in came {
            let Came::Changed(revision, changes) = came else { panic!("{came:?}") };
            let made = possible.iter().map(|before| {
                let mut now = before.clone();
                for change in &changes {
                    if change.is_there && change.tuple.relation == Relation::Parent {
                        now.retain(|old| old.relation != Relation::Parent
                            || old.object != change.tuple.object);
                    }
                    if change.is_there {
                        now.insert(change.tuple.clone());
                    } else {
                        now.remove(&change.tuple);
                    }
                }
                now
            });
            let made: BTreeSet<_> = made.collect();
            possible = if revision.is_some() { made } else { possible.union(&made).cloned().collect() };
        }
        let there = all_there(&after);
        prop_assert!(possible.contains(&there), "{there:?}");
    }
}

use std::collections::HashMap;

use outport_wire::identity::Scopes;
use proptest::prelude::*;

use super::graph::Graph;
use super::*;
use crate::head::RequestHead;
use crate::memory::tests::config;
use crate::step::{Looked, UpstreamHead};

const FILES: [&str; 2] = ["01000G0000000C000000000004", "01000G0000000C000000000008"];
const USERS: [&str; 2] = ["bob", "eve"];
const WITHIN_MS: u64 = 15_000;
const TUPLES: [&str; 12] = [
    "file:01000G0000000C000000000004#viewer@user:bob",
    "file:01000G0000000C000000000004#editor@group:staff",
    "file:01000G0000000C000000000004#parent@folder:a",
    "file:01000G0000000C000000000004#parent@folder:b",
    "file:01000G0000000C000000000008#parent@folder:b",
    "folder:a#parent@folder:b",
    "folder:b#parent@folder:a",
    "folder:b#viewer@group:all",
    "tenant#owner@role:support",
    "group:staff#member@user:bob",
    "group:all#member@group:staff",
    "role:support#member@user:eve",
];

/// One edge, its cache, and the origin's relations.
struct World {
    graph: Graph,
    config: Config,
    now_ms: u64,
    /// What is kept, and until when nobody asks again.
    cache: HashMap<String, (Vec<u8>, u64)>,
    /// The revision at each time.
    revisions: Vec<(u64, Revision)>,
    asked: Vec<Asking>,
}

/// An exchange that is under way.
struct Asking {
    relating: Relating,
    need: Need,
    key: String,
    /// The oldest revision that it may go by.
    from: Revision,
}

#[derive(Clone, Debug)]
enum Happens {
    Change(usize, bool),
    Passes(u64),
    Begins { user: usize, file: usize, now: bool },
    Goes(usize),
}

impl World {
    fn new() -> Self {
        let mut config = config();
        config.related_within_s = WITHIN_MS / 1000;
        let (now_ms, graph) = (1_800_000_000_000, Graph::default());
        let (cache, revisions) = (HashMap::new(), vec![(0, 0)]);
        Self { graph, config, now_ms, cache, revisions, asked: Vec::new() }
    }

    fn happen(&mut self, what: &Happens) -> Result<(), TestCaseError> {
        match *what {
            Happens::Change(tuple, is_there) => {
                let revision = self.graph.change(TUPLES[tuple], is_there);
                self.revisions.push((self.now_ms, revision));
            }
            Happens::Passes(ms) => self.now_ms += ms,
            Happens::Begins { user, file, now } => self.begin(user, file, now),
            Happens::Goes(_) if self.asked.is_empty() => {}
            Happens::Goes(place) => return self.go(place % self.asked.len()),
        }
        Ok(())
    }

    fn begin(&mut self, user: usize, file: usize, now: bool) {
        let identity = Identity::new("demo", USERS[user], Scopes::parse("read")).unwrap();
        let least = if now { self.graph.revision() } else { 0 };
        let file: FileId = FILES[file].parse().unwrap();
        let (relating, need) = Relating::begin(&identity, file, least, &self.config);
        let since_ms = self.now_ms.saturating_sub(WITHIN_MS);
        let before = self.revisions.iter().rev().find(|(at_ms, _)| *at_ms <= since_ms);
        let from = before.map_or(0, |(_, revision)| *revision).max(least);
        self.asked.push(Asking { relating, need, key: String::new(), from });
    }

    fn go(&mut self, place: usize) -> Result<(), TestCaseError> {
        let mut asking = self.asked.swap_remove(place);
        let outcome = self.meet(&asking.need, &mut asking.key);
        let moment = Moment { unix_ms: self.now_ms, random: 7 };
        match asking.relating.clone().resume(outcome, &self.config, moment).unwrap() {
            Next::Need(relating, need) => {
                self.asked.push(Asking { relating: *relating, need, ..asking })
            }
            Next::Level(level) => {
                let Asking { relating, from, .. } = asking;
                let file = Object::File(relating.file);
                let mut revisions = from..=self.graph.revision();
                let is_true =
                    revisions.any(|at| self.graph.level(&relating.user, &file, at) == level);
                prop_assert!(is_true, "{level:?} was never true since {from}: {relating:?}");
            }
            // Too much has changed meanwhile.
            Next::Unknown => prop_assert_eq!(asking.relating.again, AGAIN_MAX),
        }
        Ok(())
    }

    fn meet(&mut self, need: &Need, looked: &mut String) -> Outcome {
        match need {
            Need::Lookup { key } => {
                looked.clone_from(key);
                Outcome::Looked(match self.cache.get(key) {
                    None => Looked::Vacant,
                    Some((head, fresh_until_ms)) => Looked::Found {
                        head: head.clone(),
                        body: false,
                        forms: Vec::new(),
                        purged: false,
                        lead: *fresh_until_ms <= self.now_ms,
                        collapsed: false,
                    },
                })
            }
            Need::Fetch(fetch) => {
                let head = RequestHead::parse(&fetch.head).unwrap();
                let fields = self.graph.answer(head.target).into_bytes();
                Outcome::Fetched(Ok(UpstreamHead { status: 204, fields }))
            }
            Need::Put { key, head, fresh_ms } => {
                assert_eq!(key, looked);
                self.cache.insert(key.clone(), (head.clone(), self.now_ms + fresh_ms));
                Outcome::Put
            }
            need => panic!("{need:?}"),
        }
    }

    /// What is asked now, without anything in between.
    fn level(&mut self, user: usize, file: usize, now: bool) -> Option<Level> {
        self.begin(user, file, now);
        let mut asking = self.asked.pop().unwrap();
        loop {
            let outcome = self.meet(&asking.need, &mut asking.key);
            let moment = Moment { unix_ms: self.now_ms, random: 7 };
            match asking.relating.resume(outcome, &self.config, moment).unwrap() {
                Next::Need(relating, need) => {
                    asking = Asking { relating: *relating, need, ..asking }
                }
                Next::Level(level) => return level,
                Next::Unknown => panic!("it is known"),
            }
        }
    }
}

#[test]
fn by_user_group_folder_role_and_tenant() {
    for (tuples, bob, eve) in [
        (&[0][..], Some(Level::Viewer), None),
        (&[1, 9], Some(Level::Editor), None),
        (&[2, 5, 7, 9, 10], Some(Level::Viewer), None),
        (&[8, 11], None, Some(Level::Owner)),
        // Folders in each other have an end.
        (&[2, 5, 6], None, None),
        (&[7, 9, 10], None, None),
    ] {
        let mut world = World::new();
        for place in tuples {
            world.graph.change(TUPLES[*place], true);
        }
        assert_eq!([world.level(0, 0, false), world.level(1, 0, false)], [bob, eve], "{tuples:?}");
    }
}

#[test]
fn what_is_above_a_folder_that_is_too_deep_does_not_count() {
    let mut world = World::new();
    world.graph.change(&format!("file:{}#parent@folder:1", FILES[0]), true);
    for depth in 1..=FOLDERS_MAX {
        world.graph.change(&format!("folder:{depth}#parent@folder:{}", depth + 1), true);
    }
    world.graph.change(&format!("folder:{}#viewer@user:bob", FOLDERS_MAX + 1), true);
    assert_eq!(world.level(0, 0, true), None);
    world.graph.change(&format!("folder:{FOLDERS_MAX}#viewer@user:bob"), true);
    assert_eq!(world.level(0, 0, true), Some(Level::Viewer));
}

#[test]
fn a_change_counts_at_once_for_who_knows_its_revision() {
    let mut world = World::new();
    assert_eq!(world.level(0, 0, false), None);
    world.graph.change(TUPLES[0], true);
    assert_eq!(world.level(0, 0, false), None, "it is kept");
    assert_eq!(world.level(0, 0, true), Some(Level::Viewer));
    world.now_ms += WITHIN_MS;
    assert_eq!(world.level(0, 0, false), Some(Level::Viewer));
    // A revision that does not exist keeps nobody waiting.
    let identity = Identity::new("demo", "bob", Scopes::parse("read")).unwrap();
    let file = FILES[0].parse().unwrap();
    let (relating, need) = Relating::begin(&identity, file, 1_000, &world.config);
    world.asked.push(Asking { relating, need, key: String::new(), from: 0 });
    for _ in 0..40 {
        world.happen(&Happens::Goes(0)).unwrap();
    }
    assert!(world.asked.is_empty());
}

/// Bob leaves the staff before the staff may see the file: he never sees it.
#[test]
fn the_new_enemy_sees_nothing() {
    let mut world = World::new();
    world.graph.change(TUPLES[9], true);
    assert_eq!(world.level(0, 0, false), None, "that he is of the staff is kept now");
    world.graph.change(TUPLES[9], false);
    world.graph.change(TUPLES[1], true);
    // What is related to the file is forgotten, as it may be at any time.
    world.cache.retain(|key, _| !key.contains("file:"));
    assert_eq!(world.level(0, 0, false), None);
    // Without the word of the revisions he would.
    let of = world.cache.iter().find(|(key, _)| key.ends_with("of user:bob")).unwrap();
    let memberships = Memberships::from_bytes(&of.1.0).unwrap();
    let file = world.cache.iter().find(|(key, _)| key.ends_with(FILES[0])).unwrap();
    let related = Related::from_bytes(&file.1.0).unwrap();
    assert_eq!(relation::level("bob", &memberships, &[related]), Some(Level::Editor));
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (0..TUPLES.len(), prop::bool::weighted(0.7))
            .prop_map(|(tuple, is_there)| Happens::Change(tuple, is_there)),
        2 => prop_oneof![1..100_u64, 1_000..20_000_u64].prop_map(Happens::Passes),
        3 => (0..2_usize, 0..2_usize, any::<bool>())
            .prop_map(|(user, file, now)| Happens::Begins { user, file, now }),
        20 => any::<prop::sample::Index>().prop_map(|index| Happens::Goes(index.index(64))),
    ]
}

proptest! {
    /// Whatever changes while it is asked, and however old what is kept is: an answer is what was true
    /// at one revision, which is not older than it may be.
    #[test]
    fn an_answer_was_true_at_one_time(history in prop::collection::vec(happens(), 1..250)) {
        let mut world = World::new();
        for what in &history {
            world.happen(what)?;
        }
        while !world.asked.is_empty() {
            world.go(0)?;
        }
    }
}

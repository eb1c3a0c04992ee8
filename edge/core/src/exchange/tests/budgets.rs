//! Budgets that several edges share.

use outport_wire::spending::{SPENT_HEADER, Spent, period_end_s};

use super::*;
use crate::config::{Budget, READ_LIMIT};
use crate::head::RequestHead;
use crate::step::Allowance;

const PERIOD_S: u64 = 3_600;

impl Origin {
    /// As the origin does it, whose clock is the edges'.
    pub(super) fn spend(&self, query: &Query, head: &RequestHead<'_>) -> String {
        let text = |name| query.get(name).unwrap().to_owned();
        let number = |name| query.get(name).map(|number| number.parse::<u64>().unwrap());
        let signed = head.fields.get("signature-input").unwrap();
        let (_, created) = signed.split_once("created=").unwrap();
        let now_s = created.split(';').next().unwrap().parse().unwrap();
        let until_s = period_end_s(now_s, number("period_s").unwrap());
        let mut spent = self.spent.borrow_mut();
        let (units, ends_s) = spent.entry((text("tenant"), text("budget"))).or_default();
        if *ends_s != until_s {
            (*units, *ends_s) = (0, until_s);
        }
        let refused = number("most").is_some_and(|most| *units >= most);
        if !refused {
            *units += number("units").unwrap_or(0);
        }
        format!("{SPENT_HEADER}: {}\r\n", Spent { units: *units, until_s, refused }.encode())
    }
}

/// Edges with a budget of so many requests, and the origin that they share.
fn edges(count: usize, requests: u64) -> Vec<World> {
    let mut worlds = Vec::new();
    let origin = Rc::new(Origin::default());
    for _ in 0..count {
        let world = World::beside(origin.clone(), SIGNATURES, |config| {
            config.budgets.insert(READ_LIMIT.into(), Budget { requests, period_s: PERIOD_S });
            let often = Allowance { interval_us: 1, burst: 1_000_000 };
            config.limits.insert(READ_LIMIT.into(), often);
        });
        worlds.push(world);
    }
    worlds[0].put(ID, Visibility::Public, b"hello");
    worlds
}

/// How many of so many requests are served, each by another edge and a while after the one before.
fn served(worlds: &mut [World], subject: &str, asked: usize, pause_ms: u64) -> usize {
    let tokens: Vec<_> = worlds.iter().map(|world| world.token("demo", subject, "read")).collect();
    let mut dice = 7_u64;
    let mut served = 0;
    for _ in 0..asked {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let place = (dice >> 33) as usize % worlds.len();
        for world in worlds.iter_mut() {
            world.driver.advance(pause_ms);
        }
        let sent = worlds[place].get(&path(), &tokens[place]);
        assert!(matches!(sent.status, 200 | 429), "{}", sent.status);
        served += usize::from(sent.status == 200);
    }
    served
}

#[test]
fn a_small_budget_is_counted_to_the_request() {
    let mut worlds = edges(4, 20);
    let bob = worlds[0].token("demo", "bob", "read");
    assert_eq!(served(&mut worlds, "alice", 15, 10), 15);
    let sent = worlds[0].get(&path(), &bob);
    let told: Vec<_> = sent.fields.lines().filter(|line| line.starts_with("ratelimit")).collect();
    assert_eq!(told[2], "ratelimit-policy: \"read-budget\";q=20;w=3600", "{told:?}");
    assert!(told[3].starts_with("ratelimit: \"read-budget\";r=4;t="), "{told:?}");
    // It is the tenant's, whoever asks.
    assert_eq!(served(&mut worlds, "bob", 100, 10), 4);
    let alice = worlds[1].token("demo", "alice", "read");
    let refused = worlds[1].get(&path(), &alice);
    refused.expect_problem(429, "budget-spent");
    let rest_s: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=PERIOD_S).contains(&rest_s));
    // Another tenant has one of its own, who is anonymous has none, and writing is another limit.
    let acme = worlds[0].token("acme", "alice", "read");
    assert_eq!(worlds[0].get("/files", &acme).status, 404);
    assert_eq!(worlds[1].get("/healthz", "").status, 200);
    let writes = worlds[1].token("demo", "alice", "write");
    assert_eq!(worlds[1].send("POST /files", &writes).status, 204);
    // Whoever waits as long as they are told is served.
    for world in &mut worlds {
        // However lately they were told so.
        world.driver.advance(rest_s * 1000 - 1_000);
        assert_eq!(world.get(&path(), "").status, 200);
    }
    assert_eq!(served(&mut worlds, "alice", 1, 0), 0);
    for world in &mut worlds {
        world.driver.advance(1_000);
    }
    assert_eq!(served(&mut worlds, "alice", 30, 10), 20);
}

/// The error is that of the draw, two in a hundred (one standard deviation), and what is asked of an
/// edge before it has heard of the others.
#[test]
fn a_large_budget_is_counted_by_a_draw() {
    const REQUESTS: u64 = 6_000;
    for count in [1, 4] {
        let mut worlds = edges(count, REQUESTS);
        let given = served(&mut worlds, "alice", REQUESTS as usize * 3 / 2, 2);
        let error = (given as f64 - REQUESTS as f64) / REQUESTS as f64;
        assert!(error.abs() < 0.08, "{count} edges: {given} of {REQUESTS}");
        let reports =
            worlds[0].seen().iter().filter(|asked| asked.starts_with("POST /spent")).count();
        assert!((1_800..2_200).contains(&reports), "{reports}");
    }
}

#[test]
fn while_the_origin_is_away_nobody_is_refused_who_had_something_left() {
    let mut worlds = edges(2, 20);
    assert_eq!(served(&mut worlds, "alice", 10, 1), 10);
    worlds[0].origin.down.set(Some(FetchError::Unreachable));
    worlds[0].seen();
    assert_eq!(served(&mut worlds, "alice", 30, 1), 30);
    assert_eq!(worlds[0].seen().len(), 2, "each edge tries once in a second");
    worlds[0].origin.down.set(None);
    for world in &mut worlds {
        world.driver.advance(2_000);
    }
    assert_eq!(served(&mut worlds, "alice", 30, 1), 10);
    // What is spent stays so.
    worlds[0].origin.down.set(Some(FetchError::Unreachable));
    assert_eq!(served(&mut worlds, "alice", 10, 1), 0);
    // Until the period ends.
    for world in &mut worlds {
        world.driver.advance(PERIOD_S * 1000);
    }
    assert_eq!(served(&mut worlds, "alice", 10, 1), 10);
}

#[test]
fn a_budget_is_of_a_limit_that_there_is() {
    let mut config = config();
    config.budgets.insert("other".into(), Budget { requests: 1, period_s: 60 });
    let refused = Edge::new(config, SIGNATURES).err();
    assert_eq!(refused.as_deref(), Some("there is no limit named other"));
}

//! How exact limits are: among many clients at once, across nodes, and across restarts of one.
//!
//! Nothing here depends on how long something takes: what may have refilled is counted by the time that
//! really passed, and however long that is, nothing is refused for load.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use outport_tests::api::Api;
use outport_tests::check;
use outport_tests::deployment::{Data, Running};
use outport_tests::suite::Check;

const BURST: u64 = 200;
const PER_SECOND: u64 = 50;
const CONFIG: &str =
    "[limits.read]\nper_second = 50\nburst = 200\n\n[overload]\ndelay_ms_max = 0\n";
/// A rate so low that a restart refills nothing to speak of.
const SLOW_CONFIG: &str =
    "[limits.read]\nper_second = 1\nburst = 200\n\n[overload]\ndelay_ms_max = 0\n";
const CLIENTS: usize = 100;
const REQUESTS: usize = 10;
const NODES: usize = 4;
/// There is no origin: what is let through is answered 502, which is as good.
const NO_ORIGIN: &str = "http://127.0.0.1:1";
const PATH: &str = "/files/01000G0000000C000000000004";
/// A kill may give back what was taken for so long.
const KEPT_EVERY_S: u64 = 1;
/// How long a node may take to keep what is spent.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn all() -> Vec<Check> {
    vec![
        check!(a_hundred_clients_at_once_get_the_burst_and_what_refills),
        check!(each_of_four_nodes_counts_for_itself),
        check!(four_nodes_share_a_budget),
        check!(a_restart_gives_no_fresh_burst),
        check!(a_kill_gives_no_fresh_burst),
    ]
}

fn start(data: &Data, config: &str) -> Running {
    let config = data.config(config);
    Running::edge(data, NO_ORIGIN, &["--config", config.to_str().expect("the path is text")])
}

/// Asks at once by many clients, over a connection each. Returns how often that was let through.
async fn let_through(edge: &Running) -> u64 {
    let clients = (0..CLIENTS).map(|_| async {
        let api = Api::new(edge.ready("edge"));
        let mut let_through = 0;
        for _ in 0..REQUESTS {
            let_through += u64::from(api.get(PATH).await.status != 429);
        }
        let_through
    });
    join_all(clients).await.into_iter().sum()
}

/// The most that can have refilled since then.
fn refilled(since: Instant, per_second: u64) -> u64 {
    (since.elapsed().as_secs_f64() * per_second as f64).floor() as u64
}

async fn a_hundred_clients_at_once_get_the_burst_and_what_refills() {
    let data = Data::new();
    let edge = start(&data, CONFIG);
    let begun = Instant::now();
    let taken = let_through(&edge).await;
    let most = BURST + refilled(begun, PER_SECOND);
    assert!((BURST..=most).contains(&taken), "{taken} of {most}");
}

async fn each_of_four_nodes_counts_for_itself() {
    let all: Vec<Data> = (0..NODES).map(|_| Data::new()).collect();
    let nodes: Vec<Running> = all.iter().map(|data| start(data, CONFIG)).collect();
    let begun = Instant::now();
    let taken: u64 = join_all(nodes.iter().map(let_through)).await.into_iter().sum();
    let nodes = NODES as u64;
    let most = nodes * (BURST + refilled(begun, PER_SECOND));
    // Who asks all of them gets so many times the limit, and no more.
    assert!((nodes * BURST..=most).contains(&taken), "{taken} of {most}");
}

/// A budget this small is counted to the request.
async fn four_nodes_share_a_budget() {
    const BUDGET: u64 = 300;
    let text = format!("{CONFIG}\n[limits.write]\nbudget = {BUDGET}\nbudget_period_s = 2678400\n");
    let main = Data::new();
    let origin = Running::origin(&main, 0);
    let token = main.token("demo", "alice", "read write", "1h");
    let all: Vec<Data> = (0..NODES).map(|_| Data::new()).collect();
    let node = |data: &Data| {
        let [from, to] = [&main, data].map(|data| data.path().join("keys.json"));
        std::fs::copy(from, to).expect("the keys are there");
        let config = data.config(&text);
        let config = config.to_str().expect("the path is text");
        Running::edge(data, origin.ready("origin"), &["--config", config])
    };
    let mut nodes: Vec<Running> = all.iter().map(node).collect();
    let clients = (0..CLIENTS).map(|number| {
        let api = Api::new(nodes[number % NODES].ready("edge")).with_token(&token);
        async move {
            let mut let_through = 0;
            for _ in 0..REQUESTS {
                let answer = api.delete(PATH).await;
                match answer.status {
                    404 => let_through += 1,
                    _ => answer.expect_problem(429, "budget-spent"),
                }
            }
            let_through
        }
    });
    assert_eq!(join_all(clients).await.into_iter().sum::<u64>(), BUDGET);
    // Of a fresh node, too, which has never heard of it.
    nodes.push(node(&Data::new()));
    let api = Api::new(nodes[NODES].ready("edge")).with_token(&token);
    let refused = api.delete(PATH).await;
    refused.expect_problem(429, "budget-spent");
    assert!(refused.number("retry-after") > 0);
}

async fn a_restart_gives_no_fresh_burst() {
    let data = Data::new();
    let mut edge = start(&data, SLOW_CONFIG);
    let begun = Instant::now();
    let before = let_through(&edge).await;
    assert!(edge.stop(), "it does not end by itself");
    let edge = start(&data, SLOW_CONFIG);
    expect_no_more_than_once(begun, before + let_through(&edge).await);
}

async fn a_kill_gives_no_fresh_burst() {
    let data = Data::new();
    let edge = start(&data, SLOW_CONFIG);
    let begun = Instant::now();
    let mut before = let_through(&edge).await;
    before += until_kept(&data.path().join("edge/limits"), &edge).await;
    edge.kill();
    let edge = start(&data, SLOW_CONFIG);
    // What refilled may have been taken since it was kept.
    let again = let_through(&edge).await.saturating_sub(KEPT_EVERY_S);
    expect_no_more_than_once(begun, before + again);
}

fn expect_no_more_than_once(begun: Instant, taken: u64) {
    // A clock that counts milliseconds may find one more.
    let most = BURST + refilled(begun, 1) + 1;
    assert!((BURST..=most).contains(&taken), "{taken} of {most}");
}

/// Asks until what was taken before is kept: the second time that something is, as the first time may
/// have begun before. Returns how often that was let through.
async fn until_kept(file: &Path, edge: &Running) -> u64 {
    let api = Api::new(edge.ready("edge"));
    let mut let_through = 0;
    for _ in 0..2 {
        let since = SystemTime::now();
        let is_kept = || std::fs::metadata(file).and_then(|kept| kept.modified());
        let waiting = async {
            while !is_kept().is_ok_and(|kept| kept > since) {
                let_through += u64::from(api.get(PATH).await.status != 429);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("what is spent is kept");
    }
    let_through
}

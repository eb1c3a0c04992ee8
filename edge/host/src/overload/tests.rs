use futures::FutureExt as _;
use outport_edge_core::challenge::Challenge;
use outport_edge_core::driver::broken;
use outport_edge_core::step;
use outport_wire::secret::Secret;

use super::*;

const LOAD: Shedding = Shedding { delay_ms_max: 10, requests_max: 8 };
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn overload() -> Arc<Overload> {
    Overload::new(LOAD, TrustedProxies::default(), Challenger::default())
}

fn head(target: &str, token: Option<&str>) -> Vec<u8> {
    let field = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let fields = field.unwrap_or_default();
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n{fields}").into_bytes()
}

/// What is decided without waiting for a turn.
fn take(overload: &Arc<Overload>, head: &[u8], peer: IpAddr) -> Option<Result<Taken, Refused>> {
    overload.take(head, peer).now_or_never()
}

fn taken(overload: &Arc<Overload>, head: &[u8], peer: IpAddr) -> Option<Taken> {
    take(overload, head, peer)?.ok()
}

fn is_taken(overload: &Arc<Overload>, target: &str, token: Option<&str>) -> bool {
    taken(overload, &head(target, token), PEER).is_some()
}

/// The token is shown to be good.
fn prove(overload: &Arc<Overload>, token: &str) {
    let taken = taken(overload, &head("/files/a", Some(token)), PEER).unwrap();
    taken.answered(&Reply { caller_known: true, ..broken() });
}

/// The most that can have been taken since then.
fn most(allowance: Allowance, begun: Instant) -> usize {
    allowance.burst as usize + 1 + (micros(begun.elapsed()) / allowance.interval_us) as usize
}

fn of_a_hundred(overload: &Arc<Overload>, target: &str, token: Option<&str>) -> usize {
    (0..100).filter(|_| is_taken(overload, target, token)).count()
}

#[test]
fn each_priority_has_its_share_of_what_waits() {
    let overload = overload();
    prove(&overload, "good");
    let fill = |target: &str, token: Option<&str>| {
        let head = head(target, token);
        std::iter::from_fn(|| taken(&overload, &head, PEER)).take(20).collect::<Vec<_>>()
    };
    let anonymous = fill("/files/a", None);
    let lists = fill("/files", Some("good"));
    let callers = fill("/files/a", Some("good"));
    assert_eq!((anonymous.len(), lists.len(), callers.len()), (6, 1, 1));
    let asked = fill("/healthz", None);
    assert_eq!(asked.len(), 20);
    drop((asked, callers, lists));
    assert!(!is_taken(&overload, "/files/a", None) && is_taken(&overload, "/files", Some("good")));
    drop(anonymous);
    assert!(is_taken(&overload, "/files/a", None));
    let Counted { shed, waiting, .. } = overload.counted();
    assert_eq!(shed, [("health", 0), ("caller", 1), ("list", 1), ("anonymous", 2)]);
    assert_eq!(waiting, 0);
}

#[tokio::test]
async fn the_last_goes_first() {
    let overload = overload();
    prove(&overload, "good");
    for (turns, level, anonymous, lists, callers) in [
        (50, 2_000, 50, 100, 100),
        (0, 2_000, 0, 100, 100),
        (0, 1_250, 0, 25, 100),
        (0, 50, 0, 0, 5),
    ] {
        overload.anonymous.grant(2_500.0, turns);
        overload.level.store(level, Ordering::Relaxed);
        overload.left_over.iter().for_each(|parts| parts.store(0, Ordering::Relaxed));
        assert_eq!(of_a_hundred(&overload, "/files/a", None), anonymous, "{level}");
        assert_eq!(of_a_hundred(&overload, "/files", Some("good")), lists, "{level}");
        assert_eq!(of_a_hundred(&overload, "/files/a", Some("good")), callers, "{level}");
    }
    assert_eq!(of_a_hundred(&overload, "/healthz", None), 100);
}

#[test]
fn a_token_that_nobody_knows_is_no_ticket() {
    let overload = overload();
    overload.anonymous.grant(0.0, 0);
    let forged = |number: usize| format!("forged-{number}");
    let begun = Instant::now();
    let of_one_network =
        (0..1_000).filter(|n| is_taken(&overload, "/files/a", Some(&forged(*n)))).count();
    let most = most(UNPROVEN, begun);
    assert!((20..=most).contains(&of_one_network), "{of_one_network} of {most}");
    let of_many = (0..5_000_usize).filter(|n| {
        let peer = IpAddr::from([10, (n / 256) as u8, (n % 256) as u8, 1]);
        taken(&overload, &head("/files/a", Some(&forged(*n))), peer).is_some()
    });
    let of_many = of_many.count();
    let in_all = of_one_network + of_many;
    assert!(in_all <= self::most(UNPROVEN_IN_ALL, begun), "{in_all}");
    // None of them counts as what it claims to be.
    let shed = 6_000 - in_all as u64;
    assert_eq!(
        overload.counted().shed,
        [("health", 0), ("caller", 0), ("list", 0), ("anonymous", shed)]
    );
}

#[test]
fn who_comes_with_a_token_that_nobody_knows_counts_as_anonymous() {
    let overload = overload();
    prove(&overload, "good");
    let before = overload.anonymous_so_far();
    assert!(is_taken(&overload, "/files/a", Some("good")) && is_taken(&overload, "/healthz", None));
    assert_eq!(overload.anonymous_so_far(), before);
    assert!(
        is_taken(&overload, "/files/a", Some("forged")) && is_taken(&overload, "/files/a", None)
    );
    assert_eq!(overload.anonymous_so_far(), [before[0] + 2, before[1]]);
}

#[test]
fn work_lets_a_few_of_a_network_go_before_others() {
    let keys = vec![Secret::new(vec![1; 32]).unwrap()];
    let challenger = Challenger::new(Challenge { bits: 4, life_s: 60 }, keys);
    let overload = Overload::new(LOAD, TrustedProxies::default(), challenger.clone());
    overload.anonymous.grant(0.0, 0);
    let plain = head("/files/a", None);
    let Some(Err(refused)) = take(&overload, &plain, PEER) else { panic!("it was not refused") };
    let moment = Moment { unix_ms: unix_s() * 1_000, random: 7 };
    let refusal = overload.refusal(&refused, &plain, moment);
    let step::Body::Bytes(body) = refusal.body else { panic!("it has no body") };
    let told = String::from_utf8(body).unwrap();
    let (_, challenge) = told.split_once("\"challenge\":\"").unwrap();
    let (challenge, _) = challenge.split_once('"').unwrap();
    let shown = |number: u32| {
        let field = format!("outport-proof: {challenge}.{number}\r\n");
        [plain.as_slice(), field.as_bytes()].concat()
    };
    let is_met = |head: &Vec<u8>| challenger.is_met(head, PEER, unix_s());
    let lazy = (0..).map(shown).find(|head| !is_met(head)).unwrap();
    let worked = (0..).map(shown).find(is_met).unwrap();
    let begun = Instant::now();
    let served =
        |head: &[u8]| (0..1_000).filter(|_| taken(&overload, head, PEER).is_some()).count();
    assert_eq!(served(&lazy), 0);
    let served = served(&worked);
    assert!((20..=most(UNPROVEN, begun)).contains(&served), "{served}");
    // It is for one network.
    let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    assert!(matches!(take(&overload, &worked, other), Some(Err(_))));
}

#[test]
fn a_token_that_is_refused_is_known_no_longer() {
    let overload = overload();
    prove(&overload, "good");
    overload.anonymous.grant(0.0, 0);
    assert_eq!(of_a_hundred(&overload, "/files/a", Some("good")), 100);
    let one = taken(&overload, &head("/files/a", Some("good")), PEER).unwrap();
    one.answered(&Reply { status: 401, ..broken() });
    drop(one);
    let begun = Instant::now();
    let taken = of_a_hundred(&overload, "/files/a", Some("good"));
    assert!(taken <= most(UNPROVEN, begun).min(99), "{taken}");
}

#[test]
fn asking_whether_it_lives_is_no_way_around() {
    let overload = overload();
    overload.anonymous.grant(0.0, 0);
    let begun = Instant::now();
    let answered = (0..1_000).filter(|_| is_taken(&overload, "/healthz", None)).count();
    let most = most(HEALTH, begun);
    assert!((100..=most).contains(&answered), "{answered} of {most}");
}

#[test]
fn who_is_known_is_refused_once_it_is_unbearable() {
    let ms = Duration::from_millis;
    assert_eq!(moved(LEVEL_MAX, ms(10)), LEVEL_MAX);
    assert_eq!(moved(1_500, ms(2_000)), 1_501);
    assert_eq!(moved(1_500, ms(2_001)), 1_400);
    assert_eq!(moved(100, ms(10_000)), LEVEL_MIN);
}

/// A thread that is busy all the time is seen, and fewer are let through; once it is not, more are.
#[tokio::test]
async fn a_delay_that_stands_is_seen() {
    let overload = overload();
    let watching = tokio::spawn(overload.clone().watch());
    while !overload.anonymous.is_bounded() {
        for _ in 0..100 {
            is_taken(&overload, "/files/a", None);
        }
        std::thread::sleep(Duration::from_millis(20));
        tokio::task::yield_now().await;
    }
    while overload.anonymous.is_bounded() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    watching.abort();
}

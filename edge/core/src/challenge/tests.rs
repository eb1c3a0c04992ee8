//! What is a proof, for whom and for how long.

use super::*;
use crate::guard::guard;

const NOW: Moment = Moment { unix_ms: 1_800_000_000_000, random: 7 };
const HERE: &str = "192.0.2.7";
const ASKED: Challenge = Challenge { bits: 8, life_s: 60 };

fn keys(first: u8) -> Vec<Secret> {
    vec![Secret::new(vec![first; 32]).unwrap()]
}

/// The work, done.
fn solve(challenge: &str, bits: u32) -> String {
    let mut proofs = (0..).map(|number| format!("{challenge}.{number}"));
    proofs.find(|proof| zero_bits(&Sha256::digest(proof)) >= bits).unwrap()
}

fn is_met(asked: Challenge, field: &str, network: &str, keys: &[Secret], later_s: u64) -> bool {
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{field}\r\n");
    asked.is_met(&guard(head.as_bytes()).unwrap(), network, keys, NOW.unix_s() + later_s)
}

#[test]
fn work_that_was_done_counts_until_the_challenge_expires() {
    let challenge = ASKED.issue(HERE, &keys(1), NOW).unwrap();
    assert_eq!(challenge.len(), 44, "the page hashes one block: {challenge}");
    let proof = solve(&challenge, 8);
    for field in [format!("outport-proof: {proof}"), format!("cookie: a=b; outport-proof={proof}")]
    {
        for later_s in [0, 60] {
            assert!(is_met(ASKED, &field, HERE, &keys(1), later_s), "{field}");
        }
        assert!(!is_met(ASKED, &field, HERE, &keys(1), 61), "it has expired");
        assert!(!is_met(ASKED, &field, "192.0.2.8", &keys(1), 0), "it is another's");
        assert!(!is_met(ASKED, &field, HERE, &keys(2), 0), "another key");
        assert!(is_met(ASKED, &field, HERE, &[keys(2), keys(1)].concat(), 0), "an older key");
        let more = Challenge { bits: 9, ..ASKED };
        assert!(!is_met(more, &field, HERE, &keys(1), 0), "more is asked for by now");
    }
    assert_eq!(ASKED.issue(HERE, &[], NOW), None);
}

#[test]
fn what_is_no_proof() {
    let challenge = ASKED.issue(HERE, &keys(1), NOW).unwrap();
    let proof = solve(&challenge, 8);
    let number = proof.split_once('.').unwrap().1;
    // Each other way to do less: no work, the bits said to be fewer, the time said to be longer.
    let mut proofs = (0..).map(|n| format!("{challenge}.{n}"));
    let lazy = proofs.find(|proof| zero_bits(&Sha256::digest(proof)) < 8).unwrap();
    let forged = |place: usize, value: u8| {
        let mut bytes = URL_SAFE_NO_PAD.decode(&challenge).unwrap();
        bytes[place] = value;
        solve(&URL_SAFE_NO_PAD.encode(bytes), 8)
    };
    for wrong in [
        lazy,
        forged(0, 1),
        forged(8, 0),
        forged(8, 9),
        forged(9, 1),
        forged(SAID_BYTES, 1),
        challenge.clone(),
        format!("{challenge}."),
        format!("{challenge}.{number} 1"),
        format!("{challenge}.-{number}"),
        format!("{challenge}.{}", "0".repeat(21)),
        format!(".{number}"),
        format!("{}.{number}", &challenge[1..]),
        format!("{challenge}A.{number}"),
        String::new(),
    ] {
        let field = format!("outport-proof: {wrong}");
        assert!(!is_met(ASKED, &field, HERE, &keys(1), 0), "{wrong}");
    }
    // Which of two cookies is whose, nobody knows.
    let twice = format!("cookie: outport-proof={proof}; outport-proof={proof}");
    assert!(!is_met(ASKED, &twice, HERE, &keys(1), 0));
}

#[test]
fn an_edge_with_too_much_to_do_says_what_work_helps() {
    let challenger = Challenger { asked: ASKED, keys: keys(1) };
    let client = HERE.parse().unwrap();
    let head = |fields: &str| format!("GET /files/a HTTP/1.1\r\nhost: x\r\n{fields}").into_bytes();
    let refusal = challenger.overloaded(&head(""), client, 3, NOW);
    let fields = String::from_utf8(refusal.fields).unwrap();
    assert!(refusal.status == 503 && fields.ends_with("retry-after: 3\r\n"), "{fields}");
    let Body::Bytes(body) = refusal.body else { panic!("it has no body") };
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&told["retry_after_s"], &told["bits"]), (&3.into(), &8.into()));
    let proof = solve(told["challenge"].as_str().unwrap(), 8);
    let shown = head(&format!("outport-proof: {proof}\r\n"));
    assert!(challenger.is_met(&shown, client, NOW.unix_s()));
    assert!(!challenger.is_met(&shown, "192.0.2.8".parse().unwrap(), NOW.unix_s()));
    assert!(!challenger.is_met(&head(""), client, NOW.unix_s()));
    let page = challenger.overloaded(&head("accept: text/html\r\n"), client, 3, NOW);
    assert!(page.status == 503 && page.fields.ends_with(b"retry-after: 3\r\n"), "{page:?}");
    assert!(String::from_utf8(page.fields).unwrap().contains("content-type: text/html"));
    let plain = Challenger::default().overloaded(&head(""), client, 3, NOW);
    assert_eq!(plain, overloaded(3), "without a key");
}

#[test]
fn zeros_are_counted_to_the_bit() {
    for (digest, bits) in
        [(&[0xff, 0][..], 0), (&[0x7f], 1), (&[0, 0x80], 8), (&[0, 1], 15), (&[0, 0], 16)]
    {
        assert_eq!(zero_bits(digest), bits);
    }
}

#[test]
fn the_page_allows_its_own_script_alone() {
    let reply = page("a-b_c", ASKED, 403, &Visit::default(), &[]);
    let Body::Bytes(page) = &reply.body else { panic!("{reply:?}") };
    let page = std::str::from_utf8(page).unwrap();
    assert!(page.contains(r#"data-challenge="a-b_c" data-bits="8" data-life="60""#), "{page}");
    let script = page.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let digest = STANDARD.encode(Sha256::digest(script));
    let fields = String::from_utf8(reply.fields).unwrap();
    assert!(
        fields.contains(&format!("default-src 'none'; script-src 'sha256-{digest}';")),
        "{fields}"
    );
    assert_eq!(page.matches('{').count(), page.matches('}').count());
    assert_eq!(reply.status, 403);
}

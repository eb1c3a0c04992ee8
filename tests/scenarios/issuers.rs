//! Tokens of several issuers: what is taken, and a corpus of what is not (RFC 7519, RFC 8725).

use outport_tests::api::{Answer, Api};
use outport_tests::issued::{
    Issued, NARROW, SECRET, SEVERAL, Signer, base64url, mac, now_s, read, signed,
};
use outport_tests::scenarios;
use outport_tests::world::World;
use reqwest::Method;
use serde_json::{Value, json};

scenarios![
    good_tokens_of_every_algorithm needs Issuers,
    a_clock_may_differ_by_the_leeway needs Issuers,
    an_issuer_of_which_little_is_believed needs Issuers,
    two_issuers_of_one_tenant_name_their_own_people needs Issuers,
    forged_signatures needs Issuers,
    confused_algorithms needs Issuers,
    keys_that_tokens_bring_along needs Issuers,
    headers_that_ask_for_more needs Issuers,
    tokens_that_are_none needs Issuers,
    claims_that_are_wrong needs Issuers,
    tokens_for_others needs Issuers,
    there_are_seven_hundred_of_them_at_least,
];

const MALFORMED: &str = "token-malformed";
const EXPIRED: &str = "token-expired";
const UNTRUSTED: &str = "token-untrusted";

/// A token that is refused: what is wrong with it, and how that is called.
struct Bad {
    what: String,
    token: String,
    problem: &'static str,
}

/// Collects them.
#[derive(Default)]
struct Corpus(Vec<Bad>);

impl Corpus {
    fn add(&mut self, what: impl Into<String>, token: impl Into<String>, problem: &'static str) {
        self.0.push(Bad { what: what.into(), token: token.into(), problem });
    }

    /// Each is refused, first and again, and for a file that is not there as well.
    async fn expect_refused(self, world: &World) {
        for Bad { what, token, problem } in self.0 {
            for _ in 0..2 {
                let answer = list(&world.anonymous().with_token(&token)).await;
                assert_eq!(answer.status, 401, "{what}: {answer:?}");
                let document: Value = serde_json::from_slice(&answer.body).expect("a document");
                let kind = format!("urn:outport:problem:{problem}");
                assert_eq!(document["type"], json!(kind), "{what}: {document}");
                let challenge = answer.field("www-authenticate");
                assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
            }
        }
    }
}

async fn list(api: &Api) -> Answer {
    api.get("/files?limit=1").await
}

/// Of every issuer and algorithm.
fn everybody() -> Vec<Issued> {
    let mut all: Vec<_> = Signer::KEYS.into_iter().map(Issued::by).collect();
    all.extend([Issued::by_secret(), Issued::narrow()]);
    all
}

async fn good_tokens_of_every_algorithm(world: World) {
    let mut good = everybody();
    good.push(Issued { signer: Signer::Secret(1), ..Issued::by_secret() });
    for signer in Signer::KEYS {
        let issued = || Issued::by(signer);
        good.extend([
            issued().header("kid", Value::Null),
            issued().header("typ", Value::Null),
            issued().header("typ", json!("application/AT+JWT")),
            issued().header("jku", json!("https://elsewhere.example/keys")),
            issued().claim("aud", json!(["x", "others"])),
            issued().claim("scope", json!(["read", "x"])),
            issued().claim("exp", json!(now_s() as f64 + 3600.5)),
            issued().claim("jti", json!("0")),
            issued().claim("x", json!({"y": [1, null]})),
            issued().claim("tenant", json!("demo")),
        ]);
    }
    for issued in good {
        for _ in 0..2 {
            let answer = list(&world.anonymous().with_token(&issued.token())).await;
            assert_eq!(answer.status, 200, "{issued:?}: {answer:?}");
        }
    }
}

async fn a_clock_may_differ_by_the_leeway(world: World) {
    for signer in Signer::KEYS {
        for (name, ahead_s) in [("exp", -5), ("nbf", 5), ("iat", 5)] {
            // Each is made when it is sent: it is good for a few seconds.
            let issued =
                Issued::by(signer).claim(name, json!(now_s().saturating_add_signed(ahead_s)));
            let answer = list(&world.anonymous().with_token(&issued.token())).await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
        }
    }
}

async fn an_issuer_of_which_little_is_believed(world: World) {
    let narrow = world.anonymous().with_token(&Issued::narrow().token());
    list(&narrow).await.expect_status(200);
    // Its role would allow to write, and it may not; what it may, its roles don't.
    for issued in [Issued::narrow(), Issued::narrow().claim("scope", json!("admin write"))] {
        let api = world.anonymous().with_token(&issued.token());
        let answer = api.send(Method::POST, "/files?name=a.txt", &[], "x").await;
        answer.expect_problem(403, "scope-missing");
    }
    let none = Issued::narrow().claim("realm_access", json!({"roles": "nobody"}));
    list(&world.anonymous().with_token(&none.token())).await.expect_problem(403, "scope-missing");
}

async fn two_issuers_of_one_tenant_name_their_own_people(world: World) {
    let by = |issued: Issued| {
        let issued = issued.claim("sub", json!("shared"));
        world.anonymous().with_token(&issued.token())
    };
    let file = by(Issued::by(Signer::P256)).upload("name=a.txt", "text/plain", "kept").await;
    assert_eq!(by(Issued::by(Signer::Rsa)).get(&file.path()).await.body, "kept");
    assert_eq!(by(Issued::by_secret()).get(&file.path()).await.body, "kept");
    let same = Issued::narrow().claim("email", json!("shared"));
    by(same).get(&file.path()).await.expect_problem(404, "not-found");
}

fn forged() -> Corpus {
    let mut corpus = Corpus::default();
    for issued in everybody() {
        let (signer, name) = (issued.signer, issued.signer.algorithm());
        let token = issued.token();
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let bytes = signer.sign(message.as_bytes());
        for place in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 0x40;
            let token = format!("{message}.{}", base64url(changed));
            corpus.add(format!("{name}: bit of byte {place}"), token, UNTRUSTED);
        }
        let by_secret = matches!(signer, Signer::Secret(_));
        // A MAC is compared as it is, whatever its length.
        let of_size = if by_secret { UNTRUSTED } else { MALFORMED };
        let cut = base64url(&bytes[..bytes.len() - 1]);
        corpus.add(format!("{name}: short"), format!("{message}.{cut}"), of_size);
        let long = base64url([&bytes[..], &[0]].concat());
        corpus.add(format!("{name}: long"), format!("{message}.{long}"), of_size);
        corpus.add(format!("{name}: none"), format!("{message}."), of_size);
        let zeros = base64url(vec![0; bytes.len()]);
        corpus.add(format!("{name}: zeros"), format!("{message}.{zeros}"), UNTRUSTED);
        let ones = base64url(vec![0xff; bytes.len()]);
        corpus.add(format!("{name}: ones"), format!("{message}.{ones}"), UNTRUSTED);
        let padded = format!("{message}.{signature}==");
        corpus.add(format!("{name}: padded"), padded, of_size);
        let other = issued.clone().claim("sub", json!("victim")).token();
        let (other, _) = other.rsplit_once('.').expect("three parts");
        corpus.add(format!("{name}: of another token"), format!("{other}.{signature}"), UNTRUSTED);
    }
    for signer in Signer::KEYS {
        let stranger: &'static Signer = match signer {
            Signer::Ed25519 => &Signer::Ed25519,
            Signer::P256 => &Signer::P256,
            _ => &Signer::Rsa,
        };
        let issued = Issued { signer: Signer::Stranger(stranger), ..Issued::by(signer) };
        corpus.add(format!("{}: of a stranger", signer.algorithm()), issued.token(), UNTRUSTED);
    }
    // ECDSA as it is written elsewhere, and the pair (0, 0) of CVE-2022-21449.
    let token = Issued::by(Signer::P256).token();
    let (message, _) = token.rsplit_once('.').expect("three parts");
    let der = base64url([0x30, 6, 2, 1, 1, 2, 1, 1]);
    corpus.add("ES256: DER", format!("{message}.{der}"), MALFORMED);
    corpus
}

async fn forged_signatures(world: World) {
    forged().expect_refused(&world).await;
}

/// RFC 8725, sections 2.1 and 3.1.
fn confused() -> Corpus {
    let mut corpus = Corpus::default();
    let names = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        " none",
        "none ",
        "HS256",
        "hs256",
        "HS384",
        "HS512",
        "RS256",
        "rs256",
        "RS384",
        "RS512",
        "PS256",
        "ES256",
        "es256",
        "ES256K",
        "ES384",
        "ES512",
        "EdDSA",
        "EDDSA",
        "Ed25519",
        "Ed448",
        "ML-DSA-44",
        "RSA1_5",
        "dir",
        "A128KW",
    ];
    for issued in everybody() {
        let own = issued.signer.algorithm();
        for name in names.into_iter().filter(|name| *name != own) {
            let changed = issued.clone().header("alg", json!(name));
            corpus.add(format!("{own} says {name}"), changed.token(), UNTRUSTED);
            if name.eq_ignore_ascii_case("none") {
                let token = changed.token();
                let (message, _) = token.rsplit_once('.').expect("three parts");
                corpus.add(
                    format!("{own} says {name}, unsigned"),
                    format!("{message}."),
                    UNTRUSTED,
                );
            }
        }
        for (what, alg) in [
            ("nothing", Value::Null),
            ("a number", json!(256)),
            ("a list", json!([own])),
            ("an object", json!({"alg": own})),
            ("true", json!(true)),
        ] {
            let changed = issued.clone().header("alg", alg);
            corpus.add(format!("{own} says {what}"), changed.token(), MALFORMED);
        }
    }
    // The public key as a secret: whoever checks by `alg` alone takes it.
    let set: Value = serde_json::from_slice(&read("keys.jwks")).expect("a key set");
    for (place, signer) in Signer::KEYS.into_iter().enumerate() {
        let jwk = &set["keys"][place];
        let name = signer.algorithm();
        let text = |member: &str| jwk[member].as_str().unwrap_or_default().as_bytes().to_vec();
        for (what, secret) in [
            ("the JWK", jwk.to_string().into_bytes()),
            ("its x", text("x")),
            ("its n", text("n")),
            ("nothing", Vec::new()),
            ("the key's name", signer.key_id().as_bytes().to_vec()),
        ] {
            for issuer in [SEVERAL, SECRET, NARROW] {
                let issued = Issued::by(signer).header("alg", json!("HS256"));
                let issued = issued.claim("iss", json!(issuer));
                let message = format!(
                    "{}.{}",
                    base64url(issued.header.to_string()),
                    base64url(issued.claims.to_string())
                );
                let token = format!("{message}.{}", base64url(mac(&secret, message.as_bytes())));
                corpus.add(format!("{what} of {name} as a secret of {issuer}"), token, UNTRUSTED);
            }
        }
    }
    corpus
}

async fn confused_algorithms(world: World) {
    confused().expect_refused(&world).await;
}

/// RFC 8725, section 3.10: `kid`, `jku`, `x5u`, `jwk` and `x5c` are an attacker's to write.
fn brought() -> Corpus {
    let mut corpus = Corpus::default();
    for signer in Signer::KEYS {
        let name = signer.algorithm();
        for kid in [
            "",
            "unknown",
            "../../../../dev/null",
            "x' OR '1'='1",
            "p256\u{0}",
            " rsa",
            "RSA",
            "*",
            "ed25519,p256,rsa",
            "http://127.0.0.1:1/key",
        ] {
            let issued = Issued::by(signer).header("kid", json!(kid));
            corpus.add(format!("{name}: kid {kid:?}"), issued.token(), UNTRUSTED);
        }
        let others = Signer::KEYS.into_iter().filter(|other| *other != signer);
        for other in others {
            let issued = Issued::by(signer).header("kid", json!(other.key_id()));
            corpus.add(format!("{name}: kid of {}", other.key_id()), issued.token(), UNTRUSTED);
        }
        let long = Issued::by(signer).header("kid", json!("k".repeat(4000)));
        corpus.add(format!("{name}: a long kid"), long.token(), UNTRUSTED);
        for kid in [json!(1), json!(["rsa"]), json!({})] {
            let issued = Issued::by(signer).header("kid", kid.clone());
            corpus.add(format!("{name}: kid {kid}"), issued.token(), MALFORMED);
        }
    }
    let stranger = Signer::Stranger(&Signer::Ed25519);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url([7; 32])});
    for (member, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/chain")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
    ] {
        for kid in [json!("ed25519"), Value::Null] {
            let issued = Issued { signer: stranger, ..Issued::by(Signer::Ed25519) };
            let issued = issued.header(member, value.clone()).header("kid", kid.clone());
            corpus.add(format!("{member} of a stranger, kid {kid}"), issued.token(), UNTRUSTED);
        }
    }
    corpus
}

async fn keys_that_tokens_bring_along(world: World) {
    brought().expect_refused(&world).await;
}

fn asking() -> Corpus {
    let mut corpus = Corpus::default();
    for issued in everybody() {
        let name = issued.signer.algorithm();
        let mut add = |what: &str, issued: Issued| {
            corpus.add(format!("{name}: {what}"), issued.token(), UNTRUSTED);
        };
        for crit in [json!(["exp"]), json!([]), json!(["b64"]), json!("exp"), json!(["x", "x"])] {
            let asked = issued.clone().header("crit", crit.clone()).header("b64", json!(false));
            add(&format!("crit {crit}"), asked);
        }
        for typ in ["secevent+jwt", "logout+jwt", "dpop+jwt", "JOSE", "at+jwt ", "", "JWE"] {
            add(&format!("typ {typ:?}"), issued.clone().header("typ", json!(typ)));
        }
        add("cty", issued.clone().header("cty", json!("JWT")));
    }
    corpus
}

async fn headers_that_ask_for_more(world: World) {
    asking().expect_refused(&world).await;
}

fn none() -> Corpus {
    let mut corpus = Corpus::default();
    let good = Issued::by(Signer::Ed25519);
    let token = good.token();
    let parts: Vec<&str> = token.split('.').collect();
    for percent in (5..100).step_by(5) {
        let cut = &token[..token.len() * percent / 100];
        corpus.add(format!("{percent} % of one"), cut, MALFORMED);
    }
    for (what, made) in [
        ("a dot before", format!(".{token}")),
        ("a dot behind", format!("{token}.")),
        ("five parts", format!("{token}.e30.e30")),
        ("no header", format!(".{}.{}", parts[1], parts[2])),
        ("no claims", format!("{}..{}", parts[0], parts[2])),
        ("dots alone", "..".to_owned()),
        ("padding in the header", format!("{}=.{}.{}", parts[0], parts[1], parts[2])),
        ("a plus", format!("+{}.{}.{}", parts[0], parts[1], parts[2])),
        ("JSON itself", format!("{}.{}.{}", good.header, parts[1], parts[2])),
        ("long", format!("{token}{}", "A".repeat(9000))),
        ("long claims", good.clone().claim("x", json!("x".repeat(7000))).token()),
    ] {
        corpus.add(what, made, MALFORMED);
    }
    let twice = format!("{}.{}.{}", parts[0], parts[0], parts[2]);
    corpus.add("a header twice", twice, UNTRUSTED);
    let (header, claims) = (good.header.to_string(), good.claims.to_string());
    let inside = |text: &str| text.trim_start_matches('{').to_owned();
    let deep = format!("{{\"x\":{}1{},{}", "[".repeat(200), "]".repeat(200), inside(&claims));
    for (what, header, claims) in [
        ("a byte order mark", format!("\u{feff}{header}"), claims.clone()),
        ("something behind the header", format!("{header}{{}}"), claims.clone()),
        ("something behind the claims", header.clone(), format!("{claims}x")),
        ("two algs", format!("{{\"alg\":\"none\",{}", inside(&header)), claims.clone()),
        ("two kids", format!("{{\"kid\":\"x\",{}", inside(&header)), claims.clone()),
        ("two issuers", header.clone(), format!("{{\"iss\":\"x\",{}", inside(&claims))),
        ("two tenants", header.clone(), format!("{{\"tenant\":\"demo\",{}", inside(&claims))),
        ("two subjects", header.clone(), format!("{{\"sub\":\"admin\",{}", inside(&claims))),
        ("two of anything", header.clone(), format!("{{\"x\":1,\"x\":2,{}", inside(&claims))),
        ("deep claims", header.clone(), deep),
        ("a list of claims", header.clone(), format!("[{claims}]")),
        ("a text of claims", header.clone(), json!(claims).to_string()),
        ("null claims", header.clone(), "null".to_owned()),
        ("a number of claims", header.clone(), "1".to_owned()),
        ("a list as a header", format!("[{header}]"), claims.clone()),
        ("an empty header", "{}".to_owned(), claims.clone()),
        ("half the claims", header.clone(), claims[..claims.len() / 2].to_owned()),
        ("single quotes", header.clone(), claims.replace('"', "'")),
        ("a comma too many", header.clone(), claims.replace('}', ",}")),
        ("a comment", header.clone(), format!("/**/{claims}")),
    ] {
        corpus.add(what, signed(Signer::Ed25519, header, claims), MALFORMED);
    }
    let broken = [claims.as_bytes(), &[0xff]].concat();
    corpus.add("no UTF-8", signed(Signer::Ed25519, &header, broken), MALFORMED);
    corpus
}

async fn tokens_that_are_none(world: World) {
    none().expect_refused(&world).await;
}

/// RFC 7519, section 4.1.
fn wrong() -> Corpus {
    let mut corpus = Corpus::default();
    let now = now_s();
    for signer in Signer::KEYS {
        let mut add = |name: &str, value: Value, problem| {
            let issued = Issued::by(signer).claim(name, value.clone());
            let shown: String = value.to_string().chars().take(40).collect();
            corpus.add(format!("{}: {name} {shown}", signer.algorithm()), issued.token(), problem);
        };
        for exp in [json!(0), json!(1), json!(now - 11), json!(now - 86_400), json!(0.5)] {
            add("exp", exp, EXPIRED);
        }
        for time in
            [json!("tomorrow"), json!(now.to_string()), json!(-1), json!([now]), json!(true)]
        {
            add("exp", time.clone(), MALFORMED);
            add("nbf", time.clone(), MALFORMED);
            add("iat", time, MALFORMED);
        }
        add("exp", Value::Null, MALFORMED);
        for ahead in [now + 60, now + 86_400 * 365, u64::MAX] {
            add("nbf", json!(ahead), EXPIRED);
            add("iat", json!(ahead), EXPIRED);
        }
        for name in ["sub", "jti", "iss", "nonce"] {
            for value in [json!(1), json!(["a"]), json!({"a": 1}), json!(false)] {
                add(name, value, MALFORMED);
            }
        }
        for value in [json!(""), json!("a\u{0}b"), json!("a\nb"), json!("x".repeat(129))] {
            add("sub", value, MALFORMED);
        }
        for value in [Value::Null, json!(1), json!(["issued"]), json!({})] {
            add("tenant", value, MALFORMED);
        }
        add("sub", Value::Null, MALFORMED);
        for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({}), json!("x")] {
            add("cnf", cnf, UNTRUSTED);
        }
    }
    corpus
}

async fn claims_that_are_wrong(world: World) {
    wrong().expect_refused(&world).await;
}

/// Good tokens in the wrong place (RFC 8725, sections 2.7, 3.8, 3.9, 3.11 and 3.12).
fn misplaced() -> Corpus {
    let mut corpus = Corpus::default();
    for issued in everybody() {
        let name = format!("{} of {}", issued.signer.algorithm(), issued.claims["iss"]);
        let mut add = |what: &str, issued: Issued| {
            corpus.add(format!("{name}: {what}"), issued.token(), UNTRUSTED);
        };
        for issuer in [
            "",
            "several.example",
            "https://several.example/",
            "HTTPS://several.example",
            "outport",
            "https://several.example\u{0}",
            "https://several.example.evil.example",
            "*",
        ] {
            add(&format!("iss {issuer:?}"), issued.clone().claim("iss", json!(issuer)));
        }
        add("no iss", issued.clone().claim("iss", Value::Null));
        for audience in [
            json!(""),
            json!("outport"),
            json!("Scenarios"),
            json!("scenarios "),
            json!([]),
            json!(["x", "y"]),
            json!(["scenarios", "x"].join(" ")),
            json!({"scenarios": true}),
            json!([["scenarios"]]),
            json!(1),
            json!("*"),
        ] {
            let shown = audience.to_string();
            add(&format!("aud {shown}"), issued.clone().claim("aud", audience));
        }
        add("no aud", issued.clone().claim("aud", Value::Null));
    }
    for signer in Signer::KEYS {
        for tenant in ["other", "", "Issued", "issued ", "issued/demo", "../demo", "*"] {
            let issued = Issued::by(signer).claim("tenant", json!(tenant));
            let what = format!("{}: tenant {tenant:?}", signer.algorithm());
            corpus.add(what, issued.token(), UNTRUSTED);
        }
    }
    let narrow = Issued::narrow;
    for (what, issued) in [
        ("an ID token", narrow().header("typ", json!("JWT"))),
        ("no typ", narrow().header("typ", Value::Null)),
        ("another's tenant", narrow().claim("org", json!({"name": "demo"}))),
        ("another's issuer", narrow().claim("iss", json!(SECRET))),
        ("our own issuer", narrow().claim("iss", json!("outport"))),
    ] {
        corpus.add(format!("narrow: {what}"), issued.token(), UNTRUSTED);
    }
    for signer in [Signer::Ed25519, Signer::Rsa] {
        let mut issued = narrow();
        (issued.signer, issued.header["alg"]) = (signer, json!(signer.algorithm()));
        issued.header["kid"] = json!(signer.key_id());
        corpus.add(format!("narrow: {}", signer.algorithm()), issued.token(), UNTRUSTED);
    }
    corpus.add("narrow: no leeway", narrow().claim("exp", json!(now_s() - 2)).token(), EXPIRED);
    let secret = Issued::by(Signer::Secret(0)).header("kid", Value::Null);
    corpus.add("a secret for keys", secret.token(), UNTRUSTED);
    corpus
}

async fn tokens_for_others(world: World) {
    misplaced().expect_refused(&world).await;
}

async fn there_are_seven_hundred_of_them_at_least(_: World) {
    let mut tokens: Vec<_> =
        [forged(), confused(), brought(), asking(), none(), wrong(), misplaced()]
            .into_iter()
            .flat_map(|corpus| corpus.0)
            .map(|bad| bad.token)
            .collect();
    tokens.sort();
    tokens.dedup();
    assert!(tokens.len() >= 700, "{}", tokens.len());
}

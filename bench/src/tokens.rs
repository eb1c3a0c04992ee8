//! What a token costs: seen first, checked natively or in the component, and seen again; by itself, and
//! over HTTP beside nginx.

mod served;

use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use jwt_simple::prelude::*;
use outport_edge_core::key_set::Jwk;
use outport_edge_core::platform::WASMTIME;
use outport_edge_core::step::{Abilities, Need, Outcome, PublicKey};
use outport_edge_host::{Boundary, is_signed};
use outport_wire::file::Visibility;
use serde_json::{Value, json};

use crate::call::{answer, component, config_with, fill, head, now};

/// How many tokens are seen first, each by one exchange.
const TOKENS: usize = 1_000;
/// How often one is seen again.
const AGAIN: usize = 20_000;
const ROUNDS: usize = 5;
/// Who says to have issued them.
const ISSUER: &str = "outport-bench";

#[derive(Clone, Serialize, Deserialize)]
struct Custom {
    tenant: &'static str,
    scope: &'static str,
}

/// Prints the median cost of an exchange with each kind of token, and without.
pub(crate) fn run() -> Result<()> {
    let compiled = std::fs::read(component()).context("run `cargo xtask build` first")?;
    println!("a private file from the cache, µs an exchange of the core in the component");
    println!("algorithm  new, checked natively  new, checked inside  seen before");
    for Signer { name, jwk, sign, .. } in signers()? {
        let mut config = config_with(vec![jwk])?;
        config.issuers.iter_mut().for_each(|issuer| issuer.name = ISSUER.to_owned());
        let tokens: Vec<_> = (0..TOKENS * ROUNDS).map(|_| sign()).collect::<Result<_>>()?;
        let outside = measure(&compiled, &config, WASMTIME.abilities, &tokens)?;
        let core = Abilities { signatures: false, ..WASMTIME.abilities };
        let inside = measure(&compiled, &config, core, &tokens)?;
        let (native, wasm, again) = (outside.first, inside.first, outside.again);
        println!("{name:9} {native:21.1} {wasm:19.1} {again:12.1}");
    }
    println!();
    served::run()
}

type Signing = Box<dyn Fn() -> Result<String>>;

/// Who signs tokens.
struct Signer {
    /// The algorithm.
    name: &'static str,
    /// The public key, as a JWK and in PEM.
    jwk: Jwk,
    pem: String,
    /// How WebCrypto calls the algorithm, where njs has it.
    web_crypto: Option<WebCrypto>,
    sign: Signing,
}

/// How WebCrypto calls an algorithm: when a key is imported, and when a signature is checked.
struct WebCrypto {
    imported: Value,
    checked: Value,
}

fn signers() -> Result<Vec<Signer>> {
    let ed25519 = Ed25519KeyPair::generate().with_key_id("k1");
    let p256 = ES256KeyPair::generate().with_key_id("k1");
    let rsa = RS256KeyPair::generate(2048).map_err(|error| anyhow!("{error}"))?.with_key_id("k1");
    let point = p256.public_key().public_key().to_bytes_uncompressed();
    let (x, y) = point.get(1..).context("a point is there")?.split_at(32);
    let p256_key = PublicKey::P256 { x: x.try_into()?, y: y.try_into()? };
    let rsa_key = PublicKey::Rsa(rsa.public_key().to_components().n);
    let named = |key: &PublicKey| Jwk { kid: Some("k1".to_owned()), ..Jwk::of(key) };
    let ed25519_key = Jwk::ed25519("k1", &ed25519.public_key().to_bytes());
    let failed = |error: jwt_simple::Error| anyhow!("{error}");
    let es256 = WebCrypto {
        imported: json!({"name": "ECDSA", "namedCurve": "P-256"}),
        checked: json!({"name": "ECDSA", "hash": "SHA-256"}),
    };
    let rs256 = WebCrypto {
        imported: json!({"name": "RSASSA-PKCS1-v1_5", "hash": "SHA-256"}),
        checked: json!({"name": "RSASSA-PKCS1-v1_5"}),
    };
    Ok(vec![
        Signer {
            name: "EdDSA",
            jwk: ed25519_key,
            pem: ed25519.public_key().to_pem(),
            web_crypto: None,
            sign: Box::new(move || ed25519.sign(claims()).map_err(failed)),
        },
        Signer {
            name: "ES256",
            jwk: named(&p256_key),
            pem: p256.public_key().to_pem().map_err(failed)?,
            web_crypto: Some(es256),
            sign: Box::new(move || p256.sign(claims()).map_err(failed)),
        },
        Signer {
            name: "RS256",
            jwk: named(&rsa_key),
            pem: rsa.public_key().to_pem().map_err(failed)?,
            web_crypto: Some(rs256),
            sign: Box::new(move || rsa.sign(claims()).map_err(failed)),
        },
    ])
}

/// Those of a token that is like no other.
fn claims() -> JWTClaims<Custom> {
    let custom = Custom { tenant: "demo", scope: "read write" };
    Claims::with_custom_claims(custom, Duration::from_hours(1))
        .with_issuer(ISSUER)
        .with_audience("outport")
        .with_subject("demo")
        .with_jwt_id(rand::random::<u64>().to_string())
}

/// Microseconds an exchange.
struct Cost {
    first: f64,
    again: f64,
}

fn measure(
    compiled: &[u8],
    config: &outport_edge_core::config::Config,
    abilities: Abilities,
    tokens: &[String],
) -> Result<Cost> {
    let wrong = |error: String| anyhow!(error);
    let boundary = Boundary::new(compiled, config, abilities);
    let boundary = boundary.map_err(|error| anyhow!("{error}"))?;
    let decide = |token: &str, outcome: &dyn Fn(Need) -> Outcome| {
        boundary.decide(head(Some(token)), [192, 0, 2, 1], now(), outcome).map_err(wrong)
    };
    let spare = tokens.first().context("there are tokens")?;
    let stored = decide(spare, &|need| check(need, |need| fill(need, Visibility::Private)))?;
    let stored = stored.store.context("the first exchange stores the file")?;
    let found = |need: Need| check(need, |need| answer(need, &stored.head));
    let timed = |tokens: &mut dyn Iterator<Item = &String>| -> Result<f64> {
        let (begun, mut count) = (Instant::now(), 0_u32);
        for token in tokens {
            let reply = decide(token, &found)?;
            anyhow::ensure!(reply.status == 200, "the answer is {}", reply.status);
            count += 1;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    };
    let mut first = Vec::new();
    let mut again = Vec::new();
    for round in tokens.chunks(TOKENS) {
        first.push(timed(&mut round.iter())?);
        let last = round.last().context("there are tokens")?;
        again.push(timed(&mut std::iter::repeat_n(last, AGAIN))?);
    }
    Ok(Cost { first: median(first)?, again: median(again)? })
}

fn check(need: Need, other: impl FnOnce(Need) -> Outcome) -> Outcome {
    match need {
        Need::Verify { key, message, signature } => {
            Outcome::Verified(is_signed(&key, &message, &signature))
        }
        need => other(need),
    }
}

fn median(mut rounds: Vec<f64>) -> Result<f64> {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().context("there are rounds")
}

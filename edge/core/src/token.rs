//! Bearer tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), by the best practice of RFC 8725.
//!
//! Reading comes first and costs little; the signature is checked last, by the driver where it
//! can, and a token that was verified is not verified again while it is remembered.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{Ed25519PublicKey, EdDSAPublicKeyLike as _, NoCustomClaims};
use jwt_simple::prelude::{UnixTimeStamp, VerificationOptions};
use outport_wire::identity::{Identity, Scopes};
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::config::Issuer;

/// The longest token that is looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;
/// How far an issuer's clock may differ from ours.
const LEEWAY_S: u64 = 10;
/// How many verified tokens are remembered.
const REMEMBERED_MAX: usize = 8192;

/// Why a token is no good. Each asks something else of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no token that can be read here.
    Malformed(&'static str),
    /// Its time is over: get a new one.
    Expired,
    /// Its time has not begun.
    Early,
    /// It is somebody else's.
    Untrusted(&'static str),
}

impl Refusal {
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::Malformed(what) => Problem::new(ProblemType::TokenMalformed, what),
            Self::Expired => Problem::new(
                ProblemType::TokenExpired,
                "The token's `exp` has passed. Get a new token.",
            ),
            Self::Early => Problem::new(
                ProblemType::TokenExpired,
                "The token's `nbf` or `iat` lies ahead. Compare the clocks.",
            ),
            Self::Untrusted(what) => Problem::new(ProblemType::TokenUntrusted, what),
        }
    }
}

/// A token that says the right things; whether its issuer said them is not known yet.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    token: &'a str,
    key: [u8; 32],
    grant: Grant,
}

/// What a token grants, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) identity: Identity,
    not_before_s: u64,
    expires_s: u64,
}

impl Grant {
    /// Whether it is good at this time (RFC 7519, sections 4.1.4 to 4.1.6).
    pub(crate) fn check(&self, now_s: u64) -> Result<(), Refusal> {
        if self.expires_s.saturating_add(LEEWAY_S) <= now_s {
            return Err(Refusal::Expired);
        }
        if self.not_before_s > now_s.saturating_add(LEEWAY_S) {
            return Err(Refusal::Early);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    sub: Option<String>,
    tenant: Option<String>,
    #[serde(default)]
    scope: String,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

impl<'a> Unverified<'a> {
    /// Reads a token and checks all that can be checked without its signature.
    pub(crate) fn read(token: &'a str, issuers: &[Issuer], now_s: u64) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed("The token is longer than 4096 bytes."));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed("A token has three parts with dots between."));
        };
        let header: Header = read_part(header)
            .ok_or(Refusal::Malformed("The token's header is not base64url of a JSON object."))?;
        let claims: Claims = read_part(claims).ok_or(Refusal::Malformed(
            "The token's claims are not base64url of a JSON object with the right types.",
        ))?;
        let key = trusted_key(&header, &claims, issuers)?;
        let grant = grant(claims)?;
        grant.check(now_s)?;
        Ok(Self { token, key, grant })
    }

    /// What a driver must check: the public key, what was signed, and the signature.
    pub(crate) fn signature(&self) -> Result<([u8; 32], &'a str, Vec<u8>), Refusal> {
        let (message, signature) = self.token.rsplit_once('.').unwrap_or_default();
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .filter(|signature| signature.len() == 64)
            .ok_or(Refusal::Malformed("The token's signature is not base64url of 64 bytes."))?;
        Ok((self.key, message, signature))
    }

    /// Checks the signature here.
    pub(crate) fn verify(&self, now_s: u64) -> Result<(), Refusal> {
        self.signature()?;
        let key = Ed25519PublicKey::from_bytes(&self.key).map_err(|_| NOT_BY_KEY)?;
        let options = VerificationOptions {
            artificial_time: Some(UnixTimeStamp::from_secs(now_s)),
            max_token_length: Some(TOKEN_BYTES_MAX),
            ..VerificationOptions::default()
        };
        key.verify_token::<NoCustomClaims>(self.token, Some(options)).map_err(|_| NOT_BY_KEY)?;
        Ok(())
    }

    /// What the token grants, once its signature was checked.
    pub(crate) fn into_grant(self) -> Grant {
        self.grant
    }
}

/// The signature is wrong.
pub(crate) const NOT_BY_KEY: Refusal =
    Refusal::Untrusted("The token's signature is not by its issuer's key.");

fn read_part<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The key that must have signed the token. The algorithm is the key's, never the token's choice
/// (RFC 8725, section 3.1).
fn trusted_key(header: &Header, claims: &Claims, issuers: &[Issuer]) -> Result<[u8; 32], Refusal> {
    if header.alg != "EdDSA" {
        return Err(Refusal::Untrusted("The token's `alg` is not EdDSA."));
    }
    if header.crit.is_some() {
        return Err(Refusal::Untrusted("The token has critical extensions, and none is known."));
    }
    let is_token = |typ: &str| ["jwt", "at+jwt"].contains(&typ.to_ascii_lowercase().as_str());
    if !header.typ.as_deref().is_none_or(is_token) {
        return Err(Refusal::Untrusted("The token's `typ` is neither JWT nor at+jwt."));
    }
    let name = claims.iss.as_deref().ok_or(Refusal::Untrusted("The token has no `iss`."))?;
    let mut known = issuers.iter().filter(|issuer| issuer.name == name).peekable();
    if known.peek().is_none() {
        return Err(Refusal::Untrusted("The token's `iss` is not trusted here."));
    }
    let issuer = known
        .find(|issuer| header.kid.as_deref().is_none_or(|kid| kid == issuer.key_id))
        .ok_or(Refusal::Untrusted("The token's `kid` is not a key of its issuer."))?;
    if !claims.aud.as_ref().is_some_and(|audience| audience.includes(&issuer.audience)) {
        return Err(Refusal::Untrusted("The token's `aud` is not this service."));
    }
    decode_key(&issuer.public_key).ok_or(Refusal::Untrusted("The issuer's key can't be read."))
}

/// Reads a public key of the configuration.
pub(crate) fn decode_key(key: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok()
}

fn grant(claims: Claims) -> Result<Grant, Refusal> {
    let expires_s = claims.exp.ok_or(Refusal::Malformed("The token has no `exp`."))?;
    let subject = claims.sub.ok_or(Refusal::Malformed("The token has no `sub`."))?;
    let tenant = claims.tenant.ok_or(Refusal::Malformed("The token has no `tenant`."))?;
    let identity =
        Identity::new(&tenant, &subject, Scopes::parse(&claims.scope)).map_err(|_| {
            Refusal::Malformed("`tenant` and `sub` have 1 to 128 bytes and no control characters.")
        })?;
    let not_before_s = claims.nbf.unwrap_or(0).max(claims.iat.unwrap_or(0));
    Ok(Grant { identity, not_before_s, expires_s })
}

/// Tokens that were verified, by their text. What can be computed again, so an instance may keep
/// it; bounded: the older half is dropped whenever the younger is full.
#[derive(Debug, Default)]
pub(crate) struct VerifiedTokens {
    young: HashMap<Box<str>, Grant>,
    old: HashMap<Box<str>, Grant>,
}

impl VerifiedTokens {
    pub(crate) fn get(&mut self, token: &str) -> Option<&Grant> {
        if !self.young.contains_key(token) {
            let (token, grant) = self.old.remove_entry(token)?;
            self.keep(token, grant);
        }
        self.young.get(token)
    }

    pub(crate) fn insert(&mut self, token: &str, grant: Grant) {
        self.keep(token.into(), grant);
    }

    fn keep(&mut self, token: Box<str>, grant: Grant) {
        if self.young.len() >= REMEMBERED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, grant);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jwt_simple::prelude::*;

    use super::{Issuer, NOT_BY_KEY, REMEMBERED_MAX, Refusal, Unverified, VerifiedTokens};

    pub(crate) const NOW: u64 = 1_800_000_000;

    #[derive(Serialize, Deserialize, Clone)]
    struct Custom {
        tenant: String,
        scope: String,
    }

    /// An issuer, and tokens by it.
    pub(crate) struct Mint {
        pair: Ed25519KeyPair,
    }

    impl Mint {
        pub(crate) fn new() -> Self {
            Self { pair: Ed25519KeyPair::generate().with_key_id("k1") }
        }

        pub(crate) fn issuer(&self) -> Issuer {
            let key = self.pair.public_key().to_bytes();
            Issuer {
                name: "outport".into(),
                audience: "outport".into(),
                key_id: "k1".into(),
                public_key: base64::Engine::encode(
                    &base64::engine::general_purpose::URL_SAFE_NO_PAD,
                    key,
                ),
            }
        }

        pub(crate) fn token(&self, tenant: &str, subject: &str, scope: &str) -> String {
            self.token_with(tenant, subject, scope, |_| ())
        }

        /// One that is good for a month.
        pub(crate) fn lasting_token(&self, tenant: &str, subject: &str, scope: &str) -> String {
            self.token_with(tenant, subject, scope, |claims| {
                claims.expires_at = Some(UnixTimeStamp::from_secs(NOW + 30 * 86_400));
            })
        }

        fn token_with(
            &self,
            tenant: &str,
            subject: &str,
            scope: &str,
            change: impl FnOnce(&mut JWTClaims<Custom>),
        ) -> String {
            let custom = Custom { tenant: tenant.into(), scope: scope.into() };
            let mut claims = Claims::with_custom_claims(custom, Duration::from_hours(1))
                .with_issuer("outport")
                .with_audience("outport")
                .with_subject(subject);
            claims.issued_at = Some(UnixTimeStamp::from_secs(NOW));
            claims.invalid_before = None;
            claims.expires_at = Some(UnixTimeStamp::from_secs(NOW + 3600));
            change(&mut claims);
            self.pair.sign(claims).unwrap()
        }
    }

    fn read(token: &str, mint: &Mint, now: u64) -> Result<String, Refusal> {
        let issuers = [mint.issuer()];
        let token = Unverified::read(token, &issuers, now)?;
        token.verify(now)?;
        Ok(token.into_grant().identity.encode())
    }

    #[test]
    fn a_good_token() {
        let mint = Mint::new();
        let token = mint.token("demo", "alice", "read write");
        assert_eq!(read(&token, &mint, NOW).as_deref(), Ok("demo;alice;read write"));
        assert_eq!(read(&token, &mint, NOW + 3609).as_deref(), Ok("demo;alice;read write"));
    }

    #[test]
    fn time() {
        let mint = Mint::new();
        let token = mint.token("demo", "alice", "read");
        assert_eq!(read(&token, &mint, NOW + 3610), Err(Refusal::Expired));
        assert_eq!(read(&token, &mint, NOW - 11), Err(Refusal::Early));
    }

    #[test]
    fn another_issuers_key() {
        let (ours, theirs) = (Mint::new(), Mint::new());
        assert_eq!(read(&theirs.token("demo", "alice", "read"), &ours, NOW), Err(NOT_BY_KEY));
    }

    #[test]
    fn claims_are_checked() {
        let mint = Mint::new();
        let untrusted = |change: fn(&mut JWTClaims<Custom>)| {
            matches!(
                read(&mint.token_with("demo", "alice", "read", change), &mint, NOW),
                Err(Refusal::Untrusted(_))
            )
        };
        assert!(untrusted(|claims| claims.issuer = Some("other".into())));
        assert!(untrusted(|claims| claims.issuer = None));
        assert!(untrusted(|claims| claims.audiences = None));
        let malformed = |change: fn(&mut JWTClaims<Custom>)| {
            matches!(
                read(&mint.token_with("demo", "alice", "read", change), &mint, NOW),
                Err(Refusal::Malformed(_))
            )
        };
        assert!(malformed(|claims| claims.expires_at = None));
        assert!(malformed(|claims| claims.subject = None));
        assert!(malformed(|claims| claims.custom.tenant = "a\0b".into()));
    }

    #[test]
    fn no_signature_no_entry() {
        let mint = Mint::new();
        let token = mint.token("demo", "alice", "read");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let none = format!(
            "{}.{}.",
            base64::Engine::encode(
                &base64::engine::general_purpose::URL_SAFE_NO_PAD,
                br#"{"alg":"none"}"#
            ),
            token.split('.').nth(1).unwrap()
        );
        assert!(matches!(read(&none, &mint, NOW), Err(Refusal::Untrusted(_))));
        for broken in [format!("{signed}."), format!("{signed}.AAAA"), format!("x{token}")] {
            assert!(matches!(read(&broken, &mint, NOW), Err(Refusal::Malformed(_))), "{broken}");
        }
        let mut changed = signature.to_owned().into_bytes();
        changed[0] = if changed[0] == b'A' { b'B' } else { b'A' };
        let changed = format!("{signed}.{}", String::from_utf8(changed).unwrap());
        assert_eq!(read(&changed, &mint, NOW), Err(NOT_BY_KEY));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mint = Mint::new();
        let issuers = [mint.issuer()];
        let token = mint.token("demo", "alice", "read");
        let grant = Unverified::read(&token, &issuers, NOW).unwrap().into_grant();
        let mut tokens = VerifiedTokens::default();
        for number in 0..3 * REMEMBERED_MAX {
            tokens.insert(&number.to_string(), grant.clone());
            assert!(tokens.get("0").is_some(), "what is used stays");
        }
        assert!(tokens.young.len() + tokens.old.len() <= REMEMBERED_MAX);
    }
}

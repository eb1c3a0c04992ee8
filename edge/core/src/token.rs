//! Bearer tokens: JWT (RFC 7519) by the best practice of RFC 8725, signed with EdDSA, ES256 or RS256;
//! with HS256 where an issuer is configured so.
//!
//! Reading comes first and costs little; the signature is checked last, by the driver where it
//! can, and a token that was verified is not verified again while it is remembered.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{ECDSAP256PublicKeyLike as _, ES256PublicKey};
use jwt_simple::prelude::{Ed25519PublicKey, EdDSAPublicKeyLike as _, NoCustomClaims};
use jwt_simple::prelude::{RS256PublicKey, RSAPublicKeyLike as _};
use jwt_simple::prelude::{UnixTimeStamp, VerificationOptions};
use outport_wire::UnixSeconds;
use outport_wire::identity::{Identity, Named, Scope, Scopes};
use outport_wire::pass::Pass;
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::revocation::Revocations;
use outport_wire::session::SessionId;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::config::Issuer;
use crate::issuer::{Check, Trusted};
use crate::issuer_keys::KeySet;
use crate::key_set::{RSA_EXPONENT, uncompressed};
use crate::session::cookie::Short;
use crate::step::PublicKey;

/// The longest token that is looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 8192;
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
    /// It was good, and was revoked.
    Revoked,
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
            Self::Revoked => Problem::new(
                ProblemType::TokenRevoked,
                "It was revoked since it was issued. Sign in again.",
            ),
        }
    }
}

/// A token that says the right things; whether its issuer said them is not known yet.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    token: &'a str,
    check: Check,
    grant: Grant,
}

/// What is signed by whom.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) key: PublicKey,
    pub(crate) message: &'a str,
    pub(crate) signature: Vec<u8>,
}

/// What a token grants, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) identity: Identity,
    /// From when on, and until when, by our clock; its issuer's may differ by the leeway.
    from_s: u64,
    until_s: u64,
    /// When it was issued, by its issuer's clock; 0: it does not say.
    issued_s: u64,
    /// When its subject has signed in.
    signed_in_s: u64,
    /// The session that it is of.
    session: Option<SessionId>,
    begins_sessions: bool,
    /// It is not its subject that comes, but somebody with a pass.
    by_pass: bool,
}

/// Who asks, and since when that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    pub(crate) identity: Identity,
    /// When they have signed in; 0: nobody knows.
    pub(crate) at_s: UnixSeconds,
    /// Until when that is good.
    pub(crate) until_s: UnixSeconds,
    /// Whether a session of a browser may begin with it.
    pub(crate) begins_sessions: bool,
    /// Somebody with a pass asks on behalf of whoever made it.
    pub(crate) by_pass: bool,
    /// The session that says so; nothing where a token does.
    pub(crate) session: Option<SessionId>,
}

impl SignedIn {
    /// Somebody for whom another request was let in.
    pub(crate) const fn before(identity: Identity) -> Self {
        Self {
            identity,
            at_s: 0,
            until_s: 0,
            begins_sessions: false,
            by_pass: false,
            session: None,
        }
    }

    /// Who it is for limits and for rules, and what further requests are made in whose name: whoever
    /// comes with a pass is nobody that is known.
    pub(crate) fn counted(&self) -> Option<&Identity> {
        (!self.by_pass).then_some(&self.identity)
    }
}

impl Grant {
    /// What the cookie of a session grants.
    pub(crate) fn of_session(short: Short) -> Self {
        let Short { session, issued_s, expires_s } = short;
        Self {
            identity: session.identity,
            from_s: 0,
            until_s: expires_s,
            issued_s,
            signed_in_s: session.signed_in_s,
            session: Some(session.id),
            begins_sessions: false,
            by_pass: false,
        }
    }

    /// What a pass grants, beside the paths that it is for: to read.
    pub(crate) fn of_pass(pass: Pass) -> Self {
        let Pass { identity, issued_s, begins_s, expires_s, .. } = pass;
        Self {
            identity: Identity { scopes: Scopes::parse(Scope::Read.name()), ..identity },
            from_s: begins_s.unwrap_or_default(),
            until_s: expires_s.saturating_add(1),
            issued_s,
            signed_in_s: 0,
            session: None,
            begins_sessions: false,
            by_pass: true,
        }
    }

    /// Who asks.
    pub(crate) fn signed_in(self) -> SignedIn {
        let Self { identity, until_s, signed_in_s: at_s, begins_sessions, by_pass, .. } = self;
        SignedIn { identity, at_s, until_s, begins_sessions, by_pass, session: self.session }
    }

    /// Whom a token names.
    pub(crate) fn named(self) -> Named {
        Named { identity: self.identity, issued_s: self.issued_s }
    }

    /// Whether it is among what its tenant has revoked.
    pub(crate) fn is_revoked(&self, revocations: &Revocations) -> bool {
        revocations.has(&self.identity.subject, self.issued_s, self.session)
    }

    /// Whether it is good at this time (RFC 7519, sections 4.1.4 to 4.1.6).
    pub(crate) fn check(&self, now_s: u64) -> Result<(), Refusal> {
        if self.until_s <= now_s {
            return Err(Refusal::Expired);
        }
        if self.from_s > now_s {
            return Err(Refusal::Early);
        }
        Ok(())
    }
}

/// The header, as far as it is looked at. Where it says of keys where they are (`jku`, `x5u`, `jwk`,
/// `x5c`), it is not asked (RFC 8725, section 3.10).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    cty: Option<String>,
    crit: Option<Value>,
}

/// The claims: no name comes twice (RFC 7519, section 4).
#[derive(Debug, Default)]
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry()? {
                    if claims.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name comes twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Claims {
    /// A time (RFC 7519, section 2, "NumericDate"), in whole seconds.
    fn seconds(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let fraction = || value.as_f64().filter(|seconds| *seconds >= 0.0).map(|s| s as u64);
        value.as_u64().or_else(fraction).map(Some).ok_or(Refusal::Malformed(
            "`exp`, `nbf`, `iat` and `auth_time` are numbers: seconds since 1970.",
        ))
    }

    /// Whether the claims that are registered as texts are (RFC 7519, section 4.1).
    fn check_texts(&self) -> Result<(), Refusal> {
        let is_text = |name| self.0.get(name).is_none_or(Value::is_string);
        match ["iss", "sub", "jti", "nonce"].into_iter().all(is_text) {
            true => Ok(()),
            false => Err(Refusal::Malformed("`iss`, `sub`, `jti` and `nonce` are texts.")),
        }
    }

    /// Whether one of these is an `aud` (RFC 7519, section 4.1.3).
    fn is_for(&self, audiences: &[String]) -> bool {
        let is_ours = |name: &str| audiences.iter().any(|audience| audience == name);
        match self.0.get("aud") {
            Some(Value::String(one)) => is_ours(one),
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).any(is_ours),
            _ => false,
        }
    }
}

impl<'a> Unverified<'a> {
    /// Reads a token and checks all that can be checked without its signature. `fetched` are the keys of
    /// its issuer, where that was asked.
    pub(crate) fn read(
        token: &'a str,
        issuers: &[Trusted],
        fetched: Option<&KeySet>,
        now_s: u64,
    ) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed("The token is longer than 8192 bytes."));
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
            "The token's claims are not base64url of a JSON object without double names.",
        ))?;
        claims.check_texts()?;
        let trusted = issuer(&claims, issuers)?;
        check_header(&header, &trusted.issuer)?;
        let check = trusted.check(&header.alg, header.kid.as_deref(), fetched)?;
        if !claims.is_for(&trusted.issuer.audiences) {
            return Err(Refusal::Untrusted("The token's `aud` is not this service."));
        }
        if claims.0.contains_key("cnf") {
            // RFC 7800: whoever holds it must prove that it is theirs, and it came without proof.
            return Err(Refusal::Untrusted(
                "The token is bound to a key (`cnf`); send one that is not.",
            ));
        }
        let grant = grant(&claims, trusted)?;
        grant.check(now_s)?;
        Ok(Self { token, check, grant })
    }

    /// The place of the issuer that must be asked for its key first.
    pub(crate) const fn lacks(&self) -> Option<u16> {
        match self.check {
            Check::Lacking(place) => Some(place),
            Check::Key(_) | Check::Secrets(_) => None,
        }
    }

    /// What a driver must check. `None` where it is signed with a secret.
    pub(crate) fn signed(&self) -> Result<Option<Signed<'a>>, Refusal> {
        let Check::Key(key) = &self.check else { return Ok(None) };
        let (message, signature) = self.token.rsplit_once('.').unwrap_or_default();
        let bytes = match key {
            PublicKey::Ed25519(_) | PublicKey::P256 { .. } => 64,
            PublicKey::Rsa(modulus) => modulus.len(),
        };
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .filter(|signature| signature.len() == bytes)
            .ok_or(Refusal::Malformed("The token's signature is not base64url of its size."))?;
        Ok(Some(Signed { key: key.clone(), message, signature }))
    }

    /// Checks the signature here.
    pub(crate) fn verify(&self, now_s: u64) -> Result<(), Refusal> {
        let (message, signature) = self.token.rsplit_once('.').unwrap_or_default();
        if let Some(is_right) = self.check.by_secret(message.as_bytes(), signature) {
            return if is_right { Ok(()) } else { Err(NOT_BY_KEY) };
        }
        self.signed()?;
        let Check::Key(key) = &self.check else { return Err(NOT_BY_KEY) };
        let options = Some(VerificationOptions {
            artificial_time: Some(UnixTimeStamp::from_secs(now_s)),
            max_token_length: Some(TOKEN_BYTES_MAX),
            ..VerificationOptions::default()
        });
        let token = self.token;
        match key {
            PublicKey::Ed25519(key) => Ed25519PublicKey::from_bytes(key)
                .and_then(|key| key.verify_token::<NoCustomClaims>(token, options)),
            PublicKey::P256 { x, y } => ES256PublicKey::from_bytes(&uncompressed(x, y))
                .and_then(|key| key.verify_token::<NoCustomClaims>(token, options)),
            PublicKey::Rsa(modulus) => RS256PublicKey::from_components(modulus, &RSA_EXPONENT)
                .and_then(|key| key.verify_token::<NoCustomClaims>(token, options)),
        }
        .map_err(|_| NOT_BY_KEY)?;
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

/// Who says to have issued the token.
fn issuer<'i>(claims: &Claims, issuers: &'i [Trusted]) -> Result<&'i Trusted, Refusal> {
    let name = claims.0.get("iss").and_then(Value::as_str);
    let name = name.ok_or(Refusal::Untrusted("The token has no `iss`."))?;
    issuers
        .iter()
        .find(|trusted| trusted.issuer.name == name)
        .ok_or(Refusal::Untrusted("The token's `iss` is not trusted here."))
}

fn check_header(header: &Header, issuer: &Issuer) -> Result<(), Refusal> {
    if header.crit.is_some() {
        return Err(Refusal::Untrusted("The token has critical extensions, and none is known."));
    }
    if header.cty.is_some() {
        return Err(Refusal::Untrusted("The token holds something else (`cty`) than claims."));
    }
    let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
    match typ.as_deref() {
        Some("at+jwt" | "application/at+jwt") => Ok(()),
        Some("jwt") | None if !issuer.access_tokens_only => Ok(()),
        Some("jwt") | None => Err(Refusal::Untrusted("The token's `typ` is not at+jwt.")),
        Some(_) => Err(Refusal::Untrusted("The token's `typ` is neither JWT nor at+jwt.")),
    }
}

fn grant(claims: &Claims, trusted: &Trusted) -> Result<Grant, Refusal> {
    let leeway_s = trusted.issuer.leeway_s;
    let expires_s = claims.seconds("exp")?.ok_or(Refusal::Malformed("The token has no `exp`."))?;
    let not_before_s = claims.seconds("nbf")?.unwrap_or(0);
    let issued_s = claims.seconds("iat")?.unwrap_or(0);
    let signed_in_s = claims.seconds("auth_time")?.unwrap_or(issued_s);
    Ok(Grant {
        identity: trusted.identity(&claims.0)?,
        issued_s,
        signed_in_s,
        session: None,
        begins_sessions: trusted.issuer.begins_sessions,
        by_pass: false,
        from_s: not_before_s.max(issued_s).saturating_sub(leeway_s),
        until_s: expires_s.saturating_add(leeway_s),
    })
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jwt_simple::prelude::*;

    use super::{Issuer, NOT_BY_KEY, REMEMBERED_MAX, Refusal, Trusted, Unverified, VerifiedTokens};
    use crate::key_set::Jwk;
    use crate::memory::tests::config;

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
            Issuer {
                name: "outport".into(),
                audiences: vec!["outport".into()],
                keys: vec![self.jwk()],
                is_own: true,
                ..Issuer::default()
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

        /// The public key.
        pub(crate) fn jwk(&self) -> Jwk {
            Jwk::ed25519("k1", &self.pair.public_key().to_bytes())
        }

        /// One of another issuer, which is good for a month, and which nobody has seen before.
        pub(crate) fn token_of(&self, issuer: &str, key_id: &str) -> String {
            static MADE: AtomicUsize = AtomicUsize::new(0);
            let pair = self.pair.clone().with_key_id(key_id);
            let custom = Custom { tenant: "demo".into(), scope: "read".into() };
            let mut claims = Claims::with_custom_claims(custom, Duration::from_days(30))
                .with_issuer(issuer)
                .with_audience("outport")
                .with_subject("alice")
                .with_jwt_id(MADE.fetch_add(1, Ordering::Relaxed).to_string());
            claims.issued_at = Some(UnixTimeStamp::from_secs(NOW));
            claims.invalid_before = None;
            claims.expires_at = Some(UnixTimeStamp::from_secs(NOW + 30 * 86_400));
            pair.sign(claims).unwrap()
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

    fn trusted<const N: usize>(issuers: [Issuer; N]) -> Vec<Trusted> {
        let mut config = config();
        config.issuers = issuers.into();
        Trusted::all(&config.issuers, &config.issuer_secrets).unwrap()
    }

    fn read(token: &str, mint: &Mint, now: u64) -> Result<String, Refusal> {
        let issuers = trusted([mint.issuer()]);
        let token = Unverified::read(token, &issuers, None, now)?;
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
        let issuers = trusted([mint.issuer()]);
        let token = mint.token("demo", "alice", "read");
        let grant = Unverified::read(&token, &issuers, None, NOW).unwrap().into_grant();
        let mut tokens = VerifiedTokens::default();
        for number in 0..3 * REMEMBERED_MAX {
            tokens.insert(&number.to_string(), grant.clone());
            assert!(tokens.get("0").is_some(), "what is used stays");
        }
        assert!(tokens.young.len() + tokens.old.len() <= REMEMBERED_MAX);
    }
}

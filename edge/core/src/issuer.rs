//! Issuers whose tokens are trusted: which key must have signed a token, and what it grants.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_wire::identity::{Identity, Scopes};
use outport_wire::secret::Secret;
use serde_json::{Map, Value};

use crate::config::{Config, ISSUER_KEYS_MAX, ISSUERS_MAX, Issuer};
use crate::issuer_keys::KeySet;
use crate::key_set::{Algorithm, Jwk, NamedKey, algorithm};
use crate::step::PublicKey;
use crate::token::Refusal;

/// The most values of one claim that are looked at: scopes, roles.
const VALUES_MAX: usize = 256;

/// An issuer, ready to check tokens.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    pub(crate) issuer: Issuer,
    place: u16,
    keys: Vec<NamedKey>,
    secrets: Vec<Secret>,
    /// The most that its tokens may allow.
    most: Option<Scopes>,
}

/// What a signature is checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Key(PublicKey),
    /// Any of these.
    Secrets(Vec<Secret>),
    /// A key that the issuer, at this place, must be asked for.
    Lacking(u16),
}

impl Trusted {
    /// All issuers of a configuration, with the secrets of those that sign with them, by name. The
    /// error says which is wrong, and how.
    pub(crate) fn all(
        issuers: &[Issuer],
        secrets: &BTreeMap<String, Vec<Secret>>,
    ) -> Result<Vec<Self>, String> {
        if issuers.len() > ISSUERS_MAX {
            return Err(format!("there may be {ISSUERS_MAX} issuers"));
        }
        let mut trusted: Vec<Self> = Vec::new();
        for (place, issuer) in (0..).zip(issuers) {
            let secrets = secrets.get(&issuer.name).cloned().unwrap_or_default();
            if trusted.iter().any(|other| other.issuer.name == issuer.name) {
                return Err(format!("the issuer {} is there twice", issuer.name));
            }
            trusted.push(Self::new(place, issuer.clone(), secrets)?);
        }
        Ok(trusted)
    }

    fn new(place: u16, issuer: Issuer, secrets: Vec<Secret>) -> Result<Self, String> {
        let name = &issuer.name;
        if issuer.keys.len().max(secrets.len()) > ISSUER_KEYS_MAX {
            return Err(format!("the issuer {name} may have {ISSUER_KEYS_MAX} keys"));
        }
        let named = |jwk: &Jwk| match NamedKey::read(jwk) {
            Ok(named) => Ok(named),
            Err(error) => {
                let kid = jwk.kid.as_deref().unwrap_or("without a name");
                Err(format!("the key {kid} of the issuer {name} can't be used: {error}"))
            }
        };
        let keys = issuer.keys.iter().map(named).collect::<Result<_, _>>()?;
        let most = issuer.scopes.as_deref().map(Scopes::parse);
        Ok(Self { issuer, place, keys, secrets, most })
    }

    /// What must check a token that names this algorithm and this key. The algorithm is the key's,
    /// never the token's choice (RFC 8725, section 3.1).
    ///
    /// `fetched` are the keys of an issuer that publishes them.
    pub(crate) fn check(
        &self,
        alg: &str,
        kid: Option<&str>,
        fetched: Option<&KeySet>,
    ) -> Result<Check, Refusal> {
        let algorithm = Algorithm::named(alg)
            .filter(|algorithm| self.issuer.algorithms.contains(algorithm))
            .ok_or(Refusal::Untrusted("The token's `alg` is none that its issuer signs with."))?;
        if algorithm == Algorithm::Hs256 {
            return Ok(Check::Secrets(self.secrets.clone()));
        }
        let found = match (self.issuer.publishes, fetched) {
            (false, _) => key(&self.keys, algorithm, kid),
            (true, None) => return Ok(Check::Lacking(self.place)),
            (true, Some(set)) => key(&set.keys, algorithm, kid),
        };
        match found {
            Err(Lacking::Key(_)) if self.issuer.publishes => Ok(Check::Lacking(self.place)),
            found => found.map(Check::Key).map_err(|lacking| Refusal::Untrusted(lacking.why())),
        }
    }

    /// Who a token says that the caller is, and what they may do.
    pub(crate) fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, Refusal> {
        let Issuer { tenant, tenants, subject_prefix, .. } = &self.issuer;
        let tenant = match tenant {
            Some(tenant) => tenant,
            None => text(claims, &self.issuer.tenant_claim)
                .ok_or(Refusal::Malformed("The token has no claim that says its tenant."))?,
        };
        if !tenants.is_empty() && !tenants.iter().any(|allowed| allowed == tenant) {
            return Err(Refusal::Untrusted("The token's issuer may not issue for its tenant."));
        }
        let subject = text(claims, &self.issuer.subject_claim)
            .filter(|subject| !subject.is_empty())
            .ok_or(Refusal::Malformed("The token has no claim that says its subject."))?;
        Identity::new(tenant, &format!("{subject_prefix}{subject}"), self.scopes(claims)).map_err(
            |_| {
                Refusal::Malformed(
                    "`tenant` and `sub` have 1 to 128 bytes and no control characters.",
                )
            },
        )
    }

    /// What its scopes and roles allow, and no more than tokens of this issuer may.
    fn scopes(&self, claims: &Map<String, Value>) -> Scopes {
        let said = texts(claims, &self.issuer.scope_claim);
        let mut scopes = Scopes::parse(&said.join(" "));
        if let Some(claim) = &self.issuer.roles_claim {
            for role in texts(claims, claim) {
                let allowed = self.issuer.roles.get(role).map_or("", String::as_str);
                scopes = scopes.with(Scopes::parse(allowed));
            }
        }
        self.most.map_or(scopes, |most| scopes.narrowed(most))
    }
}

/// Why there is no key.
enum Lacking {
    /// None has this name, or is for this algorithm; another set of keys may have one.
    Key(&'static str),
    /// The token would have to name one.
    Name,
}

impl Lacking {
    const fn why(self) -> &'static str {
        match self {
            Self::Key(why) => why,
            Self::Name => "The token has no `kid`, and its issuer has several keys.",
        }
    }
}

/// The key that is named, or the only one there is for an algorithm.
fn key(keys: &[NamedKey], of: Algorithm, kid: Option<&str>) -> Result<PublicKey, Lacking> {
    let fits = |named: &&NamedKey| {
        algorithm(&named.key) == of && kid.is_none_or(|kid| named.id.as_deref() == Some(kid))
    };
    let mut fitting = keys.iter().filter(fits);
    match (fitting.next(), fitting.next(), kid) {
        (Some(named), None, _) | (Some(named), _, Some(_)) => Ok(named.key.clone()),
        (Some(_), Some(_), None) => Err(Lacking::Name),
        (None, _, Some(_)) => Err(Lacking::Key(NO_SUCH_KEY)),
        (None, _, None) => Err(Lacking::Key("The token's issuer has no key for its `alg`.")),
    }
}

/// No key has this name.
pub(crate) const NO_SUCH_KEY: &str = "The token's `kid` is not a key of its issuer.";

/// A claim: a member by its name, or whatever a JSON pointer leads to (RFC 6901).
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else { return claims.get(name) };
    let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let mut steps = pointer.split('/');
    let first = claims.get(&unescaped(steps.next()?))?;
    steps.try_fold(first, |value, step| value.as_object()?.get(&unescaped(step)))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claim(claims, name)?.as_str()
}

/// What a claim lists: as a list, as the names of an object's members, or with spaces between.
fn texts<'a>(claims: &'a Map<String, Value>, name: &str) -> Vec<&'a str> {
    match claim(claims, name) {
        Some(Value::String(text)) => text.split(' ').take(VALUES_MAX).collect(),
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).take(VALUES_MAX).collect()
        }
        Some(Value::Object(members)) => {
            members.keys().map(String::as_str).take(VALUES_MAX).collect()
        }
        _ => Vec::new(),
    }
}

/// The keys that are published here: those of the deployment's own issuer (RFC 7517, section 5).
pub(crate) fn published(config: &Config) -> Value {
    let own = config.issuers.iter().filter(|issuer| issuer.is_own);
    let keys: Vec<&Jwk> = own.flat_map(|issuer| &issuer.keys).collect();
    serde_json::json!({ "keys": keys })
}

impl Check {
    /// Whether a secret made this signature, where it is secrets that do.
    pub(crate) fn by_secret(&self, message: &[u8], signature: &str) -> Option<bool> {
        let Self::Secrets(secrets) = self else { return None };
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        Some(secrets.iter().any(|secret| secret.verify(message, &signature)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trusted(issuer: Issuer) -> Trusted {
        Trusted::new(0, issuer, Vec::new()).unwrap()
    }

    fn who(issuer: Issuer, claims: Value) -> Result<String, Refusal> {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        trusted(issuer).identity(&claims).map(|identity| identity.encode())
    }

    #[test]
    fn claims_have_the_names_that_the_issuer_gives_them() {
        let issuer = || Issuer {
            tenant_claim: "/org/id".into(),
            subject_claim: "https://id.example/uid".into(),
            subject_prefix: "id:".into(),
            roles_claim: Some("/realm_access/roles".into()),
            roles: BTreeMap::from([("editor".into(), "read write".into())]),
            ..Issuer::default()
        };
        let claims = json!({
            "sub": "not this", "https://id.example/uid": "u1", "org": {"id": "acme"},
            "realm_access": {"roles": ["editor", "unknown", 5]}, "scope": "openid share",
        });
        assert_eq!(who(issuer(), claims).as_deref(), Ok("acme;id:u1;read write share"));
        let object = json!({
            "https://id.example/uid": "u1", "org": {"id": "acme"},
            "realm_access": {"roles": {"editor": {}}}, "scope": ["read"],
        });
        assert_eq!(who(issuer(), object).as_deref(), Ok("acme;id:u1;read write"));
        let none = json!({"https://id.example/uid": "u1", "org": "acme"});
        assert!(matches!(who(issuer(), none), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn an_issuer_has_its_tenants() {
        let claims = || json!({"sub": "a", "tenant": "other", "scope": "read"});
        let fixed = Issuer { tenant: Some("acme".into()), ..Issuer::default() };
        assert_eq!(who(fixed, claims()).as_deref(), Ok("acme;a;read"));
        let of = |tenants: &[&str]| Issuer {
            tenants: tenants.iter().map(|&tenant| tenant.into()).collect(),
            ..Issuer::default()
        };
        assert_eq!(who(of(&[]), claims()).as_deref(), Ok("other;a;read"));
        assert_eq!(who(of(&["acme", "other"]), claims()).as_deref(), Ok("other;a;read"));
        assert!(matches!(who(of(&["acme"]), claims()), Err(Refusal::Untrusted(_))));
    }

    #[test]
    fn tokens_allow_no_more_than_their_issuer_may() {
        let issuer = |scopes: &str| Issuer { scopes: Some(scopes.into()), ..Issuer::default() };
        let claims = |scope: &str| json!({"sub": "a", "tenant": "t", "scope": scope});
        for (most, said, allowed) in [
            ("read write", "admin", "t;a;read write"),
            ("read", "write", "t;a;"),
            ("", "admin", "t;a;"),
            ("admin", "read", "t;a;read"),
            ("admin", "admin", "t;a;read write share admin"),
        ] {
            assert_eq!(who(issuer(most), claims(said)).as_deref(), Ok(allowed), "{most}, {said}");
        }
    }

    #[test]
    fn a_key_is_the_only_one_or_named() {
        let key = |id: &str, byte| Jwk::ed25519(id, &[byte; 32]);
        let nameless = Jwk { kid: None, ..key("", 3) };
        let with = |keys: &[Jwk]| trusted(Issuer { keys: keys.to_vec(), ..Issuer::default() });
        let found = |issuer: &Trusted, kid| issuer.check("EdDSA", kid, None).ok();
        let is = |byte| Some(Check::Key(PublicKey::Ed25519([byte; 32])));
        let two = with(&[key("a", 1), key("b", 2)]);
        assert_eq!((found(&two, Some("b")), found(&two, None)), (is(2), None));
        assert_eq!(found(&two, Some("c")), None);
        let one = with(&[nameless]);
        assert_eq!((found(&one, None), found(&one, Some("a"))), (is(3), None));
        assert!(one.check("ES256", None, None).is_err() && one.check("none", None, None).is_err());
        assert!(one.check("HS256", None, None).is_err(), "it was not configured");
    }

    #[test]
    fn what_is_wrong_with_an_issuer_is_said() {
        let wrong = |issuer: Issuer| Trusted::new(0, issuer, Vec::new()).unwrap_err();
        let name = || "i".to_owned();
        let short =
            Issuer { name: name(), keys: vec![Jwk::ed25519("k", &[1])], ..Issuer::default() };
        assert!(wrong(short).starts_with("the key k of the issuer i can't be used: a member"));
        let keys = vec![Jwk::ed25519("k", &[1; 32]); ISSUER_KEYS_MAX + 1];
        assert!(wrong(Issuer { name: name(), keys, ..Issuer::default() }).contains("may have 32"));
    }
}

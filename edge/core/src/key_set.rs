//! Keys of issuers: JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037), of the kinds that tokens
//! are checked with here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::step::PublicKey;

/// RSA keys have so many bits (RFC 7518, section 3.3; beyond that they cost more than a request is
/// worth).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The exponent that RSA keys have: 65537, as everybody's.
pub const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// What a token may be signed with (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC with SHA-256: whoever checks such a token could have made it.
    #[serde(rename = "HS256")]
    Hs256,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Rs256, Self::Hs256];
    /// Those that are checked with a public key.
    pub const ASYMMETRIC: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// Its name in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// The algorithm of this name, if it is one of ours.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A JSON Web Key, as far as it is looked at. What it holds besides is passed over (RFC 7517,
/// section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jwk {
    /// The family.
    pub kty: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The algorithm that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// What it is for: `sig`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// What it is for, in another way: `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// The curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// The point, or its first coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The point's second coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// The modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// The exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
}

/// Why a JSON Web Key checks no token here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotUsable {
    /// It is of a family, a curve or an algorithm that is none of ours.
    Kind,
    /// It is for something else.
    Use,
    /// An RSA key is short, or absurdly long, or has a rare exponent.
    Size,
    /// A member is missing, or is not base64url of what it must be.
    Value,
}

impl std::fmt::Display for NotUsable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kind => "keys are Ed25519, P-256 or RSA, for EdDSA, ES256 or RS256",
            Self::Use => "its `use` or `key_ops` is not that of checking signatures",
            Self::Size => "an RSA key has 2048 to 4096 bits and the exponent 65537",
            Self::Value => "a member is missing, or is not base64url of a number of its size",
        })
    }
}

impl Jwk {
    /// An Ed25519 public key of this name.
    pub fn ed25519(key_id: &str, public: &[u8]) -> Self {
        Self {
            kty: "OKP".to_owned(),
            kid: Some(key_id.to_owned()),
            alg: Some(Algorithm::EdDsa.name().to_owned()),
            usage: Some("sig".to_owned()),
            crv: Some("Ed25519".to_owned()),
            x: Some(URL_SAFE_NO_PAD.encode(public)),
            ..Self::default()
        }
    }

    /// A public key without a name.
    pub fn of(key: &PublicKey) -> Self {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        match key {
            PublicKey::Ed25519(x) => {
                let (kty, crv) = ("OKP".to_owned(), Some("Ed25519".to_owned()));
                Self { kty, crv, x: text(x), ..Self::default() }
            }
            PublicKey::P256 { x, y } => {
                let (kty, crv) = ("EC".to_owned(), Some("P-256".to_owned()));
                Self { kty, crv, x: text(x), y: text(y), ..Self::default() }
            }
            PublicKey::Rsa(modulus) => {
                let (n, e) = (text(modulus), text(&RSA_EXPONENT));
                Self { kty: "RSA".to_owned(), n, e, ..Self::default() }
            }
        }
    }

    /// The key as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The key, for the one algorithm that it is for.
    pub fn read(&self) -> Result<PublicKey, NotUsable> {
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if self.usage.as_deref().is_some_and(|usage| usage != "sig")
            || !self.key_ops.as_ref().is_none_or(verifies)
        {
            return Err(NotUsable::Use);
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(number(&self.x)?),
            ("EC", Some("P-256")) => PublicKey::P256 { x: number(&self.x)?, y: number(&self.y)? },
            ("RSA", _) => PublicKey::Rsa(modulus(bytes(&self.n)?, &bytes(&self.e)?)?),
            _ => return Err(NotUsable::Kind),
        };
        match self.alg.as_deref() {
            Some(name) if name != algorithm(&key).name() => Err(NotUsable::Kind),
            _ => Ok(key),
        }
    }
}

/// A public key and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedKey {
    pub(crate) id: Option<String>,
    pub(crate) key: PublicKey,
}

impl NamedKey {
    pub(crate) fn read(jwk: &Jwk) -> Result<Self, NotUsable> {
        Ok(Self { id: jwk.kid.clone(), key: jwk.read()? })
    }
}

/// The one algorithm that a key is for.
pub(crate) const fn algorithm(key: &PublicKey) -> Algorithm {
    match key {
        PublicKey::Ed25519(_) => Algorithm::EdDsa,
        PublicKey::P256 { .. } => Algorithm::Es256,
        PublicKey::Rsa(_) => Algorithm::Rs256,
    }
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, NotUsable> {
    let text = member.as_deref().ok_or(NotUsable::Value)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotUsable::Value)
}

fn number(member: &Option<String>) -> Result<[u8; 32], NotUsable> {
    bytes(member)?.try_into().map_err(|_| NotUsable::Value)
}

/// A point as it is written with both coordinates (SEC 1, section 2.3.3).
pub fn uncompressed(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut point = [4; 65];
    let (_, coordinates) = point.split_at_mut(1);
    let (first, second) = coordinates.split_at_mut(32);
    first.copy_from_slice(x);
    second.copy_from_slice(y);
    point
}

fn modulus(modulus: Vec<u8>, exponent: &[u8]) -> Result<Vec<u8>, NotUsable> {
    // Some write a 0 before a number whose first bit is set (RFC 7518, section 6.3.1.1).
    let modulus = match modulus.strip_prefix(&[0]) {
        Some(modulus) => modulus.to_vec(),
        None => modulus,
    };
    let (Some(first), Some(last)) = (modulus.first(), modulus.last()) else {
        return Err(NotUsable::Value);
    };
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    let is_odd = last & 1 == 1;
    if *first == 0 || !is_odd || !RSA_BITS.contains(&bits) || exponent != RSA_EXPONENT {
        return Err(NotUsable::Size);
    }
    Ok(modulus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<PublicKey, NotUsable> {
        serde_json::from_str::<Jwk>(json).unwrap().read()
    }

    const ED25519: &str =
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    /// RFC 7517, appendix A.1.
    const P256: &str = r#""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#;

    fn modulus(bytes: usize, first: u8) -> String {
        let mut modulus = vec![0xff; bytes];
        modulus[0] = first;
        URL_SAFE_NO_PAD.encode(modulus)
    }

    #[test]
    fn keys_are_for_one_algorithm() {
        let of = |json: String| {
            read(&json).map(|key| {
                assert_eq!(Jwk::of(&key).read().as_ref(), Ok(&key));
                algorithm(&key)
            })
        };
        assert_eq!(of(format!("{{{ED25519}}}")), Ok(Algorithm::EdDsa));
        assert_eq!(
            of(format!("{{{P256},\"alg\":\"ES256\",\"use\":\"sig\"}}")),
            Ok(Algorithm::Es256)
        );
        let rsa = format!("\"kty\":\"RSA\",\"n\":\"{}\",\"e\":\"AQAB\"", modulus(256, 0x80));
        assert_eq!(
            of(format!("{{{rsa},\"key_ops\":[\"verify\"],\"x5c\":[1]}}")),
            Ok(Algorithm::Rs256)
        );
        for (member, why) in [
            ("\"alg\":\"HS256\"", NotUsable::Kind),
            ("\"alg\":\"PS256\"", NotUsable::Kind),
            ("\"use\":\"enc\"", NotUsable::Use),
            ("\"key_ops\":[\"sign\"]", NotUsable::Use),
        ] {
            for key in [ED25519, P256, &rsa] {
                assert_eq!(of(format!("{{{key},{member}}}")), Err(why), "{member}");
            }
        }
    }

    #[test]
    fn keys_that_are_none() {
        for (json, why) in [
            (r#"{"kty":"oct","k":"AAAA"}"#, NotUsable::Kind),
            (r#"{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}"#, NotUsable::Kind),
            (r#"{"kty":"OKP","crv":"X25519","x":"AAAA"}"#, NotUsable::Kind),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#, NotUsable::Value),
            (r#"{"kty":"OKP","crv":"Ed25519"}"#, NotUsable::Value),
            (r#"{"kty":"RSA","n":"","e":"AQAB"}"#, NotUsable::Value),
            ("{}", NotUsable::Kind),
        ] {
            assert_eq!(read(json), Err(why), "{json}");
        }
    }

    #[test]
    fn sizes_of_rsa_keys() {
        let read = |n: String, e: &str| {
            read(&format!("{{\"kty\":\"RSA\",\"n\":\"{n}\",\"e\":\"{e}\"}}")).err()
        };
        assert_eq!(read(modulus(256, 0xff), "AQAB"), None);
        assert_eq!(read(modulus(257, 0), "AQAB"), None);
        assert_eq!(read(modulus(512, 0xff), "AQAB"), None);
        for (n, e) in [
            (modulus(128, 0xff), "AQAB"),
            (modulus(256, 0x7f), "AQAB"),
            (modulus(513, 1), "AQAB"),
            (modulus(258, 0).replace('_', "A"), "AQAB"),
            (modulus(256, 0xff), "Aw"),
            (modulus(256, 0xff), ""),
        ] {
            assert_eq!(read(n, e), Some(NotUsable::Size), "{e}");
        }
    }
}

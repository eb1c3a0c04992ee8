//! Tokens of the issuers in `tests/issuers`, and tokens that are none of theirs.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The folder of their keys.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/issuers");

/// The issuer that signs with any of three keys.
pub const SEVERAL: &str = "https://several.example";
/// The issuer that signs with a secret.
pub const SECRET: &str = "https://secret.example";
/// The issuer of which little is believed.
pub const NARROW: &str = "https://narrow.example";

/// The configuration that trusts these issuers.
pub fn config() -> String {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("issuers.toml"));
    text.expect("the issuers are there").replace("FOLDER", FOLDER)
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// With the Ed25519 key.
    Ed25519,
    /// With the P-256 key.
    P256,
    /// With the RSA key.
    Rsa,
    /// With the secret of this place in its file.
    Secret(usize),
    /// With a key of the same kind that no issuer has.
    Stranger(&'static Signer),
}

impl Signer {
    /// Those of [`SEVERAL`].
    pub const KEYS: [Self; 3] = [Self::Ed25519, Self::P256, Self::Rsa];

    /// The name of its algorithm.
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::Ed25519 => "EdDSA",
            Self::P256 => "ES256",
            Self::Rsa => "RS256",
            Self::Secret(_) => "HS256",
            Self::Stranger(like) => like.algorithm(),
        }
    }

    /// The name of its key.
    pub const fn key_id(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
            Self::Rsa => "rsa",
            Self::Secret(_) => "secret",
            Self::Stranger(like) => like.key_id(),
        }
    }

    /// The signature of a message.
    pub fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Stranger(like) => like.sign_with(message, "stranger-", &random),
            signer => signer.sign_with(message, "", &random),
        }
    }

    fn sign_with(self, message: &[u8], prefix: &str, random: &SystemRandom) -> Vec<u8> {
        let pkcs8 = || read(&format!("{prefix}{}.pkcs8", self.key_id()));
        match self {
            Self::Ed25519 => {
                let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8());
                pair.expect("an Ed25519 key").sign(message).as_ref().to_vec()
            }
            Self::P256 => {
                let form = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = signature::EcdsaKeyPair::from_pkcs8(form, &pkcs8());
                let signed = pair.expect("a P-256 key").sign(random, message);
                signed.expect("a signature").as_ref().to_vec()
            }
            Self::Rsa => {
                let pair = signature::RsaKeyPair::from_pkcs8(&pkcs8()).expect("an RSA key");
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, random, message, &mut signed)
                    .expect("a signature");
                signed
            }
            Self::Secret(place) => mac(secret(place).as_bytes(), message),
            Self::Stranger(like) => like.sign_with(message, prefix, random),
        }
    }
}

/// The HMAC with SHA-256.
pub fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// A file in the folder.
pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(FOLDER).join(name)).expect("the file is there")
}

fn secret(place: usize) -> String {
    let text = String::from_utf8(read("secret")).expect("secrets are text");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.nth(place).expect("a secret").to_owned()
}

/// A token that is made bit by bit, wrong ones too.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Who signs it.
    pub signer: Signer,
    /// Its header.
    pub header: Value,
    /// Its claims.
    pub claims: Value,
}

impl Issued {
    /// One of [`SEVERAL`] that is good for an hour, for reading and writing.
    pub fn by(signer: Signer) -> Self {
        let header = json!({"alg": signer.algorithm(), "typ": "JWT", "kid": signer.key_id()});
        let claims = json!({
            "iss": SEVERAL, "aud": "scenarios", "sub": "issued", "tenant": "issued",
            "scope": "openid read write", "iat": now_s(), "exp": now_s() + 3600,
        });
        Self { signer, header, claims }
    }

    /// One of [`SECRET`].
    pub fn by_secret() -> Self {
        let mut issued = Self::by(Signer::Secret(0));
        issued.claims["iss"] = json!(SECRET);
        issued
    }

    /// One of [`NARROW`].
    pub fn narrow() -> Self {
        let mut issued = Self::by(Signer::P256);
        issued.header["typ"] = json!("at+jwt");
        issued.claims = json!({
            "iss": NARROW, "aud": ["x", "scenarios"], "sub": "1234", "email": "a@example",
            "org": {"name": "issued"}, "realm_access": {"roles": ["editor", "offline_access"]},
            "iat": now_s(), "exp": now_s() + 3600,
        });
        issued
    }

    /// The same with another member in its header; without it, where that is null.
    #[must_use]
    pub fn header(mut self, name: &str, value: Value) -> Self {
        put(&mut self.header, name, value);
        self
    }

    /// The same with another claim; without it, where that is null.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        put(&mut self.claims, name, value);
        self
    }

    /// The token.
    pub fn token(&self) -> String {
        signed(self.signer, self.header.to_string(), self.claims.to_string())
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().expect("an object");
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
}

/// A token of just these bytes.
pub fn signed(signer: Signer, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = signer.sign(message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

/// Base64url without padding.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The time, in seconds since 1970.
pub fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

//! HTTP message signatures (RFC 9421) on what an edge sends to the origin.
//!
//! HMAC-SHA256 over method, path, query, the caller's identity and the content digest where they
//! are there, with `created`, `expires`, `nonce`, `keyid` and `alg`. A verifier takes only the
//! covered components that the request calls for, so nothing that matters can be left unsigned. The nonce
//! (section 2.3) is for the verifier to take once: see [`VALID_S`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::UnixSeconds;
use crate::identity::IDENTITY_HEADER;
use crate::secret::Key;

/// How long a signature is good for, in seconds.
pub const LIFETIME_S: u64 = 60;
/// How far the clocks of an edge and the origin may differ, in seconds.
pub const LEEWAY_S: u64 = 30;
/// For how long one signature may be taken, by one verifier's clock, in seconds: from before it was
/// made, by a clock that is behind, until it is old; whole seconds are compared, which is one more.
/// Who remembers nonces for so long takes none twice.
pub const VALID_S: u64 = LIFETIME_S + 2 * LEEWAY_S + 1;

const LABEL: &str = "edge=";

/// The parts of a request that its signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path, as sent.
    pub path: &'a str,
    /// The query without its question mark, as sent.
    pub query: Option<&'a str>,
    /// The value of `outport-identity`.
    pub identity: Option<&'a str>,
    /// The value of `content-digest` (RFC 9530).
    pub content_digest: Option<&'a str>,
}

/// The values of the two header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// `Signature-Input`.
    pub input: String,
    /// `Signature`.
    pub signature: String,
}

/// Why a request is not believed to come from an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The fields do not have the form that edges write.
    #[error("the signature fields are malformed or do not cover what they must")]
    Malformed,
    /// No key has this id.
    #[error("the signing key is unknown")]
    UnknownKey,
    /// Too old, or from the future.
    #[error("the signature is outside its time; compare the clocks of edge and origin")]
    OutOfTime,
    /// Made with another key, or over another request.
    #[error("the signature does not match the request")]
    Mismatch,
}

/// Signs a request at `now`. `nonce` must differ from request to request.
pub fn sign(key: &Key, request: &Signed<'_>, now: UnixSeconds, nonce: u64) -> Signature {
    let params = format!(
        "{};created={now};expires={};nonce=\"{nonce:016x}\";keyid=\"{}\";alg=\"hmac-sha256\"",
        components(request),
        now.saturating_add(LIFETIME_S),
        key.id,
    );
    let mac = key.secret.mac(base(request, &params).as_bytes());
    Signature {
        input: format!("{LABEL}{params}"),
        signature: format!("{LABEL}:{}:", STANDARD.encode(mac)),
    }
}

/// Checks that one of `keys` signed this request, and that it was made about `now`. Returns the
/// nonce, which no other request has.
pub fn verify(
    keys: &[Key],
    request: &Signed<'_>,
    input: &str,
    signature: &str,
    now: UnixSeconds,
) -> Result<u64, Refusal> {
    let params = input.strip_prefix(LABEL).ok_or(Refusal::Malformed)?;
    let stated = params
        .strip_prefix(components(request).as_str())
        .and_then(Params::read)
        .ok_or(Refusal::Malformed)?;
    let key = keys.iter().find(|key| key.id == stated.key_id).ok_or(Refusal::UnknownKey)?;
    let mac = signature
        .strip_prefix(LABEL)
        .and_then(|value| value.strip_prefix(':')?.strip_suffix(':'))
        .and_then(|value| STANDARD.decode(value).ok())
        .ok_or(Refusal::Malformed)?;
    if !key.secret.verify(base(request, params).as_bytes(), &mac) {
        return Err(Refusal::Mismatch);
    }
    let begun = stated.created <= now.saturating_add(LEEWAY_S);
    let over = stated.expires.saturating_add(LEEWAY_S) < now;
    // What lived for longer would outlive the memory of its nonce.
    let short = stated.expires <= stated.created.saturating_add(LIFETIME_S);
    if begun && !over && short { Ok(stated.nonce) } else { Err(Refusal::OutOfTime) }
}

/// The parameters of a `Signature-Input`, in the one order in which edges write them.
struct Params<'a> {
    created: UnixSeconds,
    expires: UnixSeconds,
    nonce: u64,
    key_id: &'a str,
}

impl<'a> Params<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut fields = text.strip_prefix(';')?.split(';');
        let created = fields.next()?.strip_prefix("created=")?.parse().ok()?;
        let expires = fields.next()?.strip_prefix("expires=")?.parse().ok()?;
        let nonce = hexadecimal(quoted(fields.next()?, "nonce=")?)?;
        let key_id = quoted(fields.next()?, "keyid=")?;
        let algorithm = quoted(fields.next()?, "alg=")?;
        (algorithm == "hmac-sha256" && fields.next().is_none()).then_some(Self {
            created,
            expires,
            nonce,
            key_id,
        })
    }
}

/// A number in the one form in which edges write it: sixteen lower-case digits.
fn hexadecimal(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text, 16).ok()?;
    (format!("{number:016x}") == text).then_some(number)
}

fn quoted<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    field.strip_prefix(name)?.strip_prefix('"')?.strip_suffix('"')
}

/// The covered components (RFC 9421, section 2), as the inner list of `Signature-Input`.
fn components(request: &Signed<'_>) -> String {
    let mut list = String::from(r#"("@method" "@path" "@query""#);
    if request.identity.is_some() {
        list.push_str(r#" "outport-identity""#);
    }
    if request.content_digest.is_some() {
        list.push_str(r#" "content-digest""#);
    }
    list.push(')');
    list
}

/// The signature base (RFC 9421, section 2.5).
fn base(request: &Signed<'_>, params: &str) -> String {
    let mut base = format!(
        "\"@method\": {}\n\"@path\": {}\n\"@query\": ?{}\n",
        request.method,
        request.path,
        request.query.unwrap_or_default(),
    );
    let optional =
        [(IDENTITY_HEADER, request.identity), ("content-digest", request.content_digest)];
    for (name, value) in optional {
        if let Some(value) = value {
            base.push_str(&format!("\"{name}\": {value}\n"));
        }
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(params);
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const NOW: u64 = 1_800_000_000;

    fn key(id: &str, byte: u8) -> Key {
        Key { id: id.into(), secret: Secret::new(vec![byte; 32]).unwrap() }
    }

    fn request() -> Signed<'static> {
        Signed {
            method: "PATCH",
            path: "/uploads/01000G0000000C000000000004",
            query: None,
            identity: Some("demo;alice;read write"),
            content_digest: None,
        }
    }

    #[test]
    fn the_form_is_stable() {
        let signed = sign(&key("k1", 1), &request(), NOW, 7);
        assert_eq!(
            signed.input,
            "edge=(\"@method\" \"@path\" \"@query\" \"outport-identity\");created=1800000000;\
             expires=1800000060;nonce=\"0000000000000007\";keyid=\"k1\";alg=\"hmac-sha256\""
        );
        let checked = verify(&[key("k1", 1)], &request(), &signed.input, &signed.signature, NOW);
        assert_eq!(checked, Ok(7));
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let signed = sign(&key("k1", 1), &request(), NOW, 7);
        let check = |changed: Signed<'_>| {
            verify(&[key("k1", 1)], &changed, &signed.input, &signed.signature, NOW)
        };
        assert_eq!(check(Signed { method: "PUT", ..request() }), Err(Refusal::Mismatch));
        assert_eq!(check(Signed { path: "/uploads/x", ..request() }), Err(Refusal::Mismatch));
        assert_eq!(check(Signed { query: Some("a"), ..request() }), Err(Refusal::Mismatch));
        let other = Signed { identity: Some("demo;bob;read write"), ..request() };
        assert_eq!(check(other), Err(Refusal::Mismatch));
        assert_eq!(check(Signed { identity: None, ..request() }), Err(Refusal::Malformed));
        let digest = Signed { content_digest: Some("sha-256=:AA==:"), ..request() };
        assert_eq!(check(digest), Err(Refusal::Malformed));
    }

    #[test]
    fn keys_and_time() {
        let signed = sign(&key("k1", 1), &request(), NOW, 7);
        let check =
            |keys: &[Key], now| verify(keys, &request(), &signed.input, &signed.signature, now);
        assert_eq!(check(&[key("k2", 1)], NOW), Err(Refusal::UnknownKey));
        assert_eq!(check(&[key("k1", 2)], NOW), Err(Refusal::Mismatch));
        assert_eq!(check(&[key("k2", 2), key("k1", 1)], NOW), Ok(7));
        assert_eq!(check(&[key("k1", 1)], NOW - LEEWAY_S), Ok(7));
        assert_eq!(check(&[key("k1", 1)], NOW - LEEWAY_S - 1), Err(Refusal::OutOfTime));
        assert_eq!(check(&[key("k1", 1)], NOW + LIFETIME_S + LEEWAY_S), Ok(7));
        assert_eq!(
            check(&[key("k1", 1)], NOW + LIFETIME_S + LEEWAY_S + 1),
            Err(Refusal::OutOfTime)
        );
    }

    /// Whoever holds a key can state any times, and is held to the same memory.
    #[test]
    fn a_longer_life_than_nonces_are_remembered_for() {
        let params = format!(
            "{};created={NOW};expires={};nonce=\"0000000000000007\";keyid=\"k1\";alg=\"hmac-sha256\"",
            components(&request()),
            NOW + LIFETIME_S + 1,
        );
        let mac = key("k1", 1).secret.mac(base(&request(), &params).as_bytes());
        let (input, signature) =
            (format!("{LABEL}{params}"), format!("{LABEL}:{}:", STANDARD.encode(mac)));
        let checked = verify(&[key("k1", 1)], &request(), &input, &signature, NOW);
        assert_eq!(checked, Err(Refusal::OutOfTime));
    }

    #[test]
    fn other_forms_are_refused() {
        let signed = sign(&key("k1", 1), &request(), NOW, 7);
        for input in [
            signed.input.replace("hmac-sha256", "ed25519"),
            signed.input.replace(";expires=1800000060", ""),
            signed.input.replace("edge=", "other="),
            format!("{};tag=\"x\"", signed.input),
            signed.input.replace("0000000000000007", "7"),
            signed.input.replace("0000000000000007", "000000000000000A"),
            signed.input.replace("0000000000000007", "+000000000000007"),
        ] {
            let checked = verify(&[key("k1", 1)], &request(), &input, &signed.signature, NOW);
            assert_eq!(checked, Err(Refusal::Malformed), "{input}");
        }
    }
}

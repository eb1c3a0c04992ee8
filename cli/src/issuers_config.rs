//! From the settings to what the edge is told of issuers: their keys are read here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_edge_core::config::{ISSUER_KEYS_MAX, Issuer};
use outport_edge_core::key_set::Jwk;
use outport_wire::secret::Secret;
use serde_json::Value;

use crate::failure::Failure;
use crate::settings::TrustedIssuer;

/// The largest file of keys that is read.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The shortest secret for HS256, in bytes (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// What a secret begins with that is not the text itself.
const ENCODED: &str = "base64url:";

/// The issuers with their keys, and the secrets of those that have some, by name.
pub(crate) type Issuers = (Vec<Issuer>, BTreeMap<String, Vec<Secret>>);

/// Reads the files of all issuers.
pub(crate) fn issuers_config(trusted: Vec<TrustedIssuer>) -> Result<Issuers, Failure> {
    let mut issuers = Vec::with_capacity(trusted.len());
    let mut secrets = BTreeMap::new();
    for TrustedIssuer { mut issuer, keys_file, secret_file } in trusted {
        if let Some(path) = keys_file {
            issuer.keys = read(&path, |text| keys(&text))
                .map_err(|source| Failure::io("take the keys of", &path, source))?;
        }
        if let Some(path) = secret_file {
            let read = read(&path, |text| secrets_of(&text))
                .map_err(|source| Failure::io("take the secrets of", &path, source))?;
            secrets.insert(issuer.name.clone(), read);
        }
        issuers.push(issuer);
    }
    Ok((issuers, secrets))
}

fn read<T>(path: &Path, of: impl FnOnce(String) -> Result<T, String>) -> io::Result<T> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    of(fs::read_to_string(path)?).map_err(io::Error::other)
}

/// A JWK Set, or one JWK. Keys for something else are passed over (RFC 7517, section 5).
fn keys(text: &str) -> Result<Vec<Jwk>, String> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let listed = match document.get("keys") {
        Some(Value::Array(listed)) => listed.clone(),
        Some(_) => return Err("its member `keys` is no list".to_owned()),
        None => vec![document],
    };
    if listed.iter().any(|key| key.get("d").is_some() || key.get("k").is_some()) {
        return Err("it holds a private or secret key: give the public ones alone".to_owned());
    }
    let mut keys = Vec::new();
    let mut passed_over = String::new();
    for (place, key) in listed.into_iter().enumerate() {
        let jwk: Result<Jwk, _> = serde_json::from_value(key);
        let read = jwk.map_err(|error| error.to_string()).and_then(|jwk| match jwk.read() {
            Ok(_) => Ok(jwk),
            Err(error) => Err(error.to_string()),
        });
        match read {
            Ok(jwk) => keys.push(jwk),
            Err(why) => passed_over.push_str(&format!("; key {}: {why}", place + 1)),
        }
    }
    match keys.len() {
        0 => Err(format!("no key in it is one that tokens are checked with{passed_over}")),
        1..=ISSUER_KEYS_MAX => Ok(keys),
        many => Err(format!("it has {many} keys, not 1 to {ISSUER_KEYS_MAX}")),
    }
}

/// One secret a line, the newest first: the text itself, or `base64url:` and the bytes. Empty lines
/// and those that begin with `#` are passed over.
fn secrets_of(text: &str) -> Result<Vec<Secret>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let secrets = lines.map(|(place, line)| {
        let bytes = match line.strip_prefix(ENCODED) {
            Some(encoded) => URL_SAFE_NO_PAD
                .decode(encoded)
                .map_err(|_| format!("line {}: it is not base64url without padding", place + 1))?,
            None => line.as_bytes().to_vec(),
        };
        if bytes.len() < SECRET_BYTES_MIN {
            let (bytes, place) = (bytes.len(), place + 1);
            return Err(format!("line {place}: {bytes} bytes, and HS256 takes {SECRET_BYTES_MIN}"));
        }
        Secret::new(bytes).map_err(|error| format!("line {}: {error}", place + 1))
    });
    let secrets: Vec<_> = secrets.collect::<Result<_, _>>()?;
    match secrets.len() {
        1..=ISSUER_KEYS_MAX => Ok(secrets),
        many => Err(format!("it has {many} secrets, not 1 to {ISSUER_KEYS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn key_sets_are_read_and_what_is_for_something_else_is_passed_over() {
        let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"X25519","x":"AA"}},{ED25519}]}}"#);
        let names = |text: &str| {
            let keys = keys(text).unwrap();
            keys.into_iter().map(|key| key.kid.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((names(&set), names(ED25519)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    }

    #[test]
    fn what_is_wrong_with_a_key_set_is_said() {
        for (text, expected) in [
            ("x", "it is no JSON"),
            (r#"{"keys":5}"#, "its member `keys` is no list"),
            (r#"{"keys":[]}"#, "no key in it is one that tokens are checked with"),
            (
                r#"{"keys":[{"kty":"EC","crv":"P-521"}]}"#,
                "no key in it is one that tokens are \
              checked with; key 1: keys are Ed25519, P-256 or RSA, for EdDSA, ES256 or RS256",
            ),
            (r#"{"kty":"oct","k":"AAAA"}"#, "it holds a private or secret key"),
            (r#"{"keys":[{"kty":"OKP","d":"AAAA"}]}"#, "it holds a private or secret key"),
        ] {
            let said = keys(text).unwrap_err();
            assert!(said.starts_with(expected), "{text}: {said}");
        }
        let many = format!("{{\"keys\":[{}]}}", vec![ED25519; 33].join(","));
        assert_eq!(keys(&many).unwrap_err(), "it has 33 keys, not 1 to 32");
    }

    #[test]
    fn secrets_are_texts_or_encoded_and_long_enough() {
        let text = "a secret of thirty-two bytes, or more";
        let encoded = format!("{ENCODED}{}", URL_SAFE_NO_PAD.encode(text));
        let read = secrets_of(&format!("# new\n{text}\n\n {encoded}\n")).unwrap();
        assert_eq!((read.len(), &read[0]), (2, &read[1]));
        for (text, expected) in [
            ("\nshort", "line 2: 5 bytes, and HS256 takes 32"),
            ("base64url:=", "line 1: it is not base64url without padding"),
            ("# none", "it has 0 secrets, not 1 to 32"),
        ] {
            assert_eq!(secrets_of(text).unwrap_err(), expected);
        }
    }
}

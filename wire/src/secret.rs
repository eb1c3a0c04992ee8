//! Keys that must not show up in logs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The shortest secret that is taken: 128 bits.
pub const SECRET_BYTES_MIN: usize = 16;
/// The longest secret that is taken.
pub const SECRET_BYTES_MAX: usize = 128;

/// A shared secret for HMAC-SHA256. Its `Debug` form shows nothing of it; its serialized form is
/// base64url without padding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(Vec<u8>);

/// Why bytes are no secret of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Not base64url without padding.
    #[error("a secret is base64url without padding")]
    Encoding,
    /// Too short to be safe, or absurdly long.
    #[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
    Length,
}

impl Secret {
    /// Takes raw bytes as a secret.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretError> {
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(SecretError::Length);
        }
        Ok(Self(bytes))
    }

    /// The HMAC-SHA256 of `message` under this secret.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        self.hmac(message).finalize().into_bytes().into()
    }

    /// Whether `mac` is the HMAC-SHA256 of `message`, compared in constant time.
    pub fn verify(&self, message: &[u8], mac: &[u8]) -> bool {
        self.hmac(message).verify_slice(mac).is_ok()
    }

    /// Whether the HMAC-SHA256 of `message` begins with `beginning`, compared in constant time. It is the
    /// caller's to see that there is enough of it (RFC 2104, section 5: half of it at least).
    pub fn verify_beginning(&self, message: &[u8], beginning: &[u8]) -> bool {
        self.hmac(message).verify_truncated_left(beginning).is_ok()
    }

    #[allow(clippy::expect_used)] // HMAC takes keys of any length (RFC 2104, section 2).
    fn hmac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        hmac.update(message);
        hmac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl TryFrom<String> for Secret {
    type Error = SecretError;
    fn try_from(text: String) -> Result<Self, SecretError> {
        Self::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| SecretError::Encoding)?)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        URL_SAFE_NO_PAD.encode(&secret.0)
    }
}

/// A secret with the name it is referred to by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Visible ASCII without quotes or backslashes; at most 64 bytes.
    pub id: String,
    /// The secret itself.
    pub secret: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(b"0123456789abcdef".to_vec()).unwrap();
        assert!(!format!("{secret:?}").contains("0123"));
    }

    #[test]
    fn known_mac() {
        // RFC 4231, test case 3: key of twenty 0xaa, data of fifty 0xdd.
        let secret = Secret::new(vec![0xaa; 20]).unwrap();
        let mac = secret.mac(&[0xdd; 50]);
        assert_eq!(&mac[..4], &[0x77, 0x3e, 0xa9, 0x1e]);
        assert!(secret.verify(&[0xdd; 50], &mac));
        assert!(!secret.verify(&[0xdd; 49], &mac));
        assert!(secret.verify_beginning(&[0xdd; 50], &mac[..16]));
        assert!(!secret.verify_beginning(&[0xdd; 50], &mac[1..17]));
        assert!(!secret.verify_beginning(&[0xdd; 50], &[]));
    }

    #[test]
    fn short_secrets_are_refused() {
        assert_eq!(Secret::new(vec![1; 15]), Err(SecretError::Length));
        assert_eq!(Secret::try_from("?".to_owned()), Err(SecretError::Encoding));
    }
}

//! Signatures of Standard Webhooks (standardwebhooks.com, version 1.0.0): HMAC-SHA256 over id, time
//! and payload, by every secret that the receiver may know at the time.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use outport_wire::UnixSeconds;
use outport_wire::secret::Secret;

/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// The shortest secret, decoded: 192 bits.
const SECRET_BYTES_MIN: usize = 24;
/// The longest secret, decoded: 512 bits.
const SECRET_BYTES_MAX: usize = 64;
/// The most secrets of one receiver: an old one, a new one, and some to spare.
pub const SECRETS_MAX: usize = 4;

/// Secrets are pasted with and without their padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret shared with one receiver: `whsec_` and base64 of 24 to 64 bytes. Its `Debug` form shows
/// nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSecret(Secret);

/// A text is no such secret. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is {SECRET_PREFIX} and base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
pub struct NoHookSecret;

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret(…)")
    }
}

impl FromStr for HookSecret {
    type Err = NoHookSecret;

    fn from_str(text: &str) -> Result<Self, NoHookSecret> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(NoHookSecret)?;
        let bytes = LENIENT.decode(encoded).map_err(|_| NoHookSecret)?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(NoHookSecret);
        }
        Secret::new(bytes).map(Self).map_err(|_| NoHookSecret)
    }
}

/// The value of `webhook-signature`: one signature for each secret, separated by spaces. While a
/// secret is being replaced, the receiver finds one that it can check.
pub(crate) fn signatures(
    secrets: &[HookSecret],
    id: &str,
    at: UnixSeconds,
    payload: &[u8],
) -> String {
    let signed = [format!("{id}.{at}.").as_bytes(), payload].concat();
    let one =
        |HookSecret(secret): &HookSecret| format!("v1,{}", STANDARD.encode(secret.mac(&signed)));
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> HookSecret {
        text.parse().unwrap()
    }

    /// The vector that the reference libraries test themselves with.
    #[test]
    fn signs_as_the_reference_libraries_do() {
        let secrets = [secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = signatures(&secrets, id, 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_secret_signs() {
        let old = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let new = secret(&format!("whsec_{}", STANDARD.encode([7; 32])));
        let alone = |secret: &HookSecret| signatures(std::slice::from_ref(secret), "a", 1, b"{}");
        let both = signatures(&[new.clone(), old.clone()], "a", 1, b"{}");
        assert_eq!(both, format!("{} {}", alone(&new), alone(&old)));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let encoded = |bytes: usize| STANDARD.encode(vec![1; bytes]);
        for text in [
            encoded(24),
            format!("whsec_{}", encoded(23)),
            format!("whsec_{}", encoded(65)),
            "whsec_?".into(),
        ] {
            assert_eq!(text.parse::<HookSecret>(), Err(NoHookSecret), "{text}");
        }
        let padded = secret(&format!("whsec_{}", encoded(32)));
        assert_eq!(padded, secret(format!("whsec_{}", encoded(32)).trim_end_matches('=')));
        assert_eq!(format!("{padded:?}"), "HookSecret(…)");
    }
}

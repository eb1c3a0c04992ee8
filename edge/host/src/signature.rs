//! Signatures, checked natively.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use outport_edge_core::key_set::{RSA_EXPONENT, uncompressed};
use outport_edge_core::step::PublicKey;

/// Whether the holder of this key has signed this. A key or a signature that is none has not.
pub fn is_signed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let checked = match key {
        PublicKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        PublicKey::P256 { x, y } => {
            let point = uncompressed(x, y);
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        PublicKey::Rsa(modulus) => RsaPublicKeyComponents { n: &modulus[..], e: &RSA_EXPONENT[..] }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
    };
    checked.is_ok()
}

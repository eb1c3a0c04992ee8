//! The work that an edge asks for of who is not signed in, done as its documentation says.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The proof that a refusal asks for.
///
/// # Panics
/// Where it asks for none.
pub fn solve(refusal: &Value) -> String {
    let (challenge, bits) = (refusal["challenge"].as_str(), refusal["bits"].as_u64());
    let (challenge, bits) = challenge.zip(bits).expect("it asks for work");
    let mut proofs = (0_u64..).map(|number| format!("{challenge}.{number}"));
    proofs.find(|proof| zero_bits(proof) >= bits).expect("there are numbers enough")
}

/// How many bits of the SHA-256 of a text are zero, up to the first that is not.
pub fn zero_bits(text: &str) -> u64 {
    let bytes = Sha256::digest(text).into_iter();
    let bits = bytes.flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    bits.take_while(|bit| *bit == 0).count() as u64
}

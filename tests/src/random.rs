//! Bytes that nothing can compress or has cached. Those of a scenario are the same in every run,
//! and words, which find things again on one server, are not.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

use crate::scene;

/// So many random bytes.
pub fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    scene::fill(&mut bytes);
    bytes
}

/// A random word for names that are to be found again.
pub fn word() -> String {
    let word = format!("{:016x}", rand::rng().next_u64());
    scene::word(&word);
    word
}

/// The SHA-256 of bytes, to compare what is too long to print.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is written or read at once.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Writes a file of so many random bytes and returns its digest.
pub fn file(path: &Path, count: u64) -> io::Result<String> {
    let (mut file, mut hash, mut left) = (File::create(path)?, Sha256::new(), count);
    let mut block = vec![0; BLOCK_BYTES];
    while left > 0 {
        let size = left.min(BLOCK_BYTES as u64);
        rand::rng().fill_bytes(&mut block);
        let piece = &block[..size as usize];
        file.write_all(piece)?;
        hash.update(piece);
        left -= size;
    }
    Ok(hex(&hash.finalize()))
}

/// The digest of a file.
pub fn file_digest(path: &Path) -> io::Result<String> {
    digest_of(File::open(path)?)
}

/// The digest of all that can be read.
pub fn digest_of(mut from: impl io::Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match from.read(&mut block)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&block[..count]),
        }
    }
}

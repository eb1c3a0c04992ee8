//! Verifies an export, without a store and without keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::entry::{self, Hash, Line, hex};

/// The longest line of an export, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Reads an export line by line and says where it breaks.
///
/// It may begin in the middle of a chain. That it ends too early can't be seen: whoever wants to know
/// keeps the last hash that was printed.
#[derive(Debug, Default)]
pub struct Verifier {
    verified: Option<Verified>,
    last: Hash,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of entries.
    pub entries: u64,
    /// The place of the first of them in its chain.
    pub first: u64,
    /// The place of the last.
    pub last: u64,
    /// The last hash, in hexadecimal.
    pub hash: String,
}

/// Where and why an export breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub reason: String,
}

impl Verifier {
    /// Takes the next line, without what ends it.
    pub fn line(&mut self, text: &str) -> Result<(), Broken> {
        let line = self.verified.as_ref().map_or(0, |verified| verified.entries) + 1;
        self.take(text).map_err(|reason| Broken { line, reason })
    }

    /// What was verified, or `None` if there was nothing.
    pub fn end(self) -> Option<Verified> {
        self.verified
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        let line: Line = serde_json::from_str(text)
            .map_err(|error| format!("it is no line of an export: {error}"))?;
        let bytes = URL_SAFE_NO_PAD.decode(&line.bytes);
        let bytes = bytes.map_err(|_| "its bytes are no base64url".to_owned())?;
        let entry = entry::decode(&bytes).map_err(|error| error.to_string())?;
        if line.again(&entry, &bytes) != text {
            return Err("it shows something else than its bytes say".to_owned());
        }
        let seq = entry.said.seq;
        let follows = match &self.verified {
            Some(verified) => {
                if Some(seq) != verified.last.checked_add(1) {
                    let last = verified.last;
                    return Err(format!("entry {seq} follows entry {last}"));
                }
                entry.previous == self.last
            }
            // In the middle, whatever was before is taken as it is.
            None => seq > 1 || (seq == 1 && entry.previous == Hash::default()),
        };
        if !follows {
            return Err(format!(
                "entry {seq} was made behind another entry than the one before it"
            ));
        }
        self.last = entry.hash;
        let verified = self.verified.get_or_insert(Verified {
            entries: 0,
            first: seq,
            last: seq,
            hash: String::new(),
        });
        verified.entries += 1;
        (verified.last, verified.hash) = (seq, hex(&entry.hash));
        Ok(())
    }
}

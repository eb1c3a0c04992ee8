//! An entry as it is stored, and as an export shows it.
//!
//! What is stored are, one after the other, a byte with the version of this form, the hash of the entry
//! before (32 bytes; zeros before the first), what the entry says as JSON, and the SHA-256 of all that
//! precedes it. Nothing is hashed that is not stored as it was hashed.
//!
//! What is personal is sealed. Beside the sealed text stands its commitment, the SHA-256 of a random
//! salt and the text. Salt and text are sealed together, so that the commitment says nothing of a
//! text whose key is gone, and whoever is shown both can tell that they are what was noted.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outport_wire::time::rfc3339_ms;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The version of what is stored.
const VERSION: u8 = 1;
/// The bytes of a hash.
const HASH_BYTES: usize = 32;
/// The bytes of a salt.
pub(super) const SALT_BYTES: usize = 32;

/// A SHA-256 hash.
pub(super) type Hash = [u8; HASH_BYTES];

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    SessionBegun,
    SessionEnded,
    /// All of a subject's.
    SessionsEnded,
    /// Which ends the session.
    RefreshTokenReused,
    SubjectRevoked,
    SessionRevoked,
    EverythingRevoked,
    LinkMade,
    /// All links to a file.
    LinksEnded,
    PassMade,
    FileRemoved,
    VisibilityChanged,
    /// A tuple is there from now on.
    RelationWritten,
    RelationRemoved,
    Denied,
    PersonForgotten,
    /// What edges have stored; they do it, and say so first.
    Purged,
    /// Those that an origin started with.
    SettingsChanged,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// Its place in the chain, from 1.
    pub(super) seq: u64,
    /// Milliseconds since 1970.
    pub(super) time_ms: u64,
    pub(super) kind: Kind,
    /// The type of the problem that was answered, if it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) denied: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) who: Option<Sealed>,
    /// What it is about.
    pub(super) what: BTreeMap<String, Fact>,
}

/// One thing that an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Fact {
    Sealed(Sealed),
    Plain(Value),
}

/// A personal text. All but the id in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    /// The random id of the subject under whose key it is sealed.
    pub(super) of: String,
    pub(super) commitment: String,
    /// The nonce, and what is sealed: a salt and the text.
    pub(super) sealed: String,
}

/// A text that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) text: String,
}

/// An entry, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) said: Said,
    pub(super) previous: Hash,
    pub(super) hash: Hash,
}

/// Why stored bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoEntry {
    #[error("it is of a version that is not known here")]
    Version,
    #[error("its hash is another")]
    Hash,
    #[error("it does not say what entries say")]
    Said,
}

/// The commitment to a text.
pub(super) fn commitment(salt: &[u8], text: &str) -> String {
    base64(&digest(&[salt, text.as_bytes()].concat()))
}

/// What is stored of an entry, and its hash.
pub(super) fn encode(said: &Said, previous: &Hash) -> (Vec<u8>, Hash) {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(previous);
    bytes.extend(serde_json::to_vec(said).unwrap_or_default()); // Maps have text keys, so JSON takes it.
    let hash = digest(&bytes);
    bytes.extend_from_slice(&hash);
    (bytes, hash)
}

/// The hash that stored bytes say is theirs.
pub(super) fn hash_of(bytes: &[u8]) -> Option<Hash> {
    bytes.last_chunk().copied()
}

/// Reads what is stored.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry, NoEntry> {
    let (hashed, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(NoEntry::Said)?;
    let (version, rest) = hashed.split_first().ok_or(NoEntry::Said)?;
    if *version != VERSION {
        return Err(NoEntry::Version);
    }
    if digest(hashed) != *hash {
        return Err(NoEntry::Hash);
    }
    let (previous, json) = rest.split_first_chunk().ok_or(NoEntry::Said)?;
    let said = serde_json::from_slice(json).map_err(|_| NoEntry::Said)?;
    Ok(Entry { said, previous: *previous, hash: *hash })
}

/// A line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) seq: u64,
    time: String,
    kind: Kind,
    /// `allowed` or `denied`.
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    who: Option<Shown>,
    what: BTreeMap<String, Told>,
    /// Hashes in lower-case hexadecimal, as other programs print them.
    previous: String,
    pub(super) hash: String,
    /// All that is stored, in base64url.
    pub(super) bytes: String,
}

/// A text that was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    id: String,
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forgotten: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Told {
    Shown(Shown),
    Plain(Value),
}

impl Shown {
    /// What is shown of a sealed text that was opened, or can't be any more.
    fn new(sealed: &Sealed, opened: Option<&Opened>) -> Self {
        Self {
            id: sealed.of.clone(),
            text: opened.map(|opened| opened.text.clone()),
            salt: opened.map(|opened| base64(&opened.salt)),
            forgotten: opened.is_none(),
        }
    }

    /// What it shows of a sealed text, if it is the text that was sealed.
    fn opens(&self, sealed: &Sealed) -> Option<Opened> {
        let salt = URL_SAFE_NO_PAD.decode(self.salt.as_ref()?).ok()?;
        let salt: [u8; SALT_BYTES] = salt.try_into().ok()?;
        let text = self.text.clone()?;
        (commitment(&salt, &text) == sealed.commitment).then_some(Opened { salt, text })
    }
}

impl Line {
    /// The line of an entry that is stored as `bytes`; `open` opens what is sealed in it, by the name
    /// of the field.
    pub(super) fn new(
        entry: &Entry,
        bytes: &[u8],
        open: impl Fn(&str, &Sealed) -> Option<Opened>,
    ) -> Self {
        let Entry { said, previous, hash } = entry;
        let shown = |name: &str, sealed: &Sealed| Shown::new(sealed, open(name, sealed).as_ref());
        let told = |(name, fact): (&String, &Fact)| match fact {
            Fact::Sealed(sealed) => (name.clone(), Told::Shown(shown(name, sealed))),
            Fact::Plain(value) => (name.clone(), Told::Plain(value.clone())),
        };
        Self {
            seq: said.seq,
            time: rfc3339_ms(said.time_ms),
            kind: said.kind,
            outcome: if said.denied.is_some() { "denied" } else { "allowed" }.to_owned(),
            problem: said.denied.clone(),
            who: said.who.as_ref().map(|who| shown(super::WHO, who)),
            what: said.what.iter().map(told).collect(),
            previous: hex(previous),
            hash: hex(hash),
            bytes: base64(bytes),
        }
    }

    /// What it shows under a name.
    fn shown(&self, name: &str) -> Option<&Shown> {
        if name == super::WHO {
            return self.who.as_ref();
        }
        match self.what.get(name)? {
            Told::Shown(shown) => Some(shown),
            Told::Plain(_) => None,
        }
    }

    /// The line as it must be, by what it shows itself of what is sealed. A text may be left out as if
    /// it were forgotten, and can't be replaced.
    pub(super) fn again(&self, entry: &Entry, bytes: &[u8]) -> String {
        let opened = |name: &str, sealed: &Sealed| self.shown(name)?.opens(sealed);
        Self::new(entry, bytes, opened).to_json()
    }

    /// The line, without what ends it.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // As in what is stored.
    }
}

impl Said {
    /// Everything that is sealed in it.
    pub(super) fn sealed(&self) -> impl Iterator<Item = &Sealed> {
        let facts = self.what.values().filter_map(|fact| match fact {
            Fact::Sealed(sealed) => Some(sealed),
            Fact::Plain(_) => None,
        });
        self.who.iter().chain(facts)
    }
}

/// The SHA-256 of some bytes.
pub(super) fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// In base64url, as all bytes of an export.
pub(super) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// In lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a String never fails.
        text
    })
}

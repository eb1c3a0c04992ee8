//! Checksums and digests, computed while a body passes.
//!
//! tus says `Upload-Checksum: sha1 BASE64` of the body of one request. Digest fields (RFC 9530)
//! say `Content-Digest: sha-256=:BASE64:` of the same, and `Repr-Digest` of the whole file. What is
//! of the whole file is carried on from request to request: the state of its hash is part of the
//! upload's record.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use digest::Digest as _;
use digest::common::hazmat::SerializableState as _;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// A way to compute a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
    Md5,
    Crc32c,
    Blake3,
}

impl Algorithm {
    /// Those of tus, by its names; [`outport_wire::tus::CHECKSUM_ALGORITHMS`] lists them.
    fn of_tus(name: &str) -> Option<Self> {
        Some(match name {
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "md5" => Self::Md5,
            "crc32c" => Self::Crc32c,
            "blake3" => Self::Blake3,
            _ => return None,
        })
    }

    /// Those of digest fields that are not deprecated (RFC 9530, section 7.2).
    fn of_field(name: &str) -> Option<Self> {
        match name {
            "sha-256" => Some(Self::Sha256),
            "sha-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    const TUS: [Self; 5] = [Self::Sha1, Self::Sha256, Self::Md5, Self::Crc32c, Self::Blake3];

    const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
            Self::Crc32c => 4,
        }
    }
}

/// The value that a digest must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    algorithm: Algorithm,
    value: Vec<u8>,
}

/// Why a checksum or a digest field can't be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unchecked {
    /// It is not of the form that its field has.
    #[error("not of the form that this field has")]
    Malformed,
    /// None of its algorithms is known here.
    #[error("of no algorithm that is known here")]
    UnknownAlgorithm,
}

impl Expected {
    /// Reads `Upload-Checksum`: an algorithm and, behind a space, base64.
    pub(crate) fn of_tus(text: &str) -> Result<Self, Unchecked> {
        let (name, value) = text.trim().split_once(' ').ok_or(Unchecked::Malformed)?;
        let algorithm = Algorithm::of_tus(name).ok_or(Unchecked::UnknownAlgorithm)?;
        Self::new(algorithm, value.trim())
    }

    /// Reads `Content-Digest` or `Repr-Digest`: a dictionary of algorithms and byte sequences
    /// (RFC 9651, sections 3.2 and 3.3.5). Of several that are known, the strongest counts.
    pub(crate) fn of_field(text: &str) -> Result<Self, Unchecked> {
        let mut known: Option<Self> = None;
        for member in text.split(',') {
            let (name, value) = member.trim().split_once('=').ok_or(Unchecked::Malformed)?;
            let value = value.split(';').next().unwrap_or_default();
            let value = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
            let value = value.ok_or(Unchecked::Malformed)?;
            let Some(algorithm) = Algorithm::of_field(name.trim()) else { continue };
            let expected = Self::new(algorithm, value)?;
            if known.as_ref().is_none_or(|known| known.value.len() < expected.value.len()) {
                known = Some(expected);
            }
        }
        known.ok_or(Unchecked::UnknownAlgorithm)
    }

    fn new(algorithm: Algorithm, base64: &str) -> Result<Self, Unchecked> {
        let value = STANDARD.decode(base64).map_err(|_| Unchecked::Malformed)?;
        if value.len() != algorithm.digest_bytes() {
            return Err(Unchecked::Malformed);
        }
        Ok(Self { algorithm, value })
    }
}

/// A digest being computed.
#[derive(Clone)]
enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
    Md5(Md5),
    Crc32c(u32),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Crc32c => Self::Crc32c(0),
            Algorithm::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Crc32c(sum) => *sum = crc32c::crc32c_append(*sum, bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    fn finish(&self) -> Vec<u8> {
        match self.clone() {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
            Self::Md5(hasher) => hasher.finalize().to_vec(),
            Self::Crc32c(sum) => sum.to_be_bytes().to_vec(),
            Self::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
        }
    }
}

/// A digest of the whole file, between two requests: a value that is kept in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    algorithm: Algorithm,
    /// What it must be in the end; empty where a client only wants to be told.
    #[serde(default, with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    expected: Vec<u8>,
    /// The state of the hash over all that is durable; empty at the begin.
    #[serde(default, with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    state: Vec<u8>,
}

impl Running {
    /// One that the whole file must have.
    pub(crate) fn expecting(Expected { algorithm, value }: Expected) -> Self {
        Self { algorithm, expected: value, state: Vec::new() }
    }

    /// One that a client wants to be told: the value of `Want-Repr-Digest` (RFC 9530, section 4).
    /// `None` where it wants none that is known here.
    pub(crate) fn wanted(text: &str) -> Option<Self> {
        let preferences = text.split(',').filter_map(|member| {
            let (name, preference) = member.trim().split_once('=')?;
            let preference: u8 = preference.split(';').next()?.trim().parse().ok()?;
            Some((preference, Algorithm::of_field(name.trim())?))
        });
        let (_, algorithm) = preferences
            .filter(|(preference, _)| *preference > 0)
            .max_by_key(|(preference, algorithm)| (*preference, algorithm.digest_bytes()))?;
        Some(Self { algorithm, expected: Vec::new(), state: Vec::new() })
    }

    /// Whether what has passed is what was expected. `None` where the state is not one of ours.
    pub(crate) fn agrees(&self) -> Option<bool> {
        let digest = self.hasher()?.finish();
        Some(self.expected.is_empty() || digest == self.expected)
    }

    /// The value of `Repr-Digest`, over what has passed.
    pub(crate) fn field(&self) -> Option<String> {
        let name = match self.algorithm {
            Algorithm::Sha256 => "sha-256",
            Algorithm::Sha512 => "sha-512",
            _ => return None,
        };
        Some(format!("{name}=:{}:", STANDARD.encode(self.hasher()?.finish())))
    }

    fn hasher(&self) -> Option<Hasher> {
        if self.state.is_empty() {
            return Some(Hasher::new(self.algorithm));
        }
        let state = self.state.as_slice();
        match self.algorithm {
            Algorithm::Sha256 => {
                Sha256::deserialize(state.try_into().ok()?).ok().map(Hasher::Sha256)
            }
            Algorithm::Sha512 => {
                Sha512::deserialize(state.try_into().ok()?).ok().map(Hasher::Sha512)
            }
            _ => None,
        }
    }

    fn at(&self, hasher: &Hasher) -> Self {
        let state = match hasher {
            Hasher::Sha256(hasher) => hasher.serialize().to_vec(),
            Hasher::Sha512(hasher) => hasher.serialize().to_vec(),
            _ => Vec::new(),
        };
        Self { state, ..self.clone() }
    }
}

/// What is computed over one body.
#[derive(Default)]
pub(crate) struct Digests {
    content: Vec<(Expected, Hasher)>,
    /// Where the checksum comes behind the body, and with it which of these it is.
    trailer: Option<(Trailer, Vec<(Algorithm, Hasher)>)>,
    file: Option<(Running, Hasher)>,
}

/// A place for the `Upload-Checksum` that comes in the trailer section (RFC 9112, section 7.1.2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailer(Arc<Mutex<Option<String>>>);

impl Trailer {
    /// Fills it.
    pub(crate) fn set(&self, checksum: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(checksum);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What was computed is not what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// The body has another digest: it was damaged on its way.
    #[error("the body has another digest than was announced")]
    Content,
    /// The trailer that was announced is not there, or can't be read.
    #[error("the checksum that was to come in the trailer is missing or malformed")]
    Trailer,
}

impl Digests {
    /// Checks the body against `expected`.
    #[must_use]
    pub(crate) fn content(mut self, expected: Expected) -> Self {
        let hasher = Hasher::new(expected.algorithm);
        self.content.push((expected, hasher));
        self
    }

    /// Checks the body against what will be in `trailer` when it has ended.
    #[must_use]
    pub(crate) fn trailer(mut self, trailer: Trailer) -> Self {
        let hashers = Algorithm::TUS.map(|algorithm| (algorithm, Hasher::new(algorithm)));
        self.trailer = Some((trailer, hashers.into()));
        self
    }

    /// Carries the digest of the whole file on. One that can't be read is not carried on.
    #[must_use]
    pub(crate) fn file(mut self, running: Option<&Running>) -> Self {
        self.file = running.and_then(|running| Some((running.clone(), running.hasher()?)));
        self
    }

    /// Whether the body counts only if it is checked.
    pub(crate) fn check_content(&self) -> bool {
        !self.content.is_empty() || self.trailer.is_some()
    }

    /// Some bytes pass.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let content = self.content.iter_mut().map(|(_, hasher)| hasher);
        let trailer = self.trailer.iter_mut().flat_map(|(_, hashers)| hashers);
        let file = self.file.iter_mut().map(|(_, hasher)| hasher);
        let trailer = trailer.map(|(_, hasher)| hasher);
        content.chain(trailer).chain(file).for_each(|hasher| hasher.update(bytes));
    }

    /// The digest of the whole file, after what has passed.
    pub(crate) fn running(&self) -> Option<Running> {
        self.file.as_ref().map(|(running, hasher)| running.at(hasher))
    }

    /// The body has ended.
    pub(crate) fn check(&self) -> Result<(), Mismatch> {
        if self.content.iter().any(|(expected, hasher)| hasher.finish() != expected.value) {
            return Err(Mismatch::Content);
        }
        let Some((trailer, hashers)) = &self.trailer else { return Ok(()) };
        let sent = trailer.take().ok_or(Mismatch::Trailer)?;
        let expected = Expected::of_tus(&sent).map_err(|_| Mismatch::Trailer)?;
        let of_it = |(algorithm, _): &&(Algorithm, Hasher)| *algorithm == expected.algorithm;
        match hashers.iter().find(of_it) {
            Some((_, hasher)) if hasher.finish() == expected.value => Ok(()),
            _ => Err(Mismatch::Content),
        }
    }
}

/// Bytes as text, in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_HELLO: [&str; 5] = [
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
        "md5 XrY7u+Ae7tCTyyK7j1rNww==",
        "crc32c yZRlqg==",
        "blake3 10mB76cKDIgLjYwZhdB128v2ebmaX5kU5ar5a4ManiQ=",
    ];

    fn digests(checksum: &str) -> Digests {
        Digests::default().content(Expected::of_tus(checksum).unwrap())
    }

    #[test]
    fn every_algorithm_of_tus_is_checked() {
        for checksum in OF_HELLO {
            let mut right = digests(checksum);
            right.update(b"hello ");
            right.update(b"world");
            assert_eq!(right.check(), Ok(()), "{checksum}");
            let mut wrong = digests(checksum);
            wrong.update(b"hello worle");
            assert_eq!(wrong.check(), Err(Mismatch::Content), "{checksum}");
        }
    }

    #[test]
    fn a_trailer_says_which_it_is() {
        for checksum in OF_HELLO {
            let trailer = Trailer::default();
            let mut digests = Digests::default().trailer(trailer.clone());
            digests.update(b"hello world");
            assert_eq!(digests.check(), Err(Mismatch::Trailer), "it never came");
            trailer.set(checksum.to_owned());
            assert_eq!(digests.check(), Ok(()), "{checksum}");
            trailer.set("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned());
            assert_eq!(digests.check(), Err(Mismatch::Content));
            trailer.set("sha3 AAAA".to_owned());
            assert_eq!(digests.check(), Err(Mismatch::Trailer));
        }
    }

    #[test]
    fn malformed_checksums() {
        for (text, why) in [
            ("", Unchecked::Malformed),
            ("sha1", Unchecked::Malformed),
            ("sha1 ???", Unchecked::Malformed),
            ("sha1 AAAA", Unchecked::Malformed),
            ("sha3 AAAA", Unchecked::UnknownAlgorithm),
            ("SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", Unchecked::UnknownAlgorithm),
        ] {
            assert_eq!(Expected::of_tus(text), Err(why), "{text}");
        }
    }

    #[test]
    fn digest_fields() {
        let sha256 = "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:";
        let expected = Expected::of_field(&format!("md5=:AAAA:, {sha256}")).unwrap();
        let mut digests = Digests::default().content(expected);
        digests.update(b"hello world");
        assert_eq!(digests.check(), Ok(()));
        let sha512 = format!("sha-512=:{}:", STANDARD.encode([0; 64]));
        for both in [format!("{sha256}, {sha512}"), format!("{sha512}, {sha256}")] {
            let strongest = Expected::of_field(&both).unwrap();
            assert_eq!(strongest.algorithm, Algorithm::Sha512);
        }
        for (text, why) in [
            ("sha-256", Unchecked::Malformed),
            ("sha-256=uU0n", Unchecked::Malformed),
            ("sha-256=:uU0n:", Unchecked::Malformed),
            ("md5=:AAAA:", Unchecked::UnknownAlgorithm),
        ] {
            assert_eq!(Expected::of_field(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_files_digest_is_carried_on() {
        let whole = b"hello world";
        let sha512 = STANDARD.encode(Sha512::digest(whole));
        for field in [
            "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:".to_owned(),
            format!("sha-512=:{sha512}:"),
        ] {
            let mut running = Running::expecting(Expected::of_field(&field).unwrap());
            for piece in whole.chunks(3) {
                assert_eq!(running.agrees(), Some(false));
                let mut digests = Digests::default().file(Some(&running));
                digests.update(piece);
                let stored = serde_json::to_string(&digests.running().unwrap()).unwrap();
                running = serde_json::from_str(&stored).unwrap();
            }
            assert_eq!(running.agrees(), Some(true));
        }
    }

    #[test]
    fn wanted_digests() {
        for (text, name) in [
            ("sha-256=1", "sha-256=:"),
            ("md5=10, sha-256=3, sha-512=2", "sha-256=:"),
            ("sha-256=3, sha-512=3", "sha-512=:"),
        ] {
            let field = Running::wanted(text).unwrap().field().unwrap();
            assert!(field.starts_with(name), "{text}: {field}");
            assert_eq!(Running::wanted(text).unwrap().agrees(), Some(true));
        }
        for text in ["", "sha-256", "sha-256=0", "md5=10", "sha-256=x"] {
            assert_eq!(Running::wanted(text), None, "{text}");
        }
    }

    #[test]
    fn the_stored_form_is_stable() {
        let field = "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:";
        let running = Running::expecting(Expected::of_field(field).unwrap());
        let stored =
            r#"{"algorithm":"sha256","expected":"uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="}"#;
        assert_eq!(serde_json::to_string(&running).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Running>(stored).unwrap(), running);
        let state = format!("{},\"state\":\"AAAA\"}}", &stored[..stored.len() - 1]);
        assert_eq!(serde_json::from_str::<Running>(&state).unwrap().agrees(), None);
    }
}

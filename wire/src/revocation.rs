//! What a tenant has revoked, as the origin tells its edges.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::UnixSeconds;
use crate::session::SessionId;

/// The response header in which the origin hands an edge what a tenant has revoked. Edges keep it to
/// themselves.
pub const REVOCATIONS_HEADER: &str = "outport-revocations";
/// Where an edge asks the origin for it: the query says the tenant.
pub const REVOCATIONS_PATH: &str = "/revocations";
/// The most subjects, and the most sessions, that one tenant has revoked at once.
pub const REVOKED_MAX: usize = 256;

/// The form of the bytes.
const VERSION: u8 = 1;
const NUMBER_BYTES: usize = 8;

/// What a tenant has revoked.
///
/// As bytes it is a version, the time of `before_s`, how many subjects there are (two bytes), each
/// with its time, and the sessions; numbers have eight bytes, the highest first. Of a subject there
/// is the beginning of its SHA-256, so that it has a size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Nothing is good that was issued in this second or before.
    before_s: UnixSeconds,
    /// The same for single subjects, in order.
    subjects: Vec<(u64, UnixSeconds)>,
    /// Sessions that have ended, in order.
    sessions: Vec<u64>,
}

/// The header's value says nothing that could be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revocations are base64url of times, subjects and sessions")]
pub struct NotRevocations;

/// The target of an edge's request for what this tenant has revoked.
pub fn target(tenant: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("tenant", tenant);
    format!("{REVOCATIONS_PATH}?{}", query.finish())
}

impl Revocations {
    /// Everything that was issued at `before_s` or earlier; what these subjects were issued at these
    /// times or earlier; and these sessions. Of each at most [`REVOKED_MAX`], the first.
    pub fn new<'a>(
        before_s: UnixSeconds,
        subjects: impl IntoIterator<Item = (&'a str, UnixSeconds)>,
        sessions: impl IntoIterator<Item = SessionId>,
    ) -> Self {
        let subjects = subjects.into_iter().take(REVOKED_MAX);
        let mut subjects: Vec<_> = subjects.map(|(name, at_s)| (number(name), at_s)).collect();
        let mut sessions: Vec<_> =
            sessions.into_iter().take(REVOKED_MAX).map(SessionId::number).collect();
        subjects.sort_unstable();
        sessions.sort_unstable();
        Self { before_s, subjects, sessions }
    }

    /// Whether what was issued to this subject at this time, for this session, is good no more.
    pub fn has(&self, subject: &str, issued_s: UnixSeconds, session: Option<SessionId>) -> bool {
        if issued_s <= self.before_s {
            return true;
        }
        if session.is_some_and(|id| self.sessions.binary_search(&id.number()).is_ok()) {
            return true;
        }
        if self.subjects.is_empty() {
            return false;
        }
        let subject = number(subject);
        let from = self.subjects.partition_point(|(number, _)| *number < subject);
        let of_subject =
            self.subjects.iter().skip(from).take_while(|(number, _)| *number == subject);
        of_subject.into_iter().any(|(_, at_s)| issued_s <= *at_s)
    }

    /// The value of [`REVOCATIONS_HEADER`].
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes())
    }

    /// Reads the value of [`REVOCATIONS_HEADER`].
    pub fn decode(value: &[u8]) -> Result<Self, NotRevocations> {
        let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| NotRevocations)?;
        Self::from_bytes(&bytes).ok_or(NotRevocations)
    }

    /// The same as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = u16::try_from(self.subjects.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.before_s.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        for (subject, at_s) in &self.subjects {
            bytes.extend_from_slice(&subject.to_be_bytes());
            bytes.extend_from_slice(&at_s.to_be_bytes());
        }
        for session in &self.sessions {
            bytes.extend_from_slice(&session.to_be_bytes());
        }
        bytes
    }

    /// What these bytes say. `None` where they are none of this version's.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (before_s, rest) = rest.split_first_chunk::<NUMBER_BYTES>()?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_be_bytes(*count));
        let (subjects, sessions) = rest.split_at_checked(count * 2 * NUMBER_BYTES)?;
        let (subjects, sessions) = (numbers(subjects)?, numbers(sessions)?);
        let is_known = *version == VERSION && count.max(sessions.len()) <= REVOKED_MAX;
        let pairs = subjects.chunks_exact(2).filter_map(|pair| match *pair {
            [subject, at_s] => Some((subject, at_s)),
            _ => None,
        });
        let subjects: Vec<_> = pairs.collect();
        let is_sorted = subjects.is_sorted() && sessions.is_sorted();
        let before_s = u64::from_be_bytes(*before_s);
        (is_known && is_sorted).then_some(Self { before_s, subjects, sessions })
    }
}

fn numbers(bytes: &[u8]) -> Option<Vec<u64>> {
    let (numbers, rest) = bytes.as_chunks::<NUMBER_BYTES>();
    rest.is_empty().then(|| numbers.iter().map(|number| u64::from_be_bytes(*number)).collect())
}

/// What a subject is compared by: nobody finds another with the same.
fn number(subject: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(subject).into();
    digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocations() -> Revocations {
        let sessions = [SessionId::new(9), SessionId::new(3)];
        Revocations::new(100, [("bob", 300), ("alice", 200)], sessions)
    }

    #[test]
    fn comes_back() {
        for revocations in [revocations(), Revocations::default()] {
            let value = revocations.encode();
            assert_eq!(Revocations::decode(value.as_bytes()), Ok(revocations));
        }
    }

    #[test]
    fn what_is_good_no_more() {
        let revocations = revocations();
        let has = |subject, issued_s| revocations.has(subject, issued_s, None);
        assert!(has("carol", 100) && !has("carol", 101));
        assert!(has("alice", 200) && !has("alice", 201));
        assert!(has("bob", 300) && !has("bob", 301));
        let of = |session| revocations.has("carol", 500, Some(SessionId::new(session)));
        assert!(of(3) && of(9) && !of(4));
        assert!(!Revocations::default().has("alice", 1, None));
        // What says no time is older than everything.
        assert!(has("carol", 0));
    }

    #[test]
    fn it_fits_into_a_header() {
        let names: Vec<_> = (0..1000).map(|n| format!("subject {n}")).collect();
        let subjects = names.iter().map(|name| (name.as_str(), 7));
        let full = Revocations::new(7, subjects, (0..1000).map(SessionId::new));
        assert_eq!((full.subjects.len(), full.sessions.len()), (REVOKED_MAX, REVOKED_MAX));
        assert_eq!(full.encode().len(), 8207);
        assert_eq!(Revocations::decode(full.encode().as_bytes()), Ok(full));
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = revocations().to_bytes();
        let mut wrong = vec![good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat(), vec![]];
        wrong.push([&[2], &good[1..]].concat());
        let mut many = good.clone();
        many[9..11].copy_from_slice(&u16::MAX.to_be_bytes());
        wrong.push(many);
        let mut unsorted = good.clone();
        let end = good.len();
        unsorted[end - 16..end - 8].copy_from_slice(&[9; 8]);
        wrong.push(unsorted);
        for bytes in wrong {
            assert_eq!(Revocations::from_bytes(&bytes), None, "{bytes:?}");
        }
        assert_eq!(Revocations::decode(b"?"), Err(NotRevocations));
    }
}

//! The keys that an issuer publishes (RFC 7517, OpenID Connect Discovery 1.0): asked for when a token
//! needs them, kept in the cache of the node, and asked for again before they are old.
//!
//! A set is under one key of the cache, and what was asked for since a token named a key that is not
//! in it is under another. So an issuer is asked once in ten minutes, and once in half a minute for
//! keys that it may just have begun to use, however many tokens name keys that are none.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::caching::fields::digest;
use crate::config::{ISSUER_KEYS_MAX, Issuer};
use crate::key_set::{Jwk, NamedKey};
use crate::step::{Looked, Need, Outcome};

/// For how long a set of keys is used before it is asked for again, in milliseconds.
const LIFETIME_MS: u64 = 600_000;
/// How long it takes, after a set has come, until the issuer is asked for a key that it lacks.
const ANEW_MS: u64 = 30_000;
/// For how long nobody asks again, after an issuer gave nothing that can be used.
const FAILED_MS: u64 = 5_000;
/// How long an issuer may take, in milliseconds: where nothing is known of its keys, and where there
/// are some that can be used meanwhile.
const TIMEOUT_MS: u64 = 10_000;
const TIMEOUT_WITH_STALE_MS: u64 = 2_000;
/// The most that is read of what an issuer publishes, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 256 << 10;
/// Where an issuer says where its keys are (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The keys of an issuer, as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeySet {
    /// When the issuer said so.
    since_ms: u64,
    /// None: it gave nothing that could be used.
    pub(crate) keys: Vec<NamedKey>,
}

impl KeySet {
    /// Whether it may be used, through an outage of its issuer too.
    fn is_usable(&self, issuer: &Issuer, now_ms: u64) -> bool {
        let outage_ms = issuer.outage_s.saturating_mul(1000);
        let until_ms = self.since_ms.saturating_add(LIFETIME_MS).saturating_add(outage_ms);
        !self.keys.is_empty() && now_ms < until_ms
    }

    /// Whether its issuer may be asked for a key that it lacks.
    pub(crate) const fn may_be_old(&self, now_ms: u64) -> bool {
        self.since_ms.saturating_add(ANEW_MS) <= now_ms
    }

    fn decode(head: &[u8]) -> Option<Self> {
        postcard::from_bytes(head).ok()
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
}

/// An issuer is asked for its keys, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyExchange {
    /// The issuer's place.
    pub(crate) place: u16,
    /// Since a token names a key that the set lacks.
    pub(crate) anew: bool,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Looking,
    /// The issuer is asked where its keys are. What is known may be used otherwise.
    Locating(Option<KeySet>),
    /// It is asked for its keys.
    Fetching(Option<KeySet>),
    /// What came of it is being stored.
    Putting(KeySet),
}

/// What comes next.
pub(crate) enum Next {
    Need(KeyExchange, Need),
    /// The keys.
    Keys(KeySet),
    /// Its keys can't be had.
    Unreachable,
}

impl KeyExchange {
    /// Begins to ask the issuer at this place, which publishes its keys.
    pub(crate) fn begin(place: u16, issuer: &Issuer, anew: bool) -> (Self, Need) {
        let need = Need::Lookup { key: key(issuer, anew) };
        (Self { place, anew, stage: Stage::Looking }, need)
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(self, outcome: Outcome, issuer: &Issuer, now_ms: u64) -> Option<Next> {
        let Self { place, anew, stage } = self;
        let ask = Self { place, anew, stage: Stage::Looking };
        Some(match (stage, outcome) {
            (Stage::Looking, Outcome::Looked(looked)) => ask.looked(looked, issuer, now_ms),
            (Stage::Locating(stale), Outcome::Document(document)) => {
                match document.and_then(|document| located(&document, issuer)) {
                    Some(url) => ask.fetch(&url, stale),
                    None => ask.failed(stale, issuer, now_ms),
                }
            }
            (Stage::Fetching(stale), Outcome::Document(document)) => {
                match document.map(|document| published(&document)) {
                    Some(keys) if !keys.is_empty() => {
                        let fresh_ms = if anew { ANEW_MS } else { LIFETIME_MS };
                        ask.put(KeySet { since_ms: now_ms, keys }, fresh_ms, issuer)
                    }
                    _ => ask.failed(stale, issuer, now_ms),
                }
            }
            (Stage::Putting(set), Outcome::Put) => settled(set, issuer, now_ms),
            _ => return None,
        })
    }

    fn looked(self, looked: Looked, issuer: &Issuer, now_ms: u64) -> Next {
        let (stored, leads) = match looked {
            Looked::Found { head, lead, .. } => (KeySet::decode(&head), lead),
            Looked::Vacant => (None, true),
        };
        match stored {
            Some(set) if !leads => settled(set, issuer, now_ms),
            stored => {
                let stale = stored.filter(|set| set.is_usable(issuer, now_ms));
                match &issuer.keys_url {
                    Some(url) => self.fetch(url, stale),
                    None => {
                        let url = format!("{}{DISCOVERY}", issuer.name.trim_end_matches('/'));
                        let need = document(url, stale.as_ref());
                        Next::Need(Self { stage: Stage::Locating(stale), ..self }, need)
                    }
                }
            }
        }
    }

    fn fetch(self, url: &str, stale: Option<KeySet>) -> Next {
        let need = document(url.to_owned(), stale.as_ref());
        Next::Need(Self { stage: Stage::Fetching(stale), ..self }, need)
    }

    /// What is known stays, and nobody asks for a moment.
    fn failed(self, stale: Option<KeySet>, issuer: &Issuer, now_ms: u64) -> Next {
        let set = stale.unwrap_or(KeySet { since_ms: now_ms, keys: Vec::new() });
        self.put(set, FAILED_MS, issuer)
    }

    fn put(self, set: KeySet, fresh_ms: u64, issuer: &Issuer) -> Next {
        let need = Need::Put { key: key(issuer, self.anew), head: set.encode(), fresh_ms };
        Next::Need(Self { stage: Stage::Putting(set), ..self }, need)
    }
}

fn settled(set: KeySet, issuer: &Issuer, now_ms: u64) -> Next {
    match set.is_usable(issuer, now_ms) {
        true => Next::Keys(set),
        false => Next::Unreachable,
    }
}

/// The key of the cache: another one whenever the configuration names another issuer or address.
fn key(issuer: &Issuer, anew: bool) -> String {
    let url = issuer.keys_url.as_deref().unwrap_or_default();
    let anew = if anew { " anew" } else { "" };
    format!("keys {}{anew}", digest([issuer.name.as_str(), url]))
}

fn document(url: String, stale: Option<&KeySet>) -> Need {
    let timeout_ms = if stale.is_some() { TIMEOUT_WITH_STALE_MS } else { TIMEOUT_MS };
    Need::Document { url, bytes_max: DOCUMENT_BYTES_MAX, timeout_ms }
}

/// Where an issuer says that its keys are. What it says of another issuer is not believed (OpenID
/// Connect Discovery 1.0, section 4.3).
fn located(document: &[u8], issuer: &Issuer) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let member = |name| document.get(name).and_then(Value::as_str);
    let url = member("jwks_uri").filter(|_| member("issuer") == Some(&issuer.name))?;
    // Never from an encrypted address to one that is not.
    let is_safe = url.starts_with("https://")
        || url.starts_with("http://") && issuer.name.starts_with("http://");
    is_safe.then(|| url.to_owned())
}

/// The keys of a set that can be used; the others are passed over (RFC 7517, section 5).
fn published(document: &[u8]) -> Vec<NamedKey> {
    let document: Option<Value> = serde_json::from_slice(document).ok();
    let keys = document.as_ref().and_then(|document| document.get("keys")?.as_array());
    let keys = keys.into_iter().flatten();
    keys.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
        .filter_map(|key| NamedKey::read(&key).ok())
        .take(ISSUER_KEYS_MAX)
        .collect()
}

//! The audit log: who did what, in one chain for each tenant and one for the deployment.
//!
//! An entry is durable before what it names is done, and before anybody is answered. So the log may name
//! what then failed, and never misses what happened. Each entry has the hash of the one before: what was
//! changed, moved, inserted or taken out of the middle shows. What is personal is sealed under the key
//! of the subject it is about ([`keys`]), and forgotten with the key, while the chain still holds.

mod chain;
mod entry;
mod event;
mod keys;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use outport_wire::identity::Identity;

use self::chain::Chain;
pub(crate) use self::entry::Kind;
use self::entry::{Entry, Fact, Line, Opened, Sealed};
pub(crate) use self::event::Event;
use self::keys::{Keys, Place, SubjectKey};
pub use self::verify::{Broken, LINE_BYTES_MAX, Verified, Verifier};
use crate::config::Config;
use crate::environment::Environment;
use crate::meta::{Meta, MetaError};

/// The name of what seals who did something.
const WHO: &str = "who";
/// The name of what says which settings an origin started with.
const SETTINGS: &str = "settings";
/// The name of what says whom an entry of one who is forgotten is about.
const PERSON: &str = "person";
/// The most chains that are kept in mind; beyond, those that nobody is at are forgotten.
const CHAINS_MAX: usize = 1024;
/// The most keys that are kept in mind while a page of an export is made.
const OPENED_MAX: usize = 4096;

/// Whose chain it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    Tenant(String),
    Deployment,
}

impl Whose {
    fn partition(&self) -> String {
        match self {
            Self::Tenant(tenant) => format!("audit/{tenant}"),
            Self::Deployment => "audit of the deployment".to_owned(),
        }
    }

    fn keys_partition(&self) -> String {
        match self {
            Self::Tenant(tenant) => format!("audit keys/{tenant}"),
            Self::Deployment => "audit keys of the deployment".to_owned(),
        }
    }
}

/// Why something was not noted.
#[derive(Clone, Debug)]
pub(crate) enum NoteError {
    /// Too many wait for the same chain. Retry with backoff.
    Busy,
    /// The store failed.
    Meta(MetaError),
}

impl From<MetaError> for NoteError {
    fn from(error: MetaError) -> Self {
        Self::Meta(error)
    }
}

/// The logs of all.
#[derive(Clone)]
pub(crate) struct Audit {
    meta: Arc<dyn Meta>,
    environment: Arc<dyn Environment>,
    keys: Keys,
    open: Arc<Mutex<HashMap<Whose, Arc<Chain>>>>,
}

impl Audit {
    pub(crate) fn new(meta: &Arc<dyn Meta>, environment: &Arc<dyn Environment>) -> Self {
        let (meta, environment) = (meta.clone(), environment.clone());
        let keys = Keys { meta: meta.clone(), environment: environment.clone() };
        Self { meta, environment, keys, open: Arc::default() }
    }

    /// Notes something that a caller is about to do in its tenant. It is durable when this returns; what
    /// could not be noted must not be done.
    pub(crate) async fn note(&self, by: &Identity, event: Event) -> Result<(), NoteError> {
        self.append(self.chain(&Whose::Tenant(by.tenant.clone())), event).await
    }

    /// Notes that something was denied to a caller, unless there were too many of these lately. What
    /// can't be noted is counted by the next one that can.
    pub(crate) async fn note_denied(&self, by: &Identity, event: Event) {
        let chain = self.chain(&Whose::Tenant(by.tenant.clone()));
        let Some(left_out) = chain.take_denial(self.environment.unix_ms()) else { return };
        let event = if left_out > 0 { event.with("left_out", left_out) } else { event };
        if let Err(error) = self.append(chain.clone(), event).await {
            tracing::warn!(?error, "a denial was not noted");
            chain.left_out(left_out.saturating_add(1));
        }
    }

    /// Notes which settings the origin has started with, if they are not those that were noted last.
    pub(crate) async fn note_settings(&self, config: &Config) -> Result<(), NoteError> {
        let whose = Whose::Deployment;
        let digest = settings_digest(config);
        let end = self.end(&whose, 0).await?;
        let noted = self.meta.get(chain::key(&whose, end.seq)).await?;
        let noted = noted.and_then(|noted| entry::decode(&noted.value).ok());
        let same = Fact::Plain(digest.clone().into());
        if noted.is_some_and(|noted| noted.said.what.get(SETTINGS) == Some(&same)) {
            return Ok(());
        }
        let event = Event::by_itself(Kind::SettingsChanged)
            .with(SETTINGS, digest)
            .with("version", env!("CARGO_PKG_VERSION"));
        self.append(self.chain(&whose), event).await
    }

    /// Forgets a subject of the caller's tenant: nothing that is sealed under its key can be opened any
    /// more. Returns whether there was such a key.
    pub(crate) async fn forget(&self, by: &Identity, subject: &str) -> Result<bool, NoteError> {
        let whose = Whose::Tenant(by.tenant.clone());
        let Some(id) = self.keys.id(&whose, subject).await? else { return Ok(false) };
        let event = Event::new(Kind::PersonForgotten, by).with(PERSON, id.as_str());
        self.note(by, event).await?;
        self.keys.forget(&whose, subject, &id).await?;
        Ok(true)
    }

    /// Lines of an export: up to `limit` entries behind the one numbered `after`, each a JSON document.
    /// Fewer mean that there are no more.
    pub(crate) async fn read(
        &self,
        whose: &Whose,
        after: u64,
        limit: usize,
    ) -> Result<Vec<String>, MetaError> {
        let behind = (after > 0).then(|| Bytes::copy_from_slice(&after.to_be_bytes()));
        let stored = self.meta.scan(whose.partition().into(), behind, limit).await?;
        let mut keys = HashMap::new();
        let mut lines = Vec::with_capacity(stored.len());
        for (_, stored) in stored {
            let Ok(entry) = entry::decode(&stored.value) else {
                lines.push(damaged(&stored.value));
                continue;
            };
            if keys.len() >= OPENED_MAX {
                keys.clear();
            }
            self.gather(whose, &entry, &mut keys).await?;
            let open = |name: &str, sealed: &Sealed| -> Option<Opened> {
                let key = keys.get(&sealed.of)?.as_ref()?;
                key.open(Place { whose, seq: entry.said.seq, name }, sealed)
            };
            lines.push(Line::new(&entry, &stored.value, open).to_json());
        }
        Ok(lines)
    }

    /// Gathers the keys of what is sealed in an entry, those that are there.
    async fn gather(
        &self,
        whose: &Whose,
        entry: &Entry,
        keys: &mut HashMap<String, Option<SubjectKey>>,
    ) -> Result<(), MetaError> {
        for sealed in entry.said.sealed() {
            if !keys.contains_key(&sealed.of) {
                keys.insert(sealed.of.clone(), self.keys.get(whose, &sealed.of).await?);
            }
        }
        Ok(())
    }

    fn chain(&self, whose: &Whose) -> Arc<Chain> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= CHAINS_MAX && !open.contains_key(whose) {
            open.retain(|_, chain| !chain.is_idle());
        }
        open.entry(whose.clone()).or_insert_with(|| Arc::new(Chain::new(whose.clone()))).clone()
    }
}

/// The line of an entry that says `said`, and is the first, with its number; `None` if it says what none
/// does.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn shown(said: &[u8]) -> Option<(u64, String)> {
    let said = serde_json::from_slice(said).ok()?;
    let (bytes, _) = entry::encode(&said, &entry::Hash::default());
    let entry = entry::decode(&bytes).ok()?;
    Some((entry.said.seq, Line::new(&entry, &bytes, |_, _| None).to_json()))
}

/// What tells one configuration from another, and nothing else of it. Secrets have no part in it.
fn settings_digest(config: &Config) -> String {
    entry::hex(&entry::digest(format!("{config:?}").as_bytes()))
}

/// The line of what is stored and is no entry. Whoever verifies it stops there.
fn damaged(bytes: &[u8]) -> String {
    serde_json::json!({ "damaged": entry::base64(bytes) }).to_string()
}

//! Sessions of browsers, and what is revoked.
//!
//! Each subject has a page of the sessions that it has begun, each tenant one of what it has revoked.
//! Both are [books](crate::book): whoever changes one does so by compare-and-swap, and any origin may.
//!
//! A session's refresh token says its generation, and each refresh begins the next one. So a token
//! that is used twice, once by its owner and once by a thief, is noticed by the second use, and the
//! session ends (RFC 9700, section 4.14.2).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use outport_wire::UnixSeconds;
use outport_wire::identity::{Identity, Scopes};
use outport_wire::revocation::{REVOKED_MAX, Revocations};
use outport_wire::session::SessionId;
use serde::{Deserialize, Serialize};

use crate::audit::{Audit, Event, Kind};
use crate::book::{BookError, Books, Page};
use crate::environment::Environment;
use crate::meta::{Key, Meta, MetaError};

/// The most sessions of one subject; of more, the one goes that began first.
const SESSIONS_MAX: usize = 32;
/// For how long a refresh may be repeated, whose answer was lost or which came twice at once, in
/// seconds.
const REPEAT_S: u64 = 10;
/// For how long edges are told of a session that has ended: what is good for it by itself is good
/// for no longer, in seconds.
pub(crate) const ENDED_TOLD_S: u64 = 3600;
/// Where it is kept what tenants have revoked, each under its name.
const REVOKED: &str = "revoked";

/// Why a session does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It is not there, or not any more.
    Ended,
    /// Its refresh token was used before. It has ended now.
    Reused,
}

/// The sessions of all, and what is revoked.
#[derive(Clone)]
pub(crate) struct Sessions {
    subjects: Books<Subject>,
    tenants: Books<Tenant>,
    environment: Arc<dyn Environment>,
    audit: Audit,
}

impl Sessions {
    pub(crate) fn new(
        meta: &Arc<dyn Meta>,
        environment: &Arc<dyn Environment>,
        audit: Audit,
    ) -> Self {
        Self {
            subjects: Books::new(meta.clone(), environment.clone()),
            tenants: Books::new(meta.clone(), environment.clone()),
            environment: environment.clone(),
            audit,
        }
    }

    /// Begins a session, in its first generation.
    pub(crate) async fn begin(
        &self,
        whose: &Identity,
        id: SessionId,
        until_s: UnixSeconds,
    ) -> Result<(), BookError<Over>> {
        let before = self.subjects.look(&of_subject(whose)).await.map_err(BookError::Meta)?;
        let begin = Change::Begin { id, until_s, scopes: whose.scopes };
        self.subjects.change(&of_subject(whose), begin).await?;
        // What edges would take for a while is to be over for them, too.
        match before.makes_room(id, self.environment.unix_s()) {
            Some(first) => self.revoke(&whose.tenant, Revoked::Session(first)).await,
            None => Ok(()),
        }
    }

    /// Whether this session is under way, with what it was begun for.
    pub(crate) async fn lives(&self, whose: &Identity, id: SessionId) -> Result<bool, MetaError> {
        let subject = self.subjects.look(&of_subject(whose)).await?;
        let Some(session) = subject.sessions.get(&id) else { return Ok(false) };
        let after_s = self.revoked(&whose.tenant).await?.before_s;
        let now = self.environment.unix_s();
        Ok(session.is_under_way(after_s, now) && session.scopes == whose.scopes)
    }

    /// Goes on from this generation to the next.
    pub(crate) async fn refresh(
        &self,
        whose: &Identity,
        id: SessionId,
        generation: u32,
    ) -> Result<(), BookError<Over>> {
        let revoked = self.revoked(&whose.tenant).await.map_err(BookError::Meta)?;
        let after_s = revoked.before_s;
        let change = Change::Refresh { id, generation, after_s };
        let refreshed = self.subjects.change(&of_subject(whose), change).await;
        if let Err(BookError::Refused(Over::Reused)) = refreshed {
            tracing::warn!(session = %id, "a refresh token was used twice; its session ends");
            let reused = Event::new(Kind::RefreshTokenReused, whose);
            self.audit.note(whose, reused.with("session", id.to_string())).await?;
            self.end(whose, id).await?;
        }
        refreshed
    }

    /// Ends a session, if it is there, and has edges told.
    pub(crate) async fn end(&self, whose: &Identity, id: SessionId) -> Result<(), BookError<Over>> {
        self.subjects.change(&of_subject(whose), Change::End(id)).await?;
        self.revoke(&whose.tenant, Revoked::Session(id)).await
    }

    /// Ends all sessions of a subject, and revokes all that was issued to it so far.
    pub(crate) async fn end_all(&self, whose: &Identity) -> Result<(), BookError<Over>> {
        self.subjects.change(&of_subject(whose), Change::EndAll).await?;
        self.revoke(&whose.tenant, Revoked::Subject(whose.subject.clone())).await
    }

    /// Ends all sessions of a tenant, and revokes all that was issued so far.
    pub(crate) async fn end_everything(&self, tenant: &str) -> Result<(), BookError<Over>> {
        self.revoke(tenant, Revoked::Everything).await
    }

    /// What a tenant has revoked.
    pub(crate) async fn revoked(&self, tenant: &str) -> Result<Tenant, MetaError> {
        self.tenants.look(&of_tenant(tenant)).await
    }

    async fn revoke(&self, tenant: &str, what: Revoked) -> Result<(), BookError<Over>> {
        self.tenants.change(&of_tenant(tenant), what).await
    }
}

fn of_subject(whose: &Identity) -> Key {
    Key::new(format!("sessions {}", whose.tenant), whose.subject.clone())
}

fn of_tenant(tenant: &str) -> Key {
    Key::new(REVOKED, tenant.to_owned())
}

/// The sessions of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    begun_s: UnixSeconds,
    until_s: UnixSeconds,
    generation: u32,
    /// When this generation began.
    since_s: UnixSeconds,
    /// What it was begun for.
    #[serde(default)]
    scopes: Scopes,
}

impl Session {
    /// Whether it has neither ended nor begun at this time or before.
    const fn is_under_way(&self, after_s: UnixSeconds, now: UnixSeconds) -> bool {
        self.until_s > now && self.begun_s > after_s
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Begin {
        id: SessionId,
        until_s: UnixSeconds,
        scopes: Scopes,
    },
    Refresh {
        id: SessionId,
        generation: u32,
        /// Only if it has begun later than this.
        after_s: UnixSeconds,
    },
    End(SessionId),
    EndAll,
}

impl Page for Subject {
    type Change = Change;
    type Refusal = Over;

    const SHUTS_OUT: bool = false;

    fn apply(&mut self, change: &Change, now: UnixSeconds) -> Result<(), Over> {
        match *change {
            Change::Begin { id, until_s, scopes } => self.begin(id, until_s, scopes, now),
            Change::Refresh { id, generation, after_s } => {
                self.refresh(id, generation, after_s, now)?;
            }
            Change::End(id) => {
                self.sessions.remove(&id);
            }
            Change::EndAll => self.sessions.clear(),
        }
        Ok(())
    }
}

impl Subject {
    /// The session that goes when this one begins: the first, if there are too many.
    fn makes_room(&self, id: SessionId, now: UnixSeconds) -> Option<SessionId> {
        let going_on = || self.sessions.iter().filter(|(_, session)| session.until_s > now);
        if going_on().count() < SESSIONS_MAX || self.sessions.contains_key(&id) {
            return None;
        }
        going_on().min_by_key(|(_, session)| session.begun_s).map(|(id, _)| *id)
    }

    fn begin(&mut self, id: SessionId, until_s: UnixSeconds, scopes: Scopes, now: UnixSeconds) {
        let first = self.makes_room(id, now);
        self.sessions.retain(|id, session| session.until_s > now && Some(*id) != first);
        let session = Session { begun_s: now, until_s, generation: 0, since_s: now, scopes };
        self.sessions.entry(id).or_insert(session);
    }

    fn refresh(
        &mut self,
        id: SessionId,
        generation: u32,
        after_s: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), Over> {
        let session = self.sessions.get_mut(&id).ok_or(Over::Ended)?;
        if !session.is_under_way(after_s, now) {
            return Err(Over::Ended);
        }
        if session.generation == generation {
            (session.generation, session.since_s) = (generation.saturating_add(1), now);
            return Ok(());
        }
        let is_repeated = session.generation.checked_sub(1) == Some(generation);
        if is_repeated && now <= session.since_s.saturating_add(REPEAT_S) {
            return Ok(());
        }
        Err(Over::Reused)
    }
}

/// What a tenant has revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tenant {
    /// All that was issued, and every session that began, in this second or before.
    pub(crate) before_s: UnixSeconds,
    /// All that was issued in this second or before, of whatever is told no more since there was
    /// too much of it. Sessions go on.
    older_s: UnixSeconds,
    /// When these subjects had revoked what was issued to them.
    pub(crate) subjects: BTreeMap<String, UnixSeconds>,
    /// When these sessions ended.
    pub(crate) sessions: BTreeMap<SessionId, UnixSeconds>,
}

#[derive(Clone, Debug)]
pub(crate) enum Revoked {
    Subject(String),
    Session(SessionId),
    Everything,
}

impl Page for Tenant {
    type Change = Revoked;
    type Refusal = Over;

    const SHUTS_OUT: bool = false;

    fn apply(&mut self, change: &Revoked, now: UnixSeconds) -> Result<(), Over> {
        self.sessions.retain(|_, ended_s| ended_s.saturating_add(ENDED_TOLD_S) > now);
        match change {
            Revoked::Subject(name) => {
                // Never to less, whatever the clock does.
                let at_s = self.subjects.entry(name.clone()).or_default();
                *at_s = now.max(*at_s);
            }
            Revoked::Session(id) => {
                self.sessions.insert(*id, now);
            }
            Revoked::Everything => {
                self.before_s = self.before_s.max(now);
                self.subjects.retain(|_, at_s| *at_s > now);
                self.sessions.retain(|_, at_s| *at_s > now);
            }
        }
        let older_s = forget_first(&mut self.subjects).max(forget_first(&mut self.sessions));
        self.older_s = self.older_s.max(older_s.unwrap_or_default());
        Ok(())
    }
}

/// Forgets what was revoked first, where there is more than edges are told. Returns when that was: it
/// stays revoked, with all else that is as old.
fn forget_first<K: Ord + Clone>(revoked: &mut BTreeMap<K, UnixSeconds>) -> Option<UnixSeconds> {
    if revoked.len() <= REVOKED_MAX {
        return None;
    }
    let (first, at_s) = revoked.iter().min_by_key(|(_, at_s)| **at_s)?;
    let (first, at_s) = (first.clone(), *at_s);
    revoked.remove(&first);
    Some(at_s)
}

impl Tenant {
    /// Whether what this subject was issued then is good no more.
    pub(crate) fn has_revoked(&self, subject: &str, issued_s: UnixSeconds) -> bool {
        let of_subject = self.subjects.get(subject);
        issued_s <= self.before_s.max(self.older_s)
            || of_subject.is_some_and(|at_s| issued_s <= *at_s)
    }

    /// What edges are told.
    pub(crate) fn told(&self) -> Revocations {
        let subjects = self.subjects.iter().map(|(name, at_s)| (name.as_str(), *at_s));
        Revocations::new(self.before_s.max(self.older_s), subjects, self.sessions.keys().copied())
    }
}

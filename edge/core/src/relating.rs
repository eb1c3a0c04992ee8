//! What somebody may do with a file of their tenant that is not their own, by relations: what is related
//! to the file, the folders above it and the tenant, and the groups of who asks, each an entry that this
//! edge keeps.
//!
//! Entries of different times are not mixed. Where they don't hold at one revision, those are asked for
//! again that are older than the others need.

#[cfg(test)]
pub(crate) mod graph;
#[cfg(test)]
mod tests;

use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::relation::{
    self, FOLDERS_MAX, Holds, Level, Memberships, Object, Related, Revision, Subject,
    member_target, object_target,
};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::step::{Moment, Need, Outcome};
use crate::told::{self, Of, ToldExchange};

/// How often entries are asked for again, for one request. Each time some have changed meanwhile.
const AGAIN_MAX: u8 = 24;

/// How long such an entry is kept, in milliseconds: so that who asks for it at the same time shares it.
const AGAIN_MS: u64 = 1_000;

/// Relations are gathered, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relating {
    tenant: String,
    user: String,
    file: FileId,
    /// A revision that the answer must know of.
    least: Revision,
    again: u8,
    /// The revision as of which the last entry was asked for; 0: any.
    wanted: Revision,
    memberships: Option<Memberships>,
    /// What is related to the file, to the folders above it, the nearest first, and to the tenant.
    chain: Vec<Related>,
    asked: Asked,
    told: ToldExchange,
}

/// The entry that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    Memberships,
    /// That of this place in the chain.
    Object(usize),
}

/// What comes next.
pub(crate) enum Next {
    Need(Box<Relating>, Need),
    /// What they may do.
    Level(Option<Level>),
    /// The origin does not tell.
    Unknown,
}

impl Relating {
    /// Begins with the memberships of who asks.
    pub(crate) fn begin(
        identity: &Identity,
        file: FileId,
        least: Revision,
        config: &Config,
    ) -> (Self, Need) {
        let Identity { tenant, subject, .. } = identity.clone();
        let (told, need) = ask_member(&tenant, &subject, 0, config);
        let (asked, chain) = (Asked::Memberships, Vec::new());
        let this = Self {
            tenant,
            user: subject,
            file,
            least,
            again: 0,
            wanted: 0,
            memberships: None,
            chain,
            asked,
            told,
        };
        (this, need)
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(
        mut self,
        outcome: Outcome,
        config: &Config,
        moment: Moment,
    ) -> Option<Next> {
        let bytes = match self.told.clone().resume(outcome, config, moment)? {
            told::Next::Need(told, need) => {
                return Some(Next::Need(Box::new(Self { told, ..self }), need));
            }
            told::Next::Told(bytes) => bytes,
        };
        let taken = bytes.is_some_and(|bytes| self.take(&bytes));
        Some(if taken { self.go_on(config) } else { Next::Unknown })
    }

    /// Takes an entry that was asked for.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let holds = match self.asked {
            Asked::Memberships => {
                let Ok(memberships) = Memberships::from_bytes(bytes) else { return false };
                self.memberships.insert(memberships).holds
            }
            Asked::Object(place) => {
                let Ok(related) = Related::from_bytes(bytes) else { return false };
                let holds = related.holds;
                // If it is somewhere else now, what is above it is, too.
                let is_moved = self.chain.get(place).is_none_or(|old| old.parent != related.parent);
                self.chain.truncate(if is_moved { place } else { self.chain.len() });
                match self.chain.get_mut(place) {
                    Some(old) => *old = related,
                    None => self.chain.push(related),
                }
                holds
            }
        };
        if holds.read < self.wanted {
            // There is no such revision yet, whatever the client says.
            self.least = self.least.min(holds.read);
        }
        true
    }

    fn go_on(self, config: &Config) -> Next {
        let Some(memberships) = &self.memberships else { return Next::Unknown };
        if let Some(object) = self.object(self.chain.len()) {
            let asked = Asked::Object(self.chain.len());
            let (told, need) = ask_object(&self.tenant, &object, 0, config);
            return Next::Need(Box::new(Self { asked, told, wanted: 0, ..self }), need);
        }
        let objects = self.chain.iter().map(|related| related.holds);
        let all = objects.chain([memberships.holds]);
        match relation::together(all, self.least) {
            Ok(()) => Next::Level(relation::level(&self.user, memberships, &self.chain)),
            Err(revision) => self.ask_again(revision, config),
        }
    }

    /// The object of a place in the chain, which may be the next one; none behind the last.
    fn object(&self, place: usize) -> Option<Object> {
        let parents = self.chain.iter().take(FOLDERS_MAX);
        let folders: Vec<_> = parents.map_while(|below| below.parent.as_ref()).collect();
        match place.checked_sub(1) {
            None => Some(Object::File(self.file)),
            Some(above) if above == folders.len() => Some(Object::Tenant),
            Some(above) => folders.get(above).map(|name| Object::Folder((*name).clone())),
        }
    }

    /// Asks for an entry that was read before this revision.
    fn ask_again(mut self, revision: Revision, config: &Config) -> Next {
        let is_old = |holds: Holds| holds.read < revision;
        if self.again >= AGAIN_MAX {
            return Next::Unknown;
        }
        self.again += 1;
        let object = self.chain.iter().position(|related| is_old(related.holds));
        let (asked, (told, need)) = match object {
            Some(place) => {
                let Some(object) = self.object(place) else { return Next::Unknown };
                let ask = ask_object(&self.tenant, &object, revision, config);
                (Asked::Object(place), ask)
            }
            None => {
                let ask = ask_member(&self.tenant, &self.user, revision, config);
                (Asked::Memberships, ask)
            }
        };
        Next::Need(Box::new(Self { asked, told, wanted: revision, ..self }), need)
    }
}

/// The key of the cache. What is asked for as of a revision is kept beside what is not.
fn key(tenant: &str, of: &str, least: Revision) -> String {
    // No name has a control character in it.
    let least = if least == 0 { String::new() } else { format!("\0{least}") };
    format!("related {tenant}\0{of}{least}")
}

fn ask_object(
    tenant: &str,
    object: &Object,
    least: Revision,
    config: &Config,
) -> (ToldExchange, Need) {
    let key = key(tenant, &object.to_string(), least);
    ToldExchange::begin(Of::Object, key, object_target(tenant, object), fresh_ms(least, config))
}

fn ask_member(tenant: &str, user: &str, least: Revision, config: &Config) -> (ToldExchange, Need) {
    let subject = Subject::User(user.into());
    let key = key(tenant, &format!("of {subject}"), least);
    ToldExchange::begin(Of::Subject, key, member_target(tenant, &subject), fresh_ms(least, config))
}

fn fresh_ms(least: Revision, config: &Config) -> u64 {
    let within_ms = config.related_within_s.saturating_mul(1000);
    if least == 0 { within_ms } else { AGAIN_MS.min(within_ms) }
}

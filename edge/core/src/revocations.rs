//! What tenants have revoked, as far as this edge knows: asked of the origin when somebody of a tenant
//! comes, kept in the cache of the node for a few seconds, and asked for again.
//!
//! So a revocation counts at once where it was made, and everywhere else within
//! [`Config::revoked_within_s`](crate::config::Config::revoked_within_s) and the time that a request to
//! the origin takes. While the origin is away, what was known before stays in force; an edge that has
//! never heard of a tenant takes its tokens as they are.

use std::collections::HashMap;

use outport_wire::revocation::{REVOCATIONS_HEADER, Revocations, target};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::forward::own_to_origin;
use crate::head::FieldLines;
use crate::step::{FetchError, Looked, Moment, Need, Outcome, UpstreamHead};

/// How long the origin may take, in milliseconds: where nothing is known of a tenant, and where there
/// is something that counts meanwhile.
const TIMEOUT_MS: u64 = 2_000;
const TIMEOUT_WITH_STALE_MS: u64 = 500;
/// For how long nobody asks again, after the origin gave nothing, in milliseconds.
const FAILED_MS: u64 = 1_000;
/// For how long an instance of the core does not look again, in milliseconds.
const REMEMBERED_MS: u64 = 1_000;
/// The most tenants that an instance remembers so; of more, all are forgotten.
const TENANTS_MAX: usize = 1_024;

/// The key of the cache.
pub(crate) fn key(tenant: &str) -> String {
    format!("revoked {tenant}")
}

/// What an instance knows without looking.
#[derive(Debug, Default)]
pub(crate) struct Remembered(HashMap<Box<str>, (Revocations, u64)>);

impl Remembered {
    /// What this tenant has revoked, if that was looked at just now.
    pub(crate) fn get(&self, tenant: &str, now_ms: u64) -> Option<&Revocations> {
        let (revocations, since_ms) = self.0.get(tenant)?;
        // However the clock steps, it is looked at again in the end.
        let is_new = (*since_ms..since_ms.saturating_add(REMEMBERED_MS)).contains(&now_ms);
        is_new.then_some(revocations)
    }

    pub(crate) fn insert(&mut self, tenant: &str, revocations: Revocations, now_ms: u64) {
        if self.0.len() >= TENANTS_MAX && !self.0.contains_key(tenant) {
            self.0.clear();
        }
        self.0.insert(tenant.into(), (revocations, now_ms));
    }
}

/// What is revoked is asked for, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevocationExchange {
    tenant: String,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Looking,
    /// The origin is asked. What was known counts otherwise.
    Asking(Vec<u8>),
    /// What came of it is being stored.
    Putting(Vec<u8>),
}

/// What comes next.
pub(crate) enum Next {
    Need(RevocationExchange, Need),
    Known(Revocations),
}

impl RevocationExchange {
    pub(crate) fn begin(tenant: &str) -> (Self, Need) {
        let this = Self { tenant: tenant.to_owned(), stage: Stage::Looking };
        (this, Need::Lookup { key: key(tenant) })
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(self, outcome: Outcome, config: &Config, moment: Moment) -> Option<Next> {
        let Self { tenant, stage } = self;
        Some(match (stage, outcome) {
            (Stage::Looking, Outcome::Looked(Looked::Found { head, lead: false, .. })) => {
                known(&head)
            }
            (Stage::Looking, Outcome::Looked(looked)) => {
                let stale = match looked {
                    Looked::Found { head, .. } => head,
                    Looked::Vacant => Vec::new(),
                };
                ask(tenant, stale, config, moment)
            }
            (Stage::Asking(stale), Outcome::Fetched(answer)) => {
                let (head, fresh_ms) = match told(answer) {
                    Some(revocations) => {
                        (revocations.to_bytes(), config.revoked_within_s.saturating_mul(1000))
                    }
                    None => (stale, FAILED_MS),
                };
                let need = Need::Put { key: key(&tenant), head: head.clone(), fresh_ms };
                Next::Need(Self { tenant, stage: Stage::Putting(head) }, need)
            }
            (Stage::Putting(head), Outcome::Put) => known(&head),
            _ => return None,
        })
    }
}

fn known(head: &[u8]) -> Next {
    Next::Known(Revocations::from_bytes(head).unwrap_or_default())
}

fn ask(tenant: String, stale: Vec<u8>, config: &Config, moment: Moment) -> Next {
    let timeout_ms = if stale.is_empty() { TIMEOUT_MS } else { TIMEOUT_WITH_STALE_MS };
    let timeout_ms = timeout_ms.min(config.upstream_timeout_ms);
    let fetch = own_to_origin("GET", &target(&tenant), &[], &config.edge_key, moment, timeout_ms);
    Next::Need(RevocationExchange { tenant, stage: Stage::Asking(stale) }, Need::Fetch(fetch))
}

/// What the origin says, if it says it.
fn told(answer: Result<UpstreamHead, FetchError>) -> Option<Revocations> {
    let answer = answer.ok().filter(|answer| answer.status == 204)?;
    let value = FieldLines::new(&answer.fields).get(REVOCATIONS_HEADER)?;
    Revocations::decode(value.as_bytes()).ok()
}

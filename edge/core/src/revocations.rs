//! What tenants have revoked, as far as this edge knows: asked of the origin when somebody of a tenant
//! comes, kept in the cache of the node for a few seconds, and asked for again.
//!
//! So a revocation counts at once where it was made, and everywhere else within
//! [`Config::revoked_within_s`](crate::config::Config::revoked_within_s) and the time that a request to
//! the origin takes. While the origin is away, what was known before stays in force; an edge that has
//! never heard of a tenant takes its tokens as they are.

use std::collections::HashMap;

use outport_wire::revocation::{Revocations, target};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::step::{Moment, Need, Outcome};
use crate::told::{self, Of, ToldExchange};

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
    told: ToldExchange,
}

/// What comes next.
pub(crate) enum Next {
    Need(RevocationExchange, Need),
    Known(Revocations),
}

impl RevocationExchange {
    pub(crate) fn begin(tenant: &str, config: &Config) -> (Self, Need) {
        let fresh_ms = config.revoked_within_s.saturating_mul(1000);
        let (told, need) =
            ToldExchange::begin(Of::Revocations, key(tenant), target(tenant), fresh_ms);
        (Self { tenant: tenant.to_owned(), told }, need)
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(self, outcome: Outcome, config: &Config, moment: Moment) -> Option<Next> {
        let Self { tenant, told } = self;
        Some(match told.resume(outcome, config, moment)? {
            told::Next::Need(told, need) => Next::Need(Self { tenant, told }, need),
            told::Next::Told(bytes) => {
                let told = bytes.and_then(|bytes| Revocations::from_bytes(&bytes));
                Next::Known(told.unwrap_or_default())
            }
        })
    }
}

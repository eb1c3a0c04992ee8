//! What the origin tells this edge alone, in a field of an answer without a body: looked up in the cache
//! of the node, asked for, and kept for a while. While the origin is away, what was known before is used.

use outport_wire::relation::{self, Memberships, RELATIONS_HEADER, Related};
use outport_wire::revocation::{REVOCATIONS_HEADER, Revocations};
use outport_wire::spending::{SPENT_HEADER, Spent};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::forward::own_to_origin;
use crate::head::FieldLines;
use crate::step::{FetchError, Looked, Moment, Need, Outcome, UpstreamHead};

/// How long the origin may take, in milliseconds: where nothing is known, and where there is something
/// that counts meanwhile.
const TIMEOUT_MS: u64 = 2_000;
pub(crate) const TIMEOUT_WITH_STALE_MS: u64 = 500;
/// For how long nobody asks again, after the origin gave nothing, in milliseconds.
pub(crate) const FAILED_MS: u64 = 1_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Of {
    /// [`Revocations`] of a tenant.
    Revocations,
    /// What is [`Related`] to an object.
    Object,
    /// [`Memberships`] of a subject.
    Subject,
    /// What was [`Spent`] of a budget.
    Spent,
}

/// The origin is asked, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldExchange {
    of: Of,
    /// The key of the cache.
    key: String,
    /// Where the origin tells it.
    target: String,
    /// How long that is good.
    fresh_ms: u64,
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
    Need(ToldExchange, Need),
    /// The bytes that were told, which are what they should be; none where nothing is known.
    Told(Option<Vec<u8>>),
}

impl Of {
    /// The bytes in an answer, if they are what was asked for.
    fn read(self, fields: FieldLines<'_>) -> Option<Vec<u8>> {
        let bytes = match self {
            Self::Revocations => {
                let value = fields.get(REVOCATIONS_HEADER)?;
                Revocations::decode(value.as_bytes()).ok()?.to_bytes()
            }
            Self::Object | Self::Subject => {
                relation::decode(fields.get(RELATIONS_HEADER)?.as_bytes()).ok()?
            }
            Self::Spent => fields.get(SPENT_HEADER)?.as_bytes().to_vec(),
        };
        self.is(&bytes).then_some(bytes)
    }

    /// What the origin says, if it says it.
    pub(crate) fn answered(self, answer: Result<UpstreamHead, FetchError>) -> Option<Vec<u8>> {
        let answer = answer.ok().filter(|answer| answer.status == 204)?;
        self.read(FieldLines::new(&answer.fields))
    }

    fn is(self, bytes: &[u8]) -> bool {
        match self {
            Self::Revocations => Revocations::from_bytes(bytes).is_some(),
            Self::Object => Related::from_bytes(bytes).is_ok(),
            Self::Subject => Memberships::from_bytes(bytes).is_ok(),
            Self::Spent => Spent::decode(bytes).is_some(),
        }
    }

    /// For how long what was told is good, of at most `most_ms`.
    pub(crate) fn fresh_ms(self, told: &[u8], most_ms: u64, moment: Moment) -> u64 {
        let spent = if self == Self::Spent { Spent::decode(told) } else { None };
        let until_ms = spent.map_or(u64::MAX, |spent| spent.until_s.saturating_mul(1000));
        most_ms.min(until_ms.saturating_sub(moment.unix_ms))
    }
}

impl ToldExchange {
    /// Begins by looking it up.
    pub(crate) fn begin(of: Of, key: String, target: String, fresh_ms: u64) -> (Self, Need) {
        let need = Need::Lookup { key: key.clone() };
        (Self { of, key, target, fresh_ms, stage: Stage::Looking }, need)
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(
        mut self,
        outcome: Outcome,
        config: &Config,
        moment: Moment,
    ) -> Option<Next> {
        let stage = std::mem::replace(&mut self.stage, Stage::Looking);
        Some(match (stage, outcome) {
            (Stage::Looking, Outcome::Looked(Looked::Found { head, lead: false, .. })) => {
                self.told(head)
            }
            (Stage::Looking, Outcome::Looked(looked)) => {
                let stale = match looked {
                    Looked::Found { head, .. } => head,
                    Looked::Vacant => Vec::new(),
                };
                self.ask(stale, config, moment)
            }
            (Stage::Asking(stale), Outcome::Fetched(answer)) => {
                let (head, fresh_ms) = match self.of.answered(answer) {
                    Some(bytes) => {
                        let fresh_ms = self.of.fresh_ms(&bytes, self.fresh_ms, moment);
                        (bytes, fresh_ms)
                    }
                    None => (stale, FAILED_MS),
                };
                let need = Need::Put { key: self.key.clone(), head: head.clone(), fresh_ms };
                Next::Need(Self { stage: Stage::Putting(head), ..self }, need)
            }
            (Stage::Putting(head), Outcome::Put) => self.told(head),
            _ => return None,
        })
    }

    fn told(&self, head: Vec<u8>) -> Next {
        Next::Told(Some(head).filter(|head| self.of.is(head)))
    }

    fn ask(self, stale: Vec<u8>, config: &Config, moment: Moment) -> Next {
        let timeout_ms = if stale.is_empty() { TIMEOUT_MS } else { TIMEOUT_WITH_STALE_MS };
        let timeout_ms = timeout_ms.min(config.upstream_timeout_ms);
        let fetch = own_to_origin("GET", &self.target, &[], &config.edge_key, moment, timeout_ms);
        Next::Need(Self { stage: Stage::Asking(stale), ..self }, Need::Fetch(fetch))
    }
}

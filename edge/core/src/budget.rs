//! Budgets: what all of a tenant may ask of all edges together in a period, beside what each of its
//! identities may ask of each edge.
//!
//! The origin counts. An edge keeps for some seconds what that has told, and refuses by it. It lets the
//! origin know of some requests alone, drawn at random: one of `k`, which then stands for `k`. So the
//! origin gets some [`REPORTS`] requests for a budget that is spent, and counts what was spent to
//! `√((k - 1) · requests)` (one standard deviation), two in a hundred. Of a budget that is no larger
//! than [`REPORTS`], each request is counted, and none is let pass that the origin has not counted.
//!
//! While the origin is away, what was known before counts, and nobody is refused who had something left.

use outport_wire::spending::{Adding, Spending, Spent};
use serde::{Deserialize, Serialize};

use crate::config::{Budget, Config};
use crate::forward::own_to_origin;
use crate::head::Fields;
use crate::limit::Limit;
use crate::step::{Moment, Need, Outcome};
use crate::told::{self, FAILED_MS, Of, TIMEOUT_WITH_STALE_MS, ToldExchange};

/// How many requests, about, the origin is told of for one budget.
const REPORTS: u64 = 2_500;
/// For how long what the origin told is used, in milliseconds. A busy edge knows better: by each of its
/// own reports.
const FRESH_MS: u64 = 5_000;

impl Budget {
    /// For how many requests each stands that the origin is told of.
    fn stride(self) -> u64 {
        self.requests.div_ceil(REPORTS).max(1)
    }
}

/// What somebody has left of a budget, who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budgeted {
    /// The limit's place.
    pub(crate) limit: u16,
    pub(crate) budget: Budget,
    /// As far as it is known.
    pub(crate) spent: Option<Spent>,
    /// When that was looked at.
    pub(crate) at_s: u64,
}

impl Budgeted {
    /// Nothing is left for this request.
    pub(crate) fn is_refused(&self) -> bool {
        self.spent.is_some_and(|spent| spent.refused)
    }

    /// Until the next period begins, in seconds.
    pub(crate) fn rest_s(&self) -> u64 {
        let until_s = self.spent.map_or(0, |spent| spent.until_s);
        until_s.saturating_sub(self.at_s).clamp(1, self.budget.period_s.max(1))
    }

    /// What is told of it, beside the limit (draft-ietf-httpapi-ratelimit-headers-11), and `Retry-After`
    /// to who is refused.
    pub(crate) fn describe(&self, limits: &[Limit], fields: &mut Fields) {
        let Some(limit) = limits.get(usize::from(self.limit)) else { return };
        let (name, Budget { requests, period_s }) = (&limit.name, self.budget);
        fields.push_args(
            "ratelimit-policy",
            format_args!("\"{name}-budget\";q={requests};w={period_s}"),
        );
        let Some(spent) = self.spent else { return };
        let (left, rest_s) = (requests.saturating_sub(spent.units), self.rest_s());
        fields.push_args("ratelimit", format_args!("\"{name}-budget\";r={left};t={rest_s}"));
        if self.is_refused() {
            fields.push_number("retry-after", rest_s);
        }
    }
}

/// The origin is asked, and told, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BudgetExchange {
    tenant: String,
    /// The limit's name.
    name: String,
    budget: Budget,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// What was spent is looked up, and asked for if it is not known.
    Asking(ToldExchange),
    /// The origin is told of this request, and of those that it stands for. This was known before.
    Adding(Spent),
    /// What the origin has told is being stored.
    Putting(Spent),
}

/// What comes next.
pub(crate) enum Next {
    Need(Box<BudgetExchange>, Need),
    /// What was spent, if anybody told; [`Spent::refused`] where nothing is left for this request.
    Known(Option<Spent>),
}

impl BudgetExchange {
    /// Begins by looking up what is known.
    pub(crate) fn begin(tenant: &str, name: &str, budget: Budget) -> (Self, Need) {
        let (tenant, name) = (tenant.to_owned(), name.to_owned());
        let asked = spending(&tenant, &name, budget, None);
        let (told, need) =
            ToldExchange::begin(Of::Spent, key(&tenant, &name), asked.target(), FRESH_MS);
        (Self { tenant, name, budget, stage: Stage::Asking(told) }, need)
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(self, outcome: Outcome, config: &Config, moment: Moment) -> Option<Next> {
        let Self { tenant, name, budget, stage } = self;
        let (stage, need) = match (stage, outcome) {
            (Stage::Asking(told), outcome) => match told.resume(outcome, config, moment)? {
                told::Next::Need(told, need) => (Stage::Asking(told), need),
                told::Next::Told(bytes) => {
                    let spent = bytes.and_then(|bytes| Spent::decode(&bytes));
                    // What was spent in the period before is of no matter.
                    let spent = spent.filter(|spent| spent.until_s > moment.unix_s());
                    let Some(spent) = spent else { return Some(Next::Known(None)) };
                    let refused = spent.units >= budget.requests;
                    let spent = Spent { refused, ..spent };
                    if refused || !moment.random.is_multiple_of(budget.stride()) {
                        return Some(Next::Known(Some(spent)));
                    }
                    let adding = Adding { units: budget.stride(), most: budget.requests };
                    let target = spending(&tenant, &name, budget, Some(adding)).target();
                    let timeout_ms = TIMEOUT_WITH_STALE_MS.min(config.upstream_timeout_ms);
                    let key = &config.edge_key;
                    let fetch = own_to_origin("POST", &target, &[], key, moment, timeout_ms);
                    (Stage::Adding(spent), Need::Fetch(fetch))
                }
            },
            (Stage::Adding(before), Outcome::Fetched(answer)) => {
                let head = Of::Spent.answered(answer).unwrap_or_default();
                let (spent, fresh_ms) = match Spent::decode(&head) {
                    Some(spent) => (spent, Of::Spent.fresh_ms(&head, FRESH_MS, moment)),
                    // It is not counted and refuses nobody, and for a while no other waits for it.
                    None => (before, FAILED_MS),
                };
                (Stage::Putting(spent), Need::Put { key: key(&tenant, &name), head, fresh_ms })
            }
            (Stage::Putting(spent), Outcome::Put) => return Some(Next::Known(Some(spent))),
            _ => return None,
        };
        Some(Next::Need(Box::new(Self { tenant, name, budget, stage }), need))
    }
}

/// The key of the cache.
fn key(tenant: &str, name: &str) -> String {
    format!("spent {name} {tenant}")
}

fn spending<'a>(
    tenant: &'a str,
    name: &'a str,
    budget: Budget,
    add: Option<Adding>,
) -> Spending<'a> {
    Spending { tenant, budget: name, period_s: budget.period_s, add }
}

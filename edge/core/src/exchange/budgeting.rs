//! What a tenant has left of the budget that all edges share.

use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use super::{Edge, Exchange, Stage};
use crate::answer::Visit;
use crate::budget::{BudgetExchange, Budgeted, Next};
use crate::guard::Guarded;
use crate::route::Target;
use crate::step::{Connection, Moment, Need, Outcome, Reply, Request, Step};
use crate::token::SignedIn;

/// A request that waits for what its tenant has spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Budgeting {
    head: Vec<u8>,
    connection: Connection,
    caller: SignedIn,
    /// The limit's place.
    limit: u16,
    exchange: BudgetExchange,
}

impl Edge {
    /// Looks up what the caller's tenant has spent, where the limit that the request spends has a
    /// budget, and nobody has looked so far.
    pub(super) fn budget(
        &self,
        request: &Request<'_>,
        guarded: &Guarded<'_>,
        target: &Target,
        caller: Option<&SignedIn>,
        visit: &Visit,
    ) -> Option<Step> {
        if self.config.budgets.is_empty() || !visit.is_asked_for() || visit.budget.is_some() {
            return None;
        }
        let caller = caller?;
        let tenant = &caller.counted()?.tenant;
        let limit = self.limit_of(guarded, target)?;
        let name = &self.limits.get(usize::from(limit))?.name;
        let (exchange, need) = BudgetExchange::begin(tenant, name, *self.config.budgets.get(name)?);
        let (head, connection) = (request.head.to_vec(), request.connection);
        let budgeting = Budgeting { head, connection, caller: caller.clone(), limit, exchange };
        Some(budgeting.step(visit.clone(), need))
    }

    /// What is spent is known, or nearly so.
    pub(super) fn budgeted(
        &mut self,
        budgeting: Budgeting,
        visit: Visit,
        outcome: Outcome,
        moment: Moment,
    ) -> Step {
        let Budgeting { head, connection, caller, limit, exchange } = budgeting;
        let spent = match exchange.resume(outcome, &self.config, moment) {
            None => return self.confused(&visit),
            Some(Next::Need(exchange, need)) => {
                let exchange = *exchange;
                let budgeting = Budgeting { head, connection, caller, limit, exchange };
                return budgeting.step(visit, need);
            }
            Some(Next::Known(spent)) => spent,
        };
        let budget = self.limits.get(usize::from(limit));
        let budget = budget.and_then(|limit| self.config.budgets.get(&limit.name));
        let Some(&budget) = budget else { return self.confused(&visit) };
        let budgeted = Budgeted { limit, budget, spent, at_s: moment.unix_s() };
        let visit = Visit { budget: Some(budgeted), ..visit.again() };
        if budgeted.is_refused() {
            return Step::Reply(self.budget_spent(&visit, budgeted));
        }
        let request = Request { head: &head, connection };
        self.begin_as(&request, moment, Some(caller), visit)
    }

    fn budget_spent(&self, visit: &Visit, budgeted: Budgeted) -> Reply {
        let (most, rest_s) = (budgeted.budget.requests, budgeted.rest_s());
        let detail =
            format!("Your tenant may ask {most} times in this period, which ends in {rest_s} s.");
        let problem = Problem::new(ProblemType::BudgetSpent, detail)
            .with("max", most)
            .with("retry_after_s", rest_s);
        visit.problem(&self.limits, &problem)
    }
}

impl Budgeting {
    fn step(self, visit: Visit, need: Need) -> Step {
        let stage = Stage::Budgeting(Box::new(self));
        Step::Needs(Exchange { visit, stage }, vec![need])
    }
}

//! What tenants have spent of budgets that all edges share.
//!
//! For each budget a tenant has a page, which is a [book](crate::book): any origin may add to it, and
//! what is added is compared with the budget by the same write.

use std::collections::VecDeque;
use std::sync::Arc;

use outport_wire::UnixSeconds;
use outport_wire::spending::{Adding, Spending, Spent, period_end_s};
use serde::{Deserialize, Serialize};

use crate::book::{BookError, Books, Page, busy};
use crate::environment::Environment;
use crate::meta::{Key, Meta};
use crate::store::StoreError;

/// How many of the last changes are told from new ones: as many as are written at once, so that one
/// that is written again after a failure is not made twice.
const RECENT_MAX: usize = 256;

/// The budgets of all tenants.
#[derive(Clone)]
pub(crate) struct Budgets {
    pages: Books<Spendings>,
    environment: Arc<dyn Environment>,
}

impl Budgets {
    pub(crate) fn new(meta: &Arc<dyn Meta>, environment: &Arc<dyn Environment>) -> Self {
        let pages = Books::new(meta.clone(), environment.clone());
        Self { pages, environment: environment.clone() }
    }

    /// What is spent, after what is to be added was, or was refused.
    pub(crate) async fn spend(&self, spending: &Spending<'_>) -> Result<Spent, StoreError> {
        let Spending { tenant, budget, period_s, add } = *spending;
        let key = Key::new(format!("spent {budget}"), tenant.to_owned());
        let refused = match add {
            Some(adding) => {
                let change = Change { id: self.environment.random(), period_s, adding };
                match self.pages.change(&key, change).await {
                    Ok(()) => false,
                    Err(BookError::Refused(NoneLeft)) => true,
                    Err(BookError::Busy) => return Err(busy().into()),
                    Err(BookError::Meta(error)) => return Err(error.into()),
                }
            }
            None => false,
        };
        let until_s = period_end_s(self.environment.unix_s(), period_s);
        let page = self.pages.look(&key).await?;
        Ok(Spent { units: page.spent(until_s), until_s, refused })
    }
}

/// Nothing is left of the budget in this period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoneLeft;

/// What a tenant has spent of one budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Spendings {
    /// When the period ends that it was spent in.
    until_s: UnixSeconds,
    units: u64,
    /// The last changes.
    recent: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    /// Of this one alone.
    id: u64,
    period_s: u64,
    adding: Adding,
}

impl Spendings {
    /// What was spent in the period that ends then.
    fn spent(&self, until_s: UnixSeconds) -> u64 {
        if self.until_s == until_s { self.units } else { 0 }
    }
}

impl Page for Spendings {
    type Change = Change;
    type Refusal = NoneLeft;

    const SHUTS_OUT: bool = false;

    fn apply(&mut self, change: &Change, now: UnixSeconds) -> Result<(), NoneLeft> {
        let Change { id, period_s, adding: Adding { units, most } } = *change;
        if self.recent.contains(&id) {
            return Ok(());
        }
        let until_s = period_end_s(now, period_s);
        let spent = self.spent(until_s);
        if spent >= most {
            return Err(NoneLeft);
        }
        (self.until_s, self.units) = (until_s, spent.saturating_add(units));
        self.recent.push_back(id);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::tests::TestClock;
    use crate::meta::MemoryMeta;

    const START_S: u64 = 1_800_000_000;

    fn budgets() -> (Budgets, Arc<TestClock>) {
        let clock = TestClock::at(START_S);
        let meta: Arc<dyn Meta> = Arc::new(MemoryMeta::default());
        let environment: Arc<dyn Environment> = clock.clone();
        (Budgets::new(&meta, &environment), clock)
    }

    fn spending(tenant: &str, units: u64) -> Spending<'_> {
        let add = (units > 0).then_some(Adding { units, most: 10 });
        Spending { tenant, budget: "read", period_s: 60, add }
    }

    #[tokio::test]
    async fn what_is_spent_is_gone_until_the_period_ends() {
        let (budgets, clock) = budgets();
        let spend = async |tenant: &'static str, units| {
            let spent = budgets.spend(&spending(tenant, units)).await.unwrap();
            (spent.units, spent.until_s, spent.refused)
        };
        let ends_s = START_S + 60;
        assert_eq!(spend("demo", 0).await, (0, ends_s, false));
        assert_eq!(spend("demo", 9).await, (9, ends_s, false));
        // There was something left.
        assert_eq!(spend("demo", 9).await, (18, ends_s, false));
        assert_eq!(spend("demo", 1).await, (18, ends_s, true));
        assert_eq!(spend("demo", 0).await, (18, ends_s, false));
        assert_eq!(spend("acme", 1).await, (1, ends_s, false));
        clock.advance(59);
        assert!(spend("demo", 1).await.2);
        clock.advance(1);
        assert_eq!(spend("demo", 0).await, (0, ends_s + 60, false));
        assert_eq!(spend("demo", 1).await, (1, ends_s + 60, false));
        // A period of another length begins anew.
        let hourly = Spending { period_s: 3600, ..spending("demo", 0) };
        assert_eq!(budgets.spend(&hourly).await.unwrap().units, 0);
    }

    #[tokio::test]
    async fn a_hundred_at_once_get_the_budget_to_the_unit() {
        let (budgets, _) = budgets();
        let asked = (0..100).map(|_| async { budgets.spend(&spending("demo", 1)).await.unwrap() });
        let spent = futures::future::join_all(asked).await;
        assert_eq!(spent.iter().filter(|spent| !spent.refused).count(), 10);
        assert!(spent.iter().filter(|spent| spent.refused).all(|spent| spent.units == 10));
    }

    #[test]
    fn a_change_that_is_written_again_is_made_once() {
        let mut page = Spendings::default();
        let adding = Adding { units: 1, most: u64::MAX };
        let changes: Vec<_> =
            (0..RECENT_MAX as u64).map(|id| Change { id, period_s: 60, adding }).collect();
        for _ in 0..2 {
            for change in &changes {
                page.apply(change, START_S).unwrap();
            }
        }
        assert_eq!(page.units, RECENT_MAX as u64);
        page.apply(&Change { id: u64::MAX, ..changes[0] }, START_S).unwrap();
        assert_eq!(page.recent.len(), RECENT_MAX);
    }
}

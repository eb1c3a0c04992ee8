//! What is spent of limits, and who is refused for it.

use std::net::IpAddr;

use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};

use super::Edge;
use crate::answer::Visit;
use crate::guard::Guarded;
use crate::limit;
use crate::route::Target;
use crate::step::{self, Need, Outcome, Reply, Shared, Step, Taken};

impl Edge {
    /// Which allowance is taken from, and among whose requests this one counts.
    pub(super) fn limit(
        &self,
        request: &Guarded<'_>,
        target: &Target,
        identity: Option<&Identity>,
        client: IpAddr,
        visit: &mut Visit,
    ) -> Vec<Need> {
        let place = self.limit_of(request, target);
        let found = place.and_then(|place| self.limits.get(usize::from(place)));
        let Some(limit) = found else { return Vec::new() };
        visit.limit = place;
        let share = limit.share_need(identity, client);
        let take = limit.need(identity, client, self.abilities.escalates);
        std::iter::once(take).chain(share).collect()
    }

    /// The place of the limit that is spent.
    pub(super) fn limit_of(&self, request: &Guarded<'_>, target: &Target) -> Option<u16> {
        let name = target.limit(request, &self.config)?;
        (0..).zip(&self.limits).find(|(_, limit)| limit.name == name).map(|(place, _)| place)
    }

    /// The refusal that the outcomes of what [`limit`](Self::limit) needs, the first of all, come to.
    pub(super) fn refused(
        &self,
        visit: &mut Visit,
        outcomes: &mut impl Iterator<Item = Outcome>,
    ) -> Option<Step> {
        let Some(Outcome::Taken(taken)) = outcomes.next() else {
            return Some(self.confused(visit));
        };
        visit.taken = Some(taken);
        if !taken.allowed {
            return Some(Step::Reply(self.too_many(visit, taken)));
        }
        // It was asked for with the unit.
        let share = self.share_of(visit)?;
        Some(Step::Reply(match outcomes.next() {
            Some(Outcome::Shared(Shared::Counts)) => return None,
            Some(Outcome::Shared(Shared::TooMany)) => self.too_many_at_once(visit, share),
            Some(Outcome::Shared(Shared::Owed { retry_us })) => {
                self.owed(visit, limit::seconds(retry_us))
            }
            _ => return Some(self.confused(visit)),
        }))
    }

    pub(super) fn too_many(&self, visit: &Visit, taken: Taken) -> Reply {
        let limit = visit.limit.and_then(|place| self.limits.get(usize::from(place)));
        let wait_s = limit.map_or(1, |limit| limit.retry_s(taken));
        let detail = format!("Wait {wait_s} s, or ask less often.");
        let problem = Problem::new(ProblemType::RateLimited, detail).with("retry_after_s", wait_s);
        visit.problem(&self.limits, &problem)
    }

    /// What the limit that is spent says of what its takers have at the same time.
    fn share_of(&self, visit: &Visit) -> Option<step::Share> {
        self.limits.get(usize::from(visit.limit?))?.share
    }

    fn too_many_at_once(&self, visit: &Visit, share: step::Share) -> Reply {
        let most = share.at_once.unwrap_or_default();
        let detail = format!(
            "{most} of your requests are under way, and no more may be at the same time. Wait until one \
             of them has ended."
        );
        let problem = Problem::new(ProblemType::TooManyAtOnce, detail).with("max", most);
        visit.problem(&self.limits, &problem)
    }

    fn owed(&self, visit: &Visit, wait_s: u64) -> Reply {
        let detail = format!(
            "What your requests have sent and received is more than they may. Wait {wait_s} s."
        );
        let problem = Problem::new(ProblemType::RateLimited, detail).with("retry_after_s", wait_s);
        let mut refused = visit.problem(&self.limits, &problem);
        refused.fields.extend_from_slice(format!("retry-after: {wait_s}\r\n").as_bytes());
        refused
    }
}

//! The part of an exchange in which the edge answers an upload by itself, and that in which the
//! origin is given first what it is then asked about.

use outport_wire::id::Home;
use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use super::{Edge, Exchange, Forwarded, Stage, ask_upstream};
use crate::answer::{Visit, json};
use crate::cache_status::CacheStatus;
use crate::cached::upstream_problem;
use crate::guard::{Guarded, guard};
use crate::head::Fields;
use crate::kept::{self, KeptFile, Offer};
use crate::route::Target;
use crate::step::{Fetch, FetchError, Kept, Moment, Need, Reply, Step};
use crate::token::SignedIn;

/// How long a client should wait whose change can't reach the origin, in seconds.
const RETRY_S: u64 = 5;

/// An upload that the edge may answer by itself; with what it takes to send it on instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepting {
    head: Vec<u8>,
    caller: SignedIn,
    offer: Offer,
}

impl Edge {
    /// The request that hands over what is kept with this head, to be sent with what was kept as
    /// its body, whose digest this is. `None` where the head is none of this version's: another
    /// can hand it over.
    pub fn hand_over(&self, head: &[u8], sha256: &[u8; 32], moment: Moment) -> Option<Fetch> {
        kept::hand_over(head, sha256, &self.config, moment)
    }

    /// What the origin must have before it is asked: the file that a change is for, and what of
    /// an owner's a list is to show.
    pub(super) fn hand_over_first(
        &self,
        target: &Target,
        request: &Guarded<'_>,
        identity: Option<&Identity>,
    ) -> Option<Need> {
        self.abilities.durable?;
        let prefix = match target {
            Target::Upload(id) | Target::File(id) | Target::Links(id) => {
                id.is_from_edge().then(|| kept::key(*id))
            }
            Target::Files if request.is_read() => identity.map(|owner| {
                kept::group(Home::of(self.config.region, &owner.tenant, &owner.subject))
            }),
            _ => None,
        };
        prefix.map(|prefix| kept::hand_over_first(prefix, &self.config))
    }

    /// An upload that may end here.
    pub(super) fn accepting(
        &self,
        guarded: &Guarded<'_>,
        caller: Option<&SignedIn>,
    ) -> Option<Accepting> {
        let caller = caller.filter(|_| guarded.method == "POST")?;
        let offer = Offer::read(guarded, &caller.identity, &self.config, self.abilities.durable)?;
        let mut head = Fields::for_request(guarded.method, guarded.target);
        for (name, value) in guarded.lines.iter() {
            head.push(name, value);
        }
        Some(Accepting { head: head.into_bytes(), caller: caller.clone(), offer })
    }

    /// Accepts an upload, if it can be kept.
    pub(super) fn accept(&self, visit: Visit, accepting: Box<Accepting>, moment: Moment) -> Step {
        let (file, keep) = accepting.offer.clone().accept(self.config.region, moment);
        Step::Needs(Exchange { visit, stage: Stage::Keeping(accepting, file) }, vec![keep])
    }

    /// A file was kept, or was not.
    pub(super) fn kept(
        &self,
        visit: Visit,
        accepting: &Accepting,
        file: &KeptFile,
        kept: Kept,
        moment: Moment,
    ) -> Step {
        match kept {
            Kept::Durably => {
                let base = self.config.public_base_url.as_deref().unwrap_or_default();
                let mut fields = visit.fields(&self.limits);
                fields.push("location", format!("{base}{}", file.path()));
                fields.push("cache-status", CacheStatus::Accepted.value());
                let document = file.document(accepting.offer.bytes());
                Step::Reply(json(201, fields, &document))
            }
            Kept::Broken => {
                let problem = upstream_problem(FetchError::RequestBroken, None);
                Step::Reply(visit.problem(&self.limits, &problem))
            }
            Kept::Unknown => {
                let detail = "Whether the file was stored is not known. Before you send it again, \
                              look whether it is in your list.";
                Step::Reply(self.try_later(&visit, detail))
            }
            Kept::Declined => {
                // It was read before, and is the same.
                let Ok(guarded) = guard(&accepting.head) else { return self.confused(&visit) };
                let fetch = self.to_origin(&guarded, Some(&accepting.caller), false, moment);
                ask_upstream(
                    visit,
                    fetch,
                    Forwarded::Origin { safe: false, forget: None, head_by_post: false },
                )
            }
        }
    }

    /// A change of a file that was accepted here and that the origin can't be given.
    pub(super) fn not_yet_there(&self, visit: &Visit) -> Reply {
        let detail = "The file is safe here, and the origin, which can't be reached, does not have \
                      it yet. Try again.";
        self.try_later(visit, detail)
    }

    fn try_later(&self, visit: &Visit, detail: &'static str) -> Reply {
        let problem = Problem::new(ProblemType::Overloaded, detail);
        let mut refused = visit.problem(&self.limits, &problem);
        refused.fields.extend_from_slice(format!("retry-after: {RETRY_S}\r\n").as_bytes());
        refused
    }
}

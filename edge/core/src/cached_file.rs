//! The way of a file through the cache: looked up, filled, renewed, passed through.
//!
//! One stored response serves everybody who may have the file; who may is decided from its record
//! at every request, after the lookup and before anything of it is said.

use outport_wire::conditions::{ByteRange, Delivery};
use outport_wire::identity::Scope;
use outport_wire::link::LinkRefusal;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::answer::reply;
use crate::cache_status::CacheStatus;
use crate::cached::{Context, Next, is_coded, nobody_is_told, upstream_problem};
use crate::coding::Choice;
use crate::config::Config;
use crate::explain::Subject;
use crate::file::{self, FileAsk};
use crate::forward::own_to_origin;
use crate::head::FieldLines;
use crate::kept::{self, KeptDelivery};
use crate::purge;
use crate::relating::{self, Relating};
use crate::sharing;
use crate::slices::{Sliced, Whose};
use crate::step::{
    Abilities, Body, Ended, Extent, Fetch, FetchError, Form, KeptHead, Looked, Need, Outcome, Part,
    Reply, Store, StoreBody, UpstreamHead,
};
use crate::stored::{Stored, StoredFile, file_key, read_record};

/// An exchange about a file, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileExchange {
    ask: FileAsk,
    /// Why the link grants nothing, which is ours: said only to who has no other right.
    link_refused: Option<LinkRefusal>,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The origin is being told that the link is used.
    Using,
    /// The cache is being asked.
    Looking,
    /// What is kept here, and may not be the origin's yet, is being looked through.
    Recalling,
    /// The origin is being asked for the head alone: no more may be wanted.
    Checking,
    /// The origin is being asked for all of it.
    Filling,
    /// The origin is being asked whether the stored record still holds.
    Renewing { head: Vec<u8>, body: bool },
    /// A form of the contents is being made, behind the client's back.
    Encoding,
    /// The origin is being asked for contents that are too large to store.
    Passing { head: Vec<u8>, range: Option<ByteRange>, store: bool },
    /// The record that has just come is being stored, so that who may not have the file does not have it
    /// fetched again.
    Noting,
    /// It is being looked at whether relations let the caller have the file.
    Relating(Box<Relating>),
}

/// Where the body of a delivery comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source<'a> {
    /// It is stored or arriving, and there are these forms of it.
    Stored(&'a [Form]),
    Kept,
    Upstream,
    /// It is not here yet.
    Nowhere,
}

impl FileExchange {
    /// Begins by asking the cache; or the origin, where it counts how often the link is used.
    pub(crate) fn begin(
        ask: FileAsk,
        link_refused: Option<LinkRefusal>,
        context: &Context<'_>,
    ) -> (Self, Need) {
        let Some(mark) = &ask.use_of else { return Self::look(ask, link_refused) };
        let path = format!("/files/{}/uses?link={mark}", ask.id);
        let Config { edge_key, upstream_timeout_ms, .. } = context.config;
        let moment = context.moment;
        let fetch = own_to_origin("POST", &path, &[], edge_key, moment, *upstream_timeout_ms);
        (Self { ask, link_refused, stage: Stage::Using }, Need::Fetch(fetch))
    }

    /// What it is about.
    pub(crate) const fn subject(&self) -> Subject {
        Subject::File(self.ask.id)
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(mut self, outcome: Outcome, context: &Context<'_>) -> Option<Next<Self>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Looking);
        Some(match (stage, outcome) {
            (Stage::Using, Outcome::Fetched(answer)) => self.used(answer, context),
            (Stage::Looking, Outcome::Looked(looked)) => self.looked(looked, context),
            (Stage::Recalling, Outcome::ReadKept(found)) => self.recalled(found, context),
            (Stage::Checking, Outcome::Fetched(answer)) => match self.file_of(&answer, context) {
                Err(reply) => Next::Reply(*reply),
                Ok(answer) => self.checked(answer, context),
            },
            (Stage::Filling, Outcome::Fetched(answer)) => match self.file_of(&answer, context) {
                Err(reply) => Next::Reply(*reply),
                Ok(answer) => {
                    let stored = answer.length().is_some_and(|length| self.stores(length, context));
                    let status = CacheStatus::Miss { status: 200, stored };
                    self.filled(answer, status, context)
                }
            },
            (Stage::Renewing { head, body }, Outcome::Fetched(answer)) => {
                self.renewed(&head, body, answer, context)
            }
            (Stage::Passing { head, range, store }, Outcome::Fetched(answer)) => {
                Next::Reply(self.passed(&head, range, store, answer, context))
            }
            (Stage::Encoding, Outcome::Encoded(_)) => Next::Reply(nobody_is_told()),
            (Stage::Noting, Outcome::Put) => match self.relate(context) {
                Some(next) => next,
                None => Next::Reply(ended(self.denied(context), Ended::Origin)),
            },
            (Stage::Relating(relating), outcome) => {
                let next = relating.resume(outcome, context.config, context.moment)?;
                self.related(next, context)
            }
            _ => return None,
        })
    }

    /// Asks the cache.
    fn look(ask: FileAsk, link_refused: Option<LinkRefusal>) -> (Self, Need) {
        let need = Need::Lookup { key: file_key(ask.id) };
        (Self { ask, link_refused, stage: Stage::Looking }, need)
    }

    /// The origin has counted a use of the link, or there was none left.
    fn used(
        mut self,
        answer: Result<UpstreamHead, FetchError>,
        context: &Context<'_>,
    ) -> Next<Self> {
        let problem = match answer {
            Ok(UpstreamHead { status: 204, .. }) => None,
            Ok(UpstreamHead { status: 404 | 410, .. }) => {
                // Whoever may have the file without the link has it.
                (self.ask.link_ms, self.link_refused) = (None, Some(LinkRefusal::Used));
                None
            }
            Ok(answer) => Some(upstream_problem(FetchError::Unreachable, Some(answer.status))),
            Err(failure) => Some(upstream_problem(failure, None)),
        };
        if let Some(problem) = problem {
            let reply = context.visit.problem(context.limits, &problem);
            return Next::Reply(ended(reply, Ended::Origin));
        }
        let (looking, need) = Self::look(self.ask, self.link_refused);
        Next::Need(Box::new(looking), need)
    }

    fn looked(self, looked: Looked, context: &Context<'_>) -> Next<Self> {
        let Looked::Found { head, body, forms, purged, lead, collapsed } = looked else {
            return self.find(context);
        };
        let now_ms = context.moment.unix_ms;
        let source = if body { Source::Stored(&forms) } else { Source::Nowhere };
        match Stored::decode(&head) {
            Some(Stored::File(mut file)) => {
                if purged {
                    file.freshness = file.freshness.made_stale(now_ms);
                }
                let left_ms = file.freshness.left_ms(now_ms);
                let fresh = left_ms > 0;
                // Who leads waits: meanwhile the file may have been closed to who asks.
                let usable = !lead && file.freshness.while_revalidating(now_ms);
                if !fresh && !usable && !file.freshness.rests(now_ms) {
                    let etag = file.etag.to_owned();
                    let fetch = self.fetch("GET", &[("if-none-match", &etag)], context);
                    return self.need(Stage::Renewing { head, body }, fetch);
                }
                let wants_all = !self.ask.head_only && !self.ask.wants_range();
                if !body && wants_all && self.opens(&file) && self.stores(file.length, context) {
                    // Somebody had only the record come, who may not have the file.
                    return self.fetch_all(context);
                }
                let ttl_s = left_ms.div_euclid(1000);
                let status =
                    if collapsed { CacheStatus::Collapsed } else { CacheStatus::Hit { ttl_s } };
                // What is asked for again is worth to be encoded well.
                let again = !collapsed && context.abilities.encodes;
                let wanted = self.ask.wants_form(&file, &forms).filter(|_| again);
                let after =
                    wanted.map(|coding| (Self { stage: Stage::Encoding, ..self.clone() }, coding));
                match (self.deliver(&file, &head, source, status, context), after) {
                    (Next::Reply(reply), Some((exchange, coding))) if is_coded(&reply.body) => {
                        Next::ReplyFirst(reply, Box::new(exchange), Need::Encode { coding })
                    }
                    (next, _) => next,
                }
            }
            Some(refusal) if refusal.refusal_counts(now_ms) => {
                Next::Reply(self.refused(&refusal, Ended::Cache, context))
            }
            Some(_) | None => self.find(context),
        }
    }

    /// Nothing usable is in the cache. What an edge accepted may still be here.
    fn find(mut self, context: &Context<'_>) -> Next<Self> {
        let id = self.ask.id;
        if context.abilities.durable.is_none() || !id.is_from_edge() {
            return self.fetch_all(context);
        }
        self.stage = Stage::Recalling;
        Next::Need(Box::new(self), Need::ReadKept { key: kept::key(id) })
    }

    fn recalled(self, found: Option<KeptHead>, context: &Context<'_>) -> Next<Self> {
        let Some(kept) = found.as_ref().and_then(KeptDelivery::of) else {
            return self.fetch_all(context);
        };
        let file = kept.stored(context.moment.unix_ms);
        self.deliver(&file, &[], Source::Kept, CacheStatus::Kept, context)
    }

    /// Nothing of it is here. The head alone is fetched where more may not be wanted.
    fn fetch_all(self, context: &Context<'_>) -> Next<Self> {
        if self.ask.head_only || self.ask.wants_range() {
            let fetch = self.fetch("HEAD", &[], context);
            return self.need(Stage::Checking, fetch);
        }
        let fetch = self.fetch("GET", &[], context);
        self.need(Stage::Filling, fetch)
    }

    fn checked(self, answer: Answered<'_>, context: &Context<'_>) -> Next<Self> {
        let now_ms = context.moment.unix_ms;
        let Some(file) = answer.file(now_ms) else { return self.nonsense(context) };
        if !self.ask.head_only && self.stores(file.length, context) {
            let fetch = self.fetch("GET", &[], context);
            return self.need(Stage::Filling, fetch);
        }
        let stored = Stored::File(file.clone());
        let head = stored.encode();
        let status = CacheStatus::Miss { status: 200, stored: false };
        // Of what is sent in slices, the record alone is stored.
        let sliced = context.abilities.slices && !self.stores(file.length, context);
        let store = sliced.then(|| self.store(&stored, StoreBody::None));
        self.deliver(&file, &head, Source::Nowhere, status, context)
            .map_need(Self::stores_what_passes)
            .map_reply(|reply| Reply { store, ended: Ended::Origin, ..reply })
    }

    fn filled(
        self,
        answer: Answered<'_>,
        status: CacheStatus,
        context: &Context<'_>,
    ) -> Next<Self> {
        let Some(file) = answer.file(context.moment.unix_ms) else { return self.nonsense(context) };
        let stored = Stored::File(file.clone());
        let head = stored.encode();
        let (source, body) = if self.stores(file.length, context) {
            (Source::Stored(&[]), StoreBody::Upstream(Extent::Exactly(file.length)))
        } else {
            (Source::Upstream, StoreBody::None)
        };
        let store = self.store(&stored, body);
        self.deliver(&file, &head, source, status, context).map_reply(|reply| Reply {
            store: Some(store),
            ended: Ended::Origin,
            ..reply
        })
    }

    fn renewed(
        self,
        head: &[u8],
        body: bool,
        answer: Result<UpstreamHead, FetchError>,
        context: &Context<'_>,
    ) -> Next<Self> {
        let now_ms = context.moment.unix_ms;
        let Some(Stored::File(file)) = Stored::decode(head) else { return self.nonsense(context) };
        let failure = match &answer {
            Ok(answer) if answer.status == 304 => {
                let fields = FieldLines::new(&answer.fields);
                let Some(record) = read_record(fields) else { return self.nonsense(context) };
                let file = file.renewed(fields, &record, now_ms);
                let status = CacheStatus::Stale { status: 304 };
                return self.kept(&file, body, status, context);
            }
            Ok(answer) if answer.status < 500 => None,
            Ok(_) => Some(FetchError::Unreachable),
            Err(failure) => Some(*failure),
        };
        match failure {
            Some(failure) if file.freshness.if_error(now_ms) => {
                let mut file = file.clone();
                file.freshness.failed_ms = Some(now_ms);
                self.kept(&file, body, CacheStatus::StaleOnError(failure), context)
            }
            _ => match self.file_of(&answer, context) {
                Err(reply) => Next::Reply(*reply),
                Ok(answer) => self.filled(answer, CacheStatus::Stale { status: 200 }, context),
            },
        }
    }

    /// Delivers stored contents under a newer record.
    fn kept(
        self,
        file: &StoredFile<'_>,
        body: bool,
        status: CacheStatus,
        context: &Context<'_>,
    ) -> Next<Self> {
        let stored = Stored::File(file.clone());
        let head = stored.encode();
        let source = if body { Source::Stored(&[]) } else { Source::Nowhere };
        let store = self.store(&stored, StoreBody::Keep);
        self.deliver(file, &head, source, status, context)
            .map_need(Self::stores_what_passes)
            .map_reply(|reply| Reply { store: Some(store), ended: Ended::Origin, ..reply })
    }

    /// The record of what is going to pass is stored then.
    fn stores_what_passes(&mut self) {
        if let Stage::Passing { store, .. } = &mut self.stage {
            *store = true;
        }
    }

    fn passed(
        self,
        head: &[u8],
        range: Option<ByteRange>,
        store: bool,
        answer: Result<UpstreamHead, FetchError>,
        context: &Context<'_>,
    ) -> Reply {
        let expected = if range.is_some() { 206 } else { 200 };
        if let Ok(answer) = &answer
            && answer.status != expected
            && answer.status != 404
        {
            return self.failure(FetchError::Unreachable, Some(answer.status), context);
        }
        if let Err(reply) = self.file_of(&answer, context) {
            return *reply;
        }
        let Some(Stored::File(file)) = Stored::decode(head) else {
            return self.failure(FetchError::Unreachable, None, context);
        };
        let delivery = range.map_or(Delivery::Whole, Delivery::Part);
        let mut sent = self.sent(
            &file,
            &delivery,
            self.choose(&file, Source::Upstream, context),
            Body::Upstream,
            CacheStatus::Partial,
            context,
        );
        let stored = Stored::File(file);
        sent.store = store.then(|| self.store(&stored, StoreBody::None));
        ended(sent, Ended::Origin)
    }

    /// Answers from a file that is known, if the caller may have it.
    fn deliver(
        mut self,
        file: &StoredFile<'_>,
        head: &[u8],
        source: Source<'_>,
        status: CacheStatus,
        context: &Context<'_>,
    ) -> Next<Self> {
        let open = self.opens(file);
        if self.ask.link_ms.is_some_and(|made| file.has_ended(made)) {
            self.link_refused = Some(LinkRefusal::Expired);
        }
        let is_expired = file.is_expired(context.moment.unix_s());
        if !is_expired && !open && self.may_be_related(file) {
            let is_new = matches!(status, CacheStatus::Miss { .. });
            if let Some(next) = if is_new { self.note(file, head) } else { self.relate(context) } {
                return next;
            }
        }
        if is_expired || !open {
            return Next::Reply(ended(self.denied(context), Ended::Cache));
        }
        let Abilities { composes, slices, .. } = context.abilities;
        let several = match source {
            Source::Stored(_) => composes,
            Source::Nowhere => slices,
            Source::Kept | Source::Upstream => false,
        };
        let delivery = self.ask.delivery(file, several);
        let choice = self.choose(file, source, context);
        let range = match &delivery {
            Delivery::Whole | Delivery::Parts(_) => None,
            Delivery::Part(range) => Some(*range),
            Delivery::NotModified
            | Delivery::PreconditionFailed
            | Delivery::RangeNotSatisfiable => {
                return Next::Reply(self.sent(
                    file,
                    &delivery,
                    choice,
                    Body::Empty,
                    status,
                    context,
                ));
            }
        };
        let body = match source {
            _ if self.ask.head_only || file.length == 0 => Body::Empty,
            Source::Stored(_) => match &delivery {
                Delivery::Parts(parts) => {
                    file::multipart(file, context.moment).composed(parts, Part::Stored)
                }
                _ => choice.body(range),
            },
            Source::Nowhere if slices => {
                let sent = self.in_slices(file, &delivery, context);
                return Next::Reply(self.sent(
                    file,
                    &delivery,
                    choice,
                    sent,
                    CacheStatus::Slices,
                    context,
                ));
            }
            Source::Kept => Body::Kept(range),
            Source::Upstream => Body::Upstream,
            Source::Nowhere => {
                let wanted = range.map(|ByteRange { first, last }| format!("bytes={first}-{last}"));
                let fetch = match &wanted {
                    Some(wanted) => self.fetch("GET", &[("range", wanted)], context),
                    None => self.fetch("GET", &[], context),
                };
                let stage = Stage::Passing { head: head.to_vec(), range, store: false };
                return self.need(stage, fetch);
            }
        };
        Next::Reply(self.sent(file, &delivery, choice, body, status, context))
    }

    fn opens(&self, file: &StoredFile<'_>) -> bool {
        file.is_open_to(self.ask.identity.as_ref(), self.ask.link_ms) || self.ask.related
    }

    /// Whether relations may let the caller have a file that is not open to them otherwise.
    fn may_be_related(&self, file: &StoredFile<'_>) -> bool {
        self.ask.identity.as_ref().is_some_and(|identity| {
            identity.tenant == file.tenant && identity.scopes.allow(Scope::Read)
        })
    }

    fn note(&self, file: &StoredFile<'_>, head: &[u8]) -> Option<Next<Self>> {
        let fresh_ms = Stored::File(file.clone()).fresh_ms();
        let need = Need::Put { key: file_key(self.ask.id), head: head.to_vec(), fresh_ms };
        Some(Next::Need(Box::new(Self { stage: Stage::Noting, ..self.clone() }), need))
    }

    fn relate(&self, context: &Context<'_>) -> Option<Next<Self>> {
        let identity = self.ask.identity.as_ref()?;
        let (relating, need) =
            Relating::begin(identity, self.ask.id, self.ask.least, context.config);
        let stage = Stage::Relating(Box::new(relating));
        Some(Next::Need(Box::new(Self { stage, ..self.clone() }), need))
    }

    /// It has been looked at what relations say, or nearly so. If they let the caller have the file, it
    /// all begins again.
    fn related(mut self, next: relating::Next, context: &Context<'_>) -> Next<Self> {
        match next {
            relating::Next::Need(relating, need) => {
                self.stage = Stage::Relating(relating);
                Next::Need(Box::new(self), need)
            }
            relating::Next::Level(Some(_)) => {
                self.ask.related = true;
                let (again, need) = Self::look(self.ask, self.link_refused);
                Next::Need(Box::new(again), need)
            }
            relating::Next::Level(None) => Next::Reply(ended(self.denied(context), Ended::Cache)),
            relating::Next::Unknown => {
                let problem = upstream_problem(FetchError::Unreachable, None);
                let reply = context.visit.problem(context.limits, &problem);
                Next::Reply(ended(reply, Ended::Origin))
            }
        }
    }

    /// What is delivered of a file that is too large to be stored whole.
    fn in_slices(&self, file: &StoredFile<'_>, delivery: &Delivery, context: &Context<'_>) -> Body {
        let StoredFile { etag, length, .. } = *file;
        let part =
            |part| Sliced::new(Whose::File(self.ask.id), etag, length, part, context.config).part();
        file::multipart(file, context.moment).delivered(delivery, part)
    }

    /// The form that is sent: of what is stored, where this driver encodes, any.
    fn choose(&self, file: &StoredFile<'_>, source: Source<'_>, context: &Context<'_>) -> Choice {
        match source {
            Source::Stored(forms) if context.abilities.encodes => {
                self.ask.choose(file, Some(forms))
            }
            // Behind this driver the platform may encode it.
            _ => self.ask.choose(file, None),
        }
    }

    /// The reply for a delivery that was decided.
    fn sent(
        &self,
        file: &StoredFile<'_>,
        delivery: &Delivery,
        choice: Choice,
        body: Body,
        status: CacheStatus,
        context: &Context<'_>,
    ) -> Reply {
        let mut fields = context.visit.fields(context.limits);
        let (code, problem) = match delivery {
            Delivery::Whole => (200, None),
            Delivery::Part(_) | Delivery::Parts(_) => (206, None),
            Delivery::NotModified => (304, None),
            Delivery::PreconditionFailed => (412, Some(ProblemType::PreconditionFailed)),
            Delivery::RangeNotSatisfiable => (416, Some(ProblemType::RangeNotSatisfiable)),
        };
        let mut sent = match problem {
            None => {
                file::describe(&self.ask, file, delivery, choice, context.moment, &mut fields);
                fields.push("cache-status", status.value());
                reply(code, fields, body)
            }
            Some(kind) => {
                let detail =
                    format!("The file has {} bytes and the tag {}.", file.length, file.etag);
                let problem = Problem::new(kind, detail).with("size", file.length);
                let mut sent = context.visit.problem(context.limits, &problem);
                if kind == ProblemType::RangeNotSatisfiable {
                    let range = format!("content-range: bytes */{}\r\n", file.length);
                    sent.fields.extend_from_slice(range.as_bytes());
                }
                sent
            }
        };
        sent.ended = Ended::Cache;
        sent
    }

    /// The origin's answer, where it tells of a file; else the reply to give and to remember.
    fn file_of<'a>(
        &self,
        answer: &'a Result<UpstreamHead, FetchError>,
        context: &Context<'_>,
    ) -> Result<Answered<'a>, Box<Reply>> {
        let since_ms = context.moment.unix_ms;
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 206) => Ok(Answered::new(&answer.fields)),
            Ok(answer) if matches!(answer.status, 404 | 410) => {
                let missing = Stored::Missing { since_ms };
                let reply = self.refused(&missing, Ended::Origin, context);
                Err(Box::new(Reply { store: Some(self.store(&missing, StoreBody::None)), ..reply }))
            }
            Ok(answer) => {
                Err(Box::new(self.failure(FetchError::Unreachable, Some(answer.status), context)))
            }
            Err(failure) => Err(Box::new(self.failure(*failure, None, context))),
        }
    }

    /// Nothing came of asking the origin. That is remembered for a moment, so that all who wait
    /// for the same are answered at once.
    fn failure(&self, failure: FetchError, answered: Option<u16>, context: &Context<'_>) -> Reply {
        let problem = upstream_problem(failure, answered);
        let failed =
            Stored::Failed { since_ms: context.moment.unix_ms, status: problem.kind.status() };
        let reply = context.visit.problem(context.limits, &problem);
        let store = Some(self.store(&failed, StoreBody::None));
        Reply { store, ended: Ended::Origin, ..reply }
    }

    fn nonsense(&self, context: &Context<'_>) -> Next<Self> {
        Next::Reply(self.failure(FetchError::Unreachable, Some(200), context))
    }

    fn refused(&self, stored: &Stored<'_>, at: Ended, context: &Context<'_>) -> Reply {
        let refused = match stored {
            Stored::Failed { status: 504, .. } => {
                let problem = upstream_problem(FetchError::Timeout, None);
                context.visit.problem(context.limits, &problem)
            }
            Stored::Failed { .. } => {
                let problem = upstream_problem(FetchError::Unreachable, None);
                context.visit.problem(context.limits, &problem)
            }
            Stored::Missing { .. } | Stored::File(_) | Stored::Slice => self.denied(context),
        };
        ended(refused, at)
    }

    /// The same answer whether there is no such file or it is not the caller's.
    fn denied(&self, context: &Context<'_>) -> Reply {
        let problem = sharing::problem(self.link_refused.unwrap_or(LinkRefusal::Invalid));
        context.visit.problem(context.limits, &problem)
    }

    fn stores(&self, length: u64, context: &Context<'_>) -> bool {
        length <= context.config.stored_bytes_max
    }

    fn store(&self, stored: &Stored<'_>, body: StoreBody) -> Store {
        Store {
            key: file_key(self.ask.id),
            head: stored.encode(),
            body,
            fresh_ms: stored.fresh_ms(),
            tags: vec![purge::of_file(self.ask.id)],
            dictionary: None,
        }
    }

    fn fetch(&self, method: &str, extra: &[(&str, &str)], context: &Context<'_>) -> Fetch {
        let path = format!("/files/{}", self.ask.id);
        let Config { edge_key, upstream_timeout_ms, .. } = context.config;
        own_to_origin(method, &path, extra, edge_key, context.moment, *upstream_timeout_ms)
    }

    fn need(mut self, stage: Stage, fetch: Fetch) -> Next<Self> {
        self.stage = stage;
        Next::Need(Box::new(self), Need::Fetch(fetch))
    }
}

/// An answer of the origin that tells of a file.
struct Answered<'a> {
    fields: FieldLines<'a>,
    record: Option<outport_wire::file::FileRecord>,
}

impl<'a> Answered<'a> {
    fn new(fields: &'a [u8]) -> Self {
        let fields = FieldLines::new(fields);
        Self { fields, record: read_record(fields) }
    }

    fn length(&self) -> Option<u64> {
        self.fields.get("content-length")?.parse().ok()
    }

    fn file(&self, now_ms: u64) -> Option<StoredFile<'_>> {
        StoredFile::read(self.fields, self.record.as_ref()?, now_ms)
    }
}

fn ended(reply: Reply, ended: Ended) -> Reply {
    Reply { ended, ..reply }
}

//! The way of a request through the cache of a proxied route: looked up, filled, validated, passed.
//!
//! What the cache may do is [`crate::caching`]'s to say. A URI's key holds its stored response; or
//! what its responses vary on, and then each has a key of its own; or that nothing of it is stored,
//! so that nobody waits for anybody.

use outport_wire::conditions::{ByteRange, Delivery};
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::answer::reply;
use crate::cache_status::{Forwarded, RouteStatus, Why};
use crate::cached::{Context, Next, is_coded, nobody_is_told, upstream_problem};
use crate::caching::ask::Ask;
use crate::caching::freshness::{Freshness, Times};
use crate::caching::stored_response::{Entry, NotStorable, Storable, StoredResponse};
use crate::caching::vary::Variants;
use crate::coding::{Choice, entity_tag};
use crate::explain::Subject;
use crate::forward::{self, VIA};
use crate::head::{FieldLines, Fields};
use crate::multipart::Multipart;
use crate::slices::{Sliced, Whose};
use crate::step::{
    Body, Ended, Extent, Fetch, FetchError, Form, Looked, Need, Outcome, Part, Reply, Store,
    StoreBody, UpstreamHead,
};

/// For how long it is known that an upstream fails, in milliseconds.
const FAILED_MS: u64 = 1_000;
/// For how long it is known that what a URI gives is not stored, in milliseconds: its requests go
/// their ways meanwhile, and none waits for another.
const NOT_STORED_MS: u64 = 10_000;
/// What is said of the body itself and not of its form in a coding (RFC 9110, section 8; RFC 9530).
const OF_THE_PLAIN: &[&str] = &[
    "accept-ranges",
    "content-digest",
    "content-length",
    "content-md5",
    "digest",
    "etag",
    "repr-digest",
];
/// What comes with a stale response whose validation failed. RFC 9111 has no use for it any more;
/// who knows RFC 7234 reads it.
const STALE: &str = "111 outport \"Revalidation Failed\"";

/// An exchange with a cached route, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteExchange {
    ask: Ask,
    /// The key that was looked up last.
    key: String,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The dictionary is looked up that the client has.
    Matching,
    /// The URI is looked up.
    Looking,
    /// Of its variants, the request's is looked up.
    Selecting(Variants),
    /// The upstream is asked for all of it.
    Filling(Asking),
    /// The upstream is asked whether what is stored still holds.
    Validating { head: Vec<u8>, asking: Asking },
    /// A form of the content is being made, behind the client's back.
    Encoding,
    /// The upstream is asked for what is not going to be stored. What is stored, and stale, stands
    /// in for it where that fails.
    Passing { asking: Asking, stale: Option<Vec<u8>> },
    /// It has answered, and what it said is to be stored under another key: at first the URI is
    /// looked up anew.
    Returning(Answered),
    /// The URI's key is being told what its responses vary on.
    Indexing(Answered, Variants),
    /// The variant's key is looked up, to be filled.
    Placing(Answered),
}

/// The upstream is being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asking {
    since_ms: u64,
    why: Why,
    /// Known of the URI: then the key that was looked up last is a variant's.
    variants: Option<Variants>,
}

/// What the upstream has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answered {
    status: u16,
    fields: Vec<u8>,
    requested_ms: u64,
    received_ms: u64,
    why: Why,
}

impl RouteExchange {
    /// Begins by asking the cache.
    pub(crate) fn begin(ask: Ask) -> (Self, Need) {
        let key = ask.key.clone();
        let (stage, need) = match ask.dictionary_need() {
            Some(need) => (Stage::Matching, need),
            None => (Stage::Looking, Need::Lookup { key: key.clone() }),
        };
        (Self { ask, key, stage }, need)
    }

    /// What it is about.
    pub(crate) fn subject(&self) -> Subject {
        Subject::Route { ask: Box::new(self.ask.clone()), key: self.key.clone() }
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(mut self, outcome: Outcome, context: &Context<'_>) -> Option<Next<Self>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Looking);
        Some(match (stage, outcome) {
            (Stage::Matching, Outcome::Dictionary(head)) => {
                let key = self.key.clone();
                let ask = self.ask.with_dictionary(head.as_deref());
                Self { ask, ..self }.look(Stage::Looking, key)
            }
            (Stage::Looking, Outcome::Looked(looked)) => self.looked(looked, None, context),
            (Stage::Selecting(variants), Outcome::Looked(looked)) => {
                self.looked(looked, Some(variants), context)
            }
            (Stage::Filling(asking), Outcome::Fetched(answer)) => match answer {
                Ok(answer) => self.answered(answer, asking, context),
                Err(failure) => Next::Reply(self.failed(failure, context)),
            },
            (Stage::Validating { head, asking }, Outcome::Fetched(answer)) => {
                self.validated(&head, answer, asking, context)
            }
            (Stage::Passing { asking, stale }, Outcome::Fetched(answer)) => {
                let stale = stale.and_then(|head| self.stale_on_error(&head, &answer, context));
                Next::Reply(stale.unwrap_or_else(|| self.passed(&asking, answer, context)))
            }
            (Stage::Encoding, Outcome::Encoded(_)) => Next::Reply(nobody_is_told()),
            (Stage::Returning(answered), Outcome::Looked(_)) => self.index(answered, context),
            (Stage::Indexing(answered, variants), Outcome::Put) => {
                let key = variants.key(&self.ask.key, &self.ask.selecting());
                self.look(Stage::Placing(answered), key)
            }
            (Stage::Placing(answered), Outcome::Looked(_)) => self.placed(&answered, context),
            _ => return None,
        })
    }

    fn looked(
        self,
        looked: Looked,
        variants: Option<Variants>,
        context: &Context<'_>,
    ) -> Next<Self> {
        let Looked::Found { head, body, forms, purged, lead, collapsed } = looked else {
            return self.miss(variants, context);
        };
        let now_ms = context.moment.unix_ms;
        match Entry::decode(&head) {
            Some(Entry::Variants(found)) if variants.is_none() => {
                let key = found.key(&self.ask.key, &self.ask.selecting());
                self.look(Stage::Selecting(found), key)
            }
            Some(Entry::Failed { until_ms, status }) if now_ms < until_ms => {
                let failure =
                    if status == 504 { FetchError::Timeout } else { FetchError::Unreachable };
                let problem = upstream_problem(failure, None);
                Next::Reply(context.visit.problem(context.limits, &problem))
            }
            Some(Entry::Response(stored))
                if body || !has_content(&stored) || in_slices(&stored, context) =>
            {
                let stored = match purged {
                    true => stored.with(stored.freshness.made_stale(now_ms)),
                    false => stored,
                };
                let found = Found { stored, forms: &forms, lead, collapsed };
                self.found(&head, &found, variants, context)
            }
            _ => self.miss(variants, context),
        }
    }

    fn found(
        self,
        head: &[u8],
        found: &Found<'_>,
        variants: Option<Variants>,
        context: &Context<'_>,
    ) -> Next<Self> {
        let now_ms = context.moment.unix_ms;
        let freshness = &found.stored.freshness;
        let insists = self.ask.insists(freshness, now_ms);
        let unwaited = !insists && freshness.while_revalidating(now_ms);
        if self.ask.takes(freshness, now_ms) || unwaited {
            let ttl_s = freshness.left_ms(now_ms).div_euclid(1000);
            let status = RouteStatus::Hit { ttl_s, collapsed: found.collapsed };
            let reply = self.deliver(&found.stored, found.forms, status, context);
            if found.lead && unwaited {
                return self.validate_after(reply, head, &found.stored, variants, context);
            }
            return self.encode_after(reply, found);
        }
        if freshness.rests(now_ms) {
            let status = RouteStatus::StaleOnError;
            return Next::Reply(self.deliver(&found.stored, found.forms, status, context));
        }
        let why = if insists { Why::Request } else { Why::Stale };
        if self.ask.only_if_cached {
            return Next::Reply(not_cached(context));
        }
        if self.ask.head_only {
            return self.pass(Asking { since_ms: now_ms, why, variants }, Some(head.to_vec()));
        }
        let fetch = self.ask.validating(&found.stored);
        let asking = Asking { since_ms: now_ms, why, variants };
        self.need(Stage::Validating { head: head.to_vec(), asking }, fetch)
    }

    /// Nobody waits for the validation (RFC 5861, section 3).
    fn validate_after(
        mut self,
        reply: Reply,
        head: &[u8],
        stored: &StoredResponse<'_>,
        variants: Option<Variants>,
        context: &Context<'_>,
    ) -> Next<Self> {
        let fetch = self.ask.validating(stored);
        let asking = Asking { since_ms: context.moment.unix_ms, why: Why::Stale, variants };
        self.stage = Stage::Validating { head: head.to_vec(), asking };
        Next::ReplyFirst(reply, Box::new(self), Need::Fetch(fetch))
    }

    /// What is asked for again is worth to be encoded well.
    fn encode_after(mut self, reply: Reply, found: &Found<'_>) -> Next<Self> {
        let wanted = self.ask.wants_form(&found.stored, found.forms).filter(|_| !found.collapsed);
        match wanted {
            Some(coding) if is_coded(&reply.body) => {
                self.stage = Stage::Encoding;
                Next::ReplyFirst(reply, Box::new(self), Need::Encode { coding })
            }
            _ => Next::Reply(reply),
        }
    }

    /// Nothing is stored that could be used. A part, or a head, alone is not stored.
    fn miss(self, variants: Option<Variants>, context: &Context<'_>) -> Next<Self> {
        if self.ask.only_if_cached {
            return Next::Reply(not_cached(context));
        }
        let why = if variants.is_some() { Why::VaryMiss } else { Why::UriMiss };
        let asking = Asking { since_ms: context.moment.unix_ms, why, variants };
        if self.ask.head_only || self.ask.wants_range() {
            return self.pass(asking, None);
        }
        let fetch = self.ask.whole();
        self.need(Stage::Filling(asking), fetch)
    }

    fn pass(self, asking: Asking, stale: Option<Vec<u8>>) -> Next<Self> {
        let fetch = self.ask.as_sent();
        self.need(Stage::Passing { asking, stale }, fetch)
    }

    /// The upstream has answered in full.
    fn answered(self, answer: UpstreamHead, asking: Asking, context: &Context<'_>) -> Next<Self> {
        let Asking { since_ms, why, variants } = asking;
        let UpstreamHead { status, fields } = answer;
        let received_ms = context.moment.unix_ms;
        let answered = Answered { status, fields, requested_ms: since_ms, received_ms, why };
        let storable = match self.storable(&answered, context) {
            Ok(storable) => storable,
            Err(why_not) => return Next::Reply(self.not_stored(&answered, why_not, context)),
        };
        if is_under(variants.as_ref(), &storable) {
            return Next::Reply(self.store(&answered, &storable, context));
        }
        if variants.is_none() {
            return self.index(answered, context);
        }
        let key = self.ask.key.clone();
        self.look(Stage::Returning(answered), key)
    }

    /// The URI's key is held: it is told what the responses vary on, if they do.
    fn index(mut self, answered: Answered, context: &Context<'_>) -> Next<Self> {
        let storable = match self.storable(&answered, context) {
            Ok(storable) => storable,
            Err(why_not) => return Next::Reply(self.not_stored(&answered, why_not, context)),
        };
        let Some(names) = storable.varies_on.clone() else {
            return Next::Reply(self.store(&answered, &storable, context));
        };
        let variants = Variants::new(names, context.moment.random);
        let entry = Entry::Variants(variants.clone());
        let fresh_ms = entry.unled_ms(context.moment.unix_ms);
        let need = Need::Put { key: self.ask.key.clone(), head: entry.encode(), fresh_ms };
        self.stage = Stage::Indexing(answered, variants);
        Next::Need(Box::new(self), need)
    }

    /// The variant's key is held.
    fn placed(self, answered: &Answered, context: &Context<'_>) -> Next<Self> {
        Next::Reply(match self.storable(answered, context) {
            Ok(storable) => self.store(answered, &storable, context),
            Err(why_not) => self.not_stored(answered, why_not, context),
        })
    }

    fn storable(
        &self,
        answered: &Answered,
        context: &Context<'_>,
    ) -> Result<Storable, NotStorable> {
        let Answered { status, requested_ms, received_ms, .. } = *answered;
        let times = Times { requested_ms, received_ms };
        let fields = FieldLines::new(&answered.fields);
        let storable = Storable::read(status, fields, self.ask.asked, times)?;
        match storable.stored().length() {
            Some(length)
                if length > context.config.stored_bytes_max
                    && !(context.abilities.slices && has_slices(fields)) =>
            {
                Err(NotStorable::Size)
            }
            None if has_content(&storable.stored()) && !context.abilities.unannounced => {
                Err(NotStorable::Length)
            }
            _ => Ok(storable),
        }
    }

    /// The answer, which is stored under the key that was looked up last.
    fn store(self, answered: &Answered, storable: &Storable, context: &Context<'_>) -> Reply {
        let stored = storable.stored();
        let length = stored.length();
        let extent = match length {
            Some(length) => Extent::Exactly(length),
            None => Extent::AtMost(context.config.stored_bytes_max),
        };
        let has_content = has_content(&stored);
        // Of what is too large the head alone is stored, and this once the content passes.
        let passes = in_slices(&stored, context);
        let choice = if passes { Choice::Plain } else { self.ask.choose(&stored, &[]) };
        let body = match has_content && !passes {
            true => StoreBody::Upstream(extent),
            false => StoreBody::None,
        };
        let vary = self.ask.negotiated(&stored);
        let dictionary = self.ask.offers(&stored).filter(|_| has_content && !passes);
        let entry = Entry::Response(stored);
        let store = Store { body, dictionary, ..self.remembered(&entry, context) };
        let status = RouteStatus::Forwarded(Forwarded {
            why: answered.why,
            status: answered.status,
            stored: !passes,
            why_not: passes.then_some(NotStorable::Size),
        });
        let fields = FieldLines::new(&answered.fields);
        let several = context.abilities.composes;
        let length = length.filter(|_| !passes);
        let delivery = self.ask.delivery(answered.status, fields, length, several);
        let sent =
            Sent { status: answered.status, fields, length, delivery, choice, vary, age_ms: None };
        let body = match has_content {
            true if passes => Body::Upstream,
            true => sent.body(context),
            false => Body::Empty,
        };
        let mut sent = sent.reply(status, body, context);
        sent.store = Some(store);
        sent
    }

    /// The answer, of which it is known for a while that it is not stored.
    fn not_stored(
        &self,
        answered: &Answered,
        why_not: NotStorable,
        context: &Context<'_>,
    ) -> Reply {
        let fields = FieldLines::new(&answered.fields);
        let status = RouteStatus::Forwarded(Forwarded {
            why: answered.why,
            status: answered.status,
            stored: false,
            why_not: Some(why_not),
        });
        let delivery = self.ask.delivery(answered.status, fields, None, false);
        let sent = Sent {
            status: answered.status,
            fields,
            length: None,
            delivery,
            choice: Choice::Plain,
            vary: "",
            age_ms: None,
        };
        let mut sent = sent.reply(status, Body::Upstream, context);
        let until_ms = context.moment.unix_ms + NOT_STORED_MS;
        sent.store = Some(self.remembered(&Entry::NotStored { until_ms, why: why_not }, context));
        sent
    }

    fn validated(
        self,
        head: &[u8],
        answer: Result<UpstreamHead, FetchError>,
        asking: Asking,
        context: &Context<'_>,
    ) -> Next<Self> {
        let Some(Entry::Response(stored)) = Entry::decode(head) else {
            return Next::Reply(self.failed(FetchError::Unreachable, context));
        };
        if let Some(stale) = self.stale_on_error(head, &answer, context) {
            return Next::Reply(stale);
        }
        match answer {
            Err(failure) => Next::Reply(self.failed(failure, context)),
            Ok(answer) if answer.status == 304 => {
                Next::Reply(self.confirmed(&stored, &answer, &asking, context))
            }
            Ok(answer) => self.answered(answer, asking, context),
        }
    }

    /// What is stored, where the upstream has failed and that may be used then (RFC 5861,
    /// section 4). Nobody asks for a moment.
    fn stale_on_error(
        &self,
        head: &[u8],
        answer: &Result<UpstreamHead, FetchError>,
        context: &Context<'_>,
    ) -> Option<Reply> {
        let now_ms = context.moment.unix_ms;
        let Some(Entry::Response(stored)) = Entry::decode(head) else { return None };
        let failed = answer.as_ref().map_or(true, |answer| answer.status >= 500);
        if !failed || !stored.freshness.if_error(now_ms) {
            return None;
        }
        let stale = stored.with(stored.freshness.failed(now_ms));
        let mut sent = self.deliver(&stale, &[], RouteStatus::StaleOnError, context);
        sent.store = Some(self.kept(stale, context));
        sent.ended = Ended::Origin;
        Some(sent)
    }

    /// What is stored still holds. Where the answer says that it may not be stored any more, or
    /// varies on other fields than those that lead here, it is this client's alone, and the next
    /// one makes the upstream decide again.
    fn confirmed(
        &self,
        stored: &StoredResponse<'_>,
        answer: &UpstreamHead,
        asking: &Asking,
        context: &Context<'_>,
    ) -> Reply {
        let Asking { since_ms, why, ref variants } = *asking;
        let times = Times { requested_ms: since_ms, received_ms: context.moment.unix_ms };
        let fields = stored.confirmed(FieldLines::new(&answer.fields), times);
        let storable =
            Storable::read(stored.status, FieldLines::new(&fields), self.ask.asked, times)
                .and_then(|storable| match is_under(variants.as_ref(), &storable) {
                    true => Ok(storable),
                    false => Err(NotStorable::Vary),
                });
        let why_not = storable.as_ref().err().copied();
        let (sent, kept) = match &storable {
            Ok(storable) => (storable.stored(), storable.stored()),
            Err(_) => {
                let kept = stored.with(Freshness::none(times.received_ms));
                (kept.with_fields(&fields), kept)
            }
        };
        let forwarded = Forwarded { why, status: 304, stored: why_not.is_none(), why_not };
        let mut sent = self.deliver(&sent, &[], RouteStatus::Forwarded(forwarded), context);
        let mut store = self.kept(kept, context);
        // What may not be stored any more is nobody's dictionary.
        store.dictionary = store.dictionary.filter(|_| why_not.is_none());
        sent.store = Some(store);
        sent.ended = Ended::Origin;
        sent
    }

    /// What the client asked for itself, untouched.
    fn passed(
        &self,
        asking: &Asking,
        answer: Result<UpstreamHead, FetchError>,
        context: &Context<'_>,
    ) -> Reply {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                let problem = upstream_problem(failure, None);
                return ended_at_origin(context.visit.problem(context.limits, &problem));
            }
        };
        let status = RouteStatus::Forwarded(Forwarded {
            why: asking.why,
            status: answer.status,
            stored: false,
            why_not: Some(NotStorable::Part),
        });
        let store = self.learnt(&answer, asking, context);
        let sent = Sent {
            status: answer.status,
            fields: FieldLines::new(&answer.fields),
            length: None,
            delivery: Delivery::Whole,
            choice: Choice::Plain,
            vary: "",
            age_ms: None,
        };
        Reply { store, ..sent.reply(status, Body::Upstream, context) }
    }

    /// The head of all of it, where a part tells that it is large: what is asked for next is then
    /// sent in slices.
    fn learnt(
        &self,
        answer: &UpstreamHead,
        asking: &Asking,
        context: &Context<'_>,
    ) -> Option<Store> {
        if answer.status != 206 || !context.abilities.slices {
            return None;
        }
        let whole = whole_of(FieldLines::new(&answer.fields))?;
        let fields = FieldLines::new(&whole);
        let times = Times { requested_ms: asking.since_ms, received_ms: context.moment.unix_ms };
        let storable = Storable::read(200, fields, self.ask.asked, times).ok()?;
        let stored = storable.stored();
        let is_large = in_slices(&stored, context) && has_slices(fields);
        (is_large && is_under(asking.variants.as_ref(), &storable))
            .then(|| self.remembered(&Entry::Response(stored), context))
    }

    /// There was no answer. That is remembered for a moment, so that all who wait for the same are
    /// told at once.
    fn failed(&self, failure: FetchError, context: &Context<'_>) -> Reply {
        let problem = upstream_problem(failure, None);
        let mut sent = ended_at_origin(context.visit.problem(context.limits, &problem));
        // Who gave it less time than it may take has learnt nothing for others.
        let hurried =
            context.visit.within.as_ref().is_some_and(|within| within.max_wait_ms.is_some());
        if failure != FetchError::Timeout || !hurried {
            let until_ms = context.moment.unix_ms + FAILED_MS;
            let entry = Entry::Failed { until_ms, status: problem.kind.status() };
            sent.store = Some(self.remembered(&entry, context));
        }
        sent
    }

    /// Answers with what is stored.
    fn deliver(
        &self,
        stored: &StoredResponse<'_>,
        forms: &[Form],
        status: RouteStatus,
        context: &Context<'_>,
    ) -> Reply {
        let length = stored.length();
        let sliced = in_slices(stored, context);
        let choice = if sliced { Choice::Plain } else { self.ask.choose(stored, forms) };
        let several = context.abilities.composes;
        let delivery = self.ask.delivery(stored.status, stored.fields(), length, several);
        let age_ms = Some(stored.freshness.age_ms(context.moment.unix_ms));
        let sent = Sent {
            status: stored.status,
            fields: stored.fields(),
            length,
            delivery,
            choice,
            vary: self.ask.negotiated(stored),
            age_ms,
        };
        let body = match self.ask.head_only || !has_content(stored) {
            true => Body::Empty,
            false if sliced => self.in_slices(&sent, stored, context),
            false => sent.body(context),
        };
        let status = match (status, &body) {
            (RouteStatus::Hit { .. }, Body::Composed(_)) if sliced => RouteStatus::Slices,
            (status, _) => status,
        };
        Reply { ended: Ended::Cache, ..sent.reply(status, body, context) }
    }

    /// What is sent of a response whose head alone is stored.
    fn in_slices(
        &self,
        sent: &Sent<'_>,
        stored: &StoredResponse<'_>,
        context: &Context<'_>,
    ) -> Body {
        let length = stored.length().unwrap_or_default();
        let etag = stored.fields().get("etag").unwrap_or_default();
        let whose = Whose::Route {
            key: self.key.clone(),
            fetch: self.ask.whole(),
            tags: self.tags(&Entry::Response(*stored)),
        };
        let part = |part| Sliced::new(whose.clone(), etag, length, part, context.config).part();
        match &sent.delivery {
            Delivery::NotModified | Delivery::RangeNotSatisfiable => Body::Empty,
            delivery => sent.multipart(context).delivered(delivery, part),
        }
    }

    fn tags(&self, entry: &Entry<'_>) -> Vec<String> {
        let mut tags = match entry {
            Entry::Response(stored) => stored.tags(),
            Entry::Variants(_) | Entry::NotStored { .. } | Entry::Failed { .. } => Vec::new(),
        };
        tags.push(self.ask.tag.clone());
        tags
    }

    /// An entry without content, under the key that was looked up last.
    fn remembered(&self, entry: &Entry<'_>, context: &Context<'_>) -> Store {
        let fresh_ms = entry.unled_ms(context.moment.unix_ms);
        let tags = self.tags(entry);
        let (key, head) = (self.key.clone(), entry.encode_from(&self.ask.source()));
        Store { key, head, body: StoreBody::None, fresh_ms, tags, dictionary: None }
    }

    /// A new head for the content that is stored.
    fn kept(&self, stored: StoredResponse<'_>, context: &Context<'_>) -> Store {
        let dictionary = self.ask.offers(&stored);
        let remembered = self.remembered(&Entry::Response(stored), context);
        Store { body: StoreBody::Keep, dictionary, ..remembered }
    }

    fn look(mut self, stage: Stage, key: String) -> Next<Self> {
        self.stage = stage;
        self.key.clone_from(&key);
        Next::Need(Box::new(self), Need::Lookup { key })
    }

    fn need(mut self, stage: Stage, fetch: Fetch) -> Next<Self> {
        self.stage = stage;
        Next::Need(Box::new(self), Need::Fetch(fetch))
    }
}

/// A stored response that was found.
struct Found<'a> {
    stored: StoredResponse<'a>,
    /// The forms that there are of the content.
    forms: &'a [Form],
    lead: bool,
    collapsed: bool,
}

/// What is sent of a response.
struct Sent<'a> {
    status: u16,
    fields: FieldLines<'a>,
    length: Option<u64>,
    delivery: Delivery,
    choice: Choice,
    /// What the choice went by.
    vary: &'static str,
    /// Of what is stored; what has just come says its age by itself.
    age_ms: Option<u64>,
}

impl Sent<'_> {
    fn reply(&self, cache: RouteStatus, body: Body, context: &Context<'_>) -> Reply {
        if self.delivery == Delivery::RangeNotSatisfiable {
            return self.not_satisfiable(context);
        }
        let mut fields = Fields::new();
        for (name, value) in forward::end_to_end(self.fields) {
            if self.sends(name) {
                fields.push(name, value);
            }
        }
        self.describe_form(&mut fields);
        if let Some(age_ms) = self.age_ms {
            fields.push_number("age", age_ms / 1000);
        }
        if cache == RouteStatus::StaleOnError {
            fields.push("warning", STALE);
        }
        let (status, body) = match &self.delivery {
            Delivery::NotModified => (304, Body::Empty),
            Delivery::Part(range) => {
                self.describe_part(*range, &mut fields);
                (206, body)
            }
            Delivery::Parts(parts) => {
                self.multipart(context).describe(parts, &mut fields);
                (206, body)
            }
            _ => (self.status, body),
        };
        fields.push("via", VIA);
        fields.push("cache-status", cache.value());
        ended_at_origin(reply(status, fields, body))
    }

    /// The body, of what is stored or arriving.
    fn body(&self, context: &Context<'_>) -> Body {
        match &self.delivery {
            Delivery::Parts(parts) => self.multipart(context).composed(parts, Part::Stored),
            Delivery::Part(range) => self.choice.body(Some(*range)),
            _ => self.choice.body(None),
        }
    }

    fn multipart(&self, context: &Context<'_>) -> Multipart<'_> {
        Multipart {
            content_type: self.fields.get("content-type"),
            length: self.length.unwrap_or_default(),
            random: context.moment.random,
        }
    }

    /// Whether a field goes with this delivery. A 304 tells nothing of a content that it has not
    /// (RFC 9110, section 15.4.5).
    fn sends(&self, name: &str) -> bool {
        match self.delivery {
            _ if name == "age" => self.age_ms.is_none(),
            // Between the origin and its caches.
            _ if matches!(name, "cache-tag" | "surrogate-key") => false,
            _ if self.choice.coding().is_some() && OF_THE_PLAIN.contains(&name) => false,
            Delivery::NotModified => {
                !name.starts_with("content-")
                    || matches!(name, "content-location" | "content-security-policy")
            }
            Delivery::Part(_) => name != "content-length",
            Delivery::Parts(_) => !matches!(name, "content-length" | "content-type"),
            _ => true,
        }
    }

    /// What the form that is sent has in place of [`OF_THE_PLAIN`].
    fn describe_form(&self, fields: &mut Fields) {
        if self.choice != Choice::Plain {
            fields.push("vary", self.vary);
        }
        let Some(coding) = self.choice.coding() else { return };
        if let Some(etag) = self.fields.get("etag") {
            fields.push("etag", entity_tag(etag, coding));
        }
        if self.delivery == Delivery::Whole {
            fields.push("content-encoding", coding.name());
            if let Choice::Coded(_, bytes) = self.choice {
                fields.push_number("content-length", bytes);
            }
        }
    }

    fn describe_part(&self, range: ByteRange, fields: &mut Fields) {
        let ByteRange { first, last } = range;
        let length = self.length.unwrap_or_default();
        fields.push_args("content-range", format_args!("bytes {first}-{last}/{length}"));
        fields.push_number("content-length", range.length());
    }

    fn not_satisfiable(&self, context: &Context<'_>) -> Reply {
        let length = self.length.unwrap_or_default();
        let detail = format!("There are {length} bytes.");
        let problem = Problem::new(ProblemType::RangeNotSatisfiable, detail).with("size", length);
        let mut sent = context.visit.problem(context.limits, &problem);
        let range = format!("content-range: bytes */{length}\r\n");
        sent.fields.extend_from_slice(range.as_bytes());
        sent
    }
}

/// Whether a response is found by whom it answers under the key of these variants; under the
/// URI's, where there are none.
fn is_under(variants: Option<&Variants>, storable: &Storable) -> bool {
    match (variants, &storable.varies_on) {
        (None, None) => true,
        (Some(variants), Some(names)) => variants.vary_on(names),
        _ => false,
    }
}

/// The same reply where what was to be stored has gone: nobody who waits for it asks for a moment.
pub(crate) fn none_of_it(reply: Reply, context: &Context<'_>) -> Reply {
    let Some(store) = reply.store else { return reply };
    let until_ms = context.moment.unix_ms + FAILED_MS;
    let entry = Entry::Failed { until_ms, status: reply.status };
    let fresh_ms = entry.unled_ms(context.moment.unix_ms);
    let store =
        Store { head: entry.encode(), body: StoreBody::None, fresh_ms, dictionary: None, ..store };
    Reply { store: Some(store), ..reply }
}

/// Whether a response is too large to be stored whole, and is sent in slices.
fn in_slices(stored: &StoredResponse<'_>, context: &Context<'_>) -> bool {
    context.abilities.slices
        && stored.status == 200
        && stored.length().is_some_and(|length| length > context.config.stored_bytes_max)
}

/// Whether parts of a response can be asked for, and told from those of another (RFC 9110, sections
/// 14.3 and 8.8.1).
fn has_slices(fields: FieldLines<'_>) -> bool {
    let takes_ranges = fields.get("accept-ranges").is_some_and(|units| units.trim() == "bytes");
    takes_ranges && fields.get("etag").is_some_and(|etag| etag.starts_with('"'))
}

/// The fields of the whole, from those of one part of it (RFC 9110, section 15.3.7.1).
fn whole_of(part: FieldLines<'_>) -> Option<Vec<u8>> {
    let (_, length) = part.get("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let length: u64 = length.parse().ok()?;
    let mut fields = Fields::new();
    for (name, value) in part.iter() {
        if !matches!(name, "accept-ranges" | "content-length" | "content-range") {
            fields.push(name, value);
        }
    }
    fields.push("accept-ranges", "bytes");
    fields.push_number("content-length", length);
    Some(fields.into_bytes())
}

/// Whether there is content to be stored and sent.
fn has_content(stored: &StoredResponse<'_>) -> bool {
    stored.status != 204 && stored.length() != Some(0)
}

/// Nothing stored can be used, and the upstream may not be asked (RFC 9111, section 5.2.1.7).
fn not_cached(context: &Context<'_>) -> Reply {
    let detail = "Nothing is stored that could be used; ask without `only-if-cached`.";
    context.visit.problem(context.limits, &Problem::new(ProblemType::NotCached, detail))
}

fn ended_at_origin(reply: Reply) -> Reply {
    Reply { ended: Ended::Origin, ..reply }
}

#[cfg(test)]
mod tests;

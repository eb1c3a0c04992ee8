//! The order of the stages: one exchange from its head to its reply.

mod authenticating;
mod budgeting;
mod denying;
mod forwarding;
mod judging;
mod keeping;
mod limiting;
mod operating;
mod sessions;

use std::net::IpAddr;

use outport_wire::identity::Scope;
use outport_wire::link::{self, Holder, Link, LinkRefusal};
use outport_wire::problem::{Problem, ProblemType};
use outport_wire::resumable::PARTIAL_TYPE;
use outport_wire::tus;
use serde::{Deserialize, Serialize};

use self::authenticating::{Bearer, Caller, Waiting, password};
use self::budgeting::Budgeting;
use self::denying::Denial;
use self::forwarding::{Changed, Forwarded, ask_upstream, forward};
use self::judging::{judged_as, judged_by};
use self::keeping::Accepting;
use self::operating::Purging;
use crate::answer::{Visit, json, reply};
use crate::assets::{self, AssetAsk};
use crate::cached::{Context, Next};
use crate::cached_file::FileExchange;
use crate::cached_route::RouteExchange;
use crate::caching::ask::{Ask, Forms, Place};
use crate::checker::Checker;
use crate::coding::Accepted;
use crate::composing::{
    Asked, Attempt, Continued, Page, PageExchange, Reads, Share, Within, in_place,
};
use crate::config::{Auth, Config, Route};
use crate::content_host::{ContentHost, HostOf};
use crate::cors;
use crate::explain::{Beside, Explaining, Subject};
use crate::file::FileAsk;
use crate::firewall::{Asking, Rules, Who};
use crate::forward::{self, Proxied};
use crate::forwarded::{Client, TrustedProxies};
use crate::guard::{Guarded, guard};
use crate::head::Fields;
use crate::interim;
use crate::issuer;
use crate::issuer_keys::KeyExchange;
use crate::kept::KeptFile;
use crate::limit::Limit;
use crate::prefetch::{self, Ahead, Warming};
use crate::purge;
use crate::revocations::{Remembered, RevocationExchange};
use crate::route::{Access, Routes, Target};
use crate::rules::{self, UploadLimit};
use crate::sharing;
use crate::slices::SliceExchange;
use crate::step::{
    Abilities, Body, Connection, Fetch, Matched, Moment, Need, Outcome, PartStep, Purge, Reply,
    Request, Step,
};
use crate::token::{Grant, SignedIn};
use crate::uploads;

/// The edge of one deployment: its configuration, and what can be computed again from it and from
/// the tokens seen.
pub struct Edge {
    config: Config,
    abilities: Abilities,
    checker: Checker,
    routes: Routes,
    limits: Vec<Limit>,
    trusted_proxies: TrustedProxies,
    content_host: ContentHost,
    firewall: Rules,
    revocations: Remembered,
}

/// An exchange between two steps: a value that crosses a WebAssembly boundary as bytes, so that
/// any instance can go on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    visit: Visit,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The driver checks a token's signature; then it all begins again.
    Verifying(Waiting, Grant),
    /// An issuer is asked for its keys, for a token; then its signature is checked.
    Asking(Waiting, KeyExchange),
    /// It is looked at whether a token was revoked; then it all begins again.
    Recalling(Waiting, Grant, RevocationExchange),
    /// A unit is taken from each of these limits, by their places, as rules of the firewall want;
    /// then it all begins again.
    Limiting { head: Vec<u8>, connection: Connection, caller: Option<SignedIn>, limits: Vec<u16> },
    /// What the caller's tenant has spent of a budget is looked up; then it all begins again.
    Budgeting(Box<Budgeting>),
    /// A value of the page is read.
    Asset(AssetAsk),
    /// A file is delivered.
    File(Box<FileExchange>),
    /// A cached route is asked.
    Route(Box<RouteExchange>),
    /// A cached route is asked whose answers may be templates.
    Page(Box<PageExchange>),
    /// What a template attempts is gathered.
    Attempt(Box<Attempt>),
    /// A slice of a large file is delivered.
    Slice(Box<SliceExchange>),
    /// A unit is taken from an allowance, or what is kept is handed over, before an upstream is
    /// asked.
    Preparing(Fetch, Forwarded),
    /// A unit is taken from an allowance, before a file is accepted.
    Accepting(Box<Accepting>),
    /// A file is being kept.
    Keeping(Box<Accepting>, KeptFile),
    /// What is stored is explained.
    Explaining(Box<Explaining>),
    /// The body of a purge is read.
    Purging(Box<Purging>),
    /// A unit is taken from an allowance, before somebody is told what their token does not allow, and
    /// that is noted.
    Denying(Box<Denial>),
    /// It is being noted, and they have their answer.
    Denied,
    /// What is to be purged is noted in the log of whoever asks for it.
    Noting(Vec<Purge>),
    /// The body of a request to fetch ahead is read.
    Warming(Box<Warming>),
    /// What is popular is asked for, for an admin of this tenant.
    Ranking(String),
    /// An upstream is asked.
    Forwarding(Forwarded),
}

impl Stage {
    /// What it is about, where the cache has a part in it.
    fn subject(&self) -> Option<Subject> {
        match self {
            Self::File(file) => Some(file.subject()),
            Self::Route(route) => Some(route.subject()),
            Self::Page(page) => page.subject(),
            _ => None,
        }
    }
}

impl Exchange {
    /// The exchange as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads an exchange. `None` where the bytes are none of this version's.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl Edge {
    /// An edge of this deployment. The error says what is wrong with the configuration.
    pub fn new(config: Config, abilities: Abilities) -> Result<Self, String> {
        let checker = Checker::new(&config.issuers, &config.issuer_secrets)?;
        let limits: Vec<Limit> = config
            .limits
            .iter()
            .map(|(name, allowance)| {
                let share = config.shares.get(name).copied().filter(|_| abilities.shares);
                Limit { name: name.clone(), allowance: *allowance, share }
            })
            .collect();
        let mut named = config.shares.keys().chain(config.budgets.keys());
        if let Some(name) = named.find(|name| !config.limits.contains_key(*name)) {
            return Err(format!("there is no limit named {name}"));
        }
        let routes = Routes::new(&config)?;
        for limit in config.routes.iter().filter_map(|route| route.limit.as_deref()) {
            if limit != crate::config::NO_LIMIT && !config.limits.contains_key(limit) {
                return Err(format!("there is no limit named {limit}"));
            }
        }
        let trusted_proxies = TrustedProxies::parse(&config.trusted_proxies)
            .map_err(|wrong| format!("the trusted proxy {wrong} is neither network nor address"))?
            .telling_country(config.country_field.clone());
        let firewall = Rules::new(&config)?;
        if firewall.challenges() && config.link_keys.is_empty() {
            return Err("there is no key to sign challenges with".to_owned());
        }
        Ok(Self {
            content_host: ContentHost::new(config.content_base_url.as_deref()),
            config,
            abilities,
            checker,
            routes,
            limits,
            trusted_proxies,
            firewall,
            revocations: Remembered::default(),
        })
    }

    /// Whether a rule is about where clients are: for others, a driver need not find out.
    pub fn asks_country(&self) -> bool {
        self.firewall.asks_country()
    }

    /// Begins an exchange with its head.
    pub fn begin(&mut self, request: &Request<'_>, moment: Moment) -> Step {
        let visit = Visit { secure: request.connection.secure, ..Visit::default() };
        self.begin_as(request, moment, None, visit)
    }

    /// Goes on with an exchange, given one outcome for each need of its last step.
    pub fn resume(&mut self, exchange: Exchange, outcomes: Vec<Outcome>, moment: Moment) -> Step {
        let is_included = exchange.visit.within.is_some();
        let (matched, known) = (exchange.visit.matched.clone(), exchange.visit.caller_known);
        let step = matching(self.resumed(exchange, outcomes, moment), matched);
        let step = if known { knowing_caller(step) } else { step };
        if is_included { placed(step) } else { step }
    }

    fn resumed(&mut self, exchange: Exchange, outcomes: Vec<Outcome>, moment: Moment) -> Step {
        let Exchange { mut visit, stage } = exchange;
        let mut outcomes = outcomes.into_iter();
        let stage = match stage {
            Stage::Verifying(waiting, grant) => {
                let verified = outcomes.next() == Some(Outcome::Verified(true));
                return self.verified(waiting, visit, verified.then_some(grant), moment);
            }
            Stage::Asking(waiting, keys) => {
                let Some(outcome) = outcomes.next() else { return self.confused(&visit) };
                return self.asked_issuer(waiting, visit, keys, outcome, moment);
            }
            Stage::Recalling(waiting, grant, recalling) => {
                let Some(outcome) = outcomes.next() else { return self.confused(&visit) };
                return self.recalled(waiting, visit, grant, recalling, outcome, moment);
            }
            Stage::Limiting { head, connection, caller, limits } => {
                let request = Request { head: &head, connection };
                return self.limited(&request, caller, visit, limits, outcomes, moment);
            }
            Stage::Budgeting(budgeting) => {
                let Some(outcome) = outcomes.next() else { return self.confused(&visit) };
                return self.budgeted(*budgeting, visit, outcome, moment);
            }
            stage => stage,
        };
        if visit.limit.is_some()
            && visit.taken.is_none()
            && let Some(refused) = self.refused(&mut visit, &mut outcomes)
        {
            return refused;
        }
        let outcome = outcomes.next();
        if visit.beside.is_some() {
            return self.go_on_beside(visit, stage, outcome, moment);
        }
        self.go_on(visit, stage, outcome, moment)
    }

    /// The same for an admin who is told beside the answer.
    fn go_on_beside(
        &self,
        mut visit: Visit,
        stage: Stage,
        outcome: Option<Outcome>,
        moment: Moment,
    ) -> Step {
        let subject = stage.subject();
        if let (Some(beside), Some(subject), Some(Outcome::Looked(looked))) =
            (&mut visit.beside, &subject, &outcome)
        {
            beside.found(subject, looked, moment.unix_ms);
        }
        let beside = visit.beside.clone();
        let step = self.go_on(visit, stage, outcome, moment);
        told_beside(step, beside.as_ref(), subject.as_ref(), moment)
    }

    /// Begins the exchange for what a body goes on with: a
    /// [`Part::Sliced`](crate::step::Part::Sliced) or
    /// [`Part::Included`](crate::step::Part::Included). `None` where nothing more comes.
    pub fn next_part(&mut self, part: &[u8], moment: Moment) -> Option<PartStep> {
        let alone = |stage| Exchange { visit: Visit::default(), stage };
        Some(match Continued::from_bytes(part)? {
            Continued::Slices(sliced) => {
                let (slice, need, rest) = sliced.next()?;
                let step = Step::Needs(alone(Stage::Slice(Box::new(slice))), vec![need]);
                let rest = Some(Continued::Slices(rest).to_bytes());
                PartStep { step, rest, instead: None }
            }
            Continued::Included(included) => {
                let instead = included.instead();
                let Asked { head, connection, reader, within } = included.ask();
                let request = Request { head: &head, connection };
                let visit = Visit { within: Some(within), ..Visit::default() };
                let reader = reader.map(SignedIn::before);
                let step = placed(self.begin_as(&request, moment, reader, visit));
                PartStep { step, rest: None, instead }
            }
            Continued::Ahead(ahead) => {
                let Ahead { head, connection, reader } = *ahead;
                let request = Request { head: &head, connection };
                let visit = Visit { ahead: true, ..Visit::default() };
                let reader = reader.map(SignedIn::before);
                let step = self.begin_as(&request, moment, reader, visit);
                PartStep { step, rest: None, instead: None }
            }
            Continued::Attempt(attempt) => {
                let need = attempt.gather();
                let step = Step::Needs(alone(Stage::Attempt(attempt)), vec![need]);
                PartStep { step, rest: None, instead: None }
            }
        })
    }

    fn go_on(&self, visit: Visit, stage: Stage, outcome: Option<Outcome>, moment: Moment) -> Step {
        match (stage, outcome) {
            (
                Stage::Preparing(_, Forwarded::Origin { safe: false, .. }),
                Some(Outcome::HandedOver(false)),
            ) => Step::Reply(self.not_yet_there(&visit)),
            (Stage::Preparing(fetch, forwarded), None | Some(Outcome::HandedOver(_))) => {
                ask_upstream(visit, fetch, forwarded)
            }
            (Stage::Accepting(accepting), None) => self.accept(visit, accepting, moment),
            (Stage::Keeping(accepting, file), Some(Outcome::Kept(kept))) => {
                self.kept(visit, &accepting, &file, kept, moment)
            }
            (Stage::Asset(asked), Some(Outcome::Value(length))) => {
                Step::Reply(assets::answer(&asked, length, &visit, &self.limits, &self.config))
            }
            (Stage::File(file), Some(outcome)) => {
                let next = file.resume(outcome, &self.context(&visit, moment));
                self.next(visit, next, Stage::File)
            }
            (Stage::Route(route), Some(outcome)) => {
                let next = route.resume(outcome, &self.context(&visit, moment));
                self.next(visit, next, Stage::Route)
            }
            (Stage::Page(page), Some(outcome)) => {
                let next = page.resume(outcome, &self.context(&visit, moment));
                self.next(visit, next, Stage::Page)
            }
            (Stage::Attempt(attempt), Some(Outcome::Gathered(gathered))) => {
                Step::Reply(attempt.reply(gathered))
            }
            (Stage::Explaining(explaining), Some(outcome)) => {
                let next = explaining.resume(outcome, &self.context(&visit, moment));
                self.next(visit, next, Stage::Explaining)
            }
            (Stage::Slice(slice), Some(outcome)) => {
                let next = slice.resume(outcome, &self.context(&visit, moment));
                self.next(visit, next, Stage::Slice)
            }
            (Stage::Purging(purging), Some(Outcome::Body(body))) => {
                self.purge(visit, &purging, body.as_deref(), moment)
            }
            (Stage::Denying(denial), None) => self.deny(visit, *denial),
            (Stage::Denied, Some(Outcome::Fetched(_))) => {
                Step::Reply(reply(204, Fields::new(), Body::Empty))
            }
            (Stage::Noting(purge), Some(Outcome::Fetched(answer))) => {
                Step::Reply(self.purged(&visit, purge, answer))
            }
            (Stage::Warming(warming), Some(Outcome::Body(body))) => {
                Step::Reply(self.warm(&visit, &warming, body.as_deref()))
            }
            (Stage::Ranking(tenant), Some(Outcome::Popular(popular))) => {
                let urls = popular.iter().filter_map(|popular| prefetch::url_of(popular, &tenant));
                let urls: Vec<_> = urls.collect();
                let document = serde_json::json!({ "urls": urls });
                Step::Reply(json(200, visit.fields(&self.limits), &document))
            }
            (Stage::Forwarding(Forwarded::Session(change)), Some(Outcome::Fetched(answer))) => {
                Step::Reply(self.session_changed(&visit, *change, answer, moment))
            }
            (Stage::Forwarding(forwarded), Some(Outcome::Fetched(answer))) => {
                Step::Reply(self.forwarded(&visit, forwarded, answer))
            }
            _ => self.confused(&visit),
        }
    }

    fn next<E>(
        &self,
        visit: Visit,
        next: Option<Next<E>>,
        stage: impl FnOnce(Box<E>) -> Stage,
    ) -> Step {
        let Some(next) = next else { return self.confused(&visit) };
        match next {
            Next::Reply(reply) => Step::Reply(reply),
            Next::Need(exchange, need) => {
                Step::Needs(Exchange { visit, stage: stage(exchange) }, vec![need])
            }
            Next::ReplyFirst(reply, exchange, need) => {
                let exchange = Exchange { visit, stage: stage(exchange) };
                Step::ReplyFirst(Box::new(reply), exchange, vec![need])
            }
        }
    }

    fn context<'a>(&'a self, visit: &'a Visit, moment: Moment) -> Context<'a> {
        let Self { config, limits, abilities, .. } = self;
        Context { config, limits, visit, moment, abilities: *abilities }
    }

    /// Runs the stages up to the first need. `caller` is known when a signature was just checked.
    fn begin_as(
        &mut self,
        request: &Request<'_>,
        moment: Moment,
        caller: Option<SignedIn>,
        mut visit: Visit,
    ) -> Step {
        let step = match self.stages(request, moment, caller, &mut visit) {
            Ok(step) => step,
            Err(problem) => Step::Reply(visit.problem(&self.limits, &problem)),
        };
        let step = if visit.caller_known { knowing_caller(step) } else { step };
        let step = matching(step, visit.matched);
        told_beside(step, visit.beside.as_ref(), None, moment)
    }

    fn stages(
        &mut self,
        request: &Request<'_>,
        moment: Moment,
        caller: Option<SignedIn>,
        visit: &mut Visit,
    ) -> Result<Step, Problem> {
        let guarded = guard(request.head)?;
        visit.is_tus = uploads::is_tus(&guarded);
        let guarded = uploads::as_meant(guarded)?;
        let client = self.trusted_proxies.client(request.connection, guarded.lines);
        visit.secure = client.secure;
        let target = self.routes.find(&guarded, &self.config);
        visit.allowed_origin = cors::allowed_origin(&guarded, &target, &self.config.cors_origins);
        let route = if let Target::Route(place) = target { Some(place) } else { None };
        let is_proven = self.is_proven(&guarded, client.address, visit, moment);
        let Client { address, country, .. } = client;
        let asking = Asking { request: &guarded, client: address, country, route, is_proven };
        let who = caller.as_ref().map_or(Who::Unknown, judged_as);
        let judged = self.firewall.judge(&asking, who, &self.routes);
        let judged = match judged.map(|verdict| judged_by(verdict, visit)).transpose() {
            Ok(judged) => judged,
            Err(refused) => return self.refused_by_rule(refused, &asking, visit, moment),
        };
        let host = self.content_host.host_of(client.host_of(&guarded));
        host.admit(&guarded, &target)?;
        if let Some(within) = &visit.within {
            self.check_include(&target, within)?;
        }
        if !target.takes(guarded.method) {
            return self.method_refused(&target, visit);
        }
        // What an admin asks for beside the answer says nothing of who asks for that.
        if visit.beside.is_none() && visit.is_asked_for() {
            match self.bearer(Bearer::Beside, &guarded, client, moment)? {
                Caller::Nobody => {}
                Caller::Known(admin) => visit.beside = Some(self.beside(&admin, moment)?),
                Caller::Unknown(unknown) => {
                    return Ok(unknown.wait(Bearer::Beside, request, visit));
                }
            }
        }
        let access = target.access(&guarded, &self.config);
        let bearer = Bearer::of(&target, &guarded, host);
        let caller = match caller {
            Some(caller) => Caller::Known(caller),
            None if access == Access::Open => Caller::Nobody,
            None => self.bearer(bearer, &guarded, client, moment)?,
        };
        let caller = match caller {
            Caller::Nobody => None,
            Caller::Known(caller) => Some(caller),
            Caller::Unknown(unknown) => return Ok(unknown.wait(bearer, request, visit)),
        };
        let counted = caller.as_ref().and_then(SignedIn::counted);
        visit.caller_known = counted.is_some();
        let identity = caller.as_ref().map(|caller| &caller.identity);
        let rule_limits = match judged {
            Some(limits) => limits,
            None => {
                let who = caller.as_ref().map_or(Who::Nobody, judged_as);
                let verdict = self.firewall.judge(&asking, who, &self.routes);
                match judged_by(verdict.unwrap_or_default(), visit) {
                    Ok(limits) => limits,
                    Err(refused) => return self.refused_by_rule(refused, &asking, visit, moment),
                }
            }
        };
        let is_asked_for = visit.is_asked_for();
        if is_asked_for && !visit.is_limited && !rule_limits.is_empty() {
            return Ok(self.take_by_rules(&rule_limits, request, caller, client.address, visit));
        }
        if let Err(problem) = self.authorize(access, caller.as_ref(), moment) {
            // Of what nobody asks for, there is nobody to whom it is denied.
            let asks = caller.as_ref().filter(|_| is_asked_for);
            let denial = Denial::of(problem, &guarded, asks, &self.config, moment)?;
            return Ok(self.denied(denial, &guarded, &target, counted, client.address, visit));
        }
        // Who asks anonymously, as a preflight does, is told what holds for most.
        let rules = match identity {
            Some(identity) => self.config.uploads.for_tenant(&identity.tenant),
            None => &self.config.uploads.default,
        };
        let rules = &rules.declared;
        let append_max_bytes = self.config.request_bytes_max;
        visit.upload_limit = UploadLimit::of(&guarded, &target, rules, append_max_bytes);
        rules::admit(&guarded, &target, rules)?;
        self.bound_body(&guarded)?;
        uploads::check_trailer(&guarded, &target, self.abilities.request_trailers)?;
        if let Some(step) = self.budget(request, &guarded, &target, caller.as_ref(), visit) {
            return Ok(step);
        }
        // What takes a place in a page comes with it, and what is fetched ahead is asked for by nobody.
        let take = if is_asked_for {
            self.limit(&guarded, &target, counted, client.address, visit)
        } else {
            Vec::new()
        };
        let connection = request.connection;
        self.answer(&guarded, target, caller, take, client, connection, visit.clone(), moment)
    }

    /// Whether the caller may do what is asked, as far as the token alone decides.
    fn authorize(
        &self,
        access: Access,
        caller: Option<&SignedIn>,
        moment: Moment,
    ) -> Result<(), Problem> {
        let scope = match access {
            Access::Open | Access::Anybody => return Ok(()),
            Access::Token(scope) => scope,
            Access::Operator => Some(Scope::Admin),
        };
        let Some(caller) = caller else {
            let detail = "Send `Authorization: Bearer` and a token.";
            return Err(Problem::new(ProblemType::TokenMissing, detail));
        };
        let identity = &caller.identity;
        if let Some(scope) = scope.filter(|scope| !identity.scopes.allow(*scope)) {
            let detail = format!("The token lacks the scope `{}`.", scope.name());
            return Err(Problem::new(ProblemType::ScopeMissing, detail));
        }
        if access != Access::Operator {
            return Ok(());
        }
        let operators = &self.config.operators;
        if !operators.is_empty() && !operators.contains(&identity.tenant) {
            let detail =
                "This is for those who operate the deployment; the token's tenant does not.";
            return Err(Problem::new(ProblemType::ScopeMissing, detail));
        }
        self.check_sign_in(caller, moment)
    }

    fn method_refused(&self, target: &Target, visit: &Visit) -> Result<Step, Problem> {
        let allowed = target.allow();
        let detail = format!("This resource takes {allowed}.");
        let problem = Problem::new(ProblemType::MethodNotAllowed, detail);
        let mut refused = visit.problem(&self.limits, &problem);
        refused.fields.extend_from_slice(format!("allow: {allowed}\r\n").as_bytes());
        Ok(Step::Reply(refused))
    }

    /// Refuses a body that the platform would not let pass.
    fn bound_body(&self, request: &Guarded<'_>) -> Result<(), Problem> {
        let announced = request.fields.get("content-length");
        let announced = announced.and_then(|length| length.parse::<u64>().ok());
        match (announced, self.config.request_bytes_max) {
            (Some(announced), Some(most)) if announced > most => {
                let detail = format!(
                    "The body of one request may have {most} bytes here. Send the file in several, \
                     as tus has it: an upload may be larger."
                );
                Err(Problem::new(ProblemType::TooLarge, detail).with("max", most))
            }
            _ => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments)] // They are what the stages before have found out.
    fn answer(
        &self,
        guarded: &Guarded<'_>,
        target: Target,
        caller: Option<SignedIn>,
        take: Vec<Need>,
        client: Client<'_>,
        connection: Connection,
        visit: Visit,
        moment: Moment,
    ) -> Result<Step, Problem> {
        let config = &self.config;
        if target == Target::Session {
            return self.session(guarded, client, caller.as_ref(), take, visit, moment);
        }
        // A page includes, and has fetched ahead, what is asked for in nobody's name.
        let reader = caller.as_ref().and_then(SignedIn::counted).cloned();
        let identity = caller.as_ref().map(|caller| &caller.identity);
        let fields = || visit.fields(&self.limits);
        let (stage, need) = match target {
            Target::Health => {
                return Ok(Step::Reply(json(
                    200,
                    fields(),
                    &serde_json::json!({ "status": "ok" }),
                )));
            }
            Target::KeySet => {
                return Ok(Step::Reply(json(200, fields(), &issuer::published(config))));
            }
            Target::Purge if !self.abilities.purges => {
                let detail = "This edge can't purge: it has no store for that.";
                return Err(Problem::new(ProblemType::NotImplemented, detail));
            }
            Target::Purge => {
                let need = Need::Body { bytes_max: purge::BODY_BYTES_MAX };
                let purging = Purging::of(guarded, client.host_of(guarded), caller.as_ref());
                (Stage::Purging(Box::new(purging)), Some(need))
            }
            Target::Warm | Target::Popular if !self.abilities.prefetches => {
                let detail = "This platform's edge fetches nothing ahead so far.";
                return Err(Problem::new(ProblemType::NotImplemented, detail));
            }
            Target::Warm => {
                let proxies = &self.trusted_proxies;
                let reader = identity.cloned();
                let warming = Warming::of(guarded, client, connection, proxies, reader);
                let need = Need::Body { bytes_max: prefetch::BODY_BYTES_MAX };
                (Stage::Warming(Box::new(warming)), Some(need))
            }
            Target::Popular => {
                let tenant = identity.map(|identity| identity.tenant.clone());
                let need = Need::Popular { most: prefetch::NAMED_MAX as u64 };
                (Stage::Ranking(tenant.unwrap_or_default()), Some(need))
            }
            Target::Explain => {
                match self.explain(guarded, client, identity.cloned(), &visit, moment)? {
                    Ok((explaining, need)) => (Stage::Explaining(Box::new(explaining)), Some(need)),
                    Err(reply) => return Ok(Step::Reply(*reply)),
                }
            }
            Target::Nothing | Target::Session => {
                let detail = "No such path is served here.";
                return Err(Problem::new(ProblemType::NotFound, detail));
            }
            Target::Pass(pass) => {
                let (keys, now_s) = (&config.link_keys, moment.unix_s());
                let given = sharing::give(&pass, guarded, client.address, keys, now_s, fields())?;
                return Ok(Step::Reply(given));
            }
            Target::Asset(name) => match assets::ask(guarded, name, &visit, &self.limits, config) {
                Some(assets::Asked::Value(asked, need)) => (Stage::Asset(asked), Some(need)),
                Some(assets::Asked::NotModified(fields)) => {
                    return Ok(Step::Reply(reply(304, fields, Body::Empty)));
                }
                None => return Err(Problem::new(ProblemType::NotFound, "No such asset.")),
            },
            Target::Uploads
            | Target::Upload(_)
            | Target::Files
            | Target::File(_)
            | Target::Links(_)
                if guarded.method == "OPTIONS" =>
            {
                return Ok(Step::Reply(self.options(guarded, &target, &visit)));
            }
            Target::File(id) if guarded.is_read() => {
                let mut ask = FileAsk::read(guarded, id, caller.map(|caller| caller.identity));
                let refused = self.read_link(guarded, &mut ask, client.address, moment);
                let host = self.content_host.host_of(client.host_of(guarded));
                ask.download |= host == HostOf::AllElse;
                let (file, need) = FileExchange::begin(ask, refused, &self.context(&visit, moment));
                (Stage::File(Box::new(file)), Some(need))
            }
            Target::Route(place) if let Some(route) = config.proxied(place) => {
                let most_ms = visit.within.as_ref().and_then(|within| within.max_wait_ms);
                let timeout_ms = config.upstream_timeout_ms;
                let timeout_ms = most_ms.map_or(timeout_ms, |most| most.min(timeout_ms));
                let claims = &*route.claims;
                let proxied = Proxied { place, client, claims, identity, timeout_ms };
                match self.cached(guarded, route, &proxied) {
                    Some(ask) => {
                        let is_asked_for = visit.within.is_none() && !visit.ahead;
                        let prefetches =
                            route.prefetch && self.abilities.prefetches && is_asked_for;
                        let field = guarded.fields.get("accept-encoding");
                        let encodes = route.compress && self.abilities.encodes;
                        let accepted = encodes.then(|| Accepted::read(field));
                        let reads = Reads { composes: ask.composes, prefetches, accepted };
                        let (exchange, need) = RouteExchange::begin(ask);
                        let stage = if reads.composes || reads.prefetches {
                            let share = visit.within.as_ref().map_or(Share::WHOLE, |on| on.share);
                            let page = Page::of(guarded, connection, reader, share);
                            Stage::Page(Box::new(PageExchange::begin(page, reads, exchange)))
                        } else {
                            Stage::Route(Box::new(exchange))
                        };
                        (stage, Some(need))
                    }
                    None => {
                        let fetch = forward::to_route(guarded, &proxied, |_| true);
                        let safe = guarded.is_read();
                        let changes = (route.cache && !safe).then(|| Changed {
                            place: Place::of(guarded, &proxied),
                            target: guarded.target.to_owned(),
                            purge: self.of_others(guarded, route, &proxied),
                        });
                        let forwarded = Forwarded::Route { safe, changes };
                        return Ok(forward(fetch, forwarded, take, visit));
                    }
                }
            }
            Target::Files if let Some(accepting) = self.accepting(guarded, caller.as_ref()) => {
                if take.is_empty() {
                    return Ok(self.accept(visit, Box::new(accepting), moment));
                }
                (Stage::Accepting(Box::new(accepting)), None)
            }
            Target::Uploads
            | Target::Upload(_)
            | Target::Files
            | Target::File(_)
            | Target::Links(_)
            | Target::Passes
            | Target::Revocations
            | Target::Relations
            | Target::Audit
            | Target::Forgotten
            | Target::Route(_) => {
                let before = self.hand_over_first(&target, guarded, identity);
                let wants_interim =
                    self.abilities.interim && interim::can_take(&client, guarded.lines);
                let fetch = self.to_origin(guarded, caller.as_ref(), wants_interim, moment);
                let forwarded = Forwarded::Origin {
                    safe: guarded.is_read(),
                    forget: self.wrong_then(&target, identity),
                    head_by_post: guarded.overridden && guarded.method == "HEAD",
                };
                let before = take.into_iter().chain(before).collect();
                return Ok(forward(fetch, forwarded, before, visit));
            }
        };
        let needs = take.into_iter().chain(need).collect();
        Ok(Step::Needs(Exchange { visit, stage }, needs))
    }

    /// What a request wants of the cache of a route, if that has a part in it.
    fn cached(&self, request: &Guarded<'_>, route: &Route, proxied: &Proxied<'_>) -> Option<Ask> {
        let Abilities { encodes, fragments, dictionaries, .. } = self.abilities;
        let compresses = route.compress && encodes;
        let is_for_all = route.auth == Auth::None && route.claims.is_empty() && !route.esi;
        let forms = Forms {
            compresses,
            composes: route.esi && fragments,
            dictionaries: route.dictionaries && compresses && dictionaries && is_for_all,
        };
        Ask::read(request, proxied, forms).filter(|_| route.cache)
    }

    /// The tag of what others may have of a target, where answers vary on who asks.
    fn of_others(
        &self,
        request: &Guarded<'_>,
        route: &Route,
        proxied: &Proxied<'_>,
    ) -> Option<String> {
        let host = proxied.client.host_of(request);
        let has_others = !route.claims.is_empty() && self.abilities.purges;
        has_others.then(|| purge::of_target(host, request.target))
    }

    /// Whether a page may include this: what another server gives, and by a reference made with no
    /// claim that its answers don't vary on.
    fn check_include(&self, target: &Target, within: &Within) -> Result<(), Problem> {
        let route = match target {
            Target::Route(place) => self.config.proxied(*place),
            _ => None,
        };
        let refused = |detail: String| Problem::new(ProblemType::NotComposable, detail);
        let Some(route) = route else {
            return Err(refused("A page includes what a route with `proxy` gives.".to_owned()));
        };
        match within.claims.iter().find(|claim| !route.claims.contains(claim)) {
            Some(claim) => {
                let (path, name) = (&route.path, claim.name());
                Err(refused(format!("The route {path} does not have \"{name}\" in `claims`.")))
            }
            None => Ok(()),
        }
    }

    /// Reads a signed link, if the request came by one. Returns why it grants nothing.
    fn read_link(
        &self,
        request: &Guarded<'_>,
        ask: &mut FileAsk,
        client: IpAddr,
        moment: Moment,
    ) -> Option<LinkRefusal> {
        let query = request.query.unwrap_or_default();
        let password = password(request);
        let holder = Holder { address: client, password: password.as_deref() };
        let link = Link::read(ask.id, query, &self.config.link_keys, moment.unix_s(), holder);
        match link? {
            Ok(link) => {
                ask.link_ms = Some(link.issued_ms.unwrap_or_default());
                ask.download |= link.download;
                // Whoever asks for the head alone is told, and given nothing.
                let is_use = link.uses.is_some() && request.method == "GET";
                ask.use_of = link::mark(query).filter(|_| is_use).map(str::to_owned);
                None
            }
            Err(refusal) => Some(refusal),
        }
    }

    /// OPTIONS: what tus clients and browsers ask before anything else.
    fn options(&self, request: &Guarded<'_>, target: &Target, visit: &Visit) -> Reply {
        let mut fields = visit.fields(&self.limits);
        if visit.allowed_origin.is_some() && cors::is_preflight(request) {
            cors::describe_preflight(&mut fields);
        }
        fields.push("allow", target.allow());
        if matches!(target, Target::Uploads | Target::Upload(_)) {
            let size_max_bytes = self.config.uploads.default.declared.size_max_bytes;
            uploads::describe(self.abilities.request_trailers, size_max_bytes, &mut fields);
        }
        match target {
            Target::Uploads | Target::Upload(_) => {
                fields
                    .push_args("accept-patch", format_args!("{}, {PARTIAL_TYPE}", tus::PATCH_TYPE));
            }
            // What is posted there can be resumed (draft-ietf-httpbis-resumable-upload, section
            // 4.1.4).
            Target::Files => fields.push("accept-patch", PARTIAL_TYPE),
            _ => {}
        }
        reply(204, fields, Body::Empty)
    }

    /// The driver broke the contract: it resumed with outcomes of other needs.
    fn confused(&self, visit: &Visit) -> Step {
        let detail = "The edge's driver answered another question than was asked.";
        Step::Reply(visit.problem(&self.limits, &Problem::new(ProblemType::Internal, detail)))
    }
}

/// The same step with another reply, if it has one.
fn map_reply(step: Step, change: impl FnOnce(Reply) -> Reply) -> Step {
    match step {
        Step::Reply(reply) => Step::Reply(change(reply)),
        Step::ReplyFirst(reply, exchange, needs) => {
            Step::ReplyFirst(Box::new(change(*reply)), exchange, needs)
        }
        Step::Needs(..) => step,
    }
}

/// A step whose reply, if it is one, says which rules the request matched.
fn matching(step: Step, matched: Matched) -> Step {
    map_reply(step, |reply| match reply.matched.rules.is_empty() {
        true => Reply { matched, ..reply },
        false => reply,
    })
}

/// A step whose reply, if it is one, says that who asks is known.
fn knowing_caller(step: Step) -> Step {
    map_reply(step, |reply| Reply { caller_known: true, ..reply })
}

/// A step of an exchange whose reply takes a place in a page.
fn placed(step: Step) -> Step {
    map_reply(step, in_place)
}

/// The same step, whose reply tells an admin beside the answer.
fn told_beside(
    step: Step,
    beside: Option<&Beside>,
    subject: Option<&Subject>,
    moment: Moment,
) -> Step {
    let Some(beside) = beside else { return step };
    map_reply(step, |mut reply| {
        beside.tell(&mut reply, subject, moment.unix_ms);
        reply
    })
}

#[cfg(test)]
mod tests;

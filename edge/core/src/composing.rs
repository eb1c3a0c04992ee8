//! Composed pages: what a route gives is a template, and other routes' answers take places in it.
//!
//! The page of a route that says `esi = true` is asked for, looked up and stored as any other. Only
//! then, instead of being sent, it is read and taken apart ([`crate::esi`]). The body's plan has
//! what is between the includes; each of these is an exchange of its own, in the name of who asks,
//! cached by its own rules. So a page is sent from its first byte on while its includes are fetched,
//! and what is composed is stored nowhere.
//!
//! In what is no template, it is looked for what is wanted next ([`crate::prefetch`]).

use outport_wire::identity::Identity;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use crate::answer::reply;
use crate::cached::{Context, Next};
use crate::cached_route::{self, RouteExchange};
use crate::coding::Accepted;
use crate::config::Claim;
use crate::esi::{self, Include, Item, Reference};
use crate::explain::Subject;
use crate::guard::Guarded;
use crate::head::{FieldLines, Fields, is_of_type};
use crate::prefetch::{self, Ahead};
use crate::slices::Sliced;
use crate::step::{
    Body, Coding, Connection, Content, Ended, Extent, Need, Outcome, Part, Reply, StoreBody,
};

/// The largest template, in bytes.
pub(crate) const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// The most that the includes of an attempt may have together, in bytes.
const ATTEMPT_BYTES_MAX: u64 = 1 << 20;
/// The most includes of a page, those of its includes among them.
const INCLUDES_MAX: u16 = 64;
/// How deep includes may be in each other.
const DEPTH_MAX: u8 = 3;

/// The media types that a template may have.
const TEMPLATES: [&str; 4] = ["text/html", "application/xhtml+xml", "text/xml", "application/xml"];

/// What is said of a template and does not hold for what is made of it.
const OF_THE_TEMPLATE: [&str; 12] = [
    "accept-ranges",
    "age",
    "cache-control",
    "content-digest",
    "content-length",
    "content-md5",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "repr-digest",
    "surrogate-control",
];

/// What a client asks of the page itself, and not of what takes places in it.
const OF_THE_PAGE: [&str; 14] = [
    "accept-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "trailer",
    "transfer-encoding",
    "x-http-method-override",
];

/// What a body goes on with, as the driver holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Continued {
    /// Slices of a file.
    Slices(Sliced),
    /// Something that a template includes.
    Included(Box<Included>),
    /// What a template attempts.
    Attempt(Box<Attempt>),
    /// What is fetched ahead.
    Ahead(Box<Ahead>),
}

/// For whom a page is composed, and how much more may be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    target: String,
    host: String,
    /// The field lines of the client's request that go with every include.
    lines: Vec<u8>,
    connection: Connection,
    reader: Option<Identity>,
    share: Share,
}

/// What an include may have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// How deep more includes may be in each other.
    depth: u8,
    /// How many there may be.
    includes: u16,
}

impl Share {
    /// That of a page.
    pub(crate) const WHOLE: Self = Self { depth: DEPTH_MAX, includes: INCLUDES_MAX };
}

/// An include that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Included {
    page: Page,
    src: Reference,
    alt: Option<Reference>,
    continues: bool,
    max_wait_ms: Option<u64>,
}

/// What the exchange of an include knows beside its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Within {
    pub(crate) share: Share,
    /// The claims that its reference was made with.
    pub(crate) claims: Vec<Claim>,
    pub(crate) max_wait_ms: Option<u64>,
}

/// What a template attempts, and what it has otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    page: Page,
    attempt: Vec<Item>,
    except: Vec<Item>,
}

/// The request of an include.
pub(crate) struct Asked {
    pub(crate) head: Vec<u8>,
    pub(crate) connection: Connection,
    pub(crate) reader: Option<Identity>,
    pub(crate) within: Within,
}

impl Continued {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// `None` where nothing comes, or it is none of this version's.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl Page {
    /// The page that this request asks for.
    pub(crate) fn of(
        request: &Guarded<'_>,
        connection: Connection,
        reader: Option<Identity>,
        share: Share,
    ) -> Self {
        let mut lines = Fields::new();
        for (name, value) in request.lines.iter() {
            if !OF_THE_PAGE.contains(&name) {
                lines.push(name, value);
            }
        }
        Self {
            target: request.target.to_owned(),
            host: request.fields.get("host").unwrap_or_default().to_owned(),
            lines: lines.into_bytes(),
            connection,
            reader,
            share,
        }
    }

    /// The request for a reference of the page.
    fn request(&self, reference: &str) -> Vec<u8> {
        let mut head = Fields::for_request("GET", &resolve(reference, &self.target));
        head.push("host", &self.host);
        [head.into_bytes(), self.lines.clone()].concat()
    }

    /// What the driver holds for a reference that is fetched ahead.
    fn ahead(&self, reference: &str) -> Vec<u8> {
        let (connection, reader) = (self.connection, self.reader.clone());
        let ahead = Ahead { head: self.request(reference), connection, reader };
        Continued::Ahead(Box::new(ahead)).to_bytes()
    }

    /// What each of so many includes may have in it.
    fn share_of(&self, includes: u16) -> Share {
        let left = self.share.includes.saturating_sub(includes);
        Share { depth: self.share.depth.saturating_sub(1), includes: left / includes.max(1) }
    }

    /// The plan of these pieces.
    fn parts(&self, items: Vec<Item>) -> Vec<Part> {
        let part = |item| match item {
            Item::Text(text) => Part::Bytes(text),
            item => Part::Included(self.token(item).unwrap_or_default()),
        };
        items.into_iter().map(part).collect()
    }

    /// What the driver holds for a piece that is not text.
    fn token(&self, item: Item) -> Option<Vec<u8>> {
        let page = self.clone();
        let continued = match item {
            Item::Text(_) => return None,
            Item::Include(include) => {
                let Include { src, alt, continues, max_wait_ms } = include;
                Continued::Included(Box::new(Included { page, src, alt, continues, max_wait_ms }))
            }
            Item::Try { attempt, except } => {
                Continued::Attempt(Box::new(Attempt { page, attempt, except }))
            }
        };
        Some(continued.to_bytes())
    }

    /// The parts of the page that this template makes.
    fn compose(mut self, template: &[u8]) -> Result<Vec<Part>, Problem> {
        let items = esi::parse(template, self.reader.as_ref()).map_err(|wrong| {
            not_composable(format!("The template is wrong at byte {}: {}.", wrong.at, wrong.what))
                .with("at", wrong.at as u64)
        })?;
        let includes = esi::includes(&items);
        let left = self.share.includes;
        if includes > usize::from(left) || includes > 0 && self.share.depth == 0 {
            return Err(not_composable(format!(
                "The template has {includes} includes. A page may have {INCLUDES_MAX} in all, \
                 {DEPTH_MAX} deep; {left} are left here."
            )));
        }
        self.share = self.share_of(u16::try_from(includes).unwrap_or(u16::MAX));
        Ok(self.parts(items))
    }
}

impl Included {
    /// What takes its place if it can't be had.
    pub(crate) fn instead(&self) -> Option<Vec<u8>> {
        match &self.alt {
            Some(alt) => {
                let alt = Self { src: alt.clone(), alt: None, ..self.clone() };
                Some(Continued::Included(Box::new(alt)).to_bytes())
            }
            None => self.continues.then(Vec::new),
        }
    }

    /// What it asks for.
    pub(crate) fn ask(self) -> Asked {
        let Self { page, src, max_wait_ms, .. } = self;
        let head = page.request(&src.text);
        let Page { connection, reader, share, .. } = page;
        let within = Within { share, claims: src.claims, max_wait_ms };
        Asked { head, connection, reader, within }
    }
}

impl Attempt {
    /// Its parts, each of which must be had whole.
    pub(crate) fn gather(&self) -> Need {
        let parts = self.attempt.iter().filter_map(|item| self.page.token(item.clone())).collect();
        Need::Gather { parts, bytes_max: ATTEMPT_BYTES_MAX }
    }

    /// What was attempted, if it could be had.
    pub(crate) fn reply(self, gathered: Option<Vec<Vec<u8>>>) -> Reply {
        let Self { page, attempt, except } = self;
        let parts = match gathered {
            Some(bodies) => {
                let mut bodies = bodies.into_iter();
                let body = |item| match item {
                    Item::Text(text) => text,
                    Item::Include(_) | Item::Try { .. } => bodies.next().unwrap_or_default(),
                };
                attempt.into_iter().map(body).map(Part::Bytes).collect()
            }
            None => page.parts(except),
        };
        reply(200, Fields::new(), Body::Composed(parts))
    }
}

/// A reference of a template, resolved to a path of the same host (RFC 3986, section 5.2), dot
/// segments aside: they are refused wherever they come from.
fn resolve(reference: &str, target: &str) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    match reference {
        _ if reference.starts_with('/') => reference.to_owned(),
        _ if reference.starts_with('?') => format!("{path}{reference}"),
        _ => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{reference}")
        }
    }
}

/// The reply of an include's exchange, as it takes its place: with status 200, or not at all.
pub(crate) fn in_place(sent: Reply) -> Reply {
    let is_coded = FieldLines::new(&sent.fields).get("content-encoding").is_some();
    let has_come = (200..300).contains(&sent.status) && sent.status != 206 && !is_coded;
    let status = match sent.status {
        _ if has_come => 200,
        200 => 502,
        status => status,
    };
    Reply { status, fields: Vec::new(), ..sent }
}

/// Whether an answer with these fields is a template.
pub(crate) fn is_template(fields: FieldLines<'_>) -> bool {
    is_of_type(fields, &TEMPLATES)
}

/// What is looked for in a route's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reads {
    /// Templates.
    pub(crate) composes: bool,
    /// What is wanted next.
    pub(crate) prefetches: bool,
    /// What the reader takes, where pages are encoded.
    pub(crate) accepted: Option<Accepted>,
}

/// An exchange with a route whose answers are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageExchange {
    page: Page,
    reads: Reads,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The route is asked.
    Asking(Box<RouteExchange>),
    /// What would have been sent is read; and what goes on behind the client's back then.
    Reading { reply: Box<Reply>, behind: Option<(Box<RouteExchange>, Need)> },
    /// The client has its page.
    Behind(Box<RouteExchange>),
    /// Nothing more comes.
    Over,
}

impl PageExchange {
    /// Begins by asking the route.
    pub(crate) fn begin(page: Page, reads: Reads, route: RouteExchange) -> Self {
        Self { page, reads, stage: Stage::Asking(Box::new(route)) }
    }

    /// What it is about, while the route is asked.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match &self.stage {
            Stage::Asking(route) | Stage::Behind(route) => Some(route.subject()),
            Stage::Reading { .. } | Stage::Over => None,
        }
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(mut self, outcome: Outcome, context: &Context<'_>) -> Option<Next<Self>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        Some(match (stage, outcome) {
            (Stage::Asking(route), outcome) => match route.resume(outcome, context)? {
                Next::Need(route, need) => self.need(Stage::Asking(route), need),
                Next::Reply(reply) => self.answered(reply, None, context),
                Next::ReplyFirst(reply, route, need) => {
                    self.answered(reply, Some((route, need)), context)
                }
            },
            (Stage::Reading { reply, behind }, Outcome::Content(content)) => {
                let is_page = self.is_template(&reply);
                let reply = match content {
                    Some(template) if is_page => self.composed(*reply, &template, context),
                    Some(playlist) => self.followed(*reply, &prefetch::of_playlist(&playlist)),
                    None => {
                        let problem = not_composable(format!(
                            "What is read before it is sent broke off, or has more than {TEMPLATE_BYTES_MAX} \
                             bytes."
                        ));
                        cached_route::none_of_it(refused(*reply, &problem, context), context)
                    }
                };
                self.and_then(reply, behind)
            }
            (Stage::Behind(route), outcome) => match route.resume(outcome, context)? {
                Next::Reply(reply) | Next::ReplyFirst(reply, ..) => Next::Reply(reply),
                Next::Need(route, need) => self.need(Stage::Behind(route), need),
            },
            _ => return None,
        })
    }

    fn need(mut self, stage: Stage, need: Need) -> Next<Self> {
        self.stage = stage;
        Next::Need(Box::new(self), need)
    }

    fn is_template(&self, reply: &Reply) -> bool {
        self.reads.composes && is_template(FieldLines::new(&reply.fields))
    }

    /// The route has answered. If that is a template or names what is wanted next, it is read.
    fn answered(
        self,
        mut reply: Reply,
        behind: Option<(Box<RouteExchange>, Need)>,
        context: &Context<'_>,
    ) -> Next<Self> {
        if !self.is_template(&reply) {
            return self.no_template(reply, behind);
        }
        let Some(of) = content_of(&reply) else {
            // There is nothing to be read, as to HEAD.
            reply.fields = self.fields(&reply.fields);
            return self.and_then(reply, behind);
        };
        if let Some(problem) = unreadable(FieldLines::new(&reply.fields)) {
            return self.and_then(refused(reply, &problem, context), behind);
        }
        self.read(of, reply, behind)
    }

    /// What is wanted next is looked for in what has just come.
    fn no_template(self, reply: Reply, behind: Option<(Box<RouteExchange>, Need)>) -> Next<Self> {
        let is_new = reply.store.as_ref().is_some_and(|store| {
            matches!(store.body, StoreBody::Upstream(Extent::Exactly(..=TEMPLATE_BYTES_MAX)))
        });
        if !is_new || !self.reads.prefetches {
            return self.and_then(reply, behind);
        }
        let fields = FieldLines::new(&reply.fields);
        let is_read = prefetch::is_playlist(fields) && fields.get("content-encoding").is_none();
        if is_read && let Some(of) = content_of(&reply) {
            return self.read(of, reply, behind);
        }
        let links = prefetch::of_links(fields);
        let links: Vec<_> = links.iter().map(String::as_str).collect();
        let reply = self.followed(reply, &links);
        self.and_then(reply, behind)
    }

    fn composed(&self, reply: Reply, template: &[u8], context: &Context<'_>) -> Reply {
        match self.page.clone().compose(template) {
            Ok(parts) => {
                let body = match self.coding() {
                    Some(coding) => Body::ComposedEncoding(coding, parts),
                    None => Body::Composed(parts),
                };
                Reply { fields: self.fields(&reply.fields), body, ..reply }
            }
            Err(problem) => refused(reply, &problem, context),
        }
    }

    /// The coding that the page is sent in.
    fn coding(&self) -> Option<Coding> {
        self.reads.accepted?.choose(&[]).coding()
    }

    /// The fields of a page. It is made for one reader at one time.
    fn fields(&self, template: &[u8]) -> Vec<u8> {
        let mut fields = Fields::new();
        for (name, value) in FieldLines::new(template).iter() {
            if !OF_THE_TEMPLATE.contains(&name) {
                fields.push(name, value);
            }
        }
        fields.push("cache-control", "private, no-cache");
        if self.reads.accepted.is_some() {
            fields.push("vary", "accept-encoding");
        }
        if let Some(coding) = self.coding() {
            fields.push("content-encoding", coding.name());
        }
        fields.into_bytes()
    }

    fn read(
        self,
        of: Content,
        reply: Reply,
        behind: Option<(Box<RouteExchange>, Need)>,
    ) -> Next<Self> {
        let need = Need::Content { of, bytes_max: TEMPLATE_BYTES_MAX };
        self.need(Stage::Reading { reply: Box::new(reply), behind }, need)
    }

    /// The reply, after which these are fetched ahead.
    fn followed(&self, reply: Reply, references: &[&str]) -> Reply {
        let prefetch = references.iter().map(|reference| self.page.ahead(reference)).collect();
        Reply { prefetch, ..reply }
    }

    fn and_then(mut self, reply: Reply, behind: Option<(Box<RouteExchange>, Need)>) -> Next<Self> {
        match behind {
            None => Next::Reply(reply),
            Some((route, need)) => {
                self.stage = Stage::Behind(route);
                Next::ReplyFirst(reply, Box::new(self), need)
            }
        }
    }
}

/// Where the content is of what a reply is about to send.
fn content_of(reply: &Reply) -> Option<Content> {
    match (&reply.body, &reply.store) {
        (Body::Upstream, _) => Some(Content::Upstream),
        (Body::Stored(_) | Body::Encoding(_), Some(store))
            if matches!(store.body, StoreBody::Upstream(_)) =>
        {
            Some(Content::Upstream)
        }
        (Body::Stored(_), _) => Some(Content::Stored),
        _ => None,
    }
}

/// Why a template can't be read.
fn unreadable(fields: FieldLines<'_>) -> Option<Problem> {
    if let Some(coding) = fields.get("content-encoding") {
        return Some(not_composable(format!(
            "The template came in the coding {coding}, though it was asked for without one."
        )));
    }
    let length = fields.get("content-length").and_then(|length| length.parse().ok());
    let length: u64 = length.filter(|length| *length > TEMPLATE_BYTES_MAX)?;
    Some(not_composable(format!(
        "The template has {length} bytes; it may have {TEMPLATE_BYTES_MAX}."
    )))
}

/// What the client is told instead; what is stored is stored all the same.
fn refused(reply: Reply, problem: &Problem, context: &Context<'_>) -> Reply {
    let refused = context.visit.problem(context.limits, problem);
    Reply { store: reply.store, forget: reply.forget, ended: Ended::Origin, ..refused }
}

fn not_composable(detail: String) -> Problem {
    Problem::new(ProblemType::NotComposable, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (reference, resolved) in [
            ("/b?c#d", "/b?c"),
            ("b", "/a/b"),
            ("?c=d", "/a/page?c=d"),
            ("", "/a/"),
            ("http://x/b", "/a/http://x/b"),
        ] {
            assert_eq!(resolve(reference, "/a/page?q"), resolved, "{reference}");
        }
    }

    #[test]
    fn all_includes_of_a_page_are_counted() {
        let page = |share| Page {
            target: "/".to_owned(),
            host: "x".to_owned(),
            lines: Vec::new(),
            connection: Connection::new([127, 0, 0, 1].into(), false),
            reader: None,
            share,
        };
        // However they are shared out, there are never more in all.
        fn most(page: &dyn Fn(Share) -> Page, share: Share) -> u64 {
            if share.depth == 0 {
                return 0;
            }
            let of = |includes: u16| {
                let each = page(share).share_of(includes);
                u64::from(includes) * (1 + most(page, each))
            };
            (0..=share.includes).map(of).max().unwrap_or_default()
        }
        assert_eq!(most(&page, Share::WHOLE), u64::from(INCLUDES_MAX));
        let many = "<esi:include src='/a'/>".repeat(usize::from(INCLUDES_MAX) + 1);
        let refused = page(Share::WHOLE).compose(many.as_bytes()).unwrap_err();
        assert!(refused.detail().contains("65 includes"), "{}", refused.detail());
        let deep = Share { depth: 0, ..Share::WHOLE };
        assert!(page(deep).compose(b"<esi:include src='/a'/>").is_err());
        assert!(page(deep).compose(b"a").is_ok());
    }
}

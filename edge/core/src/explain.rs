//! What is stored for a request, why, and what the next one would come to: as the answer to
//! `GET /explain?url=…`, or beside any answer, for an admin whose token came in `Outport-Explain`.
//!
//! The fields of the question are those of the request that is explained, but for its token. Nothing
//! is fetched to explain it, and nothing that is stored changes. Of files, an admin is told those of
//! their own tenant.

use std::fmt::Write as _;

use outport_wire::id::FileId;
use outport_wire::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer;
use crate::cached::{Context, Next};
use crate::caching::ask::Ask;
use crate::caching::directives::{CACHE_CONTROL, Directives};
use crate::caching::fields::Lines;
use crate::caching::freshness::Freshness;
use crate::caching::stored_response::{Entry, NotStorable, StoredResponse};
use crate::caching::vary::Variants;
use crate::head::FieldLines;
use crate::step::{Coding, Form, Looked, Need, Outcome, Reply, StoreBody};
use crate::stored::{Stored, StoredFile, file_key};

/// In a request, `Bearer` and the token of an admin who wants to be told beside the answer; in the
/// answer, what they are told, as JSON.
pub(crate) const FIELD: &str = "outport-explain";

/// What a question for an URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// Scheme and authority, where they are said.
    pub(crate) origin: Option<(bool, &'a str)>,
    /// Path and query.
    pub(crate) target: &'a str,
}

impl<'a> Named<'a> {
    /// Reads `https://host/path?query`, or path and query alone.
    pub(crate) fn read(url: &'a str) -> Result<Self, Problem> {
        let whole = url.split('#').next().unwrap_or_default();
        let absolute = [("http://", false), ("https://", true)]
            .into_iter()
            .find_map(|(scheme, secure)| Some((whole.strip_prefix(scheme)?, secure)));
        let visible = whole.bytes().all(|byte| byte.is_ascii_graphic());
        match absolute {
            _ if !visible => {}
            Some((rest, secure)) => {
                let (authority, target) = rest
                    .split_at_checked(rest.find('/').unwrap_or(rest.len()))
                    .unwrap_or((rest, ""));
                let target = if target.is_empty() { "/" } else { target };
                if !authority.is_empty() && !authority.contains('?') {
                    return Ok(Self { origin: Some((secure, authority)), target });
                }
            }
            None if whole.starts_with('/') && !whole.starts_with("//") => {
                return Ok(Self { origin: None, target: whole });
            }
            None => {}
        }
        let detail = format!(
            "\"{url}\" is no URL that can be looked up: it takes https://host/path?query, or \
             /path?query for this host, percent-encoded."
        );
        Err(Problem::new(ProblemType::InvalidField, detail))
    }
}

/// An exchange that explains, between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explaining {
    url: String,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Of {
    /// For an admin of this tenant.
    File(FileId, String),
    /// Of this pattern. The variants are those that were found under the URI's key.
    Route { ask: Box<Ask>, pattern: String, key: String, variants: Option<Variants> },
}

impl Explaining {
    /// Begins to explain a file to an admin of this tenant.
    pub(crate) fn file(url: &str, id: FileId, tenant: &str) -> (Self, Need) {
        let explaining = Self { url: url.to_owned(), of: Of::File(id, tenant.to_owned()) };
        (explaining, Need::Lookup { key: file_key(id) })
    }

    /// Begins to explain what a cached route gives.
    pub(crate) fn route(url: &str, pattern: &str, ask: Ask) -> (Self, Need) {
        let key = ask.key.clone();
        let need = Need::Lookup { key: key.clone() };
        let (ask, pattern) = (Box::new(ask), pattern.to_owned());
        let of = Of::Route { ask, pattern, key, variants: None };
        (Self { url: url.to_owned(), of }, need)
    }

    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(self, outcome: Outcome, context: &Context<'_>) -> Option<Next<Self>> {
        let Outcome::Looked(looked) = outcome else { return None };
        let now_ms = context.moment.unix_ms;
        let Self { url, of } = self;
        let mut told = Told::new(&url);
        match of {
            Of::File(id, tenant) => {
                told.say("resource", format!("file {id}"));
                told.say("key", file_key(id));
                told.of_file(&looked, &tenant, now_ms);
            }
            Of::Route { ask, pattern, key, variants } => {
                if let (Some(found), None) = (variants_of(&looked), &variants) {
                    let key = found.key(&ask.key, &ask.selecting());
                    let need = Need::Lookup { key: key.clone() };
                    let of = Of::Route { ask, pattern, key, variants: Some(found) };
                    return Some(Next::Need(Box::new(Self { url, of }), need));
                }
                told.say("resource", format!("route {pattern}"));
                told.say("key", key);
                if let Some(variants) = &variants {
                    told.say("varies_on", variants.names());
                }
                told.of_route(&ask, &looked, variants.is_some(), now_ms);
            }
        }
        Some(Next::Reply(told.reply(context)))
    }
}

/// What the exchange of an answer is about, where the cache has a part in it.
pub(crate) enum Subject {
    File(FileId),
    /// A cached route's, and the key that was looked up last.
    Route {
        ask: Box<Ask>,
        key: String,
    },
}

/// What an admin is told beside the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    tenant: String,
    /// Of what was found, as JSON.
    found: Option<String>,
}

impl Beside {
    /// For an admin of this tenant.
    pub(crate) fn new(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), found: None }
    }

    /// Notes what was found.
    pub(crate) fn found(&mut self, subject: &Subject, looked: &Looked, now_ms: u64) {
        self.found = Some(self.of(subject, None, looked, now_ms).json());
    }

    /// Tells what will be there once the reply is carried out: what it stores, or what was found.
    pub(crate) fn tell(&self, reply: &mut Reply, subject: Option<&Subject>, now_ms: u64) {
        let told = match (&reply.store, subject, &self.found) {
            (Some(store), Some(subject), _) => {
                let looked = Looked::Found {
                    head: store.head.clone(),
                    body: store.body != StoreBody::None,
                    forms: Vec::new(),
                    purged: false,
                    lead: false,
                    collapsed: false,
                };
                self.of(subject, Some(&store.key), &looked, now_ms).json()
            }
            (_, _, Some(found)) => found.clone(),
            _ => {
                let mut told = Told(Map::new());
                told.uncached("The cache had no part in this answer.");
                told.json()
            }
        };
        reply.fields.extend_from_slice(format!("{FIELD}: {told}\r\n").as_bytes());
    }

    fn of(&self, subject: &Subject, key: Option<&str>, looked: &Looked, now_ms: u64) -> Told {
        let mut told = Told(Map::new());
        match subject {
            Subject::File(id) => {
                told.say("key", file_key(*id));
                told.of_file(looked, &self.tenant, now_ms);
            }
            Subject::Route { ask, key: last } => {
                let key = key.unwrap_or(last);
                told.say("key", key);
                told.of_route(ask, looked, *key != ask.key, now_ms);
            }
        }
        told
    }
}

/// The answer where no cache has a part in it, and why.
pub(crate) fn uncached(url: &str, because: &str, context: &Context<'_>) -> Reply {
    let mut told = Told::new(url);
    told.uncached(because);
    told.reply(context)
}

fn variants_of(looked: &Looked) -> Option<Variants> {
    let Looked::Found { head, .. } = looked else { return None };
    match Entry::decode(head)? {
        Entry::Variants(variants) => Some(variants),
        _ => None,
    }
}

/// What is told.
struct Told(Map<String, Value>);

impl Told {
    fn new(url: &str) -> Self {
        let mut told = Self(Map::new());
        told.say("url", url);
        told
    }

    fn say(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// What the next request comes to, and why.
    fn next(&mut self, next: &str, because: impl Into<String>) {
        self.say("next", next);
        self.say("because", because.into());
    }

    fn uncached(&mut self, because: &str) {
        self.say("stored", false);
        self.next("pass", because);
    }

    /// As the value of a field: what is not ASCII is escaped.
    fn json(self) -> String {
        let json = Value::Object(self.0).to_string();
        let mut units = [0; 2];
        json.chars().fold(String::with_capacity(json.len()), |mut escaped, char| {
            match char.is_ascii() {
                true => escaped.push(char),
                false => {
                    for unit in char.encode_utf16(&mut units) {
                        // Writing to a String never fails.
                        let _ = write!(escaped, "\\u{unit:04x}");
                    }
                }
            }
            escaped
        })
    }

    fn reply(self, context: &Context<'_>) -> Reply {
        answer::json(200, context.visit.fields(context.limits), &Value::Object(self.0))
    }

    fn of_file(&mut self, looked: &Looked, tenant: &str, now_ms: u64) {
        let Looked::Found { head, body, forms, purged, .. } = looked else { return self.nothing() };
        match Stored::decode(head) {
            Some(Stored::File(file)) if file.tenant != tenant => return self.nothing(),
            Some(Stored::File(file)) => self.stored_file(&file, *body, *purged, now_ms),
            Some(Stored::Failed { status, .. }) => self.failed(status),
            // That there is no such file is told no more than that there is one of another tenant: the
            // two would be told apart.
            Some(Stored::Missing { .. } | Stored::Slice) | None => return self.nothing(),
        }
        self.forms(forms);
    }

    fn stored_file(&mut self, file: &StoredFile<'_>, body: bool, purged: bool, now_ms: u64) {
        let freshness = &file.freshness;
        self.say("stored", true);
        self.say("contents", if body { "whole" } else { "in slices, or passed" });
        self.say("size", file.length);
        self.say("visibility", file.visibility.name());
        self.times(Times {
            age_ms: now_ms.saturating_sub(freshness.since_ms),
            lifetime_ms: freshness.lifetime_ms,
            while_revalidate_ms: freshness.while_revalidate_ms,
            if_error_ms: freshness.if_error_ms,
        });
        let because = "The contents of a file never change; its record, which says who may see it, \
                       is asked for again after its lifetime.";
        let next = match () {
            () if purged => "validation",
            () if freshness.left_ms(now_ms) > 0 => "hit",
            () => "validation",
        };
        self.next(next, if purged { "It was purged softly." } else { because });
    }

    fn of_route(&mut self, ask: &Ask, looked: &Looked, is_variant: bool, now_ms: u64) {
        let Looked::Found { head, forms, purged, .. } = looked else {
            if is_variant {
                self.say("stored", false);
                self.next(
                    "miss",
                    "Answers to this URL are stored, and none of them is for a request with these \
                     values of the fields that it varies on.",
                );
                return;
            }
            return self.nothing();
        };
        match Entry::decode(head) {
            Some(Entry::Response(stored)) => {
                self.stored_response(ask, &stored, *purged, now_ms);
                self.forms(forms);
            }
            Some(Entry::NotStored { until_ms, why }) if now_ms < until_ms => {
                self.say("stored", false);
                self.say("known_for_s", (until_ms - now_ms).div_ceil(1000));
                self.say("not_stored", why.name());
                self.say("would_help", why.help());
                self.next("pass", format!("The last answer was not stored: {}.", why.sentence()));
            }
            Some(Entry::Failed { status, .. }) => self.failed(status),
            Some(Entry::Variants(_) | Entry::NotStored { .. }) | None => self.nothing(),
        }
    }

    fn stored_response(
        &mut self,
        ask: &Ask,
        stored: &StoredResponse<'_>,
        purged: bool,
        now_ms: u64,
    ) {
        let freshness = match purged {
            true => stored.freshness.made_stale(now_ms),
            false => stored.freshness,
        };
        self.say("stored", true);
        self.say("status", stored.status);
        let tags = stored.tags();
        let tags = tags.iter().map(|tag| tag.strip_prefix("tag ").unwrap_or(tag));
        self.say("tags", tags.collect::<Vec<_>>());
        self.times(Times {
            age_ms: freshness.age_ms(now_ms),
            lifetime_ms: freshness.lifetime_ms,
            while_revalidate_ms: freshness.while_revalidate_ms,
            if_error_ms: freshness.if_error_ms,
        });
        self.say("lifetime_from", source(stored.fields()));
        let dictionaries = ask.dictionaries.as_ref();
        if let Some(pattern) = dictionaries.and_then(|own| own.pattern(stored)) {
            self.say("dictionary_for", pattern.text());
        }
        let (next, because) = next_of(ask, &freshness, purged, now_ms);
        self.next(next, because);
    }

    fn times(&mut self, times: Times) {
        let left = i64::try_from(times.lifetime_ms).unwrap_or(i64::MAX)
            - i64::try_from(times.age_ms).unwrap_or(i64::MAX);
        self.say("age_s", times.age_ms / 1000);
        self.say("lifetime_s", times.lifetime_ms / 1000);
        self.say("fresh_for_s", left.div_euclid(1000));
        self.say("stale_while_revalidate_s", times.while_revalidate_ms / 1000);
        self.say("stale_if_error_s", times.if_error_ms / 1000);
    }

    fn forms(&mut self, forms: &[Form]) {
        let forms: Map<_, _> =
            forms.iter().map(|form| (named(form.coding), json!(form.bytes))).collect();
        if !forms.is_empty() {
            self.say("forms", forms);
        }
    }

    fn nothing(&mut self) {
        self.say("stored", false);
        self.next(
            "miss",
            "Nothing is stored under this key: nobody has asked, it was purged or \
                           changed, or others took its place.",
        );
    }

    fn failed(&mut self, status: u16) {
        self.say("stored", false);
        self.next(
            "refusal",
            format!(
                "The last request failed a moment ago, which all are told for a second: {status}."
            ),
        );
    }
}

/// What is told of time.
struct Times {
    age_ms: u64,
    lifetime_ms: u64,
    while_revalidate_ms: u64,
    if_error_ms: u64,
}

/// A coding's name, and how the digest of its dictionary begins.
fn named(coding: Coding) -> String {
    let name = coding.name();
    match coding.dictionary() {
        None => name.to_owned(),
        Some([a, b, c, d, ..]) => format!("{name} {a:02x}{b:02x}{c:02x}{d:02x}"),
    }
}

/// What a request comes to that finds this.
fn next_of(
    ask: &Ask,
    freshness: &Freshness,
    purged: bool,
    now_ms: u64,
) -> (&'static str, &'static str) {
    match () {
        () if ask.insists(freshness, now_ms) => {
            ("validation", "It is fresh, but the request's own `Cache-Control` does not take it.")
        }
        () if ask.takes(freshness, now_ms) => {
            ("hit", "It is fresh, or as stale as the request takes.")
        }
        () if freshness.while_revalidating(now_ms) => {
            ("stale hit", "It is stale, and sent while it is validated behind the client's back.")
        }
        () if purged => ("validation", "It was purged softly."),
        () if freshness.always_validates => {
            ("validation", "It says `no-cache`: it is never used without having been validated.")
        }
        () => ("validation", "It is stale."),
    }
}

/// What the freshness lifetime is from (RFC 9111, section 4.2.1).
fn source(fields: FieldLines<'_>) -> String {
    let lines = Lines::new(fields);
    let (directives, field) = Directives::of_response(|name| lines.all(name));
    let mut source = String::new();
    // Writing to a String never fails.
    let _ = match (directives.s_maxage_s, directives.max_age_s) {
        (Some(seconds), _) => write!(source, "s-maxage={seconds} of {field}"),
        (None, Some(seconds)) => write!(source, "max-age={seconds} of {field}"),
        (None, None) if field == CACHE_CONTROL && lines.all("expires").next().is_some() => {
            write!(source, "expires")
        }
        (None, None) if lines.all("last-modified").next().is_some() => {
            write!(source, "a tenth of the time since last-modified")
        }
        (None, None) => write!(source, "nothing that is said"),
    };
    source
}

impl NotStorable {
    /// Why it was not stored, as a sentence without its end.
    const fn sentence(self) -> &'static str {
        match self {
            Self::NoStore => "it, or the request, says `no-store`",
            Self::Private => "it says `private`",
            Self::Authorized => {
                "it answers a request with `Authorization`, and does not say that \
                                 others may have it"
            }
            Self::Status => "it says `must-understand`, and its status is not understood",
            Self::Part => "it is a part, or answers a condition",
            Self::Vary => {
                "it varies on what can't be told apart, on `*`, or on other fields than \
                           before"
            }
            Self::NoUse => "it has no lifetime, and nothing to validate it by",
            Self::Size => "it is larger than `object_bytes_max`",
            Self::Length => "it does not say its length, which this platform must know",
            Self::Tags => "it has more tags than are kept, or one that can't be",
        }
    }

    /// What would make it stored.
    const fn help(self) -> &'static str {
        match self {
            Self::NoStore | Self::Private => {
                "If others may have it, say so to this cache alone: `CDN-Cache-Control: max-age=60`."
            }
            Self::Authorized => "Say `public` or `s-maxage`, if others may have it.",
            Self::Status => "Leave `must-understand` out.",
            Self::Part => "Answer the whole to who asks for the whole.",
            Self::Vary => "Vary on a few fields, the same for all answers of a URL.",
            Self::NoUse => "Say `Cache-Control: max-age`, or give it an `ETag`.",
            Self::Size => "Raise `object_bytes_max` in [cache].",
            Self::Length => "Send a `Content-Length`.",
            Self::Tags => "At most 64 tags, of visible ASCII without commas.",
        }
    }
}

//! An origin behind cached routes that says whom each answer was for, and the judge of what of it
//! may be given to whom (RFC 9111, sections 3, 3.5, 4.1 and 4.3.4; RFC 9213).

use proptest::prelude::*;

use super::{Asked, CALLERS, Event, Got, Order, asking, some_of};
use crate::head::RequestHead;
use crate::memory::UpstreamAnswer;
use crate::step::{Fetch, FetchError, UpstreamHead};

/// A page, and the part that it is made of.
const PAGE: &str = "/page/a";
const PART: &str = "/mine/a";

/// An answer's mark stands between these, in as many digits for each.
const MARK: &str = "made-";
const MARK_DIGITS: usize = 4;
const MARK_END: &str = "-made";

/// What is said next.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// 0: no answer.
    status: u16,
    cache_control: &'static str,
    targeted: Option<(&'static str, &'static str)>,
    vary: &'static str,
    has_etag: bool,
    says_length: bool,
    /// How often the mark is repeated.
    marks: usize,
    /// Whether what was asked under a condition has not changed.
    confirms: bool,
    marks_fields: bool,
}

pub(super) fn answers() -> impl Strategy<Value = Answer> {
    let cache_control = prop::sample::select(
        &[
            "max-age=60",
            "max-age=60",
            "public, max-age=60",
            "max-age=60, s-maxage=30",
            "max-age=5, must-revalidate",
            "Max-Age=60, PRIVATE",
            "private",
            "no-store",
            "max-age=60, no-store",
            "public, no-cache",
            "no-cache",
            "max-age=60, private=\"x-for\"",
            "max-age=60, private=\"set-cookie, X-For\"",
            "max-age=60, no-cache=\"set-cookie\"",
            "max-age=1, stale-while-revalidate=60",
            "max-age=1, stale-if-error=60",
            "max-age=60, no-store, must-understand",
            "max-age=0",
            "",
        ][..],
    );
    let targeted = prop::sample::select(
        &[
            ("cdn-cache-control", "max-age=60"),
            ("cdn-cache-control", "private"),
            ("cdn-cache-control", "no-store"),
            ("cdn-cache-control", "public, max-age=30"),
        ][..],
    );
    let vary = prop::sample::select(
        &["", "", "", "Authorization", "Cookie", "cookie, authorization", "Accept-Language", "*"][..],
    );
    let status = prop_oneof![14 => Just(200_u16), 1 => Just(404), 1 => Just(503), 1 => Just(0)];
    (
        (status, cache_control, prop::option::weighted(0.15, targeted), vary),
        (
            any::<bool>(),
            any::<bool>(),
            prop_oneof![8 => Just(4_usize), 1 => Just(0), 1 => Just(20)],
        ),
        (prop::bool::weighted(0.7), any::<bool>()),
    )
        .prop_map(|(said, body, confirmed)| {
            let (status, cache_control, targeted, vary) = said;
            let (has_etag, says_length, marks) = body;
            let (confirms, marks_fields) = confirmed;
            Answer {
                status,
                cache_control,
                targeted,
                vary,
                has_etag,
                says_length,
                marks,
                confirms,
                marks_fields,
            }
        })
}

pub(super) fn requests() -> impl Strategy<Value = Event> {
    // Most are about one URI, so that they meet.
    let targets = [
        "/open/a", "/open/a", "/open/a", "/own/a", "/own/a", "/open/b", "/mine/a", "/mine/a", PAGE,
    ]
    .map(str::to_owned)
    .to_vec();
    let more = some_of(&[
        ("accept-language", "en"),
        ("range", "bytes=0-13"),
        ("range", "bytes=14-27"),
        ("range", "bytes=-14"),
        ("if-none-match", "\"made-0001-made\""),
        ("if-none-match", "\"made-0002-made\""),
        ("if-none-match", "*"),
        ("if-match", "\"made-0001-made\""),
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("cache-control", "max-stale"),
        ("cache-control", "only-if-cached"),
        ("connection", "authorization"),
        ("connection", "cookie"),
    ]);
    asking(targets, &["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"], more)
}

/// An answer that was given.
#[derive(Debug)]
struct Made {
    exchange: usize,
    /// Its place among all that happened.
    at: u64,
    method: String,
    target: String,
    request: Vec<(String, String)>,
    status: u16,
    cache_control: &'static str,
    targeted: Option<&'static str>,
    vary: &'static str,
    /// Of a 304: the answer that it confirms.
    confirms: Option<usize>,
}

pub(super) struct Origin {
    order: Order,
    script: Vec<Answer>,
    made: Vec<Made>,
    /// The 304s whose exchanges are over, and when that was.
    confirmed: Vec<(usize, u64)>,
    /// The targets that were forgotten, and when that was.
    forgotten: Vec<(String, u64)>,
}

impl Origin {
    pub(super) fn new(order: Order, script: Vec<Answer>) -> Self {
        Self { order, script, made: Vec::new(), confirmed: Vec::new(), forgotten: Vec::new() }
    }

    pub(super) fn answer(
        &mut self,
        exchange: usize,
        fetch: &Fetch,
    ) -> Result<UpstreamAnswer, FetchError> {
        let head = RequestHead::parse(&fetch.head).unwrap();
        if head.target == PAGE {
            return Ok(page());
        }
        let number = self.made.len();
        let answer = self.script[number % self.script.len()].clone();
        let get = |name| head.fields.get(name);
        let known = marks(get("if-none-match").unwrap_or_default()).first().copied();
        let confirms = known.filter(|known| answer.confirms && *known < number);
        let part = get("range") == Some("bytes=0-13") && answer.status == 200 && answer.marks > 0;
        let status = match answer.status {
            200 if confirms.is_some() => 304,
            200 if part => 206,
            status => status,
        };
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let fields = head.fields.iter();
        self.made.push(Made {
            exchange,
            at: self.order.next(),
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            request: fields.map(|(name, value)| (name.to_owned(), text(value))).collect(),
            status,
            cache_control: answer.cache_control,
            targeted: answer.targeted.map(|(_, value)| value),
            vary: answer.vary,
            confirms: confirms.filter(|_| status == 304),
        });
        if status == 0 {
            return Err(FetchError::Unreachable);
        }
        let bodiless = status == 304 || head.method == "HEAD";
        let marks = if part { 1 } else { answer.marks };
        let content = mark(number).repeat(marks);
        let fields = answer.fields(number, status, content.len()).into_bytes();
        let body = if bodiless { Vec::new() } else { content.into_bytes() };
        Ok(UpstreamAnswer { head: UpstreamHead { status, fields }, body })
    }

    /// Judges what a client got. The error says which mark it should not have. What is in a page is
    /// judged as if it had been asked for itself.
    pub(super) fn judge(&mut self, asked: &Asked, got: &Got) -> Result<(), String> {
        let in_page;
        let asked = if asked.target == PAGE && asked.method != "POST" {
            in_page = Asked { target: PART.to_owned(), ..asked.clone() };
            &in_page
        } else {
            asked
        };
        let in_fields = got.fields.iter().flat_map(|(name, value)| {
            marks(value).into_iter().map(move |mark| (Some(name.as_str()), mark))
        });
        let in_body = marks(&got.body).into_iter().map(|mark| (None, mark));
        for (name, mark) in in_fields.chain(in_body) {
            self.allows(asked, name, mark).map_err(|why| {
                format!("{why}: mark {mark} in {name:?}, of {:#?}", self.made.get(mark))
            })?;
        }
        let at = self.order.next();
        let own = self.made.iter().enumerate().filter(|(_, made)| made.exchange == asked.number);
        self.confirmed.extend(own.filter(|(_, made)| made.validates()).map(|(own, _)| (own, at)));
        if asked.method == "POST" && got.status < 400 {
            self.forgotten.push((asked.target.clone(), at));
        }
        Ok(())
    }

    fn allows(&self, asked: &Asked, field: Option<&str>, mark: usize) -> Result<(), &'static str> {
        let made = self.made.get(mark).ok_or("nobody made it")?;
        if asked.target.starts_with("/own/") && CALLERS[asked.caller].token.is_none() {
            return Err("the route wants a token");
        }
        if made.exchange == asked.number {
            return Ok(());
        }
        if asked.target.starts_with("/mine/") && !made.is_told_of(asked) {
            return Err("the route's answers are one person's each");
        }
        if made.target != asked.target || made.method != "GET" || asked.method == "POST" {
            return Err("it answers another URI or method (RFC 9111, section 4)");
        }
        let all_keep =
            |name: &str| self.in_force(made).iter().all(|said| keeps_from_others(said, name));
        if field.is_some_and(all_keep) {
            return Err("the field is not for others (sections 5.2.2.4 and 5.2.2.7)");
        }
        match made.confirms {
            None => self.allows_response(asked, mark, made),
            Some(confirmed) => self.allows_confirmation(asked, confirmed, made),
        }
    }

    /// What came with a whole response.
    fn allows_response(&self, asked: &Asked, mark: usize, made: &Made) -> Result<(), &'static str> {
        if matches!(made.status, 206 | 304) || !made.may_be_stored(&made.directives()) {
            return Err("it was not to be stored (sections 3 and 3.5)");
        }
        // That the origin itself says it has not changed, to this very request, is permission.
        let told = |made: &&Made| made.exchange == asked.number && made.confirms == Some(mark);
        if self.made.iter().any(|made| told(&made)) {
            return Ok(());
        }
        if !made.selects(asked, &made.request) {
            return Err("it varies (section 4.1)");
        }
        let is_gone = |(target, at): &(String, u64)| {
            *target == made.target && made.at < *at && *at < asked.begun
        };
        if self.forgotten.iter().any(is_gone) {
            return Err("it was made wrong by a change (section 4.4)");
        }
        let confirmations = self.confirmations(mark);
        if made.always_validates() && confirmations.is_empty() {
            return Err("it is never used without being validated (section 5.2.2.4)");
        }
        self.allows_since(asked, made, &confirmations)
    }

    /// What a 304 has said since of a stored response counts from when it was stored
    /// (section 4.3.4).
    fn allows_since(
        &self,
        asked: &Asked,
        made: &Made,
        confirmations: &[(&Made, u64)],
    ) -> Result<(), &'static str> {
        let last = confirmations.iter().rposition(|(_, at)| *at < asked.begun);
        let Some(last) = last else { return Ok(()) };
        let allows = |(confirmation, _): &(&Made, u64)| {
            let said = self.in_force(confirmation);
            said.iter().any(|said| confirmation.may_be_stored(said))
                && (confirmation.selects(asked, &confirmation.request)
                    || confirmation.selects(asked, &made.request) && confirmation.vary != "*")
        };
        if confirmations[last..].iter().any(allows) {
            return Ok(());
        }
        Err("the origin has said since that it is not for others (section 4.3.4)")
    }

    /// The fields of a 304: part of the stored response, if that may be stored with them.
    fn allows_confirmation(
        &self,
        asked: &Asked,
        confirmed: usize,
        made: &Made,
    ) -> Result<(), &'static str> {
        let storable = self.in_force(made).iter().any(|said| made.may_be_stored(said));
        if !storable {
            return Err("the confirmation was not to be stored (sections 3, 3.5 and 4.3.4)");
        }
        // The origin tells this very request what holds of it, and all else is the same.
        let told = |made: &&Made| made.exchange == asked.number && made.confirms == Some(confirmed);
        if !self.made.iter().any(|made| told(&made)) && !made.selects(asked, &made.request) {
            return Err("the confirmation varies (section 4.1)");
        }
        Ok(())
    }

    /// The directives that may count once an answer has come. A 304 changes those fields that it
    /// has, and a targeted field goes before others (RFC 9213, section 2.2): what it does not say
    /// is as it was, in one of the answers before it.
    fn in_force(&self, made: &Made) -> Vec<Vec<String>> {
        let Some(confirmed) = made.confirms.filter(|_| made.targeted.is_none()) else {
            return vec![made.directives()];
        };
        let before = self.made.iter().enumerate().filter(|(number, other)| {
            other.at < made.at && (*number == confirmed || other.confirms == Some(confirmed))
        });
        let silent = made.cache_control.is_empty();
        let still = before.filter(|(_, other)| silent || other.targeted.is_some());
        let still = still.map(|(_, other)| other.directives());
        still.chain((!silent).then(|| made.directives())).collect()
    }

    /// The 304s that may have changed a stored response, in the order in which they did.
    fn confirmations(&self, mark: usize) -> Vec<(&Made, u64)> {
        let made = self.confirmed.iter().filter_map(|(own, at)| Some((self.made.get(*own)?, *at)));
        made.filter(|(made, _)| made.confirms == Some(mark)).collect()
    }
}

impl Answer {
    fn fields(&self, number: usize, status: u16, length: usize) -> String {
        let mark = mark(number);
        let mut lines = String::new();
        let mut push = |name: &str, value: &str| {
            if !value.is_empty() {
                lines.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        push("cache-control", self.cache_control);
        if let Some((name, value)) = self.targeted {
            push(name, value);
        }
        push("vary", self.vary);
        if self.has_etag && status != 304 {
            push("etag", &format!("\"{mark}\""));
        }
        if status != 304 && self.says_length {
            push("content-length", &length.to_string());
        }
        if self.marks_fields || status != 304 {
            push("x-for", &mark);
            push("set-cookie", &format!("id={mark}"));
        }
        lines
    }
}

impl Made {
    /// Whether the server was told that the same person asks.
    fn is_told_of(&self, asked: &Asked) -> bool {
        let told = |name: &str| {
            let field = self.request.iter().find(|(found, _)| found == name);
            field.map(|(_, value)| value.as_str())
        };
        let person = told("outport-tenant").zip(told("outport-subject"));
        person == CALLERS[asked.caller].token.map(|(tenant, subject, _)| (tenant, subject))
    }

    /// Whether a cache asked for it to validate what is stored, and is told that it holds.
    fn validates(&self) -> bool {
        let has = |name: &str| self.request.iter().any(|(found, _)| found == name);
        self.confirms.is_some() && self.method == "GET" && !has("range") && !has("if-match")
    }

    /// The directives that count for a cache of a CDN (RFC 9213, section 2.1), in lower case.
    fn directives(&self) -> Vec<String> {
        directives(self.targeted.unwrap_or(self.cache_control))
    }

    /// RFC 9111, section 3, as far as it is about who may see what, and section 3.5.
    fn may_be_stored(&self, directives: &[String]) -> bool {
        let says = |name: &str| directives.iter().any(|directive| directive == name);
        let shared = directives.iter().any(|directive| {
            matches!(directive.as_str(), "public" | "must-revalidate")
                || directive.starts_with("s-maxage=")
        });
        let authorized = self.request.iter().any(|(name, _)| name == "authorization");
        let asks_not_to = |(name, value): &(String, String)| {
            name == "cache-control" && directives_of(value).any(|said| said == "no-store")
        };
        // All statuses here are ones whose rules a cache knows (section 5.2.2.3).
        (!says("no-store") || says("must-understand"))
            && !says("private")
            && (!authorized || shared)
            && !self.request.iter().any(asks_not_to)
    }

    fn always_validates(&self) -> bool {
        self.directives().iter().any(|directive| directive == "no-cache")
    }

    /// RFC 9111, section 4.1: whether all that it varies on is alike.
    fn selects(&self, asked: &Asked, original: &[(String, String)]) -> bool {
        self.vary.split(',').map(|name| name.trim().to_ascii_lowercase()).all(|name| {
            let then = original.iter().filter(|(found, _)| *found == name);
            let then: Vec<_> = then.map(|(_, value)| value.as_str()).collect();
            let then = (!then.is_empty()).then(|| then.join(", "));
            name.is_empty() || name != "*" && then == asked.field(&name)
        })
    }
}

/// Whether a field is named by `private` or `no-cache`.
fn keeps_from_others(directives: &[String], field: &str) -> bool {
    directives.iter().any(|directive| {
        let named = ["private=", "no-cache="].iter().find_map(|n| directive.strip_prefix(n));
        let mut named = named.unwrap_or_default().trim_matches('"').split(',');
        named.any(|name| name.trim() == field)
    })
}

fn directives(value: &str) -> Vec<String> {
    directives_of(value).collect()
}

/// Directives in lower case. A comma within quotes parts nothing.
fn directives_of(value: &str) -> impl Iterator<Item = String> {
    let mut quoted = false;
    let parts = value.split(move |char| {
        quoted ^= char == '"';
        char == ',' && !quoted
    });
    parts.map(|part| part.trim().to_ascii_lowercase()).filter(|part| !part.is_empty())
}

fn page() -> UpstreamAnswer {
    let body = format!("<p><esi:include src=\"{PART}\" onerror=\"continue\"/></p>").into_bytes();
    let fields = b"content-type: text/html\r\ncache-control: public, max-age=60\r\n".to_vec();
    UpstreamAnswer { head: UpstreamHead { status: 200, fields }, body }
}

fn mark(number: usize) -> String {
    format!("{MARK}{number:0width$}{MARK_END}", width = MARK_DIGITS)
}

/// The marks in a text.
fn marks(text: &str) -> Vec<usize> {
    let ends = text.match_indices(MARK).map(|(at, _)| at + MARK.len());
    let whole = ends.filter_map(|at| {
        let digits = text.get(at..at + MARK_DIGITS)?;
        text.get(at + MARK_DIGITS..)?.starts_with(MARK_END).then(|| digits.parse().ok())?
    });
    whole.collect()
}

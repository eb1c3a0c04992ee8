//! From the text of `outport.toml` to [`Settings`], section by section.

use std::collections::BTreeMap;

use matchit::InsertError;
use outport_edge_core::config::{Auth, Budget, Claim, NO_LIMIT, Route};
use outport_edge_core::forwarded::TrustedProxies;
use outport_edge_core::step::{Allowance, PAID_BYTES, Share};
use outport_wire::spending::PERIOD_S_MAX;
use outport_wire::syntax::is_token;
use reqwest::Url;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Sink, line_of};
use super::section::{Located, Section, most_similar};
use super::{
    Cache, Edge, GIB, KIB, Life, Limit, MIB, Origin, Overload, Settings, TIB, Tls, firewall, hooks,
    issuers, rules, session, tls,
};

/// The fastest rate a limit can say; far above what one node serves.
const PER_SECOND_MAX: u64 = 1_000_000;

/// The largest burst a limit can say.
const BURST_MAX: u64 = 100_000_000;

/// The largest budget; far above what is asked of all edges in a month.
const BUDGET_MAX: u64 = 1_000_000_000_000;

/// How long a budget lasts, if nothing is said.
const A_DAY_S: u64 = 86_400;

/// Longer than anybody waits.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// A file that an edge accepts by itself passes through its memory.
const SMALL_BYTES_MAX: u64 = MIB;

/// An instance is replaced once in a while at least.
const REQUESTS_MAX: u64 = 1_000_000_000;

/// A sign-in of yesterday is no fresh one.
const STEP_UP_S_MAX: u64 = 86_400;

/// Whoever waits longer for a revocation may as well wait until tokens expire.
const TOLD_WITHIN_S_MAX: u64 = 3_600;

/// Ten years.
const LIFE_S_MAX: u64 = 10 * 365 * 24 * 3600;

/// A client may be silent for an hour. Parts of slow uploads are committed well within that.
const EXPIRE_S_MIN: u64 = 3600;

/// A thousand steps take this long at least, so that they don't crowd out what clients ask for.
const COLLECT_S_MIN: u64 = 600;

/// The least disk that the cache makes use of.
const CACHE_DISK_BYTES_MIN: u64 = 16 * MIB;

/// A minute: whoever waits that long has given up.
const DELAY_MS_MAX: u64 = 60_000;

/// Each priority has its part of it.
const REQUESTS_WAITING_MIN: u64 = 8;

/// More than a machine has.
const WAITING_MAX: u64 = 10_000_000;

/// First path segments below which Outport answers everything itself.
const OWN_SEGMENTS: &[&str] = &["assets", "files", "uploads"];

/// Other paths that Outport answers itself.
const OWN_PATHS: &[&str] = &[
    "/",
    "/.well-known/jwks.json",
    "/audit",
    "/audit/forgotten",
    "/explain",
    "/healthz",
    "/popular",
    "/purge",
    "/readyz",
    "/revocations",
    "/session",
    "/warm",
];

pub(super) fn settings(text: &str) -> Result<Settings, Vec<Mistake>> {
    let sink = Sink::default();
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in syntax {
        let at = error.span().map_or(0, |span| span.start);
        let right = "it takes valid TOML: key = value lines below [section] lines";
        sink.note(at, format!("this is no TOML: {}", error.message()), right);
    }
    let settings = root(text, Section::root(table.get_ref(), &sink));
    let mistakes = sink.into_mistakes(text);
    if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
}

/// The byte where a key of a route has its value; the route is told by its place in the file.
pub(crate) fn route_value(text: &str, place: usize, key: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let DeValue::Array(routes) = table.get_ref().get("routes")?.get_ref() else { return None };
    let DeValue::Table(route) = routes.get(place)?.get_ref() else { return None };
    Some(route.get(key)?.span().start)
}

/// The byte where `[edge.origin_tls]` begins.
pub(crate) fn origin_tls(text: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let DeValue::Table(edge) = table.get_ref().get("edge")?.get_ref() else { return None };
    Some(edge.get("origin_tls")?.span().start)
}

fn root(text: &str, mut root: Section<'_>) -> Settings {
    let mut settings = Settings::default();
    if let Some(section) = root.section("edge") {
        settings.edge = edge(section, settings.edge, &mut settings.tls);
    }
    if let Some(mut section) = root.section("origin") {
        settings.tls.origin = section.section("tls").and_then(tls::origin);
        settings.origin = origin(section, settings.origin);
    }
    if let Some(section) = root.section("cache") {
        settings.cache = cache(section, settings.cache);
    }
    if let Some(section) = root.section("overload") {
        settings.overload = overload(section, settings.overload);
    }
    if let Some(section) = root.section("limits") {
        limits(section, &mut settings.limits);
    }
    if let Some(mut section) = root.section("uploads") {
        settings.life = life(&mut section, settings.life);
        settings.rules.default = rules::tenant(section, &settings.rules.default);
    }
    if let Some(section) = root.section("tenants") {
        settings.rules.tenants = rules::tenants(section, &settings.rules.default);
    }
    if let Some(section) = root.section("hooks") {
        settings.hooks.told = hooks::told(section);
    }
    if let Some(section) = root.section("before_create") {
        settings.hooks.asked = hooks::asked(section);
    }
    if let Some(section) = root.section("issuers") {
        settings.issuers = issuers::issuers(section);
    }
    if let Some(section) = root.section("session") {
        settings.session = session::session(section, &settings.issuers);
    }
    if let Some(section) = root.section("cors") {
        settings.cors_origins = cors(section);
    }
    if let Some(section) = root.section("firewall") {
        settings.firewall = firewall::firewall(section, &settings.limits);
    }
    settings.routes = routes(text, root.sections("routes"), &settings.limits);
    root.finish();
    settings
}

fn edge(mut section: Section<'_>, defaults: Edge, files: &mut Tls) -> Edge {
    files.edge = section.section("tls").and_then(tls::edge);
    files.to_origin = section.section("origin_tls").map(tls::to_origin).unwrap_or_default();
    let example = "it takes an address such as \"https://files.example.com\"";
    let url = section.text("public_base_url").and_then(|url| web_origin(&section, &url, example));
    let content = content_base_url(&mut section, url.as_deref());
    let trusted_proxies = trusted_proxies(&mut section);
    let country_field = country_field(&mut section, &trusted_proxies);
    let operators = operators(&mut section);
    let timeout = section.whole("upstream_timeout_ms", 100..=TIMEOUT_MS_MAX, "milliseconds");
    let requests = section.whole("instance_requests_max", 1..=REQUESTS_MAX, "requests");
    let small = section.whole("small_upload_bytes_max", 0..=SMALL_BYTES_MAX, "bytes");
    let step_up = section.whole("step_up_s", 0..=STEP_UP_S_MAX, "seconds");
    let revoked = section.whole("revoked_within_s", 0..=TOLD_WITHIN_S_MAX, "seconds");
    let related = section.whole("related_within_s", 0..=TOLD_WITHIN_S_MAX, "seconds");
    section.finish();
    Edge {
        related_within_s: related.map_or(defaults.related_within_s, |within| within.value),
        step_up_s: step_up.map_or(defaults.step_up_s, |within| within.value),
        revoked_within_s: revoked.map_or(defaults.revoked_within_s, |within| within.value),
        public_base_url: url,
        content_base_url: content,
        trusted_proxies,
        country_field,
        operators,
        upstream_timeout_ms: timeout.map_or(defaults.upstream_timeout_ms, |timeout| timeout.value),
        instance_requests_max: requests.map_or(defaults.instance_requests_max, |max| max.value),
        small_upload_bytes_max: small.map(|max| max.value).or(defaults.small_upload_bytes_max),
    }
}

/// Where files are shown, which must be another place than where all else is.
fn content_base_url(section: &mut Section<'_>, public: Option<&str>) -> Option<String> {
    let said = section.text("content_base_url")?;
    let example = "it takes an address such as \"https://outport-content.example\"";
    let url = web_origin(section, &said, example)?;
    if Some(url.as_str()) == public {
        let right = "give it a host of its own, best under another registered domain";
        section.note(said.at, "content_base_url is the same as public_base_url", right);
    }
    Some(url)
}

fn trusted_proxies(section: &mut Section<'_>) -> Vec<String> {
    let listed = section.texts("trusted_proxies").unwrap_or_default();
    let mut networks = Vec::with_capacity(listed.len());
    for Located { value, at } in listed {
        if TrustedProxies::parse(&[&value]).is_err() {
            let right = "it takes networks such as \"10.0.0.0/8\", and addresses such as \"::1\"";
            section.note(at, format!("\"{value}\" is neither network nor address"), right);
        }
        networks.push(value);
    }
    networks
}

/// The field in which proxies say where a client is.
fn country_field(section: &mut Section<'_>, proxies: &[String]) -> Option<String> {
    let Located { value, at } = section.text("country_field")?;
    if !is_token(&value) {
        let wrong = format!("no field is called \"{value}\"");
        section.note(at, wrong, "it takes names such as \"cf-ipcountry\"");
    } else if proxies.is_empty() {
        let right = "name who may say it: trusted_proxies = [\"10.0.0.0/8\"]";
        section.note(at, "country_field has no effect: no proxy is trusted", right);
    }
    Some(value.to_ascii_lowercase())
}

/// The tenants whose admins operate the deployment.
fn operators(section: &mut Section<'_>) -> Vec<String> {
    let listed = section.texts("operators");
    if listed.as_ref().is_some_and(Vec::is_empty) {
        let right = "leave it out to mean the admins of all tenants";
        section.note(section.at, "operators lists nobody", right);
    }
    listed.unwrap_or_default().into_iter().map(|tenant| tenant.value).collect()
}

fn cache(mut section: Section<'_>, defaults: Cache) -> Cache {
    let memory = section.whole("memory_bytes", MIB..=64 * TIB, "bytes");
    let object = section.whole("object_bytes_max", KIB..=64 * GIB, "bytes");
    let memory_bytes = memory.as_ref().map_or(defaults.memory_bytes, |memory| memory.value);
    if let Some(Located { value, at }) =
        object.as_ref().filter(|object| object.value > memory_bytes)
    {
        let wrong = format!("object_bytes_max in [cache] is {value}, more than all of its memory");
        section.note(*at, wrong, format!("at most memory_bytes, which is {memory_bytes}"));
    }
    let disk = section.whole("disk_bytes", 0..=64 * TIB, "bytes");
    if let Some(Located { value: 1..CACHE_DISK_BYTES_MIN, at }) = disk {
        let right = format!("0 for none, or at least {CACHE_DISK_BYTES_MIN} bytes");
        section.note(at, "disk_bytes in [cache] is too little to be of use", right);
    }
    let slice = section.whole("slice_bytes", 64 * KIB..=64 * MIB, "bytes");
    section.finish();
    let object_bytes_max = object.map_or(defaults.object_bytes_max, |object| object.value);
    let slice_bytes = slice.map_or(defaults.slice_bytes, |slice| slice.value);
    // The cache is laid out for bodies up to this.
    let object_bytes_max = object_bytes_max.min(memory_bytes);
    let slice_bytes = slice_bytes.min(object_bytes_max);
    let disk_bytes = disk.map_or(defaults.disk_bytes, |disk| disk.value);
    Cache { memory_bytes, object_bytes_max, slice_bytes, disk_bytes }
}

fn origin(mut section: Section<'_>, defaults: Origin) -> Origin {
    let checks_tokens = section.flag("checks_tokens").unwrap_or(defaults.checks_tokens);
    let takes_handovers = section.flag("takes_handovers").unwrap_or(defaults.takes_handovers);
    section.finish();
    Origin { checks_tokens, takes_handovers }
}

fn overload(mut section: Section<'_>, defaults: Overload) -> Overload {
    let delay = section.whole("delay_ms_max", 0..=DELAY_MS_MAX, "milliseconds");
    let range = REQUESTS_WAITING_MIN..=WAITING_MAX;
    let requests = section.whole("requests_max", range, "requests");
    let connections = section.whole("connections_max", 1..=WAITING_MAX, "connections");
    let of_network = section.whole("network_connections_max", 1..=WAITING_MAX, "connections");
    section.finish();
    let said = |said: Option<Located<u64>>, default| said.map_or(default, |said| said.value);
    Overload {
        delay_ms_max: said(delay, defaults.delay_ms_max),
        requests_max: said(requests, defaults.requests_max),
        connections_max: said(connections, defaults.connections_max),
        network_connections_max: said(of_network, defaults.network_connections_max),
    }
}

/// What `[uploads]` says beside the rules, which tenants may have of their own.
fn life(section: &mut Section<'_>, defaults: Life) -> Life {
    let expire = section.whole("expire_after_s", 0..=LIFE_S_MAX, "seconds");
    let collect = section.whole("collect_every_s", COLLECT_S_MIN..=LIFE_S_MAX, "seconds");
    if let Some(Located { value: 1..EXPIRE_S_MIN, at }) = expire {
        let right = format!("0 for never, or at least {EXPIRE_S_MIN} seconds");
        section.note(at, "expire_after_s in [uploads] leaves no time to upload", right);
    }
    Life {
        expire_after_s: expire.map_or(defaults.expire_after_s, |expire| expire.value),
        collect_every_s: collect.map_or(defaults.collect_every_s, |collect| collect.value),
    }
}

fn limits(section: Section<'_>, limits: &mut BTreeMap<String, Limit>) {
    for (name, mut section) in section.named_sections() {
        check_limit_name(&section, &name);
        let per_second = section.whole("per_second", 1..=PER_SECOND_MAX, "requests");
        let burst = section.whole("burst", 1..=BURST_MAX, "requests");
        let at_once = section.whole("at_once", 1..=BURST_MAX, "requests");
        let bytes_per_s = section.whole("bytes_per_second", 1024..=TIB, "bytes");
        let share = Share {
            at_once: whole_u32(at_once),
            bytes_per_s: bytes_per_s.map(|bytes| bytes.value),
            bytes: bytes(&mut section),
        };
        let budget = budget(&mut section);
        let known = limits.get(&name.value).copied();
        let per_second = whole_u32(per_second).or(known.map(|limit| limit.per_second));
        let burst = whole_u32(burst).or(known.map(|limit| limit.burst)).or(per_second);
        match (per_second, burst) {
            (Some(per_second), Some(burst)) => {
                limits.insert(name.value, Limit { per_second, burst, share, budget });
            }
            _ => section.note_missing("per_second", "100"),
        }
        section.finish();
    }
}

/// How many bytes bodies of a taker may have in a period, as what they are paid from.
fn bytes(section: &mut Section<'_>) -> Option<Allowance> {
    let bytes = section.whole("bytes", MIB..=TIB, "bytes");
    let period = section.whole("bytes_period_s", 1..=PERIOD_S_MAX, "seconds");
    if let (false, Some(period)) = (section.has("bytes"), &period) {
        let right = "say how many bytes in that time: bytes = 50_000_000_000";
        section.note(period.at, "bytes_period_s has no effect without bytes", right);
    }
    let period_us = period.map_or(A_DAY_S, |period| period.value) * 1_000_000;
    let Located { value, at } = bytes?;
    let units = value / PAID_BYTES;
    let interval_us = period_us / units;
    if interval_us == 0 {
        let right = "at most 1 GiB a second; leave it out to bound nothing";
        section.note(at, "bytes is more than can be counted in that time", right);
    }
    Some(Allowance { interval_us, burst: u32::try_from(units).unwrap_or(u32::MAX) })
}

/// What all of a tenant may ask in a period.
fn budget(section: &mut Section<'_>) -> Option<Budget> {
    let requests = section.whole("budget", 1..=BUDGET_MAX, "requests");
    let period = section.whole("budget_period_s", 1..=PERIOD_S_MAX, "seconds");
    if let (false, Some(period)) = (section.has("budget"), &period) {
        let right = "say how many requests in that time: budget = 1000000";
        section.note(period.at, "budget_period_s has no effect without a budget", right);
    }
    let period_s = period.map_or(A_DAY_S, |period| period.value);
    requests.map(|requests| Budget { requests: requests.value, period_s })
}

fn check_limit_name(section: &Section<'_>, name: &Located<String>) {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.value == NO_LIMIT {
        let right = "choose another name: a route says \"none\" when it has no limit";
        section.note(name.at, "a limit can't be called \"none\"", right);
    } else if !name.value.bytes().all(word) || name.value.is_empty() || name.value.len() > 64 {
        let wrong = format!("a limit can't be called \"{}\"", name.value);
        section.note(name.at, wrong, "a name has 1 to 64 of a-z, 0-9 and hyphens");
    }
}

fn whole_u32(number: Option<Located<u64>>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number.value).ok())
}

fn cors(mut section: Section<'_>) -> Vec<String> {
    let example = "it takes origins such as \"https://app.example.com\", or \"*\" for all";
    let listed = section.texts("origins").unwrap_or_default();
    let checked = |origin: Located<String>| match origin.value.as_str() {
        "*" => Some(origin.value),
        _ => web_origin(&section, &origin, example),
    };
    let origins = listed.into_iter().filter_map(checked).collect();
    section.finish();
    origins
}

/// `scheme://host[:port]` and nothing else.
fn web_origin(section: &Section<'_>, url: &Located<String>, right: &str) -> Option<String> {
    let parsed = web_address(section, url, right)?;
    if parsed.path() != "/" {
        let wrong = format!("\"{}\" has more than scheme, host and port", url.value);
        section.note(url.at, wrong, right);
        return None;
    }
    Some(parsed.origin().ascii_serialization())
}

/// `scheme://host[:port][/path]`.
pub(super) fn web_address(
    section: &Section<'_>,
    url: &Located<String>,
    right: &str,
) -> Option<Url> {
    let parsed = Url::parse(&url.value);
    let wrong = match &parsed {
        Err(_) => "is no web address",
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            "begins with neither http:// nor https://"
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "has a user name in it"
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => "has a query or fragment",
        Ok(_) => return parsed.ok(),
    };
    section.note(url.at, format!("\"{}\" {wrong}", url.value), right);
    None
}

fn routes(text: &str, sections: Vec<Section<'_>>, limits: &BTreeMap<String, Limit>) -> Vec<Route> {
    let mut taken = Taken::default();
    let mut read = |section| route(text, section, limits, &mut taken);
    sections.into_iter().filter_map(&mut read).collect()
}

/// The paths of the routes read so far.
#[derive(Default)]
struct Taken {
    router: matchit::Router<()>,
    paths: Vec<Located<String>>,
}

fn route(
    text: &str,
    mut section: Section<'_>,
    limits: &BTreeMap<String, Limit>,
    taken: &mut Taken,
) -> Option<Route> {
    let path = section.text("path");
    if path.is_none() {
        section.note_missing("path", "\"/legacy/{*rest}\"");
    }
    let proxy = section.text("proxy").and_then(|url| proxy(&section, &url));
    let auth = [("none", Auth::None), ("optional", Auth::Optional), ("required", Auth::Required)];
    let auth = section.one_of("auth", &auth).unwrap_or(Auth::Required);
    let cache = section.flag("cache").unwrap_or(false);
    let compress = of_stored(&mut section, "compress", cache);
    let esi = of_stored(&mut section, "esi", cache);
    let dictionaries = dictionaries(&mut section, auth, compress, esi);
    let prefetch = of_stored(&mut section, "prefetch", cache);
    let claims = claims(&mut section, auth);
    let limit = section.text("limit").map(|name| limit_name(&section, name, limits));
    let path = path.filter(|path| check_path(text, &section, path, taken));
    section.finish();
    Some(Route {
        path: path?.value,
        proxy,
        auth,
        cache,
        compress,
        dictionaries,
        esi,
        prefetch,
        claims,
        limit,
    })
}

/// A flag that is about what is stored.
fn of_stored(section: &mut Section<'_>, key: &'static str, cache: bool) -> bool {
    let Some(flag) = section.located_flag(key) else { return false };
    if flag.value && !cache {
        let wrong = format!("{key} = true has no effect: no answer of this route is stored");
        section.note(flag.at, wrong, "add `cache = true`");
    }
    flag.value
}

/// Whether what is stored is encoded against dictionaries: what everybody is given, and in no other
/// form than it is stored.
fn dictionaries(section: &mut Section<'_>, auth: Auth, compress: bool, esi: bool) -> bool {
    let Some(flag) = section.located_flag("dictionaries") else { return false };
    let wrong = match flag.value {
        true if !compress => Some((
            "no answer of this route is compressed",
            "add `cache = true` and `compress = true`",
        )),
        true if auth != Auth::None => Some((
            "its answers may be one person's, and dictionaries are for what is everybody's",
            "say `auth = \"none\"`, or leave dictionaries out",
        )),
        true if esi => Some((
            "its answers may be templates, which are sent as pages",
            "give what is no template a route of its own",
        )),
        _ => None,
    };
    if let Some((why, right)) = wrong {
        section.note(flag.at, format!("dictionaries = true has no effect: {why}"), right);
    }
    flag.value
}

/// What the upstream is told of who asks.
fn claims(section: &mut Section<'_>, auth: Auth) -> Vec<Claim> {
    let mut claims = Vec::new();
    for name in section.texts("claims").unwrap_or_default() {
        let known = Claim::ALL.map(|claim| format!("\"{}\"", claim.name())).join(", ");
        match Claim::named(&name.value) {
            None => {
                let wrong = format!("there is no claim \"{}\"", name.value);
                section.note(name.at, wrong, format!("it takes some of {known}"));
            }
            Some(_) if auth == Auth::None => {
                let wrong = "claims has no effect: no token is looked at on this route";
                section.note(name.at, wrong, "set auth to \"required\" or \"optional\"");
            }
            Some(claim) if claims.contains(&claim) => {
                let wrong = format!("the claim \"{}\" is there twice", name.value);
                section.note(name.at, wrong, "name it once");
            }
            Some(claim) => claims.push(claim),
        }
    }
    claims
}

fn proxy(section: &Section<'_>, url: &Located<String>) -> Option<String> {
    let right = "it takes the address of an HTTP server, such as \"http://127.0.0.1:8000\"";
    let parsed = web_address(section, url, right)?;
    Some(parsed.as_str().trim_end_matches('/').to_owned())
}

fn limit_name(
    section: &Section<'_>,
    name: Located<String>,
    limits: &BTreeMap<String, Limit>,
) -> String {
    known_limit(section, name, limits.keys().map(String::as_str).chain([NO_LIMIT]))
}

/// The name of a limit, which must be one of these.
pub(super) fn known_limit<'n>(
    section: &Section<'_>,
    name: Located<String>,
    known: impl Iterator<Item = &'n str>,
) -> String {
    let known: Vec<&str> = known.collect();
    if !known.contains(&name.value.as_str()) {
        let right = match most_similar(&name.value, known.iter().copied()) {
            Some(similar) => format!("did you mean \"{similar}\"?"),
            None => format!("it takes one of {}", known.join(", ")),
        };
        section.note(name.at, format!("there is no limit \"{}\"", name.value), right);
    }
    name.value
}

fn check_path(
    text: &str,
    section: &Section<'_>,
    path: &Located<String>,
    taken: &mut Taken,
) -> bool {
    let problem = if path.value.starts_with('/') {
        own_path(&path.value).or_else(|| insert(text, path, taken))
    } else {
        Some(("does not begin with a slash".to_owned(), format!("\"/{}\"", path.value)))
    };
    if let Some((wrong, right)) = &problem {
        section.note(path.at, format!("the path \"{}\" {wrong}", path.value), right);
    }
    problem.is_none()
}

fn own_path(path: &str) -> Option<(String, String)> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if !OWN_PATHS.contains(&path) && !OWN_SEGMENTS.contains(&first) {
        return None;
    }
    let (paths, segments) = (OWN_PATHS.join(", "), OWN_SEGMENTS.join("/, /"));
    let right = format!("choose a path that is none of {paths} and not below /{segments}/");
    Some(("would never be reached: Outport answers it itself".to_owned(), right))
}

fn insert(text: &str, path: &Located<String>, taken: &mut Taken) -> Option<(String, String)> {
    let Err(error) = taken.router.insert(&path.value, ()) else {
        taken.paths.push(path.clone());
        return None;
    };
    let parameter = "a parameter is one whole segment in braces, such as /users/{name}";
    let (wrong, right) = match error {
        InsertError::Conflict { with } => {
            let other = taken.paths.iter().find(|other| other.value == with);
            let place = other.map(|other| format!(" in line {}", line_of(text, other.at)));
            let wrong = format!("matches what \"{with}\"{} does", place.unwrap_or_default());
            (wrong, "remove one of the two")
        }
        InsertError::InvalidParamSegment => {
            ("has two parameters in one segment".to_owned(), parameter)
        }
        InsertError::InvalidCatchAll => {
            let right = "{*rest} takes all that is left, so it stands last";
            ("goes on after its catch-all".to_owned(), right)
        }
        InsertError::InvalidParam => {
            ("has a parameter without a name or a closing brace".to_owned(), parameter)
        }
        other => (format!("is no pattern: {other}"), parameter),
    };
    Some((wrong, right.to_owned()))
}

#[cfg(test)]
mod tests {
    use outport_wire::rules::{Rules, TenantRules};

    use outport_edge_core::config::Sessions;

    use super::*;
    use crate::core_config::SMALL_UPLOAD_BYTES_MAX;

    /// The mistakes of `text`, one a line: place, what is wrong, what would be right.
    fn mistakes(text: &str) -> Vec<String> {
        let line =
            |Mistake { line, column, wrong, right }| format!("{line}:{column} {wrong} | {right}");
        settings(text).expect_err("it is wrong").into_iter().map(line).collect()
    }

    #[test]
    fn nothing_is_the_defaults() {
        assert_eq!(settings(""), Ok(Settings::default()));
    }

    #[test]
    fn sessions() {
        let text = "[edge]\nstep_up_s = 600\nrevoked_within_s = 5\n[session]\nissuers = [\"outport\"]\n\
                    short_s = 300\nidle_s = 3600\nlifetime_s = 7200\n";
        let read = settings(text).unwrap();
        assert_eq!((read.edge.step_up_s, read.edge.revoked_within_s), (600, 5));
        assert_eq!(read.session.issuers, ["outport"]);
        let life = Sessions { short_s: 300, idle_s: 3600, lifetime_s: 7200 };
        assert_eq!(read.session.life, life);
        assert_eq!(
            mistakes(
                "[session]\nissuers = [\"https://id.example\"]\nshort_s = 7200\nidle_s = 60\n"
            ),
            [
                "2:12 \"https://id.example\" is no issuer that is trusted | it takes what tokens say in `iss`; \"outport\" is our own",
                "3:11 short_s in [session] is out of range: 7200 | it takes a whole number of seconds from 60 to 3600",
                "4:10 idle_s in [session] is 60, less than short_s | at least 900",
            ]
        );
    }

    #[test]
    fn a_whole_file() {
        let read = settings(
            r#"
            [edge]
            public_base_url = "https://files.example.com/"
            trusted_proxies = ["10.0.0.0/8", "::1"]
            upstream_timeout_ms = 500
            small_upload_bytes_max = 1000
            [cache]
            memory_bytes = 1_073_741_824
            object_bytes_max = 0x100000
            slice_bytes = 262_144
            disk_bytes = 1_073_741_824
            [limits.read]
            burst = 10
            [limits.api]
            per_second = 5
            at_once = 7
            bytes_per_second = 2048
            bytes = 1_048_576
            bytes_period_s = 1024
            budget = 5000
            budget_period_s = 3600
            [uploads]
            size_max_bytes = 100
            [session]
            demo = false
            [cors]
            origins = ["https://app.example.com:8443", "*"]
            [[routes]]
            path = "/legacy/{*rest}"
            proxy = "http://127.0.0.1:8000/old/"
            auth = "none"
            cache = true
            compress = true
            dictionaries = true
            limit = "none"
            [[routes]]
            path = "/api/{name}"
            limit = "api"
            cache = true
            esi = true
            prefetch = true
            claims = ["tenant", "subject"]
            "#,
        )
        .unwrap();
        assert_eq!(read.edge.public_base_url.as_deref(), Some("https://files.example.com"));
        assert_eq!(read.edge.trusted_proxies, ["10.0.0.0/8", "::1"]);
        assert_eq!(read.edge.upstream_timeout_ms, 500);
        assert_eq!(read.edge.small_upload_bytes_max, Some(1000));
        let default = Settings::default().edge.instance_requests_max;
        assert_eq!(read.edge.instance_requests_max, default);
        assert_eq!(
            read.cache,
            Cache {
                memory_bytes: GIB,
                object_bytes_max: MIB,
                slice_bytes: 1 << 18,
                disk_bytes: GIB
            }
        );
        assert_eq!(read.limits["read"], Limit::rate(5_000, 10));
        let bytes = Some(Allowance { interval_us: 1_000_000, burst: 1_024 });
        let share = Share { at_once: Some(7), bytes_per_s: Some(2_048), bytes };
        let budget = Some(Budget { requests: 5_000, period_s: 3_600 });
        assert_eq!(read.limits["api"], Limit { share, budget, ..Limit::rate(5, 5) });
        assert_eq!(read.limits["write"], Settings::default().limits["write"]);
        assert_eq!(
            (read.rules, read.session.demo),
            (Rules::same(TenantRules::sized(100)), Some(false))
        );
        assert_eq!(read.cors_origins, ["https://app.example.com:8443", "*"]);
        let [legacy, api] = &read.routes[..] else { panic!("{:?}", read.routes) };
        assert_eq!(
            (legacy.auth, legacy.cache, legacy.compress, legacy.limit.as_deref()),
            (Auth::None, true, true, Some("none"))
        );
        assert_eq!(legacy.proxy.as_deref(), Some("http://127.0.0.1:8000/old"));
        assert_eq!((legacy.dictionaries, api.dictionaries), (true, false));
        assert_eq!((api.esi, api.prefetch), (true, true));
        assert_eq!(api.claims, [Claim::Tenant, Claim::Subject]);
        assert_eq!(
            (api.auth, api.cache, api.compress, api.limit.as_deref()),
            (Auth::Required, true, false, Some("api"))
        );
    }

    #[test]
    fn every_mistake_at_once_in_the_order_of_the_file() {
        let found = mistakes(
            "[cahce]\nmemory_bytes = 1\n[uploads]\nsize_max_bytes = -5\nsize = 1\n[session]\ndemo = \"yes\"\n",
        );
        assert_eq!(
            found,
            [
                "1:2 there is no section or key \"cahce\" | did you mean \"cache\"?",
                "4:18 size_max_bytes in [uploads] is out of range: -5 | it takes a whole number of \
                 bytes from 1 to 9007199254740991",
                "5:1 [uploads] has no key \"size\" | did you mean \"size_max_bytes\"?",
                "7:8 demo in [session] is the text \"yes\" | it takes true or false, without quotes",
            ]
        );
    }

    #[test]
    fn broken_toml_still_shows_what_else_is_wrong() {
        let found = mistakes("[cache\nmemory_bytes = 268435456\n[uploads]\nsize_max_bytes = 0\n");
        assert!(found[0].starts_with("1:7 this is no TOML"), "{found:?}");
        assert!(
            found.iter().any(|mistake| mistake.starts_with("4:18 size_max_bytes")),
            "{found:?}"
        );
    }

    #[test]
    fn a_cached_object_fits_into_the_cache() {
        let found = mistakes("[cache]\nmemory_bytes = 1048576\nobject_bytes_max = 1048577\n");
        assert_eq!(
            found,
            ["3:20 object_bytes_max in [cache] is 1048577, more than all of its memory | at most \
              memory_bytes, which is 1048576"]
        );
    }

    #[test]
    fn a_disk_for_the_cache_is_none_or_of_use() {
        assert_eq!(settings("[cache]\ndisk_bytes = 0\n").unwrap().cache.disk_bytes, 0);
        assert_eq!(
            settings("[cache]\ndisk_bytes = 16777216\n").unwrap().cache.disk_bytes,
            16 * MIB
        );
        assert_eq!(
            mistakes("[cache]\ndisk_bytes = 16777215\n"),
            ["2:14 disk_bytes in [cache] is too little to be of use | 0 for none, or at least \
              16777216 bytes"]
        );
    }

    #[test]
    fn trusted_proxies() {
        let found = mistakes("[edge]\ntrusted_proxies = [\"::1\", \"10.0.0.0/33\", \"proxy\"]\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("2:27 \"10.0.0.0/33\" is neither network nor address | it"));
        assert!(found[1].starts_with("2:42 \"proxy\" is neither"), "{found:?}");
    }

    #[test]
    fn a_field_that_says_where_clients_are() {
        let proxies = "[edge]\ntrusted_proxies = [\"::1\"]\n";
        let read = settings(&format!("{proxies}country_field = \"CF-IPCountry\"\n")).unwrap();
        assert_eq!(read.edge.country_field.as_deref(), Some("cf-ipcountry"));
        let found = mistakes(&format!("{proxies}country_field = \"a b\"\n"));
        assert!(found[0].starts_with("3:17 no field is called \"a b\" | it takes"), "{found:?}");
        let found = mistakes("[edge]\ncountry_field = \"cf-ipcountry\"\n");
        let wrong = "2:17 country_field has no effect: no proxy is trusted | name who may say it";
        assert!(found[0].starts_with(wrong), "{found:?}");
    }

    #[test]
    fn limits() {
        let found =
            mistakes("[limits.none]\nper_second = 1\n[limits.Api]\nburst = 5\n[limits]\nx = 1\n");
        assert_eq!(found[0].split(" | ").next(), Some("1:9 a limit can't be called \"none\""));
        assert!(found[1].starts_with("3:1 [limits.Api] has no per_second"), "{found:?}");
        assert!(found[2].starts_with("3:9 a limit can't be called \"Api\""), "{found:?}");
        assert!(found[3].starts_with("6:5 [limits.x] is the number 1"), "{found:?}");
    }

    #[test]
    fn web_addresses() {
        for (url, wrong) in [
            ("files.example.com", "is no web address"),
            ("ftp://example.com", "begins with neither http:// nor https://"),
            ("https://example.com/files", "has more than scheme, host and port"),
            ("https://me@example.com", "has a user name in it"),
        ] {
            let found = mistakes(&format!("[edge]\npublic_base_url = \"{url}\""));
            assert!(found[0].starts_with(&format!("2:19 \"{url}\" {wrong}")), "{found:?}");
            let found = mistakes(&format!("[edge]\ncontent_base_url = \"{url}\""));
            assert!(found[0].starts_with(&format!("2:20 \"{url}\" {wrong}")), "{found:?}");
            let found = mistakes(&format!("[cors]\norigins = [\"*\", \"{url}\"]"));
            assert!(found[0].starts_with(&format!("2:17 \"{url}\" {wrong}")), "{found:?}");
        }
        let same = "[edge]\npublic_base_url = \"https://a.example\"\n\
            content_base_url = \"https://a.example:443\"\n";
        let found = mistakes(same);
        assert!(found[0].starts_with("3:20 content_base_url is the same as"), "{found:?}");
    }

    #[test]
    fn routes() {
        let route = |lines: &str| mistakes(&format!("[[routes]]\n{lines}\n"));
        for (lines, expected) in [
            ("cache = true", "1:1 [[routes]] has no path"),
            ("path = \"x\"", "2:8 the path \"x\" does not begin with a slash | \"/x\""),
            ("path = \"/{a}{b}\"", "2:8 the path \"/{a}{b}\" has two parameters in one segment"),
            ("path = \"/{*a}/b\"", "2:8 the path \"/{*a}/b\" goes on after its catch-all"),
            ("path = \"/{a\"", "2:8 the path \"/{a\" has a parameter without a name or a closing"),
            ("path = \"/files/x\"", "2:8 the path \"/files/x\" would never be reached"),
            (
                "path = \"/a\"\nlimit = \"raed\"",
                "3:9 there is no limit \"raed\" | did you mean \"read\"?",
            ),
            (
                "path = \"/a\"\nauth = \"yes\"",
                "3:8 auth in [[routes]] can't be \"yes\" | it takes one of",
            ),
            ("path = \"/a\"\nproxy = \"ftp://b\"", "3:9 \"ftp://b\" begins with neither http://"),
            ("path = \"/a\"\ncompress = true", "3:12 compress = true has no effect"),
            (
                "path = \"/a\"\nauth = \"none\"\ncache = true\ndictionaries = true",
                "5:16 dictionaries = true has no effect: no answer of this route is compressed",
            ),
            (
                "path = \"/a\"\ncache = true\ncompress = true\ndictionaries = true",
                "5:16 dictionaries = true has no effect: its answers may be one person's",
            ),
            (
                "path = \"/a\"\nauth = \"none\"\ncache = true\ncompress = true\nesi = true\n\
                 dictionaries = true",
                "7:16 dictionaries = true has no effect: its answers may be templates",
            ),
            ("path = \"/a\"\nesi = true", "3:7 esi = true has no effect"),
            ("path = \"/a\"\nclaims = [\"email\"]", "3:11 there is no claim \"email\""),
            ("path = \"/a\"\nauth = \"none\"\nclaims = [\"subject\"]", "4:11 claims has no effect"),
            (
                "path = \"/a\"\nclaims = [\"subject\", \"subject\"]",
                "3:22 the claim \"subject\" is there twice",
            ),
        ] {
            let found = route(lines);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn two_routes_for_the_same_paths() {
        let found = mistakes("[[routes]]\npath = \"/a/{b}\"\n[[routes]]\npath = \"/a/{c}\"\n");
        assert_eq!(
            found,
            [
                "4:8 the path \"/a/{c}\" matches what \"/a/{b}\" in line 2 does | remove one of the two"
            ]
        );
    }

    #[test]
    fn a_budget_is_of_so_many_requests_in_a_period() {
        let read = settings("[limits.read]\nbudget = 1000\n").unwrap();
        let budget = read.limits["read"].budget;
        assert_eq!(budget, Some(Budget { requests: 1_000, period_s: 86_400 }));
        for (lines, expected) in [
            (
                "bytes_period_s = 60",
                "2:18 bytes_period_s has no effect without bytes | say how many",
            ),
            ("bytes = 1000", "2:9 bytes in [limits.read] is out of range: 1000 | it takes"),
            (
                "bytes = 1_099_511_627_776\nbytes_period_s = 60",
                "2:9 bytes is more than can be counted in that time | at most 1 GiB a second",
            ),
            (
                "budget_period_s = 60",
                "2:19 budget_period_s has no effect without a budget | say how",
            ),
            (
                "budget = 0",
                "2:10 budget in [limits.read] is out of range: 0 | it takes a whole number",
            ),
            (
                "budget = 1\nbudget_period_s = 2678401",
                "3:19 budget_period_s in [limits.read] is out of range: 267",
            ),
        ] {
            let found = mistakes(&format!("[limits.read]\n{lines}\n"));
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    /// Keys that are absent by default.
    const WITHOUT_DEFAULT: &[&str] = &[
        "public_base_url",
        "content_base_url",
        "trusted_proxies",
        "country_field",
        "origins",
        "media_types",
        "quota_",
        "open_max",
        "secrets",
        "at_once",
        "budget",
        "bytes",
        "[edge.tls]",
        "[edge.origin_tls]",
        "[origin.tls]",
        "certificate_file",
        "key_file",
        "ca_file",
        "client_ca_file",
    ];

    /// The example lists every key with its default, commented out.
    #[test]
    fn the_example_says_the_defaults() {
        let example = include_str!("../../../outport.toml");
        assert_eq!(settings(example), Ok(Settings::default()));
        let uncommented: String = example
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest,
                _ => line,
            })
            .filter(|line| !WITHOUT_DEFAULT.iter().any(|key| line.starts_with(key)))
            .flat_map(|line| [line, "\n"])
            .collect();
        let mut read = settings(&uncommented).unwrap();
        assert_eq!(read.routes.pop().map(|route| route.auth), Some(Auth::Required));
        let acme = read.rules.tenants.remove("acme").unwrap();
        assert_eq!(acme.declared.size_max_bytes, 5_000_000_000);
        assert_eq!(std::mem::take(&mut read.firewall.rules).len(), 1);
        let hooks = std::mem::take(&mut read.hooks);
        assert_eq!(hooks.told.len(), 1);
        assert!(hooks.asked.is_some());
        assert_eq!(std::mem::take(&mut read.issuers).len(), 1);
        assert_eq!(std::mem::take(&mut read.edge.operators), ["ops"]);
        assert_eq!(std::mem::take(&mut read.session.issuers), ["https://id.example.com"]);
        assert_eq!(read.edge.small_upload_bytes_max.take(), Some(SMALL_UPLOAD_BYTES_MAX));
        let mut expected = Settings::default();
        expected.session.demo = Some(false);
        assert_eq!(read, expected);
    }
}

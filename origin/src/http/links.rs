//! Signed links: one file for whoever has it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ipnet::IpNet;
use outport_wire::UnixSeconds;
use outport_wire::id::FileId;
use outport_wire::identity::{Identity, Scope};
use outport_wire::link::{self, Link};
use outport_wire::network;
use outport_wire::problem::ProblemType;
use outport_wire::relation::Level;
use outport_wire::time::rfc3339;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::caller::Caller;
use super::failure::Failure;
use super::field::{Id, Query};
use super::files::{about_file, json_body, uncacheable};
use super::relations::permitted;
use super::{App, document};
use crate::audit::{Event, Kind};
use crate::record::{COUNTED_LINKS_MAX, Record};

/// How long the password of a link may be, in bytes.
const PASSWORD_BYTES: RangeInclusive<usize> = 8..=128;
/// How often a link can be used whose uses are counted.
const USES: RangeInclusive<u32> = 1..=1_000_000;
/// How long a link is good for if nothing is said.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long what is shared is good for.
pub(super) struct Life {
    pub(super) begins_s: Option<UnixSeconds>,
    pub(super) expires_s: UnixSeconds,
}

impl Life {
    /// By the seconds that somebody wants; a day if nothing is said.
    pub(super) fn wanted(
        app: &App,
        expires_in: Option<u64>,
        starts_in: Option<u64>,
    ) -> Result<Self, Failure> {
        let life_max = app.limits.link_life_max.as_secs();
        let life = expires_in.unwrap_or(LINK_LIFE.as_secs().min(life_max));
        if !(1..=life_max).contains(&life) {
            let must = format!("a number of seconds from 1 to {life_max}");
            return Err(Failure::field("expires_in", &must));
        }
        if starts_in.is_some_and(|wait| wait >= life) {
            let must = format!("a number of seconds below expires_in, which is {life}");
            return Err(Failure::field("starts_in", &must));
        }
        let now_s = app.store.now_s();
        let begins_s = starts_in.filter(|wait| *wait > 0).map(|wait| now_s + wait);
        Ok(Self { begins_s, expires_s: now_s + life })
    }
}

/// From where what is shared is to be good.
pub(super) fn network_of(network: Option<&str>) -> Result<Option<IpNet>, Failure> {
    let Some(network) = network else { return Ok(None) };
    let must = "a network such as \"192.0.2.0/24\", or an address such as \"2001:db8::1\"";
    let read = network::read(network).ok_or_else(|| Failure::field("network", must))?;
    Ok(Some(read.trunc()))
}

/// What `POST /files/{id}/links` is told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Seconds.
    expires_in: Option<u64>,
    /// Seconds.
    starts_in: Option<u64>,
    /// A network or an address.
    network: Option<String>,
    /// What whoever has the link must know, too.
    password: Option<String>,
    #[serde(default)]
    download: bool,
    /// How often the file may be fetched.
    uses: Option<u32>,
}

impl Wanted {
    /// How often the link may be used.
    fn uses(&self) -> Result<Option<u32>, Failure> {
        match self.uses {
            Some(uses) if !USES.contains(&uses) => {
                let must = format!("a number from {} to {}", USES.start(), USES.end());
                Err(Failure::field("uses", &must))
            }
            uses => Ok(uses),
        }
    }

    /// What is signed of the password.
    fn password(&self) -> Result<Option<[u8; 32]>, Failure> {
        let Some(password) = &self.password else { return Ok(None) };
        if !PASSWORD_BYTES.contains(&password.len()) || password.chars().any(char::is_control) {
            let must = "of 8 to 128 bytes, without control characters";
            return Err(Failure::field("password", must));
        }
        Ok(Some(link::password_digest(password)))
    }
}

/// A link that was made.
#[derive(Debug, Serialize)]
struct Made {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    begins: Option<String>,
    expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

/// `POST /files/{id}/{name}`, which is there for one name: `links`.
pub(crate) async fn share(
    State(app): State<App>,
    Id(id): Id,
    params: RawPathParams,
    caller: Caller,
    request: Request,
) -> Result<Response, Failure> {
    check_links(&params)?;
    let identity = caller.allowed(Scope::Share)?;
    let wanted: Wanted = json_body(&app, request.into_body()).await?;
    let Life { begins_s, expires_s } = Life::wanted(&app, wanted.expires_in, wanted.starts_in)?;
    let network = network_of(wanted.network.as_deref())?;
    let password = wanted.password()?;
    let uses = wanted.uses()?;
    let held = permitted(&app, identity, id, Level::Owner).await?;
    if !held.record.is_file() {
        return Err(Failure::not_found());
    }
    let download = wanted.download;
    let issued_ms = Some(app.store.now_ms());
    let until = Link::until(id, expires_s);
    let link = Link { begins_s, network, issued_ms, password, download, uses, ..until };
    let query = link.query(&app.link_key);
    let base = app.content_base_url.as_deref().unwrap_or_default();
    let made = Made {
        url: format!("{base}{}?{}", document::named_path(&held), query),
        begins: begins_s.map(rfc3339),
        expires: rfc3339(link.expires_s),
        network: network.map(|network| network.to_string()),
    };
    app.audit.note(identity, link_made(identity, &link)).await?;
    if let Some(uses) = uses {
        count(&app, id, &query, uses, expires_s).await?;
    }
    Ok((StatusCode::CREATED, uncacheable(), Json(made)).into_response())
}

/// Has the uses of a link counted from now on.
async fn count(
    app: &App,
    id: FileId,
    query: &str,
    uses: u32,
    until_s: UnixSeconds,
) -> Result<(), Failure> {
    let mark = link::mark(query).ok_or_else(|| Failure::internal("a link has a signature"))?;
    let now_s = app.store.now_s();
    let change = |record: &mut Record| {
        if record.count_link(mark, uses, until_s, now_s) {
            return Ok(());
        }
        let must = format!(
            "left out: the uses of {COUNTED_LINKS_MAX} links to this file are counted already. Wait until \
             one expires, or end them all"
        );
        Err(Failure::field("uses", &must))
    };
    app.store.change(id, change).await?;
    Ok(())
}

/// Whoever uses links to one file at this origin goes one after the other: they change one record, and
/// would only be in each other's way. Files share these.
static USING: [Mutex<()>; 64] = [const { Mutex::const_new(()) }; 64];

fn using(id: FileId) -> &'static Mutex<()> {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let place = hasher.finish() % USING.len() as u64;
    usize::try_from(place).ok().and_then(|place| USING.get(place)).unwrap_or(&USING[0])
}

/// `POST /files/{id}/uses?link=MARK`, by an edge: somebody uses a link whose uses are counted.
pub(crate) async fn spend(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
    query: Query,
) -> Result<StatusCode, Failure> {
    let mark = query.get("link").filter(|_| caller.is_edge()).ok_or_else(Failure::not_found)?;
    let change = |record: &mut Record| {
        if record.use_link(mark) { Ok(()) } else { Err(Failure::not_found()) }
    };
    let _turn = using(id).lock().await;
    app.store.change(id, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /files/{id}/{name}`, which is there for one name: `links`. Those that were made so far are
/// good no more.
pub(crate) async fn end_links(
    State(app): State<App>,
    Id(id): Id,
    params: RawPathParams,
    caller: Caller,
) -> Result<Response, Failure> {
    check_links(&params)?;
    let identity = caller.allowed(Scope::Share)?;
    let held = permitted(&app, identity, id, Level::Owner).await?;
    let now_ms = app.store.now_ms();
    let change = |record: &mut Record| {
        // Never back, whatever the clock does.
        record.links_after_ms = record.links_after_ms.max(Some(now_ms));
        record.link_uses.clear();
        if record.is_file() { Ok(()) } else { Err(Failure::not_found()) }
    };
    if held.record.is_file() {
        app.audit.note(identity, about_file(Kind::LinksEnded, identity, id)).await?;
    }
    app.store.change(id, change).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What is noted of a link: its restrictions, and nothing that it could be used with.
fn link_made(by: &Identity, link: &Link) -> Event {
    let made = about_file(Kind::LinkMade, by, link.id).with("expires", rfc3339(link.expires_s));
    let made = made.with("download", link.download).with("password", link.password.is_some());
    let made = match link.uses {
        Some(uses) => made.with("uses", uses),
        None => made,
    };
    let made = match link.begins_s {
        Some(begins_s) => made.with("begins", rfc3339(begins_s)),
        None => made,
    };
    match link.network {
        // It may be somebody's address.
        Some(network) => made.about("network", &by.subject, &network.to_string()),
        None => made,
    }
}

fn check_links(params: &RawPathParams) -> Result<(), Failure> {
    if params.iter().any(|(name, value)| name == "name" && value == "links") {
        return Ok(());
    }
    Err(Failure::new(
        ProblemType::MethodNotAllowed,
        "POST makes links, and DELETE ends them, at …/links",
    ))
}

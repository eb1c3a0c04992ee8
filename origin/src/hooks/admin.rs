//! What an operator sees of the queues, and how an event is sent again.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use outport_wire::time::rfc3339;
use serde_json::{Value, json};

use super::Hooks;
use super::deliver::{Target, count, uncount};
use super::event::EventId;
use super::queue::{Queued, Shelf};
use crate::http::App;
use crate::http::failure::Failure;
use crate::http::field::Query;
use crate::meta::MetaError;
use crate::store::StoreError;

/// How many entries one page has.
const PAGE_ENTRIES: usize = 100;
/// How many entries one request sends again.
const REPLAY_ENTRIES_MAX: usize = 1000;

/// What is below `/admin/hooks`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/hooks", get(hooks))
        .route("/admin/hooks/{hook}/{shelf}", get(page))
        .route("/admin/hooks/{hook}/dead/replay", post(replay_dead))
        .route("/admin/hooks/{hook}/events/{id}", get(show))
        .route("/admin/hooks/{hook}/events/{id}/replay", post(replay))
}

/// `GET /admin/hooks`: the receivers there are.
async fn hooks(State(app): State<App>) -> Json<Value> {
    let targets = app.hooks.targets().iter();
    Json(json!({ "hooks": targets.map(described).collect::<Vec<_>>() }))
}

/// `GET /admin/hooks/{hook}/waiting` and `…/dead`: a page of a queue.
async fn page(
    State(app): State<App>,
    Path((hook, shelf)): Path<(String, String)>,
    query: Query,
) -> Result<Response, Failure> {
    let target = target(&app.hooks, &hook)?;
    let shelf = match shelf.as_str() {
        "waiting" => Shelf::Waiting,
        "dead" => Shelf::Dead,
        _ => return Err(Failure::not_found()),
    };
    let after = query.get("cursor").map(cursor).transpose()?;
    let (found, next) = target.queue.page(shelf, after, PAGE_ENTRIES).await.map_err(failure)?;
    let now_ms = app.hooks.now_ms();
    let events: Vec<_> = found.iter().map(|queued| row(shelf, queued, now_ms)).collect();
    let next = next.map(|next| URL_SAFE_NO_PAD.encode(next));
    Ok(Json(json!({ "events": events, "cursor": next })).into_response())
}

/// `GET /admin/hooks/{hook}/events/{id}`: one event, with all that is sent of it.
async fn show(
    State(app): State<App>,
    Path((hook, id)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let (_, shelf, queued) = found(&app.hooks, &hook, &id).await?;
    let mut event = row(shelf, &queued, app.hooks.now_ms());
    if let Some(event) = event.as_object_mut() {
        event.insert("file".into(), queued.entry.event().file);
    }
    Ok(Json(event).into_response())
}

/// `POST /admin/hooks/{hook}/events/{id}/replay`: sends one event again, at once.
async fn replay(
    State(app): State<App>,
    Path((hook, id)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let (target, shelf, queued) = found(&app.hooks, &hook, &id).await?;
    let replayed = send_again(target, shelf, &queued, app.hooks.now_ms()).await.map_err(failure)?;
    Ok(Json(json!({ "replayed": u64::from(replayed) })).into_response())
}

/// `POST /admin/hooks/{hook}/dead/replay`: sends what was given up again. Ask again while there is
/// more.
async fn replay_dead(
    State(app): State<App>,
    Path(hook): Path<String>,
) -> Result<Response, Failure> {
    let target = target(&app.hooks, &hook)?;
    let page = target.queue.page(Shelf::Dead, None, REPLAY_ENTRIES_MAX).await;
    let (dead, next) = page.map_err(failure)?;
    let mut replayed = 0;
    for queued in &dead {
        let again = send_again(target, Shelf::Dead, queued, app.hooks.now_ms()).await;
        replayed += u64::from(again.map_err(failure)?);
    }
    Ok(Json(json!({ "replayed": replayed, "more": next.is_some() })).into_response())
}

async fn send_again(
    target: &Target,
    shelf: Shelf,
    queued: &Queued,
    now_ms: u64,
) -> Result<bool, MetaError> {
    let replayed = target.queue.replay(shelf, queued, now_ms).await?;
    if replayed && shelf == Shelf::Dead {
        uncount(&target.tally.dead);
        count(&target.tally.waiting);
    }
    target.wake.notify_one();
    Ok(replayed)
}

async fn found<'a>(
    hooks: &'a Hooks,
    hook: &str,
    id: &str,
) -> Result<(&'a Target, Shelf, Queued), Failure> {
    let target = target(hooks, hook)?;
    let id: EventId = id.parse().map_err(|_| Failure::not_found())?;
    let (shelf, queued) =
        target.queue.find(id).await.map_err(failure)?.ok_or_else(Failure::not_found)?;
    Ok((target, shelf, queued))
}

fn target<'a>(hooks: &'a Hooks, hook: &str) -> Result<&'a Target, Failure> {
    let target = hooks.targets().iter().find(|target| target.webhook.name == hook);
    target.ok_or_else(Failure::not_found)
}

/// A receiver. Its address is shown without its query, where tokens are kept.
fn described(target: &Target) -> Value {
    let (url, tally) = (&target.webhook.receiver.url, &target.tally);
    let host = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let events: Vec<_> = target.webhook.events.iter().map(|kind| kind.name()).collect();
    json!({
        "name": target.webhook.name,
        "url": format!("{}://{host}{}", url.scheme_str().unwrap_or_default(), url.path()),
        "events": events,
        "waiting": tally.waiting(),
        "dead": tally.dead(),
    })
}

fn row(shelf: Shelf, queued: &Queued, now_ms: u64) -> Value {
    let entry = &queued.entry;
    let state = match shelf {
        Shelf::Dead => "dead",
        Shelf::Waiting if entry.claimed_until_ms > now_ms => "sending",
        Shelf::Waiting => "waiting",
    };
    let last = entry.last.as_ref();
    json!({
        "id": entry.event_id().to_string(),
        "state": state,
        "attempts": entry.attempts,
        // When the next attempt is due, or when it was given up.
        "at": rfc3339(queued.at_ms() / 1000),
        "last": last.map(|last| json!({
            "at": rfc3339(last.at_ms / 1000),
            "outcome": last.outcome,
        })),
    })
}

fn cursor(text: &str) -> Result<Bytes, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| Failure::field("cursor", "one that a list answered with"))?;
    Ok(bytes.into())
}

fn failure(error: MetaError) -> Failure {
    StoreError::from(error).into()
}

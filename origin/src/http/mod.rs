//! The origin's HTTP interface: routes, and what they share.

mod ask;
pub(crate) mod audit;
mod budgets;
mod caller;
mod deliver;
pub(crate) mod document;
pub(crate) mod failure;
pub(crate) mod field;
mod files;
pub(crate) mod form;
mod handover;
mod linger;
mod links;
mod passes;
mod relations;
mod sessions;
pub(crate) mod uploads;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, StatusCode};
use outport_wire::identity::IDENTITY_HEADER;
use outport_wire::problem::ProblemType;
use outport_wire::rules::Rules;
use outport_wire::secret::Secret;
use tokio::sync::{mpsc, watch};

use self::failure::Failure;
use crate::audit::Audit;
use crate::budgets::Budgets;
use crate::callers::Tokens;
use crate::config::Limits;
use crate::digest::Trailer;
use crate::edges::{EdgeKeys, Nonces};
use crate::hooks::Hooks;
use crate::intake::{BodyCut, BodyStream, Cuts, Intake};
use crate::metrics::Metrics;
use crate::relations::Relations;
use crate::sessions::Sessions;
use crate::store::Store;
use crate::turns::Turn;

/// What every handler works with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    pub(crate) budgets: Budgets,
    pub(crate) relations: Arc<dyn Relations>,
    pub(crate) audit: Audit,
    pub(crate) rules: Arc<Rules>,
    pub(crate) hooks: Hooks,
    pub(crate) limits: Arc<Limits>,
    pub(crate) edge_keys: EdgeKeys,
    pub(crate) tokens: Option<Arc<dyn Tokens>>,
    pub(crate) takes_handovers: bool,
    pub(crate) nonces: Arc<Nonces>,
    pub(crate) link_key: Secret,
    pub(crate) content_base_url: Option<Arc<str>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
}

impl App {
    /// Takes a body in, until it ends or `turn` is over.
    fn intake(&self, body: BodyStream, allowed: u64, turn: Option<&Turn>) -> Intake {
        let metrics = self.metrics.clone();
        let counted = body.inspect_ok(move |bytes| metrics.received(bytes.len())).boxed();
        let cuts =
            Cuts { shutdown: self.tasks.cut.clone(), superseded: turn.map(Turn::superseded) };
        Intake::new(counted, allowed, self.limits.body_idle_max, cuts)
    }
}

/// Work that is to be finished though its client went away.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    /// Held by each of them while it runs; whoever has the other end sees when the last is done.
    alive: mpsc::WeakSender<Infallible>,
    /// Becomes true when bodies that are still coming are to be cut.
    cut: watch::Receiver<bool>,
}

impl Tasks {
    /// Takes work for as long as somebody holds `alive`.
    pub(crate) fn new(alive: &mpsc::Sender<Infallible>, cut: watch::Receiver<bool>) -> Self {
        Self { alive: alive.downgrade(), cut }
    }

    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let alive = self.alive.upgrade().ok_or_else(|| {
            Failure::new(ProblemType::Overloaded, "the origin is shutting down; try again")
        })?;
        let task = tokio::spawn(async move {
            let _alive = alive;
            work.await
        });
        task.await.map_err(Failure::internal)
    }
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let file = get(deliver::deliver).head(deliver::deliver);
    let files = Router::new()
        .route("/files", get(files::list).post(files::create))
        .route(
            "/files/{id}",
            file.clone().patch(files::change).delete(files::remove).put(handover::take),
        )
        .route("/files/{id}/{name}", file.post(links::share).delete(links::end_links))
        .route("/files/{id}/uses", post(links::spend))
        .route("/passes", post(passes::make));
    let uploads = Router::new()
        .route("/uploads", post(uploads::create).options(uploads::tus::options))
        .route(
            "/uploads/{id}",
            get(uploads::progress)
                .head(uploads::head)
                .patch(uploads::patch)
                .delete(files::remove)
                .options(uploads::tus::options),
        )
        .layer(from_fn(uploads::check_protocol));
    let sessions = Router::new()
        .route("/sessions", delete(sessions::end_all))
        .route("/sessions/{id}", put(sessions::begin).post(sessions::refresh).delete(sessions::end))
        .route("/revocations", get(sessions::revocations).post(sessions::revoke))
        .route("/relations", get(relations::read).post(relations::change))
        .route("/spent", get(budgets::spent).post(budgets::spent));
    let audit = Router::new()
        .route("/audit", get(audit::read))
        .route("/audit/forgotten", post(audit::forget))
        .route("/audit/purges", post(audit::note_purge))
        .route("/audit/denials", post(audit::note_denial));
    Router::new()
        .merge(files)
        .merge(audit)
        .merge(sessions)
        .merge(uploads)
        .fallback(|| async { Failure::not_found() })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), caller::check_caller))
        .layer(from_fn_with_state(app.clone(), audit::note_denials))
        .layer(from_fn_with_state(app.clone(), caller::check_signature))
        .layer(from_fn_with_state(app.clone(), count))
        .layer(from_fn(linger::linger))
        .merge(health())
        .with_state(app)
}

/// Whether it runs, and whether it could answer. These take no signature.
pub(crate) fn health() -> Router<App> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// A request's body as a stream. hyper ends it with an error where the connection was cut before
/// the announced end.
fn body_stream(body: Body) -> BodyStream {
    body.into_data_stream().map_err(|_| BodyCut).boxed()
}

/// The same; the checksum behind it goes where it is looked for.
fn body_stream_with(body: Body, trailer: Trailer) -> BodyStream {
    let frames = http_body_util::BodyStream::new(body).map_err(|_| BodyCut);
    let data = frames.try_filter_map(move |frame| {
        let data = frame.into_data().map_err(|behind| {
            let checksum = behind.trailers_ref().and_then(|fields| fields.get(field::CHECKSUM));
            if let Some(Ok(checksum)) = checksum.map(HeaderValue::to_str) {
                trailer.set(checksum.to_owned());
            }
        });
        futures::future::ok(data.ok())
    });
    data.boxed()
}

async fn method_not_allowed() -> Failure {
    Failure::new(ProblemType::MethodNotAllowed, "the Allow field lists those that are")
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    // What an edge asks by itself, once in a while, is nobody's request.
    let by_edge = matches!(request.uri().path(), "/revocations" | "/relations" | "/spent")
        && !request.headers().contains_key(IDENTITY_HEADER);
    let response = next.run(request).await;
    match by_edge {
        true => app.metrics.told_edge(),
        false => app.metrics.answered(&method, response.status()),
    }
    response
}

async fn ready(State(app): State<App>) -> Response {
    match app.store.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Failure::from(error)).into_response(),
    }
}

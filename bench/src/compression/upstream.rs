//! The server behind all of them: copies of each content, each with an address of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::content::Content;

/// Longer than the benchmark takes.
const FRESH: &str = "max-age=86400";

/// A running upstream; ends with the runtime.
pub(super) struct Upstream {
    /// Its address.
    pub(super) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    contents: Arc<Vec<Content>>,
    asked: AtomicUsize,
}

impl Upstream {
    /// Starts it.
    pub(super) async fn start(contents: Arc<Vec<Content>>) -> Result<Self> {
        let shared = Arc::new(Shared { contents, asked: AtomicUsize::new(0) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route(&path("{place}", "{copy}"), get(answer));
        let router = router.with_state(shared.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self { url, shared })
    }

    /// How many requests have reached it.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

/// Where a copy of a content is, at whoever serves it.
pub(super) fn path(place: &str, copy: &str) -> String {
    format!("/content/{place}/{copy}")
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path((place, _copy)): Path<(usize, usize)>,
) -> Response {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let Some(content) = shared.contents.get(place) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let fields = [(CONTENT_TYPE, content.media_type), (CACHE_CONTROL, FRESH)];
    (fields, content.body.clone()).into_response()
}

//! Small documents from elsewhere on the web, such as the keys of issuers.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use outport_tls::{ClientTls, Connector};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a connection is kept without use.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Idle connections kept for each server.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// Fetches them.
pub(crate) struct Documents {
    client: Client<Connector, Empty<Bytes>>,
}

impl Documents {
    /// Makes ready. `tls` says whose certificates are believed.
    pub(crate) fn new(tls: ClientTls) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(Connector::new(tls, CONNECT_MAX));
        Self { client }
    }

    /// The document there, if it comes whole, in time, and has no more bytes than this.
    pub(crate) async fn get(
        &self,
        url: &str,
        bytes_max: u64,
        patience: Duration,
    ) -> Option<Vec<u8>> {
        let fetched = tokio::time::timeout(patience, self.fetch(url, bytes_max)).await;
        let document = fetched.unwrap_or_else(|_| Err("it took too long".to_owned()));
        document.inspect_err(|error| tracing::warn!("{url} could not be fetched: {error}")).ok()
    }

    async fn fetch(&self, url: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("outport/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| innermost(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status()));
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes().to_vec())
    }
}

/// The cause that tells somebody something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

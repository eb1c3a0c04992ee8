//! Sends signed requests to receivers. Redirects are answers like any other, and are not followed.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use outport_tls::{ClientTls, Connector, system_authorities};
use outport_wire::UnixSeconds;
use rustls::RootCertStore;

use super::config::Receiver;
use super::event::Message;
use super::sign::signatures;

/// How long a connection to a receiver may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// How long an idle connection to a receiver is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How many idle connections to one receiver are kept.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Who brings messages to receivers.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// Sends a message, signed. Up to `answer_bytes_max` of the answer's body are read.
    fn post<'a>(
        &'a self,
        receiver: &'a Receiver,
        id: &'a str,
        now: UnixSeconds,
        message: Message,
        answer_bytes_max: usize,
    ) -> BoxFuture<'a, Result<Answer, SendError>>;
}

/// Speaks HTTP/1.1 to receivers, through TLS where the address says so.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    client: Client<Connector, Full<Bytes>>,
}

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long it wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// `None` is longer than was asked for.
    pub(crate) body: Option<Bytes>,
}

/// Why there is no answer. The same request may be answered later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

impl Sender {
    /// Makes ready. Certificates are checked by what the system trusts; to have none is an error
    /// only where `tls` is needed.
    pub(crate) fn new(tls: bool) -> io::Result<Self> {
        let roots = if tls { system_authorities()? } else { RootCertStore::empty() };
        let tls = ClientTls::believing(roots).map_err(io::Error::other)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(Connector::new(tls, CONNECT_MAX));
        Ok(Self { client })
    }
}

impl Carrier for Sender {
    fn post<'a>(
        &'a self,
        receiver: &'a Receiver,
        id: &'a str,
        now: UnixSeconds,
        message: Message,
        answer_bytes_max: usize,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        let exchange = async move {
            let request = request(receiver, id, now, message)
                .map_err(|error| SendError::Failed(error.to_string()))?;
            let response = self.client.request(request).await.map_err(|error| reason(&error))?;
            read(response.into_parts(), answer_bytes_max).await.map_err(SendError::Failed)
        };
        let in_time = async move {
            let answer = tokio::time::timeout(receiver.timeout, exchange).await;
            answer.map_err(|_| SendError::Timeout)?
        };
        in_time.boxed()
    }
}

fn request(
    receiver: &Receiver,
    id: &str,
    now: UnixSeconds,
    message: Message,
) -> http::Result<Request<Full<Bytes>>> {
    let signature = signatures(&receiver.secrets, id, now, &message.body);
    let mut request = Request::post(receiver.url.clone())
        .header(USER_AGENT, concat!("outport/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, message.content_type)
        .header("webhook-id", id)
        .header("webhook-timestamp", now)
        .header("webhook-signature", signature);
    for (name, value) in message.fields {
        request = request.header(name, value);
    }
    request.body(Full::new(message.body.into()))
}

async fn read(
    (head, body): (http::response::Parts, Incoming),
    bytes_max: usize,
) -> Result<Answer, String> {
    let body = match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Some(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => None,
        Err(error) => return Err(format!("the answer broke off: {error}")),
    };
    Ok(Answer { status: head.status, retry_after: retry_after(&head.headers), body })
}

/// Seconds only; a receiver's idea of the time of day is not relied on.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The innermost cause, which is the one that tells somebody something.
fn reason(error: &dyn std::error::Error) -> SendError {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    SendError::Failed(cause.to_string())
}

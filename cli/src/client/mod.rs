//! The commands that speak to a server over HTTP, and what they share: the address, the token,
//! and how an answer becomes a failure that says what to do.

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod backoff;
pub(crate) mod cache;
pub(crate) mod get;
pub(crate) mod hooks;
pub(crate) mod ls;
mod partial;
pub(crate) mod put;
pub(crate) mod revoke;
pub(crate) mod rm;
pub(crate) mod share;
mod state;
mod tus;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Problem};
use crate::keys::Keys;
use crate::token;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer that is no file's content may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The life of a token that a command makes for itself; no upload should outlast it.
const OWN_TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);
/// The largest JSON answer that is read.
const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest problem document that is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// Which server, and as whom.
#[derive(clap::Args, Clone)]
pub(crate) struct ServerArgs {
    /// The server's address
    #[arg(
        long,
        value_name = "URL",
        env = "OUTPORT_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    server: Url,
    /// The token to show it
    #[arg(long, value_name = "TOKEN", env = "OUTPORT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Without a token: make one of the demo tenant with the keys of this data folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A server, and who we are to it.
#[derive(Clone)]
pub(crate) struct Server {
    base: Url,
    token: Option<String>,
    http: reqwest::Client,
}

impl Server {
    /// Makes ready to speak to the server; nothing is sent yet.
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let is_web = matches!(args.server.scheme(), "http" | "https");
        if !is_web || args.server.host_str().is_none() {
            let message = format!(
                "{} is no address of a server: it takes http://HOST:PORT or https://HOST",
                args.server
            );
            return Err(Failure::Usage(message));
        }
        Self::at(args.server.clone(), args.token()?)
    }

    fn at(base: Url, token: Option<String>) -> Result<Self, Failure> {
        let tls = outport_tls::system_config();
        let tls = tls.map_err(|error| Failure::Process(format!("can't set up TLS: {error}")))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("outport/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::Process(format!("can't set up HTTP: {}", reason(&error))))?;
        Ok(Self { base, token, http })
    }

    /// The address that `reference` means as seen from the server's own.
    pub(crate) fn url(&self, reference: &str) -> Result<Url, Failure> {
        self.base
            .join(reference)
            .map_err(|error| Failure::Usage(format!("\"{reference}\" is no address: {error}")))
    }

    /// The address of a path of whole segments, each encoded.
    pub(crate) fn path(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        url
    }

    /// The server's address, for messages and as a key.
    pub(crate) fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// A request. The token goes along only to the server it is for.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let own = url.origin() == self.base.origin();
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) if own => request.bearer_auth(token),
            _ => request,
        }
    }

    /// Sends a request whose answer is short.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.accept(request.timeout(ANSWER_TIMEOUT).send().await).await
    }

    /// Tells an answer that says yes from one that says no, and from none.
    pub(crate) async fn accept(
        &self,
        answer: Result<Response, reqwest::Error>,
    ) -> Result<Response, Failure> {
        match answer {
            Err(error) => Err(self.unreachable(&error)),
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(refused(response).await),
        }
    }

    /// The failure that no answer is.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Unreachable { server: self.address(), reason: reason(error) }
    }

    /// The failure that an answer against the protocol is.
    pub(crate) fn strange(&self, what: impl Into<String>) -> Failure {
        Failure::Unreachable { server: self.address(), reason: what.into() }
    }

    /// Reads an answer's JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let body = read_bounded(response, JSON_BYTES_MAX).await;
        let body = body.map_err(|reason| self.strange(reason))?;
        serde_json::from_slice(&body)
            .map_err(|error| self.strange(format!("its answer is not what it should be: {error}")))
    }
}

impl ServerArgs {
    fn token(&self) -> Result<Option<String>, Failure> {
        match (&self.token, &self.data) {
            (Some(token), _) => Ok(Some(token.trim().to_owned())),
            (None, Some(data)) => token::demo(&Keys::open(data)?, OWN_TOKEN_TTL).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The failure that an answer without success is.
pub(crate) async fn refused(response: Response) -> Failure {
    let status = response.status();
    let body = read_bounded(response, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    if problem.title.is_empty() {
        problem.title = status.canonical_reason().unwrap_or("The server says no").to_owned();
    }
    Failure::Refused { status: status.as_u16(), problem }
}

async fn read_bounded(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("its answer is longer than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause, which is the one that tells a user something.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

//! An HTTP client whose answers are read whole and are easy to assert on.

use std::fmt;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Url};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::transcript::Fields;
use crate::{scene, tls};

/// A server, and a caller.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// An answer, read whole.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The content.
    pub body: Bytes,
}

impl Api {
    /// A caller without a token.
    pub fn new(base: &str) -> Self {
        Self::trusting(base, tls::client(RootCertStore::empty(), None))
    }

    /// A caller without a token, by TLS.
    pub fn trusting(base: &str, tls: ClientConfig) -> Self {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none());
        let base = base.parse().expect("the base URL is one");
        Self { http: http.build().expect("a client can be built"), base, token: None }
    }

    /// The same server and caller, by HTTP/2.
    #[must_use]
    pub fn by_http_2(&self) -> Self {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(RootCertStore::empty(), None))
            .http2_prior_knowledge();
        Self { http: http.build().expect("a client can be built"), ..self.clone() }
    }

    /// The same server, as the holder of `token`.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same server, as nobody.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The caller's token.
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("this caller has a token")
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("the path is one")
    }

    /// The server's host and port, for a connection of one's own.
    pub fn authority(&self) -> String {
        let host = self.base.host_str().expect("the base URL has a host");
        format!("{host}:{}", self.base.port_or_known_default().unwrap_or(80))
    }

    /// A GET without further fields.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// A GET.
    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, fields, "").await
    }

    /// A HEAD.
    pub async fn head(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(Method::HEAD, path, fields, "").await
    }

    /// A DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// A request with a JSON body.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let fields = [("content-type", "application/json")];
        self.send(method, path, &fields, body.to_string()).await
    }

    /// Any request. Ends the test where there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let sent = self.try_send(method.clone(), path, fields, body).await;
        sent.unwrap_or_else(|error| panic!("{method} {path} is not answered: {error:?}"))
    }

    /// Any request.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer, reqwest::Error> {
        let asked = scene::ask(&self.authority(), method.as_str(), path);
        let mut request =
            self.http.request(method.clone(), self.url(path)).headers(headers(fields));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) {
            request = request.body(body);
        }
        let answer = Answer::read(request.send().await?).await?;
        asked.answered(answer.status, answer.fields(), &answer.body);
        Ok(answer)
    }

    /// Uploads a file in one request and returns its document.
    pub async fn upload(&self, query: &str, kind: &str, content: impl Into<Body>) -> File {
        let fields = [("content-type", kind)];
        let answer = self.send(Method::POST, &format!("/files?{query}"), &fields, content).await;
        answer.expect_status(201);
        File(answer.json())
    }
}

/// A file's document.
pub struct File(pub Value);

impl File {
    /// The file's id.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The file's path.
    pub fn path(&self) -> String {
        format!("/files/{}", self.id())
    }

    /// A member that is text.
    pub fn text(&self, member: &str) -> &str {
        let value = self.0[member].as_str();
        value.unwrap_or_else(|| panic!("{member} is no text in {}", self.0))
    }
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await? })
    }

    /// The fields as text.
    fn fields(&self) -> Fields {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    /// Ends the test unless the status is `status`.
    #[track_caller]
    pub fn expect_status(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
    }

    /// A field's value; ends the test where there is none.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        self.field_if_any(name).unwrap_or_else(|| panic!("there is no {name} in {self:?}"))
    }

    /// A field's value.
    pub fn field_if_any(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("fields are visible ASCII"))
    }

    /// A field's value as a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        self.field(name).parse().unwrap_or_else(|_| panic!("{name} is no number in {self:?}"))
    }

    /// The content as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("it is no JSON ({error}): {self:?}"))
    }

    /// Ends the test unless this is the problem `slug` with this status, as RFC 9457 has it.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, slug: &str) {
        self.expect_status(status);
        assert_eq!(self.field("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:outport:problem:{slug}"), "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        let length = self.body.len();
        write!(f, "status {}, fields {:#?}, {length} bytes: {text}", self.status, self.headers)
    }
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a field's name");
        (name, HeaderValue::from_bytes(value.as_bytes()).expect("a field's value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

//! Who is asking. The origin takes no request that an edge did not sign, and what it does is for the
//! identity that the edge put under its signature. Where something is to change, that is not enough:
//! the caller's token or session must say the same.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outport_wire::edge_signature::{self, Signed};
use outport_wire::identity::{
    CALLER_REFUSED_HEADER, IDENTITY_HEADER, Identity, SESSION_HEADER, Scope,
};
use outport_wire::problem::{Problem, ProblemType};

use super::App;
use super::failure::Failure;
use crate::callers::Tokens;
use crate::edges::Nonce;
use crate::record::Record;
use crate::store::StoreError;

/// The caller, as an edge vouches for it. `None` is an anonymous one, or the edge itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<Identity>);

impl Caller {
    /// Whether it is an edge that asks for nobody else.
    pub(crate) fn is_edge(&self) -> bool {
        self.0.is_none()
    }

    /// The caller's identity, if it is known.
    pub(crate) fn known(&self) -> Result<&Identity, Failure> {
        self.0.as_ref().ok_or_else(|| {
            Failure::new(ProblemType::TokenMissing, "send a bearer token in Authorization")
        })
    }

    /// The same, if its token allows `scope`.
    pub(crate) fn allowed(&self, scope: Scope) -> Result<&Identity, Failure> {
        let identity = self.known()?;
        if !identity.scopes.allow(scope) {
            let detail = format!("the token needs the scope {}", scope.name());
            return Err(Failure::new(ProblemType::ScopeMissing, detail));
        }
        Ok(identity)
    }
}

/// Refuses what is not the caller's own as if it were not there.
pub(crate) fn own(identity: &Identity, record: &Record) -> Result<(), Failure> {
    let owned = identity.owns(&record.tenant, &record.owner);
    if owned { Ok(()) } else { Err(Failure::not_found()) }
}

/// The outermost layer: lets signed requests in, and puts the caller among their extensions.
pub(crate) async fn check_signature(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    match verified(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

/// The layer within: lets in what changes something, where it is known without the edge who asks.
pub(crate) async fn check_caller(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let (Some(tokens), Some(identity)) = (&app.tokens, &caller.0) else {
        return next.run(request).await;
    };
    if is_believed(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    match vouched(&app, tokens.as_ref(), identity, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// What an edge may ask in somebody's name by itself: to read; to hand over what it has accepted; and to
/// go on with and end sessions, for which who asks has a cookie that may be good for nothing else.
fn is_believed(method: &Method, path: &str) -> bool {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => true,
        Method::PUT => path.starts_with("/files/"),
        Method::POST | Method::DELETE => path == "/sessions" || path.starts_with("/sessions/"),
        _ => false,
    }
}

/// Whether a token or a session says that this is who asks.
async fn vouched(
    app: &App,
    tokens: &dyn Tokens,
    identity: &Identity,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let field = |name| text(headers, name).map_err(|()| unvouched("a field comes twice"));
    if let Some(session) = field(SESSION_HEADER)? {
        let session = session.parse().map_err(|_| unvouched("the session is none"))?;
        let lives = app.sessions.lives(identity, session).await.map_err(StoreError::from)?;
        return lives.then_some(()).ok_or_else(|| refused(&ended()));
    }
    let bearer = field(AUTHORIZATION.as_str())?.and_then(|value| value.split_once(' '));
    let Some((_, token)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
    else {
        return Err(unvouched("neither a token nor a session of the caller comes with it"));
    };
    let named = tokens.check(token.trim()).await.map_err(|problem| refused(&problem))?;
    if named.identity != *identity {
        return Err(unvouched("the caller's token names somebody else"));
    }
    let revoked = app.sessions.revoked(&identity.tenant).await.map_err(StoreError::from)?;
    if revoked.has_revoked(&identity.subject, named.issued_s) {
        let detail = "It was revoked since it was issued. Sign in again.";
        return Err(refused(&Problem::new(ProblemType::TokenRevoked, detail)));
    }
    Ok(())
}

fn ended() -> Problem {
    Problem::new(ProblemType::SessionEnded, "Sign in again.")
}

/// It is the caller that is refused, and the edge may tell them why.
fn refused(problem: &Problem) -> Failure {
    Failure::from(problem.clone())
        .with(HeaderName::from_static(CALLER_REFUSED_HEADER), HeaderValue::from_static("1"))
}

/// An edge says who asks, and nothing else does.
fn unvouched(why: &'static str) -> Failure {
    tracing::warn!("an edge vouches for a caller by itself: {why}");
    Failure::new(ProblemType::EdgeSignature, why)
}

fn verified(app: &App, request: &Request) -> Result<Caller, Failure> {
    let refused = |detail: String| Failure::new(ProblemType::EdgeSignature, detail);
    let headers = request.headers();
    let field = |name| text(headers, name).map_err(|()| refused(format!("{name} is malformed")));
    let (Some(input), Some(signature)) = (field("signature-input")?, field("signature")?) else {
        return Err(refused("this address is for edges; send your request to one".to_owned()));
    };
    let signed = Signed {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query(),
        identity: field(IDENTITY_HEADER)?,
        content_digest: field("content-digest")?,
    };
    let (keys, now) = (app.edge_keys.current(), app.store.now_s());
    let nonce = edge_signature::verify(&keys, &signed, input, signature, now)
        .map_err(|refusal| refused(refusal.to_string()))?;
    take_once(app, request.method(), nonce)?;
    let identity = signed.identity.map(Identity::decode).transpose();
    identity.map(Caller).map_err(|error| refused(error.to_string()))
}

/// Takes what changes something once. A GET changes nothing, and whoever stands between edge and
/// origin may send it again by itself where a connection fails (RFC 9110, section 9.2.2). A HEAD
/// does: it ends an append that hangs.
fn take_once(app: &App, method: &Method, nonce: u64) -> Result<(), Failure> {
    if method == Method::GET {
        return Ok(());
    }
    match app.nonces.take(nonce) {
        Nonce::Fresh => Ok(()),
        Nonce::Used => {
            let detail = "this request was taken before; each must be signed anew";
            Err(Failure::new(ProblemType::EdgeSignature, detail))
        }
        Nonce::NoRoom => {
            let detail = "more requests come than can be told from replays; try again";
            Err(Failure::new(ProblemType::Overloaded, detail))
        }
    }
}

/// The one value of a field. Two are an error: the signature would cover only one.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

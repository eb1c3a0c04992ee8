//! A server as the origin and the edge have it, whose handler does what a plan says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use outport_interim::{Interim, Sent, over};
use tokio::io::DuplexStream;

/// How often a handler that hesitates lets others go first.
const HESITATION_TURNS: usize = 50;

/// What the handler of every request does. It answers with the number of bytes that it read.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// The status of its interim responses.
    pub(crate) status: u16,
    /// How many it sends before it reads the body.
    pub(crate) at_start: usize,
    /// How many it sends after each piece of the body.
    pub(crate) per_chunk: usize,
    /// Whether it sends one more while its answer's body is sent.
    pub(crate) late: bool,
    /// Whether it is another task that reads and sends.
    pub(crate) apart: bool,
    /// Whether it lets everybody else go first.
    pub(crate) hesitates: bool,
    /// Whether it answers with the body itself, while it is coming in.
    pub(crate) echo: bool,
}

impl Plan {
    pub(crate) const NONE: Plan = Plan {
        status: 104,
        at_start: 0,
        per_chunk: 0,
        late: false,
        apart: false,
        hesitates: false,
        echo: false,
    };
}

/// What became of the interim responses of each request.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<String, Vec<Sent>>>>);

impl Seen {
    pub(crate) fn outcomes(&self, id: &str) -> Vec<Sent> {
        self.0.lock().unwrap().get(id).cloned().unwrap_or_default()
    }

    /// Waits for so many.
    pub(crate) async fn all(&self, id: &str, count: usize) -> Vec<Sent> {
        loop {
            let outcomes = self.outcomes(id);
            if outcomes.len() >= count {
                return outcomes;
            }
            tokio::task::yield_now().await;
        }
    }

    fn note(&self, id: &str, sent: Sent) {
        self.0.lock().unwrap().entry(id.to_owned()).or_default().push(sent);
    }
}

/// A connection whose either side holds so many bytes, and where the same is done for each request.
pub(crate) fn connect(bytes: usize, plan: Plan) -> (DuplexStream, Seen) {
    connect_by(bytes, move |_| plan)
}

/// As [`connect`], with a plan for each request by its path.
pub(crate) fn connect_by(
    bytes: usize,
    plans: impl Fn(&str) -> Plan + Send + Sync + 'static,
) -> (DuplexStream, Seen) {
    let (client, served) = tokio::io::duplex(bytes);
    let seen = Seen::default();
    let noted = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let plan = plans(id(&request));
        let noted = noted.clone();
        async move {
            if plan.apart {
                return Ok::<_, Infallible>(
                    tokio::spawn(handle(request, plan, noted)).await.unwrap(),
                );
            }
            Ok(handle(request, plan, noted).await)
        }
    });
    let (line, service) = over(TokioIo::new(served), service);
    tokio::spawn(async move {
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(line, service).await;
    });
    (client, seen)
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

async fn handle(request: Request<Incoming>, plan: Plan, seen: Seen) -> Response<Body> {
    let id = id(&request).to_owned();
    let interim = request.extensions().get::<Interim>().unwrap().clone();
    let news = News { interim, plan, id: id.clone(), seen };
    for _ in 0..if plan.hesitates { HESITATION_TURNS } else { 0 } {
        tokio::task::yield_now().await;
    }
    news.send(plan.at_start);
    let body = request.into_body();
    let body = if plan.echo { news.echo(body) } else { news.count(body).await };
    Response::builder().header("id", id).body(body).unwrap()
}

struct News {
    interim: Interim,
    plan: Plan,
    id: String,
    seen: Seen,
}

impl News {
    fn send(&self, count: usize) {
        let mut fields = HeaderMap::new();
        fields.insert("id", HeaderValue::from_str(&self.id).unwrap());
        let status = StatusCode::from_u16(self.plan.status).unwrap();
        for _ in 0..count {
            self.seen.note(&self.id, self.interim.send(status, &fields));
        }
    }

    /// Answers with the number of bytes.
    async fn count(self, mut body: Incoming) -> Body {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len));
            self.send(self.plan.per_chunk);
        }
        let text = Bytes::from(read.to_string());
        if !self.plan.late {
            return Full::new(text).map_err(|never| match never {}).boxed_unsync();
        }
        let pieces = futures::stream::once(async move {
            self.send(1);
            Ok(Frame::data(text))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    /// Answers with what comes in, and goes on sending.
    fn echo(self, body: Incoming) -> Body {
        let pieces = futures::stream::unfold(
            (self, body),
            |(news, mut body): (News, Incoming)| async move {
                let frame = body.frame().await?;
                news.send(1);
                Some((frame, (news, body)))
            },
        );
        StreamBody::new(pieces).boxed_unsync()
    }
}

fn id(request: &Request<Incoming>) -> &str {
    request.uri().path().trim_start_matches('/')
}

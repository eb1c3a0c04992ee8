//! Asks somebody before an upload is created: may it be, and under which name?

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use outport_wire::file::Visibility;
use outport_wire::time::rfc3339;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::config::{BeforeCreate, OnFailure};
use super::event::Message;
use super::send::{Answer, Carrier as _, SendError, Sender};
use crate::environment::Environment;

/// How many questions are asked at once; more wait.
const QUESTIONS_MAX: usize = 256;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The most of a reason that clients are shown.
const REASON_CHARS_MAX: usize = 500;
const TYPE: &str = "outport.file.creating";

/// How an upload comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// tus 1.0.
    Tus,
    /// Resumable Uploads for HTTP.
    Draft,
    /// One request, one file.
    Raw,
    /// A file of a form.
    Form,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Tus => "tus",
            Self::Draft => "resumable",
            Self::Raw => "raw",
            Self::Form => "form",
        }
    }
}

/// What is to be created.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) name: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) visibility: Visibility,
    pub(crate) metadata: &'a BTreeMap<String, String>,
    /// Where it is known beforehand.
    pub(crate) length: Option<u64>,
    pub(crate) protocol: Protocol,
}

/// What the answer wants to be different. It is not checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Wishes {
    pub(crate) name: Option<String>,
    pub(crate) visibility: Option<Visibility>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It may be created.
    Allowed(Wishes),
    /// It may not, for this reason.
    Refused(String),
    /// There is no answer that can be used. The client may try again.
    Failed,
}

/// What may be said in a refusal: a problem document, or something like it.
#[derive(Debug, Default, Deserialize)]
struct Reason {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// Who is asked.
pub(crate) struct Before {
    config: BeforeCreate,
    sender: Sender,
    environment: Arc<dyn Environment>,
    places: Semaphore,
}

impl Before {
    pub(crate) fn new(
        config: BeforeCreate,
        sender: Sender,
        environment: Arc<dyn Environment>,
    ) -> Self {
        Self { config, sender, environment, places: Semaphore::new(QUESTIONS_MAX) }
    }

    /// Asks, and says what follows from the answer, or from its absence.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Reply {
        if !self.config.receiver.concerns(question.tenant) {
            return Reply::Allowed(Wishes::default());
        }
        match understood(self.send(&question).await) {
            Ok(reply) => reply,
            Err(reason) => {
                tracing::warn!(reason, "who is asked before creation gave no usable answer");
                self.without_answer()
            }
        }
    }

    /// What follows where there is no answer that can be used.
    fn without_answer(&self) -> Reply {
        match self.config.on_failure {
            OnFailure::Refuse => Reply::Failed,
            OnFailure::Allow => Reply::Allowed(Wishes::default()),
        }
    }

    async fn send(&self, question: &Question<'_>) -> Result<Answer, SendError> {
        let receiver = &self.config.receiver;
        let asking = async {
            let _place = self.places.acquire().await; // Never closed.
            let now = self.environment.unix_s();
            let random = [self.environment.random(), self.environment.random()];
            let [high, low] = random;
            let id = format!("creating-{high:016x}{low:016x}");
            let message = question.message(&rfc3339(now));
            self.sender.post(receiver, &id, now, message, ANSWER_BYTES_MAX).await
        };
        tokio::time::timeout(receiver.timeout, asking).await.map_err(|_| SendError::Timeout)?
    }
}

impl Question<'_> {
    fn message(&self, time: &str) -> Message {
        let document = json!({
            "type": TYPE,
            "timestamp": time,
            "data": {
                "tenant": self.tenant,
                "owner": self.owner,
                "name": self.name,
                "type": self.media_type,
                "size": self.length,
                "visibility": self.visibility,
                "metadata": self.metadata,
                "protocol": self.protocol.name(),
            },
        });
        Message {
            content_type: "application/json",
            fields: Vec::new(),
            body: document.to_string().into_bytes(),
        }
    }
}

/// What an answer means; an error is one that means nothing.
fn understood(outcome: Result<Answer, SendError>) -> Result<Reply, String> {
    let Answer { status, body, .. } = outcome.map_err(|error| error.to_string())?;
    let passing =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_success() {
        let body = body.ok_or("the answer is too long")?;
        let wishes =
            if body.is_empty() { Ok(Wishes::default()) } else { serde_json::from_slice(&body) };
        return wishes.map(Reply::Allowed).map_err(|error| format!("the answer: {error}"));
    }
    if status.is_client_error() && !passing.contains(&status) {
        let body = body.unwrap_or_default();
        return Ok(Reply::Refused(reason(serde_json::from_slice(&body).unwrap_or_default())));
    }
    Err(format!("status {}", status.as_u16()))
}

/// What a client is shown of a refusal: a bounded line of text.
fn reason(Reason { title, detail }: Reason) -> String {
    let said: Vec<_> = [title, detail].into_iter().filter(|said| !said.is_empty()).collect();
    if said.is_empty() {
        return "it gave no reason".to_owned();
    }
    let line = said.join(": ");
    line.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Result<Answer, SendError> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, retry_after: None, body: Some(body.into()) })
    }

    #[test]
    fn an_answer_allows_with_or_without_wishes() {
        for allowed in [answer(200, ""), answer(204, ""), answer(200, "{\"other\": 1}")] {
            assert_eq!(understood(allowed), Ok(Reply::Allowed(Wishes::default())));
        }
        let wishes = Wishes {
            name: Some("b".into()),
            visibility: Some(Visibility::Public),
            metadata: Some(BTreeMap::from([("k".into(), "v".into())])),
        };
        let body = r#"{"name":"b","visibility":"public","metadata":{"k":"v"}}"#;
        assert_eq!(understood(answer(201, body)), Ok(Reply::Allowed(wishes)));
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = |body| match understood(answer(403, body)) {
            Ok(Reply::Refused(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(r#"{"title":"No","detail":"not\ntoday"}"#), "No: nottoday");
        assert_eq!(refused(r#"{"detail":"not today"}"#), "not today");
        assert_eq!(refused("<html>"), "it gave no reason");
        let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(REASON_CHARS_MAX + 1));
        assert_eq!(refused(Box::leak(long.into_boxed_str())).len(), REASON_CHARS_MAX);
    }

    #[test]
    fn everything_else_is_no_answer() {
        for (status, body) in
            [(200, "<html>"), (200, "{\"name\":1}"), (302, ""), (408, ""), (429, ""), (503, "")]
        {
            assert!(understood(answer(status, body)).is_err(), "{status} {body}");
        }
        assert!(understood(Err(SendError::Timeout)).is_err());
        let long = Answer { status: StatusCode::OK, retry_after: None, body: None };
        assert!(understood(Ok(long)).is_err());
    }
}

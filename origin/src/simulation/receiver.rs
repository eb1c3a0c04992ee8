//! Who is told of files: a receiver that refuses, is slow, and takes what it does not answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{StatusCode, Uri};
use outport_wire::UnixSeconds;

use super::faults::Fault;
use super::scene::Scene;
use super::schedule::Domain;
use crate::environment::Environment;
use crate::hooks::deliver::Courier;
use crate::hooks::event::Message;
use crate::hooks::queue::Queue;
use crate::hooks::send::{Answer, Carrier, SendError};
use crate::hooks::{Format, Hooks, Kind, Pace, Receiver, Runner, Webhook};
use crate::meta::Meta;

/// The name of the one receiver.
const NAME: &str = "all";
/// How long it may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an origin tells it.
pub(super) fn hooks(
    scene: Arc<Scene>,
    by: Domain,
    meta: &Arc<dyn Meta>,
    environment: &Arc<dyn Environment>,
) -> (Hooks, Runner) {
    let receiver =
        Receiver { url: Uri::default(), secrets: Vec::new(), tenants: None, timeout: TIMEOUT };
    let webhook = Webhook {
        name: NAME.into(),
        receiver,
        events: Kind::ALL.into_iter().collect(),
        format: Format::Standard,
    };
    let pace = Pace {
        pauses: [1, 5, 20].map(Duration::from_secs).to_vec(),
        intent_age_max: Duration::from_secs(60),
        look_every: Duration::from_secs(5),
    };
    let courier = Courier {
        sender: Arc::new(Line { scene, by }),
        environment: environment.clone(),
        pace: Arc::new(pace),
        source: "simulation".into(),
    };
    Hooks::carried(vec![webhook], meta, courier, None)
}

/// Its queue.
pub(super) fn queue(meta: Arc<dyn Meta>) -> Queue {
    Queue::new(meta, NAME)
}

/// A process's way to the receiver.
struct Line {
    scene: Arc<Scene>,
    by: Domain,
}

impl Line {
    async fn tell(&self, event: &str) -> Result<Answer, SendError> {
        let place = Place { by: self.by, event };
        self.scene.take_time(Fault::HookSilent, &place).await;
        if self.scene.strikes(Fault::HookRefused, &place) {
            let statuses = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::GONE];
            return Ok(answer(self.scene.dice.pick(&statuses).unwrap_or_default()));
        }
        self.scene.note(format_args!("{place}"));
        self.scene.state().told(event);
        if self.scene.strikes(Fault::HookUnheard, &place) {
            return Err(SendError::Failed("the simulation says so".into()));
        }
        Ok(answer(StatusCode::OK))
    }
}

impl Carrier for Line {
    fn post<'a>(
        &'a self,
        receiver: &'a Receiver,
        id: &'a str,
        _now: UnixSeconds,
        _message: Message,
        _answer_bytes_max: usize,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let told = tokio::time::timeout(receiver.timeout, self.tell(id));
            told.await.map_err(|_| SendError::Timeout)?
        }
        .boxed()
    }
}

fn answer(status: StatusCode) -> Answer {
    Answer { status, retry_after: None, body: Some(Bytes::new()) }
}

/// Who does what, for the trace.
struct Place<'a> {
    by: Domain,
    event: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "origin {}: tell {}", self.by, self.event)
    }
}

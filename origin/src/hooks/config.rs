//! What an origin is told of those who want to hear of its files.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Uri;

use super::event::Kind;
use super::sign::HookSecret;

/// Everybody who is told, and asked.
#[derive(Clone, Debug, Default)]
pub struct HooksConfig {
    /// Those who are told afterwards.
    pub webhooks: Vec<Webhook>,
    /// Who is asked before anything is created.
    pub before_create: Option<BeforeCreate>,
    /// How long things take.
    pub pace: Pace,
}

/// Where something is sent, and how it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// An `http` or `https` address. The operator chooses it, so it may be on this machine.
    pub url: Uri,
    /// Signs what is sent, with each of them.
    pub secrets: Vec<HookSecret>,
    /// Only what happens to these tenants is sent; `None` sends all.
    pub tenants: Option<BTreeSet<String>>,
    /// How long an answer may take, from the connection to its end.
    pub timeout: Duration,
}

/// One who is told of what has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Names its queue, which it finds again under the same name. 1 to 64 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// Where events go.
    pub receiver: Receiver,
    /// What it is told of.
    pub events: BTreeSet<Kind>,
    /// The form of what is sent.
    pub format: Format,
}

/// The form of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Standard Webhooks: `type`, `timestamp` and `data`.
    Standard,
    /// CloudEvents 1.0.2, structured: one JSON document.
    CloudEvents,
    /// CloudEvents 1.0.2, binary: attributes as fields of the head, the data as the body.
    CloudEventsBinary,
}

/// One who is asked before an upload is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeforeCreate {
    /// Where the question goes.
    pub receiver: Receiver,
    /// What is done without an answer.
    pub on_failure: OnFailure,
}

/// What is done where the one who is asked does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The upload is refused, and the client may try again.
    Refuse,
    /// The upload is created as it was asked for.
    Allow,
}

/// How long things take. The defaults are those of Standard Webhooks; tests are in a hurry.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How long after an attempt that failed the next one is made. There is one attempt more than
    /// there are pauses; then the event is dead.
    pub pauses: Vec<Duration>,
    /// How long it may take from the intent to the change. An intent that is older, and whose
    /// change has not been made, is dropped.
    pub intent_age_max: Duration,
    /// How often intents are looked through that nobody reported done: a crash leaves them.
    pub look_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        const MINUTE_S: u64 = 60;
        const HOUR_S: u64 = 60 * MINUTE_S;
        let pauses_s = [
            5,
            5 * MINUTE_S,
            30 * MINUTE_S,
            2 * HOUR_S,
            5 * HOUR_S,
            10 * HOUR_S,
            14 * HOUR_S,
            20 * HOUR_S,
            24 * HOUR_S,
        ];
        Self {
            pauses: pauses_s.map(Duration::from_secs).to_vec(),
            intent_age_max: Duration::from_secs(HOUR_S),
            look_every: Duration::from_secs(10),
        }
    }
}

impl Receiver {
    /// Whether what happens to this tenant is its business.
    pub(crate) fn concerns(&self, tenant: &str) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

impl Webhook {
    /// Whether it is told of such an event.
    pub(crate) fn wants(&self, kind: Kind, tenant: &str) -> bool {
        self.events.contains(&kind) && self.receiver.concerns(tenant)
    }
}

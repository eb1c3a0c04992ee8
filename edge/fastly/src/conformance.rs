//! The contracts of the needs, held in this driver on its real runtime.
//!
//! Several exchanges share one instance here, so that no lookup may wait: who waits is asked
//! again.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::time::{Duration, Instant};

use fastly::handle::{BodyHandle, RequestHandle};
use outport_edge_core::conformance::{self, PATH, ScriptedAnswer, Subject};
use outport_edge_core::deployment::backend;
use outport_edge_core::head::RequestHead;
use outport_edge_core::platform::FASTLY;
use outport_edge_core::step::{Abilities, Need, Outcome, Reply, Upstream, Wider};

use crate::cache::Asked;
use crate::exchange::{Exchange, Parts};
use crate::head;

/// How long an outcome that waits for another exchange is asked for.
const OUTCOME_WITHIN: Duration = Duration::from_millis(500);

/// Answers a request of the suite. False where it is none.
pub(crate) fn answers(request: &RequestHandle) -> bool {
    let head = head::to_core(request).unwrap_or_default();
    let Some(head) = RequestHead::parse(&head).filter(|head| head.target.starts_with(PATH)) else {
        return false;
    };
    let (status, text) = conformance::block_on(conformance::answer::<Fastly>(head.target));
    let response = head::response_from_core(status, b"", Some(text.len() as u64));
    response.send_to_client(BodyHandle::from(text.as_str()));
    true
}

/// The driver under test.
struct Fastly {
    parts: &'static Parts,
    answers: VecDeque<ScriptedAnswer>,
    exchanges: HashMap<u64, State>,
    opened: u64,
    /// Before every key: what the platform keeps outlives a test.
    prefix: String,
}

struct State {
    exchange: Exchange<'static>,
    asked: Option<Result<Asked, Outcome>>,
}

impl Fastly {
    fn prefixed(&self, need: Need) -> Need {
        match need {
            Need::Lookup { key } => Need::Lookup { key: format!("{}{key}", self.prefix) },
            Need::Put { key, head, fresh_ms } => {
                Need::Put { key: format!("{}{key}", self.prefix), head, fresh_ms }
            }
            Need::Value { key } => Need::Value { key: format!("{}{key}", self.prefix) },
            Need::Take { key, allowance, wider } => {
                let prefixed = |key| format!("{key}{}", self.prefix);
                let wider = wider.into_iter();
                let wider = wider.map(|wider| Wider { key: prefixed(wider.key), ..wider });
                Need::Take { key: prefixed(key), allowance, wider: wider.collect() }
            }
            other => other,
        }
    }
}

impl Subject for Fastly {
    type Ticket = u64;

    const ABILITIES: Abilities = FASTLY.abilities;
    const LEFT_OUT: &'static [(&'static str, &'static str)] = &[
        ("allowances_are_spent", "Viceroy's rate limiter never limits"),
        ("allowances_refill", "Viceroy's rate limiter never limits"),
        ("allowances_are_apart", "Viceroy's rate limiter never limits"),
        ("an_allowance_is_shared_with_others", "Viceroy's rate limiter never limits"),
    ];

    async fn new(answers: Vec<ScriptedAnswer>) -> Self {
        let (_, parts) = crate::settings::load().unwrap_or_else(|missing| panic!("{missing}"));
        Self {
            parts: Box::leak(Box::new(parts)),
            answers: answers.into(),
            exchanges: HashMap::new(),
            opened: 0,
            prefix: format!("{:016x}-", crate::random()),
        }
    }

    fn open(&mut self) -> u64 {
        self.opened += 1;
        let exchange = Exchange::new(self.parts, None);
        self.exchanges.insert(self.opened, State { exchange, asked: None });
        self.opened
    }

    fn upstream(&self) -> String {
        self.parts.upstreams.get(&backend(Upstream::Origin)).cloned().unwrap_or_default()
    }

    async fn ask(&mut self, ticket: u64, need: Need) {
        let need = conformance::scripted(need, &mut self.answers);
        let need = self.prefixed(need);
        let Some(state) = self.exchanges.get_mut(&ticket) else { panic!("no such exchange") };
        state.asked = Some(match need {
            Need::Lookup { key } => {
                state.exchange.give_up();
                Ok(Asked::new(key))
            }
            need => Err(state.exchange.fulfil(need)),
        });
    }

    async fn outcome(&mut self, ticket: u64) -> Option<Outcome> {
        let state = self.exchanges.get_mut(&ticket)?;
        match state.asked.take()? {
            Err(outcome) => Some(outcome),
            Ok(asked) => {
                let begun = Instant::now();
                while asked.waits() {
                    if begun.elapsed() > OUTCOME_WITHIN {
                        state.asked = Some(Ok(asked));
                        return None;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Some(Outcome::Looked(state.exchange.look(asked)))
            }
        }
    }

    async fn reply(&mut self, ticket: u64, mut reply: Reply) -> (Vec<u8>, bool) {
        let Some(mut state) = self.exchanges.remove(&ticket) else { panic!("no such exchange") };
        if let Some(store) = &mut reply.store {
            store.key.insert_str(0, &self.prefix);
            store.tags.iter_mut().for_each(|tag| tag.insert_str(0, &self.prefix));
        }
        for key in &mut reply.forget {
            key.insert_str(0, &self.prefix);
        }
        reply.purge.iter_mut().for_each(|purge| purge.tag.insert_str(0, &self.prefix));
        let mut bytes = Vec::new();
        let whole = state.exchange.respond(&mut reply).read_to_end(&mut bytes).is_ok();
        state.exchange.settle();
        (bytes, whole)
    }

    async fn reply_first(&mut self, ticket: u64, mut reply: Reply) -> (Vec<u8>, bool) {
        let Some(state) = self.exchanges.get_mut(&ticket) else { panic!("no such exchange") };
        let mut bytes = Vec::new();
        let whole = state.exchange.respond_first(&mut reply).read_to_end(&mut bytes).is_ok();
        (bytes, whole)
    }

    async fn abandon(&mut self, ticket: u64) {
        self.exchanges.remove(&ticket);
    }

    async fn put_value(&mut self, key: &str, value: &[u8]) {
        let Some(values) = &self.parts.values else { panic!("there is no KV store") };
        let put = values.insert(&format!("{}{key}", self.prefix), value);
        put.unwrap_or_else(|error| panic!("the value could not be put: {error}"));
    }

    async fn wait(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

//! This driver under the contracts of the needs.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures::future::{Either, FutureExt as _, select};
use outport_edge_core::conformance::{self, PATH, ScriptedAnswer, scripted};
use outport_edge_core::platform::SPIN;
use outport_edge_core::step::{Abilities, Need, Outcome, Reply, Upstream};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::types::Request;
use spin_sdk::wasip3::random::random::get_random_u64;

use crate::body::Sink;
use crate::exchange::Exchange;
use crate::node::{Needs, Node};
use crate::store::Store;

/// How long an outcome is waited for before it counts as none, in nanoseconds.
const NOTHING_NS: u64 = 500_000_000;

/// Answers a request below `/conformance/`.
pub(crate) async fn answer(request: &Request) -> Option<(u16, String)> {
    let path = request.get_path_with_query()?;
    if !path.starts_with(PATH) {
        return None;
    }
    Some(conformance::answer::<Subject>(&path).await)
}

type Asked = Pin<Box<dyn Future<Output = (Exchange, Outcome)>>>;

enum State {
    Idle(Box<Exchange>),
    Asked(Asked),
}

struct Subject {
    needs: Rc<Needs>,
    answers: VecDeque<ScriptedAnswer>,
    exchanges: HashMap<u64, State>,
}

impl conformance::Subject for Subject {
    type Ticket = u64;

    const ABILITIES: Abilities = SPIN.abilities;

    async fn new(answers: Vec<ScriptedAnswer>) -> Self {
        let node = Node::get().await.unwrap_or_else(|missing| panic!("{missing}"));
        // Stores outlive a test.
        let prefix = format!("conformance/{:x}/", get_random_u64());
        let store = Store::open(prefix).await.unwrap_or_else(|missing| panic!("{missing}"));
        let deployment = node.needs.deployment.clone();
        let needs = Rc::new(Needs { store: Rc::new(store), deployment });
        Self { needs, answers: answers.into(), exchanges: HashMap::new() }
    }

    fn open(&mut self) -> u64 {
        let ticket = get_random_u64();
        self.exchanges
            .insert(ticket, State::Idle(Box::new(Exchange::new(self.needs.clone(), None))));
        ticket
    }

    fn upstream(&self) -> String {
        self.needs.deployment.url(Upstream::Origin).unwrap_or_default().to_owned()
    }

    async fn ask(&mut self, ticket: u64, need: Need) {
        let need = scripted(need, &mut self.answers);
        let Some(State::Idle(mut exchange)) = self.exchanges.remove(&ticket) else {
            panic!("it is asked one thing at a time")
        };
        let mut asked: Asked = Box::pin(async move {
            let outcome = exchange.fulfil(need).await;
            (*exchange, outcome)
        });
        // It begins now, so that who is asked first is first.
        if let Some((exchange, outcome)) = within(&mut asked, NOTHING_NS / 5).await {
            asked = Box::pin(std::future::ready((exchange, outcome)));
        }
        self.exchanges.insert(ticket, State::Asked(asked));
    }

    async fn outcome(&mut self, ticket: u64) -> Option<Outcome> {
        let Some(State::Asked(asked)) = self.exchanges.get_mut(&ticket) else {
            panic!("nothing was asked")
        };
        let (exchange, outcome) = within(asked, NOTHING_NS).await?;
        self.exchanges.insert(ticket, State::Idle(Box::new(exchange)));
        Some(outcome)
    }

    async fn reply(&mut self, ticket: u64, reply: Reply) -> (Vec<u8>, bool) {
        let Some(State::Idle(exchange)) = self.exchanges.remove(&ticket) else {
            panic!("its outcome was not taken")
        };
        let mut body = Collected(Vec::new());
        let (_, _, written) = exchange.respond(reply);
        let whole = written.write(&mut body).await.is_ok();
        (body.0, whole)
    }

    async fn reply_first(&mut self, ticket: u64, reply: Reply) -> (Vec<u8>, bool) {
        let Some(State::Idle(exchange)) = self.exchanges.get_mut(&ticket) else {
            panic!("its outcome was not taken")
        };
        let mut body = Collected(Vec::new());
        let (_, _, written) = exchange.respond_first(reply);
        let whole = written.write(&mut body).await.is_ok();
        (body.0, whole)
    }

    async fn abandon(&mut self, ticket: u64) {
        self.exchanges.remove(&ticket);
    }

    async fn put_value(&mut self, key: &str, value: &[u8]) {
        assert!(self.needs.store.set(key, value).await);
    }

    async fn wait(&mut self, ms: u64) {
        monotonic_clock::wait_for(ms * 1_000_000).await;
    }
}

async fn within(asked: &mut Asked, ns: u64) -> Option<(Exchange, Outcome)> {
    match select(asked, monotonic_clock::wait_for(ns).boxed_local()).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

struct Collected(Vec<u8>);

impl Sink for Collected {
    async fn put(&mut self, piece: Vec<u8>) -> bool {
        self.0.extend(piece);
        true
    }
}

//! The driver under the contracts of the needs, in the runtime that it is made for.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures::future::join;
use outport_edge_core::conformance::{self, ScriptedAnswer, Subject};
use outport_edge_core::platform::CLOUDFLARE;
use outport_edge_core::step::{Abilities, Allowance, Need, Outcome, Reply, Upstream};
use worker::Delay;
use worker::js_sys::{Object, Uint8Array};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::web_sys::{Headers, Request, Response};

use crate::exchange::{Exchange, Held, Parts};
use crate::{js, setup};

/// How long is waited for an outcome: longer than any fetch of the suite may take.
const OUTCOME_MS: u64 = 600;
const PAUSE_MS: u64 = 10;

thread_local! {
    /// The parts of the request that runs a test.
    static PARTS: RefCell<Option<Parts>> = const { RefCell::new(None) };
}

/// Answers a request below the suite's path. `None` for every other.
pub(crate) async fn answer(request: &Request, parts: &Parts) -> Option<Result<Response, JsValue>> {
    let url = request.url();
    let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default());
    if !path.starts_with(conformance::PATH) {
        return None;
    }
    PARTS.set(Some(parts.clone()));
    let (status, text) = conformance::answer::<Worker>(&path).await;
    let body = Uint8Array::from(text.as_bytes());
    let body: Option<&JsValue> = if status == 204 { None } else { Some(&body) };
    Some(Headers::new().and_then(|fields| js::response(status, &fields, body)))
}

/// The driver.
struct Worker {
    parts: Parts,
    /// Before every key: cache and stores outlive a test.
    prefix: String,
    answers: Answers,
    exchanges: HashMap<u64, (Exchange, Asked)>,
    opened: u64,
}

type Answers = Rc<RefCell<VecDeque<ScriptedAnswer>>>;
type Asked = Rc<RefCell<Option<(Outcome, Held)>>>;

impl Worker {
    fn key(&self, key: &str) -> String {
        format!("{}-{key}", self.prefix)
    }

    fn close(&mut self, ticket: u64) -> Exchange {
        self.exchanges.remove(&ticket).map(|(exchange, _)| exchange).unwrap_or_default()
    }
}

impl Subject for Worker {
    type Ticket = u64;

    // As the tests declare it to the platform, which counts in windows of ten seconds.
    const ALLOWANCE: Allowance = Allowance { interval_us: 10_000_000, burst: 3 };
    const REFILL_MS: u64 = 10_100;
    const COUNTS: bool = false;
    const ABILITIES: Abilities = CLOUDFLARE.abilities;

    async fn new(answers: Vec<ScriptedAnswer>) -> Self {
        let mut parts = PARTS.take().unwrap_or_else(|| panic!("a test runs in a request"));
        let prefix = format!("{:016x}", js::random());
        let answers: Answers = Rc::new(RefCell::new(answers.into()));
        let kept = parts.kept.as_mut().unwrap_or_else(|| panic!("no R2 bucket is bound"));
        let handed = answers.clone();
        kept.request = Rc::new(move |head, _| {
            let need = Need::Fetch(conformance::handover(head));
            match conformance::scripted(need, &mut handed.borrow_mut()) {
                Need::Fetch(fetch) => Some(fetch),
                _ => None,
            }
        });
        Self { parts, prefix, answers, exchanges: HashMap::new(), opened: 0 }
    }

    fn open(&mut self) -> u64 {
        self.opened += 1;
        self.exchanges.insert(self.opened, Default::default());
        self.opened
    }

    fn open_sending(&mut self, body: Vec<u8>) -> u64 {
        let ticket = self.open();
        if let Some((exchange, _)) = self.exchanges.get_mut(&ticket) {
            exchange.request_body = js::stream(&Uint8Array::from(&body[..]));
        }
        ticket
    }

    fn upstream(&self) -> String {
        let url = self.parts.setup.deployment.url(Upstream::Origin);
        url.unwrap_or_default().to_owned()
    }

    async fn ask(&mut self, ticket: u64, need: Need) {
        let need = match conformance::scripted(need, &mut self.answers.borrow_mut()) {
            Need::Lookup { key } => Need::Lookup { key: self.key(&key) },
            Need::Value { key } => Need::Value { key: self.key(&key) },
            Need::Take { key, allowance, wider } => {
                let (limit, taker) = key.split_once(' ').unwrap_or_default();
                Need::Take { key: format!("{limit} {}", self.key(taker)), allowance, wider }
            }
            Need::Keep { key, head, bytes } => Need::Keep { key: self.key(&key), head, bytes },
            Need::ReadKept { key } => Need::ReadKept { key: self.key(&key) },
            Need::HandOver { prefix, timeout_ms } => {
                Need::HandOver { prefix: self.key(&prefix), timeout_ms }
            }
            need => need,
        };
        let asked = Asked::default();
        let (mut looked, mut body) = (None, None);
        if let Some((exchange, place)) = self.exchanges.get_mut(&ticket) {
            body = exchange.request_body.take();
            *place = asked.clone();
            looked = exchange.looked_for(&need);
        }
        let parts = self.parts.clone();
        spawn_local(async move {
            let met = parts.fulfil(need, body, looked).await;
            asked.replace(Some(met));
        });
    }

    async fn outcome(&mut self, ticket: u64) -> Option<Outcome> {
        for _ in 0..OUTCOME_MS / PAUSE_MS {
            let (exchange, asked) = self.exchanges.get_mut(&ticket)?;
            if let Some((outcome, held)) = asked.take() {
                exchange.hold(held);
                return Some(outcome);
            }
            self.wait(PAUSE_MS).await;
        }
        None
    }

    async fn reply(&mut self, ticket: u64, mut reply: Reply) -> (Vec<u8>, bool) {
        for key in &mut reply.forget {
            *key = self.key(key);
        }
        let exchange = self.close(ticket);
        let answered = exchange.respond(reply, &self.parts.cache).await;
        let Ok(answered) = answered else { return (Vec::new(), false) };
        let (read, ()) = join(read(answered.response), answered.after).await;
        read.map_or((Vec::new(), false), |body| (body, true))
    }

    async fn reply_first(&mut self, ticket: u64, mut reply: Reply) -> (Vec<u8>, bool) {
        let Some((exchange, _)) = self.exchanges.get_mut(&ticket) else {
            return (Vec::new(), false);
        };
        let Ok((response, _)) = exchange.respond_first(&mut reply, &self.parts.cache).await else {
            return (Vec::new(), false);
        };
        read(response).await.map_or((Vec::new(), false), |body| (body, true))
    }

    async fn abandon(&mut self, ticket: u64) {
        self.close(ticket);
    }

    async fn put_value(&mut self, key: &str, value: &[u8]) {
        let values = js::binding(&self.parts.env, setup::VALUES);
        let values: js::KvNamespace =
            values.unwrap_or_else(|| panic!("no KV namespace is bound")).unchecked_into();
        let value = Uint8Array::from(value);
        let put = JsFuture::from(values.put(&self.key(key), &value, &Object::new())).await;
        assert!(put.is_ok(), "{put:?}");
    }

    async fn wait(&mut self, ms: u64) {
        Delay::from(Duration::from_millis(ms)).await;
    }
}

async fn read(response: Response) -> Result<Vec<u8>, JsValue> {
    Ok(Uint8Array::new(&JsFuture::from(response.array_buffer()?).await?).to_vec())
}

//! The way of a request: its head into the core, its needs met, its reply sent. No policy: what
//! to do is always the core's to say.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use outport_edge_core::country::Country;
use outport_edge_core::driver::{STEPS_MAX, broken, unconfigured};
use outport_edge_core::step::{Connection, Moment, Need, Reply, Request, Step};
use worker::wasm_bindgen::JsValue;
use worker::web_sys::{self, Response};
use worker::{AnalyticsEngineDataPointBuilder, Context, Delay, Env};

use crate::cache::Cache;
use crate::exchange::{Answered, Exchange, Parts};
use crate::kept::Kept;
use crate::setup::{self, Setup};
use crate::{head, js};

/// How long an answer waits for the rest of a body that nobody wants.
const READ_FIRST_MAX: Duration = Duration::from_millis(50);

/// Answers a request.
pub(crate) async fn serve(
    request: web_sys::Request,
    env: Env,
    context: Rc<Context>,
) -> Result<Response, JsValue> {
    let Some(setup) = setup::setup(&env) else {
        let answered = Exchange::default().respond(unconfigured(), &Cache::default()).await?;
        return Ok(answered.response);
    };
    let cache = Cache::of(&request.url(), &setup.deployment.core, &env);
    let kept = kept(&env, &setup);
    let parts = Parts { env, setup, cache, kept, context: context.clone() };
    #[cfg(feature = "conformance")]
    if let Some(answer) = crate::conformance::answer(&request, &parts).await {
        return answer;
    }
    let mut exchange = Exchange::of(&request);
    let decided = decide(&request, &parts, &mut exchange).await;
    let decided = js::logged("a request could not be decided", decided);
    let Decided { mut reply, after } =
        decided.unwrap_or_else(|| Decided { reply: broken(), after: None });
    count(&parts.env, &reply);
    if let Some(unread) = exchange.unread() {
        let read = Box::pin(js::read_on(unread));
        // What is small is read first: the connection can be used again then.
        if let Either::Right((_, read)) = select(read, Delay::from(READ_FIRST_MAX)).await {
            context.wait_until(read);
        }
    }
    let answered = match after {
        None => exchange.respond(reply, &parts.cache).await,
        Some(after) => match exchange.respond_first(&mut reply, &parts.cache).await {
            Ok((response, _)) => {
                let after = Box::pin(end(parts.clone(), exchange, after));
                Ok(Answered { response, after })
            }
            Err(fault) => Err(fault),
        },
    };
    let answered = match js::logged("a reply can't be carried out", answered) {
        Some(answered) => answered,
        None => Exchange::default().respond(broken(), &parts.cache).await?,
    };
    context.wait_until(answered.after);
    Ok(answered.response)
}

/// Takes an exchange to its end whose client has its answer.
async fn end(parts: Parts, mut exchange: Exchange, (state, needs): After) {
    let decided = go_on(Step::Needs(state, needs), &parts, &mut exchange).await;
    let decided = js::logged("a request could not be brought to its end", decided);
    let Some(Decided { reply, .. }) = decided else { return };
    let answered = exchange.respond(reply.unsent(), &parts.cache).await;
    if let Some(answered) = js::logged("what was fetched can't be stored", answered) {
        answered.after.await;
    }
}

/// Hands over what is kept for the origin.
pub(crate) async fn hand_over(env: Env) {
    let kept = setup::setup(&env).and_then(|setup| kept(&env, &setup));
    if let Some(kept) = kept {
        kept.hand_over_all().await;
    }
}

fn kept(env: &Env, setup: &Rc<Setup>) -> Option<Kept> {
    let of = setup.clone();
    let request =
        move |head: &[u8], sha256: &[u8; 32]| of.edge.borrow().hand_over(head, sha256, moment());
    Kept::of(env, setup, Rc::new(request))
}

/// What goes on behind the client's back.
type After = (outport_edge_core::Exchange, Vec<Need>);

/// What an exchange has come to.
struct Decided {
    reply: Reply,
    after: Option<After>,
}

async fn decide(
    request: &web_sys::Request,
    parts: &Parts,
    exchange: &mut Exchange,
) -> Result<Decided, String> {
    let head = head::to_core(request);
    let peer: Option<IpAddr> = request
        .headers()
        .get("cf-connecting-ip")
        .ok()
        .flatten()
        .and_then(|address| address.parse().ok());
    let peer = peer.ok_or("the platform does not say who is asking (CF-Connecting-IP)")?;
    let secure = request.url().starts_with("https:");
    let asks_country = parts.setup.edge.borrow().asks_country();
    let country = if asks_country { head::country(request) } else { Country::UNKNOWN };
    let connection = Connection { peer, secure, country };
    let request = Request { head: &head, connection };
    let step = parts.setup.edge.borrow_mut().begin(&request, moment());
    go_on(step, parts, exchange).await
}

async fn go_on(mut step: Step, parts: &Parts, exchange: &mut Exchange) -> Result<Decided, String> {
    for _ in 0..STEPS_MAX {
        let (state, needs) = match step {
            Step::Reply(reply) => return Ok(Decided { reply, after: None }),
            Step::ReplyFirst(reply, state, needs) => {
                return Ok(Decided { reply: *reply, after: Some((state, needs)) });
            }
            Step::Needs(state, needs) => (state, needs),
        };
        let met = needs.into_iter().map(|need| {
            let body = match &need {
                Need::Fetch(fetch) if fetch.with_body => exchange.request_body.take(),
                Need::Keep { .. } | Need::Body { .. } => exchange.request_body.take(),
                _ => None,
            };
            let looked = exchange.looked_for(&need);
            parts.fulfil(need, body, looked)
        });
        let met = join_all(met.collect::<Vec<_>>()).await;
        let mut outcomes = Vec::with_capacity(met.len());
        for (outcome, held) in met {
            outcomes.push(outcome);
            exchange.hold(held);
        }
        step = parts.setup.edge.borrow_mut().resume(state, outcomes, moment());
    }
    Err(format!("it has more than {STEPS_MAX} steps"))
}

/// Counts a request, where a data set is bound.
fn count(env: &Env, reply: &Reply) {
    if js::binding(env, setup::METRICS).is_none() {
        return;
    }
    let point = AnalyticsEngineDataPointBuilder::new()
        .indexes([reply.ended.label()])
        .add_blob(reply.ended.label())
        .add_double(reply.status);
    let written = env.analytics_engine(setup::METRICS).and_then(|set| point.write_to(&set));
    js::logged("a request can't be counted", written);
}

fn moment() -> Moment {
    Moment { unix_ms: js::now_ms(), random: js::random() }
}

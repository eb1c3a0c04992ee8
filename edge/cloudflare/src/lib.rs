//! The edge as a Cloudflare Worker: drives the core with the platform's own parts.
//!
//! Start at [`driver`]: a request's way. [`exchange`] meets the needs and carries replies out,
//! [`cache`], [`flights`] and [`purges`] are the cache, [`kept`] and [`kept_handover`] are the small
//! uploads that end here, [`upstream`] asks origins.

mod cache;
mod composed;
#[cfg(feature = "conformance")]
mod conformance;
mod driver;
mod exchange;
mod flights;
mod head;
mod js;
mod kept;
mod kept_handover;
mod purges;
mod setup;
mod upstream;

use std::rc::Rc;

use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, future_to_promise};
use worker::web_sys::{Request, Response};
use worker::{Context, Env, ScheduleContext, ScheduledEvent, event};

/// Answers a request. It is gone through to its end even if the client leaves: what leads others
/// must not just cease.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let context = Rc::new(context);
    let serving = context.clone();
    let answer =
        future_to_promise(
            async move { driver::serve(request, env, serving).await.map(JsValue::from) },
        );
    let end = JsFuture::from(answer.clone());
    context.wait_until(async move {
        let _ = end.await;
    });
    Ok(JsFuture::from(answer).await?.unchecked_into())
}

/// Once a minute, by the platform's clock: hands over what could not be handed over at once.
#[event(scheduled)]
async fn scheduled(_: ScheduledEvent, env: Env, _: ScheduleContext) {
    driver::hand_over(env).await;
}

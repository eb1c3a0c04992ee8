//! The edge on Spin: the core, driven with Spin's key-value store, variables and outbound HTTP.
//!
//! Spin has no cache and no limiter. Both are made here of the key-value store: [`cache`], [`purges`]
//! and [`limiter`] say what they promise and what they don't. No policy: what to do is always the
//! core's to say.
//!
//! Spin keeps an instance for up to 128 requests, 16 of them at once. All that an instance keeps
//! between requests is the [`Node`], which can be made anew. An answer is given with its head, and
//! the task goes on until its body is written and stored: WASI 0.3 lets it, and Spin keeps the
//! instance for as long.

mod body;
mod cache;
#[cfg(feature = "conformance")]
mod conformance;
mod exchange;
mod head;
mod limiter;
mod node;
mod purges;
mod store;
mod stored;
mod upstream;

use outport_edge_core::step::Reply;
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};

use body::{Body, Incoming};
use exchange::Exchange;
use node::{Decided, Node};

struct Spin;

spin_sdk::wasip3::http::service::export!(Spin);

impl Guest for Spin {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        #[cfg(feature = "conformance")]
        if let Some((status, text)) = conformance::answer(&request).await {
            return head::response(status, b"", Body::Bytes(text.into_bytes()), false);
        }
        let received = head::Received::read(&request);
        let body = Incoming::of_request(request);
        let node = match Node::get().await {
            Ok(node) => node,
            Err(missing) => {
                log(&missing);
                return send(
                    outport_edge_core::driver::unconfigured(),
                    Exchange::default(),
                    received.is_head,
                );
            }
        };
        let mut exchange = Exchange::new(node.needs.clone(), Some(body));
        match node.decide(&received, &mut exchange).await {
            Ok(Decided { reply, after: None }) => send(reply, exchange, received.is_head),
            Ok(Decided { reply, after: Some(after) }) => {
                log_reply(&reply);
                let (status, fields, body) = exchange.respond_first(reply);
                let body = Body::Followed(Box::new(body), Box::pin(node.end(exchange, after)));
                head::response(status, &fields, body, received.is_head)
            }
            Err(fault) => {
                log(&format!("a request could not be decided: {fault}"));
                send(outport_edge_core::driver::broken(), Exchange::default(), received.is_head)
            }
        }
    }
}

fn send(reply: Reply, exchange: Exchange, is_head: bool) -> Result<Response, ErrorCode> {
    log_reply(&reply);
    let (status, fields, body) = exchange.respond(reply);
    head::response(status, &fields, body, is_head)
}

fn log_reply(reply: &Reply) {
    log(&format!("status={} outcome={}", reply.status, reply.ended.label()));
    if let Some(note) = &reply.matched.note {
        log(&format!("firewall: {note}"));
    }
}

/// Writes a line to the component's log, at once: others write there too.
pub(crate) fn log(line: &str) {
    let line = format!("outport: {line}\n");
    eprint!("{line}");
}

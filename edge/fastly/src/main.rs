//! The edge on Fastly Compute: the core, driven with the platform's cache, stores, limiter and
//! backends.
//!
//! Each request has an instance of its own, and each call of the platform returns when it is done.
//! What the core decides is in `outport-edge-core`; here is only how its needs are met.

mod cache;
#[cfg(feature = "conformance")]
mod conformance;
mod exchange;
mod head;
mod host;
mod limit;
mod settings;
mod upstream;

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use fastly::Body;
use fastly::geo::geo_lookup;
use fastly::handle::{BodyHandle, RequestHandle, client_request_and_body};
use fastly::http::HeaderValue;
use fastly::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use fastly::log::Endpoint;
use outport_edge_core::Edge;
use outport_edge_core::country::Country;
use outport_edge_core::driver::{STEPS_MAX, broken, unconfigured};
use outport_edge_core::step::{Connection, Moment, Need, Reply, Request, Step};

use crate::exchange::Exchange;

/// The log endpoint that is told how each request ended.
const LOG: &str = "outport";

fn main() {
    fastly::init();
    let (request, body) = client_request_and_body();
    #[cfg(feature = "conformance")]
    if conformance::answers(&request) {
        return;
    }
    let loaded = logged("this edge is not configured", settings::load());
    let (edge, parts) = loaded.map_or_else(Default::default, |(edge, parts)| (Some(edge), parts));
    let mut exchange = Exchange::new(&parts, Some(body.into()));
    let Some(mut edge) = edge else {
        let mut reply = unconfigured();
        let body = exchange.respond(&mut reply);
        return send(&request, &reply, body);
    };
    let decided = decide(&request, &mut edge, &mut exchange);
    let decided = logged("a request could not be decided", decided);
    match decided.unwrap_or_else(|| Decided::Reply(broken())) {
        Decided::Reply(mut reply) => {
            let body = exchange.respond(&mut reply);
            send(&request, &reply, body);
            exchange.settle();
        }
        Decided::ReplyFirst(mut reply, state, needs) => {
            let body = exchange.respond_first(&mut reply);
            send(&request, &reply, body);
            let ended = go_on(Step::Needs(*state, needs), &mut edge, &mut exchange);
            let ended = logged("a request could not be brought to its end", ended);
            if let Some(Decided::Reply(reply)) = ended {
                exchange.respond(&mut reply.unsent());
                exchange.settle();
            }
        }
    }
}

/// What an exchange has come to: its reply, and what goes on behind the client's back.
enum Decided {
    Reply(Reply),
    ReplyFirst(Reply, Box<outport_edge_core::Exchange>, Vec<Need>),
}

fn decide(
    request: &RequestHandle,
    edge: &mut Edge,
    exchange: &mut Exchange<'_>,
) -> Result<Decided, String> {
    let head = head::to_core(request).ok_or("the platform could not give its head")?;
    let peer = request.client_ip_addr().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let secure = request.client_tls_protocol_bytes().is_some();
    let country = if edge.asks_country() { country(peer) } else { Country::UNKNOWN };
    let connection = Connection { peer, secure, country };
    let step = edge.begin(&Request { head: &head, connection }, moment());
    go_on(step, edge, exchange)
}

fn go_on(mut step: Step, edge: &mut Edge, exchange: &mut Exchange<'_>) -> Result<Decided, String> {
    for _ in 0..STEPS_MAX {
        let (state, needs) = match step {
            Step::Reply(reply) => return Ok(Decided::Reply(reply)),
            Step::ReplyFirst(reply, state, needs) => {
                return Ok(Decided::ReplyFirst(*reply, Box::new(state), needs));
            }
            Step::Needs(state, needs) => (state, needs),
        };
        let outcomes = needs.into_iter().map(|need| exchange.fulfil(need)).collect();
        step = edge.resume(state, outcomes, moment());
    }
    Err(format!("it has more than {STEPS_MAX} steps"))
}

/// Where an address is, as the platform knows it.
fn country(address: IpAddr) -> Country {
    geo_lookup(address).map_or(Country::UNKNOWN, |geo| Country::told(geo.country_code().as_bytes()))
}

/// Sends a response, and says so in the log.
fn send(request: &RequestHandle, reply: &Reply, mut body: Body) {
    let head_only = request.get_method(16).is_ok_and(|method| method == "HEAD");
    // The length of a body that a HEAD does not have is the core's to say.
    let length = if head_only { None } else { body.known_length() };
    let mut response = head::response_from_core(reply.status, &reply.fields, length);
    let has = |name| request.get_header_values(name, 1024).next().is_some();
    if has(&CONTENT_LENGTH) && has(&TRANSFER_ENCODING) {
        // A second request may be hidden in a body with two lengths (RFC 9112, section 6.1).
        response.append_header(&CONNECTION, &HeaderValue::from_static("close"));
    }
    response.send_to_client(if head_only { BodyHandle::new() } else { body.into_handle() });
    let line = format!("{{\"outcome\":\"{}\",\"status\":{}}}", reply.ended.label(), reply.status);
    // Nobody is harmed by a line that is lost.
    let _ = Endpoint::try_from_name(LOG).map(|mut log| writeln!(log, "{line}"));
    if let Some(note) = &reply.matched.note {
        eprintln!("outport: firewall: {note}");
    }
}

/// Tells the log of a failure that the edge can go on after.
fn logged<T, E: Display>(what: &str, result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| eprintln!("outport: {what}: {error}")).ok()
}

fn moment() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), random: random() }
}

/// A number that nobody can guess.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("no random numbers: {error}"));
    u64::from_le_bytes(bytes)
}

//! The edge core as a WebAssembly component: exports the world of `wit/edge.wit`.
//!
//! Translation only. An instance keeps its configured [`Edge`]; exchanges pass through as bytes.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outport_edge_core::config::Config;
use outport_edge_core::country::Country;
use outport_edge_core::kept::handed_over;
use outport_edge_core::{Edge, Exchange, step as core};

// wit/edge.wit documents what is generated from it, and says how much a function is given.
#[allow(missing_docs, clippy::too_many_arguments)]
mod bindings {
    wit_bindgen::generate!({ world: "edge", path: "../../wit" });
}

use bindings::Guest;
use bindings::outport::edge::types as wit;

thread_local! {
    static EDGE: RefCell<Option<Edge>> = const { RefCell::new(None) };
}

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn configure(config: Vec<u8>, abilities: wit::Abilities) -> Result<(), String> {
        let wit::Abilities { signatures, request_trailers, interim, durable, .. } = abilities;
        let wit::Abilities {
            unannounced,
            encodes,
            purges,
            composes,
            slices,
            fragments,
            prefetches,
            documents,
            dictionaries,
            escalates,
            shares,
            ..
        } = abilities;
        let durable = durable.map(|value_bytes_max| core::Durable { value_bytes_max });
        let abilities = core::Abilities {
            signatures,
            request_trailers,
            interim,
            durable,
            unannounced,
            encodes,
            purges,
            composes,
            slices,
            fragments,
            prefetches,
            documents,
            dictionaries,
            escalates,
            shares,
        };
        let edge = Edge::new(Config::from_json(&config)?, abilities)?;
        EDGE.set(Some(edge));
        Ok(())
    }

    fn begin(request: wit::Request, moment: wit::Moment) -> wit::Step {
        let wit::Connection { peer: ref address, secure, country } = request.connection;
        let country = Country::told(&<[u8; 2]>::from(country));
        let connection = core::Connection { peer: peer(address), secure, country };
        let request = core::Request { head: &request.head, connection };
        with_edge(|edge| to_step(edge.begin(&request, from_moment(moment))))
    }

    fn resume(exchange: Vec<u8>, outcomes: Vec<wit::Outcome>, moment: wit::Moment) -> wit::Step {
        // A trap: the driver answers this one exchange with a 500 and takes a fresh instance.
        let Some(exchange) = Exchange::from_bytes(&exchange) else {
            panic!("the exchange is none of this version's");
        };
        let outcomes = outcomes.into_iter().map(from_outcome).collect();
        with_edge(|edge| to_step(edge.resume(exchange, outcomes, from_moment(moment))))
    }

    fn next_part(part: Vec<u8>, moment: wit::Moment) -> Option<wit::PartStep> {
        let next = with_edge(|edge| edge.next_part(&part, from_moment(moment)))?;
        let core::PartStep { step, rest, instead } = next;
        Some(wit::PartStep { step: to_step(step), rest, instead })
    }

    fn hand_over(head: Vec<u8>, sha256: Vec<u8>, moment: wit::Moment) -> Option<wit::Fetch> {
        let Ok(sha256) = <[u8; 32]>::try_from(sha256) else { panic!("a SHA-256 has 32 bytes") };
        with_edge(|edge| edge.hand_over(&head, &sha256, from_moment(moment))).map(to_fetch)
    }

    fn handed_over(answer: Result<wit::UpstreamHead, wit::FetchError>) -> wit::Handed {
        match handed_over(&from_answer(answer)) {
            core::Handed::Done => wit::Handed::Done,
            core::Handed::Later => wit::Handed::Later,
            core::Handed::Refused => wit::Handed::Refused,
        }
    }
}

fn with_edge<T>(decide: impl FnOnce(&mut Edge) -> T) -> T {
    EDGE.with_borrow_mut(|edge| match edge {
        Some(edge) => decide(edge),
        None => panic!("configure comes first"),
    })
}

fn peer(bytes: &[u8]) -> IpAddr {
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::V6(Ipv6Addr::from(v6)),
        _ => panic!("an address has 4 or 16 bytes"),
    }
}

fn from_moment(moment: wit::Moment) -> core::Moment {
    core::Moment { unix_ms: moment.unix_ms, random: moment.random }
}

fn from_outcome(outcome: wit::Outcome) -> core::Outcome {
    match outcome {
        wit::Outcome::Lookup(None) => core::Outcome::Looked(core::Looked::Vacant),
        wit::Outcome::Lookup(Some(wit::Found { head, body, forms, purged, lead, collapsed })) => {
            let forms = forms.into_iter().map(from_form).collect();
            let found = core::Looked::Found { head, body, forms, purged, lead, collapsed };
            core::Outcome::Looked(found)
        }
        wit::Outcome::Claim(claimed) => core::Outcome::Claimed(claimed),
        wit::Outcome::Put => core::Outcome::Put,
        wit::Outcome::Dictionary(head) => core::Outcome::Dictionary(head),
        wit::Outcome::Popular(popular) => core::Outcome::Popular(
            popular
                .into_iter()
                .map(|wit::Popular { key, head }| core::Popular { key, head })
                .collect(),
        ),
        wit::Outcome::Content(content) => core::Outcome::Content(content),
        wit::Outcome::Gather(gathered) => core::Outcome::Gathered(gathered),
        wit::Outcome::Document(document) => core::Outcome::Document(document),
        wit::Outcome::Body(body) => core::Outcome::Body(body),
        wit::Outcome::Encode(done) => core::Outcome::Encoded(done),
        wit::Outcome::Value(length) => core::Outcome::Value(length),
        wit::Outcome::Share(shared) => core::Outcome::Shared(match shared {
            wit::Shared::Counts => core::Shared::Counts,
            wit::Shared::TooMany => core::Shared::TooMany,
            wit::Shared::Owed(retry_us) => core::Shared::Owed { retry_us },
        }),
        wit::Outcome::Take(wit::Taken { allowed, left }) => {
            let left = left.map(|wit::Left { remaining, retry_us, full_us }| core::Left {
                remaining,
                retry_us,
                full_us,
            });
            core::Outcome::Taken(core::Taken { allowed, left })
        }
        wit::Outcome::Verify(verified) => core::Outcome::Verified(verified),
        wit::Outcome::Fetch(answer) => core::Outcome::Fetched(from_answer(answer)),
        wit::Outcome::Keep(kept) => core::Outcome::Kept(match kept {
            wit::Kept::Durably => core::Kept::Durably,
            wit::Kept::Broken => core::Kept::Broken,
            wit::Kept::Declined => core::Kept::Declined,
            wit::Kept::Unknown => core::Kept::Unknown,
        }),
        wit::Outcome::ReadKept(found) => core::Outcome::ReadKept(
            found.map(|wit::KeptHead { head, bytes }| core::KeptHead { head, bytes }),
        ),
        wit::Outcome::HandOver(all) => core::Outcome::HandedOver(all),
    }
}

fn from_form(form: wit::Form) -> core::Form {
    let coding = match form.coding {
        wit::Coding::Brotli => core::Coding::Brotli,
        wit::Coding::Zstd => core::Coding::Zstd,
        wit::Coding::Gzip => core::Coding::Gzip,
        wit::Coding::Dcz(sha256) => core::Coding::Dcz(sha256.try_into().unwrap_or_default()),
    };
    core::Form { coding, bytes: form.bytes }
}

fn to_coding(coding: core::Coding) -> wit::Coding {
    match coding {
        core::Coding::Brotli => wit::Coding::Brotli,
        core::Coding::Zstd => wit::Coding::Zstd,
        core::Coding::Gzip => wit::Coding::Gzip,
        core::Coding::Dcz(sha256) => wit::Coding::Dcz(sha256.to_vec()),
    }
}

fn from_answer(
    answer: Result<wit::UpstreamHead, wit::FetchError>,
) -> Result<core::UpstreamHead, core::FetchError> {
    match answer {
        Ok(wit::UpstreamHead { status, fields }) => Ok(core::UpstreamHead { status, fields }),
        Err(wit::FetchError::Unreachable) => Err(core::FetchError::Unreachable),
        Err(wit::FetchError::Timeout) => Err(core::FetchError::Timeout),
        Err(wit::FetchError::RequestBroken) => Err(core::FetchError::RequestBroken),
    }
}

fn to_step(step: core::Step) -> wit::Step {
    match step {
        core::Step::Reply(reply) => wit::Step::Reply(to_reply(reply)),
        core::Step::Needs(exchange, needs) => wit::Step::Needs(to_pending(&exchange, needs)),
        core::Step::ReplyFirst(reply, exchange, needs) => wit::Step::ReplyFirst(wit::ReplyFirst {
            reply: to_reply(*reply),
            pending: to_pending(&exchange, needs),
        }),
    }
}

fn to_pending(exchange: &Exchange, needs: Vec<core::Need>) -> wit::Pending {
    wit::Pending { exchange: exchange.to_bytes(), needs: needs.into_iter().map(to_need).collect() }
}

fn to_need(need: core::Need) -> wit::Need {
    match need {
        core::Need::Lookup { key } => wit::Need::Lookup(key),
        core::Need::Claim { keys } => wit::Need::Claim(keys),
        core::Need::Put { key, head, fresh_ms } => wit::Need::Put(wit::Put { key, head, fresh_ms }),
        core::Need::Document { url, bytes_max, timeout_ms } => {
            wit::Need::Document(wit::Document { url, bytes_max, timeout_ms })
        }
        core::Need::Dictionary { scope, sha256 } => {
            wit::Need::Dictionary(wit::Dictionary { scope, sha256: sha256.to_vec() })
        }
        core::Need::Popular { most } => wit::Need::Popular(most),
        core::Need::Content { of, bytes_max } => {
            let upstream = of == core::Content::Upstream;
            wit::Need::Content(wit::Content { upstream, bytes_max })
        }
        core::Need::Gather { parts, bytes_max } => {
            wit::Need::Gather(wit::Gather { parts, bytes_max })
        }
        core::Need::Body { bytes_max } => wit::Need::Body(bytes_max),
        core::Need::Encode { coding } => wit::Need::Encode(to_coding(coding)),
        core::Need::Value { key } => wit::Need::Value(key),
        core::Need::Share { key, share: core::Share { at_once, bytes_per_s, bytes } } => {
            let bytes = bytes.map(|core::Allowance { interval_us, burst }| wit::Allowance {
                interval_us,
                burst,
            });
            wit::Need::Share(wit::Share { key, at_once, bytes_per_s, bytes })
        }
        core::Need::Take { key, allowance: core::Allowance { interval_us, burst }, wider } => {
            let wider = wider.into_iter().map(to_wider).collect();
            wit::Need::Take(wit::Take { key, interval_us, burst, wider })
        }
        core::Need::Verify { key, message, signature } => {
            let key = match key {
                core::PublicKey::Ed25519(key) => wit::PublicKey::Ed25519(key.to_vec()),
                core::PublicKey::P256 { x, y } => wit::PublicKey::P256((x.to_vec(), y.to_vec())),
                core::PublicKey::Rsa(modulus) => wit::PublicKey::Rsa(modulus),
            };
            wit::Need::Verify(wit::Verify { key, message, signature })
        }
        core::Need::Fetch(fetch) => wit::Need::Fetch(to_fetch(fetch)),
        core::Need::Keep { key, head, bytes } => wit::Need::Keep(wit::Keep { key, head, bytes }),
        core::Need::ReadKept { key } => wit::Need::ReadKept(key),
        core::Need::HandOver { prefix, timeout_ms } => {
            wit::Need::HandOver(wit::HandOver { prefix, timeout_ms })
        }
    }
}

fn to_wider(wider: core::Wider) -> wit::Wider {
    let core::Wider { key, allowance: core::Allowance { interval_us, burst } } = wider;
    wit::Wider { key, interval_us, burst }
}

fn to_fetch(fetch: core::Fetch) -> wit::Fetch {
    let core::Fetch { upstream, head, with_body, timeout_ms } = fetch;
    let route = match upstream {
        core::Upstream::Origin => None,
        core::Upstream::Route(place) => Some(place),
    };
    wit::Fetch { route, head, with_body, timeout_ms }
}

fn to_reply(reply: core::Reply) -> wit::Reply {
    let core::Reply { status, fields, body, forget, purge, store, prefetch, .. } = reply;
    let core::Reply { ended, matched, caller_known, .. } = reply;
    let core::Matched { rules, note } = matched;
    wit::Reply {
        status,
        fields,
        body: match body {
            core::Body::Empty => wit::Body::Empty,
            core::Body::Bytes(bytes) => wit::Body::Bytes(bytes),
            core::Body::Stored(range) => wit::Body::Stored(range.map(to_range)),
            core::Body::Coded(coding) => wit::Body::Coded(to_coding(coding)),
            core::Body::Encoding(coding) => wit::Body::Encoding(to_coding(coding)),
            core::Body::Value => wit::Body::Value,
            core::Body::Upstream => wit::Body::Upstream,
            core::Body::Kept(range) => wit::Body::Kept(range.map(to_range)),
            core::Body::Composed(parts) => {
                wit::Body::Composed(parts.into_iter().map(to_part).collect())
            }
            core::Body::ComposedEncoding(coding, parts) => {
                let parts = parts.into_iter().map(to_part).collect();
                wit::Body::ComposedEncoding((to_coding(coding), parts))
            }
        },
        forget,
        purge: purge
            .into_iter()
            .map(|core::Purge { tag, soft }| wit::Purge { tag, soft })
            .collect(),
        store: store.map(|core::Store { key, head, body, fresh_ms, tags, dictionary }| {
            wit::Store {
                key,
                head,
                body: match body {
                    core::StoreBody::None => wit::StoreBody::None,
                    core::StoreBody::Upstream(extent) => {
                        wit::StoreBody::Upstream(to_extent(extent))
                    }
                    core::StoreBody::Slices { slice_bytes, bytes } => {
                        wit::StoreBody::Slices(wit::Slices { slice_bytes, bytes })
                    }
                    core::StoreBody::Keep => wit::StoreBody::Keep,
                },
                fresh_ms,
                tags,
                dictionary,
            }
        }),
        prefetch,
        ended: match ended {
            core::Ended::Edge => wit::Ended::Edge,
            core::Ended::Cache => wit::Ended::Cache,
            core::Ended::Origin => wit::Ended::Origin,
        },
        matched: wit::Matched { rules, note },
        caller_known,
    }
}

fn to_part(part: core::Part) -> wit::Part {
    match part {
        core::Part::Bytes(bytes) => wit::Part::Bytes(bytes),
        core::Part::Stored(range) => wit::Part::Stored(to_range(range)),
        core::Part::Included(included) => wit::Part::Included(included),
        core::Part::Sliced(sliced) => wit::Part::Sliced(sliced),
    }
}

fn to_extent(extent: core::Extent) -> wit::Extent {
    match extent {
        core::Extent::Exactly(bytes) => wit::Extent::Exactly(bytes),
        core::Extent::AtMost(bytes) => wit::Extent::AtMost(bytes),
    }
}

fn to_range(range: core::ByteRange) -> wit::ByteRange {
    let core::ByteRange { first, last } = range;
    wit::ByteRange { first, last }
}

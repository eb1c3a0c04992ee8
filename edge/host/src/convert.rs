//! Between the component's types and the core's: the same words on both sides.

use outport_edge_core::step as core;

use crate::instances::bindings::outport::edge::types as wit;

/// The country of every peer: a node knows of none.
pub(crate) const NOWHERE: (u8, u8) = (b'X', b'X');

/// What the component wants next.
pub(crate) enum Step {
    Needs(Pending),
    Reply(core::Reply),
    ReplyFirst(core::Reply, Pending),
}

/// An exchange between two steps, and what it needs.
pub(crate) struct Pending {
    pub(crate) exchange: Vec<u8>,
    pub(crate) needs: Vec<core::Need>,
}

pub(crate) fn moment(moment: core::Moment) -> wit::Moment {
    wit::Moment { unix_ms: moment.unix_ms, random: moment.random }
}

pub(crate) fn step(step: wit::Step) -> Step {
    match step {
        wit::Step::Reply(sent) => Step::Reply(reply(sent)),
        wit::Step::Needs(next) => Step::Needs(pending(next)),
        wit::Step::ReplyFirst(wit::ReplyFirst { reply: sent, pending: next }) => {
            Step::ReplyFirst(reply(sent), pending(next))
        }
    }
}

/// An exchange that a part of a body is the reply of, as [`core::PartStep`].
pub(crate) struct PartStep {
    pub(crate) step: Step,
    pub(crate) rest: Option<Vec<u8>>,
    pub(crate) instead: Option<Vec<u8>>,
}

pub(crate) fn part_step(next: wit::PartStep) -> PartStep {
    let wit::PartStep { step: begun, rest, instead } = next;
    PartStep { step: step(begun), rest, instead }
}

fn pending(pending: wit::Pending) -> Pending {
    let wit::Pending { exchange, needs } = pending;
    Pending { exchange, needs: needs.into_iter().map(need).collect() }
}

fn need(need: wit::Need) -> core::Need {
    match need {
        wit::Need::Lookup(key) => core::Need::Lookup { key },
        wit::Need::Claim(keys) => core::Need::Claim { keys },
        wit::Need::Put(wit::Put { key, head, fresh_ms }) => core::Need::Put { key, head, fresh_ms },
        wit::Need::Document(wit::Document { url, bytes_max, timeout_ms }) => {
            core::Need::Document { url, bytes_max, timeout_ms }
        }
        wit::Need::Dictionary(wit::Dictionary { scope, sha256 }) => {
            core::Need::Dictionary { scope, sha256: digest(sha256) }
        }
        wit::Need::Popular(most) => core::Need::Popular { most },
        wit::Need::Content(wit::Content { upstream, bytes_max }) => {
            let of = if upstream { core::Content::Upstream } else { core::Content::Stored };
            core::Need::Content { of, bytes_max }
        }
        wit::Need::Gather(wit::Gather { parts, bytes_max }) => {
            core::Need::Gather { parts, bytes_max }
        }
        wit::Need::Body(bytes_max) => core::Need::Body { bytes_max },
        wit::Need::Encode(how) => core::Need::Encode { coding: coding(how) },
        wit::Need::Value(key) => core::Need::Value { key },
        wit::Need::Share(wit::Share { key, at_once, bytes_per_s, bytes }) => {
            let bytes = bytes.map(|wit::Allowance { interval_us, burst }| core::Allowance {
                interval_us,
                burst,
            });
            core::Need::Share { key, share: core::Share { at_once, bytes_per_s, bytes } }
        }
        wit::Need::Take(wit::Take { key, interval_us, burst, wider: others }) => core::Need::Take {
            key,
            allowance: core::Allowance { interval_us, burst },
            wider: others.into_iter().map(wider).collect(),
        },
        wit::Need::Verify(wit::Verify { key, message, signature }) => {
            core::Need::Verify { key: public_key(key), message, signature }
        }
        wit::Need::Fetch(asked) => core::Need::Fetch(fetch(asked)),
        wit::Need::Keep(wit::Keep { key, head, bytes }) => core::Need::Keep { key, head, bytes },
        wit::Need::ReadKept(key) => core::Need::ReadKept { key },
        wit::Need::HandOver(wit::HandOver { prefix, timeout_ms }) => {
            core::Need::HandOver { prefix, timeout_ms }
        }
    }
}

fn wider(wider: wit::Wider) -> core::Wider {
    let wit::Wider { key, interval_us, burst } = wider;
    core::Wider { key, allowance: core::Allowance { interval_us, burst } }
}

/// A key of another length verifies nothing.
fn public_key(key: wit::PublicKey) -> core::PublicKey {
    let number = |bytes: Vec<u8>| bytes.try_into().unwrap_or([0; 32]);
    match key {
        wit::PublicKey::Ed25519(key) => core::PublicKey::Ed25519(number(key)),
        wit::PublicKey::P256((x, y)) => core::PublicKey::P256 { x: number(x), y: number(y) },
        wit::PublicKey::Rsa(modulus) => core::PublicKey::Rsa(modulus),
    }
}

pub(crate) fn fetch(fetch: wit::Fetch) -> core::Fetch {
    let wit::Fetch { route, head, with_body, timeout_ms } = fetch;
    let upstream = route.map_or(core::Upstream::Origin, core::Upstream::Route);
    core::Fetch { upstream, head, with_body, timeout_ms }
}

pub(crate) fn handed(handed: wit::Handed) -> core::Handed {
    match handed {
        wit::Handed::Done => core::Handed::Done,
        wit::Handed::Later => core::Handed::Later,
        wit::Handed::Refused => core::Handed::Refused,
    }
}

pub(crate) fn abilities(abilities: core::Abilities) -> wit::Abilities {
    let core::Abilities { signatures, request_trailers, interim, durable, .. } = abilities;
    let core::Abilities {
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
    wit::Abilities {
        signatures,
        request_trailers,
        interim,
        durable: durable.map(|durable| durable.value_bytes_max),
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
    }
}

fn reply(reply: wit::Reply) -> core::Reply {
    let wit::Reply { status, fields, body, forget, purge, store, prefetch, .. } = reply;
    let wit::Reply { ended, matched, caller_known, .. } = reply;
    let wit::Matched { rules, note } = matched;
    core::Reply {
        status,
        fields,
        body: match body {
            wit::Body::Empty => core::Body::Empty,
            wit::Body::Bytes(bytes) => core::Body::Bytes(bytes),
            wit::Body::Stored(part) => core::Body::Stored(part.map(range)),
            wit::Body::Coded(how) => core::Body::Coded(coding(how)),
            wit::Body::Encoding(how) => core::Body::Encoding(coding(how)),
            wit::Body::Value => core::Body::Value,
            wit::Body::Upstream => core::Body::Upstream,
            wit::Body::Kept(part) => core::Body::Kept(part.map(range)),
            wit::Body::Composed(parts) => {
                core::Body::Composed(parts.into_iter().map(part).collect())
            }
            wit::Body::ComposedEncoding((how, parts)) => {
                let parts = parts.into_iter().map(part).collect();
                core::Body::ComposedEncoding(coding(how), parts)
            }
        },
        forget,
        purge: purge
            .into_iter()
            .map(|wit::Purge { tag, soft }| core::Purge { tag, soft })
            .collect(),
        store: store.map(|wit::Store { key, head, body, fresh_ms, tags, dictionary }| {
            core::Store {
                key,
                head,
                body: match body {
                    wit::StoreBody::None => core::StoreBody::None,
                    wit::StoreBody::Upstream(length) => core::StoreBody::Upstream(extent(length)),
                    wit::StoreBody::Slices(wit::Slices { slice_bytes, bytes }) => {
                        core::StoreBody::Slices { slice_bytes, bytes }
                    }
                    wit::StoreBody::Keep => core::StoreBody::Keep,
                },
                fresh_ms,
                tags,
                dictionary,
            }
        }),
        prefetch,
        ended: match ended {
            wit::Ended::Edge => core::Ended::Edge,
            wit::Ended::Cache => core::Ended::Cache,
            wit::Ended::Origin => core::Ended::Origin,
        },
        matched: core::Matched { rules, note },
        caller_known,
    }
}

fn part(part: wit::Part) -> core::Part {
    match part {
        wit::Part::Bytes(bytes) => core::Part::Bytes(bytes),
        wit::Part::Stored(part) => core::Part::Stored(range(part)),
        wit::Part::Included(included) => core::Part::Included(included),
        wit::Part::Sliced(sliced) => core::Part::Sliced(sliced),
    }
}

fn coding(coding: wit::Coding) -> core::Coding {
    match coding {
        wit::Coding::Brotli => core::Coding::Brotli,
        wit::Coding::Zstd => core::Coding::Zstd,
        wit::Coding::Gzip => core::Coding::Gzip,
        wit::Coding::Dcz(sha256) => core::Coding::Dcz(digest(sha256)),
    }
}

/// A digest of another length is nobody's.
fn digest(sha256: Vec<u8>) -> [u8; 32] {
    sha256.try_into().unwrap_or_default()
}

fn form(form: core::Form) -> wit::Form {
    let coding = match form.coding {
        core::Coding::Brotli => wit::Coding::Brotli,
        core::Coding::Zstd => wit::Coding::Zstd,
        core::Coding::Gzip => wit::Coding::Gzip,
        core::Coding::Dcz(sha256) => wit::Coding::Dcz(sha256.to_vec()),
    };
    wit::Form { coding, bytes: form.bytes }
}

fn extent(extent: wit::Extent) -> core::Extent {
    match extent {
        wit::Extent::Exactly(bytes) => core::Extent::Exactly(bytes),
        wit::Extent::AtMost(bytes) => core::Extent::AtMost(bytes),
    }
}

fn range(range: wit::ByteRange) -> core::ByteRange {
    let wit::ByteRange { first, last } = range;
    core::ByteRange { first, last }
}

pub(crate) fn outcome(outcome: core::Outcome) -> wit::Outcome {
    match outcome {
        core::Outcome::Looked(core::Looked::Vacant) => wit::Outcome::Lookup(None),
        core::Outcome::Looked(core::Looked::Found {
            head,
            body,
            forms,
            purged,
            lead,
            collapsed,
        }) => {
            let forms = forms.into_iter().map(form).collect();
            wit::Outcome::Lookup(Some(wit::Found { head, body, forms, purged, lead, collapsed }))
        }
        core::Outcome::Claimed(claimed) => wit::Outcome::Claim(claimed),
        core::Outcome::Put => wit::Outcome::Put,
        core::Outcome::Dictionary(head) => wit::Outcome::Dictionary(head),
        core::Outcome::Popular(popular) => wit::Outcome::Popular(
            popular
                .into_iter()
                .map(|core::Popular { key, head }| wit::Popular { key, head })
                .collect(),
        ),
        core::Outcome::Content(content) => wit::Outcome::Content(content),
        core::Outcome::Gathered(gathered) => wit::Outcome::Gather(gathered),
        core::Outcome::Document(document) => wit::Outcome::Document(document),
        core::Outcome::Body(body) => wit::Outcome::Body(body),
        core::Outcome::Encoded(done) => wit::Outcome::Encode(done),
        core::Outcome::Value(length) => wit::Outcome::Value(length),
        core::Outcome::Shared(shared) => wit::Outcome::Share(match shared {
            core::Shared::Counts => wit::Shared::Counts,
            core::Shared::TooMany => wit::Shared::TooMany,
            core::Shared::Owed { retry_us } => wit::Shared::Owed(retry_us),
        }),
        core::Outcome::Taken(core::Taken { allowed, left }) => {
            let left = left.map(|core::Left { remaining, retry_us, full_us }| wit::Left {
                remaining,
                retry_us,
                full_us,
            });
            wit::Outcome::Take(wit::Taken { allowed, left })
        }
        core::Outcome::Verified(verified) => wit::Outcome::Verify(verified),
        core::Outcome::Fetched(fetched) => wit::Outcome::Fetch(answer(fetched)),
        core::Outcome::Kept(kept) => wit::Outcome::Keep(match kept {
            core::Kept::Durably => wit::Kept::Durably,
            core::Kept::Broken => wit::Kept::Broken,
            core::Kept::Declined => wit::Kept::Declined,
            core::Kept::Unknown => wit::Kept::Unknown,
        }),
        core::Outcome::ReadKept(found) => wit::Outcome::ReadKept(
            found.map(|core::KeptHead { head, bytes }| wit::KeptHead { head, bytes }),
        ),
        core::Outcome::HandedOver(all) => wit::Outcome::HandOver(all),
    }
}

pub(crate) fn answer(
    answer: Result<core::UpstreamHead, core::FetchError>,
) -> Result<wit::UpstreamHead, wit::FetchError> {
    match answer {
        Ok(core::UpstreamHead { status, fields }) => Ok(wit::UpstreamHead { status, fields }),
        Err(core::FetchError::Unreachable) => Err(wit::FetchError::Unreachable),
        Err(core::FetchError::Timeout) => Err(wit::FetchError::Timeout),
        Err(core::FetchError::RequestBroken) => Err(wit::FetchError::RequestBroken),
    }
}

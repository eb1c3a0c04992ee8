//! Large content in slices: what is asked for of a file, or of a route's response, that is too large
//! to be stored whole is fetched and stored slice by slice.
//!
//! The answer begins once the record is known: a file's, or the head of a route's stored response. Its
//! body is then made of slices, each of which has an exchange of its own: looked up, and where it is
//! missing fetched, together with the missing ones behind it that are wanted too. The contents never
//! change under an id, nor under a strong entity tag of one URI (RFC 9110, section 8.8.1), so that
//! slices are good for ever; who may see them, and for how long, was decided from the record.

use outport_wire::conditions::ByteRange;
use outport_wire::id::FileId;
use serde::{Deserialize, Serialize};

use crate::cached::{Context, Next, upstream_problem};
use crate::caching::fields::digest;
use crate::composing::Continued;
use crate::config::Config;
use crate::forward::own_to_origin;
use crate::head::{FieldLines, Fields};
use crate::purge;
use crate::step::{
    Body, Ended, Fetch, FetchError, Looked, Need, Outcome, Part, Reply, Store, StoreBody,
    UpstreamHead,
};
use crate::stored::Stored;

/// The most slices that one request to the origin is for.
const MERGED_MAX: u64 = 8;

/// Whose slices they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whose {
    /// A file of Outport's own.
    File(FileId),
    /// What a route gave, which is stored, without its content, under this key.
    Route {
        key: String,
        /// The request for all of it.
        fetch: Fetch,
        /// By what it can be purged.
        tags: Vec<String>,
    },
}

/// What is still to be sent of a part of large content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sliced {
    whose: Whose,
    etag: String,
    /// Of all of it, in bytes.
    length: u64,
    slice_bytes: u64,
    /// The first byte that was not sent yet.
    first: u64,
    /// The last byte of the part.
    last: u64,
}

/// An exchange for the slice that a part begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SliceExchange {
    part: Sliced,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// It is looked up.
    Looking,
    /// It is missing. Those behind it that are missing too are claimed.
    Claiming,
    /// The origin is asked for it, and for so many behind it.
    Fetching(u64),
}

impl Sliced {
    /// A part of content with this tag and length.
    pub(crate) fn new(
        whose: Whose,
        etag: &str,
        length: u64,
        part: ByteRange,
        config: &Config,
    ) -> Self {
        let slice_bytes = config.slice_bytes.max(1);
        let ByteRange { first, last } = part;
        Self { whose, etag: etag.to_owned(), length, slice_bytes, first, last }
    }

    /// The part, for a body's plan.
    pub(crate) fn part(self) -> Part {
        Part::Sliced(Continued::Slices(self).to_bytes())
    }

    /// Begins the exchange for the next slice, and says what is left then. `None` where nothing is
    /// left.
    pub(crate) fn next(self) -> Option<(SliceExchange, Need, Self)> {
        if self.first > self.last || self.last >= self.length || self.slice_bytes == 0 {
            return None;
        }
        let first = (self.number() + 1).saturating_mul(self.slice_bytes);
        let rest = Self { first, ..self.clone() };
        let need = Need::Lookup { key: self.key(self.number()) };
        Some((SliceExchange { part: self, stage: Stage::Looking }, need, rest))
    }

    const fn number(&self) -> u64 {
        self.first / self.slice_bytes
    }

    /// The bytes of these slices, from the one that is next.
    fn bytes_of(&self, slices: u64) -> ByteRange {
        let first = self.number() * self.slice_bytes;
        let behind = first.saturating_add(self.slice_bytes.saturating_mul(slices));
        ByteRange { first, last: behind.min(self.length) - 1 }
    }

    /// What is wanted of the next slice.
    fn within(&self) -> ByteRange {
        let slice = self.bytes_of(1);
        ByteRange { first: self.first - slice.first, last: self.last.min(slice.last) - slice.first }
    }

    fn key(&self, number: u64) -> String {
        let Self { whose, etag, slice_bytes, .. } = self;
        match whose {
            Whose::File(id) => format!("slice {id} {slice_bytes} {number}"),
            Whose::Route { key, .. } => {
                let whose = digest([&**key, &**etag]);
                format!("slice {whose} {slice_bytes} {number}")
            }
        }
    }

    /// The keys of those behind it that are wanted too, as many as can be fetched with it.
    fn keys_behind(&self) -> Vec<String> {
        let last = self.last / self.slice_bytes;
        let number = self.number();
        let behind = number + 1..=last.min(number.saturating_add(MERGED_MAX - 1));
        behind.map(|number| self.key(number)).collect()
    }
}

impl SliceExchange {
    /// Goes on with the outcome. `None` where the outcome is of another need.
    pub(crate) fn resume(self, outcome: Outcome, context: &Context<'_>) -> Option<Next<Self>> {
        Some(match (&self.stage, outcome) {
            (Stage::Looking, Outcome::Looked(looked)) => self.looked(&looked, context),
            (Stage::Claiming, Outcome::Claimed(behind)) => self.fetch(behind, context),
            (Stage::Fetching(behind), Outcome::Fetched(answer)) => {
                let slices = behind + 1;
                Next::Reply(match self.check(slices, answer) {
                    Ok(()) => self.fetched(slices),
                    Err((failure, status)) => self.failed(failure, status, context),
                })
            }
            _ => return None,
        })
    }

    fn looked(mut self, looked: &Looked, context: &Context<'_>) -> Next<Self> {
        let found = match looked {
            Looked::Found { head, body, .. } => Stored::decode(head).zip(Some(*body)),
            Looked::Vacant => None,
        };
        match found {
            Some((Stored::Slice, true)) => return Next::Reply(self.sent(Ended::Cache)),
            Some((Stored::Failed { since_ms, status }, _)) => {
                let failed = Stored::Failed { since_ms, status };
                if failed.refusal_counts(context.moment.unix_ms) {
                    return Next::Reply(Self::refused(FetchError::Unreachable, None, context));
                }
            }
            _ => {}
        }
        let keys = self.part.keys_behind();
        if keys.is_empty() {
            return self.fetch(0, context);
        }
        self.stage = Stage::Claiming;
        Next::Need(Box::new(self), Need::Claim { keys })
    }

    fn fetch(mut self, behind: u64, context: &Context<'_>) -> Next<Self> {
        let ByteRange { first, last } = self.part.bytes_of(behind + 1);
        let range = format!("bytes={first}-{last}");
        let fields = [("range", &*range), ("if-match", &self.part.etag)];
        let fetch = match &self.part.whose {
            Whose::File(id) => {
                let Config { edge_key, upstream_timeout_ms, .. } = context.config;
                let (path, timeout_ms) = (format!("/files/{id}"), *upstream_timeout_ms);
                own_to_origin("GET", &path, &fields, edge_key, context.moment, timeout_ms)
            }
            Whose::Route { fetch, .. } => {
                let mut lines = Fields::new();
                for (name, value) in fields {
                    lines.push(name, value);
                }
                Fetch { head: [&*fetch.head, &lines.into_bytes()].concat(), ..fetch.clone() }
            }
        };
        self.stage = Stage::Fetching(behind);
        Next::Need(Box::new(self), Need::Fetch(fetch))
    }

    /// Whether the origin has answered with just what was asked for.
    fn check(
        &self,
        slices: u64,
        answer: Result<UpstreamHead, FetchError>,
    ) -> Result<(), (FetchError, Option<u16>)> {
        let answer = answer.map_err(|failure| (failure, None))?;
        let fields = FieldLines::new(&answer.fields);
        let ByteRange { first, last } = self.part.bytes_of(slices);
        let expected = format!("bytes {first}-{last}/{}", self.part.length);
        let is_it = answer.status == 206
            && fields.get("content-range") == Some(&*expected)
            && fields.get("etag") == Some(&*self.part.etag);
        if is_it { Ok(()) } else { Err((FetchError::Unreachable, Some(answer.status))) }
    }

    fn fetched(&self, slices: u64) -> Reply {
        let body = StoreBody::Slices {
            slice_bytes: self.part.slice_bytes,
            bytes: self.part.bytes_of(slices).length(),
        };
        Reply { store: Some(self.store(&Stored::Slice, body)), ..self.sent(Ended::Origin) }
    }

    /// That nothing came of it is remembered for a moment, for all who want the same slice.
    fn failed(&self, failure: FetchError, status: Option<u16>, context: &Context<'_>) -> Reply {
        let refused = Self::refused(failure, status, context);
        let failed = Stored::Failed { since_ms: context.moment.unix_ms, status: refused.status };
        // Where the server answers with something else, what is known of it is wrong.
        let forget = match &self.part.whose {
            Whose::Route { key, .. } if status.is_some() => vec![key.clone()],
            Whose::Route { .. } | Whose::File(_) => Vec::new(),
        };
        Reply { store: Some(self.store(&failed, StoreBody::None)), forget, ..refused }
    }

    fn refused(failure: FetchError, status: Option<u16>, context: &Context<'_>) -> Reply {
        let problem = upstream_problem(failure, status);
        let refused = context.visit.problem(context.limits, &problem);
        Reply { ended: Ended::Origin, ..refused }
    }

    /// What is wanted of the slice, which is stored or arriving.
    fn sent(&self, ended: Ended) -> Reply {
        let body = Body::Stored(Some(self.part.within()));
        Reply { ended, ..crate::answer::reply(200, Fields::new(), body) }
    }

    fn store(&self, stored: &Stored<'_>, body: StoreBody) -> Store {
        Store {
            key: self.part.key(self.part.number()),
            head: stored.encode(),
            body,
            fresh_ms: stored.fresh_ms(),
            tags: match &self.part.whose {
                Whose::File(id) => vec![purge::of_file(*id)],
                Whose::Route { tags, .. } => tags.clone(),
            },
            dictionary: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "01000G0000000C000000000004";

    proptest! {
        #[test]
        fn slices_make_up_the_part(
            length in 1..2_000_u64,
            ends in (0..2_000_u64, 0..2_000_u64),
            slice_bytes in 1..300_u64,
        ) {
            let (first, last) = (ends.0.min(ends.1) % length, ends.0.max(ends.1).min(length - 1));
            prop_assume!(first <= last);
            let part = Sliced {
                whose: Whose::File(ID.parse().unwrap()),
                etag: "\"a\"".to_owned(),
                length,
                slice_bytes,
                first,
                last,
            };
            let (mut rest, mut sent) = (part, Vec::new());
            while let Some((slice, need, after)) = rest.next() {
                let part = &slice.part;
                prop_assert_eq!(need, Need::Lookup { key: part.key(part.number()) });
                let (whole, within) = (part.bytes_of(1), part.within());
                prop_assert!(whole.length() <= slice_bytes && whole.last < length);
                prop_assert!(within.last < whole.length());
                sent.extend(whole.first + within.first..=whole.first + within.last);
                let behind = part.keys_behind();
                let wanted = last / slice_bytes - part.number();
                prop_assert_eq!(behind.len() as u64, wanted.min(MERGED_MAX - 1));
                rest = after;
            }
            prop_assert_eq!(sent, (first..=last).collect::<Vec<_>>());
        }

        #[test]
        fn what_is_no_part_has_no_slices_or_goes_on(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let part: Result<Sliced, _> = postcard::from_bytes(&bytes);
            if let Ok(part) = part && let Some((slice, _, rest)) = part.next() {
                prop_assert!(slice.part.within().length() <= slice.part.slice_bytes);
                prop_assert_ne!(rest, slice.part.clone());
                slice.part.keys_behind();
            }
        }
    }
}

//! Bodies of several parts, each read when the one before has been sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use outport_edge_core::step::{Part, Reply};

use crate::body::{Cut, EdgeBody};
use crate::driver::Driver;
use crate::stored_body::StoredBody;

/// Where the slices of a body come from.
pub(crate) struct Slices {
    driver: Driver,
    /// The one that the body begins with, and what is left of its part then.
    first: Option<(EdgeBody, Vec<u8>)>,
}

impl Slices {
    /// Waits for the slice that a body begins with, if it has any. The error is the reply to be sent
    /// in place of the one that the body is of.
    pub(crate) async fn begin(driver: &Driver, parts: &[Part]) -> Result<Self, Box<Reply>> {
        let sliced = parts.iter().find_map(|part| match part {
            Part::Sliced(sliced) => Some(sliced),
            Part::Bytes(_) | Part::Stored(_) => None,
        });
        let first = match sliced {
            Some(sliced) => driver.slice(sliced).await?,
            None => None,
        };
        Ok(Self { driver: driver.clone(), first })
    }

    /// The next slice of a part, and what is left then.
    async fn next(&mut self, sliced: &[u8]) -> Result<Option<(EdgeBody, Vec<u8>)>, Cut> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.driver.slice(sliced).await.map_err(|_| Cut),
        }
    }
}

/// A body of these parts. Where one of them can't be had, it is cut off.
pub(crate) fn body(
    parts: Vec<Part>,
    stored: Option<Arc<StoredBody>>,
    slices: Option<Slices>,
) -> EdgeBody {
    let composed = Composed { parts: parts.into(), now: EdgeBody::empty(), stored, slices };
    EdgeBody::Stored(stream::unfold(composed, Composed::next).boxed(), None)
}

struct Composed {
    /// What is to be sent behind `now`.
    parts: VecDeque<Part>,
    now: EdgeBody,
    stored: Option<Arc<StoredBody>>,
    slices: Option<Slices>,
}

impl Composed {
    async fn next(mut self) -> Option<(Result<Bytes, Cut>, Self)> {
        loop {
            match self.now.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => return Some((Ok(chunk), self)),
                    Err(_) => continue,
                },
                Some(Err(cut)) => return Some((Err(cut), self.ended())),
                None => {}
            }
            let part = self.parts.pop_front()?;
            match self.open(part).await {
                Ok(body) => self.now = body,
                Err(cut) => return Some((Err(cut), self.ended())),
            }
        }
    }

    async fn open(&mut self, part: Part) -> Result<EdgeBody, Cut> {
        match part {
            Part::Bytes(bytes) => Ok(EdgeBody::full(bytes.into())),
            Part::Stored(range) => Ok(self.stored.as_ref().ok_or(Cut)?.read(Some(range))),
            Part::Sliced(sliced) => {
                let slices = self.slices.as_mut().ok_or(Cut)?;
                let Some((body, rest)) = slices.next(&sliced).await? else {
                    return Ok(EdgeBody::empty());
                };
                self.parts.push_front(Part::Sliced(rest));
                Ok(body)
            }
        }
    }

    /// Nothing more is sent.
    fn ended(self) -> Self {
        Self { parts: VecDeque::new(), now: EdgeBody::empty(), ..self }
    }
}

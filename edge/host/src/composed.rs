//! Bodies of several parts, each read when the one before has been sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use outport_edge_core::step::{Part, Reply};
use tokio::task::JoinHandle;

use crate::body::{Cut, EdgeBody};
use crate::driver::Driver;
use crate::metrics::Metrics;
use crate::stored_body::StoredBody;

/// How many of the parts that are included have begun before they are sent.
const AHEAD: usize = 8;

/// What a body goes on with: exchanges of their own.
pub(crate) struct Continuing {
    driver: Driver,
    /// The slice that a body begins with, and what is left of its part then.
    first: Option<(EdgeBody, Option<Vec<u8>>)>,
}

impl Continuing {
    pub(crate) fn new(driver: &Driver) -> Self {
        Self { driver: driver.clone(), first: None }
    }

    /// Waits for the slice that a body begins with, if it has any. The error is the reply to be sent
    /// in place of the one that the body is of.
    pub(crate) async fn begin(driver: &Driver, parts: &[Part]) -> Result<Self, Box<Reply>> {
        let sliced = parts.iter().find_map(|part| match part {
            Part::Sliced(sliced) => Some(sliced.clone()),
            Part::Bytes(_) | Part::Stored(_) | Part::Included(_) => None,
        });
        let first = match sliced {
            Some(sliced) => driver.next_part(sliced, Metrics::slice_ended).await?,
            None => None,
        };
        Ok(Self { first, ..Self::new(driver) })
    }

    /// The next slice of a part, and what is left then.
    async fn next_slice(
        &mut self,
        sliced: Vec<u8>,
    ) -> Result<Option<(EdgeBody, Option<Vec<u8>>)>, Cut> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => {
                let next = self.driver.next_part(sliced, Metrics::slice_ended).await;
                next.map_err(|_| Cut)
            }
        }
    }
}

/// A body of these parts. Where one of them can't be had, it is cut off.
pub(crate) fn body(
    parts: Vec<Part>,
    stored: Option<Arc<StoredBody>>,
    continuing: Option<Continuing>,
) -> EdgeBody {
    let parts = parts.into_iter().map(Piece::Part).collect();
    let composed = Composed { parts, now: EdgeBody::empty(), stored, continuing };
    EdgeBody::Stored(stream::unfold(composed, Composed::next).boxed(), None)
}

struct Composed {
    /// What is to be sent behind `now`.
    parts: VecDeque<Piece>,
    now: EdgeBody,
    stored: Option<Arc<StoredBody>>,
    continuing: Option<Continuing>,
}

enum Piece {
    Part(Part),
    /// It is included, and has begun.
    Begun(Begun),
}

/// An exchange that has begun; it ends with this.
struct Begun(JoinHandle<Result<EdgeBody, Cut>>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.abort();
    }
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
            self.begin_ahead();
            let part = self.parts.pop_front()?;
            match self.open(part).await {
                Ok(body) => self.now = body,
                Err(cut) => return Some((Err(cut), self.ended())),
            }
        }
    }

    /// Begins the next of those parts that are included, as many as may have begun.
    fn begin_ahead(&mut self) {
        let Some(Continuing { driver, .. }) = &self.continuing else { return };
        let is_included =
            |piece: &&mut Piece| matches!(piece, Piece::Part(Part::Included(_)) | Piece::Begun(_));
        for piece in self.parts.iter_mut().filter(is_included).take(AHEAD) {
            if let Piece::Part(Part::Included(included)) = piece {
                let (driver, included) = (driver.clone(), std::mem::take(included));
                *piece = Piece::Begun(Begun(tokio::spawn(async move {
                    let next = driver.next_part(included, Metrics::fragment_ended).await;
                    next.map(|next| next.map_or(EdgeBody::empty(), |(body, _)| body))
                        .map_err(|_| Cut)
                })));
            }
        }
    }

    async fn open(&mut self, piece: Piece) -> Result<EdgeBody, Cut> {
        match piece {
            Piece::Part(Part::Bytes(bytes)) => Ok(EdgeBody::full(bytes.into())),
            Piece::Part(Part::Stored(range)) => {
                Ok(self.stored.as_ref().ok_or(Cut)?.read(Some(range)))
            }
            Piece::Part(Part::Sliced(sliced)) => {
                let continuing = self.continuing.as_mut().ok_or(Cut)?;
                let Some((body, rest)) = continuing.next_slice(sliced).await? else {
                    return Ok(EdgeBody::empty());
                };
                if let Some(rest) = rest {
                    self.parts.push_front(Piece::Part(Part::Sliced(rest)));
                }
                Ok(body)
            }
            // Without anything to go on with, nothing was begun.
            Piece::Part(Part::Included(_)) => Err(Cut),
            Piece::Begun(mut begun) => (&mut begun.0).await.map_err(|_| Cut)?,
        }
    }

    /// Nothing more is sent.
    fn ended(self) -> Self {
        Self { parts: VecDeque::new(), now: EdgeBody::empty(), ..self }
    }
}

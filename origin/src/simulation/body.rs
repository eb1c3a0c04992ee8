//! Bodies of requests: what they say, in which pieces they come, and how they end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::model::bytes_of;
use super::scene::Scene;
use super::schedule::give_way;
use crate::digest::{Digests, Expected};
use crate::intake::{BodyCut, BodyStream};

/// The largest piece that arrives at once.
const PIECE_BYTES_MAX: u64 = 60;

/// A body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Body {
    /// What its bytes are made of.
    pub(super) salt: u64,
    /// What they should be made of, by the checksum.
    pub(super) checked_salt: u64,
    /// Where its first byte belongs.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) has_checksum: bool,
    pub(super) is_corrupt: bool,
    pub(super) ending: Ending,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Ending {
    /// As it should.
    #[default]
    Whole,
    /// The connection breaks before this byte.
    Cut(u64),
    /// Nothing comes from this byte on, and the connection stays.
    Stalled(u64),
}

impl Body {
    /// What the server is to check.
    pub(super) fn digests(&self) -> Digests {
        let digests = Digests::default();
        if !self.has_checksum {
            return digests;
        }
        let checked = bytes_of(self.checked_salt, self.start, self.end);
        match Expected::of_field(&field_of(&checked)) {
            Ok(expected) => digests.content(expected),
            Err(_) => digests,
        }
    }

    /// The body as it arrives.
    pub(super) fn stream(self, scene: Arc<Scene>) -> BodyStream {
        let last = match self.ending {
            Ending::Whole => self.end,
            Ending::Cut(at) | Ending::Stalled(at) => at,
        };
        let pieces = stream::unfold(Some(self.start), move |at| {
            let scene = scene.clone();
            async move {
                let at = at?;
                arrive(&scene).await;
                if at < last {
                    let end = last.min(at + scene.dice.between(1, PIECE_BYTES_MAX));
                    return Some((Ok(Bytes::from(bytes_of(self.salt, at, end))), Some(end)));
                }
                match self.ending {
                    Ending::Whole => None,
                    Ending::Cut(_) => Some((Err(BodyCut), None)),
                    Ending::Stalled(_) => std::future::pending().await,
                }
            }
        });
        pieces.boxed()
    }
}

/// A network takes its time.
async fn arrive(scene: &Scene) {
    match scene.dice.below(24) {
        0 => sleep(Duration::from_millis(scene.dice.between(1, 3_000))).await,
        1..4 => sleep(Duration::from_millis(scene.dice.between(1, 20))).await,
        4..12 => give_way().await,
        _ => {}
    }
}

/// `Repr-Digest` of a whole file.
pub(super) fn digest(salt: u64, length: u64) -> String {
    field_of(&bytes_of(salt, 0, length))
}

fn field_of(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)))
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {} to {}", self.start, self.end)?;
        if self.has_checksum {
            f.write_str(if self.is_corrupt { ", corrupt" } else { ", with a checksum" })?;
        }
        match self.ending {
            Ending::Whole => Ok(()),
            Ending::Cut(at) => write!(f, ", cut at {at}"),
            Ending::Stalled(at) => write!(f, ", standing still at {at}"),
        }
    }
}

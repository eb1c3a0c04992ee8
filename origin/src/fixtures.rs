//! Who and what most tests of the store are about.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use outport_wire::file::Visibility;
use outport_wire::identity::{Identity, Scopes};
use tokio::sync::watch;

use crate::intake::{Cuts, Intake};
use crate::record::Description;

/// Somebody who may do everything.
pub(crate) fn alice() -> Identity {
    Identity::new("demo", "alice", Scopes::all()).unwrap()
}

/// A text.
pub(crate) fn description() -> Description {
    Description {
        name: "a".into(),
        media_type: "text/plain".into(),
        visibility: Visibility::Private,
        metadata: BTreeMap::new(),
        tus_metadata: None,
    }
}

/// A body that comes in pieces and ends as it should.
pub(crate) fn intake(body: &[u8]) -> Intake {
    let pieces: Vec<_> = body.chunks(700).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let cuts = Cuts { shutdown: watch::channel(false).1, superseded: None };
    Intake::new(stream::iter(pieces).boxed(), u64::MAX, Duration::from_secs(60), cuts)
}

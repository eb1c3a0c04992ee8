//! `PUT /files/{id}`: an edge hands over a file that it accepted by itself.
//!
//! What was acknowledged is taken: nothing that a client might be refused for is looked at again.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use outport_wire::handover::Handover;
use outport_wire::id::{FileId, Home};
use outport_wire::identity::{Identity, Scope};
use outport_wire::problem::ProblemType;

use super::App;
use super::caller::{Caller, own};
use super::failure::Failure;
use super::field::{self, Id, Query};
use crate::digest::Digests;
use crate::record::Description;
use crate::store::{AppendError, Given};

/// The largest file that is taken in this way, in bytes. No edge keeps any that is as large.
const BYTES_MAX: u64 = 16 << 20;

/// Takes the file, if it is not here already and was not removed since.
pub(crate) async fn take(
    State(app): State<App>,
    Id(id): Id,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Response, Failure> {
    if !app.takes_handovers {
        let detail = "this origin takes no files that edges have accepted by themselves";
        return Err(Failure::new(ProblemType::EdgeSignature, detail));
    }
    let owner = caller.allowed(Scope::Write)?.clone();
    if !is_the_owners(id, &owner) {
        return Err(Failure::not_found());
    }
    let Handover { name, media_type, visibility } = Handover::read(&query.0)?;
    let (metadata, tus_metadata) = (BTreeMap::new(), None);
    let description = Description { name, media_type, visibility, metadata, tus_metadata };
    let (parts, body) = request.into_parts();
    let bytes = field::bytes(&parts.headers, CONTENT_LENGTH.as_str())?;
    let digest = field::digest(&parts.headers, "content-digest")?;
    let (Some(bytes), Some(digest)) = (bytes, digest) else {
        return Err(Failure::field("content-digest", "there, with the length"));
    };
    if bytes > BYTES_MAX {
        return Err(Failure::too_large(BYTES_MAX));
    }
    let this = app.clone();
    let body = super::body_stream(body);
    let given = app.tasks.finish(async move {
        let digests = Digests::default().content(digest);
        let mut intake = this.intake(body, bytes, None).with_digests(digests);
        let given = this.store.store_given(id, &owner, description, &mut intake).await;
        given.map(|given| (given, owner))
    });
    match given.await?.map_err(refused)? {
        (Given::Stored, _) => Ok(StatusCode::CREATED.into_response()),
        (Given::Removed, _) => Ok(StatusCode::NO_CONTENT.into_response()),
        (Given::Here(held), owner) => {
            own(&owner, &held.record)?;
            if held.record.length != Some(bytes) {
                return Err(Failure::field("the id", "no other file's"));
            }
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

/// Whether an edge made the id for what this owner stores.
fn is_the_owners(id: FileId, owner: &Identity) -> bool {
    let home = id.home();
    id.is_from_edge() && home == Home::of(home.region, &owner.tenant, &owner.subject)
}

fn refused(error: AppendError) -> Failure {
    match error {
        // It may come whole the next time.
        AppendError::Cut { .. } => Failure::new(ProblemType::RequestTimeout, "the file broke off"),
        error => error.into(),
    }
}

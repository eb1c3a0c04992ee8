//! `Upload-Concat` (tus 1.0, "Concatenation"): uploads that are pieces of a file, and files that are
//! made of them.

use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outport_wire::id::FileId;
use outport_wire::identity::Identity;

use super::super::App;
use super::super::ask::ask;
use super::super::failure::{Failure, UPLOAD_OFFSET};
use super::super::field;
use crate::hooks::Protocol;
use crate::record::{Concat, Record};
use crate::store::{ConcatError, Held, Pieces, Progress};

const UPLOAD_CONCAT: &str = "upload-concat";
const PARTIAL: &str = "partial";
const FINAL: &str = "final;";

/// The place of a new upload in a concatenation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// None.
    Whole,
    /// It is a piece.
    Partial,
    /// It is made of pieces.
    Final(Pieces),
}

impl Asked {
    /// Reads `Upload-Concat`.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let Some(text) = field::text(headers, UPLOAD_CONCAT)? else { return Ok(Self::Whole) };
        if text == PARTIAL {
            return Ok(Self::Partial);
        }
        let of = text.strip_prefix(FINAL).and_then(|list| {
            let list = list.split(' ').filter(|address| !address.is_empty());
            list.map(upload_id).collect::<Option<Vec<_>>>()
        });
        let must = "partial, or final; and addresses of uploads here, with spaces between them";
        let of = of.ok_or_else(|| Failure::field(UPLOAD_CONCAT, must))?;
        Ok(Self::Final(Pieces { of, tus_concat: Some(text.to_owned()) }))
    }
}

/// The upload at an address. Of one with a scheme and a host, the path counts: under how many names
/// an edge is reached, nobody here knows.
fn upload_id(address: &str) -> Option<FileId> {
    let path = match address.split_once("://") {
        Some(("http" | "https", rest)) => rest.split_once('/').filter(|(host, _)| !host.is_empty()),
        Some(_) => None,
        None => address.split_once('/').filter(|(before, _)| before.is_empty()),
    };
    let (_, path) = path?;
    path.strip_prefix("uploads/")?.parse().ok()
}

/// Makes a file of uploads: at once if all of them are complete, otherwise when they are.
pub(super) async fn create(
    app: &App,
    owner: &Identity,
    headers: &HeaderMap,
    pieces: Pieces,
) -> Result<Response, Failure> {
    for name in ["upload-length", "upload-defer-length", field::CHECKSUM] {
        if headers.contains_key(name) {
            return Err(Failure::field(name, "left out: a final upload has what its pieces have"));
        }
    }
    let rules = &app.rules.for_tenant(&owner.tenant).declared;
    let description = field::tus_metadata(headers, &app.limits)?;
    rules.check_type(&description.media_type)?;
    let length = app.store.progress(&pieces.of).await?.and_then(|progress| progress.length);
    let description = ask(app, owner, description, length, Protocol::Tus).await?;
    let bytes_max = rules.size_max_bytes;
    let held = app.store.concatenate(owner, description, pieces, bytes_max).await?;
    let location = [(LOCATION, format!("/uploads/{}", held.id))];
    let offset = held.record.complete.then(|| [(UPLOAD_OFFSET, held.record.offset().to_string())]);
    Ok(match offset {
        Some(offset) => (StatusCode::CREATED, location, offset).into_response(),
        None => (StatusCode::CREATED, location).into_response(),
    })
}

/// The uploads that a final one is made of, while they are not joined yet.
pub(super) fn partials(record: &Record) -> Option<&[FileId]> {
    match &record.concat {
        Some(Concat::Final { of }) if !record.complete => Some(of),
        _ => None,
    }
}

/// The final upload, completed if nothing is missing.
pub(super) async fn join(app: &App, id: FileId) -> Result<Held, Failure> {
    match app.store.join(id).await {
        Ok(held) => held.ok_or_else(Failure::not_found),
        Err(ConcatError::Store(error)) => Err(error.into()),
        Err(error) => Err(incomplete(&error)),
    }
}

/// How far the pieces of a final upload are.
pub(super) async fn progress(app: &App, of: &[FileId]) -> Result<Progress, Failure> {
    app.store.progress(of).await?.ok_or_else(|| incomplete(&"one of its pieces is gone"))
}

fn incomplete(why: &impl std::fmt::Display) -> Failure {
    Failure::gone(format!("the upload can't be completed any more: {why}"))
}

/// What an answer says of an upload's place in a concatenation: what its creation said.
pub(super) fn describe(record: &Record, headers: &mut HeaderMap) {
    let said = match &record.concat {
        None => return,
        Some(Concat::Partial { .. }) => Some(PARTIAL.to_owned()),
        Some(Concat::Final { of }) => record.tus_concat.clone().or_else(|| Some(canonical(of))),
    };
    if let Some(Ok(said)) = said.map(HeaderValue::try_from) {
        headers.insert(HeaderName::from_static(UPLOAD_CONCAT), said);
    }
}

fn canonical(of: &[FileId]) -> String {
    let paths: Vec<_> = of.iter().map(|id| format!("/uploads/{id}")).collect();
    format!("{FINAL}{}", paths.join(" "))
}

#[cfg(test)]
mod tests {
    use outport_wire::id::Home;

    use super::*;

    fn read(text: &str) -> Result<Asked, Failure> {
        let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
        Asked::read(&HeaderMap::from_iter([(HeaderName::from_static(UPLOAD_CONCAT), value)]))
    }

    fn id(random: u64) -> FileId {
        FileId::new(Home::of(0, "demo", "alice"), 1_800_000_000_000, random)
    }

    #[test]
    fn addresses_are_paths_of_ours_whatever_the_host() {
        assert_eq!(Asked::read(&HeaderMap::new()).unwrap(), Asked::Whole);
        assert_eq!(read("partial").unwrap(), Asked::Partial);
        let (a, b) = (id(1), id(2));
        for text in [
            format!("final;/uploads/{a} /uploads/{b}"),
            format!("final;http://x:1/uploads/{a}  https://[::1]/uploads/{b}"),
            format!("final; /uploads/{a} http://a.example/uploads/{b} "),
        ] {
            let pieces = Pieces { of: vec![a, b], tus_concat: Some(text.clone()) };
            assert_eq!(read(&text).unwrap(), Asked::Final(pieces), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let a = id(1);
        for text in [
            "".to_owned(),
            "final".to_owned(),
            "Partial".to_owned(),
            "partial;".to_owned(),
            format!("final /uploads/{a}"),
            format!("final;uploads/{a}"),
            format!("final;//x/uploads/{a}"),
            format!("final;/uploads/{a}/"),
            format!("final;/uploads/{a}?x"),
            format!("final;/uploads/../uploads/{a}"),
            format!("final;/uploads/%2e%2e/{a}"),
            format!("final;/files/{a}"),
            format!("final;ftp://x/uploads/{a}"),
            format!("final;http:///uploads/{a}"),
            format!("final;http://x/base/uploads/{a}"),
            "final;/uploads/../../etc/passwd".to_owned(),
            format!("final;/uploads/{a},/uploads/{a}"),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_address_at_all_is_for_the_store_to_refuse() {
        let pieces = Pieces { of: vec![], tus_concat: Some(FINAL.to_owned()) };
        assert_eq!(read(FINAL).unwrap(), Asked::Final(pieces));
    }
}

//! The JSON document of a file.

use outport_wire::id::FileId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::record::{Record, etag};
use crate::store::Held;

/// What stands for itself in a segment of a path (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file, as its owner sees it.
pub(crate) fn file(id: FileId, record: &Record) -> Value {
    json!({
        "id": id,
        "name": record.name,
        "type": record.media_type,
        "size": record.length,
        "visibility": record.visibility,
        "created": rfc3339(record.created_s),
        "expires": record.expires_s.map(rfc3339),
        "etag": etag(id),
        "url": format!("/files/{id}"),
        "metadata": record.metadata,
    })
}

/// A file that was just read or written.
pub(crate) fn held(held: &Held) -> Value {
    file(held.id, &held.record)
}

/// The path of a file with its name behind it, for people to read.
pub(crate) fn named_path(held: &Held) -> String {
    format!("/files/{}/{}", held.id, utf8_percent_encode(&held.record.name, SEGMENT))
}

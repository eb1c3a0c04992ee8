//! The JSON document of a file.

use outport_wire::document::FileDocument;
use outport_wire::id::FileId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::record::Record;
use crate::store::Held;

/// What stands for itself in a segment of a path (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file, as its owner sees it.
pub(crate) fn file(id: FileId, record: &Record) -> Value {
    let document = FileDocument {
        id,
        name: &record.name,
        media_type: &record.media_type,
        size: record.offset(),
        visibility: record.visibility,
        created_s: record.created_s,
        expires_s: record.expires_s,
        metadata: &record.metadata,
    };
    document.to_json()
}

/// A file that was just read or written.
pub(crate) fn held(held: &Held) -> Value {
    file(held.id, &held.record)
}

/// The path of a file with its name behind it, for people to read.
pub(crate) fn named_path(held: &Held) -> String {
    format!("/files/{}/{}", held.id, utf8_percent_encode(&held.record.name, SEGMENT))
}

//! A file as its owner sees it: the JSON document of answers, the same from edge and origin.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::UnixSeconds;
use crate::file::Visibility;
use crate::id::FileId;
use crate::time::rfc3339;

/// What is said of a file.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Their names are the document's.
pub struct FileDocument<'a> {
    pub id: FileId,
    pub name: &'a str,
    pub media_type: &'a str,
    /// Bytes.
    pub size: u64,
    pub visibility: Visibility,
    pub created_s: UnixSeconds,
    pub expires_s: Option<UnixSeconds>,
    pub metadata: &'a BTreeMap<String, String>,
}

impl FileDocument<'_> {
    /// The document.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "type": self.media_type,
            "size": self.size,
            "visibility": self.visibility,
            "created": rfc3339(self.created_s),
            "expires": self.expires_s.map(rfc3339),
            "etag": etag(self.id),
            "url": path(self.id),
            "metadata": self.metadata,
        })
    }
}

/// The path of a file.
pub fn path(id: FileId) -> String {
    format!("/files/{id}")
}

/// The strong validator of a file: its contents never change under an id.
pub fn etag(id: FileId) -> String {
    format!("\"{id}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_stable() {
        let document = FileDocument {
            id: "01000G0000000C000000000004".parse().unwrap(),
            name: "a.txt",
            media_type: "text/plain",
            size: 5,
            visibility: Visibility::Private,
            created_s: 784_111_777,
            expires_s: None,
            metadata: &BTreeMap::new(),
        };
        assert_eq!(
            document.to_json().to_string(),
            r#"{"created":"1994-11-06T08:49:37Z","etag":"\"01000G0000000C000000000004\"","expires":null,"id":"01000G0000000C000000000004","metadata":{},"name":"a.txt","size":5,"type":"text/plain","url":"/files/01000G0000000C000000000004","visibility":"private"}"#
        );
    }
}

//! How an edge hands over a file that it accepted by itself: `PUT /files/{id}` at the origin, with
//! the file as the body, its `Content-Digest`, the uploader's identity, and the rest in the query,
//! which the edge's signature covers. When it was accepted is in its id.

use form_urlencoded::Serializer;

use crate::describe::{self, Query, TYPE_BYTES_MAX};
use crate::file::Visibility;
use crate::name::{FileName, NAME_BYTES_MAX};
use crate::problem::Problem;

/// What is said of a file that is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Their names say it.
pub struct Handover {
    pub name: String,
    pub media_type: String,
    pub visibility: Visibility,
}

impl Handover {
    /// The query that says it.
    pub fn query(&self) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("name", &self.name).append_pair("type", &self.media_type);
        query.append_pair("visibility", self.visibility.name()).finish()
    }

    /// Reads the query.
    pub fn read(query: &Query) -> Result<Self, Problem> {
        let visibility = query.get("visibility").map(describe::visibility).transpose()?;
        Ok(Self {
            name: FileName::given(query.get("name"), NAME_BYTES_MAX)?.into_string(),
            media_type: describe::media_type(query.get("type"), TYPE_BYTES_MAX)?,
            visibility: visibility.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let handover = Handover {
            name: "grüße & more=100% #1.txt".into(),
            media_type: "text/plain; charset=\"utf-8\"".into(),
            visibility: Visibility::Link,
        };
        let query = handover.query();
        assert!(query.bytes().all(|byte| byte.is_ascii_graphic()), "{query}");
        assert_eq!(Handover::read(&Query::parse(&query)), Ok(handover));
    }

    #[test]
    fn what_no_client_may_say_is_refused() {
        for query in ["name=a%00", "type=nonsense", "visibility=secret"] {
            assert!(Handover::read(&Query::parse(query)).is_err(), "{query}");
        }
    }
}

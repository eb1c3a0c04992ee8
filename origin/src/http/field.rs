//! Reads single values out of requests. Each becomes a value of its own type once, here.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::TRAILER;
use http::request::Parts;
use outport_wire::describe;
use outport_wire::file::Visibility;
use outport_wire::id::FileId;
use outport_wire::name::FileName;
use outport_wire::problem::Problem;
use outport_wire::tus;

use super::failure::Failure;
use crate::config::Limits;
use crate::digest::{Expected, Unchecked};
use crate::record::Description;

/// The checksum of a body, before it or behind it.
pub(crate) const CHECKSUM: &str = "upload-checksum";

/// The `{id}` of the path. What is no id is not found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id(pub(crate) FileId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Ok(params) = RawPathParams::from_request_parts(parts, state).await else {
            return Err(Failure::not_found());
        };
        let id = params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse().ok());
        id.map(Self).ok_or_else(Failure::not_found)
    }
}

/// The query, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(pub(crate) describe::Query);

impl Query {
    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(describe::Query::parse(query)))
    }
}

/// The text of a field that may be there once.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str()).transpose();
    match (value, values.next()) {
        (Ok(value), None) => Ok(value),
        (Err(_), _) => Err(Failure::field(name, "visible ASCII")),
        (_, Some(_)) => Err(Failure::field(name, "sent once")),
    }
}

/// A field that holds a whole number of bytes: digits and nothing else.
pub(crate) fn bytes(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(Failure::field(name, "a whole number of bytes")),
    }
}

/// A digest field (RFC 9530). One of which nothing could be checked is refused: its sender relies
/// on the check.
pub(crate) fn digest(headers: &HeaderMap, name: &str) -> Result<Option<Expected>, Failure> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    Expected::of_field(text).map(Some).map_err(|unchecked| match unchecked {
        Unchecked::Malformed => Failure::field(name, "as in sha-256=:BASE64:"),
        Unchecked::UnknownAlgorithm => Failure::field(name, "of sha-256 or sha-512"),
    })
}

/// `Upload-Checksum` of tus 1.0.
pub(crate) fn checksum(headers: &HeaderMap) -> Result<Option<Expected>, Failure> {
    let Some(text) = text(headers, CHECKSUM)? else { return Ok(None) };
    Expected::of_tus(text).map(Some).map_err(|unchecked| match unchecked {
        Unchecked::Malformed => Failure::field(CHECKSUM, "as in sha1 BASE64"),
        Unchecked::UnknownAlgorithm => {
            Failure::field(CHECKSUM, &format!("of {}", tus::CHECKSUM_ALGORITHMS))
        }
    })
}

/// Whether what is named comes behind the body (RFC 9110, section 6.6.2).
pub(crate) fn announces_trailer(headers: &HeaderMap, name: &str) -> bool {
    let lines = headers.get_all(TRAILER).iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.any(|found| found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// A visibility by its name.
pub(crate) fn visibility(name: &str) -> Result<Visibility, Failure> {
    Ok(describe::visibility(name)?)
}

/// A file's name; the default where there is none.
pub(crate) fn file_name(name: Option<&str>, limits: &Limits) -> Result<String, Failure> {
    let name = FileName::given(name, limits.name_bytes_max).map_err(Problem::from)?;
    Ok(name.into_string())
}

/// A media type; the default where there is none.
pub(crate) fn media_type(text: Option<&str>, limits: &Limits) -> Result<String, Failure> {
    Ok(describe::media_type(text, limits.type_bytes_max)?)
}

/// A file's metadata, within its bounds.
pub(crate) fn metadata(
    metadata: BTreeMap<String, String>,
    limits: &Limits,
) -> Result<BTreeMap<String, String>, Failure> {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata.len() > limits.metadata_keys_max || bytes > limits.metadata_bytes_max {
        let Limits { metadata_keys_max: keys, metadata_bytes_max: bytes, .. } = limits;
        return Err(Failure::field("metadata", &format!("at most {keys} keys and {bytes} bytes")));
    }
    if metadata.iter().any(|(key, value)| key.is_empty() || (key.clone() + value).contains('\0')) {
        return Err(Failure::field("metadata", "text with keys that are not empty"));
    }
    Ok(metadata)
}

/// `Upload-Metadata` of tus 1.0: pairs of a key and, behind a space, a value in base64.
pub(crate) fn tus_metadata(headers: &HeaderMap, limits: &Limits) -> Result<Description, Failure> {
    let sent = text(headers, "upload-metadata")?.filter(|sent| !sent.trim().is_empty());
    // Base64 makes four bytes of three.
    if sent.is_some_and(|sent| sent.len() > limits.metadata_bytes_max / 3 * 4) {
        let must = format!("at most {} bytes", limits.metadata_bytes_max / 3 * 4);
        return Err(Failure::field("upload-metadata", &must));
    }
    let mut pairs = BTreeMap::new();
    for pair in sent.unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = tus_pair(pair.trim())?;
        if pairs.insert(key, value).is_some() {
            return Err(Failure::field("upload-metadata", "free of keys that come twice"));
        }
    }
    described(pairs, sent, limits)
}

fn tus_pair(pair: &str) -> Result<(String, String), Failure> {
    let malformed = || Failure::field("upload-metadata", "pairs of a key and text in base64");
    let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
    let value = STANDARD.decode(value).map_err(|_| malformed())?;
    let value = String::from_utf8(value).map_err(|_| malformed())?;
    let visible = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if visible { Ok((key.to_owned(), value)) } else { Err(malformed()) }
}

/// Takes the keys that mean something here; the rest is the user's own.
fn described(
    mut pairs: BTreeMap<String, String>,
    sent: Option<&str>,
    limits: &Limits,
) -> Result<Description, Failure> {
    let mut take = |first: &str, second: &str| {
        let second = pairs.remove(second);
        pairs.remove(first).or(second)
    };
    let name = take("filename", "name");
    let media_type = take("filetype", "type");
    let wanted = take("visibility", "visibility");
    Ok(Description {
        name: file_name(name.as_deref(), limits)?,
        media_type: self::media_type(media_type.as_deref(), limits)?,
        visibility: wanted.as_deref().map(visibility).transpose()?.unwrap_or_default(),
        metadata: metadata(pairs, limits)?,
        tus_metadata: sent.map(str::to_owned),
    })
}

/// The name in a `Content-Disposition` (RFC 6266).
pub(crate) fn disposition_name(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get("content-disposition") else { return Ok(None) };
    Ok(describe::disposition_name(value.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let pair = |value: &&str| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        values.iter().map(pair).collect()
    }

    #[test]
    fn numbers_are_digits() {
        let read = |values: &[&str]| bytes(&headers("upload-length", values), "upload-length");
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["0"]).unwrap(), Some(0));
        assert_eq!(read(&["18446744073709551615"]).unwrap(), Some(u64::MAX));
        for bad in ["", "-1", "+1", "1.5", "0x10", "1e3", "18446744073709551616", " 1", "１"] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
        assert!(read(&["1", "1"]).is_err());
    }

    fn tus(sent: &[&str]) -> Result<Description, Failure> {
        tus_metadata(&headers("upload-metadata", sent), &Limits::default())
    }

    #[test]
    fn tus_metadata_is_taken_apart() {
        let sent = "filename Z3LDvMOfZS50eHQ=,name eA==,filetype dGV4dC9wbGFpbg==, \
                    visibility cHVibGlj,project T25l,empty";
        let description = tus(&[sent]).unwrap();
        assert_eq!(description.name, "grüße.txt");
        assert_eq!(description.media_type, "text/plain");
        assert_eq!(description.visibility, Visibility::Public);
        let own = [("empty", ""), ("project", "One")];
        assert_eq!(description.metadata, own.map(|(k, v)| (k.into(), v.into())).into());
        assert_eq!(description.tus_metadata.as_deref(), Some(sent));
        let none = tus(&[]).unwrap();
        assert_eq!((none.name.as_str(), none.tus_metadata), ("untitled", None));
        assert_eq!(none.media_type, describe::UNKNOWN_TYPE);
    }

    #[test]
    fn bad_tus_metadata_is_refused() {
        let long = format!("k {}", "QUFB".repeat(4096));
        let many: Vec<_> = (0..33).map(|key| format!("k{key}")).collect();
        for sent in [
            "filename !!!",
            "filename Z3L",
            "filename /w==",
            "filename YS8AYg==",
            "a YQ==,a YQ==",
            " YQ==,\u{e4} YQ==",
            "visibility c2VjcmV0",
            "filetype bm90aGluZw==",
            &long,
            &many.join(","),
        ] {
            assert!(tus(&[sent]).is_err(), "{sent}");
        }
        assert!(tus(&["a YQ==", "b YQ=="]).is_err());
    }
}

//! Delivery of a file: what is wanted of it, and under which type, name and policy it is sent.

use std::fmt::Write as _;

use outport_wire::conditions::{ByteRange, Conditions, Delivery, Representation};
use outport_wire::file::Visibility;
use outport_wire::id::FileId;
use outport_wire::identity::Identity;
use outport_wire::relation::{AT_LEAST_HEADER, Revision};
use serde::{Deserialize, Serialize};

use crate::coding::{Accepted, Choice, compressible, entity_tag, without_coding};
use crate::guard::Guarded;
use crate::head::Fields;
use crate::multipart::Multipart;
use crate::step::{Coding, Form, Moment};
use crate::stored::StoredFile;

/// How long others may keep a public file without asking again, in seconds.
const PUBLIC_MAX_AGE_S: u64 = 300;
/// What is never shown needs to say no more than that.
const SAVED_POLICY: &str = "default-src 'none'; sandbox";
/// Nothing in a file runs, and nothing it shows is fetched from elsewhere.
const SHOWN_POLICY: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; sandbox";
/// What a shown file may not use, whatever it is: of all that a document may without being asked.
const SHOWN_PERMISSIONS: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";
/// A browser's own PDF viewer does not start in a sandboxed document.
const PDF_POLICY: &str = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'";

/// What a request wants of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileAsk {
    pub(crate) id: FileId,
    /// A HEAD request.
    pub(crate) head_only: bool,
    pub(crate) identity: Option<Identity>,
    /// It came with a signed link that is good: when that was made.
    pub(crate) link_ms: Option<u64>,
    /// By what the uses of that link are counted, where they are and this is one.
    pub(crate) use_of: Option<String>,
    /// To be saved, not shown.
    pub(crate) download: bool,
    /// Relations let the caller have it. It is not looked at them before it has to be.
    pub(crate) related: bool,
    /// The revision of the relations that is to be gone by, or a later one.
    pub(crate) least: Revision,
    if_match: Option<String>,
    if_unmodified_since: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<String>,
    if_range: Option<String>,
    range: Option<String>,
    accepted: Accepted,
}

impl FileAsk {
    /// Reads what is asked for.
    pub(crate) fn read(request: &Guarded<'_>, id: FileId, identity: Option<Identity>) -> Self {
        let field = |name| request.fields.get(name).map(str::to_owned);
        Self {
            id,
            head_only: request.method == "HEAD",
            identity,
            link_ms: None,
            use_of: None,
            download: request.has_query("download"),
            related: false,
            least: field(AT_LEAST_HEADER).and_then(|least| least.parse().ok()).unwrap_or_default(),
            if_match: field("if-match"),
            if_unmodified_since: field("if-unmodified-since"),
            if_none_match: field("if-none-match"),
            if_modified_since: field("if-modified-since"),
            if_range: field("if-range"),
            // Ranges are defined for GET alone (RFC 9110, section 14.2).
            range: if request.method == "GET" { field("range") } else { None },
            accepted: Accepted::read(request.fields.get("accept-encoding")),
        }
    }

    /// Whether only a part may be wanted.
    pub(crate) fn wants_range(&self) -> bool {
        self.range.is_some()
    }

    /// Decides what is delivered of a file; of several ranges at once, where that is possible.
    pub(crate) fn delivery(&self, file: &StoredFile<'_>, several: bool) -> Delivery {
        let StoredFile { etag, last_modified, length, .. } = *file;
        let if_none_match = self.if_none_match.as_deref().map(without_coding);
        let conditions = Conditions {
            if_match: self.if_match.as_deref(),
            if_unmodified_since: self.if_unmodified_since.as_deref(),
            if_none_match: if_none_match.as_deref(),
            if_modified_since: self.if_modified_since.as_deref(),
            if_range: self.if_range.as_deref(),
            range: self.range.as_deref(),
            several,
        };
        Delivery::decide(&conditions, Representation { etag, last_modified, length })
    }
}

impl FileAsk {
    /// Chooses the form of a file whose body has these; none where nothing is encoded. Ranges are
    /// of the file itself.
    pub(crate) fn choose(&self, file: &StoredFile<'_>, forms: Option<&[Form]>) -> Choice {
        if !compressible(file.content_type, Some(file.length)) {
            return Choice::Plain;
        }
        let forms = forms.filter(|_| !self.wants_range());
        forms.map_or(Choice::Identity, |forms| self.accepted.choose(forms))
    }

    /// The coding of a form that is to be made for clients like this one.
    pub(crate) fn wants_form(&self, file: &StoredFile<'_>, forms: &[Form]) -> Option<Coding> {
        let wanted = self.accepted.wants_form(forms)?;
        compressible(file.content_type, Some(file.length)).then_some(wanted)
    }
}

/// The fields that describe what is delivered, but for `Cache-Status`.
pub(crate) fn describe(
    ask: &FileAsk,
    file: &StoredFile<'_>,
    delivery: &Delivery,
    choice: Choice,
    moment: Moment,
    fields: &mut Fields,
) {
    let now_ms = moment.unix_ms;
    match choice.coding() {
        Some(coding) => fields.push("etag", entity_tag(file.etag, coding)),
        None => fields.push("etag", file.etag),
    }
    if choice != Choice::Plain {
        fields.push("vary", "accept-encoding");
    }
    fields.push("last-modified", file.last_modified);
    fields.push("cache-control", cache_control(file, now_ms / 1000));
    fields.push_number("age", now_ms.saturating_sub(file.freshness.since_ms) / 1000);
    let length = match delivery {
        Delivery::Whole => match choice {
            Choice::Plain | Choice::Identity => Some(file.length),
            Choice::Coded(_, bytes) => Some(bytes),
            Choice::Encoding(_) => None,
        },
        Delivery::Part(range) => {
            let (ByteRange { first, last }, length) = (*range, file.length);
            fields.push_args("content-range", format_args!("bytes {first}-{last}/{length}"));
            Some(range.length())
        }
        Delivery::Parts(parts) => {
            multipart(file, moment).describe(parts, fields);
            None
        }
        Delivery::NotModified | Delivery::PreconditionFailed | Delivery::RangeNotSatisfiable => {
            return;
        }
    };
    match choice.coding() {
        Some(coding) => fields.push("content-encoding", coding.name()),
        None => fields.push("accept-ranges", "bytes"),
    }
    if let Some(length) = length {
        fields.push_number("content-length", length);
    }
    let kind = Kind::of(file.content_type);
    if !matches!(delivery, Delivery::Parts(_)) {
        fields.push("content-type", kind.sent_type(file.content_type));
    }
    fields.push("content-disposition", disposition(file.name, ask.download || !kind.is_shown()));
    fields.push("content-security-policy", kind.policy());
    fields.push("cross-origin-resource-policy", "cross-origin");
    if kind.is_shown() {
        // A signed link must not leak to where a document's own links lead.
        fields.push("referrer-policy", "no-referrer");
        // Nor be held by whoever opened it, nor use what asks the person.
        fields.push("cross-origin-opener-policy", "same-origin");
        fields.push("permissions-policy", SHOWN_PERMISSIONS);
    }
}

/// Several parts of a file.
pub(crate) fn multipart<'a>(file: &StoredFile<'a>, moment: Moment) -> Multipart<'a> {
    let content_type = Kind::of(file.content_type).sent_type(file.content_type);
    Multipart { content_type: Some(content_type), length: file.length, random: moment.random }
}

fn cache_control(file: &StoredFile<'_>, now_s: u64) -> String {
    if file.visibility != Visibility::Public {
        return "private, no-cache".to_owned();
    }
    let left = file.expires_s.map_or(u64::MAX, |expires| expires.saturating_sub(now_s));
    format!("public, max-age={}, immutable", PUBLIC_MAX_AGE_S.min(left))
}

/// What a browser would do with a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Shows it, and nothing in it can act: pictures, sound, film, plain text.
    Inert,
    /// Shows it in a viewer of its own.
    Pdf,
    /// Takes it as code or style when a page of the same origin names it.
    Includable,
    /// Anything else, documents with scripts among it: to be saved, never shown.
    Other,
}

impl Kind {
    fn of(content_type: &str) -> Self {
        let essence =
            content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (family, subtype) = essence.split_once('/').unwrap_or_default();
        match (family, subtype) {
            (
                "image",
                "png" | "jpeg" | "gif" | "webp" | "avif" | "bmp" | "x-icon" | "vnd.microsoft.icon",
            )
            | ("audio" | "video", _)
            | ("text", "plain") => Self::Inert,
            ("application", "pdf") => Self::Pdf,
            ("text", "css") => Self::Includable,
            (_, subtype) if subtype.contains("javascript") || subtype.contains("ecmascript") => {
                Self::Includable
            }
            ("text", "jscript" | "livescript") => Self::Includable,
            _ => Self::Other,
        }
    }

    fn is_shown(self) -> bool {
        matches!(self, Self::Inert | Self::Pdf | Self::Includable)
    }

    /// The `Content-Type` to send. With `nosniff`, text is neither run nor applied as style.
    fn sent_type(self, stated: &str) -> &str {
        match self {
            Self::Includable => "text/plain; charset=utf-8",
            Self::Inert | Self::Pdf | Self::Other => stated,
        }
    }

    fn policy(self) -> &'static str {
        match self {
            Self::Inert | Self::Includable => SHOWN_POLICY,
            Self::Pdf => PDF_POLICY,
            Self::Other => SAVED_POLICY,
        }
    }
}

/// `Content-Disposition` (RFC 6266), with the name in both its forms.
fn disposition(name: &str, save: bool) -> String {
    let mut value = String::from(if save { "attachment" } else { "inline" });
    if name.is_empty() {
        return value;
    }
    let plain: String = name
        .chars()
        .map(|char| if char.is_ascii_graphic() || char == ' ' { char } else { '_' })
        .map(|char| if matches!(char, '"' | '\\' | '%') { '_' } else { char })
        .collect();
    let _ = write!(value, "; filename=\"{plain}\""); // Writing to a String never fails.
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            // attr-char of RFC 8187, section 3.2.1.
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                value.push(char::from(byte));
            } else {
                let _ = write!(value, "%{byte:02X}");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use outport_wire::file::Visibility;

    use super::*;
    use crate::stored::Freshness;

    fn file() -> StoredFile<'static> {
        StoredFile {
            content_type: "text/plain",
            etag: "\"abc\"",
            last_modified: "Tue, 24 Nov 2026 06:49:10 GMT",
            length: 100,
            tenant: "demo",
            owner: "alice",
            name: "a.txt",
            visibility: Visibility::Private,
            expires_s: None,
            links_after_ms: None,
            freshness: Freshness {
                since_ms: 0,
                lifetime_ms: 0,
                while_revalidate_ms: 0,
                if_error_ms: 0,
                failed_ms: None,
            },
        }
    }

    #[test]
    fn nothing_uploaded_runs_in_our_name() {
        for content_type in ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", ""]
        {
            assert!(!Kind::of(content_type).is_shown(), "{content_type}");
        }
        for content_type in ["text/javascript", "Application/JavaScript; a=b", "text/css"] {
            let kind = Kind::of(content_type);
            assert_eq!(kind.sent_type(content_type), "text/plain; charset=utf-8");
        }
        assert!(Kind::of("image/png").is_shown() && Kind::of("application/pdf").is_shown());
        for kind in [Kind::Inert, Kind::Includable, Kind::Other] {
            assert!(kind.policy().starts_with("default-src 'none'; "));
            assert!(kind.policy().ends_with("sandbox"));
        }
    }

    #[test]
    fn names() {
        assert_eq!(disposition("a b.txt", false), "inline; filename=\"a b.txt\"");
        assert_eq!(
            disposition("grüße\".html", true),
            "attachment; filename=\"gr__e_.html\"; filename*=UTF-8''gr%C3%BC%C3%9Fe%22.html"
        );
        assert_eq!(disposition("", true), "attachment");
    }

    #[test]
    fn who_may_keep_it() {
        let public = |expires_s| StoredFile { visibility: Visibility::Public, expires_s, ..file() };
        assert_eq!(cache_control(&file(), 0), "private, no-cache");
        assert_eq!(cache_control(&public(None), 0), "public, max-age=300, immutable");
        assert_eq!(cache_control(&public(Some(110)), 100), "public, max-age=10, immutable");
    }
}

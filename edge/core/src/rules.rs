//! What an edge refuses of uploads by itself, before any of the body is read: what is larger than
//! the tenant may upload, and what is declared to be of a type that the tenant doesn't take. The
//! origin checks the same again, and the rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outport_wire::describe::UNKNOWN_TYPE;
use outport_wire::problem::Problem;
use outport_wire::rules::Declared;
use serde::{Deserialize, Serialize};

use crate::guard::Guarded;
use crate::head::Fields;
use crate::route::Target;

/// What `Upload-Limit` says (draft-ietf-httpbis-resumable-upload, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadLimit {
    /// The largest upload, in bytes.
    pub(crate) size_max_bytes: u64,
    /// The largest body of one request, where the platform has a bound.
    pub(crate) append_max_bytes: Option<u64>,
}

impl UploadLimit {
    /// The limit that answers about this resource say; `None` where nothing is uploaded.
    pub(crate) fn of(
        request: &Guarded<'_>,
        target: &Target,
        rules: &Declared,
        append_max_bytes: Option<u64>,
    ) -> Option<Self> {
        let uploads = match target {
            Target::Uploads | Target::Upload(_) => true,
            Target::Files => matches!(request.method, "POST" | "OPTIONS"),
            _ => false,
        };
        uploads.then_some(Self { size_max_bytes: rules.size_max_bytes, append_max_bytes })
    }

    pub(crate) fn describe(self, fields: &mut Fields) {
        let Self { size_max_bytes: size, append_max_bytes } = self;
        match append_max_bytes {
            Some(most) => {
                let most = most.min(size);
                fields.push_args(
                    "upload-limit",
                    format_args!("max-size={size}, max-append-size={most}"),
                );
            }
            None => fields.push_args("upload-limit", format_args!("max-size={size}")),
        }
    }
}

/// Refuses an upload that says itself that it is none that the tenant may make. What can't be
/// read passes: the origin says what is wrong with it.
pub(crate) fn admit(
    request: &Guarded<'_>,
    target: &Target,
    rules: &Declared,
) -> Result<(), Problem> {
    if let Some(bytes) = declared_bytes(request, target) {
        rules.check_size(bytes)?;
    }
    match declared_type(request, target) {
        Some(media_type) => rules.check_type(&media_type),
        None => Ok(()),
    }
}

/// How large the upload will be at least.
fn declared_bytes(request: &Guarded<'_>, target: &Target) -> Option<u64> {
    let number = |name| request.fields.get(name)?.parse::<u64>().ok();
    match target {
        Target::Uploads | Target::Upload(_) => {
            number("upload-length").max(number("content-length"))
        }
        // A form may hold several files, none of which is too large.
        Target::Files if request.method == "POST" && !is_form(request) => number("content-length"),
        _ => None,
    }
}

/// The type of the file that is begun, where it is known from the head.
fn declared_type(request: &Guarded<'_>, target: &Target) -> Option<String> {
    if request.method != "POST" {
        return None;
    }
    let content_type = || request.fields.get("content-type").unwrap_or(UNKNOWN_TYPE).to_owned();
    match target {
        Target::Files => (!is_form(request)).then(content_type),
        // A part of a file to be put together is of no type yet.
        Target::Uploads if request.fields.get("upload-concat") == Some("partial") => None,
        Target::Uploads if is_tus(request) => tus_type(request.fields.get("upload-metadata")),
        Target::Uploads => Some(content_type()),
        _ => None,
    }
}

/// Whether a new upload is one of tus. `Upload-Complete` belongs to the other protocol alone.
fn is_tus(request: &Guarded<'_>) -> bool {
    let has = |name| request.fields.get(name).is_some();
    has("tus-resumable") || !has("upload-complete")
}

fn is_form(request: &Guarded<'_>) -> bool {
    let form = "multipart/form-data";
    let sent = request.fields.get("content-type").and_then(|sent| sent.get(..form.len()));
    sent.is_some_and(|sent| sent.eq_ignore_ascii_case(form))
}

/// The type in an `Upload-Metadata`, under the names that the origin takes.
fn tus_type(metadata: Option<&str>) -> Option<String> {
    let value = |name: &str| {
        let mut pairs = metadata.unwrap_or_default().split(',').map(str::trim);
        pairs.find_map(|pair| match pair.split_once(' ') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        })
    };
    let sent = value("filetype").or_else(|| value("type")).unwrap_or_default();
    let sent = String::from_utf8(STANDARD.decode(sent).ok()?).ok()?;
    Some(if sent.trim().is_empty() { UNKNOWN_TYPE.to_owned() } else { sent })
}

#[cfg(test)]
mod tests {
    use outport_wire::problem::ProblemType;
    use outport_wire::rules::MediaTypes;

    use super::*;
    use crate::guard::guard;

    fn rules() -> Declared {
        let types = |text: &str| vec![text.parse().unwrap()];
        let types = MediaTypes { allowed: types("image/*"), refused: types("image/svg+xml") };
        Declared { size_max_bytes: 100, types }
    }

    fn refused(line: &str, target: Target, fields: &str) -> Option<ProblemType> {
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\n{fields}");
        let guarded = guard(head.as_bytes()).unwrap();
        admit(&guarded, &target, &rules()).err().map(|problem| problem.kind)
    }

    fn upload() -> Target {
        Target::Upload("01000G0000000C000000000004".parse().unwrap())
    }

    fn filetype(media_type: &str) -> String {
        format!("upload-metadata: filename YQ==,filetype {}\r\n", STANDARD.encode(media_type))
    }

    #[test]
    fn what_says_that_it_is_too_large() {
        let large = Some(ProblemType::TooLarge);
        let png = "content-type: image/png\r\n";
        let raw = |length| {
            refused("POST /files", Target::Files, &format!("{png}content-length: {length}\r\n"))
        };
        assert_eq!((raw(100), raw(101)), (None, large));
        let tus = |field| {
            let fields = format!("{}{field}\r\n", filetype("image/png"));
            refused("POST /uploads", Target::Uploads, &fields)
        };
        assert_eq!((tus("upload-length: 100"), tus("upload-length: 101")), (None, large));
        assert_eq!(tus("content-length: 101"), large);
        let append = |field: &str| refused("PATCH /uploads/x", upload(), field);
        assert_eq!(append("content-length: 101\r\n"), large);
        assert_eq!(append("content-length: 1\r\nupload-length: 101\r\n"), large);
        assert_eq!(append("content-length: 100\r\nupload-length: 100\r\n"), None);
        // What is no number, and what may be several files, is the origin's to judge.
        assert_eq!(tus("upload-length: many"), None);
        let form = "content-type: multipart/form-data; boundary=b\r\ncontent-length: 101\r\n";
        assert_eq!(refused("POST /files", Target::Files, form), None);
    }

    #[test]
    fn what_says_that_it_is_of_another_type() {
        let no = Some(ProblemType::MediaTypeRefused);
        let raw = |fields: &str| refused("POST /files", Target::Files, fields);
        assert_eq!(raw("content-type: image/png\r\n"), None);
        assert_eq!(raw("content-type: image/svg+xml; charset=utf-8\r\n"), no);
        assert_eq!(raw("content-type: text/html\r\n"), no);
        assert_eq!(raw(""), no, "nothing said is unknown");
        assert_eq!(raw("content-type: Multipart/Form-Data; boundary=b\r\n"), None);
        let tus = |fields: &str| {
            let fields = format!("tus-resumable: 1.0.0\r\ncontent-type: a/b\r\n{fields}");
            refused("POST /uploads", Target::Uploads, &fields)
        };
        assert_eq!(tus(&filetype("image/png")), None);
        assert_eq!(tus(&filetype("text/html")), no);
        assert_eq!(tus("upload-metadata: type dGV4dC9odG1s\r\n"), no);
        assert_eq!(tus("upload-metadata: type dGV4dC9odG1s,filetype aW1hZ2UvcG5n\r\n"), None);
        assert_eq!(tus(""), no);
        assert_eq!(tus("upload-metadata: filetype\r\n"), no);
        assert_eq!(tus("upload-metadata: filetype !!\r\n"), None, "the origin says what is wrong");
        assert_eq!(tus("upload-concat: partial\r\n"), None);
        assert_eq!(tus("upload-concat: final;/uploads/a\r\n"), no);
        let draft = |media_type: &str| {
            let fields = format!("upload-complete: ?1\r\ncontent-type: {media_type}\r\n");
            refused("POST /uploads", Target::Uploads, &fields)
        };
        assert_eq!((draft("image/png"), draft("text/html")), (None, no));
        assert_eq!(refused("PATCH /uploads/x", upload(), "content-type: a/b\r\n"), None);
    }

    #[test]
    fn what_is_said_of_limits() {
        let said = |append_max_bytes| {
            let mut fields = Fields::new();
            UploadLimit { size_max_bytes: 100, append_max_bytes }.describe(&mut fields);
            String::from_utf8(fields.into_bytes()).unwrap()
        };
        assert_eq!(said(None), "upload-limit: max-size=100\r\n");
        assert_eq!(said(Some(7)), "upload-limit: max-size=100, max-append-size=7\r\n");
        assert_eq!(said(Some(700)), "upload-limit: max-size=100, max-append-size=100\r\n");
    }
}

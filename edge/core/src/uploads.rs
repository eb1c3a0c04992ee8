//! What tus 1.0 asks of whoever is in front of an upload, beside letting its requests pass
//! (<https://tus.io/protocols/resumable-upload>).

use outport_wire::problem::Problem;
use outport_wire::tus;

use crate::guard::Guarded;
use crate::head::{FieldLines, Fields};
use crate::route::Target;

const OVERRIDE: &str = "x-http-method-override";
const CHECKSUM: &str = "upload-checksum";

/// The request with the method that is meant: a client behind something that lets only GET and POST
/// pass says it in `X-HTTP-Method-Override`. Everything after this sees one method.
///
/// It counts on POST alone, so that what is safe to repeat or to cache stays so, and on Outport's
/// own resources alone: what it means elsewhere is not ours to say.
pub(crate) fn as_meant(request: Guarded<'_>) -> Result<Guarded<'_>, Problem> {
    let methods: &[&'static str] = match request.path.split('/').nth(1) {
        Some("uploads") => &["POST", "PATCH", "HEAD", "DELETE"],
        Some("files") => &["POST", "PATCH", "DELETE"],
        _ => return Ok(request),
    };
    let meant = request.fields.iter().find(|(name, _)| *name == OVERRIDE);
    let Some((_, meant)) = meant.filter(|_| request.method == "POST") else { return Ok(request) };
    let Some(method) = methods.iter().find(|method| method.as_bytes() == meant) else {
        return Err(Problem::field(OVERRIDE, &methods.join(" or ")));
    };
    Ok(Guarded { method, overridden: *method != request.method, ..request })
}

/// Whether a request is one of tus. What is wrong with its path may be what it is told.
pub(crate) fn is_tus(request: &Guarded<'_>) -> bool {
    request.path.split('/').nth(1) == Some("uploads")
        && request.fields.get("tus-resumable").is_some()
}

/// Whether the body's checksum is to come behind the body (RFC 9110, section 6.6.2).
pub(crate) fn announces_checksum(request: &Guarded<'_>) -> bool {
    let trailers = request.fields.iter().filter(|(name, _)| *name == "trailer");
    let mut names = trailers.flat_map(|(_, value)| value.split(|byte| *byte == b','));
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(CHECKSUM.as_bytes()))
}

/// Refuses a checksum behind the body where nothing behind a body reaches the origin: the upload
/// would go unchecked.
pub(crate) fn check_trailer(
    request: &Guarded<'_>,
    target: &Target,
    trailers_pass: bool,
) -> Result<(), Problem> {
    let is_upload = matches!(target, Target::Uploads | Target::Upload(_));
    if trailers_pass || !is_upload || !announces_checksum(request) {
        return Ok(());
    }
    let must = "left out: nothing behind a body passes here; send Upload-Checksum before it";
    Err(Problem::field("trailer", must))
}

/// What of tus there is, for OPTIONS.
pub(crate) fn describe(trailers_pass: bool, upload_bytes_max: u64, fields: &mut Fields) {
    fields.push("tus-resumable", tus::VERSION);
    fields.push("tus-version", tus::VERSION);
    fields.push("tus-extension", tus::extensions(trailers_pass));
    fields.push("tus-checksum-algorithm", tus::CHECKSUM_ALGORITHMS);
    fields.push_number("tus-max-size", upload_bytes_max);
}

/// The fields of an answer to HEAD, for somebody who sent POST and would wait for as many bytes of a
/// body as they say.
pub(crate) fn without_length(answer: FieldLines<'_>) -> Vec<u8> {
    let mut fields = Fields::new();
    for (name, value) in answer.iter().filter(|(name, _)| *name != "content-length") {
        fields.push(name, value);
    }
    fields.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::guard;

    fn meant(head: &str) -> Result<&str, Problem> {
        as_meant(guard(head.as_bytes()).unwrap()).map(|request| request.method)
    }

    #[test]
    fn a_method_is_overridden_on_post_and_on_our_own_alone() {
        let head = |line: &str, method: &str| {
            format!("{line} HTTP/1.1\r\nhost: x\r\nx-http-method-override: {method}\r\n")
        };
        for method in ["PATCH", "HEAD", "DELETE", "POST"] {
            assert_eq!(meant(&head("POST /uploads/x", method)), Ok(method));
            assert_eq!(meant(&head("GET /uploads/x", method)), Ok("GET"));
            assert_eq!(meant(&head("POST /legacy/x", method)), Ok("POST"));
        }
        assert_eq!(meant(&head("POST /files/x", "DELETE")), Ok("DELETE"));
        for method in ["GET", "PUT", "patch", "", "PATCH, DELETE", "\u{e4}"] {
            assert!(meant(&head("POST /uploads/x", method)).is_err(), "{method}");
        }
        assert!(meant(&head("POST /files/x", "HEAD")).is_err());
        assert_eq!(meant("POST /uploads HTTP/1.1\r\nhost: x\r\n"), Ok("POST"));
    }

    #[test]
    fn announced_checksums() {
        let announces = |trailer: &str| {
            let head = format!("PATCH / HTTP/1.1\r\nhost: x\r\n{trailer}");
            announces_checksum(&guard(head.as_bytes()).unwrap())
        };
        assert!(announces("trailer: Upload-Checksum\r\n"));
        assert!(announces("trailer: x-a\r\ntrailer: x-b , upload-checksum\r\n"));
        assert!(!announces("trailer: upload-checksums\r\nupload-checksum: sha1 x\r\n"));
    }
}

//! Cross-origin use from browsers (the Fetch standard, section 3.3). Answers to other origins never
//! allow credentials, so they are by tokens, and give away nothing that the caller did not hold.

use crate::guard::Guarded;
use crate::head::Fields;
use crate::route::Target;

const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
const REQUEST_FIELDS: &str = "authorization, content-disposition, content-digest, content-type, \
    if-match, if-none-match, if-range, outport-proof, range, repr-digest, tus-resumable, \
    upload-checksum, upload-complete, upload-concat, upload-defer-length, upload-draft-interop-version, \
    upload-length, upload-metadata, upload-offset, want-repr-digest, x-http-method-override, \
    x-request-id, x-requested-with";
const RESPONSE_FIELDS: &str = "accept-patch, accept-ranges, cache-status, content-disposition, \
    content-length, content-range, etag, location, ratelimit, ratelimit-policy, repr-digest, \
    retry-after, tus-checksum-algorithm, tus-extension, tus-max-size, tus-resumable, tus-version, \
    upload-complete, upload-concat, upload-defer-length, upload-draft-interop-version, \
    upload-expires, upload-length, upload-limit, upload-metadata, upload-offset";
const PREFLIGHT_LIFETIME_S: u64 = 86_400;

/// The `Access-Control-Allow-Origin` for this request, where its origin may use the resource.
pub(crate) fn allowed_origin(
    request: &Guarded<'_>,
    target: &Target,
    origins: &[String],
) -> Option<String> {
    if matches!(target, Target::Session | Target::Asset(_) | Target::Route(_) | Target::Nothing) {
        return None;
    }
    let origin = request.fields.get("origin")?;
    if origins.iter().any(|allowed| allowed == "*") {
        return Some("*".to_owned());
    }
    origins.iter().any(|allowed| allowed == origin).then(|| origin.to_owned())
}

/// Whether the request asks what another would be allowed.
pub(crate) fn is_preflight(request: &Guarded<'_>) -> bool {
    request.method == "OPTIONS"
        && request.fields.get("origin").is_some()
        && request.fields.get("access-control-request-method").is_some()
}

/// The fields of every answer to an allowed origin.
pub(crate) fn describe(allowed_origin: Option<&str>, fields: &mut Fields) {
    let Some(origin) = allowed_origin else { return };
    fields.push("access-control-allow-origin", origin);
    fields.push("access-control-expose-headers", RESPONSE_FIELDS);
    if origin != "*" {
        fields.push("vary", "Origin");
    }
}

/// The further fields of the answer to a preflight.
pub(crate) fn describe_preflight(fields: &mut Fields) {
    fields.push("access-control-allow-methods", METHODS);
    fields.push("access-control-allow-headers", REQUEST_FIELDS);
    fields.push_number("access-control-max-age", PREFLIGHT_LIFETIME_S);
}

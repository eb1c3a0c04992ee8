//! Problem documents (RFC 9457): one table of every error that a client can see.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The media type of a problem document.
pub const PROBLEM_TYPE: &str = "application/problem+json";

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident $slug:literal $status:literal $title:literal;)*) => {
        /// A kind of problem. Its type and status never change; clients may match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemType { $($(#[$doc])* $name,)* }

        impl ProblemType {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The last part of the problem's `type` URI.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// The HTTP status it is sent with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// One sentence that is the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problems! {
    /// The request breaks a rule of HTTP.
    MalformedRequest "malformed-request" 400 "The request is malformed";
    /// A number, name or header value is not what it must be.
    InvalidField "invalid-field" 400 "A value in the request is not valid";
    /// A file's name can't be taken.
    InvalidName "invalid-name" 400 "The file name is not valid";
    /// A multipart form holds no file.
    FormWithoutFile "form-without-file" 400 "The form holds no file";
    /// The body ended before its announced length.
    BodyTooShort "body-too-short" 400 "The body is shorter than announced";
    /// The body is longer than announced.
    BodyTooLong "body-too-long" 400 "The body is longer than announced";
    /// The length of an upload is said differently by two requests, or is not what arrived
    /// (draft-ietf-httpbis-resumable-upload, section 7.3).
    InconsistentLength "inconsistent-upload-length" 400 "The upload's length is inconsistent";
    /// Nothing can be appended any more (draft-ietf-httpbis-resumable-upload, section 7.2).
    CompletedUpload "completed-upload" 400 "The upload is completed already";
    /// The content is not what its digest field says (RFC 9530).
    DigestMismatchedValues "digest-mismatched-values" 400 "The content does not have the digest";
    /// There is no token where one is needed.
    TokenMissing "token-missing" 401 "A token is needed";
    /// The token can't be read.
    TokenMalformed "token-malformed" 401 "The token is malformed";
    /// The token's time is over, or has not begun.
    TokenExpired "token-expired" 401 "The token is not valid at this time";
    /// The token is not from an issuer, for an audience or by a key that is trusted here.
    TokenUntrusted "token-untrusted" 401 "The token is not trusted here";
    /// The token was revoked since it was issued.
    TokenRevoked "token-revoked" 401 "The token was revoked";
    /// The session of a browser is over.
    SessionEnded "session-ended" 401 "The session has ended";
    /// A password goes with the signed link.
    LinkPassword "link-password" 401 "The link needs its password";
    /// What is asked for takes a fresher sign-in (RFC 9470).
    SignInTooOld "sign-in-too-old" 401 "The sign-in is too old for this";
    /// What reached the origin was not signed by one of its edges.
    EdgeSignature "edge-signature" 401 "The request is not signed by a known edge";
    /// A rule of the deployment refuses the request.
    ForbiddenByRule "forbidden-by-rule" 403 "The request is not let pass";
    /// Who is not signed in must show that some work was done.
    ProofNeeded "proof-needed" 403 "The request needs a proof of work";
    /// A page of another site asks with the cookies of this one.
    CrossSite "cross-site" 403 "Another site asks with this one's cookies";
    /// The token does not carry the scope.
    ScopeMissing "scope-missing" 403 "The token does not allow this";
    /// The tenant has as much as it may have. No retry helps until something is removed, so this
    /// is none of the statuses that clients retry.
    QuotaExceeded "quota-exceeded" 403 "The quota is used up";
    /// A signed link's time is over.
    LinkExpired "link-expired" 403 "The link has expired";
    /// A signed link's time has not begun, or it is for clients of another network.
    LinkNotHere "link-not-here" 403 "The link is not good here and now";
    /// Whoever is asked before an upload is created has said no.
    RefusedByHook "refused-by-hook" 403 "The upload was refused";
    /// A final upload is made of others, and of nothing else (tus 1.0, "Concatenation").
    FinalUpload "final-upload" 403 "A final upload takes no content";
    /// There is no such thing, or the caller may not know of it.
    NotFound "not-found" 404 "There is nothing here";
    /// The method is not for this resource.
    MethodNotAllowed "method-not-allowed" 405 "The method is not allowed here";
    /// The body did not arrive in time.
    RequestTimeout "request-timeout" 408 "The request took too long to arrive";
    /// The offset of an append is not the upload's (draft-ietf-httpbis-resumable-upload, section
    /// 7.1).
    MismatchingOffset "mismatching-upload-offset" 409 "The offset does not match the upload's";
    /// The offset of an append is not the upload's.
    OffsetMismatch "offset-mismatch" 409 "The offset does not match the upload's";
    /// A newer request for the same upload came.
    Superseded "superseded" 409 "A newer request has taken the upload over";
    /// Nothing can be appended to an upload that is complete.
    UploadComplete "upload-complete" 409 "The upload is complete";
    /// The resource changed underneath.
    Conflict "conflict" 409 "The resource was changed by another request";
    /// The upload has expired, or can't be completed any more.
    Gone "gone" 410 "The upload is gone";
    /// The tus version is not spoken here.
    TusVersion "tus-version" 412 "The tus version is not supported";
    /// A condition of the request does not hold.
    PreconditionFailed "precondition-failed" 412 "A condition of the request does not hold";
    /// The upload is larger than is allowed.
    TooLarge "too-large" 413 "The content is too large";
    /// The target is too long.
    TargetTooLong "target-too-long" 414 "The request target is too long";
    /// The body's type is not what it must be.
    UnsupportedType "unsupported-type" 415 "The content type is not supported";
    /// The tenant's rules don't take files of this type.
    MediaTypeRefused "media-type-refused" 415 "Files of this type are not taken";
    /// The range lies outside the file.
    RangeNotSatisfiable "range-not-satisfiable" 416 "The range cannot be satisfied";
    /// The caller asks too often.
    RateLimited "rate-limited" 429 "Too many requests";
    /// The caller's tenant has asked as often as it may in a period.
    BudgetSpent "budget-spent" 429 "The budget of this period is spent";
    /// The caller has too many requests under way.
    TooManyAtOnce "too-many-at-once" 429 "Too many requests are under way";
    /// The caller has too many uploads open.
    TooManyUploads "too-many-uploads" 429 "Too many uploads are open";
    /// The content is not what its checksum or digest says (tus 1.0, "Checksum").
    DigestMismatch "digest-mismatch" 460 "The content does not have the announced digest";
    /// The header section is too large.
    HeadTooLarge "head-too-large" 431 "The header section is too large";
    /// A fault of ours.
    Internal "internal" 500 "Something went wrong here";
    /// The method is not known at all.
    NotImplemented "not-implemented" 501 "The method is not known";
    /// The origin can't be reached, or answers nonsense.
    OriginUnreachable "origin-unreachable" 502 "The origin cannot be reached";
    /// A template can't be made a page of.
    NotComposable "not-composable" 502 "The page cannot be composed";
    /// Too much to do.
    Overloaded "overloaded" 503 "The service is overloaded";
    /// The issuer of a token can't be asked for its keys.
    IssuerUnreachable "issuer-unreachable" 503 "The token cannot be checked now";
    /// Whoever is asked before an upload is created does not answer.
    HookUnavailable "hook-unavailable" 503 "The upload could not be checked";
    /// Nothing is stored, and the client wants nothing else (RFC 9111, section 5.2.1.7).
    NotCached "not-cached" 504 "Nothing is stored that could be used";
    /// The origin did not answer in time.
    OriginTimeout "origin-timeout" 504 "The origin did not answer in time";
    /// The disk is full.
    StorageFull "storage-full" 507 "There is no space left";
}

impl ProblemType {
    /// The problem's `type` URI: a registered one where there is one (RFC 9457, section 4.2).
    pub fn uri(self) -> String {
        match self {
            Self::InconsistentLength | Self::CompletedUpload | Self::MismatchingOffset => {
                format!("https://iana.org/assignments/http-problem-types#{}", self.slug())
            }
            _ => format!("urn:outport:problem:{}", self.slug()),
        }
    }
}

/// One occurrence of a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What kind it is.
    pub kind: ProblemType,
    detail: Cow<'static, str>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem with a sentence for this occurrence: what was wrong, and what would be right.
    pub fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), members: Map::new() }
    }

    /// A value of the request that is not what it must be.
    pub fn field(name: &str, must: &str) -> Self {
        Self::new(ProblemType::InvalidField, format!("{name} must be {must}")).with("field", name)
    }

    /// Adds a member that a program can read, such as the right offset.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The sentence for this occurrence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The document, in JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut document = Map::new();
        document.insert("type".into(), self.kind.uri().into());
        document.insert("title".into(), self.kind.title().into());
        document.insert("status".into(), self.kind.status().into());
        document.insert("detail".into(), self.detail.as_ref().into());
        document.extend(self.members.clone());
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_stable() {
        let problem =
            Problem::new(ProblemType::OffsetMismatch, "send from byte 5").with("expected", 5);
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            "{\"detail\":\"send from byte 5\",\"expected\":5,\"status\":409,\
             \"title\":\"The offset does not match the upload's\",\
             \"type\":\"urn:outport:problem:offset-mismatch\"}"
        );
    }

    #[test]
    fn slugs_are_unique() {
        let mut slugs: Vec<_> = ProblemType::ALL.iter().map(|kind| kind.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
    }
}

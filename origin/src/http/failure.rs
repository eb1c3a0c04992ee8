//! Turns what went wrong into the problem document that the client gets.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use outport_wire::problem::{PROBLEM_TYPE, Problem, ProblemType};

use crate::store::{AppendError, ChangeError, ConcatError, StoreError};

/// `Upload-Offset`: also on a refusal.
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// A request that is answered with a problem.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: Problem,
    /// What the head of the answer says beside it.
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(crate) fn new(
        kind: ProblemType,
        detail: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self::from(Problem::new(kind, detail))
    }

    /// The one answer to what is not there and to what the caller may not know of.
    pub(crate) fn not_found() -> Self {
        Self::new(ProblemType::NotFound, "check the address")
    }

    /// It was there, and is not any more.
    pub(crate) fn gone(detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::new(ProblemType::Gone, detail)
    }

    /// A value of the request that is not what it must be.
    pub(crate) fn field(name: &str, must: &str) -> Self {
        Self::from(Problem::field(name, must))
    }

    /// The same, with a field more in the head of the answer.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// The upload would be larger than is allowed.
    pub(crate) fn too_large(bytes_max: u64) -> Self {
        Self::from(
            Problem::new(ProblemType::TooLarge, format!("the limit is {bytes_max} bytes"))
                .with("max", bytes_max),
        )
    }

    /// A fault of ours. What happened goes to the log, not to the client.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(ProblemType::Internal, "try again later")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { problem, fields } = self;
        let status = StatusCode::from_u16(problem.kind.status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, problem.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(fields);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For who notes what was denied.
        response.extensions_mut().insert(problem.kind);
        response
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem, fields: Vec::new() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(
                ProblemType::StorageFull,
                "what was acknowledged is safe; go on when there is space again",
            ),
            StoreError::Unavailable(cause) | StoreError::Uncertain(cause) => {
                tracing::error!(%cause, "the storage failed");
                Self::new(ProblemType::Overloaded, "the storage is unavailable; try again")
            }
            StoreError::Contended => Self::new(ProblemType::Conflict, "try again"),
            StoreError::LeftBehind => {
                Self::new(ProblemType::Overloaded, format!("{error}; send it again"))
            }
            StoreError::Fault(_) => Self::internal(error),
            StoreError::Refused(refusal) => refusal.problem().into(),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let detail = error.to_string();
        let (kind, offset) = match error {
            AppendError::Gone => return Self::not_found(),
            AppendError::Store(error) => return error.into(),
            AppendError::TypeRefused(problem) => return problem.into(),
            AppendError::TooManyParts => return Self::new(ProblemType::TooLarge, detail),
            AppendError::Complete => return Self::new(ProblemType::UploadComplete, detail),
            AppendError::Digest(_) | AppendError::WholeDigest => {
                return Self::new(ProblemType::DigestMismatchedValues, detail);
            }
            AppendError::LengthMismatch { offset, .. } => (ProblemType::InconsistentLength, offset),
            AppendError::Superseded { offset } => (ProblemType::Superseded, offset),
            AppendError::OffsetMismatch { expected } => (ProblemType::OffsetMismatch, expected),
            AppendError::TooLong { offset } => (ProblemType::BodyTooLong, offset),
            AppendError::Cut { offset } => (ProblemType::BodyTooShort, offset),
        };
        // So that a client can go on without asking.
        Self::from(Problem::new(kind, detail).with("offset", offset))
            .with(UPLOAD_OFFSET, offset.into())
    }
}

impl From<ConcatError> for Failure {
    fn from(error: ConcatError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            ConcatError::Store(error) => return error.into(),
            ConcatError::TypeRefused(problem) => return problem.into(),
            ConcatError::TooLarge(bytes_max) => return Self::too_large(bytes_max),
            ConcatError::Claimed(_) => ProblemType::Conflict,
            ConcatError::NotFound(_)
            | ConcatError::NotPartial(_)
            | ConcatError::Deferred(_)
            | ConcatError::Number => ProblemType::InvalidField,
        };
        Self::from(Problem::new(kind, detail).with("field", "upload-concat"))
    }
}

impl From<ChangeError<Self>> for Failure {
    fn from(error: ChangeError<Self>) -> Self {
        match error {
            ChangeError::Gone => Self::not_found(),
            ChangeError::Refused(failure) => failure,
            ChangeError::Claimed(id) => Self::new(
                ProblemType::Conflict,
                format!("the upload is part of {id}, and is removed with it"),
            ),
            ChangeError::Store(error) => error.into(),
        }
    }
}

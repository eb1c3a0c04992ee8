//! `POST /files` with a form (RFC 7578). Its files are stored as they come by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use multer::{Field, Multipart};
use outport_wire::file::Visibility;
use outport_wire::identity::Identity;
use outport_wire::problem::ProblemType;

use super::App;
use super::ask::ask;
use super::failure::Failure;
use super::field;
use super::files::Content;
use crate::digest::Digests;
use crate::hooks::Protocol;
use crate::intake::{BodyCut, BodyStream};
use crate::record::Description;
use crate::store::Held;

/// The most bytes of a form that may be neither a file's nor a field's contents in one stretch:
/// boundaries and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The longest value of a field that is no file.
const VALUE_BYTES_MAX: usize = 1024;

/// Stores every file of a form, or none.
pub(crate) async fn store_all(
    app: &App,
    owner: &Identity,
    boundary: String,
    body: BodyStream,
) -> Result<Vec<Held>, Failure> {
    let mut form = Form::new(boundary, body);
    let mut stored = Vec::new();
    let outcome = form.store_each(app, owner, &mut stored).await;
    if let Err(failure) = outcome {
        for held in stored {
            let removed = app.store.remove(held.id, |_| Ok::<_, Failure>(())).await;
            if let Err(error) = removed {
                tracing::warn!(id = %held.id, ?error, "a file of a failed form was not removed");
            }
        }
        return Err(failure);
    }
    Ok(stored)
}

struct Form {
    parts: Multipart<'static>,
    /// Bytes that came in and are not known to be contents.
    unclaimed: Arc<AtomicUsize>,
    visibility: Visibility,
}

impl Form {
    fn new(boundary: String, body: BodyStream) -> Self {
        let unclaimed = Arc::new(AtomicUsize::new(0));
        let parts = Multipart::new(paced(body, unclaimed.clone()), boundary);
        Self { parts, unclaimed, visibility: Visibility::default() }
    }

    async fn store_each(
        &mut self,
        app: &App,
        owner: &Identity,
        stored: &mut Vec<Held>,
    ) -> Result<(), Failure> {
        while let Some(part) = self.parts.next_field().await.map_err(malformed)? {
            self.unclaimed.store(0, Ordering::Relaxed);
            // A file input with nothing chosen is sent with an empty name.
            if part.file_name().is_some_and(|name| !name.is_empty()) {
                if stored.len() == app.limits.form_files_max {
                    let must = format!("at most {}", app.limits.form_files_max);
                    return Err(Failure::field("the number of files", &must));
                }
                stored.push(self.store_file(app, owner, part).await?);
            } else {
                self.take_field(part).await?;
            }
        }
        if stored.is_empty() {
            let detail = "send at least one part with a filename";
            return Err(Failure::new(ProblemType::FormWithoutFile, detail));
        }
        Ok(())
    }

    async fn store_file(
        &self,
        app: &App,
        owner: &Identity,
        part: Field<'static>,
    ) -> Result<Held, Failure> {
        let description = Description {
            name: field::file_name(part.file_name(), &app.limits)?,
            media_type: field::media_type(
                part.content_type().map(|mime| mime.as_ref()),
                &app.limits,
            )?,
            visibility: self.visibility,
            metadata: BTreeMap::new(),
            tus_metadata: None,
        };
        let rules = &app.rules.for_tenant(&owner.tenant).declared;
        rules.check_type(&description.media_type)?;
        let description = ask(app, owner, description, None, Protocol::Form).await?;
        let body = self.contents(part);
        let content = Content { body, length: None, digests: Digests::default() };
        super::files::store_whole(app, owner, description, content).await
    }

    fn contents(&self, part: Field<'static>) -> BodyStream {
        let unclaimed = self.unclaimed.clone();
        part.inspect_ok(move |_| unclaimed.store(0, Ordering::Relaxed)).map_err(|_| BodyCut).boxed()
    }

    /// Fields that mean nothing here are passed over.
    async fn take_field(&mut self, part: Field<'static>) -> Result<(), Failure> {
        let is_visibility = part.name() == Some("visibility");
        let mut value = Vec::new();
        let mut contents = self.contents(part);
        while let Some(bytes) = contents.next().await {
            let bytes = bytes.map_err(|BodyCut| broken_off())?;
            if value.len() + bytes.len() > VALUE_BYTES_MAX {
                let must = format!("at most {VALUE_BYTES_MAX} bytes each");
                return Err(Failure::field("fields that are no files", &must));
            }
            value.extend_from_slice(&bytes);
        }
        if is_visibility {
            self.visibility = field::visibility(&String::from_utf8_lossy(&value))?;
        }
        Ok(())
    }
}

/// The names of a form's files; nothing is stored.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) async fn go_through(
    boundary: String,
    body: BodyStream,
    limits: &crate::config::Limits,
) -> Result<Vec<String>, Failure> {
    let mut form = Form::new(boundary, body);
    let mut names = Vec::new();
    while let Some(part) = form.parts.next_field().await.map_err(malformed)? {
        form.unclaimed.store(0, Ordering::Relaxed);
        if part.file_name().is_none_or(str::is_empty) {
            form.take_field(part).await?;
            continue;
        }
        names.push(field::file_name(part.file_name(), limits)?);
        let mut contents = form.contents(part);
        while let Some(bytes) = contents.next().await {
            bytes.map_err(|BodyCut| broken_off())?;
        }
    }
    Ok(names)
}

/// Hands `body` on one piece at a time. multer takes whatever is ready before it looks at any of
/// it, and looks for the end of a header however far away; so each piece is followed by a pause,
/// and what is not claimed as contents is bounded.
fn paced(
    body: BodyStream,
    unclaimed: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, FormError>> + Send {
    let bounded = body.map(move |bytes| {
        let bytes = bytes.map_err(|BodyCut| FormError::Cut)?;
        if unclaimed.fetch_add(bytes.len(), Ordering::Relaxed) > HEAD_BYTES_MAX {
            return Err(FormError::HeadTooLarge);
        }
        Ok(bytes)
    });
    let pause = || pause().map(|()| None).boxed();
    bounded
        .map(Some)
        .flat_map(move |item| {
            let item: BoxStream<'static, _> = stream::iter([item]).boxed();
            item.chain(pause())
        })
        .filter_map(futures::future::ready)
}

/// A stream of one item that is not ready at first, and is at once after that.
fn pause() -> impl Stream<Item = ()> + Send {
    let mut paused = false;
    stream::once(futures::future::poll_fn(move |context| {
        if std::mem::replace(&mut paused, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }))
}

#[derive(Debug, thiserror::Error)]
enum FormError {
    #[error("the form broke off")]
    Cut,
    #[error("the headers of a part have more than {HEAD_BYTES_MAX} bytes")]
    HeadTooLarge,
}

fn broken_off() -> Failure {
    Failure::new(ProblemType::BodyTooShort, "the form broke off before its last boundary")
}

fn malformed(error: multer::Error) -> Failure {
    match error {
        multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. } => broken_off(),
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref() {
            Some(FormError::Cut) => broken_off(),
            _ => Failure::new(ProblemType::MalformedRequest, cause.to_string()),
        },
        error => Failure::new(ProblemType::MalformedRequest, error.to_string()),
    }
}

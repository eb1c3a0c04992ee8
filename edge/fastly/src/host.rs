//! Calls of the platform that its SDK has in another form only.
//!
//! The SDK reads and writes URLs through a parser that rewrites them (`/a/%2e%2e/b` becomes `/b`),
//! and it waits for a backend without end.

#![allow(unsafe_code)]

use fastly::handle::{PendingRequestHandle, RequestHandle};
use fastly_sys::{fastly_async_io, fastly_http_req};

/// The longest URL that is read, in bytes; longer than the platform takes.
const URL_BYTES_MAX: usize = 128 << 10;

/// The URL of a request as it was received. `None` where it is too long or no text.
pub(crate) fn url(request: &RequestHandle) -> Option<String> {
    let mut bytes = vec![0; URL_BYTES_MAX];
    let mut length = 0;
    // SAFETY: the platform writes at most `bytes.len()` bytes to `bytes`, and a number to `length`.
    let status = unsafe {
        fastly_http_req::uri_get(request.as_u32(), bytes.as_mut_ptr(), bytes.len(), &mut length)
    };
    bytes.truncate(if status.is_ok() { length } else { return None });
    String::from_utf8(bytes).ok()
}

/// Sets the URL of a request. False where the platform takes it for none.
pub(crate) fn set_url(request: &RequestHandle, url: &str) -> bool {
    // SAFETY: the platform reads `url.len()` bytes from `url`.
    unsafe { fastly_http_req::uri_set(request.as_u32(), url.as_ptr(), url.len()) }.is_ok()
}

/// Waits until a backend has answered or failed, but no longer than this. True where it has.
pub(crate) fn is_ready_within(pending: &PendingRequestHandle, wait_ms: u64) -> bool {
    let handles = [pending.as_u32()];
    let mut ready = u32::MAX;
    // The platform takes 0 for no bound.
    let wait_ms = u32::try_from(wait_ms).unwrap_or(u32::MAX).max(1);
    // SAFETY: the platform reads one number from `handles`, and writes one to `ready`.
    let status =
        unsafe { fastly_async_io::select(handles.as_ptr(), handles.len(), wait_ms, &mut ready) };
    // What can't be waited for is asked at once: that tells what is the matter.
    status.is_err() || ready == 0
}

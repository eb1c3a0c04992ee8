//! Finds out whether an error means that the disk is full. Every layer wraps the operating
//! system's error in its own, so the chain of causes is walked.

use std::error::Error;
use std::io;

/// Whether there was no room: no space on the device, or a quota used up.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return true;
            }
            // An io::Error passes over what it wraps when it is asked for its source.
            if io.get_ref().is_some_and(|inner| is_full(inner)) {
                return true;
            }
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_however_deep() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let wrapped =
            |source| object_store::Error::Generic { store: "test", source: Box::new(source) };
        assert!(is_full(&full()));
        assert!(is_full(&wrapped(full())));
        assert!(is_full(&io::Error::other(wrapped(full()))));
        assert!(is_full(&io::Error::from(io::ErrorKind::QuotaExceeded)));
        assert!(!is_full(&wrapped(io::Error::from(io::ErrorKind::NotFound))));
    }
}

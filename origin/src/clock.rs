//! Time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use outport_wire::UnixSeconds;

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> UnixSeconds {
    unix_ms() / 1000
}

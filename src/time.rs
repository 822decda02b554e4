//! The only file that reads the clock. Everything else is handed the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Microseconds since 1970 in UTC, for people and logs; can jump when the machine's clock is set.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub fn unix_micros() -> u64 {
    // A clock before 1970 is as wrong as one at 1970.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_past_the_day_this_was_written() {
        assert!(unix_micros() > 1_700_000_000_000_000);
    }

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let earlier = now();
        assert!(now() >= earlier);
    }
}

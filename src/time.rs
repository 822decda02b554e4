//! The only place that asks for the time.

use std::time::Instant;

/// Monotonic time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

//! The only file that reads the clock. Everything else is handed the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds on the monotonic clock since pgring began; never 0, which stands for no time at all.
pub type Micros = u64;

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

/// Microseconds since 1970 as `2026-11-20 23:51:43 UTC`.
pub fn utc(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Days since 1970 as a date of the Gregorian calendar, counted in years that begin in March, so that the
/// leap day is a year's last.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: u64| utc(seconds * 1_000_000);
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_795_218_703), "2026-11-20 23:51:43 UTC");
        assert_eq!(at(4_102_444_799), "2099-12-31 23:59:59 UTC");
    }

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

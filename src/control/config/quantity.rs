//! Durations and sizes with units. Pure.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    error::Wrong,
    form::{Form, integer, kind},
};

/// A unit's name and its worth in the smallest one, smallest first.
type Units = &'static [(&'static str, u64)];

const TIME: Units = &[
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const BYTES: Units = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// A duration of 1 ms to one year.
pub(super) struct Span {
    /// Meaning of 0, in a message's words; 0 is not allowed when absent.
    pub(super) zero: Option<&'static str>,
}

/// Longest duration, in ms. A year is as good as never, and no timer overflows.
const SPAN_MS_MAX: u64 = 365 * 86_400_000;

impl Form for Span {
    type Value = Duration;

    fn allowed(&self) -> String {
        let zero = self
            .zero
            .map_or(String::new(), |zero| format!(", or 0 for {zero}"));
        let range = range(TIME, 1, SPAN_MS_MAX);
        format!("a duration {range}, such as \"30s\"{zero}")
    }

    fn read(&self, value: &DeValue<'_>) -> Result<Duration, Wrong> {
        let min = u64::from(self.zero.is_none());
        within(quantity(value, TIME)?, min, SPAN_MS_MAX).map(Duration::from_millis)
    }
}

/// A number of bytes.
pub(super) struct Size {
    /// Smallest allowed, bytes.
    pub(super) min: u64,
    /// Largest allowed, bytes.
    pub(super) max: u64,
}

impl Form for Size {
    type Value = usize;

    fn allowed(&self) -> String {
        format!(
            "a size {}, such as \"4MiB\"",
            range(BYTES, self.min, self.max)
        )
    }

    fn read(&self, value: &DeValue<'_>) -> Result<usize, Wrong> {
        let bytes = within(quantity(value, BYTES)?, self.min, self.max)?;
        usize::try_from(bytes).map_err(|_| Wrong::TooLarge)
    }
}

fn within(number: u64, min: u64, max: u64) -> Result<u64, Wrong> {
    match number {
        _ if number < min => Err(Wrong::TooSmall),
        _ if number > max => Err(Wrong::TooLarge),
        _ => Ok(number),
    }
}

/// The number in its smallest unit. Only zero may go without a unit.
fn quantity(value: &DeValue<'_>, units: Units) -> Result<u64, Wrong> {
    match value {
        DeValue::String(text) => with_unit(text.trim(), units),
        DeValue::Integer(_) if integer(value)? == 0 => Ok(0),
        DeValue::Integer(_) => Err(Wrong::NoUnit),
        _ => Err(Wrong::Kind(kind(value))),
    }
}

fn with_unit(text: &str, units: Units) -> Result<u64, Wrong> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..end], text[end..].trim_start());
    if digits.is_empty() {
        return Err(Wrong::Quantity);
    }
    if unit.starts_with('.') {
        return Err(Wrong::Fraction);
    }
    let number: u64 = digits.parse().map_err(|_| Wrong::TooLarge)?;
    if unit.is_empty() {
        return if number == 0 {
            Ok(0)
        } else {
            Err(Wrong::NoUnit)
        };
    }
    let known = units.iter().find(|(name, _)| *name == unit);
    let (_, worth) = known.ok_or_else(|| Wrong::Unit(unit.to_owned()))?;
    number.checked_mul(*worth).ok_or(Wrong::TooLarge)
}

fn range(units: Units, min: u64, max: u64) -> String {
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let (min, max, names) = (written(min, units), written(max, units), names.join(", "));
    format!("from {min} to {max} ({names})")
}

/// The number as the file would write it, in the largest unit that keeps it whole.
fn written(number: u64, units: Units) -> String {
    let whole = units
        .iter()
        .rev()
        .find(|(_, worth)| number.is_multiple_of(*worth));
    let (name, worth) = whole.expect("every number is a multiple of the smallest unit, 1");
    format!("{}{name}", number / worth)
}

/// A duration as the file would write it, rounded down to milliseconds.
pub(crate) fn written_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        "0".to_owned()
    } else {
        written(ms, TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Result<u64, Wrong> {
        with_unit(text, TIME)
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(span("100ms"), Ok(100));
        assert_eq!(span("30s"), Ok(30_000));
        assert_eq!(span("5 min"), Ok(300_000));
        assert_eq!(span("1h"), Ok(3_600_000));
        assert_eq!(span("2d"), Ok(172_800_000));
        assert_eq!(span("0"), Ok(0));
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(with_unit("64MiB", BYTES), Ok(64 << 20));
        assert_eq!(with_unit("16KiB", BYTES), Ok(16 << 10));
        assert_eq!(with_unit("64MB", BYTES), Err(Wrong::Unit("MB".to_owned())));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        assert_eq!(span("30"), Err(Wrong::NoUnit));
        assert_eq!(span("1.5s"), Err(Wrong::Fraction));
        assert_eq!(span("-1s"), Err(Wrong::Quantity));
        assert_eq!(span("s"), Err(Wrong::Quantity));
        assert_eq!(span(""), Err(Wrong::Quantity));
        assert_eq!(span("30S"), Err(Wrong::Unit("S".to_owned())));
        assert_eq!(span("99999999999999999999s"), Err(Wrong::TooLarge));
        assert_eq!(span("18446744073709551615d"), Err(Wrong::TooLarge));
    }

    #[test]
    fn a_number_is_written_in_its_largest_whole_unit() {
        assert_eq!(written_duration(Duration::from_secs(90)), "90s");
        assert_eq!(written_duration(Duration::from_secs(3600)), "1h");
        assert_eq!(written_duration(Duration::ZERO), "0");
        assert_eq!(written(4 << 20, BYTES), "4MiB");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(ms in 1..=SPAN_MS_MAX) {
            proptest::prop_assert_eq!(span(&written(ms, TIME)), Ok(ms));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = with_unit(&text, TIME);
        }
    }
}

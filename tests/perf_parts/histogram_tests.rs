//! Quantiles are right within the promised two per cent, at the ends too.

use crate::histogram::*;

#[test]
fn every_sample_is_told_from_above_and_within_two_per_cent() {
    let values =
        (0..300).chain((8..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]));
    for value in values {
        let mut histogram = Histogram::new();
        [value, u64::MAX]
            .into_iter()
            .for_each(|value| histogram.record(value));
        let told = histogram.quantile(0.5);
        assert!(
            value <= told && told <= value + value / 50,
            "{value} told as {told}"
        );
    }
}

#[test]
fn quantiles_lie_within_two_per_cent() {
    let mut histogram = Histogram::new();
    (1..=100_000).for_each(|value| histogram.record(value * 10));
    for (quantile, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
        let ratio = histogram.quantile(quantile) as f64 / exact;
        assert!((1.0..1.02).contains(&ratio), "{quantile}: {ratio}");
    }
    assert_eq!(histogram.total(), 100_000);
}

#[test]
fn the_top_quantile_is_the_largest_sample() {
    let mut histogram = Histogram::new();
    [5, 1_000_003, u64::MAX]
        .into_iter()
        .for_each(|value| histogram.record(value));
    assert_eq!(histogram.quantile(1.0), u64::MAX);
    assert_eq!(histogram.quantile(0.1), 5);
}

#[test]
fn no_sample_is_zero() {
    assert_eq!(Histogram::new().quantile(0.99), 0);
}

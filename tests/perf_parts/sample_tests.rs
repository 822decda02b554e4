//! Samples survive their line; medians and ratios ignore what failed.

use crate::sample::*;

fn rounds(rates: &[f64]) -> Rounds {
    let sample = |rate: &f64| {
        let mut sample = Sample::default();
        sample.set(Metric::QueriesPerSecond, *rate);
        Ok(sample)
    };
    Rounds(rates.iter().map(sample).collect())
}

#[test]
fn a_sample_survives_its_line() {
    let mut sample = Sample::default();
    sample.set(Metric::QueriesPerSecond, 114_000.25);
    sample.set(Metric::MegabytesPerSecond, 0.125);
    assert_eq!(
        Sample::read(&format!("noise\n{}\n", sample.line())),
        Some(sample)
    );
    assert_eq!(Sample::read("sample 1 2 3"), None);
    assert_eq!(Sample::read(""), None);
}

#[test]
fn medians_are_the_middle_of_what_succeeded() {
    let mut mixed = rounds(&[5.0, 1.0, 3.0]);
    assert_eq!(mixed.median(Metric::QueriesPerSecond), Some(3.0));
    mixed.0.push(Err("lost".into()));
    assert_eq!(mixed.median(Metric::QueriesPerSecond), Some(3.0));
    assert_eq!(
        rounds(&[1.0, 2.0]).median(Metric::QueriesPerSecond),
        Some(1.5)
    );
    assert_eq!(rounds(&[]).median(Metric::QueriesPerSecond), None);
}

#[test]
fn ratios_compare_the_same_round() {
    let (fast, slow) = (rounds(&[10.0, 200.0, 30.0]), rounds(&[5.0, 100.0, 10.0]));
    assert_eq!(fast.ratio(&slow, Metric::QueriesPerSecond), Some(2.0));
    let broken = Rounds(vec![Err("lost".into()), Err("lost".into())]);
    assert_eq!(fast.ratio(&broken, Metric::QueriesPerSecond), None);
}

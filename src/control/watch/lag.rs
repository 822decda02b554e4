//! How long ago the primary wrote the first thing that a standby lacks, by our own measure. Pure.
//!
//! The servers' own measures are of no use here: the time of the last replayed commit grows while nobody
//! writes, and `replay_lag` is NULL then, and of a standby that cannot be asked there is none.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{cluster::node::Lsn, limits::LAG_SAMPLES_MAX};

/// How far the primary had written, and when it was seen to have.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Rising in both: when the primary was first seen to have written past the sample before, and how far a
    /// sample reaches.
    samples: VecDeque<(Instant, Lsn)>,
    timeline: u32,
}

impl Samples {
    /// The primary has written so far. Another timeline is another log: what was known of the old one is void.
    pub(super) fn add(&mut self, timeline: u32, lsn: Lsn, now: Instant) {
        if timeline != self.timeline {
            self.samples.clear();
            self.timeline = timeline;
        }
        if self.newest().is_some_and(|newest| lsn <= newest) {
            return;
        }
        self.samples.push_back((now, lsn));
        if self.samples.len() > LAG_SAMPLES_MAX {
            self.thin_out();
        }
    }

    /// How far the primary has written, as far as is known.
    pub(super) fn newest(&self) -> Option<Lsn> {
        self.samples.back().map(|(_, lsn)| *lsn)
    }

    /// How far behind is who has replayed `lsn`: in bytes, and since when.
    pub(super) fn lag(&self, lsn: Lsn, now: Instant) -> (u64, Duration) {
        let bytes = self.newest().map_or(0, |newest| newest.saturating_sub(lsn));
        let replayed = self.samples.partition_point(|(_, sample)| *sample <= lsn);
        let missing = self.samples.get(replayed);
        let since = missing.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at));
        (bytes, since)
    }

    /// Of the older half, two samples become one that has the time of the first and the position of the second:
    /// a lag can seem a little older than it is, never younger.
    fn thin_out(&mut self) {
        let half = self.samples.len() / 4 * 2;
        let older: Vec<_> = self.samples.drain(..half).collect();
        for pair in older.chunks_exact(2).rev() {
            self.samples.push_front((pair[0].0, pair[1].1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn nobody_lags_behind_a_primary_that_does_not_write() {
        let start = crate::time::now();
        let mut samples = Samples::default();
        assert_eq!(samples.lag(0, start), (0, Duration::ZERO));
        for number in 0..100 {
            samples.add(1, 500, start + second(number));
        }
        let later = start + second(1000);
        assert_eq!(samples.lag(500, later), (0, Duration::ZERO));
        assert_eq!(samples.lag(501, later), (0, Duration::ZERO));
        // It lacks what was there when pgring first looked.
        assert_eq!(samples.lag(499, later), (1, second(1000)));
    }

    #[test]
    fn the_lag_is_the_age_of_the_first_missing_sample() {
        let start = crate::time::now();
        let mut samples = Samples::default();
        for number in 0..10 {
            samples.add(1, 100 * (number + 1), start + second(number));
        }
        let now = start + second(20);
        assert_eq!(samples.lag(1000, now), (0, Duration::ZERO));
        assert_eq!(samples.lag(950, now), (50, second(11)));
        assert_eq!(samples.lag(300, now), (700, second(17)));
        assert_eq!(samples.lag(0, now), (1000, second(20)));
    }

    #[test]
    fn another_timeline_is_another_log() {
        let start = crate::time::now();
        let mut samples = Samples::default();
        samples.add(1, 1000, start);
        samples.add(2, 900, start + second(5));
        assert_eq!(samples.newest(), Some(900));
        assert_eq!(samples.lag(800, start + second(6)), (100, second(1)));
    }

    proptest::proptest! {
        /// Thinned out, a lag may seem older than it is, never younger; and the bytes are exact.
        #[test]
        fn no_lag_is_taken_for_a_smaller_one(
            steps in proptest::collection::vec((1_u64..1000, 1_u64..50), 1..4000),
            part in 0.0_f64..1.0,
        ) {
            let start = crate::time::now();
            let (mut samples, mut all) = (Samples::default(), Vec::new());
            let (mut at, mut lsn) = (0, 0);
            for (bytes, pause) in steps {
                at += pause;
                lsn += bytes;
                samples.add(1, lsn, start + second(at));
                all.push((at, lsn));
            }
            proptest::prop_assert!(samples.samples.len() <= LAG_SAMPLES_MAX);
            let replayed = (lsn as f64 * part) as u64;
            let now = start + second(at + 1);
            let (bytes, since) = samples.lag(replayed, now);
            proptest::prop_assert_eq!(bytes, lsn - replayed);
            let exact = all.iter().find(|(_, lsn)| *lsn > replayed).map_or(0, |(then, _)| at + 1 - then);
            proptest::prop_assert!(since >= second(exact));
            proptest::prop_assert_eq!(since.is_zero(), exact == 0);
        }
    }
}

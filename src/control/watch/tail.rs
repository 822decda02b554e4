//! The end of the primary's log that is not flushed: a standby cannot have it, and may never get it while nobody writes.
//! Pure.
//!
//! A commit is flushed when its client hears of it; one with `synchronous_commit = off` at the latest three times
//! `wal_writer_delay` later (PostgreSQL manual, "Asynchronous Commit"). So what is still not flushed after that time has no
//! commit in it, and who has replayed all that is flushed has replayed all commits up to there.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::cluster::node::Lsn;

/// So many times `wal_writer_delay`, and one for who is late.
const DELAYS: u32 = 4;

/// The end of the log, as far as the primary has told.
#[derive(Debug, Default)]
pub(super) struct Tail {
    timeline: u32,
    /// When the primary had told that it had written so far, rising in both.
    told: VecDeque<(Instant, Lsn)>,
    /// All commits up to here are flushed.
    settled: Lsn,
    /// Position up to which the primary had flushed at its last answer.
    flushed: Lsn,
}

impl Tail {
    /// The primary was `asked` then, and has told at `now` how far it has written and flushed. Another timeline is another
    /// log.
    pub(super) fn add(
        &mut self,
        timeline: u32,
        (written, flushed): (Lsn, Lsn),
        delay: Duration,
        (asked, now): (Instant, Instant),
    ) {
        if timeline != self.timeline {
            *self = Self {
                timeline,
                ..Self::default()
            };
        }
        let age = delay * DELAYS;
        let is_old = |told: &(Instant, Lsn)| told.0 + age <= asked;
        while self.told.front().is_some_and(is_old) {
            let (_, lsn) = self.told.pop_front().unwrap_or((now, 0));
            self.settled = self.settled.max(lsn);
        }
        self.flushed = flushed;
        if self.told.back().is_none_or(|(_, lsn)| written > *lsn) && written > self.settled {
            self.told.push_back((now, written));
        }
    }

    /// How far a standby has come that has replayed `lsn`, as far as commits are concerned.
    pub(super) fn reached(&self, lsn: Lsn) -> Lsn {
        match lsn >= self.flushed && self.flushed > 0 {
            true => lsn.max(self.settled),
            false => lsn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(200);

    /// A primary that is asked each 100 ms, and answers at once.
    struct Bench(Tail, Instant);

    impl Bench {
        fn tell(&mut self, written: Lsn, flushed: Lsn) {
            self.1 += Duration::from_millis(100);
            self.0.add(1, (written, flushed), DELAY, (self.1, self.1));
        }
    }

    #[test]
    fn what_stays_unflushed_has_no_commits_after_a_while() {
        let mut bench = Bench(Tail::default(), crate::time::now());
        for _ in 0..8 {
            bench.tell(164, 100);
            assert_eq!(bench.0.reached(100), 100, "it may be a commit");
        }
        bench.tell(164, 100);
        assert_eq!(bench.0.reached(100), 164);
        assert_eq!(bench.0.reached(99), 99, "it lacks what is flushed");
        bench.tell(300, 100);
        assert_eq!(bench.0.reached(100), 164, "what came later is not settled");
        bench.tell(300, 300);
        assert_eq!(bench.0.reached(164), 164);
        assert_eq!(bench.0.reached(300), 300);
    }

    #[test]
    fn another_timeline_is_another_log() {
        let mut bench = Bench(Tail::default(), crate::time::now());
        for _ in 0..10 {
            bench.tell(164, 100);
        }
        let now = bench.1;
        bench.0.add(2, (120, 110), DELAY, (now, now));
        assert_eq!(bench.0.reached(110), 110);
    }

    proptest::proptest! {
        /// Commits are flushed late, but within three delays; whatever is told, no standby is believed to have one that it
        /// lacks.
        #[test]
        fn nobody_has_a_commit_that_is_not_flushed(
            steps in proptest::collection::vec((0_u64..3, 1_u64..50, proptest::bool::ANY), 1..200)
        ) {
            let mut bench = Bench(Tail::default(), crate::time::now());
            let (mut written, mut flushed) = (100, 100);
            // Positions of commits that are not flushed, and when they were made.
            let mut commits: VecDeque<(u32, Lsn)> = VecDeque::new();
            for (turn, (junk, bytes, commits_now)) in (0_u32..).zip(steps) {
                written += junk;
                if commits_now {
                    written += bytes;
                    commits.push_back((turn, written));
                }
                // Three delays are six turns.
                while commits.front().is_some_and(|(made, _)| turn - made >= 6) {
                    flushed = commits.pop_front().unwrap().1.max(flushed);
                }
                bench.tell(written, flushed);
                let reached = bench.0.reached(flushed);
                for (_, commit) in &commits {
                    proptest::prop_assert!(*commit <= flushed || *commit > reached);
                }
            }
        }
    }
}

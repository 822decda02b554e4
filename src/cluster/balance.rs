//! Which core serves a client that comes in: clients are counted core by core. Pure but for the counts.

use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;

use crate::ids::WorkerId;

/// A core may have this much more than the mean, in parts of the mean ...
const SURPLUS_PARTS: u32 = 8;

/// ... but at least this many clients more.
const SURPLUS_MIN: u32 = 1;

/// Clients of each core, each number on a cache line of its own.
#[derive(Debug)]
pub struct Loads(Vec<CachePadded<AtomicU32>>);

impl Loads {
    /// For so many cores, none of which has a client.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| CachePadded::default()).collect())
    }

    /// A client came to `worker`. Answers who shall serve it, where it is counted from now on: `worker` itself,
    /// unless it would have clearly more than its share.
    pub fn enter(&self, worker: WorkerId) -> WorkerId {
        let counts = || self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let chosen = choose(counts(), worker);
        self.stay(chosen);
        chosen
    }

    /// A client is served by `worker`, whoever has more.
    pub fn stay(&self, worker: WorkerId) {
        self.of(worker).fetch_add(1, Ordering::Relaxed);
    }

    /// One of `worker`'s clients left.
    pub fn leave(&self, worker: WorkerId) {
        let before = self.of(worker).fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a client that leaves has come");
    }

    fn of(&self, worker: WorkerId) -> &AtomicU32 {
        &self.0[usize::from(worker.0)]
    }
}

fn choose(counts: impl Iterator<Item = u32> + Clone, worker: WorkerId) -> WorkerId {
    let numbered = (0..).map(WorkerId).zip(counts.clone());
    let Some((least, fewest)) = numbered.min_by_key(|(_, count)| *count) else {
        return worker;
    };
    let own = counts.clone().nth(usize::from(worker.0)).unwrap_or(0) + 1;
    let mean = (counts.clone().sum::<u32>() + 1) / counts.count() as u32;
    let allowed = mean + SURPLUS_MIN.max(mean / SURPLUS_PARTS);
    match own > allowed && fewest + 1 < own {
        true => least,
        false => worker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(counts: &[u32], worker: u16) -> u16 {
        choose(counts.iter().copied(), WorkerId(worker)).0
    }

    #[test]
    fn a_core_keeps_what_is_about_its_share() {
        assert_eq!(chosen(&[0], 0), 0);
        assert_eq!(chosen(&[7], 0), 0);
        assert_eq!(chosen(&[0, 0], 1), 1);
        assert_eq!(chosen(&[5, 5], 1), 1);
        assert_eq!(chosen(&[110, 100], 0), 0);
    }

    #[test]
    fn a_core_with_more_gives_to_the_one_with_least() {
        assert_eq!(chosen(&[2, 0], 0), 1);
        assert_eq!(chosen(&[130, 100], 0), 1);
        assert_eq!(chosen(&[9, 4, 2, 4], 0), 2);
        // The one with least keeps its own.
        assert_eq!(chosen(&[9, 4, 2, 4], 2), 2);
    }

    #[test]
    fn however_clients_come_the_spread_stays_small() {
        for workers in [2_u16, 3, 8] {
            let loads = Loads::new(usize::from(workers));
            // All to one core, which is the worst that chance can do.
            for _ in 0..1000 {
                loads.enter(WorkerId(0));
            }
            let counts: Vec<_> = loads.0.iter().map(|c| c.load(Ordering::Relaxed)).collect();
            let (most, fewest) = (counts.iter().max(), counts.iter().min());
            let mean = 1000 / u32::from(workers);
            assert!(
                *most.unwrap() <= mean + mean / SURPLUS_PARTS + 1,
                "{counts:?}"
            );
            assert!(*fewest.unwrap() + mean / 4 >= mean, "{counts:?}");
        }
    }

    #[test]
    fn who_leaves_makes_room() {
        let loads = Loads::new(2);
        loads.stay(WorkerId(0));
        loads.stay(WorkerId(0));
        assert_eq!(loads.enter(WorkerId(0)), WorkerId(1));
        loads.leave(WorkerId(0));
        assert_eq!(loads.enter(WorkerId(0)), WorkerId(0));
    }
}

//! Many processes in virtual time, each from a seed: limits hold, nobody is forgotten, the order is kept.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::World;

/// Virtual microseconds in which clients work.
const WORK: u64 = 100_000;

/// How many that came clearly later may be served before somebody who waits on another core.
const OVERTAKEN_MAX: u32 = 8;

/// Longest, in microseconds, that a scheduler may have seen somebody wait while a connection was idle elsewhere.
const IDLE_BESIDE_MAX: u64 = 2_000;

/// Totals over many seeds: what never happened was not tested.
#[derive(Debug, Default)]
struct Totals {
    served: u64,
    handed: u64,
    evicted: u64,
    reserved: u64,
    lost: u64,
    overtaken_max: u32,
    idle_beside_max: u64,
}

fn simulate(seed: u64, totals: &mut Totals) {
    let world = World::new(seed);
    let run = catch_unwind(AssertUnwindSafe(|| world.run(WORK)));
    if let Err(panic) = run {
        eprintln!("the seed that failed: {seed}");
        // What it was doing is not fit to be taken apart.
        std::mem::forget(world);
        std::panic::resume_unwind(panic);
    }
    totals.served += world.counts.served.get();
    totals.handed += world.counts.handed.get();
    totals.evicted += world.counts.evicted.get();
    totals.reserved += world.counts.reserved.get();
    totals.lost += world.counts.lost.get();
    totals.overtaken_max = totals.overtaken_max.max(world.counts.overtaken_max.get());
    totals.idle_beside_max = totals.idle_beside_max.max(world.idle_beside_max());
}

fn simulate_all(seeds: std::ops::Range<u64>) {
    let mut totals = Totals::default();
    for seed in seeds {
        simulate(seed, &mut totals);
    }
    println!("{totals:?}");
    let Totals {
        served,
        handed,
        evicted,
        reserved,
        lost,
        overtaken_max,
        idle_beside_max,
    } = totals;
    assert!(served > 10_000 && handed > 1_000 && evicted > 100 && reserved > 100 && lost > 100);
    assert!(overtaken_max <= OVERTAKEN_MAX, "{overtaken_max}");
    assert!(
        idle_beside_max > 0 && idle_beside_max <= IDLE_BESIDE_MAX,
        "{idle_beside_max}"
    );
}

#[test]
fn limits_hold_and_nobody_is_forgotten() {
    simulate_all(0..20_000);
}

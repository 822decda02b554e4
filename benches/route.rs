//! Cost of deciding where a read goes.

#[path = "../tests/support/snapshot.rs"]
mod snapshot;

use std::hint::black_box;

use criterion::Criterion;
use pgring::{
    cluster::snapshot::Snapshot,
    random::Seeded,
    worker::route::{Wish, place_read},
};

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let cases: [(&str, Snapshot, u64); 4] = [
        ("by weight", snapshot::nodes([1, 1, 1], ""), 50),
        (
            "with limits of lag",
            snapshot::nodes([1, 1, 1], "max_lag = \"1s\"\nmax_lag_bytes = \"1MiB\""),
            50,
        ),
        (
            "least connections",
            snapshot::nodes([1, 1, 1], "strategy = \"least_connections\""),
            50,
        ),
        (
            "nobody has replayed so far",
            snapshot::nodes([1, 1, 1], ""),
            101,
        ),
    ];
    for (name, snapshot, after) in &cases {
        let mut random = Seeded::new(1);
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let wish = Wish {
                    after: *after,
                    hint: None,
                    preference: None,
                    favourite: None,
                    avoid: 0,
                    random: random.next_u64(),
                };
                place_read(black_box(snapshot), black_box(&wish))
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decide(&mut criterion);
    criterion.final_summary();
}

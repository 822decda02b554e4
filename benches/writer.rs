//! Cost of the messages that pgring writes itself: appended to a vector that keeps its memory.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgring::protocol::{ErrorReport, SqlState, Writer};

fn write(criterion: &mut Criterion, name: &str, write: impl Fn(&mut Writer<'_>)) {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    let mut group = criterion.benchmark_group("writer");
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            write(&mut Writer::new(&mut out));
            black_box(out.as_slice());
        });
    });
    group.finish();
}

fn writer(criterion: &mut Criterion) {
    let report = ErrorReport::error(
        SqlState::TOO_MANY_CONNECTIONS,
        "no server connection became free within 30s",
    )
    .with_hint("The pool of database \"app\" and user \"app\" has a size of 20.");
    write(criterion, "ErrorResponse", |to| {
        to.error(black_box(&report));
    });
    let columns = ["aid", "bid", "abalance", "filler"];
    let values = ["48213", "1", "-1204", "                                "];
    write(criterion, "RowDescription and DataRow", |to| {
        to.row_description_text(black_box(columns));
        to.data_row(black_box(values).map(Some));
    });
    write(criterion, "Bind", |to| {
        let parameters = black_box(["48213", "1", "-1204"]).map(Some);
        to.bind("", "P_1", parameters).expect("no zero byte");
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    writer(&mut criterion);
    criterion.final_summary();
}

//! What it costs to know a statement: `facts` of short and long texts. Per byte it is the throughput that counts.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgring::worker::classify::facts;

const LONG_BYTES: usize = 10_000;

/// `begin`, then `item` with rising numbers, until the text is long.
fn long(begin: &str, item: impl Fn(usize) -> String) -> String {
    let mut text = begin.to_owned();
    for number in 0.. {
        text += &item(number);
        if text.len() >= LONG_BYTES {
            break;
        }
    }
    text
}

/// Numbers that look like chance, so that no branch predictor learns them.
fn scattered(number: usize) -> usize {
    number.wrapping_mul(2_654_435_761) >> 7 & 0xf_ffff
}

fn texts() -> Vec<(&'static str, String)> {
    let words = [
        "a", "of", "sum", "rate", "total", "amount", "balance", "position",
    ];
    let word = |number| words[scattered(number) % words.len()];
    vec![
        (
            "100 bytes",
            "SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid = 48213 AND bid < 100 ORDER BY bid"
                .to_owned(),
        ),
        (
            "100 bytes with a literal and parameters",
            "UPDATE orders SET state = 'sent', changed_at = $1, amount = amount + $2 WHERE id = $3 AND kind = 'x'"
                .to_owned(),
        ),
        ("BEGIN", "BEGIN".to_owned()),
        (
            "10 kB of columns",
            long("SELECT id", |n| format!(", {}.{}_{} AS {}", word(n), word(n + 1), n % 7, word(n + 2))),
        ),
        (
            "10 kB of numbers",
            long("SELECT * FROM t WHERE id IN (0", |n| format!(", {}", scattered(n))),
        ),
        (
            "10 kB of rows",
            long("INSERT INTO t VALUES (0, '')", |n| {
                format!(", ({}, '{} {}')", scattered(n), word(n), word(n + 3))
            }),
        ),
        (
            "10 kB of one literal",
            long("SELECT convert('", |n| format!("{} ", word(n))) + "')",
        ),
    ]
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("classify");
    for (name, text) in texts() {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| facts(black_box(text.as_bytes())))
        });
    }
    group.finish();
    criterion.final_summary();
}

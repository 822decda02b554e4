//! What it costs to know a statement: `facts` of short and long texts, and whether they are reads, in a database with
//! 3000 functions and 500 relations. Per byte it is the throughput that counts.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgring::{
    cluster::{
        catalog::{Catalog, FunctionFact, RelationFact},
        overrides::Overrides,
    },
    worker::classify::{Class, Knowledge, class, facts},
};

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

/// The functions of PostgreSQL 15's `pg_catalog`.
const FUNCTIONS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/classify/functions.txt"
));

fn catalog() -> Catalog {
    let fact = |schema: &str, name: &str, volatile| FunctionFact {
        schema: schema.to_owned(),
        name: name.to_owned(),
        volatile,
        projects: false,
    };
    let builtin = FUNCTIONS.lines().map(|line| match line.split_once(' ') {
        Some((name, _)) => fact("pg_catalog", name, true),
        None => fact("pg_catalog", line, false),
    });
    let own = (0..400).map(|n| fact("public", &format!("of_the_application_{n}"), n % 2 == 0));
    let names = [
        "t",
        "orders",
        "customers",
        "pgbench_accounts",
        "order_items",
        "products",
    ];
    let more = (0..500).map(|n| format!("relation_{n}"));
    let names = names.iter().map(|name| (*name).to_owned()).chain(more);
    let relations = names.zip(1..).map(|(name, oid)| RelationFact {
        oid,
        schema: "public".to_owned(),
        name,
        kind: 'r',
        persistence: 'p',
        row_security: false,
        bases: Vec::new(),
        calls_writers: false,
    });
    Catalog::new(builtin.chain(own), relations)
}

/// Reads, so that each is judged to its end.
fn reads() -> Vec<(&'static str, String)> {
    let words = [
        "a", "of", "sum", "rate", "total", "amount", "balance", "position",
    ];
    let word = |number| words[scattered(number) % words.len()];
    let column =
        move |n: usize| format!(", {}.{}_{} AS {}", word(n), word(n + 1), n % 7, word(n + 2));
    vec![
        (
            "100 bytes with a function and two relations",
            "SELECT o.id, count(*) FROM orders o JOIN customers c ON c.id = o.customer WHERE c.id = $1 GROUP BY o.id"
                .to_owned(),
        ),
        (
            "100 bytes with a relation",
            "SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid = 48213 AND bid < 100 ORDER BY bid"
                .to_owned(),
        ),
        ("SELECT 1", "SELECT 1".to_owned()),
        ("10 kB of columns", long("SELECT id", column) + " FROM t"),
        (
            "10 kB of numbers",
            long("SELECT * FROM t WHERE id IN (0", |n| format!(", {}", scattered(n))) + ")",
        ),
        (
            "10 kB of literals",
            long("SELECT * FROM t WHERE name IN (''", |n| {
                format!(", '{} {}'", word(n), scattered(n))
            }) + ")",
        ),
        (
            "10 kB of calls",
            long("SELECT lower('')", |n| format!(", coalesce(max({}_{}), 0)", word(n), n % 7)) + " FROM t",
        ),
        (
            "10 kB of joins",
            long("SELECT * FROM t", |n| {
                format!(" JOIN relation_{} t{n} ON t{n}.id = t.{}", n % 500, word(n))
            }),
        ),
        ("10 kB of one literal", long("SELECT lower('", |n| format!("{} ", word(n))) + "')"),
    ]
}

fn measure_class(criterion: &mut Criterion) {
    let (catalog, overrides) = (catalog(), Overrides::default());
    let knowledge = Knowledge {
        catalog: Some(&catalog),
        overrides: &overrides,
    };
    let mut group = criterion.benchmark_group("class");
    for (name, text) in reads() {
        assert_eq!(class(text.as_bytes(), &knowledge), Class::Read, "{name}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| class(black_box(text.as_bytes()), black_box(&knowledge)))
        });
    }
    group.finish();
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
    measure_class(&mut criterion);
    criterion.final_summary();
}

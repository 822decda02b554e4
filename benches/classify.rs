//! What it costs to know a statement: the flags of short and long texts, and their `class`, in a database with 3000
//! functions and 500 relations. In nanoseconds, and in nanoseconds per byte.

use std::hint::black_box;

use criterion::{
    Criterion, Throughput,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use pgring::sql::{
    catalog::{Catalog, FunctionFact, RelationFact},
    class::{Class, Knowledge, class, overrides::Overrides},
    effects::flags_of,
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

fn word(number: usize) -> &'static str {
    let words = [
        "a", "of", "sum", "rate", "total", "amount", "balance", "position",
    ];
    words[scattered(number) % words.len()]
}

/// Reads, so that each is judged to its end.
fn reads() -> Vec<(&'static str, String)> {
    let column = |n: usize| format!(", {}.{}_{} AS {}", word(n), word(n + 1), n % 7, word(n + 2));
    let join = |n: usize| format!(" JOIN relation_{} t{n} ON t{n}.id = t.{}", n % 500, word(n));
    let string = |n: usize| format!(", '{} {}'", word(n), scattered(n));
    let call = |n: usize| format!(", coalesce(max({}_{}), 0)", word(n), n % 7);
    vec![
        ("SELECT 1", "SELECT 1".to_owned()),
        ("pgbench", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;".to_owned()),
        (
            "100 B, a relation",
            "SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid = 48213 AND bid < 100 ORDER BY bid"
                .to_owned(),
        ),
        (
            "100 B, a function and two relations",
            "SELECT o.id, count(*) FROM orders o JOIN customers c ON c.id = o.customer WHERE c.id = $1 GROUP BY o.id"
                .to_owned(),
        ),
        ("10 kB of columns", long("SELECT id", column) + " FROM t"),
        ("10 kB of joins", long("SELECT * FROM t", join)),
        ("10 kB of calls", long("SELECT lower('')", call) + " FROM t"),
        (
            "10 kB of numbers",
            long("SELECT * FROM t WHERE id IN (0", |n| format!(", {}", scattered(n))) + ")",
        ),
        ("10 kB of short strings", long("SELECT * FROM t WHERE name IN (''", string) + ")"),
        ("10 kB of one string", long("SELECT lower('", |n| format!("{} ", word(n))) + "')"),
    ]
}

/// What is no read, and of which the flags alone are asked.
fn others() -> Vec<(&'static str, String)> {
    let row = |n: usize| format!(", ({}, '{} {}')", scattered(n), word(n), word(n + 3));
    vec![
        ("BEGIN", "BEGIN".to_owned()),
        (
            "100 B, a literal and parameters",
            "UPDATE orders SET state = 'sent', changed_at = $1, amount = amount + $2 WHERE id = $3 AND kind = 'x'"
                .to_owned(),
        ),
        ("10 kB of rows", long("INSERT INTO t VALUES (0, '')", row)),
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

fn measure<T>(
    criterion: &mut Bench,
    group: &str,
    texts: &[(&str, String)],
    ask: impl Fn(&[u8]) -> T,
) {
    let mut group = criterion.benchmark_group(group);
    for (name, text) in texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| ask(black_box(text.as_bytes())))
        });
    }
    group.finish();
}

/// Nanoseconds, and nanoseconds per byte.
struct PerByte;

impl ValueFormatter for PerByte {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "ns"
    }

    fn scale_throughputs(
        &self,
        _: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let bytes = match throughput {
            Throughput::Bytes(bytes) => *bytes as f64,
            _ => 1.0,
        };
        values.iter_mut().for_each(|value| *value /= bytes);
        "ns/byte"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// The clock on the wall, told so.
struct Clock(WallTime);

impl Measurement for Clock {
    type Intermediate = <WallTime as Measurement>::Intermediate;
    type Value = <WallTime as Measurement>::Value;

    fn start(&self) -> Self::Intermediate {
        self.0.start()
    }

    fn end(&self, start: Self::Intermediate) -> Self::Value {
        self.0.end(start)
    }

    fn add(&self, one: &Self::Value, other: &Self::Value) -> Self::Value {
        self.0.add(one, other)
    }

    fn zero(&self) -> Self::Value {
        self.0.zero()
    }

    fn to_f64(&self, value: &Self::Value) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &PerByte
    }
}

type Bench = Criterion<Clock>;

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(Clock(WallTime))
        .configure_from_args();
    let (catalog, overrides) = (catalog(), Overrides::default());
    let knowledge = Knowledge {
        catalog: Some(&catalog),
        overrides: &overrides,
    };
    let class = |text: &[u8]| class(text, black_box(&knowledge));
    let reads = reads();
    for (name, text) in &reads {
        assert_eq!(class(text.as_bytes()), Class::Read, "{name}");
    }
    measure(&mut criterion, "class", &reads, class);
    measure(
        &mut criterion,
        "facts",
        &[reads, others()].concat(),
        flags_of,
    );
    criterion.final_summary();
}

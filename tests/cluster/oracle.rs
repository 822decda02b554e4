//! A real hot standby as the judge of what pgring calls a read: thousands of statements, made from one seed out of every
//! function there is and relations of every kind, of which each that is called a read runs on the standby and must not
//! fail because it is one.
//!
//! A standby refuses with 25006 (read-only transaction), with 0A000 (temporary or unlogged relations during recovery)
//! and with 55000 (recovery is in progress); the last two are told from others by their text.

use std::net::SocketAddr;

use pgring::{
    cli::postgres::{Cluster, Options},
    sql::{
        catalog::{
            Catalog, FUNCTIONS_SQL, FunctionFact, OWN_FUNCTIONS_SQL, OWN_RELATIONS_SQL,
            RELATIONS_SQL, RelationFact,
        },
        class::{Class, Knowledge, class, explain, overrides::Overrides},
    },
};
use tokio_postgres::SimpleQueryMessage;

use crate::{
    session::{Answer, Session},
    support::{self, eventually},
};

const SEED: u64 = 0x5eed_0f0a_c1e5_2026;

/// Statements made out of pieces, and changed copies of such.
const MADE: usize = 6_000;
const CHANGED: usize = 6_000;

/// What the database has, beside what every database has.
const SCHEMA: &str = "
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE foreign_t (a int) SERVER files OPTIONS (program 'echo 1');
CREATE SCHEMA app;
CREATE TABLE t (a int, b text, c timestamptz DEFAULT now());
INSERT INTO t SELECT n, 'x' || n FROM generate_series(1, 20) n;
CREATE TABLE \"Mixed Case\" (a int);
CREATE TABLE app.t2 AS SELECT * FROM t;
CREATE UNLOGGED TABLE unlogged_t (a int, b text);
CREATE SEQUENCE s;
CREATE VIEW v AS SELECT * FROM t;
CREATE VIEW vv AS SELECT v.a FROM v JOIN app.t2 USING (a);
CREATE VIEW v_unlogged AS SELECT * FROM unlogged_t;
CREATE VIEW vv_unlogged AS SELECT a FROM t WHERE a IN (SELECT a FROM v_unlogged);
CREATE VIEW v_number AS SELECT nextval('s') AS a;
CREATE VIEW v_xid AS SELECT txid_current() AS a;
CREATE VIEW v_file AS SELECT pg_walfile_name('0/0') AS a;
CREATE MATERIALIZED VIEW m AS SELECT a, b FROM unlogged_t;
CREATE TABLE parted (a int) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE mixed (a int) PARTITION BY RANGE (a);
CREATE UNLOGGED TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10);
CREATE TABLE heir (d int) INHERITS (t);
CREATE FUNCTION app.pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 * 2';
CREATE FUNCTION public.twice(text) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('s') $$;
CREATE FUNCTION app.writer(int) RETURNS int LANGUAGE sql AS
    $$ INSERT INTO t (a) VALUES ($1) RETURNING a $$;
CREATE FUNCTION public.numbered(t) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('s') $$;
CREATE FUNCTION public.named(t) RETURNS text LANGUAGE sql STABLE AS $$ SELECT $1.b $$;
CREATE FUNCTION public.step(bigint, int) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('s') $$;
CREATE AGGREGATE public.stepped(int) (SFUNC = public.step, STYPE = bigint);
CREATE FUNCTION public.left(text) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('s') $$;
CREATE FUNCTION public.rollup(int) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('s') $$;
GRANT ALL ON SCHEMA app TO app;
GRANT ALL ON ALL TABLES IN SCHEMA public, app TO app;
GRANT ALL ON SEQUENCE s TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public, app TO app;
";

/// Every overload of every function: its name with its schema, and its arguments' types.
const CALLS: &str = "
SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname),
       ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY x(t, n) ORDER BY n)::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind IN ('f', 'a') AND n.nspname <> 'information_schema' ORDER BY 1, 2
";

const RELATIONS: [&str; 24] = [
    "t",
    "T",
    "\"t\"",
    "public.t",
    "app.t2",
    "t2",
    "\"Mixed Case\"",
    "unlogged_t",
    "\"unlogged_t\"",
    "v",
    "vv",
    "v_unlogged",
    "vv_unlogged",
    "v_number",
    "v_xid",
    "v_file",
    "m",
    "parted",
    "mixed",
    "heir",
    "s",
    "foreign_t",
    "temp_t",
    "pg_class",
];

const SCALARS: [&str; 44] = [
    "1",
    "NULL",
    "'x'",
    "E'\\'x'",
    "$$ it's $$",
    "a",
    "x.a",
    "count(*)",
    "max(a)",
    "now()",
    "current_date",
    "lower('A')",
    "nextval('s')",
    "pg_catalog.nextval('s')",
    "\"nextval\"('s')",
    "nextval/**/('s')",
    "currval('s')",
    "random()",
    "clock_timestamp()",
    "txid_current()",
    "pg_current_xact_id()",
    "app.pure(1)",
    "app.twice(1)",
    "twice('1')",
    "twice(1)",
    "app.writer(1)",
    "stepped(1)",
    "\"left\"('x')",
    "left('x', 1)",
    "rollup(1)",
    "setval('s', 1)",
    "set_config('a.b', 'c', false)",
    "pg_advisory_xact_lock(1)",
    "EXTRACT(year FROM now())",
    "SUBSTRING('abc' FROM 2 FOR 1)",
    "TRIM(BOTH 'x' FROM 'xax')",
    "a IS DISTINCT FROM 1",
    "COALESCE(a, 1)",
    "CAST(1 AS numeric(10, 2))",
    "lo_creat(-1)",
    "pg_walfile_name('0/0')",
    "gen_random_uuid()",
    "(x).a",
    "pg_export_snapshot()",
];

/// Chance from a seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn often(&mut self, of_ten: usize) -> bool {
        self.below(10) < of_ten
    }
}

/// Makes statements; how deep they nest is bounded.
struct Maker {
    chance: Chance,
}

impl Maker {
    fn gap(&mut self) -> &'static str {
        self.chance.one(&[
            " ",
            " ",
            " ",
            "\n",
            "\t",
            "/**/",
            " /* it's /* a */ comment; */ ",
            " -- it's\n",
        ])
    }

    fn list(&mut self, depth: usize, make: fn(&mut Self, usize) -> String) -> String {
        let count = 1 + self.chance.below(3);
        (0..count)
            .map(|_| make(self, depth))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth > 0 && self.chance.often(2) {
            let query = self.query(depth - 1);
            return match self.chance.below(3) {
                0 => format!("({query})"),
                1 => format!("EXISTS ({query})"),
                _ => format!("ARRAY({query})"),
            };
        }
        let scalar = self.chance.one(&SCALARS);
        match self.chance.below(8) {
            0 => format!("CASE WHEN true THEN {scalar} END"),
            1 => format!("coalesce({scalar}, NULL)"),
            2 => format!("ARRAY[{scalar}]"),
            3 => format!("({scalar})::text"),
            _ => scalar.to_owned(),
        }
    }

    fn source(&mut self, depth: usize) -> String {
        let relation = self.chance.one(&RELATIONS);
        match self.chance.below(14) {
            0 if depth > 0 => format!("({}) AS x", self.query(depth - 1)),
            1 if depth > 0 => format!("LATERAL ({}) x (a)", self.query(depth - 1)),
            2 => format!("generate_series(1, 3) AS x (a), {relation} AS y"),
            3 => "nextval('s') AS x (a)".to_owned(),
            4 => format!("ONLY {relation} AS x"),
            5 => format!("{relation} AS x TABLESAMPLE system (50)"),
            6 => "ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS x (a, b)".to_owned(),
            7 => format!(
                "({relation} AS x CROSS JOIN {} AS y)",
                self.chance.one(&RELATIONS)
            ),
            8 => format!(
                "{relation} AS x JOIN {} AS y ON true",
                self.chance.one(&RELATIONS)
            ),
            9 => format!("(VALUES (1, {})) AS x (a, b)", self.scalar(depth)),
            10 => "w AS x".to_owned(),
            11 => format!("{relation} x (a)"),
            _ => format!("{relation} AS x"),
        }
    }

    fn query(&mut self, depth: usize) -> String {
        let mut text = String::new();
        if self.chance.often(2) {
            text += &self.with(depth);
        }
        match self.chance.below(12) {
            0 => return text + "VALUES (" + &self.list(depth, Self::scalar) + ")",
            1 => return text + "TABLE " + self.chance.one(&RELATIONS),
            _ => {}
        }
        text += self
            .chance
            .one(&["SELECT", "select", "SELECT ALL", "SELECT DISTINCT"]);
        text += self.gap();
        text += &self.list(depth, Self::scalar);
        if self.chance.often(8) {
            text += self.gap();
            text += "FROM";
            text += self.gap();
            text += &self.source(depth);
            text += &self.tail(depth);
        }
        text
    }

    fn with(&mut self, depth: usize) -> String {
        let inner = match self.chance.below(8) {
            0 => "INSERT INTO t (a) VALUES (1) RETURNING a".to_owned(),
            1 => "DELETE FROM t WHERE false RETURNING a".to_owned(),
            2 => "UPDATE t SET a = a WHERE false RETURNING a".to_owned(),
            _ if depth > 0 => self.query(depth - 1),
            _ => "SELECT 1 AS a".to_owned(),
        };
        let head = self.chance.one(&["w", "w (a)", "RECURSIVE w"]);
        let kind = self
            .chance
            .one(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
        format!("WITH {head} AS {kind}({inner}) ")
    }

    fn tail(&mut self, depth: usize) -> String {
        let mut text = String::new();
        if self.chance.often(3) {
            text += &format!(" WHERE {} IS NOT NULL", self.scalar(depth));
        }
        if self.chance.often(1) {
            text += " GROUP BY a, x.a";
        }
        if self.chance.often(2) {
            text += &format!(" ORDER BY {}", self.scalar(0));
        }
        if self.chance.often(2) {
            text += " LIMIT 3";
        }
        if self.chance.often(1) {
            text += self.chance.one(&[
                " FOR UPDATE",
                " FOR SHARE",
                " FOR NO KEY UPDATE",
                " FOR KEY SHARE SKIP LOCKED",
            ]);
        }
        text
    }

    fn statement(&mut self) -> String {
        let query = self.query(2);
        match self.chance.below(20) {
            0 => format!("EXPLAIN {query}"),
            1 => format!("EXPLAIN (ANALYZE, FORMAT json) {query}"),
            2 => format!("COPY ({query}) TO STDOUT"),
            3 => format!("COPY {} TO STDOUT", self.chance.one(&RELATIONS)),
            4 => format!("({query}) UNION ALL ({})", self.query(1)),
            5 => format!("/* app */ {query}; {}", self.query(1)),
            6 => format!(
                "SHOW {}",
                self.chance
                    .one(&["search_path", "timezone", "in_hot_standby", "all"])
            ),
            7 => self.other(),
            _ => query,
        }
    }

    fn other(&mut self) -> String {
        let texts = [
            "INSERT INTO t (a) VALUES (1)",
            "SELECT a INTO made FROM t",
            "CREATE TABLE made AS SELECT 1",
            "SELECT x.numbered FROM t AS x",
            "SELECT (x).numbered FROM t AS x",
            "SELECT x.named FROM t AS x",
            "SELECT (x.*).named FROM t AS x",
            "SELECT numbered(x) FROM t AS x",
            "LOCK TABLE t IN EXCLUSIVE MODE",
            "SELECT 1; DELETE FROM t",
            "ANALYZE t",
            "NOTIFY c",
            "LISTEN c",
            "TRUNCATE t",
            "PREPARE TRANSACTION 'x'",
        ];
        self.chance.one(&texts).to_owned()
    }

    /// The same statement with some bytes changed, taken out or doubled.
    fn changed(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + self.chance.below(3) {
            let at = self.chance.below(bytes.len());
            match self.chance.below(3) {
                0 => {
                    bytes[at] = self
                        .chance
                        .one(&["'", "\"", "(", ")", ",", ".", " ", "a", ";"])
                        .as_bytes()[0]
                }
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Asks as superuser, and answers the rows' columns.
fn rows(address: SocketAddr, sql: &str) -> Vec<Vec<Option<String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut config = tokio_postgres::Config::new();
        config
            .host(address.ip().to_string())
            .port(address.port())
            .user("postgres")
            .dbname("app");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.unwrap();
        drop(client);
        task.await.unwrap().unwrap();
        let columns = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len())
                .map(|column| row.get(column).map(str::to_owned))
                .collect()
        };
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(columns(row)),
            _ => None,
        });
        rows.collect()
    })
}

fn borrowed(row: &[Option<String>]) -> Vec<Option<&str>> {
    row.iter().map(Option::as_deref).collect()
}

/// What the control core does: two questions, and facts out of their rows.
fn load(primary: SocketAddr) -> Catalog {
    let both = |one, other| [rows(primary, one), rows(primary, other)].concat();
    let functions = both(OWN_FUNCTIONS_SQL, FUNCTIONS_SQL);
    let relations = both(OWN_RELATIONS_SQL, RELATIONS_SQL);
    Catalog::new(
        functions
            .iter()
            .map(|row| FunctionFact::from_columns(&borrowed(row)).unwrap()),
        relations
            .iter()
            .map(|row| RelationFact::from_columns(&borrowed(row)).unwrap()),
    )
}

/// A call of each function, with values and with nulls.
fn calls(primary: SocketAddr) -> Vec<String> {
    let mut calls = Vec::new();
    for row in rows(primary, CALLS) {
        let name = row[0].as_deref().unwrap();
        let types = row[1].as_deref().unwrap().trim_matches(['{', '}']);
        let types: Vec<_> = types.split(',').filter(|name| !name.is_empty()).collect();
        let arguments = |value: fn(&str) -> String| {
            let values: Vec<_> = types
                .iter()
                .map(|name| value(name.trim_matches('"')))
                .collect();
            values.join(", ")
        };
        let plain = name.strip_prefix("pg_catalog.").unwrap_or(name);
        calls.push(format!("SELECT {name}({})", arguments(value_of)));
        calls.push(format!(
            "SELECT * FROM {plain}({}) AS x",
            arguments(value_of)
        ));
        calls.push(format!("SELECT {plain}({})", arguments(null_of)));
    }
    calls
}

fn null_of(name: &str) -> String {
    format!("NULL::{name}")
}

fn value_of(name: &str) -> String {
    let value = match name {
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "oid"
        | "xid" | "cid" => "1",
        "text" | "character" | "name" | "character varying" | "\"char\"" | "unknown"
        | "cstring" => "a",
        "boolean" => "t",
        "regclass" => "t",
        "pg_lsn" => "0/0",
        "bytea" => "\\x00",
        "json" | "jsonb" => "{}",
        "xml" => "<a/>",
        "timestamp with time zone" | "timestamp without time zone" | "date" => "2024-01-01",
        "interval" => "1 day",
        "inet" | "cidr" => "127.0.0.1",
        "any" | "anyelement" | "anynonarray" | "anycompatible" => return "1".to_owned(),
        "anyarray" | "anycompatiblearray" => return "ARRAY[1]".to_owned(),
        _ if name.ends_with("[]") => "{}",
        _ => return null_of(name),
    };
    format!("'{value}'::{name}")
}

/// True when a standby has refused because it is one.
fn is_refusal(sqlstate: &str, text: &str) -> bool {
    sqlstate == "25006" || matches!(sqlstate, "0A000" | "55000") && text.contains("recovery")
}

struct Court {
    standby: Session,
    reads: usize,
    refused_writes: usize,
    verdicts: Vec<String>,
}

impl Court {
    fn try_statement(&mut self, text: &str, knowledge: &Knowledge<'_>) {
        let class = class(text.as_bytes(), knowledge);
        let (explained, reason) = explain(text.as_bytes(), knowledge);
        assert_eq!(class, explained, "{reason}: {text}");
        // What ends or begins transactions would change what the next ones mean.
        let harmless =
            class == Class::Read || text.starts_with("SELECT") || text.starts_with("COPY (");
        if !harmless || text.contains('\0') || text.contains("dblink") {
            return;
        }
        self.reads += usize::from(class == Class::Read);
        match self.standby.query(text) {
            Answer::Error(sqlstate, message) if is_refusal(&sqlstate, &message) => match class {
                Class::Read => self
                    .verdicts
                    .push(format!("{text}\n    {sqlstate}: {message}")),
                Class::Write => self.refused_writes += 1,
            },
            Answer::Closed(why) => panic!("{why}: {text}"),
            _ => {}
        }
    }
}

fn stage() -> Cluster {
    let options = Options {
        standbys: 1,
        host_auth: "trust".to_owned(),
        ..Options::default()
    };
    let cluster = support::postgres(&options);
    cluster
        .primary
        .sql("app", SCHEMA)
        .unwrap_or_else(|error| panic!("{error}"));
    cluster
}

fn wait_for_standby(cluster: &Cluster) {
    let position = cluster
        .primary
        .sql("app", "SELECT pg_current_wal_lsn()")
        .unwrap();
    let look = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
    eventually("the standby had it all", || {
        cluster.standbys[0].sql("app", &look).unwrap() == "t"
    });
}

#[test]
fn no_read_is_refused_by_a_standby() {
    let cluster = stage();
    let primary = cluster.primary.address();
    let mut own = Session::login(primary).unwrap();
    own.query("CREATE TEMP TABLE temp_t (a int)");
    wait_for_standby(&cluster);
    let catalog = load(primary);
    let overrides = Overrides::default();
    let knowledge = Knowledge {
        catalog: Some(&catalog),
        overrides: &overrides,
    };
    let mut standby = Session::login(cluster.standbys[0].address()).unwrap();
    standby.query("SET statement_timeout = '500ms'");
    let mut court = Court {
        standby,
        reads: 0,
        refused_writes: 0,
        verdicts: Vec::new(),
    };
    for call in calls(primary) {
        // Volatile ones do all kinds of things, such as ending the server.
        if class(call.as_bytes(), &knowledge) == Class::Read {
            court.try_statement(&call, &knowledge);
        }
    }
    let called = court.reads;
    let mut maker = Maker {
        chance: Chance(SEED),
    };
    let made: Vec<_> = (0..MADE).map(|_| maker.statement()).collect();
    for text in &made {
        court.try_statement(text, &knowledge);
    }
    for _ in 0..CHANGED {
        let at = maker.chance.below(made.len());
        let text = maker.changed(&made[at]);
        court.try_statement(&text, &knowledge);
    }
    let Court {
        reads,
        refused_writes,
        verdicts,
        ..
    } = court;
    assert!(
        verdicts.is_empty(),
        "seed {SEED:#x}, {} refused:\n{}",
        verdicts.len(),
        verdicts.join("\n")
    );
    assert!(
        called > 2_000 && reads > called + 1_000,
        "{called} calls and {reads} reads were tried"
    );
    assert!(
        refused_writes > 500,
        "the standby has refused {refused_writes} writes only"
    );
}

//! Hundreds of statements and their classes in a golden table, and what Pgpool-II gets wrong.

use super::table::lines;
use crate::{
    limits::ROUTED_TEXT_BYTES_MAX,
    sql::{
        catalog::{Catalog, FunctionFact, RelationFact},
        class::{Class, Knowledge, Reason, class, explain, overrides::Overrides},
        hint::{Hint, hint},
    },
};

const STATEMENTS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/classify/classes.sql"
));

/// The functions of PostgreSQL 15's `pg_catalog`, procedures left out.
const FUNCTIONS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/classify/functions.txt"
));

/// Schema, name and whether volatile.
const OWN_FUNCTIONS: [(&str, &str, bool); 9] = [
    ("public", "vol", true),
    ("app", "reader", false),
    ("app", "mixed", false),
    ("other", "mixed", true),
    ("public", "geometry", false),
    ("app", "listed_reader", true),
    ("app", "listed_reader_too", true),
    ("app", "listed_writer", false),
    ("app", "listed_lower", false),
];

/// Schema, name, kind, persistence, number and numbers of what it reads.
type Known = (&'static str, &'static str, char, char, u32, &'static [u32]);

const RELATIONS: [Known; 27] = [
    ("public", "t", 'r', 'p', 1, &[]),
    ("public", "t1", 'r', 'p', 2, &[]),
    ("public", "t2", 'r', 'p', 3, &[]),
    ("public", "unlogged_t", 'r', 'u', 4, &[]),
    ("public", "foreign_t", 'f', 'p', 5, &[]),
    ("pg_temp_3", "temp_t", 'r', 't', 6, &[]),
    ("public", "a_sequence", 'S', 'p', 7, &[]),
    ("public", "a_view", 'v', 'p', 8, &[1, 2]),
    ("public", "view_of_unlogged", 'v', 'p', 9, &[1, 4]),
    ("public", "view_that_writes", 'v', 'p', 10, &[1]),
    ("public", "view_of_view", 'v', 'p', 11, &[9]),
    ("public", "view_of_activity", 'v', 'p', 12, &[22]),
    ("public", "matview", 'm', 'p', 13, &[4]),
    ("public", "parted", 'p', 'p', 14, &[1]),
    ("public", "parted_with_unlogged", 'p', 'p', 15, &[1, 4]),
    ("public", "guarded", 'r', 'p', 16, &[]),
    ("pg_catalog", "pg_class", 'r', 'p', 17, &[]),
    ("pg_catalog", "pg_namespace", 'r', 'p', 18, &[]),
    ("pg_catalog", "pg_stats", 'v', 'p', 19, &[17]),
    ("information_schema", "tables", 'v', 'p', 20, &[17]),
    ("information_schema", "columns", 'v', 'p', 21, &[17]),
    ("pg_catalog", "pg_stat_activity", 'v', 'p', 22, &[]),
    ("pg_catalog", "pg_stat_replication", 'v', 'p', 23, &[]),
    ("pg_catalog", "pg_locks", 'v', 'p', 24, &[]),
    ("pg_catalog", "pg_settings", 'v', 'p', 25, &[]),
    ("pg_catalog", "pg_prepared_xacts", 'v', 'p', 26, &[]),
    ("pg_catalog", "pg_sequences", 'v', 'p', 27, &[]),
];

pub(super) fn functions() -> impl Iterator<Item = FunctionFact> {
    let fact = |schema: &str, name: &str, volatile| FunctionFact {
        schema: schema.to_owned(),
        name: name.to_owned(),
        volatile,
        projects: name == "vol",
    };
    let builtin = FUNCTIONS
        .lines()
        .map(move |line| match line.split_once(' ') {
            Some((name, _)) => fact("pg_catalog", name, true),
            None => fact("pg_catalog", line, false),
        });
    let own = OWN_FUNCTIONS.iter();
    builtin.chain(own.map(move |(schema, name, volatile)| fact(schema, name, *volatile)))
}

pub(super) fn relations() -> impl Iterator<Item = RelationFact> {
    let relations = RELATIONS.iter();
    relations.map(
        |(schema, name, kind, persistence, oid, bases)| RelationFact {
            oid: *oid,
            schema: (*schema).to_owned(),
            name: (*name).to_owned(),
            kind: *kind,
            persistence: *persistence,
            row_security: *name == "guarded",
            bases: bases.to_vec(),
            calls_writers: matches!(*name, "view_that_writes" | "guarded"),
        },
    )
}

/// A database with a bit of everything.
pub(super) fn catalog() -> Catalog {
    Catalog::new(functions(), relations())
}

pub(super) fn overrides() -> Overrides {
    let readers = [
        "listed_reader",
        "app.listed_reader_too",
        r"/(app\.)?get_.*/",
    ];
    let writers = ["listed_writer", "app.listed_lower", "/init.*/", "/Upper/"];
    Overrides::new(&readers, &writers, &["PATTERNed"]).unwrap()
}

/// The statements of this table and of the facts'.
pub(super) fn statements() -> impl Iterator<Item = String> {
    lines(STATEMENTS).chain(super::table::statements())
}

fn with_all<T>(ask: impl FnOnce(&Knowledge<'_>) -> T) -> T {
    let (catalog, overrides) = (catalog(), overrides());
    ask(&Knowledge {
        catalog: Some(&catalog),
        overrides: &overrides,
    })
}

/// The class of each text, in a database with a bit of everything.
fn assert_class(expected: Class, texts: &[&str]) {
    with_all(|knowledge| {
        for text in texts {
            let explained = explain(text.as_bytes(), knowledge);
            assert_eq!(
                class(text.as_bytes(), knowledge),
                expected,
                "{text}: {}",
                explained.1
            );
            assert_eq!(explained.0, expected, "{text}: {}", explained.1);
        }
    });
}

fn assert_read(texts: &[&str]) {
    assert_class(Class::Read, texts);
}

fn assert_write(texts: &[&str]) {
    assert_class(Class::Write, texts);
}

/// `INSTA_UPDATE=always cargo test golden` writes the table anew; read it before you commit.
#[test]
fn classes_are_those_of_the_golden_table() {
    let table = with_all(|knowledge| {
        let mut table = String::new();
        for text in lines(STATEMENTS) {
            let (class, reason) = explain(text.as_bytes(), knowledge);
            let shown = text.replace('\n', "↵");
            table += &match class {
                Class::Read => format!("{shown}\n    read\n"),
                Class::Write => format!("{shown}\n    WRITE: {reason}\n"),
            };
        }
        table
    });
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/classify"
    ));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("classes", table));
}

#[test]
fn without_a_catalog_only_values_are_read() {
    let overrides = Overrides::default();
    let knowledge = Knowledge {
        catalog: None,
        overrides: &overrides,
    };
    for text in [
        "SELECT 1",
        "VALUES (1), (2)",
        "SELECT COALESCE($1, 2), CAST('1' AS numeric(10, 2)) WHERE 1 IN (2) AND (3) = ANY (ARRAY[4])",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SHOW search_path",
        "",
    ] {
        assert_eq!(class(text.as_bytes(), &knowledge), Class::Read, "{text}");
    }
    for text in [
        "SELECT lower('A')",
        "SELECT * FROM t",
        "COPY t TO STDOUT",
        "SELECT rollup(1)",
    ] {
        assert_eq!(class(text.as_bytes(), &knowledge), Class::Write, "{text}");
    }
}

#[test]
fn what_is_no_text_is_no_read() {
    with_all(|knowledge| {
        for text in [
            &b"SELECT '\xff'"[..],
            b"SELECT 1\0",
            b"SELECT 1\0DELETE FROM t",
            b"SELECT '\0'",
        ] {
            assert_eq!(explain(text, knowledge).1, Reason::NotText);
        }
        let long = format!("SELECT '{}'", "x".repeat(ROUTED_TEXT_BYTES_MAX));
        assert_eq!(explain(long.as_bytes(), knowledge).1, Reason::TooLong);
        let deep = format!("SELECT {}1{}", "(".repeat(100), ")".repeat(100));
        assert_eq!(explain(deep.as_bytes(), knowledge).1, Reason::TooDeep);
    });
}

#[test]
fn an_empty_text_is_told_from_a_read() {
    with_all(|knowledge| {
        assert_eq!(explain(b" ; ", knowledge), (Class::Read, Reason::Empty));
        assert_eq!(
            explain(b"SELECT 1", knowledge),
            (Class::Read, Reason::Reads)
        );
    });
}

#[test]
fn comments_say_where() {
    for (text, expected) in [
        ("/* pgring: node=primary */ SELECT 1", Some(Hint::Primary)),
        ("/*NO LOAD BALANCE*/ SELECT 1", Some(Hint::Primary)),
        ("SELECT 1 /* pgring:node = standby*/", Some(Hint::Standby)),
        (
            "-- x /*\n/* y *//* pgring: node=r2 */ SELECT 1",
            Some(Hint::Node(b"r2")),
        ),
        (
            "/* pgring: node=r2 *//* pgring: node=r3 */",
            Some(Hint::Node(b"r2")),
        ),
        (
            "/* pgring: node=r2 */ SELECT /*no load balance*/ 1",
            Some(Hint::Primary),
        ),
        ("/* /* pgring: node=r2 */ */ SELECT 1", None),
        ("SELECT '/* pgring: node=r2 */'", None),
        ("/* pgring: node=r2", None),
        ("SELECT 1 - 2 / 3", None),
        ("SELECT 1", None),
    ] {
        assert_eq!(hint(text.as_bytes()), expected, "{text}");
    }
}

/// 2.4: with `allow_sql_comments` off, a comment before it makes a write of any SELECT, and VALUES is always one.
#[test]
fn quirk_a_comment_before_it_makes_no_write_of_a_read() {
    assert_read(&[
        "/* app */ SELECT 1",
        "-- app\nSELECT 1",
        "VALUES (1)",
        "\u{c}/**/ TABLE t",
    ]);
}

/// 2.4: the manual recommends `/*NO LOAD BALANCE*/`, which no code of Pgpool-II knows.
#[test]
fn quirk_no_load_balance_means_what_it_says() {
    assert_write(&[
        "/*NO LOAD BALANCE*/ SELECT 1",
        "SELECT 1 /*NO LOAD BALANCE*/ FROM t",
    ]);
    assert_read(&["/*LOAD BALANCE*/ SELECT 1", "SELECT '/*NO LOAD BALANCE*/'"]);
}

/// 2.5: EXPLAIN always went to the primary, against the manual.
#[test]
fn quirk_explain_of_a_read_is_a_read() {
    assert_read(&["EXPLAIN SELECT * FROM t", "EXPLAIN ANALYZE SELECT * FROM t"]);
    assert_write(&[
        "EXPLAIN ANALYZE SELECT nextval('s')",
        "EXPLAIN ANALYZE DELETE FROM t",
    ]);
}

/// 2.5: none of the tests for functions and relations was made for COPY TO.
#[test]
fn gap_copy_is_judged_by_what_it_copies() {
    assert_read(&[
        "COPY t TO STDOUT",
        "COPY (SELECT lower(a) FROM t) TO STDOUT",
    ]);
    assert_write(&[
        "COPY unlogged_t TO STDOUT",
        "COPY temp_t TO STDOUT",
        "COPY (SELECT * FROM unlogged_t) TO STDOUT",
        "COPY (SELECT nextval('s')) TO STDOUT",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
    ]);
}

/// 2.5: SHOW was balanced, so that `in_hot_standby` and the read-only state were a standby's; 3: route it consistently.
#[test]
fn quirk_show_of_what_differs_goes_to_the_primary() {
    assert_read(&[
        "SHOW search_path",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "SELECT current_setting('search_path')",
    ]);
    assert_write(&[
        "SHOW in_hot_standby",
        "SHOW transaction_read_only",
        "SHOW ALL",
        "SELECT current_setting('transaction_read_only')",
    ]);
}

/// 2.5: these are stable in `pg_proc` and fail on a standby.
#[test]
fn gap_stable_functions_that_need_the_primary() {
    assert_write(&[
        "SELECT txid_current()",
        "SELECT pg_current_xact_id()",
        "SELECT pg_walfile_name('0/0')",
    ]);
    assert_read(&["SELECT pg_current_snapshot()", "SELECT now()"]);
}

/// 2.5: of a prepared SELECT only the functions were looked at.
#[test]
fn gap_prepare_is_no_read() {
    assert_write(&[
        "PREPARE p AS SELECT * FROM unlogged_t",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
    ]);
}

/// 2.6: calls inside of SQL/JSON constructors, JSON_TABLE and XMLTABLE were not visited.
#[test]
fn gap_calls_are_found_wherever_they_stand() {
    assert_write(&[
        "SELECT JSON_OBJECT('a' : nextval('s'))",
        "SELECT JSON_ARRAY(1, nextval('s'))",
        "SELECT * FROM JSON_TABLE(nextval('s')::text, '$' COLUMNS (a int))",
        "SELECT * FROM XMLTABLE('/a' PASSING nextval('s')::text::xml COLUMNS a int)",
        "SELECT xmlforest(nextval('s') AS a)",
        "SELECT (ARRAY[1])[nextval('s')]",
    ]);
    assert_read(&["SELECT JSON_OBJECT('a' : lower('s'))"]);
}

/// 2.6: a name that was not found counted as a read, for ever.
#[test]
fn gap_an_unknown_function_is_a_write() {
    assert_write(&[
        "SELECT unknown_function(1)",
        "SELECT app.unknown_function(1)",
        "SELECT app.lower('x')",
    ]);
}

/// 2.6: `read_only_function_list` made writers of all other functions, and decided alone.
#[test]
fn quirk_read_functions_add_to_what_is_known() {
    assert_read(&["SELECT listed_reader(1), count(*) FROM t"]);
    assert_write(&[
        "SELECT listed_reader(1), nextval('s')",
        "SELECT listed_writer(1)",
    ]);
    let both = Overrides::new(&["f"], &["f"], &[]).unwrap();
    assert!(both.writes(None, b"f"), "a writer in both lists stays one");
    let catalog = catalog();
    let knowledge = Knowledge {
        catalog: Some(&catalog),
        overrides: &both,
    };
    assert_eq!(
        explain(b"SELECT f(1)", &knowledge).1,
        Reason::WriteFunction(b"f")
    );
}

/// 2.6: a reload only added patterns, and those that were taken out kept matching.
#[test]
fn gap_patterns_that_are_gone_match_no_more() {
    let catalog = catalog();
    let ask = |patterns: &[&str]| {
        let overrides = Overrides::new(&[], &[], patterns).unwrap();
        let knowledge = Knowledge {
            catalog: Some(&catalog),
            overrides: &overrides,
        };
        class(b"SELECT a\nFROM t", &knowledge)
    };
    assert_eq!(ask(&["select.*from T"]), Class::Write);
    assert_eq!(ask(&["other"]), Class::Read);
    assert_eq!(ask(&[]), Class::Read);
}

/// 2.7: `information_schema` went to the standby unseen, and every name of `pg_catalog` to the primary, whatever its schema.
#[test]
fn quirk_catalogs_are_judged_by_what_they_show() {
    assert_read(&[
        "SELECT * FROM pg_class",
        "SELECT * FROM information_schema.tables",
    ]);
    assert_write(&[
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM view_of_activity",
    ]);
}

/// 2.7: a view over an unlogged table was not seen; nor were partitions, nor functions in views and policies.
#[test]
fn gap_views_are_judged_by_what_they_read() {
    assert_write(&[
        "SELECT * FROM view_of_unlogged",
        "SELECT * FROM view_of_view",
        "SELECT * FROM parted_with_unlogged",
        "SELECT * FROM view_that_writes",
        "SELECT * FROM guarded",
    ]);
    assert_read(&[
        "SELECT * FROM a_view",
        "SELECT * FROM matview",
        "SELECT * FROM parted",
    ]);
}

/// 2.9: only the first statement was classified, and the whole text went to the primary.
#[test]
fn quirk_each_statement_of_a_text_is_judged() {
    assert_read(&["SELECT 1; SELECT * FROM t"]);
    assert_write(&[
        "SELECT 1; DELETE FROM t",
        "SELECT 1; SELECT nextval('s')",
        "BEGIN; SELECT 1",
    ]);
}

/// 2.3: of a text above 10 kB only the beginning was parsed.
#[test]
fn quirk_long_texts_are_read_to_their_end() {
    let list = ", 12345".repeat(5_000);
    let read = format!("SELECT * FROM t WHERE a IN (1{list}) AND b = lower('x')");
    let write = format!("SELECT * FROM t WHERE a IN (1{list}) AND b = nextval('x')");
    let unlogged = format!("SELECT * FROM t WHERE a IN (1{list}, (SELECT a FROM unlogged_t))");
    assert_read(&[&read]);
    assert_write(&[&write, &unlogged]);
}

/// 2.5: locks and INTO in whatever depth, writes in common table expressions of common table expressions.
#[test]
fn quirk_writes_are_found_in_every_depth() {
    assert_write(&[
        "SELECT * FROM (SELECT * FROM (SELECT * FROM t FOR SHARE) x) y",
        "WITH x AS (WITH y AS (DELETE FROM t RETURNING 1) SELECT 1) SELECT 1",
        "WITH x AS (SELECT 1), y AS (UPDATE t SET a = 1 RETURNING 1) SELECT 1",
    ]);
}

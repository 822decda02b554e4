//! Which server runs a statement, as the servers' own logs tell it: reads on standbys, everything else on the
//! primary, whatever the statement is and however it comes. The names tell what Pgpool-II does wrong.

use crate::{
    session::Answer,
    splitting::{Splitting, rows},
    support::message::*,
};

/// A primary that takes no reads while there is a standby.
fn stage() -> Splitting {
    let stage = Splitting::new(&[0, 1], |config| config);
    let mut session = stage.client();
    for statement in [
        "CREATE TABLE t (id int PRIMARY KEY, n int)",
        "INSERT INTO t SELECT n, n FROM generate_series(1, 10) n",
        "CREATE UNLOGGED TABLE u (n int)",
        "CREATE SEQUENCE s",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE VIEW vu AS SELECT * FROM u",
        "CREATE MATERIALIZED VIEW mv AS SELECT * FROM t",
        "CREATE FUNCTION safe() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
        "CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (99); RETURN 1; END'",
    ] {
        rows(session.query(statement));
    }
    stage.wait_until_split_for(&mut session);
    stage
}

/// Statements that run alone, and on a standby.
const READS: &[&str] = &[
    "SELECT 1",
    "SELECT * FROM t",
    "/* first */ SELECT n FROM t",
    "-- first\nSELECT n FROM t",
    "(SELECT n FROM t)",
    "VALUES (1), (2)",
    "TABLE t",
    "WITH w AS (SELECT * FROM t) SELECT * FROM w",
    "WITH w AS MATERIALIZED (SELECT * FROM t) SELECT count(*) FROM w",
    "SELECT * FROM v",
    "SELECT * FROM mv",
    "SELECT safe()",
    "SELECT now(), current_timestamp, current_setting('search_path')",
    "SELECT 1; SELECT 2",
    "SELECT 'nextval(1)', $$INSERT INTO t$$, E'\\'; DELETE FROM t'",
    "SELECT \"n\" FROM \"t\" WHERE n = ANY (ARRAY[1, 2])",
    "SELECT relname FROM pg_class LIMIT 1",
    "SELECT pg_catalog.lower('A')",
    "EXPLAIN SELECT * FROM t",
    "EXPLAIN (COSTS off, FORMAT json) SELECT * FROM t",
    "SHOW search_path",
    "COPY (SELECT * FROM t) TO STDOUT",
    "SELECT random()",
    "SELECT clock_timestamp()",
    "SELECT gen_random_uuid()",
    "SELECT pg_sleep(0)",
];

/// Statements that run alone, and on the primary.
const WRITES: &[&str] = &[
    "SELECT * INTO into_table FROM t",
    "CREATE TABLE as_table AS SELECT * FROM t",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR NO KEY UPDATE",
    "SELECT * FROM t FOR SHARE",
    "SELECT * FROM t FOR KEY SHARE",
    "SELECT * FROM (SELECT * FROM t WHERE id = 1 FOR UPDATE) x",
    "WITH w AS (INSERT INTO t VALUES (50, 1) RETURNING *) SELECT * FROM w",
    "WITH w AS (UPDATE t SET n = 1 WHERE id = 50 RETURNING *) SELECT * FROM w",
    "WITH w AS (DELETE FROM t WHERE id = 50 RETURNING *) SELECT * FROM w",
    "SELECT writes() WHERE false",
    "SELECT nextval('s')",
    "SELECT setval('s', 5)",
    "SELECT pg_notify('c', 'x')",
    "SELECT pg_is_in_recovery()",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT lo_create(0)",
    "SELECT set_config('work_mem', '5MB', true)",
    "SELECT * FROM u",
    "SELECT * FROM vu",
    "COPY (SELECT * FROM u) TO STDOUT",
    "COPY u TO STDOUT",
    "EXPLAIN ANALYZE INSERT INTO t VALUES (51, 1)",
    "INSERT INTO t VALUES (52, 1)",
    "UPDATE t SET n = 2 WHERE id = 52",
    "DELETE FROM t WHERE id = 52",
    "MERGE INTO t USING (VALUES (53)) x(id) ON t.id = x.id WHEN NOT MATCHED THEN INSERT VALUES (x.id, 1)",
    "TRUNCATE u",
    "LOCK TABLE t IN ACCESS SHARE MODE; SELECT 1",
    "REFRESH MATERIALIZED VIEW mv",
    "COMMENT ON TABLE t IS 'x'",
    "GRANT SELECT ON t TO PUBLIC",
    "DO 'BEGIN END'",
    "ANALYZE t",
    "VACUUM t",
    "REINDEX TABLE t",
    "CLUSTER t USING t_pkey",
    "SET LOCAL work_mem = '5MB'",
    "SAVEPOINT x; SELECT 1",
    "SELECT 1; DELETE FROM t WHERE id = 52",
    "SHOW work_mem",
    "SHOW transaction_read_only",
    "nonsense",
    "CREATE TEMP TABLE x (n int)",
    "ALTER TABLE t ADD COLUMN more int",
    "DROP TABLE into_table",
];

#[test]
fn reads_run_on_standbys_and_everything_else_on_the_primary() {
    let stage = stage();
    let mut session = stage.client();
    let mut wrong = Vec::new();
    for text in READS {
        stage.wait_until_split_for(&mut session);
        let place = stage.runs_at(&mut session, text);
        if place != "standby1" {
            wrong.push(format!(
                "{text}: at {place:?}: {:?}",
                stage.routes(&mut session, text)
            ));
        }
    }
    for text in WRITES {
        // Each in a session of its own: some pin theirs.
        let mut session = stage.client();
        stage.wait_until_split_for(&mut session);
        let (answer, place) = stage.watch(&mut session, text);
        // What PostgreSQL itself refuses outside a block is refused by the primary.
        let is_answered = matches!(&answer, Answer::Rows(_))
            || matches!(&answer, Answer::Error(sqlstate, _) if matches!(&**sqlstate, "25P01" | "42601"));
        if place != "primary" || !is_answered {
            wrong.push(format!("{text}: at {place:?}, {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn extended_and_prepared_statements_are_placed_as_simple_ones() {
    let stage = stage();
    let mut wrong = Vec::new();
    for (text, place) in READS
        .iter()
        .map(|text| (*text, "standby1"))
        .chain(WRITES.iter().map(|text| (*text, "primary")))
    {
        if text.contains(';') && !text.contains('\'') || text.starts_with("COPY") {
            continue;
        }
        if text.starts_with("DROP TABLE")
            || text == "nonsense"
            || text.contains("as_table")
            || text.contains("more int")
        {
            continue;
        }
        let mut session = stage.client();
        stage.wait_until_split_for(&mut session);
        let mark = stage.mark();
        let text = format!("{text} {mark}");
        let unnamed = all([
            parse("", &text),
            bind("", "", &[]),
            describe_portal(""),
            execute(""),
            sync(),
        ]);
        let answer = session.ask(&unnamed);
        assert!(matches!(answer, Answer::Rows(_)), "{text}: {answer:?}");
        let seen = stage.witnesses(&mark);
        if seen != place {
            wrong.push(format!("{text}: at {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut session = stage.client();
    stage.wait_until_split_for(&mut session);
    let mark = stage.mark();
    let text = format!("SELECT n FROM t WHERE id = $1 {mark}");
    rows(session.ask(&all([
        parse("named", &text),
        describe_statement("named"),
        sync(),
    ])));
    for id in ["1", "2", "3"] {
        let run = all([bind("", "named", &[id]), execute(""), sync()]);
        assert_eq!(session.ask(&run).row(), id);
    }
    assert_eq!(stage.witnesses(&mark), "standby1");
    // The same statement in a transaction that has written goes to the primary: no replay of it is needed.
    let mark = stage.mark();
    rows(session.query("BEGIN"));
    rows(session.query(&format!("UPDATE t SET n = 77 WHERE id = 7 {mark}")));
    let run = all([bind("", "named", &["7"]), execute(""), sync()]);
    assert_eq!(session.ask(&run).row(), "77");
    rows(session.query("ROLLBACK"));
    // And after that it is not tied to the primary, as Pgpool-II's is for ever.
    stage.wait_until_split_for(&mut session);
    let run = all([bind("", "named", &["7"]), execute(""), sync()]);
    assert_eq!(session.ask(&run).row(), "7");
}

//! Functions and views that say that they only read, and yet cannot do so on a standby; and functions that say that they
//! may do anything, and only look.

use crate::{
    session::Session,
    splitting::{Splitting, rows},
};

const OBJECTS: [&str; 9] = [
    "CREATE TABLE t AS SELECT 1 AS n",
    "CREATE UNLOGGED TABLE cache AS SELECT 2 AS n",
    "CREATE FUNCTION reads_cache() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT n FROM cache); END'",
    "CREATE FUNCTION log_position() RETURNS pg_lsn LANGUAGE sql STABLE AS 'SELECT pg_current_wal_lsn()'",
    "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (3) RETURNING n'",
    "CREATE FUNCTION calls() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN writes(); END'",
    "CREATE VIEW locking AS SELECT n FROM t FOR UPDATE",
    "CREATE VIEW by_call AS SELECT reads_cache() AS n",
    "CREATE FUNCTION plain() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t'",
];

fn stage() -> (Splitting, Session) {
    let stage = Splitting::new(&[0, 1], |config| config);
    let mut session = stage.client();
    for text in OBJECTS {
        rows(session.query(text));
    }
    stage.wait_until_split_for(&mut session);
    (stage, session)
}

/// PostgreSQL answers all of it, in a block that only reads as well.
#[test]
fn what_fails_on_a_standby_runs_at_the_primary() {
    let (stage, mut session) = stage();
    for read in [
        "SELECT reads_cache()",
        "SELECT log_position() IS NOT NULL",
        "SELECT * FROM by_call",
    ] {
        stage.wait_until_split_for(&mut session);
        assert_eq!(stage.runs_at(&mut session, read), "primary", "{read}");
        rows(session.query("BEGIN READ ONLY"));
        rows(session.query(read));
        rows(session.query("COMMIT"));
    }
    rows(session.query("BEGIN"));
    rows(session.query("SELECT * FROM locking"));
    rows(session.query("COMMIT"));
}

#[test]
fn what_only_looks_runs_on_standbys() {
    let (stage, mut session) = stage();
    for read in [
        "SELECT clock_timestamp() IS NULL",
        "SELECT random() < 2, gen_random_uuid() IS NULL",
        "SELECT pg_sleep(0)",
        "SELECT plain()",
    ] {
        stage.wait_until_split_for(&mut session);
        assert_eq!(stage.runs_at(&mut session, read), "standby1", "{read}");
    }
}

/// Whatever it was taken for, it wrote: the client's next read must not miss it.
#[test]
fn what_is_written_by_a_read_is_seen_by_the_next_one() {
    let (stage, mut session) = stage();
    rows(session.query(
        "CREATE FUNCTION eq(int, text) RETURNS boolean LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO t VALUES (7); RETURN true; END'",
    ));
    rows(session.query("CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = eq)"));
    stage.wait_until_split_for(&mut session);
    stage.replay(0, false);
    for (statement, sum) in [("SELECT calls()", "1"), ("SELECT 1 === 'x'::text", "2")] {
        rows(session.query(statement));
        let seen = session.query("SELECT count(*) - 1 FROM t").row();
        assert_eq!(seen, sum, "{statement}");
    }
    stage.replay(0, true);
}

//! Where Pgpool-II's routing goes wrong, and what the client gets here: each test is named after what goes wrong
//! there. Every read could go to a standby alone; what must not is caught by its answer or by the servers' logs.

use crate::{
    session::Session,
    splitting::{Splitting, error, rows},
    support::message::*,
};

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2)";

/// A primary that takes no reads while there is a standby.
fn stage_with(sql: &[&str]) -> (Splitting, Session) {
    let stage = Splitting::new(&[0, 1], |config| config);
    let mut session = stage.client();
    for text in sql {
        rows(session.query(text));
    }
    stage.wait_until_split_for(&mut session);
    (stage, session)
}

/// Each of these, and then the read, must be seen in its own transaction; nothing of it is left afterwards.
fn sees_its_own(before: &[&str], expected: &str) {
    let (stage, mut session) = stage_with(&[TABLE]);
    for text in before {
        rows(session.query(text));
    }
    let (answer, place) = stage.watch(&mut session, "SELECT count(*) FROM t WHERE n = 7");
    assert_eq!(
        (answer.row().as_str(), place.as_str()),
        (expected, "primary"),
        "{before:?}"
    );
    rows(session.query("ROLLBACK"));
    stage.wait_until_split_for(&mut session);
    let (answer, place) = stage.watch(&mut session, "SELECT count(*) FROM t WHERE n = 7");
    assert_eq!((answer.row().as_str(), place.as_str()), ("0", "standby1"));
}

const WRITE: &str = "INSERT INTO t VALUES (7, 7)";

#[test]
fn a_read_after_rollback_to_a_savepoint_sees_the_own_row() {
    sees_its_own(&["BEGIN", WRITE, "SAVEPOINT a", "ROLLBACK TO a"], "1");
}

#[test]
fn a_read_after_a_second_begin_sees_the_own_row() {
    sees_its_own(&["BEGIN", WRITE, "BEGIN"], "1");
}

#[test]
fn a_block_opened_in_a_text_of_several_statements_is_read_inside() {
    sees_its_own(&["BEGIN; INSERT INTO t VALUES (7, 7)"], "1");
}

#[test]
fn reads_after_writes_that_pgpool_does_not_track_see_them() {
    let (stage, mut session) = stage_with(&[
        TABLE,
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'INSERT INTO t VALUES (70, 7)'",
        "CREATE TABLE child () INHERITS (t)",
    ]);
    rows(session.query("PREPARE p AS INSERT INTO t VALUES (71, 7)"));
    let count = "SELECT count(*) FROM v WHERE n = 7";
    for (write, expected) in [
        (
            "MERGE INTO t USING (VALUES (8)) x(id) ON t.id = x.id WHEN NOT MATCHED THEN INSERT VALUES (8, 7)",
            "1",
        ),
        ("TRUNCATE t", "0"),
        ("ALTER TABLE t ALTER n SET DEFAULT 7", "0"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (9, 7)", "1"),
        ("EXECUTE p", "1"),
        ("SELECT f()", "1"),
        ("DO 'BEGIN INSERT INTO t VALUES (10, 7); END'", "1"),
        ("INSERT INTO child VALUES (11, 7)", "1"),
        (
            "WITH w AS (INSERT INTO t VALUES (12, 7) RETURNING n) SELECT n FROM w",
            "1",
        ),
        ("UPDATE v SET n = 7", "2"),
    ] {
        for begin in ["BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ"] {
            rows(session.query(begin));
            rows(session.query(write));
            assert_eq!(session.query(count).row(), expected, "{write}");
            rows(session.query("ROLLBACK"));
        }
    }
    // COPY in a transaction.
    rows(session.query("BEGIN"));
    let copy = all([
        query("COPY t FROM STDIN"),
        copy_data(b"13\t7\n"),
        copy_done(),
    ]);
    rows(session.ask(&copy));
    assert_eq!(session.query(count).row(), "1");
    rows(session.query("ROLLBACK"));
    assert_eq!(stage.sql("SELECT count(*) FROM t"), "2");
}

#[test]
fn a_failed_read_in_a_writing_transaction_undoes_its_writes_at_commit() {
    for savepoint in [&[][..], &["SAVEPOINT a", "ROLLBACK TO a"]] {
        let (stage, mut session) = stage_with(&[TABLE]);
        rows(session.query("BEGIN"));
        rows(session.query(WRITE));
        for text in savepoint {
            rows(session.query(text));
        }
        assert_eq!(error(session.query("SELECT 1 / n - 1 / 0 FROM t")), "22012");
        assert_eq!(error(session.query("SELECT 1")), "25P02");
        rows(session.query("COMMIT"));
        assert_eq!(stage.sql("SELECT count(*) FROM t"), "2");
    }
}

#[test]
fn statements_of_one_pipeline_stay_together() {
    let (stage, mut session) = stage_with(&[TABLE]);
    let one = |text: &str| [parse("", text), bind("", "", &[]), execute("")].concat();
    let mark = stage.mark();
    let read = format!("SELECT count(*) FROM t {mark}");
    let together = [one(WRITE), one(&read), sync()].concat();
    assert_eq!(rows(session.ask(&together)), ["3"]);
    assert_eq!(stage.witnesses(&mark), "primary");
    // They fail together: the read's error undoes the write.
    let failing = [
        one("INSERT INTO t VALUES (8, 8)"),
        one("SELECT 1 / 0"),
        sync(),
    ]
    .concat();
    assert_eq!(error(session.ask(&failing)), "22012");
    assert_eq!(stage.sql("SELECT count(*) FROM t"), "3");
    // The read first, the write behind it: both at the primary, because nobody can tell before.
    stage.wait_until_split_for(&mut session);
    let mark = stage.mark();
    let read = format!("SELECT count(*) FROM t {mark}");
    let together = [one(&read), one("INSERT INTO t VALUES (9, 9)"), sync()].concat();
    assert_eq!(rows(session.ask(&together)), ["3"]);
    assert_eq!(stage.witnesses(&mark), "primary");
    // Two pipelines in one piece are two.
    stage.wait_until_split_for(&mut session);
    let (first, second) = (stage.mark(), stage.mark());
    let read = format!("SELECT count(*) FROM t {first}");
    let write = format!("INSERT INTO t VALUES (10, 10) {second}");
    session
        .send(&[one(&read), sync(), one(&write), sync()].concat())
        .unwrap();
    assert_eq!(rows(session.answer()), ["4"]);
    rows(session.answer());
    assert_eq!(stage.witnesses(&first), "standby1");
    assert_eq!(stage.witnesses(&second), "primary");
    // And a read that comes behind a write, in the same piece, sees it.
    let write = query("INSERT INTO t VALUES (11, 11)");
    session
        .send(&[write, query("SELECT count(*) FROM t")].concat())
        .unwrap();
    rows(session.answer());
    assert_eq!(rows(session.answer()), ["6"]);
}

#[test]
fn temporary_and_unlogged_tables_are_copied_prepared_and_described_at_the_primary() {
    let (stage, mut session) = stage_with(&[
        TABLE,
        "CREATE UNLOGGED TABLE u AS SELECT 5 AS n",
        "CREATE TABLE both_ways (n int)",
    ]);
    rows(session.query("COPY u TO STDOUT"));
    rows(session.query("PREPARE pu AS SELECT n FROM u"));
    assert_eq!(session.query("EXECUTE pu").row(), "5");
    rows(session.query("DEALLOCATE pu"));
    let ask = all([
        parse("d", "SELECT n FROM u"),
        describe_statement("d"),
        bind("", "d", &[]),
        execute(""),
        sync(),
    ]);
    assert_eq!(session.ask(&ask).row(), "5");
    // A temporary table that hides a lasting one.
    rows(session.query("CREATE TEMP TABLE both_ways AS SELECT 6 AS n"));
    assert_eq!(session.query("SELECT n FROM both_ways").row(), "6");
    assert_eq!(
        session
            .query(
                "SELECT count(*) FROM pg_class WHERE oid = 'both_ways'::regclass AND \
        relpersistence = 't'"
            )
            .row(),
        "1"
    );
    rows(session.query("COPY both_ways TO STDOUT"));
    rows(session.query("PREPARE pt AS SELECT n FROM both_ways"));
    assert_eq!(session.query("EXECUTE pt").row(), "6");
    rows(session.query("CREATE TEMP TABLE from_query ON COMMIT PRESERVE ROWS AS SELECT 1 AS n"));
    assert_eq!(session.query("SELECT n FROM from_query").row(), "1");
    rows(session.query("SELECT 2 AS n INTO TEMP into_query"));
    assert_eq!(session.query("SELECT n FROM into_query").row(), "2");
    // Dropping another table does not make these forgotten.
    rows(session.query("CREATE TABLE passing (n int)"));
    rows(session.query("DROP TABLE passing"));
    assert_eq!(session.query("SELECT n FROM into_query").row(), "2");
    // Another session's is nobody else's: theirs is the lasting one.
    let mut other = stage.client();
    rows(other.query("INSERT INTO both_ways VALUES (60)"));
    assert_eq!(other.query("SELECT n FROM both_ways").row(), "60");
}

#[test]
fn a_temporary_table_that_a_function_makes_is_found() {
    let (stage, mut session) = stage_with(&[
        TABLE,
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE TEMP TABLE made AS SELECT 3 AS n'",
    ]);
    rows(session.query("SELECT f()"));
    let answer = session.query("SELECT n FROM made");
    // It is in the session's own connection, or the session has lost it: never is another's read.
    assert_eq!(answer.row(), "3");
    drop(stage);
}

#[test]
fn transaction_numbers_are_given_at_the_primary() {
    let (stage, mut session) = stage_with(&[TABLE]);
    for text in [
        "SELECT txid_current()",
        "SELECT pg_current_xact_id()",
        "SELECT pg_catalog.txid_current()",
    ] {
        stage.wait_until_split_for(&mut session);
        assert_eq!(stage.runs_at(&mut session, text), "primary");
    }
}

#[test]
fn a_writing_function_inside_of_another_expression_is_found() {
    let (stage, _) = stage_with(&["CREATE SEQUENCE s"]);
    for text in [
        "SELECT json_build_object('a', nextval('s'))",
        "SELECT xmlforest(nextval('s') AS x)",
        "SELECT ARRAY[nextval('s')]",
        "SELECT (SELECT max(n) FROM (SELECT nextval('s') AS n) x)",
        "SELECT CASE WHEN nextval('s') > 0 THEN 1 END",
        "SELECT 1 FROM generate_series(1, 1) ORDER BY nextval('s')",
        "SELECT 1 LIMIT (SELECT 1 WHERE nextval('s') > 0)",
        "VALUES (nextval('s'))",
        "SELECT * FROM ROWS FROM (nextval('s')) x",
        "SELECT \"nextval\" ('s')",
        "SELECT pg_catalog . \"nextval\" /* a */ ('s')",
        "SELECT U&\"next\\0076al\"('s')",
        "COPY (SELECT nextval('s')) TO STDOUT",
        "EXPLAIN ANALYZE SELECT nextval('s')",
    ] {
        // A name that nobody can read may set anything: its session keeps its connection.
        let mut session = stage.client();
        stage.wait_until_split_for(&mut session);
        assert_eq!(stage.runs_at(&mut session, text), "primary", "{text}");
    }
}

#[test]
fn names_that_differ_in_case_are_two() {
    let (stage, mut session) = stage_with(&[
        "CREATE UNLOGGED TABLE \"Cx\" AS SELECT 1 AS n",
        "CREATE TABLE cx AS SELECT 2 AS n",
    ]);
    for (text, place) in [
        ("SELECT n FROM cx", "standby1"),
        ("SELECT n FROM CX", "standby1"),
        ("SELECT n FROM \"Cx\"", "primary"),
        ("SELECT n FROM \"cx\"", "standby1"),
    ] {
        stage.wait_until_split_for(&mut session);
        assert_eq!(stage.runs_at(&mut session, text), place, "{text}");
    }
}

#[test]
fn settings_of_a_session_hold_wherever_it_reads() {
    let stage = Splitting::new(&[1, 1, 1], |config| config);
    let mut session = stage.client();
    rows(session.query("SET search_path = public, pg_catalog; SET TimeZone = 'Asia/Tokyo'"));
    rows(session.query("SELECT set_config('DateStyle', 'German', false)"));
    rows(session.query("SET app.invented = 'mine'"));
    let look = "SELECT current_setting('TimeZone') || to_char(DATE '2026-11-21', ' TMDay ') || DATE '2026-11-21'";
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..40 {
        stage.wait_until_split_for(&mut session);
        let (answer, place) = stage.watch(&mut session, look);
        assert!(answer.row().ends_with("21.11.2026"));
        assert_eq!(session.query("SHOW TimeZone").row(), "Asia/Tokyo");
        assert_eq!(
            session
                .query("SELECT current_setting('app.invented')")
                .row(),
            "mine"
        );
        places.insert(place);
        if places.len() == 3 {
            break;
        }
    }
    assert_eq!(places.len(), 3, "{places:?}");
    // What a transaction sets and takes back was never anywhere.
    rows(session.query("BEGIN"));
    rows(session.query("SET TimeZone = 'Europe/Paris'"));
    rows(session.query("SELECT set_config('DateStyle', 'ISO', false)"));
    rows(session.query("ROLLBACK"));
    for _ in 0..6 {
        assert_eq!(session.query("SHOW TimeZone").row(), "Asia/Tokyo");
        assert_eq!(
            session.query("SELECT DATE '2026-11-21'").row(),
            "21.11.2026"
        );
    }
}

#[test]
fn serializable_transactions_and_sessions_read_at_the_primary() {
    let (stage, mut session) = stage_with(&[TABLE]);
    for begin in [
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        "START TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ",
    ] {
        rows(session.query(begin));
        assert_eq!(
            stage.runs_at(&mut session, "SELECT * FROM t"),
            "primary",
            "{begin}"
        );
        assert_eq!(
            session
                .query("SHOW transaction_isolation")
                .row()
                .to_uppercase()
                .split(' ')
                .next(),
            begin
                .contains("REPEATABLE")
                .then_some("REPEATABLE")
                .or(Some("SERIALIZABLE"))
        );
        rows(session.query("COMMIT"));
    }
    // Nothing of ours comes before it, so it is the first in its transaction.
    rows(session.query("BEGIN"));
    rows(session.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    rows(session.query("COMMIT"));
    rows(session.query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"));
    for _ in 0..3 {
        assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    }
    rows(session.query("SET default_transaction_isolation = 'read committed'"));
    stage.wait_until_split_for(&mut session);
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
}

#[test]
fn cursors_and_channels_work_where_reads_are_split() {
    let (stage, mut session) = stage_with(&[TABLE]);
    rows(session.query("BEGIN"));
    rows(session.query("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id"));
    assert_eq!(session.query("FETCH c").row(), "1");
    // A cursor of SQL is a portal of the protocol.
    let fetch = all([describe_portal("c"), execute_rows("c", 1), sync()]);
    assert_eq!(session.ask(&fetch).row(), "2");
    rows(session.query("CLOSE c"));
    rows(session.query("COMMIT"));
    rows(session.query("DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id"));
    assert_eq!(session.query("FETCH h").row(), "1");
    rows(session.query("SELECT count(*) FROM t"));
    assert_eq!(session.query("FETCH h").row(), "2");
    rows(session.query("CLOSE h"));
    rows(session.query("LISTEN news"));
    rows(session.query("SELECT count(*) FROM t"));
    stage.sql("NOTIFY news, 'today'");
    loop {
        let (tag, body) = session.message().unwrap();
        if tag.0 == b'A' {
            assert!(String::from_utf8_lossy(&body).contains("today"));
            break;
        }
    }
    rows(session.query("UNLISTEN *"));
    stage.wait_until_split_for(&mut session);
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
}

#[test]
fn two_phase_commits_and_locks_are_the_primarys() {
    let stage = Splitting::with(
        &crate::splitting::Servers {
            weights: &[0, 1],
            logged: true,
            settings: &["max_prepared_transactions = 5"],
        },
        |config| config,
    );
    let mut session = stage.client();
    rows(session.query(TABLE));
    stage.wait_until_split_for(&mut session);
    rows(session.query("BEGIN"));
    rows(session.query("LOCK TABLE t IN ACCESS SHARE MODE"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    rows(session.query(WRITE));
    rows(session.query("PREPARE TRANSACTION 'two'"));
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "2");
    rows(session.query("COMMIT PREPARED 'two'"));
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "3");
}

#[test]
fn what_is_unknown_is_an_error_of_the_server_and_no_end() {
    let (_stage, mut session) = stage_with(&[TABLE]);
    let gone = [
        (all([bind("", "nobody", &[]), execute(""), sync()]), "26000"),
        (all([describe_statement("nobody"), sync()]), "26000"),
        (all([describe_portal("nobody"), sync()]), "34000"),
        (all([execute("nobody"), sync()]), "34000"),
    ];
    for (request, sqlstate) in gone {
        assert_eq!(error(session.ask(&request)), sqlstate);
        assert_eq!(session.query("SELECT count(*) FROM t").row(), "2");
    }
    // JDBC's autosave: a simple query before the Sync of what came before.
    session
        .send(
            &[
                parse("", "SELECT 5"),
                bind("", "", &[]),
                execute(""),
                query("SELECT 6"),
                sync(),
            ]
            .concat(),
        )
        .unwrap();
    assert_eq!(rows(session.answer()), ["5", "6"]);
    rows(session.answer());
}

#[test]
fn information_schema_and_catalogs_are_read_where_reads_go() {
    let (stage, mut session) = stage_with(&[TABLE]);
    for text in [
        "SELECT count(*) FROM information_schema.tables",
        "SELECT count(*) FROM pg_catalog.pg_class",
        "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass",
    ] {
        stage.wait_until_split_for(&mut session);
        let place = stage.runs_at(&mut session, text);
        assert!(
            ["standby1", "primary"].contains(&place.as_str()),
            "{text}: {place}"
        );
    }
}

/// Writes outside a transaction, and what each changes for a read of another name.
fn writes_of_every_kind() -> [(Vec<u8>, &'static str, &'static str); 11] {
    let named = all([
        parse("named", "INSERT INTO t VALUES (23, 7)"),
        bind("", "named", &[]),
        execute(""),
        sync(),
    ]);
    let copy = all([
        query("COPY t FROM STDIN"),
        copy_data(b"24\t7\n"),
        copy_done(),
    ]);
    let code = query("DO 'BEGIN INSERT INTO t VALUES (22, 7); END'");
    let two = query("INSERT INTO child VALUES (1); INSERT INTO child VALUES (2)");
    [
        (query(WRITE), "SELECT count(*) FROM v", "3"),
        (query("SELECT f()"), "SELECT count(*) FROM t", "4"),
        (query("CALL p()"), "SELECT count(*) FROM v", "5"),
        (code, "SELECT count(*) FROM t", "6"),
        (two, "SELECT count(*) FROM log", "2"),
        (
            query("DELETE FROM t WHERE id = 1"),
            "SELECT count(*) FROM child",
            "1",
        ),
        (
            query("INSERT INTO part VALUES (1)"),
            "SELECT count(*) FROM parted",
            "1",
        ),
        (
            query("INSERT INTO parted VALUES (2)"),
            "SELECT count(*) FROM part",
            "2",
        ),
        (named, "SELECT count(*) FROM t", "6"),
        (copy, "SELECT count(*) FROM t", "7"),
        (query("TRUNCATE t, child"), "SELECT count(*) FROM v", "0"),
    ]
}

/// Pgpool-II, 2.8: writes outside a transaction of which its tracking knew nothing, or that reach other tables than
/// they name; the standby has none of them.
#[test]
fn reads_after_a_write_of_any_kind_outside_a_transaction_see_it() {
    let (stage, mut session) = stage_with(&[
        TABLE,
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE TABLE child (id int REFERENCES t ON DELETE CASCADE)",
        "CREATE TABLE parted (n int) PARTITION BY LIST (n)",
        "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1, 2, 3)",
        "CREATE TABLE log (n int)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO log VALUES (1); RETURN NULL; END'",
        "CREATE TRIGGER noting AFTER INSERT ON child EXECUTE FUNCTION note()",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'INSERT INTO t VALUES (20, 7)'",
        "CREATE PROCEDURE p() LANGUAGE sql AS 'INSERT INTO t VALUES (21, 7)'",
    ]);
    stage.replay(0, false);
    for (write, read, expected) in writes_of_every_kind() {
        rows(session.ask(&write));
        let text = String::from_utf8_lossy(&write);
        assert_eq!(session.query(read).row(), expected, "{read} after {text}");
    }
    // The standby would have said something else.
    let standby = &stage.stage.server.standbys[0];
    assert_eq!(standby.sql("app", "SELECT count(*) FROM t").unwrap(), "2");
    stage.replay(0, true);
}

/// Pgpool-II, 2.10: a SELECT that was parsed before a write stayed at its standby until it was parsed anew, and after
/// that transaction it stayed at the primary for ever.
#[test]
fn a_statement_parsed_before_a_write_sees_it_and_is_free_again() {
    let (stage, mut session) = stage_with(&[TABLE]);
    let mark = stage.mark();
    let count = format!("SELECT count(*) FROM t WHERE n = 7 {mark}");
    rows(session.ask(&all([
        parse("counts", &count),
        describe_statement("counts"),
        sync(),
    ])));
    let run = all([bind("", "counts", &[]), execute(""), sync()]);
    assert_eq!(session.ask(&run).row(), "0");
    assert_eq!(stage.witnesses(&mark), "standby1");
    rows(session.query("BEGIN"));
    rows(session.query(WRITE));
    assert_eq!(session.ask(&run).row(), "1");
    rows(session.query("ROLLBACK"));
    stage.wait_until_split_for(&mut session);
    let select_count = || {
        stage.stage.columns(&["select_cnt"])[1]
            .parse::<u64>()
            .unwrap()
    };
    let before = select_count();
    assert_eq!(session.ask(&run).row(), "0");
    assert_eq!(select_count(), before + 1);
}

/// Pgpool-II, 2.7: what a name means was remembered without the search path.
#[test]
fn names_mean_what_the_search_path_says() {
    let (stage, mut session) = stage_with(&[
        "CREATE SCHEMA a; CREATE SCHEMA b",
        "CREATE UNLOGGED TABLE a.named AS SELECT 1 AS n",
        "CREATE TABLE b.named AS SELECT 2 AS n",
    ]);
    for (path, expected) in [("b", "2"), ("a", "1"), ("b, a", "2"), ("a, b", "1")] {
        rows(session.query(&format!("SET search_path = {path}")));
        stage.wait_until_split_for(&mut session);
        assert_eq!(session.query("SELECT n FROM named").row(), expected);
        assert_eq!(session.query("SELECT n FROM a.named").row(), "1");
        assert_eq!(
            stage.runs_at(&mut session, "SELECT n FROM a.named"),
            "primary"
        );
        // What is known of the database may have grown old meanwhile.
        stage.wait_until_split_for(&mut session);
        assert_eq!(
            stage.runs_at(&mut session, "SELECT n FROM b.named"),
            "standby1"
        );
    }
}

/// Pgpool-II, 2.5: neither reached the node of the reads. 2.11: an error of the primary's COMMIT met the success of a
/// standby's.
#[test]
fn constraints_are_deferred_and_libraries_loaded_where_it_counts() {
    let (stage, mut session) =
        stage_with(&[TABLE, "CREATE TABLE child (id int REFERENCES t DEFERRABLE)"]);
    for deferred in [false, true] {
        rows(session.query("BEGIN"));
        rows(session.query("SELECT count(*) FROM t"));
        if deferred {
            rows(session.query("SET CONSTRAINTS ALL DEFERRED"));
            rows(session.query("INSERT INTO child VALUES (99)"));
            assert_eq!(session.query("SELECT count(*) FROM child").row(), "1");
            assert_eq!(error(session.query("COMMIT")), "23503");
        } else {
            assert_eq!(
                error(session.query("INSERT INTO child VALUES (99)")),
                "23503"
            );
            rows(session.query("ROLLBACK"));
        }
        stage.wait_until_split_for(&mut session);
        let (answer, place) = stage.watch(&mut session, "SELECT count(*) FROM child");
        assert_eq!((answer.row().as_str(), place.as_str()), ("0", "standby1"));
    }
    // Only a superuser may.
    let mut session = Session::login_as(stage.stage.proxy.address(), "postgres", "app").unwrap();
    stage.wait_until_split_for(&mut session);
    rows(session.query("LOAD 'auto_explain'"));
    assert_eq!(
        stage.runs_at(&mut session, "SELECT count(*) FROM t"),
        "primary"
    );
    assert_eq!(session.query("SHOW auto_explain.log_analyze").row(), "off");
}

/// Pgpool-II, 3: `in_hot_standby` was told as the primary's, and SHOW might answer the standby's.
#[test]
fn the_session_is_never_told_that_it_is_on_a_standby() {
    let (stage, _) = stage_with(&[TABLE]);
    let mut session = Session::connect(stage.stage.proxy.address()).unwrap();
    session
        .send(&startup(&[("user", "app"), ("database", "app")]))
        .unwrap();
    let mut told = Vec::new();
    let mut listen = |session: &mut Session| {
        loop {
            let (tag, body) = session.message().unwrap();
            if tag.0 == b'S' && body.starts_with(b"in_hot_standby") {
                told.push(String::from_utf8_lossy(&body).into_owned());
            }
            if tag.0 == b'Z' {
                return;
            }
        }
    };
    listen(&mut session);
    for text in [
        "SELECT 1",
        "BEGIN READ ONLY",
        "SELECT 2",
        "COMMIT",
        WRITE,
        "SELECT 3",
    ] {
        session.send(&query(text)).unwrap();
        listen(&mut session);
    }
    assert_eq!(told, ["in_hot_standby\0off\0"]);
    for text in [
        "SHOW in_hot_standby",
        "SELECT current_setting('in_hot_standby')",
    ] {
        assert_eq!(session.query(text).row(), "off");
    }
}

/// The rows of FETCH are its cursor's: one that was parsed long ago, elsewhere or for another cursor reads on.
#[test]
fn a_prepared_fetch_reads_any_cursor() {
    let (stage, mut session) = stage_with(&[TABLE]);
    rows(session.ask(&all([parse("next", "FETCH ALL FROM c"), sync()])));
    let run = all([
        bind("", "next", &[]),
        describe_portal(""),
        execute(""),
        sync(),
    ]);
    for (cursor, expected) in [
        ("SELECT 'x'::text, 2", "x|2"),
        ("SELECT n FROM t WHERE id = 1", "1"),
        ("SELECT 'x'::text, 2", "x|2"),
    ] {
        let mut others: Vec<_> = (0..3).map(|_| stage.client()).collect();
        for other in &mut others {
            rows(other.query("BEGIN; LOCK TABLE t IN SHARE MODE"));
            rows(other.query("ROLLBACK"));
        }
        rows(session.query("BEGIN"));
        rows(session.query(&format!("DECLARE c CURSOR FOR {cursor}")));
        assert_eq!(session.ask(&run).row(), expected);
        rows(session.query("COMMIT"));
    }
}

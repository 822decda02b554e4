//! What one session changes of the schema, and what another one makes of it at once: no statement may go to a standby
//! by what was true before. Two cores, so that one must hear of it from the other.

use crate::{
    session::Session,
    splitting::{Splitting, rows},
    support::message::*,
};

fn stage(objects: &[&str]) -> (Splitting, Session) {
    let stage = Splitting::new(&[0, 1], |config| config.workers(2));
    let mut session = stage.client();
    for text in objects {
        rows(session.query(text));
    }
    stage.wait_until_split_for(&mut session);
    (stage, session)
}

/// Several clients, over both cores.
fn others(stage: &Splitting) -> Vec<Session> {
    let mut others: Vec<_> = (0..4).map(|_| stage.client()).collect();
    others
        .iter_mut()
        .for_each(|other| stage.wait_until_split_for(other));
    others
}

/// Before the change this reads on the standby; after it, at once and for everybody, at the primary.
fn moves_to_the_primary(objects: &[&str], read: &str, change: impl Fn(&mut Session)) {
    let (stage, mut session) = stage(objects);
    let mut others = others(&stage);
    // A prepared statement was judged long ago.
    for other in &mut others {
        rows(other.ask(&all([parse("p", read), sync()])));
        rows(other.ask(&all([bind("", "p", &[]), execute(""), sync()])));
        assert_eq!(stage.runs_at(other, read), "standby1", "{read}");
    }
    change(&mut session);
    for other in &mut others {
        assert_eq!(stage.runs_at(other, read), "primary", "{read}");
        rows(other.ask(&all([bind("", "p", &[]), execute(""), sync()])));
    }
    // And when all is known again.
    stage.wait_until_split();
    for other in &mut others {
        assert_eq!(stage.runs_at(other, read), "primary", "{read}");
    }
}

fn query_of(text: &'static str) -> impl Fn(&mut Session) {
    move |session| drop(rows(session.query(text)))
}

const TABLE: &str = "CREATE TABLE t AS SELECT 1 AS n";
const STABLE: &str =
    "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t'";
const WRITES: &str = "CREATE OR REPLACE FUNCTION f() RETURNS bigint LANGUAGE sql VOLATILE AS \
    'INSERT INTO t VALUES (2) RETURNING n::bigint'";

#[test]
fn a_function_becomes_volatile() {
    moves_to_the_primary(
        &[TABLE, STABLE],
        "SELECT f()",
        query_of("ALTER FUNCTION f() VOLATILE"),
    );
}

#[test]
fn a_function_is_replaced_by_one_that_writes_in_each_way_of_asking() {
    moves_to_the_primary(&[TABLE, STABLE], "SELECT f()", query_of(WRITES));
    moves_to_the_primary(&[TABLE, STABLE], "SELECT f()", |session| {
        rows(session.ask(&all([
            parse("", WRITES),
            bind("", "", &[]),
            execute(""),
            sync(),
        ])));
    });
    moves_to_the_primary(&[TABLE, STABLE], "SELECT f()", |session| {
        for text in ["BEGIN", WRITES, "COMMIT"] {
            rows(session.query(text));
        }
    });
    moves_to_the_primary(&[TABLE, STABLE], "SELECT f()", |session| {
        rows(session.query(&format!("SELECT 1; {WRITES}; SELECT 2")));
    });
}

#[test]
fn a_function_is_replaced_by_code_that_runs_at_the_server() {
    moves_to_the_primary(
        &[TABLE, STABLE],
        "SELECT f()",
        query_of("DO 'BEGIN ALTER FUNCTION f() VOLATILE; END'"),
    );
    let procedure = "CREATE PROCEDURE p() LANGUAGE sql AS 'ALTER FUNCTION f() VOLATILE'";
    moves_to_the_primary(
        &[TABLE, STABLE, procedure],
        "SELECT f()",
        query_of("CALL p()"),
    );
}

#[test]
fn a_function_or_overload_that_did_not_exist() {
    let overload = "CREATE FUNCTION f(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'";
    moves_to_the_primary(&[TABLE, STABLE], "SELECT f()", query_of(overload));
    let (stage, mut session) = stage(&[TABLE]);
    let mut other = stage.client();
    // Pgpool-II remembers for ever that there is none, and that it therefore does not write.
    drop(other.query("SELECT later()"));
    rows(session.query("CREATE FUNCTION later() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (5) RETURNING n'"));
    assert_eq!(stage.runs_at(&mut other, "SELECT later()"), "primary");
    stage.wait_until_split();
    assert_eq!(stage.runs_at(&mut other, "SELECT later()"), "primary");
}

#[test]
fn a_table_becomes_unlogged_or_is_replaced_by_one_or_a_view_is_over_one() {
    moves_to_the_primary(
        &[TABLE],
        "SELECT n FROM t",
        query_of("ALTER TABLE t SET UNLOGGED"),
    );
    moves_to_the_primary(&[TABLE], "SELECT n FROM t", |session| {
        for text in [
            "BEGIN",
            "DROP TABLE t",
            "CREATE UNLOGGED TABLE t AS SELECT 2 AS n",
            "COMMIT",
        ] {
            rows(session.query(text));
        }
    });
    let view = "CREATE VIEW v AS SELECT n FROM t";
    let nested = "CREATE VIEW w AS SELECT n FROM v";
    moves_to_the_primary(&[TABLE, view, nested], "SELECT n FROM w", |session| {
        rows(session.query("CREATE UNLOGGED TABLE u AS SELECT 3 AS n"));
        rows(session.query("CREATE OR REPLACE VIEW v AS SELECT n FROM u"));
    });
    moves_to_the_primary(
        &[TABLE, view],
        "SELECT n FROM v",
        query_of("ALTER TABLE t SET UNLOGGED"),
    );
    // A schema that comes before hides what was read.
    moves_to_the_primary(
        &[
            "CREATE SCHEMA app",
            "CREATE TABLE public.t AS SELECT 1 AS n",
        ],
        "SELECT n FROM t",
        query_of("CREATE UNLOGGED TABLE app.t AS SELECT 2 AS n"),
    );
}

#[test]
fn a_view_gets_a_function_that_writes_and_a_policy_too() {
    let volatile = "CREATE FUNCTION g() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'";
    let view = "CREATE VIEW v AS SELECT n FROM t";
    moves_to_the_primary(
        &[TABLE, volatile, view],
        "SELECT n FROM v",
        query_of("CREATE OR REPLACE VIEW v AS SELECT n * g() AS n FROM t"),
    );
    moves_to_the_primary(&[TABLE, volatile], "SELECT n FROM t", |session| {
        rows(session.query("ALTER TABLE t ENABLE ROW LEVEL SECURITY"));
        rows(session.query("CREATE POLICY q ON t USING (g() = 1)"));
    });
}

#[test]
fn what_is_created_and_read_at_once_is_there() {
    let (stage, mut session) = stage(&[]);
    let mut other = stage.client();
    for n in 0..20 {
        rows(session.query(&format!("CREATE TABLE fresh{n} AS SELECT {n} AS n")));
        assert_eq!(
            session.query(&format!("SELECT n FROM fresh{n}")).row(),
            n.to_string()
        );
        // Another session has nothing to miss, but what it reads is known to be there.
        assert_eq!(
            other.query(&format!("SELECT n FROM fresh{n}")).row(),
            n.to_string()
        );
        rows(session.query(&format!(
            "ALTER TABLE fresh{n} ADD COLUMN more int DEFAULT 5"
        )));
        assert_eq!(
            other.query(&format!("SELECT more FROM fresh{n}")).row(),
            "5"
        );
    }
}

/// Pgpool-II only ever adds to its lists when they are reloaded.
#[test]
fn lists_of_functions_and_patterns_are_taken_back() {
    let (stage, mut session) = stage(&[TABLE, STABLE]);
    let base = || Splitting::config(&stage.stage.server, &[0, 1]).workers(2);
    let wait_for = |session: &mut Session, text: &str, class: &str| {
        crate::support::eventually("the lists were the new ones", || {
            stage.routes(session, text)[0].starts_with(class)
        });
    };
    let lists = base()
        .set("routing", "write_functions = [\"f\"]")
        .set("routing", "read_functions = [\"/pg_noti.*/\"]")
        .set("routing", "primary_patterns = [\"from T WHERE\"]");
    stage.stage.proxy.reload(&lists);
    wait_for(&mut session, "SELECT f()", "write");
    assert_eq!(stage.runs_at(&mut session, "SELECT f()"), "primary");
    stage.wait_until_split_for(&mut session);
    assert_eq!(
        stage.runs_at(&mut session, "SELECT pg_notification_queue_usage()"),
        "standby1"
    );
    assert_eq!(
        stage.runs_at(&mut session, "SELECT n FROM t WHERE true"),
        "primary"
    );
    stage.stage.proxy.reload(&base());
    wait_for(&mut session, "SELECT f()", "read");
    stage.wait_until_split_for(&mut session);
    assert_eq!(stage.runs_at(&mut session, "SELECT f()"), "standby1");
    assert_eq!(
        stage.runs_at(&mut session, "SELECT n FROM t WHERE true"),
        "standby1"
    );
    assert_eq!(
        stage.runs_at(&mut session, "SELECT pg_notification_queue_usage()"),
        "primary"
    );
}

#[test]
fn comments_tell_where_a_statement_goes() {
    let (stage, mut session) = stage(&[TABLE]);
    for (text, place) in [
        ("/*NO LOAD BALANCE*/ SELECT n FROM t", "primary"),
        ("/* pgring: node=primary */ SELECT n FROM t", "primary"),
        ("SELECT /* pgring: node=primary */ n FROM t", "primary"),
        ("SELECT n FROM t /*NO LOAD BALANCE*/", "primary"),
        ("SELECT '/*NO LOAD BALANCE*/', n FROM t", "standby1"),
        ("/* nothing */ SELECT n FROM t", "standby1"),
    ] {
        stage.wait_until_split_for(&mut session);
        let place_seen = stage.runs_at(&mut session, text);
        assert_eq!(place_seen, place, "{text}");
    }
}

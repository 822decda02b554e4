//! Reads whose server goes away before its answer: another node answers, and the client gets that answer, whole and
//! once. Reads of which the client has got something are not repeated.

use pgring::cli::postgres::{Signal, Stop, signal};

use crate::{
    session::{Answer, Session},
    splitting::{Servers, Splitting, rows},
    support::{eventually, message::*, proxy::Config},
};

/// It takes for ever on a standby, and no time on the primary.
const NAP: &str = "CREATE FUNCTION nap(t text) RETURNS text LANGUAGE plpgsql STABLE AS \
    'BEGIN IF current_setting(''in_hot_standby'') = ''on'' THEN PERFORM pg_sleep(600); END IF; RETURN t; END'";

fn stage() -> (Splitting, Session) {
    stage_with(|config| config)
}

fn stage_with(change: impl FnOnce(Config) -> Config) -> (Splitting, Session) {
    let servers = Servers {
        weights: &[0, 1],
        logged: false,
        settings: &["max_standby_streaming_delay = 0"],
    };
    let stage = Splitting::with(&servers, change);
    let mut session = stage.client();
    rows(session.query(NAP));
    rows(session.query("CREATE TABLE t AS SELECT 'well'::text AS n"));
    stage.wait_until_split_for(&mut session);
    (stage, session)
}

/// Waits until the standby runs it.
fn wait_until_napping(stage: &Splitting) {
    let look = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let standby = &stage.stage.server.standbys[0];
    eventually("the standby ran it", || {
        standby.sql("app", look).unwrap() == "1"
    });
}

fn terminate_backends(stage: &Splitting) {
    let kill =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    stage.stage.server.standbys[0].sql("app", kill).unwrap();
}

/// The letters of an answer's messages, and its rows' only value.
fn letters(session: &mut Session) -> (String, String) {
    let (mut tags, mut value) = (String::new(), String::new());
    while !tags.ends_with('Z') {
        let (tag, body) = session.message().unwrap();
        tags.push(char::from(tag.0));
        if tag.0 == b'D' {
            value += &String::from_utf8_lossy(&body[6..]);
        }
    }
    (tags, value)
}

/// Requests of one read in every form, and the letters of the answer to each.
fn requests() -> Vec<(Vec<u8>, &'static str)> {
    let unnamed = parse("", "SELECT nap('again')");
    let bound = bind("", "", &[]);
    vec![
        (query("SELECT nap('again')"), "TDCZ"),
        (
            [unnamed.clone(), bound.clone(), execute(""), sync()].concat(),
            "12DCZ",
        ),
        // It has a name at the server by now, and pgring answers the Parse.
        (
            [
                unnamed.clone(),
                bound.clone(),
                describe_portal(""),
                execute(""),
                sync(),
            ]
            .concat(),
            "12TDCZ",
        ),
        (
            [unnamed, describe_statement(""), bound, execute(""), sync()].concat(),
            "1tT2DCZ",
        ),
        (
            [
                parse("named", "SELECT nap('again')"),
                bind("p", "named", &[]),
                execute("p"),
                close_portal("p"),
                sync(),
            ]
            .concat(),
            "12DC3Z",
        ),
        (
            [bind("", "named", &[]), execute(""), sync()].concat(),
            "2DCZ",
        ),
        (query("SELECT nap('aga'); SELECT nap('in')"), "TDCTDCZ"),
    ]
}

#[test]
fn a_read_whose_backend_is_terminated_is_answered_once_by_another_node() {
    let (stage, mut session) = stage();
    for (request, expected) in requests() {
        stage.wait_until_split_for(&mut session);
        session.send(&request).unwrap();
        wait_until_napping(&stage);
        terminate_backends(&stage);
        assert_eq!(
            letters(&mut session),
            (expected.to_owned(), "again".to_owned())
        );
    }
}

#[test]
fn a_read_whose_standby_is_killed_is_answered_once_by_another_node() {
    for how in [None, Some(Stop::Fast), Some(Stop::Immediate)] {
        let (mut stage, mut session) = stage();
        let mut sessions = Vec::new();
        for (request, expected) in requests() {
            if expected != "2DCZ" {
                let mut session = stage.client();
                session.send(&request).unwrap();
                sessions.push((session, expected));
            }
        }
        let look = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let standby = &mut stage.stage.server.standbys[0];
        eventually("the standby ran them", || {
            standby.sql("app", look).unwrap() == sessions.len().to_string()
        });
        match how {
            None => standby.kill().unwrap(),
            Some(how) => standby.stop(how).unwrap(),
        }
        for (session, expected) in &mut sessions {
            assert_eq!(
                letters(session),
                ((*expected).to_owned(), "again".to_owned())
            );
        }
        assert_eq!(session.query("SELECT nap('x')").row(), "x");
    }
}

/// The kernel kills it, for want of memory: nobody says a word, and the server throws out everybody.
#[test]
fn a_read_whose_backend_crashes_is_answered_once_by_another_node() {
    for (request, expected) in requests().into_iter().take(3) {
        let (stage, mut session) = stage();
        // Its text is known by then, and has a name at the server.
        rows(session.ask(&[parse("", "SELECT nap('again')"), sync()].concat()));
        session.send(&request).unwrap();
        wait_until_napping(&stage);
        let pid = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let pid = stage.stage.server.standbys[0].sql("app", pid).unwrap();
        signal(pid.parse().unwrap(), Signal::Kill);
        assert_eq!(
            letters(&mut session),
            (expected.to_owned(), "again".to_owned())
        );
    }
}

/// What kills its server may do so because of what it is: it must not go through all nodes.
#[test]
fn a_read_whose_backend_crashes_twice_is_not_sent_a_third_time() {
    const HANG: &str = "CREATE FUNCTION hang() RETURNS text LANGUAGE plpgsql STABLE AS \
        $$ BEGIN PERFORM pg_sleep(600); RETURN ''; END $$";
    let (stage, mut session) = stage();
    rows(session.query(HANG));
    stage.wait_until_split_for(&mut session);
    session.send(&query("SELECT hang()")).unwrap();
    let server = &stage.stage.server;
    for node in [&server.standbys[0], &server.primary] {
        let look =
            "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let mut pid = 0;
        eventually("the node ran it", || {
            pid = node.sql("app", look).unwrap().parse().unwrap();
            pid != 0
        });
        signal(pid, Signal::Kill);
    }
    assert_eq!(letters(&mut session).0, "EZ");
}

#[test]
fn a_read_that_conflicts_with_what_is_replayed_is_answered_by_the_primary() {
    let (stage, mut session) = stage();
    for request in [
        query("SELECT nap(n) FROM t"),
        [
            parse("", "SELECT nap(n) FROM t"),
            bind("", "", &[]),
            execute(""),
            sync(),
        ]
        .concat(),
    ] {
        stage.wait_until_split_for(&mut session);
        session.send(&request).unwrap();
        wait_until_napping(&stage);
        stage
            .sql("ALTER TABLE t ADD COLUMN IF NOT EXISTS more int; ALTER TABLE t DROP COLUMN more");
        assert_eq!(session.answer().row(), "well");
    }
}

/// A block that has shown its client nothing begins anew, at whatever level, and goes on where its first read was answered.
#[test]
fn the_first_read_of_a_block_is_answered_by_another_node_too() {
    let levels = ["READ COMMITTED", "REPEATABLE READ"];
    let reads = [
        query("SELECT nap(n) FROM t"),
        [
            parse("", "SELECT nap(n) FROM t"),
            bind("", "", &[]),
            execute(""),
            sync(),
        ]
        .concat(),
    ];
    let mut cases = levels.into_iter().flat_map(|level| {
        reads
            .iter()
            .flat_map(move |read| [(level, read, true), (level, read, false)])
    });
    let all = "read_only_transactions = \"all\"";
    let (stage, mut session) = stage_with(|config| config.set("routing", all));
    let all_pass = |(level, read, conflicts): (&str, &Vec<u8>, bool)| {
        stage.wait_until_split_for(&mut session);
        rows(session.query(&format!("BEGIN READ ONLY ISOLATION LEVEL {level}")));
        session.send(read).unwrap();
        wait_until_napping(&stage);
        if conflicts {
            // One lock alone: the block holds its own at the primary from then on.
            stage.sql("ALTER TABLE t ALTER n SET DEFAULT 'new'");
        } else {
            terminate_backends(&stage);
        }
        assert_eq!(
            session.answer().row(),
            "well",
            "{level}, conflict: {conflicts}"
        );
        let shown = session.query("SHOW transaction_isolation").row();
        assert_eq!(shown, level.to_lowercase());
        assert_eq!(session.query("SHOW transaction_read_only").row(), "on");
        assert_eq!(session.query("SELECT pg_is_in_recovery()").row(), "f");
        rows(session.query("COMMIT"));
        true
    };
    assert!(cases.all(all_pass));
}

/// So does one whose BEGIN came in one pipeline with its first read: what it was answered at once is not said twice.
#[test]
fn a_block_that_begins_in_its_first_pipeline_is_answered_by_another_node_too() {
    let all = "read_only_transactions = \"all\"";
    let (stage, mut session) = stage_with(|config| config.set("routing", all));
    for (name, conflicts) in [("", true), ("", false), ("begins", true), ("reads", false)] {
        stage.wait_until_split_for(&mut session);
        let begin = if name == "begins" { name } else { "" };
        let read = if name == "reads" { name } else { "" };
        let pipeline = [
            parse(begin, "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ"),
            bind("", begin, &[]),
            execute(""),
            parse(read, "SELECT nap(n) FROM t"),
            bind("", read, &[]),
            execute(""),
            sync(),
        ];
        session.send(&pipeline.concat()).unwrap();
        wait_until_napping(&stage);
        if conflicts {
            stage.sql("ALTER TABLE t ALTER n SET DEFAULT 'new'");
        } else {
            terminate_backends(&stage);
        }
        let heard = letters(&mut session);
        assert_eq!(heard, ("12C12DCZ".to_owned(), "well".to_owned()), "{name}");
        let shown = session.query("SHOW transaction_isolation").row();
        assert_eq!(shown, "repeatable read");
        assert_eq!(session.query("SHOW transaction_read_only").row(), "on");
        assert_eq!(session.query("SELECT pg_is_in_recovery()").row(), "f");
        rows(session.query("COMMIT"));
        rows(session.query("DEALLOCATE ALL"));
    }
}

/// A server sends what it had ready in front of its error, in one piece: nothing of that is shown twice.
#[test]
fn an_error_behind_rows_leaves_each_of_them_once() {
    // What only the primary can do comes late.
    const LATE: &str = "CREATE FUNCTION late(n int) RETURNS int LANGUAGE plpgsql STABLE AS \
        'BEGIN IF n > 2 AND current_setting(''in_hot_standby'') = ''on'' THEN \
            RAISE read_only_sql_transaction; END IF; RETURN n; END'";
    let run = |text: &str| [parse("", text), bind("", "", &[]), execute("")].concat();
    let rows_of = "SELECT late(n) FROM generate_series(1, 5) n";
    let (stage, mut session) = stage();
    rows(session.query(LATE));
    let requests = [
        (query(rows_of), "TDDDDDCZ"),
        (query(&format!("SELECT 7; {rows_of}")), "TDCTDDDDDCZ"),
        (query(&format!("COPY ({rows_of}) TO STDOUT")), "HdddddcCZ"),
        ([run(rows_of), sync()].concat(), "12DDDDDCZ"),
        (
            [run("SELECT 7"), run(rows_of), sync()].concat(),
            "12DC12DDDDDCZ",
        ),
        (
            [
                parse("n", rows_of),
                describe_statement("n"),
                bind("p", "n", &[]),
                all([
                    execute_rows("p", 2),
                    execute_rows("p", 2),
                    execute_rows("p", 2),
                ]),
                close_statement("n"),
                sync(),
            ]
            .concat(),
            "1tT2DDsDDsDC3Z",
        ),
    ];
    for begin in [None, Some("BEGIN READ ONLY")] {
        for (request, expected) in &requests {
            stage.wait_until_split_for(&mut session);
            begin.map(|begin| rows(session.query(begin)));
            session.send(request).unwrap();
            assert_eq!(letters(&mut session).0, *expected, "{begin:?}");
            assert_eq!(session.query("SHOW in_hot_standby").row(), "off");
            begin.map(|_| rows(session.query("COMMIT")));
        }
    }
}

#[test]
fn a_read_that_was_answered_in_part_is_not_repeated() {
    let (stage, mut session) = stage();
    // So much fills the server's buffers, and is sent before it naps.
    let text = "SELECT repeat('x', 50000) UNION ALL SELECT nap('y')";
    session.send(&query(text)).unwrap();
    assert_eq!(session.message().unwrap().0.0, b'T');
    wait_until_napping(&stage);
    terminate_backends(&stage);
    match session.answer() {
        Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "57P01"),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.query("SELECT 1").row(), "1");
    // In a transaction that has begun there, neither: what it has seen would be lost.
    stage.wait_until_split_for(&mut session);
    rows(session.query("BEGIN READ ONLY"));
    rows(session.query("SELECT n FROM t"));
    session.send(&query("SELECT nap('y')")).unwrap();
    wait_until_napping(&stage);
    terminate_backends(&stage);
    match session.answer() {
        Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "57P01"),
        other => panic!("{other:?}"),
    }
    rows(session.query("ROLLBACK"));
    assert_eq!(session.query("SELECT 1").row(), "1");
}

/// Pgpool-II takes the end of one backend for that of its server.
#[test]
fn a_terminated_backend_is_not_a_dead_node() {
    let (stage, mut session) = stage();
    session.send(&query("SELECT nap('x')")).unwrap();
    wait_until_napping(&stage);
    terminate_backends(&stage);
    assert_eq!(session.answer().row(), "x");
    // Somebody else's, who is told so; constant or not.
    let mut other = stage.client();
    rows(other.query("BEGIN; SELECT random()"));
    rows(session.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle \
        in transaction' AND usename = 'app'",
    ));
    assert!(matches!(other.query("SELECT 1"), Answer::Error(..)));
    rows(other.query("ROLLBACK"));
    stage.wait_until_split_for(&mut session);
    let states = stage.stage.columns(&["status"]);
    assert!(!states.contains(&"down".to_owned()), "{states:?}");
    let log = stage.stage.proxy.process().log();
    assert!(!log.iter().any(|line| line.contains("is down")), "{log:?}");
}

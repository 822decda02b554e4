//! Transactions that begin on a standby: those that were declared READ ONLY, and the leading reads of others; and how
//! they go on at the primary when a statement needs that.

use crate::{
    session::{Answer, Session},
    splitting::{Splitting, error, rows},
    support::{message::*, proxy::Config},
};

fn stage_with(adapt: impl FnOnce(Config) -> Config) -> (Splitting, Session) {
    let stage = Splitting::new(&[0, 1], adapt);
    let mut session = stage.client();
    for text in [
        "CREATE TABLE t (id int PRIMARY KEY, n int)",
        "INSERT INTO t SELECT n, n FROM generate_series(1, 9) n",
        "CREATE SEQUENCE s",
    ] {
        rows(session.query(text));
    }
    stage.wait_until_split_for(&mut session);
    (stage, session)
}

#[test]
fn read_only_transactions_run_on_standbys_and_go_on_at_the_primary_when_they_must() {
    let (stage, mut session) = stage_with(|config| config);
    for begin in [
        "BEGIN READ ONLY",
        "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
    ] {
        rows(session.query(begin));
        assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
        assert_eq!(
            stage.runs_at(&mut session, "SELECT count(*) FROM t"),
            "standby1"
        );
        rows(session.query("COMMIT"));
    }
    // A cursor needs the primary; the block goes on there as what it is.
    rows(session.query("BEGIN READ ONLY"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
    let place = stage.runs_at(
        &mut session,
        "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id",
    );
    assert_eq!(place, "primary");
    assert_eq!(session.query("FETCH c").row(), "1");
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    assert_eq!(session.query("SHOW transaction_read_only").row(), "on");
    assert_eq!(
        error(session.query("INSERT INTO t VALUES (100, 1)")),
        "25006"
    );
    assert_eq!(error(session.query("SELECT 1")), "25P02");
    rows(session.query("COMMIT"));
    // The primary tells it as it tells everybody: not as a standby would.
    rows(session.query("BEGIN READ ONLY"));
    rows(session.query("SELECT 1"));
    match session.query("SELECT nextval('s')") {
        Answer::Error(sqlstate, text) => {
            assert_eq!(sqlstate, "25006");
            assert!(!text.contains("recovery"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    rows(session.query("ROLLBACK"));
    // An error on the standby fails the block, and nobody notices where.
    rows(session.query("BEGIN READ ONLY"));
    assert_eq!(error(session.query("SELECT 1 / (n - n) FROM t")), "22012");
    assert_eq!(
        error(session.query("INSERT INTO t VALUES (100, 1)")),
        "25P02"
    );
    assert_eq!(error(session.query("SELECT 1")), "25P02");
    rows(session.query("ROLLBACK"));
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "9");
    // Everything in one text, or one piece.
    session
        .send(
            &[
                query("BEGIN READ ONLY"),
                query("SELECT 1"),
                query("SELECT pg_is_in_recovery()"),
                query("COMMIT"),
            ]
            .concat(),
        )
        .unwrap();
    rows(session.answer());
    assert_eq!(session.answer().row(), "1");
    assert_eq!(session.answer().row(), "f");
    rows(session.answer());
}

#[test]
fn savepoints_settings_and_writes_made_possible_leave_the_standby() {
    let (stage, _) = stage_with(|config| config);
    for text in [
        "SAVEPOINT a",
        "SET LOCAL work_mem = '5MB'",
        "SET TimeZone = 'Asia/Tokyo'",
        "LOCK TABLE t IN ACCESS SHARE MODE",
        "SELECT pg_advisory_xact_lock(1)",
        "PREPARE p AS SELECT 1",
        "LISTEN x",
    ] {
        let mut session = stage.client();
        stage.wait_until_split_for(&mut session);
        rows(session.query("BEGIN READ ONLY"));
        assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
        let (answer, place) = stage.watch(&mut session, text);
        assert_eq!(place, "primary", "{text}: {answer:?}");
        rows(session.query("ROLLBACK"));
    }
    let mut session = stage.client();
    stage.wait_until_split_for(&mut session);
    rows(session.query("BEGIN READ ONLY"));
    rows(session.query("SELECT * FROM t"));
    rows(session.query("SAVEPOINT a"));
    assert_eq!(error(session.query("SELECT 1 / 0")), "22012");
    rows(session.query("ROLLBACK TO a"));
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "9");
    rows(session.query("COMMIT"));
    rows(session.query("BEGIN READ ONLY"));
    rows(session.query("SET TRANSACTION READ WRITE"));
    rows(session.query("UPDATE t SET n = 5 WHERE id = 5"));
    rows(session.query("COMMIT"));
}

#[test]
fn read_only_transactions_stay_at_the_primary_when_told_so() {
    let (stage, mut session) =
        stage_with(|config| config.set("routing", "read_only_transactions = \"primary\""));
    rows(session.query("BEGIN READ ONLY"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    rows(session.query("COMMIT"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
}

#[test]
fn repeatable_reads_run_on_standbys_when_all_may_and_keep_their_snapshot() {
    let (stage, mut session) =
        stage_with(|config| config.set("routing", "read_only_transactions = \"all\""));
    let mut other = stage.client();
    rows(session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
    let (answer, place) = stage.watch(&mut session, "SELECT sum(n) FROM t");
    assert_eq!((answer.row().as_str(), place.as_str()), ("45", "standby1"));
    rows(other.query("UPDATE t SET n = 100"));
    stage.catch_up(0);
    assert_eq!(session.query("SELECT sum(n) FROM t").row(), "45");
    // Going on at the primary would be another snapshot: what a standby must not run is refused, in words of ours.
    for request in [
        query("SELECT pg_notification_queue_usage() IS NOT NULL"),
        [
            parse("", "SELECT pg_notification_queue_usage() IS NOT NULL"),
            bind("", "", &[]),
            execute(""),
            sync(),
        ]
        .concat(),
    ] {
        let mark = stage.mark();
        match session.ask(&request) {
            Answer::Error(sqlstate, text) => {
                assert_eq!(sqlstate, "25006");
                assert!(text.contains("standby"), "{text}");
            }
            other => panic!("it should be refused, not {other:?}"),
        }
        assert_eq!(
            error(session.query(&format!("SELECT sum(n) FROM t {mark}"))),
            "25P02"
        );
        rows(session.query("ROLLBACK"));
        stage.wait_until_split_for(&mut session);
        rows(session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
        assert_eq!(session.query("SELECT sum(n) FROM t").row(), "900");
    }
    rows(session.query("COMMIT"));
    stage.wait_until_split_for(&mut session);
    rows(session.query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"));
    assert_eq!(
        stage.runs_at(&mut session, "SELECT sum(n) FROM t"),
        "primary"
    );
    rows(session.query("COMMIT"));
}

#[test]
fn leading_reads_of_a_transaction_use_a_standby_until_its_first_other_statement() {
    let (stage, mut session) = stage_with(|config| config.set("routing", "leading_reads = true"));
    rows(session.query("BEGIN"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
    assert_eq!(
        stage.runs_at(&mut session, "SELECT count(*) FROM t"),
        "standby1"
    );
    assert_eq!(
        stage.runs_at(&mut session, "UPDATE t SET n = 7 WHERE id = 1"),
        "primary"
    );
    let (answer, place) = stage.watch(&mut session, "SELECT n FROM t WHERE id = 1");
    assert_eq!((answer.row().as_str(), place.as_str()), ("7", "primary"));
    rows(session.query("COMMIT"));
    assert_eq!(stage.sql("SELECT n FROM t WHERE id = 1"), "7");
    // What fails on the standby fails the block, and its COMMIT commits nothing.
    rows(session.query("BEGIN"));
    rows(session.query("SELECT * FROM t"));
    assert_eq!(error(session.query("SELECT 1 / 0")), "22012");
    assert_eq!(
        error(session.query("UPDATE t SET n = 8 WHERE id = 1")),
        "25P02"
    );
    rows(session.query("COMMIT"));
    assert_eq!(stage.sql("SELECT n FROM t WHERE id = 1"), "7");
    // A snapshot that must be one is never two.
    for begin in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN READ WRITE",
    ] {
        rows(session.query(begin));
        assert_eq!(
            stage.runs_at(&mut session, "SELECT * FROM t"),
            "primary",
            "{begin}"
        );
        rows(session.query("COMMIT"));
    }
    rows(session.query("SET default_transaction_isolation = 'repeatable read'"));
    rows(session.query("BEGIN"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    rows(session.query("COMMIT"));
}

#[test]
fn a_first_statement_that_fixes_the_isolation_comes_first_at_the_primary() {
    let (stage, mut session) = stage_with(|config| config.set("routing", "leading_reads = true"));
    rows(session.query("BEGIN"));
    rows(session.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"));
    assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "primary");
    rows(session.query("COMMIT"));
}

/// A session that keeps its connections splits its reads as others do, and sees its own writes and settings.
#[test]
fn session_mode_splits_as_well() {
    let (stage, _) = stage_with(|config| config.set("pool", "mode = \"session\""));
    let mut session = stage.client();
    stage.wait_until_split_for(&mut session);
    for n in 20..23 {
        assert_eq!(stage.runs_at(&mut session, "SELECT * FROM t"), "standby1");
        rows(session.query(&format!("INSERT INTO t VALUES ({n}, 1)")));
        let count = format!("SELECT count(*) FROM t WHERE id = {n}");
        assert_eq!(session.query(&count).row(), "1");
        rows(session.query("SET TimeZone = 'Asia/Tokyo'"));
        stage.wait_until_split_for(&mut session);
        let (answer, place) = stage.watch(&mut session, "SHOW TimeZone");
        assert_eq!(answer.row(), "Asia/Tokyo", "at {place}");
        rows(session.query("RESET TimeZone"));
        rows(session.query("BEGIN"));
        rows(session.query("UPDATE t SET n = 9 WHERE id = 1"));
        let (answer, place) = stage.watch(&mut session, "SELECT n FROM t WHERE id = 1");
        assert_eq!((answer.row().as_str(), place.as_str()), ("9", "primary"));
        rows(session.query("ROLLBACK"));
        stage.wait_until_split_for(&mut session);
    }
    rows(session.query("CREATE TEMP TABLE mine AS SELECT 4 AS n"));
    assert_eq!(session.query("SELECT n FROM mine").row(), "4");
}

/// A function that says it reads, and takes a lock for the session: the session stays where the lock is. What that
/// server cannot run it refuses itself; the client does not wait for ever.
#[test]
fn a_session_that_is_tied_to_a_standby_hears_what_that_cannot_do() {
    let (stage, mut session) = stage_with(|config| {
        let config = config.set("pool", "state_check = \"always\"");
        config.set("routing", "read_functions = [\"locks\"]")
    });
    rows(session.query(
        "CREATE FUNCTION locks() RETURNS int LANGUAGE plpgsql STABLE AS \
         'BEGIN PERFORM pg_advisory_lock(5); RETURN 1; END'",
    ));
    stage.wait_until_split_for(&mut session);
    assert_eq!(stage.runs_at(&mut session, "SELECT locks()"), "standby1");
    assert_eq!(stage.runs_at(&mut session, "SELECT 1"), "standby1");
    for _ in 0..2 {
        match session.query("INSERT INTO t VALUES (30, 1)") {
            Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "25006"),
            other => panic!("{other:?}"),
        }
    }
    rows(session.query("BEGIN READ ONLY"));
    rows(session.query("SELECT random()"));
    rows(session.query("COMMIT"));
    // Without the lock it is as free as before.
    assert_eq!(session.query("SELECT pg_advisory_unlock(5)").row(), "t");
    rows(session.query("INSERT INTO t VALUES (30, 1)"));
    assert_eq!(
        session.query("SELECT count(*) FROM t WHERE id = 30").row(),
        "1"
    );
}

/// What must come before the first query is too late at the primary as well, when that was on a standby.
#[test]
fn what_must_come_first_is_too_late_wherever_the_block_has_read() {
    let (stage, _) = stage_with(|config| config.set("routing", "leading_reads = true"));
    let level = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    for (begin, read, late, sqlstate) in [
        ("BEGIN READ ONLY", "SELECT * FROM t", level, "25001"),
        ("BEGIN", "SELECT * FROM t", level, "25001"),
        (
            "BEGIN READ ONLY",
            "SELECT 1",
            "SET TRANSACTION READ WRITE",
            "25001",
        ),
        (
            "BEGIN READ ONLY",
            "SELECT 1",
            "SET LOCAL transaction_isolation = 'serializable'",
            "25001",
        ),
        // These are not, as on any server.
        (
            "BEGIN READ ONLY",
            "SELECT 1",
            "SET TRANSACTION READ ONLY",
            "",
        ),
        ("BEGIN", "SELECT 1", "SET TRANSACTION READ ONLY", ""),
        ("BEGIN READ ONLY", "SHOW TimeZone", level, ""),
        ("BEGIN READ ONLY", "", level, ""),
    ] {
        let mut session = stage.client();
        let mut direct = stage.direct(&stage.stage.server.primary);
        stage.wait_until_split_for(&mut session);
        for session in [&mut direct, &mut session] {
            rows(session.query(begin));
            rows(session.query(read));
            let found = match session.query(late) {
                Answer::Error(sqlstate, _) => sqlstate,
                _ => String::new(),
            };
            assert_eq!(found, sqlstate, "{begin}; {read}; {late}");
            if found.is_empty() {
                rows(session.query("SELECT count(*) FROM t"));
            }
            rows(session.query("ROLLBACK"));
        }
        // The next block has nothing behind it.
        rows(session.query("BEGIN"));
        rows(session.query(level));
        rows(session.query("COMMIT"));
    }
}

/// A BEGIN that came as a Query leaves no portal behind, and neither does pgring's way to send it.
#[test]
fn the_unnamed_portal_is_none_where_the_client_has_bound_none() {
    let (stage, mut session) = stage_with(|config| config);
    let mut direct = stage.direct(&stage.stage.server.primary);
    let asked = [
        vec![describe_portal(""), sync()],
        vec![execute(""), sync()],
        vec![parse("", "SELECT 1"), describe_portal(""), sync()],
        vec![
            parse("", "SELECT 1"),
            bind("", "", &[]),
            describe_portal(""),
            execute(""),
            sync(),
        ],
    ];
    for messages in asked {
        for begin in ["BEGIN", "BEGIN READ ONLY"] {
            let hear = |session: &mut Session| {
                rows(session.query(begin));
                let heard = fetch(session, &messages[..messages.len() - 1]);
                rows(session.query("ROLLBACK"));
                heard
            };
            assert_eq!(hear(&mut session), hear(&mut direct));
        }
    }
    // One that the client has bound is there.
    let begin = [parse("", "BEGIN"), bind("", "", &[]), execute(""), sync()].concat();
    for session in [&mut session, &mut direct] {
        rows(session.ask(&begin));
        assert_eq!(fetch(session, &[describe_portal("")]).0, "nZ");
        rows(session.query("ROLLBACK"));
    }
}

/// The letters of an answer up to ReadyForQuery, and what its first error says.
fn fetch(session: &mut Session, messages: &[Vec<u8>]) -> (String, String) {
    session
        .send(&[&messages.concat()[..], &sync()].concat())
        .unwrap();
    let (mut letters, mut said) = (String::new(), String::new());
    loop {
        let (tag, body) = session.message().unwrap();
        letters.push(char::from(tag.0));
        match tag.0 {
            b'E' => said = error_fields(&body).0,
            b'Z' => return (letters, said),
            _ => {}
        }
    }
}

/// A portal that a client reads in parts stays where it is; what would take the block away from it is refused.
#[test]
fn a_portal_on_a_standby_is_read_to_its_end() {
    let (stage, mut session) = stage_with(|config| config);
    let mark = stage.mark();
    let read = format!("SELECT id FROM t ORDER BY id {mark}");
    for portal in ["", "c"] {
        stage.wait_until_split_for(&mut session);
        let open = [
            parse("", &read),
            bind(portal, "", &[]),
            execute_rows(portal, 2),
        ];
        let some = [execute_rows(portal, 4)];
        rows(session.query("BEGIN READ ONLY"));
        assert_eq!(fetch(&mut session, &open).0, "12DDsZ");
        assert_eq!(fetch(&mut session, &some).0, "DDDDsZ");
        assert_eq!(fetch(&mut session, &some).0, "DDDCZ");
        rows(session.query("COMMIT"));
        // Read to its end, or closed, it is in nobody's way.
        let close = [close_portal(portal)];
        for ends in [
            &[some[0].clone(), some[0].clone(), close[0].clone()][..],
            &close,
        ] {
            stage.wait_until_split_for(&mut session);
            rows(session.query("BEGIN READ ONLY"));
            assert_eq!(fetch(&mut session, &open).0, "12DDsZ");
            fetch(&mut session, ends);
            assert_eq!(session.query("SELECT pg_is_in_recovery()").row(), "f");
            rows(session.query("COMMIT"));
        }
        // Neither moved nor asked of a server that may answer something else.
        stage.wait_until_split_for(&mut session);
        rows(session.query("BEGIN READ ONLY"));
        assert_eq!(fetch(&mut session, &open).0, "12DDsZ");
        match session.query("SELECT pg_is_in_recovery()") {
            Answer::Error(sqlstate, text) => {
                assert_eq!(sqlstate, "25006");
                assert!(text.contains("standby"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(error(session.query("SELECT 1")), "25P02");
        rows(session.query("ROLLBACK"));
    }
    assert_eq!(stage.witnesses(&mark), "standby1");
}

/// A block that may write will have to go on at the primary: it opens no portal elsewhere.
#[test]
fn a_block_that_may_write_reads_in_parts_at_the_primary() {
    let (stage, mut session) = stage_with(|config| config.set("routing", "leading_reads = true"));
    for portal in ["", "c"] {
        stage.wait_until_split_for(&mut session);
        let mark = stage.mark();
        let read = format!("SELECT id FROM t ORDER BY id {mark}");
        rows(session.query("BEGIN"));
        assert_eq!(stage.runs_at(&mut session, "SELECT 1"), "standby1");
        let open = [
            parse("", &read),
            bind(portal, "", &[]),
            execute_rows(portal, 2),
        ];
        assert_eq!(fetch(&mut session, &open).0, "12DDsZ");
        assert_eq!(stage.witnesses(&mark), "primary");
        if portal == "c" {
            rows(session.query("UPDATE t SET n = 5 WHERE id = 5"));
        }
        let some = [execute_rows(portal, 4)];
        assert_eq!(fetch(&mut session, &some).0, "DDDDsZ");
        rows(session.query("ROLLBACK"));
        // One that only lasts, and is read later.
        stage.wait_until_split_for(&mut session);
        rows(session.query("BEGIN"));
        rows(session.query("SELECT 1"));
        let open = [parse("", &read), bind("later", "", &[])];
        assert_eq!(fetch(&mut session, &open).0, "12Z");
        rows(session.query("UPDATE t SET n = 5 WHERE id = 5"));
        assert_eq!(fetch(&mut session, &[execute("later")]).0, "DDDDDDDDDCZ");
        rows(session.query("ROLLBACK"));
    }
}

/// A statement that another connection has parsed is described in a failed block as if this one had.
#[test]
fn in_a_failed_block_what_returns_no_rows_is_described_wherever_it_was_parsed() {
    let (stage, mut session) = stage_with(|config| config);
    let mut direct = stage.direct(&stage.stage.server.primary);
    rows(session.query("CREATE TABLE described (n int, t text)"));
    let mut holder = stage.client();
    let hears = |session: &mut Session| {
        let mut heard = Vec::new();
        for message in [
            describe_statement("writes"),
            describe_statement("reads"),
            all([bind("", "writes", &["1", "x"]), execute("")]),
        ] {
            session.send(&all([message, sync()])).unwrap();
            loop {
                let (tag, body) = session.message().unwrap();
                heard.push((tag, if tag.0 == b'E' { Vec::new() } else { body }));
                if tag.0 == b'Z' {
                    break;
                }
            }
        }
        heard
    };
    let prepare = all([
        parse("writes", "INSERT INTO described VALUES ($1, $2)"),
        parse("reads", "SELECT n FROM described WHERE t = $1"),
        sync(),
    ]);
    for session in [&mut session, &mut direct] {
        rows(session.ask(&prepare));
    }
    // The connection that has them is somebody else's from here on.
    rows(holder.query("BEGIN; INSERT INTO described VALUES (0)"));
    let mut told = Vec::new();
    for session in [&mut session, &mut direct] {
        rows(session.query("BEGIN"));
        assert_eq!(error(session.query("SELECT 1/0")), "22012");
        told.push(hears(session));
        rows(session.query("ROLLBACK"));
        told.push(hears(session));
    }
    assert_eq!(told[0], told[2]);
    assert_eq!(told[1], told[3]);
    let tags: Vec<_> = told[0].iter().map(|(tag, _)| char::from(tag.0)).collect();
    assert_eq!(tags, ['t', 'n', 'Z', 'E', 'Z', 'E', 'Z']);
}

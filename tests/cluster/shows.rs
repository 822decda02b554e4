//! Questions about the cluster inside of any session, in every protocol and state, with Pgpool-II's columns, and what
//! the answers say.

use tokio_postgres::NoTls;

use crate::{
    session::{Answer, Session},
    splitting::{Splitting, rows},
    support::message::*,
};

/// What Pgpool-II's users' scripts read, by its manual.
const NODES: &str = "node_id hostname port status pg_status lb_weight role pg_role select_cnt load_balance_node \
    replication_delay replication_state replication_sync_state last_status_change";
const BACKEND_STATS: &str = "node_id hostname port status role select_cnt insert_cnt update_cnt delete_cnt ddl_cnt \
    other_cnt panic_cnt fatal_cnt error_cnt";

fn stage() -> (Splitting, Session) {
    let stage = Splitting::silent(&[0, 1], |config| config);
    let mut session = stage.client();
    rows(session.query("CREATE TABLE t AS SELECT 1 AS n"));
    stage.wait_until_split_for(&mut session);
    (stage, session)
}

/// The names of a RowDescription's columns.
fn columns(body: &[u8]) -> String {
    let mut names = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 1 + 18..];
    }
    names.join(" ")
}

/// The letters of an answer up to ReadyForQuery, with its state, and the columns it describes.
fn shape(session: &mut Session, request: &[u8]) -> (String, String) {
    session.send(request).unwrap();
    let (mut letters, mut described) = (String::new(), String::new());
    loop {
        let message = session.message();
        let (tag, body) = message.unwrap_or_else(|gone| panic!("{gone:?} after {letters}"));
        letters.push(char::from(tag.0));
        match tag.0 {
            b'T' => described = columns(&body),
            b'Z' => return (letters + &String::from_utf8_lossy(&body), described),
            _ => {}
        }
    }
}

#[test]
fn nodes_and_their_counts_are_shown_in_every_protocol_and_state() {
    let (_stage, mut session) = stage();
    for (text, expected) in [
        ("SHOW POOL_NODES", NODES),
        ("show pool_backend_stats;", BACKEND_STATS),
    ] {
        let simple = query(text);
        let extended = [
            parse("", text),
            bind("", "", &[]),
            describe_portal(""),
            execute(""),
            sync(),
        ]
        .concat();
        // As drivers do it: prepared and described first, run later, closed.
        let prepared = [parse("show", text), describe_statement("show"), sync()].concat();
        let run = [bind("", "show", &[]), execute(""), sync()].concat();
        let close = [close_statement("show"), sync()].concat();
        let check = |session: &mut Session, state: &str| {
            let with = |letters: &str| format!("{letters}Z{state}");
            assert_eq!(shape(session, &simple), (with("TDDC"), expected.to_owned()));
            assert_eq!(
                shape(session, &extended),
                (with("12TDDC"), expected.to_owned())
            );
            assert_eq!(
                shape(session, &prepared),
                (with("1tT"), expected.to_owned())
            );
            assert_eq!(shape(session, &run).0, with("2DDC"));
            assert_eq!(shape(session, &close).0, with("3"));
        };
        check(&mut session, "I");
        rows(session.query("BEGIN"));
        check(&mut session, "T");
        rows(session.query("INSERT INTO t VALUES (2)"));
        check(&mut session, "T");
        assert!(matches!(session.query("SELECT 1 / 0"), Answer::Error(..)));
        check(&mut session, "E");
        rows(session.query("ROLLBACK"));
        check(&mut session, "I");
        rows(session.query("BEGIN READ ONLY"));
        rows(session.query("SELECT * FROM t"));
        check(&mut session, "T");
        rows(session.query("COMMIT"));
        rows(session.query("LISTEN pinned"));
        check(&mut session, "I");
        rows(session.query("UNLISTEN *"));
    }
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "1");
}

#[test]
fn questions_between_statements_of_one_piece_are_answered_in_their_turn() {
    let (_stage, mut session) = stage();
    session
        .send(
            &[
                query("SELECT 'before'"),
                query("SHOW POOL_NODES"),
                parse("", "SELECT 'between'"),
                bind("", "", &[]),
                execute(""),
                sync(),
                parse("", "SHOW POOL_NODES"),
                bind("", "", &[]),
                execute(""),
                sync(),
                query("INSERT INTO t VALUES (7)"),
                query("SHOW POOL_BACKEND_STATS"),
                query("SELECT 'after'"),
            ]
            .concat(),
        )
        .unwrap();
    assert_eq!(session.answer().row(), "before");
    assert_eq!(rows(session.answer()).len(), 2);
    assert_eq!(session.answer().row(), "between");
    assert_eq!(rows(session.answer()).len(), 2);
    rows(session.answer());
    assert_eq!(rows(session.answer()).len(), 2);
    assert_eq!(session.answer().row(), "after");
}

#[test]
fn psql_and_a_driver_read_them() {
    let (stage, _) = stage();
    let said = stage.stage.proxy.psql("SHOW POOL_NODES");
    let roles: Vec<_> = said
        .lines()
        .map(|line| line.split('|').nth(6).unwrap().to_owned())
        .collect();
    assert_eq!(roles, ["primary", "standby"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = stage.stage.proxy.address();
        let config = format!(
            "host={} port={} user=app dbname=app",
            address.ip(),
            address.port()
        );
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        for text in ["SHOW POOL_NODES", "SHOW POOL_BACKEND_STATS"] {
            let found = client.query(text, &[]).await.unwrap();
            let ids: Vec<String> = found.iter().map(|row| row.get("node_id")).collect();
            assert_eq!(ids, ["0", "1"]);
        }
        let one = client.query_one("SELECT 5", &[]).await.unwrap();
        assert_eq!(one.get::<_, i32>(0), 5);
        let route = client
            .query("SHOW ROUTE SELECT nextval('s')", &[])
            .await
            .unwrap();
        assert_eq!(route[0].get::<_, String>("chosen"), "yes");
        drop(client);
        drop(driver.await);
    });
}

#[test]
fn what_was_counted_is_what_was_done() {
    let (stage, mut session) = stage();
    let counts = |session: &mut Session| -> Vec<Vec<u64>> {
        let table = rows(session.query("SHOW POOL_BACKEND_STATS"));
        let numbers = |row: &String| {
            row.split('|')
                .skip(5)
                .map(|it| it.parse().unwrap())
                .collect()
        };
        table.iter().map(numbers).collect()
    };
    let before = counts(&mut session);
    (0..5).for_each(|_| drop(rows(session.query("SELECT 1"))));
    for text in [
        "INSERT INTO t VALUES (5)",
        "UPDATE t SET n = 6 WHERE n = 5",
        "DELETE FROM t WHERE n = 6",
        "DELETE FROM t WHERE n = 6",
        "CREATE TABLE u (n int)",
        "SET work_mem = '5MB'",
    ] {
        rows(session.query(text));
    }
    assert!(matches!(
        session.query("INSERT INTO nobody VALUES (1)"),
        Answer::Error(..)
    ));
    let after = counts(&mut session);
    let more = |node: usize| -> Vec<u64> {
        after[node]
            .iter()
            .zip(&before[node])
            .map(|(after, before)| after - before)
            .collect()
    };
    assert_eq!(more(1), [5, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(more(0), [0, 1, 1, 2, 1, 1, 0, 0, 1]);
    // The same, of all sessions, in the virtual database.
    assert_eq!(
        stage.stage.columns(&["select_cnt"])[1],
        after[1][0].to_string()
    );
}

#[test]
fn a_route_tells_class_reason_node_and_why_not_the_others() {
    let (stage, mut session) = stage();
    let routes = |session: &mut Session, text: &str| stage.routes(session, text);
    let read = routes(&mut session, "SELECT n FROM t");
    assert!(
        read[0].starts_with("read|") && read[0].ends_with("|primary|no|its weight is 0"),
        "{read:?}"
    );
    assert!(read[1].ends_with("|standby1|yes|"), "{read:?}");
    let write = routes(&mut session, "INSERT INTO t VALUES (1)");
    assert!(write[0].ends_with("|primary|yes|"), "{write:?}");
    assert!(
        write[1].ends_with("|standby1|no|only the primary takes this"),
        "{write:?}"
    );
    for (text, words) in [
        ("SELECT nextval('s')", "nextval"),
        ("SELECT unknown_function(1)", "unknown_function"),
        ("SELECT n FROM t FOR UPDATE", "FOR UPDATE"),
    ] {
        let found = routes(&mut session, text);
        assert!(
            found[0].to_lowercase().contains(&words.to_lowercase()),
            "{text}: {found:?}"
        );
    }
    rows(session.query("BEGIN"));
    rows(session.query("INSERT INTO t VALUES (3)"));
    let inside = routes(&mut session, "SELECT n FROM t");
    assert!(
        inside[0].contains("transaction") && inside[0].contains("|primary|yes"),
        "{inside:?}"
    );
    rows(session.query("ROLLBACK"));
}

/// The letters of the answer to one pipeline.
fn letters(session: &mut Session, messages: &[Vec<u8>]) -> String {
    shape(session, &[&messages.concat()[..], &sync()].concat()).0
}

fn run(text: &str) -> Vec<u8> {
    [parse("", text), bind("", "", &[]), execute("")].concat()
}

/// As drivers ask that begin a transaction with its first statement, in one pipeline.
#[test]
fn questions_between_others_of_their_pipeline_are_answered_in_their_place() {
    let (_stage, mut session) = stage();
    let show = "SHOW POOL_NODES";
    let begin = [run("BEGIN"), run(show)];
    assert_eq!(letters(&mut session, &begin), "12C12DDCZT");
    // Once more, when BEGIN is known and needs no server.
    rows(session.query("COMMIT"));
    assert_eq!(letters(&mut session, &begin), "12C12DDCZT");
    let ask = [run("INSERT INTO t VALUES (2)"), run(show), run("SELECT 5")];
    assert_eq!(letters(&mut session, &ask), "12C12DDC12DCZT");
    rows(session.query("COMMIT"));
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "2");
    assert_eq!(letters(&mut session, &ask), "12C12DDC12DCZI");
    // Alone in front, behind, twice, with a Flush, and a Sync between.
    let ask = [run(show), run("SELECT 5"), flush(), run(show), run(show)];
    assert_eq!(letters(&mut session, &ask), "12DDC12DC12DDC12DDCZI");
    let ask = [run("SELECT 5"), run(show)];
    session.send(&[ask.concat(), sync()].concat()).unwrap();
    let ask = [run(show), run("SELECT 5")];
    assert_eq!(letters(&mut session, &ask), "12DC12DDCZI");
    assert_eq!(letters(&mut session, &[]), "12DDC12DCZI");
    assert_eq!(letters(&mut session, &[]), "ZI");
}

/// What comes behind an error is skipped, and an error behind undoes what came before.
#[test]
fn questions_share_the_fate_of_their_pipeline() {
    let (_stage, mut session) = stage();
    let show = run("SHOW POOL_NODES");
    let fails = run("SELECT 1 / (n - n) FROM t");
    let ask = [fails.clone(), show.clone(), run("SELECT 5")];
    assert_eq!(letters(&mut session, &ask), "12EZI");
    let write = run("INSERT INTO t VALUES (3)");
    let ask = [write.clone(), show.clone(), fails.clone()];
    assert_eq!(letters(&mut session, &ask), "12C12DDC12EZI");
    rows(session.query("BEGIN"));
    assert_eq!(letters(&mut session, &ask), "12C12DDC12EZE");
    assert_eq!(
        letters(&mut session, std::slice::from_ref(&show)),
        "12DDCZE"
    );
    assert_eq!(letters(&mut session, &[write, show]), "EZE");
    rows(session.query("ROLLBACK"));
    assert_eq!(session.query("SELECT count(*) FROM t").row(), "1");
}

/// Names of questions and of statements, in every pool mode.
#[test]
fn questions_have_names_beside_those_of_statements() {
    for mode in ["transaction", "session"] {
        let stage = Splitting::silent(&[0, 1], |config| {
            config.set("pool", &format!("mode = \"{mode}\""))
        });
        let mut session = stage.client();
        let show = "SHOW POOL_NODES";
        let two = [parse("show", show), parse("five", "SELECT 5")];
        assert_eq!(letters(&mut session, &two), "11ZI");
        let ask = [
            bind("five", "five", &[]),
            bind("show", "show", &[]),
            execute("five"),
            execute("show"),
            describe_portal("show"),
            close_portal("show"),
            execute("five"),
        ];
        assert_eq!(letters(&mut session, &ask), "22DCDDCT3CZI");
        // What has no name is what was parsed last.
        assert_eq!(letters(&mut session, &[parse("", show)]), "1ZI");
        assert_eq!(letters(&mut session, &[parse("", "SELECT 5")]), "1ZI");
        let unnamed = [bind("", "", &[]), execute("")];
        assert_eq!(letters(&mut session, &unnamed), "2DCZI");
        assert_eq!(letters(&mut session, &[parse("", show)]), "1ZI");
        assert_eq!(letters(&mut session, &unnamed), "2DDCZI");
        rows(session.query("SELECT 5"));
        assert_eq!(letters(&mut session, &unnamed), "EZI");
        // And a portal is what was bound last.
        let ask = [
            bind("", "show", &[]),
            bind("", "five", &[]),
            execute(""),
            bind("", "show", &[]),
            execute(""),
        ];
        assert_eq!(letters(&mut session, &ask), "22DC2DDCZI");
        let ask = [close_statement("show"), bind("", "show", &[]), execute("")];
        assert_eq!(letters(&mut session, &ask), "3EZI");
        assert_eq!(letters(&mut session, &[execute("")]), "EZI");
    }
}

/// A question needs no node: a transaction that reads on a standby goes on there.
#[test]
fn questions_move_no_transaction() {
    let (stage, mut session) = stage();
    let standby_reads = || {
        stage.stage.columns(&["select_cnt"])[1]
            .parse::<u64>()
            .unwrap()
    };
    rows(session.query("BEGIN READ ONLY"));
    rows(session.query("SELECT n FROM t"));
    let before = standby_reads();
    let ask = [
        run("SELECT n FROM t"),
        run("SHOW POOL_NODES"),
        run("SELECT n FROM t"),
    ];
    assert_eq!(letters(&mut session, &ask), "12DC12DDC12DCZT");
    assert_eq!(standby_reads(), before + 2);
    rows(session.query("COMMIT"));
}

/// Nobody needs more than a handful of them.
#[test]
fn questions_that_a_client_keeps_are_counted() {
    let (_stage, mut session) = stage();
    for number in 0..100 {
        let ask = [parse(&format!("s{number}"), "SHOW POOL_NODES")];
        assert_eq!(letters(&mut session, &ask), "1ZI");
    }
    let one_more = [parse("s", "SHOW POOL_NODES"), sync()].concat();
    match session.ask(&one_more) {
        Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "53400"),
        other => panic!("{other:?}"),
    }
}

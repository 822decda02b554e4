//! `pin = "refuse"` on a real PostgreSQL: what would pin a session is not executed, fails what is around it, and no
//! state is left.

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{eventually, message::*, peer::Client, proxy::Config},
};

/// One server connection, so that what is left there is seen by whoever comes next.
fn refusing(config: Config) -> Config {
    config
        .set("pool", "size = 1")
        .set("pool", "pin = \"refuse\"")
}

/// Statements that leave something behind, each with what its error calls it.
const PINNING: [(&str, &str); 6] = [
    ("LISTEN a", "listen"),
    ("CREATE TEMP TABLE t (i int)", "temporary object"),
    (
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "cursor with hold",
    ),
    ("LOAD 'plpgsql'", "library"),
    ("PREPARE p AS SELECT 1", "prepared statement"),
    ("SELECT pg_advisory_lock(1)", "advisory lock"),
];

/// Session state at the connection.
const STATE: &str = "SELECT count(*) FROM (SELECT 1 FROM pg_listening_channels() \
    UNION ALL SELECT 1 FROM pg_prepared_statements WHERE from_sql \
    UNION ALL SELECT 1 FROM pg_cursors WHERE is_holdable \
    UNION ALL SELECT 1 FROM pg_locks WHERE locktype = 'advisory' \
    UNION ALL SELECT 1 FROM pg_class WHERE relpersistence = 't') AS state";

/// The error that ends a request; where the transaction stands then.
fn refused(client: &mut Client, reason: &str) -> u8 {
    let text = client.expect_error("0A000");
    assert!(text.ends_with(reason), "{text}");
    client.expect("Z").remove(0).body[0]
}

fn extended(text: &str) -> Vec<u8> {
    all([parse("", text), bind("", "", &[]), execute(""), sync()])
}

#[test]
fn what_would_pin_is_refused_and_leaves_nothing() {
    let stage = Stage::trusting(refusing);
    let (mut client, mut other) = (stage.proxy.client(), stage.proxy.client());
    client.rows("CREATE TABLE kept (i int)");
    for (text, reason) in PINNING {
        client.send(query(text));
        assert_eq!(refused(&mut client, reason), b'I', "{text}");
        client.send(extended(text)).expect("1 2");
        assert_eq!(refused(&mut client, reason), b'I', "{text}");
        // Nothing of a text is executed, whatever precedes it.
        client.send(query(&format!("INSERT INTO kept VALUES (1); {text}")));
        assert_eq!(refused(&mut client, reason), b'I', "{text}");
        assert_eq!(other.rows(STATE), ["0"], "{text}");
    }
    assert_eq!(client.rows("SELECT count(*) FROM kept"), ["0"]);
    // The same connection all the time, and it serves the next one.
    assert_eq!(stage.server_connections(), 1);
}

#[test]
fn a_block_fails_with_it() {
    let stage = Stage::trusting(refusing);
    let (mut client, mut other) = (stage.proxy.client(), stage.proxy.client());
    client.rows("CREATE TABLE kept (i int)");
    for (text, reason) in PINNING {
        for request in [query(text), extended(text)] {
            client.rows("BEGIN");
            client.rows("INSERT INTO kept VALUES (1)");
            client.send(&request);
            if request != query(text) {
                client.expect("1 2");
            }
            assert_eq!(refused(&mut client, reason), b'E', "{text}");
            client.send(query("SELECT 1"));
            client.expect_error("25P02");
            client.expect("Z");
            client.send(query("COMMIT"));
            assert_eq!(client.expect("C Z")[0].body, b"ROLLBACK\0");
            // The block's first statement, whose BEGIN no server has seen.
            client.rows("BEGIN");
            client.send(&request);
            if request != query(text) {
                client.expect("1 2");
            }
            assert_eq!(refused(&mut client, reason), b'E', "{text}");
            client.rows("ROLLBACK");
            assert_eq!(other.rows(STATE), ["0"], "{text}");
        }
    }
    assert_eq!(client.rows("SELECT count(*) FROM kept"), ["0"]);
}

#[test]
fn a_savepoint_saves_the_block() {
    let stage = Stage::trusting(refusing);
    let mut client = stage.proxy.client();
    client.rows("BEGIN; CREATE TABLE kept (i int); SAVEPOINT s");
    client.send(query("LISTEN a"));
    assert_eq!(refused(&mut client, "listen"), b'E');
    client.rows("ROLLBACK TO s");
    client.rows("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1");
    client.rows("SELECT pg_advisory_xact_lock(1)");
    client.rows("COMMIT");
    assert_eq!(client.rows("SELECT count(*) FROM kept"), ["0"]);
}

/// What a function does no text says: it is found when its transaction has ended.
#[test]
fn what_no_text_shows_ends_the_session_and_its_state() {
    let stage = Stage::trusting(refusing);
    let mut other = stage.proxy.client();
    for (text, reason) in [
        (
            "DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$",
            "advisory lock",
        ),
        (
            "DO $$ BEGIN CREATE TEMP TABLE t (i int); END $$",
            "temporary object",
        ),
    ] {
        let mut client = stage.proxy.client();
        client.send(query(text)).expect("C Z");
        let text = client.expect_error("0A000");
        assert!(text.ends_with(reason), "{text}");
        client.expect_end();
        eventually("the state was gone", || other.rows(STATE) == ["0"]);
    }
    // What is rolled back leaves nothing.
    let mut client = stage.proxy.client();
    client.rows("BEGIN; DO $$ BEGIN CREATE TEMP TABLE t (i int); END $$");
    client.rows("ROLLBACK");
    assert_eq!(client.rows("SELECT 1"), ["1"]);
    assert_eq!(other.rows(STATE), ["0"]);
}

#[test]
fn a_user_may_be_allowed_what_others_are_not() {
    let stage =
        Stage::trusting(|config| refusing(config).table("user", "name = \"app\"\npin = \"allow\""));
    let mut client = stage.proxy.client();
    client.rows("LISTEN a");
    assert_eq!(client.rows("SELECT * FROM pg_listening_channels()"), ["a"]);
}

/// The usual pattern of row security: what ends with its transaction keeps nobody's connection.
#[test]
fn a_setting_of_the_transaction_alone_keeps_no_connection() {
    let stage = Stage::trusting(|config| config.set("pool", "size = 1"));
    let sets = [
        "SET LOCAL app.tenant = '7'",
        "SELECT set_config('app.tenant', '7', true)",
        "SET LOCAL statement_timeout = '5s'",
    ];
    for (number, set) in sets.into_iter().enumerate() {
        let mut clients = [(); 4].map(|()| Session::login(stage.proxy.address()).unwrap());
        for round in 0..3 {
            for client in &mut clients {
                let name = format!("s{number}_{round}");
                client.query("BEGIN");
                client.query(set);
                let text = "SELECT current_setting('app.tenant', true), 'a literal', $1::text";
                let request = [
                    parse(&name, text),
                    bind("", &name, &["x"]),
                    execute(""),
                    sync(),
                ];
                assert!(
                    matches!(client.ask(&request.concat()), Answer::Rows(_)),
                    "{set}"
                );
                client.query("COMMIT");
            }
        }
    }
}

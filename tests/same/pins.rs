//! State that stays with its server connection: listening, temporary objects, advisory locks, cursors WITH
//! HOLD, libraries. Its owner always finds it, nobody else ever does.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{Conversation, aside, ask, every_way, q, simple, talk, unnamed, until},
    proof::prove,
    support::message::*,
};

const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() \
     AND granted";
const CHANNELS: &str = "SELECT * FROM pg_listening_channels() c ORDER BY c";

#[test]
fn listening() {
    prove(501, listen());
}

#[test]
fn temporary_objects() {
    prove(502, temporary());
}

#[test]
fn advisory_locks() {
    prove(503, locks());
}

#[test]
fn held_cursors_and_libraries() {
    prove(504, held());
}

fn listen() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "LISTEN and NOTIFY to itself",
        &[
            "LISTEN mine",
            "NOTIFY mine",
            "NOTIFY mine, 'it''s'",
            "SELECT pg_notify('mine', 'by function')",
            CHANNELS,
            "UNLISTEN mine",
            CHANNELS,
            "NOTIFY mine",
            "SELECT 1",
        ],
    ));
    all.extend(every_way(
        "several channels",
        &[
            "LISTEN mine",
            "LISTEN \"Other one\"",
            CHANNELS,
            "UNLISTEN mine",
            "NOTIFY \"Other one\", 'x'",
            CHANNELS,
            "UNLISTEN *",
            CHANNELS,
        ],
    ));
    all.extend(every_way(
        "LISTEN rolled back",
        &[
            "BEGIN",
            "LISTEN mine",
            CHANNELS,
            "ROLLBACK",
            CHANNELS,
            "NOTIFY mine",
            "SELECT 1",
            "BEGIN",
            "LISTEN mine",
            "COMMIT",
            "NOTIFY mine",
            "SELECT 1",
            "BEGIN",
            "UNLISTEN mine",
            "ROLLBACK",
            "NOTIFY mine",
            "UNLISTEN *",
        ],
    ));
    all.extend([
        simple(
            "NOTIFY in a transaction",
            &[
                "LISTEN mine",
                "BEGIN",
                "NOTIFY mine, '1'",
                "NOTIFY mine, '1'",
                "NOTIFY mine, '2'",
                "SELECT 1",
                "COMMIT",
                "BEGIN",
                "NOTIFY mine, '3'",
                "ROLLBACK",
                "SELECT 2",
            ],
        ),
        simple(
            "LISTEN in a string",
            &[
                "SELECT 1; LISTEN mine; SELECT 2",
                "NOTIFY mine; SELECT 3",
                "SELECT 1/0; UNLISTEN *",
                "NOTIFY mine",
                "UNLISTEN *; NOTIFY mine",
                "SELECT 4",
                "LISTEN mine; SELECT 1/0",
                CHANNELS,
            ],
        ),
        simple(
            "DISCARD ALL ends listening",
            &[
                "LISTEN mine",
                "DISCARD ALL",
                CHANNELS,
                "NOTIFY mine",
                "SELECT 1",
            ],
        ),
        simple(
            "a failed LISTEN",
            &["LISTEN", "LISTEN 'x'", "UNLISTEN", CHANNELS],
        ),
        talk(
            "told while it is idle",
            [
                q("LISTEN mine"),
                aside("NOTIFY mine, 'from afar'"),
                until([], b'A'),
                q("SELECT 1"),
                aside("SELECT pg_notify('mine', 'again')"),
                until([], b'A'),
                q("UNLISTEN mine"),
                aside("NOTIFY mine"),
                q("SELECT 2"),
            ],
        ),
        talk(
            "told in a transaction only after its end",
            [
                q("LISTEN mine"),
                q("BEGIN"),
                q("SELECT 1"),
                aside("NOTIFY mine, 'meanwhile'"),
                q("SELECT 2"),
                q("COMMIT"),
                q("SELECT 3"),
            ],
        ),
        talk(
            "statements, settings and listening",
            [
                ask([
                    parse("s", "SELECT 's', current_setting('work_mem')"),
                    sync(),
                ]),
                q("SET work_mem = '9MB'"),
                q("LISTEN mine"),
                ask([bind("", "s", &[]), execute(""), sync()]),
                q("SET work_mem = '10MB'"),
                q("UNLISTEN mine"),
                ask([bind("", "s", &[]), execute(""), sync()]),
                q("SHOW work_mem"),
            ],
        ),
    ]);
    all
}

fn temporary() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "a temporary table",
        &[
            "CREATE TEMP TABLE scratch (n int)",
            "INSERT INTO scratch VALUES (1), (2)",
            "SELECT * FROM scratch",
            "SELECT count(*) FROM pg_temp.scratch",
            "TRUNCATE scratch",
            "SELECT * FROM scratch",
            "DROP TABLE scratch",
            "SELECT * FROM scratch",
        ],
    ));
    all.extend([
        simple(
            "ON COMMIT",
            &[
                "BEGIN",
                "CREATE TEMP TABLE scratch (n int) ON COMMIT DROP",
                "INSERT INTO scratch VALUES (1)",
                "SELECT * FROM scratch",
                "COMMIT",
                "SELECT * FROM scratch",
                "CREATE LOCAL TEMPORARY TABLE scratch (n int) ON COMMIT DELETE ROWS",
                "INSERT INTO scratch VALUES (1)",
                "SELECT * FROM scratch",
                "DROP TABLE scratch",
                "CREATE TEMP TABLE scratch (n int) ON COMMIT DROP",
                "SELECT * FROM scratch",
            ],
        ),
        simple(
            "rolled back",
            &[
                "BEGIN",
                "CREATE TEMP TABLE scratch (n int)",
                "ROLLBACK",
                "SELECT * FROM scratch",
                "BEGIN",
                "CREATE TEMP TABLE scratch (n int)",
                "COMMIT",
                "BEGIN",
                "DROP TABLE scratch",
                "ROLLBACK",
                "SELECT * FROM scratch",
                "DROP TABLE scratch",
            ],
        ),
        simple(
            "every way to make one",
            &[
                "CREATE TEMP TABLE scratch AS SELECT 1 AS n",
                "SELECT n FROM scratch",
                "DROP TABLE scratch",
                "SELECT 2 AS n INTO TEMP scratch",
                "SELECT n FROM scratch",
                "DROP TABLE scratch",
                "CREATE TABLE pg_temp.scratch AS SELECT 3 AS n",
                "SELECT n FROM scratch",
                "DROP TABLE scratch",
                "CREATE GLOBAL TEMP TABLE scratch (n int)",
                "SELECT * FROM scratch",
                "DISCARD TEMP",
                "SELECT * FROM scratch",
            ],
        ),
        simple(
            "a temporary schema that comes first",
            &[
                "SET search_path = pg_temp, public",
                "CREATE TABLE scratch AS SELECT 4 AS n",
                "SELECT n FROM pg_temp.scratch",
                "RESET search_path",
                "SELECT n FROM scratch",
                "DROP TABLE scratch",
            ],
        ),
        simple(
            "views, sequences, functions and types",
            &[
                "CREATE TEMP VIEW scratch AS SELECT 5 AS n",
                "SELECT n FROM scratch",
                "DROP VIEW scratch",
                "CREATE TEMP SEQUENCE counter START 7",
                "SELECT nextval('counter')",
                "SELECT nextval('counter'), currval('counter')",
                "DROP SEQUENCE counter",
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 6'",
                "SELECT pg_temp.f()",
                "DROP FUNCTION pg_temp.f()",
                "CREATE TYPE pg_temp.t AS (a int)",
                "SELECT ROW(1)::pg_temp.t",
                "DROP TYPE pg_temp.t",
            ],
        ),
        simple(
            "it hides a table of the same name",
            &[
                "SELECT count(*) FROM items",
                "CREATE TEMP TABLE items (id int)",
                "SELECT count(*) FROM items",
                "DROP TABLE items",
                "SELECT count(*) FROM items",
            ],
        ),
        simple(
            "it hides behind a function",
            &[
                "DO $$ BEGIN CREATE TEMP TABLE scratch AS SELECT 8 AS n; END $$",
                "SELECT n FROM scratch",
                "DROP TABLE scratch",
                "SELECT n FROM scratch",
            ],
        ),
        simple(
            "DISCARD ALL ends it",
            &[
                "CREATE TEMP TABLE scratch (n int)",
                "DISCARD ALL",
                "SELECT * FROM scratch",
                "CREATE TEMP TABLE scratch (n int)",
                "DISCARD TEMPORARY",
                "SELECT * FROM scratch",
            ],
        ),
        talk(
            "a statement over a temporary table",
            [
                q("CREATE TEMP TABLE scratch (n int)"),
                ask([
                    parse("s", "INSERT INTO scratch VALUES ($1) RETURNING n"),
                    describe_statement("s"),
                    sync(),
                ]),
                ask([
                    bind("", "s", &["1"]),
                    execute(""),
                    bind("", "s", &["2"]),
                    execute(""),
                    sync(),
                ]),
                ask([unnamed("SELECT * FROM scratch"), sync()]),
                q("DROP TABLE scratch"),
                ask([bind("", "s", &["3"]), execute(""), sync()]),
            ],
        ),
    ]);
    all
}

fn locks() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "locked and unlocked",
        &[
            "SELECT pg_advisory_lock(4711)",
            LOCKS,
            "SELECT pg_advisory_unlock(4711)",
            LOCKS,
            "SELECT pg_advisory_unlock(4711)",
        ],
    ));
    all.extend(every_way(
        "locked twice",
        &[
            "SELECT pg_advisory_lock(1, 2)",
            "SELECT pg_try_advisory_lock(1, 2)",
            "SELECT pg_advisory_unlock(1, 2)",
            LOCKS,
            "SELECT pg_advisory_unlock(1, 2)",
            LOCKS,
        ],
    ));
    all.extend([
        simple(
            "several, all unlocked",
            &[
                "SELECT pg_advisory_lock(4711), pg_advisory_lock_shared(4712)",
                "SELECT pg_try_advisory_lock_shared(4713)",
                LOCKS,
                "SELECT pg_advisory_unlock_all()",
                LOCKS,
            ],
        ),
        simple(
            "a session's lock outlives a rollback",
            &[
                "BEGIN",
                "SELECT pg_advisory_lock(4711)",
                "ROLLBACK",
                LOCKS,
                "SELECT pg_advisory_unlock_all()",
                LOCKS,
            ],
        ),
        simple(
            "a transaction's lock does not",
            &[
                "SELECT pg_advisory_xact_lock(4711)",
                LOCKS,
                "BEGIN",
                "SELECT pg_try_advisory_xact_lock(4711)",
                LOCKS,
                "COMMIT",
                LOCKS,
            ],
        ),
        simple(
            "DISCARD ALL unlocks",
            &["SELECT pg_advisory_lock(4711)", "DISCARD ALL", LOCKS],
        ),
        simple(
            "locked inside DO",
            &[
                "DO $$ BEGIN PERFORM pg_advisory_lock(4711); END $$",
                LOCKS,
                "SELECT pg_advisory_unlock(4711)",
                LOCKS,
            ],
        ),
        simple(
            "locked for each row",
            &[
                "SELECT pg_advisory_lock(n) FROM generate_series(4711, 4713) n",
                LOCKS,
                "SELECT pg_advisory_unlock(n) FROM generate_series(4711, 4713) n",
                LOCKS,
            ],
        ),
        simple(
            "locked, then an error",
            &[
                "SELECT pg_advisory_lock(4711); SELECT 1/0",
                LOCKS,
                "SELECT pg_advisory_unlock_all()",
                LOCKS,
            ],
        ),
        simple(
            "a quoted lock",
            &[
                "SELECT pg_catalog.\"pg_advisory_lock\"(4711)",
                LOCKS,
                "SELECT pg_advisory_unlock_all()",
            ],
        ),
    ]);
    all
}

fn held() -> Vec<Conversation> {
    let mut all = Vec::new();
    let declare =
        "DECLARE c CURSOR WITH HOLD FOR SELECT id, name FROM items WHERE id <= 5 ORDER BY id";
    all.extend(every_way(
        "a cursor WITH HOLD",
        &[
            declare,
            "FETCH 2 FROM c",
            "FETCH FROM c",
            "MOVE BACKWARD ALL IN c",
            "FETCH ALL FROM c",
            "CLOSE c",
            "FETCH FROM c",
        ],
    ));
    all.extend([
        simple(
            "made in a transaction",
            &[
                "BEGIN",
                declare,
                "FETCH FROM c",
                "COMMIT",
                "FETCH FROM c",
                "BEGIN",
                "FETCH FROM c",
                "ROLLBACK",
                "FETCH FROM c",
                "CLOSE ALL",
                "FETCH FROM c",
            ],
        ),
        simple(
            "rolled back",
            &[
                "BEGIN",
                declare,
                "ROLLBACK",
                "FETCH FROM c",
                declare,
                "BEGIN",
                "CLOSE c",
                "ROLLBACK",
                "FETCH FROM c",
                "CLOSE ALL",
            ],
        ),
        simple(
            "binary, scrolling, quoted",
            &[
                "DECLARE \"C d\" BINARY SCROLL CURSOR WITH HOLD FOR SELECT id FROM items WHERE \
             id < 4 ORDER BY id",
                "FETCH LAST FROM \"C d\"",
                "FETCH FIRST FROM \"C d\"",
                "SELECT name, is_holdable, is_binary FROM pg_cursors WHERE is_holdable",
                "CLOSE \"C d\"",
            ],
        ),
        simple(
            "not held",
            &[
                "DECLARE c CURSOR FOR SELECT 1",
                "BEGIN",
                "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
                "COMMIT",
                "FETCH FROM c",
            ],
        ),
        simple(
            "DISCARD ALL closes it",
            &[declare, "DISCARD ALL", "FETCH FROM c"],
        ),
        simple(
            "LOAD",
            &[
                "LOAD 'plpgsql'",
                "SELECT 1",
                "LOAD 'no_such_library'",
                "SELECT 2",
            ],
        ),
        talk(
            "the protocol reads from a held cursor",
            [
                q(declare),
                ask([describe_portal("c"), execute_rows("c", 2), sync()]),
                q("FETCH FROM c"),
                ask([close_portal("c"), sync()]),
                q("FETCH FROM c"),
            ],
        ),
    ]);
    all
}

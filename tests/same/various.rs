//! What else a client may meet: results of every size, notices, functions by number, strings of several
//! statements, and that the stage really moves it from connection to connection.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use std::collections::BTreeSet;

use crate::{
    conversation::{Conversation, Step, ask, q, simple, talk, unnamed, until},
    proof::{prove, stage},
    support::{
        crowd::{Crowd, POOL, USUAL},
        message::*,
        peer::Client,
    },
};

/// `upper(text)`, `int4pl(int4, int4)`, `int4div(int4, int4)`.
const UPPER: u32 = 871;
const ADD: u32 = 177;
const DIVIDE: u32 = 154;

#[test]
fn everything_else() {
    prove(801, conversations());
}

/// Statements in which a client sees others come between, at most.
const STATEMENTS_MAX: usize = 5_000;

/// Otherwise nothing here would prove anything.
#[test]
fn connections_change_under_a_client() {
    let stage = stage();
    let crowd = Crowd::gather(stage.proxy.address(), 802, USUAL);
    let mut client: Client = stage.proxy.client();
    let mut pid = || client.rows("SELECT pg_backend_pid()").concat();
    let mut last = pid();
    let (mut changes, mut seen) = (0, BTreeSet::new());
    for _ in 0..STATEMENTS_MAX {
        let next = pid();
        changes += usize::from(last != next);
        last = next;
        seen.insert(last.clone());
        if changes >= 10 && seen.len() >= POOL {
            break;
        }
    }
    // What the others complain of is the business of the other tests.
    let _complaints = crowd.disperse();
    assert!(changes >= 10, "it kept its connection: {changes} changes");
    assert!(seen.len() >= POOL, "it saw {} connections", seen.len());
}

fn conversations() -> Vec<Conversation> {
    let long = format!("SELECT '{}'", "x".repeat(100_000));
    vec![
        simple(
            "large results",
            &[
                "SELECT repeat('x', 1000), n FROM generate_series(1, 3000) n",
                "SELECT repeat('y', 3000000)",
                "SELECT 1 WHERE false",
                "SELECT FROM generate_series(1, 5)",
            ],
        ),
        simple("a long statement", &[&long, "SELECT 1"]),
        simple(
            "many columns",
            &[&format!(
                "SELECT {}",
                (1..1000)
                    .map(|n| format!("{n} AS c{n}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )],
        ),
        simple(
            "notices",
            &[
                "SELECT shout('hello')",
                "DO $$ BEGIN RAISE WARNING 'mind'; RAISE NOTICE 'this'; RAISE DEBUG \
                     'unheard'; END $$",
                "SET client_min_messages = 'warning'",
                "SELECT shout('quiet')",
                "RESET client_min_messages",
                "SELECT shout('loud')",
                "DROP TABLE IF EXISTS nowhere",
                "CREATE TABLE IF NOT EXISTS items (n int)",
            ],
        ),
        simple(
            "an error with all its fields",
            &[
                "DO $$ BEGIN RAISE EXCEPTION 'bad' USING DETAIL = 'detail', HINT = \
                     'hint', ERRCODE = 'P9999', TABLE = 't', COLUMN = 'c'; END $$",
                "INSERT INTO items VALUES (1, 'taken')",
                "INSERT INTO items VALUES (2000, NULL)",
                "SELECT divide(1, 0)",
                "SELECT * FROM itms",
                "SELECT itms.x FROM items",
            ],
        ),
        simple(
            "empty queries",
            &[
                "",
                " ",
                ";",
                ";;",
                "-- x",
                "/* x */",
                "SELECT 1;;SELECT 2",
                "SELECT 1",
            ],
        ),
        simple(
            "several statements",
            &[
                "SELECT 1; SELECT 'two', 2; UPDATE items SET price = price WHERE id < 3; SELECT 3",
                "SELECT 1; SELECT 1/0; SELECT 3",
                "SELECT 1; SELEC; SELECT 3",
            ],
        ),
        simple(
            "command tags",
            &[
                "INSERT INTO items VALUES (3000, 'x'), (3001, 'y')",
                "UPDATE items SET name = 'z' WHERE id >= 3000",
                "DELETE FROM items WHERE id >= 3000",
                "CREATE TABLE tagged (n int)",
                "TRUNCATE tagged",
                "DROP TABLE tagged",
                "VALUES (1), (2)",
                "TABLE parents",
                "WITH a AS (SELECT 1) SELECT * FROM a",
                "SELECT 1 INTO made",
                "DROP TABLE made",
                "EXPLAIN (COSTS OFF) SELECT 1",
            ],
        ),
        simple(
            "bytes above ASCII",
            &[
                "SELECT 'äöü €', E'\\u20ac', chr(8364)",
                "SELECT length('äöü')",
                "SET client_encoding = 'LATIN1'",
                "SELECT chr(228)",
                "SELECT chr(8364)",
                "SHOW client_encoding",
            ],
        ),
        talk(
            "functions by their number",
            [
                Step::Ask(function_call_with(UPPER, &["abc"])),
                Step::Ask(function_call_with(ADD, &["20", "22"])),
                Step::Ask(function_call_with(DIVIDE, &["1", "0"])),
                Step::Ask(function_call_with(ADD, &["1"])),
                Step::Ask(function_call(4_000_000)),
                q("BEGIN"),
                Step::Ask(function_call_with(UPPER, &["in a transaction"])),
                Step::Ask(function_call_with(DIVIDE, &["1", "0"])),
                Step::Ask(function_call_with(UPPER, &["failed"])),
                q("ROLLBACK"),
                Step::Ask(function_call_with(UPPER, &["after"])),
            ],
        ),
        talk(
            "a function by its number right after BEGIN, sent at once",
            [ask([
                query("BEGIN"),
                function_call_with(UPPER, &["x"]),
                query("COMMIT"),
            ])],
        ),
        talk(
            "large results over the extended protocol",
            [
                ask([
                    parse(
                        "s",
                        "SELECT repeat('z', $1::int), n FROM generate_series(1, $2::int) n",
                    ),
                    sync(),
                ]),
                ask([bind("", "s", &["1000", "2000"]), execute(""), sync()]),
                ask([bind("", "s", &["2000000", "1"]), execute(""), sync()]),
                until([bind("", "s", &["10", "5"]), execute(""), flush()], b'C'),
                ask([sync()]),
            ],
        ),
        talk(
            "simple queries and pipelines in turns",
            [
                ask([
                    query("SELECT 1"),
                    unnamed("SELECT 2"),
                    sync(),
                    query("SELECT 3"),
                    unnamed("SELECT 4"),
                    unnamed("SELECT 5"),
                    sync(),
                ]),
                ask([
                    query("SELECT 1/0"),
                    unnamed("SELECT 1/0"),
                    sync(),
                    query("SELECT 1"),
                ]),
                ask([unnamed("SELECT 1"), query("SELECT 2")]),
                q("SELECT 3"),
            ],
        ),
    ]
}

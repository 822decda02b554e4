//! Transactions: how they begin, what their first statement finds, how they fail and how they end.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{
        Conversation, aside, ask, every_way, q, simple, talk, unnamed, until, use_statement,
    },
    proof::prove,
    support::message::*,
};

#[test]
fn beginning_and_ending() {
    prove(401, usual());
}

#[test]
fn kinds_of_transactions() {
    prove(402, kinds());
}

#[test]
fn transactions_over_the_extended_protocol() {
    prove(403, extended());
}

fn usual() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "nothing between",
        &[
            "BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "BEGIN", "END", "BEGIN", "ABORT",
        ],
    ));
    all.extend(every_way(
        "the usual one",
        &[
            "BEGIN",
            "SELECT 1",
            "INSERT INTO items VALUES (500, 'new')",
            "ROLLBACK",
            "SELECT count(*) FROM items WHERE id = 500",
        ],
    ));
    all.extend(every_way(
        "an error",
        &[
            "BEGIN",
            "SELECT 1/0",
            "SELECT 1",
            "COMMIT",
            "SELECT 'after'",
            "BEGIN",
            "SELECT 1/0",
            "ROLLBACK",
            "SELECT 'after'",
        ],
    ));
    all.extend(every_way(
        "begun twice",
        &[
            "BEGIN",
            "BEGIN",
            "SELECT 1",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "COMMIT",
            "BEGIN",
            "START TRANSACTION",
            "COMMIT",
        ],
    ));
    all.extend(every_way(
        "ended without one",
        &[
            "COMMIT",
            "ROLLBACK",
            "END",
            "ABORT",
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "RELEASE a",
            "COMMIT AND CHAIN",
            "ROLLBACK AND CHAIN",
        ],
    ));
    all.extend(every_way(
        "chained",
        &[
            "BEGIN ISOLATION LEVEL REPEATABLE READ",
            "SELECT 1",
            "COMMIT AND CHAIN",
            "SHOW transaction_isolation",
            "ROLLBACK AND CHAIN",
            "SHOW transaction_isolation",
            "COMMIT AND NO CHAIN",
            "SHOW transaction_isolation",
        ],
    ));
    all.extend(every_way(
        "chained at once",
        &[
            "BEGIN",
            "COMMIT AND CHAIN",
            "COMMIT AND CHAIN",
            "ROLLBACK",
            "BEGIN",
            "ROLLBACK AND CHAIN",
            "SELECT 1",
            "COMMIT",
        ],
    ));
    all.extend(every_way(
        "savepoints",
        &[
            "BEGIN",
            "SAVEPOINT a",
            "INSERT INTO items VALUES (501, 'x')",
            "SAVEPOINT b",
            "SELECT 1/0",
            "SELECT 1",
            "ROLLBACK TO b",
            "SELECT count(*) FROM items WHERE id = 501",
            "ROLLBACK TO a",
            "SELECT count(*) FROM items WHERE id = 501",
            "RELEASE a",
            "ROLLBACK TO a",
            "COMMIT",
        ],
    ));
    all.extend(every_way(
        "a savepoint first",
        &[
            "BEGIN",
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "RELEASE SAVEPOINT a",
            "COMMIT",
        ],
    ));
    all.extend([
        simple(
            "a whole one in one string",
            &[
                "BEGIN; SELECT 1; COMMIT",
                "BEGIN; SELECT 1",
                "SELECT 2",
                "COMMIT; SELECT 3",
                "SELECT 1; BEGIN; SELECT 2",
                "ROLLBACK",
            ],
        ),
        simple(
            "an implicit one in one string",
            &[
                "INSERT INTO items VALUES (502, 'x'); SELECT 1/0",
                "SELECT count(*) FROM items WHERE id = 502",
                "SELECT 1; COMMIT; SELECT 2",
                "SELECT 1; ROLLBACK; SELECT 1/0; SELECT 3",
                "SELECT 1; BEGIN; ROLLBACK",
            ],
        ),
        simple(
            "an error behind BEGIN in one string",
            &["BEGIN; SELECT 1/0; SELECT 2", "SELECT 1", "ROLLBACK"],
        ),
        simple(
            "empty queries in one",
            &["BEGIN", "", "-- nothing", ";", "SELECT 1/0", "", "COMMIT"],
        ),
        simple(
            "a BEGIN that is none",
            &[
                "BEGIN NONSENSE",
                "SELECT 1",
                "BEGIN ISOLATION LEVEL NONE",
                "BEGIN; BEGIN NONSENSE",
                "SELECT 1",
                "COMMIT",
                "BEGINN",
                "BEGIN 'x'",
                "SELECT 1",
            ],
        ),
        simple(
            "a syntax error first",
            &[
                "BEGIN",
                "SELEC",
                "SELECT 1",
                "COMMIT",
                "BEGIN",
                "SELECT nothing",
                "ROLLBACK",
            ],
        ),
        simple(
            "case, comments and semicolons",
            &[
                "begin;",
                "commit;",
                "/* x */ BeGiN /* y */ WORK -- z",
                "SELECT 1",
                "cOMMIT work",
                "BEGIN TRANSACTION;;",
                "SELECT 1",
                "END TRANSACTION",
                "start transaction",
                "select 1",
                "rollback transaction",
            ],
        ),
        simple(
            "deferred constraints",
            &[
                "BEGIN",
                "INSERT INTO children VALUES (1, 1)",
                "COMMIT",
                "SELECT 'after'",
                "BEGIN",
                "SET CONSTRAINTS ALL IMMEDIATE",
                "INSERT INTO children VALUES (1, 1)",
                "COMMIT",
                "INSERT INTO children VALUES (1, 1)",
            ],
        ),
        simple(
            "procedures that commit",
            &[
                "CALL in_two_transactions()",
                "BEGIN",
                "CALL in_two_transactions()",
                "ROLLBACK",
                "DO $$ BEGIN COMMIT; END $$",
                "SELECT 1",
            ],
        ),
        simple(
            "what must not be in one",
            &[
                "BEGIN",
                "VACUUM items",
                "ROLLBACK",
                "VACUUM items",
                "BEGIN",
                "CREATE DATABASE never",
                "COMMIT",
                "SELECT 1; VACUUM items",
            ],
        ),
        simple(
            "two-phase commit that is off",
            &[
                "BEGIN",
                "INSERT INTO items VALUES (503, 'x')",
                "PREPARE TRANSACTION 'x'",
                "SELECT 1",
                "COMMIT PREPARED 'x'",
            ],
        ),
        simple(
            "times stand still",
            &[
                "BEGIN",
                "SELECT now() = now()",
                "SELECT now() = transaction_timestamp() AND statement_timestamp() >= now()",
                "COMMIT",
            ],
        ),
        simple(
            "DDL that is rolled back",
            &[
                "BEGIN",
                "CREATE TABLE brief (n int)",
                "INSERT INTO brief VALUES (1)",
                "SELECT * FROM brief",
                "ROLLBACK",
                "SELECT * FROM brief",
            ],
        ),
        simple(
            "locks",
            &[
                "LOCK TABLE items",
                "BEGIN",
                "LOCK TABLE items IN SHARE MODE",
                "SELECT * FROM items WHERE id = 1 FOR UPDATE",
                "COMMIT",
                "BEGIN",
                "SELECT pg_advisory_xact_lock(77)",
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = \
             pg_backend_pid()",
                "COMMIT",
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = \
             pg_backend_pid()",
            ],
        ),
        talk(
            "queries sent at once",
            [ask([
                query("BEGIN"),
                query("SELECT 1"),
                query("COMMIT"),
                query("BEGIN"),
                query("ROLLBACK"),
                query("SELECT 2"),
            ])],
        ),
        talk(
            "a failing transaction sent at once",
            [ask([
                query("BEGIN"),
                query("SELECT 1/0"),
                query("SELECT 2"),
                query("COMMIT"),
                query("SELECT 3"),
            ])],
        ),
    ]);
    all
}

fn kinds() -> Vec<Conversation> {
    let mut all = Vec::new();
    for level in [
        "READ UNCOMMITTED",
        "READ COMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
    ] {
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        all.extend(every_way(
            level,
            &[
                &begin,
                "SHOW transaction_isolation",
                "SELECT 1",
                "COMMIT",
                "SHOW transaction_isolation",
                &begin,
                "COMMIT",
            ],
        ));
    }
    all.extend(every_way(
        "read only",
        &[
            "BEGIN READ ONLY",
            "INSERT INTO items VALUES (600, 'x')",
            "COMMIT",
            "BEGIN READ ONLY",
            "SHOW transaction_read_only",
            "COMMIT",
            "SHOW transaction_read_only",
        ],
    ));
    all.extend(every_way(
        "several modes",
        &[
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            "SELECT current_setting('transaction_isolation'), \
         current_setting('transaction_read_only'), current_setting('transaction_deferrable')",
            "COMMIT",
            "BEGIN TRANSACTION READ WRITE, NOT DEFERRABLE",
            "SHOW transaction_deferrable",
            "ROLLBACK",
        ],
    ));
    all.extend(every_way(
        "SET TRANSACTION first",
        &[
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SHOW transaction_isolation",
            "COMMIT",
            "BEGIN",
            "SET TRANSACTION READ ONLY",
            "INSERT INTO items VALUES (601, 'x')",
            "ROLLBACK",
        ],
    ));
    all.extend(every_way(
        "SET TRANSACTION too late",
        &[
            "BEGIN",
            "SELECT 1",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "ROLLBACK",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SHOW transaction_isolation",
            "SET transaction_read_only = on",
            "SHOW transaction_read_only",
        ],
    ));
    all.extend([
        simple(
            "SHOW first",
            &[
                "BEGIN",
                "SHOW transaction_isolation",
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "SHOW transaction_isolation",
                "COMMIT",
            ],
        ),
        simple(
            "read only and back",
            &[
                "BEGIN READ ONLY",
                "SET TRANSACTION READ WRITE",
                "INSERT INTO items VALUES (602, 'x')",
                "ROLLBACK",
                "BEGIN READ ONLY",
                "SELECT 1",
                "SET TRANSACTION READ WRITE",
                "COMMIT",
            ],
        ),
        simple(
            "modes in a string",
            &[
                "BEGIN READ ONLY; SELECT 1; INSERT INTO items VALUES (603, 'x')",
                "COMMIT",
                "BEGIN ISOLATION LEVEL SERIALIZABLE; SHOW transaction_isolation",
                "COMMIT; SHOW transaction_isolation",
            ],
        ),
        simple(
            "modes that contradict",
            &[
                "BEGIN READ ONLY READ WRITE",
                "SHOW transaction_read_only",
                "COMMIT",
                "BEGIN ISOLATION LEVEL SERIALIZABLE ISOLATION LEVEL READ COMMITTED",
                "SHOW transaction_isolation",
                "COMMIT",
            ],
        ),
        simple(
            "begun twice with another mode",
            &[
                "BEGIN",
                "BEGIN READ ONLY",
                "SHOW transaction_read_only",
                "COMMIT",
                "BEGIN",
                "SELECT 1",
                "BEGIN ISOLATION LEVEL SERIALIZABLE",
                "COMMIT",
            ],
        ),
        simple(
            "a snapshot is taken at the first statement",
            &[
                "BEGIN ISOLATION LEVEL REPEATABLE READ",
                "SELECT count(*) FROM items WHERE id = 604",
                "COMMIT",
                "SET TRANSACTION SNAPSHOT 'nonsense'",
                "BEGIN ISOLATION LEVEL SERIALIZABLE",
                "SET TRANSACTION SNAPSHOT 'nonsense'",
                "ROLLBACK",
            ],
        ),
    ]);
    all.push(talk(
        "the first statement's snapshot, not that of BEGIN",
        [
            q("CREATE TABLE seen (n int)"),
            q("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            aside("INSERT INTO seen VALUES (1)"),
            q("SELECT * FROM seen"),
            aside("INSERT INTO seen VALUES (2)"),
            q("SELECT * FROM seen"),
            q("COMMIT"),
            q("SELECT * FROM seen"),
            q("DROP TABLE seen"),
        ],
    ));
    all
}

fn extended() -> Vec<Conversation> {
    vec![
        talk(
            "each message group with a Sync of its own",
            [
                ask([unnamed("BEGIN"), sync()]),
                ask([unnamed("SELECT 1"), sync()]),
                ask([unnamed("SELECT 1/0"), sync()]),
                ask([unnamed("SELECT 1"), sync()]),
                ask([unnamed("COMMIT"), sync()]),
            ],
        ),
        talk(
            "all in one pipeline",
            [
                ask([
                    unnamed("BEGIN"),
                    unnamed("SELECT 1"),
                    unnamed("COMMIT"),
                    sync(),
                ]),
                ask([
                    unnamed("BEGIN"),
                    unnamed("SELECT 1/0"),
                    unnamed("COMMIT"),
                    sync(),
                ]),
                ask([unnamed("COMMIT"), sync()]),
            ],
        ),
        talk(
            "BEGIN and a statement together",
            [
                ask([
                    unnamed("BEGIN"),
                    unnamed("INSERT INTO items VALUES (510, 'x')"),
                    sync(),
                ]),
                ask([unnamed("SELECT count(*) FROM items WHERE id = 510"), sync()]),
                ask([
                    unnamed("ROLLBACK"),
                    unnamed("SELECT count(*) FROM items WHERE id = 510"),
                    sync(),
                ]),
            ],
        ),
        talk(
            "an implicit transaction over a pipeline",
            [
                ask([
                    unnamed("INSERT INTO items VALUES (511, 'x')"),
                    unnamed("SELECT 1/0"),
                    sync(),
                ]),
                q("SELECT count(*) FROM items WHERE id = 511"),
                ask([
                    unnamed("INSERT INTO items VALUES (511, 'x')"),
                    unnamed("DELETE FROM items WHERE id = 511"),
                    sync(),
                ]),
            ],
        ),
        talk(
            "BEGIN as a named statement, used again and again",
            [
                ask([
                    parse("b", "BEGIN"),
                    parse("c", "COMMIT"),
                    describe_statement("b"),
                    sync(),
                ]),
                ask([use_statement("b"), sync()]),
                ask([unnamed("SELECT 1"), sync()]),
                ask([use_statement("c"), sync()]),
                ask([use_statement("b"), sync()]),
                ask([use_statement("c"), sync()]),
                ask([use_statement("b"), use_statement("b"), sync()]),
                ask([use_statement("c"), use_statement("c"), sync()]),
            ],
        ),
        talk(
            "BEGIN through one protocol, the rest through the other",
            [
                q("BEGIN"),
                ask([unnamed("SELECT 1"), sync()]),
                q("SELECT 2"),
                ask([unnamed("COMMIT"), sync()]),
                ask([unnamed("BEGIN"), sync()]),
                q("COMMIT"),
            ],
        ),
        talk(
            "BEGIN and Flush",
            [
                until([unnamed("BEGIN"), flush()], b'C'),
                until([unnamed("SELECT 1"), flush()], b'C'),
                ask([sync()]),
                q("COMMIT"),
            ],
        ),
        talk(
            "BEGIN in pipelines sent at once",
            [
                ask([
                    unnamed("BEGIN"),
                    sync(),
                    unnamed("SELECT 1"),
                    sync(),
                    unnamed("COMMIT"),
                    sync(),
                ]),
                ask([
                    unnamed("BEGIN"),
                    sync(),
                    unnamed("SELECT 1/0"),
                    sync(),
                    unnamed("SELECT 2"),
                    sync(),
                    unnamed("ROLLBACK"),
                    sync(),
                ]),
                ask([
                    unnamed("BEGIN"),
                    sync(),
                    unnamed("COMMIT"),
                    sync(),
                    query("BEGIN"),
                    query("COMMIT"),
                ]),
            ],
        ),
        talk(
            "BEGIN that is described, bound and not executed",
            [
                ask([
                    parse("", "BEGIN"),
                    describe_statement(""),
                    bind("", "", &[]),
                    describe_portal(""),
                    sync(),
                ]),
                q("SELECT 1"),
                q("COMMIT"),
            ],
        ),
        talk(
            "only Sync after BEGIN",
            [
                q("BEGIN"),
                ask([sync()]),
                ask([sync(), sync()]),
                q("COMMIT"),
            ],
        ),
        talk(
            "an unknown name after BEGIN",
            [
                q("BEGIN"),
                ask([use_statement("nobody"), sync()]),
                q("SELECT 1"),
                q("ROLLBACK"),
                q("BEGIN"),
                ask([close_statement("nobody"), sync()]),
                ask([parse("s", "SELECT 's'"), sync()]),
                q("COMMIT"),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "BEGIN with parameters that do not fit",
            [
                ask([
                    parse("", "BEGIN"),
                    bind("", "", &["x"]),
                    execute(""),
                    sync(),
                ]),
                q("SELECT 1"),
                ask([
                    parse("", "BEGIN ISOLATION LEVEL NONE"),
                    bind("", "", &[]),
                    execute(""),
                    sync(),
                ]),
                q("SELECT 1"),
            ],
        ),
    ]
}

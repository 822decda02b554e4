//! PREPARE, EXECUTE and DEALLOCATE of SQL, which share their names with the protocol's statements.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{Conversation, ask, every_way, q, simple, talk, unnamed, use_statement},
    proof::prove,
    support::message::*,
};

/// Those of SQL, by name.
const LIST: &str =
    "SELECT name, statement FROM pg_prepared_statements WHERE from_sql ORDER BY name";

#[test]
fn prepared_by_sql() {
    prove(201, by_sql());
}

#[test]
fn prepared_by_both() {
    prove(202, by_both());
}

fn by_sql() -> Vec<Conversation> {
    let mut all = vec![
        simple(
            "prepared, executed, deallocated",
            &[
                "PREPARE s AS SELECT 'mine'",
                "EXECUTE s",
                "EXECUTE s",
                "DEALLOCATE s",
                "EXECUTE s",
                "DEALLOCATE s",
            ],
        ),
        simple(
            "with parameters",
            &[
                "PREPARE s (int, text) AS SELECT $1 + 1, $2 || '!'",
                "EXECUTE s(1, 'x')",
                "EXECUTE s(2, $$y$$)",
                "EXECUTE s(1)",
                "EXECUTE s('one', 'x')",
                "PREPARE s1 AS SELECT $1::int",
                "EXECUTE s1(7)",
            ],
        ),
        simple(
            "a name that is taken",
            &[
                "PREPARE s AS SELECT 1",
                "PREPARE s AS SELECT 2",
                "EXECUTE s",
                "PREPARE S AS SELECT 3",
                "EXECUTE \"s\"",
            ],
        ),
        simple(
            "quoted names",
            &[
                "PREPARE \"S t\" AS SELECT 'quoted'",
                "PREPARE s AS SELECT 'plain'",
                "EXECUTE \"S t\"",
                "EXECUTE s",
                "DEALLOCATE PREPARE \"S t\"",
                "EXECUTE \"S t\"",
                "EXECUTE s",
            ],
        ),
        simple(
            "names of others",
            &[
                "EXECUTE s",
                "DEALLOCATE s",
                "DEALLOCATE pgring_1",
                "EXECUTE pgring_1",
            ],
        ),
        simple(
            "all deallocated",
            &[
                "PREPARE s AS SELECT 1",
                "PREPARE s1 AS SELECT 2",
                "DEALLOCATE ALL",
                "EXECUTE s",
            ],
        ),
        simple(
            "all discarded",
            &[
                "PREPARE s AS SELECT 1",
                "DISCARD ALL",
                "EXECUTE s",
                "PREPARE s AS SELECT 2",
                "EXECUTE s",
            ],
        ),
        simple(
            "plans discarded",
            &["PREPARE s AS SELECT 'stays'", "DISCARD PLANS", "EXECUTE s"],
        ),
        simple(
            "the list of them",
            &[
                LIST,
                "PREPARE s AS SELECT 1",
                LIST,
                "PREPARE s1 AS SELECT 2",
                LIST,
                "DEALLOCATE ALL",
                LIST,
            ],
        ),
        simple(
            "several in one string",
            &[
                "PREPARE s AS SELECT 's'; PREPARE s1 AS SELECT 's1'; EXECUTE s",
                "EXECUTE s1; DEALLOCATE s; EXECUTE s",
                "EXECUTE s1",
            ],
        ),
        simple(
            "a string that fails keeps what it prepared",
            &[
                "PREPARE s AS SELECT 's'; SELECT 1/0; PREPARE s1 AS SELECT 1",
                "EXECUTE s",
                "EXECUTE s1",
            ],
        ),
        simple(
            "prepared in a transaction that is rolled back",
            &[
                "BEGIN",
                "PREPARE s AS SELECT 's'",
                "ROLLBACK",
                "EXECUTE s",
                "BEGIN",
                "DEALLOCATE s",
                "ROLLBACK",
                "EXECUTE s",
            ],
        ),
        simple(
            "prepared in a failed transaction",
            &[
                "BEGIN",
                "SELECT 1/0",
                "PREPARE s AS SELECT 1",
                "EXECUTE s",
                "DEALLOCATE ALL",
                "COMMIT",
                "EXECUTE s",
            ],
        ),
        simple(
            "a PREPARE that fails",
            &[
                "PREPARE s AS SELECT * FROM nowhere",
                "EXECUTE s",
                "PREPARE s AS SELEC",
                "EXECUTE s",
            ],
        ),
        simple(
            "comments, case and white space",
            &[
                "/* one */ prepare -- two\n s\tas select 'found'",
                "ExEcUtE/**/s",
                "execute /* a /* nested */ one */ s;",
                "deallocate\n\nprepare\ts ;",
                "EXECUTE s",
            ],
        ),
        simple(
            "explained and stored",
            &[
                "PREPARE s (int) AS SELECT id, name FROM items WHERE id < $1 ORDER BY id",
                "EXPLAIN (COSTS OFF) EXECUTE s(5)",
                "CREATE TABLE stored AS EXECUTE s(3)",
                "SELECT * FROM stored",
                "DROP TABLE stored",
                "PREPARE s1 (int) AS INSERT INTO items VALUES ($1, 'new') RETURNING name",
                "EXECUTE s1(700)",
                "EXECUTE s1(700)",
                "DELETE FROM items WHERE id = 700",
                "DECLARE c CURSOR FOR EXECUTE s(2)",
            ],
        ),
    ];
    all.extend(every_way(
        "prepared by SQL, each way",
        &[
            "PREPARE q AS SELECT 'q'",
            "EXECUTE q",
            "DEALLOCATE q",
            "EXECUTE q",
        ],
    ));
    all
}

fn by_both() -> Vec<Conversation> {
    vec![
        talk(
            "EXECUTE of a name of the protocol",
            [
                ask([parse("s", "SELECT $1::int + 1"), sync()]),
                q("EXECUTE s(41)"),
                q("EXECUTE s"),
                q("DEALLOCATE s"),
                ask([bind("", "s", &["1"]), execute(""), sync()]),
                q("EXECUTE s(41)"),
            ],
        ),
        talk(
            "Bind of a name of SQL",
            [
                q("PREPARE s AS SELECT $1::text"),
                ask([
                    bind("", "s", &["bound"]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
                ask([describe_statement("s"), sync()]),
                ask([close_statement("s"), sync()]),
                q("EXECUTE s('x')"),
                ask([bind("", "s", &["bound"]), execute(""), sync()]),
            ],
        ),
        talk(
            "names that the other side has taken",
            [
                q("PREPARE s AS SELECT 'by SQL'"),
                ask([parse("s", "SELECT 'by the protocol'"), sync()]),
                ask([parse("s1", "SELECT 'by the protocol'"), sync()]),
                q("PREPARE s1 AS SELECT 'by SQL'"),
                q("EXECUTE s; EXECUTE s1"),
                ask([use_statement("s"), use_statement("s1"), sync()]),
            ],
        ),
        talk(
            "DEALLOCATE ALL ends both",
            [
                q("PREPARE s AS SELECT 's'"),
                ask([parse("s1", "SELECT 's1'"), sync()]),
                q("DEALLOCATE ALL"),
                ask([use_statement("s1"), sync()]),
                q("EXECUTE s"),
                ask([parse("s1", "SELECT 'new'"), use_statement("s1"), sync()]),
            ],
        ),
        talk(
            "DISCARD ALL ends both, and the settings",
            [
                ask([parse("s1", "SELECT 's1'"), sync()]),
                q("SET work_mem = '9MB'"),
                q("DISCARD ALL"),
                q("SHOW work_mem"),
                ask([use_statement("s1"), sync()]),
                ask([parse("s1", "SELECT 'new'"), use_statement("s1"), sync()]),
            ],
        ),
        talk(
            "DEALLOCATE through the extended protocol",
            [
                ask([parse("s", "SELECT 's'"), parse("s1", "SELECT 's1'"), sync()]),
                ask([unnamed("DEALLOCATE s"), use_statement("s1"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([
                    parse("d", "DEALLOCATE ALL"),
                    use_statement("d"),
                    use_statement("s1"),
                    sync(),
                ]),
                ask([use_statement("s1"), sync()]),
                ask([use_statement("d"), sync()]),
            ],
        ),
        talk(
            "DEALLOCATE that is skipped",
            [
                ask([parse("s", "SELECT 's'"), sync()]),
                ask([unnamed("SELECT 1/0"), unnamed("DEALLOCATE s"), sync()]),
                ask([use_statement("s"), sync()]),
                q("SELECT 1/0; DEALLOCATE ALL"),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "DEALLOCATE in a transaction is not undone",
            [
                ask([parse("s", "SELECT 's'"), sync()]),
                q("BEGIN"),
                q("DEALLOCATE s"),
                q("ROLLBACK"),
                ask([use_statement("s"), sync()]),
                ask([parse("s", "SELECT 'new'"), use_statement("s"), sync()]),
            ],
        ),
        talk(
            "PREPARE through the extended protocol",
            [
                ask([unnamed("PREPARE s AS SELECT 'by SQL'"), sync()]),
                ask([
                    parse("e", "EXECUTE s"),
                    describe_statement("e"),
                    use_statement("e"),
                    sync(),
                ]),
                ask([use_statement("e"), use_statement("s"), sync()]),
                q("DEALLOCATE s"),
                ask([use_statement("e"), sync()]),
            ],
        ),
        talk(
            "DEALLOCATE with words that only look like it",
            [
                ask([parse("s", "SELECT 's'"), sync()]),
                q("SELECT 'DEALLOCATE ALL' AS \"DISCARD ALL\""),
                q("-- DEALLOCATE ALL\nSELECT 1"),
                q("DEALLOCATE \"all\""),
                ask([use_statement("s"), sync()]),
                q("DEALLOCATE ALL; SELECT 1"),
                ask([use_statement("s"), sync()]),
            ],
        ),
    ]
}

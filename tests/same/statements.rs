//! Statements and portals of the extended protocol: their names, their lives, pipelines and what an error
//! leaves of them.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{Conversation, aside, ask, q, talk, unnamed, until, use_statement},
    proof::prove,
    support::message::*,
};

const INT4: u32 = 23;
const TEXT: u32 = 25;

#[test]
fn names_belong_to_their_client() {
    prove(101, names());
}

#[test]
fn errors_in_pipelines_leave_what_they_should() {
    prove(102, errors());
}

#[test]
fn descriptions_types_and_formats_are_exact() {
    prove(103, shapes());
}

#[test]
fn portals_live_as_long_as_they_should() {
    prove(104, portals());
}

#[test]
fn statements_survive_changes_of_their_tables() {
    prove(105, changes());
}

fn names() -> Vec<Conversation> {
    let use_s = || all([use_statement("s"), sync()]);
    let parse_s = || all([parse("s", "SELECT 'mine', 1 AS n"), sync()]);
    vec![
        talk(
            "a named statement, used in later pipelines",
            [
                ask([parse("s", "SELECT $1::int + 1"), sync()]),
                ask([bind("", "s", &["1"]), execute(""), sync()]),
                ask([
                    bind("", "s", &["2"]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
                q("SELECT 'in between'"),
                ask([bind("", "s", &["3"]), execute(""), sync()]),
            ],
        ),
        talk(
            "several names at once",
            [
                ask([parse("s", "SELECT 's'"), parse("s1", "SELECT 's1'"), sync()]),
                ask([parse("s2", "SELECT 's2'"), sync()]),
                ask([
                    use_statement("s2"),
                    use_statement("s"),
                    use_statement("s1"),
                    sync(),
                ]),
                ask([use_statement("s1"), sync(), use_statement("s"), sync()]),
                ask([describe_statement("s"), describe_statement("s2"), sync()]),
            ],
        ),
        talk(
            "the same text under two names",
            [
                ask([
                    parse("s", "SELECT 'same'"),
                    parse("s1", "SELECT 'same'"),
                    sync(),
                ]),
                ask([close_statement("s"), sync()]),
                ask([use_statement("s1"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([parse("s", "SELECT 'same'"), use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a name that is taken",
            [
                ask([parse_s()]),
                ask([parse("s", "SELECT 'other'"), sync()]),
                ask([use_s()]),
            ],
        ),
        talk(
            "a name that is taken, with the same text",
            [ask([parse_s()]), ask([parse_s()]), ask([use_s()])],
        ),
        talk(
            "a name that is taken, in the middle of a pipeline",
            [
                ask([parse_s()]),
                ask([
                    use_statement("s"),
                    parse("s", "SELECT 2"),
                    use_statement("s"),
                    sync(),
                ]),
                ask([use_s()]),
            ],
        ),
        talk(
            "unknown names",
            [
                ask([use_statement("nobody"), sync()]),
                ask([describe_statement("nobody"), sync()]),
                ask([describe_portal("nobody"), sync()]),
                ask([execute("nobody"), sync()]),
                ask([close_statement("nobody"), close_portal("nobody"), sync()]),
                ask([use_statement("pgring_1"), sync()]),
                ask([describe_statement("pgring_1"), sync()]),
                ask([use_statement(""), sync()]),
                ask([describe_statement(""), sync()]),
                ask([describe_portal(""), sync()]),
                ask([execute(""), sync()]),
                q("SELECT 'still here'"),
            ],
        ),
        talk(
            "names that pgring might use",
            [
                ask([
                    parse("pgring_1", "SELECT 'p1'"),
                    parse("pgring_2", "SELECT 'p2'"),
                    sync(),
                ]),
                ask([parse("pgring_0", "SELECT 'p0'"), sync()]),
                ask([
                    use_statement("pgring_2"),
                    use_statement("pgring_1"),
                    use_statement("pgring_0"),
                    sync(),
                ]),
                q("DEALLOCATE pgring_1"),
                ask([use_statement("pgring_1"), sync()]),
                ask([use_statement("pgring_2"), sync()]),
            ],
        ),
        talk(
            "names that pgring might use, by SQL",
            [
                ask([parse_s()]),
                q("EXECUTE pgring_1"),
                q("EXECUTE pgring_2"),
                q("DEALLOCATE pgring_3"),
                ask([use_s()]),
                q("PREPARE pgring_1 AS SELECT 'mine'"),
                q("PREPARE pgring_4 AS SELECT 'mine, too'"),
                ask([parse("s1", "SELECT 's1'"), use_statement("s1"), sync()]),
                ask([parse("s2", "SELECT 's2'"), use_statement("s2"), sync()]),
                q("EXECUTE pgring_1"),
                q("EXECUTE pgring_4"),
                q("DEALLOCATE pgring_1"),
                q("DEALLOCATE pgring_4"),
                ask([use_statement("s1"), sync()]),
                ask([use_s()]),
            ],
        ),
        talk(
            "closed, then used",
            [
                ask([parse_s()]),
                ask([close_statement("s"), sync()]),
                ask([use_s()]),
                ask([close_statement("s"), sync()]),
                ask([parse("s", "SELECT 'again'"), sync()]),
                ask([use_s()]),
            ],
        ),
        talk(
            "closed and parsed anew in one pipeline",
            [
                ask([parse_s()]),
                ask([
                    close_statement("s"),
                    parse("s", "SELECT 'new'"),
                    use_statement("s"),
                    sync(),
                ]),
                ask([use_s()]),
            ],
        ),
        talk(
            "the unnamed statement, twice and later",
            [
                ask([
                    parse("", "SELECT 'first'"),
                    parse("", "SELECT 'second'"),
                    sync(),
                ]),
                ask([use_statement(""), sync()]),
                ask([use_statement(""), use_statement(""), sync()]),
                ask([describe_statement(""), sync()]),
                ask([parse("", "SELECT 'third', 3"), sync()]),
                ask([describe_statement(""), use_statement(""), sync()]),
            ],
        ),
        talk(
            "a simple query ends the unnamed statement",
            [
                ask([parse("", "SELECT 'unnamed'"), sync()]),
                ask([use_statement(""), sync()]),
                q("SELECT 1"),
                ask([use_statement(""), sync()]),
                ask([parse("", "SELECT 'unnamed'"), sync()]),
                q(""),
                ask([use_statement(""), sync()]),
            ],
        ),
        talk(
            "the unnamed statement, closed",
            [
                ask([parse("", "SELECT 'unnamed'"), sync()]),
                ask([close_statement(""), sync()]),
                ask([use_statement(""), sync()]),
            ],
        ),
        talk(
            "a failed Parse of the unnamed statement",
            [
                ask([parse("", "SELECT 'good'"), sync()]),
                ask([parse("", "SELEC"), sync()]),
                ask([use_statement(""), sync()]),
            ],
        ),
        talk(
            "names with quotes and capitals",
            [
                ask([parse("S", "SELECT 'S'"), parse("s", "SELECT 's'"), sync()]),
                ask([parse("a \"b\"; DROP", "SELECT 'quoted'"), sync()]),
                ask([
                    use_statement("S"),
                    use_statement("s"),
                    use_statement("a \"b\"; DROP"),
                    sync(),
                ]),
                ask([use_statement("a \"b\""), sync()]),
            ],
        ),
    ]
}

fn errors() -> Vec<Conversation> {
    vec![
        talk(
            "a Parse that was skipped",
            [
                ask([
                    parse("", "SELECT 1/0"),
                    use_statement(""),
                    parse("s", "SELECT 's'"),
                    sync(),
                ]),
                ask([use_statement("s"), sync()]),
                ask([parse("s", "SELECT 'now'"), use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a Parse before the error stays",
            [
                ask([parse("s", "SELECT 's'"), use_statement("nobody"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([
                    parse("s1", "SELECT 1/0"),
                    use_statement("s1"),
                    use_statement("s1"),
                    sync(),
                ]),
                ask([use_statement("s1"), sync()]),
            ],
        ),
        talk(
            "a Close that was skipped",
            [
                ask([parse("s", "SELECT 's'"), sync()]),
                ask([use_statement("nobody"), close_statement("s"), sync()]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a Close and a Parse that were skipped",
            [
                ask([parse("s", "SELECT 'old'"), sync()]),
                ask([
                    unnamed("SELECT 1/0"),
                    close_statement("s"),
                    parse("s", "SELECT 'new'"),
                    sync(),
                ]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a Close before the error stays",
            [
                ask([parse("s", "SELECT 's'"), sync()]),
                ask([close_statement("s"), use_statement("nobody"), sync()]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a Parse that fails",
            [
                ask([parse("s", "SELECT * FROM nothing_there"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([
                    parse("s", "SELEC"),
                    use_statement("s"),
                    parse("s1", "SELECT 1"),
                    sync(),
                ]),
                ask([use_statement("s1"), sync()]),
                ask([parse("s", "SELECT 'better'"), use_statement("s"), sync()]),
            ],
        ),
        talk(
            "two pipelines at once, the first one fails",
            [
                ask([
                    unnamed("SELECT 1/0"),
                    parse("s", "SELECT 1"),
                    sync(),
                    parse("s1", "SELECT 's1'"),
                    sync(),
                ]),
                ask([use_statement("s"), sync(), use_statement("s1"), sync()]),
            ],
        ),
        talk(
            "many pipelines at once",
            [ask([
                all([parse("s", "SELECT 's' || $1"), sync()]),
                all([bind("", "s", &["1"]), execute(""), sync()]),
                all([bind("", "s", &["2"]), execute(""), sync()]),
                all([use_statement("nobody"), sync(), query("SELECT 'simple'")]),
                all([bind("", "s", &["3"]), execute(""), sync()]),
                all([close_statement("s"), sync(), use_statement("s"), sync()]),
            ])],
        ),
        talk(
            "prepared in a transaction that is rolled back",
            [
                q("BEGIN"),
                ask([parse("s", "SELECT 'stays'"), sync()]),
                q("ROLLBACK"),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "Parse, Bind and Close in a failed transaction",
            [
                ask([parse("s", "SELECT 's'"), parse("r", "ROLLBACK"), sync()]),
                q("BEGIN"),
                q("SELECT 1/0"),
                ask([parse("s1", "SELECT 1"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([describe_statement("s"), sync()]),
                ask([describe_statement("r"), sync()]),
                ask([close_statement("s"), sync()]),
                ask([parse("s2", "ROLLBACK"), sync()]),
                ask([use_statement("r"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([use_statement("s1"), sync()]),
                q("BEGIN"),
                ask([use_statement("s2"), sync()]),
            ],
        ),
        talk(
            "prepared and then an error in the same transaction",
            [
                q("BEGIN"),
                ask([parse("s", "SELECT 's'"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([unnamed("SELECT 1/0"), sync()]),
                q("COMMIT"),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "errors while an answer is asked for with Flush",
            [
                until([parse("s", "SELECT 1/0"), flush()], b'1'),
                until([use_statement("s"), flush()], b'D'),
                ask([parse("s1", "SELECT 1"), sync()]),
                ask([use_statement("s1"), sync()]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a unique violation in the middle",
            [
                ask([
                    unnamed("INSERT INTO items VALUES (1000, 'new')"),
                    parse("s", "SELECT 's'"),
                    unnamed("INSERT INTO items VALUES (1, 'taken')"),
                    parse("s1", "SELECT 's1'"),
                    sync(),
                ]),
                q("SELECT count(*) FROM items WHERE id = 1000"),
                ask([use_statement("s"), sync(), use_statement("s1"), sync()]),
            ],
        ),
    ]
}

fn shapes() -> Vec<Conversation> {
    let many: Vec<String> = (1..=300).map(|number| format!("${number}::int")).collect();
    let many = format!("SELECT {}", many.join(" + "));
    let values: Vec<String> = (1..=300).map(|number: i32| number.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let five: &[u8] = &5_i32.to_be_bytes();
    vec![
        talk(
            "parameter types given, or not, or in part",
            [
                ask([
                    parse_typed("s", "SELECT $1, $2", &[INT4, TEXT]),
                    describe_statement("s"),
                    sync(),
                ]),
                ask([
                    parse_typed("s1", "SELECT $1, $2::date", &[INT4]),
                    describe_statement("s1"),
                    sync(),
                ]),
                ask([
                    parse_typed("s2", "SELECT $1, $2", &[0, INT4]),
                    describe_statement("s2"),
                    sync(),
                ]),
                ask([
                    parse("s3", "SELECT $1 + 1, $2"),
                    describe_statement("s3"),
                    sync(),
                ]),
                ask([
                    bind("", "s", &["1", "x"]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
                ask([bind("", "s1", &["2", "2024-02-29"]), execute(""), sync()]),
                ask([bind("", "s2", &["x", "3"]), execute(""), sync()]),
                ask([bind("", "s3", &["4", "y"]), execute(""), sync()]),
            ],
        ),
        talk(
            "the same text with other types",
            [
                ask([
                    parse_typed("s", "SELECT $1", &[INT4]),
                    parse_typed("s1", "SELECT $1", &[TEXT]),
                    sync(),
                ]),
                ask([describe_statement("s"), describe_statement("s1"), sync()]),
                ask([
                    bind("", "s", &["5"]),
                    execute(""),
                    bind("", "s1", &["five"]),
                    execute(""),
                    sync(),
                ]),
                ask([bind("", "s", &["five"]), execute(""), sync()]),
            ],
        ),
        talk(
            "a parameter whose type nobody knows",
            [
                ask([parse("s", "SELECT $1 IS NULL"), sync()]),
                ask([parse("s1", "SELECT $2::int"), sync()]),
                ask([
                    parse_typed("s2", "SELECT 1", &[INT4, INT4]),
                    describe_statement("s2"),
                    sync(),
                ]),
                ask([bind("", "s2", &["1", "2"]), execute(""), sync()]),
            ],
        ),
        talk(
            "too few and too many parameters",
            [
                ask([parse("s", "SELECT $1::int, $2::int"), sync()]),
                ask([bind("", "s", &["1"]), execute(""), sync()]),
                ask([bind("", "s", &["1", "2", "3"]), execute(""), sync()]),
                ask([bind("", "s", &[]), execute(""), sync()]),
                ask([bind("", "s", &["1", "2"]), execute(""), sync()]),
            ],
        ),
        talk(
            "text and binary",
            [
                ask([
                    parse("s", "SELECT $1::int, $2::text, now() IS NULL"),
                    sync(),
                ]),
                ask([
                    bind_formats("", "s", (&[Some(five), Some(b"x")], &[1, 0]), &[1, 0, 1]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
                ask([
                    bind_formats("", "s", (&[Some(b"7"), None], &[]), &[1]),
                    execute(""),
                    sync(),
                ]),
                ask([
                    bind_formats("", "s", (&[Some(five), Some(b"x")], &[1]), &[0]),
                    execute(""),
                    sync(),
                ]),
                ask([
                    bind_formats("", "s", (&[Some(b"5"), None], &[1, 1, 1]), &[0]),
                    execute(""),
                    sync(),
                ]),
                ask([
                    bind_formats("", "s", (&[Some(b"12345"), None], &[1, 1]), &[0]),
                    execute(""),
                    sync(),
                ]),
                ask([
                    bind_formats("", "s", (&[None, None], &[2]), &[9]),
                    execute(""),
                    sync(),
                ]),
            ],
        ),
        talk(
            "three hundred parameters",
            [
                ask([parse("s", &many), describe_statement("s"), sync()]),
                ask([bind("", "s", &values), execute(""), sync()]),
            ],
        ),
        talk(
            "statements that are empty or answer nothing",
            [
                ask([parse("s", ""), describe_statement("s"), sync()]),
                ask([bind("", "s", &[]), describe_portal(""), execute(""), sync()]),
                ask([
                    parse("s1", "-- nothing"),
                    describe_statement("s1"),
                    use_statement("s1"),
                    sync(),
                ]),
                ask([
                    parse("s2", "SELECT"),
                    describe_statement("s2"),
                    use_statement("s2"),
                    sync(),
                ]),
                ask([unnamed("SELECT 1; SELECT 2"), sync()]),
            ],
        ),
        talk(
            "statements over tables and types of one's own",
            [
                ask([
                    parse("s", "SELECT * FROM items WHERE id = $1"),
                    describe_statement("s"),
                    sync(),
                ]),
                ask([
                    bind("", "s", &["7"]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
                ask([
                    parse("s1", "SELECT $1::mood, 'cross'::mood"),
                    describe_statement("s1"),
                    sync(),
                ]),
                ask([
                    bind("", "s1", &["calm"]),
                    execute(""),
                    bind("", "s1", &["glad"]),
                    execute(""),
                    sync(),
                ]),
                ask([
                    parse(
                        "s2",
                        "UPDATE items SET price = price WHERE id = $1 RETURNING id, name",
                    ),
                    describe_statement("s2"),
                    bind("", "s2", &["9"]),
                    execute(""),
                    sync(),
                ]),
                ask([
                    parse("s3", "DELETE FROM items WHERE id = $1"),
                    describe_statement("s3"),
                    sync(),
                ]),
                ask([bind("", "s3", &["-1"]), execute(""), sync()]),
            ],
        ),
        talk(
            "a syntax error in a statement, with its place",
            [
                ask([parse("s", "SELECT 1 FROM WHERE"), sync()]),
                ask([unnamed("SELECT nothing"), sync()]),
                ask([unnamed("SELECT 'x'::int"), sync()]),
                q("SELECT  1 FROM WHERE"),
            ],
        ),
    ]
}

fn portals() -> Vec<Conversation> {
    let rows = "SELECT n FROM generate_series(1, 10) n";
    vec![
        talk(
            "a portal with a row limit, in a transaction",
            [
                q("BEGIN"),
                ask([
                    parse("s", rows),
                    bind("p", "s", &[]),
                    execute_rows("p", 3),
                    sync(),
                ]),
                ask([execute_rows("p", 3), sync()]),
                ask([
                    describe_portal("p"),
                    execute_rows("p", 2),
                    execute("p"),
                    sync(),
                ]),
                ask([execute("p"), sync()]),
                q("COMMIT"),
                ask([execute("p"), sync()]),
            ],
        ),
        talk(
            "a row limit outside a transaction",
            [
                ask([
                    parse("", rows),
                    bind("", "", &[]),
                    execute_rows("", 3),
                    execute_rows("", 3),
                    sync(),
                ]),
                ask([execute_rows("", 3), sync()]),
                ask([
                    parse("", rows),
                    bind("p", "", &[]),
                    execute_rows("p", 10),
                    execute_rows("p", 10),
                    sync(),
                ]),
            ],
        ),
        talk(
            "a row limit with Flush",
            [
                until(
                    [
                        parse("", rows),
                        bind("p", "", &[]),
                        execute_rows("p", 4),
                        flush(),
                    ],
                    b's',
                ),
                until([execute_rows("p", 4), flush()], b's'),
                until([execute_rows("p", 4), flush()], b'C'),
                ask([close_portal("p"), sync()]),
            ],
        ),
        talk(
            "two portals, interleaved",
            [
                q("BEGIN"),
                ask([
                    parse("s", rows),
                    bind("p", "s", &[]),
                    bind("o", "s", &[]),
                    sync(),
                ]),
                ask([
                    execute_rows("p", 2),
                    execute_rows("o", 3),
                    execute_rows("p", 1),
                    sync(),
                ]),
                q("SELECT 'in between'"),
                ask([
                    close_portal("p"),
                    execute_rows("o", 1),
                    execute_rows("p", 1),
                    sync(),
                ]),
                q("ROLLBACK"),
            ],
        ),
        talk(
            "a portal that exists already",
            [
                q("BEGIN"),
                ask([
                    parse("s", rows),
                    bind("p", "s", &[]),
                    bind("p", "s", &[]),
                    sync(),
                ]),
                q("ROLLBACK"),
            ],
        ),
        talk(
            "a portal outlives its statement's name",
            [
                q("BEGIN"),
                ask([
                    parse("s", rows),
                    bind("p", "s", &[]),
                    close_statement("s"),
                    sync(),
                ]),
                ask([execute_rows("p", 2), sync()]),
                ask([use_statement("s"), sync()]),
                q("ROLLBACK"),
            ],
        ),
        talk(
            "SQL fetches from a portal, and the protocol from a cursor",
            [
                q("BEGIN"),
                ask([
                    parse("s", rows),
                    bind("p", "s", &[]),
                    execute_rows("p", 2),
                    sync(),
                ]),
                q("FETCH 2 FROM p"),
                q("DECLARE c CURSOR FOR SELECT * FROM items ORDER BY id"),
                ask([describe_portal("c"), execute_rows("c", 1), sync()]),
                q("FETCH FROM c"),
                q("MOVE 3 IN c"),
                q("FETCH FROM c"),
                q("CLOSE p"),
                ask([close_portal("c"), sync()]),
                q("COMMIT"),
            ],
        ),
        talk(
            "an update with a row limit",
            [ask([
                parse(
                    "",
                    "UPDATE items SET price = price WHERE id < 5 RETURNING id",
                ),
                bind("", "", &[]),
                execute_rows("", 2),
                execute_rows("", 9),
                sync(),
            ])],
        ),
        talk(
            "Flush, step by step",
            [
                until([parse("s", "SELECT $1::text"), flush()], b'1'),
                until([describe_statement("s"), flush()], b'T'),
                until([bind("", "s", &["a"]), flush()], b'2'),
                until([describe_portal(""), flush()], b'T'),
                until([execute(""), flush()], b'C'),
                until([close_statement("s"), flush()], b'3'),
                ask([sync()]),
                ask([sync()]),
                ask([flush(), sync(), flush()]),
                ask([use_statement("s"), sync()]),
            ],
        ),
    ]
}

/// What a direct connection answers with 0A000, pgring may heal.
fn changes() -> Vec<Conversation> {
    let with = |name: &str, change: &str, undo: &str| {
        talk(
            name,
            [
                q("CREATE TABLE changing AS SELECT 1 AS a, 'x'::text AS b"),
                ask([
                    parse("s", "SELECT * FROM changing"),
                    use_statement("s"),
                    sync(),
                ]),
                q(change),
                ask([use_statement("s"), sync()]),
                q(undo),
                q("DROP TABLE IF EXISTS changing"),
            ],
        )
    };
    vec![
        with(
            "an index",
            "CREATE INDEX ON changing (a)",
            "ANALYZE changing",
        ),
        with(
            "a column more",
            "ALTER TABLE changing ADD c int",
            "ALTER TABLE changing DROP c",
        )
        .or_better(),
        with(
            "another type",
            "ALTER TABLE changing ALTER b TYPE varchar(9)",
            "ALTER TABLE changing ALTER b TYPE text",
        )
        .or_better(),
        with(
            "a table made anew",
            "DROP TABLE changing; CREATE TABLE changing AS SELECT 2 AS a, 'y'::text AS b",
            "SELECT 1",
        ),
        talk(
            "another search path",
            [
                q("CREATE SCHEMA elsewhere CREATE TABLE items AS SELECT 'elsewhere' AS name"),
                ask([
                    parse("s", "SELECT name FROM items LIMIT 1"),
                    use_statement("s"),
                    sync(),
                ]),
                q("SET search_path = elsewhere, public"),
                ask([use_statement("s"), sync()]),
                ask([
                    parse("s1", "SELECT name FROM items LIMIT 1"),
                    use_statement("s1"),
                    sync(),
                ]),
                q("RESET search_path"),
                ask([use_statement("s1"), use_statement("s"), sync()]),
                q("DROP SCHEMA elsewhere CASCADE"),
            ],
        ),
        talk(
            "somebody else changes the table",
            [
                q("CREATE TABLE changing AS SELECT 1 AS a"),
                ask([
                    parse("s", "SELECT * FROM changing"),
                    use_statement("s"),
                    sync(),
                ]),
                aside("ALTER TABLE changing ADD b int"),
                ask([use_statement("s"), sync()]),
                q("DROP TABLE changing"),
            ],
        )
        .or_better(),
        talk(
            "settings that change what a text means",
            [
                q("SET DateStyle = 'ISO, DMY'"),
                ask([
                    parse("s", "SELECT '03-04-2024'::date"),
                    use_statement("s"),
                    sync(),
                ]),
                q("SET DateStyle = 'ISO, MDY'"),
                ask([use_statement("s"), sync()]),
                ask([
                    parse("s1", "SELECT '03-04-2024'::date"),
                    use_statement("s1"),
                    sync(),
                ]),
                q("SET standard_conforming_strings = off"),
                ask([parse("s2", "SELECT 'a\\'b'"), use_statement("s2"), sync()]),
                q("SET standard_conforming_strings = on"),
                ask([use_statement("s2"), sync()]),
                ask([parse("s3", "SELECT 'a\\'"), use_statement("s3"), sync()]),
            ],
        ),
    ]
}

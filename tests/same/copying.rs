//! COPY in both directions and both protocols, to its end, to an error, and given up.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{Conversation, ask, q, simple, talk, unnamed, until},
    proof::prove,
    support::message::*,
};

const IN: &str = "COPY items (id, name) FROM STDIN";
const CLEAN: &str = "DELETE FROM items WHERE id > 1000";

#[test]
fn copying() {
    prove(601, conversations());
}

fn conversations() -> Vec<Conversation> {
    let copy = || all([parse("", IN), bind("", "", &[]), execute("")]);
    vec![
        simple(
            "out",
            &[
                "COPY (SELECT id, name FROM items WHERE id < 5 ORDER BY id) TO STDOUT",
                "COPY (SELECT 1, NULL, 'a\tb') TO STDOUT (FORMAT csv, HEADER)",
                "COPY (SELECT 1::int, 'x'::text) TO STDOUT (FORMAT binary)",
                "COPY nowhere TO STDOUT",
                "COPY (SELECT 1/(3-n) FROM generate_series(1, 5) n) TO STDOUT",
                "COPY (SELECT 1) TO STDOUT; SELECT 2; COPY (SELECT 3) TO STDOUT",
            ],
        ),
        talk(
            "in",
            [
                until([query(IN)], b'G'),
                ask([
                    copy_data(b"1001\tone\n1002\tt"),
                    copy_data(b"wo\n"),
                    copy_done(),
                ]),
                q("SELECT id, name FROM items WHERE id > 1000 ORDER BY id"),
                q(CLEAN),
            ],
        ),
        talk(
            "in, sent at once",
            [
                ask([query(IN), copy_data(b"1001\tone\n"), copy_done()]),
                ask([query(IN), copy_done(), query("SELECT 1")]),
                q(CLEAN),
            ],
        ),
        talk(
            "in, with a row that is wrong",
            [
                until([query(IN)], b'G'),
                ask([
                    copy_data(b"1001\tone\n"),
                    copy_data(b"x\ty\n"),
                    copy_data(b"1002\ttwo\n"),
                    copy_done(),
                ]),
                q("SELECT count(*) FROM items WHERE id > 1000"),
            ],
        ),
        talk(
            "in, given up",
            [
                until([query(IN)], b'G'),
                ask([copy_data(b"1001\tone\n"), copy_fail("no more")]),
                q("SELECT count(*) FROM items WHERE id > 1000"),
            ],
        ),
        talk(
            "in, in a transaction",
            [
                q("BEGIN"),
                until([query(IN)], b'G'),
                ask([copy_data(b"1001\tone\n"), copy_done()]),
                q("SELECT count(*) FROM items WHERE id > 1000"),
                q("ROLLBACK"),
                q("BEGIN"),
                until([query(IN)], b'G'),
                ask([copy_fail("no")]),
                q("SELECT 1"),
                q("COMMIT"),
            ],
        ),
        talk(
            "right after BEGIN, sent at once",
            [
                ask([
                    query("BEGIN"),
                    query(IN),
                    copy_data(b"1001\tone\n"),
                    copy_done(),
                    query("ROLLBACK"),
                ]),
                q("SELECT count(*) FROM items WHERE id > 1000"),
            ],
        ),
        talk(
            "in, through the extended protocol",
            [
                until([copy(), flush()], b'G'),
                ask([copy_data(b"1001\tone\n"), copy_done(), sync()]),
                ask([copy(), copy_data(b"1002\ttwo\n"), copy_done(), sync()]),
                until([copy(), flush()], b'G'),
                ask([copy_data(b"wrong\n"), copy_done(), sync()]),
                until([copy(), flush()], b'G'),
                ask([copy_fail("no"), sync()]),
                q(CLEAN),
            ],
        ),
        talk(
            "out, through the extended protocol",
            [
                ask([
                    unnamed("COPY (SELECT 1) TO STDOUT"),
                    unnamed("SELECT 2"),
                    sync(),
                ]),
                ask([
                    parse("s", "COPY (SELECT 's') TO STDOUT"),
                    describe_statement("s"),
                    sync(),
                ]),
                ask([bind("", "s", &[]), execute(""), sync()]),
            ],
        ),
        talk(
            "SET, COPY, SET in one string",
            [
                until(
                    [query(&format!(
                        "SET work_mem = '9MB'; {IN}; SET TimeZone = 'Asia/Tokyo'"
                    ))],
                    b'G',
                ),
                ask([copy_data(b"1001\tone\n"), copy_done()]),
                q("SHOW work_mem"),
                q("SHOW TimeZone"),
                q(CLEAN),
            ],
        ),
        talk(
            "to a temporary table",
            [
                q("CREATE TEMP TABLE scratch (n int)"),
                until([query("COPY scratch FROM STDIN")], b'G'),
                ask([copy_data(b"1\n2\n"), copy_done()]),
                q("SELECT sum(n) FROM scratch"),
                q("DROP TABLE scratch"),
            ],
        ),
        talk(
            "CopyData where no COPY is",
            [
                ask([
                    copy_data(b"stray\n"),
                    copy_done(),
                    copy_fail("stray"),
                    query("SELECT 1"),
                ]),
                q("SELECT 2"),
            ],
        ),
        talk(
            "a large one",
            [
                until([query(IN)], b'G'),
                ask([
                    copy_data(
                        (2000..22_000)
                            .map(|n| format!("{n}\trow {n}\n"))
                            .collect::<String>()
                            .as_bytes(),
                    ),
                    copy_done(),
                ]),
                q("SELECT count(*), sum(id) FROM items WHERE id > 1000"),
                q("COPY (SELECT id, name FROM items WHERE id > 1000 ORDER BY id) TO STDOUT"),
                q(CLEAN),
            ],
        ),
    ]
}

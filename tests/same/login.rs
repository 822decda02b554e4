//! What a client brings in its startup packet, and what RESET makes of it.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{Conversation, ask, every_way, q, simple, talk, unnamed},
    proof::prove,
    support::message::*,
};

const ALL: &str = "SELECT current_setting('application_name'), current_setting('DateStyle'), current_setting('TimeZone'), \
     current_setting('work_mem'), current_setting('client_encoding'), coalesce(current_setting('my.var', true), '')";

#[test]
fn startup_parameters() {
    prove(701, conversations());
}

fn conversations() -> Vec<Conversation> {
    let rich = [
        ("application_name", "it's a \"tester\""),
        ("DateStyle", "German"),
        ("TimeZone", "Asia/Tokyo"),
        ("client_encoding", "LATIN1"),
        (
            "options",
            "-c work_mem=9MB -c my.var=a\\ b --statement-timeout=1h",
        ),
    ];
    let mut all = vec![simple("with none", &[ALL])];
    let texts = [
        "SET work_mem = '10MB'",
        "SET TimeZone = 'UTC'",
        "SET application_name = 'x'",
        ALL,
        "RESET work_mem",
        "RESET TimeZone",
        ALL,
        "SET my.var = 'y'",
        "RESET ALL",
        ALL,
        "SET DateStyle TO DEFAULT",
        "SHOW DateStyle",
    ];
    all.extend(every_way("set and reset", &texts).map(|one| one.starting_with(&rich)));
    all.extend([
        simple(
            "what they do",
            &[
                ALL,
                "SELECT DATE '2024-12-31', TIMESTAMPTZ '2024-12-31 12:00 UTC'",
                "SHOW statement_timeout",
                "DISCARD ALL",
                ALL,
                "SHOW statement_timeout",
            ],
        )
        .starting_with(&rich),
        simple(
            "in transactions",
            &[
                "BEGIN",
                "SET work_mem = '10MB'",
                "RESET TimeZone",
                "ROLLBACK",
                ALL,
                "BEGIN",
                "SET LOCAL TimeZone = 'UTC'",
                ALL,
                "COMMIT",
                ALL,
            ],
        )
        .starting_with(&rich),
        simple(
            "a search path of several",
            &[
                "SHOW search_path",
                "SET search_path = public",
                "RESET search_path",
                "SHOW search_path",
            ],
        )
        .starting_with(&[
            ("search_path", "\"a b\", public"),
            ("extra_float_digits", "0"),
        ]),
        simple(
            "a role",
            &[
                "SELECT current_user, session_user",
                "SET ROLE writer",
                "RESET ROLE",
                "SELECT current_user",
                "RESET ALL",
                "SELECT current_user",
                "DISCARD ALL",
                "SELECT current_user",
                "SET ROLE NONE",
                "SELECT current_user",
            ],
        )
        .starting_with(&[("role", "reader")]),
        simple(
            "no role after all was discarded",
            &["DISCARD ALL", "SET ROLE NONE", "SELECT current_user"],
        )
        .starting_with(&[("role", "reader")]),
        simple("the same twice", &[ALL]).starting_with(&[
            ("work_mem", "5MB"),
            ("work_mem", "6MB"),
            ("options", "-c work_mem=7MB -c TimeZone=UTC"),
            ("TimeZone", "Asia/Seoul"),
        ]),
        simple("capitals do not matter", &[ALL]).starting_with(&[
            ("DATESTYLE", "German"),
            ("timezone", "Asia/Tokyo"),
            ("Application_Name", "x"),
        ]),
        simple(
            "read only by default",
            &[
                "INSERT INTO items VALUES (900, 'x')",
                "SHOW transaction_read_only",
                "BEGIN",
                "SHOW transaction_isolation",
                "COMMIT",
                "SET default_transaction_read_only = off",
                "SHOW transaction_read_only",
            ],
        )
        .starting_with(&[(
            "options",
            "-c default_transaction_read_only=on -c default_transaction_isolation=serializable",
        )]),
        simple("one that does not exist", &["SELECT 1"]).starting_with(&[("no_such_setting", "1")]),
        simple("one with a wrong value", &["SELECT 1"]).starting_with(&[("work_mem", "a lot")]),
        simple("one that only a superuser may set", &["SELECT 1"])
            .starting_with(&[("options", "-c log_statement=all")]),
        simple("one that nobody may set", &["SELECT 1"])
            .starting_with(&[("shared_buffers", "1GB")]),
        simple("an encoding that does not exist", &["SELECT 1"])
            .starting_with(&[("client_encoding", "KLINGON")]),
        talk(
            "reset, and more in the same piece",
            [
                q("SET TimeZone = 'UTC'"),
                ask([
                    query("RESET TimeZone"),
                    query("SHOW TimeZone"),
                    query("SHOW work_mem"),
                ]),
                ask([
                    unnamed("DISCARD ALL"),
                    sync(),
                    query(ALL),
                    unnamed("SET TimeZone = 'UTC'"),
                    unnamed("RESET ALL"),
                    sync(),
                    query(ALL),
                ]),
                q(ALL),
            ],
        )
        .starting_with(&rich),
        talk(
            "settings and statements",
            [
                ask([parse("s", "SELECT DATE '2024-12-31'"), sync()]),
                ask([unnamed("SET DateStyle = 'ISO'"), sync()]),
                ask([bind("", "s", &[]), execute(""), sync()]),
                q("RESET DateStyle"),
                ask([bind("", "s", &[]), execute(""), sync()]),
            ],
        )
        .starting_with(&rich),
    ]);
    all
}

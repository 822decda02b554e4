//! SET and its relations: each client finds what it has set, no more and no less, undone as the server would,
//! and is told by ParameterStatus. Whether a setting of one's own is empty or was never set is not asked: a
//! connection on which anybody has set it knows it for ever.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use crate::{
    conversation::{
        Conversation, Step, ask, every_way, q, simple, talk, unnamed, until, use_statement,
    },
    proof::{prove, prove_on, stage, stage_with},
    support::message::*,
};

/// `set_config(text, text, boolean)`.
const SET_CONFIG: u32 = 2078;

#[test]
fn set_and_reset() {
    prove(301, plain());
}

#[test]
fn settings_follow_their_transactions() {
    prove(302, in_transactions());
}

#[test]
fn settings_by_functions() {
    prove(303, by_functions());
}

#[test]
fn settings_that_no_text_mentions() {
    let stage = stage_with(&["state_check = \"always\""]);
    prove_on(&stage, 306, unseen());
}

#[test]
fn settings_in_pipelines() {
    prove(304, in_pipelines());
}

#[test]
fn roles() {
    prove(305, of_roles());
}

/// Everybody is a superuser here, so that the session's user can change.
#[test]
fn session_users() {
    let stage = stage();
    stage.sql("ALTER ROLE app SUPERUSER; ALTER ROLE writer LOGIN");
    prove_on(&stage, 306, of_session_users());
}

fn plain() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "a setting that is not reported",
        &[
            "SET work_mem = '9MB'",
            "SHOW work_mem",
            "RESET work_mem",
            "SHOW work_mem",
        ],
    ));
    all.extend(every_way(
        "a setting that is reported",
        &[
            "SET TimeZone = 'Asia/Tokyo'",
            "SHOW TimeZone",
            "RESET TimeZone",
            "SHOW TimeZone",
        ],
    ));
    all.extend(every_way(
        "SET SESSION, TO DEFAULT",
        &[
            "SET SESSION work_mem TO '10MB'",
            "SHOW work_mem",
            "SET work_mem TO DEFAULT",
            "SHOW work_mem",
            "SET work_mem = 8192",
            "SHOW work_mem",
        ],
    ));
    all.extend(every_way(
        "SET TIME ZONE",
        &[
            "SET TIME ZONE 'Europe/Rome'",
            "SHOW TimeZone",
            "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
            "SHOW TIME ZONE",
            "SET TIME ZONE -7",
            "SHOW TIME ZONE",
            "SET TIME ZONE LOCAL",
            "SHOW TimeZone",
            "SET TIME ZONE DEFAULT",
            "SHOW TimeZone",
        ],
    ));
    all.extend(every_way(
        "SET NAMES",
        &[
            "SET NAMES 'LATIN1'",
            "SHOW client_encoding",
            "SELECT 'x'",
            "SET NAMES DEFAULT",
            "SHOW client_encoding",
            "SET client_encoding TO 'SQL_ASCII'",
            "SHOW client_encoding",
        ],
    ));
    all.extend(every_way(
        "a setting of one's own",
        &[
            "SET my.var = 'mine'",
            "SHOW my.var",
            "SET my.\"Other Var\" = 'x'",
            "SELECT current_setting('my.var'), coalesce(current_setting('my.nothing', true), '')",
            "SET my.other = 1",
            "SHOW my.other",
            "RESET my.var",
            "SELECT coalesce(current_setting('my.var', true), '')",
        ],
    ));
    all.extend(every_way(
        "RESET ALL",
        &[
            "SET work_mem = '9MB'",
            "SET DateStyle = 'German'",
            "SET my.var = 'mine'",
            "SET application_name = 'tester'",
            "RESET ALL",
            "SELECT current_setting('work_mem'), current_setting('DateStyle'), \
                 current_setting('my.var'), current_setting('application_name')",
        ],
    ));
    all.extend(every_way(
        "values with quotes of every kind",
        &[
            "SET application_name = 'it''s a \"name\" with \\ and $$'",
            "SHOW application_name",
            "SET application_name = E'tab\\tand \\'quote\\''",
            "SHOW application_name",
            "SET application_name = $$dollars$$",
            "SHOW application_name",
            "SET my.var = $tag$it's $$ here$tag$",
            "SHOW my.var",
            "SET my.var = E'line\\nline'",
            "SHOW my.var",
            "SET my.var = U&'\\0041\\00e4'",
            "SHOW my.var",
            "SET search_path = \"a b\", 'c\"d', \"$user\", public",
            "SHOW search_path",
            "SET search_path = ''",
            "SHOW search_path",
            "SET my.var = ''",
            "SHOW my.var",
        ],
    ));
    all.extend(every_way(
        "a SET that fails",
        &[
            "SET work_mem = '7MB'",
            "SET work_mem = 'a lot'",
            "SHOW work_mem",
            "SET no_such_setting = 1",
            "SET TimeZone = 'Nowhere/Land'",
            "SHOW TimeZone",
            "SET server_version = 3",
            "SET shared_buffers = '1GB'",
            "SET log_statement = 'all'",
            "RESET no_such_setting",
            "SHOW no_such_setting",
            "SHOW work_mem",
        ],
    ));
    all.extend([
        simple(
            "what the settings do",
            &[
                "SET DateStyle = 'SQL, DMY'",
                "SELECT DATE '2024-12-31', TIMESTAMP '2024-12-31 23:59'",
                "SET IntervalStyle = 'iso_8601'",
                "SELECT INTERVAL '1 day 2 hours'",
                "SET TimeZone = 'Asia/Tokyo'",
                "SELECT TIMESTAMPTZ '2024-12-31 12:00 UTC'",
                "SET extra_float_digits = 0",
                "SELECT 1.0::float8 / 3",
                "SET bytea_output = 'escape'",
                "SELECT '\\x0102'::bytea",
                "SET lc_monetary = 'C'",
                "SELECT 5::money",
                "SET xmloption = 'document'",
                "SHOW xmloption",
            ],
        ),
        simple(
            "settings that restrict",
            &[
                "SET default_transaction_read_only = on",
                "INSERT INTO items VALUES (800, 'x')",
                "SHOW transaction_read_only",
                "RESET default_transaction_read_only",
                "SET statement_timeout = '500ms'",
                "SELECT pg_sleep(20)",
                "SHOW statement_timeout",
                "SET statement_timeout = 0",
                "SELECT pg_sleep(0.01)",
                "SET row_security = off",
                "SHOW row_security",
                "SET transform_null_equals = on",
                "SELECT NULL = NULL",
            ],
        ),
        simple(
            "the isolation of the session's transactions",
            &[
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                "SHOW transaction_isolation",
                "BEGIN",
                "SHOW transaction_isolation",
                "COMMIT",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "INSERT INTO items VALUES (800, 'x')",
                "SET default_transaction_isolation = 'repeatable read'",
                "SHOW transaction_isolation",
                "RESET default_transaction_isolation",
                "RESET default_transaction_read_only",
                "SHOW transaction_read_only",
            ],
        ),
        simple(
            "backslashes that depend on a setting",
            &[
                "SET standard_conforming_strings = off",
                "SET escape_string_warning = off",
                "SELECT 'a\\'b; SET work_mem = 1'",
                "SET my.var = 'a\\'b'",
                "SHOW my.var",
                "SET standard_conforming_strings = on",
                "SHOW my.var",
                "SELECT 'a\\', 'b'",
            ],
        ),
        simple(
            "several in one string",
            &[
                "SET work_mem = '9MB'; SHOW work_mem; SET my.var = 'x'",
                "SHOW work_mem",
                "SHOW my.var",
                "SET work_mem = '11MB'; SELECT 1/0; SET my.var = 'y'",
                "SHOW work_mem",
                "SHOW my.var",
                "SET TimeZone = 'Asia/Tokyo'; SET TimeZone = 'Asia/Seoul'; SELECT 1",
                "SHOW TimeZone",
                "SET TimeZone = 'UTC'; SELECT 1/0",
                "SHOW TimeZone",
                "BEGIN; SET work_mem = '12MB'; COMMIT; SET my.var = 'z'; SELECT 1/0",
                "SHOW work_mem",
                "SHOW my.var",
            ],
        ),
        simple(
            "words that only look like SET",
            &[
                "SELECT 'SET work_mem = 1'",
                "/* SET work_mem = '9MB' */ SHOW work_mem",
                "UPDATE items SET price = price WHERE id = 1",
                "SHOW work_mem",
                "/**/ set -- work\n work_mem -- to\n to '9MB' ;",
                "SHOW work_mem",
                ";;SET work_mem='10MB';;",
                "SHOW work_mem",
            ],
        ),
        simple(
            "DISCARD ALL",
            &[
                "SET work_mem = '9MB'",
                "SET TimeZone = 'Asia/Tokyo'",
                "DISCARD ALL",
                "SHOW work_mem",
                "SHOW TimeZone",
                "BEGIN",
                "DISCARD ALL",
                "ROLLBACK",
                "DISCARD SEQUENCES",
                "DISCARD PLANS",
                "DISCARD TEMP",
            ],
        ),
        simple(
            "where a setting comes from",
            &[
                "SELECT source, setting, reset_val FROM pg_settings WHERE name = 'work_mem'",
                "SET work_mem = '9MB'",
                "SELECT source, setting, reset_val FROM pg_settings WHERE name = 'work_mem'",
                "RESET work_mem",
                "SELECT source, setting, reset_val FROM pg_settings WHERE name = 'work_mem'",
            ],
        ),
        simple(
            "UPDATE pg_settings",
            &[
                "UPDATE pg_settings SET setting = '9MB' WHERE name = 'work_mem'",
                "SHOW work_mem",
                "RESET work_mem",
                "SHOW work_mem",
            ],
        ),
    ]);
    all
}

fn in_transactions() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "committed",
        &[
            "BEGIN",
            "SET work_mem = '9MB'",
            "SET TimeZone = 'Asia/Tokyo'",
            "SHOW work_mem",
            "COMMIT",
            "SHOW work_mem",
            "SHOW TimeZone",
        ],
    ));
    all.extend(every_way(
        "rolled back",
        &[
            "SET work_mem = '8MB'",
            "BEGIN",
            "SET work_mem = '9MB'",
            "SET TimeZone = 'Asia/Tokyo'",
            "SHOW work_mem",
            "ROLLBACK",
            "SHOW work_mem",
            "SHOW TimeZone",
        ],
    ));
    all.extend(every_way(
        "failed",
        &[
            "BEGIN",
            "SET work_mem = '9MB'",
            "SET my.var = 'x'",
            "SELECT 1/0",
            "SET work_mem = '10MB'",
            "SHOW work_mem",
            "COMMIT",
            "SHOW work_mem",
            "SELECT coalesce(current_setting('my.var', true), '')",
        ],
    ));
    all.extend(every_way(
        "SET LOCAL",
        &[
            "SET work_mem = '8MB'",
            "BEGIN",
            "SET LOCAL work_mem = '9MB'",
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            "SHOW work_mem",
            "COMMIT",
            "SHOW work_mem",
            "SHOW TimeZone",
            "SET LOCAL work_mem = '10MB'",
            "SHOW work_mem",
            "BEGIN",
            "SET LOCAL my.var = 'local'",
            "SHOW my.var",
            "ROLLBACK",
            "SELECT coalesce(current_setting('my.var', true), '')",
        ],
    ));
    all.extend(every_way(
        "back to a savepoint",
        &[
            "BEGIN",
            "SET work_mem = '8MB'",
            "SAVEPOINT a",
            "SET work_mem = '9MB'",
            "SET TimeZone = 'Asia/Tokyo'",
            "SAVEPOINT b",
            "SET work_mem = '10MB'",
            "ROLLBACK TO b",
            "SHOW work_mem",
            "RELEASE b",
            "ROLLBACK TO SAVEPOINT a",
            "SHOW work_mem",
            "SHOW TimeZone",
            "COMMIT",
            "SHOW work_mem",
            "SHOW TimeZone",
        ],
    ));
    all.extend([
        simple(
            "SET and SET LOCAL of the same",
            &[
                "BEGIN",
                "SET work_mem = '8MB'",
                "SET LOCAL work_mem = '9MB'",
                "SHOW work_mem",
                "COMMIT",
                "SHOW work_mem",
                "BEGIN",
                "SET LOCAL work_mem = '9MB'",
                "SET work_mem = '10MB'",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "SET LOCAL, then a savepoint",
            &[
                "BEGIN",
                "SAVEPOINT a",
                "SET LOCAL work_mem = '9MB'",
                "RELEASE a",
                "SHOW work_mem",
                "SAVEPOINT b",
                "SET LOCAL work_mem = '10MB'",
                "SELECT 1/0",
                "ROLLBACK TO b",
                "SHOW work_mem",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "an error in a savepoint",
            &[
                "SET work_mem = '7MB'",
                "BEGIN",
                "SET work_mem = '8MB'",
                "SAVEPOINT a",
                "SET work_mem = '9MB'",
                "SELECT 1/0",
                "ROLLBACK TO a",
                "SHOW work_mem",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "RESET that is rolled back",
            &[
                "SET work_mem = '9MB'",
                "BEGIN",
                "RESET work_mem",
                "SHOW work_mem",
                "ROLLBACK",
                "SHOW work_mem",
                "BEGIN",
                "RESET ALL",
                "ROLLBACK",
                "SHOW work_mem",
                "BEGIN",
                "RESET ALL",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "a SET that fails in a transaction",
            &[
                "BEGIN",
                "SET work_mem = '9MB'",
                "SET work_mem = 'much'",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "COMMIT AND CHAIN",
            &[
                "BEGIN",
                "SET work_mem = '9MB'",
                "SET LOCAL my.var = 'local'",
                "COMMIT AND CHAIN",
                "SHOW work_mem",
                "SELECT coalesce(current_setting('my.var', true), '')",
                "SET work_mem = '10MB'",
                "ROLLBACK AND CHAIN",
                "SHOW work_mem",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "a transaction in one string",
            &[
                "BEGIN; SET work_mem = '9MB'; SET my.var = 'x'; ROLLBACK",
                "SHOW work_mem",
                "BEGIN; SET work_mem = '9MB'; COMMIT; BEGIN; SET work_mem = '10MB'",
                "SHOW work_mem",
                "ROLLBACK; SHOW work_mem",
            ],
        ),
        simple(
            "only settings, nothing else",
            &[
                "BEGIN",
                "SET work_mem = '9MB'",
                "COMMIT",
                "BEGIN",
                "SHOW work_mem",
                "ROLLBACK",
                "BEGIN; COMMIT",
                "SHOW work_mem",
            ],
        ),
        simple(
            "a setting of one's own that is rolled back",
            &[
                "BEGIN",
                "SET my.fresh = 'x'",
                "ROLLBACK",
                "SELECT coalesce(current_setting('my.fresh', true), '')",
                "BEGIN",
                "SET my.fresh = 'y'",
                "COMMIT",
                "SELECT coalesce(current_setting('my.fresh', true), '')",
                "BEGIN",
                "SET my.fresh = 'z'",
                "ROLLBACK",
                "SELECT coalesce(current_setting('my.fresh', true), '')",
            ],
        ),
        simple(
            "told by ParameterStatus, and told back",
            &[
                "BEGIN",
                "SET TimeZone = 'Asia/Tokyo'",
                "SET DateStyle = 'German'",
                "SELECT 1/0",
                "ROLLBACK",
                "BEGIN",
                "SET LOCAL application_name = 'local'",
                "SELECT 1",
                "COMMIT",
                "BEGIN; SET LOCAL TimeZone = 'UTC'; COMMIT",
                "SHOW TimeZone",
            ],
        ),
        simple(
            "a deferred error at COMMIT takes the settings along",
            &[
                "BEGIN",
                "SET work_mem = '9MB'",
                "INSERT INTO children VALUES (1, 1)",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
    ]);
    all
}

fn by_functions() -> Vec<Conversation> {
    let mut all = Vec::new();
    all.extend(every_way(
        "set_config",
        &[
            "SELECT set_config('work_mem', '9MB', false)",
            "SHOW work_mem",
            "SELECT set_config('work_mem', '10MB', true)",
            "SHOW work_mem",
            "SELECT set_config('TimeZone', 'Asia/Tokyo', false)",
            "SHOW TimeZone",
            "SELECT set_config('my.var', 'it''s', false), current_setting('my.var')",
            "SHOW my.var",
            "SELECT pg_catalog.set_config('my.var', NULL, false)",
            "SELECT coalesce(current_setting('my.var', true), '')",
            "SELECT set_config('nothing', '1', false)",
        ],
    ));
    all.extend(every_way(
        "set_config in transactions",
        &[
            "BEGIN",
            "SELECT set_config('work_mem', '9MB', false)",
            "SELECT set_config('my.var', 'local', true)",
            "ROLLBACK",
            "SHOW work_mem",
            "BEGIN",
            "SELECT set_config('work_mem', '9MB', false)",
            "SELECT set_config('my.var', 'local', true)",
            "SHOW my.var",
            "COMMIT",
            "SHOW work_mem",
            "SELECT coalesce(current_setting('my.var', true), '')",
        ],
    ));
    all.extend([
        talk(
            "set_config with parameters",
            [
                ask([
                    parse("s", "SELECT set_config($1, $2, $3::text::bool)"),
                    describe_statement("s"),
                    sync(),
                ]),
                ask([
                    bind("", "s", &["work_mem", "9MB", "false"]),
                    execute(""),
                    sync(),
                ]),
                q("SHOW work_mem"),
                ask([
                    bind("", "s", &["work_mem", "10MB", "true"]),
                    execute(""),
                    sync(),
                ]),
                q("SHOW work_mem"),
                ask([
                    bind("", "s", &["TimeZone", "Asia/Tokyo", "false"]),
                    execute(""),
                    sync(),
                ]),
                q("SHOW TimeZone"),
                q("BEGIN"),
                ask([
                    bind("", "s", &["my.var", "x", "false"]),
                    execute(""),
                    sync(),
                ]),
                q("ROLLBACK"),
                q("SELECT coalesce(current_setting('my.var', true), '')"),
            ],
        ),
        talk(
            "set_config as FunctionCall",
            [
                Step::Ask(function_call_with(SET_CONFIG, &["work_mem", "9MB", "f"])),
                q("SHOW work_mem"),
                Step::Ask(function_call_with(
                    SET_CONFIG,
                    &["TimeZone", "Asia/Tokyo", "f"],
                )),
                q("SHOW TimeZone"),
            ],
        ),
        simple(
            "set_config for each row",
            &[
                "SELECT set_config('my.var', n::text, false) FROM generate_series(1, 3) n",
                "SHOW my.var",
                "WITH a AS (SELECT set_config('work_mem', '9MB', false)) SELECT * FROM a",
                "SHOW work_mem",
            ],
        ),
        simple(
            "set inside DO",
            &[
                "DO $$ BEGIN PERFORM set_config('work_mem', '9MB', false); END $$",
                "SHOW work_mem",
                "DO $$ BEGIN SET my.var = 'done'; END $$",
                "SHOW my.var",
            ],
        ),
        simple(
            "a quoted set_config",
            &[
                "SELECT \"set_config\"('work_mem', '9MB', false)",
                "SHOW work_mem",
                "SELECT pg_catalog . \"set_config\" ('work_mem', '10MB', false)",
                "SHOW work_mem",
            ],
        ),
        simple(
            "a function with settings of its own",
            &[
                "CREATE FUNCTION with_own() RETURNS text LANGUAGE sql SET work_mem = '9MB' AS \
             'SELECT current_setting(''work_mem'')'",
                "SELECT with_own()",
                "SHOW work_mem",
                "DROP FUNCTION with_own()",
            ],
        ),
    ]);
    all
}

fn in_pipelines() -> Vec<Conversation> {
    let set = |value: &str| unnamed(&format!("SET work_mem = '{value}'"));
    let show = || unnamed("SHOW work_mem");
    vec![
        talk(
            "SET, then an error",
            [
                ask([set("9MB"), unnamed("SELECT 1/0"), show(), sync()]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "an error, then SET",
            [
                ask([unnamed("SELECT 1/0"), set("9MB"), sync()]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "SET in a pipeline",
            [
                ask([set("9MB"), show(), unnamed("SELECT 1"), sync()]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "SET in pipelines sent at once",
            [
                ask([
                    set("9MB"),
                    sync(),
                    show(),
                    sync(),
                    set("10MB"),
                    unnamed("SELECT 1/0"),
                    sync(),
                    show(),
                    sync(),
                ]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "SET in queries sent at once",
            [ask([
                query("SET work_mem = '9MB'"),
                query("SHOW work_mem"),
                query("RESET work_mem"),
                query("SHOW work_mem"),
            ])],
        ),
        talk(
            "SET as a named statement",
            [
                ask([
                    parse("s", "SET work_mem = '9MB'"),
                    parse("r", "RESET work_mem"),
                    describe_statement("s"),
                    sync(),
                ]),
                q("SHOW work_mem"),
                ask([use_statement("s"), sync()]),
                q("SHOW work_mem"),
                ask([use_statement("r"), sync()]),
                q("SHOW work_mem"),
                ask([use_statement("s"), sync()]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "SET LOCAL in a pipeline",
            [
                ask([unnamed("SET LOCAL work_mem = '9MB'"), show(), sync()]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "a reported setting in a pipeline that fails",
            [
                ask([
                    unnamed("SET TimeZone = 'Asia/Tokyo'"),
                    unnamed("SELECT 1/0"),
                    sync(),
                ]),
                q("SHOW TimeZone"),
                ask([
                    unnamed("SET TimeZone = 'Asia/Tokyo'"),
                    unnamed("SHOW TimeZone"),
                    sync(),
                ]),
                q("SHOW TimeZone"),
            ],
        ),
        talk(
            "SET and Flush",
            [
                until([set("9MB"), flush()], b'C'),
                until([show(), flush()], b'C'),
                ask([sync()]),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "a transaction over pipelines",
            [
                ask([unnamed("BEGIN"), set("9MB"), sync()]),
                ask([show(), sync()]),
                ask([unnamed("SAVEPOINT a"), set("10MB"), sync()]),
                ask([unnamed("ROLLBACK TO a"), show(), sync()]),
                ask([unnamed("COMMIT"), show(), sync()]),
                ask([show(), sync()]),
            ],
        ),
        talk(
            "SET in a Bind that is never executed",
            [
                ask([parse("", "SET work_mem = '9MB'"), bind("", "", &[]), sync()]),
                q("SHOW work_mem"),
            ],
        ),
    ]
}

fn of_roles() -> Vec<Conversation> {
    let who = "SELECT current_user, session_user, current_setting('role')";
    let mut all = Vec::new();
    all.extend(every_way(
        "SET ROLE",
        &[
            "SET ROLE reader",
            who,
            "SET ROLE 'writer'",
            who,
            "RESET ROLE",
            who,
            "SET ROLE NONE",
            who,
            "SET SESSION ROLE reader",
            who,
            "SET role = writer",
            who,
        ],
    ));
    all.extend(every_way(
        "SET ROLE in transactions",
        &[
            "BEGIN",
            "SET ROLE reader",
            who,
            "ROLLBACK",
            who,
            "BEGIN",
            "SET LOCAL ROLE reader",
            who,
            "COMMIT",
            who,
            "BEGIN",
            "SET ROLE reader",
            "COMMIT",
            who,
        ],
    ));
    all.extend([
        simple(
            "a role that may not",
            &[
                "SET ROLE postgres",
                "SET ROLE nobody",
                who,
                "SET SESSION AUTHORIZATION postgres",
                "SET SESSION AUTHORIZATION app",
                who,
                "RESET SESSION AUTHORIZATION",
                who,
            ],
        ),
        simple(
            "a role and RESET ALL",
            &[
                "SET ROLE reader",
                "SET work_mem = '9MB'",
                "RESET ALL",
                who,
                "SHOW work_mem",
                "DISCARD ALL",
                who,
            ],
        ),
        simple(
            "what a role owns",
            &[
                "SET ROLE reader",
                "CREATE TEMP TABLE owned (n int)",
                "SELECT relowner::regrole FROM pg_class WHERE relname = 'owned'",
                "DROP TABLE owned",
                "RESET ROLE",
            ],
        ),
    ]);
    all
}

fn of_session_users() -> Vec<Conversation> {
    let who = "SELECT current_user, session_user, current_setting('is_superuser')";
    let mut all = Vec::new();
    all.extend(every_way(
        "SET SESSION AUTHORIZATION",
        &[
            "SET SESSION AUTHORIZATION writer",
            who,
            "SET SESSION AUTHORIZATION 'reader'",
            who,
            "SET ROLE writer",
            "RESET SESSION AUTHORIZATION",
            who,
            "SET SESSION AUTHORIZATION writer",
            who,
            "SET SESSION AUTHORIZATION DEFAULT",
            who,
        ],
    ));
    all.extend([
        simple(
            "a session user and a role",
            &[
                "SET SESSION AUTHORIZATION app",
                "SET ROLE reader",
                who,
                "SET SESSION AUTHORIZATION writer",
                who,
                "RESET ROLE",
                who,
                "DISCARD ALL",
                who,
            ],
        ),
        simple(
            "a session user, rolled back",
            &[
                "BEGIN",
                "SET SESSION AUTHORIZATION writer",
                who,
                "ROLLBACK",
                who,
                "BEGIN",
                "SET LOCAL SESSION AUTHORIZATION writer",
                who,
                "COMMIT",
                who,
            ],
        ),
        simple(
            "settings of superusers",
            &[
                "SET log_statement = 'ddl'",
                "SHOW log_statement",
                "SET session_replication_role = 'replica'",
                "INSERT INTO children VALUES (1, 1)",
                "DELETE FROM children",
                "RESET ALL",
                "SHOW session_replication_role",
                "SHOW log_statement",
            ],
        ),
    ]);
    all
}

/// What no text tells: only a pool that asks after every transaction finds it.
fn unseen() -> Vec<Conversation> {
    vec![simple(
        "set inside a function",
        &[
            "SELECT set_quietly('work_mem', '9MB')",
            "SHOW work_mem",
            "SELECT set_quietly('TimeZone', 'Asia/Tokyo')",
            "SHOW TimeZone",
            "BEGIN",
            "SELECT set_quietly('work_mem', '10MB')",
            "ROLLBACK",
            "SHOW work_mem",
        ],
    )]
}

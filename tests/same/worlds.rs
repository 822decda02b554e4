//! What pgring itself asks and gives does not depend on what the session has set: every kind of setting that changes the
//! world for a statement, with every kind of state to be found and carried there, on a pool of one connection with
//! somebody else in between. And every setting that a server of any version has.

use pgring::cli::postgres::Installation;

use crate::{
    property::exchange,
    support::{
        message,
        session::{Answer, Session},
        stage::Stage,
        versions::postgres_versions,
    },
};

/// A schema in which everything has the names of `pg_catalog`'s and fails, roles with odd names, and a superuser.
const OBJECTS: &str = r#"
CREATE SCHEMA evil;
CREATE FUNCTION evil.fail(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE FUNCTION evil.encode(bytea, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.fail);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.fail);
CREATE VIEW evil.pg_settings AS SELECT 'x' AS name;
CREATE ROLE reader; CREATE ROLE "café"; CREATE ROLE boss LOGIN SUPERUSER; CREATE ROLE captain SUPERUSER;
GRANT reader, "café" TO app; GRANT captain TO app;
GRANT ALL ON SCHEMA evil TO public; GRANT CREATE, TEMP ON DATABASE app TO app, reader;
CREATE FUNCTION set_hidden() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN PERFORM set_config('dynamic_library_path', '/hidden', false); END $$;
CREATE FUNCTION library_path() RETURNS text LANGUAGE sql SECURITY DEFINER AS
    $$ SELECT current_setting('dynamic_library_path') $$;
"#;

/// What a session sets first.
const WORLDS: [&str; 24] = [
    "SELECT 'nothing'",
    "SET client_encoding = 'LATIN1'",
    "SET client_encoding = 'WIN1252'",
    "SET client_encoding = 'SQL_ASCII'",
    "SET client_encoding = 'SJIS'",
    "SET client_encoding = 'EUC_JP'",
    "SET client_encoding = 'GB18030'",
    "SET search_path = evil, pg_catalog",
    "SET ROLE reader",
    "SET ROLE captain",
    "SET lock_timeout = 1",
    "SET statement_timeout = '3s'",
    "SET default_transaction_read_only = on",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
    "SET row_security = off",
    "SET standard_conforming_strings = off",
    "SET quote_all_identifiers = on",
    "SET transform_null_equals = on",
    "SET array_nulls = off; SET bytea_output = 'escape'; SET xmloption = 'document'",
    "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'Asia/Tokyo'",
    "SET client_min_messages = 'error'; SET track_activities = off",
    "SET work_mem = '64kB'; SET enable_hashjoin = off; SET enable_seqscan = off; SET jit_above_cost = 0",
    "SET backslash_quote = off; SET escape_string_warning = off",
    "SET idle_in_transaction_session_timeout = '1s'; SET exit_on_error = off",
];

/// What it leaves there. `@` stands for a character that is not ASCII, as its encoding has it.
const STATES: [&str; 11] = [
    "SET my.v = '@'",
    "SET search_path = '@x', public",
    "SET application_name = 'it''s'",
    "SET ROLE \"caf@\"",
    "SET work_mem = '7MB'; SET my.other = 'x;y'",
    "SELECT set_config('TimeZone', 'America/Lima', false)",
    "CREATE TEMP TABLE scratch AS SELECT 1 AS n",
    "LISTEN mine",
    "PREPARE p AS SELECT 1",
    "SELECT pg_advisory_lock_shared(3)",
    "RESET ALL",
];

/// What it looks at.
const LOOK: &str = "SELECT coalesce(pg_catalog.current_setting('my.v', true), ''), \
    coalesce(pg_catalog.current_setting('my.other', true), ''), pg_catalog.current_setting('search_path'), \
    pg_catalog.current_setting('application_name'), current_user, pg_catalog.current_setting('work_mem'), \
    pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('client_encoding'), \
    pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('lock_timeout'), \
    pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('transaction_read_only'), \
    (SELECT count(*) FROM pg_catalog.pg_listening_channels()), \
    (SELECT count(*) FROM pg_catalog.pg_prepared_statements WHERE from_sql), \
    (SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
        AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()), \
    pg_catalog.to_regclass('pg_temp.scratch')::pg_catalog.text";

/// A pool of one connection for each user.
fn stage_of(installation: &Installation) -> Stage {
    let stage = Stage::trusting_of(installation, |config| {
        config
            .set("pool", "size = 1")
            .set("pool", "checkout_timeout = \"3s\"")
    });
    stage.sql(OBJECTS);
    stage
}

fn stage() -> Stage {
    stage_of(&crate::support::installation())
}

/// The character in the encoding that a world has set.
fn character(world: &str) -> &'static [u8] {
    let of = |encoding: &str| world.contains(encoding);
    match () {
        () if of("LATIN1") || of("WIN1252") => b"\xe9",
        () if of("SJIS") => b"\x82\xa0",
        () if of("EUC_JP") => b"\xa4\xa2",
        () if of("GB18030") => b"\x95\x5c",
        () => "é".as_bytes(),
    }
}

fn raw_query(text: &str, character: &[u8]) -> Vec<u8> {
    let mut parts = text.split('@').map(str::as_bytes);
    let mut body = parts.next().unwrap().to_vec();
    for part in parts {
        body.extend_from_slice(character);
        body.extend_from_slice(part);
    }
    let length = u32::try_from(body.len() + 5).unwrap();
    [b"Q", &length.to_be_bytes()[..], &body, b"\0"].concat()
}

/// A role that is not there under another encoding's name is refused directly, too.
#[test]
fn whatever_a_session_has_set_its_state_is_its_own() {
    let stage = stage();
    let addresses = [stage.server.primary.address(), stage.proxy.address()];
    let mut complaints = Vec::new();
    for world in WORLDS {
        for state in STATES {
            let mut pair = addresses.map(|address| Session::login(address).unwrap());
            let mut others = addresses.map(|address| Session::login(address).unwrap());
            let asked = [
                world,
                state,
                LOOK,
                LOOK,
                "SET client_encoding = 'UTF8'",
                LOOK,
            ];
            for (number, text) in asked.into_iter().enumerate() {
                let bytes = raw_query(text, character(world));
                let mut said = pair.each_mut().map(|session| exchange(session, &bytes, 1));
                if let Some(difference) = said[0].difference(&said[1], ["direct", "pgring"]) {
                    complaints.push(format!("  {world} | {state} | step {number}\n{difference}"));
                    break;
                }
                // A connection that its session keeps nobody else can have.
                let keeps = ["TEMP", "LISTEN", "PREPARE", "advisory"];
                let keeps = keeps.iter().any(|word| state.contains(word));
                // What is written in an encoding that hides ASCII nobody can read.
                let hides = state.contains('@')
                    && ["SJIS", "GB18030"].iter().any(|name| world.contains(name));
                if number > 0 && (keeps || hides) {
                    continue;
                }
                let look = message::query(LOOK);
                said = others.each_mut().map(|other| exchange(other, &look, 1));
                if let Some(difference) = said[0].difference(&said[1], ["direct", "pgring"]) {
                    complaints.push(format!(
                        "  other: {world} | {state} | step {number}\n{difference}"
                    ));
                    break;
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Its owner may be cut short by his own limits; nobody else is, and he keeps nothing for that.
#[test]
fn limits_of_time_hit_only_who_has_set_them() {
    for installation in postgres_versions() {
        let stage = stage_of(&installation);
        let mut hasty = Session::login(stage.proxy.address()).unwrap();
        let mut other = Session::login(stage.proxy.address()).unwrap();
        let mut limits = vec!["statement_timeout", "lock_timeout", "idle_session_timeout"];
        if installation.version() >= 17 {
            limits.push("transaction_timeout");
        }
        for limit in limits {
            // An owner who has been sent away, as his own server would have done, comes again.
            while hasty.query(&format!("SET {limit} = '2ms'")) != Answer::Rows(vec![]) {
                hasty = Session::login(stage.proxy.address()).unwrap();
            }
            for _ in 0..100 {
                let said = other.query("SELECT pg_backend_pid() > 0");
                assert_eq!(said, Answer::Rows(vec!["t".to_owned()]), "{limit}");
                let own = hasty.query(&format!("SHOW {limit}"));
                match own {
                    Answer::Rows(rows) => assert_eq!(rows, ["2ms"], "{limit}"),
                    Answer::Error(sqlstate, _) if sqlstate == "57014" => {}
                    _ if limit == "transaction_timeout" => break,
                    own => panic!("{limit}: {own:?}"),
                }
            }
            let _ = hasty.query(&format!("SET {limit} = 0"));
            assert_eq!(other.query(&format!("SHOW {limit}")).row(), "0");
        }
    }
}

/// What the session's user may not have again elsewhere stays where it is; what he is not even shown, nobody finds.
#[test]
fn what_cannot_be_given_back_is_not_given_to_others() {
    let stage = stage();
    let login = || Session::login(stage.proxy.address()).unwrap();
    let (mut one, mut other) = (login(), login());
    one.query("SELECT set_hidden()");
    assert_ne!(other.query("SELECT library_path()").row(), "/hidden");
    one.query("SET ROLE captain; SET dynamic_library_path = '/hidden'; RESET ROLE");
    assert_ne!(other.query("SELECT library_path()").row(), "/hidden");

    let logged = "SELECT current_setting('log_min_duration_statement'), current_user";
    one.query("SET ROLE captain; SET log_min_duration_statement = 12345; RESET ROLE");
    for _ in 0..3 {
        assert_eq!(one.query(logged).row(), "12345ms|app");
    }
    drop(one);
    assert_eq!(other.query(logged).row(), "-1|app");
}

/// PostgreSQL does not let `temp_buffers` change where temporary tables were used.
#[test]
fn what_a_used_connection_refuses_a_new_one_takes() {
    let stage = stage();
    let mut user = Session::login(stage.proxy.address()).unwrap();
    let mut other = Session::login(stage.proxy.address()).unwrap();
    for round in 0..5 {
        let size = 100 + round;
        other.query(&format!("SET temp_buffers = {size}"));
        let used = "BEGIN; CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 1 AS n; SELECT n FROM scratch; COMMIT";
        assert_eq!(user.query(used), Answer::Rows(vec!["1".to_owned()]));
        let own = other.query("SELECT setting FROM pg_settings WHERE name = 'temp_buffers'");
        assert_eq!(own.row(), size.to_string());
        let started = [
            ("user", "app"),
            ("database", "app"),
            ("options", "-c temp_buffers=321"),
        ];
        assert_eq!(user.query(used), Answer::Rows(vec!["1".to_owned()]));
        let mut third = Session::login_with(stage.proxy.address(), &started).unwrap();
        let own = third.query("SELECT setting FROM pg_settings WHERE name = 'temp_buffers'");
        assert_eq!(own.row(), "321");
    }
}

/// Every setting that the server lets somebody change: he finds it, nobody else does, and he finds it again.
#[test]
fn every_setting_of_every_version_is_carried() {
    for installation in postgres_versions() {
        let stage = stage_of(&installation);
        for user in ["app", "boss"] {
            carries_everything(&stage, user);
        }
    }
}

fn carries_everything(stage: &Stage, user: &str) {
    let direct = || Session::login_as(stage.server.primary.address(), user, "app").unwrap();
    let through = || Session::login_as(stage.proxy.address(), user, "app").unwrap();
    let all = "SELECT name || ' = ' || coalesce(setting, '') FROM pg_settings \
        WHERE context IN ('user', 'superuser') AND name NOT LIKE 'transaction\\_%' \
        AND name NOT IN ('transaction_deferrable', 'seed') \
        OR name = 'transaction_timeout' ORDER BY name";
    let defaults = direct().query(all);
    let mut owners = [direct(), through()];
    let mut other = through();
    let set = set_all(&mut owners[0], user);
    assert!(set.len() > 100, "{user}: only {} settings", set.len());
    for statement in &set {
        assert_eq!(
            owners[1].query(statement),
            Answer::Rows(vec![]),
            "{user}: {statement}"
        );
    }
    let expected = owners[0].query(all);
    for round in 0..3 {
        assert_eq!(
            other.query(all),
            defaults,
            "{user}, another client, {round}"
        );
        assert_eq!(owners[1].query(all), expected, "{user}, its owner, {round}");
    }
}

/// Sets everything that can be set to something else; the statements that did it.
fn set_all(session: &mut Session, user: &str) -> Vec<String> {
    // What ends the session, or changes with each statement.
    const LEFT_OUT: [&str; 2] = ["'exit_on_error'", "'session_authorization'"];
    let candidates = format!(
        "SELECT format('SET %I = %L', name, value.value) FROM pg_settings, LATERAL unnest(CASE vartype \
            WHEN 'bool' THEN ARRAY[CASE setting WHEN 'on' THEN 'off' ELSE 'on' END] \
            WHEN 'enum' THEN (SELECT array_agg(v) FROM unnest(enumvals) v WHERE v <> setting) \
            WHEN 'integer' THEN ARRAY[(setting::bigint + 100000)::text, (setting::bigint + 1)::text, \
                (setting::bigint - 1)::text] \
            WHEN 'real' THEN ARRAY[(setting::float8 + 1)::text, (setting::float8 / 2)::text] \
            ELSE ARRAY['LATIN1', 'SQL, DMY', 'Asia/Tokyo', 'C', 'heap', 'simple', 'pg_default', 'evil'] END) \
            WITH ORDINALITY AS value (value, place) \
        WHERE context IN ('user', 'superuser') AND name NOT IN ({}, 'role', 'transaction_isolation', \
            'transaction_read_only', 'transaction_deferrable') ORDER BY name, place",
        LEFT_OUT.join(", ")
    );
    let Answer::Rows(candidates) = session.query(&candidates) else {
        panic!("{user} is told of no settings");
    };
    let mut done: Vec<String> = Vec::new();
    for statement in candidates {
        let name = |statement: &str| statement.split(' ').nth(1).map(str::to_owned);
        if done
            .last()
            .is_some_and(|last| name(last) == name(&statement))
        {
            continue;
        }
        if session.query(&statement) == Answer::Rows(vec![]) {
            done.push(statement);
        }
    }
    done
}

/// With `reset_query = ""`, too, nothing of a session that was pinned is found by another.
#[test]
fn a_pinned_session_leaves_nothing_whatever_the_reset_query() {
    let stage = Stage::trusting(|config| {
        config
            .set("pool", "size = 1")
            .set("pool", "reset_query = \"\"")
    });
    let all = "SELECT to_regclass('pg_temp.scratch') IS NULL, current_setting('work_mem'), \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
        (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)";
    for leaves in [
        "CREATE TEMP TABLE scratch (n int); SET work_mem = '9MB'",
        "SELECT pg_advisory_lock(1); SET work_mem = '9MB'",
        "LISTEN mine; SET work_mem = '9MB'; PREPARE p AS SELECT 1",
        "LOAD 'auto_explain'; SET work_mem = '9MB'",
    ] {
        let mut one = Session::login(stage.proxy.address()).unwrap();
        one.query(leaves);
        let _ = one.send(&message::terminate());
        let mut other = Session::login(stage.proxy.address()).unwrap();
        assert_eq!(other.query(all).row(), "t|4MB|0|0", "{leaves}");
    }
}

/// In session mode that is what was asked for; statements under pgring's names are what they were.
#[test]
fn session_mode_sends_nothing_when_nothing_is_to_be_sent() {
    let stage = Stage::trusting(|config| {
        config
            .set("pool", "size = 1")
            .set("pool", "mode = \"session\"")
            .set("pool", "reset_query = \"\"")
    });
    for round in 0..3 {
        let start = [
            ("user", "app"),
            ("database", "app"),
            ("TimeZone", "Asia/Tokyo"),
        ];
        let mut one = Session::login_with(stage.proxy.address(), &start).unwrap();
        assert_eq!(one.query("SHOW TimeZone").row(), "Asia/Tokyo", "{round}");
        one.query("SET TimeZone = 'America/Lima'");
        let _ = one.send(&message::terminate());
    }
}

/// A connection that has had a schema for temporary objects is not one that a session has begun with.
#[test]
fn the_schema_of_temporary_objects_goes_with_its_session() {
    let stage = stage();
    stage.sql("ALTER SYSTEM SET max_prepared_transactions = 5");
    let none = "SELECT pg_my_temp_schema()";
    for leaves in [
        "BEGIN; CREATE TEMP TABLE scratch (n int) ON COMMIT DROP; COMMIT",
        "CREATE TEMP TABLE scratch (n int); DROP TABLE scratch",
        "CREATE TEMP TABLE scratch (n int)",
        "SET search_path TO pg_temp; SELECT current_schema()",
        "BEGIN; SET LOCAL search_path TO pg_temp; SELECT current_schema(); COMMIT",
        "SELECT set_config('search_path', 'pg_temp', true), set_config('a.b', current_schema(), true)",
    ] {
        let mut one = Session::login(stage.proxy.address()).unwrap();
        one.query(leaves);
        one.query("SELECT current_schema()");
        let _ = one.send(&message::terminate());
        let mut other = Session::login(stage.proxy.address()).unwrap();
        assert_eq!(other.query(none).row(), "0", "{leaves}");
        other.query("SET search_path TO pg_temp");
        other.query("BEGIN");
        other.query("SELECT current_schema()");
        let refused = other.query("PREPARE TRANSACTION 'x'");
        assert!(
            matches!(&refused, Answer::Error(code, _) if code == "0A000"),
            "{leaves}: {refused:?}"
        );
    }
}

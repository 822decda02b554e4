//! What functions, procedures and triggers leave behind at a connection, by default settings: roles, temporary tables,
//! advisory locks, channels, cursors. Its owner finds it as at a server of its own, the next client does not.

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{message::query, proxy::Config},
};

const OBJECTS: &str = "
CREATE ROLE reader; GRANT reader TO app; GRANT CREATE, TEMP ON DATABASE app TO app, reader;
CREATE FUNCTION take_role() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE reader; END $$;
CREATE FUNCTION take_role_by_name(r text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('ro' || 'le', r, false); END $$;
CREATE FUNCTION make_table() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN CREATE TEMP TABLE scratch AS SELECT 1 AS n; END $$;
CREATE FUNCTION make_table_by_name(n text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'CREATE TEM' || 'P TABLE ' || n || ' AS SELECT 1 AS n'; END $$;
CREATE FUNCTION make_table_by_sql() RETURNS void LANGUAGE sql AS 'CREATE TEMP TABLE scratch (n int)';
CREATE FUNCTION take_lock() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN pg_try_advisory_lock(7); END $$;
CREATE FUNCTION take_lock_by_sql() RETURNS boolean LANGUAGE sql AS 'SELECT pg_try_advisory_lock(7)';
CREATE FUNCTION listen_to() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LISTEN mine; END $$;
CREATE FUNCTION limit_time() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET statement_timeout = '1h'; END $$;
CREATE FUNCTION within(f text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ' || f || '()'; END $$;
CREATE FUNCTION safely() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN PERFORM make_table(), pg_advisory_lock(7); END $$;
CREATE PROCEDURE proceed() LANGUAGE plpgsql AS
    $$ BEGIN CREATE TEMP TABLE scratch (n int); COMMIT; PERFORM pg_advisory_lock(7); SET ROLE reader; END $$;
CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_ARGV[0] = 'role' THEN SET ROLE reader;
    ELSIF TG_ARGV[0] = 'table' THEN CREATE TEMP TABLE scratch AS SELECT 1 AS n;
    ELSE PERFORM pg_advisory_lock(7); END IF;
    RETURN NULL; END $$;
CREATE TABLE to_role (n int); CREATE TABLE to_table (n int); CREATE TABLE to_lock (n int);
INSERT INTO to_role VALUES (1);
CREATE TRIGGER t AFTER UPDATE ON to_role FOR EACH ROW EXECUTE FUNCTION by_trigger('role');
CREATE TRIGGER t AFTER INSERT ON to_table FOR EACH STATEMENT EXECUTE FUNCTION by_trigger('table');
CREATE TRIGGER t BEFORE TRUNCATE ON to_lock FOR EACH STATEMENT EXECUTE FUNCTION by_trigger('lock');
CREATE TRIGGER u AFTER INSERT ON to_lock FOR EACH ROW EXECUTE FUNCTION by_trigger('lock');
CREATE VIEW locked AS SELECT take_lock();
CREATE FUNCTION called_otherwise(bigint) RETURNS void LANGUAGE internal AS 'pg_advisory_lock_int8';
CREATE OPERATOR !!! (RIGHTARG = bigint, FUNCTION = pg_try_advisory_lock);
CREATE VIEW all_settings AS SELECT * FROM pg_settings;
CREATE RULE r AS ON INSERT TO to_role DO INSTEAD
    UPDATE pg_settings SET setting = 3600000 WHERE name = 'statement_timeout';
CREATE EXTENSION tablefunc;
GRANT UPDATE, SELECT ON all_settings TO app, reader;
GRANT ALL ON to_role, to_table, to_lock, locked TO app, reader;
";

/// One request each.
const WAYS: [&str; 31] = [
    "SELECT take_role()",
    "SELECT take_role_by_name('reader')",
    "SELECT within('take_role')",
    "UPDATE to_role SET n = n + 1",
    "DO $$ BEGIN EXECUTE 'SET ' || 'ROLE reader'; END $$",
    "SELECT make_table()",
    "SELECT make_table_by_name('scratch')",
    "SELECT make_table_by_sql()",
    "SELECT within('make_table')",
    "INSERT INTO to_table VALUES (1)",
    "INSERT INTO to_table SELECT 1 WHERE false",
    "WITH one AS (INSERT INTO to_table VALUES (1) RETURNING n) SELECT n FROM one",
    "SELECT take_lock()",
    "SELECT take_lock_by_sql()",
    "SELECT within('take_lock')",
    "SELECT * FROM locked",
    "SELECT count(*) FROM locked",
    "SELECT CASE WHEN take_lock() THEN 1 END",
    "TRUNCATE to_lock",
    "INSERT INTO to_lock VALUES (1)",
    "COPY to_lock FROM PROGRAM 'echo 1'",
    "SELECT called_otherwise(7)",
    "SELECT !!! 7::bigint",
    "SELECT * FROM crosstab('SELECT 1, pg_advisory_lock(7)::text, 2') AS c (n int, m int)",
    "UPDATE all_settings SET setting = 3600000 WHERE name = 'statement_timeout'",
    "INSERT INTO to_role VALUES (1)",
    "SELECT listen_to()",
    "SELECT limit_time()",
    "SELECT safely()",
    "CALL proceed()",
    "BEGIN; SELECT make_table(), take_lock(); SELECT take_role(); COMMIT",
];

/// What a client finds at its connection.
const LOOK: &str = "SELECT current_user, to_regclass('pg_temp.scratch') IS NOT NULL, \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_listening_channels()), current_setting('statement_timeout')";

/// What it finds when it has left nothing.
const NOTHING: &str = "app|f|0|0|0";

/// The second connection is for who comes while the first one is kept.
fn adapt(config: Config, lines: &[&str]) -> Config {
    let config = config.set("pool", "size = 2");
    let add = |config: Config, line: &&str| config.set("pool", line);
    lines.iter().fold(config, add)
}

fn prove(lines: &[&str]) {
    let mut stage = Stage::trusting(|config| adapt(config, lines));
    stage.sql(OBJECTS);
    stage.sql("GRANT pg_execute_server_program TO app");
    let mut complaints = Vec::new();
    for way in WAYS {
        stage.renew(|config| adapt(config, lines));
        let own = directly(&stage, way);
        // Who had the lock has gone, but the server may not have noticed yet.
        stage.sql("SELECT pg_advisory_xact_lock(7)");
        complaints.extend(complaint_about(&stage, way, &own).map(|what| format!("{way}: {what}")));
    }
    let count = complaints.len();
    assert!(
        complaints.is_empty(),
        "{count} complaints\n{}",
        complaints.join("\n")
    );
}

/// What its owner finds at a server of its own.
fn directly(stage: &Stage, way: &str) -> String {
    stage.sql("SELECT pg_advisory_xact_lock(7)");
    let mut direct = Session::login(stage.server.primary.address()).unwrap();
    let answer = direct.query(way);
    assert!(matches!(answer, Answer::Rows(_)), "{way}: {answer:?}");
    let own = direct.query(LOOK).row();
    assert_ne!(own, NOTHING, "{way} leaves nothing");
    own
}

/// What goes wrong when one client does this while others come and go.
fn complaint_about(stage: &Stage, way: &str, own: &str) -> Option<String> {
    let login = || Session::login(stage.proxy.address()).unwrap();
    let (mut one, mut earlier) = (login(), login());
    let before = earlier.query(LOOK).row();
    one.query(way);
    let strangers = [earlier.query(LOOK).row(), login().query(LOOK).row()];
    let locked = earlier.query("SELECT pg_try_advisory_xact_lock(7)").row();
    let found = one.query(LOOK).row();
    drop(one);
    let left = [earlier.query(LOOK).row(), login().query(LOOK).row()];
    let all = [vec![before], strangers.into(), left.into()].concat();
    if all.iter().any(|found| found != NOTHING) {
        return Some(format!("others find {all:?}"));
    }
    let has_lock = own.split('|').nth(2) != Some("0");
    if has_lock == (locked == "t") {
        return Some("two clients have one lock".to_owned());
    }
    (found != own).then(|| format!("its owner finds {found}, not {own}"))
}

#[test]
fn what_functions_and_triggers_leave_is_their_clients_alone() {
    prove(&[]);
}

#[test]
fn it_is_so_where_state_is_always_asked_for() {
    prove(&["state_check = \"always\""]);
}

/// RESET in a function, which no text of the client's shows: it goes back to what the client came with, and not to what
/// the server began with. What is pipelined behind it finds that, too.
#[test]
fn what_a_function_resets_goes_back_to_what_the_client_came_with() {
    const COME_WITH: [(&str, &str); 4] = [
        ("user", "app"),
        ("database", "app"),
        ("application_name", "mine"),
        ("options", "-c work_mem=9MB -c my.v=own"),
    ];
    let look = "SELECT current_setting('work_mem'), current_setting('application_name'), current_setting('my.v', true)";
    for line in ["state_check = \"suspected\"", "state_check = \"always\""] {
        let stage = Stage::trusting(|config| adapt(config, &[line]));
        stage.sql(
            "CREATE FUNCTION reset_all() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RESET ALL; RETURN 1; END $$;
             CREATE FUNCTION run(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE t; END $$;
             CREATE VIEW resetting AS SELECT reset_all(); GRANT SELECT ON resetting TO app;",
        );
        for keeps in [false, true] {
            for way in [
                "SELECT reset_all()",
                "SELECT * FROM resetting",
                "SELECT run('RES' || 'ET ALL')",
                "SELECT run('RES' || 'ET work_mem')",
                "DO $$ BEGIN EXECUTE 'RES' || 'ET ALL'; END $$",
            ] {
                let mut one = Session::login_with(stage.proxy.address(), &COME_WITH).unwrap();
                if keeps {
                    one.query("SELECT pg_advisory_lock(7)");
                }
                one.query(way);
                let found = one.query(look).row();
                assert_eq!(found, "9MB|mine|own", "{line}, {keeps}: {way}");
                one.send(&[query(way), query(look)].concat()).unwrap();
                one.answer();
                let found = one.answer().row();
                assert_eq!(found, "9MB|mine|own", "{line}, {keeps}, pipelined: {way}");
            }
        }
    }
}

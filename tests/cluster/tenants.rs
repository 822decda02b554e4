//! Tenants kept apart by row security that asks for a setting with a dot in its name, which no view of PostgreSQL
//! lists: however one client says who it is, another one never reads its rows.

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{message::*, proxy::Config},
};

const OBJECTS: &str = "
CREATE TABLE documents (tenant text, content text);
INSERT INTO documents VALUES ('a', 'of a'), ('b', 'of b');
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON documents USING (tenant = current_setting('app.tenant', true));
CREATE TABLE logins (tenant text);
CREATE PROCEDURE login_as(t text) LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.' || 'tenant', t, false); END $$;
CREATE PROCEDURE login_and_commit(t text) LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.' || 'tenant', t, false); COMMIT; END $$;
CREATE FUNCTION become(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('SET %I.%I = %L', 'app', 'tenant', t); END $$;
CREATE FUNCTION become_by_sql(t text) RETURNS text LANGUAGE sql AS
    $$ SELECT set_config('app.' || 'tenant', t, false) $$;
CREATE FUNCTION become_within(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM become_by_sql(t); END $$;
CREATE FUNCTION become_on_insert() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.' || 'tenant', NEW.tenant, false); RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON logins FOR EACH ROW EXECUTE FUNCTION become_on_insert();
CREATE VIEW becoming AS SELECT become_by_sql('a');
CREATE FUNCTION become_by_a_name_that_the_server_cuts_because_it_is_longer_than_it_takes(t text) RETURNS text
    LANGUAGE sql AS $$ SELECT set_config('app.' || 'tenant', t, false) $$;
CREATE FUNCTION \"become \"\"quoted\"\"\"(t text) RETURNS text
    LANGUAGE sql AS $$ SELECT set_config('app.' || 'tenant', t, false) $$;
CREATE FUNCTION become_with_a_variable(t text) RETURNS void LANGUAGE plpgsql AS
    $$ DECLARE procedure text := 'SET app.' || 'tenant = ' || quote_literal(t); BEGIN EXECUTE procedure; END $$;
CREATE FUNCTION become_in_lines(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.'
        'tenant', t, false); END $$;
CREATE FUNCTION called_otherwise(text, text, boolean) RETURNS text LANGUAGE internal AS 'set_config_by_name';
CREATE FUNCTION become_next(state text, t text) RETURNS text LANGUAGE sql AS
    $$ SELECT set_config('app.' || 'tenant', t, false) $$;
CREATE AGGREGATE become_all(text) (SFUNC = become_next, STYPE = text);
CREATE AGGREGATE set_all(text, boolean) (SFUNC = set_config, STYPE = text, INITCOND = 'app.tenant');
CREATE VIEW setting AS SELECT set_all('a', false);
CREATE EXTENSION tablefunc;
GRANT SELECT ON setting TO app;
GRANT ALL ON documents, logins, becoming TO app;
";

const LOOK: &str = "SELECT content FROM documents";

/// Texts by which a client becomes tenant a, each one request.
fn ways() -> Vec<String> {
    let mut ways: Vec<String> = [
        "CALL login_as('a')",
        "CALL login_and_commit('a')",
        "BEGIN; CALL login_as('a'); COMMIT",
        "SELECT become('a')",
        "SELECT become_by_sql('a')",
        "SELECT become_within('a')",
        "SELECT * FROM becoming",
        "INSERT INTO logins VALUES ('a')",
        "SET app.tenant = 'a'",
        "SET SESSION app.tenant TO a",
        "SET app . tenant = 'a'",
        "SET app/**/.tenant = 'a'",
        "SET app./* a comment /* in another */ */tenant = 'a'",
        "SET -- a comment\n app.tenant = 'a'",
        "SET APP.Tenant = 'a'",
        "SET \"app\".tenant = 'a'",
        "SET \"App\".\"TENANT\" = 'a'",
        "SET \"app.tenant\" = 'a'",
        "SET U&\"app\\002etenant\" = 'a'",
        "SET U&\"app!002etenant\" UESCAPE '!' = 'a'",
        "SET U&\"\\0061pp\".tenant = 'a'",
        "SELECT set_config('app.tenant', 'a', false)",
        "SELECT set_config('app.' || 'tenant', 'a', false)",
        "SELECT pg_catalog.set_config('APP.TENANT', 'a', false)",
        "SELECT \"set_config\"(E'app\\x2etenant', 'a', false)",
        "SELECT U&\"set\\005fconfig\"('app.tenant', 'a', false)",
        "SELECT set_config(n, 'a', false) FROM (VALUES ('app.tenant')) AS names (n)",
        "DO $$ BEGIN PERFORM set_config('app.' || 'tenant', 'a', false); END $$",
        "DO $$ BEGIN EXECUTE 'SET app.' || 'tenant = ''a'''; END $$",
        "DO 'BEGIN CALL login_as(''a''); END'",
        "PREPARE p AS SELECT set_config('app.' || 'tenant', 'a', false); EXECUTE p",
        "PREPARE p AS SELECT become('a'); EXECUTE p; DEALLOCATE p",
        "SELECT 1; SELECT 2; SET app.tenant = 'a'; SELECT 3",
        "BEGIN; SAVEPOINT s; SET app.tenant = 'a'; RELEASE s; COMMIT",
        "EXPLAIN ANALYZE SELECT set_config('app.tenant', 'a', false)",
        "COPY (SELECT set_config('app.tenant', 'a', false)) TO STDOUT",
        "CREATE TEMP TABLE made ON COMMIT DROP AS SELECT become_by_sql('a')",
        "SELECT set_config('app.'\n 'tenant', 'a', false)",
        "SELECT set_config('app.' -- a comment\n 'tenant', 'a', false)",
        "SELECT set_config(E'app.'\n 'ten\\141nt', 'a', false)",
        "SELECT become_in_lines('a')",
        "SELECT become_by_a_name_that_the_server_cuts_because_it_is_longer_than_it_takes('a')",
        "SELECT \"become \"\"quoted\"\"\"('a')",
        "SELECT U&\"become_by_sql\"('a')",
        "SELECT U&\"become\\005fby\\005fsql\"('a')",
        "SELECT become_with_a_variable('a')",
        "SELECT called_otherwise('app.' || 'tenant', 'a', false)",
        "SELECT become_all('a')",
        "SELECT become_all('a') FILTER (WHERE true) OVER ()",
        "SELECT set_all('a', false)",
        "SELECT * FROM setting",
        "SELECT * FROM crosstab('SELECT set_config(''app.'' || ''tenant'', ''a'', false), 1, 2') AS c (n text, m int)",
    ]
    .map(str::to_owned)
    .into();
    // Behind the first 64 KiB.
    let long = "x".repeat(70_000);
    ways.push(format!("SELECT '{long}'; SET app.tenant = 'a'"));
    ways.push(format!("/* {long} */ SET app.tenant = 'a'"));
    ways.push(format!(
        "SELECT length('{long}'), set_config('app.' || 'tenant', 'a', false)"
    ));
    ways.push(format!(
        "DO $$ BEGIN PERFORM '{long}'; PERFORM become_by_sql('a'); END $$"
    ));
    ways
}

/// The same text by both protocols, where it is one statement; and names that no text shows.
fn requests() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = Vec::new();
    for way in ways() {
        let name: String = way.chars().take(100).collect();
        let is_one = !way.contains("; ") || way.starts_with("DO");
        if is_one && !way.starts_with("COPY") {
            let unnamed = [parse("", &way), bind("", "", &[]), execute(""), sync()];
            all.push((format!("unnamed: {name}"), unnamed.concat()));
        }
        all.push((name, query(&way)));
    }
    let parameters: [(&str, &[&str]); 3] = [
        ("SELECT set_config($1, $2, false)", &["app.tenant", "a"]),
        ("SELECT become_by_sql($1)", &["a"]),
        ("INSERT INTO logins VALUES ($1)", &["a"]),
    ];
    for (text, values) in parameters {
        for name in ["", "s"] {
            let request = [
                parse(name, text),
                bind("", name, values),
                execute(""),
                sync(),
            ];
            all.push((format!("statement \"{name}\": {text}"), request.concat()));
        }
    }
    all
}

fn rows(of: &[&str]) -> Answer {
    Answer::Rows(of.iter().map(|&row| row.to_owned()).collect())
}

/// The second connection is for who comes while the first one is kept.
fn adapt(config: Config, lines: &[&str]) -> Config {
    let config = config.set("pool", "size = 2");
    let add = |config: Config, line: &&str| config.set("pool", line);
    lines.iter().fold(config, add)
}

/// Each way on a stage with these lines about the pool; all complaints together.
fn prove(lines: &[&str]) {
    let mut stage = Stage::trusting(|config| adapt(config, lines));
    stage.sql(OBJECTS);
    let mut complaints = Vec::new();
    for (name, request) in requests() {
        let mut direct = Session::login(stage.server.primary.address()).unwrap();
        direct.ask(&request);
        assert_eq!(direct.query(LOOK), rows(&["of a"]), "{name} does nothing");
        stage.renew(|config| adapt(config, lines));
        complaints.extend(complaint_about(&stage, &request).map(|what| format!("{name}: {what}")));
    }
    let count = complaints.len();
    assert!(
        complaints.is_empty(),
        "{count} complaints\n{}",
        complaints.join("\n")
    );
}

/// What goes wrong when one client does this between the lives of three others.
fn complaint_about(stage: &Stage, request: &[u8]) -> Option<String> {
    let login = || Session::login(stage.proxy.address()).unwrap();
    let (mut tenant, mut earlier) = (login(), login());
    let before = earlier.query(LOOK);
    let asked = tenant.ask(request);
    let told = [earlier.query(LOOK), login().query(LOOK)];
    let own = tenant.query(LOOK);
    drop(tenant);
    let left = [earlier.query(LOOK), login().query(LOOK)];
    let strangers = [&before].into_iter().chain(&told).chain(&left);
    let strangers: Vec<_> = strangers.filter(|&answer| *answer != rows(&[])).collect();
    if !strangers.is_empty() {
        return Some(format!("strangers read {strangers:?}"));
    }
    (own != rows(&["of a"])).then(|| format!("the tenant itself reads {own:?} after {asked:?}"))
}

#[test]
fn nobody_reads_anothers_rows() {
    prove(&[]);
}

#[test]
fn nobody_reads_them_where_state_is_always_asked_for() {
    prove(&["state_check = \"always\""]);
}

/// Bytes that are no UTF-8 are a name like any other.
#[test]
fn names_in_another_encoding_are_not_lost_sight_of() {
    let stage = Stage::trusting(|config| config.set("pool", "size = 2"));
    let latin1 = [
        ("user", "app"),
        ("database", "app"),
        ("client_encoding", "LATIN1"),
    ];
    let raw = |text: &[u8]| {
        let mut bytes = query(&"x".repeat(text.len()));
        let start = bytes.len() - 1 - text.len();
        bytes[start..start + text.len()].copy_from_slice(text);
        bytes
    };
    let look = "SELECT current_setting(U&'my.\\00e9t\\00e9', true)";
    for set in [
        &b"SET my.\xe9t\xe9 = 'mine'"[..],
        b"SET \"my\".\"\xe9t\xe9\" = 'mine'",
        b"SELECT set_config('my.\xe9t\xe9', 'mine', false)",
        b"DO $$ BEGIN SET my.\xe9t\xe9 = 'mine'; END $$",
    ] {
        let shown = set.escape_ascii().to_string();
        let login = || Session::login_with(stage.proxy.address(), &latin1).unwrap();
        let (mut one, mut other) = (login(), login());
        assert!(matches!(one.ask(&raw(set)), Answer::Rows(_)), "{shown}");
        assert_eq!(other.query(look), rows(&[""]), "{shown}");
        assert_eq!(one.query(look), rows(&["mine"]), "{shown}");
        drop(one);
        assert_eq!(other.query(look), rows(&[""]), "{shown}");
    }
}

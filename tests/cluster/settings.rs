//! Clients with different settings that take turns on one server connection.

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{
        message::query,
        peer::Client,
        proxy::Config,
        tools::{run, run_in_vain},
    },
};

fn one_connection(config: Config) -> Config {
    config.set("pool", "size = 1")
}

fn login(stage: &Stage, settings: &[(&str, &str)]) -> Client {
    let who = [("user", "app"), ("database", "app")];
    Client::login_with(stage.proxy.address(), &[&who, settings].concat())
}

/// Who one is says the login; `session_authorization` in a startup packet is looked at, and changes nothing.
#[test]
fn who_comes_as_somebody_else_is_answered_as_by_the_server() {
    let stage = Stage::trusting(one_connection);
    stage.sql("CREATE ROLE other");
    let mut plain = stage.proxy.client();
    for (user, claimed, sqlstate) in [
        ("app", "nobody_is_called_so", "22023"),
        ("app", "other", "42501"),
        ("app", "o'th\\er", "22023"),
        ("app", "app", ""),
        ("postgres", "nobody_is_called_so", "22023"),
        ("postgres", "other", ""),
    ] {
        for claim in [
            ("session_authorization", claimed.to_owned()),
            (
                "options",
                format!("-c session_authorization={}", claimed.replace('\\', "\\\\")),
            ),
        ] {
            let parameters = [("user", user), ("database", "app"), (claim.0, &*claim.1)];
            for address in [stage.proxy.address(), stage.server.primary.address()] {
                let found = match Session::login_with(address, &parameters) {
                    Ok(mut session) => session.query("SELECT session_user").row(),
                    Err(Answer::Error(sqlstate, _)) => sqlstate,
                    Err(other) => panic!("{other:?}"),
                };
                let expected = if sqlstate.is_empty() { user } else { sqlstate };
                assert_eq!(found, expected, "{user} as {claimed} at {address}");
            }
        }
        assert_eq!(plain.rows("SELECT session_user, current_user"), ["app|app"]);
    }
}

#[test]
fn each_client_keeps_the_settings_it_started_with() {
    let stage = Stage::trusting(one_connection);
    let mut plain = stage.proxy.client();
    let mut tokyo = login(
        &stage,
        &[
            ("TimeZone", "Asia/Tokyo"),
            ("client_encoding", "LATIN1"),
            ("application_name", "tokyo's"),
            ("DateStyle", "German"),
        ],
    );
    let mut optional = login(
        &stage,
        &[
            (
                "options",
                "-c statement_timeout=12345 --work-mem=9MB -c search_path=a,\\ b",
            ),
            ("application_name", "optional"),
        ],
    );
    assert_eq!(tokyo.parameter("TimeZone"), Some("Asia/Tokyo"));
    assert_eq!(tokyo.parameter("client_encoding"), Some("LATIN1"));
    assert_eq!(tokyo.parameter("application_name"), Some("tokyo's"));
    assert_eq!(plain.parameter("client_encoding"), Some("UTF8"));
    let show = "SELECT current_setting('TimeZone') = 'Asia/Tokyo', current_setting('client_encoding'), \
                current_setting('application_name'), current_setting('statement_timeout'), \
                current_setting('work_mem'), current_setting('search_path'), DATE '2024-12-31'";
    for _ in 0..3 {
        assert_eq!(
            plain.rows(show),
            ["f|UTF8||0|4MB|\"$user\", public|2024-12-31"]
        );
        assert_eq!(
            tokyo.rows(show),
            ["t|LATIN1|tokyo's|0|4MB|\"$user\", public|31.12.2024"]
        );
        assert_eq!(
            optional.rows(show),
            ["f|UTF8|optional|12345ms|9MB|a, b|2024-12-31"]
        );
    }
    assert_eq!(stage.server_connections(), 1);
}

#[test]
fn each_client_keeps_what_it_sets_and_the_server_reports() {
    let stage = Stage::trusting(one_connection);
    let (mut one, mut other) = (stage.proxy.client(), stage.proxy.client());
    one.send(query("SET TimeZone = 'Asia/Tokyo'"))
        .expect("C S Z");
    other
        .send(query("SET client_encoding = 'LATIN1'"))
        .expect("C S Z");
    let show =
        "SELECT current_setting('TimeZone') = 'Asia/Tokyo', current_setting('client_encoding')";
    for _ in 0..3 {
        assert_eq!(one.rows(show), ["t|UTF8"]);
        assert_eq!(other.rows(show), ["f|LATIN1"]);
    }
    // Rolled back with its transaction.
    one.rows("BEGIN; SET TimeZone = 'UTC'");
    one.rows("ROLLBACK");
    assert_eq!(other.rows("SELECT 1"), ["1"]);
    assert_eq!(one.rows(show), ["t|UTF8"]);
}

/// Bytes above ASCII mean what the client's own encoding says.
#[test]
fn encodings_do_not_mix() {
    let stage = Stage::trusting(one_connection);
    let mut latin = login(&stage, &[("client_encoding", "LATIN1")]);
    let mut utf = login(&stage, &[("client_encoding", "UTF8")]);
    utf.rows("CREATE TABLE t (x text)");
    for _ in 0..2 {
        let mut statement = b"INSERT INTO t VALUES ('\xe9')\0".to_vec();
        let length = (statement.len() + 4) as u32;
        let mut message = [b"Q".as_slice(), &length.to_be_bytes()].concat();
        message.append(&mut statement);
        latin.send(message).expect("C Z");
        assert_eq!(utf.rows("SELECT DISTINCT x FROM t"), ["\u{e9}"]);
    }
}

#[test]
fn psql_brings_its_environment() {
    let stage = Stage::new(one_connection);
    let show = "SELECT current_setting('TimeZone'), current_setting('client_encoding'), \
                current_setting('application_name'), current_setting('work_mem')";
    let psql = |zone: &str, encoding: &str, name: &str, memory: &str| {
        let mut psql = stage.proxy.tool("psql");
        psql.env("PGTZ", zone).env("PGCLIENTENCODING", encoding);
        psql.env("PGAPPNAME", name)
            .env("PGOPTIONS", format!("-c work_mem={memory}"));
        psql.args(["-X", "-q", "-A", "-t", "-c", show]);
        run(&mut psql).trim_end().to_owned()
    };
    for _ in 0..2 {
        assert_eq!(
            psql("Asia/Tokyo", "LATIN1", "one", "5MB"),
            "Asia/Tokyo|LATIN1|one|5MB"
        );
        assert_eq!(
            psql("Europe/Paris", "UTF8", "two", "6MB"),
            "Europe/Paris|UTF8|two|6MB"
        );
    }
    assert_eq!(stage.server_connections(), 1);
}

#[test]
fn a_setting_that_does_not_exist_is_refused_at_login() {
    let stage = Stage::new(one_connection);
    let mut psql = stage.proxy.tool("psql");
    psql.env("PGOPTIONS", "-c no_such_setting=1")
        .args(["-X", "-c", "SELECT 1"]);
    let said = run_in_vain(&mut psql);
    assert!(
        said.contains("FATAL:  unrecognized configuration parameter \"no_such_setting\""),
        "{said}"
    );
    assert_eq!(stage.proxy.psql("SELECT 1"), "1");
}

/// What they are told at login is known, on every core, without a server.
#[test]
fn logins_do_not_wait_for_a_busy_pool() {
    let stage = Stage::trusting(|config| one_connection(config).workers(2));
    let mut busy = stage.proxy.client();
    busy.rows("BEGIN");
    let logins = ["", "one", "two", "three", "four", "five"].map(|name| {
        let client = login(&stage, &[("application_name", name)]);
        assert_eq!(client.parameter("application_name"), Some(name));
        (name, client)
    });
    busy.rows("COMMIT");
    for (name, mut client) in logins {
        assert_eq!(client.rows("SHOW application_name"), [name]);
    }
}

//! What a session has set follows it from one server connection to the next, and stays away from others.

use super::{
    bystander::{Stage, round_trip},
    pools::console,
};
use crate::support::{message::*, mock::Backend, peer::Client};
use pgring::protocol::{ErrorReport, SqlState, backend::ErrorFields};

fn stage() -> Stage {
    Stage::set_with(|config| config.set("pool", "size = 1"))
}

fn named(name: &str) -> Vec<u8> {
    startup(&[
        ("user", "app"),
        ("database", "app"),
        ("application_name", name),
    ])
}

fn set_name(name: &str) -> Vec<u8> {
    give(&[("application_name", Some(name))])
}

/// The server's answer to a change of the application's name.
fn name_is_set(name: &str) -> Vec<u8> {
    all([
        columns(&["set_config"]),
        row(&[name]),
        command_complete("SELECT 1"),
        parameter_status("application_name", name),
        ready(),
    ])
}

/// A client whose settings nobody had before: they are tried at the server while it logs in.
fn login(stage: &Stage, name: &str, backend: Option<Backend>) -> (Client, Backend) {
    let mut client = Client::connect(stage.proxy.address());
    client.send(named(name));
    let mut backend = backend.unwrap_or_else(|| stage.server.next());
    backend.resets();
    backend.expect_message(give_inside(&[("application_name", Some(name))]));
    backend.answer(name_is_set(name));
    client.expect_login();
    assert_eq!(client.parameter("application_name"), Some(name));
    (client, backend)
}

#[test]
fn clients_with_equal_settings_cost_nothing() {
    let stage = stage();
    let (mut first, mut backend) = login(&stage, "one", None);
    let mut second = Client::connect(stage.proxy.address());
    second.send(named("one"));
    second.expect_login();
    assert_eq!(second.parameters, first.parameters);
    for _ in 0..3 {
        round_trip(&mut first, &mut backend);
        round_trip(&mut second, &mut backend);
    }
}

#[test]
fn clients_with_different_settings_get_their_own_in_the_same_flight() {
    let stage = stage();
    let (mut one, backend) = login(&stage, "one", None);
    let (mut two, mut backend) = login(&stage, "two", Some(backend));
    round_trip(&mut two, &mut backend);
    for name in ["one", "two", "one"] {
        let client = if name == "one" { &mut one } else { &mut two };
        client.send(query("SELECT 1"));
        backend.expect_message(all([set_name(name), query("SELECT 1")]));
        backend.answer(all([name_is_set(name), one_value("1")]));
        client.expect("T D C Z");
        round_trip(client, &mut backend);
    }
    // One without any.
    let mut plain = stage.client();
    plain.send(all([parse("", "SELECT 1"), sync()]));
    backend.expect_message(all([
        give(&[("application_name", None)]),
        parse_and_describe("", "SELECT 1"),
        sync(),
    ]));
    backend.answer(all([
        command_complete("RESET"),
        parameter_status("application_name", ""),
        ready(),
        parsed_and_described(),
        ready(),
    ]));
    // This server said nothing of it at login, so that it is news.
    plain.expect("S 1 Z");
}

#[test]
fn what_a_session_sets_is_its_own() {
    let stage = stage();
    let (mut client, mut other) = (stage.client(), stage.client());
    let set = "SET TimeZone = 'Asia/Tokyo'";
    client.send(query(set));
    let mut backend = stage.server.expect(query(set));
    let report = parameter_status("TimeZone", "Asia/Tokyo");
    let answer = all([command_complete("SET"), report.clone(), ready()]);
    backend.answer(&answer);
    client.expect_exactly(&answer);
    // The server is the one who knows what the setting is now.
    backend.take_state_query(&[("TimeZone", "Asia/Tokyo")]);
    round_trip(&mut client, &mut backend);

    other.send(query("SELECT 1"));
    backend.expect_message(all([give(&[("timezone", None)]), query("SELECT 1")]));
    backend.answer(all([
        command_complete("RESET"),
        parameter_status("TimeZone", "UTC"),
        ready(),
        one_value("1"),
    ]));
    // This server said nothing of it at login, so that it is news, and asked about.
    other.expect("S T D C Z");
    backend.take_state_query(&[]);

    let again = give(&[("timezone", Some("Asia/Tokyo"))]);
    client.send(query("SELECT 1"));
    backend.expect_message(all([again, query("SELECT 1")]));
    backend.answer(all([
        columns(&["set_config"]),
        row(&["Asia/Tokyo"]),
        command_complete("SELECT 1"),
        report,
        ready(),
        one_value("1"),
    ]));
    client.expect("T D C Z");
    round_trip(&mut client, &mut backend);
}

#[test]
fn settings_that_the_server_refuses_at_login() {
    let stage = stage();
    let mut client = Client::connect(stage.proxy.address());
    client.send(startup(&[
        ("user", "app"),
        ("database", "app"),
        ("options", "-c nonsense=1 --work-mem=4MB"),
    ]));
    let mut backend = stage.server.next();
    backend.resets();
    backend.expect_message(give_inside(&[
        ("nonsense", Some("1")),
        ("work_mem", Some("4MB")),
    ]));
    backend.answer(all([
        error("42704", "unrecognized configuration parameter \"nonsense\""),
        ready(),
    ]));
    client.expect("R");
    assert!(client.expect_error("42704").contains("nonsense"));
    client.expect_end();
}

#[test]
fn settings_that_a_server_refuses_later_end_the_session() {
    let stage = stage();
    let (mut one, backend) = login(&stage, "one", None);
    let (_two, mut backend) = login(&stage, "two", Some(backend));
    one.send(query("SELECT 1"));
    backend.expect_message(all([set_name("one"), query("SELECT 1")]));
    backend.answer(all([error("22023", "no"), ready(), one_value("1")]));
    one.expect_error("08006");
    one.expect_end();
    backend.expect_end();
}

#[test]
fn a_server_that_dies_over_the_settings_is_a_server_that_dies() {
    let stage = stage();
    let (mut one, backend) = login(&stage, "one", None);
    let (_two, mut backend) = login(&stage, "two", Some(backend));
    one.send(query("SELECT 1"));
    backend.expect_message(all([set_name("one"), query("SELECT 1")]));
    backend.reset();
    one.expect_error("08006");
    one.expect_exactly(ready());
    one.send(query("SELECT 1"));
    let mut backend = stage
        .server
        .expect(all([set_name("one"), query("SELECT 1")]));
    backend.answer(all([name_is_set("one"), one_value("1")]));
    one.expect("T D C Z");
}

/// A client has set something, which the server told when asked.
fn has_set(client: &mut Client, backend: &mut Backend, text: &str, settings: &[(&str, &str)]) {
    client.send(query(text));
    backend.expect_message(query(text));
    backend.answer(all([command_complete("SET"), ready()]));
    client.expect("C Z");
    backend.take_state_query(settings);
}

#[test]
fn nothing_is_sent_for_settings_that_are_equal() {
    let stage = stage();
    let (mut first, mut second) = (stage.client(), stage.client());
    let mut backend = stage.server_of(&mut first);
    let there = [("work_mem", "1024")];
    has_set(&mut first, &mut backend, "SET work_mem = '1MB'", &there);
    second.send(query("SET work_mem = 1024"));
    backend.expect_message(all([
        give(&[("work_mem", None)]),
        query("SET work_mem = 1024"),
    ]));
    let answer = all([command_complete("SET"), ready()]);
    backend.answer(all([command_complete("RESET"), ready(), answer]));
    second.expect("C Z");
    backend.take_state_query(&there);
    for _ in 0..3 {
        round_trip(&mut first, &mut backend);
        round_trip(&mut second, &mut backend);
    }
}

#[test]
fn what_is_asked_while_the_state_is_asked_for_waits_for_nothing() {
    let stage = stage();
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    client.send(query("SET work_mem = '1MB'"));
    backend.expect_message(query("SET work_mem = '1MB'"));
    backend.answer(all([command_complete("SET"), ready()]));
    client.expect("C Z");
    backend.expect_state_query();
    client.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    let state = state_query("app", &[("work_mem", "1024")], "");
    backend.answer(all([state, one_value("1")]));
    client.expect_exactly(one_value("1"));
    // The server is not asked again: nothing has changed since.
    round_trip(&mut client, &mut backend);
}

/// Nothing is known of a setting before its transaction has ended.
#[test]
fn a_transaction_is_asked_about_when_it_has_ended() {
    let stage = stage();
    let (mut client, mut backend) = stage.in_transaction();
    for text in ["SET work_mem = '1MB'", "SAVEPOINT a", "ROLLBACK TO a"] {
        client.send(query(text));
        backend.expect_message(query(text));
        backend.answer(all([command_complete("DONE"), ready_in_transaction()]));
        client.expect("C Z");
    }
    client.send(query("ROLLBACK"));
    backend.expect_message(query("ROLLBACK"));
    backend.answer(all([command_complete("ROLLBACK"), ready()]));
    client.expect("C Z");
    backend.take_state_query(&[]);
    round_trip(&mut stage.client(), &mut backend);
}

#[test]
fn settings_that_no_view_shows_are_asked_for_by_name() {
    let stage = stage();
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    let text = "SELECT set_config('my.Var', 'it''s', false)";
    client.send(query(text));
    backend.expect_message(query(text));
    backend.answer(one_value("it's"));
    client.expect("T D C Z");
    assert!(
        backend
            .expect_state_query()
            .contains("current_setting(E'my.var', true)")
    );
    backend.answer(state_query("app", &[("my.var", "it's")], ""));
    let mut other = stage.client();
    other.send(query("SELECT 1"));
    // A setting that somebody has invented, nobody need let him have: that is waited for, once.
    backend
        .expect_message(give(&[("my.var", None)]))
        .answer(one_value(""));
    backend
        .expect_message(query("SELECT 1"))
        .answer(one_value("1"));
    other.expect("T D C Z");
    client.send(query("SELECT 1"));
    let again = give(&[("my.var", Some("it\\x27s"))]);
    backend.expect_message(all([again, query("SELECT 1")]));
    backend.answer(all([one_value("it's"), one_value("1")]));
    client.expect_exactly(one_value("1"));
}

/// Nobody runs a statement as somebody else: who the session is must have been answered before anything is asked.
#[test]
fn a_role_is_taken_before_the_statement_is_sent() {
    let stage = stage();
    let (mut client, mut other) = (stage.client(), stage.client());
    let mut backend = stage.server_of(&mut client);
    has_set(
        &mut client,
        &mut backend,
        "SET ROLE boss",
        &[("role", "boss")],
    );
    let away = |other: &mut Client, backend: &mut Backend| {
        other.send(query("SELECT 1"));
        backend
            .expect_message(give(&[("role", None)]))
            .answer(one_value("none"));
        backend
            .expect_message(query("SELECT 1"))
            .answer(one_value("1"));
        other.expect_exactly(one_value("1"));
    };
    let boss = || give(&[("role", Some("boss"))]);
    away(&mut other, &mut backend);
    client.send(query("SELECT 'boss'"));
    backend.expect_message(boss()).answer(one_value("boss"));
    backend.expect_message(query("SELECT 'boss'"));
    backend.answer(one_value("boss"));
    client.expect_exactly(one_value("boss"));
    // The role is gone: what the client asks is never sent.
    away(&mut other, &mut backend);
    client.send(query("DELETE FROM t"));
    backend.expect_message(boss());
    backend.answer(all([
        error("22023", "role \"boss\" does not exist"),
        ready(),
    ]));
    client.expect_error("42501");
    client.expect_exactly(ready());
    backend.expect_end();
}

/// A server that does not answer the question may have anything: the session keeps its connection.
#[test]
fn a_state_that_cannot_be_told_pins_the_session() {
    let stage = stage();
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    for (refusal, times) in [
        (all([error("42501", "permission denied"), ready()]), 5),
        (all([row(&[]), command_complete("SELECT 1"), ready()]), 1),
    ] {
        client.send(query("SET work_mem = '1MB'"));
        backend.expect_message(query("SET work_mem = '1MB'"));
        backend.answer(all([command_complete("SET"), ready()]));
        client.expect("C Z");
        for _ in 0..times {
            backend.expect_state_query();
            backend.answer(&refusal);
        }
        round_trip(&mut client, &mut backend);
        if times > 1 {
            // What passes is asked again.
            backend.expect_state_query();
            backend.answer(&refusal);
        }
        let clients = console(&stage.proxy).rows("SHOW CLIENTS");
        let mut pinned = clients.iter().filter(|row| row.ends_with("|setting"));
        assert!(pinned.next().is_some(), "{clients:?}");
        let mut other = stage.client();
        other.send(query("SELECT 'other'"));
        client.terminate();
        backend.is_discarded();
        backend.expect_message(query("SELECT 'other'"));
        backend.answer(one_value("other"));
        other.expect("T D C Z");
        client = other;
    }
}

const RESET: &str = "RESET application_name";

/// The server has done what a RESET says, and is asked what there is now.
fn is_reset(client: &mut Client, backend: &mut Backend) {
    backend.expect_message(query(RESET));
    backend.answer(all([
        command_complete("RESET"),
        parameter_status("application_name", ""),
        ready(),
    ]));
    client.expect("C");
}

#[test]
fn what_follows_a_reset_waits_for_the_settings_that_the_client_came_with() {
    let stage = stage();
    let (mut client, mut backend) = login(&stage, "one", None);
    client.send(all([query("SELECT 0"), query(RESET), query("SELECT 1")]));
    backend.expect_message(query("SELECT 0"));
    backend.answer(one_value("0"));
    client.expect("T D C Z");
    is_reset(&mut client, &mut backend);
    backend.take_state_query(&[]);
    backend.expect_message(give_inside(&[("application_name", Some("one"))]));
    backend.answer(name_is_set("one"));
    client.expect("Z");
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    round_trip(&mut client, &mut backend);
}

#[test]
fn a_server_may_die_before_the_client_has_its_settings_again() {
    let stage = stage();
    let (mut client, mut backend) = login(&stage, "one", None);
    client.send(query(RESET));
    is_reset(&mut client, &mut backend);
    backend.expect_state_query();
    drop(backend);
    client.expect_error("08006");
    client.expect("Z");
    client.send(query("SELECT 1"));
    let mut backend = stage.server.next();
    backend.expect_message(all([set_name("one"), query("SELECT 1")]));
    backend.answer(all([name_is_set("one"), one_value("1")]));
    client.expect("T D C Z");
}

/// A setting that the server refuses at login costs nobody a server connection, and is refused in the server's words.
#[test]
fn a_setting_that_is_refused_at_login_leaves_the_connection() {
    let stage = stage();
    let mut other = stage.client();
    let mut backend = stage.server_of(&mut other);
    for _ in 0..3 {
        let mut client = Client::connect(stage.proxy.address());
        client.send(startup(&[
            ("user", "app"),
            ("database", "app"),
            ("work_mem", "much"),
        ]));
        backend.resets();
        backend.expect_message(give_inside(&[("work_mem", Some("much"))]));
        let refusal = ErrorReport::error(SqlState::INVALID_PARAMETER_VALUE, "invalid value");
        let refusal = written(|to| {
            to.error(&refusal.with_detail("It is no number."));
        });
        backend.answer(all([refusal, ready()]));
        client.expect("R");
        let report = client.receive();
        let fields = ErrorFields::read(&report.body).unwrap();
        assert_eq!(fields.field(b'D'), Some(&b"It is no number."[..]));
        assert_eq!(fields.field(b'S'), Some(&b"FATAL"[..]));
        client.expect_end();
        round_trip(&mut other, &mut backend);
    }
}

/// What is said of dates adds up; who one is says nobody.
#[test]
fn what_a_startup_packet_says_is_read_as_the_server_reads_it() {
    let stage = stage();
    let mut client = Client::connect(stage.proxy.address());
    client.send(startup(&[
        ("user", "app"),
        ("database", "app"),
        ("options", "-c datestyle=German -c DateStyle=ISO"),
        ("session_authorization", "app"),
    ]));
    let mut backend = stage.server.next();
    backend.resets();
    backend.expect_message(give_inside(&[("datestyle", Some("ISO, DMY"))]));
}

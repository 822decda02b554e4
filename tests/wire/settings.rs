//! What a session has set follows it from one server connection to the next, and stays away from others.

use super::bystander::{Stage, round_trip};
use crate::support::{message::*, mock::Backend, peer::Client};

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

fn set_name(name: &str) -> String {
    format!("SELECT pg_catalog.set_config(E'application_name',E'{name}',false)")
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
    backend.expect_message(query(&format!("RESET ALL;{}", set_name(name))));
    backend.answer(all([command_complete("RESET"), name_is_set(name)]));
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
        backend.expect_message(all([query(&set_name(name)), query("SELECT 1")]));
        backend.answer(all([name_is_set(name), one_value("1")]));
        client.expect("T D C Z");
        round_trip(client, &mut backend);
    }
    // One without any.
    let mut plain = stage.client();
    plain.send(all([parse("", "SELECT 1"), sync()]));
    backend.expect_message(all([
        query("RESET \"application_name\";"),
        parse("", "SELECT 1"),
        sync(),
    ]));
    backend.answer(all([
        command_complete("RESET"),
        parameter_status("application_name", ""),
        ready(),
        parse_complete(),
        ready(),
    ]));
    plain.expect("1 Z");
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
    backend.take_census(&[("TimeZone", "Asia/Tokyo")]);
    round_trip(&mut client, &mut backend);

    other.send(query("SELECT 1"));
    backend.expect_message(all([query("RESET \"timezone\";"), query("SELECT 1")]));
    backend.answer(all([
        command_complete("RESET"),
        parameter_status("TimeZone", "UTC"),
        ready(),
        one_value("1"),
    ]));
    other.expect("T D C Z");

    let again = "SELECT pg_catalog.set_config(E'timezone',E'Asia/Tokyo',false)";
    client.send(query("SELECT 1"));
    backend.expect_message(all([query(again), query("SELECT 1")]));
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
    let tried = "RESET ALL;SELECT pg_catalog.set_config(E'nonsense',E'1',false), \
                 pg_catalog.set_config(E'work_mem',E'4MB',false)";
    backend.expect_message(query(tried));
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
    backend.expect_message(all([query(&set_name("one")), query("SELECT 1")]));
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
    backend.expect_message(all([query(&set_name("one")), query("SELECT 1")]));
    backend.reset();
    one.expect_error("08006");
    one.expect_exactly(ready());
    one.send(query("SELECT 1"));
    let mut backend = stage
        .server
        .expect(all([query(&set_name("one")), query("SELECT 1")]));
    backend.answer(all([name_is_set("one"), one_value("1")]));
    one.expect("T D C Z");
}

//! Prepared statements: what a client has prepared is there on every connection, under names of pgring's own, and
//! nobody is told.

use super::{
    bystander::{Stage, round_trip},
    pools::console,
};
use crate::support::{message::*, mock::Backend, peer::Client};

fn single() -> Stage {
    Stage::set_with(|config| config.set("pool", "size = 1"))
}

/// Bind, Execute and Sync of a statement.
fn run(name: &str) -> Vec<u8> {
    all([bind("", name, &[]), execute(""), sync()])
}

fn answer() -> Vec<u8> {
    all([
        bind_complete(),
        row(&["1"]),
        command_complete("SELECT 1"),
        ready(),
    ])
}

/// The client has `SELECT 1` as `s`, and the connection has it as `pgring_1`.
fn prepared(stage: &Stage) -> (Client, Backend) {
    let mut client = stage.client();
    client.send(all([parse("s", "SELECT 1"), sync()]));
    let named = all([parse_and_describe("pgring_1", "SELECT 1"), sync()]);
    let mut backend = stage.server.expect(named);
    backend.answer(all([parsed_and_described(), ready()]));
    client.expect_exactly(all([parse_complete(), ready()]));
    (client, backend)
}

/// What the connection lacks is parsed there first.
fn expect_parse_ahead(backend: &mut Backend, name: &str) {
    backend.expect_message(all([parse_and_describe(name, "SELECT 1"), flush()]));
    backend.answer(parsed_and_described());
}

#[test]
fn what_a_connection_lacks_is_parsed_and_looked_at_first() {
    let stage = Stage::set();
    let (mut client, mut backend) = prepared(&stage);
    for _ in 0..2 {
        client.send(run("s"));
        backend.expect_message(run("pgring_1"));
        backend.answer(answer());
        client.expect_exactly(answer());
    }
    // Somebody else has that connection now.
    let mut others = Vec::new();
    for message in [run("s"), all([describe_statement("s"), sync()])] {
        let mut other = stage.client();
        other.send(query("BEGIN;SELECT 1"));
        backend.expect_message(query("BEGIN;SELECT 1"));
        backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
        other.expect("C Z");
        others.push(other);
        client.send(&message);
        backend = stage.server.next();
        expect_parse_ahead(&mut backend, "pgring_1");
        if message == run("s") {
            backend.expect_message(run("pgring_1"));
            backend.answer(answer());
            client.expect_exactly(answer());
        } else {
            backend.expect_message(all([describe_statement("pgring_1"), sync()]));
            backend.answer(all([no_parameters(), no_data(), ready()]));
            client.expect_exactly(all([no_parameters(), no_data(), ready()]));
        }
    }
}

/// Only a server knows what a text means, each time anew; and nothing is added to what is used at once.
#[test]
fn an_unnamed_parse_goes_on_as_it_is() {
    let stage = single();
    let group = || all([parse("", "SELECT 1"), run("")]);
    let first = || all([parse_complete(), answer()]);
    let (mut client, mut other) = (stage.client(), stage.client());
    client.send(group());
    let mut backend = stage.server.expect(group());
    backend.answer(first());
    client.expect_exactly(first());
    for _ in 0..3 {
        other.send(group());
        backend.expect_message(group());
        backend.answer(first());
        other.expect_exactly(first());
        round_trip(&mut client, &mut backend);
    }
}

/// The second group neither waits for the first one's answers nor asks for them.
#[test]
fn a_pipeline_that_parses_the_same_text_twice_is_one_flight() {
    let stage = single();
    let mut client = stage.client();
    let group = || all([parse("", "SELECT 1"), run("")]);
    let first = || all([parse_complete(), answer()]);
    client.send(all([group(), group()]));
    let mut backend = stage.server.expect(all([group(), group()]));
    backend.answer(all([first(), first()]));
    client.expect_exactly(all([first(), first()]));
    round_trip(&mut client, &mut backend);
}

/// A name that is parsed anew is parsed by the server, and everybody uses that from then on.
#[test]
fn a_new_parse_takes_the_place_of_the_old_one() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    let mut other = stage.client();
    other.send(all([parse("mine", "SELECT 1"), sync()]));
    backend.expect_message(all([parse_and_describe("pgring_2", "SELECT 1"), sync()]));
    backend.answer(all([parsed_and_described(), ready()]));
    other.expect("1 Z");
    client.send(run("s"));
    backend.expect_message(all([close_statement("pgring_1"), run("pgring_2")]));
    backend.answer(all([close_complete(), answer()]));
    client.expect_exactly(answer());
    other.send(run("mine"));
    backend.expect_message(run("pgring_2"));
    backend.answer(answer());
    other.expect_exactly(answer());
}

/// What PostgreSQL says when the connection does not have what pgring prepared there.
fn forgotten(name: &str) -> Vec<u8> {
    let message = match name {
        "pgring_1" => "prepared statement \"pgring_1\" does not exist",
        _ => "prepared statement \"pgring_2\" does not exist",
    };
    error("26000", message)
}

#[test]
fn a_statement_that_the_server_has_dropped_is_parsed_again_and_the_client_told_nothing() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    client.send(run("s"));
    backend.expect_message(run("pgring_1"));
    backend.answer(all([forgotten("pgring_1"), ready()]));
    backend.expect_message(all([
        close_statement("pgring_1"),
        parse_and_describe("pgring_2", "SELECT 1"),
        flush(),
    ]));
    backend.answer(all([close_complete(), parsed_and_described()]));
    backend.expect_message(run("pgring_2"));
    backend.answer(answer());
    client.expect_exactly(answer());
}

/// Its rows have another shape than its client knows: that the client hears, and its statement stays what it is.
#[test]
fn a_stale_plan_is_told() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    let refused = || all([stale_plan(), ready()]);
    for _ in 0..2 {
        client.send(all([describe_statement("s"), run("s")]));
        backend.expect_message(all([describe_statement("pgring_1"), run("pgring_1")]));
        backend.answer(refused());
        client.expect_exactly(refused());
    }
    client.send(run("s"));
    backend.expect_message(run("pgring_1"));
    backend.answer(answer());
    client.expect_exactly(answer());
}

/// Something of the pipeline was executed, or its end has not been sent: it cannot run again.
#[test]
fn a_dropped_statement_is_told_when_its_pipeline_cannot_run_again() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    let told = || error("26000", "prepared statement \"s\" does not exist");
    client.send(all([query("SELECT 1"), run("s")]));
    backend.expect_message(all([query("SELECT 1"), run("pgring_1")]));
    backend.answer(all([one_value("1"), forgotten("pgring_1"), ready()]));
    client.expect_exactly(all([one_value("1"), told(), ready()]));
    client.send(all([bind("", "s", &[]), execute(""), flush()]));
    backend.expect_message(all([
        close_statement("pgring_1"),
        parse_and_describe("pgring_2", "SELECT 1"),
        flush(),
    ]));
    backend.answer(all([close_complete(), parsed_and_described()]));
    backend.expect_message(all([bind("", "pgring_2", &[]), execute(""), flush()]));
    backend.answer(forgotten("pgring_2"));
    client.expect_exactly(told());
    client.send(sync());
    backend.expect_message(sync());
    backend.answer(ready());
    client.expect_exactly(ready());
}

#[test]
fn those_not_used_for_longest_are_closed() {
    let stage = Stage::set_with(|config| {
        let config = config.set("pool", "size = 1");
        config.set("pool", "statements_per_connection = 8")
    });
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    let text = |number: usize| format!("SELECT {number}");
    for number in 1..=9 {
        client.send(all([parse(&format!("s{number}"), &text(number)), sync()]));
        let ours = format!("pgring_{number}");
        backend.expect_message(all([parse_and_describe(&ours, &text(number)), sync()]));
        backend.answer(all([parsed_and_described(), ready()]));
        client.expect("1 Z");
    }
    client.send(run("s9"));
    let mut closed = backend.expect("C C").into_iter().map(|close| close.body);
    let mut closed = [closed.next().unwrap(), closed.next().unwrap()];
    closed.sort();
    assert_eq!(closed, [b"Spgring_1\0", b"Spgring_2\0"]);
    backend.expect_message(run("pgring_9"));
    backend.answer(all([close_complete(), close_complete(), answer()]));
    client.expect_exactly(answer());
    client.send(run("s1"));
    backend.expect_message(all([parse_and_describe("pgring_a", &text(1)), flush()]));
    backend.answer(parsed_and_described());
    backend.expect_message(run("pgring_a"));
    backend.answer(answer());
    client.expect_exactly(answer());
}

#[test]
fn names_in_errors_are_the_clients() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    const OURS: &str =
        "bind message supplies 0 parameters, but prepared statement \"pgring_1\" requires 1";
    const OTHERS: &str =
        "bind message supplies 0 parameters, but prepared statement \"pgring_2\" requires 1";
    for name in ["s", "a much longer name than that"] {
        let mut ours = "pgring_1";
        if name != "s" {
            client.send(all([close_statement("s"), parse(name, "SELECT 1"), sync()]));
            ours = "pgring_2";
            backend.expect_message(all([parse_and_describe(ours, "SELECT 1"), sync()]));
            backend.answer(all([parsed_and_described(), ready()]));
            client.expect("3 1 Z");
        }
        client.send(run(name));
        let closed = (name != "s").then(|| close_statement("pgring_1"));
        let is_closed = closed.is_some().then(close_complete).unwrap_or_default();
        backend.expect_message(all([closed.unwrap_or_default(), run(ours)]));
        let message = if name == "s" { OURS } else { OTHERS };
        backend.answer(all([is_closed, error("08P01", message), ready()]));
        let told = client.expect_error("08P01");
        assert_eq!(told, message.replace(ours, name));
        client.expect_exactly(ready());
    }
    // What only looks like one of ours is left alone.
    client.send(query("SELECT pgring_7"));
    backend.expect_message(query("SELECT pgring_7"));
    let other = error("42703", "column \"pgring_7\" does not exist");
    backend.answer(all([other.clone(), ready()]));
    client.expect_exactly(all([other, ready()]));
}

#[test]
fn a_client_may_prepare_so_much_and_no_more() {
    let stage = Stage::set_with(|config| {
        let config = config.set("pool", "size = 1");
        config.set("pool", "statement_bytes_per_client = \"64KiB\"")
    });
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    let text = |number: usize| format!("SELECT '{number}{}'", "x".repeat(20_000));
    for number in 1..=3 {
        client.send(all([parse(&format!("s{number}"), &text(number)), sync()]));
        let ours = format!("pgring_{number}");
        backend.expect_message(all([parse_and_describe(&ours, &text(number)), sync()]));
        backend.answer(all([parsed_and_described(), ready()]));
        client.expect("1 Z");
    }
    // What is closed counts no more.
    client.send(all([close_statement("s1"), sync()]));
    client.expect("3 Z");
    client.send(all([parse("s4", &text(4)), sync()]));
    backend.expect_message(all([parse_and_describe("pgring_4", &text(4)), sync()]));
    backend.answer(all([parsed_and_described(), ready()]));
    client.expect("1 Z");
    client.send(all([parse("s5", &text(5)), sync()]));
    let refusal = client.expect("E").remove(0);
    assert_eq!(refusal.error().0, "53400");
    assert!(String::from_utf8_lossy(&refusal.body).contains("VFATAL\0"));
    client.expect_end();
    let clients = console(&stage.proxy).rows("SHOW CLIENTS");
    assert_eq!(clients.len(), 1, "{clients:?}");
}

/// Nobody is asked about what would pin the session; what a state query finds ends it.
#[test]
fn what_would_pin_may_be_refused() {
    let stage = Stage::set_with(|config| {
        let config = config.set("pool", "size = 1");
        config.set("pool", "pin = \"refuse\"")
    });
    let (mut client, mut other) = (stage.client(), stage.client());
    let mut backend = stage.server_of(&mut client);
    client.send(query("LISTEN a"));
    client.expect_error("0A000");
    client.expect_exactly(ready());
    round_trip(&mut other, &mut backend);
    client.send(query("DO 'x'"));
    backend.expect_message(query("DO 'x'"));
    backend.answer(all([command_complete("DO"), ready()]));
    client.expect("C Z");
    backend.expect_state_query();
    backend.answer(state_query("app", &[], "l"));
    let last_words = client.expect("E").remove(0);
    assert_eq!(last_words.error().0, "0A000");
    assert!(String::from_utf8_lossy(&last_words.body).contains("VFATAL\0"));
    client.expect_end();
    backend.expect_end();
}

/// The same text is another statement where names in it may mean something else.
#[test]
fn a_statement_belongs_to_the_settings_it_is_used_under() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    client.send(query("SET search_path = other"));
    backend.expect_message(query("SET search_path = other"));
    backend.answer(all([command_complete("SET"), ready()]));
    client.expect("C Z");
    backend.take_state_query(&[("search_path", "other")]);
    client.send(run("s"));
    expect_parse_ahead(&mut backend, "pgring_2");
    backend.expect_message(run("pgring_2"));
    backend.answer(answer());
    client.expect_exactly(answer());
    client.send(run("s"));
    backend.expect_message(run("pgring_2"));
    backend.answer(answer());
    client.expect_exactly(answer());
}

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
    let named = all([parse("pgring_1", "SELECT 1"), sync()]);
    let mut backend = stage.server.expect(named);
    backend.answer(all([parse_complete(), ready()]));
    client.expect_exactly(all([parse_complete(), ready()]));
    (client, backend)
}

#[test]
fn what_a_connection_lacks_goes_ahead_in_the_same_flight() {
    let stage = Stage::set();
    let (mut client, mut backend) = prepared(&stage);
    for _ in 0..2 {
        client.send(run("s"));
        backend.expect_message(run("pgring_1"));
        backend.answer(answer());
        client.expect_exactly(answer());
    }
    // Somebody else has that connection now.
    let mut other = stage.client();
    other.send(query("BEGIN;SELECT 1"));
    backend.expect_message(query("BEGIN;SELECT 1"));
    backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
    other.expect("C Z");
    for message in [run("s"), all([describe_statement("s"), sync()])] {
        client.send(&message);
        let second = || all([parse("pgring_1", "SELECT 1"), run("pgring_1")]);
        if message == run("s") {
            let mut backend = stage.server.next();
            backend.expect_message(second());
            backend.answer(all([parse_complete(), answer()]));
            client.expect_exactly(answer());
            // The next one finds it in another transaction, too.
            other = stage.client();
            other.send(query("BEGIN;SELECT 1"));
            backend.expect_message(query("BEGIN;SELECT 1"));
            backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
            other.expect("C Z");
        } else {
            let mut backend = stage.server.next();
            backend.expect_message(all([
                parse("pgring_1", "SELECT 1"),
                describe_statement("pgring_1"),
                sync(),
            ]));
            backend.answer(all([parse_complete(), no_data(), ready()]));
            client.expect_exactly(all([no_data(), ready()]));
        }
    }
}

#[test]
fn a_text_that_is_parsed_again_and_again_gets_a_name() {
    let stage = single();
    let group = |name: &str| all([parse(name, "SELECT 1"), run(name)]);
    let (mut client, mut other) = (stage.client(), stage.client());
    client.send(group(""));
    let mut backend = stage.server.expect(group(""));
    let first = || all([parse_complete(), answer()]);
    backend.answer(first());
    client.expect_exactly(first());
    round_trip(&mut client, &mut backend);
    other.send(group(""));
    backend.expect_message(group("pgring_1"));
    backend.answer(first());
    other.expect_exactly(first());
    for _ in 0..3 {
        client.send(group(""));
        backend.expect_message(run("pgring_1"));
        backend.answer(answer());
        client.expect_exactly(first());
        round_trip(&mut other, &mut backend);
    }
}

/// The second group neither waits for the first one's answers nor asks for them.
#[test]
fn a_pipeline_that_parses_the_same_text_twice_is_one_flight() {
    let stage = single();
    let mut client = stage.client();
    let group = |name: &str| all([parse(name, "SELECT 1"), run(name)]);
    let first = || all([parse_complete(), answer()]);
    client.send(all([group(""), group("")]));
    let mut backend = stage.server.expect(all([group(""), group("")]));
    backend.answer(all([first(), first()]));
    client.expect_exactly(all([first(), first()]));
    round_trip(&mut client, &mut backend);
    client.send(all([group(""), group("")]));
    backend.expect_message(all([group("pgring_1"), group("")]));
    backend.answer(all([first(), first()]));
    client.expect_exactly(all([first(), first()]));
}

/// A pipeline in which the client is told the shape of the rows.
fn renewed(run: &[u8], name: &str) -> Vec<u8> {
    all([describe_statement(name), run.to_vec()])
}

/// Its answer.
fn described() -> Vec<u8> {
    all([no_parameters(), no_data(), answer()])
}

#[test]
fn a_stale_statement_is_parsed_again_and_the_client_told_nothing() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    for number in 1..4 {
        let (old, new) = (format!("pgring_{number}"), format!("pgring_{}", number + 1));
        client.send(renewed(&run("s"), "s"));
        backend.expect_message(renewed(&run(&old), &old));
        backend.answer(all([stale_plan(), ready()]));
        backend.expect_message(all([
            close_statement(&old),
            parse(&new, "SELECT 1"),
            renewed(&run(&new), &new),
        ]));
        backend.answer(all([close_complete(), parse_complete(), described()]));
        client.expect_exactly(described());
    }
}

#[test]
fn a_second_refusal_is_told() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    client.send(renewed(&run("s"), "s"));
    backend.expect_message(renewed(&run("pgring_1"), "pgring_1"));
    backend.answer(all([stale_plan(), ready()]));
    backend.expect_message(all([
        close_statement("pgring_1"),
        parse("pgring_2", "SELECT 1"),
        renewed(&run("pgring_2"), "pgring_2"),
    ]));
    let refused = || all([stale_plan(), ready()]);
    backend.answer(all([close_complete(), parse_complete(), refused()]));
    client.expect_exactly(refused());
    // It is a matter between those two: nothing is parsed again unasked.
    client.send(query("SELECT 1"));
    backend.expect_message(all([close_statement("pgring_2"), query("SELECT 1")]));
    backend.answer(all([close_complete(), one_value("1")]));
    client.expect("T D C Z");
}

#[test]
fn in_a_transaction_a_stale_statement_is_told_and_parsed_anew_the_next_time() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    client.send(query("BEGIN;SELECT 1"));
    backend.expect_message(query("BEGIN;SELECT 1"));
    backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
    client.expect("C Z");
    client.send(run("s"));
    backend.expect_message(run("pgring_1"));
    backend.answer(all([stale_plan(), ready_failed()]));
    client.expect_exactly(all([stale_plan(), ready_failed()]));
    client.send(query("ROLLBACK"));
    backend.expect_message(all([close_statement("pgring_1"), query("ROLLBACK")]));
    backend.answer(all([
        close_complete(),
        command_complete("ROLLBACK"),
        ready(),
    ]));
    client.expect("C Z");
    client.send(run("s"));
    backend.expect_message(all([parse("pgring_2", "SELECT 1"), run("pgring_2")]));
    backend.answer(all([parse_complete(), answer()]));
    client.expect_exactly(answer());
}

/// Something of the pipeline was executed, or its end has not been sent: it cannot run again.
#[test]
fn a_stale_statement_is_told_when_its_pipeline_cannot_run_again() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    client.send(all([query("SELECT 1"), run("s")]));
    backend.expect_message(all([query("SELECT 1"), run("pgring_1")]));
    backend.answer(all([one_value("1"), stale_plan(), ready()]));
    client.expect_exactly(all([one_value("1"), stale_plan(), ready()]));
    client.send(all([bind("", "s", &[]), execute(""), flush()]));
    backend.expect_message(all([
        close_statement("pgring_1"),
        parse("pgring_2", "SELECT 1"),
        bind("", "pgring_2", &[]),
        execute(""),
        flush(),
    ]));
    backend.answer(all([close_complete(), parse_complete(), stale_plan()]));
    client.expect_exactly(stale_plan());
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
        backend.expect_message(all([parse(&ours, &text(number)), sync()]));
        backend.answer(all([parse_complete(), ready()]));
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
    backend.expect_message(all([parse("pgring_a", &text(1)), run("pgring_a")]));
    backend.answer(all([parse_complete(), answer()]));
    client.expect_exactly(answer());
}

#[test]
fn names_in_errors_are_the_clients() {
    let stage = single();
    let (mut client, mut backend) = prepared(&stage);
    const OURS: &str =
        "bind message supplies 0 parameters, but prepared statement \"pgring_1\" requires 1";
    for name in ["s", "", "a much longer name than that"] {
        if name != "s" {
            client.send(all([parse(name, "SELECT 1"), sync()]));
            client.expect_exactly(all([parse_complete(), ready()]));
            client.send(all([close_statement("s"), sync()]));
            client.expect_exactly(all([close_complete(), ready()]));
        }
        client.send(run(name));
        backend.expect_message(run("pgring_1"));
        backend.answer(all([error("08P01", OURS), ready()]));
        let told = client.expect_error("08P01");
        assert_eq!(told, OURS.replace("pgring_1", name));
        client.expect_exactly(ready());
        if name.is_empty() {
            client.send(all([close_statement(""), sync()]));
            client.expect_exactly(all([close_complete(), ready()]));
        }
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
        backend.expect_message(all([parse(&ours, &text(number)), sync()]));
        backend.answer(all([parse_complete(), ready()]));
        client.expect("1 Z");
    }
    // What is closed counts no more.
    client.send(all([close_statement("s1"), sync()]));
    client.expect("3 Z");
    client.send(all([parse("s4", &text(4)), sync()]));
    backend.expect_message(all([parse("pgring_4", &text(4)), sync()]));
    backend.answer(all([parse_complete(), ready()]));
    client.expect("1 Z");
    client.send(all([parse("s5", &text(5)), sync()]));
    let refusal = client.expect("E").remove(0);
    assert_eq!(refusal.error().0, "53400");
    assert!(String::from_utf8_lossy(&refusal.body).contains("VFATAL\0"));
    client.expect_end();
    let clients = console(&stage.proxy).rows("SHOW CLIENTS");
    assert_eq!(clients.len(), 1, "{clients:?}");
}

/// Nobody is asked about what would pin the session; what a census finds ends it.
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
    backend.expect_census();
    backend.answer(census("app", &[], "l"));
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
    backend.take_census(&[("search_path", "other")]);
    client.send(run("s"));
    backend.expect_message(all([parse("pgring_2", "SELECT 1"), run("pgring_2")]));
    backend.answer(all([parse_complete(), answer()]));
    client.expect_exactly(answer());
    client.send(run("s"));
    backend.expect_message(run("pgring_2"));
    backend.answer(answer());
    client.expect_exactly(answer());
}

//! Transaction blocks: BEGIN is answered by pgring and sent with the block's first statement, never without it, and
//! no statement of a block ever runs outside of it.

use super::bystander::{Stage, round_trip};
use crate::support::{message::*, mock::Backend, peer::Client};

fn single() -> Stage {
    Stage::set_with(|config| config.set("pool", "size = 1"))
}

/// A client, and the pool's only connection.
fn with_server(stage: &Stage) -> (Client, Backend) {
    let mut client = stage.client();
    let backend = stage.server_of(&mut client);
    (client, backend)
}

fn begins(client: &mut Client, text: &str, tag: &str) {
    client.send(query(text));
    client.expect_exactly(all([command_complete(tag), ready_in_transaction()]));
}

/// What the server hears of a BEGIN that it has prepared, and its answer.
fn begin(ours: &str) -> Vec<u8> {
    all([bind("", ours, &[]), execute("")])
}

fn begun() -> Vec<u8> {
    all([bind_complete(), command_complete("BEGIN")])
}

/// The answer to `SELECT value` inside of a block.
fn value_inside(value: &str) -> Vec<u8> {
    all([
        columns(&["value"]),
        row(&[value]),
        command_complete("SELECT 1"),
        ready_in_transaction(),
    ])
}

fn commits(client: &mut Client, backend: &mut Backend) {
    client.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    client.expect("C Z");
}

#[test]
fn an_idle_block_holds_no_connection() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    let mut other = stage.client();
    for (text, tag) in [
        ("BEGIN", "BEGIN"),
        (
            "begin transaction isolation level serializable, read only;",
            "BEGIN",
        ),
        ("START TRANSACTION READ WRITE", "START TRANSACTION"),
    ] {
        for (end, ended) in [
            ("COMMIT", "COMMIT"),
            ("end", "COMMIT"),
            ("ROLLBACK", "ROLLBACK"),
        ] {
            begins(&mut client, text, tag);
            round_trip(&mut other, &mut backend);
            client.send(query(end));
            client.expect_exactly(all([command_complete(ended), ready()]));
        }
    }
    // The server has heard of none of them.
    round_trip(&mut client, &mut backend);
}

#[test]
fn a_block_begins_in_the_flight_of_its_first_statement() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    for round in 0..3 {
        begins(&mut client, "BEGIN READ ONLY", "BEGIN");
        client.send(query("SELECT 1"));
        // Parsed once, like every statement that comes again.
        if round == 0 {
            backend.expect_message(parse("pgring_1", "BEGIN READ ONLY"));
        }
        backend.expect_message(all([begin("pgring_1"), query("SELECT 1")]));
        if round == 0 {
            backend.answer(parse_complete());
        }
        backend.answer(all([begun(), value_inside("1")]));
        client.expect_exactly(value_inside("1"));
        commits(&mut client, &mut backend);
    }
}

#[test]
fn the_extended_protocol_begins_likewise() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    let group = |text: &str| {
        all([
            parse("", text),
            bind("", "", &[]),
            describe_portal(""),
            execute(""),
        ])
    };
    let answer = |tag: &str| {
        all([
            parse_complete(),
            bind_complete(),
            no_data(),
            command_complete(tag),
        ])
    };
    client.send(all([group("BEGIN"), sync()]));
    client.expect_exactly(all([answer("BEGIN"), ready_in_transaction()]));
    round_trip(&mut stage.client(), &mut backend);
    client.send(all([group("DELETE FROM t"), sync()]));
    backend.expect_message(all([
        parse("pgring_1", "BEGIN"),
        begin("pgring_1"),
        group("DELETE FROM t"),
        sync(),
    ]));
    backend.answer(all([
        parse_complete(),
        begun(),
        answer("DELETE 0"),
        ready_in_transaction(),
    ]));
    client.expect_exactly(all([answer("DELETE 0"), ready_in_transaction()]));
    commits(&mut client, &mut backend);
    // All in one pipeline.
    client.send(all([group("BEGIN"), group("DELETE FROM u"), sync()]));
    backend.expect_message(all([begin("pgring_1"), group("DELETE FROM u"), sync()]));
    backend.answer(all([begun(), answer("DELETE 0"), ready_in_transaction()]));
    client.expect_exactly(all([
        answer("BEGIN"),
        answer("DELETE 0"),
        ready_in_transaction(),
    ]));
    commits(&mut client, &mut backend);
}

/// The server skips everything behind a BEGIN that it refuses, up to a Sync, which pgring must send behind a Query.
#[test]
fn what_follows_a_refused_begin_never_runs() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    let no = || error("57P03", "not now");
    let refusals = [
        ("pgring_1", no()),
        ("pgring_2", all([parse_complete(), no()])),
        ("pgring_2", all([bind_complete(), no()])),
    ];
    for (ours, refusal) in refusals {
        begins(&mut client, "BEGIN", "BEGIN");
        client.send(query("DELETE FROM t"));
        if refusal[0] != b'2' {
            backend.expect_message(parse(ours, "BEGIN"));
        }
        backend.expect_message(all([begin(ours), query("DELETE FROM t")]));
        backend.answer(refusal);
        backend.expect_message(sync());
        backend.answer(ready());
        client.expect_exactly(all([no(), ready()]));
        round_trip(&mut client, &mut backend);
    }
}

#[test]
fn what_follows_a_refused_begin_never_runs_in_a_pipeline_either() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    begins(&mut client, "BEGIN", "BEGIN");
    let group = || all([parse("", "DELETE FROM t"), bind("", "", &[]), execute("")]);
    client.send(all([group(), sync()]));
    backend.expect_message(all([
        parse("pgring_1", "BEGIN"),
        begin("pgring_1"),
        group(),
        sync(),
    ]));
    let no = || all([error("57P03", "not now"), ready()]);
    backend.answer(all([parse_complete(), bind_complete(), no()]));
    client.expect_exactly(no());
    round_trip(&mut client, &mut backend);
}

/// What a client sends behind its first statement waits until it is known that the block has begun.
#[test]
fn a_second_statement_waits_for_the_begin() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    client.send(all([
        query("BEGIN"),
        query("DELETE FROM t"),
        query("COMMIT"),
    ]));
    backend.expect_message(parse("pgring_1", "BEGIN"));
    backend.expect_message(all([begin("pgring_1"), query("DELETE FROM t")]));
    let no = || error("57P03", "not now");
    backend.answer(all([parse_complete(), bind_complete(), no()]));
    backend.expect_message(sync());
    backend.answer(ready());
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    client.expect_exactly(all([command_complete("BEGIN"), ready_in_transaction()]));
    client.expect_exactly(all([no(), ready()]));
    client.expect("C Z");
}

#[test]
fn a_block_whose_server_dies_over_its_first_statement_has_failed() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    begins(&mut client, "BEGIN", "BEGIN");
    client.send(query("DELETE FROM t"));
    backend.expect_message(all([
        parse("pgring_1", "BEGIN"),
        begin("pgring_1"),
        query("DELETE FROM t"),
    ]));
    backend.reset();
    client.expect_error("08006");
    client.expect_exactly(ready_failed());
    client.send(query("COMMIT"));
    client.expect_exactly(all([command_complete("ROLLBACK"), ready()]));
    // The next block begins on a connection that has nothing prepared.
    begins(&mut client, "BEGIN", "BEGIN");
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(parse("pgring_1", "BEGIN"));
    backend.expect_message(all([begin("pgring_1"), query("SELECT 1")]));
    backend.answer(all([parse_complete(), begun(), value_inside("1")]));
    client.expect_exactly(value_inside("1"));
}

#[test]
fn a_block_that_gets_no_connection_has_failed() {
    let stage = Stage::set_with(|config| {
        let config = config.set("pool", "size = 1");
        config.set("pool", "checkout_timeout = \"200ms\"")
    });
    let (mut holder, mut backend) = stage.in_transaction();
    let mut client = stage.client();
    begins(&mut client, "BEGIN", "BEGIN");
    client.send(query("SELECT 1"));
    client.expect_error("53300");
    client.expect_exactly(ready_failed());
    client.send(query("SELECT 1"));
    client.expect_error("25P02");
    client.expect_exactly(ready_failed());
    client.send(query("ROLLBACK"));
    client.expect_exactly(all([command_complete("ROLLBACK"), ready()]));
    commits(&mut holder, &mut backend);
    round_trip(&mut client, &mut backend);
}

/// The settings of a session come before its block, which comes before its first statement: one flight.
#[test]
fn settings_come_before_the_block() {
    let stage = single();
    let (mut client, mut backend) = with_server(&stage);
    client.send(query("SET work_mem = '1MB'"));
    backend.expect_message(query("SET work_mem = '1MB'"));
    backend.answer(all([command_complete("SET"), ready()]));
    client.expect("C Z");
    backend.take_state_query(&[("work_mem", "1024")]);
    let mut other = stage.client();
    begins(&mut other, "BEGIN", "BEGIN");
    other.send(query("SELECT 1"));
    backend.expect_message(all([
        give(&[("work_mem", None)]),
        parse("pgring_1", "BEGIN"),
        begin("pgring_1"),
        query("SELECT 1"),
    ]));
    backend.answer(all([
        command_complete("RESET"),
        ready(),
        parse_complete(),
        begun(),
        value_inside("1"),
    ]));
    other.expect_exactly(value_inside("1"));
}

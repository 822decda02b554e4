//! Whole conversations, their bytes cut at every position in turn, in both directions, and merged. What
//! arrives must be what was sent, wherever the network cuts it.

use super::bystander::{Stage, round_trip};
use crate::support::{
    message::*,
    mock::{Backend, KEY, MockServer, PARAMETERS},
    peer::{Client, Wire},
    proxy::{Config, Proxy},
};

/// What the client says, and what the server answers, in turns. The last answer ends outside a transaction.
type Script = Vec<(Vec<u8>, Vec<u8>)>;

fn simple_query() -> Script {
    vec![
        (query("SELECT 1"), one_value("1")),
        (query(""), all([empty_query(), ready()])),
    ]
}

fn extended_query() -> Script {
    vec![(
        all([
            parse("", "SELECT $1"),
            bind("", "", &["1"]),
            describe_portal(""),
            execute(""),
            sync(),
        ]),
        all([
            parse_complete(),
            bind_complete(),
            columns(&["value"]),
            row(&["1"]),
            command_complete("SELECT 1"),
            ready(),
        ]),
    )]
}

fn group() -> Vec<u8> {
    all([
        parse("", "SELECT 1"),
        bind("", "", &[]),
        execute(""),
        sync(),
    ])
}

fn group_answer() -> Vec<u8> {
    all([
        parse_complete(),
        bind_complete(),
        row(&["1"]),
        command_complete("SELECT 1"),
        ready(),
    ])
}

fn pipeline() -> Script {
    vec![(
        all([group(), query("SELECT 2"), group(), sync()]),
        all([group_answer(), one_value("2"), group_answer(), ready()]),
    )]
}

fn flushed() -> Script {
    vec![
        (
            all([parse("", "SELECT 1"), describe_statement(""), flush()]),
            all([parse_complete(), no_data()]),
        ),
        (
            all([bind("", "", &[]), execute(""), flush()]),
            all([bind_complete(), row(&["1"]), command_complete("SELECT 1")]),
        ),
        (
            all([close_portal(""), close_statement(""), sync()]),
            all([close_complete(), close_complete(), ready()]),
        ),
    ]
}

fn copied_in() -> Script {
    vec![
        (query("COPY t FROM STDIN"), copy_in()),
        (
            all([
                copy_data(b"1\n"),
                copy_data(b""),
                flush(),
                sync(),
                copy_data(b"2\n"),
                copy_done(),
            ]),
            all([command_complete("COPY 2"), ready()]),
        ),
        (query("COPY t FROM STDIN"), copy_in()),
        (
            all([copy_data(b"x"), copy_fail("no")]),
            all([error("57014", "COPY from stdin failed: no"), ready()]),
        ),
    ]
}

fn copied_out() -> Script {
    let data = [
        copy_out(),
        copy_data(b"1\n"),
        copy_data(b""),
        copy_data(b"2\n"),
        copy_done(),
    ]
    .concat();
    vec![(
        query("COPY t TO STDOUT"),
        all([data, command_complete("COPY 2"), ready()]),
    )]
}

fn called() -> Script {
    vec![(function_call(1598), all([function_result("0.5"), ready()]))]
}

fn suspended() -> Script {
    vec![
        (
            query("BEGIN;SELECT 1"),
            all([command_complete("BEGIN"), ready_in_transaction()]),
        ),
        (
            all([
                parse("", "SELECT 1"),
                bind("p", "", &[]),
                execute_rows("p", 1),
                flush(),
            ]),
            all([
                parse_complete(),
                bind_complete(),
                row(&["1"]),
                portal_suspended(),
            ]),
        ),
        (
            all([execute_rows("p", 1), sync()]),
            all([
                row(&["2"]),
                command_complete("SELECT 1"),
                ready_in_transaction(),
            ]),
        ),
        (query("COMMIT"), all([command_complete("COMMIT"), ready()])),
    ]
}

fn failed_pipeline() -> Script {
    let wrong = all([
        parse("", "SELECT 1/0"),
        bind("", "", &[]),
        execute(""),
        bind("", "", &[]),
        execute(""),
        sync(),
    ]);
    vec![(
        all([wrong, group()]),
        all([
            parse_complete(),
            bind_complete(),
            error("22012", "division by zero"),
            ready(),
            group_answer(),
        ]),
    )]
}

fn asides() -> Vec<u8> {
    all([
        notice("by the way"),
        notification("channel"),
        parameter_status("in_hot_standby", "on"),
    ])
}

fn with_asides() -> Script {
    vec![
        (
            query("BEGIN;SELECT 1"),
            all([
                asides(),
                command_complete("BEGIN"),
                asides(),
                ready_in_transaction(),
            ]),
        ),
        (vec![], asides()),
        (
            query("ROLLBACK"),
            all([asides(), command_complete("ROLLBACK"), ready()]),
        ),
    ]
}

/// Which of the two sides is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// One run of a script, one side's bytes cut at these positions, counted over all its turns.
fn run(script: &Script, client: &mut Client, backend: &mut Backend, side: Side, cuts: &[usize]) {
    let mut before = 0;
    for (said, answered) in script {
        let cut = if side == Side::Client { said } else { answered };
        let inside = cuts
            .iter()
            .filter(|at| (before + 1..before + cut.len()).contains(at));
        let inside: Vec<_> = inside.map(|at| at - before).collect();
        before += cut.len();
        let at = |wanted: Side| if side == wanted { &inside[..] } else { &[] };
        send(client, said, at(Side::Client));
        backend.expect_exactly(said);
        send(backend, answered, at(Side::Server));
        client.expect_exactly(answered);
    }
}

fn send(wire: &mut Wire, bytes: &[u8], cuts: &[usize]) {
    if !bytes.is_empty() {
        wire.send_cut_at(cuts, bytes);
    }
}

fn length(script: &Script, side: Side) -> usize {
    let bytes = |(said, answered): &(Vec<u8>, Vec<u8>)| {
        if side == Side::Client {
            said.len()
        } else {
            answered.len()
        }
    };
    script.iter().map(bytes).sum()
}

/// Cuts a script everywhere: at each byte in turn, each time with a client of its own; at all bytes at once;
/// and nowhere, with all turns in one piece.
fn cut_everywhere(script: &Script) {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut client = stage.client();
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    for side in [Side::Client, Side::Server] {
        for cut in 1..length(script, side) {
            run(script, &mut stage.client(), &mut backend, side, &[cut]);
        }
        let everywhere: Vec<_> = (1..length(script, side)).collect();
        run(script, &mut stage.client(), &mut backend, side, &everywhere);
    }
    let said: Vec<_> = script.iter().flat_map(|turn| turn.0.clone()).collect();
    let answered: Vec<_> = script.iter().flat_map(|turn| turn.1.clone()).collect();
    let once = vec![(said, answered)];
    run(&once, &mut stage.client(), &mut backend, Side::Client, &[]);
    let twice = [&once[..], &once[..]].concat();
    run(&twice, &mut stage.client(), &mut backend, Side::Client, &[]);
    round_trip(&mut client, &mut backend);
}

#[test]
fn simple_queries() {
    cut_everywhere(&simple_query());
}

#[test]
fn extended_queries() {
    cut_everywhere(&extended_query());
}

#[test]
fn pipelines() {
    cut_everywhere(&pipeline());
}

#[test]
fn flushes() {
    cut_everywhere(&flushed());
}

#[test]
fn copies_in() {
    cut_everywhere(&copied_in());
}

#[test]
fn copies_out() {
    cut_everywhere(&copied_out());
}

#[test]
fn function_calls() {
    cut_everywhere(&called());
}

#[test]
fn suspended_portals() {
    cut_everywhere(&suspended());
}

#[test]
fn pipelines_that_fail() {
    cut_everywhere(&failed_pipeline());
}

#[test]
fn notices_notifications_and_reports() {
    cut_everywhere(&with_asides());
}

#[test]
fn a_login_of_a_client() {
    let stage = Stage::set();
    let packet = startup(&[("user", "app"), ("database", "app")]);
    for cut in 1..packet.len() {
        let mut client = Client::connect(stage.proxy.address());
        client.send_cut_at(&[cut], &packet);
        client.expect_login();
    }
    let both = all([ssl_request(), packet.clone()]);
    let mut client = Client::connect(stage.proxy.address());
    client.send_cut_at(&[1, 2, 3, 4, 5, 6, 7], &both[..8]);
    assert_eq!(client.receive_byte(), b'N');
    client.send_cut_at(&(1..packet.len()).collect::<Vec<_>>(), &packet);
    client.expect_login();
}

#[test]
fn a_login_at_the_server() {
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()));
    let parameters = PARAMETERS
        .map(|(name, value)| parameter_status(name, value))
        .concat();
    let welcome = all([
        authentication_ok(),
        parameters,
        backend_key_data(9, &KEY),
        ready(),
    ]);
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app"), ("database", "app")]));
    for cut in 1..welcome.len() {
        let mut backend = server.accept();
        backend.receive_initial();
        backend.send_cut_at(&[cut], &welcome);
        if cut == 1 {
            client.expect_login();
            client.send(query("SELECT 1"));
        }
        backend.expect_message(query("SELECT 1"));
        backend.answer(fatal(
            "57P01",
            "the next statement needs another connection",
        ));
        client.expect("E Z");
        client.send(query("SELECT 1"));
    }
}

#[test]
fn goodbyes_of_a_client() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    for cut in 1..terminate().len() {
        let mut client = stage.client();
        client.send_cut_at(&[cut], terminate()).expect_end();
        let (mut client, mut backend) = stage.in_transaction();
        client.send_cut_at(&[cut], terminate()).expect_end();
        while backend.try_receive().is_some() {}
    }
}

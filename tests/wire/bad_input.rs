//! Bytes that no client should send: each ends with its SQLSTATE or a clean close, is logged once, and
//! disturbs nobody else.

use std::io::Write;

use super::{
    bystander::{Bystander, Stage, round_trip},
    pools::console,
    timeouts::reached,
};
use crate::support::{
    eventually,
    message::*,
    mock::MockServer,
    peer::Client,
    proxy::{Config, Proxy},
};
use pgring::protocol::startup::ProtocolVersion;

/// What a wrongdoer gets.
#[derive(Clone, Copy)]
enum Fate {
    /// The connection closes without a word.
    Closed,
    /// An ErrorResponse with this SQLSTATE, then the end.
    Told(&'static str),
}
use Fate::{Closed, Told};

/// Has a client say `bytes` and meet its fate, while the bystander works on; then the log has one more line.
fn misbehave(
    stage: &Stage,
    bystander: &mut Bystander,
    mut client: Client,
    bytes: &[u8],
    fate: Fate,
) {
    let lines = stage.proxy.process().log().len();
    // The other side may close before everything is sent.
    let _refused = client.stream().write_all(bytes);
    if let Told(sqlstate) = fate {
        client.expect_error(sqlstate);
    }
    client.expect_end();
    bystander.works_on();
    eventually("it was logged", || {
        stage.proxy.process().log().len() > lines
    });
    let log = stage.proxy.process().log();
    assert_eq!(
        log.len(),
        lines + 1,
        "{:?}: {:#?}",
        bytes[..bytes.len().min(40)].escape_ascii().to_string(),
        &log[lines..]
    );
}

fn packet(length: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], rest].concat()
}

/// A startup packet with this content after the version.
fn startup_with(content: &[u8]) -> Vec<u8> {
    packet(8 + content.len() as u32, &[b"\0\x03\0\0", content].concat())
}

#[test]
fn first_packets_that_are_none() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let v2 = ProtocolVersion { major: 2, minor: 0 };
    let v4 = ProtocolVersion { major: 4, minor: 0 };
    let app = [("user", "app")];
    let megabyte = "x".repeat(1 << 20);
    let cases = [
        (packet(u32::MAX, b"\0\x03\0\0user\0app\0\0"), Closed),
        (packet(0x8000_0000, b"\0\x03\0\0"), Closed),
        (packet(0x7fff_ffff, b"\0\x03\0\0"), Closed),
        (packet(0, b"\0\x03\0\0"), Closed),
        (packet(7, b"\0\x03\0"), Closed),
        (packet(10_005, b"\0\x03\0\0"), Closed),
        (
            startup_with(format!("user\0app\0x\0{megabyte}\0\0").as_bytes()),
            Closed,
        ),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), Closed),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Closed,
        ),
        (b"Q\0\0\0\x0dSELECT 1\0".to_vec(), Closed),
        (startup(&[("database", "app")]), Told("28000")),
        (startup(&[("user", "")]), Told("28000")),
        (startup_with(b""), Told("08P01")),
        (startup_with(b"user\0app\0"), Told("08P01")),
        (startup_with(b"user\0app"), Told("08P01")),
        (
            startup_with(b"user\0app\0\0database\0app\0\0"),
            Told("08P01"),
        ),
        (startup_with(b"\0user\0app\0\0"), Told("08P01")),
        (startup_of(v2, &app), Told("0A000")),
        (startup_of(v4, &app), Told("0A000")),
        (packet(8, b"\x04\xd2\x16\x31"), Told("0A000")),
        (
            startup(&[("user", "app"), ("replication", "true")]),
            Told("0A000"),
        ),
        (
            startup(&[("user", "app"), ("replication", "database")]),
            Told("0A000"),
        ),
        (
            startup(&[("user", "app"), ("options", "-z 1")]),
            Told("0A000"),
        ),
        (all([ssl_request(), startup(&app)]), Told("08P01")),
        (packet(12 + 3, b"\x04\xd2\x16\x2e\0\0\0\x01key"), Closed),
    ];
    for (bytes, fate) in cases {
        let client = Client::connect(stage.proxy.address());
        misbehave(&stage, &mut bystander, client, &bytes, fate);
    }
}

#[test]
fn first_packets_that_end_too_early() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let whole = startup(&[("user", "app")]);
    for cut in 1..whole.len() {
        let lines = stage.proxy.process().log().len();
        let mut client = Client::connect(stage.proxy.address());
        client.send(&whole[..cut]).finish_sending();
        client.expect_end();
        eventually("it was logged", || {
            stage.proxy.process().log().len() == lines + 1
        });
    }
    bystander.works_on();
}

#[test]
fn a_connection_without_a_byte_is_not_worth_a_line() {
    let stage = Stage::set();
    let lines = stage.proxy.process().log().len();
    let mut client = Client::connect(stage.proxy.address());
    client.finish_sending();
    client.expect_end();
    stage.bystander().works_on();
    assert_eq!(stage.proxy.process().log().len(), lines);
}

#[test]
fn messages_that_no_session_takes() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let cases: [&[u8]; 13] = [
        b"z\0\0\0\x04",
        b"\0\0\0\0\x04",
        b"\xff\xff\xff\xff\xff",
        b"Q\xff\xff\xff\xff",
        b"Q\x80\0\0\0",
        b"Q\0\0\0\x03",
        b"Q\0\0\0\0",
        b"C\0\0\x27\x15",
        b"S\0\0\0\x05x",
        b"H\0\0\0\x05x",
        b"p\0\0\0\x08abc\0",
        b"\0\0\0\x0d\0\x03\0\0user\0app\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in cases {
        misbehave(&stage, &mut bystander, stage.client(), bytes, Told("08P01"));
    }
}

#[test]
fn a_wrong_message_in_a_transaction_closes_the_server_connection() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    for bytes in [&b"z\0\0\0\x04"[..], b"Q\xff\xff\xff\xff", b"p\0\0\0\x04"] {
        let (client, mut backend) = stage.in_transaction();
        misbehave(&stage, &mut bystander, client, bytes, Told("08P01"));
        backend.expect_end();
    }
}

#[test]
fn a_wrong_message_after_good_ones_does_not_undo_them() {
    let stage = Stage::set();
    let mut client = stage.client();
    client.send(all([query("SELECT 1"), b"z\0\0\0\x04".to_vec()]));
    client.expect_error("08P01");
    client.expect_end();
}

#[test]
fn copy_messages_outside_copy_are_ignored() {
    let stage = Stage::set();
    let mut client = stage.client();
    let strays = || all([copy_data(b"1\n"), copy_done(), copy_fail("no"), flush()]);
    client.send(all([strays(), query("SELECT 1")]));
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");

    client.send(query("BEGIN;SELECT 1"));
    backend.expect_message(query("BEGIN;SELECT 1"));
    backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
    client.expect("C Z");
    client.send(all([strays(), query("COMMIT")]));
    backend.expect_message(all([strays(), query("COMMIT")]));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    client.expect("C Z");
    round_trip(&mut client, &mut backend);
}

#[test]
fn what_the_server_can_judge_is_left_to_the_server() {
    let stage = Stage::set();
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    // What nobody can read may do anything to the session's state: the server is asked behind it.
    for (bytes, asked) in [
        (&b"Q\0\0\0\x04"[..], false),
        (b"Q\0\0\0\x06SE", true),
        (b"Q\0\0\0\x09a\0b\0c", true),
        (b"F\0\0\0\x05x", true),
        (b"Q\0\0\0\x05\0", false),
    ] {
        client.send(bytes);
        backend.expect_message(bytes);
        backend.answer(all([error("08P01", "invalid message format"), ready()]));
        client.expect("E Z");
        if asked {
            backend.take_state_query(&[]);
        }
    }
    for bytes in [
        &b"P\0\0\0\x05x"[..],
        b"B\0\0\0\x05x",
        b"D\0\0\0\x06Xx",
        b"E\0\0\0\x05x",
        b"C\0\0\0\x04",
    ] {
        client.send(all([bytes.to_vec(), sync()]));
        backend.expect_message(all([bytes.to_vec(), sync()]));
        backend.answer(all([error("08P01", "invalid message format"), ready()]));
        client.expect("E Z");
    }
    round_trip(&mut client, &mut backend);
}

#[test]
fn a_client_that_stalls_before_it_is_logged_in_is_dropped() {
    let stage = Stage::set_with(|config| config.set("listen", "login_timeout = \"300ms\""));
    let whole = startup(&[("user", "app"), ("database", "app")]);
    for sent in [0, 1, 4, 8, whole.len() - 1] {
        let mark = stage.proxy.process().mark();
        let mut client = Client::connect(stage.proxy.address());
        client.send(&whole[..sent]).expect_end();
        stage
            .proxy
            .process()
            .wait_for_since(mark, "did not complete its login in time")
            .unwrap();
    }
    let mut asked = Client::connect(stage.proxy.address());
    assert_eq!(asked.send(ssl_request()).receive_byte(), b'N');
    asked.expect_end();
    let mut console = console(&stage.proxy);
    assert_eq!(reached(&mut console, "login_timeout"), 6);
    stage.bystander().works_on();
}

#[test]
fn a_client_that_does_not_answer_the_password_request_is_dropped() {
    let server = MockServer::bind();
    let config = Config::scram(server.address()).set("listen", "login_timeout = \"300ms\"");
    let proxy = Proxy::start(&config);
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app")]));
    client.expect("R");
    client.expect_error("57014");
    client.expect_end();
}

#[test]
fn a_truncated_message_ends_with_its_client() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let conversation = all([
        query("SELECT 1"),
        parse("", "SELECT 2"),
        bind("", "", &["3"]),
    ]);
    for cut in 1..query("SELECT 1").len() {
        let mut client = stage.client();
        client.send(&conversation[..cut]).finish_sending();
        client.expect_end();
    }
    bystander.works_on();
}

/// Each of these leaves the server waiting for more: the session must not wait for the server in turn.
#[test]
fn a_client_that_leaves_its_server_waiting_takes_it_along() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let big = query(&"x".repeat(100_000));
    let call = function_call(1);
    let unfinished = [
        all([parse("", "SELECT 1"), bind("", "", &[]), execute("")]),
        all([parse("", "SELECT 1"), flush()]),
        big[..big.len() - 1].to_vec(),
        call[..call.len() - 1].to_vec(),
    ];
    for bytes in unfinished {
        let (mut client, mut backend) = stage.in_transaction();
        client.send(&bytes).finish_sending();
        client.expect_end();
        while backend.try_receive().is_some() {}
    }
    bystander.works_on();
}

#[test]
fn a_client_that_leaves_while_the_server_waits_for_data_takes_it_along() {
    let stage = Stage::set();
    for sent in [
        vec![],
        copy_data(b"1\n"),
        copy_data(b"1\n")[..6].to_vec(),
        sync(),
        terminate(),
    ] {
        let mut client = stage.client();
        client.send(query("COPY t FROM STDIN"));
        let mut backend = stage.server.expect(query("COPY t FROM STDIN"));
        backend.answer(copy_in());
        client.expect("G");
        client.send(sent).finish_sending();
        client.expect_end();
        while backend.try_receive().is_some() {}
    }
    stage.bystander().works_on();
}

#[test]
fn a_client_that_leaves_early_has_its_statement_finished() {
    let stage = Stage::set();
    let mut client = stage.client();
    client
        .send(all([query("INSERT INTO t VALUES (1)"), terminate()]))
        .finish_sending();
    let mut backend = stage.server.expect(query("INSERT INTO t VALUES (1)"));
    backend.answer(all([command_complete("INSERT 0 1"), ready()]));
    client.expect("C Z");
    client.expect_end();
    // The connection is as good as before.
    round_trip(&mut stage.client(), &mut backend);
}

#[test]
fn a_storm_of_clients_that_vanish_leaves_nothing_behind() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 4"));
    let mut bystander = stage.bystander();
    let descriptors = stage.proxy.descriptors();
    let conversation = all([
        startup(&[("user", "app"), ("database", "app")]),
        query("SELECT 1"),
    ]);
    for round in 0..4 {
        for cut in 0..conversation.len() {
            let mut client = Client::connect(stage.proxy.address());
            client.send(&conversation[..cut]);
            if round % 2 == 0 {
                client.reset();
            }
        }
    }
    bystander.works_on();
    stage.proxy.wait_for_descriptors(descriptors + 3);
}

//! The virtual database `pgring`, while clients are at work.

use super::{
    bystander::{Stage, round_trip},
    pools::console,
};
use crate::support::{
    eventually,
    message::*,
    peer::{Client, Message},
};
use pgring::protocol::{
    backend::RowDescription,
    tag::backend::{READY_FOR_QUERY, ROW_DESCRIPTION},
};

/// The only row of a table as pairs of column and value.
fn record(console: &mut Client, table: &str) -> Vec<(String, String)> {
    let mut records = records(console, table);
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

pub(super) fn records(console: &mut Client, table: &str) -> Vec<Vec<(String, String)>> {
    console.send(query(&format!("SHOW {table}")));
    let mut columns = Vec::new();
    let mut records = Vec::new();
    for message in console.receive_until_ready() {
        if message.tag == ROW_DESCRIPTION {
            let described = RowDescription::read(&message.body).unwrap();
            columns = described
                .map(|field| String::from_utf8_lossy(field.name).into_owned())
                .collect();
        } else if message.tag == pgring::protocol::tag::backend::DATA_ROW {
            let values = values(message.frame())
                .into_iter()
                .map(Option::unwrap_or_default);
            records.push(columns.iter().cloned().zip(values).collect());
        }
    }
    records
}

pub(super) fn value<'r>(record: &'r [(String, String)], column: &str) -> &'r str {
    let found = record.iter().find(|(name, _)| name == column);
    &found.unwrap_or_else(|| panic!("no column {column}")).1
}

fn number(record: &[(String, String)], column: &str) -> u64 {
    value(record, column).parse().unwrap()
}

#[test]
fn pools_tell_who_works_and_who_waits() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let (_working, _backend) = stage.in_transaction();
    let mut waiting = stage.client();
    waiting.send(query("SELECT 1"));
    let mut pool = Vec::new();
    eventually("a client waited", || {
        pool = record(&mut console, "POOLS");
        let waited = number(&pool, "maxwait") * 1_000_000 + number(&pool, "maxwait_us");
        value(&pool, "cl_waiting") == "1" && waited > 0
    });
    for (column, expected) in [
        ("database", "app"),
        ("user", "app"),
        ("cl_active", "1"),
        ("sv_active", "1"),
        ("sv_idle", "0"),
        ("sv_login", "0"),
        ("pool_mode", "transaction"),
    ] {
        assert_eq!(value(&pool, column), expected, "{column}");
    }
}

#[test]
fn clients_and_servers_are_linked_while_they_work() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let (working, backend) = stage.in_transaction();
    let clients = records(&mut console, "CLIENTS");
    let find = |user: &str| {
        clients
            .iter()
            .find(|client| value(client, "user") == user)
            .unwrap()
    };
    let client = find("app");
    assert_eq!(value(client, "type"), "C");
    assert_eq!(value(client, "state"), "active");
    assert_eq!(value(client, "database"), "app");
    assert_eq!(value(client, "addr"), "127.0.0.1");
    assert_eq!(
        number(client, "port"),
        u64::from(working.local_address().port())
    );
    assert_eq!(
        value(client, "remote_pid"),
        working.key.as_ref().unwrap().0.to_string()
    );
    assert_eq!(value(client, "link"), backend.process_id().to_string());
    assert_eq!(value(find("pgring"), "database"), "pgring");
    let server = record(&mut console, "SERVERS");
    assert_eq!(value(&server, "type"), "S");
    assert_eq!(value(&server, "state"), "active");
    assert_eq!(
        number(&server, "port"),
        u64::from(stage.server.address().port())
    );
    assert_eq!(
        value(&server, "remote_pid"),
        backend.process_id().to_string()
    );
}

/// What pins the only client but the console's own.
fn pinned(console: &mut Client) -> String {
    let clients = records(console, "CLIENTS");
    let mut pinned = clients.iter().map(|client| value(client, "pinned"));
    let found = pinned.find(|pinned| !pinned.is_empty());
    found.unwrap_or_default().to_owned()
}

#[test]
fn what_pins_a_session_is_named_until_it_is_gone() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let (mut client, mut other) = (stage.client(), stage.client());
    let mut backend = stage.server_of(&mut client);
    for (begins, ends, letter, reason) in [
        ("LISTEN a", "UNLISTEN a", "l", "listen"),
        (
            "CREATE TEMP TABLE t ()",
            "DROP TABLE t",
            "t",
            "temporary object",
        ),
        (
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_unlock(1)",
            "a",
            "advisory lock",
        ),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "CLOSE c",
            "c",
            "cursor with hold",
        ),
        (
            "PREPARE p AS SELECT 1",
            "DEALLOCATE p",
            "p",
            "prepared statement",
        ),
    ] {
        client.send(query(begins));
        backend.expect_message(query(begins));
        backend.answer(all([command_complete("DONE"), ready()]));
        client.expect("C Z");
        backend.expect_state_query();
        backend.answer(state_query("app", &[], letter));
        eventually("the session was pinned", || pinned(&mut console) == reason);
        assert_eq!(pins(&mut console, reason), [1, 1, 0]);
        // It is nobody else's.
        other.send(query("SELECT 'other'"));
        client.send(query(ends));
        backend.expect_message(query(ends));
        backend.answer(all([command_complete("DONE"), ready()]));
        client.expect("C Z");
        backend.expect_state_query();
        backend.answer(state_query("app", &[], ""));
        backend.expect_message(query("SELECT 'other'"));
        backend.answer(one_value("other"));
        other.expect("T D C Z");
        assert_eq!(pinned(&mut console), "");
        assert_eq!(pins(&mut console, reason), [0, 1, 0]);
    }
    // Who leaves is not pinned any more.
    client.send(query("LISTEN a"));
    backend.expect_message(query("LISTEN a"));
    backend.answer(all([command_complete("LISTEN"), ready()]));
    client.expect("C Z");
    backend.expect_state_query();
    backend.answer(state_query("app", &[], "l"));
    eventually("the session was pinned", || {
        pins(&mut console, "listen") == [1, 2, 0]
    });
    drop(client);
    eventually("it had left", || pins(&mut console, "listen") == [0, 2, 0]);
}

/// Of one reason: sessions, how many there were, how many were refused.
fn pins(console: &mut Client, reason: &str) -> [u64; 3] {
    let records = records(console, "PINS");
    let found = records.iter().find(|row| value(row, "reason") == reason);
    let row = found.unwrap_or_else(|| panic!("no {reason} in {records:?}"));
    ["sessions", "total_pinned", "total_refused"].map(|column| number(row, column))
}

#[test]
fn refused_pins_are_counted_by_all_cores() {
    let stage = Stage::set_with(|config| config.workers(2).set("pool", "pin = \"refuse\""));
    let mut console = console(&stage.proxy);
    // Whoever comes from a new socket may be on either core.
    for number in 1..=10 {
        let mut client = stage.client();
        client.send(query("LISTEN a"));
        client.expect("E Z");
        assert_eq!(pins(&mut console, "listen"), [0, 0, number]);
    }
    assert_eq!(pins(&mut console, "library"), [0; 3]);
}

#[test]
fn what_prepares_a_statement_pins_nobody() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let mut client = stage.client();
    client.send(all([parse("s", "SELECT 1"), sync()]));
    let named = all([parse_and_describe("pgring_1", "SELECT 1"), sync()]);
    let mut backend = stage.server.expect(named);
    backend.answer(all([parsed_and_described(), ready()]));
    client.expect("1 Z");
    assert_eq!(pinned(&mut console), "");
    round_trip(&mut stage.client(), &mut backend);
}

#[test]
fn stats_count_what_was_done() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    client.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    let answer = all([command_complete("COMMIT"), ready()]);
    backend.answer(&answer);
    client.expect("C Z");
    let stats = record(&mut console, "STATS");
    assert_eq!(value(&stats, "database"), "app");
    assert_eq!(number(&stats, "total_xact_count"), 1);
    assert_eq!(number(&stats, "total_query_count"), 2);
    let said = query("BEGIN;SELECT 1").len() + query("COMMIT").len();
    let heard = command_complete("BEGIN").len() + ready().len() + answer.len();
    assert_eq!(number(&stats, "total_received"), said as u64);
    assert_eq!(number(&stats, "total_sent"), heard as u64);
    assert!(number(&stats, "total_xact_time") > 0 && number(&stats, "total_query_time") > 0);
}

/// Each COMMIT ends a transaction, whatever follows before the server is ready.
#[test]
fn commits_that_go_on_are_counted() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    let commit = || command_complete("COMMIT");
    let select = || command_complete("SELECT 1");
    for (text, answer, counted) in [
        (
            "COMMIT AND CHAIN",
            all([commit(), ready_in_transaction()]),
            1,
        ),
        (
            "ROLLBACK TO a",
            all([command_complete("ROLLBACK"), ready_in_transaction()]),
            1,
        ),
        (
            "COMMIT AND CHAIN; COMMIT AND CHAIN",
            all([commit(), commit(), ready_in_transaction()]),
            3,
        ),
        ("COMMIT; SELECT 1", all([commit(), select(), ready()]), 5),
        ("SELECT 1", all([select(), ready()]), 6),
    ] {
        client.send(query(text));
        backend.expect_message(query(text));
        backend.answer(&answer);
        client.receive_until(READY_FOR_QUERY);
        let stats = record(&mut console, "STATS");
        assert_eq!(number(&stats, "total_xact_count"), counted, "{text}");
    }
}

/// A block counts as a query when it begins and when it ends, whether or not a server hears of either; a login is none, and no
/// assignment.
#[test]
fn logins_and_empty_blocks_are_counted_for_what_they_are() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let mut client = stage.client();
    let counts = |console: &mut Client| {
        let stats = record(console, "STATS");
        ["assignment", "query", "xact"].map(|what| {
            let column = format!("total_{what}_count").replace("_assignment", "_server_assignment");
            number(&stats, &column)
        })
    };
    assert_eq!(counts(&mut console), [0, 0, 0]);
    client.send(query("BEGIN")).expect("C Z");
    client.send(query("COMMIT")).expect("C Z");
    let empty = counts(&mut console);
    assert_eq!(empty, [0, 2, 1]);
    let block = |text: &str| all([parse("", text), bind("", "", &[]), execute(""), sync()]);
    client.send(block("BEGIN")).expect("1 2 C Z");
    client.send(query("ROLLBACK")).expect("C Z");
    assert_eq!(counts(&mut console), [0, 4, 2]);
    stage.server_of(&mut client);
    assert_eq!(counts(&mut console), [1, 5, 3]);
}

/// The second statement of a block waits for the answer to its BEGIN, and is judged a second time then.
#[test]
fn bytes_count_once_however_often_they_are_judged() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let mut client = stage.client();
    client.send(query("BEGIN")).expect("C Z");
    client.send(all([query("SELECT 1"), query("SELECT 2")]));
    let begin = all([
        parse("pgring_1", "BEGIN"),
        bind("", "pgring_1", &[]),
        execute(""),
    ]);
    let mut backend = stage.server.expect(all([begin, query("SELECT 1")]));
    let begun = all([parse_complete(), bind_complete(), command_complete("BEGIN")]);
    let done = || all([command_complete("DONE"), ready_in_transaction()]);
    backend.answer(all([begun, done()]));
    backend.expect_message(query("SELECT 2"));
    backend.answer(done());
    client.expect("C Z C Z");
    let said = ["BEGIN", "SELECT 1", "SELECT 2"].map(|text| query(text).len());
    let stats = record(&mut console, "STATS");
    assert_eq!(
        number(&stats, "total_received"),
        said.iter().sum::<usize>() as u64
    );
}

#[test]
fn the_version_and_nothing() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    assert!(console.rows("SHOW VERSION")[0].starts_with("pgring "));
    assert!(console.rows("show version;")[0].starts_with("pgring "));
    console.send(query(";")).expect("I Z");
    console.send(query("SHOW NONSENSE"));
    console.expect_error("42601");
    console.expect("Z");
    console.send(query("SELECT 1"));
    console.expect_error("42601");
    console.expect("Z");
    console.terminate();
}

#[test]
fn the_extended_protocol_is_refused_politely() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let messages = all([
        parse("", "SHOW POOLS"),
        bind("", "", &[]),
        describe_portal(""),
        execute(""),
        sync(),
    ]);
    for _ in 0..2 {
        console.send(&messages);
        console.expect_error("0A000");
        console.expect("Z");
    }
    assert_eq!(console.rows("SHOW POOLS").len(), 0);
    console.send(all([
        flush(),
        copy_data(b"x"),
        copy_done(),
        query("SHOW VERSION"),
    ]));
    console.expect("T D C Z");
}

#[test]
fn the_console_takes_no_nonsense() {
    let stage = Stage::set();
    for bytes in [
        &b"z\0\0\0\x04"[..],
        b"Q\xff\xff\xff\xff",
        b"Q\0\x10\0\0",
        b"p\0\0\0\x04",
    ] {
        let mut console = console(&stage.proxy);
        console.send(bytes);
        console.expect_error("08P01");
        console.expect_end();
    }
    let mut console = console(&stage.proxy);
    console.send(b"Q\0\0\0\x06XX");
    console.expect_error("08P01");
    console.expect("Z");
}

#[test]
fn only_those_named_in_the_configuration_come_in() {
    let stage = Stage::set();
    let mut client = Client::connect(stage.proxy.address());
    client.send(startup(&[("user", "app"), ("database", "pgring")]));
    client.expect("R");
    client.expect_error("28000");
    client.expect_end();
}

#[test]
fn every_core_is_asked() {
    let stage = Stage::set_with(|config| config.workers(2));
    let mut console = console(&stage.proxy);
    let _clients: Vec<_> = (0..8).map(|_| stage.in_transaction()).collect();
    let pool = record(&mut console, "POOLS");
    assert_eq!(
        (value(&pool, "cl_active"), value(&pool, "sv_active")),
        ("8", "8")
    );
    assert_eq!(records(&mut console, "CLIENTS").len(), 9);
    assert_eq!(records(&mut console, "SERVERS").len(), 8);
}

/// Programs calculate with what they are shown.
#[test]
fn numbers_are_numbers_and_an_idle_client_is_idle() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let mut client = stage.client();
    stage.server_of(&mut client);
    let clients = records(&mut console, "CLIENTS");
    let app = clients.iter().find(|client| value(client, "user") == "app");
    assert_eq!(value(app.unwrap(), "state"), "idle");
    for (table, column, oid) in [
        ("POOLS", "cl_active", 20),
        ("POOLS", "database", 25),
        ("STATS", "total_query_count", 20),
        ("CLIENTS", "port", 20),
        ("CLIENTS", "state", 25),
    ] {
        console.send(query(&format!("SHOW {table}")));
        let messages = console.receive_until_ready();
        let is_it = |message: &&Message| message.frame().tag == ROW_DESCRIPTION;
        let description = messages.iter().find(is_it).unwrap();
        let mut fields = RowDescription::read(description.frame().body).unwrap();
        let found = fields.find(|field| field.name == column.as_bytes());
        assert_eq!(found.unwrap().type_oid, oid, "{table}.{column}");
    }
}

//! Cancel requests: only what a client runs is cancelled, and nobody else is hit.

use std::io::ErrorKind;

use super::{
    bystander::{Stage, round_trip},
    pools::console,
};
use crate::support::{
    eventually,
    message::*,
    mock::{Backend, KEY, MockServer},
    peer::{Client, Wire},
    proxy::{Config, Proxy},
};
use pgring::{
    cli::postgres::Signal,
    protocol::{startup::ProtocolVersion, tag::frontend},
};

/// Asks to cancel what `client` runs, and waits until that has had its effect.
fn cancel(proxy: &Proxy, client: &Client) {
    ask(proxy, client).expect_end();
}

/// Asks to cancel what `client` runs. The connection is closed when that has had its effect.
pub(crate) fn ask(proxy: &Proxy, client: &Client) -> Client {
    let (process_id, key) = client.key.as_ref().unwrap();
    let mut asking = Client::connect(proxy.address());
    asking.send(cancel_request(*process_id, key));
    asking
}

/// The only row of SHOW CANCELS: active, forwarded, coalesced, dequeued, dropped.
pub(crate) fn counts(console: &mut Client) -> [u64; 5] {
    let rows = console.rows("SHOW CANCELS");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let mut fields = rows[0]
        .split('|')
        .skip(1)
        .map(|field| field.parse().unwrap());
    std::array::from_fn(|_| fields.next().unwrap())
}

/// What SHOW POOLS says of cancel requests under way, of its only pool: clients whose request was sent, clients whose
/// request was not, requests, and server connections that they are for.
fn under_way(console: &mut Client) -> [u64; 4] {
    let rows = console.rows("SHOW POOLS");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let fields: Vec<_> = rows[0].split('|').collect();
    [4, 5, 7, 8].map(|column: usize| fields[column].parse().unwrap())
}

/// A server whose connections, cancel requests among them, are taken one by one; a pool of one connection.
fn by_hand() -> (MockServer, Proxy) {
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()).set("pool", "size = 1"));
    (server, proxy)
}

/// A client that runs `SELECT 1`, and the connection on which it does.
fn running(server: &MockServer, proxy: &Proxy) -> (Client, Backend) {
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app")]));
    let mut backend = server.accept();
    backend.expect_login();
    client.expect_login();
    client.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    (client, backend)
}

#[test]
fn a_running_statement_is_cancelled_with_the_servers_own_key() {
    let stage = Stage::set();
    let mut client = stage.client();
    client.send(query("SELECT pg_sleep(9)"));
    let mut backend = stage.server.expect(query("SELECT pg_sleep(9)"));
    cancel(&stage.proxy, &client);
    assert_eq!(
        stage.server.next_cancel(),
        (backend.process_id(), KEY.to_vec())
    );
    backend.answer(all([
        error("57014", "canceling statement due to user request"),
        ready(),
    ]));
    client.expect_error("57014");
    client.expect("Z");
}

#[test]
fn a_long_key_does_as_well() {
    let stage = Stage::set();
    let mut client = Client::connect(stage.proxy.address());
    client.send(startup_of(ProtocolVersion::V3_2, &[("user", "app")]));
    client.expect_login();
    client.send(query("SELECT pg_sleep(9)"));
    let backend = stage.server.expect(query("SELECT pg_sleep(9)"));
    cancel(&stage.proxy, &client);
    assert_eq!(
        stage.server.next_cancel(),
        (backend.process_id(), KEY.to_vec())
    );
}

#[test]
fn who_runs_nothing_cancels_nothing() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let (mut working, mut backend) = stage.in_transaction();
    let idle = stage.client();
    let mut queued = stage.client();
    queued.send(query("SELECT 'queued'"));
    eventually("a client waited", || {
        console.rows("SHOW POOLS")[0].split('|').nth(3) == Some("1")
    });
    // A transaction that waits for its client runs nothing either.
    for client in [&idle, &console, &working] {
        cancel(&stage.proxy, client);
    }
    assert_eq!(counts(&mut console), [0; 5]);
    working.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    working.expect("C Z");
    backend.expect_message(query("SELECT 'queued'"));
    cancel(&stage.proxy, &queued);
    // The first cancel request that the server hears of is that of the one who works.
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
}

#[test]
fn who_waits_for_a_connection_is_taken_out_of_the_queue() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let (mut working, mut backend) = stage.in_transaction();
    let (mut first, mut second) = (stage.client(), stage.client());
    for (number, client) in [&mut first, &mut second].into_iter().enumerate() {
        client.send(query("SELECT 1"));
        wait_for_waiters(&mut console, number + 1);
    }
    cancel(&stage.proxy, &first);
    first.expect_error("57014");
    first.expect_exactly(ready());
    wait_for_waiters(&mut console, 1);
    assert_eq!(counts(&mut console), [0, 0, 0, 1, 0]);
    working.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    working.expect("C Z");
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    second.expect("T D C Z");
    round_trip(&mut first, &mut backend);
    // What follows the one that was cancelled, up to its Sync, is skipped.
    working.send(query("BEGIN;SELECT 1"));
    backend.expect_message(query("BEGIN;SELECT 1"));
    backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
    working.expect("C Z");
    second.send(all([
        parse("", "SELECT 1"),
        bind("", "", &[]),
        execute(""),
        sync(),
    ]));
    wait_for_waiters(&mut console, 1);
    cancel(&stage.proxy, &second);
    second.expect_error("57014");
    second.expect_exactly(ready());
}

#[test]
fn whose_connection_breaks_while_waiting_leaves_the_queue() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let (mut working, mut backend) = stage.in_transaction();
    let (mut polite, mut rude) = (stage.client(), stage.client());
    for (number, client) in [&mut polite, &mut rude].into_iter().enumerate() {
        client.send(query("SELECT 'the last word'"));
        wait_for_waiters(&mut console, number + 1);
    }
    rude.reset();
    wait_for_waiters(&mut console, 1);
    // Who says goodbye in order has what it said before executed, as PostgreSQL would.
    polite.send(terminate());
    polite.finish_sending();
    working.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    working.expect("C Z");
    backend.expect_message(query("SELECT 'the last word'"));
    backend.answer(one_value("1"));
    polite.expect("T D C Z");
    round_trip(&mut working, &mut backend);
}

#[test]
fn who_asked_is_kept_waiting_until_the_server_has_acted() {
    let (server, proxy) = by_hand();
    let mut console = console(&proxy);
    let (mut client, mut backend) = running(&server, &proxy);
    let mut asking = ask(&proxy, &client);
    let mut request = server.accept();
    request.receive_initial();
    // One more for the same statement is joined with it.
    let mut again = ask(&proxy, &client);
    eventually("it was joined", || counts(&mut console)[2] == 1);
    assert_eq!(counts(&mut console), [1, 1, 1, 0, 0]);
    assert_eq!(under_way(&mut console), [2, 0, 1, 1]);
    assert!(is_silent(&asking) && is_silent(&again));
    drop(request);
    asking.expect_end();
    again.expect_end();
    assert_eq!(counts(&mut console)[0], 0);
    assert_eq!(under_way(&mut console), [0; 4]);
    backend.answer(all([error("57014", "canceling statement"), ready()]));
    client.expect_error("57014");
    client.expect("Z");
    round_trip(&mut client, &mut backend);
}

#[test]
fn a_request_for_the_next_statement_is_not_joined_with_one_before() {
    let (server, proxy) = by_hand();
    let mut console = console(&proxy);
    let (mut client, mut backend) = running(&server, &proxy);
    let mut asking = ask(&proxy, &client);
    let mut request = server.accept();
    request.receive_initial();
    backend.answer(all([
        columns(&["value"]),
        row(&["1"]),
        command_complete("SELECT 1"),
        ready_in_transaction(),
    ]));
    client.expect("T D C Z");
    client.send(query("SELECT 2"));
    backend.expect_message(query("SELECT 2"));
    let mut next = ask(&proxy, &client);
    eventually("it was heard", || under_way(&mut console) == [1, 1, 1, 1]);
    drop(request);
    asking.expect_end();
    server.accept().receive_initial();
    next.expect_end();
}

#[test]
fn pgrings_own_requests_are_not_what_is_cancelled() {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let mut console = console(&stage.proxy);
    let mut client = Client::connect(stage.proxy.address());
    client.send(startup(&[
        ("user", "app"),
        ("database", "app"),
        ("TimeZone", "UTC"),
    ]));
    let mut backend = stage.server.next();
    let set = || give(&[("timezone", Some("UTC"))]);
    let is_set = all([
        columns(&["set_config"]),
        row(&["UTC"]),
        command_complete("SELECT 1"),
        parameter_status("TimeZone", "UTC"),
        ready(),
    ]);
    backend.resets();
    backend.expect_message(give_inside(&[("timezone", Some("UTC"))]));
    backend.answer(is_set.clone());
    client.expect_login();
    let mut plain = stage.client();
    plain.send(query("SELECT 'plain'"));
    backend.expect_message(all([give(&[("timezone", None)]), query("SELECT 'plain'")]));
    backend.answer(all([
        command_complete("RESET"),
        ready(),
        one_value("plain"),
    ]));
    plain.expect("T D C Z");

    client.send(query("SELECT 1"));
    backend.expect_message(all([set(), query("SELECT 1")]));
    let mut asking = ask(&stage.proxy, &client);
    asking.wait_until_taken();
    assert_eq!(counts(&mut console)[1], 0);
    eventually("it was heard", || under_way(&mut console) == [0, 1, 0, 0]);
    assert!(is_silent(&asking));
    backend.answer(&is_set);
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    asking.expect_end();
}

#[test]
fn servers_may_have_long_keys() {
    for length in [4, 32, 256] {
        let (server, proxy) = by_hand();
        let mut client = Client::connect(proxy.address());
        client.send(startup(&[("user", "app")]));
        let mut backend = server.accept();
        backend.receive_initial();
        let key = vec![7; length];
        backend.answer(all([
            authentication_ok(),
            backend_key_data(4711, &key),
            ready(),
        ]));
        client.expect_login();
        assert_eq!(client.key.as_ref().unwrap().1.len(), 4, "of protocol 3.0");
        client.send(query("SELECT 1"));
        backend.expect_message(query("SELECT 1"));
        let _asking = ask(&proxy, &client);
        assert_eq!(
            server.accept().receive_initial(),
            cancel_request(4711, &key)
        );
    }
}

#[test]
fn wrong_keys_cancel_nothing() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    client.send(query("SELECT pg_sleep(9)"));
    backend.expect_message(query("SELECT pg_sleep(9)"));
    let (process_id, key) = client.key.clone().unwrap();
    for (process_id, key) in [
        (process_id, vec![0; 4]),
        (process_id, [&key[..], &[0]].concat()),
        (process_id, vec![0; 256]),
        (process_id + 1, key.clone()),
        (process_id + (1 << 20), key.clone()),
        (-process_id, key.clone()),
        (i32::MIN, key.clone()),
        (0, key),
    ] {
        let mut asking = Client::connect(stage.proxy.address());
        asking.send(cancel_request(process_id, &key)).expect_end();
    }
    // One of them names a core that does not exist.
    assert_eq!(counts(&mut console)[..4], [0; 4]);
}

#[test]
fn a_storm_of_requests_is_bounded() {
    const LIMIT: usize = pgring::limits::CANCELS_MAX as usize;
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()).set("pool", "size = 100"));
    let mut console = console(&proxy);
    let clients: Vec<_> = (0..LIMIT + 6).map(|_| another(&server, &proxy)).collect();
    // The server lets them wait.
    let asking: Vec<_> = clients
        .iter()
        .map(|(client, _)| ask(&proxy, client))
        .collect();
    eventually("all were heard", || {
        let [active, _, _, _, dropped] = counts(&mut console);
        active as usize == LIMIT && dropped == 6
    });
    let requests: Vec<_> = (0..LIMIT).map(|_| server.accept()).collect();
    drop(requests);
    asking
        .into_iter()
        .for_each(|mut asking| asking.expect_end());
    assert_eq!(counts(&mut console), [0, LIMIT as u64, 0, 0, 6]);
    // Its log is read by another thread: only when it has ended has all of it been read.
    proxy.process().signal(Signal::Kill);
    assert!(proxy.process().wait_for_descendants());
    let log = proxy.process().log();
    let lines = log
        .iter()
        .filter(|line| line.contains("too many cancel requests"));
    assert_eq!(lines.count(), 1, "{log:?}");
}

/// One more client that runs a statement. Only the first waits for a server connection to log in.
fn another(server: &MockServer, proxy: &Proxy) -> (Client, Backend) {
    let mut client = Client::connect(proxy.address());
    client.send(all([startup(&[("user", "app")]), query("SELECT 1")]));
    let mut backend = server.accept();
    backend.expect_login();
    backend.expect_message(query("SELECT 1"));
    client.expect_login();
    (client, backend)
}

fn wait_for_waiters(console: &mut Client, count: usize) {
    eventually("so many clients waited", || {
        console.rows("SHOW POOLS")[0].split('|').nth(3) == Some(&count.to_string())
    });
}

/// True when the other side has neither closed nor said anything yet.
pub(crate) fn is_silent(wire: &Wire) -> bool {
    let stream = wire.stream();
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_cancel_on_its_way_hits_nobody_else() {
    let (server, proxy) = by_hand();
    let (mut client, mut backend) = running(&server, &proxy);
    let _asking = ask(&proxy, &client);
    let mut request = server.accept();
    request.receive_initial();
    // The server has not acted on it when the statement ends by itself.
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    backend.expect_end();
    client.send(query("SELECT 2"));
    let mut backend = server.accept();
    backend.expect_login();
    backend.expect_message(query("SELECT 2"));
    backend.answer(one_value("2"));
    client.expect("T D C Z");
}

#[test]
fn any_core_takes_a_cancel_request() {
    let stage = Stage::set_with(|config| config.workers(2));
    for _ in 0..10 {
        let (mut client, mut backend) = stage.in_transaction();
        client.send(query("SELECT pg_sleep(9)"));
        assert_eq!(backend.receive().tag, frontend::QUERY);
        cancel(&stage.proxy, &client);
        assert_eq!(stage.server.next_cancel().0, backend.process_id());
    }
}

#[test]
fn a_session_that_was_cancelled_goes_on() {
    let stage = Stage::set();
    let (mut client, mut backend) = stage.in_transaction();
    client.send(query("SELECT pg_sleep(9)"));
    backend.expect_message(query("SELECT pg_sleep(9)"));
    cancel(&stage.proxy, &client);
    stage.server.next_cancel();
    backend.answer(all([
        error("57014", "canceling statement due to user request"),
        ready_failed(),
    ]));
    client.expect("E Z");
    client.send(query("ROLLBACK"));
    backend.expect_message(query("ROLLBACK"));
    backend.answer(all([command_complete("ROLLBACK"), ready()]));
    client.expect("C Z");
    let mut other = stage.client();
    other.send(query("SELECT 1"));
    // The connection may have been closed because the request was still on its way.
    let answered = backend.try_receive().is_some();
    let mut backend = if answered {
        backend
    } else {
        stage.server.expect(query("SELECT 1"))
    };
    backend.answer(one_value("1"));
    other.expect("T D C Z");
    round_trip(&mut client, &mut backend);
}

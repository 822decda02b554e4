//! Server connections and those who share them: when they come, whom they serve, when they go.

use std::{collections::BTreeSet, thread};

use super::{
    bystander::{Stage, round_trip},
    console::records,
    timeouts::reached,
};
use crate::support::{
    eventually,
    message::*,
    mock::{Backend, MockServer},
    peer::Client,
    proxy::{Config, Proxy},
};

/// A pool of one connection, with more settings.
fn single(lines: &[&str]) -> Stage {
    Stage::set_with(|config| {
        let config = config.set("pool", "size = 1");
        lines
            .iter()
            .fold(config, |config, line| config.set("pool", line))
    })
}

/// Somebody who may look at the pools.
pub(crate) fn console(proxy: &Proxy) -> Client {
    Client::login_with(
        proxy.address(),
        &[("user", "pgring"), ("database", "pgring")],
    )
}

/// The column of the only row of `SHOW POOLS`.
fn pool_column(console: &mut Client, number: usize) -> String {
    let rows = console.rows("SHOW POOLS");
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].split('|').nth(number).unwrap().to_owned()
}

const WAITING: usize = 3;

fn wait_for_waiters(console: &mut Client, count: usize) {
    eventually("the clients waited", || {
        pool_column(console, WAITING) == count.to_string()
    });
}

fn commit(client: &mut Client, backend: &mut Backend) {
    client.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    client.expect("C Z");
}

#[test]
fn a_transaction_keeps_its_connection_and_nothing_else_does() {
    let stage = single(&[]);
    let (mut client, mut backend) = stage.in_transaction();
    let mut other = stage.client();
    let mut console = console(&stage.proxy);
    other.send(query("SELECT 'other'"));
    wait_for_waiters(&mut console, 1);
    client.send(query("SELECT 1/0"));
    backend.expect_message(query("SELECT 1/0"));
    backend.answer(all([error("22012", "division by zero"), ready_failed()]));
    client.expect("E Z");
    client.send(query("ROLLBACK"));
    backend.expect_message(query("ROLLBACK"));
    backend.answer(all([command_complete("ROLLBACK"), ready()]));
    client.expect("C Z");
    backend.expect_message(query("SELECT 'other'"));
    backend.answer(one_value("other"));
    other.expect("T D C Z");
}

#[test]
fn a_pipeline_keeps_its_connection_to_its_last_answer() {
    let stage = single(&[]);
    let mut console = console(&stage.proxy);
    let (mut client, mut other) = (stage.client(), stage.client());
    let group = |number: usize| {
        all([
            parse("", &format!("SELECT {number}")),
            bind("", "", &[]),
            execute(""),
            sync(),
        ])
    };
    let answer = || {
        all([
            parse_complete(),
            bind_complete(),
            command_complete("SELECT 0"),
            ready(),
        ])
    };
    client.send(all([group(1), group(2)]));
    let mut backend = stage.server.expect(all([group(1), group(2)]));
    other.send(query("SELECT 'other'"));
    wait_for_waiters(&mut console, 1);
    backend.answer(answer());
    client.expect("1 2 C Z");
    // Its own next group is before the other's query, though the server was ready in between.
    client.send(group(3));
    backend.expect_message(group(3));
    backend.answer(all([answer(), answer()]));
    client.expect("1 2 C Z 1 2 C Z");
    backend.expect_message(query("SELECT 'other'"));
    backend.answer(one_value("other"));
    other.expect("T D C Z");
}

#[test]
fn session_mode_resets_what_a_client_leaves_behind() {
    let stage = single(&["mode = \"session\""]);
    let (mut client, mut other) = (stage.client(), stage.client());
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    other.send(query("SELECT 'other'"));
    round_trip(&mut client, &mut backend);
    client.terminate();
    backend.is_discarded();
    backend.expect_message(query("SELECT 'other'"));
    backend.answer(one_value("other"));
    other.expect("T D C Z");
}

#[test]
fn a_connection_that_cannot_be_reset_is_replaced() {
    let stage = single(&["mode = \"session\"", "reset_query = \"RESET ALL\""]);
    let (mut client, mut other) = (stage.client(), stage.client());
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    other.send(query("SELECT 'other'"));
    client.terminate();
    backend.expect_message(query("RESET ALL"));
    backend.answer(all([error("57014", "no"), ready()]));
    backend.expect_end();
    stage
        .server
        .expect(query("SELECT 'other'"))
        .answer(one_value("other"));
    other.expect("T D C Z");
}

#[test]
fn session_mode_does_not_reset_a_transaction_that_was_left_open() {
    let stage = single(&["mode = \"session\""]);
    let (client, mut backend) = stage.in_transaction();
    client.terminate();
    backend.expect_end();
}

#[test]
fn transaction_mode_resets_nothing() {
    let stage = single(&[]);
    let mut client = stage.client();
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    client.terminate();
    round_trip(&mut stage.client(), &mut backend);
}

#[test]
fn statement_mode_refuses_transaction_blocks() {
    let stage = single(&["mode = \"statement\""]);
    let mut client = stage.client();
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    client.send(query("BEGIN;SELECT 1"));
    backend.expect_message(query("BEGIN;SELECT 1"));
    backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
    client.expect("C");
    client.expect_error("0A000");
    client.expect_end();
    backend.expect_end();
}

#[test]
fn who_came_first_is_served_first() {
    let stage = single(&[]);
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    let mut queue: Vec<_> = (0..5).map(|_| stage.client()).collect();
    for (number, waiter) in queue.iter_mut().enumerate() {
        waiter.send(query(&format!("SELECT {number}")));
        wait_for_waiters(&mut console, number + 1);
    }
    // One that gives up does not hold up the others.
    queue.remove(2).reset();
    wait_for_waiters(&mut console, 4);
    commit(&mut client, &mut backend);
    for (number, waiter) in [0, 1, 3, 4].into_iter().zip(&mut queue) {
        backend.expect_message(query(&format!("SELECT {number}")));
        backend.answer(one_value("1"));
        waiter.expect("T D C Z");
    }
}

#[test]
fn nobody_waits_longer_than_checkout_timeout() {
    let stage = single(&["checkout_timeout = \"200ms\""]);
    let (mut client, mut backend) = stage.in_transaction();
    let mut other = stage.client();
    other.send(query("SELECT 1"));
    let refusal = other.expect("E").remove(0);
    assert_eq!(refusal.error().0, "53300");
    let text = String::from_utf8_lossy(&refusal.body).into_owned();
    assert!(
        text.contains("VERROR\0")
            && text.contains("database \"app\" and user \"app\" has a size of 1"),
        "{text}"
    );
    other.expect_exactly(ready());
    // In a pipeline, what follows is skipped.
    other.send(all([
        parse("", "SELECT 1"),
        bind("", "", &[]),
        execute(""),
        sync(),
    ]));
    other.expect_error("53300");
    other.expect_exactly(ready());
    assert_eq!(reached(&mut console(&stage.proxy), "checkout_timeout"), 2);
    commit(&mut client, &mut backend);
    round_trip(&mut other, &mut backend);
}

#[test]
fn a_login_does_not_wait_longer_either() {
    let server = MockServer::bind();
    let config = Config::trust(server.address()).set("pool", "checkout_timeout = \"200ms\"");
    let proxy = Proxy::start(&config);
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app")]));
    let _silent = server.accept();
    client.expect("R");
    let refusal = client.expect("E").remove(0);
    assert_eq!(refusal.error().0, "53300");
    assert!(String::from_utf8_lossy(&refusal.body).contains("VFATAL\0"));
    client.expect_end();
}

#[test]
fn the_queue_has_an_end() {
    let stage = single(&["max_waiters = 1"]);
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    let (mut second, mut third) = (stage.client(), stage.client());
    second.send(query("SELECT 2"));
    wait_for_waiters(&mut console, 1);
    third.send(query("SELECT 3"));
    third.expect_error("53300");
    third.expect_exactly(ready());
    commit(&mut client, &mut backend);
    backend.expect_message(query("SELECT 2"));
    backend.answer(one_value("2"));
    second.expect("T D C Z");
    round_trip(&mut third, &mut backend);
}

#[test]
fn the_process_has_room_for_max_clients() {
    let stage = Stage::set_with(|config| config.set("listen", "max_clients = 2"));
    let (first, _second) = (stage.client(), stage.client());
    let mut third = Client::connect(stage.proxy.address());
    third.send(startup(&[("user", "app")]));
    third.expect_error("53300");
    third.expect_end();
    // Who has to make room is let in.
    let mut operator = console(&stage.proxy);
    assert_eq!(operator.rows("SHOW POOLS").len(), 1);
    operator.terminate();
    first.terminate();
    eventually("there is room again", || {
        let mut client = Client::connect(stage.proxy.address());
        client.send(startup(&[("user", "app")]));
        client.receive().tag == pgring::protocol::tag::backend::AUTHENTICATION
    });
}

#[test]
fn min_size_connections_are_there_without_being_asked_for() {
    let stage = Stage::set_with(|config| config.set("pool", "min_size = 3"));
    let mut console = console(&stage.proxy);
    let _client = stage.client();
    eventually("the pool was filled", || {
        console.rows("SHOW SERVERS").len() == 3
    });
}

#[test]
fn idle_connections_go_down_to_min_size() {
    let stage = Stage::set_with(|config| {
        config
            .set("pool", "min_size = 1")
            .set("pool", "idle_timeout = \"200ms\"")
    });
    let mut console = console(&stage.proxy);
    let mut clients: Vec<_> = (0..3).map(|_| stage.in_transaction()).collect();
    assert_eq!(console.rows("SHOW SERVERS").len(), 3);
    for (client, backend) in &mut clients {
        commit(client, backend);
    }
    eventually("the idle ones were closed", || {
        console.rows("SHOW SERVERS").len() == 1
    });
}

#[test]
fn old_connections_are_closed_as_they_come_back() {
    let stage = single(&["lifetime = \"1ms\""]);
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    commit(&mut client, &mut backend);
    eventually("it was old", || {
        let closed = console.rows("SHOW SERVERS").is_empty();
        if !closed {
            round_trip(&mut client, &mut backend);
        }
        closed
    });
    backend.expect_end();
}

/// A connection that nobody uses grows old, too: nobody is lent it then.
#[test]
fn old_connections_are_closed_while_they_are_idle() {
    let stage = single(&["lifetime = \"300ms\""]);
    let mut console = console(&stage.proxy);
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    eventually("it was old", || console.rows("SHOW SERVERS").is_empty());
    backend.expect_end();
    drop(backend);
    stage.server_of(&mut client);
}

/// Runs statements until one of them, `SELECT 1`, finds its connection idle for too long.
fn wait_for_check(stage: &Stage) -> (Client, Backend) {
    let mut client = stage.client();
    client.send(query("SELECT 1"));
    let mut backend = stage.server.next();
    let mut first = true;
    eventually("the connection was checked", || {
        if !std::mem::take(&mut first) {
            client.send(query("SELECT 1"));
        }
        let checked = backend.receive().body == b"\0";
        if !checked {
            backend.answer(one_value("1"));
            client.expect("T D C Z");
        }
        checked
    });
    (client, backend)
}

#[test]
fn a_connection_that_was_idle_for_long_is_checked_first() {
    let stage = single(&["check_after_idle = \"1ms\""]);
    let (mut client, mut backend) = wait_for_check(&stage);
    backend.answer(all([empty_query(), ready()]));
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
}

#[test]
fn a_connection_that_fails_the_check_is_replaced_unnoticed() {
    let ill = all([error("XX000", "ill"), ready()]);
    let open = all([empty_query(), ready_failed()]);
    for last_words in [vec![], fatal("57P01", "bye"), ill, open] {
        let stage = single(&["check_after_idle = \"1ms\""]);
        let (mut client, mut backend) = wait_for_check(&stage);
        backend.answer(last_words).finish_sending();
        let mut other = stage.server.expect(query("SELECT 1"));
        other.answer(one_value("1"));
        client.expect("T D C Z");
    }
}

/// The same for one that comes from another core, as it does for each of these statements.
#[test]
fn a_connection_that_changes_cores_is_checked_first() {
    let stage = Stage::set_with(|config| {
        let config = config.workers(2).set("pool", "size = 1");
        config.set("pool", "check_after_idle = \"1ms\"")
    });
    let mut console = console(&stage.proxy);
    let mut clients = Vec::new();
    let mut workers = BTreeSet::new();
    while clients.len() < 2 {
        let client = stage.client();
        let port = ("port".to_owned(), client.local_address().port().to_string());
        let all = records(&mut console, "CLIENTS").into_iter();
        let record = { all }.find(|record| record.contains(&port)).unwrap();
        if workers.insert(
            record
                .into_iter()
                .find(|(name, _)| name == "worker")
                .unwrap(),
        ) {
            clients.push(client);
        }
    }
    clients[0].send(query("SELECT 1"));
    let mut backend = stage.server.next();
    let (mut turn, mut first) = (0, true);
    eventually("it was checked", || {
        if !std::mem::take(&mut first) {
            turn = 1 - turn;
            clients[turn].send(query("SELECT 1"));
        }
        let asked = backend.receive();
        let is_checked = asked.body == b"\0";
        if is_checked {
            backend.answer(all([empty_query(), ready()]));
            backend.expect_message(query("SELECT 1"));
        }
        backend.answer(one_value("1"));
        clients[turn].expect("T D C Z");
        is_checked
    });
}

/// A login waits for a server that is just starting, when it is told to, and no longer than one must.
#[test]
fn a_login_waits_for_a_server_that_is_starting() {
    let server = MockServer::bind();
    let lines = [
        "login_waits = true",
        "login_backoff = \"1ms\"",
        "login_backoff_max = \"10s\"",
    ];
    let config = Config::trust(server.address());
    let config = lines
        .iter()
        .fold(config, |config, line| config.set("pool", line));
    let proxy = Proxy::start(&config);
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app"), ("database", "app")]));
    for _ in 0..20 {
        let mut backend = server.accept();
        backend.receive_initial();
        backend.answer(fatal("57P03", "the database system is starting up"));
        backend.finish_sending();
    }
    let _server = server.log_in_everyone();
    client.expect_login();
}

/// Clients on all cores, who come and go, get through; the last thing is that nobody holds more than allowed.
fn share(workers: u16, size: usize) {
    let server = MockServer::bind().log_in_everyone();
    let config = Config::trust(server.address())
        .workers(workers)
        .set("pool", &format!("size = {size}"));
    let proxy = Proxy::start(&config);
    server.answer_everyone();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let mut client = proxy.client();
                    (0..10).for_each(|_| assert_eq!(client.rows("SELECT 1"), ["1"]));
                }
            });
        }
    });
    assert!((1..=size).contains(&console(&proxy).rows("SHOW SERVERS").len()));
}

#[test]
fn two_cores_share_one_connection() {
    share(2, 1);
}

#[test]
fn four_cores_share_three_connections() {
    share(4, 3);
}

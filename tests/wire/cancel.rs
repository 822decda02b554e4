//! Cancel requests: only what a client runs is cancelled, and nobody else is hit.

use super::{
    bystander::{Stage, round_trip},
    pools::console,
};
use crate::support::{
    eventually,
    message::*,
    mock::{KEY, MockServer},
    peer::Client,
    proxy::{Config, Proxy},
};
use pgring::protocol::{startup::ProtocolVersion, tag::frontend};

/// Asks to cancel what `client` runs; the answer is that there is none.
fn cancel(proxy: &Proxy, client: &Client) {
    let (process_id, key) = client.key.as_ref().unwrap();
    Client::connect(proxy.address())
        .send(cancel_request(*process_id, key))
        .expect_end();
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
    for client in [&idle, &queued, &console, &working] {
        cancel(&stage.proxy, client);
    }
    // The first cancel request that the server hears of is that of the one who works.
    working.send(query("COMMIT"));
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    backend.expect_message(query("COMMIT"));
}

#[test]
fn a_cancel_on_its_way_hits_nobody_else() {
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()).set("pool", "size = 1"));
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app")]));
    let mut backend = server.accept();
    backend.expect_login();
    client.expect_login();
    client.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    cancel(&proxy, &client);
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

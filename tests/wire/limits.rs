//! Limits that pools share, the reserve, and limits of clients: who gets in, who makes way for whom.

use super::{bystander::Stage, pools::console};
use crate::support::{
    eventually,
    message::*,
    mock::{Backend, Backends, MockServer},
    peer::Client,
    proxy::{Config, Proxy},
};

/// A server that takes `max` connections of all pools together.
fn limited_node(max: u32, lines: &[&str]) -> (Proxy, Backends, impl Fn(u32) -> Config) {
    let server = MockServer::bind().log_in_everyone();
    let address = server.address();
    let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
    let config = move |max: u32| {
        let node = format!("name = \"pg1\"\naddress = \"{address}\"\nmax_connections = {max}");
        let config = Config::default()
            .set("auth", "method = \"trust\"\nunknown_users = true")
            .set("runtime", "pin = false")
            .table("node", &node)
            .workers(1);
        let add = |config: Config, line: &String| config.set("pool", line);
        lines.iter().fold(config, add)
    };
    let proxy = Proxy::start(&config(max));
    (proxy, server, config)
}

fn client_of(proxy: &Proxy, database: &str) -> Client {
    Client::login_with(proxy.address(), &[("user", "app"), ("database", database)])
}

/// One answered query.
fn ask(client: &mut Client, server: &Backends, text: &str) -> Backend {
    client.send(query(text));
    let mut backend = server.expect(query(text));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    backend
}

#[test]
fn an_idle_connection_makes_way_for_another_pool() {
    let (proxy, server, _) = limited_node(1, &[]);
    let mut first = client_of(&proxy, "first");
    let mut old = ask(&mut first, &server, "SELECT 'first'");
    // Already its login needs a connection.
    let mut second = client_of(&proxy, "second");
    old.expect_end();
    drop(old);
    let mut new = ask(&mut second, &server, "SELECT 'second'");
    first.send(query("SELECT 'again'"));
    new.expect_end();
    drop(new);
    server
        .expect(query("SELECT 'again'"))
        .answer(one_value("1"));
    first.expect("T D C Z");
}

#[test]
fn the_one_that_was_idle_for_longest_goes_first() {
    let (proxy, server, _) = limited_node(2, &[]);
    let mut first = client_of(&proxy, "first");
    let mut second = client_of(&proxy, "second");
    let mut older = ask(&mut first, &server, "SELECT 'first'");
    let mut younger = ask(&mut second, &server, "SELECT 'second'");
    let mut third = client_of(&proxy, "third");
    older.expect_end();
    drop(older);
    ask(&mut third, &server, "SELECT 'third'");
    second.send(query("SELECT 'still there'"));
    younger.expect_message(query("SELECT 'still there'"));
}

#[test]
fn a_connection_in_use_does_not_make_way_before_it_is_given_back() {
    let (proxy, server, _) = limited_node(1, &[]);
    let mut first = client_of(&proxy, "first");
    first.send(query("SELECT 'held'"));
    let mut held = server.expect(query("SELECT 'held'"));
    let mut second = Client::connect(proxy.address());
    second.send(startup(&[("user", "app"), ("database", "second")]));
    second.expect("R");
    let mut console = console(&proxy);
    eventually("the second waited", || {
        let pools = console.rows("SHOW POOLS");
        pools.iter().any(|row| row.starts_with("second|"))
    });
    held.answer(one_value("1"));
    first.expect("T D C Z");
    held.expect_end();
    drop(held);
    second.receive_until_ready();
    ask(&mut second, &server, "SELECT 'second'");
}

#[test]
fn a_nodes_limit_is_raised_while_clients_wait() {
    let (proxy, server, config) = limited_node(1, &[]);
    let mut first = client_of(&proxy, "first");
    first.send(query("SELECT 'held'"));
    let _held = server.expect(query("SELECT 'held'"));
    let mut second = client_of(&proxy, "first");
    second.send(query("SELECT 'waited'"));
    proxy.reload(&config(2));
    server
        .expect(query("SELECT 'waited'"))
        .answer(one_value("1"));
    second.expect("T D C Z");
}

#[test]
fn whoever_waits_in_vain_reads_which_limit_it_was() {
    let (proxy, server, _) = limited_node(1, &["checkout_timeout = \"200ms\""]);
    let mut first = client_of(&proxy, "first");
    first.send(query("SELECT 'held'"));
    let _held = server.expect(query("SELECT 'held'"));
    let mut second = client_of(&proxy, "first");
    second.send(query("SELECT 1"));
    let refusal = second.expect("E").remove(0);
    assert_eq!(refusal.error().0, "53300");
    let text = String::from_utf8_lossy(&refusal.body).into_owned();
    assert!(
        text.contains("max_connections of its [[node]], 1, is reached"),
        "{text}"
    );
}

#[test]
fn the_reserve_is_opened_for_those_who_wait_and_closed_after_them() {
    let lines = ["size = 1", "reserve_size = 1", "reserve_after = \"100ms\""];
    let stage = Stage::set_with(|config| {
        lines
            .iter()
            .fold(config, |config, line| config.set("pool", line))
    });
    let (mut first, mut held) = stage.in_transaction();
    let mut second = stage.client();
    second.send(query("SELECT 'patient'"));
    let mut reserve = stage.server.expect(query("SELECT 'patient'"));
    reserve.answer(one_value("1"));
    second.expect("T D C Z");
    // Nobody waits any more.
    reserve.expect_end();
    first.send(query("COMMIT"));
    held.expect_message(query("COMMIT"));
    held.answer(all([command_complete("COMMIT"), ready()]));
    first.expect("C Z");
    assert_eq!(console(&stage.proxy).rows("SHOW SERVERS").len(), 1);
}

#[test]
fn a_database_and_a_user_have_room_for_max_clients() {
    let user = "name = \"app\"\nmax_clients = 2";
    let database = |name: &str| format!("name = \"{name}\"\nmax_clients = 1");
    let stage = Stage::set_with(|config| {
        config
            .table("user", user)
            .table("database", &database("app"))
            .table("database", "name = \"*\"")
    });
    let refused = |database: &str, words: &str| {
        let mut client = Client::connect(stage.proxy.address());
        client.send(startup(&[("user", "app"), ("database", database)]));
        client.expect("R");
        let refusal = client.expect("E").remove(0);
        assert_eq!(refusal.error().0, "53300");
        let text = String::from_utf8_lossy(&refusal.body).into_owned();
        assert!(text.contains("VFATAL\0") && text.contains(words), "{text}");
        client.expect_end();
    };
    let first = stage.client();
    refused("app", "too many clients of database \"app\"");
    let _second = Client::login_with(
        stage.proxy.address(),
        &[("user", "app"), ("database", "other")],
    );
    refused("third", "too many clients of user \"app\"");
    // The console stays open, and a place that is free again is taken.
    let mut console = console(&stage.proxy);
    assert_eq!(console.rows("SHOW VERSION").len(), 1);
    first.terminate();
    eventually("there is room again", || {
        let mut client = Client::connect(stage.proxy.address());
        client.send(startup(&[("user", "app"), ("database", "app")]));
        client.receive();
        client.receive().tag != pgring::protocol::tag::backend::ERROR_RESPONSE
    });
}

//! Time limits of sessions. Limits are short and what they cause is waited for; no time is measured.

use super::{
    bystander::{Stage, round_trip},
    cancel::{ask, counts, is_silent},
    pools::console,
};
use crate::support::{
    eventually,
    message::*,
    mock::{Backend, KEY, MockServer},
    peer::Client,
    proxy::{Config, Proxy},
};

const SLOW: &str = "SELECT pg_sleep(9)";

/// A pool of one connection with this limit.
fn stage(limit: &str) -> Stage {
    Stage::set_with(|config| config.set("pool", "size = 1").set("pool", limit))
}

fn cancelled() -> Vec<u8> {
    error("57014", "canceling statement due to user request")
}

/// The session is told, and is over.
fn expect_fatal(client: &mut Client, sqlstate: &str) {
    let last_words = client.expect("E").remove(0);
    assert_eq!(last_words.error().0, sqlstate);
    assert!(String::from_utf8_lossy(&last_words.body).contains("VFATAL\0"));
    client.expect_end();
}

/// The next cancel request is for this connection; it is over.
fn expect_cancel(stage: &Stage, console: &mut Client, backend: &Backend) {
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    eventually("the cancel request had its effect", || {
        counts(console)[0] == 0
    });
}

/// How often this limit was reached.
pub(crate) fn reached(console: &mut Client, setting: &str) -> u64 {
    let rows = console.rows("SHOW TIMEOUTS");
    let of_setting = |row: &String| row.strip_prefix(&format!("{setting}|"))?.parse().ok();
    let found = rows.iter().find_map(of_setting);
    found.unwrap_or_else(|| panic!("no {setting} in {rows:?}"))
}

#[test]
fn a_query_that_takes_too_long_is_cancelled() {
    let stage = stage("query_timeout = \"100ms\"");
    let (mut console, mut client) = (console(&stage.proxy), stage.client());
    client.send(query(SLOW));
    let mut backend = stage.server.expect(query(SLOW));
    for number in 1..=3 {
        expect_cancel(&stage, &mut console, &backend);
        assert_eq!(reached(&mut console, "query_timeout"), number);
        backend.answer(all([cancelled(), ready()]));
        let told = client.expect("E").remove(0).error();
        assert_eq!(told.0, "57014");
        assert_eq!(told.1, "canceling statement due to query timeout");
        client.expect_exactly(ready());
        client.send(query(SLOW));
        backend.expect_message(query(SLOW));
    }
}

#[test]
fn in_a_transaction_and_a_pipeline_as_well() {
    let stage = stage("query_timeout = \"100ms\"");
    let mut console = console(&stage.proxy);
    let (mut client, mut backend) = stage.in_transaction();
    let pipeline = all([parse("", SLOW), bind("", "", &[]), execute(""), sync()]);
    for request in [query(SLOW), pipeline] {
        client.send(&request);
        backend.expect_message(&request);
        expect_cancel(&stage, &mut console, &backend);
        backend.answer(all([cancelled(), ready_failed()]));
        client.expect("E Z");
    }
}

/// A server whose connections, cancel requests among them, are taken one by one; a client that runs a query.
fn by_hand(limit: &str) -> (MockServer, Proxy, Client, Backend) {
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()).set("pool", limit));
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "app")]));
    let mut backend = server.accept();
    backend.expect_login();
    client.expect_login();
    client.send(query(SLOW));
    backend.expect_message(query(SLOW));
    (server, proxy, client, backend)
}

/// The query ends by itself, in a transaction.
fn end_query(client: &mut Client, backend: &mut Backend) {
    backend.answer(all([
        columns(&["pg_sleep"]),
        row(&[""]),
        command_complete("SELECT 1"),
        ready_in_transaction(),
    ]));
    client.expect("T D C Z");
}

/// The cancel request is on its way when the query ends by itself: it must not hit the client's next one.
#[test]
fn the_next_query_waits_until_the_cancel_request_is_over() {
    let (server, proxy, mut client, mut backend) = by_hand("query_timeout = \"100ms\"");
    let mut console = console(&proxy);
    let mut request = server.accept();
    request.receive_initial();
    end_query(&mut client, &mut backend);
    client.send(query("SELECT 'next'"));
    client.wait_until_taken();
    assert_eq!(counts(&mut console)[0], 1);
    assert!(is_silent(&backend));
    drop(request);
    backend.expect_message(query("SELECT 'next'"));
}

/// The client's own cancel request, for a query before, is still on its way.
#[test]
fn a_query_is_cancelled_though_an_older_cancel_request_is_not_over() {
    let (server, proxy, mut client, mut backend) = by_hand("query_timeout = \"3s\"");
    let mut asking = ask(&proxy, &client);
    let mut request = server.accept();
    request.receive_initial();
    end_query(&mut client, &mut backend);
    client.send(query(SLOW));
    backend.expect_message(query(SLOW));
    let log = proxy.process();
    log.wait_for("cancelling a query").unwrap();
    drop(request);
    asking.expect_end();
    let length = cancel_request(0, &KEY).len();
    assert_eq!(server.accept().receive_initial().len(), length);
}

#[test]
fn a_server_that_does_not_end_the_query_loses_its_connection() {
    let stage = stage("query_timeout = \"100ms\"");
    let mut client = stage.client();
    client.send(query(SLOW));
    let mut backend = stage.server.expect(query(SLOW));
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    expect_fatal(&mut client, "57014");
    backend.expect_end();
}

#[test]
fn half_a_message_is_no_place_for_last_words() {
    let stage = stage("transaction_timeout = \"100ms\"");
    let mut client = stage.client();
    client.send(query(SLOW));
    let mut backend = stage.server.expect(query(SLOW));
    let long = row(&["x".repeat(1000).as_str()]);
    backend.answer(all([columns(&["value"]), long[..500].to_vec()]));
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    client.expect("T");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut client.stream(), &mut rest).unwrap();
    assert!(rest.len() <= 500);
    backend.expect_end();
}

#[test]
fn a_transaction_that_takes_too_long_ends_the_session() {
    let stage = stage("transaction_timeout = \"200ms\"");
    // Waiting for its client.
    let (mut client, mut backend) = stage.in_transaction();
    expect_fatal(&mut client, "25P04");
    backend.expect_end();
    // Running something, which is cancelled: a server does not notice that nobody listens any more.
    let mut client = stage.client();
    client.send(query(SLOW));
    let mut backend = stage.server.expect(query(SLOW));
    expect_fatal(&mut client, "25P04");
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    backend.expect_end();
}

#[test]
fn a_transaction_may_not_be_idle_for_too_long() {
    let stage = stage("idle_in_transaction_timeout = \"100ms\"");
    let (mut client, mut backend) = stage.in_transaction();
    expect_fatal(&mut client, "25P03");
    backend.expect_end();
    // A failed one neither; one that is at work may take its time.
    let mut client = stage.client();
    client.send(query("BEGIN; SELECT 1/0"));
    let mut backend = stage.server.expect(query("BEGIN; SELECT 1/0"));
    let mut bystander = stage.client();
    bystander.send(query("SELECT 'waits'"));
    backend.answer(all([
        command_complete("BEGIN"),
        error("22012", "division by zero"),
        ready_failed(),
    ]));
    client.expect("C E Z");
    expect_fatal(&mut client, "25P03");
    backend.expect_end();
    let mut backend = stage.server.expect(query("SELECT 'waits'"));
    backend.answer(one_value("waits"));
    bystander.expect("T D C Z");
}

#[test]
fn a_client_may_not_be_idle_for_too_long() {
    let stage = stage("client_idle_timeout = \"100ms\"");
    let (mut working, mut backend) = stage.in_transaction();
    let mut waiting = stage.client();
    waiting.send(query("SELECT 'waits'"));
    // Idle from later on than the others have been waiting.
    let mut idle = stage.client();
    expect_fatal(&mut idle, "57P05");
    working.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    working.expect("C Z");
    backend.expect_message(query("SELECT 'waits'"));
    expect_fatal(&mut working, "57P05");
    backend.answer(one_value("waits"));
    waiting.expect("T D C Z");
    expect_fatal(&mut waiting, "57P05");
}

fn config(stage: &Stage, limit: &str) -> Config {
    Config::trust(stage.server.address()).set("pool", limit)
}

/// The time limit shows that the reload has reached the session.
#[test]
fn a_reload_bounds_statements_and_asks_for_state_in_living_sessions() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let mut client = stage.client();
    let mut backend = stage.server_of(&mut client);
    client.send(query(SLOW));
    backend.expect_message(query(SLOW));
    let bounded = config(&stage, "query_timeout = \"1ms\"")
        .set("pool", "statement_bytes_per_client = \"64KiB\"")
        .set("pool", "state_check = \"always\"");
    stage.proxy.reload(&bounded);
    expect_cancel(&stage, &mut console, &backend);
    backend.answer(all([cancelled(), ready()]));
    client.expect("E Z");

    client.send(query(SLOW));
    backend.expect_message(query(SLOW));
    expect_cancel(&stage, &mut console, &backend);
    backend.answer(all([cancelled(), ready()]));
    client.expect("E Z");
    backend.take_state_query(&[]);
    let text = format!("SELECT '{}'", "x".repeat(64 << 10));
    client.send(all([parse("s", &text), sync()]));
    client.expect_error("53400");
    client.expect_end();
}

#[test]
fn a_reload_holds_for_those_who_are_connected() {
    let stage = Stage::set();
    let mut console = console(&stage.proxy);
    let (mut held, mut held_backend) = stage.in_transaction();
    let mut running = stage.client();
    running.send(query(SLOW));
    let mut running_backend = stage.server.expect(query(SLOW));
    let mut idle = stage.client();

    stage
        .proxy
        .reload(&config(&stage, "query_timeout = \"1ms\""));
    expect_cancel(&stage, &mut console, &running_backend);
    running_backend.answer(all([cancelled(), ready()]));
    running.expect("E Z");

    stage
        .proxy
        .reload(&config(&stage, "client_idle_timeout = \"1ms\""));
    expect_fatal(&mut idle, "57P05");
    expect_fatal(&mut running, "57P05");

    stage
        .proxy
        .reload(&config(&stage, "idle_in_transaction_timeout = \"1ms\""));
    expect_fatal(&mut held, "25P03");
    held_backend.expect_end();
    let counted = |setting| reached(&mut console, setting);
    let settings = [
        "query_timeout",
        "client_idle_timeout",
        "idle_in_transaction_timeout",
        "transaction_timeout",
    ];
    assert_eq!(settings.map(counted), [1, 2, 1, 0]);

    // And off again.
    stage.proxy.reload(&config(&stage, "size = 7"));
    eventually("the new size was in force", || {
        let log = stage.proxy.process().log();
        log.iter().any(|line| line.contains("[pool] size"))
    });
    round_trip(&mut stage.client(), &mut running_backend);
}

#[test]
fn logins_have_a_limit_of_their_own_as_well() {
    let server = MockServer::bind().log_in_everyone();
    let slow = "name = \"slow\"\npassword = \"x\"\nlogin_timeout = \"1h\"";
    let config = Config::scram(server.address())
        .set("listen", "login_timeout = \"1h\"")
        .table("user", slow)
        .table("database", "name = \"*\"\nlogin_timeout = \"100ms\"");
    let proxy = Proxy::start(&config);
    let knock = |user: &str| {
        let mut client = Client::connect(proxy.address());
        client.send(startup(&[("user", user)])).expect("R");
        client
    };
    let slow = knock("slow");
    expect_fatal(&mut knock("app"), "57014");
    assert!(is_silent(&slow));
    // Where nothing else is said, that of [listen] holds, for those who come after a reload.
    let config = Config::scram(server.address()).set("listen", "login_timeout = \"100ms\"");
    proxy.reload(&config);
    eventually("the new limit was in force", || {
        let log = proxy.process().log();
        log.iter()
            .any(|line| line.contains("[listen] login_timeout"))
    });
    expect_fatal(&mut knock("app"), "57014");
    assert!(is_silent(&slow));
}

#[test]
fn users_and_databases_have_their_own() {
    let stage = Stage::set_with(|config| {
        config
            .set("pool", "client_idle_timeout = \"1h\"")
            .table("database", "name = \"app\"\nclient_idle_timeout = \"50ms\"")
            .table("database", "name = \"*\"")
            .table("user", "name = \"patient\"\nclient_idle_timeout = 0")
            .table("user", "name = \"hasty\"\nclient_idle_timeout = \"100ms\"")
    });
    let login = |user: &str, database: &str| {
        let who = [("user", user), ("database", database)];
        Client::login_with(stage.proxy.address(), &who)
    };
    let patient = login("patient", "app");
    let elsewhere = login("app", "other");
    // The others' time began before.
    expect_fatal(&mut login("app", "app"), "57P05");
    expect_fatal(&mut login("hasty", "other"), "57P05");
    for mut client in [patient, elsewhere] {
        client.send(query("SELECT 1"));
        stage
            .server
            .expect(query("SELECT 1"))
            .answer(one_value("1"));
        client.expect("T D C Z");
    }
}

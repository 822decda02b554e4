//! Time limits of sessions, and what a real server makes of them.

use std::thread;

use pgring::protocol::tag::backend::{ERROR_RESPONSE, ROW_DESCRIPTION};

use crate::{
    stage::Stage,
    support::{eventually, message::*, peer::Client, proxy::Config},
};

fn stage(limit: &str) -> Stage {
    Stage::trusting(|config: Config| config.set("pool", "size = 2").set("pool", limit))
}

/// The session is told, and is over.
fn expect_fatal(client: &mut Client, sqlstate: &str) {
    client.expect_error(sqlstate);
    client.expect_end();
}

fn sleep_until_cancelled(client: &mut Client) {
    client.send(query("SELECT pg_sleep(600)"));
    client.receive_until(ROW_DESCRIPTION);
    client.expect_error("57014");
    client.expect("Z");
}

fn wait_until_nothing_runs(stage: &Stage) {
    let look = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    eventually("nothing ran any more", || stage.sql(look) == "0");
}

#[test]
fn queries_that_take_too_long_are_cancelled_and_sessions_go_on() {
    let stage = stage("query_timeout = \"1s\"");
    let address = stage.proxy.address();
    let work = |number: usize| {
        let mut client = Client::login(address);
        sleep_until_cancelled(&mut client);
        let own = number.to_string();
        assert_eq!(client.rows(&format!("SELECT {number}")), [own]);
    };
    thread::scope(|scope| (0..4).for_each(|number| drop(scope.spawn(move || work(number)))));
    wait_until_nothing_runs(&stage);
}

#[test]
fn a_cancelled_statement_fails_its_transaction() {
    let stage = stage("query_timeout = \"1s\"");
    let mut client = stage.proxy.client();
    client.rows("BEGIN");
    sleep_until_cancelled(&mut client);
    client.send(query("SELECT 1"));
    client.expect_error("25P02");
    client.expect("Z");
    client.rows("ROLLBACK");
    assert_eq!(client.rows("SELECT 1"), ["1"]);
}

#[test]
fn a_copy_that_waits_for_its_client_cannot_be_cancelled() {
    let stage = stage("query_timeout = \"1s\"");
    stage.sql("CREATE TABLE t (n int); GRANT ALL ON t TO app");
    let mut client = stage.proxy.client();
    client.send(all([query("COPY t FROM STDIN"), copy_data(b"1\n")]));
    client.expect("G");
    expect_fatal(&mut client, "57014");
    wait_until_nothing_runs(&stage);
    assert_eq!(stage.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn what_runs_for_a_transaction_that_takes_too_long_is_ended() {
    let stage = stage("transaction_timeout = \"1s\"");
    let mut client = stage.proxy.client();
    client.rows("BEGIN");
    client.send(query("SELECT pg_sleep(600)"));
    expect_fatal(&mut client, "25P04");
    wait_until_nothing_runs(&stage);
    // A single statement is a transaction as well.
    let mut client = stage.proxy.client();
    client.send(query("SELECT pg_sleep(600)"));
    expect_fatal(&mut client, "25P04");
    wait_until_nothing_runs(&stage);
}

#[test]
fn an_idle_transaction_is_rolled_back() {
    let stage = stage("idle_in_transaction_timeout = \"100ms\"");
    stage.sql("CREATE TABLE t (n int); GRANT ALL ON t TO app");
    let mut client = stage.proxy.client();
    client.send(query("BEGIN; INSERT INTO t VALUES (1)"));
    client.expect("C C Z");
    expect_fatal(&mut client, "25P03");
    wait_until_nothing_runs(&stage);
    assert_eq!(stage.proxy.psql("SELECT count(*) FROM t"), "0");
}

/// A message that its client does not finish keeps a connection as an idle transaction does; one that goes on does not end.
#[test]
fn a_message_that_is_not_finished_ends_like_an_idle_transaction() {
    let stage = Stage::trusting(|config| {
        let limit = "idle_in_transaction_timeout = \"200ms\"";
        config.set("pool", "size = 1").set("pool", limit)
    });
    let long = query(&format!("SELECT length('{}')", "x".repeat(300_000)));
    let named = parse("long", &format!("SELECT '{}'", "x".repeat(17 << 20)));
    for unfinished in [&long[..200_000], &named[..17 << 20]] {
        let mut client = stage.proxy.client();
        client.send(unfinished);
        let mut other = stage.proxy.client();
        expect_fatal(&mut client, "25P03");
        assert_eq!(other.rows("SELECT 1"), ["1"]);
    }
    // What the server is busy with is not its client's fault.
    let mut client = stage.proxy.client();
    client.send(all([query("SELECT pg_sleep(1)"), long.clone()]));
    client.expect("T D C Z");
    client.expect("T D C Z");
}

/// A limit that the client has set at the server itself ends its session in the server's own words, as it does there.
#[test]
fn the_servers_own_limits_end_the_session_in_its_words() {
    let stage = Stage::trusting(|config| config);
    let mut client = stage.proxy.client();
    client.rows("SET idle_in_transaction_session_timeout = '50ms'");
    client.rows("BEGIN; SELECT 1");
    let said = client.expect("E").remove(0).error();
    assert_eq!(said.0, "25P03", "{}", said.1);
    client.expect_end();
}

/// One whose backend is ended is told so by the server, and goes on with another.
#[test]
fn who_loses_a_backend_hears_why_and_goes_on() {
    let stage = Stage::trusting(|config| config);
    let mut client = stage.proxy.client();
    client.send(query("SELECT pg_sleep(600)"));
    stage.wait_until_running("SELECT pg_sleep(600)");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND usename = 'app'";
    assert_eq!(stage.sql(end), "t");
    // What it had not yet sent of the answer comes before.
    let said = client.receive_until(ERROR_RESPONSE).pop().unwrap().error();
    assert_eq!(said.0, "57P01", "{}", said.1);
    client.expect("Z");
    assert_eq!(client.rows("SELECT 1"), ["1"]);
}

//! What pgring knows of a database: that it learns it, keeps up with it, and forgets it.

use std::{thread, time::Duration};

use pgring::limits::FACTS_WAIT_MS_MAX;

use crate::{
    replicated::Replicated,
    session::Session,
    stage::Stage,
    support::{eventually, message::query, proxy::Config},
};

/// Looks at the catalogs that wait for somebody.
const LOOKS: &str =
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pg_extension'::regclass";

/// The class of a statement, as SHOW ROUTE tells it.
fn class(stage: &Replicated, statement: &str) -> String {
    let answer = stage.proxy.psql(&format!("SHOW ROUTE {statement}"));
    let line = answer.lines().next().unwrap_or_default();
    line.split('|').next().unwrap_or_default().to_owned()
}

fn wait_for_class(stage: &Replicated, statement: &str, expected: &str) {
    eventually(&format!("{statement} was a {expected}"), || {
        // A statement that goes through is what makes pgring look.
        stage.proxy.psql("SELECT lower('A')");
        class(stage, statement) == expected
    });
}

#[test]
fn functions_are_known_soon_and_known_anew_after_each_change() {
    let stage = Replicated::new(1, |config| config);
    wait_for_class(&stage, "SELECT lower('A')", "read");
    assert_eq!(class(&stage, "SELECT f()"), "write");
    stage
        .proxy
        .psql("CREATE FUNCTION f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'");
    wait_for_class(&stage, "SELECT f()", "read");
    stage.proxy.psql("ALTER FUNCTION f() VOLATILE");
    wait_for_class(&stage, "SELECT f()", "write");
}

#[test]
fn a_change_that_pgring_did_not_see_is_found_by_period() {
    let stage = Replicated::new(1, |config| {
        config.set("routing", "catalog_refresh = \"100ms\"")
    });
    wait_for_class(&stage, "SELECT lower('A')", "read");
    let create = "CREATE FUNCTION g() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'";
    stage.server.primary.sql("app", create).unwrap();
    wait_for_class(&stage, "SELECT g()", "read");
}

#[test]
fn what_cannot_be_read_any_more_is_not_believed_for_long() {
    let stage = Replicated::new(1, |config| {
        config.set("routing", "catalog_refresh = \"100ms\"")
    });
    wait_for_class(&stage, "SELECT lower('A')", "read");
    let superuser = |sql: &str| stage.server.primary.sql("app", sql).unwrap();
    superuser("REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO app");
    // Who has connected before may go on reading.
    superuser(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'watcher' AND datname = 'app'",
    );
    wait_for_class(&stage, "SELECT lower('A')", "write");
    stage.wait_for_log("its catalog cannot be read");
    superuser("GRANT CONNECT ON DATABASE app TO watcher");
    wait_for_class(&stage, "SELECT lower('A')", "read");
}

/// Pgpool-II, 3.6: what it shared of the catalog outlasted a failover, until it expired.
#[test]
fn what_was_known_does_not_outlast_a_failover() {
    let mut stage = Replicated::new(1, |config| {
        config.set("routing", "catalog_refresh = \"1h\"")
    });
    stage
        .proxy
        .psql("CREATE FUNCTION f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'");
    wait_for_class(&stage, "SELECT f()", "read");
    // It may not have been seen before the primary is gone.
    let alter = "ALTER FUNCTION f() VOLATILE";
    stage.server.primary.sql("app", alter).unwrap();
    let standby = &stage.server.standbys[0];
    let look = "SELECT provolatile FROM pg_proc WHERE proname = 'f'";
    eventually("the standby knew", || {
        standby.sql("app", look).unwrap() == "v"
    });
    stage.server.primary.kill().unwrap();
    standby.sql("app", "SELECT pg_promote()").unwrap();
    stage.wait_for(&["down standby", "waiting primary"]);
    wait_for_class(&stage, "SELECT f()", "write");
}

/// Where nothing is known yet, a session would have to be feared for as long as it lives.
#[test]
fn who_comes_before_anything_is_known_waits_and_keeps_no_connection() {
    let adapt = |config: Config| {
        config
            .set("pool", "size = 1")
            .set("pool", "checkout_timeout = \"5s\"")
    };
    let mut stage = Stage::trusting(adapt);
    stage.sql("CREATE ROLE boss LOGIN SUPERUSER");
    stage.sql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    let mut gate = Session::login_as(stage.server.primary.address(), "boss", "app").unwrap();
    gate.query("BEGIN");
    gate.query("LOCK TABLE pg_catalog.pg_extension");
    stage.renew(adapt);
    let login = || Session::login(stage.proxy.address()).unwrap();
    let (mut one, mut other) = (login(), login());
    one.send(&query("SELECT f()")).unwrap();
    eventually("its catalog is being read", || stage.sql(LOOKS) == "1");
    // Longer than a session waits for what may never be known.
    thread::park_timeout(Duration::from_millis(FACTS_WAIT_MS_MAX + 500));
    gate.query("COMMIT");
    assert_eq!(one.answer().row(), "1");
    assert_eq!(other.query("SELECT f() + 1").row(), "2");
}

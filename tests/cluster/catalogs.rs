//! What pgring knows of a database: that it learns it, keeps up with it, and forgets it.

use crate::{replicated::Replicated, support::eventually};

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

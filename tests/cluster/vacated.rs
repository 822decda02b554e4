//! Statements for which nobody may be connected to a database, while pgring keeps connections to it.

use crate::{
    session::Session,
    splitting::{error, rows},
    stage::Stage,
    support::message::*,
};

fn count(stage: &Stage) -> String {
    let look = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'doomed' AND backend_type = 'client backend'";
    stage.sql(look)
}

/// Clients on both cores have used the database, and left; pgring itself looks at its catalog.
fn used() -> (Stage, Session) {
    let stage = Stage::trusting(|config| config.workers(2).set("pool", "min_size = 1"));
    stage.sql("CREATE DATABASE doomed");
    for user in ["app", "postgres"] {
        let login = || Session::login_as(stage.proxy.address(), user, "doomed").unwrap();
        let mut clients: Vec<_> = (0..4).map(|_| login()).collect();
        for client in &mut clients {
            rows(client.query("CREATE TEMP TABLE IF NOT EXISTS x (a int)"));
            rows(client.query("DISCARD ALL"));
            rows(client.query("SELECT 1"));
        }
    }
    assert_ne!(count(&stage), "0", "connections are kept");
    let session = Session::login_as(stage.proxy.address(), "postgres", "app").unwrap();
    (stage, session)
}

#[test]
fn a_database_is_dropped_that_nobody_uses() {
    let (stage, mut session) = used();
    rows(session.query("DROP DATABASE doomed"));
    assert_eq!(
        stage.sql("SELECT count(*) FROM pg_database WHERE datname = 'doomed'"),
        "0"
    );
    // And made again.
    rows(session.query("CREATE DATABASE doomed"));
    let mut client = Session::login_as(stage.proxy.address(), "postgres", "doomed").unwrap();
    assert_eq!(client.query("SELECT current_database()").row(), "doomed");
}

#[test]
fn one_is_copied_and_renamed() {
    let (stage, mut session) = used();
    rows(session.query("CREATE DATABASE copy TEMPLATE doomed"));
    let mut client = Session::login_as(stage.proxy.address(), "postgres", "doomed").unwrap();
    rows(client.query("SELECT 1"));
    drop(client);
    // By the extended protocol.
    rows(session.ask(&all([
        parse("", "ALTER DATABASE doomed RENAME TO \"Other\""),
        bind("", "", &[]),
        execute(""),
        sync(),
    ])));
    let names = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname IN ('copy', 'Other', 'doomed')";
    assert_eq!(stage.sql(names), "Other copy");
}

#[test]
fn one_that_somebody_uses_is_not() {
    let (stage, mut session) = used();
    let mut client = Session::login_as(stage.proxy.address(), "postgres", "doomed").unwrap();
    rows(client.query("BEGIN"));
    rows(client.query("SELECT 1"));
    assert_eq!(error(session.query("DROP DATABASE doomed")), "55006");
    assert_eq!(client.query("SELECT current_database()").row(), "doomed");
    drop(stage);
}

/// Who is logged in uses it, whether or not a server knows of that.
#[test]
fn one_that_somebody_is_logged_in_to_is_not_either() {
    let (stage, mut session) = used();
    let mut client = Session::login_as(stage.proxy.address(), "postgres", "doomed").unwrap();
    for (before, text) in [
        ("SET work_mem = '1MB'", "DROP DATABASE doomed"),
        ("BEGIN", "ALTER DATABASE doomed RENAME TO other"),
    ] {
        rows(client.query(before));
        assert_eq!(
            error(session.query(text)),
            "55006",
            "{text} behind {before}"
        );
        assert_eq!(client.query("SELECT current_database()").row(), "doomed");
    }
    client.send(&terminate()).unwrap();
    rows(session.query("DROP DATABASE doomed"));
    drop(stage);
}

/// Whoever may not drop it makes nobody lose a connection.
#[test]
fn who_may_not_drop_it_empties_no_pool() {
    let (stage, _session) = used();
    let before = count(&stage);
    let mut client = Session::login_as(stage.proxy.address(), "app", "app").unwrap();
    for _ in 0..20 {
        assert_eq!(error(client.query("DROP DATABASE doomed")), "42501");
    }
    // Longer than pgring waits for the server's refusal.
    stage.sql("SELECT pg_sleep(0.2)");
    assert_eq!(count(&stage), before);
}

//! Which node is the primary, which are down and which are fenced, as `SHOW POOL_NODES` tells it.

use std::fs;

use pgring::cli::postgres::Signal;

use crate::{
    replicated::Replicated,
    support::{eventually, proxy::Proxy},
};

/// Port, status, role of each, as `wait_for` wants them.
const USUAL: [&str; 3] = ["waiting primary", "waiting standby", "waiting standby"];

#[test]
fn roles_positions_and_states_are_found() {
    let stage = Replicated::new(2, |config| config);
    let columns = [
        "status",
        "pg_status",
        "role",
        "pg_role",
        "replication_state",
    ];
    let expected = [
        "waiting up primary primary ",
        "waiting up standby standby streaming",
        "waiting up standby standby streaming",
    ];
    stage.wait_for_columns(&columns, &expected);
    let columns = ["node_id", "port", "lb_weight", "replication_sync_state"];
    let ports: Vec<_> = stage
        .server
        .servers()
        .map(|it| it.address().port())
        .collect();
    let expected = [
        format!("0 {} 0.333333 ", ports[0]),
        format!("1 {} 0.333333 async", ports[1]),
        format!("2 {} 0.333333 async", ports[2]),
    ];
    assert_eq!(stage.columns(&columns), expected);
}

#[test]
fn the_primary_need_not_be_the_first_node() {
    let server = crate::support::postgres(&pgring::cli::postgres::Options {
        standbys: 1,
        host_auth: "trust".to_owned(),
        ..Default::default()
    });
    let _role = Replicated::config(&server);
    let standby = server.standbys[0].address();
    let config = crate::support::proxy::Config::trust(standby)
        .real()
        .node("other", server.primary.address())
        .set("admin", "users = [\"app\"]")
        .set("health", "user = \"watcher\"");
    let proxy = Proxy::start(&config);
    let stage = Replicated { proxy, server };
    // It was looked for before clients were let in.
    let roles = stage.columns(&["role"]);
    assert_eq!(roles, ["standby", "primary"]);
    stage.proxy.psql("CREATE TABLE t ()");
}

#[test]
fn a_killed_standby_leaves_and_returns_by_itself() {
    let mut stage = Replicated::new(2, |config| config);
    stage.wait_for(&USUAL);
    stage.server.standbys[0].kill().unwrap();
    stage.wait_for(&["waiting primary", "down standby", "waiting standby"]);
    stage.server.standbys[0].start().unwrap();
    stage.wait_for(&USUAL);
    let columns = ["pg_status", "pg_role", "replication_state"];
    stage.wait_for_columns(
        &columns,
        &[
            "up primary ",
            "up standby streaming",
            "up standby streaming",
        ],
    );
}

#[test]
fn a_standby_that_hangs_leaves_and_returns_by_itself() {
    let stage = Replicated::new(1, |config| config.set("routing", "max_lag = \"1h\""));
    stage.wait_for(&USUAL[..2]);
    let columns = ["status", "pg_status"];
    let pause = |signal| {
        let postmaster = stage.server.standbys[0].process().unwrap();
        postmaster.signal(signal);
    };
    pause(Signal::Stop);
    stage.wait_for_columns(&columns, &["waiting up", "down down"]);
    pause(Signal::Continue);
    stage.wait_for_columns(&columns, &["waiting up", "waiting up"]);
}

#[test]
fn a_primary_that_restarts_is_the_primary_again() {
    let mut stage = Replicated::new(1, |config| config);
    stage.wait_for(&USUAL[..2]);
    stage.server.primary.kill().unwrap();
    stage.wait_for(&["down standby", "waiting standby"]);
    stage.wait_for_log("there is no primary");
    stage.server.primary.start().unwrap();
    stage.wait_for(&USUAL[..2]);
    stage.proxy.psql("CREATE TABLE t ()");
}

#[test]
fn a_promotion_by_hand_is_followed_and_the_old_primary_fenced() {
    let mut stage = Replicated::new(2, |config| config);
    stage.wait_for(&USUAL);
    stage.server.primary.kill().unwrap();
    stage.wait_for(&["down standby", "waiting standby", "waiting standby"]);
    let promote = "SELECT pg_promote()";
    stage.server.standbys[0].sql("postgres", promote).unwrap();
    stage.wait_for(&["down standby", "waiting primary", "waiting standby"]);
    stage.proxy.psql("CREATE TABLE t ()");
    // The other standby follows the old timeline, or none; when it is told to, it is read again.
    let route = || stage.proxy.psql("SHOW ROUTE SELECT 1");
    assert!(route().contains("standby2|no|"), "{}", route());
    let new = stage.server.standbys[0].address().port();
    let host = stage.server.standbys[0].socket_dir().display().to_string();
    let follow =
        format!("ALTER SYSTEM SET primary_conninfo = 'user=postgres host={host} port={new}'");
    stage.server.standbys[1].sql("postgres", &follow).unwrap();
    stage.server.standbys[1].reload().unwrap();
    stage.wait_for_columns(&["replication_state"], &["", "", "streaming"]);
    // The old one comes back as if nothing had happened.
    stage.server.primary.start().unwrap();
    stage.wait_for(&["quarantine standby", "waiting primary", "waiting standby"]);
    stage.wait_for_log("node pg1 is quarantine: it claims to be the primary on timeline 1");
    assert_eq!(stage.columns(&["pg_role"])[0], "primary");
}

/// A standby does not write down the timeline that it follows before its next restart point: reads go on there all the same
/// when the new primary is gone.
#[test]
fn reads_go_on_at_a_standby_of_a_primary_that_was_promoted_and_lost() {
    let mut stage = Replicated::new(2, |config| config);
    stage.wait_for(&USUAL);
    stage.proxy.psql("CREATE TABLE t ()");
    stage.server.primary.kill().unwrap();
    let new = &stage.server.standbys[0];
    new.sql("postgres", "SELECT pg_promote()").unwrap();
    let (host, port) = (new.socket_dir().display(), new.address().port());
    let follow =
        format!("ALTER SYSTEM SET primary_conninfo = 'user=postgres host={host} port={port}'");
    stage.server.standbys[1].sql("postgres", &follow).unwrap();
    stage.server.standbys[1].reload().unwrap();
    stage.wait_for_columns(&["replication_state"], &["", "", "streaming"]);
    let is_read = |stage: &Replicated| {
        let route = stage.proxy.psql("SHOW ROUTE SELECT 1");
        route
            .lines()
            .any(|line| line.contains("standby2|") && line.ends_with('|'))
    };
    eventually("the other standby was read", || is_read(&stage));
    stage.server.standbys[0].kill().unwrap();
    stage.wait_for(&["down standby", "down standby", "waiting standby"]);
    stage.wait_for_log("there is no primary");
    for _ in 0..20 {
        let route = stage.proxy.psql("SHOW ROUTE SELECT 1");
        assert!(is_read(&stage), "{route}");
        assert_eq!(stage.proxy.psql("SELECT count(*) FROM t"), "0");
    }
}

/// Standbys alone answer reads, also to a pgring that has never seen their primary.
#[test]
fn standbys_alone_serve_reads_from_the_start() {
    let mut stage = Replicated::new(1, |config| config);
    stage.wait_for(&USUAL[..2]);
    stage.proxy.psql("CREATE TABLE t AS SELECT 7 AS n");
    stage.server.wait_until_replayed().unwrap();
    stage
        .server
        .primary
        .stop(pgring::cli::postgres::Stop::Fast)
        .unwrap();
    stage.proxy = Proxy::start(&Replicated::watching(&stage.server));
    stage.wait_for(&["down standby", "waiting standby"]);
    eventually("it knew the catalog", || {
        stage
            .proxy
            .psql("SHOW ROUTE SELECT n FROM t")
            .starts_with("read|")
    });
    assert_eq!(stage.proxy.psql("SELECT n FROM t"), "7");
}

#[test]
fn of_two_primaries_the_older_timeline_is_fenced() {
    let stage = Replicated::new(2, |config| config);
    stage.wait_for(&USUAL);
    let promote = "SELECT pg_promote()";
    stage.server.standbys[1].sql("postgres", promote).unwrap();
    stage.wait_for(&["quarantine standby", "waiting standby", "waiting primary"]);
}

#[test]
fn a_second_primary_without_followers_is_fenced() {
    let mut stage = Replicated::new(2, |config| config);
    stage.wait_for(&USUAL);
    // A standby that has lost its signal file is a primary on the same timeline.
    let standby = &mut stage.server.standbys[1];
    standby.stop(pgring::cli::postgres::Stop::Fast).unwrap();
    fs::remove_file(standby.data().join("standby.signal")).unwrap();
    standby.start().unwrap();
    stage.wait_for(&["waiting primary", "waiting standby", "quarantine standby"]);
    stage.wait_for_log("node standby2 is quarantine: it claims to be the primary, as pg1 does");
}

#[test]
fn the_lag_is_that_of_what_is_missing_and_an_idle_cluster_has_none() {
    let stage = Replicated::new(1, |config| config);
    stage.wait_for(&USUAL[..2]);
    let standby = &stage.server.standbys[0];
    standby
        .sql("postgres", "SELECT pg_wal_replay_pause()")
        .unwrap();
    stage
        .proxy
        .psql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    let delay = || {
        stage.columns(&["replication_delay"])[1]
            .parse::<u64>()
            .unwrap()
    };
    eventually("the lag was seen", || delay() > 100_000);
    assert_eq!(stage.columns(&["replication_delay"])[0], "0");
    standby
        .sql("postgres", "SELECT pg_wal_replay_resume()")
        .unwrap();
    eventually("the lag was gone", || delay() == 0);
    // A new segment begins with a header that nobody replays.
    let switch = "SELECT pg_switch_wal()";
    stage.server.primary.sql("postgres", switch).unwrap();
    eventually("the end of a segment was no lag", || delay() == 0);
}

#[test]
fn the_lag_in_time_grows_while_something_is_missing() {
    let stage = Replicated::new(1, |config| config.set("routing", "max_lag = \"100ms\""));
    stage.wait_for(&USUAL[..2]);
    let standby = &stage.server.standbys[0];
    standby
        .sql("postgres", "SELECT pg_wal_replay_pause()")
        .unwrap();
    stage.proxy.psql("CREATE TABLE t ()");
    let delay = || stage.columns(&["replication_delay"])[1].clone();
    let seconds = || delay().split(' ').next().unwrap().parse::<f64>().unwrap();
    eventually("the lag had grown", || seconds() > 2.0);
    assert!(delay().ends_with(" seconds"), "{}", delay());
    standby
        .sql("postgres", "SELECT pg_wal_replay_resume()")
        .unwrap();
    eventually("the lag was gone", || seconds() == 0.0);
    assert!(delay().ends_with(" second"), "{}", delay());
}

#[test]
fn too_many_clients_and_wrong_passwords_are_no_dead_node() {
    let stage = Replicated::new(1, |config| config);
    stage.wait_for(&USUAL[..2]);
    let limit = "ALTER ROLE watcher CONNECTION LIMIT 0";
    stage.server.primary.sql("postgres", limit).unwrap();
    stage.wait_for_log("too many connections for role");
    let nobody = "ALTER ROLE watcher NOLOGIN CONNECTION LIMIT -1";
    stage.server.primary.sql("postgres", nobody).unwrap();
    stage.wait_for_log("is not permitted to log in");
    stage.wait_for(&USUAL[..2]);
}

#[test]
fn states_outlast_a_restart_and_can_be_discarded() {
    let mut stage = Replicated::new(1, |config| config);
    let file = stage.server.workplace().path().join("status");
    let line = format!("status_file = \"{}\"", file.display());
    let config = Replicated::watching(&stage.server).set("health", &line);
    stage.proxy.reload(&config);
    stage.wait_for_log("configuration reloaded");
    stage.wait_for(&USUAL[..2]);
    let promote = "SELECT pg_promote()";
    stage.server.standbys[0].sql("postgres", promote).unwrap();
    stage.wait_for(&["quarantine standby", "waiting primary"]);
    let content = || fs::read_to_string(&file).unwrap_or_default();
    eventually("the fence was written", || content().contains("quarantine"));
    assert!(content().contains("timeline = 2"), "{}", content());
    // The true primary is away, and pgring is started anew: the old one is not taken for it.
    stage.server.standbys[0].kill().unwrap();
    stage.wait_for(&["quarantine standby", "down standby"]);
    stage.proxy = Proxy::start(&config);
    stage.wait_for(&["quarantine standby", "down standby"]);
    stage.server.standbys[0].start().unwrap();
    stage.wait_for(&["quarantine standby", "waiting primary"]);
    assert!(content().starts_with("# What pgring remembers"));
}

#[test]
fn one_node_without_a_watcher_is_not_looked_at() {
    let stage = crate::stage::Stage::trusting(|config| config.set("admin", "users = [\"app\"]"));
    let stage = Replicated {
        proxy: stage.proxy,
        server: stage.server,
    };
    let columns = ["status", "role", "pg_status", "pg_role"];
    assert_eq!(stage.columns(&columns), ["waiting primary unknown unknown"]);
    assert_eq!(stage.nodes()[0]["status"], "waiting");
    stage.proxy.psql("SELECT 1");
    eventually("it was up", || stage.nodes()[0]["status"] == "up");
    assert_eq!(
        stage
            .server
            .primary
            .sql(
                "postgres",
                // As its clients it looks at their database, and as nobody else.
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgring' AND usename <> 'app'"
            )
            .unwrap(),
        "0"
    );
}

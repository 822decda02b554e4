//! Standbys that are too far behind: who takes their reads, in bytes and in time. What makes them lag is that they do
//! not replay.

use std::collections::BTreeMap;

use crate::{
    session::{Answer, Session},
    splitting::Splitting,
    support::{eventually, proxy::Config},
};

/// Nobody waits for anything but the lag.
fn stage(weights: &[u32], lines: &[&str]) -> Splitting {
    let stage = Splitting::silent(weights, |config| lag_config(config, lines));
    stage.sql("CREATE TABLE ballast (t text); GRANT ALL ON ballast TO app");
    // Pgring looks at the catalog anew when a statement that it has seen may have changed it.
    let looks = stage.client().query("CREATE TEMP TABLE look (n int)");
    assert!(matches!(looks, Answer::Rows(_)), "{looks:?}");
    let mut session = stage.client();
    eventually("pgring knew the table", || {
        let routes = stage.routes(&mut session, "SELECT count(*) FROM ballast");
        routes[0].starts_with("read|")
    });
    (0..weights.len() - 1).for_each(|standby| stage.catch_up(standby));
    stage
}

fn lag_config(config: Config, lines: &[&str]) -> Config {
    let config = config.set("routing", "consistency = \"eventual\"");
    lines
        .iter()
        .fold(config, |config, line| config.set("routing", line))
}

/// Which servers run so many reads, and how many each.
fn spread(stage: &Splitting, session: &mut Session, count: usize) -> BTreeMap<String, usize> {
    let servers = stage.stage.server.servers();
    let names: BTreeMap<_, _> = servers
        .map(|server| {
            (
                server.address().port().to_string(),
                server.name().to_owned(),
            )
        })
        .collect();
    let mut spread = BTreeMap::new();
    for _ in 0..count {
        let port = session.query("SELECT inet_server_port()").row();
        *spread.entry(names[&port].clone()).or_insert(0) += 1;
    }
    spread
}

/// So much is written that nobody has who does not replay.
fn write_much(stage: &Splitting) {
    stage.sql("INSERT INTO ballast SELECT repeat('x', 100) FROM generate_series(1, 5000)");
}

/// Waits until the first standby is too far behind, or is not.
fn wait_until_lagging(stage: &Splitting, session: &mut Session, lags: bool) {
    eventually("pgring had seen how far it is", || {
        let routes = stage.routes(session, "SELECT inet_server_port()");
        let is_known = routes[0].starts_with("read|");
        is_known && routes[1].contains("it lags by") == lags
    });
}

/// The share of the reads of one that is not read from, within five standard deviations.
#[track_caller]
fn assert_about(spread: &BTreeMap<String, usize>, server: &str, share: f64) {
    let total = spread.values().sum::<usize>() as f64;
    let found = *spread.get(server).unwrap_or(&0) as f64;
    let deviation = (total * share * (1.0 - share)).sqrt();
    let far = (found - total * share).abs();
    assert!(far <= 5.0 * deviation, "{server}: {spread:?}");
}

#[test]
fn others_take_the_reads_of_a_laggard() {
    let stage = stage(&[1, 1, 2], &["max_lag_bytes = \"100KiB\""]);
    let mut session = stage.client();
    stage.replay(0, false);
    write_much(&stage);
    wait_until_lagging(&stage, &mut session, true);
    stage.catch_up(1);
    eventually("the other one was seen to have it", || {
        let route = &stage.routes(&mut session, "SELECT 1")[2];
        route.ends_with('|')
    });
    let seen = spread(&stage, &mut session, 600);
    assert_about(&seen, "standby1", 0.0);
    assert_about(&seen, "primary", 1.0 / 3.0);
    assert!(
        stage.stage.columns(&["replication_delay"])[1]
            .parse::<u64>()
            .unwrap()
            > 100 * 1024
    );
    stage.replay(0, true);
    wait_until_lagging(&stage, &mut session, false);
    let seen = spread(&stage, &mut session, 600);
    assert_about(&seen, "standby1", 0.25);
}

#[test]
fn the_primary_takes_the_reads_of_a_laggard() {
    let stage = stage(
        &[1, 1, 2],
        &["max_lag_bytes = \"100KiB\"", "laggards = \"primary\""],
    );
    let mut session = stage.client();
    stage.replay(0, false);
    write_much(&stage);
    wait_until_lagging(&stage, &mut session, true);
    stage.catch_up(1);
    eventually("the other one was seen to have it", || {
        stage.routes(&mut session, "SELECT 1")[2].ends_with('|')
    });
    let seen = spread(&stage, &mut session, 600);
    assert_about(&seen, "standby1", 0.0);
    assert_about(&seen, "primary", 0.5);
}

#[test]
fn the_least_delayed_standby_takes_the_reads_of_a_laggard() {
    let stage = stage(
        &[2, 1, 1],
        &["max_lag_bytes = \"100KiB\"", "laggards = \"least_delayed\""],
    );
    let mut session = stage.client();
    stage.replay(0, false);
    write_much(&stage);
    wait_until_lagging(&stage, &mut session, true);
    stage.catch_up(1);
    eventually("the other one was seen to have it", || {
        stage.routes(&mut session, "SELECT 1")[2].ends_with('|')
    });
    let seen = spread(&stage, &mut session, 600);
    assert_about(&seen, "standby1", 0.0);
    assert_about(&seen, "primary", 0.5);
    assert_about(&seen, "standby2", 0.5);
    // When all are too far behind, it is the primary.
    stage.replay(1, false);
    write_much(&stage);
    eventually("both were too far behind", || {
        let routes = stage.routes(&mut session, "SELECT 1");
        routes[1..].iter().all(|route| route.contains("it lags by"))
    });
    let seen = spread(&stage, &mut session, 50);
    assert_eq!(seen.get("primary"), Some(&50));
}

/// Pgpool-II has one number for both, and compares bytes with microseconds when both limits are set.
#[test]
fn limits_in_bytes_and_in_time_are_kept_apart() {
    let limits = ["max_lag_bytes = \"1GiB\"", "max_lag = \"50ms\""];
    let stage = stage(&[0, 1], &limits);
    let mut session = stage.client();
    // Nothing is missing that was not written: a standby that stands still in an idle cluster does not lag.
    stage.sql("CHECKPOINT");
    stage.catch_up(0);
    stage.replay(0, false);
    wait_until_lagging(&stage, &mut session, false);
    stage.sql("INSERT INTO ballast VALUES ('one')");
    wait_until_lagging(&stage, &mut session, true);
    let seen = spread(&stage, &mut session, 20);
    assert_eq!(seen.get("primary"), Some(&20));
    let delay = &stage.stage.columns(&["replication_delay"])[1];
    assert!(delay.contains("second"), "{delay}");
    stage.replay(0, true);
    wait_until_lagging(&stage, &mut session, false);
    // The other way round: much is missing, but not for long.
    let base = Splitting::config(&stage.stage.server, &[0, 1]);
    let other = lag_config(base, &["max_lag_bytes = \"100KiB\"", "max_lag = \"7d\""]);
    stage.stage.proxy.reload(&other);
    stage.replay(0, false);
    write_much(&stage);
    wait_until_lagging(&stage, &mut session, true);
    let seen = spread(&stage, &mut session, 20);
    assert_eq!(seen.get("primary"), Some(&20));
    // Lifted, for the session that is there: the laggard is read.
    let base = Splitting::config(&stage.stage.server, &[0, 1]);
    stage.stage.proxy.reload(&lag_config(base, &[]));
    wait_until_lagging(&stage, &mut session, false);
    // On a busy machine the catalogs may be read anew meanwhile: then their reader must have come that far, and lags again.
    eventually("the laggard was read", || {
        let is_read = spread(&stage, &mut session, 20).get("standby1") == Some(&20);
        if !is_read {
            stage.replay(0, true);
            stage.catch_up(0);
            stage.replay(0, false);
            write_much(&stage);
        }
        is_read
    });
}

/// A standby whose walreceiver is gone receives nothing, and tells nobody that it lags.
#[test]
fn a_standby_that_receives_nothing_lags() {
    let stage = stage(&[0, 1], &["max_lag_bytes = \"100KiB\""]);
    let mut session = stage.client();
    let standby = &stage.stage.server.standbys[0];
    let sql = |text: &str| standby.sql("app", text).unwrap();
    sql("ALTER SYSTEM SET primary_conninfo = ''");
    standby.reload().unwrap();
    eventually("nothing was received", || {
        sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    write_much(&stage);
    wait_until_lagging(&stage, &mut session, true);
    let seen = spread(&stage, &mut session, 20);
    assert_eq!(seen.get("primary"), Some(&20));
}

//! How reads are spread: by weight within five standard deviations, by preference, by session, by load and by
//! latency. Each read tells by its port which server ran it.

use std::collections::BTreeMap;

use crate::{
    session::Session,
    splitting::{Splitting, rows},
    support::{eventually, message::*},
};

/// Which server ran it.
const WHERE: &str = "SELECT inet_server_port()";

/// How many of `count` reads of this session each server ran, by name.
fn spread(stage: &Splitting, session: &mut Session, count: usize) -> BTreeMap<String, usize> {
    let mut spread = BTreeMap::new();
    let names: BTreeMap<_, _> = stage
        .stage
        .server
        .servers()
        .map(|server| {
            (
                server.address().port().to_string(),
                server.name().to_owned(),
            )
        })
        .collect();
    for _ in 0..count {
        let port = session.query(WHERE).row();
        *spread.entry(names[&port].clone()).or_insert(0) += 1;
    }
    spread
}

/// A count drawn with this probability is within five standard deviations of its mean: by chance it is not once in
/// two million times.
#[track_caller]
fn assert_share(spread: &BTreeMap<String, usize>, server: &str, share: f64) {
    let total: usize = spread.values().sum();
    let found = *spread.get(server).unwrap_or(&0) as f64;
    let mean = total as f64 * share;
    let deviation = (mean * (1.0 - share)).sqrt();
    let far = (found - mean).abs();
    assert!(
        far <= 5.0 * deviation,
        "{server}: {found} of {total}, not about {mean}: {spread:?}"
    );
}

#[test]
fn reads_are_spread_by_weight_the_primary_among_them() {
    let stage = Splitting::silent(&[1, 2, 5], |config| config);
    let mut session = stage.client();
    let seen = spread(&stage, &mut session, 2000);
    assert_share(&seen, "primary", 1.0 / 8.0);
    assert_share(&seen, "standby1", 2.0 / 8.0);
    assert_share(&seen, "standby2", 5.0 / 8.0);
    // Another weight holds for sessions that are there, too.
    let weights = Splitting::config(&stage.stage.server, &[0, 1, 0]);
    stage.stage.proxy.reload(&weights);
    stage
        .stage
        .wait_for_columns(&["lb_weight"], &["0.000000", "1.000000", "0.000000"]);
    let seen = spread(&stage, &mut session, 200);
    assert_eq!(seen.get("standby1"), Some(&200), "{seen:?}");
    // Nobody has weight: everything goes to the primary.
    let weights = Splitting::config(&stage.stage.server, &[0, 0, 0]);
    stage.stage.proxy.reload(&weights);
    stage
        .stage
        .wait_for_columns(&["lb_weight"], &["0.000000"; 3]);
    let seen = spread(&stage, &mut session, 100);
    assert_eq!(seen.get("primary"), Some(&100), "{seen:?}");
}

#[test]
fn every_execution_of_a_prepared_statement_is_placed_anew() {
    let stage = Splitting::silent(&[1, 1], |config| config);
    let mut session = stage.client();
    rows(session.ask(&all([parse("p", WHERE), sync()])));
    let mut seen = BTreeMap::new();
    for _ in 0..600 {
        let port = session
            .ask(&all([bind("", "p", &[]), execute(""), sync()]))
            .row();
        *seen.entry(port).or_insert(0) += 1;
    }
    let standby = stage.stage.server.standbys[0].address().port().to_string();
    assert_share(&seen, &standby, 0.5);
}

#[test]
fn sessions_keep_their_node_when_balance_is_by_session() {
    let stage = Splitting::silent(&[1, 1, 2], |config| {
        config.set("routing", "balance = \"session\"")
    });
    let mut seen = BTreeMap::new();
    for _ in 0..300 {
        let mut session = stage.client();
        let mut one = spread(&stage, &mut session, 4);
        let mut looks = 0;
        while one.len() > 1 && looks < 20 {
            // On a busy machine what is known of the database may be too old for a while, and the primary reads then.
            let others = one.keys().filter(|name| *name != "primary").count();
            assert!(one.contains_key("primary") && others == 1, "{one:?}");
            stage.wait_until_split_for(&mut session);
            one = spread(&stage, &mut session, 4);
            looks += 1;
        }
        assert_eq!(one.len(), 1, "{one:?}");
        *seen.entry(one.into_keys().next().unwrap()).or_insert(0) += 1;
    }
    assert_share(&seen, "primary", 0.25);
    assert_share(&seen, "standby1", 0.25);
    assert_share(&seen, "standby2", 0.5);
}

/// A cluster with preferences of all kinds.
fn preferring() -> Splitting {
    let stage = Splitting::silent(&[1, 1, 1], |config| {
        [
            "application_name = \"first\"\nnode = \"standby1\"",
            "application_name = \"FIR.*\"\nnode = \"standby2\"",
            "application_name = \"half\"\nnode = \"standby1\"\nshare = 0.5",
            "application_name = \"never\"\nnode = \"standby\"\nshare = 0.0",
            "application_name = \"others\"\nnode = \"standby2\"\nshare = 0.0",
            "application_name = \"main\"\nnode = \"primary\"",
            "user = \"boss\"\nnode = \"primary\"",
            "database = \"rep.*\"\nnode = \"standby\"",
        ]
        .iter()
        .fold(config, |config, lines| config.table("preference", lines))
    });
    stage.sql("CREATE ROLE boss LOGIN");
    stage
        .stage
        .server
        .primary
        .create_database("reports", "app")
        .unwrap();
    (0..2).for_each(|standby| stage.catch_up(standby));
    stage
}

#[test]
fn nodes_are_preferred_by_database_user_and_application_with_their_shares() {
    let stage = preferring();
    let address = stage.stage.proxy.address();
    let called = |name: &str| {
        Session::login_with(
            address,
            &[
                ("user", "app"),
                ("database", "app"),
                ("application_name", name),
            ],
        )
        .unwrap()
    };
    let only = |session: &mut Session, server: &str| {
        let seen = spread(&stage, session, 60);
        assert_eq!(seen.get(server), Some(&60), "{seen:?}");
    };
    only(&mut called("first"), "standby1");
    only(&mut called("FirsT"), "standby1");
    only(&mut called("fire"), "standby2");
    // Names are matched whole.
    assert_eq!(spread(&stage, &mut called("a first"), 200).len(), 3);
    only(&mut called("never"), "primary");
    only(&mut called("main"), "primary");
    let seen = spread(&stage, &mut called("half"), 1000);
    assert_share(&seen, "standby1", 0.5);
    assert_share(&seen, "primary", 0.25);
    let seen = spread(&stage, &mut called("others"), 600);
    assert_share(&seen, "standby2", 0.0);
    assert_share(&seen, "standby1", 0.5);
    let login = |user: &str, database: &str| Session::login_as(address, user, database).unwrap();
    only(&mut login("boss", "app"), "primary");
    // The name counts as it is now, whoever set it how.
    let mut session = stage.client();
    rows(session.query("SET application_name = 'first'"));
    stage.wait_until_split_for(&mut session);
    only(&mut session, "standby1");
    rows(session.query("SELECT set_config('application_name', 'fire', false)"));
    stage.wait_until_split_for(&mut session);
    only(&mut session, "standby2");
    rows(session.query("RESET application_name"));
    stage.wait_until_split_for(&mut session);
    assert_eq!(spread(&stage, &mut session, 200).len(), 3);
    rows(session.query("BEGIN"));
    rows(session.query("SET application_name = 'main'"));
    rows(session.query("ROLLBACK"));
    stage.wait_until_split_for(&mut session);
    assert_eq!(spread(&stage, &mut session, 200).len(), 3);
    let mut reports = login("app", "reports");
    stage.wait_until_split_for(&mut reports);
    let seen = spread(&stage, &mut reports, 200);
    assert_share(&seen, "primary", 0.0);
    assert_share(&seen, "standby1", 0.5);
}

#[test]
fn the_node_with_the_fewest_requests_is_chosen() {
    let stage = Splitting::silent(&[1, 1, 1], |config| {
        config
            .set("routing", "strategy = \"least_connections\"")
            .set("routing", "read_functions = [\"pg_sleep\"]")
    });
    let mut session = stage.client();
    assert_eq!(
        spread(&stage, &mut session, 300).len(),
        3,
        "equals are drawn"
    );
    // Two that last take a node each; what is quick goes to the third.
    let mut busy: Vec<_> = (0..2).map(|_| stage.client()).collect();
    for session in &mut busy {
        session
            .send(&query("SELECT pg_sleep(600) /* long */"))
            .unwrap();
    }
    let running = |server: &pgring::cli::postgres::Postgres| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/* long */' AND state = \
            'active' AND pid <> pg_backend_pid()";
        server.sql("app", sql).unwrap().parse::<usize>().unwrap()
    };
    let count = || -> Vec<usize> { stage.stage.server.servers().map(running).collect() };
    eventually("both ran", || count().iter().sum::<usize>() == 2);
    let counts = count();
    assert_eq!(counts.iter().max(), Some(&1), "{counts:?}");
    let free = stage
        .stage
        .server
        .servers()
        .zip(&counts)
        .find(|(_, count)| **count == 0)
        .unwrap()
        .0
        .name()
        .to_owned();
    let seen = spread(&stage, &mut session, 100);
    assert_eq!(seen.get(&free), Some(&100), "{seen:?}");
    drop(busy);
}

#[test]
fn the_fastest_node_is_chosen_and_all_serve() {
    let stage = Splitting::silent(&[1, 1, 1], |config| {
        config.set("routing", "strategy = \"lowest_latency\"")
    });
    let mut session = stage.client();
    let seen = spread(&stage, &mut session, 300);
    assert_eq!(seen.values().sum::<usize>(), 300);
    // Who was fastest when asked last: nobody else gets a read until that changes.
    assert!(seen.values().any(|count| *count >= 100), "{seen:?}");
}

#[test]
fn nothing_is_split_when_told_so_or_with_nobody_to_watch() {
    let stage = Splitting::silent(&[1, 1], |config| config);
    let off =
        Splitting::config(&stage.stage.server, &[1, 1]).set("routing", "read_write_split = false");
    stage.stage.proxy.reload(&off);
    let mut session = stage.client();
    eventually("it was off", || {
        stage.routes(&mut session, "SELECT 1")[0].contains("splitting is off")
    });
    let seen = spread(&stage, &mut session, 100);
    assert_eq!(seen.get("primary"), Some(&100), "{seen:?}");
}

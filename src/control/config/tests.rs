//! The shipped files against the code, and what needs a made-up environment.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::cluster::settings::{
    AuthMethod, Capacity, ConnectionSettings, Consistency, DrainFor, Health, Limits, Listen,
    LogFormat, NodeAddress, PinPolicy, PoolMode, PoolOverride, PoolSettings, Preferred, Secret,
    SequenceValues, StateCheck, Timeouts,
};

const COMPLETE: &str = include_str!("../../../config/pgring.toml");
const MINIMAL: &str = include_str!("../../../config/minimal.toml");

/// Reads a text in an environment with one variable, `SECRET`; gives the keys asked for as well.
fn read_all(
    text: &str,
) -> (
    Result<Settings, String>,
    BTreeSet<(&'static str, &'static str)>,
) {
    let around = Surroundings {
        folder: Path::new("/nowhere"),
        environment: &|name| (name == "SECRET").then(|| "from the environment".to_owned()),
    };
    let report = Report::new(text);
    let settings = read(text, &report, &around);
    let known = report.known().into_iter().collect();
    if report.is_clean() {
        return (Ok(settings.unwrap()), known);
    }
    let problems = Problems::new("test.toml", report.into_problems());
    (Err(problems.to_string()), known)
}

fn settings(text: &str) -> Settings {
    read_all(text)
        .0
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn refusal(text: &str) -> String {
    read_all(text).0.unwrap_err()
}

/// The smallest right file and then `more`.
fn minimal_and(more: &str) -> String {
    format!("{more}\n{MINIMAL}")
}

/// A settings line of the complete file, switched off or not: its key.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
    let is_key = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_key.then_some(key)
}

/// The complete file with every switched-off setting switched on.
fn everything_on() -> String {
    let on = |line: &str| match key_of(line) {
        Some(_) => line
            .trim_start_matches('#')
            .replace("APP_SERVER_PASSWORD", "SECRET"),
        None => line.to_owned(),
    };
    COMPLETE.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_complete_file_is_the_defaults() {
    let complete = settings(COMPLETE);
    let bare = settings(MINIMAL);
    assert_eq!(complete.runtime, bare.runtime);
    assert_eq!(complete.listen, bare.listen);
    assert_eq!(complete.pool, bare.pool);
    assert_eq!(complete.nodes, bare.nodes);
    assert_eq!(complete.admin, bare.admin);
    assert_eq!(complete.log, bare.log);
    assert_eq!(complete.health, bare.health);
    assert_eq!(complete.failover, bare.failover);
    assert_eq!(complete.routing.preferences.len(), 1);
    let mut routing = complete.routing;
    routing.preferences.clear();
    assert_eq!(routing, bare.routing);
    assert_eq!(routing, Routing::default());
    assert_eq!(bare.health, Health::default());
    // What minimal.toml says or leaves out.
    assert_eq!(complete.auth.method, AuthMethod::ScramSha256);
    assert_eq!(complete.databases[0].limits, Limits::default());
    assert_eq!(complete.users[0].limits, Limits::default());
    assert_eq!(complete.databases[0].pool, PoolOverride::default());
    assert_eq!(complete.users[0].pool, PoolOverride::default());
    assert!(matches!(complete.users[0].password, Some(Secret::Scram(_))));
}

#[test]
fn the_complete_file_shows_every_key_and_no_other() {
    let mut header = "";
    let mut shown = BTreeSet::new();
    for line in COMPLETE.lines() {
        if line.starts_with('[') {
            header = line;
        } else if let Some(key) = key_of(line) {
            shown.insert((header, key));
        }
    }
    let (_, known) = read_all(&everything_on());
    let is_setting = |(title, _): &&(&str, &str)| title.starts_with('[') && title.ends_with(']');
    let known: BTreeSet<_> = known.iter().filter(is_setting).copied().collect();
    assert_eq!(shown, known);
    assert!(known.len() > 50, "{}", known.len());
}

#[test]
fn the_complete_file_is_right_with_everything_on() {
    let settings = settings(&everything_on());
    let user = &settings.users[0];
    assert_eq!(settings.runtime.control_cpu, Some(0));
    assert_eq!(
        user.server_password,
        Some(Secret::Plain("from the environment".to_owned()))
    );
    assert_eq!(user.pool.idle_timeout, Some(Some(Duration::from_secs(600))));
    assert_eq!(
        settings.databases[0].server_name.as_deref(),
        Some("app_production")
    );
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let settings = settings(MINIMAL);
    let seconds = Duration::from_secs;
    let pool = PoolSettings {
        mode: PoolMode::Transaction,
        capacity: Capacity {
            size: 20,
            min_size: 0,
            reserve_size: 0,
            reserve_after: seconds(5),
            max_waiters: 100_000,
        },
        timeouts: Timeouts {
            checkout_timeout: seconds(30),
            query_timeout: None,
            transaction_timeout: None,
            idle_in_transaction_timeout: None,
            client_idle_timeout: None,
        },
        connections: ConnectionSettings {
            connect_timeout: seconds(10),
            idle_timeout: Some(seconds(600)),
            lifetime: Some(seconds(3600)),
            check_after_idle: Some(seconds(30)),
            greeting_age: Some(Duration::from_millis(250)),
            login_backoff: Duration::from_millis(100),
            login_backoff_max: seconds(15),
        },
        login_waits: false,
        state_check: StateCheck::Suspected,
        sequence_values: SequenceValues::Transaction,
        pin: PinPolicy::Allow,
        statements_per_connection: 200,
        statement_bytes_per_client: 64 << 20,
        reset_query: "DISCARD ALL".to_owned(),
    };
    let listen = Listen {
        addresses: vec!["127.0.0.1:6432".parse().unwrap()],
        unix_socket_dir: None,
        unix_socket_mode: 0o777,
        max_clients: 10_000,
        share_addresses: false,
        drain: DrainFor::Transactions,
        backlog: 4096,
        login_timeout: seconds(30),
        drain_timeout: seconds(30),
    };
    assert_eq!(settings.pool, pool);
    assert_eq!(settings.listen, listen);
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.log.level, "info");
    assert_eq!(settings.admin.users, ["postgres", "pgring"]);
    assert!(settings.databases.is_empty() && settings.runtime.pin);
    let runtime = &settings.runtime;
    let bytes = (
        runtime.client_buffers,
        runtime.server_buffers,
        runtime.high_water,
    );
    assert_eq!(bytes, (4 << 20, 16 << 20, 256 << 10));
}

#[test]
fn given_values_arrive() {
    let settings = settings(&minimal_and(
        "[runtime]\nworkers = 3\npin = false\nhigh_water = \"64KiB\"\n\
         [listen]\naddresses = [\"[::1]:7000\", \"127.0.0.1:7000\", \"[::1]:7000\"]\n\
         unix_socket_dir = \"/run/pgring\"\nunix_socket_mode = \"0750\"\ndrain_timeout = 0\n\
         [pool]\nmode = \"statement\"\nsize = 7\nidle_timeout = 0\nlifetime = \"0s\"\n\
         [[database]]\nname = \"app\"\nserver_name = \"other\"\nsize = 9\nmax_connections = 30\n\
         reserve_size = 2\npin = \"refuse\"\n\
         [[user]]\nname = \"eva\"\nmin_size = 8\nlifetime = \"2h\"\nmax_clients = 4\nreserve_after = \"2s\"\n\
         [log]\nformat = \"json\"\nlevel = \"warn,pgring::net=trace\"",
    ));
    let addresses = ["[::1]:7000", "127.0.0.1:7000"].map(|text| text.parse().unwrap());
    assert_eq!(settings.listen.addresses, addresses);
    assert_eq!(settings.listen.unix_socket_mode, 0o750);
    assert_eq!(settings.listen.drain_timeout, Duration::ZERO);
    assert_eq!(
        (settings.runtime.workers, settings.runtime.high_water),
        (3, 65_536)
    );
    assert_eq!(
        (
            settings.pool.connections.idle_timeout,
            settings.pool.connections.lifetime
        ),
        (None, None)
    );
    let pool = settings.pool_for("app", "eva");
    assert_eq!(
        (pool.mode, pool.capacity.size, pool.capacity.min_size),
        (PoolMode::Statement, 9, 8)
    );
    assert_eq!(pool.connections.lifetime, Some(Duration::from_secs(7200)));
    let reserve = (pool.capacity.reserve_size, pool.capacity.reserve_after);
    assert_eq!(reserve, (2, Duration::from_secs(2)));
    assert_eq!(pool.pin, PinPolicy::Refuse);
    assert_eq!(settings.pool.pin, PinPolicy::Allow);
    assert_eq!(settings.databases[0].limits.max_connections, Some(30));
    assert_eq!(settings.databases[0].limits.max_clients, None);
    assert_eq!(settings.users[0].limits.max_clients, Some(4));
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn nodes_keep_their_order_and_their_form() {
    let more = "[[node]]\nname = \"a\"\naddress = \"/run/postgresql:5433\"\nweight = 0";
    let settings = settings(&format!("{MINIMAL}\n{more}\n[health]\nuser = \"pgring\""));
    assert_eq!(settings.nodes[0].name, "pg1");
    let socket = NodeAddress::Unix("/run/postgresql/.s.PGSQL.5433".into());
    assert_eq!(
        (&settings.nodes[1].address, settings.nodes[1].weight),
        (&socket, 0)
    );
}

#[test]
fn what_routing_says_arrives() {
    let settings = settings(&minimal_and(
        "[routing]\nconsistency = \"global\"\nmax_lag_bytes = \"1MiB\"\nmax_lag = \"2s\"\n\
         read_functions = [\"f\", \"/g.*/\"]\nreplay_poll = \"20ms\"\n\
         [[preference]]\ndatabase = \"a|b\"\nnode = \"pg1\"\nshare = 0.25\n\
         [[preference]]\nuser = \"eva\"\nnode = \"standby\"\n\
         [health]\nuser = \"watcher\"\npassword = { env = \"SECRET\" }\nretries = 0\n\
         [failover]\nhold = 0",
    ));
    let routing = &settings.routing;
    assert_eq!(routing.consistency, Consistency::Global);
    assert_eq!(routing.max_lag_bytes, Some(1 << 20));
    assert_eq!(routing.max_lag, Some(Duration::from_secs(2)));
    assert_eq!(routing.read_functions, ["f", "/g.*/"]);
    let [first, second] = &routing.preferences[..] else {
        panic!("{:?}", routing.preferences)
    };
    assert_eq!(first.node, Preferred::Named("pg1".to_owned()));
    assert_eq!((first.share, second.share), (250, 1000));
    let database = &first.database.as_ref().unwrap().0;
    assert!(database.is_match(b"A") && database.is_match(b"b"));
    assert!(!database.is_match(b"ab") && !database.is_match(b"xb"));
    assert_eq!(second.node, Preferred::Standby);
    assert!(second.database.is_none() && second.user.is_some());
    let health = &settings.health;
    assert_eq!(health.user.as_deref(), Some("watcher"));
    let password = Secret::Plain("from the environment".to_owned());
    assert_eq!(health.password, Some(password));
    assert_eq!(health.retries, 0);
    assert_eq!(settings.failover.hold, Duration::ZERO);
}

/// Pgpool-II, 2.1: STANDBY and PRIMARY were accepted and meant node 0, a number beyond the nodes meant the main node.
#[test]
fn gap_a_preference_names_a_node_that_there_is() {
    let preferring = |node: &str| minimal_and(&format!("[[preference]]\nnode = {node}"));
    for node in ["STANDBY", "Standby", "PRIMARY", "PG1", "pg2", "0", "7"] {
        let problems = refusal(&preferring(&format!("{node:?}")));
        let expected =
            "test.toml:2: [[preference]] node: no [[node]] has this name; there are \"pg1\"";
        assert!(problems.starts_with(expected), "{problems}");
    }
    for node in ["0", "7", "true"] {
        let problems = refusal(&preferring(node));
        assert!(problems.contains("[[preference]] node: "), "{problems}");
    }
    for (node, meant) in [
        ("primary", Preferred::Primary),
        ("standby", Preferred::Standby),
        ("pg1", Preferred::Named("pg1".to_owned())),
    ] {
        let settings = settings(&preferring(&format!("{node:?}")));
        assert_eq!(settings.routing.preferences[0].node, meant);
    }
}

/// Health checks, 2.1: a node's own `connect_timeout` was read and the global one used; an empty database was one of
/// two, depending on whom one asks.
#[test]
fn quirk_what_is_not_used_is_refused() {
    let more = "[[node]]\nname = \"b\"\naddress = \"127.0.0.1:5433\"\nconnect_timeout = \"1s\"";
    let problems = refusal(&minimal_and(more));
    let expected = "test.toml:4: [[node]] connect_timeout: no such key";
    assert!(problems.contains(expected), "{problems}");
    let problems = refusal(&minimal_and("[health]\nuser = \"w\"\ndatabase = \"\""));
    let expected = "test.toml:3: [health] database: \"\" is empty";
    assert!(problems.contains(expected), "{problems}");
}

#[test]
fn one_node_needs_nobody_to_watch_it_and_two_do() {
    let two = format!("{MINIMAL}\n[[node]]\nname = \"b\"\naddress = \"127.0.0.1:5433\"\n");
    let problems = refusal(&two);
    assert!(problems.contains("[health] user: missing"), "{problems}");
    assert!(problems.contains("CREATE ROLE pgring"), "{problems}");
    settings(&format!("{two}[health]\nuser = \"pgring\""));
    settings(&format!("{two}[routing]\nread_write_split = false"));
    settings(MINIMAL);
}

#[test]
fn a_name_that_cannot_be_resolved_names_its_line() {
    let problems = refusal("\n[[node]]\nname = \"a\"\naddress = \"no..such..host:5432\"");
    let start = "test.toml:4: [[node]] address: \"no..such..host:5432\" cannot be resolved (";
    assert!(problems.starts_with(start), "{problems}");
}

#[test]
fn no_message_shows_a_password() {
    let sources = [
        "password = \"hunter2\\u0000\"",
        "password = \"SCRAM-SHA-256$hunter2\"",
        "password = [\"hunter2\"]",
        "password = { hunter = \"hunter2\" }",
        "password = \"hunter2",
        "password = hunter2",
        "pasword = \"hunter2\"",
        "server_password = \"SCRAM-SHA-256$hunter2\"",
    ];
    for source in sources {
        let problems = refusal(&format!("[[user]]\nname = \"a\"\n{source}"));
        assert!(!problems.contains("hunter2"), "{problems}");
    }
    let shown = format!("{:?}", Secret::Plain("hunter2".to_owned()));
    assert!(!shown.contains("hunter2"));
}

#[test]
fn lines_are_counted_as_editors_do() {
    let report = Report::new("a\nbc\n\nd");
    let lines: Vec<_> = (0..7).map(|offset| report.line(offset)).collect();
    assert_eq!(lines, [1, 1, 2, 2, 2, 3, 4]);
    assert!(refusal("\r\n\r\n[pool]\r\nsize = 0\r\n").starts_with("test.toml:4: "));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(\\[\\[?[a-z]{1,8}\\]\\]?\n|[a-z_]{1,8} = [0-9\"a-z\\[\\]{}=., ]{0,12}\n|.{0,9}){0,9}") {
        let (outcome, _) = read_all(&text);
        // Each of these texts lacks the node that every configuration needs.
        proptest::prop_assert!(outcome.is_err());
    }
}

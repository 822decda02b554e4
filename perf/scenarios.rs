//! Owns the list of what is measured: each scenario is a load, or a piece of pgbench, and the proxies that can do it. It
//! runs nothing. (pure)

use crate::peers::Peer;

/// One load through several proxies.
pub(crate) struct Scenario {
    /// Short and unique; `--only` matches its beginning.
    pub(crate) name: String,
    /// For people.
    pub(crate) title: String,
    pub(crate) peers: Vec<Peer>,
    pub(crate) work: Work,
}

/// How a scenario is run.
pub(crate) enum Work {
    /// `perf load` with these arguments, against the mock server.
    Load(Vec<String>),
    /// pgbench against a real server.
    Pgbench(crate::pgbench::Work),
}

const POOLERS: [Peer; 4] = [Peer::Floor, Peer::Pgring, Peer::PgBouncer, Peer::Pgpool];
/// More clients than Pgpool-II has processes.
const CROWDED: [Peer; 3] = [Peer::Floor, Peer::Pgring, Peer::PgBouncer];
/// Named statements: PgBouncer of Debian 12 cannot carry them between transactions.
const PREPARED: [Peer; 4] = [
    Peer::Floor,
    Peer::Pgring,
    Peer::PgBouncerSession,
    Peer::Pgpool,
];

/// Everything that `make perf` measures, in its order.
pub(crate) fn all() -> Vec<Scenario> {
    let mut scenarios = against_mock();
    scenarios.extend(select_only());
    scenarios.push(pgbench(
        "pgbench-tpcb-16-simple",
        "simple",
        16,
        false,
        false,
    ));
    scenarios.push(pgbench(
        "pgbench-tpcb-16-prepared",
        "prepared",
        16,
        false,
        false,
    ));
    scenarios.push(pgbench(
        "pgbench-select-16-reconnect",
        "simple",
        16,
        true,
        true,
    ));
    scenarios.extend(splitting());
    scenarios
}

/// Cost of splitting off reads where none is: they are judged, and stay at the primary.
fn splitting() -> impl Iterator<Item = Scenario> {
    let works = [("select", true), ("tpcb", false)].into_iter();
    works.flat_map(|(name, select_only)| {
        ["simple", "prepared"].map(|protocol| {
            let name = format!("pgbench-splitting-{name}-{protocol}");
            let mut scenario = pgbench(&name, protocol, 16, select_only, false);
            scenario.title += ", splitting";
            scenario.peers = vec![Peer::Pgring, Peer::PgringSplits];
            scenario
        })
    })
}

fn against_mock() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = [1, 16, 64, 256, 1000].into_iter().map(simple).collect();
    let load = |name: &str, title: &str, peers: &[Peer], arguments: &[&str]| Scenario {
        name: name.into(),
        title: title.into(),
        peers: peers.to_vec(),
        work: Work::Load(
            arguments
                .iter()
                .map(|argument| (*argument).into())
                .collect(),
        ),
    };
    scenarios.extend([
        load(
            "prepared-16",
            "Prepared statement (Bind, Execute, Sync), 16 clients",
            &PREPARED,
            &["--clients", "16", "--form", "prepared"],
        ),
        load(
            "prepared-64",
            "Prepared statement (Bind, Execute, Sync), 64 clients",
            &PREPARED,
            &["--clients", "64", "--form", "prepared"],
        ),
        load(
            "extended-64",
            "Unnamed extended (Parse, Bind, Describe, Execute, Sync), 64 clients",
            &POOLERS,
            &["--clients", "64", "--form", "extended"],
        ),
        load(
            "pipelined-16",
            "Pipelines of 16 unnamed extended queries with one Sync, 16 clients",
            &POOLERS,
            &["--clients", "16", "--form", "extended", "--depth", "16"],
        ),
        load(
            "settings-64",
            "Simple query, 64 clients that have all set the same, and 64 that have set nothing",
            &[Peer::Pgring, Peer::PgringSettings],
            &["--clients", "64"],
        ),
        load(
            "cores-64",
            "Simple query, 64 clients, on two CPUs together with the mock server and the load",
            &[Peer::PgringOne, Peer::PgringTwo],
            &["--clients", "64"],
        ),
        load(
            "storm-16",
            "Connection storm: connect, log in, one query, Terminate; 16 at once",
            &POOLERS,
            &["--clients", "16", "--storm"],
        ),
        load(
            "big-4",
            "Results of 1 MiB in rows of 1 KiB, 4 clients",
            &POOLERS,
            &[
                "--clients",
                "4",
                "--sql",
                "SELECT big 1048576",
                "--rows",
                "1024",
            ],
        ),
    ]);
    scenarios
}

fn simple(clients: usize) -> Scenario {
    let peers: &[Peer] = if clients > crate::peers::PGPOOL_CHILDREN {
        &CROWDED
    } else {
        &POOLERS
    };
    let s = if clients == 1 { "" } else { "s" };
    Scenario {
        name: format!("simple-{clients}"),
        title: format!("Simple query, {clients} client{s}"),
        peers: peers.to_vec(),
        work: Work::Load(vec!["--clients".into(), clients.to_string()]),
    }
}

fn select_only() -> impl Iterator<Item = Scenario> {
    let protocols = ["simple", "extended", "prepared"].into_iter();
    protocols.flat_map(|protocol| {
        [1, 16, 64].map(|clients| {
            pgbench(
                &format!("pgbench-select-{clients}-{protocol}"),
                protocol,
                clients,
                true,
                false,
            )
        })
    })
}

fn pgbench(
    name: &str,
    protocol: &'static str,
    clients: usize,
    select_only: bool,
    reconnect: bool,
) -> Scenario {
    let rival = if protocol == "prepared" {
        Peer::PgBouncerSession
    } else {
        Peer::PgBouncer
    };
    let statements = if select_only { "-S" } else { "(tpcb-like)" };
    let again = if reconnect { " --connect" } else { "" };
    Scenario {
        name: name.into(),
        title: format!("pgbench {statements} -M {protocol} -c {clients}{again}"),
        peers: vec![Peer::Pgring, rival],
        work: Work::Pgbench(crate::pgbench::Work {
            select_only,
            protocol,
            clients,
            reconnect,
        }),
    }
}

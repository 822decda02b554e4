//! Tables about nodes, with Pgpool-II's names and columns, which its users' scripts read, and `SHOW ROUTE`. Any session
//! may ask for them. Pure.

use super::{
    counts,
    table::{Column, Dialect, Listing, Row, Sources, Value, int8, joined, text},
};
use crate::{
    cluster::{
        node::{NodeState, Role},
        report::{NodeCounters, Report, ReportKind},
        settings::Settings,
        snapshot::Snapshot,
    },
    ids::NodeId,
    time,
};

const NODE_ID: Column = int8("node_id", "The node's place in the configuration, from 0.");
const HOSTNAME: Column = text("hostname", "Its address, or the folder of its Unix socket.");
const PORT: Column = text(
    "port",
    "Its port, or the one in the name of its Unix socket.",
);
const STATUS: Column = text(
    "status",
    "waiting (no connection made yet), up, down, quarantine or unused: whether pgring uses it.",
);
const ROLE: Column = text("role", "primary or standby, as pgring uses it.");

/// `SHOW POOL_NODES`.
pub(super) const NODES: Listing = Listing {
    name: "pool_nodes",
    doc: "A line for each node: what it is, whether it is used, how far it is behind.",
    dialect: Dialect::Pgpool,
    columns: &[
        NODE_ID,
        HOSTNAME,
        PORT,
        STATUS,
        text(
            "pg_status",
            "up, down or unknown: whether the server answers.",
        ),
        text("lb_weight", "Its part of all weights, six decimals."),
        ROLE,
        text(
            "pg_role",
            "primary, standby or unknown: what the server says.",
        ),
        int8("select_cnt", "SELECTs that it has answered."),
        text(
            "load_balance_node",
            "true for the node that takes the reads of the session that asks.",
        ),
        text(
            "replication_delay",
            "How far it is behind: bytes, or seconds with their unit when [routing] max_lag holds.",
        ),
        text("replication_state", "state of pg_stat_replication."),
        text(
            "replication_sync_state",
            "sync_state of pg_stat_replication.",
        ),
        text(
            "last_status_change",
            "When role or status changed last, in UTC.",
        ),
    ],
    wants: Some(ReportKind::Nodes),
    rows: |sources| {
        let counters = merged(sources.snapshot, sources.reports);
        let nodes = sources.snapshot.ids().zip(&counters);
        nodes
            .filter_map(|(node, counters)| node_row(sources, node, counters))
            .collect()
    },
};

/// `SHOW NODES`, as `pgring ctl node list` shows it.
pub(super) const NODE_LIST: Listing = Listing {
    name: "nodes",
    doc: "A line for each node, by its name: what it is, whether it is used and why not, how far it is behind.",
    dialect: Dialect::PgBouncer,
    columns: &[
        text("name", "The node's name in the configuration."),
        text("address", "Its address, or its Unix socket."),
        STATUS,
        ROLE,
        text(
            "claims",
            "primary or standby: what the server says; empty before it has said anything.",
        ),
        int8("timeline", "The timeline it is on; 0 is unknown."),
        int8("lag_bytes", "How many bytes it is behind the primary."),
        text("replication_state", "state of pg_stat_replication."),
        text("sync_state", "sync_state of pg_stat_replication."),
        text("since", "When role or status changed last, in UTC."),
        text("reason", "Why its status is what it is."),
    ],
    wants: None,
    rows: |sources| {
        let snapshot = sources.snapshot;
        let states = snapshot.ids().zip(&snapshot.nodes);
        states
            .map(|(node, state)| node_list_row(snapshot, node, state))
            .collect()
    },
};

/// `SHOW POOL_BACKEND_STATS`.
pub(super) const BACKEND_STATS: Listing = Listing {
    name: "pool_backend_stats",
    doc: "A line for each node: how many statements it has answered, by their command tags, and how many errors.",
    dialect: Dialect::Pgpool,
    columns: &joined::<14>(&[NODE_ID, HOSTNAME, PORT, STATUS, ROLE], &{
        let mut counts = [NODE_ID; NodeCounters::KINDS.len()];
        let mut kind = 0;
        while kind < counts.len() {
            let (name, doc) = NodeCounters::KINDS[kind];
            counts[kind] = int8(name, doc);
            kind += 1;
        }
        counts
    }),
    wants: Some(ReportKind::Nodes),
    rows: |sources| {
        let counters = merged(sources.snapshot, sources.reports);
        let nodes = sources.snapshot.ids().zip(&counters);
        nodes
            .map(|(node, counters)| stats_row(sources.snapshot, node, counters))
            .collect()
    },
};

/// `SHOW FAILOVER`.
pub(super) const FAILOVER: Listing = Listing {
    name: "failover",
    doc: "One line: where the replacement of a lost primary stands.",
    dialect: Dialect::PgBouncer,
    columns: &[
        text(
            "phase",
            "steady, suspecting, electing, draining, promoting, following, done or halted; of a switchover holding, stopping, \
             handover or undoing.",
        ),
        text(
            "since",
            "When the phase began, in UTC; empty: at the start.",
        ),
        text("lost", "The primary that is, or was, to be replaced."),
        text("chosen", "The standby that takes its place."),
        int8("lost_bytes", "Bytes of log that are known to be lost."),
        text("why", "What the phase waits for, or why it does not go on."),
    ],
    wants: None,
    rows: |sources| {
        let state = &sources.snapshot.failover;
        let name = |node: Option<NodeId>| {
            node.map_or_else(String::new, |node| sources.snapshot.node(node).name.clone())
        };
        let since = match state.since_us {
            0 => String::new(),
            since => time::utc(since),
        };
        vec![vec![
            state.phase().into(),
            since.into(),
            name(state.lost).into(),
            name(state.chosen).into(),
            state.lost_bytes.into(),
            state.why.as_str().into(),
        ]]
    },
};

/// `SHOW POOL_VERSION`.
pub(super) const POOL_VERSION: Listing = Listing {
    name: "pool_version",
    doc: "The version of pgring, by the name that Pgpool-II's tools know.",
    dialect: Dialect::Pgpool,
    columns: &[text("pool_version", "Name and version of the program.")],
    wants: None,
    rows: |_| vec![vec![counts::version().into()]],
};

/// `SHOW ROUTE <statement>`.
pub(super) const ROUTE: Listing = Listing {
    name: "route",
    doc: "A line for each node: whether the session would send the statement there, and why.",
    dialect: Dialect::Pgpool,
    columns: &[
        text("class", "read or write."),
        text("reason", "Why it is that."),
        text("node", "Name of the node."),
        text(
            "chosen",
            "yes for the node that takes the statement, no for the others.",
        ),
        text("why_not", "Objection to the node; empty for none."),
    ],
    wants: None,
    rows: route_rows,
};

/// Counters of all cores together, by node.
fn merged(snapshot: &Snapshot, reports: &[Report]) -> Vec<NodeCounters> {
    let mut merged = vec![NodeCounters::default(); snapshot.nodes.len()];
    for report in reports {
        if let Report::Nodes(counters) = report {
            let pairs = merged.iter_mut().zip(counters);
            pairs.for_each(|(all, one)| all.add(one));
        }
    }
    merged
}

fn node_row(sources: &Sources<'_>, node: NodeId, counters: &NodeCounters) -> Option<Row> {
    let snapshot = sources.snapshot;
    let state = snapshot.state(node)?;
    let settings = &snapshot.settings;
    let weights: u64 = settings.nodes.iter().map(|it| u64::from(it.weight)).sum();
    let weight = f64::from(snapshot.node(node).weight) / (weights.max(1) as f64);
    let (host, port) = snapshot.node(node).address.host_and_port();
    let answers = match state.answers {
        None => "unknown",
        Some(true) => "up",
        Some(false) => "down",
    };
    Some(vec![
        node.0.into(),
        host.into(),
        port.into(),
        state.status.name().into(),
        answers.into(),
        format!("{weight:.6}").into(),
        state.role.name().into(),
        state.claims.map_or("unknown", Role::name).into(),
        counters.counts[0].into(),
        (sources.reads == Some(node)).to_string().into(),
        replication_delay(state, settings).into(),
        state.replication_state.to_string().into(),
        state.sync_state.to_string().into(),
        time::utc(state.since_us).trim_end_matches(" UTC").into(),
    ])
}

fn node_list_row(snapshot: &Snapshot, node: NodeId, state: &NodeState) -> Row {
    let node = snapshot.node(node);
    let lag_bytes = match state.role {
        Role::Primary => 0,
        Role::Standby => state.live.lag_bytes(),
    };
    vec![
        node.name.as_str().into(),
        node.address.to_string().into(),
        state.status.name().into(),
        state.role.name().into(),
        state.claims.map_or("", Role::name).into(),
        state.timeline.into(),
        lag_bytes.into(),
        state.replication_state.to_string().into(),
        state.sync_state.to_string().into(),
        time::utc(state.since_us).into(),
        state.reason.to_string().into(),
    ]
}

fn stats_row(snapshot: &Snapshot, node: NodeId, counters: &NodeCounters) -> Row {
    let (host, port) = snapshot.node(node).address.host_and_port();
    let state = snapshot.state(node);
    let mut row = vec![
        node.0.into(),
        host.into(),
        port.into(),
        state.map_or("", |state| state.status.name()).into(),
        state.map_or("", |state| state.role.name()).into(),
    ];
    row.extend(counters.counts.iter().map(|&count| Value::from(count)));
    row
}

/// In bytes, or in seconds when that is what reads are limited by.
fn replication_delay(state: &NodeState, settings: &Settings) -> String {
    if state.role == Role::Primary {
        return "0".to_owned();
    }
    if settings.routing.max_lag.is_none() {
        return state.live.lag_bytes().to_string();
    }
    let micros = state.live.lag_us();
    let unit = if micros < 2_000_000 {
        "second"
    } else {
        "seconds"
    };
    format!("{}.{:06} {unit}", micros / 1_000_000, micros % 1_000_000)
}

fn route_rows(sources: &Sources<'_>) -> Vec<Row> {
    let Some(route) = &sources.route else {
        return Vec::new();
    };
    let rows = sources.snapshot.ids().map(|node| {
        let is_chosen = route.chosen == Some(node);
        let objection = route.objections.get(usize::from(node.0));
        let objection = objection.filter(|_| !is_chosen).cloned();
        vec![
            route.class.clone().into(),
            route.reason.clone().into(),
            sources.snapshot.node(node).name.clone().into(),
            if is_chosen { "yes" } else { "no" }.into(),
            objection.unwrap_or_default().into(),
        ]
    });
    rows.collect()
}

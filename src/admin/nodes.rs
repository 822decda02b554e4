//! The tables about nodes: with Pgpool-II's columns, which its users' scripts read.

use super::{route::Route, tables::Table};
use crate::{
    cluster::{
        node::{NodeState, Role},
        report::{NodeCounters, Report},
        settings::{NodeAddress, Settings},
        snapshot::Snapshot,
    },
    ids::NodeId,
};

impl Table {
    /// Columns of `SHOW POOL_NODES`.
    pub(crate) const NODES: &[&str] = &[
        "node_id",
        "hostname",
        "port",
        "status",
        "pg_status",
        "lb_weight",
        "role",
        "pg_role",
        "select_cnt",
        "load_balance_node",
        "replication_delay",
        "replication_state",
        "replication_sync_state",
        "last_status_change",
    ];

    /// Columns of `SHOW POOL_BACKEND_STATS`.
    pub(crate) const BACKEND_STATS: &[&str] = &{
        let mut columns = [
            "node_id", "hostname", "port", "status", "role", "", "", "", "", "", "", "", "", "",
        ];
        let mut kind = 0;
        while kind < NodeCounters::KINDS.len() {
            columns[5 + kind] = NodeCounters::KINDS[kind];
            kind += 1;
        }
        columns
    };

    /// Columns of `SHOW ROUTE`.
    pub(crate) const ROUTE: &[&str] = &["class", "reason", "node", "chosen", "why_not"];

    /// All nodes; `reads` is the one that takes the session's reads.
    pub(crate) fn nodes(snapshot: &Snapshot, reports: &[Report], reads: Option<NodeId>) -> Self {
        let counters = merged(snapshot, reports);
        let rows = snapshot.ids().zip(counters).filter_map(|(node, counters)| {
            let state = snapshot.state(node)?;
            Some(node_row(
                snapshot,
                node,
                state,
                &counters,
                reads == Some(node),
            ))
        });
        Self::of_text(Self::NODES, rows.collect())
    }

    /// What each node has answered.
    pub(crate) fn backend_stats(snapshot: &Snapshot, reports: &[Report]) -> Self {
        let counters = merged(snapshot, reports);
        let rows = snapshot.ids().zip(counters).map(|(node, counters)| {
            let [host, port] = host_and_port(&snapshot.node(node).address);
            let state = snapshot.state(node);
            let mut row = vec![
                node.0.to_string(),
                host,
                port,
                state.map_or("", |state| state.status.name()).to_owned(),
                state.map_or("", |state| state.role.name()).to_owned(),
            ];
            row.extend(counters.counts.iter().map(u64::to_string));
            row
        });
        Self::of_text(Self::BACKEND_STATS, rows.collect())
    }

    /// The version, by the name that Pgpool-II's tools know.
    pub(crate) fn pool_version() -> Self {
        let version = format!("pgring {}", env!("CARGO_PKG_VERSION"));
        Self::of_text(&["pool_version"], vec![vec![version]])
    }

    /// Where a statement would go: a line a node.
    pub(crate) fn route(snapshot: &Snapshot, route: &Route) -> Self {
        let rows = snapshot.ids().map(|node| {
            let is_chosen = route.chosen == Some(node);
            let objection = route.objections.get(usize::from(node.0));
            let objection = objection.filter(|_| !is_chosen).cloned();
            vec![
                route.class.clone(),
                route.reason.clone(),
                snapshot.node(node).name.clone(),
                if is_chosen { "yes" } else { "no" }.to_owned(),
                objection.unwrap_or_default(),
            ]
        });
        Self::of_text(Self::ROUTE, rows.collect())
    }
}

/// What all cores have counted, by node.
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

/// Host and port, or the folder of the socket and the port in its name.
fn host_and_port(address: &NodeAddress) -> [String; 2] {
    match address {
        NodeAddress::Tcp(address) => [address.ip().to_string(), address.port().to_string()],
        NodeAddress::Unix(path) => {
            let port = path.extension().unwrap_or_default().to_string_lossy();
            let folder = path.parent().unwrap_or(path).display();
            [folder.to_string(), port.into_owned()]
        }
    }
}

fn node_row(
    snapshot: &Snapshot,
    node: NodeId,
    state: &NodeState,
    counters: &NodeCounters,
    reads: bool,
) -> Vec<String> {
    let settings = &snapshot.settings;
    let weights: u64 = settings.nodes.iter().map(|it| u64::from(it.weight)).sum();
    let weight = f64::from(snapshot.node(node).weight) / (weights.max(1) as f64);
    let [host, port] = host_and_port(&snapshot.node(node).address);
    let answers = match state.answers {
        None => "unknown",
        Some(true) => "up",
        Some(false) => "down",
    };
    vec![
        node.0.to_string(),
        host,
        port,
        state.status.name().into(),
        answers.into(),
        format!("{weight:.6}"),
        state.role.name().into(),
        state.claims.map_or("unknown", Role::name).into(),
        counters.counts[0].to_string(),
        reads.to_string(),
        replication_delay(state, settings),
        state.replication_state.to_string(),
        state.sync_state.to_string(),
        crate::time::utc(state.since_us)
            .trim_end_matches(" UTC")
            .into(),
    ]
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

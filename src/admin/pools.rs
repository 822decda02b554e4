//! Tables about pools, all cores together, and about databases, all pools together. PgBouncer's columns. Pure.

use std::collections::BTreeMap;

use super::table::{Dialect, Listing, Row, Sources, int8, text};
use crate::cluster::{
    budget::PoolKey,
    report::{Counters, PoolReport, Report, ReportKind},
};

/// `SHOW POOLS`.
pub(super) const POOLS: Listing = Listing {
    name: "pools",
    doc: "A line for each database and user, all cores and nodes together.",
    dialect: Dialect::PgBouncer,
    columns: &[
        text("database", "Database, as clients name it."),
        text("user", "User."),
        int8(
            "cl_active",
            "Clients with a server connection, or without need of one.",
        ),
        int8("cl_waiting", "Clients that wait for a server connection."),
        int8(
            "cl_active_cancel_req",
            "Cancel requests that wait for the server.",
        ),
        int8(
            "cl_waiting_cancel_req",
            "Cancel requests that were not sent to the server yet.",
        ),
        int8("sv_active", "Server connections lent to a client."),
        int8(
            "sv_active_cancel",
            "Connections over which a cancel request is on its way.",
        ),
        int8(
            "sv_being_canceled",
            "Server connections whose statement a cancel request is for.",
        ),
        int8("sv_idle", "Server connections at hand."),
        int8("sv_used", "0; PgBouncer's."),
        int8(
            "sv_tested",
            "Server connections that are checked or reset now.",
        ),
        int8("sv_login", "Server connections that are opened now."),
        int8(
            "maxwait",
            "How long the first in the queue has waited, whole seconds.",
        ),
        int8("maxwait_us", "The rest of that in microseconds."),
        text("pool_mode", "session, transaction or statement."),
        int8(
            "idle_while_waiting_us",
            "The longest that a client ever waited while a connection was idle on another core, in microseconds.",
        ),
    ],
    wants: Some(ReportKind::Pools),
    rows: |sources| {
        let pools = merged_pools(sources.reports);
        pools.values().map(pool_row).collect()
    },
};

/// `SHOW STATS`.
pub(super) const STATS: Listing = Listing {
    name: "stats",
    doc: "A line for each database: sums since the start, and averages of the whole time.",
    dialect: Dialect::PgBouncer,
    columns: &[
        text("database", "Database, as clients name it."),
        int8(
            "total_server_assignment_count",
            "How often a server connection was lent to a client.",
        ),
        int8("total_xact_count", "Transactions."),
        int8(
            "total_query_count",
            "Statements: answers that ended with ReadyForQuery.",
        ),
        int8("total_received", "Bytes from clients."),
        int8("total_sent", "Bytes to clients."),
        int8(
            "total_xact_time",
            "Microseconds in which clients had a server connection.",
        ),
        int8("total_query_time", "Microseconds in which a statement ran."),
        int8(
            "total_wait_time",
            "Microseconds in which clients waited for a server connection.",
        ),
        int8("avg_server_assignment_count", "Assignments per second."),
        int8("avg_xact_count", "Transactions per second."),
        int8("avg_query_count", "Statements per second."),
        int8("avg_recv", "Bytes from clients per second."),
        int8("avg_sent", "Bytes to clients per second."),
        int8("avg_xact_time", "Microseconds per transaction."),
        int8("avg_query_time", "Microseconds per statement."),
        int8("avg_wait_time", "Microseconds of waiting per assignment."),
    ],
    wants: Some(ReportKind::Pools),
    rows: stats_rows,
};

/// One line a pool, of all cores together.
fn merged_pools(reports: &[Report]) -> BTreeMap<PoolKey, PoolReport> {
    let mut merged: BTreeMap<PoolKey, PoolReport> = BTreeMap::new();
    let pools = reports.iter().flat_map(|report| match report {
        Report::Pools(pools) => &pools[..],
        _ => &[],
    });
    for pool in pools {
        let Some(known) = merged.get_mut(&pool.key) else {
            merged.insert(pool.key.clone(), pool.clone());
            continue;
        };
        known.clients_active += pool.clients_active;
        known.clients_waiting += pool.clients_waiting;
        known.servers_active += pool.servers_active;
        known.servers_idle += pool.servers_idle;
        known.servers_tested += pool.servers_tested;
        known.servers_login += pool.servers_login;
        known.cancels.add(&pool.cancels);
        known.idle_beside_us = known.idle_beside_us.max(pool.idle_beside_us);
        known.wait_us_max = known.wait_us_max.max(pool.wait_us_max);
        known.counters.add(&pool.counters);
    }
    merged
}

fn pool_row(pool: &PoolReport) -> Row {
    vec![
        (*pool.key.database).into(),
        (*pool.key.user).into(),
        pool.clients_active.into(),
        pool.clients_waiting.into(),
        pool.cancels.clients_active.into(),
        pool.cancels.clients_waiting.into(),
        pool.servers_active.into(),
        pool.cancels.servers_active.into(),
        pool.cancels.servers_canceled.into(),
        pool.servers_idle.into(),
        0_u32.into(),
        pool.servers_tested.into(),
        pool.servers_login.into(),
        (pool.wait_us_max / 1_000_000).into(),
        (pool.wait_us_max % 1_000_000).into(),
        pool.mode.into(),
        pool.idle_beside_us.into(),
    ]
}

fn stats_rows(sources: &Sources<'_>) -> Vec<Row> {
    let mut databases: BTreeMap<String, Counters> = BTreeMap::new();
    for pool in merged_pools(sources.reports).into_values() {
        databases
            .entry(pool.key.database.to_string())
            .or_default()
            .add(&pool.counters);
    }
    let rows = databases.iter();
    rows.map(|(database, counters)| stats_row(database, counters, sources.seconds_up))
        .collect()
}

fn stats_row(database: &str, counters: &Counters, seconds: u64) -> Row {
    let per = |amount: u64, count: u64| amount.checked_div(count).unwrap_or(0).into();
    vec![
        database.into(),
        counters.assignments.into(),
        counters.transactions.into(),
        counters.queries.into(),
        counters.received.into(),
        counters.sent.into(),
        counters.transaction_us.into(),
        counters.query_us.into(),
        counters.wait_us.into(),
        per(counters.assignments, seconds),
        per(counters.transactions, seconds),
        per(counters.queries, seconds),
        per(counters.received, seconds),
        per(counters.sent, seconds),
        per(counters.transaction_us, counters.transactions),
        per(counters.query_us, counters.queries),
        per(counters.wait_us, counters.assignments),
    ]
}

//! The console's tables: their columns, and how reports of many cores become rows.

use std::collections::BTreeMap;

use crate::{
    cluster::{
        budget::PoolKey,
        report::{
            ClientReport, Counters, PinReport, PoolReport, Report, ServerReport, TimeoutReport,
        },
    },
    time,
};

/// Columns and rows.
pub(crate) struct Table {
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
    /// Its numbers are of type int8; else all is text.
    pub(crate) has_numbers: bool,
}

/// Columns of text in tables that have numbers.
pub(crate) const TEXTS: [&str; 16] = [
    "database",
    "user",
    "pool_mode",
    "type",
    "state",
    "addr",
    "local_addr",
    "connect_time",
    "request_time",
    "ptr",
    "link",
    "tls",
    "application_name",
    "pinned",
    "reason",
    "setting",
];

const POOLS: &[&str] = &[
    "database",
    "user",
    "cl_active",
    "cl_waiting",
    "cl_active_cancel_req",
    "cl_waiting_cancel_req",
    "sv_active",
    "sv_active_cancel",
    "sv_being_canceled",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
    "maxwait",
    "maxwait_us",
    "pool_mode",
    "idle_while_waiting_us",
];

const CONNECTIONS: [&str; 18] = [
    "type",
    "user",
    "database",
    "state",
    "addr",
    "port",
    "local_addr",
    "local_port",
    "connect_time",
    "request_time",
    "wait",
    "wait_us",
    "close_needed",
    "ptr",
    "link",
    "remote_pid",
    "tls",
    "application_name",
];

const CLIENTS: &[&str] = &{
    let mut columns = [""; 21];
    let mut number = 0;
    while number < CONNECTIONS.len() {
        columns[number] = CONNECTIONS[number];
        number += 1;
    }
    columns[18] = "prepared_statements";
    columns[19] = "worker";
    columns[20] = "pinned";
    columns
};

const SERVERS: &[&str] = &{
    let mut columns = [""; 19];
    let mut number = 0;
    while number < CONNECTIONS.len() {
        columns[number] = CONNECTIONS[number];
        number += 1;
    }
    columns[18] = "prepared_statements";
    columns
};

const CANCELS: &[&str] = &[
    "worker",
    "active",
    "total_forwarded",
    "total_coalesced",
    "total_dequeued",
    "total_dropped",
];

const PINS: &[&str] = &["reason", "sessions", "total_pinned", "total_refused"];

const TIMEOUTS: &[&str] = &["setting", "total"];

const STATS: &[&str] = &[
    "database",
    "total_server_assignment_count",
    "total_xact_count",
    "total_query_count",
    "total_received",
    "total_sent",
    "total_xact_time",
    "total_query_time",
    "total_wait_time",
    "avg_server_assignment_count",
    "avg_xact_count",
    "avg_query_count",
    "avg_recv",
    "avg_sent",
    "avg_xact_time",
    "avg_query_time",
    "avg_wait_time",
];

impl Table {
    /// A table of text alone, as Pgpool-II's are.
    pub(super) fn of_text(columns: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        Self {
            columns,
            rows,
            has_numbers: false,
        }
    }

    /// A table like PgBouncer's, with numbers that programs can calculate with.
    fn with_numbers(
        columns: &'static [&'static str],
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Self {
        Self {
            columns,
            rows: rows.collect(),
            has_numbers: true,
        }
    }

    pub(crate) fn version() -> Self {
        let version = format!("pgring {}", env!("CARGO_PKG_VERSION"));
        Self::of_text(&["version"], vec![vec![version]])
    }

    pub(crate) fn pools(reports: &[Report]) -> Self {
        let rows = merged_pools(reports).into_values().map(|pool| {
            vec![
                pool.key.database.to_string(),
                pool.key.user.to_string(),
                pool.clients_active.to_string(),
                pool.clients_waiting.to_string(),
                pool.cancels.clients_active.to_string(),
                pool.cancels.clients_waiting.to_string(),
                pool.servers_active.to_string(),
                pool.cancels.servers_active.to_string(),
                pool.cancels.servers_canceled.to_string(),
                pool.servers_idle.to_string(),
                "0".into(),
                pool.servers_tested.to_string(),
                pool.servers_login.to_string(),
                (pool.wait_us_max / 1_000_000).to_string(),
                (pool.wait_us_max % 1_000_000).to_string(),
                pool.mode.to_owned(),
                pool.idle_beside_us.to_string(),
            ]
        });
        Self::with_numbers(POOLS, rows)
    }

    pub(crate) fn clients(reports: &[Report]) -> Self {
        let clients = reports.iter().flat_map(|report| match report {
            Report::Clients(clients) => &clients[..],
            _ => &[],
        });
        Self::with_numbers(CLIENTS, clients.map(client_row))
    }

    pub(crate) fn servers(reports: &[Report]) -> Self {
        let servers = reports.iter().flat_map(|report| match report {
            Report::Servers(servers) => &servers[..],
            _ => &[],
        });
        Self::with_numbers(SERVERS, servers.map(server_row))
    }

    pub(crate) fn cancels(reports: &[Report]) -> Self {
        let rows = reports.iter().filter_map(|report| match report {
            Report::Cancels(worker, counts) => Some(vec![
                worker.to_string(),
                counts.active.to_string(),
                counts.forwarded.to_string(),
                counts.coalesced.to_string(),
                counts.dequeued.to_string(),
                counts.dropped.to_string(),
            ]),
            _ => None,
        });
        Self::with_numbers(CANCELS, rows)
    }

    pub(crate) fn pins(reports: &[Report]) -> Self {
        let mut merged: Vec<PinReport> = Vec::new();
        for report in reports {
            let Report::Pins(pins) = report else { continue };
            if merged.is_empty() {
                merged.clone_from(pins);
                continue;
            }
            for (sum, other) in merged.iter_mut().zip(pins) {
                sum.sessions += other.sessions;
                sum.total += other.total;
                sum.refused += other.refused;
            }
        }
        let rows = merged.iter().map(|pins| {
            vec![
                pins.reason.to_owned(),
                pins.sessions.to_string(),
                pins.total.to_string(),
                pins.refused.to_string(),
            ]
        });
        Self::with_numbers(PINS, rows)
    }

    pub(crate) fn timeouts(reports: &[Report]) -> Self {
        let mut merged: Vec<TimeoutReport> = Vec::new();
        for report in reports {
            let Report::Timeouts(timeouts) = report else {
                continue;
            };
            if merged.is_empty() {
                merged.clone_from(timeouts);
                continue;
            }
            for (sum, other) in merged.iter_mut().zip(timeouts) {
                sum.total += other.total;
            }
        }
        let rows = merged
            .iter()
            .map(|timeouts| vec![timeouts.setting.to_owned(), timeouts.total.to_string()]);
        Self::with_numbers(TIMEOUTS, rows)
    }

    /// `seconds`: how long the counters have counted, at least one.
    pub(crate) fn stats(reports: &[Report], seconds: u64) -> Self {
        let mut databases: BTreeMap<String, Counters> = BTreeMap::new();
        for pool in merged_pools(reports).into_values() {
            databases
                .entry(pool.key.database.to_string())
                .or_default()
                .add(&pool.counters);
        }
        let rows = databases
            .into_iter()
            .map(|(database, counters)| stats_row(database, &counters, seconds));
        Self::with_numbers(STATS, rows)
    }
}

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

/// `address:port` in two.
fn split_address(address: &str) -> [String; 2] {
    match address.rsplit_once(':') {
        Some((host, port)) => [host.trim_matches(['[', ']']).to_owned(), port.to_owned()],
        None => [address.to_owned(), "0".to_owned()],
    }
}

fn client_row(client: &ClientReport) -> Vec<String> {
    let [address, port] = split_address(&client.address);
    let [local_address, local_port] = split_address(&client.local_address);
    vec![
        "C".into(),
        client.key.user.to_string(),
        client.key.database.to_string(),
        client.state.into(),
        address,
        port,
        local_address,
        local_port,
        time::utc(client.connected_us),
        time::utc(client.request_us),
        (client.wait_us / 1_000_000).to_string(),
        (client.wait_us % 1_000_000).to_string(),
        "0".into(),
        client.id.clone(),
        if client.server_process_id == 0 {
            String::new()
        } else {
            client.server_process_id.to_string()
        },
        client.process_id.to_string(),
        String::new(),
        client.application_name.clone(),
        "0".into(),
        client.worker.to_string(),
        client.pinned.into(),
    ]
}

fn server_row(server: &ServerReport) -> Vec<String> {
    let [address, port] = split_address(&server.address);
    vec![
        "S".into(),
        server.key.user.to_string(),
        server.key.database.to_string(),
        server.state.into(),
        address,
        port,
        String::new(),
        "0".into(),
        time::utc(server.connected_us),
        time::utc(server.request_us),
        "0".into(),
        "0".into(),
        "0".into(),
        server.id.clone(),
        String::new(),
        server.process_id.to_string(),
        String::new(),
        String::new(),
        "0".into(),
    ]
}

fn stats_row(database: String, counters: &Counters, seconds: u64) -> Vec<String> {
    let per = |amount: u64, count: u64| amount.checked_div(count).unwrap_or(0).to_string();
    vec![
        database,
        counters.assignments.to_string(),
        counters.transactions.to_string(),
        counters.queries.to_string(),
        counters.received.to_string(),
        counters.sent.to_string(),
        counters.transaction_us.to_string(),
        counters.query_us.to_string(),
        counters.wait_us.to_string(),
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

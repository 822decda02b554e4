//! Reports of this core on its pools, clients and server connections, for the core that asks. Asks nobody itself.

use std::rc::Rc;

use super::{
    cancel,
    clients::{ClientInfo, ClientState},
    core::Worker,
    pool::{
        backend::{Backend, BackendInfo},
        set::PoolSet,
    },
};
use crate::{
    cluster::{
        budget::PoolKey,
        report::{ClientReport, PoolCancels, PoolReport, Report, ReportKind, ServerReport},
        settings::PoolMode,
    },
    session::state::pin::Pin,
    time::{self, Micros},
};

/// Report of this core, of one kind.
pub(super) fn report(worker: &Rc<Worker>, kind: ReportKind) -> Report {
    match kind {
        ReportKind::Pools => Report::Pools(pool_reports(worker)),
        ReportKind::Clients => Report::Clients(
            worker
                .clients
                .all()
                .iter()
                .map(|info| client_report(worker, info))
                .collect(),
        ),
        ReportKind::Servers => Report::Servers(server_reports(worker)),
        ReportKind::Cancels => Report::Cancels(worker.id, worker.cancels.counts()),
        ReportKind::Nodes => Report::Nodes(worker.counters.answered()),
        ReportKind::Pins => Report::Pins(worker.counters.pins()),
        ReportKind::Timeouts => Report::Timeouts(worker.counters.timeouts()),
        ReportKind::Transactions => Report::Transactions(oldest_transactions(worker)),
    }
}

/// When the oldest transaction of this core began, by node.
fn oldest_transactions(worker: &Worker) -> Vec<Option<Micros>> {
    let mut oldest = vec![None; worker.with_snapshot(|snapshot| snapshot.nodes.len())];
    for info in worker.clients.all() {
        let node = info.server.borrow().as_ref().map(|server| server.node);
        let (Some(node), Some(began)) = (node, info.times.transaction.get()) else {
            continue;
        };
        let began = worker.shared.budgets.micros(began);
        if let Some(oldest) = oldest.get_mut(usize::from(node.0)) {
            *oldest = Some(oldest.map_or(began, |oldest: Micros| oldest.min(began)));
        }
    }
    oldest
}

fn pool_reports(worker: &Worker) -> Vec<PoolReport> {
    let mut cancels = cancel::by_pool(worker);
    let pools = worker.pool_sets();
    let report = |pool: &Rc<PoolSet>| PoolReport {
        cancels: cancels.remove(&pool.key).unwrap_or_default(),
        ..pool_report(worker, pool)
    };
    pools.iter().map(report).collect()
}

fn pool_report(worker: &Worker, pool: &PoolSet) -> PoolReport {
    let [open, idle, opening, tested] = pool.counts();
    let (waiting, since) = pool.queue();
    let now = worker.reactor.now();
    PoolReport {
        key: pool.key.clone(),
        mode: match pool.mode() {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        },
        clients_active: pool.clients.get() - waiting.min(pool.clients.get()),
        clients_waiting: waiting,
        cancels: PoolCancels::default(),
        servers_active: open - idle - opening - tested,
        servers_idle: idle,
        servers_tested: tested,
        servers_login: opening,
        idle_beside_us: pool.idle_beside(),
        wait_us_max: since.map_or(0, |since| {
            now.saturating_duration_since(since).as_micros() as u64
        }),
        counters: *pool.counters.borrow(),
    }
}

fn client_report(worker: &Worker, info: &ClientInfo) -> ClientReport {
    let ago_us = worker
        .reactor
        .now()
        .saturating_duration_since(info.times.request.get())
        .as_micros() as u64;
    ClientReport {
        worker: worker.id,
        key: info.key.clone(),
        state: match info.state.get() {
            ClientState::Waiting => "waiting",
            ClientState::Idle => "idle",
            ClientState::Active => "active",
        },
        address: info.origin.address.clone(),
        local_address: info.origin.local_address.clone(),
        connected_us: info.origin.connected_us,
        request_us: time::unix_micros().saturating_sub(ago_us),
        wait_us: if info.state.get() == ClientState::Waiting {
            ago_us
        } else {
            0
        },
        id: format!("{}:{}", worker.id, info.id),
        server_process_id: info
            .server
            .borrow()
            .as_ref()
            .map_or(0, |server| server.process_id),
        process_id: info.backend_key.process_id,
        application_name: String::from_utf8_lossy(&info.application_name.borrow()).into_owned(),
        pinned: info.pinned.get().map_or("", Pin::reason),
    }
}

/// Idle connections are known by their pools, lent ones by the clients that hold them.
fn server_reports(worker: &Worker) -> Vec<ServerReport> {
    let mut servers = Vec::new();
    for pool in worker.pools() {
        pool.for_each_idle(|backend: &Backend| {
            let idle_us = worker
                .reactor
                .now()
                .saturating_duration_since(backend.used.get())
                .as_micros() as u64;
            servers.push(server_report(
                worker,
                &pool.key,
                &backend.info,
                "idle",
                idle_us,
            ));
        });
    }
    for info in worker.clients.all() {
        let held = info.server.borrow();
        let ago_us = worker
            .reactor
            .now()
            .saturating_duration_since(info.times.request.get())
            .as_micros() as u64;
        servers.extend(
            held.iter()
                .map(|server| server_report(worker, &info.key, server, "active", ago_us)),
        );
        let kept = info.kept.borrow();
        servers.extend(
            kept.iter()
                .map(|server| server_report(worker, &info.key, server, "used", ago_us)),
        );
    }
    servers
}

fn server_report(
    worker: &Worker,
    key: &PoolKey,
    server: &BackendInfo,
    state: &'static str,
    ago_us: u64,
) -> ServerReport {
    ServerReport {
        key: key.clone(),
        state,
        node: worker.with_snapshot(|snapshot| snapshot.node(server.node).name.clone()),
        address: server.address.to_string(),
        connected_us: server.opened_us,
        request_us: time::unix_micros().saturating_sub(ago_us),
        id: format!("{}:{}", worker.id, server.id),
        process_id: server.process_id,
    }
}

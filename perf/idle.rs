//! Owns the measurement of silence: what 10,000 clients that have asked once cost a proxy in memory, and what a proxy
//! without a query costs in CPU. It judges neither.

use crate::{
    peers::{LOAD_CPU, Peer, Workshop},
    process::{check_interrupt, wait_for},
    procfs,
    suite::MOCK_USER,
};
use std::{net::SocketAddrV4, process::Command, thread, time::Duration};

/// Clients held open.
const CLIENTS: usize = 10_000;
/// How long all logins, or all farewells, may take.
const LIMIT: Duration = Duration::from_secs(90);
/// Silence during which CPU is counted.
const WATCH: Duration = Duration::from_secs(5);
/// Pause after the logins before memory is read, so that what they needed has been given back.
const SETTLE: Duration = Duration::from_secs(1);

/// A proxy with its idle clients, or why that failed.
pub(crate) type IdleOutcome = (Peer, Result<Idle, String>);

/// Cost of idle clients to one proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) before: procfs::Memory,
    pub(crate) after: procfs::Memory,
    /// CPU of the proxy while nothing happened: without clients, then with all of them.
    pub(crate) empty: Rest,
    pub(crate) full: Rest,
}

/// CPU used while nobody asked anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) cpu_ms: f64,
    /// Clock ticks, user and system.
    pub(crate) ticks: u64,
}

impl Idle {
    /// Growth of the proxy's share of memory over the clients.
    pub(crate) fn bytes_per_client(&self) -> f64 {
        self.after.pss_kib.saturating_sub(self.before.pss_kib) as f64 * 1024.0 / CLIENTS as f64
    }
}

/// Seconds over which a `Rest` is counted.
pub(crate) fn watched_seconds() -> u64 {
    WATCH.as_secs()
}

/// Fresh proxies, one after the other.
pub(crate) fn measure(
    workshop: &mut Workshop,
    present: &[Peer],
) -> Result<Vec<IdleOutcome>, String> {
    let mock = workshop.start_mock()?;
    let mut found = Vec::new();
    for peer in [Peer::Pgring, Peer::PgBouncer]
        .into_iter()
        .filter(|peer| present.contains(peer))
    {
        eprintln!("perf: idle through {}", peer.label());
        let outcome = measure_peer(workshop, peer, mock.address);
        check_interrupt()?;
        found.push((peer, outcome));
    }
    Ok(found)
}

fn measure_peer(
    workshop: &mut Workshop,
    peer: Peer,
    backend: SocketAddrV4,
) -> Result<Idle, String> {
    let proxy = workshop.start_peer(peer, backend, MOCK_USER)?;
    let watched = procfs::tree(proxy.process.id());
    let empty = rest(&watched);
    let before = procfs::memory(&watched);
    let mut command = Command::new(&workshop.perf);
    command.args([
        "idle",
        "--address",
        &proxy.address.to_string(),
        "--clients",
        &CLIENTS.to_string(),
    ]);
    let mut clients = workshop.start(command, Some(LOAD_CPU), None, libc::SIGTERM)?;
    wait_for("10,000 logins", LIMIT, || {
        clients.check()?;
        Ok(clients.output().contains("ready").then_some(()))
    })?;
    thread::sleep(SETTLE);
    let after = procfs::memory(&watched);
    let full = rest(&watched);
    drop(clients.input());
    clients.finish(LIMIT)?;
    Ok(Idle {
        before,
        after,
        empty,
        full,
    })
}

fn rest(watched: &[u32]) -> Rest {
    let (cpu_ns, ticks) = (procfs::cpu_ns(watched), procfs::ticks(watched));
    thread::sleep(WATCH);
    Rest {
        cpu_ms: procfs::cpu_ns(watched).saturating_sub(cpu_ns) as f64 / 1e6,
        ticks: procfs::ticks(watched).saturating_sub(ticks),
    }
}

//! Owns `perf run`: starts everything, measures in alternating rounds, hands the findings to the report, and ends
//! everything. It decides nothing about what is good.

use crate::{
    chart, machine,
    peers::{LOAD_CPU, Peer, Running, Workshop},
    pgbench::{self, Cluster},
    process::{catch_interrupts, wait_for},
    procfs, report,
    sample::{Rounds, Sample},
    scenarios::{self, Scenario, Work},
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// User and database of everything that runs against the mock server.
const MOCK_USER: &str = "perf";
/// Idle clients held open.
const IDLE_CLIENTS: usize = 10_000;
/// How long 10,000 logins may take.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// Idleness during which CPU ticks are counted.
const IDLE_WATCH: Duration = Duration::from_secs(3);
/// Seconds after the logins before memory is read, so that buffers of the storm have been given back.
const IDLE_SETTLE: Duration = Duration::from_secs(1);

/// Arguments of `perf run`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Short rounds: to see that everything runs, not to believe the figures
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name begins so (may be repeated): simple, prepared-64, storm, big, idle, pgbench ...
    #[arg(long)]
    only: Vec<String>,
    /// Alternating rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Measured seconds per round
    #[arg(long)]
    seconds: Option<f64>,
    /// The pgring to measure; next to this program when not given
    #[arg(long)]
    pgring: Option<PathBuf>,
    /// Proxies to leave out: pgring, pgbouncer, pgpool
    #[arg(long)]
    without: Vec<String>,
    /// Write the record and the chart even for a part of the suite
    #[arg(long)]
    record: bool,
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) warmup: f64,
    pub(crate) seconds: f64,
}

impl Arguments {
    fn pace(&self) -> Pace {
        let (rounds, warmup, seconds) = if self.quick {
            (3, 0.2, 0.6)
        } else {
            (5, 0.5, 2.0)
        };
        Pace {
            rounds: self.rounds.unwrap_or(rounds),
            warmup,
            seconds: self.seconds.unwrap_or(seconds),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|beginning| name.starts_with(beginning.as_str()))
    }

    fn whole(&self) -> bool {
        self.only.is_empty() && self.without.is_empty() && !self.quick
    }

    fn leaves_out(&self, peer: Peer) -> bool {
        let label = peer.label().to_lowercase().replace('-', "");
        self.without
            .iter()
            .any(|name| label.starts_with(&name.to_lowercase()))
    }
}

/// What one scenario found.
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) rows: Vec<(Peer, Rounds)>,
}

/// A proxy with its idle clients, or why that failed.
pub(crate) type IdleOutcome = (Peer, Result<Idle, String>);

/// What 10,000 idle clients cost one proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) clients: usize,
    pub(crate) before: procfs::Memory,
    pub(crate) after: procfs::Memory,
    /// CPU milliseconds used while nothing happened, without clients and with them.
    pub(crate) empty_cpu_ms: f64,
    pub(crate) full_cpu_ms: f64,
    pub(crate) full_ticks: u64,
    pub(crate) watched_seconds: f64,
}

/// Everything a run found.
pub(crate) struct Findings {
    pub(crate) pace: Pace,
    pub(crate) findings: Vec<Finding>,
    pub(crate) idle: Vec<IdleOutcome>,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) commands: Vec<String>,
}

struct Suite {
    workshop: Workshop,
    pace: Pace,
    running: HashMap<Peer, Running>,
    /// Proxies that can take part.
    present: Vec<Peer>,
    versions: Vec<(String, String)>,
}

/// Runs the suite and prints its tables.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    catch_interrupts()?;
    if procfs::cpus() <= LOAD_CPU {
        return Err(
            "two CPUs are needed: one for the proxy, one for the mock server and the load".into(),
        );
    }
    let prepared = procfs::prepare(Some(LOAD_CPU));
    prepared.map_err(|error| format!("cannot prepare this process: {error}"))?;
    let mut suite = Suite::new(arguments)?;
    let findings = suite.measure_all(arguments)?;
    let facts = machine::facts(&findings);
    println!("{}", report::text(&findings, &facts));
    if arguments.whole() || arguments.record {
        write_record(&findings, &facts)?;
    }
    Ok(())
}

impl Suite {
    fn new(arguments: &Arguments) -> Result<Suite, String> {
        let pgring = arguments.pgring.clone().map_or_else(pgring_beside, Ok)?;
        let mut suite = Suite {
            workshop: Workshop::new(pgring)?,
            pace: arguments.pace(),
            running: HashMap::new(),
            present: Vec::new(),
            versions: Vec::new(),
        };
        for peer in Peer::ALL
            .into_iter()
            .filter(|peer| !arguments.leaves_out(*peer))
        {
            match suite.workshop.version(peer) {
                Ok(version) => {
                    suite.present.push(peer);
                    suite.versions.push((peer.label().into(), version));
                }
                Err(reason) => {
                    eprintln!("perf: {} is left out: {reason}", peer.label());
                    suite
                        .versions
                        .push((peer.label().into(), format!("left out: {reason}")));
                }
            }
        }
        Ok(suite)
    }

    fn measure_all(&mut self, arguments: &Arguments) -> Result<Findings, String> {
        let wanted = scenarios::all()
            .into_iter()
            .filter(|scenario| arguments.wants(&scenario.name));
        let (mocked, real): (Vec<_>, Vec<_>) =
            wanted.partition(|scenario| matches!(scenario.work, Work::Load(_)));
        let mut findings = Vec::new();
        let mut idle = Vec::new();
        if !mocked.is_empty() {
            let mock = self.workshop.start_mock()?;
            self.start_peers(&mocked, mock.address, MOCK_USER);
            findings.extend(self.measure_each(&mocked, None)?);
        }
        if arguments.wants("idle") {
            idle = self.measure_idle()?;
        }
        if !real.is_empty() {
            let cluster = Cluster::start(&mut self.workshop)?;
            self.versions
                .push(("PostgreSQL".into(), cluster.version.clone()));
            self.start_peers(&real, cluster.address, pgbench::USER);
            findings.extend(self.measure_each(&real, Some(&cluster))?);
        }
        Ok(Findings {
            pace: self.pace,
            findings,
            idle,
            versions: std::mem::take(&mut self.versions),
            commands: std::mem::take(&mut self.workshop.commands),
        })
    }

    /// Starts the proxies that the scenarios need; one that does not come up is left out, and said so.
    fn start_peers(&mut self, scenarios: &[Scenario], backend: std::net::SocketAddrV4, user: &str) {
        self.running.clear();
        for peer in self.present.clone() {
            if !scenarios
                .iter()
                .any(|scenario| scenario.peers.contains(&peer))
            {
                continue;
            }
            match self.workshop.start_peer(peer, backend, user) {
                Ok(running) => drop(self.running.insert(peer, running)),
                Err(reason) => eprintln!("perf: {} does not start: {reason}", peer.label()),
            }
        }
    }

    fn measure_each(
        &mut self,
        scenarios: &[Scenario],
        cluster: Option<&Cluster>,
    ) -> Result<Vec<Finding>, String> {
        let measured = scenarios
            .iter()
            .map(|scenario| self.measure_scenario(scenario, cluster))
            .collect();
        self.running.clear();
        measured
    }

    /// Alternates the proxies: A B C, A B C, so that drift of the machine meets all of them.
    fn measure_scenario(
        &mut self,
        scenario: &Scenario,
        cluster: Option<&Cluster>,
    ) -> Result<Finding, String> {
        let peers: Vec<Peer> = scenario
            .peers
            .iter()
            .copied()
            .filter(|peer| self.running.contains_key(peer))
            .collect();
        let mut rows: Vec<(Peer, Rounds)> = peers
            .into_iter()
            .map(|peer| (peer, Rounds::default()))
            .collect();
        for round in 1..=self.pace.rounds {
            eprintln!("perf: {} {round}/{}", scenario.name, self.pace.rounds);
            for (peer, rounds) in &mut rows {
                let sample = self.measure_once(*peer, &scenario.work, cluster);
                if let Err(reason) = &sample {
                    eprintln!("perf: {} through {}: {reason}", scenario.name, peer.label());
                    if reason == "interrupted" {
                        return Err(reason.clone());
                    }
                }
                rounds.0.push(sample);
            }
        }
        Ok(Finding {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            rows,
        })
    }

    fn measure_once(
        &mut self,
        peer: Peer,
        work: &Work,
        cluster: Option<&Cluster>,
    ) -> Result<Sample, String> {
        let running = &self.running[&peer];
        match (work, cluster) {
            (Work::Pgbench(work), Some(cluster)) => cluster.measure(
                &mut self.workshop,
                running.address,
                *work,
                self.pace.seconds,
            ),
            (Work::Pgbench(_), None) => Err("pgbench without a cluster".into()),
            (Work::Load(arguments), _) => {
                let watch = procfs::tree(running.process.id());
                let mut command = Command::new(&self.workshop.perf);
                command
                    .args(["load", "--address", &running.address.to_string()])
                    .args(arguments);
                command.args(["--warmup", &self.pace.warmup.to_string()]);
                command.args(["--seconds", &self.pace.seconds.to_string()]);
                command.args(["--watch", &joined(&watch)]);
                let limit = Duration::from_secs_f64(self.pace.seconds * 2.0 + 70.0);
                let process = self
                    .workshop
                    .start(command, Some(LOAD_CPU), None, libc::SIGTERM)?;
                let output = process.finish(limit)?;
                Sample::read(&output).ok_or_else(|| format!("no sample in: {output}"))
            }
        }
    }

    /// Fresh proxies, one after the other, each with 10,000 clients that have asked once and then stay silent.
    fn measure_idle(&mut self) -> Result<Vec<IdleOutcome>, String> {
        let mock = self.workshop.start_mock()?;
        let mut found = Vec::new();
        let peers =
            [Peer::Pgring, Peer::PgBouncer].map(|peer| (peer, self.present.contains(&peer)));
        for (peer, _) in peers.into_iter().filter(|(_, present)| *present) {
            eprintln!("perf: idle through {}", peer.label());
            let outcome = self.measure_idle_once(peer, mock.address);
            if outcome
                .as_ref()
                .is_err_and(|reason| reason == "interrupted")
            {
                return Err("interrupted".into());
            }
            if let Err(reason) = &outcome {
                eprintln!("perf: idle through {}: {reason}", peer.label());
            }
            found.push((peer, outcome));
        }
        Ok(found)
    }

    fn measure_idle_once(
        &mut self,
        peer: Peer,
        backend: std::net::SocketAddrV4,
    ) -> Result<Idle, String> {
        let proxy = self.workshop.start_peer(peer, backend, MOCK_USER)?;
        let watched = procfs::tree(proxy.process.id());
        let (empty_cpu_ms, _) = cpu_while_idle(&watched);
        let before = procfs::memory(&watched);
        let mut command = Command::new(&self.workshop.perf);
        command.args([
            "idle",
            "--address",
            &proxy.address.to_string(),
            "--clients",
            &IDLE_CLIENTS.to_string(),
        ]);
        let mut clients = self
            .workshop
            .start(command, Some(LOAD_CPU), None, libc::SIGTERM)?;
        wait_for("10,000 logins", IDLE_LIMIT, || {
            clients.check()?;
            Ok(clients.output().contains("ready").then_some(()))
        })?;
        thread::sleep(IDLE_SETTLE);
        let after = procfs::memory(&watched);
        let (full_cpu_ms, full_ticks) = cpu_while_idle(&watched);
        drop(clients.input());
        clients.finish(IDLE_LIMIT)?;
        let watched_seconds = IDLE_WATCH.as_secs_f64();
        Ok(Idle {
            clients: IDLE_CLIENTS,
            before,
            after,
            empty_cpu_ms,
            full_cpu_ms,
            full_ticks,
            watched_seconds,
        })
    }
}

/// CPU milliseconds and clock ticks that the processes use while nobody asks them anything.
fn cpu_while_idle(watched: &[u32]) -> (f64, u64) {
    let (cpu, ticks) = (procfs::cpu_ns(watched), procfs::ticks(watched));
    thread::sleep(IDLE_WATCH);
    (
        (procfs::cpu_ns(watched) - cpu) as f64 / 1e6,
        procfs::ticks(watched) - ticks,
    )
}

fn joined(numbers: &[u32]) -> String {
    numbers
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// Benches lie in `target/release/deps`, the binary one folder above.
fn pgring_beside() -> Result<PathBuf, String> {
    let own =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .ok_or("this program lies in no folder")?;
    Ok(folder.join("pgring"))
}

fn write_record(findings: &Findings, facts: &machine::Facts) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/record");
    let failed = |error: std::io::Error| format!("cannot write to {}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    let record = folder.join(format!("{}-{}.md", facts.date, facts.commit));
    fs::write(&record, report::record(findings, facts)).map_err(failed)?;
    println!("record: {}", record.display());
    if let Some(bars) = report::bars(findings) {
        let caption = format!("{}, {}, Linux {}", facts.date, facts.cpu, facts.kernel);
        let picture = chart::bars(
            "Queries per second on one core, 64 clients",
            &caption,
            &bars,
        );
        fs::write(folder.join("latest.svg"), picture).map_err(failed)?;
    }
    Ok(())
}

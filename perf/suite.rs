//! Owns `perf run`: starts everything, measures in alternating rounds, hands the findings to the report, and ends
//! everything. It decides nothing about what is good.

use crate::{
    chart,
    handover::Handover,
    idle::{self, IdleOutcome},
    machine,
    pauses::Pauses,
    peers::{LOAD_CPU, Peer, Running, Workshop},
    pgbench::{self, Cluster},
    process::{catch_interrupts, check_interrupt},
    procfs, report,
    sample::{Metric, Rounds, Sample},
    scenarios::{self, Scenario, Work},
};
use std::{
    collections::HashMap,
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// User and database of everything that runs against the mock server.
pub(crate) const MOCK_USER: &str = "perf";
/// How long a load may take beyond its measured time: logins, and waiting for answers that do not come.
const LOAD_LIMIT: Duration = Duration::from_secs(70);
/// How long the rounds of pauses may take: each builds a cluster.
const PAUSES_LIMIT: Duration = Duration::from_secs(600);

/// Measured queries of each kind.
const HANDOVER_QUERIES: &str = "50000";

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

/// Results of one scenario, by peer.
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) rows: Vec<(Peer, Rounds)>,
}

/// Everything a run found.
pub(crate) struct Findings {
    pub(crate) pace: Pace,
    pub(crate) findings: Vec<Finding>,
    pub(crate) idle: Vec<IdleOutcome>,
    pub(crate) handover: Option<Handover>,
    pub(crate) pauses: Option<Pauses>,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) commands: Vec<String>,
    /// Peers that failed, in order, each with its error.
    pub(crate) failures: Vec<(Peer, String)>,
}

struct Suite {
    workshop: Workshop,
    pace: Pace,
    running: HashMap<Peer, Running>,
    /// Proxies that can take part.
    present: Vec<Peer>,
    versions: Vec<(String, String)>,
    failures: Vec<(Peer, String)>,
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
    match findings
        .failures
        .iter()
        .filter(|(peer, _)| peer.is_ours())
        .count()
    {
        0 => Ok(()),
        failures => Err(format!(
            "pgring failed {failures} times; the reasons are above"
        )),
    }
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
            failures: Vec::new(),
        };
        for peer in Peer::ALL
            .into_iter()
            .filter(|peer| !arguments.leaves_out(*peer))
        {
            match suite.workshop.version(peer) {
                Ok(_) if peer.is_ours() && peer != Peer::Pgring => suite.present.push(peer),
                Ok(version) => {
                    suite.present.push(peer);
                    suite.versions.push((peer.label().into(), version));
                }
                Err(reason) => {
                    suite
                        .versions
                        .push((peer.label().into(), format!("left out: {reason}")));
                    suite.note_failure(peer, "left out", &reason);
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
        let (mut handover, mut pauses) = (None, None);
        if !mocked.is_empty() {
            let mock = self.workshop.start_mock()?;
            self.start_peers(&mocked, mock.address, MOCK_USER);
            findings.extend(self.measure_each(&mocked, None)?);
        }
        if arguments.wants("idle") {
            idle = idle::measure(&mut self.workshop, &self.present)?;
            for (peer, outcome) in &idle {
                if let Err(reason) = outcome {
                    self.note_failure(*peer, "idle", reason);
                }
            }
        }
        if arguments.wants("handover") && self.present.contains(&Peer::Pgring) {
            match self.measure_handover() {
                Ok(measured) => handover = Some(measured),
                Err(reason) => self.note_failure(Peer::Pgring, "handover", &reason),
            }
            check_interrupt()?;
        }
        if arguments.wants("pauses") && self.present.contains(&Peer::Pgring) {
            match self.measure_pauses() {
                Ok(measured) => pauses = Some(measured),
                Err(reason) => self.note_failure(Peer::Pgring, "pauses", &reason),
            }
            check_interrupt()?;
        }
        if !real.is_empty() {
            let mut cluster = Cluster::start(&mut self.workshop)?;
            self.versions
                .push(("PostgreSQL".into(), cluster.version.clone()));
            let (splitting, plain): (Vec<_>, Vec<_>) = real
                .into_iter()
                .partition(|scenario| scenario.peers.contains(&Peer::PgringSplits));
            self.start_peers(&plain, cluster.address, pgbench::USER);
            findings.extend(self.measure_each(&plain, Some(&cluster))?);
            if !splitting.is_empty() {
                let standby = cluster.add_standby(&mut self.workshop)?;
                self.workshop.standby = Some(standby);
                self.start_peers(&splitting, cluster.address, pgbench::USER);
                findings.extend(self.measure_each(&splitting, Some(&cluster))?);
            }
        }
        Ok(Findings {
            pace: self.pace,
            findings,
            idle,
            handover,
            pauses,
            versions: std::mem::take(&mut self.versions),
            commands: std::mem::take(&mut self.workshop.commands),
            failures: std::mem::take(&mut self.failures),
        })
    }

    /// Starts the proxies that the scenarios need; one that does not come up is left out, and said so.
    fn start_peers(&mut self, scenarios: &[Scenario], backend: SocketAddrV4, user: &str) {
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
                Err(reason) => self.note_failure(peer, "start", &reason),
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
                check_interrupt()?;
                if let Err(reason) = &sample {
                    self.note_failure(*peer, &scenario.name, reason);
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
        let (address, watch) = (running.address, procfs::tree(running.process.id()));
        match (work, cluster) {
            (Work::Load(arguments), _) => {
                let with_settings = peer == Peer::PgringSettings;
                let settings = with_settings.then(|| "--settings".to_owned());
                let arguments: Vec<_> = arguments.iter().cloned().chain(settings).collect();
                self.measure_load(address, &watch, &arguments)
            }
            (Work::Pgbench(work), Some(cluster)) => {
                self.measure_pgbench(address, &watch, *work, cluster)
            }
            (Work::Pgbench(_), None) => Err("pgbench without a cluster".into()),
        }
    }

    fn measure_load(
        &mut self,
        address: SocketAddrV4,
        watch: &[u32],
        arguments: &[String],
    ) -> Result<Sample, String> {
        let mut command = Command::new(&self.workshop.perf);
        command
            .args(["load", "--address", &address.to_string()])
            .args(arguments);
        command.args(["--warmup", &self.pace.warmup.to_string()]);
        command.args(["--seconds", &self.pace.seconds.to_string()]);
        command.args(["--watch", &joined(watch)]);
        let limit = Duration::from_secs_f64(self.pace.seconds * 2.0) + LOAD_LIMIT;
        let output = self
            .workshop
            .start(command, Some(LOAD_CPU), None, libc::SIGTERM)?
            .finish(limit)?;
        Sample::read(&output).ok_or_else(|| format!("no sample in: {output}"))
    }

    /// In a process of its own, because this one is bound to a CPU.
    fn measure_handover(&mut self) -> Result<Handover, String> {
        eprintln!("perf: handover");
        let mut command = Command::new(&self.workshop.perf);
        command.args(["handover", "--queries", HANDOVER_QUERIES]);
        command.arg("--pgring").arg(&self.workshop.pgring);
        let output = self
            .workshop
            .start(command, None, None, libc::SIGINT)?
            .finish(LOAD_LIMIT)?;
        Handover::read(&output).ok_or_else(|| format!("no figures in: {output}"))
    }

    /// Likewise.
    fn measure_pauses(&mut self) -> Result<Pauses, String> {
        eprintln!("perf: pauses");
        let mut command = Command::new(&self.workshop.perf);
        command
            .args(["pauses", "--pgring"])
            .arg(&self.workshop.pgring);
        let output = self
            .workshop
            .start(command, None, None, libc::SIGINT)?
            .finish(PAUSES_LIMIT)?;
        Pauses::read(&output).ok_or_else(|| format!("no figures in: {output}"))
    }

    /// pgbench knows nothing of the proxy's CPU: that is taken around it, logins included.
    fn measure_pgbench(
        &mut self,
        address: SocketAddrV4,
        watch: &[u32],
        work: pgbench::Work,
        cluster: &Cluster,
    ) -> Result<Sample, String> {
        let seconds = self.pace.seconds.ceil();
        let before_ns = procfs::cpu_ns(watch);
        let mut sample = cluster.measure(&mut self.workshop, address, work, seconds)?;
        let used_ns = procfs::cpu_ns(watch).saturating_sub(before_ns) as f64;
        let transactions = sample.of(Metric::QueriesPerSecond) * seconds;
        sample.set(Metric::CpuMicroseconds, used_ns / 1e3 / transactions);
        sample.set(Metric::Busy, used_ns / 1e9 / seconds);
        Ok(sample)
    }

    /// Says at once, and keeps for the record, what did not work.
    fn note_failure(&mut self, peer: Peer, what: &str, reason: &str) {
        eprintln!("perf: {}: {what}: {reason}", peer.label());
        self.failures.push((peer, format!("{what}: {reason}")));
    }
}

fn joined(numbers: &[u32]) -> String {
    numbers
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// Benches lie in `target/release/deps`, the binary one folder above.
pub(crate) fn pgring_beside() -> Result<PathBuf, String> {
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

//! Owns the real work: a temporary PostgreSQL, pgbench, and the figures that pgbench prints. The cluster is thrown away;
//! it is tuned so that the proxy, not the disk, decides.

use crate::{
    peers::{Workshop, first_line, free_address},
    probe,
    process::{Process, give_to, wait_for},
    sample::{Metric, Sample},
};
use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Superuser, owner and only user of the cluster; also its database.
pub(crate) const USER: &str = "postgres";
/// pgbench's scale factor: 1,000,000 accounts, all in shared buffers.
const SCALE: &str = "10";
const SETUP_LIMIT: Duration = Duration::from_secs(120);
/// The oldest server that is measured.
const VERSION_MIN: u32 = 15;

/// How the cluster is tuned, beyond initdb.
const SETTINGS: [&str; 7] = [
    "fsync=off",
    "synchronous_commit=off",
    "shared_buffers=256MB",
    "max_connections=400",
    "autovacuum=off",
    "max_wal_size=4GB",
    "unix_socket_directories=",
];

/// A running cluster with pgbench's tables.
pub(crate) struct Cluster {
    // The server ends with this value.
    _server: Process,
    _standby: Option<Process>,
    pub(crate) address: SocketAddrV4,
    programs: PathBuf,
    pub(crate) version: String,
}

/// One pgbench run: statements, protocol, clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) select_only: bool,
    pub(crate) protocol: &'static str,
    pub(crate) clients: usize,
    pub(crate) reconnect: bool,
}

impl Cluster {
    /// Makes, starts and fills a cluster; the folder goes with the workshop.
    pub(crate) fn start(workshop: &mut Workshop) -> Result<Cluster, String> {
        let programs = newest_programs(Path::new("/usr/lib/postgresql"))
            .ok_or("no PostgreSQL 15 or newer found")?;
        let data = workshop.folder.path().join("cluster");
        fs::create_dir(&data)
            .map_err(|error| format!("cannot make {}: {error}", data.display()))?;
        give_to(&data, workshop.account)?;
        let mut initdb = Command::new(programs.join("initdb"));
        initdb
            .args([
                "-A",
                "trust",
                "-U",
                USER,
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data);
        workshop
            .start(initdb, None, workshop.account, libc::SIGTERM)?
            .finish(SETUP_LIMIT)?;
        let address = free_address()?;
        let server = workshop.start(
            server(&programs, &data, address),
            None,
            workshop.account,
            libc::SIGINT,
        )?;
        let version = first_line(Command::new(programs.join("postgres")).arg("--version"))?;
        let mut cluster = Cluster {
            _server: server,
            _standby: None,
            address,
            programs,
            version,
        };
        cluster.fill(workshop)?;
        Ok(cluster)
    }

    /// Starts a standby of it.
    pub(crate) fn add_standby(&mut self, workshop: &mut Workshop) -> Result<SocketAddrV4, String> {
        let data = workshop.folder.path().join("standby");
        let mut copy = Command::new(self.programs.join("pg_basebackup"));
        copy.args(["-h", &self.address.ip().to_string()])
            .args(["-p", &self.address.port().to_string()])
            .args(["-U", USER, "-R", "-c", "fast", "--no-sync", "-D"])
            .arg(&data);
        workshop
            .start(copy, None, workshop.account, libc::SIGTERM)?
            .finish(SETUP_LIMIT)?;
        let address = free_address()?;
        let mut standby = workshop.start(
            server(&self.programs, &data, address),
            None,
            workshop.account,
            libc::SIGINT,
        )?;
        wait_for("the standby", SETUP_LIMIT, || {
            standby.check()?;
            Ok(probe::answers(address, USER).then_some(()))
        })?;
        self._standby = Some(standby);
        Ok(address)
    }

    fn fill(&mut self, workshop: &mut Workshop) -> Result<(), String> {
        let address = self.address;
        wait_for("PostgreSQL", SETUP_LIMIT, || {
            self._server.check()?;
            Ok(probe::answers(address, USER).then_some(()))
        })?;
        let mut fill = self.pgbench(address);
        fill.args(["-i", "-q", "-s", SCALE]);
        workshop
            .start(fill, None, workshop.account, libc::SIGTERM)?
            .finish(SETUP_LIMIT)?;
        Ok(())
    }

    fn pgbench(&self, address: SocketAddrV4) -> Command {
        let mut command = Command::new(self.programs.join("pgbench"));
        command.args([
            "-h",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
            "-U",
            USER,
        ]);
        command
    }

    /// Runs pgbench through `address`; its rate and mean latency.
    pub(crate) fn measure(
        &self,
        workshop: &mut Workshop,
        address: SocketAddrV4,
        work: Work,
        seconds: f64,
    ) -> Result<Sample, String> {
        let mut command = self.pgbench(address);
        command
            .args(work.arguments())
            .args(["-T", &(seconds.ceil() as u64).to_string(), USER]);
        let limit = Duration::from_secs_f64(seconds * 3.0 + 30.0);
        let output = workshop
            .start(command, None, workshop.account, libc::SIGTERM)?
            .finish(limit)?;
        read_figures(&output).ok_or_else(|| format!("pgbench printed no figures: {output}"))
    }
}

impl Work {
    fn arguments(self) -> Vec<String> {
        let clients = self.clients.to_string();
        let mut arguments: Vec<String> = ["-n", "-M", self.protocol, "-c", &clients]
            .map(String::from)
            .into();
        arguments.extend(self.select_only.then(|| "-S".into()));
        arguments.extend(self.reconnect.then(|| "-C".into()));
        arguments
    }
}

fn server(programs: &Path, data: &Path, address: SocketAddrV4) -> Command {
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(data).args([
        "-h",
        &address.ip().to_string(),
        "-p",
        &address.port().to_string(),
    ]);
    SETTINGS.iter().for_each(|setting| {
        command.args(["-c", setting]);
    });
    command
}

/// The folder with the programs of the newest server version installed the Debian way.
fn newest_programs(root: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(root).ok()?.flatten();
    let versions = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let usable = versions.filter(|version| root.join(format!("{version}/bin/initdb")).exists());
    let newest = usable.max().filter(|version| *version >= VERSION_MIN)?;
    Some(root.join(format!("{newest}/bin")))
}

/// Reads `tps = ` and `latency average = `; failed transactions make the run worthless.
fn read_figures(output: &str) -> Option<Sample> {
    let number = |prefix: &str| -> Option<f64> {
        let line = output.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.split_whitespace().next()?.parse().ok()
    };
    if number("number of failed transactions: ").is_some_and(|failed| failed > 0.0) {
        return None;
    }
    let mut sample = Sample::default();
    sample.set(Metric::QueriesPerSecond, number("tps = ")?);
    sample.set(Metric::P50Microseconds, number("latency average = ")? * 1e3);
    Some(sample)
}

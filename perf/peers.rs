//! Owns what stands between load and server: the floor, pgring and its peers, each with the configuration that makes it
//! do the same work, started on the proxy's CPU. It starts them and knows their versions; it measures nothing.

use crate::{
    probe,
    process::{Account, Process, Spec, give_to, last_lines, typed, wait_for},
};
use std::{
    fs,
    net::{SocketAddr, SocketAddrV4, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// CPU of the proxy under test.
pub(crate) const PROXY_CPU: usize = 0;
/// CPU of the mock server and the load generator.
pub(crate) const LOAD_CPU: usize = 1;
/// Server connections that every pool may open.
const POOL_SIZE: usize = 64;
/// Clients that every pool admits: the 10,000 idle ones and room.
const CLIENTS_MAX: usize = 12_000;
/// Processes of Pgpool-II, which serves one client with each; the scenarios with more clients leave it out.
pub(crate) const PGPOOL_CHILDREN: usize = 256;
/// How long a proxy may take until it answers a query.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// A proxy, or the yardstick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Floor,
    Pgring,
    /// pgring, whose clients have set something.
    PgringSettings,
    /// pgring with a standby that gets no reads: what it costs to look for one that does.
    PgringSplits,
    /// pgring with one worker that may run on every CPU.
    PgringOne,
    /// pgring with two cores.
    PgringTwo,
    PgBouncer,
    /// PgBouncer with session pooling, for what it cannot do per transaction.
    PgBouncerSession,
    Pgpool,
}

impl Peer {
    pub(crate) const ALL: [Peer; 9] = [
        Peer::Floor,
        Peer::Pgring,
        Peer::PgringSettings,
        Peer::PgringSplits,
        Peer::PgringOne,
        Peer::PgringTwo,
        Peer::PgBouncer,
        Peer::PgBouncerSession,
        Peer::Pgpool,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Peer::Floor => "floor",
            Peer::Pgring => "pgring",
            Peer::PgringSettings => "pgring (settings)",
            Peer::PgringSplits => "pgring (splitting)",
            Peer::PgringOne => "pgring (1 worker)",
            Peer::PgringTwo => "pgring (2 workers)",
            Peer::PgBouncer => "PgBouncer",
            Peer::PgBouncerSession => "PgBouncer (session)",
            Peer::Pgpool => "Pgpool-II",
        }
    }

    /// True for pgring, whatever it has to do.
    pub(crate) fn is_ours(self) -> bool {
        let ours = [
            Peer::Pgring,
            Peer::PgringSettings,
            Peer::PgringSplits,
            Peer::PgringOne,
            Peer::PgringTwo,
        ];
        ours.contains(&self)
    }

    fn file_name(self) -> &'static str {
        match self {
            Peer::Floor => "floor",
            Peer::Pgring => "pgring",
            Peer::PgringSettings => "pgring-settings",
            Peer::PgringSplits => "pgring-splits",
            Peer::PgringOne => "pgring-one",
            Peer::PgringTwo => "pgring-two",
            Peer::PgBouncer => "pgbouncer",
            Peer::PgBouncerSession => "pgbouncer-session",
            Peer::Pgpool => "pgpool",
        }
    }
}

/// Where the programs are and where their files go.
pub(crate) struct Workshop {
    /// This program.
    pub(crate) perf: PathBuf,
    pub(crate) pgring: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) account: Option<Account>,
    started: usize,
    /// A standby of the server behind the proxies.
    pub(crate) standby: Option<SocketAddrV4>,
    /// Every command of this run, as a person would type it.
    pub(crate) commands: Vec<String>,
}

/// A proxy that answers.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: SocketAddrV4,
}

impl Workshop {
    /// Prepares a temporary folder that all accounts may enter; it is removed with the workshop.
    pub(crate) fn new(pgring: PathBuf) -> Result<Workshop, String> {
        let perf = std::env::current_exe()
            .map_err(|error| format!("cannot find this program: {error}"))?;
        let folder = tempfile::Builder::new().prefix("pgring-perf-").tempdir();
        let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let account = Account::unprivileged();
        give_to(folder.path(), account)?;
        Ok(Workshop {
            perf,
            pgring,
            folder,
            account,
            started: 0,
            standby: None,
            commands: Vec::new(),
        })
    }

    /// Starts a process, with its log in the folder, and notes its command.
    pub(crate) fn start(
        &mut self,
        command: Command,
        cpu: Option<usize>,
        account: Option<Account>,
        stop: i32,
    ) -> Result<Process, String> {
        let command_line =
            typed(&command).replace(&self.folder.path().display().to_string(), "$DIR");
        self.commands.push(command_line);
        self.started += 1;
        let log = self.folder.path().join(format!("{}.log", self.started));
        Process::start(Spec {
            command,
            cpu,
            account,
            log,
            stop,
        })
    }

    /// Starts one of this program's own servers and reads the address that it chose.
    fn start_own(&mut self, arguments: &[&str], cpu: usize) -> Result<Running, String> {
        let mut command = Command::new(&self.perf);
        command.args(arguments);
        let mut process = self.start(command, Some(cpu), None, libc::SIGTERM)?;
        let address = wait_for(arguments[0], READY_LIMIT, || {
            process.check()?;
            let output = process.output();
            Ok(output
                .lines()
                .find_map(|line| line.strip_prefix("listening ")?.parse().ok()))
        })
        .map_err(|error| {
            format!(
                "{}: {error}. {}",
                arguments[0],
                last_lines(&process.output())
            )
        })?;
        Ok(Running { process, address })
    }

    pub(crate) fn start_mock(&mut self) -> Result<Running, String> {
        self.start_own(&["mock"], LOAD_CPU)
    }

    /// Starts `peer` in front of `backend` and waits until `user` gets an answer through it.
    pub(crate) fn start_peer(
        &mut self,
        peer: Peer,
        backend: SocketAddrV4,
        user: &str,
    ) -> Result<Running, String> {
        if peer == Peer::Floor {
            return self.start_own(&["floor", "--backend", &backend.to_string()], PROXY_CPU);
        }
        let address = free_address()?;
        let folder = self
            .folder
            .path()
            .join(format!("{}-{}", peer.file_name(), address.port()));
        let made = fs::create_dir(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()));
        made.and_then(|()| give_to(&folder, self.account))?;
        let mut process = match peer {
            Peer::PgringSplits if self.standby.is_none() => {
                return Err("it needs a standby".into());
            }
            Peer::PgringOne => self.start_pgring(&folder, address, backend, 1, None)?,
            Peer::PgringTwo => self.start_pgring(&folder, address, backend, 2, None)?,
            Peer::PgringSplits => self.start_splitting(&folder, address, backend)?,
            ours if ours.is_ours() => {
                self.start_pgring(&folder, address, backend, 1, Some(PROXY_CPU))?
            }
            Peer::Pgpool => self.start_pgpool(&folder, address, backend)?,
            _ => self.start_pgbouncer(&folder, peer, address, backend, user)?,
        };
        wait_for(peer.label(), READY_LIMIT, || {
            process.check()?;
            Ok(probe::answers(address, user).then_some(()))
        })
        .map_err(|error| format!("{error}. {}", last_lines(&process.output())))?;
        Ok(Running { process, address })
    }

    fn start_pgring(
        &mut self,
        folder: &Path,
        address: SocketAddrV4,
        backend: SocketAddrV4,
        workers: usize,
        cpu: Option<usize>,
    ) -> Result<Process, String> {
        let text = pgring_settings(address, backend, workers, POOL_SIZE);
        self.start_pgring_with(folder, &text, cpu)
    }

    /// pgring that looks for each read whether it may go to the standby, which it may not for want of weight.
    fn start_splitting(
        &mut self,
        folder: &Path,
        address: SocketAddrV4,
        backend: SocketAddrV4,
    ) -> Result<Process, String> {
        let standby = self.standby.ok_or("it needs a standby")?;
        let mut text = pgring_settings(address, backend, 1, POOL_SIZE);
        text += &format!(
            "[[node]]\nname = \"standby\"\naddress = \"{standby}\"\nweight = 0\n\
             [health]\nuser = \"{}\"\n",
            crate::pgbench::USER
        );
        self.start_pgring_with(folder, &text, Some(PROXY_CPU))
    }

    fn start_pgring_with(
        &mut self,
        folder: &Path,
        text: &str,
        cpu: Option<usize>,
    ) -> Result<Process, String> {
        let file = folder.join("pgring.toml");
        write(&file, text)?;
        let mut command = Command::new(&self.pgring);
        command.args(["run", "-c"]).arg(&file);
        self.start(command, cpu, None, libc::SIGINT)
    }

    /// pgring with two workers, free to run on every CPU, that share one server connection.
    pub(crate) fn start_pair(
        &mut self,
        backend: SocketAddrV4,
        user: &str,
    ) -> Result<Running, String> {
        let address = free_address()?;
        let file = self.folder.path().join("pair.toml");
        write(&file, &pgring_settings(address, backend, 2, 1))?;
        let mut command = Command::new(&self.pgring);
        command.args(["run", "-c"]).arg(&file);
        let mut process = self.start(command, None, None, libc::SIGINT)?;
        wait_for("pgring", READY_LIMIT, || {
            process.check()?;
            Ok(probe::answers(address, user).then_some(()))
        })
        .map_err(|error| format!("{error}. {}", last_lines(&process.output())))?;
        Ok(Running { process, address })
    }

    fn start_pgbouncer(
        &mut self,
        folder: &Path,
        peer: Peer,
        address: SocketAddrV4,
        backend: SocketAddrV4,
        user: &str,
    ) -> Result<Process, String> {
        write(&folder.join("users.txt"), &format!("\"{user}\" \"\"\n"))?;
        let file = folder.join("pgbouncer.ini");
        let mode = if peer == Peer::PgBouncer {
            "transaction"
        } else {
            "session"
        };
        write(&file, &pgbouncer_settings(folder, mode, address, backend))?;
        let mut command = Command::new("pgbouncer");
        command.arg(&file);
        self.start(command, Some(PROXY_CPU), self.account, libc::SIGTERM)
    }

    fn start_pgpool(
        &mut self,
        folder: &Path,
        address: SocketAddrV4,
        backend: SocketAddrV4,
    ) -> Result<Process, String> {
        let (file, pcp, hba) = (
            folder.join("pgpool.conf"),
            folder.join("pcp.conf"),
            folder.join("hba.conf"),
        );
        write(
            &file,
            &pgpool_settings(folder, address, backend, free_address()?.port()),
        )?;
        write(&pcp, "")?;
        write(&hba, "")?;
        let mut command = Command::new("pgpool");
        command
            .arg("-n")
            .arg("-f")
            .arg(&file)
            .arg("-F")
            .arg(&pcp)
            .arg("-a")
            .arg(&hba);
        self.start(command, Some(PROXY_CPU), self.account, libc::SIGINT)
    }

    /// The version of a peer, or why it cannot take part.
    pub(crate) fn version(&self, peer: Peer) -> Result<String, String> {
        let mut command = match peer {
            Peer::Floor => return Ok("of this commit".into()),
            Peer::Pgpool => Command::new("pgpool"),
            Peer::PgBouncer | Peer::PgBouncerSession => Command::new("pgbouncer"),
            _ => Command::new(&self.pgring),
        };
        first_line(command.arg("--version"))
    }
}

/// The first line that a command prints, on either stream.
pub(crate) fn first_line(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name} not found ({error})"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .next()
        .ok_or_else(|| format!("{name} does not say which it is"))?;
    Ok(line.trim().into())
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddrV4, String> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    match bound {
        Ok(SocketAddr::V4(address)) => Ok(address),
        Ok(SocketAddr::V6(_)) => Err("an IPv4 socket has an IPv6 address".into()),
        Err(error) => Err(format!("no free port: {error}")),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// pgring, not pinned by itself because the suite has already placed it.
fn pgring_settings(
    address: SocketAddrV4,
    backend: SocketAddrV4,
    workers: usize,
    pool_size: usize,
) -> String {
    format!(
        r#"[runtime]
workers = {workers}
pin = false
[listen]
addresses = ["{address}"]
max_clients = {CLIENTS_MAX}
[pool]
mode = "transaction"
size = {pool_size}
[auth]
method = "trust"
[[node]]
name = "server"
address = "{backend}"
[[user]]
name = "{}"
[[user]]
name = "{}"
"#,
        crate::suite::MOCK_USER,
        crate::pgbench::USER
    )
}

fn pgbouncer_settings(
    folder: &Path,
    mode: &str,
    address: SocketAddrV4,
    backend: SocketAddrV4,
) -> String {
    let folder = folder.display();
    format!(
        "[databases]
* = host={} port={}
[pgbouncer]
listen_addr = {}
listen_port = {}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = {mode}
default_pool_size = {POOL_SIZE}
max_client_conn = {CLIENTS_MAX}
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
",
        backend.ip(),
        backend.port(),
        address.ip(),
        address.port(),
    )
}

/// Pgpool-II as a plain connection pool in front of one server: everything that costs and is not pooling is off.
fn pgpool_settings(
    folder: &Path,
    address: SocketAddrV4,
    backend: SocketAddrV4,
    pcp_port: u16,
) -> String {
    let folder = folder.display();
    format!(
        "listen_addresses = '{}'
port = {}
socket_dir = '{folder}'
pcp_listen_addresses = '127.0.0.1'
pcp_port = {pcp_port}
pcp_socket_dir = '{folder}'
pid_file_name = '{folder}/pgpool.pid'
logdir = '{folder}'
work_dir = '{folder}'
backend_clustering_mode = 'raw'
backend_hostname0 = '{}'
backend_port0 = {}
backend_flag0 = 'DISALLOW_TO_FAILOVER'
num_init_children = {PGPOOL_CHILDREN}
max_pool = 1
connection_cache = on
load_balance_mode = off
enable_pool_hba = off
pool_passwd = ''
failover_on_backend_error = off
sr_check_period = 0
health_check_period = 0
memory_cache_enabled = off
check_temp_table = none
check_unlogged_table = off
use_watchdog = off
",
        address.ip(),
        address.port(),
        backend.ip(),
        backend.port(),
    )
}

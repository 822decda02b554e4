//! The real pgring program, started with a configuration of the test's own. Never survives its handle, and
//! never lets a panic in its log pass.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use pgring::cli::postgres::{Process, Signal, Workplace, free_port};

use super::{eventually, peer::Client, tools};

/// The text of a `pgring.toml` in the making.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Keys of the plain sections, in the order given; a later line replaces nothing, so give each key once.
    sections: BTreeMap<String, Vec<String>>,
    /// `[[node]]`, `[[user]]`, `[[database]]`.
    tables: String,
    /// Servers can be asked for their catalogs.
    has_catalogs: bool,
}

impl Config {
    /// One node; clients are trusted; one worker that is not pinned, so that parallel tests share the CPUs.
    pub fn trust(node: SocketAddr) -> Self {
        Self::default()
            .set("auth", "method = \"trust\"\nunknown_users = true")
            .node("pg1", node)
            .one_worker()
    }

    /// One node; clients prove `app` / `secret`, the user of [`super::postgres`].
    pub fn scram(node: SocketAddr) -> Self {
        let config = Self::default()
            .set("auth", "method = \"scram-sha-256\"")
            .node("pg1", node)
            .one_worker();
        config.user("app", "secret")
    }

    /// The servers are real ones, with catalogs that can be asked for.
    pub fn real(self) -> Self {
        Self {
            has_catalogs: true,
            ..self
        }
    }

    fn one_worker(self) -> Self {
        self.workers(1).set("runtime", "pin = false")
    }

    /// The number of workers; replaces the one given before.
    pub fn workers(mut self, count: u16) -> Self {
        let runtime = self.sections.entry("runtime".to_owned()).or_default();
        runtime.retain(|line| !line.starts_with("workers"));
        self.set("runtime", &format!("workers = {count}"))
    }

    /// Adds a line to a section, e.g. `("pool", "size = 2")`.
    pub fn set(mut self, section: &str, line: &str) -> Self {
        self.sections
            .entry(section.to_owned())
            .or_default()
            .push(line.to_owned());
        self
    }

    pub fn node(self, name: &str, address: SocketAddr) -> Self {
        self.table(
            "node",
            &format!("name = \"{name}\"\naddress = \"{address}\""),
        )
    }

    /// A node is reached at another address.
    pub fn moved(self, from: SocketAddr, to: SocketAddr) -> Self {
        let tables = self
            .tables
            .replace(&format!("\"{from}\""), &format!("\"{to}\""));
        Self { tables, ..self }
    }

    pub fn user(self, name: &str, password: &str) -> Self {
        self.table(
            "user",
            &format!("name = \"{name}\"\npassword = \"{password}\""),
        )
    }

    /// Adds one `[[name]]` with these lines.
    pub fn table(mut self, name: &str, lines: &str) -> Self {
        self.tables += &format!("\n[[{name}]]\n{lines}\n");
        self
    }

    fn text(&self, port: u16) -> String {
        let mut config = self
            .clone()
            .set("listen", &format!("addresses = [\"127.0.0.1:{port}\"]"));
        let mut pool = self.sections.get("pool").into_iter().flatten();
        let says = pool.any(|line| line.contains("state_check"));
        if !self.has_catalogs && !says {
            // Nobody has told a scripted server what to say to questions about functions.
            config = config.set("pool", "state_check = \"text\"");
        }
        if !self.has_catalogs {
            // Nor does it expect to be asked anew what it has said at login.
            config = config.set("pool", "greeting_age = 0");
        }
        let section =
            |(name, lines): (&String, &Vec<String>)| format!("[{name}]\n{}\n\n", lines.join("\n"));
        config.sections.iter().map(section).collect::<String>() + &config.tables
    }
}

/// A running pgring.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    port: u16,
    file: PathBuf,
    workplace: Workplace,
}

impl Proxy {
    /// Starts it and waits until clients may come.
    pub fn start(config: &Config) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_pgring")), config)
    }

    /// The same with another program that takes `run -c FILE` and says ` ready`.
    pub fn start_program(program: &Path, config: &Config) -> Self {
        let workplace = Workplace::create("pgring-test").unwrap();
        let port = free_port().unwrap();
        let file = workplace.path().join("pgring.toml");
        fs::write(&file, config.text(port)).unwrap();
        let mut command = Command::new(program);
        command.arg("run").arg("-c").arg(&file);
        let process = workplace.spawn("pgring", command, Signal::Kill).unwrap();
        process
            .wait_for(" ready")
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            process,
            port,
            file,
            workplace,
        }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A client that has logged in as `app` without a password.
    pub fn client(&self) -> Client {
        Client::login(self.address())
    }

    /// Its process: signals, log lines.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A folder that is removed with it.
    pub fn folder(&self) -> &Path {
        self.workplace.path()
    }

    /// Writes another configuration (the port stays) and has it read with SIGHUP.
    pub fn reload(&self, config: &Config) {
        fs::write(&self.file, config.text(self.port)).unwrap();
        self.process.signal(Signal::Hangup);
    }

    /// Sends SIGTERM, waits for its end, which must be an orderly one.
    pub fn stop(self) {
        self.process.signal(Signal::Terminate);
        let status = self.process.wait().expect("it should have ended");
        assert!(status.success(), "it ended with {status}");
    }

    /// Runs SQL with the real psql as `app`; the rows, columns parted by `|`.
    pub fn psql(&self, sql: &str) -> String {
        let mut psql = self.tool("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        tools::run(&mut psql).trim_end().to_owned()
    }

    /// Runs the real pgbench as `app`; what it printed. The arguments are parted by spaces.
    pub fn pgbench(&self, arguments: &str) -> String {
        tools::run(self.tool("pgbench").args(arguments.split_whitespace()))
    }

    /// One of PostgreSQL's programs, pointed at this proxy as `app` / `secret`.
    pub fn tool(&self, program: &str) -> Command {
        tools::pointed_at(self.address(), super::installation().program(program))
    }

    /// Memory in use, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("it is a running process");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Waits until it has given back its descriptors, down to this many.
    pub fn wait_for_descriptors(&self, at_most: usize) {
        eventually("its descriptors were given back", || {
            self.descriptors() <= at_most
        });
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.process.pid()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let log = self.process.log();
        let panicked = log.iter().any(|line| line.contains("panicked at"));
        if thread::panicking() || panicked {
            eprintln!("log of pgring:\n  {}", log.join("\n  "));
        }
        assert!(!panicked || thread::panicking(), "pgring panicked");
    }
}

//! Everything a lab consists of: the cluster, the configuration, the proxy. Never waits for people.

use std::{
    env,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use super::{
    error::{Error, cannot},
    events::Events,
};
use crate::{
    cli::{
        command_line::LabArgs,
        postgres::{Cluster, Installation, Options, Postgres, Process, Signal, free_port},
    },
    control::RIGHTS,
};

/// The database and the user of the lab.
pub(super) const NAME: &str = "app";

/// The name of pgring's process.
pub(super) const PROXY: &str = "pgring";

/// The role with which pgring looks at the servers.
const WATCHER: &str = "pgring";

/// Where people expect a pooler; another port is taken when this one is in use.
const PORT_USUAL: u16 = 6432;

/// Word of the proxy's log, after a space, once clients may come.
const READY: &str = " ready";

/// Lines of a lost process's log that are quoted.
const LINES_QUOTED: usize = 20;

/// A lab that stands. Dropping it removes everything, the proxy first.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) proxy: Process,
    pub(super) cluster: Cluster,
    pub(super) installation: Installation,
    pub(super) port: u16,
    pub(super) password: String,
}

impl Stage {
    /// Builds everything; `say` is told what takes time.
    pub(super) fn build(
        args: &LabArgs,
        events: &Events,
        say: impl Fn(&str),
    ) -> Result<Self, Error> {
        let installation = Installation::find()?;
        say(&what_is_built(args, &installation));
        let cluster = build_cluster(args, &installation, events)?;
        let port = args.port.map_or_else(usual_or_free_port, Ok)?;
        let (password, watcher_password) = (random_password(), random_password());
        cluster.primary.create_login(NAME, &password)?;
        cluster.primary.create_login(WATCHER, &watcher_password)?;
        for right in RIGHTS {
            cluster
                .primary
                .sql("postgres", &right.granted_to(WATCHER))?;
        }
        cluster.primary.create_database(NAME, NAME)?;
        cluster.wait_until_replayed()?;
        events.check()?;
        say("starting pgring");
        let nodes = cluster
            .servers()
            .map(|server| (server.name(), server.address()));
        let folder = cluster.workplace().path();
        let passwords = [&*password, &watcher_password];
        let text = configuration(args.workers, port, passwords, nodes, folder);
        let proxy = start_proxy(&cluster, &text)?;
        events.watch(&proxy);
        cluster
            .servers()
            .filter_map(|server| server.process())
            .for_each(|process| events.watch(process));
        Ok(Self {
            proxy,
            cluster,
            installation,
            port,
            password,
        })
    }

    /// A shell command that finds pgring by itself, as every PostgreSQL client does.
    pub(super) fn shell(&self, text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]).env("PATH", self.search_path());
        command
            .env("PGHOST", Ipv4Addr::LOCALHOST.to_string())
            .env("PGPORT", self.port.to_string());
        command
            .env("PGUSER", NAME)
            .env("PGDATABASE", NAME)
            .env("PGRING_SOCKET", self.admin_socket())
            .env("PGPASSWORD", &self.password);
        command
    }

    /// The connection string for this database.
    pub(super) fn uri(&self, database: &str) -> String {
        format!(
            "postgresql://{NAME}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// Where pgring reads its settings.
    pub(super) fn configuration(&self) -> PathBuf {
        configuration_path(&self.cluster)
    }

    /// Where pgring listens to operators.
    pub(super) fn admin_socket(&self) -> PathBuf {
        self.cluster.workplace().path().join("admin.sock")
    }

    /// Starts a server that has ended; false when there is none of that name.
    pub(super) fn start_again(&mut self, name: &str, events: &Events) -> Result<bool, Error> {
        let all = std::iter::once(&mut self.cluster.primary).chain(&mut self.cluster.standbys);
        let is_it = |server: &&mut Postgres| {
            server.name() == name && !server.process().is_some_and(Process::is_running)
        };
        let Some(server) = { all }.find(is_it) else {
            return Ok(false);
        };
        // Its backends may not have noticed yet.
        server.kill()?;
        server.start()?;
        server
            .process()
            .into_iter()
            .for_each(|process| events.watch(process));
        Ok(true)
    }

    /// The error for a process that has ended by itself.
    pub(super) fn lost(&self, name: String, status: ExitStatus) -> Error {
        let servers = self.cluster.servers().filter_map(|server| server.process());
        let lines = servers
            .chain([&self.proxy])
            .find(|process| process.name() == name)
            .map(Process::log);
        let lines = lines.unwrap_or_default();
        let last = lines.len().saturating_sub(LINES_QUOTED);
        Error::Lost {
            name,
            status,
            log: lines[last..].join("\n"),
        }
    }

    /// `PATH` with the folders of the servers' programs and of ours first, whatever else is installed.
    fn search_path(&self) -> OsString {
        let usual = env::var_os("PATH").unwrap_or_default();
        let ours = env::current_exe().ok();
        let ours = ours.and_then(|program| Some(program.parent()?.to_owned()));
        let folders = [self.installation.bin().to_owned()]
            .into_iter()
            .chain(ours)
            .chain(env::split_paths(&usual));
        env::join_paths(folders).unwrap_or(usual)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // An orderly end shows in its log and in its exit; dropping the handle would kill it.
        self.proxy.signal(Signal::Interrupt);
        self.proxy.wait();
    }
}

fn what_is_built(args: &LabArgs, installation: &Installation) -> String {
    let servers = match args.standbys {
        0 => "a primary".to_owned(),
        1 => "a primary and a standby".to_owned(),
        more => format!("a primary and {more} standbys"),
    };
    let (version, bin) = (installation.version(), installation.bin().display());
    format!("building {servers} with PostgreSQL {version} from {bin}")
}

fn build_cluster(
    args: &LabArgs,
    installation: &Installation,
    events: &Events,
) -> Result<Cluster, Error> {
    let built = Cluster::start(installation, "pgring-lab", &Options::default());
    let mut cluster = built.map_err(|error| interrupted_or(error, events))?;
    for _ in 0..args.standbys {
        events.check()?;
        cluster
            .add_standby()
            .map_err(|error| interrupted_or(error, events))?;
    }
    Ok(cluster)
}

/// Ctrl-C reaches `initdb` and `pg_basebackup` as well: what they then say is not the reason.
fn interrupted_or(error: crate::cli::postgres::Error, events: &Events) -> Error {
    events.check().err().unwrap_or(Error::Postgres(error))
}

fn usual_or_free_port() -> Result<u16, Error> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, PORT_USUAL)).is_ok() {
        return Ok(PORT_USUAL);
    }
    Ok(free_port()?)
}

/// Nobody else on this machine shall get in, so it is not a well-known word.
fn random_password() -> String {
    format!(
        "{:016x}",
        getrandom::u64().expect("the system has random numbers")
    )
}

fn configuration_path(cluster: &Cluster) -> PathBuf {
    cluster.workplace().path().join("pgring.toml")
}

/// Writes the configuration and starts pgring with it, as a person would.
fn start_proxy(cluster: &Cluster, configuration: &str) -> Result<Process, Error> {
    let path = configuration_path(cluster);
    let mut options = fs::File::options();
    // It holds a password.
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let written =
        file.and_then(|mut file| std::io::Write::write_all(&mut file, configuration.as_bytes()));
    written.map_err(cannot("write pgring.toml"))?;
    let mut command = Command::new(env::current_exe().map_err(cannot("find the pgring program"))?);
    command.arg("run").arg("-c").arg(&path);
    let proxy = cluster.workplace().spawn(PROXY, command, Signal::Kill)?;
    proxy.wait_for(READY)?;
    Ok(proxy)
}

/// The text of `pgring.toml`; the passwords are the user's and the watcher's, `nodes` are names and addresses, `folder` is
/// that of the lab, and of the servers' sockets.
fn configuration<'n>(
    workers: u16,
    port: u16,
    [password, watcher_password]: [&str; 2],
    nodes: impl Iterator<Item = (&'n str, SocketAddr)>,
    folder: &Path,
) -> String {
    let folder = folder.display();
    // Over TCP a standby would need a password.
    let node = |(name, address): (&str, SocketAddr)| {
        let port = address.port();
        format!(
            "\n[[node]]\nname = \"{name}\"\naddress = \"{address}\"\nstandby_address = \"{folder}:{port}\"\n"
        )
    };
    let nodes: String = nodes.map(node).collect();
    format!(
        r#"# Written by pgring lab; removed with it.
[runtime]
workers = {workers}

[listen]
addresses = ["127.0.0.1:{port}"]

[auth]
method = "scram-sha-256"
{nodes}
[[user]]
name = "{NAME}"
password = "{password}"

[health]
user = "{WATCHER}"
password = "{watcher_password}"
period = "1s"
status_file = "{folder}/pgring.status"

[failover]
mode = "sql"

[admin]
users = ["{NAME}"]
socket = "{folder}/admin.sock"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config;

    #[test]
    fn the_configuration_is_a_right_one() {
        let nodes = [
            ("primary", "127.0.0.1:1111"),
            ("standby1", "127.0.0.1:2222"),
        ];
        let nodes = nodes.map(|(name, address)| (name, address.parse().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgring.toml");
        fs::write(
            &file,
            configuration(
                3,
                6432,
                [&random_password(), &random_password()],
                nodes.into_iter(),
                folder.path(),
            ),
        )
        .unwrap();
        let settings = config::load(&file).unwrap();
        assert_eq!(settings.runtime.workers, 3);
        assert_eq!(settings.nodes.len(), 2);
        assert_eq!(settings.nodes[0].name, "primary");
        assert_eq!(settings.health.user.as_deref(), Some(WATCHER));
        assert!(settings.user(NAME).is_some());
        assert_eq!(settings.admin.users, [NAME]);
    }
}

//! The configuration as the rest of the program sees it: typed, validated, complete. Pure.
//!
//! Raw TOML stays in `control/config/`; a value of these types cannot be wrong.

mod access;
mod health;
mod pool;
mod routing;

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use access::{Auth, AuthMethod, DatabaseSettings, Limits, Secret, UserSettings};
pub use health::{Failover, FailoverMode, Health, SecondOpinion};
pub use pool::{
    Capacity, ConnectionSettings, PinPolicy, PoolMode, PoolOverride, PoolSettings, SequenceValues,
    StateCheck, Timeouts,
};
pub use routing::{
    Balance, Consistency, Laggards, Pattern, Preference, Preferred, ReadOnlyTransactions, Routing,
    Strategy,
};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[runtime]`.
    pub runtime: Runtime,
    /// `[listen]`.
    pub listen: Listen,
    /// `[pool]`: what a pool has unless its database or user says otherwise.
    pub pool: PoolSettings,
    /// `[auth]`.
    pub auth: Auth,
    /// `[[node]]`, in file order; never empty.
    pub nodes: Vec<NodeSettings>,
    /// `[[database]]`; empty means every name is served under its own name.
    pub databases: Vec<DatabaseSettings>,
    /// `[[user]]`.
    pub users: Vec<Arc<UserSettings>>,
    /// `[routing]`.
    pub routing: Routing,
    /// `[health]`.
    pub health: Health,
    /// `[failover]`.
    pub failover: Failover,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
}

/// `[runtime]`: cores and memory. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Number of worker cores; `"auto"` is one per allowed CPU.
    pub workers: u16,
    /// Pin each worker to one CPU.
    pub pin: bool,
    /// CPU of the control core; it floats when absent.
    pub control_cpu: Option<usize>,
    /// Receive buffers for clients, bytes per worker.
    pub client_buffers: usize,
    /// Receive buffers for servers, bytes per worker.
    pub server_buffers: usize,
    /// Unsent bytes for one peer at which receiving from the other stops.
    pub high_water: usize,
}

/// `[listen]`: where clients come in. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// TCP addresses.
    pub addresses: Vec<SocketAddr>,
    /// Folder of the Unix socket `.s.PGSQL.<port of the first address>`.
    pub unix_socket_dir: Option<PathBuf>,
    /// Permission bits of the Unix socket.
    pub unix_socket_mode: u32,
    /// Another process may listen on the same TCP addresses; the kernel spreads clients over both.
    pub share_addresses: bool,
    /// Client connections in the whole process; those of the console come on top.
    pub max_clients: u32,
    /// Length of the kernel's accept queue.
    pub backlog: u32,
    /// From accept to a finished login.
    pub login_timeout: Duration,
    /// `drain`: those whom SIGTERM waits for.
    pub drain: DrainFor,
    /// How long it does.
    pub drain_timeout: Duration,
}

/// `drain`: those whom SIGTERM waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainFor {
    /// The ends of transactions; who is in none is sent away at once.
    Transactions,
    /// Clients, which leave by themselves.
    Clients,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    /// Address, already resolved.
    Tcp(SocketAddr),
    /// Path of the socket file itself.
    Unix(PathBuf),
}

impl NodeAddress {
    /// Host and port, as `psql -h` and `-p` take them: of a Unix socket its folder, and the port in its name.
    pub fn host_and_port(&self) -> (String, String) {
        match self {
            Self::Tcp(address) => (address.ip().to_string(), address.port().to_string()),
            Self::Unix(path) => {
                let port = path.extension().unwrap_or_default().to_string_lossy();
                let folder = path.parent().unwrap_or(path).display();
                (folder.to_string(), port.into_owned())
            }
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// `[[node]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// `name`.
    pub name: String,
    /// `address`.
    pub address: NodeAddress,
    /// `weight`, for read balancing.
    pub weight: u32,
    /// Server connections of all pools to it together; `None` as many as the pools have.
    pub max_connections: Option<u32>,
    /// `application_name` of its WAL receiver, by which the primary knows it; the name of the node when absent.
    pub application_name: Option<String>,
    /// `failover_priority`: among standbys that are equally far the higher one is promoted; 0 is never promoted.
    pub failover_priority: u32,
    /// `standby_address`: where standbys find it once it is the primary; `address` when absent.
    pub standby_address: Option<NodeAddress>,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Users who may open the virtual database `pgring`.
    pub users: Vec<String>,
    /// Where operators of this machine come in without a password.
    pub socket: Option<AdminSocket>,
}

/// The admin socket: whoever may use the file is an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSocket {
    /// `socket`: the file.
    pub path: PathBuf,
    /// `socket_mode`: permissions of the file.
    pub mode: u32,
    /// `socket_group`: group of the file. Without one only root and the account that pgring runs as are let in.
    pub group: Option<String>,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter, e.g. `info` or `pgring=debug`.
    pub level: String,
    /// `format`.
    pub format: LogFormat,
}

impl Settings {
    /// The `[[database]]` that serves `name`: its own, else `"*"`.
    pub fn database(&self, name: &str) -> Option<&DatabaseSettings> {
        let named = self.databases.iter().find(|d| d.name == name);
        named.or_else(|| self.databases.iter().find(|d| d.name == "*"))
    }

    /// The `[[user]]` of that name.
    pub fn user(&self, name: &str) -> Option<&Arc<UserSettings>> {
        self.users.iter().find(|u| u.name == name)
    }

    /// How long the login of this user to this database may take.
    pub fn login_timeout(&self, database: &str, user: &str) -> Duration {
        let of_user = self.user(user).and_then(|it| it.pool.login_timeout);
        let of_database = || self.database(database).and_then(|it| it.pool.login_timeout);
        of_user
            .or_else(of_database)
            .unwrap_or(self.listen.login_timeout)
    }

    /// The pool settings for this database and user.
    pub fn pool_for(&self, database: &str, user: &str) -> PoolSettings {
        let mut pool = self.pool.clone();
        if let Some(database) = self.database(database) {
            database.pool.apply(&mut pool);
        }
        if let Some(user) = self.user(user) {
            user.pool.apply(&mut pool);
        }
        pool
    }
}

//! The configuration as the rest of the program sees it: typed, validated, complete. Pure.
//!
//! Raw TOML stays in `control/config/`; a value of these types cannot be wrong.

mod health;
mod routing;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use health::{Failover, Health};
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
    /// What SIGTERM waits for.
    pub drain: DrainFor,
    /// How long it does.
    pub drain_timeout: Duration,
}

/// What SIGTERM waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainFor {
    /// The ends of transactions; who is in none is sent away at once.
    Transactions,
    /// Clients, which leave by themselves.
    Clients,
}

/// When a server connection goes back to its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// When its transaction ends.
    Transaction,
    /// After each statement; a transaction block is refused.
    Statement,
}

/// When a server is asked what session state a session has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateCheck {
    /// After statements that may leave some, by their text alone.
    Texts,
    /// After statements that may leave some, by their text and by what is known of functions and triggers.
    Suspected,
    /// After every transaction.
    Always,
}

/// How long `currval` and `lastval` know what a sequence gave to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SequenceValues {
    /// Until its transaction ends; longer when nobody else has had its connection.
    Transaction,
    /// As long as the session lasts, which keeps its connection for that.
    Session,
}

/// What becomes of a statement that leaves session state which cannot be carried to another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinPolicy {
    /// The session keeps its server connection for as long as the state is there.
    Allow,
    /// The statement is refused.
    Refuse,
}

/// How one pool behaves; `[pool]`, overridden by `[[database]]`, overridden by `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// `mode`.
    pub mode: PoolMode,
    /// Server connections per (database, user) and node, in the whole process.
    pub size: u32,
    /// Connections kept open even when idle.
    pub min_size: u32,
    /// Connections beyond `size`, for clients that have waited for `reserve_after`.
    pub reserve_size: u32,
    /// How long a client waits before it may have one of the reserve.
    pub reserve_after: Duration,
    /// Clients that may wait for a connection of one pool, per worker.
    pub max_waiters: u32,
    /// How long a client waits for a connection.
    pub checkout_timeout: Duration,
    /// From a request to its ReadyForQuery; then it is cancelled. `None` never.
    pub query_timeout: Option<Duration>,
    /// From the first statement of a transaction to its end; `None` never.
    pub transaction_timeout: Option<Duration>,
    /// Between two requests of a transaction; `None` never.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Between two transactions; `None` never.
    pub client_idle_timeout: Option<Duration>,
    /// How long a new server connection may take, login included.
    pub connect_timeout: Duration,
    /// An unused connection is closed after this; `None` never.
    pub idle_timeout: Option<Duration>,
    /// A connection is closed at its first release after this; `None` never.
    pub lifetime: Option<Duration>,
    /// A connection unused for longer is verified before use; `None` never.
    pub check_after_idle: Option<Duration>,
    /// `greeting_age`.
    pub greeting_age: Option<Duration>,
    /// First and longest pause between failing logins.
    pub login_backoff: Duration,
    /// Longest pause between failing logins.
    pub login_backoff_max: Duration,
    /// Clients that log in wait for a server as statements do.
    pub login_waits: bool,
    /// `state_check`.
    pub state_check: StateCheck,
    /// `sequence_values`.
    pub sequence_values: SequenceValues,
    /// `pin`.
    pub pin: PinPolicy,
    /// Prepared statements kept on one server connection for whoever needs them next.
    pub statements_per_connection: u32,
    /// Bytes of prepared statements, names included, that one client may have.
    pub statement_bytes_per_client: usize,
    /// Sent when a session-mode connection is released; empty for none.
    pub reset_query: String,
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Not at all.
    Trust,
    /// MD5 challenge; a user with a SCRAM verifier is asked for SCRAM, as PostgreSQL does.
    Md5,
    /// SCRAM-SHA-256.
    ScramSha256,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `method`.
    pub method: AuthMethod,
    /// With `trust`: names that have no `[[user]]` section may log in, too.
    pub unknown_users: bool,
}

impl Auth {
    /// True when every name that a server knows may come in.
    pub fn admits_all(&self) -> bool {
        self.method == AuthMethod::Trust && self.unknown_users
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    /// Address, already resolved.
    Tcp(SocketAddr),
    /// Path of the socket file itself.
    Unix(PathBuf),
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
}

/// `[[database]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Name clients use; `"*"` matches every name not listed.
    pub name: String,
    /// Name on the server; the client's name when absent.
    pub server_name: Option<String>,
    /// What all its users may have together; for `"*"`, each database that it stands for.
    pub limits: Limits,
    /// Pool settings given here.
    pub pool: PoolOverride,
}

/// What the pools of one database, or of one user, may have together; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `max_connections`: server connections.
    pub max_connections: Option<u32>,
    /// `max_clients`: clients that are logged in.
    pub max_clients: Option<u32>,
}

/// A pool setting is present when the section names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolOverride {
    /// `mode`.
    pub mode: Option<PoolMode>,
    /// `size`.
    pub size: Option<u32>,
    /// `min_size`.
    pub min_size: Option<u32>,
    /// `reserve_size`.
    pub reserve_size: Option<u32>,
    /// `reserve_after`.
    pub reserve_after: Option<Duration>,
    /// `checkout_timeout`.
    pub checkout_timeout: Option<Duration>,
    /// `query_timeout`; zero in the file is `Some(None)`, never.
    pub query_timeout: Option<Option<Duration>>,
    /// `transaction_timeout`.
    pub transaction_timeout: Option<Option<Duration>>,
    /// `idle_in_transaction_timeout`.
    pub idle_in_transaction_timeout: Option<Option<Duration>>,
    /// `client_idle_timeout`.
    pub client_idle_timeout: Option<Option<Duration>>,
    /// `connect_timeout`.
    pub connect_timeout: Option<Duration>,
    /// `login_timeout`, instead of that of `[listen]` from the startup packet on.
    pub login_timeout: Option<Duration>,
    /// `idle_timeout`; zero in the file is `Some(None)`, never.
    pub idle_timeout: Option<Option<Duration>>,
    /// `lifetime`.
    pub lifetime: Option<Option<Duration>>,
    /// `pin`.
    pub pin: Option<PinPolicy>,
    /// `reset_query`.
    pub reset_query: Option<String>,
}

/// What is known of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Plain text.
    Plain(String),
    /// `md5` and 32 hexadecimal digits.
    Md5(String),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, its text.
    Scram(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Md5(_) => "Md5(..)",
            Self::Scram(_) => "Scram(..)",
        })
    }
}

/// `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSettings {
    /// Name of the role.
    pub name: String,
    /// What clients must prove, and what is used towards servers unless `server_password` is given.
    pub password: Option<Secret>,
    /// What servers are told, when it differs.
    pub server_password: Option<Secret>,
    /// What it may have in all databases together.
    pub limits: Limits,
    /// Pool settings given here.
    pub pool: PoolOverride,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Users who may open the virtual database `pgring`.
    pub users: Vec<String>,
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

impl PoolOverride {
    /// `pool` with what is given here written over it.
    pub fn over(&self, pool: &PoolSettings) -> PoolSettings {
        let mut pool = pool.clone();
        self.apply(&mut pool);
        pool
    }

    /// Writes what is given here over `pool`.
    fn apply(&self, pool: &mut PoolSettings) {
        fn set<T: Clone>(target: &mut T, source: &Option<T>) {
            if let Some(value) = source {
                target.clone_from(value);
            }
        }
        set(&mut pool.mode, &self.mode);
        set(&mut pool.size, &self.size);
        set(&mut pool.min_size, &self.min_size);
        set(&mut pool.reserve_size, &self.reserve_size);
        set(&mut pool.reserve_after, &self.reserve_after);
        set(&mut pool.checkout_timeout, &self.checkout_timeout);
        set(&mut pool.query_timeout, &self.query_timeout);
        set(&mut pool.transaction_timeout, &self.transaction_timeout);
        set(
            &mut pool.idle_in_transaction_timeout,
            &self.idle_in_transaction_timeout,
        );
        set(&mut pool.client_idle_timeout, &self.client_idle_timeout);
        set(&mut pool.connect_timeout, &self.connect_timeout);
        set(&mut pool.idle_timeout, &self.idle_timeout);
        set(&mut pool.lifetime, &self.lifetime);
        set(&mut pool.pin, &self.pin);
        set(&mut pool.reset_query, &self.reset_query);
    }
}

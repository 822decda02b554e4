//! `[pool]`, and what `[[database]]` and `[[user]]` say in its place: how the server connections of one database and user
//! are kept and given out. Pure.

use std::time::Duration;

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

/// `pin`: treatment of a statement that leaves session state which cannot be carried to another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinPolicy {
    /// The session keeps its server connection for as long as the state is there.
    Allow,
    /// The statement is refused.
    Refuse,
}

/// Settings of one pool; `[pool]`, overridden by `[[database]]`, overridden by `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// `mode`.
    pub mode: PoolMode,
    /// Server connections that there may be, and clients that may wait for one.
    pub capacity: Capacity,
    /// Time limits of clients.
    pub timeouts: Timeouts,
    /// The life of one server connection.
    pub connections: ConnectionSettings,
    /// `login_waits`: clients that log in wait for a server as statements do.
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

/// Server connections of one pool, and clients that may wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Server connections per (database, user) and node, in the whole process.
    pub size: u32,
    /// Connections kept open even when idle.
    pub min_size: u32,
    /// Connections beyond `size`, for clients that have waited for `reserve_after`.
    pub reserve_size: u32,
    /// Time that a client waits before it may have one of the reserve.
    pub reserve_after: Duration,
    /// Clients that may wait for a connection of one pool, per worker.
    pub max_waiters: u32,
}

/// Time limits of clients; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Time that a client waits for a server connection; then its request fails.
    pub checkout_timeout: Duration,
    /// From a request to its ReadyForQuery; then it is cancelled.
    pub query_timeout: Option<Duration>,
    /// From the first statement of a transaction to its end.
    pub transaction_timeout: Option<Duration>,
    /// Between two requests of a transaction.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Between two transactions.
    pub client_idle_timeout: Option<Duration>,
}

/// When a server connection is opened, checked and closed; `None` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Time that a new server connection may take, login included.
    pub connect_timeout: Duration,
    /// An unused connection is closed after this.
    pub idle_timeout: Option<Duration>,
    /// A connection is closed at its first release after this.
    pub lifetime: Option<Duration>,
    /// A connection unused for longer is verified before use.
    pub check_after_idle: Option<Duration>,
    /// `greeting_age`: parameters that a server has reported are told to new clients for so long; later, and always when
    /// `None`, a connection is asked first.
    pub greeting_age: Option<Duration>,
    /// First pause between failing logins.
    pub login_backoff: Duration,
    /// Longest pause between failing logins.
    pub login_backoff_max: Duration,
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

impl PoolOverride {
    /// `pool` with what is given here written over it.
    pub fn over(&self, pool: &PoolSettings) -> PoolSettings {
        let mut pool = pool.clone();
        self.apply(&mut pool);
        pool
    }

    /// Writes what is given here over `pool`.
    pub(super) fn apply(&self, pool: &mut PoolSettings) {
        fn set<T: Clone>(target: &mut T, source: &Option<T>) {
            if let Some(value) = source {
                target.clone_from(value);
            }
        }
        set(&mut pool.mode, &self.mode);
        set(&mut pool.capacity.size, &self.size);
        set(&mut pool.capacity.min_size, &self.min_size);
        set(&mut pool.capacity.reserve_size, &self.reserve_size);
        set(&mut pool.capacity.reserve_after, &self.reserve_after);
        set(&mut pool.timeouts.checkout_timeout, &self.checkout_timeout);
        set(&mut pool.timeouts.query_timeout, &self.query_timeout);
        set(
            &mut pool.timeouts.transaction_timeout,
            &self.transaction_timeout,
        );
        set(
            &mut pool.timeouts.idle_in_transaction_timeout,
            &self.idle_in_transaction_timeout,
        );
        set(
            &mut pool.timeouts.client_idle_timeout,
            &self.client_idle_timeout,
        );
        set(&mut pool.connections.connect_timeout, &self.connect_timeout);
        set(&mut pool.connections.idle_timeout, &self.idle_timeout);
        set(&mut pool.connections.lifetime, &self.lifetime);
        set(&mut pool.pin, &self.pin);
        set(&mut pool.reset_query, &self.reset_query);
    }
}

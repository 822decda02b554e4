//! Reports of a core on its pools, clients and servers, for operators.

use super::budget::PoolKey;
use crate::{ids::WorkerId, protocol::Severity, time::Micros};

/// Kind of report that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// A line for each pool.
    Pools,
    /// A line for each client.
    Clients,
    /// A line for each server connection.
    Servers,
    /// A line for each core.
    Cancels,
    /// A line for each node.
    Nodes,
    /// A line for each reason to pin a session.
    Pins,
    /// A line for each time limit.
    Timeouts,
    /// The oldest transaction at each node.
    Transactions,
}

/// One core's answer.
#[derive(Clone, Debug)]
pub enum Report {
    /// To [`ReportKind::Pools`].
    Pools(Vec<PoolReport>),
    /// To [`ReportKind::Clients`].
    Clients(Vec<ClientReport>),
    /// To [`ReportKind::Servers`].
    Servers(Vec<ServerReport>),
    /// To [`ReportKind::Cancels`].
    Cancels(WorkerId, CancelReport),
    /// To [`ReportKind::Pins`]: the same reasons from every core.
    Pins(Vec<PinReport>),
    /// To [`ReportKind::Timeouts`]: the same limits from every core.
    Timeouts(Vec<TimeoutReport>),
    /// To [`ReportKind::Nodes`], by node.
    Nodes(Vec<NodeCounters>),
    /// To [`ReportKind::Transactions`], by node: when the oldest that is under way began, in microseconds since pgring
    /// started.
    Transactions(Vec<Option<Micros>>),
}

/// Answers of one node to clients, counted by their command tags and the severity of errors. (Pgpool-II: `SHOW
/// POOL_BACKEND_STATS`.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// By kind, in the order of [`NodeCounters::KINDS`].
    pub counts: [u64; 9],
}

impl NodeCounters {
    /// Name and meaning of each count.
    pub const KINDS: [(&str, &str); 9] = [
        ("select_cnt", "SELECTs."),
        ("insert_cnt", "INSERTs."),
        ("update_cnt", "UPDATEs."),
        ("delete_cnt", "DELETEs."),
        (
            "ddl_cnt",
            "Statements that change what there is, as CREATE does.",
        ),
        ("other_cnt", "Other statements."),
        ("panic_cnt", "Errors of severity PANIC."),
        ("fatal_cnt", "Errors of severity FATAL."),
        ("error_cnt", "Other errors."),
    ];

    /// Counts the tag of a CommandComplete.
    #[inline]
    pub fn count_tag(&mut self, tag: &[u8]) {
        let kind = match tag {
            [b'S', b'E', b'L', ..] => 0,
            [b'I', b'N', ..] => 1,
            [b'U', b'P', ..] => 2,
            [b'D', b'E', b'L', ..] => 3,
            _ if is_ddl(tag) => 4,
            _ => 5,
        };
        self.counts[kind] += 1;
    }

    /// Counts an error.
    pub fn count_error(&mut self, severity: Option<Severity>) {
        let kind = match severity {
            Some(Severity::Panic) => 6,
            Some(Severity::Fatal) => 7,
            _ => 8,
        };
        self.counts[kind] += 1;
    }

    /// Adds another core's counters.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }
}

/// True for the tags of statements that change what there is.
fn is_ddl(tag: &[u8]) -> bool {
    const DDL: [&[u8]; 10] = [
        b"CREATE",
        b"ALTER",
        b"DROP",
        b"TRUNCATE",
        b"GRANT",
        b"REVOKE",
        b"COMMENT",
        b"REINDEX",
        b"REFRESH",
        b"SECURITY LABEL",
    ];
    DDL.iter().any(|start| tag.starts_with(start))
}

/// Sessions that keep their server connection for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinReport {
    /// The state that is kept there.
    pub reason: &'static str,
    /// Sessions now.
    pub sessions: u32,
    /// How often one was pinned.
    pub total: u64,
    /// How often that was refused.
    pub refused: u64,
}

/// How often a time limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutReport {
    /// The setting.
    pub setting: &'static str,
    /// How often.
    pub total: u64,
}

/// Cancel requests of one core, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelReport {
    /// On their way to a server now.
    pub active: u32,
    /// Sent to a server.
    pub forwarded: u64,
    /// Joined with one for the same request that was on its way already.
    pub coalesced: u64,
    /// That took a client out of a queue.
    pub dequeued: u64,
    /// Beyond what a core can have under way.
    pub dropped: u64,
}

/// Counters of a pool; all only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions.
    pub transactions: u64,
    /// Statements: answers that ended with ReadyForQuery.
    pub queries: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Microseconds with a server connection.
    pub transaction_us: u64,
    /// Microseconds in which a statement ran.
    pub query_us: u64,
    /// Microseconds clients waited for a server connection.
    pub wait_us: u64,
    /// How often a server connection was lent.
    pub assignments: u64,
}

impl Counters {
    /// Adds another core's counters.
    pub fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.received += other.received;
        self.sent += other.sent;
        self.transaction_us += other.transaction_us;
        self.query_us += other.query_us;
        self.wait_us += other.wait_us;
        self.assignments += other.assignments;
    }
}

/// Cancel requests that are under way for one pool on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCancels {
    /// Clients that asked for a cancel, and wait for its effect.
    pub clients_active: u32,
    /// Clients that asked for a cancel that has not been sent to the server.
    pub clients_waiting: u32,
    /// Requests on their way to a server.
    pub servers_active: u32,
    /// Server connections that they are for.
    pub servers_canceled: u32,
}

impl PoolCancels {
    /// Adds another core's.
    pub fn add(&mut self, other: &Self) {
        self.clients_active += other.clients_active;
        self.clients_waiting += other.clients_waiting;
        self.servers_active += other.servers_active;
        self.servers_canceled += other.servers_canceled;
    }
}

/// One pool on one core.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// Which pool.
    pub key: PoolKey,
    /// `session`, `transaction` or `statement`.
    pub mode: &'static str,
    /// Clients with a server connection, or without need of one.
    pub clients_active: u32,
    /// Clients that wait for one.
    pub clients_waiting: u32,
    /// Cancel requests of its clients and of its time limits.
    pub cancels: PoolCancels,
    /// Server connections lent to a client.
    pub servers_active: u32,
    /// Server connections at hand.
    pub servers_idle: u32,
    /// Server connections being checked or reset.
    pub servers_tested: u32,
    /// Server connections being opened.
    pub servers_login: u32,
    /// How long the first in the queue has waited, in microseconds.
    pub wait_us_max: u64,
    /// The longest that a client ever waited while a connection was idle on another core, in microseconds.
    pub idle_beside_us: u64,
    /// Counters.
    pub counters: Counters,
}

/// One client.
#[derive(Clone, Debug)]
pub struct ClientReport {
    /// Its core.
    pub worker: WorkerId,
    /// Its pool.
    pub key: PoolKey,
    /// `active`, `waiting` or `idle`.
    pub state: &'static str,
    /// Address and port.
    pub address: String,
    /// Our end: address and port.
    pub local_address: String,
    /// Microseconds since 1970 of its login.
    pub connected_us: u64,
    /// Microseconds since 1970 of its last request.
    pub request_us: u64,
    /// How long it has waited for a server connection, in microseconds.
    pub wait_us: u64,
    /// Worker, slot and generation.
    pub id: String,
    /// Process id of its server connection, 0 without one.
    pub server_process_id: i32,
    /// Process id it was given for cancel requests.
    pub process_id: i32,
    /// Its `application_name`.
    pub application_name: String,
    /// Why it keeps its server connection; empty when it does not.
    pub pinned: &'static str,
}

/// One server connection.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// Its pool.
    pub key: PoolKey,
    /// `active` or `idle`.
    pub state: &'static str,
    /// Name of its node.
    pub node: String,
    /// Address and port.
    pub address: String,
    /// Microseconds since 1970 of its login.
    pub connected_us: u64,
    /// Microseconds since 1970 of its last use.
    pub request_us: u64,
    /// Worker, slot and generation.
    pub id: String,
    /// Process id on the server.
    pub process_id: i32,
}

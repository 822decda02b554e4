//! Messages between cores: to a worker, to the control core, and the server connections that travel in them.

use std::{fmt, sync::Arc, time::Instant};

use super::{
    budget::{Budget, Permit, PoolKey},
    failover_state::FailoverOrder,
    node::Lsn,
    report::{Report, ReportKind},
    settings::DrainFor,
    stamps::Stamp,
    welcome::Welcome,
};
use crate::{
    auth::SaltedKeys,
    ids::{ConnectionId, NodeId, WorkerId},
    net::Detached,
};

/// A question's number, so that its reply finds the task that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A core with a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreId {
    /// One of the data plane.
    Worker(WorkerId),
    /// That of the control plane.
    Control,
}

/// Place where the reply to a question goes.
#[derive(Clone, Copy, Debug)]
pub struct ReplyTo {
    /// The core that asked.
    pub core: CoreId,
    /// Number of its question.
    pub ticket: Ticket,
}

/// Reply to a question between cores.
#[derive(Debug)]
pub enum Reply {
    /// To [`ToWorker::Cancel`], once that has had its effect.
    Cancelled,
    /// To [`ToWorker::Ask`].
    Report(Report),
    /// To a [`KeyOrder`].
    Keys(Arc<SaltedKeys>),
    /// To [`ToControl::Order`]: it was taken, or why not, in words.
    Ordered(Result<(), String>),
}

/// An operator's order to the control core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// This node is to be used, whatever pgring believes of it.
    Attach(NodeId),
    /// This node is not to be used; true lets end what is under way there.
    Detach(NodeId, bool),
    /// A word about a failover.
    Failover(FailoverOrder),
    /// The configuration file is to be read again.
    Reload,
    /// Clients are let go so, then everything ends; `None` ends everything now.
    Stop(Option<DrainFor>),
}

/// SCRAM keys that are to be derived, which takes milliseconds, away from the workers.
pub struct KeyOrder {
    /// Where they go.
    pub reply_to: ReplyTo,
    /// The password.
    pub password: String,
    /// The server's salt.
    pub salt: Vec<u8>,
    /// The server's count of rounds.
    pub iterations: u32,
}

impl fmt::Debug for KeyOrder {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("KeyOrder");
        shown.field("reply_to", &self.reply_to);
        shown.field("iterations", &self.iterations);
        shown.finish_non_exhaustive()
    }
}

/// To a worker core.
#[derive(Debug)]
pub enum ToWorker {
    /// A client wants the query of one of this core's clients stopped.
    Cancel {
        /// The process id that client was given.
        process_id: i32,
        /// The key that client was given.
        key: Vec<u8>,
        /// Where it is said when that has had its effect.
        reply_to: ReplyTo,
    },
    /// Clients wait for this pool, and this core has a connection for them, or the place of one.
    Seek(Arc<Budget>),
    /// A live server connection for the clients that wait here.
    Handed(Box<Handed>),
    /// A permit was taken for the clients of this pool that wait here, or what they wait for has changed.
    Granted(Arc<Budget>),
    /// Another core wants a report of this one.
    Ask(ReplyTo, ReportKind),
    /// Reply to a question of this core.
    Reply(Ticket, Reply),
    /// Serve this client, accepted elsewhere and counted here already.
    Adopt(Detached),
    /// Settings changed.
    Reload,
    /// Nodes changed: the primary, or who may take reads.
    NodesChanged,
    /// No new clients; end sessions as their transactions end.
    Drain(DrainFor),
    /// A statement runs for which nobody may be connected to this database of the servers: idle connections close.
    Vacate(Arc<str>),
    /// End now.
    Stop,
}

/// A session, in the whole process, and how often it has used sequences at a connection that it gave back: what an earlier
/// connection knows of them is no longer what the session knows.
pub type Owner = (WorkerId, ConnectionId, u64);

/// A server connection between two cores: logged in, outside a transaction, nothing on its way.
#[derive(Debug)]
pub struct Handed {
    /// Its pool.
    pub key: PoolKey,
    /// The connection itself.
    pub connection: Detached,
    /// Name of its database on the server.
    pub database: Arc<str>,
    /// Its permit, which goes with it.
    pub permit: Permit,
    /// The process at its other end.
    pub process: ServerProcess,
    /// When it was opened.
    pub opened: Instant,
    /// When it was last given back.
    pub used: Instant,
    /// How far a standby had replayed when it was opened; 0 is unknown.
    pub replayed: Lsn,
    /// Parameters that its server reported at login.
    pub welcome: Arc<Welcome>,
    /// Settings beyond those it started with.
    pub parameters: HandedParameters,
    /// Whether these are all of them.
    pub belief: Belief,
    /// Generation of its pool to which it belongs.
    pub generation: u64,
    /// The session to which sequences may have given something there.
    pub sequences: Option<Owner>,
    /// Statements that it has prepared.
    pub prepared: HandedStatements,
}

/// The process that serves a connection between two cores.
#[derive(Debug)]
pub struct ServerProcess {
    /// Node on which it runs.
    pub node: NodeId,
    /// Process id there, for cancel requests.
    pub process_id: i32,
    /// Cancel key that the server gave with it.
    pub cancel_key: Box<[u8]>,
    /// Microseconds since 1970 of the login.
    pub opened_us: u64,
}

/// How well a connection's settings are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Belief {
    /// All of them.
    #[default]
    Exact,
    /// Names, but not what their values are now.
    Names,
    /// There may be others.
    Incomplete,
}

/// Settings, names and values.
pub type HandedParameters = Vec<(String, Box<[u8]>)>;

/// The prepared statements of a server connection between two cores.
#[derive(Debug, Default)]
pub struct HandedStatements {
    /// The last number that was given to a name.
    pub last: u64,
    /// Statements that may be used again.
    pub statements: Vec<HandedStatement>,
    /// Numbers of statements that nobody will use again.
    pub unused: Vec<u64>,
}

/// A prepared statement of a server connection between two cores.
#[derive(Debug)]
pub struct HandedStatement {
    /// Number in its name on the server.
    pub number: u64,
    /// Text and parameter types that were parsed.
    pub content: Arc<[u8]>,
    /// Settings under which that was parsed.
    pub context: HandedParameters,
    /// Number of that Parse.
    pub stamp: Stamp,
    /// Its descriptions; `None` before the server has described it.
    pub shape: Option<Shape>,
}

/// Hashes that tell the descriptions of prepared statements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Hash of the description of its rows.
    pub rows: u64,
    /// Hash of the description of its parameters.
    pub parameters: u64,
}

/// To the control core.
#[derive(Debug)]
pub enum ToControl {
    /// Have SCRAM keys derived.
    Derive(KeyOrder),
    /// Reply to a question of the control core.
    Reply(Ticket, Reply),
    /// A worker could not use a node: it is to be probed now.
    Suspect(NodeId),
    /// An operator's order; [`Reply::Ordered`] follows.
    Order(Order, ReplyTo),
    /// The first connection to a node was made.
    Connected(NodeId),
    /// Statements of this database, by its name on the servers, want its catalog; or it may have changed. The role may be
    /// used to look.
    Catalog(Arc<str>, Arc<str>),
    /// A commit's position was lost with its connection: the primary is to be asked, and [`Commits::found`] told.
    ///
    /// [`Commits::found`]: super::commits::Commits::found
    LostCommit,
    /// Of the control core to itself: every node has had its chance to say what it is.
    Surveyed,
    /// A worker accepts clients.
    Ready(WorkerId),
    /// A statement runs for which nobody may be connected to this database.
    Vacate(Arc<str>),
    /// A worker that drains has no client left.
    Drained(WorkerId),
    /// A worker has ended, by order or not.
    Ended(WorkerId),
    /// A signal of the operating system.
    Signal(i32),
}

//! `[routing]`: which node takes a request.

use std::time::Duration;

/// Whether one client's reads stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Balance {
    /// Each request, or transaction, is placed anew.
    Statement,
    /// A client's reads go to one node for as long as that may take them.
    Session,
}

/// How the node of a read is chosen among those that may take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// By chance, in the proportion of the weights.
    Weighted,
    /// The one with the fewest requests under way for its weight.
    LeastConnections,
    /// The one that answered the control core's questions fastest, lately.
    LowestLatency,
}

/// `consistency`: commits that a read on a standby may miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Whatever the standby has not replayed yet.
    Eventual,
    /// Nothing that the client itself has committed.
    Session,
    /// Nothing that any client of this pgring has committed and was told so.
    Global,
}

/// Which transactions that were declared READ ONLY may run on a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadOnlyTransactions {
    /// None.
    Primary,
    /// Transactions at isolation level READ COMMITTED: one goes on at the primary when a statement needs that.
    ReadCommitted,
    /// Transactions at REPEATABLE READ as well; a statement that needs the primary is refused in such a one.
    All,
}

/// `laggards`: nodes that take the reads of one that lags too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Laggards {
    /// They are spread over the other nodes, the primary among them.
    Others,
    /// They go to the primary.
    Primary,
    /// They go to the standby that lags least, if that is within the limits.
    LeastDelayed,
}

/// A node that a preference asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preferred {
    /// Whichever node is the primary.
    Primary,
    /// Any standby.
    Standby,
    /// The `[[node]]` of that name.
    Named(String),
}

/// A regular expression that is matched against a whole name.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex::bytes::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// `[[preference]]`: where the reads of some clients go. The first that matches holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// Databases; `None` is all. Matched without regard to case, against the whole name.
    pub database: Option<Pattern>,
    /// Users.
    pub user: Option<Pattern>,
    /// `application_name`, as it is now.
    pub application_name: Option<Pattern>,
    /// Where they go.
    pub node: Preferred,
    /// Which part of them, in thousandths; the others are spread over the other nodes by weight.
    pub share: u32,
}

/// `[routing]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// `read_write_split`: reads may go to standbys.
    pub read_write_split: bool,
    /// `balance`.
    pub balance: Balance,
    /// `strategy`.
    pub strategy: Strategy,
    /// `consistency`.
    pub consistency: Consistency,
    /// `max_lag_bytes`: a standby that is further behind gets no reads.
    pub max_lag_bytes: Option<u64>,
    /// `max_lag`: the same in time.
    pub max_lag: Option<Duration>,
    /// `laggards`.
    pub laggards: Laggards,
    /// `leading_reads`: those of a transaction may use a standby until its first other statement.
    pub leading_reads: bool,
    /// `read_only_transactions`.
    pub read_only_transactions: ReadOnlyTransactions,
    /// `read_functions`: functions that only read, whatever the catalog says. Names, or `/patterns/`.
    pub read_functions: Vec<String>,
    /// `write_functions`: functions that write, whatever the catalog says.
    pub write_functions: Vec<String>,
    /// `primary_patterns`: statements that match one go to the primary.
    pub primary_patterns: Vec<String>,
    /// `replay_poll`: how often each standby is asked how far it has replayed.
    pub replay_poll: Duration,
    /// `catalog_refresh`: how often the catalogs are read anew without cause.
    pub catalog_refresh: Duration,
    /// `[[preference]]`, in file order.
    pub preferences: Vec<Preference>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            read_write_split: true,
            balance: Balance::Statement,
            strategy: Strategy::Weighted,
            consistency: Consistency::Session,
            max_lag_bytes: None,
            max_lag: None,
            laggards: Laggards::Others,
            leading_reads: false,
            read_only_transactions: ReadOnlyTransactions::ReadCommitted,
            read_functions: Vec::new(),
            write_functions: Vec::new(),
            primary_patterns: Vec::new(),
            replay_poll: Duration::from_millis(100),
            catalog_refresh: Duration::from_secs(60),
            preferences: Vec::new(),
        }
    }
}

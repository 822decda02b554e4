//! All tables there are, found by their names. Pure.

use super::{
    connections::{CLIENTS, SERVERS},
    counts::{CANCELS, PINS, TIMEOUTS, VERSION},
    nodes::{BACKEND_STATS, FAILOVER, NODE_LIST, NODES, POOL_VERSION, ROUTE},
    pools::{POOLS, STATS},
    table::Listing,
};
use crate::session::show::Show;

/// All tables.
pub static LISTINGS: [Listing; 14] = [
    POOLS,
    CLIENTS,
    SERVERS,
    STATS,
    CANCELS,
    PINS,
    TIMEOUTS,
    VERSION,
    NODES,
    NODE_LIST,
    BACKEND_STATS,
    POOL_VERSION,
    ROUTE,
    FAILOVER,
];

/// The table of that name, in lower case.
pub fn listing(name: &str) -> Option<&'static Listing> {
    LISTINGS.iter().find(|listing| listing.name == name)
}

impl Show {
    /// The table that answers it.
    pub(crate) fn listing(&self) -> &'static Listing {
        let name = match self {
            Self::Nodes => NODES.name,
            Self::BackendStats => BACKEND_STATS.name,
            Self::Version => POOL_VERSION.name,
            Self::Route(_) => ROUTE.name,
        };
        listing(name).expect("all tables are listed")
    }
}

//! Errors that keep pgring from starting, or end it. Pure; printed by the commands.

use std::io;

use crate::{ids::WorkerId, net::ProbeError};

/// Why pgring cannot run, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A listening socket could not be opened.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// Somebody else listens there.
    #[error(
        "cannot listen on {0}: somebody listens there already. Cure: another address in [listen] addresses; or, where that \
         is another pgring that is to have a part of the clients, [listen] share_addresses = true in both"
    )]
    InUse(String),
    /// Too few descriptors for the clients allowed.
    #[error(
        "at most {limit} descriptors may be open here, too few for [listen] max_clients = {clients}. \
         Cure: raise `ulimit -Hn` (LimitNOFILE=) to at least {needed}, or lower max_clients"
    )]
    Descriptors {
        /// The limit in force.
        limit: u64,
        /// Clients allowed by the configuration.
        clients: u32,
        /// A limit that would be enough.
        needed: u64,
    },
    /// The kernel lacks something, for the control core itself.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A system call of the start failed.
    #[error("{0}: {1}")]
    Start(&'static str, io::Error),
    /// A worker ended that was not told to.
    #[error("worker {0} ended: {1}")]
    Worker(WorkerId, String),
}

//! `[health]` and `[failover]`: how the control core watches the nodes, and what happens when one is lost.

use std::{path::PathBuf, time::Duration};

use super::access::Secret;

/// `[health]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `user`: the role that the control core logs in as; without it no node is watched, and the first one is the
    /// primary. Needs `pg_monitor`.
    pub user: Option<String>,
    /// `password`: what servers are told.
    pub password: Option<Secret>,
    /// `database`.
    pub database: String,
    /// `period`: between two probes of a node.
    pub period: Duration,
    /// `timeout`: how long one probe may take.
    pub timeout: Duration,
    /// `retries`: failed probes in a row, after the first, until the node is down.
    pub retries: u32,
    /// `retry_delay`: between a failed probe and the next.
    pub retry_delay: Duration,
    /// `status_file`: where the states of the nodes outlast a restart.
    pub status_file: Option<PathBuf>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            database: "postgres".to_owned(),
            period: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            retries: 2,
            retry_delay: Duration::from_millis(500),
            status_file: None,
        }
    }
}

/// `[failover]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// `hold`: how long a statement waits for a node that can take it.
    pub hold: Duration,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(30),
        }
    }
}

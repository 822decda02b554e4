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
    /// `mode`: what pgring does about a primary that is lost.
    pub mode: FailoverMode,
    /// `second_opinion`: whose word is needed before a primary is taken for dead.
    pub second_opinion: SecondOpinion,
    /// `max_lost_bytes`: how much log, as far as it is known, may be lost; `None` is as much as there is.
    pub max_lost_bytes: Option<u64>,
    /// `promote_timeout`: how long a standby may take to become the primary.
    pub promote_timeout: Duration,
    /// `follow_timeout`: how long another standby may take to follow it.
    pub follow_timeout: Duration,
    /// `switchover_timeout`: how long transactions may take to end at a switchover, and how long after that the new primary
    /// to replay what it lacks.
    pub switchover_timeout: Duration,
}

/// `mode`: what pgring does about a primary that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverMode {
    /// It waits for one that others make.
    Off,
    /// It makes one of the standbys the primary, by SQL.
    Sql,
}

/// `second_opinion`: whose word is needed before a primary is taken for dead. A standby that says that it hears the primary is
/// believed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondOpinion {
    /// That of every standby in use.
    All,
    /// That of one of them.
    Any,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(30),
            mode: FailoverMode::Off,
            second_opinion: SecondOpinion::Any,
            max_lost_bytes: None,
            promote_timeout: Duration::from_secs(60),
            follow_timeout: Duration::from_secs(30),
            switchover_timeout: Duration::from_secs(10),
        }
    }
}

//! Queries of pgring's own at a server, ahead of the client's requests: settings, the state query, positions. Pure.

use std::collections::VecDeque;

use crate::{cluster::node::Lsn, session::state::state_query::StateQuery};

/// Queries of pgring's own, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// To take over the session's settings.
    Settings,
    /// To learn what session state there is.
    StateQuery,
    /// To learn how far the log was written.
    Position,
    /// To end a block that goes on at another node.
    Leave,
}

/// Queries of pgring's own at the server of a session, and what they have answered so far.
#[derive(Debug, Default)]
pub(crate) struct InternalQueries {
    /// Queries whose ReadyForQuery is to come, the oldest first. The client's requests are behind them.
    pub(crate) asked: VecDeque<Own>,
    pub(crate) state_query: StateQuery,
    /// Position up to which the log was written, when that was asked.
    pub(crate) position: Option<Lsn>,
}

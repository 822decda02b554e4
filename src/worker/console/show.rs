//! The answers to what any session may ask of pgring itself: `SHOW POOL_NODES` and its like.
//! `SHOW ROUTE <statement>` says where a statement would go, and why.

use std::rc::Rc;

use super::tables::Table;
use crate::{cluster::report::ReportKind, ids::NodeId, session::show::Show, worker::Worker};

/// Where a statement would go, as the session tells it.
pub(in crate::worker) struct Route {
    /// What it needs.
    pub(in crate::worker) class: String,
    /// Why.
    pub(in crate::worker) reason: String,
    /// Which node takes it.
    pub(in crate::worker) chosen: Option<NodeId>,
    /// What each node has against it, by node; empty for nothing.
    pub(in crate::worker) objections: Vec<String>,
}

impl Show {
    /// The names of the answer's columns.
    pub(in crate::worker) fn columns(&self) -> &'static [&'static str] {
        match self {
            Self::Nodes => Table::NODES,
            Self::BackendStats => Table::BACKEND_STATS,
            Self::Version => &["pool_version"],
            Self::Route(_) => Table::ROUTE,
        }
    }

    /// The answer. `reads`: the node that takes the session's reads. `route`: what it says of a statement.
    pub(in crate::worker) async fn answer(
        &self,
        worker: &Rc<Worker>,
        reads: Option<NodeId>,
        route: impl FnOnce(&[u8]) -> Route,
    ) -> Table {
        let snapshot = worker.snapshot();
        match self {
            Self::Nodes => Table::nodes(&snapshot, &worker.ask_all(ReportKind::Nodes).await, reads),
            Self::BackendStats => {
                Table::backend_stats(&snapshot, &worker.ask_all(ReportKind::Nodes).await)
            }
            Self::Version => Table::pool_version(),
            Self::Route(statement) => Table::route(&snapshot, &route(statement)),
        }
    }
}

impl Route {
    /// For a session that has nothing to choose between.
    pub(in crate::worker) fn of_one(chosen: Option<NodeId>, why: &str) -> Self {
        Self {
            class: "write".to_owned(),
            reason: why.to_owned(),
            chosen,
            objections: Vec::new(),
        }
    }

    /// For those who have no session.
    pub(in crate::worker) fn nowhere(_: &[u8]) -> Self {
        Self::of_one(None, "")
    }
}

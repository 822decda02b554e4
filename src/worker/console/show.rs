//! The answers to what any session may ask of pgring itself: `SHOW POOL_NODES` and its like.

use std::rc::Rc;

use crate::{
    admin::{Route, Table},
    cluster::report::ReportKind,
    ids::NodeId,
    session::show::Show,
    worker::Worker,
};

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

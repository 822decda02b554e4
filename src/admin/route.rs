//! Where a statement would go: the answer to `SHOW ROUTE <statement>`, as a session gives it.

use crate::ids::NodeId;

/// Where a statement would go, as the session tells it.
pub(crate) struct Route {
    /// What it needs.
    pub(crate) class: String,
    /// Why.
    pub(crate) reason: String,
    /// Which node takes it.
    pub(crate) chosen: Option<NodeId>,
    /// What each node has against it, by node; empty for nothing.
    pub(crate) objections: Vec<String>,
}

impl Route {
    /// For a session that has nothing to choose between.
    pub(crate) fn of_one(chosen: Option<NodeId>, why: &str) -> Self {
        Self {
            class: "write".to_owned(),
            reason: why.to_owned(),
            chosen,
            objections: Vec::new(),
        }
    }

    /// For those who have no session.
    pub(crate) fn nowhere(_: &[u8]) -> Self {
        Self::of_one(None, "")
    }
}

//! Where a statement would go, as a session tells it for `SHOW ROUTE <statement>`. Pure.

use crate::ids::NodeId;

/// Where a statement would go, as the session tells it.
pub struct Route {
    /// Class of the statement: `read` or `write`.
    pub class: String,
    /// Cause of its class.
    pub reason: String,
    /// Node that takes it; `None` when none does.
    pub chosen: Option<NodeId>,
    /// Objection to each node, by node; empty for none.
    pub objections: Vec<String>,
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
}

//! Where a statement would go: `SHOW ROUTE <statement>`, made of what a session says of it. Pure.

use super::table::{Dialect, Listing, Row, Sources, text};
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

/// `SHOW ROUTE <statement>`.
pub(super) const ROUTE: Listing = Listing {
    name: "route",
    doc: "A line for each node: whether the session would send the statement there, and why.",
    dialect: Dialect::Pgpool,
    columns: &[
        text("class", "read or write."),
        text("reason", "Why it is that."),
        text("node", "Name of the node."),
        text(
            "chosen",
            "yes for the node that takes the statement, no for the others.",
        ),
        text("why_not", "Objection to the node; empty for none."),
    ],
    wants: None,
    rows: route_rows,
};

fn route_rows(sources: &Sources<'_>) -> Vec<Row> {
    let Some(route) = &sources.route else {
        return Vec::new();
    };
    let rows = sources.snapshot.ids().map(|node| {
        let is_chosen = route.chosen == Some(node);
        let objection = route.objections.get(usize::from(node.0));
        let objection = objection.filter(|_| !is_chosen).cloned();
        vec![
            route.class.clone().into(),
            route.reason.clone().into(),
            sources.snapshot.node(node).name.clone().into(),
            if is_chosen { "yes" } else { "no" }.into(),
            objection.unwrap_or_default().into(),
        ]
    });
    rows.collect()
}

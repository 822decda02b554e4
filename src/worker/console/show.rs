//! Tables for those who are connected to this core: the cores' reports are gathered, the answer is made of them.

use std::rc::Rc;

use crate::{
    admin::{
        route::Route,
        table::{Listing, Sources, Table},
    },
    ids::NodeId,
    worker::core::Worker,
};

impl Worker {
    /// A table as of now. `reads`: node that takes the reads of the session that asks. `route`: where the statement in
    /// question would go.
    pub(crate) async fn table(
        self: &Rc<Self>,
        listing: &'static Listing,
        reads: Option<NodeId>,
        route: Option<Route>,
    ) -> Table {
        let snapshot = self.snapshot();
        let reports = match listing.wants {
            Some(kind) => self.ask_all(kind).await,
            None => Vec::new(),
        };
        listing.table(&Sources {
            snapshot: &snapshot,
            reports: &reports,
            seconds_up: self.seconds_up(),
            reads,
            route,
        })
    }
}

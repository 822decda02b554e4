//! Questions of this core's tasks to the other cores and to the thread that derives keys.

use std::{rc::Rc, sync::Arc};

use super::{core::Worker, report};
use crate::{
    admin::{
        route::Route,
        table::{Listing, Sources, Table},
    },
    auth::SaltedKeys,
    cluster::{
        messages::ToControl,
        report::{Report, ReportKind},
    },
    ids::NodeId,
};

impl Worker {
    /// Has the control core run PBKDF2; `None` when it has too much to do.
    pub(super) async fn derive(
        &self,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Option<Arc<SaltedKeys>> {
        let send = |order| self.shared.control.put(ToControl::Derive(order)).is_ok();
        self.replies
            .keys(&self.shared, (password, salt, iterations), send)
            .await
    }

    /// Asks every core, this one included.
    pub(super) async fn ask_all(self: &Rc<Self>, kind: ReportKind) -> Vec<Report> {
        let own = report::report(self, kind);
        self.replies
            .reports(&self.shared, &self.reactor, kind, Some(own))
            .await
    }

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

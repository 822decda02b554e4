//! Opens lines from the control core to nodes: what all tasks of the watch have in common. Says whether anybody may be
//! asked; never what, and never what follows from an answer.

use std::rc::Rc;

use crate::{
    control::{
        keys::Deriver,
        line::{Destination, Line, LineError},
        publishing::Publishing,
    },
    net::Reactor,
};

/// The way to the nodes, by the settings of the current snapshot.
pub(super) struct Dialer {
    pub(super) reactor: Reactor,
    pub(super) publishing: Rc<Publishing>,
    deriver: Deriver,
}

impl Dialer {
    pub(super) fn new(reactor: Reactor, publishing: Rc<Publishing>, deriver: Deriver) -> Self {
        Self {
            reactor,
            publishing,
            deriver,
        }
    }

    /// True while `[health]` names a user to log in as. Without one nobody looks at the nodes.
    pub(super) fn is_on(&self) -> bool {
        let snapshot = self.publishing.current();
        snapshot.settings.health.user.is_some()
    }

    /// Connects to a node and logs in.
    pub(super) async fn open(&self, to: &Destination) -> Result<Line, LineError> {
        Line::open(&self.reactor, to, &self.deriver).await
    }
}

//! The run-time parameters of one session: those that are set, those that it came with, and those of the server of which
//! its client was told, at its login and since. A server whose settings were changed says something else to later
//! clients: the session keeps to what it was told. (PostgreSQL manual, "Parameter Status".)

use std::sync::Arc;

use crate::{
    cluster::welcome::Welcome, session::state::parameters::Parameters,
    worker::pool::common::Greeting,
};

/// The parameters of one session.
pub(super) struct SessionParameters {
    /// Settings beyond those of its pool.
    pub(super) current: Parameters,
    /// Settings of `current` that change what a text means.
    pub(super) meaning: Parameters,
    /// Settings the client came with, to which RESET goes back.
    pub(super) startup: Parameters,
    /// The client's belief of the server's own settings.
    pub(super) told: Told,
}

/// The settings of servers of which a client was told.
pub(super) struct Told {
    pub(super) greeting: Greeting,
    /// Greeting of the connection that was looked at last, which differs in nothing that a session can set.
    pub(super) agreed: Arc<Welcome>,
}

impl Told {
    pub(super) fn new(greeting: Greeting) -> Self {
        Self {
            agreed: Arc::clone(&greeting.plain),
            greeting,
        }
    }

    /// Value of a setting of which the client was told at its login.
    pub(super) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.greeting.told.value(name)
    }
}

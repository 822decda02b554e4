//! What a session's client was told of the server's own settings, at its login and since, and what it runs with. A server
//! whose settings were changed says something else to those who come later: the session keeps what it was told.

use std::sync::Arc;

use super::task::Session;
use crate::{
    cluster::welcome::Welcome,
    protocol::{backend::ParameterStatus, tag::backend},
    session::state::parameters,
    worker::pool::{Greeting, Lease},
};

/// What the client believes.
pub(super) struct Told {
    greeting: Greeting,
    /// What a connection said that differs in nothing that a session can set, looked at last.
    agreed: Arc<Welcome>,
}

impl Told {
    pub(super) fn new(greeting: Greeting) -> Self {
        Self {
            agreed: Arc::clone(&greeting.plain),
            greeting,
        }
    }

    /// What it was told of a setting at its login.
    pub(super) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.greeting.told.value(name)
    }
}

impl Session {
    /// A connection was found whose server may have said something else at its login than the session was told: that is
    /// set for the session as if it had come with it.
    #[inline]
    pub(super) fn hold_to_what_was_told(&mut self, lease: &Lease) {
        if !Arc::ptr_eq(&self.told.agreed, &lease.backend().welcome) {
            self.compare_welcomes(lease);
        }
    }

    #[cold]
    fn compare_welcomes(&mut self, lease: &Lease) {
        let new = &lease.backend().welcome;
        let Greeting { told, plain } = &self.told.greeting;
        let differing: Vec<_> = plain
            .iter()
            .filter(|(name, value)| {
                parameters::is_settable(name) && new.value(name).is_some_and(|new| new != *value)
            })
            .filter_map(|(name, _)| {
                Some((String::from_utf8(name.to_vec()).ok()?, told.value(name)?))
            })
            .collect();
        if differing.is_empty() {
            self.told.agreed = Arc::clone(new);
            return;
        }
        let interner = &self.worker.interner;
        let kept = interner.of(differing.into_iter());
        let startup = interner.joined(&self.startup, &kept);
        let all = interner.joined(&self.parameters, &kept);
        if startup != self.startup {
            self.conversation.has_settings();
        }
        self.startup = startup;
        self.become_known(all);
    }

    /// True when a setting that is reported together with the answer to something of ours is another one of the server's
    /// own, which the client must hear of.
    #[cold]
    pub(super) fn is_news(&self, body: &[u8]) -> bool {
        let Some(lease) = self.lease.as_ref() else {
            return false;
        };
        let status = ParameterStatus::read(body);
        self.conversation.hears_for_us()
            && status.is_ok_and(|status| lease.backend().is_news(status, &self.parameters))
    }

    /// The client hears what was reported to us.
    pub(super) fn tell_news(&mut self, reports: &[Vec<u8>]) {
        for body in reports {
            self.conversation.note_reported(body);
            self.tell(|writer| {
                writer.message(backend::PARAMETER_STATUS, body);
            });
        }
    }

    /// The server has told what its own settings are, of those that it has reported: some were changed under its
    /// connections, as by a reload of its configuration. The client has heard it, and those who log in must.
    pub(super) fn note_defaults(&mut self, own: &[(String, Vec<u8>)]) {
        let lease = self.lease.as_mut().expect("it has told just now");
        let mut new = Welcome::clone(&lease.backend().welcome);
        let mut told = Welcome::clone(&self.told.greeting.told);
        for (name, value) in own {
            let name = name.as_bytes();
            if parameters::is_settable(name) {
                new.report(ParameterStatus { name, value });
                told.report(ParameterStatus { name, value });
            }
        }
        if new == *lease.backend().welcome {
            return;
        }
        lease.hear(new);
        let plain = Arc::clone(&lease.backend().welcome);
        self.told = Told::new(Greeting {
            told: Arc::new(told),
            plain,
        });
    }
}

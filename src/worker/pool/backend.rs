//! One server connection, logged in, and the permit it holds.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use crate::{
    cluster::{
        budget::{self, Budget},
        messages::Owner,
        node::Lsn,
        welcome::Welcome,
    },
    ids::{ConnectionId, NodeId},
    net::{Address, Stream},
    protocol::backend::ParameterStatus,
    session::{
        prepared::server::Prepared,
        state::parameters::{self, Belief, Parameters},
    },
};

/// Identity of a server connection, for those who do not hold it.
#[derive(Debug)]
pub(crate) struct BackendInfo {
    pub(crate) node: NodeId,
    pub(crate) address: Address,
    pub(crate) id: ConnectionId,
    /// Process id on the server, for cancel requests.
    pub(crate) process_id: i32,
    /// Cancel key of the server.
    pub(crate) cancel_key: Box<[u8]>,
    /// Microseconds since 1970 of its login.
    pub(crate) opened_us: u64,
    /// Cancel requests on their way to it.
    pub(crate) cancels: Cell<u32>,
}

/// A server connection.
pub(crate) struct Backend {
    pub(crate) stream: Stream,
    pub(crate) info: Rc<BackendInfo>,
    /// Parameters that the server reported at login.
    pub(crate) welcome: Arc<Welcome>,
    /// Settings beyond those it started with.
    pub(crate) parameters: Parameters,
    /// How well they are known.
    pub(crate) belief: Belief,
    /// Nobody was lent it.
    pub(super) is_new: bool,
    /// It has what only its end takes away: it is closed when its session gives it up.
    pub(crate) is_spent: bool,
    /// Whom sequences may have given something here: nobody else may ask for that.
    pub(crate) sequences: Option<Owner>,
    /// Bytes that its session sent last, in case they must run again.
    pub(crate) record: Vec<u8>,
    /// The read it was taken for, in case that must go to another node.
    pub(crate) read: Vec<u8>,
    /// How far a standby had replayed when the connection was opened; 0 is unknown.
    pub(crate) replayed: Lsn,
    /// Statements that it has prepared.
    pub(crate) prepared: Prepared,
    pub(crate) opened: Instant,
    /// When it was last given back.
    pub(crate) used: Cell<Instant>,
    pub(super) membership: Membership,
}

/// The pool that a server connection was opened for, as far as the connection tells of it.
pub(super) struct Membership {
    /// Name of its database on the server; another one than the pool's once that was renamed.
    pub(super) database: Arc<str>,
    /// Generation of what its server says at login (`cluster/last_welcome.rs`): a connection of an older one is closed.
    pub(super) generation: u64,
    pub(super) permit: CorePermit,
}

impl Backend {
    /// True when something must be sent before a session with these settings may use it.
    #[inline]
    pub(crate) fn differs(&self, settings: &Parameters, session: Owner) -> bool {
        self.parameters != *settings
            || self.belief != Belief::Exact
            || self.sequences.is_some_and(|owner| owner != session)
    }

    /// SQL that must be sent before this session may use it; its settings count as the session's from now on.
    pub(crate) fn become_fit(&mut self, settings: &Parameters, session: Owner) -> Vec<u8> {
        let forgets = self.sequences.take_if(|owner| *owner != session).is_some();
        let text = self.parameters.transition(settings, self.belief, forgets);
        self.has_been_given(settings.clone());
        text
    }

    /// True when a setting that it reports while it goes over to these is neither one of them nor what its server has said
    /// at its login: the server has another one now.
    pub(crate) fn is_news(&self, status: ParameterStatus<'_>, target: &Parameters) -> bool {
        let is_given = || {
            let name = String::from_utf8_lossy(status.name).to_ascii_lowercase();
            target.get(&name).is_some()
        };
        let before = self.welcome.value(status.name);
        parameters::is_settable(status.name) && before != Some(status.value) && !is_given()
    }

    /// These are its settings now.
    pub(crate) fn has_been_given(&mut self, parameters: Parameters) {
        (self.parameters, self.belief) = (parameters, Belief::Exact);
    }

    /// The server has told these settings. `blind`: there may be others. `temporary`: there is a schema for temporary
    /// objects, which no statement takes away.
    pub(crate) fn was_asked(&mut self, parameters: Parameters, blind: bool, temporary: bool) {
        self.parameters = parameters;
        self.belief = match blind {
            true => Belief::Incomplete,
            false => Belief::Exact,
        };
        self.is_spent |= temporary;
    }
}

/// One of a pool's permits on this core; dropping it gives it back.
pub(super) struct CorePermit {
    /// `None` once it has gone to another core.
    permit: Option<budget::Permit>,
    /// Server connections of this core, permits of those being opened included.
    open: Rc<Cell<u32>>,
}

impl CorePermit {
    /// Counts a permit on this core.
    pub(super) fn of(permit: budget::Permit, open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get() + 1);
        Self {
            permit: Some(permit),
            open: Rc::clone(open),
        }
    }

    /// The budget that it was taken from.
    pub(super) fn budget(&self) -> Arc<Budget> {
        let permit = self.permit.as_ref();
        Arc::clone(permit.expect("it is not handed over yet").budget())
    }

    /// Its connection is being closed.
    pub(super) fn leave(&mut self) {
        self.permit.iter_mut().for_each(budget::Permit::leave);
    }

    /// Takes it from this core, for another.
    pub(super) fn hand_over(mut self) -> budget::Permit {
        self.permit
            .take()
            .expect("it is handed over once, and then dropped")
    }
}

impl Drop for CorePermit {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

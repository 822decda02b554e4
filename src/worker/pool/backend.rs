//! One server connection, logged in, and the permit it holds.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use crate::{
    cluster::{
        budget::{self, Budget},
        welcome::Welcome,
    },
    ids::{ConnectionId, NodeId},
    net::{Address, Stream},
    worker::{
        parameters::{Belief, Parameters},
        statements::prepared::Prepared,
    },
};

/// What is known of a server connection by those who do not hold it.
#[derive(Debug)]
pub(crate) struct Facts {
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
    pub(crate) facts: Rc<Facts>,
    /// What the server said at login.
    pub(crate) welcome: Arc<Welcome>,
    /// Settings beyond those it started with.
    pub(crate) parameters: Parameters,
    /// How well they are known.
    pub(crate) belief: Belief,
    /// Nobody was lent it.
    pub(super) is_new: bool,
    /// It has what only its end takes away: it is closed when its session gives it up.
    pub(crate) is_spent: bool,
    /// Of which generation of its pool it is.
    pub(super) generation: u64,
    /// What its session sent last, in case it must run again.
    pub(crate) record: Vec<u8>,
    /// The read it was taken for, in case that must go to another node.
    pub(crate) read: Vec<u8>,
    /// What it has prepared.
    pub(crate) prepared: Prepared,
    /// Name of its database on the server.
    pub(super) database: Arc<str>,
    pub(crate) opened: Instant,
    /// When it was last given back.
    pub(crate) used: Cell<Instant>,
    pub(super) permit: Permit,
}

impl Backend {
    /// True when it may have other settings than these.
    #[inline]
    pub(crate) fn has_others(&self, target: &Parameters) -> bool {
        self.parameters != *target || self.belief != Belief::Exact
    }

    /// The text that brings it to these settings.
    pub(crate) fn transition(&self, target: &Parameters) -> Vec<u8> {
        self.parameters.transition(target, self.belief)
    }

    /// It was sent that text.
    pub(crate) fn has_been_given(&mut self, parameters: Parameters) {
        (self.parameters, self.belief) = (parameters, Belief::Exact);
    }

    /// The server has told these settings. `blind`: there may be others. `temporary`: there is a schema for temporary
    /// objects, which no statement takes away.
    pub(crate) fn was_asked(&mut self, parameters: Parameters, blind: bool, temporary: bool) {
        self.parameters = parameters;
        self.belief = if blind {
            Belief::Incomplete
        } else {
            Belief::Exact
        };
        self.is_spent |= temporary;
    }
}

/// One of a pool's permits on this core; dropping it gives it back.
pub(super) struct Permit {
    /// `None` once it has gone to another core.
    permit: Option<budget::Permit>,
    /// Server connections of this core, permits of those being opened included.
    open: Rc<Cell<u32>>,
}

impl Permit {
    /// Counts a permit on this core.
    pub(super) fn of(permit: budget::Permit, open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get() + 1);
        Self {
            permit: Some(permit),
            open: Rc::clone(open),
        }
    }

    /// What it was taken from.
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

impl Drop for Permit {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

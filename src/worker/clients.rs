//! Clients that are logged in to this core: what others may know of a session, and how to reach it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

use hashbrown::HashMap;

use super::{
    cancel::{
        backend_key::{BackendKey, process_id},
        inbox::Inbox,
    },
    pool::backend::BackendInfo,
};
use crate::session::state::pin::Pin;
use crate::{
    cluster::budget::{ClientPermit, PoolKey},
    ids::{ConnectionId, NodeId, WorkerId},
    net::task::WakerCell,
    protocol::{ErrorReport, SqlState},
};

/// Why a session shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// At the next moment without a transaction.
    Drain,
    /// Now.
    Stop,
}

/// Error (57P01) that ends a session because pgring stops.
pub(crate) fn shutting_down() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::ADMIN_SHUTDOWN,
        "terminating connection because pgring is shutting down",
    )
}

/// State of a session, as `SHOW CLIENTS` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// Between transactions.
    Idle,
    /// Waits for a server connection.
    Waiting,
    /// Has a server connection.
    Active,
}

/// Connection by which a client came.
pub(crate) struct Origin {
    /// Address and port of its end; `unix` for a Unix socket.
    pub(crate) address: String,
    /// Address and port of pgring's end.
    pub(crate) local_address: String,
    /// Microseconds since 1970 of its login.
    pub(crate) connected_us: u64,
}

/// One logged-in client.
pub(crate) struct ClientInfo {
    pub(crate) id: ConnectionId,
    pub(crate) key: PoolKey,
    /// Given to it for cancel requests.
    pub(crate) backend_key: BackendKey,
    pub(crate) origin: Origin,
    pub(crate) times: Times,
    pub(crate) state: Cell<ClientState>,
    /// Why it keeps its server connection.
    pub(crate) pinned: Cell<Option<Pin>>,
    pub(crate) application_name: RefCell<Vec<u8>>,
    /// The server connection it holds.
    pub(crate) server: RefCell<Option<Rc<BackendInfo>>>,
    /// Server connections that it keeps and that are not at work.
    pub(crate) kept: RefCell<Vec<Rc<BackendInfo>>>,
    pub(crate) kill: Cell<Option<Kill>>,
    pub(crate) cancel: Inbox,
    /// The number of the statement under way for which nobody may be connected to some database; 0: it is none such.
    pub(crate) vacates: Cell<u64>,
    /// Settings may have changed since the session last looked.
    pub(crate) reloaded: Cell<bool>,
    pub(crate) waker: WakerCell,
    /// Its database and its user count it; the console counts nobody.
    pub(crate) _counted: Option<ClientPermit>,
}

/// Times of one client's doings.
pub(crate) struct Times {
    /// When its last request came.
    pub(crate) request: Cell<Instant>,
    /// When the transaction began that is under way; of a single statement, when that was sent.
    pub(crate) transaction: Cell<Option<Instant>>,
}

/// The clients of one core by slot.
#[derive(Default)]
pub(crate) struct Clients {
    by_slot: RefCell<Vec<Option<Rc<ClientInfo>>>>,
    /// Slots by process id.
    by_process_id: RefCell<HashMap<i32, usize>>,
    /// Process ids that were given.
    numbers: Cell<u32>,
    count: Cell<usize>,
    /// Bytes of long messages that are not whole, or wait for a server connection.
    pub(crate) held_bytes: Rc<Cell<usize>>,
}

impl Clients {
    /// A process id that no client of this worker has, and none has had lately.
    pub(crate) fn new_process_id(&self, worker: WorkerId) -> i32 {
        let taken = self.by_process_id.borrow();
        loop {
            self.numbers.set(self.numbers.get().wrapping_add(1));
            let id = process_id(worker, self.numbers.get());
            if !taken.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn enter(&self, info: &Rc<ClientInfo>) {
        let slot = info.id.slot as usize;
        let mut by_slot = self.by_slot.borrow_mut();
        if by_slot.len() <= slot {
            by_slot.resize(slot + 1, None);
        }
        let before = by_slot[slot].replace(Rc::clone(info));
        assert!(before.is_none(), "a slot has one client");
        self.by_process_id
            .borrow_mut()
            .insert(info.backend_key.process_id, slot);
        self.count.set(self.count.get() + 1);
    }

    pub(crate) fn leave(&self, info: &ClientInfo) {
        let left = self.by_slot.borrow_mut()[info.id.slot as usize].take();
        assert!(left.is_some(), "a client leaves once");
        self.by_process_id
            .borrow_mut()
            .remove(&info.backend_key.process_id);
        self.count.set(self.count.get() - 1);
        info.cancel.close();
    }

    /// True when nobody is logged in.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    /// The client that was given this process id.
    pub(crate) fn with_process_id(&self, process_id: i32) -> Option<Rc<ClientInfo>> {
        let slot = *self.by_process_id.borrow().get(&process_id)?;
        self.by_slot.borrow().get(slot)?.clone()
    }

    pub(crate) fn all(&self) -> Vec<Rc<ClientInfo>> {
        self.by_slot.borrow().iter().flatten().cloned().collect()
    }

    /// Tells every session that settings may have changed.
    pub(crate) fn reload_all(&self) {
        for info in self.all() {
            info.reloaded.set(true);
            info.waker.wake();
        }
    }

    /// Wakes every session that waits for a server or a node.
    pub(crate) fn wake_waiting(&self) {
        for info in self.by_slot.borrow().iter().flatten() {
            if info.state.get() == ClientState::Waiting {
                info.waker.wake();
            }
        }
    }

    /// Tells the sessions that have a server connection to such a node that they may wait in vain.
    pub(crate) fn wake_those_at(&self, is_such: impl Fn(NodeId) -> bool) {
        for info in self.all() {
            let node = info.server.borrow().as_ref().map(|server| server.node);
            if node.is_some_and(&is_such) {
                info.reloaded.set(true);
                info.waker.wake();
            }
        }
    }

    /// Tells every session to end.
    pub(crate) fn kill_all(&self, kill: Kill) {
        for info in self.all() {
            info.kill.set(Some(kill));
            info.waker.wake();
        }
    }
}

//! All that the tasks of one core share. Runs nothing by itself.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use hashbrown::HashMap;

use super::{
    arena::Arena, cancel::under_way::Cancels, clients::Clients, counters::WorkerCounters,
    doors::Doors, pool::set::PoolSet,
};
use crate::{
    cluster::{
        budget::PoolKey,
        messages::{CoreId, ToControl},
        node::Status,
        publish::Reader,
        replies::Replies,
        report::NodeCounters,
        shared::Shared,
        snapshot::Snapshot,
    },
    ids::{NodeId, WorkerId},
    net::Reactor,
    session::{context::Words, prepared::Store, state::parameters::Interner},
    time::{self, Micros},
};

/// All that the tasks of one core share.
pub(crate) struct Worker {
    pub(super) id: WorkerId,
    pub(super) reactor: Reactor,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: RefCell<Reader>,
    pub(super) interner: Interner,
    pub(super) statements: Store,
    pub(super) arena: RefCell<Arena>,
    /// Messages that the rules of the session at work add, to its client and to its server, before they are sent.
    pub(super) words: RefCell<Words>,
    pub(super) pools: RefCell<HashMap<PoolKey, Rc<PoolSet>>>,
    /// The maintenance of the pools sleeps without a deadline: whoever makes a connection idle wakes it.
    pub(super) maintenance_waits: Cell<bool>,
    pub(super) clients: Clients,
    pub(super) cancels: Cancels,
    pub(super) counters: WorkerCounters,
    pub(super) doors: Doors,
    pub(super) replies: Replies,
    pub(super) started: Instant,
}

impl Worker {
    pub(super) fn new(id: WorkerId, reactor: Reactor, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            id,
            reactor,
            reader: RefCell::new(shared.readers.reader()),
            shared,
            interner: Interner::default(),
            statements: Store::default(),
            arena: RefCell::default(),
            words: RefCell::default(),
            pools: RefCell::default(),
            maintenance_waits: Cell::default(),
            clients: Clients::default(),
            cancels: Cancels::default(),
            counters: WorkerCounters::default(),
            doors: Doors::default(),
            replies: Replies::new(CoreId::Worker(id)),
            started: time::now(),
        })
    }

    /// The newest snapshot.
    #[inline]
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.reader.borrow_mut().load())
    }

    /// Decides with the newest snapshot, without taking a share of it.
    #[inline]
    pub(crate) fn with_snapshot<T>(&self, decide: impl FnOnce(&Snapshot) -> T) -> T {
        decide(self.reader.borrow_mut().load())
    }

    /// Counts what a node has answered to a client.
    #[inline]
    pub(crate) fn count_answer(&self, node: NodeId, count: impl FnOnce(&mut NodeCounters)) {
        self.counters.count_answer(node, count);
    }

    /// The name of a node.
    pub(crate) fn node_name(&self, node: NodeId) -> String {
        self.with_snapshot(|snapshot| snapshot.node(node).name.clone())
    }

    /// A connection to a node was made for clients.
    pub(crate) fn note_connected(&self, node: NodeId) {
        let is_news = self.with_snapshot(|snapshot| {
            let state = snapshot.state(node);
            let is_standby = snapshot.splits() && snapshot.primary != Some(node);
            is_standby || state.is_some_and(|state| state.status == Status::Waiting)
        });
        if is_news {
            let _ = self.shared.control.put(ToControl::Connected(node));
        }
    }

    /// Nobody here will learn how far the log was written after a commit: the control core is to ask.
    #[cold]
    pub(crate) fn lost_commit(&self) {
        if self.shared.control.put(ToControl::LostCommit).is_err() {
            tracing::error!("the control core does not listen; reads stay at the primary");
        }
    }

    /// A node could not be used: the control core is to look at it.
    #[cold]
    pub(crate) fn suspect(&self, node: NodeId) {
        let is_news = self.with_snapshot(|snapshot| {
            let state = snapshot.state(node);
            state.is_some_and(|state| state.live.suspect())
        });
        if is_news {
            let _ = self.shared.control.put(ToControl::Suspect(node));
        }
    }

    /// How long this core has run, in seconds, at least one.
    pub(super) fn seconds_up(&self) -> u64 {
        let up = self.reactor.now().saturating_duration_since(self.started);
        up.as_secs().max(1)
    }

    /// Now, as the budgets count time.
    pub(crate) fn micros(&self) -> Micros {
        self.shared.budgets.micros(self.reactor.now())
    }

    /// One client of the process more or less.
    pub(super) fn count_client(&self, more: bool) -> u32 {
        let clients = &self.shared.clients;
        if more {
            clients.fetch_add(1, Ordering::AcqRel) + 1
        } else {
            clients.fetch_sub(1, Ordering::AcqRel) - 1
        }
    }
}

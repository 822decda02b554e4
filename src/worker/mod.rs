//! The data plane: one `Worker` per core. Clients come in, sessions run, server connections are pooled.
//!
//! The modules are in the order in which a query meets them.

mod accept;
mod arena;
mod cancel;
mod clients;
mod console;
mod counters;
mod date_style;
mod guard;
mod mail;
mod pool;
mod report;
pub mod route;
mod session;
mod startup;
mod welcome;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use hashbrown::HashMap;

use self::{
    arena::Arena,
    cancel::Cancels,
    clients::Clients,
    counters::WorkerCounters,
    pool::{Janitor, Pool, PoolSet},
};
use crate::link::wire;
use crate::session::{context::Words, prepared::Store, state::parameters::Interner};
use crate::{
    cluster::{
        budget::{Micros, PoolKey},
        messages::{Core, ToControl},
        node::Status,
        publish::Reader,
        replies::Replies,
        report::NodeCounters,
        shared::Shared,
        snapshot::Snapshot,
    },
    ids::{NodeId, WorkerId},
    limits::WORKER_IO_MEMORY_BYTES,
    net::{BufferSizes, Incoming, Listener, ProbeError, Reactor, WakeHandle, task},
    time,
};

/// All that the tasks of one core share.
pub(crate) struct Worker {
    id: WorkerId,
    reactor: Reactor,
    shared: Arc<Shared>,
    reader: RefCell<Reader>,
    interner: Interner,
    statements: Store,
    arena: RefCell<Arena>,
    /// What the rules of the session at work have to say.
    words: RefCell<Words>,
    pools: RefCell<HashMap<PoolKey, Rc<PoolSet>>>,
    janitor: Janitor,
    /// What each node has answered to clients of this core.
    answered: RefCell<Vec<NodeCounters>>,
    clients: Clients,
    cancels: Cancels,
    counters: WorkerCounters,
    doors: RefCell<Vec<Rc<Incoming>>>,
    replies: Replies,
    started: Instant,
    draining: Cell<bool>,
    stopping: Cell<bool>,
}

/// What a worker core is started with.
pub struct WorkerPlan {
    /// Which one.
    pub id: WorkerId,
    /// CPU it is bound to.
    pub cpu: Option<usize>,
    /// Sizes of its receive buffers.
    pub buffers: BufferSizes,
    /// Sockets it accepts from.
    pub listeners: Vec<Listener>,
    /// How other cores wake it.
    pub wake: WakeHandle,
    /// What it shares with the other cores.
    pub shared: Arc<Shared>,
}

/// Why a worker core ended other than by being told.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The kernel lacks something.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The ring failed.
    #[error("the ring of worker {0} failed: {1}")]
    Ring(WorkerId, io::Error),
    /// Its thread could not be started, or panicked.
    #[error("worker {0} cannot run: {1}")]
    Thread(WorkerId, String),
}

/// A running worker core.
pub struct WorkerThread(
    WorkerId,
    glommio::ExecutorJoinHandle<Result<(), WorkerError>>,
);

impl WorkerThread {
    /// Waits until the core has ended.
    pub fn join(self) -> Result<(), WorkerError> {
        match self.1.join() {
            Ok(ended) => ended,
            Err(error) => Err(WorkerError::Thread(self.0, error.to_string())),
        }
    }
}

impl WorkerPlan {
    /// Starts the core.
    pub fn start(self) -> Result<WorkerThread, WorkerError> {
        let id = self.id;
        let placement = match self.cpu {
            Some(cpu) => glommio::Placement::Fixed(cpu),
            None => glommio::Placement::Unbound,
        };
        let thread = glommio::LocalExecutorBuilder::new(placement)
            .name(&format!("worker-{id}"))
            .io_memory(WORKER_IO_MEMORY_BYTES)
            .ring_depth(8)
            .preempt_timer(crate::limits::PREEMPT_TIMER)
            .spawn(move || run(self))
            .map_err(|error| WorkerError::Thread(id, error.to_string()))?;
        Ok(WorkerThread(id, thread))
    }
}

async fn run(plan: WorkerPlan) -> Result<(), WorkerError> {
    let shared = Arc::clone(&plan.shared);
    let told = AbsenceNotice {
        id: plan.id,
        shared,
    };
    let reactor = Reactor::new(plan.buffers, plan.wake)?;
    let worker = Rc::new(Worker {
        id: plan.id,
        reactor: reactor.clone(),
        reader: RefCell::new(plan.shared.readers.reader()),
        shared: plan.shared,
        interner: Interner::default(),
        statements: Store::default(),
        arena: RefCell::default(),
        words: RefCell::default(),
        pools: RefCell::default(),
        janitor: Janitor::default(),
        answered: RefCell::default(),
        clients: Clients::default(),
        cancels: Cancels::default(),
        counters: WorkerCounters::default(),
        doors: RefCell::default(),
        replies: Replies::new(Core::Worker(plan.id)),
        started: time::now(),
        draining: Cell::new(false),
        stopping: Cell::new(false),
    });
    worker.start_tasks(&plan.listeners);
    drop(plan.listeners);
    let _ = worker.shared.control.put(ToControl::Ready(worker.id));
    // Clients that have not logged in by now never will; those that were told to leave have their last word sent.
    let done = || worker.stopping.get() && worker.clients.is_empty() && !reactor.has_queued_sends();
    let ended = reactor
        .run(done)
        .await
        .map_err(|error| WorkerError::Ring(told.id, error));
    drop(told);
    ended
}

/// Tells the control core when a worker has ended, however it ended.
struct AbsenceNotice {
    id: WorkerId,
    shared: Arc<Shared>,
}

impl Drop for AbsenceNotice {
    fn drop(&mut self) {
        let _ = self.shared.control.put(ToControl::Ended(self.id));
    }
}

impl Worker {
    fn start_tasks(self: &Rc<Self>, listeners: &[Listener]) {
        for listener in listeners {
            accept::start(self, listener);
        }
        let worker = Rc::clone(self);
        task::spawn(async move { mail::read(&worker).await });
        let worker = Rc::clone(self);
        task::spawn(async move { worker.janitor.run(&worker).await });
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

    /// The pools of a database and user; `None` when there is no such database.
    pub(crate) fn pool_set(self: &Rc<Self>, key: &PoolKey) -> Option<Rc<PoolSet>> {
        let snapshot = self.snapshot();
        pool::server_database(&snapshot.settings, key)?;
        if let Some(set) = self.pools.borrow().get(key) {
            set.refresh(self, &snapshot);
            return Some(Rc::clone(set));
        }
        let set = PoolSet::new(&snapshot, key.clone())?;
        self.pools.borrow_mut().insert(key.clone(), Rc::clone(&set));
        Some(set)
    }

    /// Every database and user of this core.
    pub(crate) fn pool_sets(&self) -> Vec<Rc<PoolSet>> {
        self.pools.borrow().values().cloned().collect()
    }

    /// Every pool of this core.
    pub(crate) fn pools(&self) -> Vec<Rc<Pool>> {
        let mut pools = Vec::new();
        for set in self.pool_sets() {
            set.for_each(|pool| pools.push(Rc::clone(pool)));
        }
        pools
    }

    /// Forgets the pools of a database and user that nobody uses, and nobody but the caller knows: he holds so many
    /// of the sets, and of a pool.
    pub(crate) fn forget_unused(&self, key: &PoolKey, sets: usize, pools: usize) {
        let is_unused =
            |set: &Rc<PoolSet>| Rc::strong_count(set) <= 1 + sets && set.is_unused(pools);
        let mut known = self.pools.borrow_mut();
        if known.get(key).is_some_and(is_unused) {
            known.remove(key);
        }
    }

    /// Counts what a node has answered to a client.
    #[inline]
    pub(crate) fn count_answer(&self, node: NodeId, count: impl FnOnce(&mut NodeCounters)) {
        let mut answered = self.answered.borrow_mut();
        let place = usize::from(node.0);
        if answered.len() <= place {
            answered.resize(place + 1, NodeCounters::default());
        }
        count(&mut answered[place]);
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
    fn seconds_up(&self) -> u64 {
        let up = self.reactor.now().saturating_duration_since(self.started);
        up.as_secs().max(1)
    }

    /// Now, as the budgets count time.
    pub(crate) fn micros(&self) -> Micros {
        self.shared.budgets.micros(self.reactor.now())
    }

    /// One client of the process more or less.
    fn count_client(&self, more: bool) -> u32 {
        let clients = &self.shared.clients;
        if more {
            clients.fetch_add(1, Ordering::AcqRel) + 1
        } else {
            clients.fetch_sub(1, Ordering::AcqRel) - 1
        }
    }
}

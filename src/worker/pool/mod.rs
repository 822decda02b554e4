//! The server connections of one database and user on one core, and the queue of those who want one.
//!
//! A connection is idle here, lent as a [`Lease`], being opened, or being made fit for use; the process-wide
//! [`Budget`] bounds their number. Whoever waits is served in order of arrival.

mod backend;
mod desk;
mod handover;
mod login;
mod maintenance;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use hashbrown::HashMap;

pub(crate) use backend::{Backend, Facts};
pub(crate) use login::LoginError;
pub(crate) use maintenance::Janitor;
pub(crate) use queue::{CheckoutError, Urgency};

use self::{
    backend::Permit,
    desk::{Desk, Effects},
    login::Backoff,
    queue::Waiter,
};
use super::{Worker, parameters::Parameters, route};
use crate::{
    cluster::{
        budget::{self, Budget, Micros, PoolKey},
        report::Counters,
        settings::{PoolMode, PoolSettings, Settings},
        snapshot::Snapshot,
        welcome::Welcome,
    },
    ids::{Epoch, NodeId, WorkerId},
    net::task,
};

/// One pool of one core.
pub(crate) struct Pool {
    pub(crate) key: PoolKey,
    /// Name of the database on the server.
    server_database: RefCell<Arc<str>>,
    pub(super) node: Cell<NodeId>,
    settings: RefCell<Rc<PoolSettings>>,
    epoch: Cell<Epoch>,
    /// Idle connections and waiting clients.
    desk: RefCell<Desk<Box<Backend>, Rc<Waiter>>>,
    /// Permits of this core.
    open: Rc<Cell<u32>>,
    /// Those of them whose connections are being closed.
    leaving: Cell<u32>,
    pub(super) backoff: RefCell<Backoff>,
    /// What clients are told at login, by the settings they ask for.
    welcomes: RefCell<HashMap<Parameters, Arc<Welcome>>>,
    /// Clients of this pool on this core.
    pub(crate) clients: Cell<u32>,
    pub(crate) counters: RefCell<Counters>,
}

/// Starts a task that does not begin before the caller is done: the desk is in use until then.
fn spawn_later(future: impl Future<Output = ()> + 'static) {
    task::spawn(async move {
        task::yield_now().await;
        future.await;
    });
}

/// What the desk of a pool has done.
struct Hands<'a> {
    worker: &'a Rc<Worker>,
    pool: &'a Rc<Pool>,
}

impl Effects for Hands<'_> {
    type Connection = Box<Backend>;
    type Waiter = Rc<Waiter>;

    fn serve(&self, waiter: Rc<Waiter>, backend: Box<Backend>) {
        backend.stream.park(false);
        waiter.end(Ok(backend));
    }

    fn open(&self, permit: budget::Permit) {
        self.pool.open_one(self.worker, permit);
    }

    fn may_open(&self, opening: u32) -> bool {
        self.pool.backoff.borrow().may_open(opening)
    }

    fn hand_over(&self, backend: Box<Backend>, target: WorkerId) {
        self.pool.hand_over(self.worker, backend, target);
    }

    fn rest(&self, backend: &Box<Backend>) {
        backend.stream.park(true);
        self.worker.janitor.note_idle(self.worker);
    }

    fn close(&self, backend: Box<Backend>) {
        self.pool.dismiss(self.worker, backend);
    }

    fn now(&self) -> Micros {
        self.worker.micros()
    }
}

/// While it lives a pool is between two states. A panic then must not be survived: a proxy whose pools are wrong
/// lends one client's connection to another.
struct Unbroken {
    /// A panic from elsewhere is unwinding already: what happens now is its clean-up.
    unwinding: bool,
}

impl Unbroken {
    fn new() -> Self {
        let unwinding = std::thread::panicking();
        Self { unwinding }
    }
}

impl Drop for Unbroken {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.unwinding {
            tracing::error!("panic while a pool was being changed; aborting");
            std::process::abort();
        }
    }
}

/// A backend lent to one session. Dropping it closes the connection; only [`Lease::release`] keeps it.
pub(crate) struct Lease {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    backend: Option<Box<Backend>>,
    /// When it was lent.
    pub(crate) since: Instant,
}

impl Lease {
    pub(crate) fn backend(&self) -> &Backend {
        self.backend
            .as_ref()
            .expect("a lease has its backend until it ends")
    }

    pub(crate) fn backend_mut(&mut self) -> &mut Backend {
        self.backend
            .as_mut()
            .expect("a lease has its backend until it ends")
    }

    /// Gives the connection back; it must be outside a transaction with nothing owed.
    pub(crate) fn release(mut self) {
        let backend = self.backend.take().expect("a lease is released once");
        self.pool.take_back(&self.worker, backend);
    }

    /// Gives a connection back that carries a session's state: it is reset first.
    pub(crate) fn release_dirty(mut self) {
        let backend = self.backend.take().expect("a lease is released once");
        self.pool.reset(&self.worker, backend);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.pool.dismiss(&self.worker, backend);
        }
    }
}

impl Pool {
    pub(super) fn new(worker: &Worker, snapshot: &Snapshot, key: PoolKey) -> Option<Rc<Self>> {
        let settings = &snapshot.settings;
        let server_database = server_database(settings, &key)?;
        let budgets = &worker.switchboard.budgets;
        let budget = budgets.of(&key, snapshot.primary.unwrap_or(NodeId(0)), snapshot);
        let pool = Self {
            server_database: RefCell::new(server_database.into()),
            node: Cell::new(snapshot.primary.unwrap_or(NodeId(0))),
            settings: RefCell::new(Rc::new(settings.pool_for(&key.database, &key.user))),
            epoch: Cell::new(snapshot.epoch),
            desk: RefCell::new(Desk::new(worker.id, budget)),
            key,
            open: Rc::default(),
            leaving: Cell::new(0),
            backoff: RefCell::default(),
            welcomes: RefCell::default(),
            clients: Cell::new(0),
            counters: RefCell::default(),
        };
        let reserve_after = pool.settings().reserve_after;
        pool.desk.borrow_mut().set_reserve_after(reserve_after);
        Some(Rc::new(pool))
    }

    /// Works at the desk, and looks through the process for those who have come to wait there.
    fn with_desk<T>(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        work: impl FnOnce(&mut Desk<Box<Backend>, Rc<Waiter>>, &Hands<'_>) -> T,
    ) -> T {
        let _unbroken = Unbroken::new();
        let hands = Hands { worker, pool: self };
        let mut desk = self.desk.borrow_mut();
        let done = work(&mut desk, &hands);
        if desk.is_seeking() {
            let budget = Arc::clone(desk.budget());
            drop(desk);
            worker.seek(&budget);
        }
        done
    }

    /// The limits that hold for this pool.
    fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.desk.borrow().budget())
    }

    /// Settings as of the last snapshot this pool has seen.
    pub(crate) fn settings(&self) -> Rc<PoolSettings> {
        Rc::clone(&self.settings.borrow())
    }

    pub(crate) fn mode(&self) -> PoolMode {
        self.settings.borrow().mode
    }

    /// Takes over the settings of a new snapshot.
    pub(super) fn refresh(self: &Rc<Self>, worker: &Rc<Worker>, snapshot: &Snapshot) {
        if self.epoch.replace(snapshot.epoch) == snapshot.epoch {
            return;
        }
        let settings = snapshot
            .settings
            .pool_for(&self.key.database, &self.key.user);
        let budgets = &worker.switchboard.budgets;
        budgets.refresh(snapshot);
        let reserve_after = settings.reserve_after;
        self.desk.borrow_mut().set_reserve_after(reserve_after);
        self.settings.replace(Rc::new(settings));
        if let Some(name) = server_database(&snapshot.settings, &self.key)
            && *name != **self.server_database.borrow()
        {
            // Connections to the other database close now, or as they come back.
            self.server_database.replace(name.into());
            self.welcomes.borrow_mut().clear();
            self.budget().welcome.store(None);
            let idle = self.desk.borrow_mut().take_out(|_| true);
            for backend in idle {
                self.dismiss(worker, backend);
            }
        }
        if self.node.replace(snapshot.primary.unwrap_or(NodeId(0)))
            != snapshot.primary.unwrap_or(NodeId(0))
        {
            let budget = budgets.of(&self.key, snapshot.primary.unwrap_or(NodeId(0)), snapshot);
            self.with_desk(worker, |desk, effects| desk.change_budget(effects, budget));
        }
        self.backoff.take();
    }

    /// An idle connection that needs no further look, if nobody waits for one.
    #[inline]
    pub(crate) fn try_checkout(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        target: &route::Target,
    ) -> Option<Lease> {
        let _unbroken = Unbroken::new();
        let now = worker.reactor.now();
        loop {
            let backend = self.desk.borrow_mut().take_idle()?;
            backend.stream.park(false);
            if backend.stream.has_news() || backend.facts.node != target.node {
                // Closed by the server, or speaking out of turn.
                self.dismiss(worker, backend);
                continue;
            }
            if self.is_stale(&backend, now) {
                self.verify(worker, backend);
                continue;
            }
            return Some(self.lend(worker, backend));
        }
    }

    fn lend(self: &Rc<Self>, worker: &Rc<Worker>, backend: Box<Backend>) -> Lease {
        self.counters.borrow_mut().assignments += 1;
        let (worker, pool) = (Rc::clone(worker), Rc::clone(self));
        Lease {
            since: worker.reactor.now(),
            worker,
            pool,
            backend: Some(backend),
        }
    }

    fn is_stale(&self, backend: &Backend, now: Instant) -> bool {
        let limit = self.settings.borrow().check_after_idle;
        limit.is_some_and(|limit| now.saturating_duration_since(backend.used.get()) > limit)
    }

    /// A connection fit for the next session: to the first in the queue, to a core that wants it, or idle.
    pub(super) fn take_back(self: &Rc<Self>, worker: &Rc<Worker>, backend: Box<Backend>) {
        let _unbroken = Unbroken::new();
        let now = worker.reactor.now();
        backend.used.set(now);
        if self.is_worn_out(&backend, now) {
            return self.dismiss(worker, backend);
        }
        self.with_desk(worker, |desk, effects| desk.place(effects, backend));
    }

    fn is_worn_out(&self, backend: &Backend, now: Instant) -> bool {
        let lifetime = self.settings.borrow().lifetime;
        let old =
            lifetime.is_some_and(|limit| now.saturating_duration_since(backend.opened) > limit);
        old || backend.stream.has_news()
            || backend.facts.node != self.node.get()
            || !Arc::ptr_eq(&backend.database, &self.server_database.borrow())
    }

    /// What clients with these settings are told at login, if it is known on some core or can be foretold.
    pub(crate) fn welcome(&self, parameters: &Parameters) -> Option<Arc<Welcome>> {
        if let Some(known) = self.welcomes.borrow().get(parameters) {
            return Some(Arc::clone(known));
        }
        let plain = self.budget().welcome.load_full()?;
        let welcome = match parameters.is_empty() {
            true => plain,
            false => Arc::new(plain.foretell(parameters.iter())?),
        };
        self.remember_welcome(parameters.clone(), Arc::clone(&welcome));
        Some(welcome)
    }

    /// Remembers what clients with these settings are told.
    pub(crate) fn remember_welcome(&self, parameters: Parameters, welcome: Arc<Welcome>) {
        let mut welcomes = self.welcomes.borrow_mut();
        if welcomes.len() >= crate::limits::PARAMETER_SETS_MAX {
            welcomes.retain(|parameters, _| parameters.is_empty());
        }
        welcomes.insert(parameters, welcome);
    }

    /// Permits of this core, idle connections among them, those being opened, those being tested.
    pub(crate) fn census(&self) -> [u32; 4] {
        let desk = self.desk.borrow();
        [
            self.open.get() - self.leaving.get(),
            desk.idle_count(),
            desk.opening(),
            desk.tested(),
        ]
    }

    /// Clients in the queue, and since when the first of them waits.
    pub(crate) fn queue(&self) -> (u32, Option<Instant>) {
        let desk = self.desk.borrow();
        let first = desk.waiters().next();
        (desk.waiting(), first.map(|first| first.since))
    }

    /// Shows every idle connection to `look`.
    pub(crate) fn for_each_idle(&self, look: impl FnMut(&Backend)) {
        let desk = self.desk.borrow();
        desk.idle().map(|backend| &**backend).for_each(look);
    }
}

/// The name on the servers of the database that clients call `key.database`; `None` when it is not served.
pub(super) fn server_database<'a>(settings: &'a Settings, key: &'a PoolKey) -> Option<&'a str> {
    match settings.database(&key.database) {
        Some(database) => Some(database.server_name.as_deref().unwrap_or(&key.database)),
        None => settings.databases.is_empty().then_some(&key.database),
    }
}

//! The server connections of one database and user on one core, and the queue of those who want one.
//!
//! A connection is idle here, lent as a [`Lease`], being opened, or being made fit for use; the process-wide
//! [`Budget`] bounds their number. Whoever waits is served in order of arrival.

mod backend;
mod handover;
mod login;
mod maintenance;
mod queue;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use hashbrown::HashMap;

pub(super) use backend::tell_wanting;
pub(crate) use backend::{Backend, Facts};
pub(crate) use login::LoginError;
pub(crate) use maintenance::Janitor;
pub(crate) use queue::{CheckoutError, Urgency};

use self::{backend::Permit, login::Backoff, queue::Waiter};
use super::{Worker, parameters::Parameters, route};
use crate::{
    cluster::{
        budget::{Budget, PoolKey},
        report::Counters,
        settings::{PoolMode, PoolSettings, Settings},
        snapshot::Snapshot,
        welcome::Welcome,
    },
    ids::{Epoch, NodeId},
};

/// One pool of one core.
pub(crate) struct Pool {
    pub(crate) key: PoolKey,
    /// Name of the database on the server.
    server_database: RefCell<Arc<str>>,
    pub(super) node: Cell<NodeId>,
    settings: RefCell<Rc<PoolSettings>>,
    epoch: Cell<Epoch>,
    budget: Arc<Budget>,
    #[expect(
        clippy::vec_box,
        reason = "backends move between here and leases as one pointer"
    )]
    idle: RefCell<Vec<Box<Backend>>>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    /// Permits of this core.
    open: Rc<Cell<u32>>,
    /// Connections on their way to be idle: being opened.
    opening: Cell<u32>,
    /// Connections on their way to be idle: being checked or reset.
    tested: Cell<u32>,
    pub(super) backoff: RefCell<Backoff>,
    /// What clients are told at login, by the settings they ask for.
    welcomes: RefCell<HashMap<Parameters, Arc<Welcome>>>,
    /// Clients of this pool on this core.
    pub(crate) clients: Cell<u32>,
    pub(crate) counters: RefCell<Counters>,
    /// Releases since another core was last given a connection it wants.
    kept: Cell<u32>,
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
            drop(backend);
            self.pool.serve_waiters(&self.worker);
        }
    }
}

impl Pool {
    pub(super) fn new(worker: &Worker, snapshot: &Snapshot, key: PoolKey) -> Option<Rc<Self>> {
        let settings = &snapshot.settings;
        let server_database = server_database(settings, &key)?;
        let pool = Self {
            server_database: RefCell::new(server_database.into()),
            node: Cell::new(snapshot.primary),
            settings: RefCell::new(Rc::new(settings.pool_for(&key.database, &key.user))),
            epoch: Cell::new(snapshot.epoch),
            budget: worker.switchboard.budgets.of(&key),
            key,
            idle: RefCell::default(),
            waiters: RefCell::default(),
            open: Rc::default(),
            opening: Cell::new(0),
            tested: Cell::new(0),
            backoff: RefCell::default(),
            welcomes: RefCell::default(),
            clients: Cell::new(0),
            counters: RefCell::default(),
            kept: Cell::new(0),
        };
        pool.budget.set_limit(pool.settings().size);
        Some(Rc::new(pool))
    }

    /// Settings as of the last snapshot this pool has seen.
    pub(crate) fn settings(&self) -> Rc<PoolSettings> {
        Rc::clone(&self.settings.borrow())
    }

    pub(crate) fn mode(&self) -> PoolMode {
        self.settings.borrow().mode
    }

    /// Takes over the settings of a new snapshot.
    pub(super) fn refresh(&self, snapshot: &Snapshot) {
        if self.epoch.replace(snapshot.epoch) == snapshot.epoch {
            return;
        }
        let settings = snapshot
            .settings
            .pool_for(&self.key.database, &self.key.user);
        self.budget.set_limit(settings.size);
        self.settings.replace(Rc::new(settings));
        if let Some(name) = server_database(&snapshot.settings, &self.key)
            && *name != **self.server_database.borrow()
        {
            // Connections to the other database close now, or as they come back.
            self.server_database.replace(name.into());
            self.welcomes.borrow_mut().clear();
            self.budget.welcome.store(None);
            drop(self.idle.take());
        }
        self.node.set(snapshot.primary);
        self.backoff.take();
    }

    /// An idle connection that needs no further look, if nobody waits for one.
    #[inline]
    pub(crate) fn try_checkout(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        target: &route::Target,
    ) -> Option<Lease> {
        if !self.waiters.borrow().is_empty() {
            return None;
        }
        let _unbroken = Unbroken::new();
        let now = worker.reactor.now();
        loop {
            let backend = self.idle.borrow_mut().pop()?;
            backend.stream.park(false);
            if backend.stream.has_news() || backend.facts.node != target.node {
                // Closed by the server, or speaking out of turn.
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
            drop(backend);
            return self.serve_waiters(worker);
        }
        if self.budget.is_wanted_beside(worker.id) && self.is_anothers_turn(worker) {
            return self.hand_over(worker, backend);
        }
        let Some(backend) = self.hand_to_waiter(backend) else {
            return;
        };
        backend.stream.park(true);
        worker.janitor.note_idle(worker);
        self.idle.borrow_mut().push(backend);
    }

    fn is_worn_out(&self, backend: &Backend, now: Instant) -> bool {
        let lifetime = self.settings.borrow().lifetime;
        let old =
            lifetime.is_some_and(|limit| now.saturating_duration_since(backend.opened) > limit);
        old || backend.stream.has_news()
            || backend.facts.node != self.node.get()
            || !Arc::ptr_eq(&backend.database, &self.server_database.borrow())
            || self.is_over_budget()
    }

    /// A smaller size was configured: connections beyond it close as they come back.
    fn is_over_budget(&self) -> bool {
        self.budget.used() > self.settings.borrow().size
    }

    /// Another core closed a connection while this one waited: its permit is used here, or passed on.
    pub(crate) fn permit_is_free(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.serve_waiters(worker);
        if self.waiters.borrow().is_empty() {
            tell_wanting(&self.budget, &worker.switchboard, worker.id, &self.key);
        }
    }

    fn take_permit(&self, worker: &Worker) -> Option<Permit> {
        Permit::take(&self.budget, &worker.switchboard, &self.key, &self.open)
    }

    /// What clients with these settings are told at login, if it is known on some core or can be foretold.
    pub(crate) fn welcome(&self, parameters: &Parameters) -> Option<Arc<Welcome>> {
        if let Some(known) = self.welcomes.borrow().get(parameters) {
            return Some(Arc::clone(known));
        }
        let plain = self.budget.welcome.load_full()?;
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
        let idle = self.idle.borrow().len() as u32;
        [self.open.get(), idle, self.opening.get(), self.tested.get()]
    }

    /// Clients in the queue, and since when the first of them waits.
    pub(crate) fn queue(&self) -> (u32, Option<Instant>) {
        let waiters = self.waiters.borrow();
        (
            waiters.len() as u32,
            waiters.front().map(|first| first.since),
        )
    }

    /// Shows every idle connection to `look`.
    pub(crate) fn for_each_idle(&self, look: impl FnMut(&Backend)) {
        self.idle
            .borrow()
            .iter()
            .map(|backend| &**backend)
            .for_each(look);
    }
}

/// The name on the servers of the database that clients call `key.database`; `None` when it is not served.
pub(super) fn server_database<'a>(settings: &'a Settings, key: &'a PoolKey) -> Option<&'a str> {
    match settings.database(&key.database) {
        Some(database) => Some(database.server_name.as_deref().unwrap_or(&key.database)),
        None => settings.databases.is_empty().then_some(&key.database),
    }
}

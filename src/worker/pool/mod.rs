//! The server connections of one database and user to one node on one core, and the queue of those who want one.
//!
//! A connection is idle here, lent as a [`Lease`], being opened, or being made fit for use; the process-wide
//! [`Budget`] bounds their number. Whoever waits is served in order of arrival.

mod backend;
mod handover;
mod login;
mod maintenance;
mod queue;
mod read_classifier;
mod scheduler;
mod set;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashSet;

pub(crate) use backend::{Backend, BackendInfo, Owner};
pub(crate) use login::LoginError;
pub(crate) use queue::{CheckoutError, Urgency};
pub(crate) use read_classifier::ReadClassifier;
pub(crate) use set::{Common, Greeting, PoolSet, server_database};

use self::{
    backend::Permit,
    login::Backoff,
    queue::Waiter,
    scheduler::{Effects, Scheduler},
};
use super::core::Worker;
use crate::{
    cluster::{
        budget::{self, Budget},
        node::Role,
        snapshot::Snapshot,
        welcome::Welcome,
    },
    ids::{NodeId, WorkerId},
    limits::VACANT_MS,
    net::task,
    time::Micros,
};

/// Names that are remembered of a database and user; those beyond are asked for each time.
const GIVEN_SETTINGS_MAX: usize = 256;

/// One pool of one core.
pub(crate) struct Pool {
    common: Rc<Common>,
    pub(crate) node: NodeId,
    /// Idle connections and waiting clients.
    scheduler: RefCell<Scheduler<Box<Backend>, Rc<Waiter>>>,
    /// Permits of this core.
    open: Rc<Cell<u32>>,
    /// Those of them whose connections are being closed.
    leaving: Cell<u32>,
    pub(super) backoff: RefCell<Backoff>,
    /// Role of the node, and whether it was used, when last looked at.
    standing: Cell<(Role, bool)>,
    /// No connection is opened to have one in reserve until then.
    vacant_until: Cell<Option<Instant>>,
    /// Settings that the node has let this user have.
    given: RefCell<HashSet<Box<str>>>,
}

impl Deref for Pool {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

/// Starts a task that does not begin before the caller is done: the scheduler is in use until then.
fn spawn_later(future: impl Future<Output = ()> + 'static) {
    task::spawn(async move {
        task::yield_now().await;
        future.await;
    });
}

/// Carries out the effects of a pool's scheduler.
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
        self.worker.note_idle();
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
    /// To nobody before.
    pub(crate) is_new: bool,
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

    /// It is lent for a login, which counts as no assignment to a client.
    pub(crate) fn for_login(self) -> Self {
        self.pool.counters.borrow_mut().assignments -= 1;
        self
    }

    /// Gives the connection back; it must be outside a transaction with nothing owed.
    pub(crate) fn release(mut self) {
        let backend = self.backend.take().expect("a lease is released once");
        self.pool.take_back(&self.worker, backend);
    }

    /// Its server says this to everybody from now on.
    pub(crate) fn hear(&mut self, welcome: Welcome) {
        let (now, schema) = (self.worker.micros(), self.worker.shared.schema_version());
        let (welcome, generation) = self.pool.budget().told.hear(welcome, now, schema);
        let backend = self.backend_mut();
        (backend.welcome, backend.membership.generation) = (welcome, generation);
    }

    /// Closes the connection, and opens a new one in its place.
    pub(crate) async fn renew(mut self) -> Result<Self, CheckoutError> {
        let backend = self
            .backend
            .take()
            .expect("a lease is renewed in one piece");
        let new = self.pool.reopen(&self.worker, backend).await;
        match new {
            Ok(backend) => Ok(self.pool.lend(&self.worker, backend)),
            Err(error) => {
                self.pool.serve_waiters(&self.worker);
                self.pool.fill(&self.worker);
                Err(error.to_checkout_error(Urgency::Statement))
            }
        }
    }

    /// The pool that it is from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
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
    fn new(worker: &Worker, common: Rc<Common>, node: NodeId) -> Rc<Self> {
        let snapshot = worker.snapshot();
        let budget = worker.shared.budgets.of(&common.key, node, &*snapshot);
        let mut scheduler = Scheduler::new(worker.id, budget);
        scheduler.set_reserve_after(common.settings().capacity.reserve_after);
        Rc::new(Self {
            common,
            node,
            scheduler: RefCell::new(scheduler),
            open: Rc::default(),
            leaving: Cell::new(0),
            backoff: RefCell::default(),
            standing: Cell::new(standing(&snapshot, node)),
            vacant_until: Cell::new(None),
            given: RefCell::default(),
        })
    }

    /// Works at the scheduler, and looks through the process for those who have come to wait there.
    fn with_scheduler<T>(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        work: impl FnOnce(&mut Scheduler<Box<Backend>, Rc<Waiter>>, &Hands<'_>) -> T,
    ) -> T {
        let _unbroken = Unbroken::new();
        let hands = Hands { worker, pool: self };
        let mut scheduler = self.scheduler.borrow_mut();
        let done = work(&mut scheduler, &hands);
        if scheduler.is_seeking() {
            let budget = Arc::clone(scheduler.budget());
            drop(scheduler);
            worker.seek(&budget);
        }
        done
    }

    /// The limits that hold for this pool.
    fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.scheduler.borrow().budget())
    }

    /// Takes over a new snapshot. `renamed`: connections go to another database of the server from now on.
    fn refresh(self: &Rc<Self>, worker: &Rc<Worker>, snapshot: &Snapshot, renamed: bool) {
        let reserve_after = self.settings().capacity.reserve_after;
        self.scheduler.borrow_mut().set_reserve_after(reserve_after);
        let standing = standing(snapshot, self.node);
        let before = self.standing.replace(standing);
        if renamed {
            self.budget().told.forget();
        }
        if renamed || !standing.1 {
            // The others close as they come back.
            let idle = self.scheduler.borrow_mut().take_out(|_| true);
            for backend in idle {
                self.dismiss(worker, backend);
            }
        }
        if standing.0 != before.0 || !standing.1 {
            self.send_waiters_away(worker);
        }
        self.backoff.take();
    }

    /// True for a setting that the node has let this user have.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.borrow().contains(name)
    }

    /// The node has let this user go from one of these sets to the other.
    pub(crate) fn note_given<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut given = self.given.borrow_mut();
        for name in names {
            if given.len() < GIVEN_SETTINGS_MAX && !given.contains(name) {
                given.insert(name.into());
            }
        }
    }

    /// Nobody may be connected to this database of the servers for now: what is idle there is closed.
    pub(crate) fn leave_database(self: &Rc<Self>, worker: &Rc<Worker>, database: &str) {
        if !self.is_called(database) {
            return;
        }
        let vacant = Duration::from_millis(VACANT_MS);
        self.vacant_until.set(Some(worker.reactor.now() + vacant));
        let idle = self.scheduler.borrow_mut().take_out(|_| true);
        for backend in idle {
            self.dismiss(worker, backend);
        }
    }

    /// An idle connection that needs no further look, if nobody waits for one.
    #[inline]
    pub(crate) fn try_checkout(self: &Rc<Self>, worker: &Rc<Worker>) -> Option<Lease> {
        let _unbroken = Unbroken::new();
        let now = worker.reactor.now();
        loop {
            let hands = Hands { worker, pool: self };
            let backend = self.scheduler.borrow_mut().take_idle(&hands)?;
            backend.stream.park(false);
            // Closed by the server, speaking out of turn, too old, or from before it began to say something else.
            let is_old = self.is_old(&backend, now);
            if is_old || backend.stream.has_news() || self.is_bygone(&backend) {
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

    fn lend(self: &Rc<Self>, worker: &Rc<Worker>, mut backend: Box<Backend>) -> Lease {
        let is_new = std::mem::take(&mut backend.is_new);
        self.counters.borrow_mut().assignments += 1;
        let (worker, pool) = (Rc::clone(worker), Rc::clone(self));
        Lease {
            since: worker.reactor.now(),
            worker,
            pool,
            backend: Some(backend),
            is_new,
        }
    }

    fn is_stale(&self, backend: &Backend, now: Instant) -> bool {
        let limit = self.settings().connections.check_after_idle;
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
        self.with_scheduler(worker, |scheduler, effects| {
            scheduler.place(effects, backend)
        });
    }

    fn is_old(&self, backend: &Backend, now: Instant) -> bool {
        let limit = self.settings().connections.lifetime;
        limit.is_some_and(|limit| now.saturating_duration_since(backend.opened) > limit)
    }

    /// True when the server has begun to say something else since to those who log in.
    #[inline]
    fn is_bygone(&self, backend: &Backend) -> bool {
        backend.membership.generation != self.scheduler.borrow().budget().told.generation()
    }

    fn is_worn_out(&self, backend: &Backend, now: Instant) -> bool {
        self.is_old(backend, now)
            || backend.is_spent
            || self.is_bygone(backend)
            || backend.stream.has_news()
            || !self.standing.get().1
            || !self.is_called(&backend.membership.database)
    }

    /// True when the limits leave room for one more connection, and nobody waits for it.
    pub(crate) fn may_open_soon(&self) -> bool {
        let budget = self.budget();
        self.scheduler.borrow().waiting() == 0 && budget.used() < budget.max(budget::Refusal::Pool)
    }

    /// Permits of this core, idle connections among them, those being opened, those being tested.
    pub(crate) fn counts(&self) -> [u32; 4] {
        let scheduler = self.scheduler.borrow();
        [
            self.open.get() - self.leaving.get(),
            scheduler.idle_count(),
            scheduler.opening(),
            scheduler.tested(),
        ]
    }

    /// Clients in the queue, and since when the first of them waits.
    pub(crate) fn queue(&self) -> (u32, Option<Instant>) {
        let scheduler = self.scheduler.borrow();
        let first = scheduler.waiters().next();
        (scheduler.waiting(), first.map(|first| first.since))
    }

    /// The longest that somebody waited while a connection was idle on another core, in microseconds.
    pub(crate) fn idle_beside(&self) -> Micros {
        self.scheduler.borrow().idle_beside()
    }

    /// Shows every idle connection to `look`.
    pub(crate) fn for_each_idle(&self, look: impl FnMut(&Backend)) {
        let scheduler = self.scheduler.borrow();
        scheduler.idle().map(|backend| &**backend).for_each(look);
    }
}

/// Role of a node, and whether it is used.
fn standing(snapshot: &Snapshot, node: NodeId) -> (Role, bool) {
    snapshot
        .state(node)
        .map_or((Role::Standby, false), |state| {
            (state.role, state.status.is_usable())
        })
}

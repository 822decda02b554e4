//! The server connections of one database and user to one node on one core, and the queue of those who want one.
//! Connects to nobody itself.
//!
//! A connection is idle here, lent as a lease, being opened, or being made fit for use; the process-wide [`Budget`]
//! bounds their number. Whoever waits is served in order of arrival.

use std::{
    cell::{Cell, RefCell},
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use hashbrown::HashSet;

use super::{
    backend::Backend,
    common::Common,
    scheduler::Scheduler,
    waiter::{Backoff, Waiter},
};
use crate::{
    cluster::{
        budget::{self, Budget},
        node::Role,
        snapshot::Snapshot,
    },
    ids::{NodeId, WorkerId},
    time::Micros,
};

/// Names that are remembered of a database and user; those beyond are asked for each time.
const GIVEN_SETTINGS_MAX: usize = 256;

/// One pool of one core.
pub(crate) struct Pool {
    common: Rc<Common>,
    pub(crate) node: NodeId,
    /// Idle connections and waiting clients.
    pub(super) scheduler: RefCell<Scheduler<Box<Backend>, Rc<Waiter>>>,
    /// Permits of this core.
    pub(super) open: Rc<Cell<u32>>,
    /// Permits of `open` whose connections are being closed.
    pub(super) leaving: Cell<u32>,
    pub(super) backoff: RefCell<Backoff>,
    /// Role of the node, and whether it was used, when last looked at.
    pub(super) standing: Cell<(Role, bool)>,
    /// No connection is opened to have one in reserve until then.
    pub(super) vacant_until: Cell<Option<Instant>>,
    /// Settings that the node has let this user have.
    given: RefCell<HashSet<Box<str>>>,
}

impl Deref for Pool {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Pool {
    pub(super) fn new(
        common: Rc<Common>,
        worker: WorkerId,
        budget: Arc<Budget>,
        snapshot: &Snapshot,
    ) -> Rc<Self> {
        let node = budget.node;
        let mut scheduler = Scheduler::new(worker, budget);
        scheduler.set_reserve_after(common.settings().capacity.reserve_after);
        Rc::new(Self {
            common,
            node,
            scheduler: RefCell::new(scheduler),
            open: Rc::default(),
            leaving: Cell::new(0),
            backoff: RefCell::default(),
            standing: Cell::new(standing(snapshot, node)),
            vacant_until: Cell::new(None),
            given: RefCell::default(),
        })
    }

    /// The limits that hold for this pool.
    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.scheduler.borrow().budget())
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

    pub(super) fn is_stale(&self, backend: &Backend, now: Instant) -> bool {
        let limit = self.settings().connections.check_after_idle;
        limit.is_some_and(|limit| now.saturating_duration_since(backend.used.get()) > limit)
    }

    pub(super) fn is_old(&self, backend: &Backend, now: Instant) -> bool {
        let limit = self.settings().connections.lifetime;
        limit.is_some_and(|limit| now.saturating_duration_since(backend.opened) > limit)
    }

    /// True when the server has begun to say something else since to those who log in.
    #[inline]
    pub(super) fn is_bygone(&self, backend: &Backend) -> bool {
        backend.membership.generation != self.scheduler.borrow().budget().last_welcome.generation()
    }

    pub(super) fn is_worn_out(&self, backend: &Backend, now: Instant) -> bool {
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

/// Role of a node, and whether it is used. A primary is not while another one is to take its place.
pub(super) fn standing(snapshot: &Snapshot, node: NodeId) -> (Role, bool) {
    let Some(state) = snapshot.state(node) else {
        return (Role::Standby, false);
    };
    let is_used = state.status.is_usable() && !snapshot.is_leaving(node);
    (state.role, is_used)
}

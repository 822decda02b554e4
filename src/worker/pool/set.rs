//! The pools of one database and user on one core: one for each node, and what they share.

use std::{
    cell::{Cell, RefCell},
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use hashbrown::HashMap;

use super::{Pool, ReadClassifier};
use crate::{
    cluster::{
        budget::PoolKey,
        report::Counters,
        settings::{PoolMode, PoolSettings, Settings},
        snapshot::Snapshot,
        welcome::Welcome,
    },
    ids::{Epoch, NodeId},
    limits::POSITION_REST_MS,
    session::state::parameters::Parameters,
    time::Micros,
    worker::core::Worker,
};

/// Greeting of a client at its login.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    /// Parameters that the client is told.
    pub(crate) told: Arc<Welcome>,
    /// Parameters that a server reports to those who ask for no settings.
    pub(crate) plain: Arc<Welcome>,
}

/// Common part of the pools of one database and user, whatever their node.
pub(crate) struct Common {
    pub(crate) key: PoolKey,
    /// Name of the database on the servers.
    server_database: RefCell<Arc<str>>,
    settings: RefCell<Rc<PoolSettings>>,
    epoch: Cell<Epoch>,
    /// Greetings of clients by the settings they ask for, beside the one they were foretold from.
    welcomes: RefCell<HashMap<Parameters, Greeting>>,
    /// Clients of this database and user on this core.
    pub(crate) clients: Cell<u32>,
    pub(crate) counters: RefCell<Counters>,
    /// Classifier of its statements.
    pub(crate) classifier: ReadClassifier,
    /// Until then nobody asks the primary how far it has written: it could not tell.
    no_position_until: Cell<Micros>,
}

/// A database and user on one core.
pub(crate) struct PoolSet {
    common: Rc<Common>,
    /// By node; made when first needed.
    pools: RefCell<Vec<Option<Rc<Pool>>>>,
}

impl Deref for PoolSet {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl PoolSet {
    /// `None` when there is no such database.
    pub(crate) fn new(snapshot: &Snapshot, key: PoolKey) -> Option<Rc<Self>> {
        let settings = &snapshot.settings;
        let server_database = server_database(settings, &key)?;
        let common = Common {
            server_database: RefCell::new(server_database.into()),
            settings: RefCell::new(Rc::new(settings.pool_for(&key.database, &key.user))),
            epoch: Cell::new(snapshot.epoch),
            welcomes: RefCell::default(),
            clients: Cell::new(0),
            counters: RefCell::default(),
            classifier: ReadClassifier::new(snapshot, server_database, &key.user),
            no_position_until: Cell::new(0),
            key,
        };
        Some(Rc::new(Self {
            common: Rc::new(common),
            pools: RefCell::new(vec![None; snapshot.settings.nodes.len()]),
        }))
    }

    /// The pool of a node.
    pub(crate) fn pool(&self, worker: &Worker, node: NodeId) -> Rc<Pool> {
        if let Some(pool) = self.existing(node) {
            return pool;
        }
        let pool = Pool::new(worker, Rc::clone(&self.common), node);
        self.pools.borrow_mut()[usize::from(node.0)] = Some(Rc::clone(&pool));
        worker.reactor.wake_keeper();
        pool
    }

    /// The pool of a node, unless nobody has needed it.
    #[inline]
    pub(crate) fn existing(&self, node: NodeId) -> Option<Rc<Pool>> {
        self.pools.borrow().get(usize::from(node.0))?.clone()
    }

    /// Shows every pool to `look`.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Rc<Pool>)) {
        let pools = self.pools.borrow().clone();
        pools.iter().flatten().for_each(&mut look);
    }

    /// Takes over the settings of a new snapshot.
    pub(crate) fn refresh(&self, worker: &Rc<Worker>, snapshot: &Snapshot) {
        if self.epoch.replace(snapshot.epoch) == snapshot.epoch {
            return;
        }
        let settings = &snapshot.settings;
        self.settings.replace(Rc::new(
            settings.pool_for(&self.key.database, &self.key.user),
        ));
        worker.shared.budgets.refresh(snapshot);
        let name = server_database(settings, &self.key);
        let renamed = name.filter(|name| **name != **self.server_database.borrow());
        if let Some(name) = renamed {
            self.server_database.replace(name.into());
            self.welcomes.borrow_mut().clear();
        }
        self.classifier.refresh(snapshot, &self.server_database());
        self.for_each(|pool| pool.refresh(worker, snapshot, renamed.is_some()));
    }

    /// Takes over the newest snapshot, if it has not been seen yet.
    #[inline]
    pub(crate) fn keep_up(&self, worker: &Rc<Worker>) {
        if worker.with_snapshot(|snapshot| snapshot.epoch) != self.epoch.get() {
            let snapshot = worker.snapshot();
            self.refresh(worker, &snapshot);
        }
    }

    /// Sum of [`Pool::counts`] of all its pools.
    pub(crate) fn counts(&self) -> [u32; 4] {
        let mut all = [0; 4];
        self.for_each(|pool| {
            let one = pool.counts();
            all = std::array::from_fn(|place| all[place] + one[place]);
        });
        all
    }

    /// Clients in the queues of all its pools, and since when the first of them waits.
    pub(crate) fn queue(&self) -> (u32, Option<Instant>) {
        let (mut waiting, mut first) = (0, None);
        self.for_each(|pool| {
            let (more, since) = pool.queue();
            waiting += more;
            first = [first, since].into_iter().flatten().min();
        });
        (waiting, first)
    }

    /// The most that [`Pool::idle_beside`] says of any of its pools.
    pub(crate) fn idle_beside(&self) -> Micros {
        let mut most = 0;
        self.for_each(|pool| most = most.max(pool.idle_beside()));
        most
    }

    /// True when no client and no connection of it is left, and nobody but so many holders knows of any pool.
    pub(crate) fn is_unused(&self, holders: usize) -> bool {
        let is_idle =
            |pool: &Rc<Pool>| pool.counts()[0] == 0 && Rc::strong_count(pool) <= 1 + holders;
        self.clients.get() == 0 && self.pools.borrow().iter().flatten().all(is_idle)
    }
}

impl Common {
    /// Settings as of the last snapshot that was looked at.
    pub(crate) fn settings(&self) -> Rc<PoolSettings> {
        Rc::clone(&self.settings.borrow())
    }

    pub(crate) fn mode(&self) -> PoolMode {
        self.settings.borrow().mode
    }

    /// Name of the database on the servers.
    pub(crate) fn server_database(&self) -> Arc<str> {
        Arc::clone(&self.server_database.borrow())
    }

    /// The primary could not tell how far it has written.
    #[cold]
    pub(crate) fn note_no_position(&self, now: Micros) {
        self.no_position_until.set(now + POSITION_REST_MS * 1000);
    }

    /// True when that was not long ago.
    pub(crate) fn has_no_position(&self, now: Micros) -> bool {
        self.no_position_until.get() > now
    }

    /// True when the database is still called so on the servers.
    pub(super) fn is_called(&self, database: &str) -> bool {
        **self.server_database.borrow() == *database
    }

    /// Greeting of clients with these settings, if it was found out under the same `plain` one.
    pub(crate) fn known_greeting(
        &self,
        parameters: &Parameters,
        plain: &Arc<Welcome>,
    ) -> Option<Greeting> {
        let welcomes = self.welcomes.borrow();
        let known = welcomes.get(parameters)?;
        Arc::ptr_eq(&known.plain, plain).then(|| known.clone())
    }

    /// Remembers what clients with these settings are told.
    pub(crate) fn remember_greeting(&self, parameters: Parameters, greeting: Greeting) {
        let mut welcomes = self.welcomes.borrow_mut();
        if welcomes.len() >= crate::limits::PARAMETER_SETS_MAX {
            welcomes.retain(|parameters, _| parameters.is_empty());
        }
        welcomes.insert(parameters, greeting);
    }
}

/// The name on the servers of the database that clients call `key.database`; `None` when it is not served.
pub(crate) fn server_database<'a>(settings: &'a Settings, key: &'a PoolKey) -> Option<&'a str> {
    match settings.database(&key.database) {
        Some(database) => Some(database.server_name.as_deref().unwrap_or(&key.database)),
        None => settings.databases.is_empty().then_some(&key.database),
    }
}

//! Every pool's budget and every party's limits, and the lock under which permits are taken and given back.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Budget, Limit, Micros, Party, PoolKey, Refusal};
use crate::{
    cluster::{
        settings::{Limits, Settings},
        snapshot::Snapshot,
    },
    ids::{Epoch, NodeId, WorkerId},
    limits::BUDGETS_KEPT_MAX,
};

/// Tells a core that a permit was taken for it: see [`Budget::collect`]. That may get lost, if the core looks for
/// itself afterwards.
type Bell = Box<dyn Fn(WorkerId, Arc<Budget>) + Send + Sync>;

/// What every budget knows of the others.
pub(super) struct Books {
    register: Mutex<Register>,
    start: Instant,
    workers: u16,
    bell: Bell,
}

#[derive(Default)]
pub(super) struct Register {
    /// The settings whose limits hold.
    newest: Option<(Epoch, Arc<Settings>)>,
    /// How many names may be known before those that nobody uses are looked for.
    kept_max: usize,
    budgets: HashMap<(PoolKey, NodeId), Arc<Budget>>,
    databases: HashMap<Arc<str>, Arc<Party>>,
    users: HashMap<Arc<str>, Arc<Party>>,
    nodes: HashMap<NodeId, Arc<Party>>,
}

impl Books {
    pub(super) fn open(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn micros(&self, time: Instant) -> Micros {
        1 + time.saturating_duration_since(self.start).as_micros() as Micros
    }

    /// Takes one permit back. It goes at once to whoever has waited longest of those who can use it, so that nobody
    /// who comes later is faster.
    pub(super) fn release(&self, budget: &Budget) {
        let granted = {
            let register = self.open();
            budget.give_back();
            register.grant()
        };
        self.ring(granted);
    }

    fn ring(&self, granted: impl IntoIterator<Item = (WorkerId, Arc<Budget>)>) {
        for (worker, budget) in granted {
            (self.bell)(worker, budget);
        }
    }
}

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Books({} workers)", self.workers)
    }
}

impl Register {
    pub(super) fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.budgets.values()
    }

    /// Takes a permit for the core that has waited longest of those who can use one.
    fn grant(&self) -> Option<(WorkerId, Arc<Budget>)> {
        let claims = self.budgets().flat_map(|budget| {
            let claims = budget.claims(None);
            claims.map(move |(since, worker)| (since, worker, budget))
        });
        let (_, worker, budget) = claims.min_by_key(|(since, ..)| *since)?;
        // The seat holds the permit until the core collects it.
        budget.charge();
        budget.seat(worker).grant();
        Some((worker, Arc::clone(budget)))
    }

    /// Sets every limit anew when `snapshot` is newer than the last one seen here; the newest settings, and whether
    /// they are new.
    fn take_over(&mut self, snapshot: &Snapshot) -> (Arc<Settings>, bool) {
        if let Some((epoch, settings)) = &self.newest
            && *epoch >= snapshot.epoch
        {
            return (Arc::clone(settings), false);
        }
        let settings = Arc::clone(&snapshot.settings);
        for (name, party) in &self.databases {
            party.set(database_limits(&settings, name));
        }
        for (name, party) in &self.users {
            party.set(user_limits(&settings, name));
        }
        for (node, party) in &self.nodes {
            party.set(node_limits(&settings, *node));
        }
        for budget in self.budgets.values() {
            budget.set_size(&settings);
        }
        self.newest = Some((snapshot.epoch, Arc::clone(&settings)));
        (settings, true)
    }

    /// Clients choose the names: those of pools that no core has any more are forgotten.
    fn forget_unused(&mut self) {
        if self.names() < self.kept_max.max(BUDGETS_KEPT_MAX) {
            return;
        }
        self.budgets
            .retain(|_, budget| Arc::strong_count(budget) > 1);
        self.databases
            .retain(|_, party| Arc::strong_count(party) > 1);
        self.users.retain(|_, party| Arc::strong_count(party) > 1);
        self.kept_max = 2 * self.names();
    }

    fn names(&self) -> usize {
        self.budgets.len() + self.databases.len() + self.users.len()
    }

    fn database(&mut self, name: &Arc<str>, settings: &Settings) -> Arc<Party> {
        let new = || Party::new(database_limits(settings, name));
        Arc::clone(self.databases.entry(Arc::clone(name)).or_insert_with(new))
    }

    fn user(&mut self, name: &Arc<str>, settings: &Settings) -> Arc<Party> {
        let new = || Party::new(user_limits(settings, name));
        Arc::clone(self.users.entry(Arc::clone(name)).or_insert_with(new))
    }

    fn node(&mut self, node: NodeId, settings: &Settings) -> Arc<Party> {
        let new = || Party::new(node_limits(settings, node));
        Arc::clone(self.nodes.entry(node).or_insert_with(new))
    }
}

fn database_limits(settings: &Settings, name: &str) -> Limits {
    let database = settings.database(name);
    database.map_or_else(Limits::default, |database| database.limits)
}

fn user_limits(settings: &Settings, name: &str) -> Limits {
    let user = settings.user(name);
    user.map_or_else(Limits::default, |user| user.limits)
}

fn node_limits(settings: &Settings, node: NodeId) -> Limits {
    Limits {
        max_connections: settings.nodes[usize::from(node.0)].max_connections,
        max_clients: None,
    }
}

impl Party {
    fn new(limits: Limits) -> Arc<Self> {
        let party = Self::default();
        party.set(limits);
        Arc::new(party)
    }

    fn set(&self, limits: Limits) {
        self.connections.set_max(limits.max_connections);
        self.clients.set_max(limits.max_clients);
    }
}

impl Budget {
    fn set_size(&self, settings: &Settings) {
        let (database, user) = (&self.key.database, &self.key.user);
        let pool = settings.pool_for(database, user);
        self.own.set_max(Some(pool.size));
        let order = std::sync::atomic::Ordering::SeqCst;
        self.reserve.store(pool.reserve_size, order);
    }
}

/// Every pool's budget. Asked when a core makes a pool and when a client comes, never per query.
#[derive(Clone, Debug)]
pub struct Budgets(Arc<Books>);

impl Budgets {
    /// Budgets for that many cores. `bell` tells a core that [`Budget::collect`] has a permit for it.
    pub fn new(
        workers: u16,
        start: Instant,
        bell: impl Fn(WorkerId, Arc<Budget>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Books {
            register: Mutex::default(),
            start,
            workers,
            bell: Box::new(bell),
        }))
    }

    /// Microseconds since the budgets were made.
    pub fn micros(&self, time: Instant) -> Micros {
        self.0.micros(time)
    }

    /// The budget of one pool on one node.
    pub fn of(&self, key: &PoolKey, node: NodeId, snapshot: &Snapshot) -> Arc<Budget> {
        self.refresh(snapshot);
        let mut register = self.0.open();
        let (settings, _) = register.take_over(snapshot);
        if let Some(budget) = register.budgets.get(&(key.clone(), node)) {
            return Arc::clone(budget);
        }
        register.forget_unused();
        let seats = (0..self.0.workers).map(|_| Default::default());
        let budget = Arc::new(Budget {
            key: key.clone(),
            node,
            own: Limit::default(),
            reserve: Default::default(),
            parties: [
                register.database(&key.database, &settings),
                register.user(&key.user, &settings),
                register.node(node, &settings),
            ],
            wanting: Default::default(),
            seats: seats.collect(),
            books: Arc::clone(&self.0),
            welcome: Default::default(),
        });
        budget.set_size(&settings);
        register
            .budgets
            .insert((key.clone(), node), Arc::clone(&budget));
        budget
    }

    /// Takes over the limits of a newer snapshot, and gives what they allow now to those who wait.
    pub fn refresh(&self, snapshot: &Snapshot) {
        let granted: Vec<_> = {
            let mut register = self.0.open();
            match register.take_over(snapshot).1 {
                true => std::iter::from_fn(|| register.grant()).collect(),
                false => Vec::new(),
            }
        };
        self.0.ring(granted);
    }

    /// Counts a client in when its database and its user have room for one more; else which has not, and its bound.
    pub fn admit(&self, key: &PoolKey, snapshot: &Snapshot) -> Result<Guest, (Refusal, u32)> {
        self.refresh(snapshot);
        let mut register = self.0.open();
        let (settings, _) = register.take_over(snapshot);
        register.forget_unused();
        let database = register.database(&key.database, &settings);
        let user = register.user(&key.user, &settings);
        let full = [(Refusal::Database, &database), (Refusal::User, &user)]
            .into_iter()
            .find(|(_, party)| !party.clients.has_room(0, 0));
        if let Some((refusal, party)) = full {
            return Err((refusal, party.clients.max()));
        }
        database.clients.charge();
        user.clients.charge();
        Ok(Guest([database, user]))
    }
}

/// A client that its database and its user count, until this is dropped.
#[derive(Debug)]
pub struct Guest([Arc<Party>; 2]);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.iter().for_each(|party| party.clients.give_back());
    }
}

//! Every pool's budget and every party's limits, and the lock under which permits are taken and given back.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Instant,
};

use super::{Blocked, Budget, Limit, Party, PoolKey, Refusal};
use crate::{
    cluster::{
        settings::{Limits, Settings},
        snapshot::Snapshot,
    },
    ids::{Epoch, NodeId, WorkerId},
    limits::BUDGETS_KEPT_MAX,
    time::Micros,
};

/// Tells a core that a permit was taken for it (see [`Budget::collect`]), or that what it waits for has changed. That
/// may get lost, if the core looks for itself afterwards.
type Bell = Box<dyn Fn(WorkerId, Arc<Budget>) + Send + Sync>;

/// How many there may be of everything.
pub trait Bounds: Send + Sync {
    /// `size` and `reserve_size` of a pool.
    fn pool(&self, key: &PoolKey) -> (u32, u32);
    /// Of a database.
    fn database(&self, name: &str) -> Limits;
    /// Of a user.
    fn user(&self, name: &str) -> Limits;
    /// `max_connections` of a node.
    fn node(&self, node: NodeId) -> Option<u32>;
}

impl Bounds for Settings {
    fn pool(&self, key: &PoolKey) -> (u32, u32) {
        let pool = self.pool_for(&key.database, &key.user);
        (pool.capacity.size, pool.capacity.reserve_size)
    }

    fn database(&self, name: &str) -> Limits {
        let database = Self::database(self, name);
        database.map_or_else(Limits::default, |database| database.limits)
    }

    fn user(&self, name: &str) -> Limits {
        let user = Self::user(self, name);
        user.map_or_else(Limits::default, |user| user.limits)
    }

    fn node(&self, node: NodeId) -> Option<u32> {
        self.nodes[usize::from(node.0)].max_connections
    }
}

/// Bounds, and when they were set: later ones replace earlier ones.
#[derive(Clone)]
pub struct Terms {
    /// Of the snapshot.
    pub epoch: Epoch,
    /// Bounds that the snapshot's settings set.
    pub bounds: Arc<dyn Bounds>,
}

impl From<&Snapshot> for Terms {
    fn from(snapshot: &Snapshot) -> Self {
        let bounds = Arc::clone(&snapshot.settings);
        Self {
            epoch: snapshot.epoch,
            bounds,
        }
    }
}

/// Accounts of all budgets: the limits that they share.
pub(super) struct Accounts {
    register: Mutex<Register>,
    start: Instant,
    workers: u16,
    bell: Bell,
    /// Cores of pools that any shared limit holds up.
    blocked: AtomicU32,
}

#[derive(Default)]
pub(super) struct Register {
    /// Terms that hold.
    newest: Option<Terms>,
    /// How many names may be known before those that nobody uses are looked for.
    kept_max: usize,
    budgets: HashMap<(PoolKey, NodeId), Arc<Budget>>,
    databases: HashMap<Arc<str>, Arc<Party>>,
    users: HashMap<Arc<str>, Arc<Party>>,
    nodes: HashMap<NodeId, Arc<Party>>,
}

impl Accounts {
    pub(super) fn open(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn micros(&self, time: Instant) -> Micros {
        1 + time.saturating_duration_since(self.start).as_micros() as Micros
    }

    /// Takes one permit back. It goes at once to whoever has waited longest of those who can use it, so that nobody
    /// who comes later is faster; to several, when one needs the place in the user's limit, say, and another one that
    /// in the database's.
    pub(super) fn release(&self, budget: &Budget, was_leaving: bool) {
        let rings = {
            let register = self.open();
            budget.give_back(was_leaving);
            self.grants(&register, Some(budget))
        };
        self.ring(rings);
    }

    /// A connection is about to go.
    pub(super) fn leave(&self, budget: &Budget) {
        let rings = {
            let register = self.open();
            budget.leave();
            self.held_up(&register, Some(budget))
        };
        self.ring(rings);
    }

    /// Takes permits for those who wait, as long as anyone can use one, and adds those who still can use none.
    fn grants(&self, register: &Register, freed: Option<&Budget>) -> Vec<(WorkerId, Arc<Budget>)> {
        let mut rings: Vec<_> = std::iter::from_fn(|| register.grant()).collect();
        rings.extend(self.held_up(register, freed));
        rings
    }

    /// Those whom shared limits hold up, and who may find another way around that since `freed` has one connection
    /// less: they may need two places, or have seen one on its way to others.
    fn held_up(&self, register: &Register, freed: Option<&Budget>) -> Vec<(WorkerId, Arc<Budget>)> {
        // Its own cores may have known of no limit but the pool's.
        let is_own = |budget: &&Arc<Budget>| {
            freed.is_none_or(|freed| std::ptr::eq(freed, &raw const ***budget))
        };
        let all = self.blocked.load(SeqCst) > 0;
        let akin = register.budgets().filter(|budget| all || is_own(budget));
        let held_up = akin.flat_map(|budget| {
            let cores = budget.held_up(freed);
            cores.map(move |worker| (worker, Arc::clone(budget)))
        });
        held_up.collect()
    }

    /// One core more or less that a shared limit holds up.
    pub(super) fn note_blocked(&self, before: Blocked, now: Blocked) {
        match (before.first().is_some(), now.first().is_some()) {
            (false, true) => _ = self.blocked.fetch_add(1, SeqCst),
            (true, false) => _ = self.blocked.fetch_sub(1, SeqCst),
            _ => {}
        }
    }

    fn ring(&self, cores: impl IntoIterator<Item = (WorkerId, Arc<Budget>)>) {
        for (worker, budget) in cores {
            (self.bell)(worker, budget);
        }
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accounts({} workers)", self.workers)
    }
}

impl Register {
    pub(super) fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.budgets.values()
    }

    /// Takes a permit for the core that has waited longest of those who can use one.
    fn grant(&self) -> Option<(WorkerId, Arc<Budget>)> {
        let claims = self.budgets().flat_map(|budget| {
            let claims = budget.claims();
            claims.map(move |(since, worker)| (since, worker, budget))
        });
        let (_, worker, budget) = claims.min_by_key(|(since, ..)| *since)?;
        // The core's share holds the permit until the core collects it.
        budget.charge();
        budget.core_share(worker).grant();
        Some((worker, Arc::clone(budget)))
    }

    /// Sets every limit anew when `terms` are newer than the last ones seen here; the newest, and whether they are
    /// new.
    fn take_over(&mut self, terms: Terms) -> (Arc<dyn Bounds>, bool) {
        if let Some(newest) = &self.newest
            && newest.epoch >= terms.epoch
        {
            return (Arc::clone(&newest.bounds), false);
        }
        let bounds = Arc::clone(&terms.bounds);
        for (name, party) in &self.databases {
            party.set(bounds.database(name));
        }
        for (name, party) in &self.users {
            party.set(bounds.user(name));
        }
        for (node, party) in &self.nodes {
            party.connections.set_max(bounds.node(*node));
        }
        for budget in self.budgets.values() {
            budget.set_size(&*bounds);
        }
        self.newest = Some(terms);
        (bounds, true)
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

    fn party_of_database(&mut self, name: &Arc<str>, bounds: &dyn Bounds) -> Arc<Party> {
        let new = || Party::new(bounds.database(name));
        let party = self.databases.entry(Arc::clone(name)).or_insert_with(new);
        Arc::clone(party)
    }

    fn party_of_user(&mut self, name: &Arc<str>, bounds: &dyn Bounds) -> Arc<Party> {
        let new = || Party::new(bounds.user(name));
        Arc::clone(self.users.entry(Arc::clone(name)).or_insert_with(new))
    }

    fn party_of_node(&mut self, node: NodeId, bounds: &dyn Bounds) -> Arc<Party> {
        let limits = Limits {
            max_connections: bounds.node(node),
            max_clients: None,
        };
        Arc::clone(self.nodes.entry(node).or_insert_with(|| Party::new(limits)))
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
    fn set_size(&self, bounds: &dyn Bounds) {
        let (size, reserve) = bounds.pool(&self.key);
        self.own.set_max(Some(size));
        self.reserve.store(reserve, SeqCst);
    }
}

/// Every pool's budget. Asked when a core makes a pool and when a client comes, never per query.
#[derive(Clone, Debug)]
pub struct Budgets(Arc<Accounts>);

impl Budgets {
    /// Budgets for that many cores. `bell` tells a core that [`Budget::collect`] has a permit for it.
    pub fn new(
        workers: u16,
        start: Instant,
        bell: impl Fn(WorkerId, Arc<Budget>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Accounts {
            register: Mutex::default(),
            start,
            workers,
            bell: Box::new(bell),
            blocked: AtomicU32::new(0),
        }))
    }

    /// Microseconds since the budgets were made.
    pub fn micros(&self, time: Instant) -> Micros {
        self.0.micros(time)
    }

    /// The budget of one pool on one node.
    pub fn of(&self, key: &PoolKey, node: NodeId, terms: impl Into<Terms>) -> Arc<Budget> {
        let terms = terms.into();
        self.refresh(terms.clone());
        let mut register = self.0.open();
        let (bounds, _) = register.take_over(terms);
        if let Some(budget) = register.budgets.get(&(key.clone(), node)) {
            return Arc::clone(budget);
        }
        register.forget_unused();
        let core_shares = (0..self.0.workers).map(|_| Default::default());
        let budget = Arc::new(Budget {
            key: key.clone(),
            node,
            own: Limit::default(),
            reserve: Default::default(),
            parties: [
                register.party_of_database(&key.database, &*bounds),
                register.party_of_user(&key.user, &*bounds),
                register.party_of_node(node, &*bounds),
            ],
            wanting: Default::default(),
            core_shares: core_shares.collect(),
            accounts: Arc::clone(&self.0),
            told: Default::default(),
        });
        budget.set_size(&*bounds);
        register
            .budgets
            .insert((key.clone(), node), Arc::clone(&budget));
        budget
    }

    /// Takes over the newer limits, and gives what they allow now to those who wait.
    pub fn refresh(&self, terms: impl Into<Terms>) {
        let rings: Vec<_> = {
            let mut register = self.0.open();
            match register.take_over(terms.into()).1 {
                true => self.0.grants(&register, None),
                false => Vec::new(),
            }
        };
        self.0.ring(rings);
    }

    /// How many pools, databases and users are known.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.0.open().names()
    }

    /// Counts a client in when its database and its user have room for one more; else which has not, and its bound.
    pub fn admit(
        &self,
        key: &PoolKey,
        terms: impl Into<Terms>,
    ) -> Result<ClientPermit, (Refusal, u32)> {
        let terms = terms.into();
        self.refresh(terms.clone());
        let mut register = self.0.open();
        let (bounds, _) = register.take_over(terms);
        register.forget_unused();
        let database = register.party_of_database(&key.database, &*bounds);
        let user = register.party_of_user(&key.user, &*bounds);
        let full = [(Refusal::Database, &database), (Refusal::User, &user)]
            .into_iter()
            .find(|(_, party)| !party.clients.has_room(0, 0));
        if let Some((refusal, party)) = full {
            return Err((refusal, party.clients.max()));
        }
        database.clients.charge();
        user.clients.charge();
        Ok(ClientPermit([database, user]))
    }
}

/// A client that its database and its user count, until this is dropped.
#[derive(Debug)]
pub struct ClientPermit([Arc<Party>; 2]);

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.0
            .iter()
            .for_each(|party| party.clients.give_back(false));
    }
}

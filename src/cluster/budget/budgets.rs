//! Every pool's budget and every party's limits, by their names. Bounds change here when the settings do.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Instant,
};

use super::{
    accounts::{Accounts, Budget, Register},
    bounds::{Bounds, PoolKey, Terms},
    limit::{Limit, Party, Refusal},
    permit::ClientPermit,
};
use crate::{
    cluster::settings::Limits,
    ids::{NodeId, WorkerId},
    limits::BUDGETS_KEPT_MAX,
    time::Micros,
};

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
        Self(Arc::new(Accounts::new(workers, start, bell)))
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
            last_welcome: Default::default(),
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

impl Register {
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

impl Budget {
    fn set_size(&self, bounds: &dyn Bounds) {
        let (size, reserve) = bounds.pool(&self.key);
        self.own.set_max(Some(size));
        self.reserve.store(reserve, SeqCst);
    }
}

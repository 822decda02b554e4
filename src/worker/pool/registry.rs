//! The pools of a core by database, user and node: found, made when first needed, kept up with the newest snapshot,
//! forgotten when nobody uses them.

use std::rc::Rc;

use super::{
    common::server_database,
    node_pool::{Pool, standing},
    set::PoolSet,
};
use crate::{
    cluster::{budget::PoolKey, snapshot::Snapshot},
    ids::NodeId,
    worker::core::Worker,
};

impl Worker {
    /// The pools of a database and user; `None` when there is no such database.
    pub(crate) fn pool_set(self: &Rc<Self>, key: &PoolKey) -> Option<Rc<PoolSet>> {
        let snapshot = self.snapshot();
        server_database(&snapshot.settings, key)?;
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
}

impl PoolSet {
    /// The pool of a node.
    pub(crate) fn pool(&self, worker: &Worker, node: NodeId) -> Rc<Pool> {
        if let Some(pool) = self.existing(node) {
            return pool;
        }
        let snapshot = worker.snapshot();
        let budget = worker.shared.budgets.of(&self.key, node, &*snapshot);
        let pool = Pool::new(Rc::clone(&self.common), worker.id, budget, &snapshot);
        self.pools.borrow_mut()[usize::from(node.0)] = Some(Rc::clone(&pool));
        worker.reactor.wake_keeper();
        pool
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
}

impl Pool {
    /// Takes over a new snapshot. `renamed`: connections go to another database of the server from now on.
    fn refresh(self: &Rc<Self>, worker: &Rc<Worker>, snapshot: &Snapshot, renamed: bool) {
        let reserve_after = self.settings().capacity.reserve_after;
        self.scheduler.borrow_mut().set_reserve_after(reserve_after);
        let standing = standing(snapshot, self.node);
        let before = self.standing.replace(standing);
        if renamed {
            self.budget().last_welcome.forget();
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
}

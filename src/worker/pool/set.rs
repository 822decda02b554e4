//! The pools of one database and user on one core: one for each node, and what they share.

use std::{cell::RefCell, ops::Deref, rc::Rc, time::Instant};

use super::{common::Common, node_pool::Pool};
use crate::{
    cluster::{budget::PoolKey, snapshot::Snapshot},
    ids::NodeId,
    time::Micros,
};

/// A database and user on one core.
pub(crate) struct PoolSet {
    pub(super) common: Rc<Common>,
    /// By node; made when first needed.
    pub(super) pools: RefCell<Vec<Option<Rc<Pool>>>>,
}

impl Deref for PoolSet {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl PoolSet {
    /// `None` when there is no such database.
    pub(super) fn new(snapshot: &Snapshot, key: PoolKey) -> Option<Rc<Self>> {
        Some(Rc::new(Self {
            common: Common::new(snapshot, key)?,
            pools: RefCell::new(vec![None; snapshot.settings.nodes.len()]),
        }))
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

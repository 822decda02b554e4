//! The server connections that a session keeps between its transactions: in session pooling mode, when reads are
//! split off. It has one at the primary, and one at each standby that has taken a read of its.
//!
//! Its rules are those of transaction mode, because its settings and statements must be the same on all of them.

use std::rc::Rc;

use super::{link::Kept, task::Session};
use crate::{
    cluster::settings::PoolMode,
    ids::NodeId,
    worker::{
        core::Worker,
        pool::{lease::Lease, node_pool::Pool, set::PoolSet},
    },
};

impl Session {
    /// How the pool shares its connections, as the session's rules see it.
    pub(super) fn rules_mode(kept: &Kept, pools: &PoolSet) -> PoolMode {
        match kept.is_on() {
            true => PoolMode::Transaction,
            false => pools.mode(),
        }
    }

    /// The connections that a session of these pools keeps between its transactions: none yet.
    pub(super) fn kept_connections(worker: &Worker, pools: &PoolSet) -> Kept {
        let splits = worker.with_snapshot(|snapshot| snapshot.splits());
        Kept::new(splits && pools.mode() == PoolMode::Session)
    }

    /// Keeps a connection that was used, for the session's next request.
    pub(super) fn keep(&mut self, lease: Lease) {
        let backend = Rc::clone(&lease.backend().info);
        self.info.kept.borrow_mut().push(backend);
        self.kept.put(lease);
    }

    /// True when a read had better go to the primary than wait for a connection to a standby: the session has one
    /// there.
    #[cold]
    pub(super) fn is_better_at_primary(&self, pool: &Pool) -> bool {
        let primary = self.worker.with_snapshot(|snapshot| snapshot.primary);
        let has_one = primary.is_some_and(|primary| self.kept.has(primary));
        primary != Some(pool.node) && has_one && !pool.may_open_soon()
    }

    fn kept_connection(&mut self, node: NodeId) -> Option<Lease> {
        let mut kept = self.info.kept.borrow_mut();
        kept.retain(|backend| backend.node != node);
        self.kept.take(node)
    }

    /// A connection to this node that is at hand.
    #[inline]
    pub(super) fn connection_at_hand(&mut self, pool: &Rc<Pool>) -> Option<Lease> {
        if self.kept.is_on()
            && let Some(lease) = self.kept_connection(pool.node)
        {
            return Some(lease);
        }
        pool.try_checkout(&self.worker)
    }
}

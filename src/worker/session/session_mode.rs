//! The server connections that a session keeps between its transactions: in session pooling mode, when reads are
//! split off. It has one at the primary, and one at each standby that has taken a read of its.
//!
//! Its rules are those of transaction mode, because its settings and statements must be the same on all of them.

use std::rc::Rc;

use super::task::Session;
use crate::{
    cluster::settings::PoolMode,
    ids::NodeId,
    worker::{
        core::Worker,
        pool::{Lease, Pool, PoolSet},
    },
};

/// Server connections that nobody else may have, none of them at work.
#[derive(Default)]
pub(super) struct Kept {
    /// The session keeps what it has used.
    is_on: bool,
    leases: Vec<Lease>,
}

impl Kept {
    /// For a session that begins now.
    pub(super) fn new(worker: &Worker, pools: &PoolSet) -> Self {
        let splits = worker.with_snapshot(|snapshot| snapshot.splits());
        Self {
            is_on: splits && pools.mode() == PoolMode::Session,
            leases: Vec::new(),
        }
    }

    /// True when the session keeps its server connections.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Keeps a connection.
    pub(super) fn put(&mut self, lease: Lease) {
        lease.backend().stream.park(true);
        self.leases.push(lease);
    }

    /// The connection to a node, if it still lives. One that died meanwhile is closed.
    pub(super) fn take(&mut self, node: NodeId) -> Option<Lease> {
        let is_there = |lease: &Lease| lease.backend().info.node == node;
        let place = self.leases.iter().position(is_there)?;
        let lease = self.leases.swap_remove(place);
        lease.backend().stream.park(false);
        let is_alive = !lease.backend().stream.has_news();
        is_alive.then_some(lease)
    }

    /// All of them.
    pub(super) fn take_all(&mut self) -> Vec<Lease> {
        let leases = std::mem::take(&mut self.leases);
        for lease in &leases {
            lease.backend().stream.park(false);
        }
        leases
    }
}

impl Session {
    /// How the pool shares its connections, as the session's rules see it.
    pub(super) fn rules_mode(kept: &Kept, pools: &PoolSet) -> PoolMode {
        match kept.is_on() {
            true => PoolMode::Transaction,
            false => pools.mode(),
        }
    }

    /// Keeps a connection that was used, for the session's next request.
    pub(super) fn keep(&mut self, lease: Lease) {
        let server = Rc::clone(&lease.backend().info);
        self.info.kept.borrow_mut().push(server);
        self.kept.put(lease);
    }

    /// True when a read had better go to the primary than wait for a connection to a standby: the session has one
    /// there.
    #[cold]
    pub(super) fn is_better_at_primary(&self, pool: &Pool) -> bool {
        let primary = self.worker.with_snapshot(|snapshot| snapshot.primary);
        let has_one = |lease: &Lease| Some(lease.backend().info.node) == primary;
        primary != Some(pool.node) && self.kept.leases.iter().any(has_one) && !pool.may_open_soon()
    }

    fn kept_connection(&mut self, node: NodeId) -> Option<Lease> {
        let mut kept = self.info.kept.borrow_mut();
        kept.retain(|server| server.node != node);
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

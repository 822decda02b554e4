//! Bounds of everything that is counted, as the settings of one snapshot set them.

use std::sync::Arc;

use crate::{
    cluster::{
        settings::{Limits, Settings},
        snapshot::Snapshot,
    },
    ids::{Epoch, NodeId},
};

/// Database and user, as the client names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// Database.
    pub database: Arc<str>,
    /// User.
    pub user: Arc<str>,
}

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

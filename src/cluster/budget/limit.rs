//! A number of connections or clients that must not pass a bound. The accounts' lock guards its changes; anyone reads.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use crate::cluster::settings::Limits;

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `size` of the pool, with the reserve when that may be used.
    Pool,
    /// `max_connections` or `max_clients` of the `[[database]]`.
    Database,
    /// `max_connections` or `max_clients` of the `[[user]]`.
    User,
    /// `max_connections` of the `[[node]]`.
    Node,
}

/// The limits that a pool shares with others, in the order of `Budget::parties`.
pub(super) const SHARED: [Refusal; 3] = [Refusal::Database, Refusal::User, Refusal::Node];

/// The shared limits that keep a core from opening a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked(pub(super) [bool; 3]);

impl Blocked {
    /// One of them.
    pub fn first(self) -> Option<Refusal> {
        let place = self.0.iter().position(|is_full| *is_full)?;
        Some(SHARED[place])
    }
}

pub(super) fn place_of(limit: Refusal) -> Option<usize> {
    SHARED.iter().position(|shared| *shared == limit)
}

/// A bound that nothing reaches.
const NONE: u32 = u32::MAX;

/// How many there are, and how many there may be.
#[derive(Debug)]
pub(super) struct Limit {
    max: AtomicU32,
    used: AtomicU32,
    /// Places of `used` that are about to be free.
    leaving: AtomicU32,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            max: AtomicU32::new(NONE),
            used: AtomicU32::new(0),
            leaving: AtomicU32::new(0),
        }
    }
}

impl Limit {
    /// Sets the bound; what is in use above it runs out as it comes back.
    pub(super) fn set_max(&self, max: Option<u32>) {
        self.max.store(max.unwrap_or(NONE), SeqCst);
    }

    pub(super) fn max(&self) -> u32 {
        self.max.load(SeqCst)
    }

    pub(super) fn used(&self) -> u32 {
        self.used.load(SeqCst)
    }

    /// Whether one more may come when `more` beyond the bound are allowed and `freed` are about to go.
    pub(super) fn has_room(&self, more: u32, freed: u32) -> bool {
        self.used().saturating_sub(freed) < self.max().saturating_add(more)
    }

    /// Whether one more may come, as in `has_room`, once those that are being closed have gone.
    pub(super) fn will_have_room(&self, more: u32, freed: u32) -> bool {
        self.has_room(more, freed.saturating_add(self.leaving.load(SeqCst)))
    }

    /// One is about to go.
    pub(super) fn leave(&self) {
        self.leaving.fetch_add(1, SeqCst);
    }

    /// How many there are beyond the bound.
    pub(super) fn excess(&self) -> u32 {
        self.used().saturating_sub(self.max())
    }

    /// How many there will be beyond it once those have gone that are about to.
    pub(super) fn lasting_excess(&self) -> u32 {
        self.excess().saturating_sub(self.leaving.load(SeqCst))
    }

    /// Counts one more. The caller holds the lock and has seen that there is room.
    pub(super) fn charge(&self) {
        self.used.fetch_add(1, SeqCst);
    }

    /// Counts one less; `was_leaving` when it was known to be about to go.
    pub(super) fn give_back(&self, was_leaving: bool) {
        if was_leaving {
            self.leaving.fetch_sub(1, SeqCst);
        }
        let used = self.used.fetch_sub(1, SeqCst);
        assert!(used > 0, "what is counted is given back once");
    }
}

/// Limits of one database, user or node, over all pools.
#[derive(Debug, Default)]
pub(super) struct Party {
    /// Server connections.
    pub(super) connections: Limit,
    /// Clients that are logged in.
    pub(super) clients: Limit,
    /// Cores of pools whose clients wait because of `connections`.
    pub(super) blocked: AtomicU32,
}

impl Party {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let party = Self::default();
        party.set(limits);
        Arc::new(party)
    }

    pub(super) fn set(&self, limits: Limits) {
        self.connections.set_max(limits.max_connections);
        self.clients.set_max(limits.max_clients);
    }
}

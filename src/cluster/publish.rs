//! The snapshot's one writer and its many readers.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::snapshot::Snapshot;

/// Publishes snapshots; there is one, and the control plane has it.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
}

/// Makes readers.
#[derive(Clone, Debug)]
pub struct Readers(Arc<ArcSwap<Snapshot>>);

/// One core's view: a load costs one atomic read while nothing has changed.
#[derive(Debug)]
pub struct Reader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Publisher {
    /// Starts with a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
        }
    }

    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Makes `next` what every core sees at its next decision.
    ///
    /// # Panics
    /// When its epoch does not grow.
    pub fn publish(&self, next: Snapshot) {
        assert!(
            next.epoch > self.current.load().epoch,
            "epochs never go back"
        );
        self.current.store(Arc::new(next));
    }

    /// For the workers.
    pub fn readers(&self) -> Readers {
        Readers(Arc::clone(&self.current))
    }
}

impl Readers {
    /// A reader for one core.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.0)))
    }
}

impl Reader {
    /// The newest snapshot.
    #[inline]
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}
